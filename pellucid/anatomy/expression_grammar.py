"""The little language of expressions: read with Python's own grammar, and nothing of it is ever
run.

+ - * / **, unary -, parentheses, numbers, names, and exp log sin cos tanh sigmoid relu sqrt (one
  argument), max min (two or more)
"""

from __future__ import annotations

import ast
import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..core.errors import UsageError, did_you_mean

FUNCTIONS = ("exp", "log", "sin", "cos", "tanh", "sigmoid", "relu", "sqrt", "max", "min")
_SIGNS: dict[type, str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Pow: "**"}
_KNOWN = f"+ - * / **, parentheses, numbers, names, {', '.join(FUNCTIONS)}"


@dataclass(frozen=True)
class Node:
    """op: "name", "number" or a key of `expression.OPERATIONS`. inputs: earlier nodes, in order.

    name: as given, the number, or a free letter. place: where it begins and ends in the text,
    counted from 0. active: depends on a name.
    """

    op: str
    name: str
    inputs: tuple[int, ...]
    place: tuple[int, int]
    number: float = 0.0
    active: bool = True


@dataclass(frozen=True)
class Expression:
    """Nodes in the order of work; the last one is the result."""

    text: str
    nodes: tuple[Node, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(node.name for node in self.nodes if node.op == "name")


def parse(text: str) -> Expression:
    """Raises UsageError with the column (from 1) and what was met;
    nothing of the text is ever run."""
    text = text.strip().replace("\n", " ")
    stack: list[tuple[ast.AST, str]] = [(_syntax(text), "")]
    nodes: list[Node] = []
    made: list[int] = []  # nodes that still wait for the operation that takes them
    known: dict[str, int] = {}
    while stack:
        tree, op = stack.pop()
        if not op:
            op, parts = _parts(text, tree)
            if parts:
                stack += [(tree, op), *((part, "") for part in reversed(parts))]
                continue
        count = len(_operands(tree))
        inputs = tuple(made[len(made) - count :])
        del made[len(made) - count :]
        node = _node(text, tree, op, inputs, nodes)
        if op == "name" and node.name in known:
            made.append(known[node.name])
            continue
        known |= {node.name: len(nodes)} if op == "name" else {}
        made.append(len(nodes))
        nodes.append(node)
    return Expression(text, _named(nodes))


def _syntax(text: str) -> ast.AST:
    if "#" in text:
        raise UsageError(f'expression, column {text.index("#") + 1}: met "#"; it takes {_KNOWN}')
    try:
        return ast.parse(text, mode="eval").body
    except SyntaxError as error:
        if not text or error.offset is None:
            raise UsageError(
                "expression: " + ("it is empty" if not text else str(error.msg))
            ) from None
        column = error.offset or len(text) + 1
        met = f'"{text[column - 1]}"' if column <= len(text) else "the end"
        raise UsageError(
            f"expression, column {column}: met {met} ({error.msg.split(' (')[0]})"
        ) from None
    except (RecursionError, MemoryError):
        raise UsageError(
            "expression: too many operations within each other (about 2,000 go); split it"
        ) from None
    except ValueError as error:
        raise UsageError(f"expression: {error}") from None


def _operands(tree: ast.AST) -> list[ast.expr]:
    if isinstance(tree, ast.BinOp):
        return [tree.left, tree.right]
    if isinstance(tree, ast.UnaryOp):
        return [tree.operand]
    return list(tree.args) if isinstance(tree, ast.Call) else []


def _parts(text: str, tree: ast.AST) -> tuple[str, list[ast.expr]]:
    """The operation and what it takes. Raises UsageError for what is not of the little language."""
    start, end = _place(text, tree)
    met = text[start:end]
    if isinstance(tree, ast.Name):
        return "name", []
    if isinstance(tree, ast.Constant) and type(tree.value) in (int, float):
        return "number", []
    if isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.USub):
        return "neg", [tree.operand]
    if isinstance(tree, ast.BinOp):
        if type(tree.op) in _SIGNS:
            return _SIGNS[type(tree.op)], [tree.left, tree.right]
        between = _place(text, tree.left)[1], _place(text, tree.right)[0]
        met = text[slice(*between)].strip(" ()")
        start = text.index(met, between[0])
    if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name) and not tree.keywords:
        return _function(tree, start), list(tree.args)
    hint = "; write ** for a power" if met == "^" else ""
    raise UsageError(f'expression, column {start + 1}: met "{short(met)}"{hint}; it takes {_KNOWN}')


