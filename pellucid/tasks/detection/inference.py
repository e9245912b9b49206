"""Inference of detection: from the network to boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from ...core.errors import UsageError, did_you_mean
from ...core.types import Batch
from ...data.formats import Dataset
from ...metrics.detection import read_aim, require
from ..shared import spans
from .designs import DESIGNS
from .merging import fused, in_images, merged
from .preprocess import DetectionPreprocess
from .result import DetectionResult
from .settings import DetectionSettings
from .views import VIEWS


@dataclass(frozen=True)
class DetectionInference:
    """detector: of DESIGNS. threshold: the score from which on a detection counts as an object,
    chosen on validation for `aim`; note: a sentence where that was not reached. tta: the views of
    an image whose detections are merged, "none", "flip" or "tiles". least: the score below which
    detections are left out."""

    classes: tuple[str, ...]
    detector: str
    threshold: float = 0.25
    aim: str = "f1"
    note: str = ""
    tta: str = "none"
    least: float = 0.0
    output_suffixes: tuple[str, ...] = (".png",)

    @classmethod
    def create(
        cls, settings: DetectionSettings, dataset: Dataset, preprocess: DetectionPreprocess
    ) -> DetectionInference:
        """Raises UsageError for an unknown aim, and where faster-coco-eval is not installed."""
        assert settings.detector is not None and settings.aim is not None
        require()
        read_aim(settings.aim)
        return cls(dataset.classes, settings.detector, aim=settings.aim)

    def forward(self, network: nn.Module, inputs: Any) -> torch.Tensor:
        """float32 B×K×6 candidates in pixels of the view: x1 y1 x2 y2 score label; rows of score 0
        hold nothing. inputs: float32 B×C×H×W, or a tuple of it and proposals B×P×4."""
        images, *proposals = inputs if isinstance(inputs, tuple) else (inputs,)
        return DESIGNS[self.detector].candidates(network, images, *proposals).float()

    def decode(self, outputs: torch.Tensor, batch: Batch) -> list[DetectionResult]:
        """Suppressed within each view and merged over the views of each source."""
        transforms = list(batch.transforms)
        found = in_images(outputs, transforms, self.least)
        return [
            DetectionResult(
                batch.sources[i],
                transforms[i].source_size,
                self.classes,
                *merged(found[i:end], transforms[i:end], self.tta),
                self.threshold,
            )
            for i, end in spans(tuple(batch.sources))
        ]

    def ensemble(self, results: Sequence[DetectionResult]) -> DetectionResult:
        return fused(results)

    def with_options(
        self, tta: str = "none", threshold: float | None = None, full: bool = True
    ) -> DetectionInference:
        """Suppression never lets a box be changed by ones of lower score, merging of views does: so
        detections below the threshold can be left out for one view alone."""
        if tta == "ten":
            raise UsageError(
                "crops: ten is for whole pictures, and would cut objects; choose flip, "
                "or tiles for large pictures"
            )
        if tta not in VIEWS:
            raise UsageError(f'crops: unknown "{tta}"; {did_you_mean(tta, VIEWS)}')
        value = self.threshold if threshold is None else threshold
        least = 0.0 if full or tta != "none" else value
        return replace(self, tta=tta, threshold=value, least=least)
