"""The contract: what the engine asks of a room, and all that it knows of one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from ..core.formats import Reading
from ..core.images import Header
from ..core.rng import Draws
from ..core.types import Batch, Placement, Prediction, Sample


def shuffled(count: int, batch: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Every sample once, in random order, `batch` at a time; the last batch takes what is left.

    A single sample left over joins the batch before it: batch norm has nothing to measure on one.
    """
    return np.split(rng.permutation(count), range(batch, count - 1, batch))


# Its name; settings and seconds; its predictions of `validation` and `test`.
Baseline = tuple[str, dict[str, Any], dict[str, list[Prediction]]]


class Metric(Protocol):
    """Counts each picture once, however many processes evaluate."""

    def add(self, predictions: Sequence[Prediction], truths: Sequence[Any]) -> None: ...
    def merge(self, other: Any) -> None: ...
    def quick(self) -> dict[str, float]:
        """A few numbers for the line of an epoch; `score`, higher is better, chooses the best one."""
        ...

    def result(self) -> dict[str, Any]:
        """The whole evidence, with intervals, ready for JSON."""
        ...

    def rows(self) -> list[dict[str, Any]]:
        """A row a picture, for `predictions.csv`: `source`, `truth`, `answer` and what the room adds."""
        ...

    def against(self, other: Any) -> dict[str, Any]:
        """A paired test of these answers against others about the same pictures."""
        ...

    def sentences(self, summary: Mapping[str, Any]) -> list[str]:
        """At most two lines that say how good it is."""
        ...


class Task(ABC):
    """One question asked of a picture. A room is immutable: what it learns of the data comes back as a new room.

    `settings` is the recipe as a mapping; a setting that the user left open is None until `propose` fills it.
    """

    name: str
    # channels, height, width of one view
    input: tuple[int, int, int]

    @staticmethod
    @abstractmethod
    def read(source: str | Path) -> Reading:
        """Samples, what format was recognised and why, what was left out. Raises DataError."""

    @staticmethod
    @abstractmethod
    def propose(settings: Mapping[str, Any], reading: Reading, headers: Sequence[Header]) -> dict[str, Any]:
        """A value for each setting that depends on the data and was left open."""

    @classmethod
    @abstractmethod
    def open(cls, settings: Mapping[str, Any], reading: Reading, headers: Sequence[Header]) -> Task:
        """The room for this data, before anything was measured."""

    @classmethod
    @abstractmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Task:
        """The room as it travels inside a model."""

    @abstractmethod
    def relabelled(self, reading: Reading) -> Reading:
        """Other data in this room's terms. Raises DataError for classes that the model does not know."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Classes, preprocessing, thresholds: all that turns a picture into an answer besides the weights."""

    @abstractmethod
    def measured(self, images: np.ndarray, truths: torch.Tensor | None = None) -> Task:
        """This room with the statistics of the training views (M×H×W×C, and their M truths): normalisation comes from nowhere else."""

    @abstractmethod
    def views(self, sample: Sample) -> list[tuple[np.ndarray, Placement]]:
        """The fitted views of one sample, H×W×C of the stored depth."""

    @abstractmethod
    def with_crops(self, kind: str) -> Task:
        """This room with other views of each picture, whose answers `decode` merges: "one", "flip", "ten".

        Raises UsageError for a kind that this room does not know.
        """

    @abstractmethod
    def truths(self, samples: Sequence[Sample]) -> torch.Tensor:
        """The samples' truths as a batch holds them."""

    @abstractmethod
    def order(self, samples: Sequence[Sample], epoch: int, rng: np.random.Generator) -> list[np.ndarray]:
        """The batches of one epoch, as indices into `samples`."""

    @abstractmethod
    def augment(self, batch: Batch, rng: Draws, progress: float) -> Batch:
        """Training only, on the device; truth moves along. progress runs from 0 to 1 over the run."""

    @abstractmethod
    def build(self) -> nn.Module:
        """A fresh network: `features`, then `head`."""

    @abstractmethod
    def turns(self, network: nn.Module) -> list[list[tuple[str, nn.Parameter]]]:
        """Who learns, in order: one turn normally, two for a GAN, none for a closed-form model."""

    @abstractmethod
    def on_features(self) -> Task:
        """This room for batches that hold, in place of pixels, the last map of a frozen network: its head alone answers."""

    @abstractmethod
    def loss(self, network: nn.Module, batch: Batch, turn: int, rng: Draws) -> dict[str, torch.Tensor]:
        """Named means over the batch; `total` is what learns, the others are only reported."""

    @abstractmethod
    def outputs(self, network: nn.Module, batch: Batch) -> torch.Tensor:
        """What the network says of a batch as evaluation sees it."""

    @abstractmethod
    def decode(self, outputs: torch.Tensor, batch: Batch) -> list[Prediction]:
        """One prediction a source: the views of one source stand together and are merged."""

    @abstractmethod
    def metric(self, costs: np.ndarray | None = None) -> Metric: ...

    @abstractmethod
    def finish(self, outputs: torch.Tensor, truths: torch.Tensor) -> Task:
        """After the last turn, from the validation outputs: temperature, thresholds."""

    @abstractmethod
    def baselines(self, parts: Mapping[str, tuple[np.ndarray, Sequence[Sample]]], seed: int) -> Iterator[Baseline]:
        """Free baselines on the same split (views and samples of `train`, `validation`, `test`); may be empty."""

    @abstractmethod
    def draw(self, samples: Sequence[Sample], predictions: Sequence[Prediction]) -> np.ndarray | None:
        """A sheet for the report: uint8 H×W×3, the worst errors first; None when nothing is wrong."""
