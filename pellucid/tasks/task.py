"""The contract: what the engine asks of a room, and all that it knows of one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from ..core.rng import Draws
from ..core.types import Batch, Prediction, ViewTransform
from ..data.formats import Dataset
from ..data.images import Header
from ..data.sample import Sample
from .page import Section


def shuffled(count: int, batch: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Every sample once, in random order, `batch` at a time; the last batch takes what is left.

    A single sample left over joins the batch before it: batch norm has nothing to measure on one.
    """
    return np.split(rng.permutation(count), range(batch, count - 1, batch))


# Its name; settings and seconds; its predictions of `validation` and `test`.
Baseline = tuple[str, dict[str, Any], dict[str, list[Prediction]]]


class Metric(Protocol):
    """Counts each picture once, however many processes evaluate."""

    def add(self, predictions: Sequence[Prediction], targets: Sequence[Any]) -> None: ...
    def merge(self, other: Any) -> None: ...
    def quick(self) -> dict[str, float]:
        """A few numbers for the line of an epoch; `score`, higher is better,
        chooses the best one."""
        ...

    def result(self) -> dict[str, Any]:
        """The whole evidence, with intervals, ready for JSON."""
        ...

    def rows(self) -> list[dict[str, Any]]:
        """A row a picture, for `predictions.csv`: `source`, `target`,
        `answer` and what the room adds."""
        ...

    def gain(self, other: Any) -> dict[str, Any]:
        """What these answers gain over others about the same pictures, ready for JSON: `gain` with
        its interval, of the `score` of `result` that is named, and what the room adds."""
        ...

    def over_mean(self, others: Sequence[Any]) -> dict[str, Any]:
        """What these answers gain, in that score, over the mean of several others about the same
        pictures, with its interval."""
        ...

    def against(self, other: Any) -> dict[str, Any]:
        """A paired test of these answers against others about the same pictures."""
        ...

    def sentences(self, summary: Mapping[str, Any]) -> list[str]:
        """At most two lines that say how good it is."""
        ...


