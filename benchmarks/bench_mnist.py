"""MNIST: training throughput, and time to 99 % on validation, against a plain float32 loop with the
same network.

The peer is the loop that most people write: TensorDataset and DataLoader (pictures normalised
beforehand), Adam 1e-3, batch 64, constant rate. Ours is the product's loop with the settings below.
Only training is timed; both are validated every quarter of an epoch.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from side_by_side import DATA, training_of, views_of
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from pellucid.core.rng import generator
from pellucid.data import formats
from pellucid.engine.inference.infer import SCORING, predictions
from pellucid.engine.run.batches import Views
from pellucid.engine.run.checkpoint import State
from pellucid.engine.run.loop import steps
from pellucid.engine.run.machine import place
from pellucid.engine.run.optim import optimizer
from pellucid.models import create
from pellucid.tasks import TASKS
from pellucid.tasks.classification.architecture import ClassificationArchitecture
from pellucid.tasks.classification.inference import ClassificationInference
from pellucid.tasks.settings import SharedSettings
from pellucid.tasks.task import ModelSpec

NETWORK = "C16 P B R C16 B R C32 B P R C32 B R G L10"
ROUNDS, GOAL, PART = 3, 0.99, 12_500
# A side that has not reached the goal by then is counted as if it had: in its favour.
MOST = 12 * 50_000
CPU = torch.device("cpu")


def data() -> tuple[Views, Views]:
    dataset = formats.read(DATA / "mnist")
    train = dataset.given["train"]
    order = generator(0).permutation(train)
    images, labels = (
        np.stack([s.image for s in dataset.samples]),
        np.array([s.target for s in dataset.samples]),
    )
    return views_of(images[order[10_000:]], labels[order[10_000:]]), views_of(
        images[order[:10_000]], labels[order[:10_000]]
    )


def ours(train: Views, validation: Views, seed: int) -> Iterator[tuple[int, float]]:
    """(pictures trained since the last time, validation accuracy), with only the training between
    two of them timed by the caller."""
    settings = SharedSettings(
        model=NETWORK,
        epochs=6,
        batch=128,
        optimizer="nesterov",
        lr=0.2,
        weight_decay=5e-4,
        seed=seed,
        layout="channels_last",
        precision="float32",
    )
    training = training_of(train, 128, label_smoothing=0.05)
    spec = ModelSpec(
        TASKS["classification"],
        training.preprocess,
        ClassificationArchitecture(NETWORK, 10, 1, (28, 28)),
        ClassificationInference(training.classes),
    )
    torch.manual_seed(seed)
    network = place(spec.architecture.build(), CPU, torch.channels_last)
    state = State(network, [optimizer(settings, list(network.named_parameters()))])
    seen = 0
    for step in steps(training, train, settings, state, CPU):
        seen += 128
        if seen >= PART or step.last:
            yield seen, accuracy_of_model(spec, network, validation)
            network.train()
            seen = 0


def peer(train: Views, validation: Views, seed: int) -> Iterator[tuple[int, float]]:
    torch.manual_seed(seed)
    network = create(NETWORK, 10, 1, (28, 28))
    x, held = (
        torch.from_numpy(v.images)
        .permute(0, 3, 1, 2)
        .float()
        .div(255)
        .sub(0.1307)
        .div(0.3081)
        .contiguous()
        for v in (train, validation)
    )
    stepper = torch.optim.Adam(network.parameters(), lr=1e-3)
    loader = DataLoader(TensorDataset(x, train.targets), batch_size=64, shuffle=True)
    seen = 0
    while True:
        network.train()
        for pictures, labels in loader:
            stepper.zero_grad()
            F.cross_entropy(network(pictures), labels).backward()
            stepper.step()
            seen += len(labels)
            if seen >= PART:
                yield seen, accuracy(forward(network, held), validation)
                network.train()
                seen = 0


def forward(network: nn.Module, pictures: torch.Tensor) -> torch.Tensor:
    network.eval()
    with torch.inference_mode():
        return torch.cat([network(part) for part in pictures.split(500)])


def accuracy_of_model(spec: ModelSpec, network: nn.Module, views: Views) -> float:
    results = predictions(spec, network, views, SCORING, CPU)
    pairs = zip(results, views.targets.tolist(), strict=True)
    return float(np.mean([result.label == result.classes[target] for result, target in pairs]))


def accuracy(answers: torch.Tensor, views: Views) -> float:
    return (answers.argmax(1) == views.targets).float().mean().item()


class Clock:
    """Times a training that stops to be validated: `next` runs it to its next stop."""

    def __init__(self, course: Iterator[tuple[int, float]], validate: float) -> None:
        self.course, self.validate = course, validate
        self.seen, self.seconds, self.best = 0, 0.0, 0.0

    def next(self) -> None:
        start = time.perf_counter()
        seen, self.best = next(self.course, (0, 0.0))
        if not seen:
            sys.exit(f"training ended below {GOAL:.0%} on validation")
        self.seconds += time.perf_counter() - start - self.validate
        self.seen += seen


def main() -> None:
    if not (DATA / "mnist").is_dir():
        sys.exit(f"no MNIST at {DATA}/mnist; set PELLUCID_TEST_DATA")
    train, validation = data()
    speed, reach = [], []
    for seed in range(ROUNDS):
        # What a validation takes is measured beforehand and taken off, for each side its own.
        clocks = []
        for side in (ours, peer):
            network = create(NETWORK, 10, 1, (28, 28))
            if side is ours:
                place(network, CPU, torch.channels_last)
            held = torch.from_numpy(validation.images).permute(0, 3, 1, 2).float()
            held = held if side is ours else held.contiguous()
            took = []
            for _ in range(3):
                start = time.perf_counter()
                forward(network, held)
                took.append(time.perf_counter() - start)
            clocks.append(Clock(side(train, validation, seed), min(took)))
        mine, theirs = clocks
        reached: dict[int, float] = {}
        while len(reached) < 2:
            for number, clock in enumerate(clocks):
                if number not in reached:
                    clock.next()
                    if clock.best >= GOAL or clock.seen >= MOST:
                        reached[number] = clock.seconds
        speed.append((mine.seen / mine.seconds) / (theirs.seen / theirs.seconds))
        reach.append(reached[1] / reached[0])
        print(
            f"seed {seed}: {mine.seen / mine.seconds:,.0f} against "
            f"{theirs.seen / theirs.seconds:,.0f} pictures a second; "
            f"{GOAL:.0%} after {reached[0]:.1f} s against {reached[1]:.1f} s "
            f"({clocks[1].best:.2%})",
            flush=True,
        )
    print(
        f"MNIST throughput: ratio {statistics.median(speed):.2f}   wanted >= 1.8: "
        f"{'yes' if statistics.median(speed) >= 1.8 else 'NO'}"
    )
    print(
        f"MNIST time to 99 %: ratio {statistics.median(reach):.2f}   wanted >= 3: "
        f"{'yes' if statistics.median(reach) >= 3 else 'NO'}"
    )


if __name__ == "__main__":
    main()
