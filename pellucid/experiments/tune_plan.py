"""What a search is: its space, the settings of all trials, how they are chosen and stopped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.errors import UsageError, did_you_mean
from ..engine.run import settings as configuration
from . import space
from .space import Axis

SAMPLERS = ("tpe", "random", "grid")
PRUNERS = ("asha", "hyperband", "none")
TRIALS = 30
# A trial is judged after its first epochs, which onecycle spends on warming up; this one begins at
# the full rate.
PRUNED_SCHEDULE = "cosine"


@dataclass(frozen=True)
class Plan:
    """What a study is: whoever joins it must ask for the same."""

    data: str | Path
    axes: tuple[Axis, ...]
    settings: dict[str, Any]
    sampler: str
    pruner: str

    def identity(self, fingerprint: str) -> dict[str, Any]:
        return {
            "search": {axis.name: axis.spec for axis in self.axes},
            "settings": {
                key: list(value) if isinstance(value, tuple) else value
                for key, value in sorted(self.settings.items())
            },
            "sampler": self.sampler,
            "pruner": self.pruner,
            "pictures": fingerprint,
        }

    def first(self) -> dict[str, Any]:
        """Some settings of the space: the first choices, and the low ends of ranges."""
        return {axis.name: axis.choices[0] if axis.choices else axis.low for axis in self.axes}

    def __str__(self) -> str:
        searched = ", ".join(f"{axis.name} {axis.spec}" for axis in self.axes)
        return f"{searched} ({self.sampler}{'' if self.pruner == 'none' else f', {self.pruner}'})"


def make_plan(
    data: str | Path | None,
    search: Mapping[str, Any] | None,
    recipe: str | Path | None,
    sampler: str,
    pruner: str,
    trials: int | None,
    settings: dict[str, Any],
) -> tuple[Plan, int]:
    """The plan and the number of trials. Raises UsageError for all that can be seen to be wrong
    before anything is read."""
    if recipe is not None:
        named, from_file, in_file = space.load(Path(recipe))
        data, search = data or named, space.by_setting(search or {})
        # A setting that is given is not searched, and one that is searched is not given, whatever
        # the file says.
        fixed = {key: value for key, value in from_file.items() if key not in search}
        search = {key: spec for key, spec in in_file.items() if key not in settings} | search
        settings = fixed | settings
    if data is None:
        raise UsageError(
            "no data: say what to train on, as in `pellucid tune my_photos/ --search "
            "lr=log:1e-4..1e-1`"
        )
    for kind, value, known in (("sampler", sampler, SAMPLERS), ("pruner", pruner, PRUNERS)):
        if value not in known:
            raise UsageError(f'{kind}: unknown "{value}"; {did_you_mean(value, known)}')
    axes = space.parse(search or {})
    configuration.check(settings)
    if both := [axis.name for axis in axes if axis.name in settings]:
        raise UsageError(f"{both[0]} is both searched and given; leave out one of the two")
    if pruner != "none" and any(axis.name == "epochs" for axis in axes):
        raise UsageError(
            "epochs: trials of unequal length cannot be compared on the way; "
            "search it with --pruner none"
        )
    if sampler == "grid":
        points = len(space.grid(axes))
        if trials is not None and trials != points:
            raise UsageError(
                f"the grid has {points} points, and each is tried once; leave out --trials"
            )
        trials = points
    trials = TRIALS if trials is None else trials
    if trials < 1:
        raise UsageError(f"trials: {trials} is out of range; it must be at least 1")
    if pruner != "none" and "schedule" not in {*settings, *(axis.name for axis in axes)}:
        settings = settings | {"schedule": PRUNED_SCHEDULE}
    return Plan(data, axes, settings, sampler, pruner), trials
