"""The result of detection."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...data.images import write
from ...plots.annotate import boxes, to_rgb8

SIDES = ("x1", "y1", "x2", "y2")


@dataclass(frozen=True, eq=False)
class DetectionResult:
    """The N detections in one image, highest score first; those below the threshold serve curves
    and ensembles.

    size: of the image, height and width. classes: the names. boxes: float64 N×4, x1 y1 x2 y2 in
    pixels of the image. scores: float64 N, from 0 to 1. class_ids: int64 N, indices of classes.
    threshold: the score from which on a detection counts as an object. Raises ValueError for values
    outside these ranges.
    """

    source: str
    size: tuple[int, ...]
    classes: tuple[str, ...]
    boxes: np.ndarray
    scores: np.ndarray
    class_ids: np.ndarray
    threshold: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "boxes", np.asarray(self.boxes, np.float64).reshape(-1, 4))
        object.__setattr__(self, "scores", np.asarray(self.scores, np.float64).reshape(-1))
        object.__setattr__(self, "class_ids", np.asarray(self.class_ids, np.int64).reshape(-1))
        if problem := _problem(self):
            raise ValueError(f"{self.source}: {problem}")

    def to_json(self) -> dict[str, Any]:
        return {
            "source": self.source,
            "size": list(self.size),
            "threshold": self.threshold,
            "objects": self._objects(),
        }

    def rows(self) -> list[dict[str, Any]]:
        """A row an object; one row with an empty label where there is none."""
        rows = [
            {
                "source": self.source,
                "label": each["label"],
                "confidence": f"{each['confidence']:.6f}",
            }
            | {side: f"{at:.2f}" for side, at in zip(SIDES, each["box"], strict=True)}
            for each in self._objects()
        ]
        return rows or [
            {"source": self.source} | dict.fromkeys(("label", "confidence", *SIDES), "")
        ]

    def summary(self) -> str:
        found = Counter(each["label"] for each in self._objects())
        if not found:
            return f"{self.source}: nothing found (threshold {self.threshold:.2f})"
        number = f"{found.total()} object{'s' if found.total() > 1 else ''}"
        named = ", ".join(f"{name} {count}" for name, count in found.most_common())
        return f"{self.source}: {number}: {named}"

    def labels(self) -> list[str]:
        """Each class that was found, once; that of the highest score first."""
        return list(dict.fromkeys(each["label"] for each in self._objects()))

    def draw(self, image: np.ndarray, legend: bool = True) -> np.ndarray:
        """A frame around each object and its label; of one size with and without a legend."""
        found = self.compact()
        labels, scores = found.class_ids.tolist(), found.scores.tolist()
        titles = [
            f"{self.classes[number]} {score:.0%}"
            for number, score in zip(labels, scores, strict=True)
        ]
        return boxes(to_rgb8(image), found.boxes, labels, titles)

    def save(self, path: Path, image: np.ndarray) -> None:
        write(path, self.draw(image))

    def compact(self) -> DetectionResult:
        """Without the detections below the threshold, which are millions in a long video."""
        count = int((self.scores >= self.threshold).sum())
        return replace(
            self,
            boxes=self.boxes[:count],
            scores=self.scores[:count],
            class_ids=self.class_ids[:count],
        )

    def _objects(self) -> list[dict[str, Any]]:
        """label, confidence and box of each detection that reaches the threshold, highest score
        first."""
        found = self.compact()
        rows = zip(
            found.class_ids.tolist(), found.scores.tolist(), found.boxes.tolist(), strict=True
        )
        return [
            {"label": self.classes[number], "confidence": score, "box": box}
            for number, score, box in rows
        ]


def _problem(result: DetectionResult) -> str:
    """What is wrong with the values; "" for nothing."""
    box, scores, class_ids = result.boxes, result.scores, result.class_ids
    if not len(box) == len(scores) == len(class_ids):
        return (
            f"{len(box)} boxes need as many scores and labels, not {len(scores)} and "
            f"{len(class_ids)}"
        )
    if not np.isfinite(box).all() or (box[:, 2:] < box[:, :2]).any():
        return "a box runs from its upper left corner to its lower right one, in finite numbers"
    within = (scores >= 0) & (scores <= 1)
    if not (within.all() and (np.diff(scores) <= 0).all()):
        return "scores lie between 0 and 1, highest first"
    if len(class_ids) and not (class_ids.min() >= 0 and class_ids.max() < len(result.classes)):
        return f"a label is none of {len(result.classes)} classes"
    return ""
