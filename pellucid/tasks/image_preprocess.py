"""From images to views of one size, and from views to the input of a network: the preprocessing
that several tasks share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch

from ..core.types import Batch
from ..data.formats import Dataset
from ..data.images import Header
from ..data.sample import Sample
from ..models.weights import Preprocessing
from ..transforms.tta import Crops, View, flip, one, ten
from . import pixels
from .task import FitData

# The views of test-time augmentation, by the value of `tta`.
TTA: Mapping[str, Crops] = {"none": one, "flip": flip, "ten": ten}


@dataclass(frozen=True)
class ImagePreprocess:
    """size: (height, width) of a view. bits: 8 or 16, the depth of the stored views. mean, std: per
    channel, of pixels scaled to 0..1. pad_value: per channel, in stored units, the color of what
    augmentation moves into a view from outside. normalization: of the network input, "standard"
    (zero mean and unit deviation over the training images), "unit" (0..1) or "raw" (as stored)."""

    size: tuple[int, int]
    channels: int
    bits: int = 8
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    pad_value: tuple[float, ...] = ()
    normalization: str = "standard"

    @property
    def input_shape(self) -> tuple[int, int, int]:
        return self.channels, *self.size

    @classmethod
    def create(cls, settings: Any, dataset: Dataset, headers: Sequence[Header]) -> ImagePreprocess:
        """settings: complete, with the fields `size` and `scale`."""
        return cls(
            size=tuple(settings.size),
            channels=pixels.common_channels(headers),
            bits=max(header.bits for header in headers),
            normalization=settings.scale,
        )

    def fit_statistics(self, data: FitData) -> ImagePreprocess:
        mean, std = pixels.mean_and_deviation(data.images, self.bits)
        return replace(self, mean=mean, std=std, pad_value=pixels.border(data.images))

    def views(self, sample: Sample, tta: str) -> list[View]:
        """The image fitted into `size`, uint8 or uint16 H×W×C; a border has the color of the edge
        of the image. tta: "none", "flip" or "ten"."""
        image = pixels.stored(sample.pixels(), self.channels, self.bits)
        fits = image.shape[:2] == self.size and tta != "ten"
        return TTA[tta](image, self.size, 0 if fits else pixels.border(image[None]))

    def network_input(self, batch: Batch) -> torch.Tensor:
        """float32 B×C×H×W."""
        return pixels.normalised(batch.images, *self._offset_and_gain)

    def expecting(self, given: Preprocessing) -> ImagePreprocess:
        return replace(self, channels=len(given.mean), mean=given.mean, std=given.std)

    @cached_property
    def _offset_and_gain(self) -> tuple[torch.Tensor, torch.Tensor]:
        return pixels.offset_and_gain(self.normalization, self.bits, self.mean, self.std)
