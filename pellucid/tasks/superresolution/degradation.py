"""High-resolution images and the low-resolution ones that are made of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ...core.types import Batch
from ...data.sample import HighResolution, Sample
from ...transforms.resize import bicubic, bicubic_array
from .. import pixels
from .windows import extend, to_upscale

# Channels of the view of an image that is to be upscaled: red, green, blue, alpha.
ALPHA = 3
# The highest level of such a view.
PEAK = 65535


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """The target of a high-resolution sample: the image itself, read again when a result is
    compared with it. supplied: the low-resolution files that come with it."""

    sample: Sample
    supplied: HighResolution

    def pixels(self, channels: int, bits: int, factor: int) -> np.ndarray:
        """H×W×channels of 8 or 16 bits, its sides multiples of the factor."""
        return crop_to_multiple(pixels.stored(self.sample.pixels(), channels, bits), factor)

    def __str__(self) -> str:
        return str(self.supplied)


def crop_to_multiple(image: np.ndarray, factor: int) -> np.ndarray:
    """H×W×C without the last rows and columns that the factor leaves over, as in the papers."""
    height, width = (side - side % factor for side in image.shape[:2])
    return image[:height, :width]


def degrade(images: torch.Tensor, factor: int, peak: int) -> torch.Tensor:
    """High-resolution B×C×H×W in 0…1, to a stored image of `peak` levels that is `factor` times
    smaller. Rounded after each side, as imresize does: the supplied images of Set5 are matched to
    the level."""
    height, width = images.shape[-2:]
    for size in ((height // factor, width), (height // factor, width // factor)):
        images = (bicubic(images, size).clamp(0, 1) * peak + 0.5).floor() / peak
    return images


def low_resolution(batch: Batch, factor: int, bits: int) -> torch.Tensor:
    """float32 B×C×h×w in 0…1: the colors of images that are to be upscaled, or high-resolution
    views of `bits` bits degraded."""
    if to_upscale(batch.transforms[0]):
        return batch.images[:, :ALPHA].float() / PEAK
    peak = 2**bits - 1
    low = degrade(batch.images.float() / peak, factor, peak)
    return extend(low, batch.transforms, factor)


def upscale_bicubic(low: np.ndarray, factor: int) -> np.ndarray:
    """A stored image H×W×C enlarged by bicubic interpolation, rounded once."""
    top = np.iinfo(low.dtype).max
    upscaled = bicubic_array(low.astype(np.float64), factor)
    return np.floor(upscaled.clip(0, top) + 0.5).astype(low.dtype)


def largest_difference(high: np.ndarray, low: np.ndarray, factor: int) -> int | None:
    """In levels, between a supplied low-resolution image and what `degrade` makes of the
    high-resolution one; None where the sizes or depths differ."""
    ours = bicubic_array(crop_to_multiple(high, factor), 1 / factor)
    if ours.shape != low.shape or ours.dtype != low.dtype:
        return None
    return int(np.abs(ours.astype(np.int64) - low).max())
