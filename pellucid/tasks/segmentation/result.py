"""The result of segmentation: a class for each pixel or voxel."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...core.types import UNKNOWN_GEOMETRY, VolumeGeometry
from ...data.images import write
from ...data.volumes import write_nifti
from ...plots import masks
from ...plots.gif import animation


def no_probabilities() -> np.ndarray:
    return np.empty(0, np.uint8)


def no_regions() -> np.ndarray:
    return np.empty(0, np.int32)


@dataclass(frozen=True, slots=True, eq=False)
class ClassAreas:
    """How many pixels each class has: a result without its pixels.

    size: (height, width), or (depth, height, width). counts: int64, one a class. spacing: of a
    volume, millimeters between voxels along each axis; empty where unknown.
    """

    source: str
    size: tuple[int, ...]
    classes: tuple[str, ...]
    counts: np.ndarray
    spacing: tuple[float, ...] = ()

    def areas(self) -> list[dict[str, Any]]:
        """Of each class: label, pixels, share of the image; of a volume with a spacing also ml."""
        whole = max(1, int(self.counts.sum()))
        found = [
            {"label": name, "pixels": count, "share": count / whole}
            for name, count in zip(self.classes, self.counts.tolist(), strict=True)
        ]
        if not self.spacing:
            return found
        voxel = float(np.prod(self.spacing)) / 1000
        return [each | {"ml": each["pixels"] * voxel} for each in found]

    def to_json(self) -> dict[str, Any]:
        found = {"source": self.source, "size": list(self.size), "areas": self.areas()}
        return found | ({"spacing": list(self.spacing)} if self.spacing else {})

    def rows(self) -> list[dict[str, Any]]:
        """One row: the share of each class, of a volume with a spacing also its ml."""
        areas = self.areas()
        shares = {f"share_{each['label']}": f"{each['share']:.6f}" for each in areas}
        volumes = {f"ml_{each['label']}": f"{each['ml']:.4f}" for each in areas if "ml" in each}
        return [{"source": self.source} | shares | volumes]

    def summary(self) -> str:
        """The classes that are present, largest first and background last; of a volume only the
        others, in milliliters."""
        background, *others = self.areas()
        found = sorted(
            (each for each in others if each["pixels"]), key=lambda each: -each["pixels"]
        )
        if self.spacing:
            parts = [f"{each['label']} {masks.volume(each['ml'])}" for each in found]
            return f"{self.source}: {', '.join(parts) or 'nothing but ' + background['label']}"
        parts = [
            f"{each['label']} {masks.share(each['share'])}"
            for each in [*found, background]
            if each["pixels"]
        ]
        return f"{self.source}: {', '.join(parts)}"

    def labels(self) -> list[str]:
        return [each["label"] for each in self.areas()[1:] if each["pixels"]]

    def compact(self) -> ClassAreas:
        return self


@dataclass(frozen=True, slots=True, eq=False)
class SegmentationResult:
    """mask: uint8 of `size`, the number of the class of each pixel. probabilities: uint8 K×size, of
    each class in 255ths; empty where they were not kept. regions: int32 of `size`, numbers of
    objects from 1, where touching objects were separated; else empty. geometry: of a volume. Raises
    ValueError for arrays that do not fit."""

    source: str
    size: tuple[int, ...]
    classes: tuple[str, ...]
    mask: np.ndarray
    probabilities: np.ndarray = field(default_factory=no_probabilities)
    regions: np.ndarray = field(default_factory=no_regions)
    geometry: VolumeGeometry = UNKNOWN_GEOMETRY

    def __post_init__(self) -> None:
        self._check_mask()
        if self.regions.size and (
            self.regions.dtype != np.int32 or self.regions.shape != self.mask.shape
        ):
            raise ValueError(
                f"{self.source}: regions of {self.regions.shape}, {self.regions.dtype} do not fit "
                f"{self.size}; they are int32"
            )
        if self.probabilities.size and (
            self.probabilities.dtype != np.uint8
            or self.probabilities.shape != (len(self.classes), *self.size)
        ):
            raise ValueError(
                f"{self.source}: probabilities of {self.probabilities.shape} do not fit "
                f"{len(self.classes)} classes of {self.size}"
            )

    def _check_mask(self) -> None:
        mask = self.mask
        if mask.dtype != np.uint8 or mask.shape != tuple(self.size):
            raise ValueError(
                f"{self.source}: a mask of {mask.shape}, {mask.dtype} does not fit an image of "
                f"{self.size}; it is uint8"
            )
        if mask.max(initial=0) >= len(self.classes):
            raise ValueError(
                f"{self.source}: the mask has the label {mask.max()}, "
                f"which is none of {len(self.classes)} classes"
            )

    def to_json(self) -> dict[str, Any]:
        return self.compact().to_json()

    def rows(self) -> list[dict[str, Any]]:
        return self.compact().rows()

    def summary(self) -> str:
        return self.compact().summary()

    def labels(self) -> list[str]:
        return self.compact().labels()

    def draw(self, image: np.ndarray, legend: bool = True) -> np.ndarray:
        """Each class as tint and outline over a legend; of a volume a sheet of its slices."""
        if self.mask.ndim == 3:
            return masks.slices(image, self.mask, self.classes, self.geometry)
        if not legend:
            return masks.drawn(image, self.mask, self.regions)
        return masks.with_legend(image, self.mask, self.classes, self.regions)

    def save(self, path: Path, image: np.ndarray) -> None:
        """The drawing; beside it `_mask.png`, whose pixels are numbers of classes, or of a volume
        `.nii.gz`, where its geometry is known, and `.gif`: a second for a brain."""
        drawing = self.draw(image)
        write(path, drawing)
        if self.mask.ndim == 2:
            masks.indexed(path.with_name(path.stem + masks.MASK_FILES[1]), self.mask)
            return
        volume, moving = (path.with_name(path.stem + ending) for ending in masks.VOLUME_FILES[1:])
        if self.geometry.spacing:
            write_nifti(volume, self.mask, self.geometry)
        frames = masks.frames(image, self.mask, self.geometry)
        animation(moving, frames, masks.FPS, like=drawing)

    def compact(self) -> ClassAreas:
        counts = np.bincount(self.mask.ravel(), minlength=len(self.classes)).astype(np.int64)
        return ClassAreas(self.source, self.size, self.classes, counts, self.geometry.spacing)
