"""Training of classification: batches, augmentation, loss, temperature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ...core.errors import UsageError
from ...core.rng import Draws
from ...core.types import Batch
from ...data.formats import Dataset
from ...data.sample import Sample
from ...losses import class_balance
from ...losses.classification import mean_loss
from ...plots.annotate import to_rgb8
from ...transforms.augment import Augmentation, augment, erase, mix, principal_components, recolour
from ..image_preprocess import ImagePreprocess
from ..settings import strengths
from ..shared import all_parameters, shuffled
from ..task import FitData, Part, Phase
from .architecture import ClassificationArchitecture
from .inference import ClassificationInference
from .settings import ClassificationSettings

UNCHANGED = Augmentation()


@dataclass(frozen=True)
class ClassificationTraining:
    """support: training views of each class, where `imbalance` needs them. components: the
    principal axes of their colors, where `pca_colour` needs them. clusters: the cluster of each
    training view, for "undersample_clusters"."""

    preprocess: ImagePreprocess
    classes: tuple[str, ...]
    batch: int = 32
    criterion: str = "cross_entropy"
    focal_gamma: float = 2.0
    label_smoothing: float = 0.0
    imbalance: str = "none"
    augmentation: Augmentation = field(default_factory=Augmentation)
    support: tuple[int, ...] = ()
    components: tuple[tuple[float, ...], ...] = ()
    clusters: tuple[int, ...] = ()
    plots: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def create(
        cls,
        settings: ClassificationSettings,
        dataset: Dataset,
        preprocess: ImagePreprocess,
        architecture: ClassificationArchitecture,
        fitted: FitData,
    ) -> ClassificationTraining:
        """Raises UsageError where `imbalance` is set and would change nothing."""
        s = settings
        assert s.batch is not None and s.loss is not None and s.label_smoothing is not None
        support = _support(s.imbalance, fitted, len(dataset.classes))
        return cls(
            preprocess=preprocess,
            classes=dataset.classes,
            batch=s.batch,
            criterion=s.loss,
            focal_gamma=s.focal_gamma,
            label_smoothing=s.label_smoothing,
            imbalance=s.imbalance,
            augmentation=Augmentation(**strengths(s)),
            support=support,
            components=_components(fitted.images) if s.pca_colour else (),
            clusters=_clusters(fitted) if s.imbalance == "undersample_clusters" else (),
        )

    def batches(
        self, samples: Sequence[Sample], views: np.ndarray, epoch: int, rng: np.random.Generator
    ) -> list[np.ndarray]:
        if self.imbalance in ("none", "class_weights"):
            return shuffled(len(samples), self.batch, rng)
        chosen = self._resampled(np.array([sample.target for sample in samples]), rng)
        return [chosen[rows] for rows in shuffled(len(chosen), self.batch, rng)]

    def augment(self, batch: Batch, rng: Draws, progress: float) -> Batch:
        if self.augmentation == UNCHANGED:
            return batch
        how, fill = self.augmentation, torch.tensor(self.preprocess.pad_value)
        images, targets = augment(batch.images, how, rng, fill), batch.targets
        if how.recolours:
            top = 2.0**self.preprocess.bits - 1
            images = recolour(images.float() / top, how, rng, np.array(self.components)) * top
        images = erase(images, how.erase, rng, fill)
        if how.mixes:
            images, targets = mix(images, self._one_hot(targets), how, rng)
        augmented = replace(batch, images=images, targets=targets)
        if self.imbalance == "augment_minority":
            return self._minority_alone(batch, augmented)
        return augmented

    def preview_batch(self, batch: Batch) -> list[tuple[np.ndarray, str]]:
        """The caption of a mixture is its classes and their shares."""
        top = 2**self.preprocess.bits - 1
        images = batch.images.float().clamp(0, top).permute(0, 2, 3, 1).cpu().numpy()
        images = images.astype(np.uint8 if top == 255 else np.uint16)
        return [
            (to_rgb8(image), self._caption(target))
            for image, target in zip(images, batch.targets.tolist(), strict=True)
        ]

    def phases(self, network: nn.Module) -> list[Phase]:
        return all_parameters(network)

    def loss(
        self, network: nn.Module, batch: Batch, phase: str, rng: Draws
    ) -> dict[str, torch.Tensor]:
        """`loss` is the plain cross-entropy, whatever `total` is: validation reports the same, so
        that both fit in one plot.

        Auxiliary classifiers, where the network has any, count in `total` alone.
        """
        logits, auxiliary = self._logits(network, batch)
        weights = None if self._class_weights is None else self._class_weights.to(logits)
        main, *beside = (
            mean_loss(
                self.criterion, each, batch.targets, weights, self.focal_gamma, self.label_smoothing
            )
            for each in (logits, *auxiliary)
        )
        plain = self.criterion == "cross_entropy" and not self.label_smoothing and weights is None
        # Of a mixture, the class with the largest share.
        targets = batch.targets if batch.targets.ndim == 1 else batch.targets.argmax(1)
        return {
            "total": main + getattr(network, "auxiliary_weight", 0.0) * torch.stack(beside).sum()
            if beside
            else main,
            "loss": main.detach() if plain else F.cross_entropy(logits.detach(), batch.targets),
            "accuracy": (logits.detach().argmax(1) == targets).float().mean(),
        }

    def calibrate(
        self, network: nn.Module, inference: ClassificationInference, train: Part, validation: Part
    ) -> ClassificationInference:
        """With the temperature of the largest validation likelihood (Guo et al. 2017, "On
        calibration of modern neural networks"). No answer changes."""
        probabilities = np.stack([result.probabilities for result in validation.results()])
        found = fitted_temperature(probabilities, validation.targets, inference.temperature)
        return replace(inference, temperature=found)

    def _resampled(self, targets: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """int64: the views of one epoch."""
        if self.imbalance == "undersample":
            return class_balance.undersampled(targets, rng)
        if self.imbalance == "oversample":
            return class_balance.oversampled(targets, rng)
        if self.imbalance == "augment_minority":
            return class_balance.minority_repeated(targets, rng)
        if len(self.clusters) != len(targets):
            raise UsageError(
                "imbalance: clusters are found among pictures in memory, "
                "and these do not fit; choose undersample"
            )
        return class_balance.undersampled_by_cluster(targets, np.array(self.clusters), rng)

    def _minority_alone(self, before: Batch, after: Batch) -> Batch:
        """Images of small classes after augmentation, the others before it."""
        rare = torch.from_numpy(class_balance.minority(np.array(self.support))).to(
            before.targets.device
        )[before.targets]
        images = torch.where(
            rare[:, None, None, None], after.images, before.images.to(after.images.dtype)
        )
        targets = (
            before.targets
            if after.targets is before.targets
            else torch.where(rare[:, None], after.targets, self._one_hot(before.targets))
        )
        return replace(before, images=images, targets=targets)

    def _one_hot(self, targets: torch.Tensor) -> torch.Tensor:
        return F.one_hot(targets, len(self.classes)).float()

    def _caption(self, target: int | list[float]) -> str:
        if isinstance(target, int):
            return self.classes[target]
        named = zip(target, self.classes, strict=True)
        shares = sorted(((share, name) for share, name in named if share >= 0.005), reverse=True)
        return ", ".join(f"{name} {share:.0%}" for share, name in shares)

    @cached_property
    def _class_weights(self) -> torch.Tensor | None:
        if self.imbalance != "class_weights":
            return None
        return torch.from_numpy(class_balance.class_weights(np.array(self.support))).float()

    def _logits(
        self, network: nn.Module, batch: Batch
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        """float32 B×classes, and those of auxiliary classifiers where the network has any (see
        `models`)."""
        inputs, with_auxiliary = (
            self.preprocess.network_input(batch),
            getattr(network, "with_auxiliary", None),
        )
        if with_auxiliary is None:
            return network(inputs).float(), ()
        logits, auxiliary = with_auxiliary(inputs)
        return logits.float(), tuple(each.float() for each in auxiliary)


def fitted_temperature(
    probabilities: np.ndarray, targets: torch.Tensor, temperature: float
) -> float:
    """The temperature between 0.05 and 20 with the smallest cross-entropy. probabilities: float64
    N×classes, at `temperature`; targets: int64 N."""
    from scipy.optimize import minimize_scalar

    # The logarithm of a probability is its logit at temperature 1, up to a constant that softmax
    # ignores. A probability that underflowed to 0 becomes the smallest float64: its exponential is
    # negligible at any temperature in range.
    positive = np.maximum(probabilities, np.finfo(np.float64).tiny)
    logits = torch.from_numpy(np.log(positive)) * temperature

    def cross_entropy(log_temperature: float) -> float:
        return F.cross_entropy(logits / np.exp(log_temperature), targets).item()

    best = minimize_scalar(cross_entropy, bounds=(np.log(0.05), np.log(20)), method="bounded")
    return float(np.exp(best.x))


def _support(imbalance: str, fitted: FitData, classes: int) -> tuple[int, ...]:
    if imbalance == "none":
        return ()
    support = tuple(torch.bincount(fitted.targets, minlength=classes).tolist())
    if imbalance == "augment_minority" and not class_balance.minority(np.array(support)).any():
        raise UsageError(
            "imbalance: no class has less than half as many pictures as the largest, so none "
            "would be augmented; leave it out"
        )
    return support


def _components(images: np.ndarray) -> tuple[tuple[float, ...], ...]:
    return tuple(map(tuple, principal_components(images).tolist()))


def _clusters(fitted: FitData) -> tuple[int, ...]:
    found: Any = class_balance.clusters(fitted.images, fitted.targets.numpy(), seed=0)
    return tuple(found.tolist())
