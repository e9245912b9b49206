"""What a comparison of runs found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .arms import Arm

# Below it, after Holm's correction, a difference is claimed.
LEVEL = 0.05


@dataclass(frozen=True)
class Difference:
    """An arm's mean score minus that of the reference, in the score's unit. p: of this test alone;
    adjusted: after Holm's correction over the arms; low and high: 95 % for this one alone, None
    where nothing varies. kind: "pictures" (one run each, the same test images), "seeds" (several)
    or "splits" (different test images). detail: what the test counted."""

    arm: str
    kind: str
    mean: float
    low: float | None
    high: float | None
    p: float
    test: str
    detail: dict[str, Any]
    adjusted: float = 1.0
    sentence: str = ""

    @property
    def claimed(self) -> bool:
        return self.adjusted < LEVEL and self.mean != 0

    def to_json(self) -> dict[str, Any]:
        return vars(self) | {"claimed": self.claimed}


@dataclass(frozen=True)
class Comparison:
    """What `compare` found; `write` makes the page of it, `to_json` what a program reads.

    differences: of every arm with runs but the reference. sentences: arm → what can be concluded of
    it against the reference. summary: what can be concluded of all, in one sentence. notes: what a
    reader must know beside it.
    """

    score: str
    against: str
    arms: tuple[Arm, ...]
    differences: tuple[Difference, ...]
    sentences: dict[str, str]
    summary: str
    notes: tuple[str, ...]

    @property
    def reference(self) -> Arm:
        return next(arm for arm in self.arms if arm.name == self.against)

    def to_json(self) -> dict[str, Any]:
        return {
            "score": self.score,
            "against": self.against,
            "summary": self.summary,
            "arms": [_described(arm) for arm in self.arms],
            "differences": [difference.to_json() for difference in self.differences],
            "notes": list(self.notes),
        }


def _described(arm: Arm) -> dict[str, Any]:
    figures = {
        key: getattr(arm, key)
        for key in ("train_accuracy", "epochs", "seen", "seconds", "parameters", "recall")
    }
    return {
        "name": arm.name,
        "runs": [str(run.folder) for run in arm.runs],
        "diverged": arm.diverged,
        "settings": arm.settings,
        "test": arm.test,
    } | figures