def _function(tree: ast.Call, start: int) -> str:
    assert isinstance(tree.func, ast.Name)
    name, count = tree.func.id, len(tree.args)
    if name not in FUNCTIONS:
        raise UsageError(
            f'expression, column {start + 1}: met the function "{name}"; '
            f"{did_you_mean(name, FUNCTIONS)}"
        )
    wanted = "two or more arguments" if name in ("max", "min") else "one argument"
    if (count < 2) if name in ("max", "min") else (count != 1):
        raise UsageError(f"expression, column {start + 1}: {name} takes {wanted}, met {count}")
    return name


def _place(text: str, tree: Any) -> tuple[int, int]:
    """First character and the one after the last; `ast` counts bytes."""
    first, last = tree.col_offset, tree.end_col_offset
    if text.isascii():
        return first, last
    data = text.encode()
    return len(data[:first].decode()), len(data[:last].decode())


def _node(text: str, tree: Any, op: str, inputs: tuple[int, ...], nodes: Sequence[Node]) -> Node:
    place = _place(text, tree)
    if op == "name":
        return Node(op, tree.id, (), place)
    if op == "number":
        value = (
            tree.value
            if isinstance(tree.value, float) or tree.value.bit_length() < 1000
            else math.inf
        )
        if not math.isfinite(value):
            raise UsageError(
                f'expression, column {place[0] + 1}: met "{short(text[slice(*place)])}", '
                "which is too large a number"
            )
        return Node(op, plain(float(value)), (), place, float(value), active=False)
    return Node(op, "", inputs, place, active=any(nodes[i].active for i in inputs))


def _named(nodes: Sequence[Node]) -> tuple[Node, ...]:
    """Operations get the letters that are free, in order; where those do not suffice v1,
    v2 … instead."""
    taken = {node.name for node in nodes} | set(FUNCTIONS)
    free = [letter for letter in "abcdefghijklmnopqrstuvwxyz" if letter not in taken]
    unnamed = sum(not node.name for node in nodes)
    if unnamed > len(free):
        free = [
            name for k in range(1, len(nodes) + len(taken) + 1) if (name := f"v{k}") not in taken
        ]
    names = iter(free)
    return tuple(
        n if n.name else Node(n.op, next(names), n.inputs, n.place, active=n.active) for n in nodes
    )


def values_of(words: Sequence[str]) -> dict[str, float]:
    """["a=2", "b=1"] → {"a": 2.0, "b": 1.0}. Raises UsageError for what is not name=number, not
    finite, or named twice."""
    found: dict[str, float] = {}
    for word in words:
        name, sign, number = (part.strip() for part in word.partition("="))
        name = unicodedata.normalize("NFKC", name)  # as Python reads names
        if not sign or not name.isidentifier():
            raise UsageError(f'"{word}" is no value; write name=number, as in a=2')
        if name in found:
            raise UsageError(
                f'"{word}": {name} has a value already, {plain(found[name])}; give one'
            )
        try:
            found[name] = float(number)
        except ValueError:
            raise UsageError(f'"{word}": "{number}" is not a number') from None
        if not math.isfinite(found[name]):
            raise UsageError(f'"{word}": the value must be finite')
    return found


def plain(value: float) -> str:
    """At most six digits, with a true minus sign."""
    return f"{value:.6g}".replace("-", "−") if value else "0"


def short(text: str, most: int = 60) -> str:
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"
