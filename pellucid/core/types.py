"""What passes between the parts: targets (`Objects`, `Mask`), `ViewTransform`, `Batch`,
`Prediction`."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

import numpy as np

if TYPE_CHECKING:
    import torch

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Objects:
    """The objects in one picture, N of them; none in a picture of background.

    boxes: float64 N×4, x1 y1 x2 y2 in pixels, continuous coordinates (pixel i covers [i, i+1)).
    labels: int64 N, numbers of classes. ignore: bool N; what nobody can be asked to find (VOC's
    difficult, COCO's crowds): not learnt, and counted neither as found nor missed.
    """

    boxes: np.ndarray
    labels: np.ndarray
    ignore: np.ndarray

    def __post_init__(self) -> None:
        for name, kind, shape in (
            ("boxes", np.float64, (-1, 4)),
            ("labels", np.int64, (-1,)),
            ("ignore", np.bool_, (-1,)),
        ):
            object.__setattr__(self, name, np.asarray(getattr(self, name), kind).reshape(shape))
        if not len(self.boxes) == len(self.labels) == len(self.ignore):
            raise ValueError(
                f"{len(self.boxes)} boxes, {len(self.labels)} labels and {len(self.ignore)} marks "
                "must be as many"
            )

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
        return Objects(
            *(
                np.concatenate([getattr(each, name) for each in parts])
                for name in ("boxes", "labels", "ignore")
            )
        )


# What a mask says of a pixel that nobody is asked about: not learnt, not counted.
IGNORE = 255


@dataclass(frozen=True, slots=True, eq=False)
class Mask:
    """What each pixel of one picture is, as one annotator or several said it; made by `Mask.of`.

    shape: (height, width), or (depth, height, width) of a volume. packed: of each annotator the
    labels, uint8 in the picture's order, deflated: a few hundredths of their size, and unpacked at
    about a gigabyte a second. counts: int64 256, how often the first annotator says each label.
    names: of the annotators, where there are several. spacing: millimetres between voxels along
    each axis of `shape`; None where nothing says so. kind: what scores are shared out by ("Crack"),
    or nothing.
    """

    shape: tuple[int, ...]
    packed: tuple[bytes, ...]
    counts: np.ndarray
    names: tuple[str, ...] = ()
    spacing: tuple[float, ...] | None = None
    kind: str = ""

    @staticmethod
    def of(
        *labels: np.ndarray,
        names: Sequence[str] = (),
        spacing: Sequence[float] | None = None,
        kind: str = "",
    ) -> Mask:
        """labels: of each annotator uint8 H×W or D×H×W; IGNORE where nobody is asked."""
        shape = labels[0].shape
        if any(each.shape != shape or each.dtype != np.uint8 for each in labels):
            raise ValueError(
                f"masks of {[each.shape for each in labels]} and "
                f"{[each.dtype.name for each in labels]} are not uint8 of one shape"
            )
        packed = tuple(zlib.compress(np.ascontiguousarray(each).tobytes(), 1) for each in labels)
        counts = np.bincount(labels[0].ravel(), minlength=256).astype(np.int64)
        return Mask(
            shape,
            packed,
            counts,
            tuple(names),
            None if spacing is None else tuple(map(float, spacing)),
            kind,
        )

    def labels(self, annotator: int = 0) -> np.ndarray:
        """uint8 of `shape`, read-only."""
        return np.frombuffer(zlib.decompress(self.packed[annotator]), np.uint8).reshape(self.shape)

    def __str__(self) -> str:
        """A digest of all that is in it: the same masks give the same text everywhere."""
        whole = hashlib.blake2b(digest_size=16)
        for number in range(len(self.packed)):
            whole.update(f"{self.shape}".encode() + self.labels(number).tobytes())
        return whole.hexdigest()


@dataclass(frozen=True, slots=True, eq=False)
class VolumeGeometry:
    """How a volume D×H×W lies in the world. spacing: millimetres between voxels along D, H, W.
    affine: float64 4×4, takes the index (i, j, k) of the file's own array to millimetres (NIfTI's,
    left to right, back to front, down to up)."""

    spacing: tuple[float, float, float]
    affine: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class ViewTransform:
    """How one view was taken from its source: an affine map of points, and both sizes.

    matrix: 2×3, takes (x, y) of the source to (x, y) of the view; of a volume 3×4 and (x, y, z).
    Coordinates are continuous: pixel i covers [i, i+1). source_size, size: (height, width) or
    (depth, height, width) of the source and of the view. plane: of a flat view of a volume the axis
    (0 depth, 1 height, 2 width) that it stands across, and its place there; matrix is then of the
    two axes that are left.
    space: of a source that is a volume.
    """

    matrix: np.ndarray
    source_size: tuple[int, ...]
    size: tuple[int, ...]
    plane: tuple[int, int] | None = None
    space: VolumeGeometry | None = None

    def __post_init__(self) -> None:
        axes = len(self.size)
        if (
            np.shape(self.matrix) != (axes, axes + 1)
            or abs(np.linalg.det(np.asarray(self.matrix)[:, :axes])) < 1e-12
        ):
            raise ValueError(f"a placement needs an invertible {axes}×{axes + 1} matrix")

    def forward(self, points: np.ndarray) -> np.ndarray:
        """N×2 (x, y) of the source, to N×2 of the view."""
        return np.asarray(points, np.float64) @ self.matrix[:, :-1].T + self.matrix[:, -1]

    def backward(self, points: np.ndarray) -> np.ndarray:
        """N×2 (x, y) of the view, to N×2 of the source."""
        return np.linalg.solve(
            self.matrix[:, :-1], (np.asarray(points, np.float64) - self.matrix[:, -1]).T
        ).T

    def then(self, after: ViewTransform) -> ViewTransform:
        """This view, and a view of it."""
        linear, shift = after.matrix[:, :-1], after.matrix[:, -1]
        matrix = np.column_stack(
            [linear @ self.matrix[:, :-1], linear @ self.matrix[:, -1] + shift]
        )
        return replace(self, matrix=matrix, size=after.size)


@dataclass(frozen=True, slots=True, eq=False)
class LazySubset(Generic[T]):
    """The elements of `many` at `which`, looked up one by one when asked for: training asks for
    none, and never meets their memory."""

    many: Sequence[T]
    which: np.ndarray

    def __len__(self) -> int:
        return len(self.which)

    @overload
    def __getitem__(self, place: int) -> T: ...
    @overload
    def __getitem__(self, place: slice) -> LazySubset[T]: ...
    def __getitem__(self, place: int | slice) -> T | LazySubset[T]:
        return (
            LazySubset(self.many, self.which[place])
            if isinstance(place, slice)
            else self.many[self.which[place]]
        )

    def __iter__(self) -> Iterator[T]:
        return (self.many[place] for place in self.which)


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """What a network sees. images: float B×C×H×W; truths: what the room made of the
    samples' truths."""

    images: torch.Tensor
    targets: Any
    transforms: tuple[ViewTransform, ...] | LazySubset[ViewTransform]
    sources: tuple[str, ...] | LazySubset[str]

    def to(self, device: torch.device | str) -> Batch:
        targets = (
            self.targets.to(device, non_blocking=True)
            if hasattr(self.targets, "to")
            else self.targets
        )
        return replace(self, images=self.images.to(device, non_blocking=True), targets=targets)

    def __len__(self) -> int:
        return len(self.images)

    def part(self, start: int, end: int) -> Batch:
        """Some of its rows."""
        targets = None if self.targets is None else self.targets[start:end]
        return Batch(
            self.images[start:end], targets, self.transforms[start:end], self.sources[start:end]
        )


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """An answer about one picture, in its original pixels, checked on construction. Tensors end
    here.

    classes: the names. Of a whole picture: probabilities, one number each, summing to 1; label and
    confidence follow from them.
    Of objects: boxes N×4 (x1 y1 x2 y2), scores N from 0 to 1, highest first, labels N (numbers of
    classes). What is said are the objects that score `threshold` or more; those below it serve
    curves and averages alone.
    Of every pixel: mask, uint8 of the picture's size (of a volume D×H×W), numbers of classes; soft,
    uint8 K×size, each class's probability in 255ths, where it was kept; regions, int32 of that
    size, numbers of objects from 1, where touching ones were parted; space, of a volume. Of a
    larger picture: picture, H×W×C of 8 or 16 bits, whose size is not the source's.
    counts (int64 K, how many pixels are of each class) and enlarged (height and width of the
    picture) follow from these, and outlive them.
    """

    source: str
    size: tuple[int, ...]
    classes: tuple[str, ...] = ()
    probabilities: np.ndarray | None = None
    boxes: np.ndarray | None = None
    scores: np.ndarray | None = None
    labels: np.ndarray | None = None
    threshold: float = 0.0
    mask: np.ndarray | None = None
    soft: np.ndarray | None = None
    regions: np.ndarray | None = None
    picture: np.ndarray | None = None
    space: VolumeGeometry | None = None
    counts: np.ndarray | None = None
    enlarged: tuple[int, int] | None = None
    label: str | None = field(init=False, default=None)
    confidence: float | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        if self.probabilities is not None:
            self._check_probabilities()
        if self.boxes is not None:
            self._check_boxes()
        if self.mask is not None:
            self._check_mask(self.mask)
            object.__setattr__(
                self,
                "counts",
                np.bincount(self.mask.ravel(), minlength=len(self.classes)).astype(np.int64),
            )
        if self.picture is not None:
            object.__setattr__(self, "enlarged", self.picture.shape[:2])

    def _check_mask(self, mask: np.ndarray) -> None:
        if mask.dtype != np.uint8 or mask.shape != tuple(self.size):
            raise ValueError(
                f"{self.source}: a mask of {mask.shape}, {mask.dtype} does not fit a picture of "
                f"{self.size}; it is uint8"
            )
        if mask.max(initial=0) >= len(self.classes):
            raise ValueError(
                f"{self.source}: the mask says {mask.max()}, "
                f"which is none of {len(self.classes)} classes"
            )
        if self.regions is not None and (
            self.regions.dtype != np.int32 or self.regions.shape != mask.shape
        ):
            raise ValueError(
                f"{self.source}: regions of {self.regions.shape}, {self.regions.dtype} do not fit "
                f"{self.size}; they are int32"
            )
        if self.soft is not None and (
            self.soft.dtype != np.uint8 or self.soft.shape != (len(self.classes), *self.size)
        ):
            raise ValueError(
                f"{self.source}: probabilities of {self.soft.shape} do not fit {len(self.classes)} "
                f"classes of {self.size}"
            )

    def _check_probabilities(self) -> None:
        p = np.asarray(self.probabilities, np.float64)
        if (
            p.shape != (len(self.classes),)
            or not np.isfinite(p).all()
            or p.min() < -1e-9
            or abs(p.sum() - 1) > 1e-4
        ):
            raise ValueError(
                f"{self.source}: {len(self.classes)} classes need as many probabilities that sum "
                "to 1"
            )
        best = int(p.argmax())
        object.__setattr__(self, "probabilities", p)
        object.__setattr__(self, "label", self.classes[best])
        object.__setattr__(self, "confidence", float(p[best]))

    def _check_boxes(self) -> None:
        boxes, scores = (
            np.asarray(self.boxes, np.float64).reshape(-1, 4),
            np.asarray(self.scores, np.float64).reshape(-1),
        )
        labels = np.asarray(self.labels, np.int64).reshape(-1)
        if not len(boxes) == len(scores) == len(labels):
            raise ValueError(
                f"{self.source}: {len(boxes)} boxes need as many scores and labels, not "
                f"{len(scores)} and {len(labels)}"
            )
        if not np.isfinite(boxes).all() or (boxes[:, 2:] < boxes[:, :2]).any():
            raise ValueError(
                f"{self.source}: a box runs from its upper left corner to its lower right one, "
                "in finite numbers"
            )
        if len(scores) and not (
            scores.min() >= 0 and scores.max() <= 1 and (np.diff(scores) <= 0).all()
        ):
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
        return replace(
            self, boxes=self.boxes[:count], scores=self.scores[:count], labels=self.labels[:count]
        )

    def objects(self) -> list[dict[str, Any]]:
        """What is said to be in the picture: label, confidence and box of each object,
        surest first."""
        said = self.said()
        assert said.boxes is not None and said.scores is not None and said.labels is not None
        rows = zip(said.labels.tolist(), said.scores.tolist(), said.boxes.tolist(), strict=True)
        return [
            {"label": self.classes[label], "confidence": score, "box": box}
            for label, score, box in rows
        ]

    def counted(self) -> Prediction:
        """Without what takes memory by the pixel; what can be said of it in numbers stays."""
        return replace(self, mask=None, soft=None, regions=None, picture=None)

    def areas(self) -> list[dict[str, Any]]:
        """Of every pixel's answer, a class each: label, pixels, share of the picture; of a volume
        that lies in the world also ml."""
        assert self.counts is not None
        whole = max(1, int(self.counts.sum()))
        found = [
            {"label": name, "pixels": count, "share": count / whole}
            for name, count in zip(self.classes, self.counts.tolist(), strict=True)
        ]
        if self.space is None:
            return found
        voxel = float(np.prod(self.space.spacing)) / 1000
        return [each | {"ml": each["pixels"] * voxel} for each in found]

    def to_json(self) -> dict[str, Any]:
        answer: dict[str, Any] = {"source": self.source, "size": list(self.size)}
        if self.probabilities is not None:
            answer |= {"label": self.label, "confidence": self.confidence}
            answer["probabilities"] = dict(
                zip(self.classes, self.probabilities.tolist(), strict=True)
            )
        if self.boxes is not None:
            answer |= {"threshold": self.threshold, "objects": self.objects()}
        if self.counts is not None:
            answer |= {"areas": self.areas()} | (
                {"spacing": list(self.space.spacing)} if self.space else {}
            )
        if self.enlarged is not None:
            answer |= {"enlarged": list(self.enlarged)}
        return answer

    def draw(self, image: np.ndarray) -> np.ndarray:
        """The picture (H×W×C, any depth) with the answer drawn: uint8 RGB; a label under it,
        objects as boxes on it; every pixel's class as tint and outline over a legend, of a volume
        (D×H×W×C) on a sheet of its slices; a larger picture beside a plain enlargement."""
        from ..plots import masks
        from ..plots.annotate import boxes, caption, to_rgb8

        if self.mask is not None and self.mask.ndim == 3:
            return masks.slices(image, self.mask, self.classes, self.space)
        if self.mask is not None:
            return masks.with_legend(image, self.mask, self.classes, self.regions)
        if self.picture is not None:
            return masks.before_after(image, self.picture)
        picture = to_rgb8(image)
        if self.boxes is not None:
            said = self.objects()
            numbers = [self.classes.index(each["label"]) for each in said]
            titles = [f"{each['label']} {each['confidence']:.0%}" for each in said]
            picture = boxes(
                picture, np.array([each["box"] for each in said]).reshape(-1, 4), numbers, titles
            )
        return (
            picture
            if self.label is None
            else caption(picture, f"{self.label}  {self.confidence:.1%}")
        )

    def frame(self, image: np.ndarray) -> np.ndarray:
        """As `draw`, for a video, whose frames have one size: classes of pixels without a legend; a
        larger picture alone."""
        from ..plots.annotate import to_rgb8
        from ..plots.masks import drawn

        if self.picture is not None:
            return to_rgb8(self.picture)
        return self.draw(image) if self.mask is None else drawn(image, self.mask, self.regions)

    def save(self, path: Path, image: np.ndarray) -> None:
        """Draw on the picture and write it to `path`, a .png (never over its source), and what this
        kind of answer has beside it, under the same stem: `_mask.png`, whose pixels are numbers of
        classes; of a volume `.nii.gz` and `.gif`. A larger picture itself stands at `path`, and
        what `draw` gives in `_before_after.png`."""
        from ..data.images import write
        from ..plots.masks import write_beside

        drawing = self.draw(image)
        write(path, drawing if self.picture is None else self.picture)
        write_beside(path, self, image, drawing)
