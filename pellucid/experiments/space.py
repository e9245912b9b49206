"""What a search may choose from: settings of a run, each with a range or a list, in a grammar of
one line.

lr=log:1e-4..1e-1      any number of the range, small ones as likely as large ones (log-uniform)
mixup=0..0.4           any number of the range
batch=log:16..256      whole numbers, for a setting that is one
lr=log:1e-3..1e-1:5    five points of the range, equally far apart (in the logarithm)
optimizer=adamw,sgd    one of a list; in quotes where a comma belongs to the value
"""

from __future__ import annotations

import csv
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import UsageError, did_you_mean
from ..core.files import read_toml
from ..engine.run import settings as configuration

if TYPE_CHECKING:
    from optuna import Trial

# Scores under different values of these are of different pictures, or of different kinds, and
# cannot be compared.
FIXED = ("task", "score", "seed", "split_seed", "fold", "skip_bad")
# These change where or how fast a trial runs, or what is measured beside it, and not its score.
IDLE = ("baselines", "threads", "device")
MOST_POINTS = 10_000


@dataclass(frozen=True)
class Axis:
    """What one setting may be: one of `choices`, or where there are none a number from `low` to
    `high`, both included."""

    name: str
    spec: str
    choices: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False

    def suggest(self, trial: Trial) -> Any:
        if self.choices:
            return trial.suggest_categorical(self.name, self.choices)
        if self.whole:
            return trial.suggest_int(self.name, int(self.low), int(self.high), log=self.log)
        return trial.suggest_float(self.name, self.low, self.high, log=self.log)


def parse(search: Mapping[str, Any]) -> tuple[Axis, ...]:
    """Settings by name, each with a text of the grammar above or a sequence of values, to the axes
    of a space.

    Raises UsageError for an unknown setting, one that cannot be searched, a value that the settings
    refuse, or no setting at all.
    """
    if not search:
        raise UsageError("nothing to search; say what may vary, as in --search lr=log:1e-4..1e-1")
    return tuple(axis(name, spec) for name, spec in by_setting(search).items())


def by_setting(table: Mapping[str, Any]) -> dict[str, Any]:
    """The table with the settings' own names as keys: weight-decay, as the option is written,
    is weight_decay."""
    if both := [key for key in table if "-" in key and key.replace("-", "_") in table]:
        raise UsageError(
            f"{both[0]} and {both[0].replace('-', '_')} are one setting; leave out one of the two"
        )
    return {key.replace("-", "_"): value for key, value in table.items()}


def axis(name: str, spec: Any) -> Axis:
    known = configuration.all_names()
    if name not in known:
        raise UsageError(f'unknown setting "{name}" in the search; {did_you_mean(name, known)}')
    if name in FIXED:
        raise UsageError(
            f"{name} cannot be searched: scores under different values of it cannot be compared; "
            "give it as a setting"
        )
    if name in IDLE:
        raise UsageError(
            f"{name} cannot be searched: it does not change the validation score; "
            "give it as a setting"
        )
    if isinstance(spec, list | tuple):
        # A size in TOML is a pair; a choice is a single value everywhere else.
        return _choice(
            name,
            ",".join(map(str, spec)),
            ["x".join(map(str, v)) if isinstance(v, list | tuple) else v for v in spec],
        )
    text = str(spec).strip()
    if ".." in text and _kind(name) in ("int", "float"):
        return _range(name, text)
    words = next(csv.reader([text], skipinitialspace=True), [])
    return _choice(name, text, [_typed(name, word.strip()) for word in words])


def _choice(name: str, spec: str, values: Sequence[Any]) -> Axis:
    if len(set(values)) < 2:
        raise UsageError(
            f"{name}: one value is no search; give two or more, or the setting itself: "
            f"--{name.replace('_', '-')} {spec}"
        )
    for value in values:
        configuration.check({name: value})
    return Axis(name, spec, tuple(dict.fromkeys(values)))


def _range(name: str, spec: str) -> Axis:
    log = spec.lower().startswith("log:")
    first, _, rest = spec[4 * log :].partition("..")
    last, colon, points = rest.partition(":")
    low, high = _typed(name, first), _typed(name, last)
    for value in (low, high):
        configuration.check({name: value})
    if not low < high:
        raise UsageError(
            f"{name}: {spec} is empty; the first number must be less than the second one"
        )
    if log and low <= 0:
        raise UsageError(f"{name}: {spec}: a logarithmic range begins above 0")
    whole = _kind(name) == "int"
    if not colon:
        return Axis(name, spec, (), low, high, log, whole)
    if not points.isdecimal() or not 2 <= int(points) <= MOST_POINTS:
        raise UsageError(f'{name}: "{points}" is not a number of points; write 5 for five of them')
    return _choice(name, spec, _points(low, high, log, int(points), whole))


def _points(low: float, high: float, log: bool, count: int, whole: bool) -> tuple[float, ...]:
    """`count` numbers from low to high, both included; whole ones are rounded,
    and those that fall together are one."""
    shares = [k / max(1, count - 1) for k in range(count)]
    values = [
        low * (high / low) ** share if log else low + (high - low) * share for share in shares
    ]
    return tuple(
        dict.fromkeys(round(value) if whole else float(f"{value:.6g}") for value in values)
    )


def _kind(name: str) -> str:
    return configuration.all_options()[name].kind


def _typed(name: str, word: str) -> Any:
    """A word as the setting's type; what is none is left for the check to refuse by name."""
    kind = _kind(name)
    if kind == "bool":
        return {"true": True, "false": False}.get(word.lower(), word)
    if kind in ("int", "float"):
        try:
            number = float(word)
        except ValueError:
            return word
        return int(number) if kind == "int" and number.is_integer() else number
    return word


def grid(axes: Sequence[Axis]) -> list[dict[str, Any]]:
    """Every combination of the choices. Raises UsageError for a range without points, or more than
    10 000 combinations."""
    for each in axes:
        if not each.choices:
            raise UsageError(
                f"{each.name}: a grid needs points; "
                f"write {each.name}={each.spec}:5 for five of them"
            )
    count = math.prod(len(each.choices) for each in axes)
    if count > MOST_POINTS:
        raise UsageError(
            f"the grid has {count:,} points; use fewer, "
            "or --sampler tpe with as many --trials as there is time for"
        )
    return [
        dict(zip((each.name for each in axes), values, strict=True))
        for values in itertools.product(*(each.choices for each in axes))
    ]


def load(path: Path) -> tuple[str | None, dict[str, Any], dict[str, Any]]:
    """The data a TOML file names, if any, its settings, and its table `[search]`."""
    table = read_toml(path, "recipe")
    search = table.pop("search", {})
    data = table.pop("data", None)
    if not isinstance(search, dict) or not isinstance(data, str | None):
        raise UsageError(
            f'{path}: data is a text and [search] a table of settings, as in lr = "log:1e-4..1e-1"'
        )
    try:
        table, search = by_setting(configuration.flat(table)), by_setting(search)
        configuration.check(table)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None
    return data, table, search


def words(options: Sequence[str]) -> dict[str, str]:
    """NAME=SPEC of the command line, by name."""
    found: dict[str, str] = {}
    for option in options:
        name, equals, spec = option.partition("=")
        if not equals or not spec.strip():
            raise UsageError(
                f'--search "{option}" is not understood; write NAME=SPEC, '
                "as in --search lr=log:1e-4..1e-1"
            )
        name = name.strip().replace("-", "_")
        if name in found:
            raise UsageError(
                f"--search {name} is given twice, as {found[name]} and as {spec}; leave out one, "
                "or make one list of both"
            )
        found[name] = spec
    return found
