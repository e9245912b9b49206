"""The task interface: the parts of a task, and all that the engine knows of one.

A task is a folder with fixed file names. Its parts are modules (`data`, `report`, `baselines`) and
final classes (`Preprocess`, `Architecture`, `Training`, `Inference`, a result, a metric), each with
at most seven methods. `Preprocess`, `Architecture` and `Inference` travel with the weights;
settings and `Training` do not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

from .settings import SharedSettings

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import nn

    from ..core.rng import Draws
    from ..core.types import Batch, ViewTransform
    from ..data.formats import Dataset
    from ..data.images import Header
    from ..data.sample import Sample
    from ..models.weights import Preprocessing
    from .page import Section

    View = tuple[np.ndarray, ViewTransform]


class FitData(NamedTuple):
    """The training views that statistics are fitted to: M×H×W×C (or M×D×H×W×C) of the stored depth,
    their M targets (int64 tensor, or NumPy array of objects) and transforms. Thinned to what fits
    in memory."""

    images: np.ndarray
    targets: Any
    transforms: Sequence[ViewTransform]


class Phase(NamedTuple):
    """One update of a training step: its name, and the parameters that it changes. The name of the
    only phase of a task is ""."""

    name: str
    parameters: list[tuple[str, nn.Parameter]]


class Part(Protocol):
    """The training or validation part of the data, as `calibrate` gets it."""

    @property
    def targets(self) -> Any:
        """One a sample: an int64 tensor, or a NumPy array of objects."""

    def batches(self) -> Iterator[Batch]:
        """All views, in order, without augmentation, on the device."""

    def results(self) -> list[Any]:
        """The result of each sample by the model as it is, from the only forward pass."""


class Result(Protocol):
    """The answer for one sample. No field is optional; the module never imports torch."""

    source: str

    def to_json(self) -> dict[str, Any]: ...
    def rows(self) -> list[dict[str, Any]]:
        """Rows of a CSV table; each begins with `source`."""

    def summary(self) -> str:
        """One line: `photo.jpg: 3 objects: RBC 2, WBC 1`."""

    def labels(self) -> list[str]:
        """What was found, for the summary of a video; never the background."""

    def draw(self, image: np.ndarray, legend: bool = True) -> np.ndarray:
        """uint8 RGB: the image (H×W×C, any depth) with the result drawn. Without a legend the size
        depends on the image alone, as the frames of a video need it."""

    def save(self, path: Path, image: np.ndarray) -> None:
        """Write the drawing to `path` (.png) and what else belongs to the result beside it, under
        the same stem: the files that `Inference.output_suffixes` announces."""

    def compact(self) -> Any:
        """A result without what takes memory by the pixel: `to_json`, `rows`, `summary` and
        `labels` give the same."""


class Data(Protocol):
    """`data.py`, a module."""

    COUNTED: str  # what `class_counts` counts: "images", "objects", "masks"

    def matches(self, source: str | Path) -> bool:
        """Whether this looks like data for the task, by names alone."""

    def load(self, source: str | Path) -> Dataset:
        """The samples, the detected format, what was left out. Raises DataError."""

    def find_inputs(self, path: Path, preprocess: Any) -> list[Sample] | None:
        """What a file or folder holds besides plain images and videos (a volume, a series): samples
        whose `source` is relative to `path`; None leaves the path to the engine. Raises DataError.
        """

    def validate(self, dataset: Dataset) -> None:
        """Raises DataError where nothing can be learned from it."""

    def strata(self, dataset: Dataset) -> tuple[np.ndarray, tuple[str, ...]]:
        """int64, one a sample, and their names: what each part of a split has in proportion."""

    def class_counts(self, samples: Sequence[Sample], classes: Sequence[str]) -> dict[str, int]: ...

    def remap_labels(self, dataset: Dataset, classes: Sequence[str]) -> Dataset:
        """The data set in the classes of a model. Raises DataError for an unknown class."""


class Preprocess(Protocol):
    """From a sample to views, and from views to the input of the network. Immutable."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of one network input: channels, then height and width, or depth, height and width."""

    @classmethod
    def create(cls, settings: Any, dataset: Dataset, headers: Sequence[Header]) -> Any:
        """Before anything is fitted. Raises UsageError, DataError."""

    def fit_statistics(self, data: FitData) -> Any:
        """With mean, deviation and padding of the training views; they come from nowhere else."""

    def views(self, sample: Sample, tta: str) -> list[View]:
        """All of one size: H×W×C of the stored depth, or D×H×W×C. tta: "none", or the views of
        test-time augmentation. Raises DataError for an image that cannot be used."""

    def network_input(self, batch: Batch) -> Any:
        """What `Inference.forward` takes: float32 B×C×…, or a tuple of tensors that begins with it.
        Whatever is not a tensor operation (selective search) happens here."""

    def expecting(self, given: Preprocessing) -> Any:
        """With the channels, mean and deviation that published weights were trained with. Raises
        UsageError where the task takes no such weights."""


