"""From images to views, and from views to the input of a detector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch

from ...core.types import Batch
from ...data.formats import Dataset
from ...data.images import Header
from ...data.sample import Sample
from ...models.weights import Preprocessing
from ...transforms.tta import View
from .. import pixels
from ..task import FitData
from .designs import DESIGNS
from .proposals import search, stacked
from .settings import DetectionSettings
from .views import VIEWS


@dataclass(frozen=True)
class DetectionPreprocess:
    """size: (height, width) of a view. bits: 8 or 16, the depth of the stored views. mean, std: per
    channel, of pixels scaled to 0..1. pad_value: per channel, in stored units, the color of what
    augmentation moves into a view from outside. normalization: of the network input, "standard",
    "unit" or "raw" (see `pixels.offset_and_gain`). resolution: pixels of a view for one of the
    image, the median over the training images; tiles of large images keep to it. proposals: how
    many boxes selective search gives the network for each view at most; 0 for a network that needs
    none."""

    size: tuple[int, int]
    channels: int
    bits: int = 8
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    pad_value: tuple[float, ...] = ()
    normalization: str = "standard"
    resolution: float = 1.0
    proposals: int = 0

    @property
    def input_shape(self) -> tuple[int, int, int]:
        return self.channels, *self.size

    @classmethod
    def create(
        cls, settings: DetectionSettings, dataset: Dataset, headers: Sequence[Header]
    ) -> DetectionPreprocess:
        assert settings.size is not None and settings.detector is not None
        return cls(
            size=settings.size,
            channels=pixels.common_channels(headers),
            bits=max(header.bits for header in headers),
            normalization=settings.scale,
            proposals=DESIGNS[settings.detector].proposals,
        )

    def fit_statistics(self, data: FitData) -> DetectionPreprocess:
        mean, std = pixels.mean_and_deviation(data.images, self.bits)
        scales = [transform.matrix[0, 0] for transform in data.transforms]
        return replace(
            self,
            mean=mean,
            std=std,
            pad_value=pixels.border(data.images),
            resolution=float(np.median(scales)),
        )

    def views(self, sample: Sample, tta: str) -> list[View]:
        """uint8 or uint16 H×W×C of `size`; a border has the color of the edge of the image. tta:
        "none", "flip" or "tiles"."""
        image = pixels.stored(sample.pixels(), self.channels, self.bits)
        fill = 0 if image.shape[:2] == self.size else pixels.border(image[None])
        return VIEWS[tta](image, self.size, fill, self.resolution)

    def network_input(self, batch: Batch) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """float32 B×C×H×W; for a network that takes proposals also float32 B×P×4, in pixels of the
        views, whose images are of the stored depth then."""
        images = self.normalized(batch.images)
        if not self.proposals:
            return images
        return images, stacked(search(batch.images), self.proposals).to(images.device)

    def normalized(self, images: torch.Tensor) -> torch.Tensor:
        """float32 B×C×H×W, from stored or augmented pixels."""
        return pixels.normalised(images, *self._offset_and_gain)

    def expecting(self, given: Preprocessing) -> DetectionPreprocess:
        return replace(self, channels=len(given.mean), mean=given.mean, std=given.std)

    @cached_property
    def _offset_and_gain(self) -> tuple[torch.Tensor, torch.Tensor]:
        return pixels.offset_and_gain(self.normalization, self.bits, self.mean, self.std)
