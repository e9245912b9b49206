"""Preprocessing of segmentation: windows of images, windows or slices of volumes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ...anatomy import blank
from ...core.errors import DataError, UsageError
from ...core.types import Batch
from ...data.formats import Dataset
from ...data.images import Header
from ...data.sample import Sample
from ...models.weights import Preprocessing
from ...plots.formatting import by
from ...transforms.sliding_window import View
from .. import pixels
from . import volume_views
from .annotators import annotator_number
from .architecture import SegmentationArchitecture
from .random_crops import check_patch, patch_size
from .settings import SegmentationSettings

if TYPE_CHECKING:
    from ..task import FitData


@dataclass(frozen=True)
class SegmentationPreprocess:
    """size: (height, width) of a window, or (depth, height, width). bits: 8 or 16, the depth of the
    stored views. mean, std: per channel, of pixels scaled to 0..1. normalization: of the network
    input, "standard" (zero mean and unit deviation), "unit" (0..1) or "raw". look: the views of an
    image or volume (see `volume_views`). channel_names: of a volume. margin: pixels that the output
    of the network lacks on every side. step: windows begin at its multiples."""

    size: tuple[int, ...]
    channels: int
    bits: int = 8
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    normalization: str = "standard"
    look: str = "picture"
    channel_names: tuple[str, ...] = ()
    margin: int = 0
    step: int = 1

    @property
    def input_shape(self) -> tuple[int, ...]:
        return volume_views.num_channels(self.look, self.channels), *self.size

    @classmethod
    def create(
        cls, settings: SegmentationSettings, dataset: Dataset, headers: Sequence[Header]
    ) -> SegmentationPreprocess:
        """Margin and step are those of the network, which is built once without weights. Raises
        UsageError for settings that do not fit the data or the network, DataError for a mixture of
        images and volumes."""
        solid = headers[0].depth is not None
        _check(settings, dataset, headers)
        look = (settings.look or "neighbours") if solid else "picture"
        assert settings.size is not None
        size: tuple[int, ...] = settings.size
        if look == "volume":
            assert settings.depth is not None
            size = (settings.depth, *size)
        found = cls(
            size=size,
            channels=headers[0].channels if solid else pixels.common_channels(headers),
            bits=max(header.bits for header in headers),
            normalization=settings.scale,
            look=look,
            channel_names=tuple(getattr(dataset.samples[0].image, "names", ())),
        )
        annotator_number(settings.annotator, dataset)  # an unknown one is refused early
        with blank():
            network: Any = SegmentationArchitecture.create(settings, dataset, found, None).build()
        patch = patch_size(settings.patch, size, network.margin)
        check_patch(patch, getattr(getattr(network, "network", network), "least", patch))
        return replace(found, margin=network.margin, step=network.step)

    def fit_statistics(self, data: FitData) -> SegmentationPreprocess:
        mean, std = pixels.mean_and_deviation(data.images, self.bits)
        return replace(self, mean=mean, std=std)

    def views(self, sample: Sample, tta: str) -> list[View]:
        """The same for each `tta`: reflections and rotations are made from the network input.
        Raises DataError for an image where a volume is expected, the other way, and one that is too
        small."""
        image = sample.pixels()
        _check_size(sample.source, image.shape[-3:-1], self.step)
        windows = volume_views.default_windows(self.size, self.margin, self.step)
        if self.look == "picture":
            return volume_views.make_views(
                self._flat(sample.source, image), self.look, windows, None
            )
        return volume_views.make_views(
            self._solid(sample.source, image), self.look, windows, sample.space
        )

    def network_input(self, batch: Batch) -> torch.Tensor:
        """float32 B×C×H×W, or B×C×D×H×W."""
        offset, gain = (
            each[..., None] if batch.images.ndim == 5 and each.ndim else each
            for each in self._offset_and_gain
        )
        return pixels.normalised(batch.images, offset, gain)

    def expecting(self, given: Preprocessing) -> SegmentationPreprocess:
        return replace(self, channels=len(given.mean), mean=given.mean, std=given.std)

    def _flat(self, source: str, image: np.ndarray) -> np.ndarray:
        """H×W×C of the stored channels and depth."""
        if image.ndim == 4:
            raise DataError(
                f"{source}: is a volume, and this model knows flat pictures; name pictures"
            )
        return pixels.stored(image, self.channels, self.bits)

    def _solid(self, source: str, image: np.ndarray) -> np.ndarray:
        if image.ndim == 3:
            raise DataError(
                f"{source}: is a flat picture, and this model knows volumes; name NIfTI or DICOM"
            )
        if image.shape[3] != self.channels:
            raise DataError(
                f"{source}: has {image.shape[3]} channels, and this model knows "
                f"{self.channels}; name all of them"
            )
        return image

    @cached_property
    def _offset_and_gain(self) -> tuple[torch.Tensor, torch.Tensor]:
        return pixels.offset_and_gain(self.normalization, self.bits, self.mean, self.std)


def _check(settings: SegmentationSettings, dataset: Dataset, headers: Sequence[Header]) -> None:
    """Raises UsageError or DataError for settings that do not fit the data."""
    solid = headers[0].depth is not None
    if any((header.depth is not None) != solid for header in headers):
        raise DataError(
            f"{dataset.root or dataset.name}: holds pictures and volumes; "
            "name a data set of one kind"
        )
    if settings.look and not solid:
        raise UsageError(
            f"look: {settings.look} is of volumes, and these are flat pictures; leave it out"
        )
    if solid and settings.refine != "none":
        raise UsageError(f"refine: {settings.refine} is of flat pictures; leave it out")
    if settings.refine == "watershed" and len(dataset.classes) != 2:
        raise UsageError(
            "refine: watershed parts the objects of one class from each other, and here are "
            f"{len(dataset.classes) - 1}; leave it out"
        )


def _check_size(source: str, size: tuple[int, ...], step: int) -> None:
    """Raises DataError for an image, or for slices, of less than one place of the network's
    coarsest feature map: all would be mirror images."""
    if min(size) < step:
        raise DataError(
            f"{source}: {by(size)} pixels are less than one place of the network's coarsest map "
            f"({step}×{step}); leave it out"
        )
