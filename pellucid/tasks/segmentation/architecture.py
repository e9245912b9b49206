"""The network of segmentation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from ... import models
from ...data.formats import Dataset
from ..task import FitData
from .settings import SegmentationSettings


@dataclass(frozen=True)
class SegmentationArchitecture:
    """model: a name of `models.SEGMENTERS`, or the backbone of a U-Net, a name or a notation.
    classes: how many. channels, size: of the input, height and width, or depth, height and width.
    width, upsampling, skips: of a U-Net; empty texts for its own. crf_rnn: whether a CRF that is
    trained with the network follows it. look: see `volume_views`."""

    model: str
    classes: int
    channels: int
    size: tuple[int, ...]
    width: int = 32
    upsampling: str = ""
    skips: str = ""
    crf_rnn: bool = False
    look: str = "picture"

    @property
    def num_outputs(self) -> None:
        return None

    @classmethod
    def create(
        cls,
        settings: SegmentationSettings,
        dataset: Dataset,
        preprocess: Any,
        fitted: FitData | None,
    ) -> SegmentationArchitecture:
        s = settings
        assert s.model is not None and s.width is not None
        return cls(
            model=s.model,
            classes=len(dataset.classes),
            channels=preprocess.input_shape[0],
            size=preprocess.size,
            width=s.width,
            upsampling=s.upsampling or "",
            skips=s.skips or "",
            crf_rnn=s.refine == "crf_rnn",
            look=preprocess.look,
        )

    def __str__(self) -> str:
        named = self.model if self.model in models.SEGMENTERS else f"unet over {self.model}"
        return named if self.look == "picture" else f"{named}, {self.look}"

    def build(self) -> nn.Module:
        """Raises UsageError for settings that the network does not take."""
        network = models.segmenter(
            self.model,
            self.classes,
            self.channels,
            self.size,
            width=self.width,
            upsampling=self.upsampling or None,
            skips=self.skips or None,
            dims=len(self.size),
        )
        if not self.crf_rnn:
            return network
        from ...models.crf import CrfAsRnn

        return CrfAsRnn(network, self.classes)
