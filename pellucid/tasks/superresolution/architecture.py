"""The network of super-resolution."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from ... import models
from ...data.formats import Dataset
from ..task import FitData
from .preprocess import SuperResolutionPreprocess
from .settings import SuperResolutionSettings


@dataclass(frozen=True)
class SuperResolutionArchitecture:
    """model: a name of `models.ENLARGERS`. upscale: how many times larger an image becomes.
    channels: of the network input. width: channels in the middle, None for the network's own."""

    model: str
    upscale: int
    channels: int
    width: int | None = None

    def __str__(self) -> str:
        return f"{self.model} ×{self.upscale}"

    @property
    def num_outputs(self) -> None:
        return None

    @classmethod
    def create(
        cls,
        settings: SuperResolutionSettings,
        dataset: Dataset,
        preprocess: SuperResolutionPreprocess,
        fitted: FitData | None,
    ) -> SuperResolutionArchitecture:
        assert settings.model is not None
        channels = preprocess.input_shape[0]
        return cls(settings.model, preprocess.upscale, channels, settings.width)

    def build(self) -> nn.Module:
        return models.enlarger(self.model, self.upscale, self.channels, self.width)
