"""Training of segmentation: random crops, loss, thresholds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import nn

from ...core.errors import DataError
from ...core.rng import Draws
from ...core.types import Batch
from ...data.formats import Dataset
from ...data.sample import Sample
from ...losses import class_balance
from ...losses.segmentation import border_weights, mean_loss
from ...transforms.augment import Augmentation
from ..settings import strengths
from ..shared import all_parameters
from ..task import FitData, Part, Phase
from .annotators import annotator_number
from .architecture import SegmentationArchitecture
from .inference import SegmentationInference
from .postprocess import calibrated
from .preprocess import SegmentationPreprocess
from .preview import preview
from .random_crops import crop_batch, patch_size, recolor, training_targets, view_labels
from .settings import SegmentationSettings

# Of an epoch, however few images there are: validation comes after each.
LEAST_STEPS = 100


@dataclass(frozen=True)
class SegmentationTraining:
    """annotator: whose masks are the targets, a number; -1 for the mean of all. patch: sides of the
    crops. border: weight of narrow gaps. class_weights: one a class; empty for equal ones."""

    preprocess: SegmentationPreprocess
    classes: tuple[str, ...]
    annotator: int = 0
    patch: tuple[int, ...] = ()
    batch: int = 4
    criterion: str = "dice_cross_entropy"
    focal_gamma: float = 2.0
    border: float = 0.0
    class_weights: tuple[float, ...] = ()
    score: str = "dice"
    augmentation: Augmentation = field(default_factory=Augmentation)
    plots: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def create(
        cls,
        settings: SegmentationSettings,
        dataset: Dataset,
        preprocess: SegmentationPreprocess,
        architecture: SegmentationArchitecture,
        fitted: FitData,
    ) -> SegmentationTraining:
        """Raises DataError where the training masks hold nothing but background."""
        s = settings
        assert s.batch is not None and s.loss is not None and s.score is not None
        pixels = _pixel_counts(fitted, dataset.classes)
        return cls(
            preprocess=preprocess,
            classes=dataset.classes,
            annotator=annotator_number(s.annotator, dataset),
            patch=patch_size(s.patch, preprocess.size, preprocess.margin),
            batch=s.batch,
            criterion=s.loss,
            focal_gamma=s.focal_gamma,
            border=s.border,
            class_weights=_class_weights(pixels) if s.imbalance == "class_weights" else (),
            score=s.score,
            augmentation=Augmentation(**strengths(s)),
        )

    def batches(
        self, samples: Sequence[Sample], views: np.ndarray, epoch: int, rng: np.random.Generator
    ) -> list[np.ndarray]:
        """Each view about as often as its area holds crops, and more often where that would make an
        epoch of less than a hundred steps."""
        count = int(views.sum())
        times = max(
            round(math.prod(self.preprocess.size) / math.prod(self.patch)),
            -(-LEAST_STEPS * self.batch // count),
        )
        rows = np.concatenate([rng.permutation(count) for _ in range(times)])
        return np.split(rows, range(self.batch, len(rows) - 1, self.batch))

    def augment(self, batch: Batch, rng: Draws, progress: float) -> Batch:
        """From views of whole windows and masks, to crops of `patch` and the class of each of their
        pixels."""
        annotators = range(len(batch.targets[0].packed)) if self.annotator < 0 else [self.annotator]
        how = self.augmentation
        images, labels = crop_batch(batch, self.patch, how, rng, list(annotators))
        images = recolor(images, how, rng, self._top)
        return replace(batch, images=images, targets=training_targets(labels, len(self.classes)))

    def preview_batch(self, batch: Batch) -> list[tuple[np.ndarray, str]]:
        """Of crops, or of whole views with their masks."""
        targets = batch.targets
        if isinstance(targets, np.ndarray):
            labels = view_labels(batch, [max(self.annotator, 0)])
            targets = training_targets(labels, len(self.classes))
        return preview(batch.images.float() / self._top, targets, self.classes)

    def phases(self, network: nn.Module) -> list[Phase]:
        return all_parameters(network)

    def loss(
        self, network: nn.Module, batch: Batch, phase: str, rng: Draws
    ) -> dict[str, torch.Tensor]:
        logits = network(self.preprocess.network_input(batch)).float()
        margin = self.preprocess.margin
        inner = (..., *[slice(margin, side - margin) for side in batch.images.shape[2:]])
        targets = batch.targets[inner]
        total = mean_loss(
            self.criterion,
            logits,
            targets,
            self._weights(logits),
            self._border(targets),
            self.focal_gamma,
        )
        return {"total": total, "loss": total.detach()}

    def calibrate(
        self, network: nn.Module, inference: SegmentationInference, train: Part, validation: Part
    ) -> SegmentationInference:
        """With the threshold, and the numbers of the watershed, that score best."""
        if len(inference.classes) != 2:
            return inference
        found = calibrated(
            inference.postprocessing,
            list(validation.targets),
            validation.results(),
            self.score,
            max(self.annotator, 0),
        )
        return replace(inference, threshold=found.threshold, wall=found.wall, floor=found.floor)

    @property
    def _top(self) -> float:
        """The largest stored value."""
        return 2.0**self.preprocess.bits - 1

    def _weights(self, like: torch.Tensor) -> torch.Tensor | None:
        if not self.class_weights:
            return None
        return torch.tensor(self.class_weights, dtype=torch.float64).to(like)

    def _border(self, targets: torch.Tensor) -> torch.Tensor | None:
        """The additional weight of narrow gaps (Ronneberger et al. 2015, equation 2)."""
        if not self.border:
            return None
        masks = targets.argmax(1) if targets.is_floating_point() else targets
        gaps = [border_weights(mask.astype(np.uint8), self.border) for mask in masks.cpu().numpy()]
        return torch.from_numpy(np.stack(gaps)).to(targets.device)


def _pixel_counts(fitted: FitData, classes: Sequence[str]) -> np.ndarray:
    """int64, one a class, over the masks of the training part. Raises DataError."""
    masks = {id(target): target for target in fitted.targets}.values()
    counts = np.sum([mask.counts[: len(classes)] for mask in masks], axis=0)
    if not counts[1:].any():
        raise DataError(
            f"the training part holds nothing but {classes[0]}; share the pictures out otherwise"
        )
    return counts


def _class_weights(counts: np.ndarray) -> tuple[float, ...]:
    return tuple(class_balance.class_weights(counts).tolist())
