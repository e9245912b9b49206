"""Which pixels? A class for every pixel of a picture, or every voxel of a volume."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ... import models
from ...anatomy import blank
from ...core.errors import DataError, UsageError
from ...core.rng import Draws
from ...core.types import IGNORE, Batch, Prediction, ViewTransform
from ...data import formats
from ...data.dicom import SUFFIX as DICOM
from ...data.formats import Dataset
from ...data.formats.volumes import find
from ...data.images import Header
from ...data.sample import Sample
from ...data.volumes import is_nifti
from ...losses import class_balance
from ...losses.segmentation import border_weights, mean_loss
from ...plots.masks import MASK_FILES, VOLUME_FILES
from ...transforms.augment import POLICIES, Augmentation
from ...transforms.sliding_window import View, Windows
from .. import pixels
from ..common import all_that_learns, arrived, numbers_of, spans, travelling, truths_of
from ..page import Section
from ..task import Baseline, Task
from . import cuts, looks, report
from .answers import Answers
from .finding import Finding, answered, fitted
from .proposals import (
    annotator_of,
    check_patch,
    check_size,
    default_windows,
    epochs,
    patch_of,
    refuse_settings_of_others,
    sizes,
)
from .rivals import rivals
from .sheet import shown, worst

CROPS = ("one", "flip", "eight")
# Of an epoch, however few pictures there are: validation comes after each.
LEAST_STEPS = 100


@dataclass(frozen=True)
class Segmentation(Task):
    """size: (height, width) of a window, or (depth, height, width). bits: 8 or 16, the depth of the
    stored views. mean, std: per channel, of pixels scaled to 0..1. scale: what the network gets
    (see `pixels.offset_and_gain`). look: how a picture or volume is seen (`looks`). parts: what the
    channels of a volume are called. width, upsampling, skips: of the network. margin: pixels that
    its answer lacks on every side; step: by how many it halves.
    threshold, refine, smallest, wall, floor: what is done to an answer after the network
    (`finding.Finding`), its numbers chosen on validation. annotator: whose masks are the truth, a
    number; -1 for the mean of all.
    What follows `model` is of training alone and does not travel with the weights. groups: source
    to patient. crops: how often a view is asked about, reflected and turned. soft: whether answers
    keep their probabilities."""

    name = "segmentation"
    counted = "masks"
    worst = (
        "The pictures with the lowest Dice: the picture, the truth, the answer, "
        "and where they differ."
    )

    classes: tuple[str, ...]
    size: tuple[int, ...]
    channels: int
    bits: int = 8
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    scale: str = "standard"
    look: str = "picture"
    parts: tuple[str, ...] = ()
    width: int = 32
    upsampling: str = ""
    skips: str = ""
    margin: int = 0
    step: int = 1
    threshold: float = 0.5
    refine: str = "none"
    smallest: int = 0
    wall: float = 0.5
    floor: float = 0.0
    annotator: int = 0
    model: str = ""
    patch: tuple[int, ...] = ()
    batch: int = 4
    criterion: str = "dice_cross_entropy"
    score: str = "dice"
    focal_gamma: float = 2.0
    border: float = 0.0
    imbalance: str = "none"
    support: tuple[int, ...] = ()
    groups: Mapping[str, str] = field(default_factory=dict)
    crops: str = "one"
    soft: bool = True
    augmentation: Augmentation = field(default_factory=Augmentation)

    @property
    def input(self) -> tuple[int, ...]:  # type: ignore[override]
        return looks.channels_seen(self.look, self.channels), *self.size

    @property
    def design(self) -> str:
        named = self.model if self.model in models.SEGMENTERS else f"unet over {self.model}"
        return named if self.look == "picture" else f"{named}, {self.look}"

    @property
    def answers(self) -> None:
        return None

    @property
    def has_baselines(self) -> bool:  # type: ignore[override]
        return len(self.classes) == 2 and self.look == "picture"

    @property
    def writes(self) -> tuple[str, ...]:  # type: ignore[override]
        return MASK_FILES if self.look == "picture" else VOLUME_FILES

    @cached_property
    def windows(self) -> Windows:
        return default_windows(self.size, self.margin, self.step)

    # --- data -------------------------------------------------------------------------------------

    @staticmethod
    def recognises(source: str | Path) -> bool:
        return formats.recognise_masks(source) is not None

    @staticmethod
    def read(source: str | Path) -> Dataset:
        return formats.read_masks(source)

    def find(self, path: Path) -> list[Sample] | None:
        if self.look != "picture":
            return find(path, self.parts)
        if path.is_file() and (is_nifti(path) or path.suffix.lower() == DICOM):
            raise DataError(
                f"{path}: is a volume, and this model knows flat pictures; name pictures"
            )
        return None

    @staticmethod
    def propose(
        settings: Mapping[str, Any], reading: Dataset, headers: Sequence[Header]
    ) -> dict[str, Any]:
        refuse_settings_of_others(settings)
        solid = headers[0].depth is not None
        many = len(reading.classes) > 3 and headers[0].channels == 3
        policy = settings["augment"] or ("volumes" if solid else "photos" if many else "fields")
        look = settings["look"] or "neighbours"
        return {
            "look": look if solid else None,
            **sizes(settings, headers, look if solid else "picture"),
            "model": "unet",
            "width": 64 if settings["model"] == "unet_2015" else 16,
            "annotator": reading.samples[0].target.names[0]
            if reading.samples[0].target.names
            else None,
            "batch": 2 if look == "volume" and solid else 4,
            "epochs": epochs(settings, reading, headers),
            "loss": "dice_cross_entropy",
            "optimizer": "adamw",
            "lr": 2e-3 if settings["optimizer"] in (None, "adamw") else None,
            "stage_lr": 0.3 if settings["weights"] else 1.0,
            "clip": 1.0,
            "ema": 0.99,
            "augment": policy,
            **asdict(POLICIES[policy]),
            "refine": "none",
            "score": "dice",
        }

    @classmethod
    def open(
        cls, settings: Mapping[str, Any], reading: Dataset, headers: Sequence[Header]
    ) -> Segmentation:
        solid = headers[0].depth is not None
        if any((header.depth is not None) != solid for header in headers):
            raise DataError(
                f"{reading.root or reading.name}: holds pictures and volumes; "
                "name a data set of one kind"
            )
        look = (settings["look"] or "neighbours") if solid else "picture"
        if settings["look"] and not solid:
            raise UsageError(
                f"look: {settings['look']} is of volumes, and these are flat pictures; leave it out"
            )
        if solid and settings["refine"] != "none":
            raise UsageError(f"refine: {settings['refine']} is of flat pictures; leave it out")
        if settings["refine"] == "watershed" and len(reading.classes) != 2:
            raise UsageError(
                "refine: watershed parts the objects of one class from each other, and here are "
                f"{len(reading.classes) - 1}; leave it out"
            )
        first = reading.samples[0].image
        size = tuple(settings["size"])
        room = cls(
            classes=reading.classes,
            size=(settings["depth"], *size) if look == "volume" else size,
            channels=headers[0].channels if solid else pixels.common_channels(headers),
            bits=max(header.bits for header in headers),
            scale=settings["scale"],
            look=look,
            parts=tuple(getattr(first, "names", ())),
            width=settings["width"],
            upsampling=settings["upsampling"] or "",
            skips=settings["skips"] or "",
            refine=settings["refine"],
            smallest=settings["smallest"],
            annotator=annotator_of(settings["annotator"], reading),
            model=settings["model"],
            batch=settings["batch"],
            criterion=settings["loss"],
            score=settings["score"],
            focal_gamma=settings["focal_gamma"],
            border=settings["border"],
            imbalance=settings["imbalance"],
            groups={
                sample.source: sample.group
                for sample in reading.samples
                if sample.group is not None
            },
            augmentation=Augmentation(**{f.name: settings[f.name] for f in fields(Augmentation)}),
        )
        with blank():
            network: Any = room.build()
        room = replace(room, margin=network.margin, step=network.step)
        room = replace(room, patch=patch_of(settings["patch"], room.size, room.margin))
        check_patch(room.patch, getattr(getattr(network, "network", network), "least", room.patch))
        return room

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Segmentation:
        return cls(**arrived(stored))

    def to_json(self) -> dict[str, Any]:
        return travelling(self)

    def relabelled(self, reading: Dataset) -> Dataset:
        number = numbers_of(reading, self.classes)
        if (number == np.arange(len(number))).all():
            return replace(reading, classes=self.classes)
        table = np.full(256, IGNORE, np.uint8)
        table[: len(number)] = number
        samples = tuple(
            replace(sample, target=looks.renumbered(sample.target, table))
            for sample in reading.samples
        )
        return replace(reading, samples=samples, classes=self.classes)

    @staticmethod
    def refuse(reading: Dataset) -> None:
        if not any(sample.target.counts[1:IGNORE].any() for sample in reading.samples):
            raise DataError(
                f"{reading.root or reading.name}: every mask is {reading.classes[0]} alone; "
                "there is nothing to find"
            )

    @staticmethod
    def strata(reading: Dataset) -> tuple[np.ndarray, tuple[str, ...]]:
        """The kinds of pictures, where the data has any."""
        kinds = sorted({sample.target.kind for sample in reading.samples})
        return np.array(
            [kinds.index(sample.target.kind) for sample in reading.samples], np.int64
        ), tuple(kind or "all" for kind in kinds)

    @staticmethod
    def counts(samples: Sequence[Sample], classes: Sequence[str]) -> dict[str, int]:
        """In how many masks."""
        present = np.sum(
            [
                np.zeros(len(classes), np.int64),
                *(sample.target.counts[: len(classes)] > 0 for sample in samples),
            ],
            axis=0,
        )
        return dict(zip(classes, present.tolist(), strict=True))

    def targets(self, samples: Sequence[Sample]) -> np.ndarray:
        return truths_of(samples)

    def measured(
        self, images: np.ndarray, targets: Any = None, transforms: Sequence[ViewTransform] = ()
    ) -> Segmentation:
        mean, std = pixels.mean_and_deviation(images, self.bits)
        room = replace(self, mean=mean, std=std)
        if targets is None:
            return room
        counts = np.sum(
            [
                target.counts[: len(self.classes)]
                for target in {id(target): target for target in targets}.values()
            ],
            axis=0,
        )
        if not counts[1:].any():
            raise DataError(
                f"the training part holds nothing but {self.classes[0]}; "
                "share the pictures out otherwise"
            )
        return replace(room, support=tuple(counts.tolist()))

    def views(self, sample: Sample) -> list[View]:
        image = sample.pixels()
        check_size(sample.source, image.shape[-3:-1], self.step)
        if self.look == "picture":
            if image.ndim == 4:
                raise DataError(
                    f"{sample.source}: is a volume, and this model knows flat pictures; "
                    "name pictures"
                )
            return looks.views(
                pixels.stored(image, self.channels, self.bits), self.look, self.windows, None
            )
        if image.ndim == 3:
            raise DataError(
                f"{sample.source}: is a flat picture, and this model knows volumes; "
                "name NIfTI or DICOM"
            )
        if image.shape[3] != self.channels:
            raise DataError(
                f"{sample.source}: has {image.shape[3]} channels, and this model knows "
                f"{self.channels}; name all of them"
            )
        return looks.views(image, self.look, self.windows, sample.space)

    def with_crops(self, kind: str) -> Segmentation:
        if kind not in (*CROPS, "tiles"):
            raise UsageError(
                f"crops: {kind} is not for masks; choose {', '.join(CROPS)} (large pictures are "
                "always seen in windows)"
            )
        return replace(self, crops="one" if kind == "tiles" else kind)

    def said_alone(self) -> Segmentation:
        return replace(self, soft=False)

    def with_threshold(self, value: float) -> Segmentation:
        if len(self.classes) != 2:
            raise UsageError(
                f"threshold: is of two classes, and this model tells {len(self.classes)} apart; "
                "leave it out"
            )
        return replace(self, threshold=value)

    def order(
        self, samples: Sequence[Sample], views: np.ndarray, epoch: int, rng: np.random.Generator
    ) -> list[np.ndarray]:
        """Each view about as often as its area holds crops, and more often where that would make an
        epoch of less than a hundred steps."""
        count = int(views.sum())
        times = max(
            round(math.prod(self.size) / math.prod(self.patch)),
            -(-LEAST_STEPS * self.batch // count),
        )
        rows = np.concatenate([rng.permutation(count) for _ in range(times)])
        return [
            rows[few]
            for few in np.split(np.arange(len(rows)), range(self.batch, len(rows) - 1, self.batch))
        ]

    # --- learning ---------------------------------------------------------------------------------

    def augment(self, batch: Batch, rng: Draws, progress: float) -> Batch:
        """Views of whole windows come in, crops of `patch` go out,
        and for masks what each of their pixels is."""
        annotators = range(len(batch.targets[0].packed)) if self.annotator < 0 else [self.annotator]
        images, labels = cuts.cut(batch, self.patch, self.augmentation, rng, list(annotators))
        images = cuts.recoloured(images, self.augmentation, rng, 2.0**self.bits - 1)
        return replace(batch, images=images, targets=cuts.targets(labels, len(self.classes)))

    def show(self, batch: Batch) -> list[tuple[np.ndarray, str]]:
        targets = batch.targets
        if isinstance(targets, np.ndarray):  # views as they are, before any crop
            targets = cuts.targets(
                cuts.labels_of(batch, [max(self.annotator, 0)]), len(self.classes)
            )
        return shown(batch.images.float() / (2.0**self.bits - 1), targets, self.classes)

    def build(self) -> nn.Module:
        network = models.segmenter(
            self.model,
            len(self.classes),
            self.input[0],
            self.size,
            width=self.width,
            upsampling=self.upsampling or None,
            skips=self.skips or None,
            dims=len(self.size),
        )
        if self.refine == "crf_rnn":
            from ...models.crf import CrfAsRnn

            return CrfAsRnn(network, len(self.classes))
        return network

    def turns(self, network: nn.Module) -> list[list[tuple[str, nn.Parameter]]]:
        return all_that_learns(network)

    def on_features(self) -> Segmentation:
        raise UsageError(
            "freeze: the head of a U-Net reads several maps, which are not kept; "
            "leave out the cache"
        )

    def normalised(self, images: torch.Tensor) -> torch.Tensor:
        offset, gain = self._offset_and_gain
        solid = [
            each[..., None] if images.ndim == 5 and each.ndim else each for each in (offset, gain)
        ]
        return pixels.normalised(images, *solid)

    @cached_property
    def _offset_and_gain(self) -> tuple[torch.Tensor, torch.Tensor]:
        return pixels.offset_and_gain(self.scale, self.bits, self.mean, self.std)

    def loss(
        self, network: nn.Module, batch: Batch, turn: int, rng: Draws
    ) -> dict[str, torch.Tensor]:
        logits = network(self.normalised(batch.images)).float()
        inner = (..., *[slice(self.margin, side - self.margin) for side in batch.images.shape[2:]])
        targets = batch.targets[inner]
        total = mean_loss(
            self.criterion,
            logits,
            targets,
            self._class_weights(logits),
            self._border(targets),
            self.focal_gamma,
        )
        return {"total": total, "loss": total.detach()}

    def _class_weights(self, like: torch.Tensor) -> torch.Tensor | None:
        return (
            torch.from_numpy(class_balance.class_weights(np.array(self.support))).to(like)
            if self.imbalance == "class_weights"
            else None
        )

    def _border(self, targets: torch.Tensor) -> torch.Tensor | None:
        """What narrow gaps weigh more (Ronneberger et al. 2015, equation 2)."""
        if not self.border:
            return None
        masks = targets.argmax(1) if targets.is_floating_point() else targets
        gaps = [border_weights(mask.astype(np.uint8), self.border) for mask in masks.cpu().numpy()]
        return torch.from_numpy(np.stack(gaps)).to(targets.device)

    # --- answers ----------------------------------------------------------------------------------

    def outputs(self, network: nn.Module, batch: Batch) -> torch.Tensor:
        """B×K×size of the answer: probabilities, the mean over the reflections and turns that
        are asked for."""
        images = self.normalised(batch.images)
        total = torch.softmax(network(images).float(), 1)
        if self.crops == "one":
            return total
        turns = [
            (k, mirror)
            for k in range(4 if self.crops == "eight" else 1)
            for mirror in (False, True)
        ][1:]
        for k, mirror in turns:
            turned = torch.rot90(images.flip(-1) if mirror else images, k, (-2, -1))
            said = torch.rot90(torch.softmax(network(turned).float(), 1), -k, (-2, -1))
            total = total + (said.flip(-1) if mirror else said)
        return total / (1 + len(turns))

    def decode(self, outputs: torch.Tensor, batch: Batch) -> list[Prediction]:
        transforms, found = list(batch.transforms), []
        for i, end in spans(tuple(batch.sources)):
            first = transforms[i]
            shares = looks.joined(outputs[i:end].cpu(), transforms[i:end], self.windows)
            shown = (
                self._shown(batch.images[i:end], transforms[i:end])
                if self.refine == "crf"
                else None
            )
            said = answered(shares, shown, self._finding)
            answer = replace(
                Prediction(batch.sources[i], first.source_size, self.classes, space=first.space),
                **said,
            )
            found.append(answer if self.soft else replace(answer, soft=None))
        return found

    def _shown(self, images: torch.Tensor, transforms: Sequence[ViewTransform]) -> torch.Tensor:
        """The picture, C×size in 0..1, out of its views."""
        return replace(self.windows, margin=0).blended(
            [image.float() / (2.0**self.bits - 1) for image in images], transforms
        )

    def metric(self, costs: np.ndarray | None = None) -> Answers:
        if costs is not None:
            raise UsageError("costs: are of answers about whole pictures; leave it out")
        return Answers(
            self.classes,
            self.score,
            self.threshold,
            groups=self.groups,
            annotator=max(self.annotator, 0),
        )

    def finish(self, targets: Any, answers: Sequence[Prediction]) -> Segmentation:
        if len(self.classes) != 2:
            return self
        how = fitted(self._finding, list(targets), answers, self.score, max(self.annotator, 0))
        return replace(self, threshold=how.threshold, wall=how.wall, floor=how.floor)

    @property
    def _finding(self) -> Finding:
        return Finding(self.threshold, self.refine, self.smallest, self.wall, self.floor)

    def together(self, answers: Sequence[Prediction]) -> Prediction:
        first, rows = answers[0], []
        for answer in answers:
            assert answer.soft is not None
            rows.append(
                answer.soft[[answer.classes.index(name) for name in first.classes]].astype(
                    np.float32
                )
                / 255
            )
        shares, how = torch.from_numpy(np.mean(rows, axis=0)), self._finding
        return replace(
            first,
            **answered(shares, None, replace(how, refine="none") if how.refine == "crf" else how),
        )

    def baselines(
        self, parts: Mapping[str, tuple[np.ndarray, Sequence[Sample]]], seed: int
    ) -> Iterator[Baseline]:
        return rivals(
            {part: samples for part, (_, samples) in parts.items()},
            self.classes,
            max(self.annotator, 0),
            seed,
        )

    def draw(
        self, samples: Sequence[Sample], predictions: Sequence[Prediction]
    ) -> np.ndarray | None:
        return worst(samples, predictions, self.classes, max(self.annotator, 0))

    @staticmethod
    def headline(summary: Mapping[str, Any]) -> tuple[str, str, str]:
        return report.headline(summary)

    @staticmethod
    def sections(found: Mapping[str, Any]) -> list[Section]:
        return report.sections(found)