class Architecture(Protocol):
    """The network as a description that travels with the weights. `str()` names it for people."""

    @property
    def num_outputs(self) -> int | None:
        """Outputs for an image as a whole; None where the network answers otherwise."""

    @classmethod
    def create(
        cls, settings: Any, dataset: Dataset, preprocess: Any, fitted: FitData | None
    ) -> Any:
        """fitted: the training views, None before they are read: a network of the right shape is
        wanted even then. Raises UsageError, DataError."""

    def build(self) -> nn.Module:
        """A fresh network: `features`, then `head`."""


class Training(Protocol):
    """Batches, augmentation, phases and loss. Does not travel with the weights. A frozen dataclass
    with the fields `preprocess` and `plots` (SVG by name, written when training begins)."""

    preprocess: Any
    plots: Mapping[str, str]

    @classmethod
    def create(
        cls,
        settings: Any,
        dataset: Dataset,
        preprocess: Any,
        architecture: Any,
        fitted: FitData,
    ) -> Any: ...

    def batches(
        self, samples: Sequence[Sample], views: np.ndarray, epoch: int, rng: np.random.Generator
    ) -> list[np.ndarray]:
        """The batches of one epoch, as indices of views counted over all samples in their order;
        `views` says how many each sample has."""

    def augment(self, batch: Batch, rng: Draws, progress: float) -> Batch:
        """Training only, on the device; targets move along. progress: from 0 to 1 over the run.
        Gives back the batch itself where nothing is changed."""

    def preview_batch(self, batch: Batch) -> list[tuple[np.ndarray, str]]:
        """Each row after `augment`: uint8 H×W×3 with the target drawn, and its caption."""

    def phases(self, network: nn.Module) -> list[Phase]:
        """One normally, two for a GAN, none for a model without training steps."""

    def loss(
        self, network: nn.Module, batch: Batch, phase: str, rng: Draws
    ) -> dict[str, torch.Tensor]:
        """Means over the batch; `total` is minimized, the others are only reported."""

    def calibrate(self, network: nn.Module, inference: Any, train: Part, validation: Part) -> Any:
        """The inference with its thresholds or temperature chosen on validation, after the last
        step. A model without training steps fills its buffers here."""


class Inference(Protocol):
    """From the network to results, with the options of inference. Immutable; travels. A frozen
    dataclass with the fields `classes` (may be empty), `tta` ("none" by default) and
    `output_suffixes` (endings of the files that `Result.save` writes under one stem)."""

    classes: tuple[str, ...]
    tta: str
    output_suffixes: tuple[str, ...]

    @classmethod
    def create(cls, settings: Any, dataset: Dataset, preprocess: Any) -> Any: ...

    def forward(self, network: nn.Module, inputs: Any) -> torch.Tensor:
        """What the network says, float32; pure tensor operations. inputs: of `network_input`."""

    def decode(self, outputs: torch.Tensor, batch: Batch) -> list[Any]:
        """One result a source; the views of a source stand together and are merged."""

    def ensemble(self, results: Sequence[Any]) -> Any:
        """The results of several models for one sample as one;
        classes in the order of the first."""

    def with_options(
        self, tta: str = "none", threshold: float | None = None, full: bool = True
    ) -> Any:
        """With options of inference. threshold: None keeps the model's own. full: keep what only
        curves, calibration and ensembles need. Raises UsageError for an option without meaning."""


