"""The metric of detection: boxes and truths of all pictures, and what they say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...core.types import Objects, Prediction
from ...metrics.detection import (
    average_precision,
    evaluation,
    gain,
    gather,
    judge,
    mean_precision,
    read_aim,
    require,
)
from ...metrics.detection.table import Table
from ...metrics.detection.threshold import per_picture
from ...plots.formatting import named, plural


class Answers:
    """The detections and objects of all pictures, in the order of their sources.

    score: "map" (IoU 0.5 to 0.95) or "map50", what chooses the best epoch. threshold: the score
    from which on a detection is believed, and aim, what it was chosen for; note: where that could
    not be reached. Raises UsageError for another aim, and where faster-coco-eval is not installed.
    """

    def __init__(
        self,
        classes: tuple[str, ...],
        score: str = "map",
        threshold: float = 0.5,
        aim: str = "f1",
        note: str = "",
    ) -> None:
        require()
        read_aim(aim)
        self.classes, self.score = classes, score
        self.threshold, self.aim, self.note = threshold, aim, note
        self.rows_by_source: dict[str, tuple[Objects, Prediction]] = {}

    def add(self, predictions: Sequence[Prediction], targets: Sequence[Objects]) -> None:
        for prediction, target in zip(predictions, targets, strict=True):
            self.rows_by_source[prediction.source] = (target, prediction)

    def merge(self, other: Answers) -> None:
        self.rows_by_source |= other.rows_by_source

    def _table(self) -> Table:
        rows = [self.rows_by_source[source] for source in sorted(self.rows_by_source)]
        return gather(
            [target for target, _ in rows], [answer for _, answer in rows], len(self.classes)
        )

    def quick(self) -> dict[str, float]:
        """0 where no picture has an object."""
        found = average_precision(judge(self._table()))
        scores = {"map50": found[:1], "map": found}
        said = {name: float(np.nan_to_num(mean_precision(of)[0])) for name, of in scores.items()}
        return said | {"score": said[self.score]}

    def result(self) -> dict[str, Any]:
        found = evaluation(self._table(), self.classes, self.threshold)
        return found | {"threshold": {"value": self.threshold, "aim": self.aim, "note": self.note}}

    def rows(self) -> list[dict[str, Any]]:
        """correct: 1 where, at the threshold and IoU 0.5,
        nothing is missed and nothing said in vain."""
        table = self._table()
        right, wrong, objects = (
            each.sum(axis=1).astype(int).tolist() for each in per_picture(table, self.threshold)
        )
        rows = []
        for number, source in enumerate(sorted(self.rows_by_source)):
            target, answer = self.rows_by_source[source]
            assert answer.scores is not None and answer.labels is not None
            said = answer.scores >= self.threshold
            missed = objects[number] - right[number]
            rows.append(
                {
                    "source": source,
                    "truth": self._counted(target.labels[~target.ignore]),
                    "answer": self._counted(answer.labels[said]),
                    "confidence": f"{answer.scores[said].mean():.6f}" if said.any() else "",
                    "correct": int(not missed and not wrong[number]),
                    "found": right[number],
                    "missed": missed,
                    "false_alarms": wrong[number],
                }
            )
        return rows

    def _counted(self, labels: np.ndarray) -> str:
        """`RBC 12, WBC 1`; `nothing` of none."""
        counts = np.bincount(labels, minlength=len(self.classes)).tolist()
        return (
            ", ".join(
                f"{name} {count}" for name, count in zip(self.classes, counts, strict=True) if count
            )
            or "nothing"
        )

    def gain(self, other: Answers) -> dict[str, Any]:
        """`score`, and `gain` in it (as `metrics.detection.gain`, with its p); the same of the
        other one of mAP and mAP@.5 as `map_gain` or `map50_gain`; `with` and `without`, the scores
        themselves."""
        ours, theirs = self._table(), other._table()
        beside = "map50" if self.score == "map" else "map"
        found = gain(self.score, ours, theirs)
        return {
            "score": self.score,
            "gain": found,
            f"{beside}_gain": gain(beside, ours, theirs),
            f"{self.score}_with": found["ours"],
            f"{self.score}_without": found["theirs"],
        }

    def over_mean(self, others: Sequence[Answers]) -> dict[str, Any]:
        return gain(self.score, self._table(), *(other._table() for other in others))

    def against(self, other: Answers) -> dict[str, Any]:
        found = gain(self.score, self._table(), other._table())
        return {
            "score": self.score,
            "difference": found,
            "pictures": len(self.rows_by_source),
            "p": found["p"],
            "test": "paired bootstrap",
        }

    def sentences(self, summary: Mapping[str, Any]) -> list[str]:
        test = summary["test"]
        believed = ", ".join(
            f"{named(key)} {_share(test[key])}" for key in ("precision", "recall", "f1")
        )
        lines = [
            (
                f"test:     mAP@.5 {_share(test['map50'])}, mAP@.5:.95 {_share(test['map'])}, "
                f"{plural(test['pictures'], 'picture')}"
            ),
            (
                f"          at threshold {self.threshold:.2f} (for {self.aim}): {believed}; "
                f"{_dearest(test['errors'])}"
            ),
        ]
        return [*lines, f"          {self.note}"] if self.note else lines


def _share(score: Mapping[str, Any]) -> str:
    """With its 95 % interval."""
    if score["value"] is None:
        return "undefined"
    reach = (
        "no interval: too few pictures"
        if score["low"] is None
        else f"{score['low']:.1%} to {score['high']:.1%}"
    )
    return f"{score['value']:.1%} ({reach})"


def _dearest(errors: Mapping[str, Mapping[str, Any]]) -> str:
    """The kind of error that costs most."""
    kind = max(errors, key=lambda name: errors[name]["cost"] or 0.0)
    cost = errors[kind]["cost"]
    return (
        f"costliest error: {kind} ({100 * cost:.1f} points of mAP@.5)"
        if cost
        else "no error costs anything"
    )
