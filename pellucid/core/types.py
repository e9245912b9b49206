"""The four things that travel: Sample, Placement, Batch, Prediction; and Objects, what a detector's truth is made of."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

if TYPE_CHECKING:
    import torch

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Objects:
    """The objects in one picture, N of them; none in a picture of background.

    boxes: float64 N×4, x1 y1 x2 y2 in pixels, continuous coordinates (pixel i covers [i, i+1)). labels: int64 N, numbers of classes.
    ignore: bool N; what nobody can be asked to find (VOC's difficult, COCO's crowds): not learnt, and counted neither as found nor missed.
    """

    boxes: np.ndarray
    labels: np.ndarray
    ignore: np.ndarray

    def __post_init__(self) -> None:
        for name, kind, shape in (("boxes", np.float64, (-1, 4)), ("labels", np.int64, (-1,)), ("ignore", np.bool_, (-1,))):
            object.__setattr__(self, name, np.asarray(getattr(self, name), kind).reshape(shape))
        if not len(self.boxes) == len(self.labels) == len(self.ignore):
            raise ValueError(f"{len(self.boxes)} boxes, {len(self.labels)} labels and {len(self.ignore)} marks must be as many")

    def __len__(self) -> int:
        return len(self.boxes)

    def __str__(self) -> str:
        """A digest of all that is in it: the same objects give the same text everywhere."""
        whole = hashlib.blake2b(digest_size=16)
        for values, kind in ((self.boxes, "<f8"), (self.labels, "<i8"), (self.ignore, "u1")):
            whole.update(values.astype(kind).tobytes())
        return whole.hexdigest()

    def part(self, which: np.ndarray) -> Objects:
        """Some of them: indices or booleans."""
        return Objects(self.boxes[which], self.labels[which], self.ignore[which])

    @staticmethod
    def joined(parts: Sequence[Objects]) -> Objects:
        """Those of all parts, one after another; of no part, none."""
        parts = [Objects([], [], []), *parts]  # type: ignore[arg-type]
        return Objects(*(np.concatenate([getattr(each, name) for each in parts]) for name in ("boxes", "labels", "ignore")))


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """A picture as it is, and its answer.

    image: H×W×C of any depth and channels, or the file that holds it (read when asked for).
    truth: in original pixels; for classification the number of the class, for detection `Objects`.
    source: where it came from, relative to the data set; unique in it.
    group: what it must not be split from (patient, video); None when it stands alone.
    """

    image: np.ndarray | Path
    truth: Any
    source: str
    group: str | None = None

    def pixels(self) -> np.ndarray:
        """H×W×C; reads the file each time, keeps nothing. Raises DataError for a picture that cannot be decoded."""
        if isinstance(self.image, Path):
            from .images import read

            return read(self.image)
        return self.image


@dataclass(frozen=True, slots=True, eq=False)
class Placement:
    """How one view was taken from its source: an affine map of points, and both sizes.

    matrix: 2×3, takes (x, y) of the source to (x, y) of the view. Coordinates are continuous: pixel i covers [i, i+1).
    source_size, size: (height, width) of the source and of the view.
    """

    matrix: np.ndarray
    source_size: tuple[int, int]
    size: tuple[int, int]

    def __post_init__(self) -> None:
        if np.shape(self.matrix) != (2, 3) or abs(np.linalg.det(np.asarray(self.matrix)[:, :2])) < 1e-12:
            raise ValueError("a placement needs an invertible 2×3 matrix")

    def forward(self, points: np.ndarray) -> np.ndarray:
        """N×2 (x, y) of the source, to N×2 of the view."""
        return np.asarray(points, np.float64) @ self.matrix[:, :2].T + self.matrix[:, 2]

    def backward(self, points: np.ndarray) -> np.ndarray:
        """N×2 (x, y) of the view, to N×2 of the source."""
        return np.linalg.solve(self.matrix[:, :2], (np.asarray(points, np.float64) - self.matrix[:, 2]).T).T

    def then(self, after: Placement) -> Placement:
        """This view, and a view of it."""
        linear, shift = after.matrix[:, :2], after.matrix[:, 2]
        matrix = np.column_stack([linear @ self.matrix[:, :2], linear @ self.matrix[:, 2] + shift])
        return Placement(matrix, self.source_size, after.size)


@dataclass(frozen=True, slots=True, eq=False)
class Picked(Generic[T]):
    """The elements of `many` at `which`, looked up one by one when asked for: training asks for none, and never meets their memory."""

    many: Sequence[T]
    which: np.ndarray

    def __len__(self) -> int:
        return len(self.which)

    def __getitem__(self, place: int) -> T:
        return self.many[self.which[place]]

    def __iter__(self) -> Iterator[T]:
        return (self.many[place] for place in self.which)


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """What a network sees. images: float B×C×H×W; truths: what the room made of the samples' truths."""

    images: torch.Tensor
    truths: Any
    placements: tuple[Placement, ...] | Picked[Placement]
    sources: tuple[str, ...] | Picked[str]

    def to(self, device: torch.device | str) -> Batch:
        truths = self.truths.to(device, non_blocking=True) if hasattr(self.truths, "to") else self.truths
        return replace(self, images=self.images.to(device, non_blocking=True), truths=truths)

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """An answer about one picture, in its original pixels, checked on construction. Tensors end here.

    classes: the names. Of a whole picture: probabilities, one number each, summing to 1; label and confidence follow from them.
    Of objects: boxes N×4 (x1 y1 x2 y2), scores N from 0 to 1, highest first, labels N (numbers of classes). What is said are the objects
    that score `threshold` or more; those below it serve curves and averages alone.
    """

    source: str
    size: tuple[int, int]
    classes: tuple[str, ...] = ()
    probabilities: np.ndarray | None = None
    boxes: np.ndarray | None = None
    scores: np.ndarray | None = None
    labels: np.ndarray | None = None
    threshold: float = 0.0
    label: str | None = field(init=False, default=None)
    confidence: float | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        if self.probabilities is not None:
            self._check_probabilities()
        if self.boxes is not None:
            self._check_boxes()

    def _check_probabilities(self) -> None:
        p = np.asarray(self.probabilities, np.float64)
        if p.shape != (len(self.classes),) or not np.isfinite(p).all() or p.min() < -1e-9 or abs(p.sum() - 1) > 1e-4:
            raise ValueError(f"{self.source}: {len(self.classes)} classes need as many probabilities that sum to 1")
        best = int(p.argmax())
        object.__setattr__(self, "probabilities", p)
        object.__setattr__(self, "label", self.classes[best])
        object.__setattr__(self, "confidence", float(p[best]))

    def _check_boxes(self) -> None:
        boxes, scores = np.asarray(self.boxes, np.float64).reshape(-1, 4), np.asarray(self.scores, np.float64).reshape(-1)
        labels = np.asarray(self.labels, np.int64).reshape(-1)
        if not len(boxes) == len(scores) == len(labels):
            raise ValueError(f"{self.source}: {len(boxes)} boxes need as many scores and labels, not {len(scores)} and {len(labels)}")
        if not np.isfinite(boxes).all() or (boxes[:, 2:] < boxes[:, :2]).any():
            raise ValueError(f"{self.source}: a box runs from its upper left corner to its lower right one, in finite numbers")
        if len(scores) and not (scores.min() >= 0 and scores.max() <= 1 and (np.diff(scores) <= 0).all()):
            raise ValueError(f"{self.source}: scores lie between 0 and 1, highest first")
        if len(labels) and not (labels.min() >= 0 and labels.max() < len(self.classes)):
            raise ValueError(f"{self.source}: a label is none of {len(self.classes)} classes")
        for name, value in (("boxes", boxes), ("scores", scores), ("labels", labels)):
            object.__setattr__(self, name, value)

    def said(self) -> Prediction:
        """Without the objects below the threshold; an answer of another kind as it is."""
        if self.boxes is None or self.scores is None or self.labels is None:
            return self
        count = int((self.scores >= self.threshold).sum())
        return replace(self, boxes=self.boxes[:count], scores=self.scores[:count], labels=self.labels[:count])

    def objects(self) -> list[dict[str, Any]]:
        """What is said to be in the picture: label, confidence and box of each object, surest first."""
        said = self.said()
        assert said.boxes is not None and said.scores is not None and said.labels is not None
        rows = zip(said.labels.tolist(), said.scores.tolist(), said.boxes.tolist(), strict=True)
        return [{"label": self.classes[label], "confidence": score, "box": box} for label, score, box in rows]

    def to_json(self) -> dict[str, Any]:
        answer: dict[str, Any] = {"source": self.source, "size": list(self.size)}
        if self.probabilities is not None:
            answer |= {"label": self.label, "confidence": self.confidence}
            answer["probabilities"] = dict(zip(self.classes, self.probabilities.tolist(), strict=True))
        if self.boxes is not None:
            answer |= {"threshold": self.threshold, "objects": self.objects()}
        return answer

    def draw(self, image: np.ndarray) -> np.ndarray:
        """The picture (H×W×C, any depth) with the answer drawn: uint8 RGB; a label under it, objects as boxes on it."""
        from .draw import boxes, caption, to_rgb8

        picture = to_rgb8(image)
        if self.boxes is not None:
            said = self.objects()
            numbers = [self.classes.index(each["label"]) for each in said]
            titles = [f"{each['label']} {each['confidence']:.0%}" for each in said]
            picture = boxes(picture, np.array([each["box"] for each in said]).reshape(-1, 4), numbers, titles)
        return picture if self.label is None else caption(picture, f"{self.label}  {self.confidence:.1%}")

    def save(self, path: Path, image: np.ndarray) -> None:
        """Draw on the picture and write it to `path` (never over its source)."""
        from .images import write

        write(path, self.draw(image))