class Metric(Protocol):
    """Counts each sample once, however many processes evaluate. Its whole state is `records`: for
    each source named arrays, so that it can be merged, stored and compared. The engine adds `group`
    (uint8, UTF-8) for a sample of a group (patient, video): groups are resampled together."""

    SCORES: ClassVar[tuple[str, ...]]  # what `resample` can score, the default first
    score: str  # which of them chooses the best epoch
    records: dict[str, dict[str, np.ndarray]]

    @classmethod
    def create(
        cls,
        preprocess: Any,
        inference: Any,
        score: str | None = None,
        costs: np.ndarray | None = None,
    ) -> Any:
        """Raises UsageError for costs where they have no meaning."""

    def add(self, results: Sequence[Any], targets: Sequence[Any]) -> None: ...

    def scores(self) -> dict[str, float]:
        """The numbers of an epoch's line; `score`, higher is better, chooses the best epoch."""

    def evidence(self) -> dict[str, Any]:
        """All figures with intervals, ready for JSON."""

    def rows(self) -> list[dict[str, Any]]:
        """A row a sample for `predictions.csv`: `source`, `truth`,
        `answer` and what the task adds."""

    def resample(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Each of SCORES, R numbers (NaN where undefined), when sample i, in the sorted order of
        the sources, counts `weights[r, i]` times. weights: float64 R×N."""


# Its name; settings and seconds; its results for `validation` and `test`.
Baseline = tuple[str, dict[str, Any], dict[str, list[Any]]]


class Baselines(Protocol):
    """`baselines.py`, a module: what needs no network, on the same split."""

    def applies(self, preprocess: Any, inference: Any) -> bool: ...

    def run(
        self,
        parts: Mapping[str, tuple[np.ndarray, Sequence[Sample]]],
        preprocess: Any,
        inference: Any,
        seed: int,
    ) -> Iterator[Baseline]:
        """parts: views M×H×W×C and samples of `train`, `validation` and `test`."""


class Report(Protocol):
    """`report.py`, a module."""

    ERROR_SHEET: str  # what `error_sheet` shows, in a sentence
    PREVIEW: str  # what the sheet of a training batch shows

    def headline(self, summary: Mapping[str, Any]) -> tuple[str, str, str]:
        """The number, the rest of the sentence that it begins, and what follows from it."""

    def sentences(self, summary: Mapping[str, Any]) -> list[str]:
        """At most two lines for the console that say how good the model is."""

    def sections(self, found: Mapping[str, Any]) -> list[Section]:
        """What the report shows of this task alone, from the run's files by name."""

    def error_sheet(
        self, samples: Sequence[Sample], results: Sequence[Any], inference: Any
    ) -> np.ndarray | None:
        """uint8 H×W×3, the worst errors first; None when nothing is wrong."""


@dataclass(frozen=True)
class Parts:
    """The parts of a task that need more than its settings. metric: None where no honest score
    exists. suggest_defaults(settings, dataset, headers): a value for each setting that the user
    left open. migrate(stored): the `room` of a version-1 `model.json`, to the JSON of `preprocess`,
    `architecture` and `inference`; None for tasks that are younger."""

    data: Data
    suggest_defaults: Callable[[Any, Dataset, Sequence[Header]], dict[str, Any]]
    preprocess: type[Any]
    architecture: type[Any]
    training: type[Any]
    inference: type[Any]
    result: type[Any]
    report: Report
    metric: type[Any] | None = None
    baselines: Baselines | None = None
    migrate: Callable[[Mapping[str, Any]], dict[str, dict[str, Any]]] | None = None


@dataclass(frozen=True)
class Task:
    """One kind of question asked of an image. `settings` is imported without torch, for `--help`;
    `load_parts` imports the rest at first use."""

    name: str
    settings: type[SharedSettings]
    load_parts: Callable[[], Parts]

    @cached_property
    def parts(self) -> Parts:
        return self.load_parts()


@dataclass(frozen=True)
class ModelSpec:
    """What travels with the weights."""

    task: Task
    preprocess: Any
    architecture: Any
    inference: Any

    def to_json(self) -> dict[str, dict[str, Any]]:
        """The fields of each part by name; their order does not matter."""
        return {name: part_to_json(getattr(self, name)) for name in TRAVELS}

    @staticmethod
    def from_json(task: Task, stored: Mapping[str, Any]) -> ModelSpec:
        """Raises KeyError, TypeError or ValueError for parts that are not of this task."""
        kinds = {name: getattr(task.parts, name) for name in TRAVELS}
        return ModelSpec(task, **{n: part_from_json(kinds[n], stored[n]) for n in TRAVELS})


TRAVELS = ("preprocess", "architecture", "inference")


def part_to_json(part: Any) -> dict[str, Any]:
    return {each.name: getattr(part, each.name) for each in fields(part)}


def part_from_json(kind: type[Any], stored: Mapping[str, Any]) -> Any:
    """A frozen dataclass from its fields by name; lists, nested ones too, become tuples."""
    return kind(**{name: tuples(value) for name, value in stored.items()})


def tuples(value: Any) -> Any:
    """Lists, nested ones too, as tuples: what a frozen dataclass may hold."""
    return tuple(tuples(each) for each in value) if isinstance(value, list) else value
