"""Where is it? Boxes around the objects of some classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ... import models
from ...core.errors import DataError, UsageError, did_you_mean
from ...core.rng import Draws
from ...core.types import Batch, Prediction, ViewTransform
from ...data import formats
from ...data.formats import Dataset
from ...data.images import Header
from ...data.sample import Sample
from ...metrics.detection import choose, read_aim, require
from ...models.pyramid import headless
from ...plots import anchors as anchor_plots
from ...plots.annotate import boxes, to_rgb8
from ...transforms import anchors as fitting
from ...transforms.augment import POLICIES, Augmentation, erase, recolour
from ...transforms.augment.scenes import scenes
from ...transforms.selective_search import apart, remembered, with_proposals
from .. import pixels
from ..common import all_that_learns, arrived, numbers_of, spans, travelling, truths_of, tuples
from ..page import Section
from ..task import Baseline, Task, shuffled
from . import report
from .answers import Answers
from .designs import DESIGNS
from .merging import fused, in_pictures, merged
from .sheet import worst
from .views import VIEWS, moved

# A side that pictures are fitted to where the user does not say.
USUAL = 320
# The stride of the coarsest map: a smaller picture has no place in it.
COARSEST = 32
# A class in fewer pictures decides nothing about the split.
ENOUGH = 10


@dataclass(frozen=True)
class Detection(Task):
    """size: (height, width) of a view. bits: 8 or 16, the depth of the stored views. mean, std: per
    channel, of pixels scaled to 0..1. fill: per channel, in stored units, what comes into a view
    from outside. scale: what the network gets (see `pixels.offset_and_gain`). detector, neck,
    anchors: the design, its width, and levels×A×2 widths and heights in pixels of a view, fitted to
    the training boxes; cover: how well they do.
    resolution: pixels of a view for one of a picture, in the median of training: tiles of large
    pictures keep to it.
    threshold: the score from which on an object is said to be there, chosen on validation for
    `aim`; note: where that could not be reached. What follows `model` is of training alone and does
    not travel with the weights. crops: which views of a picture are asked about; least: the score
    below which nothing is asked for."""

    name = "detection"
    counted = "objects"
    worst = (
        "The pictures with the most misses and false alarms at the threshold, "
        "the truth beside the answer."
    )
    seen = f"{Task.seen} If you cannot tell the objects here, neither can it."

    classes: tuple[str, ...]
    size: tuple[int, int]
    channels: int
    bits: int = 8
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    fill: tuple[float, ...] = ()
    scale: str = "standard"
    detector: str = "yolo"
    neck: int = 96
    anchors: tuple[tuple[tuple[float, float], ...], ...] = ()
    cover: str = ""
    resolution: float = 1.0
    threshold: float = 0.25
    aim: str = "f1"
    note: str = ""
    model: str = ""
    fitted: int = 0
    batch: int = 16
    criterion: str = "bce"
    score: str = "map"
    augmentation: Augmentation = field(default_factory=Augmentation)
    crops: str = "one"
    least: float = 0.0
    plots: Mapping[str, str] = field(default_factory=dict)

    @property
    def input(self) -> tuple[int, int, int]:  # type: ignore[override]
        return self.channels, *self.size

    @property
    def design(self) -> str:
        return f"{self.detector} over {self.model}"

    @property
    def answers(self) -> None:
        return None

    # --- data -------------------------------------------------------------------------------------

    @staticmethod
    def recognises(source: str | Path) -> bool:
        return formats.recognise_objects(source) is not None

    @staticmethod
    def read(source: str | Path) -> Dataset:
        return formats.read_objects(source)

    @staticmethod
    def propose(
        settings: Mapping[str, Any], reading: Dataset, headers: Sequence[Header]
    ) -> dict[str, Any]:
        _refuse_settings_of_whole_pictures(settings)
        policy = settings["augment"] or "scenes"
        detector = settings["detector"] or "yolo"
        return {
            "size": models.fixed_size(settings["model"] or "") or _usual_size(headers),
            "model": "csp_nano",
            "detector": detector,
            "neck": 96,
            "aim": "f1",
            "epochs": int(np.clip(30_000 / len(reading.samples), 30, 150)),
            "batch": 16,
            "loss": DESIGNS[detector].losses[0],
            "optimizer": "adamw",
            "lr": 1.5e-3 if settings["optimizer"] in (None, "adamw") else None,
            # Neck and head are new and need the whole rate, by which weights that others trained
            # are lost: at 0.8 the last map of a MobileNetV2 went flat within twenty epochs.
            "stage_lr": 0.3 if settings["weights"] else 1.0,
            "clip": 10.0,
            "ema": 0.998,
            "augment": policy,
            **asdict(POLICIES[policy]),
            "score": "map",
        }

    @classmethod
    def open(
        cls, settings: Mapping[str, Any], reading: Dataset, headers: Sequence[Header]
    ) -> Detection:
        require()
        read_aim(settings["aim"])
        design = DESIGNS[settings["detector"]]
        if settings["anchors"] and not design.levels:
            raise UsageError(
                f"anchors: {settings['detector']} does not begin with boxes fitted to the data; "
                "leave it out"
            )
        return cls(
            classes=reading.classes,
            size=tuple(settings["size"]),
            channels=pixels.common_channels(headers),
            bits=max(header.bits for header in headers),
            scale=settings["scale"],
            detector=settings["detector"],
            neck=settings["neck"],
            aim=settings["aim"],
            model=settings["model"],
            fitted=settings["anchors"] or design.anchors,
            batch=settings["batch"],
            criterion=settings["loss"],
            score=settings["score"],
            augmentation=Augmentation(**{f.name: settings[f.name] for f in fields(Augmentation)}),
        )

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Detection:
        return cls(**arrived(stored))

    def to_json(self) -> dict[str, Any]:
        return travelling(self)

    def relabelled(self, reading: Dataset) -> Dataset:
        number = numbers_of(reading, self.classes)
        samples = tuple(
            replace(s, target=replace(s.target, labels=number[s.target.labels]))
            for s in reading.samples
        )
        return replace(reading, samples=samples, classes=self.classes)

    @staticmethod
    def refuse(reading: Dataset) -> None:
        if not any((~sample.target.ignore).any() for sample in reading.samples):
            raise DataError(
                f"{reading.root or reading.name}: no picture holds an object to learn; add boxes, "
                "or name another data set"
            )

    @staticmethod
    def strata(reading: Dataset) -> tuple[np.ndarray, tuple[str, ...]]:
        """A picture goes by the rarest of its classes that is in ten pictures or more: so every
        part gets some of it. All others stand together, where there are ten, or else with the most.
        """
        present = np.array(
            [
                np.bincount(s.target.labels, minlength=len(reading.classes)) > 0
                for s in reading.samples
            ]
        )
        pictures = present.sum(0)
        rank = np.where(present & (pictures >= ENOUGH), pictures, len(present) + 1)
        stratum = np.where(rank.min(1) <= len(present), rank.argmin(1), len(reading.classes))
        few = np.bincount(stratum, minlength=len(reading.classes) + 1) < ENOUGH
        stratum = np.where(few[stratum], len(reading.classes), stratum)
        sizes = np.bincount(stratum, minlength=len(reading.classes) + 1)
        if sizes[-1] < ENOUGH:
            stratum[stratum == len(reading.classes)] = sizes.argmax()
        return stratum, (*reading.classes, "other pictures")

    @staticmethod
    def counts(samples: Sequence[Sample], classes: Sequence[str]) -> dict[str, int]:
        labels = np.concatenate(
            [np.empty(0, np.int64), *(sample.target.labels for sample in samples)]
        )
        return dict(zip(classes, np.bincount(labels, minlength=len(classes)).tolist(), strict=True))

    def targets(self, samples: Sequence[Sample]) -> np.ndarray:
        return truths_of(samples)

    def measured(
        self, images: np.ndarray, targets: Any = None, transforms: Sequence[ViewTransform] = ()
    ) -> Detection:
        mean, std = pixels.mean_and_deviation(images, self.bits)
        room = replace(self, mean=mean, std=std, fill=pixels.border(images))
        if targets is None:
            return room
        room = replace(
            room, resolution=float(np.median([transform.matrix[0, 0] for transform in transforms]))
        )
        objects = [
            moved(target, transform) for target, transform in zip(targets, transforms, strict=True)
        ]
        sides = np.concatenate(
            [each.boxes[~each.ignore, 2:] - each.boxes[~each.ignore, :2] for each in objects]
        )
        if not len(sides):
            raise DataError(
                "the training part holds no object to learn; add boxes to its pictures, or share "
                "the pictures out otherwise"
            )
        if not self.fitted:
            return room
        levels = DESIGNS[self.detector].levels
        anchors = fitting.fit(sides, levels * self.fitted, seed=0)
        plots = {"anchors": anchor_plots.figure(sides, anchors)}
        return replace(
            room,
            anchors=tuples(anchors.sizes.reshape(levels, self.fitted, 2).tolist()),
            cover=str(anchors),
            plots=plots,
        )

    def views(self, sample: Sample) -> list[tuple[np.ndarray, ViewTransform]]:
        whole = pixels.stored(sample.pixels(), self.channels, self.bits)
        fill = 0 if whole.shape[:2] == self.size else pixels.border(whole[None])
        return VIEWS[self.crops](whole, self.size, fill, self.resolution)

    def find(self, path: Path) -> list[Sample] | None:
        return None

    def with_crops(self, kind: str) -> Detection:
        if kind == "ten":
            raise UsageError(
                "crops: ten is for whole pictures, and would cut objects; choose flip, "
                "or tiles for large pictures"
            )
        if kind not in VIEWS:
            raise UsageError(f'crops: unknown "{kind}"; {did_you_mean(kind, VIEWS)}')
        return replace(self, crops=kind)

    def said_alone(self) -> Detection:
        """Suppression never lets a box be changed by less sure ones;
        joining what several views say does."""
        return replace(self, least=self.threshold if self.crops == "one" else 0.0)

    def with_threshold(self, value: float) -> Detection:
        return replace(self, threshold=value)

    def order(
        self, samples: Sequence[Sample], views: np.ndarray, epoch: int, rng: np.random.Generator
    ) -> list[np.ndarray]:
        return shuffled(len(samples), self.batch, rng)

    # --- learning ---------------------------------------------------------------------------------

    def augment(self, batch: Batch, rng: Draws, progress: float) -> Batch:
        """Objects come in pixels of their pictures and go out in pixels of the views."""
        how, fill = self.augmentation, torch.tensor(self.fill)
        objects = [
            moved(target, transform)
            for target, transform in zip(batch.targets, batch.transforms, strict=True)
        ]
        if DESIGNS[self.detector].proposes:
            objects = [
                with_proposals(each, boxes)
                for each, boxes in zip(objects, self._proposals(batch.images), strict=True)
            ]
        images, targets = scenes(batch.images, objects, how, rng, fill, progress)
        if how.recolours:
            top = 2.0**self.bits - 1
            images = recolour(images.float() / top, how, rng, np.zeros((0, self.channels))) * top
        return replace(batch, images=erase(images, how.erase, rng, fill), targets=targets)

    def _proposals(self, images: torch.Tensor) -> list[np.ndarray]:
        """Of each picture B×C×H×W of the stored depth, M×4 boxes that something may be in."""
        return [remembered(to_rgb8(view)) for view in images.permute(0, 2, 3, 1).cpu().numpy()]

    def show(self, batch: Batch) -> list[tuple[np.ndarray, str]]:
        pictures = (
            (batch.images.float() / (2.0**self.bits - 1))
            .clamp(0, 1)
            .permute(0, 2, 3, 1)
            .cpu()
            .numpy()
        )
        shown = [
            (to_rgb8(picture), apart(target)[0])
            for picture, target in zip(pictures, batch.targets, strict=True)
        ]
        return [
            (boxes(picture, target.boxes, target.labels.tolist()), self._said(target.labels))
            for picture, target in shown
        ]

    def _said(self, labels: np.ndarray) -> str:
        numbers = np.bincount(labels, minlength=len(self.classes))
        return (
            ", ".join(
                f"{name} {count}"
                for name, count in zip(self.classes, numbers, strict=True)
                if count
            )
            or "background"
        )

    def build(self) -> nn.Module:
        text = self.model
        outputs = models.classes_of(text) if models.is_notation(text) else len(self.classes)
        backbone = headless(models.create(text, outputs, self.channels, self.size), self.input)
        # Before anything was measured there are no anchors yet; a network of the right shape is
        # still wanted.
        shape = (DESIGNS[self.detector].levels, self.fitted, 2)
        anchors = (
            torch.tensor(self.anchors)
            if self.anchors
            else torch.full(shape, 32.0)
            if self.fitted
            else None
        )
        return DESIGNS[self.detector].build(backbone, len(self.classes), self.neck, anchors)

    def turns(self, network: nn.Module) -> list[list[tuple[str, nn.Parameter]]]:
        return all_that_learns(network)

    def on_features(self) -> Detection:
        raise UsageError(
            "freeze: the head of a detector reads several maps, which are not kept; "
            "leave out the cache"
        )

    def normalised(self, images: torch.Tensor) -> torch.Tensor:
        return pixels.normalised(images, *self._offset_and_gain)

    @cached_property
    def _offset_and_gain(self) -> tuple[torch.Tensor, torch.Tensor]:
        return pixels.offset_and_gain(self.scale, self.bits, self.mean, self.std)

    def loss(
        self, network: nn.Module, batch: Batch, turn: int, rng: Draws
    ) -> dict[str, torch.Tensor]:
        return DESIGNS[self.detector].loss(
            network, self.normalised(batch.images), batch.targets, self.criterion, rng
        )

    # --- answers ----------------------------------------------------------------------------------

    def outputs(self, network: nn.Module, batch: Batch) -> torch.Tensor:
        """B×K×6 candidates in pixels of the view: x1 y1 x2 y2 score label;
        rows of score 0 hold nothing."""
        design = DESIGNS[self.detector]
        proposals = self._proposals(batch.images) if design.proposes else None
        return design.candidates(network, self.normalised(batch.images), proposals).float()

    def decode(self, outputs: torch.Tensor, batch: Batch) -> list[Prediction]:
        transforms = list(batch.transforms)
        found = in_pictures(outputs, transforms, self.least)
        answers = []
        for i, end in spans(tuple(batch.sources)):
            where, scores, labels = merged(found[i:end], transforms[i:end], self.crops)
            size = transforms[i].source_size
            answers.append(
                Prediction(
                    batch.sources[i],
                    size,
                    self.classes,
                    None,
                    where,
                    scores,
                    labels,
                    self.threshold,
                )
            )
        return answers

    def metric(self, costs: np.ndarray | None = None) -> Answers:
        if costs is not None:
            raise UsageError(
                "costs: are of answers about whole pictures; "
                "a detector's misses and false alarms are counted apart"
            )
        return Answers(self.classes, self.score, self.threshold, self.aim, self.note)

    def finish(self, targets: Any, answers: Sequence[Prediction]) -> Detection:
        found = choose(self.aim, list(targets), answers)
        return replace(self, threshold=found.value, note=found.note)

    def together(self, answers: Sequence[Prediction]) -> Prediction:
        return fused(answers)

    def baselines(
        self, parts: Mapping[str, tuple[np.ndarray, Sequence[Sample]]], seed: int
    ) -> Iterator[Baseline]:
        yield from ()

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


def _usual_size(headers: Sequence[Header]) -> tuple[int, int]:
    """A square of the pictures' median longer side, in steps of 32,
    at most 320: coarser maps have whole sides then."""
    longer = float(np.median([max(header.height, header.width) for header in headers]))
    side = int(np.clip(np.ceil(longer / 32) * 32, 64, USUAL))
    return side, side


def _refuse_settings_of_whole_pictures(settings: Mapping[str, Any]) -> None:
    """Raises UsageError for what speaks of one class a picture."""
    for name in ("mixup", "cutmix"):
        if settings[name] or settings["augment"] == name:
            raise UsageError(
                f"{name}: blends pictures of one class each, and boxes have no share; leave it "
                "out, or try --mosaic"
            )
    if settings["pca_colour"] or settings["augment"] == "alexnet":
        raise UsageError(
            "pca_colour: the main colours are measured for classification alone; leave it out, "
            "or try --colour"
        )
    detector = settings["detector"] or "yolo"
    if settings["loss"] not in (None, *DESIGNS[detector].losses):
        raise UsageError(
            f"loss: {detector} learns by {' or '.join(DESIGNS[detector].losses)}, "
            f"not by {settings['loss']}"
        )
    if settings["size"] and min(settings["size"]) < COARSEST:
        raise UsageError(
            f"size: {min(settings['size'])} is less than one place of the coarsest map; "
            f"set it to {COARSEST} or more"
        )
    if settings["score"] not in (None, "map", "map50"):
        raise UsageError(
            f"score: {settings['score']} is of whole pictures; a detector is chosen by map or map50"
        )
    if settings["augment"] in ("fields", "volumes", "quarters"):
        raise UsageError(
            f"augment: {settings['augment']} is of masks and sharp pictures; choose scenes"
        )
    if settings["imbalance"] != "none":
        raise UsageError(
            f"imbalance: {settings['imbalance']} counts pictures of one class each; leave it out"
        )
    if settings["focal_gamma"] != 2:
        raise UsageError(
            "focal_gamma: the focal loss of a detector (varifocal) has its own, which is 2; "
            "leave it out"
        )
    if settings["label_smoothing"]:
        raise UsageError(
            "label_smoothing: what a place should say is already a share; leave it out"
        )
