"""The result of super-resolution."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...data.images import write
from ...plots.annotate import PAPER, caption, to_rgb8
from ...plots.formatting import by
from ...transforms.resize import bicubic_array

# Endings of the files that `SuperResolutionResult.save` writes.
OUTPUT_SUFFIXES = (".png", "_before_after.png")
# The largest side of an upscaled image that is shown beside bicubic upscaling.
SHOWN = 1024


@dataclass(frozen=True, slots=True)
class UpscaledSize:
    """A result without its pixels. size, upscaled: (height, width) of the image and of the upscaled
    one."""

    source: str
    size: tuple[int, ...]
    upscaled: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        return {"source": self.source, "size": list(self.size), "enlarged": list(self.upscaled)}

    def rows(self) -> list[dict[str, Any]]:
        sides = ("height", "width", "new_height", "new_width")
        values = zip(sides, (*self.size, *self.upscaled), strict=True)
        return [{"source": self.source} | dict(values)]

    def summary(self) -> str:
        return f"{self.source}: {by(self.size[::-1])} → {by(self.upscaled[::-1])}"

    def labels(self) -> list[str]:
        """The new size."""
        return [by(self.upscaled[::-1])]


@dataclass(frozen=True, slots=True, eq=False)
class SuperResolutionResult:
    """size: (height, width) of the source. image: the upscaled image, H×W×C of 8 or 16 bits."""

    source: str
    size: tuple[int, ...]
    image: np.ndarray

    def to_json(self) -> dict[str, Any]:
        return self.compact().to_json()

    def rows(self) -> list[dict[str, Any]]:
        return self.compact().rows()

    def summary(self) -> str:
        return self.compact().summary()

    def labels(self) -> list[str]:
        return self.compact().labels()

    def draw(self, image: np.ndarray, legend: bool = True) -> np.ndarray:
        """Beside bicubic upscaling, with captions; without a legend the upscaled image alone."""
        return before_after(image, self.image) if legend else to_rgb8(self.image)

    def save(self, path: Path, image: np.ndarray) -> None:
        """The upscaled image at `path`, the drawing in `_before_after.png`."""
        write(path, self.image)
        write(path.with_name(path.stem + OUTPUT_SUFFIXES[1]), self.draw(image))

    def compact(self) -> UpscaledSize:
        return UpscaledSize(self.source, self.size, self.image.shape[:2])


def before_after(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Bicubic upscaling of an image, beside its result: uint8 H×W×3, with captions.

    before: h×w×C. after: H×W×C, larger by a whole factor. Of a large result the middle: pixels
    should be seen one by one, and all of them upscaled in doubles would take gigabytes.
    """
    factor = after.shape[0] // before.shape[0]
    sides = [min(side, SHOWN // factor) for side in before.shape[:2]]
    starts = [(whole - side) // 2 for whole, side in zip(before.shape, sides, strict=False)]
    shown = _part(before, starts, sides)
    result = _part(after, [factor * at for at in starts], [factor * side for side in sides])
    where = "" if shown.shape == before.shape else ", the middle"
    titles = (
        f"bicubic, of {by(before.shape[1::-1])}{where}",
        f"answer, {by(after.shape[1::-1])}{where}",
    )
    pair = [
        caption(to_rgb8(each), title, 240)
        for each, title in zip((bicubic_array(shown, factor), result), titles, strict=True)
    ]
    gap = np.full((pair[0].shape[0], max(4, pair[0].shape[1] // 100), 3), PAPER, np.uint8)
    return np.concatenate([pair[0], gap, pair[1]], axis=1)


def _part(image: np.ndarray, starts: list[int], sides: list[int]) -> np.ndarray:
    return image[starts[0] : starts[0] + sides[0], starts[1] : starts[1] + sides[1]]
