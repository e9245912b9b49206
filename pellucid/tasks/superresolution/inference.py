"""Inference of super-resolution: from the upscaled windows to the upscaled image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from ...core.errors import ModelError, UsageError, did_you_mean
from ...core.types import Batch, ViewTransform
from ...data.formats import Dataset
from ...transforms.resize import bicubic
from ..shared import spans
from .color import with_chroma
from .degradation import ALPHA, PEAK, low_resolution
from .preprocess import SuperResolutionPreprocess
from .result import OUTPUT_SUFFIXES, SuperResolutionResult
from .settings import SuperResolutionSettings
from .windows import merge, to_upscale

TTA = ("none", "flip", "tiles")


@dataclass(frozen=True)
class SuperResolutionInference:
    """upscale, color_space, margin, bits: as in `SuperResolutionPreprocess`. tta: "flip" averages
    with a mirrored view; "tiles" changes nothing, because large images have several windows
    anyway."""

    upscale: int
    color_space: str
    margin: int
    bits: int = 8
    classes: tuple[str, ...] = ()
    tta: str = "none"
    output_suffixes: tuple[str, ...] = OUTPUT_SUFFIXES

    @classmethod
    def create(
        cls,
        settings: SuperResolutionSettings,
        dataset: Dataset,
        preprocess: SuperResolutionPreprocess,
    ) -> SuperResolutionInference:
        p = preprocess
        return cls(p.upscale, p.color_space, p.margin, p.bits)

    def forward(self, network: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
        """float32 B×C×H×W, the upscaled windows with their margins: luma, or RGB in 0…1."""
        return network(inputs).float()

    def decode(self, outputs: torch.Tensor, batch: Batch) -> list[SuperResolutionResult]:
        batch = batch.to(outputs.device)
        return [
            self._result(outputs[start:end], batch.part(start, end))
            for start, end in spans(tuple(batch.sources))
        ]

    def ensemble(self, results: Sequence[SuperResolutionResult]) -> SuperResolutionResult:
        """The mean of the images. Raises ModelError for images of different sizes."""
        images = [result.image for result in results]
        if len({image.shape for image in images}) > 1:
            raise ModelError(
                f"{results[0].source}: these models enlarge by different factors, so their "
                "pictures have no mean"
            )
        mean = np.rint(np.mean(images, axis=0, dtype=np.float64)).astype(images[0].dtype)
        return replace(results[0], image=mean)

    def with_options(
        self, tta: str = "none", threshold: float | None = None, full: bool = True
    ) -> SuperResolutionInference:
        if tta == "ten":
            raise UsageError("crops: ten is for answers about a picture as a whole; choose flip")
        if tta not in TTA:
            raise UsageError(f'crops: unknown "{tta}"; {did_you_mean(tta, TTA)}')
        if threshold is not None:
            raise UsageError(
                "threshold: nothing is said to be there or not in a picture that is made larger; "
                "leave it out"
            )
        return replace(self, tta=tta)

    def _result(self, outputs: torch.Tensor, batch: Batch) -> SuperResolutionResult:
        """Of the windows of one image. An image that was to be upscaled keeps the channels and the
        depth of its file; a high-resolution one has those of the model."""
        file = batch.transforms[0]
        scale = self.upscale if to_upscale(file) else 1
        size = tuple(side * scale - side * scale % self.upscale for side in file.source_size)
        windows = (
            self._window(outputs[i : i + 1], batch.part(i, i + 1)) for i in range(len(batch))
        )
        margin = self.margin * self.upscale // scale
        channels = (ALPHA if to_upscale(file) else batch.images.shape[1]) + _has_alpha(file)
        image = merge(windows, tuple(batch.transforms), margin, scale, channels, size)
        if file.channels in (1, 2):
            image = torch.cat([image[:ALPHA].mean(0, keepdim=True), image[ALPHA:]])
        return SuperResolutionResult(
            batch.sources[0], file.source_size, _to_levels(image, file.bits or self.bits)
        )

    def _window(self, output: torch.Tensor, view: Batch) -> torch.Tensor:
        """C×h×w in 0…1 without margins: the colors, and the alpha of a file that has one.

        output, view: of one window; one at a time, for the windows of a large image take gigabytes.
        """
        image = output
        if self.color_space == "luma":
            low = low_resolution(view, self.upscale, self.bits)
            image = with_chroma(output, bicubic(low, self.upscale))
        if _has_alpha(view.transforms[0]):
            alpha = view.images[:, ALPHA : ALPHA + 1].float() / PEAK
            image = torch.cat([image, bicubic(alpha, self.upscale)], dim=1)
        frame = self.margin * self.upscale
        return image[0, :, frame : image.shape[2] - frame, frame : image.shape[3] - frame]


def _has_alpha(file: ViewTransform) -> bool:
    return file.channels in (2, 4)


def _to_levels(image: torch.Tensor, bits: int) -> np.ndarray:
    """C×H×W in 0…1, which is changed, to H×W×C of 8 or 16 bits."""
    levels = image.clamp_(0, 1).mul_(2**bits - 1).round_()
    kind = np.uint8 if bits == 8 else np.uint16
    return np.ascontiguousarray(levels.permute(1, 2, 0).cpu().numpy(), kind)
