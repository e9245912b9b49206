"""A study as it is written: which settings vary, over which seeds or folds, on which data.

    title = "Learning rate"
    question = "How large a step does the network bear?"
    expected = "0.1 and 0.01 learn, 0.0001 has not arrived."
    data = "digits"
    seeds = [0, 1, 2]
    against = "lr 0.1"

    [settings]
    model = "lenet5"

    [vary]
    lr = [0.1, 0.01, 0.001, 0.0001]

`[vary]` makes an arm of every combination; `[arms."any name"]` names one with its settings; with
both, each arm meets each combination.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ..core.errors import UsageError, did_you_mean
from ..core.files import read_toml
from ..engine.run import settings as configuration
from ..engine.run.folders import slug
from .space import by_setting

SHIPPED = Path(__file__).parent / "studies"
# What a study's runs have in common unless it says otherwise: baselines would be the same in each,
# and the processes share the cores.
COMMON = {"threads": 1, "baselines": False, "split_seed": 0}
# What a study decides for its runs, so that they are paired.
_OWN = ("seed", "fold", "data")


@dataclass(frozen=True, eq=False)
class Planned:
    """One run: its arm, "seed 0" or "fold 1/5", all settings that are given, and the name of its
    files in the study's folder."""

    arm: str
    part: str
    settings: Mapping[str, Any]
    stem: str


@dataclass(frozen=True)
class Study:
    """arms: name → settings, common ones included. folds: 0, or so many runs of each arm with the
    first seed. against: an arm. score: None is the usual one of the task."""

    name: str
    title: str
    question: str
    expected: str
    data: str
    arms: Mapping[str, Mapping[str, Any]]
    seen: str = ""
    seeds: tuple[int, ...] = (0, 1, 2)
    folds: int = 0
    budget_minutes: float | None = None
    against: str | None = None
    score: str | None = None
    jobs: int | None = None

    def __post_init__(self) -> None:
        _whole("seeds", list(self.seeds), 0)
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise UsageError("seeds: a study needs at least one seed, and each only once")
        if self.folds and not 2 <= _whole("folds", [self.folds], 0)[0] <= 100:
            raise UsageError(f"folds: {self.folds} is out of range; it must be 2 to 100")
        if self.jobs is not None:
            _whole("jobs", [self.jobs], 1)
        if self.budget_minutes is not None and not (
            _is_number(self.budget_minutes) and self.budget_minutes > 0
        ):
            raise UsageError(f"budget_minutes: {self.budget_minutes!r} is not a number of minutes")
        known = configuration.all_options()["score"].choices
        if self.score is not None and self.score not in known:
            raise UsageError(f'score: unknown "{self.score}"; {did_you_mean(self.score, known)}')
        if self.against is not None and self.against not in self.arms:
            raise UsageError(
                f'against: there is no arm "{self.against}"; '
                f"{did_you_mean(self.against, self.arms)}"
            )
        if len({slug(arm) for arm in self.arms}) < len(self.arms):
            raise UsageError("arms: two names differ only in signs that a file name cannot have")
        self.runs()

    def runs(self) -> list[Planned]:
        """All runs, seed by seed (or fold by fold), so that whenever time is up every arm has
        had its share."""
        parts = [
            (f"fold {k}/{self.folds}", {"seed": self.seeds[0], "fold": f"{k}/{self.folds}"})
            for k in range(1, self.folds + 1)
        ]
        parts = parts or [(f"seed {seed}", {"seed": seed}) for seed in self.seeds]
        return [self._run(arm, part, given) for part, given in parts for arm in self.arms]

    def _run(self, arm: str, part: str, given: Mapping[str, Any]) -> Planned:
        settings = {**self.arms[arm], **given}
        try:
            configuration.check(settings)
        except UsageError as error:
            raise UsageError(f'arm "{arm}": {error}') from None
        return Planned(arm, part, settings, f"{slug(arm)}-{part.split(' ')[1].replace('/', 'of')}")


def load(path: Path) -> Study:
    """The study in a TOML file. Raises UsageError that names the file and the line's key, DataError
    if it cannot be read."""
    written = read_toml(path, "study")
    try:
        return _study(path.stem, written)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None


def find(name: str) -> Path:
    """Where a study is: a shipped one by its name, or a file. Raises UsageError."""
    if name in names():
        return SHIPPED / f"{name}.toml"
    if not name.endswith(".toml") and not Path(name).is_file():
        raise UsageError(
            f'there is no study "{name}"; {did_you_mean(name, names())} (a study of your own is a '
            ".toml file)"
        )
    return Path(name)


def names() -> list[str]:
    """The studies that come with Pellucid."""
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


def _study(name: str, written: dict[str, Any]) -> Study:
    known = {field.name for field in fields(Study)} - {"name"} | {"settings", "vary"}
    for key in written:
        if key not in known:
            raise UsageError(f'unknown key "{key}"; {did_you_mean(key, sorted(known))}')
    for key in ("title", "question", "expected", "data", "seen", "against", "score"):
        if not isinstance(written.get(key, ""), str):
            raise UsageError(f"{key}: {written[key]!r} is not a text")
    if missing := [
        key for key in ("title", "question", "expected", "data") if not written.get(key)
    ]:
        raise UsageError(f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing")
    common, vary = (by_setting(_mapping(written, key)) for key in ("settings", "vary"))
    arms = {
        arm: by_setting(_mapping(_mapping(written, "arms"), arm))
        for arm in _mapping(written, "arms")
    }
    if not vary and not arms:
        raise UsageError("nothing varies: give lists in [vary], or settings in [arms.NAME]")
    for key in (*common, *vary, *itertools.chain(*arms.values())):
        if key in _OWN:
            raise UsageError(
                f"{key}: is not a setting of an arm; a study has `data`, "
                "`seeds` and `folds` of its own"
            )
    named = dict(_arms(arms or {"": {}}, vary))
    rest = {key: value for key, value in written.items() if key not in ("settings", "vary", "arms")}
    if "seeds" in rest:
        rest["seeds"] = (
            tuple(rest["seeds"]) if isinstance(rest["seeds"], list) else (rest["seeds"],)
        )
    return Study(
        name, arms={arm: COMMON | common | settings for arm, settings in named.items()}, **rest
    )


def _arms(arms: Mapping[str, Any], vary: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for key, values in vary.items():
        if not isinstance(values, list) or not values:
            raise UsageError(f"vary: {key}: {values!r} is not a list of values")
    for arm, chosen in itertools.product(arms, itertools.product(*vary.values())):
        varied = dict(zip(vary, chosen, strict=True))
        yield (
            ", ".join(
                [
                    *([arm] if arm else []),
                    *(f"{key} {_said(value)}" for key, value in varied.items()),
                ]
            ),
            arms[arm] | varied,
        )


def _said(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _mapping(written: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = written.get(key, {})
    if not isinstance(value, dict):
        raise UsageError(f"{key}: {value!r} is not a table of settings")
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _whole(name: str, values: list[Any], low: int) -> list[int]:
    for value in values:
        if not isinstance(value, int) or isinstance(value, bool) or value < low:
            raise UsageError(f"{name}: {value!r} is not a whole number of at least {low}")
    return values
