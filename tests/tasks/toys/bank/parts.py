"""The parts of the toy: the distance of an image to its nearest training images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from pellucid.core.rng import Draws
from pellucid.core.types import Batch
from pellucid.data.sample import Sample
from pellucid.metrics.significance import proportion
from pellucid.plots.annotate import to_rgb8
from pellucid.tasks.shared import spans
from pellucid.tasks.task import FitData, Part, Phase

from ..gan.parts import GanPreprocess

__all__ = ["GanPreprocess"]


def suggest_defaults(settings: Any, dataset: Any, headers: Any) -> dict[str, Any]:
    return {"size": (8, 8), "batch": 6}


class Bank(nn.Module):
    """Distances to the nearest of `size` vectors."""

    bank: torch.Tensor

    def __init__(self, size: int, neighbors: int) -> None:
        super().__init__()
        self.neighbors = neighbors
        self.register_buffer("bank", torch.zeros(size, 64))

    def features(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (images,)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        distances = torch.cdist(images.flatten(1), self.bank)
        return distances.topk(self.neighbors, largest=False).values.mean(1, keepdim=True)


@dataclass(frozen=True)
class BankArchitecture:
    neighbors: int
    size: int
    num_outputs: int = 1

    @classmethod
    def create(
        cls, settings: Any, dataset: Any, preprocess: Any, fitted: FitData | None
    ) -> BankArchitecture:
        size = settings.neighbors if fitted is None else len(fitted.images)
        return cls(settings.neighbors, size)

    def __str__(self) -> str:
        return f"memory bank of {self.size} images"

    def build(self) -> Bank:
        return Bank(self.size, self.neighbors)


@dataclass(frozen=True)
class BankTraining:
    preprocess: Any
    plots: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def create(
        cls, settings: Any, dataset: Any, preprocess: Any, architecture: Any, fitted: FitData
    ) -> BankTraining:
        return cls(preprocess)

    def batches(
        self, samples: Sequence[Sample], views: np.ndarray, epoch: int, rng: np.random.Generator
    ) -> list[np.ndarray]:
        return []

    def augment(self, batch: Batch, rng: Draws, progress: float) -> Batch:
        return batch

    def preview_batch(self, batch: Batch) -> list[tuple[np.ndarray, str]]:
        return []

    def phases(self, network: nn.Module) -> list[Phase]:
        return []

    def loss(
        self, network: nn.Module, batch: Batch, phase: str, rng: Draws
    ) -> dict[str, torch.Tensor]:
        raise NotImplementedError

    def calibrate(self, network: Any, inference: Any, train: Part, validation: Part) -> Any:
        """Fills the bank, and takes the largest validation distance as the threshold."""
        vectors = [self.preprocess.network_input(batch).flatten(1) for batch in train.batches()]
        network.bank.copy_(torch.cat(vectors))
        threshold = max(result.distance for result in validation.results())
        return replace(inference, threshold=threshold)


@dataclass(frozen=True)
class BankInference:
    classes: tuple[str, ...] = ("normal", "odd")
    threshold: float = 0.0
    tta: str = "none"
    output_suffixes: tuple[str, ...] = (".png",)

    @classmethod
    def create(cls, settings: Any, dataset: Any, preprocess: Any) -> BankInference:
        return cls()

    def forward(self, network: nn.Module, inputs: Any) -> torch.Tensor:
        return network(inputs).float()

    def decode(self, outputs: torch.Tensor, batch: Batch) -> list[BankResult]:
        return [
            BankResult(batch.sources[i], float(outputs[i, 0]), self.threshold)
            for i, _ in spans(list(batch.sources))
        ]

    def ensemble(self, results: Sequence[BankResult]) -> BankResult:
        return replace(results[0], distance=float(np.mean([each.distance for each in results])))

    def with_options(
        self, tta: str = "none", threshold: float | None = None, full: bool = True
    ) -> BankInference:
        return replace(self, tta=tta, threshold=threshold or self.threshold)


@dataclass(frozen=True)
class BankResult:
    source: str
    distance: float
    threshold: float

    @property
    def odd(self) -> bool:
        return self.distance > self.threshold

    def to_json(self) -> dict[str, Any]:
        return {"source": self.source, "distance": self.distance, "odd": self.odd}

    def rows(self) -> list[dict[str, Any]]:
        return [self.to_json()]

    def summary(self) -> str:
        return f"{self.source}: {self.distance:.2f}"

    def labels(self) -> list[str]:
        return ["odd"] if self.odd else []

    def draw(self, image: np.ndarray, legend: bool = True) -> np.ndarray:
        return to_rgb8(image)

    def save(self, path: Path, image: np.ndarray) -> None:
        raise NotImplementedError

    def compact(self) -> BankResult:
        return self


class BankMetric:
    SCORES: ClassVar[tuple[str, ...]] = ("accuracy",)

    def __init__(self) -> None:
        self.score = "accuracy"
        self.records: dict[str, dict[str, np.ndarray]] = {}

    @classmethod
    def create(
        cls, preprocess: Any, inference: Any, score: str | None = None, costs: Any = None
    ) -> BankMetric:
        return cls()

    def add(self, results: Sequence[BankResult], targets: Sequence[int]) -> None:
        for result, target in zip(results, targets, strict=True):
            self.records[result.source] = {"correct": np.array(result.odd == bool(target))}

    def scores(self) -> dict[str, float]:
        score = float(self.resample(np.ones((1, len(self.records))))["accuracy"][0])
        return {"accuracy": score, "score": score}

    def evidence(self) -> dict[str, Any]:
        correct = [bool(record["correct"]) for record in self.records.values()]
        return {"accuracy": proportion(sum(correct), len(correct))}

    def rows(self) -> list[dict[str, Any]]:
        return [
            {"source": source, "correct": int(record["correct"])}
            for source, record in sorted(self.records.items())
        ]

    def resample(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        rows = [float(self.records[source]["correct"]) for source in sorted(self.records)]
        return {"accuracy": weights @ np.array(rows) / weights.sum(1)}
