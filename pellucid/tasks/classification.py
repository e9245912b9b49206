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

from .. import models
from ..core import formats
from ..core.augment import Augmentation, augment, colour
from ..core.errors import DataError
from ..core.formats import Reading
from ..core.images import Header, fit, to_channels
from ..core.rng import Draws
from ..core.types import Batch, Placement, Prediction, Sample
from .task import Baseline, Task, shuffled

# What does not change a digit or a letter into another one: no mirror, small turns. Photographs are not cropped by default: what
# they are about may stand at the edge.
LETTERS = Augmentation(rotate=10, zoom=0.1, shift=0.07, shear=8)
PHOTOS = Augmentation(mirror=0.5, zoom=0.1, shift=0.06, colour=0.2)


@dataclass(frozen=True)
class Classification(Task):
    """size: (height, width) of a view. bits: 8 or 16, the depth of the stored views. mean, std: per channel, of pixels scaled to 0..1.
    fill: per channel, in stored units, what comes into a view from outside. temperature: divides the logits."""

    name = "classification"

    classes: tuple[str, ...]
    size: tuple[int, int]
    channels: int
    bits: int = 8
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    fill: tuple[float, ...] = ()
    temperature: float = 1.0
    model: str = ""
    batch: int = 32
    label_smoothing: float = 0.0
    augmentation: Augmentation = field(default_factory=Augmentation)

    @property
    def input(self) -> tuple[int, int, int]:  # type: ignore[override]
        return self.channels, *self.size

    # --- data -------------------------------------------------------------------------------------------------------------------

    @staticmethod
    def read(source: str | Path) -> Reading:
        return formats.read(source)

    @staticmethod
    def propose(settings: Mapping[str, Any], reading: Reading, headers: Sequence[Header]) -> dict[str, Any]:
        size = settings["size"] or models.fixed_size(settings["model"] or "") or _natural_size(headers)
        count = len(reading.samples)
        letters = all(len(name) == 1 and name.isalnum() for name in reading.classes)
        proposed = {
            "size": size,
            "model": _default_model(size, len(reading.classes)),
            "epochs": int(np.clip(75_000 / count, 12, 90)),
            # Small sets need many steps rather than smooth ones.
            "batch": 16 if count < 1000 else 32 if count <= 5000 else 128,
            **asdict(LETTERS if letters else PHOTOS),
        }
        if settings["augment"] is False:
            proposed |= asdict(Augmentation())
        return proposed

    @classmethod
    def open(cls, settings: Mapping[str, Any], reading: Reading, headers: Sequence[Header]) -> Classification:
        return cls(
            classes=reading.classes,
            size=tuple(settings["size"]),
            channels=_channels(headers),
            bits=max(header.bits for header in headers),
            model=settings["model"],
            batch=settings["batch"],
            label_smoothing=settings["label_smoothing"],
            augmentation=Augmentation(**{f.name: settings[f.name] for f in fields(Augmentation)}),
        )

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Classification:
        settings: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in stored.items()}
        return cls(**settings)

    def relabelled(self, reading: Reading) -> Reading:
        strange = [name for name in reading.classes if name not in self.classes]
        if strange:
            raise DataError(
                f'{reading.root or reading.name}: the model does not know the class "{strange[0]}"; it knows: {", ".join(self.classes)}'
            )
        number = [self.classes.index(name) for name in reading.classes]
        return replace(reading, samples=tuple(replace(s, truth=number[s.truth]) for s in reading.samples), classes=self.classes)

    def to_json(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("batch", "label_smoothing", "augmentation")}

    def measured(self, images: np.ndarray) -> Classification:
        top = 2.0**self.bits - 1
        totals, squares = np.zeros(self.channels), np.zeros(self.channels)
        for part in np.array_split(images, max(1, len(images) // 512)):
            scaled = part.reshape(-1, self.channels).astype(np.float64) / top
            totals, squares = totals + scaled.sum(0), squares + (scaled**2).sum(0)
        pixels = images[..., 0].size
        mean = totals / pixels
        # A channel without any variation (a black training set) is left unscaled.
        std = np.sqrt(np.maximum(squares / pixels - mean**2, 0))
        std = np.where(std > 1e-6, std, 1.0)
        return replace(self, mean=tuple(mean.tolist()), std=tuple(std.tolist()), fill=_border(images))

    def views(self, sample: Sample) -> list[tuple[np.ndarray, Placement]]:
        pixels = to_channels(sample.pixels(), self.channels)
        if pixels.dtype == np.uint8 and self.bits == 16:
            pixels = pixels.astype(np.uint16) * 257
        elif pixels.dtype == np.uint16 and self.bits == 8:
            pixels = (pixels / 257).round().astype(np.uint8)
        if pixels.shape[:2] == self.size:
            return [fit(pixels, self.size, 0)]
        return [fit(pixels, self.size, _border(pixels[None]))]

    def truths(self, samples: Sequence[Sample]) -> torch.Tensor:
        return torch.tensor([sample.truth for sample in samples], dtype=torch.int64)

    def order(self, samples: Sequence[Sample], epoch: int, rng: np.random.Generator) -> list[np.ndarray]:
        return shuffled(len(samples), self.batch, rng)

    # --- learning ---------------------------------------------------------------------------------------------------------------

    def augment(self, batch: Batch, rng: Draws, progress: float) -> Batch:
        if self.augmentation == Augmentation():
            return batch
        images = batch.images
        if self.augmentation.colour:
            top = 2.0**self.bits - 1
            images = colour(images.float() / top, self.augmentation.colour, rng) * top
        return replace(batch, images=augment(images, self.augmentation, rng, torch.tensor(self.fill)))

    def build(self) -> nn.Module:
        return models.create(self.model, len(self.classes), self.channels, self.size)

    def turns(self, network: nn.Module) -> list[list[tuple[str, nn.Parameter]]]:
        return [[(name, parameter) for name, parameter in network.named_parameters() if parameter.requires_grad]]

    def outputs(self, network: nn.Module, batch: Batch) -> torch.Tensor:
        return network(self.normalised(batch.images)).float()

    def normalised(self, images: torch.Tensor) -> torch.Tensor:
        """Stored or augmented pixels, to zero mean and unit deviation by the figures of the training set."""
        mean, gain = self._mean_and_gain
        return (images.float() - mean.to(images.device)).mul_(gain.to(images.device))

    @cached_property
    def _mean_and_gain(self) -> tuple[torch.Tensor, torch.Tensor]:
        top = 2.0**self.bits - 1
        mean, std = (torch.tensor(values)[None, :, None, None] * top for values in (self.mean, self.std))
        return mean, 1 / std

    def loss(self, network: nn.Module, batch: Batch, turn: int, rng: Draws) -> dict[str, torch.Tensor]:
        """`loss` is the cross-entropy without smoothing: the one that validation reports, so that both fit in one plot.

        Auxiliary classifiers, where the network has any, count in `total` alone.
        """
        logits, auxiliary = self._training_outputs(network, batch)
        main, *beside = (F.cross_entropy(each, batch.truths, label_smoothing=self.label_smoothing) for each in (logits, *auxiliary))
        return {
            "total": main + getattr(network, "auxiliary_weight", 0.0) * torch.stack(beside).sum() if beside else main,
            "loss": F.cross_entropy(logits.detach(), batch.truths) if self.label_smoothing else main.detach(),
            "accuracy": (logits.detach().argmax(1) == batch.truths).float().mean(),
        }

    def _training_outputs(self, network: nn.Module, batch: Batch) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        """The logits, and those of auxiliary classifiers where the network has any (see `models`)."""
        with_auxiliary = getattr(network, "with_auxiliary", None)
        if with_auxiliary is None:
            return self.outputs(network, batch), ()
        logits, auxiliary = with_auxiliary(self.normalised(batch.images))
        return logits.float(), tuple(each.float() for each in auxiliary)

    # --- answers ----------------------------------------------------------------------------------------------------------------

    def decode(self, outputs: torch.Tensor, batch: Batch) -> list[Prediction]:
        probabilities = torch.softmax(outputs.double() / self.temperature, dim=1).cpu().numpy()
        starts = [i for i, source in enumerate(batch.sources) if i == 0 or source != batch.sources[i - 1]]
        return [
            Prediction(batch.sources[i], batch.placements[i].source_size, self.classes, probabilities[i:end].mean(0))
            for i, end in zip(starts, [*starts[1:], len(batch.sources)], strict=True)
        ]

    def metric(self, costs: np.ndarray | None = None) -> Answers:
        return Answers(self.classes, costs)

    def finish(self, outputs: torch.Tensor, truths: torch.Tensor) -> Classification:
        """Temperature scaling (Guo et al. 2017): the one number that makes validation probabilities likeliest; no answer changes."""
        from scipy.optimize import minimize_scalar

        logits = outputs.double()

        def cross_entropy(log_temperature: float) -> float:
            return F.cross_entropy(logits / np.exp(log_temperature), truths).item()

        best = minimize_scalar(cross_entropy, bounds=(np.log(0.05), np.log(20)), method="bounded")
        return replace(self, temperature=float(np.exp(best.x)))

    def baselines(self, parts: Mapping[str, tuple[np.ndarray, Sequence[Sample]]], seed: int) -> Iterator[Baseline]:
        from ..core.baselines import baselines

        arrays = [(images, np.array([sample.truth for sample in samples])) for images, samples in parts.values()]
        train, validation, test = arrays
        for name, found in baselines(train, validation, test, self.classes, seed).items():
            answers = {
                part: [Prediction(sample.source, self.size, self.classes, p) for sample, p in zip(parts[part][1], found[part], strict=True)]
                for part in ("validation", "test")
            }
            yield name, {"settings": found["settings"], "seconds": found["seconds"]}, answers

    def draw(self, samples: Sequence[Sample], predictions: Sequence[Prediction]) -> np.ndarray | None:
        from ..core.draw import sheet, to_rgb8

        truths = [self.classes[sample.truth] for sample in samples]
        wrong = [i for i, p in enumerate(predictions) if p.label != truths[i]]
        worst = sorted(wrong, key=lambda i: -(predictions[i].confidence or 0))[:24]
        titles = [f"{predictions[i].label} {predictions[i].confidence:.0%}\nis {truths[i]}" for i in worst]
        if not worst:
            return None
        return sheet([to_rgb8(samples[i].pixels()) for i in worst], titles, columns=6)


class Answers:
    """The metric of this room: the probabilities and truths of all pictures, in the order of their sources."""

    def __init__(self, classes: tuple[str, ...], costs: np.ndarray | None = None) -> None:
        self.classes, self.costs = classes, costs
        self.rows_by_source: dict[str, tuple[int, np.ndarray]] = {}

    def add(self, predictions: Sequence[Prediction], truths: Sequence[int]) -> None:
        for prediction, truth in zip(predictions, truths, strict=True):
            assert prediction.probabilities is not None
            self.rows_by_source[prediction.source] = (int(truth), prediction.probabilities)

    def merge(self, other: Answers) -> None:
        self.rows_by_source |= other.rows_by_source

    def _arrays(self) -> tuple[np.ndarray, np.ndarray]:
        rows = [self.rows_by_source[source] for source in sorted(self.rows_by_source)]
        return np.array([truth for truth, _ in rows]), np.stack([p for _, p in rows])

    def quick(self) -> dict[str, float]:
        truth, probabilities = self._arrays()
        accuracy = float((probabilities.argmax(1) == truth).mean())
        likelihood = probabilities[np.arange(len(truth)), truth]
        loss = float(-np.log(np.maximum(likelihood, 1e-12)).mean())
        return {"loss": loss, "accuracy": accuracy, "score": accuracy}

    def rows(self) -> list[dict[str, Any]]:
        rows = []
        for source in sorted(self.rows_by_source):
            truth, p = self.rows_by_source[source]
            answer = int(p.argmax())
            row = {"source": source, "truth": self.classes[truth], "answer": self.classes[answer], "confidence": f"{p[answer]:.6f}"}
            rows.append(
                row | {"correct": int(answer == truth)} | {f"p_{name}": f"{value:.6f}" for name, value in zip(self.classes, p, strict=True)}
            )
        return rows

    def against(self, other: Answers) -> dict[str, Any]:
        from ..core.evidence import mcnemar

        (truth, ours), (_, theirs) = self._arrays(), other._arrays()
        return mcnemar(ours.argmax(1) == truth, theirs.argmax(1) == truth)

    def sentences(self, summary: Mapping[str, Any]) -> list[str]:
        accuracy = summary["test"]["accuracy"]
        lines = [
            f"test:     {accuracy['value']:.2%} of {len(self.rows_by_source)} pictures right "
            f"(95 % interval {accuracy['low']:.2%} to {accuracy['high']:.2%})"
        ]
        if against := summary["against_best_baseline"]:
            rival = summary["baselines"][against["baseline"]]["test"]["accuracy"]["value"]
            lines.append(f"baseline: {against['baseline']} gets {rival:.2%}; difference by McNemar's test p = {against['p']:.2g}")
        return lines

    def result(self) -> dict[str, Any]:
        from ..core.evidence import classification

        return classification(*self._arrays(), self.classes, self.costs)


def _natural_size(headers: Sequence[Header]) -> tuple[int, int]:
    """The pictures' own size where all agree and it is small; else a square of the median longer side, in steps of 32 up to 128."""
    sizes = {(header.height, header.width) for header in headers}
    if len(sizes) == 1 and max(size := next(iter(sizes))) <= 128 and min(size) >= 4:
        return size
    longer = float(np.median([max(header.height, header.width) for header in headers]))
    side = int(np.clip(np.ceil(longer / 32) * 32, 32, 128))
    return side, side


def _default_model(size: tuple[int, int], classes: int) -> str:
    """A small residual network in notation, as deep as the pictures are large; pooling comes before the activation, which is cheaper."""
    side = min(size)
    if side <= 16:
        return f"C48 B R P C96 B R [C96 B R C96 B] R G D.2 L{classes}"
    if side <= 40:
        return f"C32 B P R [C32 B R C32 B] R P C64 B R [C64 B R C64 B] R P C128 B R [C128 B R C128 B] R G D.2 L{classes}"
    return f"C24k5s2p2 B P R [C24 B R C24 B] R P C48 B R [C48 B R C48 B] R P C96 B R [C96 B R C96 B] R G D.2 L{classes}"


def _channels(headers: Sequence[Header]) -> int:
    """1 where every picture is grey, 3 where they are pictures as we know them, else their own number."""
    kinds = {header.channels for header in headers}
    if kinds <= {1, 2}:
        return 1
    if kinds <= {1, 2, 3, 4}:
        return 3
    if len(kinds) > 1:
        raise DataError(f"pictures with {sorted(kinds)} channels cannot be mixed; convert them to one number of channels")
    return kinds.pop()


def _border(images: np.ndarray) -> tuple[float, ...]:
    """The median colour of the outermost pixels of M×H×W×C: what a picture usually has where it ends."""
    few = images[:: max(1, len(images) // 512)]
    edges = [few[:, 0], few[:, -1], few[:, :, 0], few[:, :, -1]]
    return tuple(np.median(np.concatenate([e.reshape(-1, images.shape[3]) for e in edges]), axis=0).tolist())
