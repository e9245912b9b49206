"""Inference of classification: from the network to probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from ...core.errors import UsageError, did_you_mean
from ...core.types import Batch
from ...data.formats import Dataset
from ..image_preprocess import TTA, ImagePreprocess
from ..shared import spans
from .result import ClassificationResult
from .settings import ClassificationSettings


@dataclass(frozen=True)
class ClassificationInference:
    """temperature: divides the logits. tta: the views of an image whose probabilities are averaged,
    "none", "flip" or "ten" (see `transforms.tta`)."""

    classes: tuple[str, ...]
    temperature: float = 1.0
    tta: str = "none"
    output_suffixes: tuple[str, ...] = (".png",)

    @classmethod
    def create(
        cls, settings: ClassificationSettings, dataset: Dataset, preprocess: ImagePreprocess
    ) -> ClassificationInference:
        return cls(dataset.classes)

    def forward(self, network: nn.Module, inputs: Any) -> torch.Tensor:
        """float32 B×classes: logits. inputs: float32 B×C×H×W."""
        return network(inputs).float()

    def decode(self, outputs: torch.Tensor, batch: Batch) -> list[ClassificationResult]:
        """The mean of the probabilities over the views of each source."""
        probabilities = torch.softmax(outputs.double() / self.temperature, dim=1).cpu().numpy()
        return [
            ClassificationResult(
                batch.sources[i],
                batch.transforms[i].source_size,
                self.classes,
                probabilities[i:end].mean(0),
            )
            for i, end in spans(tuple(batch.sources))
        ]

    def ensemble(self, results: Sequence[ClassificationResult]) -> ClassificationResult:
        """The mean of the probabilities; classes in the order of the first model."""
        first = results[0]
        assert all(result.source == first.source for result in results)
        rows = [
            result.probabilities[[result.classes.index(name) for name in first.classes]]
            for result in results
        ]
        return replace(first, probabilities=np.mean(rows, axis=0))

    def with_options(
        self, tta: str = "none", threshold: float | None = None, full: bool = True
    ) -> ClassificationInference:
        if tta == "tiles":
            raise UsageError("crops: tiles are for models that find objects; choose flip or ten")
        if tta not in TTA:
            raise UsageError(f'crops: unknown "{tta}"; {did_you_mean(tta, TTA)}')
        if threshold is not None:
            raise UsageError(
                "threshold: is for models that find objects; this one says one label a picture; "
                "leave it out"
            )
        return replace(self, tta=tta)
