"""The metric of detection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ...core.errors import UsageError
from ...core.types import Objects
from ...metrics.detection import (
    average_precision,
    evaluation,
    gather,
    judge,
    mean_precision,
    require,
)
from ...metrics.detection.table import Table
from ...metrics.detection.threshold import per_image
from .inference import DetectionInference
from .preprocess import DetectionPreprocess
from .result import DetectionResult


class Detected(NamedTuple):
    """The detections of one image, as `metrics.detection` reads them."""

    boxes: np.ndarray
    scores: np.ndarray
    class_ids: np.ndarray


class DetectionMetric:
    """Average precision; "map" is the mean over IoU from 0.5 to 0.95, "map50" that at 0.5.

    threshold: the score from which on a detection counts, for precision, recall and errors; aim:
    what it was chosen for; note: a sentence where that was not reached. records: for each source
    `boxes` N×4, `scores` N and `class_ids` N of its detections, `target_boxes` M×4, `target_labels`
    M and `target_ignore` M of its objects. Raises UsageError where faster-coco-eval is not
    installed.
    """

    SCORES: ClassVar[tuple[str, ...]] = ("map", "map50")

    def __init__(
        self,
        classes: tuple[str, ...],
        score: str = "map",
        threshold: float = 0.5,
        aim: str = "f1",
        note: str = "",
    ) -> None:
        require()
        self.classes, self.score = classes, score
        self.threshold, self.aim, self.note = threshold, aim, note
        self.records: dict[str, dict[str, np.ndarray]] = {}

    @classmethod
    def create(
        cls,
        preprocess: DetectionPreprocess,
        inference: DetectionInference,
        score: str | None = None,
        costs: np.ndarray | None = None,
    ) -> DetectionMetric:
        if costs is not None:
            raise UsageError(
                "costs: are of answers about whole pictures; "
                "a detector's misses and false alarms are counted apart"
            )
        return cls(
            inference.classes,
            score or cls.SCORES[0],
            inference.threshold,
            inference.aim,
            inference.note,
        )

    def add(self, results: Sequence[DetectionResult], targets: Sequence[Objects]) -> None:
        for result, target in zip(results, targets, strict=True):
            self.records[result.source] = {
                "boxes": result.boxes,
                "scores": result.scores,
                "class_ids": result.class_ids,
                "target_boxes": target.boxes,
                "target_labels": target.labels,
                "target_ignore": target.ignore,
            }

    def scores(self) -> dict[str, float]:
        """0 where no image has an object. `score`: of these the one that chooses the best epoch."""
        ones = np.ones((1, len(self.records)))
        found = {n: float(np.nan_to_num(values)[0]) for n, values in self.resample(ones).items()}
        return {"map50": found["map50"], "map": found["map"], "score": found[self.score]}

    def evidence(self) -> dict[str, Any]:
        found = evaluation(self._table(), self.classes, self.threshold)
        return found | {"threshold": {"value": self.threshold, "aim": self.aim, "note": self.note}}

    def rows(self) -> list[dict[str, Any]]:
        """correct: 1 where, at the threshold and IoU 0.5, no object is missed and no detection is
        false."""
        right, wrong, objects = (
            each.sum(axis=1).astype(int).tolist()
            for each in per_image(self._table(), self.threshold)
        )
        counts = zip(right, wrong, objects, strict=True)
        return [
            self._row(source, *numbers)
            for source, numbers in zip(sorted(self.records), counts, strict=True)
        ]

    def resample(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        found = average_precision(judge(self._table()), np.ascontiguousarray(weights.T))
        return {"map": mean_precision(found), "map50": mean_precision(found[:1])}

    def _row(self, source: str, right: int, wrong: int, objects: int) -> dict[str, Any]:
        record = self.records[source]
        found = record["scores"] >= self.threshold
        return {
            "source": source,
            "truth": self._counted(record["target_labels"][~record["target_ignore"]]),
            "answer": self._counted(record["class_ids"][found]),
            "confidence": f"{record['scores'][found].mean():.6f}" if found.any() else "",
            "correct": int(right == objects and not wrong),
            "found": right,
            "missed": objects - right,
            "false_alarms": wrong,
        }

    def _counted(self, labels: np.ndarray) -> str:
        """`RBC 12, WBC 1`; `nothing` of none."""
        counts = np.bincount(labels, minlength=len(self.classes)).tolist()
        named = [f"{n} {count}" for n, count in zip(self.classes, counts, strict=True) if count]
        return ", ".join(named) or "nothing"

    def _table(self) -> Table:
        """Images in the sorted order of their sources."""
        records = [self.records[source] for source in sorted(self.records)]
        targets = [
            Objects(each["target_boxes"], each["target_labels"], each["target_ignore"])
            for each in records
        ]
        found = [Detected(each["boxes"], each["scores"], each["class_ids"]) for each in records]
        return gather(targets, found, len(self.classes))
