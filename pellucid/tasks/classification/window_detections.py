"""What a classifier finds in the windows of an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...plots.annotate import boxes, to_rgb8


@dataclass(frozen=True, eq=False)
class WindowDetections:
    """N windows that are surest among their neighbors.

    size: of the image, height and width. classes: the names. boxes: float64 N×4, x1 y1 x2 y2 in
    pixels of the image. scores: float64 N, from 0 to 1, highest first. labels: int64 N, numbers of
    classes. threshold: the score from which on a window counts as an object; those below serve
    curves. Raises ValueError for values outside these ranges.
    """

    source: str
    size: tuple[int, int]
    classes: tuple[str, ...]
    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    threshold: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "boxes", np.asarray(self.boxes, np.float64).reshape(-1, 4))
        object.__setattr__(self, "scores", np.asarray(self.scores, np.float64).reshape(-1))
        object.__setattr__(self, "labels", np.asarray(self.labels, np.int64).reshape(-1))
        for wrong, problem in _problems(self):
            if wrong:
                raise ValueError(f"{self.source}: {problem}")

    def objects(self) -> list[dict[str, Any]]:
        """label, confidence and box of each window at or above the threshold, highest score
        first."""
        count = int((self.scores >= self.threshold).sum())
        rows = zip(
            self.labels[:count].tolist(),
            self.scores[:count].tolist(),
            self.boxes[:count].tolist(),
            strict=True,
        )
        return [{"label": self.classes[n], "confidence": p, "box": box} for n, p, box in rows]

    def to_json(self) -> dict[str, Any]:
        return {
            "source": self.source,
            "size": list(self.size),
            "threshold": self.threshold,
            "objects": self.objects(),
        }

    def draw(self, image: np.ndarray) -> np.ndarray:
        """uint8 RGB: the image (H×W×C, any depth) with a frame around each object."""
        found = self.objects()
        return boxes(
            to_rgb8(image),
            np.array([each["box"] for each in found]).reshape(-1, 4),
            [self.classes.index(each["label"]) for each in found],
            [f"{each['label']} {each['confidence']:.0%}" for each in found],
        )


def _problems(found: WindowDetections) -> tuple[tuple[bool, str], ...]:
    box, scores, labels, classes = found.boxes, found.scores, found.labels, len(found.classes)
    ordered = bool((np.diff(scores) <= 0).all() and ((scores >= 0) & (scores <= 1)).all())
    return (
        (
            not len(box) == len(scores) == len(labels),
            f"{len(box)} boxes need as many scores and labels, not {len(scores)} and {len(labels)}",
        ),
        (
            not np.isfinite(box).all() or bool((box[:, 2:] < box[:, :2]).any()),
            "a box runs from its upper left corner to its lower right one, in finite numbers",
        ),
        (not ordered, "scores lie between 0 and 1, highest first"),
        (bool(((labels < 0) | (labels >= classes)).any()), f"a label is none of {classes} classes"),
    )
