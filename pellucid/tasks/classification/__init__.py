"""What is it? One class for each picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ... import models
from ...core.errors import DataError, UsageError, did_you_mean
from ...core.rng import Draws
from ...core.types import Batch, Prediction, ViewTransform
from ...data import formats
from ...data.formats import Dataset
from ...data.formats.dataset import check_classes
from ...data.images import Header
from ...data.sample import Sample
from ...losses import class_balance
from ...losses.classification import LIKELIHOODS, LOSSES, mean_loss
from ...plots.annotate import to_rgb8
from ...transforms.augment import (
    POLICIES,
    Augmentation,
    augment,
    erase,
    mix,
    principal_components,
    recolour,
)
from ...transforms.tta import CROPS
from .. import pixels
from ..common import all_that_learns, arrived, numbers_of, spans, travelling
from ..page import Section
from ..task import Baseline, Task, shuffled
from . import report
from .answers import Answers
from .sheet import worst

# Of settings that other tasks have too, what is of this one.
_OWN = {"loss": tuple(LOSSES), "score": ("accuracy", "balanced_accuracy")}
_STRANGE = {"augment": ("scenes", "fields", "volumes", "quarters")}


@dataclass(frozen=True)
class Classification(Task):
    """size: (height, width) of a view. bits: 8 or 16, the depth of the stored views. mean, std: per
    channel, of pixels scaled to 0..1. fill: per channel, in stored units, what comes into a view
    from outside. scale: what the network gets (see `normalised`).
    temperature: divides the logits. What follows `model` is of training alone and does not travel
    with the weights; support: training views of each class; components: the main axes of their
    colours; clusters: of each training picture, where a cluster is asked for; from_features:
    whether a batch holds features in place of pixels.
    crops: which views of a picture are asked about (see `transforms.tta`)."""

    name = "classification"
    counted = "pictures"
    worst = "The wrong answers given with the most confidence."
    seen = f"{Task.seen} If you cannot tell the classes here, neither can it."
    has_baselines = True

    classes: tuple[str, ...]
    size: tuple[int, int]
    channels: int
    bits: int = 8
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    fill: tuple[float, ...] = ()
    scale: str = "standard"
    temperature: float = 1.0
    model: str = ""
    batch: int = 32
    criterion: str = "cross_entropy"
    focal_gamma: float = 2.0
    label_smoothing: float = 0.0
    imbalance: str = "none"
    score: str = "accuracy"
    augmentation: Augmentation = field(default_factory=Augmentation)
    support: tuple[int, ...] = ()
    components: tuple[tuple[float, ...], ...] = ()
    clusters: tuple[int, ...] = ()
    from_features: bool = False
    crops: str = "one"

    @property
    def input(self) -> tuple[int, int, int]:  # type: ignore[override]
        return self.channels, *self.size

    @property
    def design(self) -> str:
        return self.model

    @property
    def answers(self) -> int:
        return len(self.classes)

    # --- data -------------------------------------------------------------------------------------

    @staticmethod
    def recognises(source: str | Path) -> bool:
        """Whatever no other room takes: what is wrong with data that nobody knows is told here."""
        return True

    @staticmethod
    def read(source: str | Path) -> Dataset:
        return formats.read(source)

    @staticmethod
    def propose(
        settings: Mapping[str, Any], reading: Dataset, headers: Sequence[Header]
    ) -> dict[str, Any]:
        _refuse_settings_of_others(settings)
        size = (
            settings["size"] or models.fixed_size(settings["model"] or "") or _natural_size(headers)
        )
        count = len(reading.samples)
        letters = all(len(name) == 1 and name.isalnum() for name in reading.classes)
        # Features of a frozen network can be computed once only while the pictures stay as they
        # are.
        changed = any(settings[f.name] for f in fields(Augmentation))
        loss = settings["loss"] or "cross_entropy"
        usual = (
            "none"
            if settings["freeze"] == "all" and not changed
            else "letters"
            if letters
            else "photos"
        )
        policy = settings["augment"] or usual
        proposed = {
            "size": size,
            "model": _default_model(size, len(reading.classes)),
            "epochs": int(np.clip(75_000 / count, 12, 90)),
            # Small sets need many steps rather than smooth ones.
            "batch": 16 if count < 1000 else 32 if count <= 5000 else 128,
            "loss": loss,
            "optimizer": "sgd" if settings["freeze"] == "all" and settings["weights"] else "adamw",
            "augment": policy,
            **asdict(POLICIES[policy]),
            # Smoothing spreads a probability; the squared losses and the hinge do not speak of one.
            "label_smoothing": 0.1 if loss in LIKELIHOODS else 0.0,
            "score": "accuracy" if settings["imbalance"] == "none" else "balanced_accuracy",
        }
        return proposed

    @classmethod
    def open(
        cls, settings: Mapping[str, Any], reading: Dataset, headers: Sequence[Header]
    ) -> Classification:
        augmentation = Augmentation(**{f.name: settings[f.name] for f in fields(Augmentation)})
        if settings["imbalance"] == "augment_minority" and augmentation == Augmentation():
            raise UsageError(
                "imbalance: augment_minority has nothing to change pictures by; choose a policy "
                "other than --augment none"
            )
        return cls(
            classes=reading.classes,
            size=tuple(settings["size"]),
            channels=pixels.common_channels(headers),
            bits=max(header.bits for header in headers),
            model=settings["model"],
            batch=settings["batch"],
            scale=settings["scale"],
            criterion=settings["loss"],
            focal_gamma=settings["focal_gamma"],
            label_smoothing=settings["label_smoothing"],
            imbalance=settings["imbalance"],
            score=settings["score"],
            augmentation=augmentation,
        )

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Classification:
        return cls(**arrived(stored))

    def relabelled(self, reading: Dataset) -> Dataset:
        number = numbers_of(reading, self.classes).tolist()
        return replace(
            reading,
            samples=tuple(replace(s, target=number[s.target]) for s in reading.samples),
            classes=self.classes,
        )

    def to_json(self) -> dict[str, Any]:
        return travelling(self)

    def measured(
        self, images: np.ndarray, targets: Any = None, transforms: Sequence[ViewTransform] = ()
    ) -> Classification:
        mean, std = pixels.mean_and_deviation(images, self.bits)
        room = replace(self, mean=mean, std=std, fill=pixels.border(images))
        if self.augmentation.pca_colour:
            room = replace(
                room, components=tuple(map(tuple, principal_components(images).tolist()))
            )
        if targets is not None and self.imbalance != "none":
            room = replace(
                room, support=tuple(torch.bincount(targets, minlength=len(self.classes)).tolist())
            )
        if (
            room.support
            and self.imbalance == "augment_minority"
            and not class_balance.minority(np.array(room.support)).any()
        ):
            raise UsageError(
                "imbalance: no class has less than half as many pictures as the largest, so none "
                "would be augmented; leave it out"
            )
        if targets is not None and self.imbalance == "undersample_clusters":
            room = replace(
                room,
                clusters=tuple(class_balance.clusters(images, targets.numpy(), seed=0).tolist()),
            )
        return room

    def views(self, sample: Sample) -> list[tuple[np.ndarray, ViewTransform]]:
        whole = pixels.stored(sample.pixels(), self.channels, self.bits)
        fits = whole.shape[:2] == self.size and self.crops != "ten"
        return CROPS[self.crops](whole, self.size, 0 if fits else pixels.border(whole[None]))

    def find(self, path: Path) -> list[Sample] | None:
        return None

    def with_crops(self, kind: str) -> Classification:
        if kind == "tiles":
            raise UsageError("crops: tiles are for models that find objects; choose flip or ten")
        if kind not in CROPS:
            raise UsageError(f'crops: unknown "{kind}"; {did_you_mean(kind, CROPS)}')
        return replace(self, crops=kind)

    def said_alone(self) -> Classification:
        return self

    def with_threshold(self, value: float) -> Classification:
        raise UsageError(
            "threshold: is for models that find objects; this one says one label a picture; "
            "leave it out"
        )

    @staticmethod
    def refuse(reading: Dataset) -> None:
        where, targets = (
            reading.root or reading.name,
            np.array([sample.target for sample in reading.samples], np.int64),
        )
        for name, count in zip(
            reading.classes, np.bincount(targets, minlength=len(reading.classes)), strict=True
        ):
            if not count:
                raise DataError(
                    f"{where}: no picture of the class {name} can be read; "
                    "mend its pictures or remove the class"
                )
        check_classes(where, reading.classes, targets, reading.given)

    @staticmethod
    def strata(reading: Dataset) -> tuple[np.ndarray, tuple[str, ...]]:
        return np.array([sample.target for sample in reading.samples], np.int64), reading.classes

    @staticmethod
    def counts(samples: Sequence[Sample], classes: Sequence[str]) -> dict[str, int]:
        targets = np.array([sample.target for sample in samples], np.int64)
        return dict(
            zip(classes, np.bincount(targets, minlength=len(classes)).tolist(), strict=True)
        )

    def targets(self, samples: Sequence[Sample]) -> torch.Tensor:
        return torch.tensor([sample.target for sample in samples], dtype=torch.int64)

    def show(self, batch: Batch) -> list[tuple[np.ndarray, str]]:
        """What a mixture counts as is its classes and their shares."""
        top = 2**self.bits - 1
        pictures = (
            batch.images.clamp(0, top)
            .permute(0, 2, 3, 1)
            .cpu()
            .numpy()
            .astype(np.uint8 if top == 255 else np.uint16)
        )
        return [
            (to_rgb8(picture), self._counts_as(target))
            for picture, target in zip(pictures, batch.targets.tolist(), strict=True)
        ]

    def _counts_as(self, target: int | list[float]) -> str:
        if isinstance(target, int):
            return self.classes[target]
        shares = sorted(
            (
                (share, name)
                for share, name in zip(target, self.classes, strict=True)
                if share >= 0.005
            ),
            reverse=True,
        )
        return ", ".join(f"{name} {share:.0%}" for share, name in shares)

    def order(
        self, samples: Sequence[Sample], views: np.ndarray, epoch: int, rng: np.random.Generator
    ) -> list[np.ndarray]:
        if self.imbalance in ("none", "class_weights"):
            return shuffled(len(samples), self.batch, rng)
        targets = np.array([sample.target for sample in samples])
        if self.imbalance == "undersample":
            chosen = class_balance.undersampled(targets, rng)
        elif self.imbalance == "undersample_clusters":
            if len(self.clusters) != len(targets):
                raise UsageError(
                    "imbalance: clusters are found among pictures in memory, "
                    "and these do not fit; choose undersample"
                )
            chosen = class_balance.undersampled_by_cluster(targets, np.array(self.clusters), rng)
        elif self.imbalance == "oversample":
            chosen = class_balance.oversampled(targets, rng)
        else:
            chosen = class_balance.minority_repeated(targets, rng)
        return [chosen[rows] for rows in shuffled(len(chosen), self.batch, rng)]

    # --- learning ---------------------------------------------------------------------------------

    def augment(self, batch: Batch, rng: Draws, progress: float) -> Batch:
        if self.augmentation == Augmentation():
            return batch
        how, fill = self.augmentation, torch.tensor(self.fill)
        images, targets = augment(batch.images, how, rng, fill), batch.targets
        if how.recolours:
            top = 2.0**self.bits - 1
            images = recolour(images.float() / top, how, rng, np.array(self.components)) * top
        images = erase(images, how.erase, rng, fill)
        if how.mixes:
            images, targets = mix(images, self._soft(targets), how, rng)
        changed = replace(batch, images=images, targets=targets)
        return (
            changed if self.imbalance != "augment_minority" else self._only_minority(batch, changed)
        )

    def _only_minority(self, before: Batch, after: Batch) -> Batch:
        """Small classes as they were changed, the others as they were."""
        rare = torch.from_numpy(class_balance.minority(np.array(self.support))).to(
            before.targets.device
        )[before.targets]
        images = torch.where(
            rare[:, None, None, None], after.images, before.images.to(after.images.dtype)
        )
        targets = (
            before.targets
            if after.targets is before.targets
            else torch.where(rare[:, None], after.targets, self._soft(before.targets))
        )
        return replace(before, images=images, targets=targets)

    def _soft(self, targets: torch.Tensor) -> torch.Tensor:
        return F.one_hot(targets, len(self.classes)).float()

    def build(self) -> nn.Module:
        return models.create(self.model, len(self.classes), self.channels, self.size)

    def turns(self, network: nn.Module) -> list[list[tuple[str, nn.Parameter]]]:
        return all_that_learns(network)

    def outputs(self, network: nn.Module, batch: Batch) -> torch.Tensor:
        if self.from_features:
            head: Any = network.head
            return head((batch.images,)).float()
        return network(self.normalised(batch.images)).float()

    def on_features(self) -> Classification:
        return replace(self, from_features=True)

    def normalised(self, images: torch.Tensor) -> torch.Tensor:
        """Stored or augmented pixels, to zero mean and unit deviation by the figures of the
        training set (scale "standard"), to 0..1 ("unit"), or as they are ("raw")."""
        return pixels.normalised(images, *self._offset_and_gain)

    @cached_property
    def _offset_and_gain(self) -> tuple[torch.Tensor, torch.Tensor]:
        return pixels.offset_and_gain(self.scale, self.bits, self.mean, self.std)

    def loss(
        self, network: nn.Module, batch: Batch, turn: int, rng: Draws
    ) -> dict[str, torch.Tensor]:
        """`loss` is the plain cross-entropy, whatever is learnt by: the one that validation
        reports, so that both fit in one plot.

        Auxiliary classifiers, where the network has any, count in `total` alone.
        """
        logits, auxiliary = self._training_outputs(network, batch)
        weights = (
            self._class_weights if self._class_weights is None else self._class_weights.to(logits)
        )
        main, *beside = (
            mean_loss(
                self.criterion, each, batch.targets, weights, self.focal_gamma, self.label_smoothing
            )
            for each in (logits, *auxiliary)
        )
        plain = self.criterion == "cross_entropy" and not self.label_smoothing and weights is None
        # Of a mixture, the picture that is the larger part of it.
        targets = batch.targets if batch.targets.ndim == 1 else batch.targets.argmax(1)
        return {
            "total": main + getattr(network, "auxiliary_weight", 0.0) * torch.stack(beside).sum()
            if beside
            else main,
            "loss": main.detach() if plain else F.cross_entropy(logits.detach(), batch.targets),
            "accuracy": (logits.detach().argmax(1) == targets).float().mean(),
        }

    @cached_property
    def _class_weights(self) -> torch.Tensor | None:
        if self.imbalance != "class_weights":
            return None
        return torch.from_numpy(class_balance.class_weights(np.array(self.support))).float()

    def _training_outputs(
        self, network: nn.Module, batch: Batch
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        """The logits, and those of auxiliary classifiers where the network has any
        (see `models`)."""
        with_auxiliary = getattr(network, "with_auxiliary", None)
        if with_auxiliary is None or self.from_features:
            return self.outputs(network, batch), ()
        logits, auxiliary = with_auxiliary(self.normalised(batch.images))
        return logits.float(), tuple(each.float() for each in auxiliary)

    # --- answers ----------------------------------------------------------------------------------

    def decode(self, outputs: torch.Tensor, batch: Batch) -> list[Prediction]:
        probabilities = torch.softmax(outputs.double() / self.temperature, dim=1).cpu().numpy()
        return [
            Prediction(
                batch.sources[i],
                batch.transforms[i].source_size,
                self.classes,
                probabilities[i:end].mean(0),
            )
            for i, end in spans(tuple(batch.sources))
        ]

    def together(self, answers: Sequence[Prediction]) -> Prediction:
        """The mean of the probabilities; classes in the order of the first model."""
        first, rows = answers[0], []
        for answer in answers:
            assert answer.source == first.source and answer.probabilities is not None
            rows.append(
                answer.probabilities[[answer.classes.index(name) for name in first.classes]]
            )
        return replace(first, probabilities=np.mean(rows, axis=0))

    def metric(self, costs: np.ndarray | None = None) -> Answers:
        return Answers(self.classes, costs, self.score)

    def finish(self, targets: Any, answers: Sequence[Prediction]) -> Classification:
        """Temperature scaling (Guo et al. 2017): the one number that makes validation probabilities
        likeliest; no answer changes."""
        from scipy.optimize import minimize_scalar

        # Probabilities at temperature 1 give the logits back, but for a constant that softmax does
        # not see. What underflows to 0 is held at the least number: its logarithm counts for
        # nothing at any temperature looked at.
        probabilities = np.stack(
            [answer.probabilities for answer in answers if answer.probabilities is not None]
        )
        logits = (
            torch.from_numpy(np.log(np.maximum(probabilities, np.finfo(np.float64).tiny)))
            * self.temperature
        )

        def cross_entropy(log_temperature: float) -> float:
            return F.cross_entropy(logits / np.exp(log_temperature), targets).item()

        best = minimize_scalar(cross_entropy, bounds=(np.log(0.05), np.log(20)), method="bounded")
        return replace(self, temperature=float(np.exp(best.x)))

    def baselines(
        self, parts: Mapping[str, tuple[np.ndarray, Sequence[Sample]]], seed: int
    ) -> Iterator[Baseline]:
        from ...baselines.classical import baselines

        arrays = [
            (images, np.array([sample.target for sample in samples]))
            for images, samples in parts.values()
        ]
        train, validation, test = arrays
        for name, found in baselines(train, validation, test, self.classes, seed).items():
            answers = {
                part: [
                    Prediction(sample.source, self.size, self.classes, p)
                    for sample, p in zip(parts[part][1], found[part], strict=True)
                ]
                for part in ("validation", "test")
            }
            yield name, {"settings": found["settings"], "seconds": found["seconds"]}, answers

    def draw(
        self, samples: Sequence[Sample], predictions: Sequence[Prediction]
    ) -> np.ndarray | None:
        return worst(samples, predictions, self.classes)

    @staticmethod
    def headline(summary: Mapping[str, Any]) -> tuple[str, str, str]:
        return report.headline(summary)

    @staticmethod
    def sections(found: Mapping[str, Any]) -> list[Section]:
        return report.sections(found)


def _refuse_settings_of_others(settings: Mapping[str, Any]) -> None:
    strange = [name for name, values in _OWN.items() if settings[name] not in (None, *values)]
    strange += [name for name, values in _STRANGE.items() if settings[name] in values]
    strange += ["mosaic"] if settings["mosaic"] else []
    if strange:
        name = strange[0]
        raise UsageError(
            f"{name}: {settings[name]} is of other tasks, and these pictures are classified; "
            "leave it out"
        )


def _natural_size(headers: Sequence[Header]) -> tuple[int, int]:
    """The pictures' own size where all agree and it is small; else a square of the median longer
    side, in steps of 32 up to 128."""
    sizes = {(header.height, header.width) for header in headers}
    if len(sizes) == 1 and max(size := next(iter(sizes))) <= 128 and min(size) >= 4:
        return size
    longer = float(np.median([max(header.height, header.width) for header in headers]))
    side = int(np.clip(np.ceil(longer / 32) * 32, 32, 128))
    return side, side


def _default_model(size: tuple[int, int], classes: int) -> str:
    """A small residual network in notation, as deep as the pictures are large; pooling comes before
    the activation, which is cheaper."""
    side = min(size)
    if side <= 16:
        return f"C48 B R P C96 B R [C96 B R C96 B] R G D.2 L{classes}"
    if side <= 40:
        return (
            "C32 B P R [C32 B R C32 B] R P C64 B R [C64 B R C64 B] R P C128 B R [C128 B R C128 B] "
            f"R G D.2 L{classes}"
        )
    return (
        "C24k5s2p2 B P R [C24 B R C24 B] R P C48 B R [C48 B R C48 B] R P C96 B R [C96 B R C96 B] "
        f"R G D.2 L{classes}"
    )
