"""The text of a notation, to layers and groups of layers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ...core.errors import UsageError


@dataclass(frozen=True)
class Token:
    text: str
    number: int
    column: int

    def error(self, what: str) -> UsageError:
        return UsageError(
            f'notation, token {self.number} "{self.text}" (column {self.column}): {what}'
        )


@dataclass(frozen=True)
class Layer:
    token: Token
    letter: str
    number: float | None
    options: dict[str, int]

    def __getitem__(self, option: str) -> int:
        return self.options[option]


@dataclass(frozen=True)
class Group:
    """What stands between [ ] (one branch) or { | } (several); `opener` is the bracket."""

    opener: Token
    branches: list[list[Item]]

    @property
    def residual(self) -> bool:
        return self.opener.text == "["


Item = Layer | Group

NUMBER_NEEDED, LETTERS = "CLVX", "CBNRTSPAGDLUVX"
OPTIONS = {"C": "kspdg", "P": "sp", "A": "sp", "V": "ksp"}
CLOSES = {"]": "[", "}": "{", ")": "("}
MOST_REPEATED = 10_000


def is_notation(text: str) -> bool:
    """Whether this is meant as a notation and not as a name: it has several words,
    or begins with a token."""
    return (
        len(text.split()) > 1
        or re.match(rf"[13]D:|[\[{{(]|[{LETTERS}](\d|\.|$)", text.strip()) is not None
    )


def classes_of(text: str) -> int:
    """How many classes the network of this text tells apart: the number of its last L,
    or the maps before a final G."""
    items = parse(text)[1]
    classes = _width(items[-1:]) or _width(items[:-1])
    if classes is None:
        raise UsageError(
            f'notation "{text}": the number of classes cannot be read from it; end it in L'
        )
    return classes


def _width(items: Sequence[Item]) -> int | None:
    """How many maps or units come out, where the last layer that decides it is written
    with its number."""
    for item in reversed(items):
        if isinstance(item, Group):
            widths = [_width(branch) for branch in item.branches]
            if item.residual and widths[0] is None:
                continue
            return None if None in widths else sum(width for width in widths if width)
        if item.letter in "CVL":
            return int(item.number or 0)
        if item.letter == "X":
            return None
    return None


def parse(text: str) -> tuple[int, list[Item]]:
    """The dimension and the items, repetitions written out;
    the last one is checked to be L or G."""
    dimension = re.match(r"\s*([13])D:", text)
    start = dimension.end() if dimension else 0
    found = re.compile(r"\)\d{0,9}|[\[\]{}|(]|[^\s\[\]{}|()]+").finditer(text, start)
    items = _group(
        [Token(match[0], number, match.start() + 1) for number, match in enumerate(found, 1)]
    )
    if not items:
        raise UsageError("notation: there is no layer in it; the shortest is L10")
    last = items[-1]
    if not (isinstance(last, Layer) and last.letter in "LG"):
        where = last.token if isinstance(last, Layer) else last.opener
        raise where.error("a classifier must end in L or G, and nothing belongs after that")
    return int(dimension[1]) if dimension else 2, items


def _group(tokens: Sequence[Token]) -> list[Item]:
    open_groups: list[tuple[Token | None, list[list[Item]]]] = [(None, [[]])]
    for token in tokens:
        opener, branches = open_groups[-1]
        if token.text in "[{(":
            open_groups.append((token, [[]]))
        elif token.text == "|":
            if opener is None or opener.text != "{":
                raise token.error("| belongs between { and }")
            branches.append([])
        elif token.text[0] in CLOSES:
            if opener is None or opener.text != CLOSES[token.text[0]]:
                raise token.error(
                    f"closes a {CLOSES[token.text[0]]} that is not open"
                    + (f"; open is {opener.text}" if opener else "")
                )
            open_groups.pop()
            open_groups[-1][1][-1].extend(_closed(opener, token, branches))
        else:
            branches[-1].append(_layer(token))
    if open_groups[-1][0] is not None:
        raise open_groups[-1][0].error("is never closed")
    return open_groups[0][1][0]


def _closed(opener: Token, token: Token, branches: list[list[Item]]) -> list[Item]:
    if opener.text == "{":
        return [Group(opener, branches)]
    body = branches[0]
    if not body:
        raise opener.error("there is nothing inside")
    if opener.text == "[":
        return [Group(opener, [body])]
    times = int(token.text[1:] or 0)
    if not 1 <= times * len(body) <= MOST_REPEATED:
        raise token.error(
            f"say how often, as in ( C64 R )3: at least once, and at most {MOST_REPEATED} layers"
        )
    return body * times


def _layer(token: Token) -> Layer:
    match = re.fullmatch(
        rf"([{LETTERS}])(\d{{0,9}}\.?\d{{0,9}})((?:[a-zA-Z]\d{{0,9}})*)", token.text
    )
    if match is None or match[2] == ".":
        raise token.error(
            f"not a token; letters are capitals: {' '.join(LETTERS)}, and [ ] {{ | }} ( )3"
        )
    letter, number = match[1], match[2]
    _check_number(token, letter, number)
    options: dict[str, int] = {}
    for name, value in re.findall(r"([a-zA-Z])(\d*)", match[3]):
        allowed = OPTIONS.get(letter, "")
        if name not in allowed:
            raise token.error(
                f"unknown option {name}; {letter} takes {' '.join(allowed) or 'none'}"
            )
        if name in options or not value or (int(value) == 0 and name != "p"):
            raise token.error(
                f"option {name} needs one number" + (" of at least 1" if name != "p" else "")
            )
        options[name] = int(value)
    return Layer(
        token, letter, float(number) if number else None, _defaults(letter, number) | options
    )


def _check_number(token: Token, letter: str, number: str) -> None:
    if letter == "D":
        if number and float(number) >= 1:
            raise token.error("D takes a probability below 1, as in D.3")
    elif letter in NUMBER_NEEDED and not number:
        raise token.error(f"{letter} needs a number, as in {letter}16")
    elif number and letter not in NUMBER_NEEDED + "PA":
        raise token.error(f"{letter} takes no number")
    elif number and (not number.isdigit() or int(number) == 0):
        raise token.error(f"{letter} takes a whole number of at least 1")


def _defaults(letter: str, number: str) -> dict[str, int]:
    if letter == "C":
        return {"k": 3, "s": 1, "p": 1, "d": 1, "g": 1}
    if letter in "PA":
        return {"s": int(number or 2), "p": 0}
    if letter == "V":
        return {"k": 2, "s": 2, "p": 0}
    return {}
