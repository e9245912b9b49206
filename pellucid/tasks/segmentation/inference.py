"""Inference of segmentation: from the network to masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from ...core.errors import UsageError
from ...core.types import UNKNOWN_GEOMETRY, Batch
from ...data.formats import Dataset
from ...plots.masks import MASK_FILES, VOLUME_FILES
from ..shared import spans
from .annotators import annotator_number
from .postprocess import Postprocessing, postprocess
from .preprocess import SegmentationPreprocess
from .result import SegmentationResult, no_probabilities
from .settings import SegmentationSettings
from .volume_views import merge, output_windows

# Quarter turns and reflections of the input, by the value of `tta`; each is (turns, mirrored).
TTA: dict[str, tuple[tuple[int, bool], ...]] = {
    "none": (),
    "flip": ((0, True),),
    "eight": tuple((turns, mirror) for turns in range(4) for mirror in (False, True))[1:],
}


@dataclass(frozen=True)
class SegmentationInference:
    """bits: 8 or 16, of the stored views. threshold, refine, smallest, wall, floor: see
    `postprocess.Postprocessing`. annotator: whose masks are the targets, a number; -1 for the mean
    of all. tta: "none", "flip" or "eight", the reflections and rotations of the input whose
    probabilities are averaged."""

    classes: tuple[str, ...]
    bits: int = 8
    threshold: float = 0.5
    refine: str = "none"
    smallest: int = 0
    wall: float = 0.5
    floor: float = 0.0
    annotator: int = 0
    tta: str = "none"
    keep_probabilities: bool = True
    output_suffixes: tuple[str, ...] = MASK_FILES

    @classmethod
    def create(
        cls, settings: SegmentationSettings, dataset: Dataset, preprocess: SegmentationPreprocess
    ) -> SegmentationInference:
        """Raises UsageError for an unknown annotator."""
        refine = settings.refine or "none"
        return cls(
            classes=dataset.classes,
            bits=preprocess.bits,
            refine="none" if refine == "crf_rnn" else refine,
            smallest=settings.smallest,
            annotator=annotator_number(settings.annotator, dataset),
            output_suffixes=MASK_FILES if preprocess.look == "picture" else VOLUME_FILES,
        )

    def forward(self, network: nn.Module, inputs: Any) -> torch.Tensor:
        """B×K×size of the output: probabilities. inputs: float32 B×C×size."""
        total = torch.softmax(network(inputs).float(), 1)
        if self.tta == "none":
            return total
        for k, mirror in TTA[self.tta]:
            turned = torch.rot90(inputs.flip(-1) if mirror else inputs, k, (-2, -1))
            back = torch.rot90(torch.softmax(network(turned).float(), 1), -k, (-2, -1))
            total = total + (back.flip(-1) if mirror else back)
        return total / (1 + len(TTA[self.tta]))

    def decode(self, outputs: torch.Tensor, batch: Batch) -> list[SegmentationResult]:
        return [
            self._result(outputs[start:end].cpu(), batch.part(start, end))
            for start, end in spans(tuple(batch.sources))
        ]

    def ensemble(self, results: Sequence[SegmentationResult]) -> SegmentationResult:
        """The mean of the probabilities; without the CRF, which needs the image."""
        first = results[0]
        rows = [
            result.probabilities[[result.classes.index(name) for name in first.classes]].astype(
                np.float32
            )
            / 255
            for result in results
        ]
        how = self.postprocessing
        how = replace(how, refine="none") if how.refine == "crf" else how
        shares = torch.from_numpy(np.mean(rows, axis=0))
        found = postprocess(shares, None, how)
        if not self.keep_probabilities:
            found["probabilities"] = no_probabilities()
        return replace(first, **found)

    def with_options(
        self, tta: str = "none", threshold: float | None = None, full: bool = True
    ) -> SegmentationInference:
        if tta not in (*TTA, "tiles"):
            raise UsageError(
                f"crops: {tta} is not for masks; choose one, flip, eight (large pictures are "
                "always seen in windows)"
            )
        if threshold is not None and len(self.classes) != 2:
            raise UsageError(
                f"threshold: is of two classes, and this model tells {len(self.classes)} apart; "
                "leave it out"
            )
        return replace(
            self,
            tta="none" if tta == "tiles" else tta,
            threshold=self.threshold if threshold is None else threshold,
            keep_probabilities=full,
        )

    @property
    def postprocessing(self) -> Postprocessing:
        return Postprocessing(self.threshold, self.refine, self.smallest, self.wall, self.floor)

    def _result(self, outputs: torch.Tensor, views: Batch) -> SegmentationResult:
        """Of one source, from the outputs for all its views."""
        transforms = list(views.transforms)
        windows = output_windows(transforms, outputs.shape[2:])
        shares, image = merge(outputs, transforms, windows), None
        if self.refine == "crf":
            top = 2.0**self.bits - 1
            parts = [view.cpu().float() / top for view in views.images]
            image = replace(windows, margin=0).blended(parts, transforms)
        found = postprocess(shares, image, self.postprocessing)
        if not self.keep_probabilities:
            found["probabilities"] = no_probabilities()
        return SegmentationResult(
            views.sources[0],
            transforms[0].source_size,
            self.classes,
            geometry=transforms[0].space or UNKNOWN_GEOMETRY,
            **found,
        )
