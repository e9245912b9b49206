"""Training of detection: batches, augmentation, loss, threshold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import nn

from ...core.rng import Draws
from ...core.types import Batch
from ...data.formats import Dataset
from ...data.sample import Sample
from ...metrics.detection import choose
from ...plots import anchors as anchor_plots
from ...plots.annotate import boxes, to_rgb8
from ...transforms import anchors as fitting
from ...transforms.augment import Augmentation, erase, recolour
from ...transforms.augment.scenes import scenes
from ...transforms.selective_search import apart, with_proposals
from ..settings import strengths
from ..shared import all_parameters, shuffled
from ..task import FitData, Part, Phase
from .architecture import DetectionArchitecture, box_sizes
from .designs import DESIGNS
from .inference import DetectionInference
from .preprocess import DetectionPreprocess
from .proposals import search
from .settings import DetectionSettings
from .views import moved


@dataclass(frozen=True)
class DetectionTraining:
    """classes: their names. detector: of DESIGNS. criterion: the loss of the classes, of
    `settings.LOSSES`."""

    preprocess: DetectionPreprocess
    classes: tuple[str, ...]
    detector: str
    batch: int
    criterion: str
    augmentation: Augmentation
    plots: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def create(
        cls,
        settings: DetectionSettings,
        dataset: Dataset,
        preprocess: DetectionPreprocess,
        architecture: DetectionArchitecture,
        fitted: FitData,
    ) -> DetectionTraining:
        assert settings.batch is not None and settings.loss is not None
        return cls(
            preprocess=preprocess,
            classes=dataset.classes,
            detector=architecture.detector,
            batch=settings.batch,
            criterion=settings.loss,
            augmentation=Augmentation(**strengths(settings)),
            plots=_plots(architecture, fitted),
        )

    def batches(
        self, samples: Sequence[Sample], views: np.ndarray, epoch: int, rng: np.random.Generator
    ) -> list[np.ndarray]:
        return shuffled(len(samples), self.batch, rng)

    def augment(self, batch: Batch, rng: Draws, progress: float) -> Batch:
        """Objects come in pixels of their images and leave in pixels of the views. Where the
        network takes proposals, those of the views before augmentation leave with them (see
        `selective_search.with_proposals`)."""
        how, fill = self.augmentation, torch.tensor(self.preprocess.pad_value)
        objects = [
            moved(target, transform)
            for target, transform in zip(batch.targets, batch.transforms, strict=True)
        ]
        if self.preprocess.proposals:
            objects = [
                with_proposals(each, found)
                for each, found in zip(objects, search(batch.images), strict=True)
            ]
        images, targets = scenes(batch.images, objects, how, rng, fill, progress)
        if how.recolours:
            top = 2.0**self.preprocess.bits - 1
            no_components = np.zeros((0, self.preprocess.channels))
            images = recolour(images.float() / top, how, rng, no_components) * top
        return replace(batch, images=erase(images, how.erase, rng, fill), targets=targets)

    def preview_batch(self, batch: Batch) -> list[tuple[np.ndarray, str]]:
        unit = (batch.images.float() / (2.0**self.preprocess.bits - 1)).clamp(0, 1)
        images = unit.permute(0, 2, 3, 1).cpu().numpy()
        targets = [apart(target)[0] for target in batch.targets]
        return [
            (
                boxes(to_rgb8(image), target.boxes, target.labels.tolist()),
                self._caption(target.labels),
            )
            for image, target in zip(images, targets, strict=True)
        ]

    def phases(self, network: nn.Module) -> list[Phase]:
        return all_parameters(network)

    def loss(
        self, network: nn.Module, batch: Batch, phase: str, rng: Draws
    ) -> dict[str, torch.Tensor]:
        """Proposals come with the targets, from `augment`."""
        images = self.preprocess.normalized(batch.images)
        return DESIGNS[self.detector].loss(network, images, batch.targets, self.criterion, rng)

    def calibrate(
        self, network: nn.Module, inference: DetectionInference, train: Part, validation: Part
    ) -> DetectionInference:
        """With the threshold that reaches `inference.aim` on the validation images."""
        targets, results = list(validation.targets), validation.results()
        found = choose(inference.aim, targets, results, len(inference.classes))
        return replace(inference, threshold=found.value, note=found.note)

    def _caption(self, labels: np.ndarray) -> str:
        counts = np.bincount(labels, minlength=len(self.classes)).tolist()
        named = [f"{n} {count}" for n, count in zip(self.classes, counts, strict=True) if count]
        return ", ".join(named) or "background"


def _plots(architecture: DetectionArchitecture, fitted: FitData) -> dict[str, str]:
    if not architecture.anchors:
        return {}
    sizes = box_sizes(fitted)
    anchors = fitting.judge(sizes, np.array(architecture.anchors).reshape(-1, 2))
    return {"anchors": anchor_plots.figure(sizes, anchors)}
