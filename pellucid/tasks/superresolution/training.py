"""Training of super-resolution: random crops of the windows, and the loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import nn

from ...core.rng import Draws
from ...core.types import Batch, ViewTransform
from ...data.formats import Dataset
from ...data.sample import Sample
from ...plots.annotate import to_rgb8
from ...transforms.sliding_window import translation
from ..shared import all_parameters
from ..task import FitData, Part, Phase
from .architecture import SuperResolutionArchitecture
from .color import in_color_space
from .inference import SuperResolutionInference
from .preprocess import SuperResolutionPreprocess
from .settings import SuperResolutionSettings
from .windows import valid_part

# Crops of an epoch: validation, which takes whole images, should be a small part of the time.
CROPS = 4000
# Smaller errors count by their square (Lai et al. 2017, "Deep Laplacian pyramid networks",
# section III-B).
SMALL = 1e-3
LOSSES: Mapping[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "l1": lambda error: error.abs().mean(),
    "l2": lambda error: error.square().mean(),
    "charbonnier": lambda error: (error.square() + SMALL**2).sqrt().mean(),
}


@dataclass(frozen=True)
class SuperResolutionTraining:
    """batch: crops of a step. patch: side of a crop, in pixels of the high-resolution image.
    criterion: a name of LOSSES. mirror, turn: probabilities of a left-right reflection and of a
    rotation by 90, 180 or 270 degrees."""

    preprocess: SuperResolutionPreprocess
    batch: int = 16
    patch: int = 64
    criterion: str = "l1"
    mirror: float = 0.0
    turn: float = 0.0
    plots: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def create(
        cls,
        settings: SuperResolutionSettings,
        dataset: Dataset,
        preprocess: SuperResolutionPreprocess,
        architecture: SuperResolutionArchitecture,
        fitted: FitData,
    ) -> SuperResolutionTraining:
        s = settings
        assert s.batch is not None and s.patch is not None and s.loss is not None
        return cls(preprocess, s.batch, s.patch, s.loss, s.mirror or 0.0, s.turn or 0.0)

    def batches(
        self, samples: Sequence[Sample], views: np.ndarray, epoch: int, rng: np.random.Generator
    ) -> list[np.ndarray]:
        """All windows, again and again in another order until there are enough crops: each time
        another crop."""
        count = int(views.sum())
        chosen = np.concatenate([rng.permutation(count) for _ in range(-(-CROPS // count))])
        return np.split(chosen, range(self.batch, len(chosen), self.batch))

    def augment(self, batch: Batch, rng: Draws, progress: float) -> Batch:
        """Random crops of the windows, turned and mirrored: each is an image of its own."""
        draws = rng.uniform(5)
        rows = zip(batch.images, batch.transforms, draws, strict=True)
        crops = torch.stack([self._crop(image, t, drawn) for image, t, drawn in rows])
        side = self.patch, self.patch
        whole = ViewTransform(translation((0, 0)), side, side)
        return replace(batch, images=crops, transforms=(whole,) * len(crops))

    def preview_batch(self, batch: Batch) -> list[tuple[np.ndarray, str]]:
        shown = (batch.images.float() / self._peak).permute(0, 2, 3, 1).cpu().numpy()
        height, width = shown.shape[1:3]
        factor = self.preprocess.upscale
        size = f"{width // factor}×{height // factor} → {width}×{height}"
        return [(to_rgb8(image), size) for image in shown]

    def phases(self, network: nn.Module) -> list[Phase]:
        return all_parameters(network)

    def loss(
        self, network: nn.Module, batch: Batch, phase: str, rng: Draws
    ) -> dict[str, torch.Tensor]:
        """Of luma or RGB; the outermost pixels, around which a crop shows too little, do not
        count."""
        upscaled = network(self.preprocess.network_input(batch)).float()
        target = in_color_space(batch.images / self._peak, self.preprocess.color_space)
        rim = self.preprocess.upscale
        error = (upscaled - target)[..., rim:-rim, rim:-rim]
        return {"total": LOSSES[self.criterion](error)}

    def calibrate(
        self,
        network: nn.Module,
        inference: SuperResolutionInference,
        train: Part,
        validation: Part,
    ) -> SuperResolutionInference:
        return inference

    @property
    def _peak(self) -> int:
        """The highest level of the high-resolution images."""
        return 2**self.preprocess.bits - 1

    def _crop(
        self, image: torch.Tensor, transform: ViewTransform, drawn: np.ndarray
    ) -> torch.Tensor:
        """float32 C×patch×patch."""
        down, across, mirror, turn, which = drawn
        parts = valid_part(transform, self.preprocess.upscale)
        sides = zip(parts, self.preprocess.size, (down, across), strict=True)
        y, x = (self._start(*part, whole, place) for part, whole, place in sides)
        crop = image[:, y : y + self.patch, x : x + self.patch].float()
        crop = crop.rot90(1 + int(3 * which), (1, 2)) if turn < self.turn else crop
        return crop.flip(2) if mirror < self.mirror else crop

    def _start(self, first: int, last: int, whole: int, place: float) -> int:
        """Of a crop, at a share of the way along the valid part of a window; where that is too
        short, the crop reaches beyond it."""
        return min(first, whole - self.patch) + int((max(0, last - first - self.patch) + 1) * place)
