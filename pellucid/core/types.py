"""What passes between the parts: targets (`Objects`, `Mask`), `ViewTransform`, `Batch`."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
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
    """How a volume D×H×W lies in space. spacing: millimeters between voxels along D, H, W; empty
    where nothing is known. affine: float64 4×4, takes the index (i, j, k) of the file's own array
    to millimeters (NIfTI's, left to right, back to front, down to up)."""

    spacing: tuple[float, ...]
    affine: np.ndarray


# Of a flat image, and of a volume whose file does not say how it lies.
UNKNOWN_GEOMETRY = VolumeGeometry((), np.eye(4))


@dataclass(frozen=True, slots=True, eq=False)
class ViewTransform:
    """How one view was taken from its source: an affine map of points, and both sizes.

    matrix: 2×3, takes (x, y) of the source to (x, y) of the view; of a volume 3×4 and (x, y, z).
    Coordinates are continuous: pixel i covers [i, i+1). source_size, size: (height, width) or
    (depth, height, width) of the source and of the view. plane: of a flat view of a volume the axis
    (0 depth, 1 height, 2 width) that it stands across, and its place there; matrix is then of the
    two axes that are left.
    space: of a source that is a volume. channels, bits: of the file of a source that is to be
    upscaled, in whose format the result is written; 0 where the view shows its own target.
    """

    matrix: np.ndarray
    source_size: tuple[int, ...]
    size: tuple[int, ...]
    plane: tuple[int, int] | None = None
    space: VolumeGeometry | None = None
    channels: int = 0
    bits: int = 0

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
