"""What a data set is made of: `Sample`, an image and its target; `Source`,
a file that reads itself."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..core.types import VolumeGeometry
from . import images
from .images import Header


@dataclass(frozen=True, slots=True, eq=False)
class HighResolution:
    """The target of super-resolution: the image itself. low: the small pictures supplied with it,
    as (factor, file), by factor."""

    low: tuple[tuple[int, Path], ...] = ()

    def __str__(self) -> str:
        """A digest of the names: those of the supplied files, none for most pictures."""
        names = "\n".join(f"{factor} {path.name}" for factor, path in self.low)
        return hashlib.blake2b(names.encode(errors="replace"), digest_size=16).hexdigest()


class Source(Protocol):
    """A picture in files of its own kind (a volume, a series), which knows how to read itself."""

    def header(self) -> Header: ...
    def pixels(self) -> np.ndarray: ...
    def space(self) -> VolumeGeometry | None: ...


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """An image and its target.

    image: H×W×C of any depth and channels, D×H×W×C for a volume, or the file or `Source` that holds
    it (read when asked for). target: in original pixels; for classification the number of the
    class, for detection `Objects`, for segmentation a `Mask`. source: where it came from, relative
    to the data set; unique in it.
    group: what it must not be split from (patient, video); None when it stands alone.
    space: of a volume whose voxels are held in `image`.
    """

    image: np.ndarray | Path | Source
    target: Any
    source: str
    group: str | None = None
    space: VolumeGeometry | None = None

    def pixels(self) -> np.ndarray:
        """H×W×C or D×H×W×C; reads the file each time, keeps nothing. Raises DataError for a picture
        that cannot be decoded."""
        if isinstance(self.image, Path):
            return images.read(self.image)
        return self.image if isinstance(self.image, np.ndarray) else self.image.pixels()

    def decoded(self) -> Sample:
        """The same with its pixels in memory. Raises DataError for a picture that
        cannot be decoded."""
        here = isinstance(self.image, np.ndarray | Path)
        return replace(self, image=self.pixels(), space=self.space if here else self.image.space())  # type: ignore[union-attr]