class Task(ABC):
    """One question asked of a picture. A room is immutable: what it learns of the data comes back
    as a new room.

    `settings` is the recipe as a mapping; a setting that the user left open is None until `propose`
    fills it.
    """

    name: str
    # what `counts` counts: "pictures", "objects"
    counted: str
    # what the sheet of `draw` shows, in a sentence
    worst: str
    # what the sheet of a training batch shows
    seen: str = "Training pictures as they enter the network, fitted and randomly changed."
    # whether it has `baselines`: only then are all pixels gathered for them
    has_baselines: bool = False
    # SVG by name of what was `measured`, written to `plots/` when training begins
    plots: Mapping[str, str] = MappingProxyType({})
    # endings of the files that its predictions write when they are saved, under one stem: see
    # `plots.masks`
    writes: tuple[str, ...] = (".png",)
    # channels, height, width of one view
    input: tuple[int, int, int]

    @property
    @abstractmethod
    def design(self) -> str:
        """What `build` builds, for people: "resnet18", "yolo over csp_tiny"."""

    @property
    @abstractmethod
    def answers(self) -> int | None:
        """How many numbers its network answers with, for a picture as a whole; None where it
        answers otherwise, as for each place."""

    @staticmethod
    @abstractmethod
    def recognises(source: str | Path) -> bool:
        """Whether this looks like data for this room, by a look at names alone; the first room of
        TASKS that says so takes it."""

    @staticmethod
    @abstractmethod
    def read(source: str | Path) -> Dataset:
        """Samples, what format was recognised and why, what was left out. Raises DataError."""

    @staticmethod
    @abstractmethod
    def propose(
        settings: Mapping[str, Any], reading: Dataset, headers: Sequence[Header]
    ) -> dict[str, Any]:
        """A value for each setting that depends on the data and was left open."""

    @classmethod
    @abstractmethod
    def open(cls, settings: Mapping[str, Any], reading: Dataset, headers: Sequence[Header]) -> Task:
        """The room for this data, before anything was measured."""

    @classmethod
    @abstractmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Task:
        """The room as it travels inside a model."""

    @abstractmethod
    def relabelled(self, reading: Dataset) -> Dataset:
        """Other data in this room's terms. Raises DataError for classes that the model
        does not know."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Classes, preprocessing, thresholds: all that turns a picture into an answer besides
        the weights."""

    @abstractmethod
    def measured(
        self, images: np.ndarray, targets: Any = None, transforms: Sequence[ViewTransform] = ()
    ) -> Task:
        """This room with the statistics of the training views (M×H×W×C, their M truths and
        placements): normalisation comes from nowhere else."""

    @abstractmethod
    def views(self, sample: Sample) -> list[tuple[np.ndarray, ViewTransform]]:
        """The fitted views of one sample, all of one size: H×W×C of the stored depth,
        or D×H×W×C of a volume."""

    @abstractmethod
    def find(self, path: Path) -> list[Sample] | None:
        """What a file or folder holds that is named for an answer, where that is not plain
        pictures: samples whose `image` is a `Source` and whose `source` is relative to `path`, or
        its name where `path` as a whole is the sample. None leaves it to the engine, and so to
        pictures and videos. Raises DataError."""

    @abstractmethod
    def with_crops(self, kind: str) -> Task:
        """This room with other views of each picture, whose answers `decode` merges: "one", "flip",
        and "ten" or "tiles".

        Raises UsageError for a kind that this room does not know.
        """

    @abstractmethod
    def said_alone(self) -> Task:
        """This room for those who ask for no more than what is said: it may leave out what serves
        curves alone."""

    @abstractmethod
    def with_threshold(self, value: float) -> Task:
        """This room with another score from which on something is said to be there. Raises
        UsageError where nothing is."""

    @staticmethod
    @abstractmethod
    def refuse(reading: Dataset) -> None:
        """Raises DataError where nothing can be learnt from it: asked again when pictures that
        cannot be read were left out."""

    @staticmethod
    @abstractmethod
    def strata(reading: Dataset) -> tuple[np.ndarray, tuple[str, ...]]:
        """int64, one a sample, and their names: what every part of a split has in proportion."""

    @staticmethod
    @abstractmethod
    def counts(samples: Sequence[Sample], classes: Sequence[str]) -> dict[str, int]:
        """How often each class occurs in them."""

    @abstractmethod
    def targets(self, samples: Sequence[Sample]) -> Any:
        """The samples' truths as a batch holds them, one each: a tensor,
        or a NumPy array of anything."""

    @abstractmethod
    def show(self, batch: Batch) -> list[tuple[np.ndarray, str]]:
        """Each row as training sees it after `augment`: uint8 H×W×3 with the truth drawn where it
        has a place, and what it counts as."""

    @abstractmethod
    def order(
        self, samples: Sequence[Sample], views: np.ndarray, epoch: int, rng: np.random.Generator
    ) -> list[np.ndarray]:
        """The batches of one epoch, as indices of views counted over all samples in their order;
        `views` says how many each has."""

    @abstractmethod
    def augment(self, batch: Batch, rng: Draws, progress: float) -> Batch:
        """Training only, on the device; truth moves along.
        progress runs from 0 to 1 over the run."""

    @abstractmethod
    def build(self) -> nn.Module:
        """A fresh network: `features`, then `head`."""

    @abstractmethod
    def turns(self, network: nn.Module) -> list[list[tuple[str, nn.Parameter]]]:
        """Who learns, in order: one turn normally, two for a GAN, none for a closed-form model."""

    @abstractmethod
    def on_features(self) -> Task:
        """This room for batches that hold, in place of pixels, the last map of a frozen network:
        its head alone answers."""

    @abstractmethod
    def loss(
        self, network: nn.Module, batch: Batch, turn: int, rng: Draws
    ) -> dict[str, torch.Tensor]:
        """Named means over the batch; `total` is what learns, the others are only reported."""

    @abstractmethod
    def outputs(self, network: nn.Module, batch: Batch) -> torch.Tensor:
        """What the network says of a batch as evaluation sees it."""

    @abstractmethod
    def decode(self, outputs: torch.Tensor, batch: Batch) -> list[Prediction]:
        """One prediction a source: the views of one source stand together and are merged."""

    @abstractmethod
    def together(self, answers: Sequence[Prediction]) -> Prediction:
        """What several models say of one picture, as one answer."""

    @abstractmethod
    def metric(self, costs: np.ndarray | None = None) -> Metric: ...

    @abstractmethod
    def finish(self, targets: Any, answers: Sequence[Prediction]) -> Task:
        """After the last turn, from the truths of the validation pictures and what this room says
        of them: temperature, thresholds."""

    @abstractmethod
    def baselines(
        self, parts: Mapping[str, tuple[np.ndarray, Sequence[Sample]]], seed: int
    ) -> Iterator[Baseline]:
        """Free baselines on the same split (views and samples of `train`, `validation`, `test`);
        asked where `has_baselines`."""

    @abstractmethod
    def draw(
        self, samples: Sequence[Sample], predictions: Sequence[Prediction]
    ) -> np.ndarray | None:
        """A sheet for the report: uint8 H×W×3, the worst errors first;
        None when nothing is wrong."""

    @staticmethod
    @abstractmethod
    def headline(summary: Mapping[str, Any]) -> tuple[str, str, str]:
        """Of a finished run, for the top of its report: the number, the rest of the sentence that
        it begins, and what follows from it."""

    @staticmethod
    @abstractmethod
    def sections(found: Mapping[str, Any]) -> list[Section]:
        """What the report shows of this task alone, from the run's files by name
        (`engine.run.report.read`); "Training" is the engine's."""
