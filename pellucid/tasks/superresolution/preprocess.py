"""From a sample to views, and from views to the network input of super-resolution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from ...core.errors import DataError, UsageError
from ...core.types import Batch
from ...data.formats import Dataset
from ...data.images import Header
from ...data.sample import Sample
from ...metrics.image_quality import SIDE
from ...models.weights import Preprocessing
from ...transforms.sliding_window import Windows
from .. import pixels
from ..task import FitData
from .color import in_color_space
from .degradation import PEAK, crop_to_multiple, low_resolution
from .margins import margin_of
from .settings import SuperResolutionSettings
from .windows import mirrored, of_file, windows_of

if TYPE_CHECKING:
    from ..task import View


@dataclass(frozen=True)
class SuperResolutionPreprocess:
    """size: (height, width) of a view, a window of a high-resolution image; a view of an image that
    is to be upscaled is smaller by `upscale`. channels, bits: of the high-resolution images.
    upscale: how many times larger an image becomes. color_space: "luma", where the network upscales
    brightness alone, or "rgb". margin: low-resolution pixels at each side of a window for which
    there is no result, because the network sees too little around them."""

    size: tuple[int, int]
    channels: int
    bits: int = 8
    upscale: int = 2
    color_space: str = "luma"
    margin: int = 0

    @property
    def input_shape(self) -> tuple[int, int, int]:
        channels = 1 if self.color_space == "luma" else self.channels
        return channels, self.size[0] // self.upscale, self.size[1] // self.upscale

    @classmethod
    def create(
        cls, settings: SuperResolutionSettings, dataset: Dataset, headers: Sequence[Header]
    ) -> SuperResolutionPreprocess:
        """Raises DataError for images that are neither gray nor RGB, UsageError for windows and
        crops that do not fit."""
        s = settings
        assert s.model is not None and s.factor is not None and s.colours is not None
        assert s.size is not None and s.patch is not None
        channels = _channels(settings, dataset, headers)
        margin = margin_of(s.model, s.factor, s.width)
        _check_sizes(s.model, s.factor, margin, s.size, s.patch)
        bits = max(header.bits for header in headers)
        return cls(s.size, channels, bits, s.factor, s.colours, margin)

    def fit_statistics(self, data: FitData) -> SuperResolutionPreprocess:
        """Unchanged: the network takes pixels from 0 to 1."""
        return self

    def views(self, sample: Sample, tta: str) -> list[View]:
        """Windows of a high-resolution image, H×W×C of its depth; or, where a sample has no target,
        of an image that is to be upscaled, uint16 h×w×4 (RGBA), so that images of all formats fit
        into one batch."""
        image = sample.pixels()
        if sample.target is None:
            views = self._views_to_upscale(image)
        else:
            views = self._high_resolution_views(image, sample.source)
        if tta != "flip":
            return views
        return [each for view in views for each in (view, mirrored(view))]

    def network_input(self, batch: Batch) -> torch.Tensor:
        """float32 B×C×h×w in 0…1; high-resolution views are degraded first."""
        low = low_resolution(batch, self.upscale, self.bits)
        return in_color_space(low, self.color_space)

    def expecting(self, given: Preprocessing) -> SuperResolutionPreprocess:
        raise UsageError(
            "weights: the task superresolution does not take weights of a classification network; "
            "leave out the weights"
        )

    def _views_to_upscale(self, image: np.ndarray) -> list[View]:
        size = self.size[0] // self.upscale, self.size[1] // self.upscale
        views = windows_of(rgba16(image), Windows(size, self.margin), image.shape[:2])
        channels, bits = image.shape[2], 8 * image.dtype.itemsize
        return [of_file(view, channels, bits) for view in views]

    def _high_resolution_views(self, image: np.ndarray, source: str) -> list[View]:
        """Raises DataError for an image that is too small to be compared."""
        high = crop_to_multiple(pixels.stored(image, self.channels, self.bits), self.upscale)
        least = SIDE + 2 * self.upscale
        if min(high.shape[:2]) < least:
            raise DataError(
                f"{source}: {image.shape[0]}×{image.shape[1]} pixels are too few to compare at a "
                f"factor of {self.upscale}; leave out pictures with a side under "
                f"{-(-least // self.upscale) * self.upscale}"
            )
        windows = Windows(self.size, self.margin * self.upscale, step=self.upscale)
        return windows_of(high, windows, image.shape[:2])


def rgba16(image: np.ndarray) -> np.ndarray:
    """H×W×C of 1 to 4 channels and 8 or 16 bits, to uint16 H×W×4; opaque without alpha."""
    channels = image.shape[2]
    deep = image.astype(np.uint16) * 257 if image.dtype == np.uint8 else image
    colors = deep[..., :3] if channels > 2 else deep[..., :1].repeat(3, axis=2)
    opaque = np.full((*deep.shape[:2], 1), PEAK, np.uint16)
    alpha = deep[..., -1:] if channels in (2, 4) else opaque
    return np.concatenate([colors, alpha], axis=2)


def _channels(
    settings: SuperResolutionSettings, dataset: Dataset, headers: Sequence[Header]
) -> int:
    """Of the high-resolution images: 1 or 3."""
    channels = pixels.common_channels(headers)
    if channels not in (1, 3):
        raise DataError(
            f"{dataset.root or dataset.name}: pictures of {channels} channels; grey ones and RGB "
            "can be made larger"
        )
    if settings.colours == "rgb" and channels == 1:
        raise UsageError("colours: rgb, but all pictures are grey; leave it out")
    return channels


def _check_sizes(model: str, factor: int, margin: int, size: tuple[int, int], patch: int) -> None:
    """Raises UsageError for windows and crops that do not fit each other."""
    for name, side in (("size", size[0]), ("size", size[1]), ("patch", patch)):
        if side % factor:
            raise UsageError(
                f"{name}: {side} is not a multiple of the factor {factor}; set it to "
                f"{-(-side // factor) * factor}"
            )
    frame = 2 * margin * factor
    if min(size) < frame + factor:
        reason = f"{model} needs to see {frame // 2} pixels beyond each side of what it says"
        raise UsageError(
            f"size: {min(size)} leaves nothing in the middle, for {reason}; set it to "
            f"{frame + 64 * factor} or more"
        )
    if patch > min(size):
        raise UsageError(
            f"patch: {patch} is more than a window of {min(size)}; make it smaller, or size larger"
        )
    if patch < 8 * factor:
        raise UsageError(
            f"patch: {patch} makes small pictures of less than 8 pixels; set it to {8 * factor} or "
            "more"
        )
