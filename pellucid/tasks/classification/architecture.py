"""The network of classification."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from ... import models
from ...data.formats import Dataset
from ..image_preprocess import ImagePreprocess
from ..task import FitData
from .settings import ClassificationSettings


@dataclass(frozen=True)
class ClassificationArchitecture:
    """model: a name or a notation. num_outputs: one an image and class. channels, size (height,
    width): of the input."""

    model: str
    num_outputs: int
    channels: int
    size: tuple[int, int]

    @classmethod
    def create(
        cls,
        settings: ClassificationSettings,
        dataset: Dataset,
        preprocess: ImagePreprocess,
        fitted: FitData | None,
    ) -> ClassificationArchitecture:
        assert settings.model is not None
        classes = len(dataset.classes)
        return cls(settings.model, classes, preprocess.channels, preprocess.size)

    def __str__(self) -> str:
        return self.model

    def build(self) -> nn.Module:
        return models.create(self.model, self.num_outputs, self.channels, self.size)
