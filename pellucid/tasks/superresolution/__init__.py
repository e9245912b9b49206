"""What would it look like sharper? A picture made two, three or four times as large, learnt from
sharp pictures that were made small."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import nn

from ... import models
from ...core.errors import DataError, ModelError, UsageError, did_you_mean
from ...core.rng import Draws
from ...core.types import Batch, Prediction, ViewTransform
from ...data import formats, images
from ...data.formats import Dataset
from ...data.images import Header
from ...data.sample import Sample
from ...metrics.image_quality import SIDE
from ...plots.annotate import to_rgb8
from ...plots.masks import PICTURE_FILES
from ...transforms.augment import POLICIES, Augmentation
from ...transforms.resize import bicubic, bicubic_array
from ...transforms.sliding_window import Windows
from .. import pixels
from ..common import all_that_learns, arrived, spans, travelling, truths_of
from ..page import Section
from ..task import Baseline, Task
from . import pictures, report
from .answers import Answers
from .pictures import Original
from .settings import CRITERIA, refuse_settings_of_words, refuse_sizes
from .sheet import worst

# There are no classes; what is counted has a name all the same.
KINDS = ("sharp pictures",)
# A side of the middle of a window, in pixels of the sharp picture: larger pictures are seen through
# several.
MIDDLE = 384
# Making a picture small looks so many small pixels far; and so far does taking its colours back.
REACH = 3
# Crops of an epoch: validation, which looks at whole pictures, is to be a small part of the time.
CROPS = 4000
# Of supplied small pictures so many are held against what is made here of the sharp ones.
COMPARED = 5
CROPPINGS = ("one", "flip", "tiles")


@dataclass(frozen=True)
class SuperResolution(Task):
    """size: (height, width) of a view, a window of the sharp picture; of a small picture that is
    asked about, that by the factor. channels, bits: of the sharp pictures. factor: how many times
    as large a picture becomes. colours: "luma", the network is told of brightness alone, or "rgb".
    margin: small pixels at each side of a window of which nothing is said, for the network does not
    see enough there. width: maps in the middle of the network, None for its own.
    What follows `model` is of training alone and does not travel with the weights. crops: whether a
    mirror image is asked about too.
    """

    name = "superresolution"
    counted = "pictures"
    worst = (
        "The pictures that came out worst, where they did most: the sharp one, bicubic "
        "enlargement, the answer, and its error."
    )
    seen = (
        "Random crops of training pictures, turned and mirrored, as they are to come back: the "
        "network is given each of them made small."
    )
    has_baselines = True
    writes = PICTURE_FILES

    classes: tuple[str, ...]
    size: tuple[int, int]
    channels: int
    bits: int = 8
    factor: int = 2
    colours: str = "luma"
    margin: int = 0
    width: int | None = None
    model: str = ""
    batch: int = 16
    patch: int = 64
    criterion: str = "l1"
    score: str = "psnr"
    augmentation: Augmentation = field(default_factory=Augmentation)
    crops: str = "one"

    @property
    def input(self) -> tuple[int, int, int]:  # type: ignore[override]
        return (
            1 if self.colours == "luma" else self.channels,
            self.size[0] // self.factor,
            self.size[1] // self.factor,
        )

    @property
    def design(self) -> str:
        return f"{self.model} ×{self.factor}"

    @property
    def answers(self) -> None:
        return None

    # --- data -------------------------------------------------------------------------------------

    @staticmethod
    def recognises(source: str | Path) -> bool:
        return formats.recognise_sharp(source)

    @staticmethod
    def read(source: str | Path) -> Dataset:
        reading = formats.read_sharp(source)
        samples = tuple(
            replace(sample, target=Original(sample, sample.target)) for sample in reading.samples
        )
        return replace(
            reading, samples=samples, classes=KINDS, notes=(*reading.notes, *_supplied(samples))
        )

    @staticmethod
    def propose(
        settings: Mapping[str, Any], reading: Dataset, headers: Sequence[Header]
    ) -> dict[str, Any]:
        refuse_settings_of_words(settings)
        SuperResolution.refuse(reading)
        policy = settings["augment"] or "quarters"
        factor, model = settings["factor"] or 2, settings["model"] or "residual_sr"
        frame = 2 * factor * _margin(model, factor, settings["width"])
        height, width = (
            min(MIDDLE, max(getattr(header, side) for header in headers))
            for side in ("height", "width")
        )
        shorter = int(np.median([min(header.height, header.width) for header in headers]))
        size = (-(-height // factor) * factor + frame, -(-width // factor) * factor + frame)
        return {
            "model": model,
            "factor": factor,
            "colours": "luma",
            "size": size,
            "patch": min(32 * factor, max(8, shorter // factor) * factor),
            "epochs": 40,
            "batch": 16,
            "loss": "l1",
            "optimizer": "adam",
            "lr": 1e-3 if settings["optimizer"] in (None, "adam", "adamw") else None,
            # Decay pulls a network that adds to bicubic towards bicubic.
            "weight_decay": 0.0,
            "clip": 1.0,
            "augment": policy,
            **asdict(POLICIES[policy]),
            "score": "psnr",
        }

    @classmethod
    def open(
        cls, settings: Mapping[str, Any], reading: Dataset, headers: Sequence[Header]
    ) -> SuperResolution:
        factor, channels = settings["factor"], pixels.common_channels(headers)
        if channels not in (1, 3):
            raise DataError(
                f"{reading.root or reading.name}: pictures of {channels} channels; grey ones and "
                "RGB can be made larger"
            )
        if settings["colours"] == "rgb" and channels == 1:
            raise UsageError("colours: rgb, but all pictures are grey; leave it out")
        margin, size = (
            _margin(settings["model"], factor, settings["width"]),
            tuple(settings["size"]),
        )
        refuse_sizes(settings["model"], factor, margin, size, settings["patch"])
        return cls(
            classes=KINDS,
            size=size,
            channels=channels,
            bits=max(header.bits for header in headers),
            factor=factor,
            colours=settings["colours"],
            margin=margin,
            width=settings["width"],
            model=settings["model"],
            batch=settings["batch"],
            patch=settings["patch"],
            criterion=settings["loss"],
            score=settings["score"],
            augmentation=Augmentation(**{f.name: settings[f.name] for f in fields(Augmentation)}),
        )

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> SuperResolution:
        return cls(**arrived(stored))

    def to_json(self) -> dict[str, Any]:
        return travelling(self)

    def relabelled(self, reading: Dataset) -> Dataset:
        return reading

    @staticmethod
    def refuse(reading: Dataset) -> None:
        if len(reading.samples) < 2:
            raise DataError(
                f"{reading.root or reading.name}: one picture cannot be shared out for learning "
                "and testing; add some"
            )

    @staticmethod
    def strata(reading: Dataset) -> tuple[np.ndarray, tuple[str, ...]]:
        return np.zeros(len(reading.samples), np.int64), ("pictures",)

    @staticmethod
    def counts(samples: Sequence[Sample], classes: Sequence[str]) -> dict[str, int]:
        return dict.fromkeys(KINDS, len(samples))

    def targets(self, samples: Sequence[Sample]) -> np.ndarray:
        return truths_of(samples)

    def measured(
        self, images: np.ndarray, targets: Any = None, transforms: Sequence[ViewTransform] = ()
    ) -> SuperResolution:
        """Nothing is measured: the network is given pixels from 0 to 1."""
        return self

    def views(self, sample: Sample) -> list[tuple[np.ndarray, ViewTransform]]:
        """Windows of a sharp picture, or of a small one that nobody knows sharper, which are
        smaller by the factor."""
        picture = sample.pixels()
        source_size = picture.shape[:2]
        if sample.target is None:
            shown, grown = pictures.asked(picture), self.factor
        else:
            shown, grown = (
                pictures.cut(pixels.stored(picture, self.channels, self.bits), self.factor),
                1,
            )
            least = SIDE + 2 * self.factor
            if min(shown.shape[:2]) < least:
                said = (
                    f"{source_size[0]}×{source_size[1]} pixels are too few to compare at a factor "
                    f"of {self.factor}"
                )
                raise DataError(
                    f"{sample.source}: {said}; leave out pictures with a side under "
                    f"{-(-least // self.factor) * self.factor}"
                )
        views = pictures.windows_of(shown, self._windows(grown), source_size)
        return [
            each
            for view in views
            for each in ((view, pictures.mirrored(view)) if self.crops == "flip" else (view,))
        ]

    def _windows(self, grown: int) -> Windows:
        """Of a picture that is still to grow by so much."""
        small = self.factor // grown
        return Windows(
            (self.size[0] // grown, self.size[1] // grown), self.margin * small, step=small
        )

    def find(self, path: Path) -> list[Sample] | None:
        return None

    def with_crops(self, kind: str) -> SuperResolution:
        if kind == "ten":
            raise UsageError("crops: ten is for answers about a picture as a whole; choose flip")
        if kind not in CROPPINGS:
            raise UsageError(f'crops: unknown "{kind}"; {did_you_mean(kind, CROPPINGS)}')
        return replace(self, crops=kind)

    def said_alone(self) -> SuperResolution:
        return self

    def with_threshold(self, value: float) -> SuperResolution:
        raise UsageError(
            "threshold: nothing is said to be there or not in a picture that is made larger; "
            "leave it out"
        )

    def order(
        self, samples: Sequence[Sample], views: np.ndarray, epoch: int, rng: np.random.Generator
    ) -> list[np.ndarray]:
        """All windows, again and again in another order until there are crops enough: each time
        another crop."""
        count = int(views.sum())
        chosen = np.concatenate([rng.permutation(count) for _ in range(-(-CROPS // count))])
        return np.split(chosen, range(self.batch, len(chosen), self.batch))

    # --- learning ---------------------------------------------------------------------------------

    def augment(self, batch: Batch, rng: Draws, progress: float) -> Batch:
        """Random crops of the sharp windows, turned and mirrored; the truths are what becomes of
        them as small pictures, in 0…1."""
        how, side = self.augmentation, self.patch
        draws = rng.uniform(5)
        crops = []
        for image, transform, (down, across, mirror, turn, which) in zip(
            batch.images, batch.transforms, draws, strict=True
        ):
            sides = zip(
                pictures.real_part(transform, self.factor), self.size, (down, across), strict=True
            )
            y, x = (self._start(first, last, whole, place) for (first, last), whole, place in sides)
            crop = image[:, y : y + side, x : x + side].float()
            crop = crop.rot90(1 + int(3 * which), (1, 2)) if turn < how.turn else crop
            crops.append(crop.flip(2) if mirror < how.mirror else crop)
        sharp = torch.stack(crops)
        return replace(
            batch, images=sharp, targets=pictures.shrunk(sharp / self._top, self.factor, self._top)
        )

    def _start(self, first: int, last: int, whole: int, place: float) -> int:
        """Of a crop, at a share of the way along the part of a window that shows something; where
        that is too short, it reaches beyond."""
        return min(first, whole - self.patch) + int((max(0, last - first - self.patch) + 1) * place)

    def show(self, batch: Batch) -> list[tuple[np.ndarray, str]]:
        shown = (batch.images.float() / self._top).permute(0, 2, 3, 1).cpu().numpy()
        size = (
            f"{shown.shape[2] // self.factor}×{shown.shape[1] // self.factor} → "
            f"{shown.shape[2]}×{shown.shape[1]}"
        )
        return [(to_rgb8(picture), size) for picture in shown]

    def build(self) -> nn.Module:
        return models.enlarger(self.model, self.factor, self.input[0], self.width)

    def turns(self, network: nn.Module) -> list[list[tuple[str, nn.Parameter]]]:
        return all_that_learns(network)

    def on_features(self) -> SuperResolution:
        raise UsageError(
            "freeze: features of crops, of which no two are alike, are not kept; "
            "leave out the cache"
        )

    def loss(
        self, network: nn.Module, batch: Batch, turn: int, rng: Draws
    ) -> dict[str, torch.Tensor]:
        """Of what the network is told of, brightness or RGB; the outermost pixels, which a crop
        shows too little of, do not count."""
        rim = self.factor
        error = (network(self._told(batch.targets)).float() - self._told(batch.images / self._top))[
            ..., rim:-rim, rim:-rim
        ]
        return {"total": CRITERIA[self.criterion](error)}

    @property
    def _top(self) -> int:
        """The highest level of the sharp pictures."""
        return 2**self.bits - 1

    def _told(self, images: torch.Tensor) -> torch.Tensor:
        return pictures.brightness(images) if self.colours == "luma" else images

    # --- answers ----------------------------------------------------------------------------------

    def outputs(self, network: nn.Module, batch: Batch) -> torch.Tensor:
        """B×C×H×W in 0…1, the windows made large, without their margins;
        sharp ones are made small first."""
        if pictures.asks(batch.images):
            low = batch.images[:, : pictures.ALPHA].float() / 65535
        else:
            low = pictures.shrunk(batch.images.float() / self._top, self.factor, self._top)
            low = pictures.continued(low, list(batch.transforms), self.factor)
        return self._inner(self._enlarged(network, low), self.margin * self.factor)

    def _enlarged(self, network: nn.Module, low: torch.Tensor) -> torch.Tensor:
        large = network(self._told(low)).float()
        return (
            pictures.coloured(large, bicubic(low, self.factor)) if self.colours == "luma" else large
        )

    @staticmethod
    def _inner(answers: torch.Tensor, margin: int) -> torch.Tensor:
        return answers[
            ..., margin : answers.shape[-2] - margin, margin : answers.shape[-1] - margin
        ]

    def decode(self, outputs: torch.Tensor, batch: Batch) -> list[Prediction]:
        asked, transforms = pictures.asks(batch.images), list(batch.transforms)
        grown = self.factor if asked else 1
        found = []
        for i, end in spans(tuple(batch.sources)):
            source_size = transforms[i].source_size
            size = tuple(side * grown - side * grown % self.factor for side in source_size)
            place = (transforms[i:end], self._windows(grown).margin, grown, size)
            picture = pictures.joined(outputs[i:end], *place)
            bits = self.bits
            if asked:
                channels, bits = pictures.held(batch.images[i:end])
                picture = picture if channels > 2 else picture.mean(0, keepdim=True)
                if channels in (2, 4):
                    alpha = bicubic(
                        batch.images[i:end, pictures.ALPHA : pictures.ALPHA + 1].float() / 65535,
                        self.factor,
                    )
                    picture = torch.cat(
                        [
                            picture,
                            pictures.joined(self._inner(alpha, self.margin * self.factor), *place),
                        ]
                    )
            found.append(
                Prediction(batch.sources[i], source_size, picture=pictures.as_stored(picture, bits))
            )
        return found

    def together(self, answers: Sequence[Prediction]) -> Prediction:
        """The mean of the pictures."""
        made = [answer.picture for answer in answers if answer.picture is not None]
        if len({picture.shape for picture in made}) > 1:
            raise ModelError(
                f"{answers[0].source}: these models enlarge by different factors, so their "
                "pictures have no mean"
            )
        mean = np.rint(np.mean(made, axis=0, dtype=np.float64)).astype(made[0].dtype)
        return replace(answers[0], picture=mean)

    def metric(self, costs: np.ndarray | None = None) -> Answers:
        if costs is not None:
            raise UsageError(
                "costs: are of answers in words; a picture is judged by how near it comes to the "
                "sharp one"
            )
        return Answers(self.factor, self.channels, self.bits, self.score)

    def finish(self, targets: Any, answers: Sequence[Prediction]) -> SuperResolution:
        return self

    def baselines(
        self, parts: Mapping[str, tuple[np.ndarray, Sequence[Sample]]], seed: int
    ) -> Iterator[Baseline]:
        """What every viewer of pictures can do."""
        started = perf_counter()
        answers = {
            part: [self._bicubic(sample) for sample in parts[part][1]]
            for part in ("validation", "test")
        }
        yield (
            "bicubic",
            {"settings": {"a": -0.5}, "seconds": round(perf_counter() - started, 3)},
            answers,
        )

    def _bicubic(self, sample: Sample) -> Prediction:
        sharp = sample.target.pixels(self.channels, self.bits, self.factor)
        low = bicubic_array(sharp, 1 / self.factor)
        return Prediction(
            sample.source, sample.pixels().shape[:2], picture=pictures.enlarged(low, self.factor)
        )

    def draw(
        self, samples: Sequence[Sample], predictions: Sequence[Prediction]
    ) -> np.ndarray | None:
        return worst(samples, predictions, self.factor)

    @staticmethod
    def headline(summary: Mapping[str, Any]) -> tuple[str, str, str]:
        return report.headline(summary)

    @staticmethod
    def sections(found: Mapping[str, Any]) -> list[Section]:
        return report.sections(found)


def _margin(model: str, factor: int, width: int | None) -> int:
    network: Any = models.enlarger(model, factor, 1, width)
    return int(network.margin) + REACH


def _supplied(samples: Sequence[Sample]) -> list[str]:
    """What is to be said of small pictures that come with the sharp ones."""
    pairs = [
        (sample, factor, path) for sample in samples for factor, path in sample.target.supplied.low
    ]
    if not pairs:
        return []
    try:
        apart = [
            pictures.differing(sample.pixels(), images.read(path), factor)
            for sample, factor, path in pairs[:COMPARED]
        ]
    except DataError as error:
        return [
            (
                "WARNING: the small pictures that come with the sharp ones could not be held "
                f"against those made here: {error}"
            )
        ]
    said = (
        f"of {len(pairs)} small pictures that come with the sharp ones {len(apart)} were held "
        "against those made here"
    )
    if None in apart:
        return [
            (
                f"WARNING: {said}: they are of other sizes, "
                "so scores on them would be other ones; they are not used"
            )
        ]
    most = max(each for each in apart if each is not None)
    if most > 1:
        return [
            (
                f"WARNING: {said}: they differ by up to {most} levels, so scores on them would be "
                "other ones; they are not used"
            )
        ]
    return [f"{said}: {'they differ by at most 1 level' if most else 'they are the same'}"]
