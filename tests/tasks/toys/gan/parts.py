"""The parts of the toy: least-squares GAN (Mao et al. 2017) on 8×8 gray images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from pellucid.core.rng import Draws
from pellucid.core.types import Batch
from pellucid.data.sample import Sample
from pellucid.plots.annotate import to_rgb8
from pellucid.tasks import pixels
from pellucid.tasks.shared import shuffled, spans
from pellucid.tasks.task import FitData, Part, Phase
from pellucid.transforms.tta import View, one


def suggest_defaults(settings: Any, dataset: Any, headers: Any) -> dict[str, Any]:
    return {"size": (8, 8), "epochs": 2, "batch": 6, "optimizer": "adam"}


@dataclass(frozen=True)
class GanPreprocess:
    size: tuple[int, int]

    @property
    def input_shape(self) -> tuple[int, int, int]:
        return 1, *self.size

    @classmethod
    def create(cls, settings: Any, dataset: Any, headers: Any) -> GanPreprocess:
        return cls(settings.size)

    def fit_statistics(self, data: FitData) -> GanPreprocess:
        return self

    def views(self, sample: Sample, tta: str) -> list[View]:
        return one(pixels.stored(sample.pixels(), 1, 8), self.size, 0)

    def network_input(self, batch: Batch) -> torch.Tensor:
        return batch.images.float() / 255

    def expecting(self, given: Any) -> GanPreprocess:
        return self


class Gan(nn.Module):
    def __init__(self, latent: int) -> None:
        super().__init__()
        self.critic = nn.Sequential(
            nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 1)
        )
        self.generator = nn.Sequential(nn.Linear(latent, 64), nn.Sigmoid())

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.critic(images)

    def features(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (images,)


@dataclass(frozen=True)
class GanArchitecture:
    latent: int
    num_outputs: int = 1

    @classmethod
    def create(
        cls, settings: Any, dataset: Any, preprocess: Any, fitted: FitData | None
    ) -> GanArchitecture:
        return cls(settings.latent)

    def __str__(self) -> str:
        return f"toy GAN of {self.latent} latent numbers"

    def build(self) -> Gan:
        return Gan(self.latent)


@dataclass(frozen=True)
class GanTraining:
    preprocess: Any
    batch: int
    latent: int
    plots: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def create(
        cls, settings: Any, dataset: Any, preprocess: Any, architecture: Any, fitted: FitData
    ) -> GanTraining:
        return cls(preprocess, settings.batch, settings.latent)

    def batches(
        self, samples: Sequence[Sample], views: np.ndarray, epoch: int, rng: np.random.Generator
    ) -> list[np.ndarray]:
        return shuffled(len(samples), self.batch, rng)

    def augment(self, batch: Batch, rng: Draws, progress: float) -> Batch:
        return batch

    def preview_batch(self, batch: Batch) -> list[tuple[np.ndarray, str]]:
        return [(to_rgb8(image), "real") for image in batch.images.permute(0, 2, 3, 1).numpy()]

    def phases(self, network: nn.Module) -> list[Phase]:
        parts = ("critic", "generator")
        return [
            Phase(name, list(network.get_submodule(name).named_parameters(name))) for name in parts
        ]

    def loss(self, network: Any, batch: Batch, phase: str, rng: Draws) -> dict[str, torch.Tensor]:
        noise = torch.from_numpy(rng.uniform(self.latent, -1, 1)).float()
        fake = network.generator(noise).unflatten(1, (1, 8, 8))
        if phase == "generator":
            return {"total": (network.critic(fake) - 1).square().mean()}
        real = network.critic(self.preprocess.network_input(batch))
        total = (real - 1).square().mean() + network.critic(fake.detach()).square().mean()
        return {"total": total, "real": real.mean().detach()}

    def calibrate(self, network: Any, inference: Any, train: Part, validation: Part) -> Any:
        return inference


@dataclass(frozen=True)
class GanInference:
    classes: tuple[str, ...] = ()
    tta: str = "none"
    output_suffixes: tuple[str, ...] = (".png",)

    @classmethod
    def create(cls, settings: Any, dataset: Any, preprocess: Any) -> GanInference:
        return cls()

    def forward(self, network: nn.Module, inputs: Any) -> torch.Tensor:
        return network(inputs).float()

    def decode(self, outputs: torch.Tensor, batch: Batch) -> list[GanResult]:
        return [
            GanResult(batch.sources[i], float(outputs[i, 0])) for i, _ in spans(list(batch.sources))
        ]

    def ensemble(self, results: Sequence[GanResult]) -> GanResult:
        return results[0]

    def with_options(
        self, tta: str = "none", threshold: float | None = None, full: bool = True
    ) -> GanInference:
        return replace(self, tta=tta)


@dataclass(frozen=True)
class GanResult:
    """realness: what the critic says."""

    source: str
    realness: float

    def to_json(self) -> dict[str, Any]:
        return {"source": self.source, "realness": self.realness}

    def rows(self) -> list[dict[str, Any]]:
        return [self.to_json()]

    def summary(self) -> str:
        return f"{self.source}: {self.realness:.2f}"

    def labels(self) -> list[str]:
        return []

    def draw(self, image: np.ndarray, legend: bool = True) -> np.ndarray:
        return to_rgb8(image)

    def save(self, path: Path, image: np.ndarray) -> None:
        raise NotImplementedError

    def compact(self) -> GanResult:
        return self
