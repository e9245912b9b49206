"""Good for optimisation against good for learning: the same large network with and without
regularisation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from ...core.rng import generator
from ...models import create
from ...tasks.settings import SharedSettings
from .paper import Panel, end_names, write_svg
from .practice import asked, digits, fit, seeded, standard

TRAINING, HELD_BACK = 200, 500
WRONG = 0.2  # share of the training labels that are wrong on purpose
STEPS, EVERY = 240, 6
# Notation and weight decay.
NETWORKS = {
    "nothing holds it back": ("L384 R L192 R L10", 0.0),
    "dropout and weight decay": ("D.3 L384 R D L192 R D L10", 2.0),
}


@dataclass(frozen=True)
class Lesson:
    """Losses at `steps` of a network that is not training,
    and the validation accuracy after the last of them."""

    steps: np.ndarray
    training: np.ndarray
    validation: np.ndarray
    accuracy: float


def labels() -> tuple[np.ndarray, np.ndarray]:
    """The training labels as they are taught, and whether each is wrong."""
    right = digits()[1][:TRAINING]
    draws = generator(1)
    wrong = draws.permutation(TRAINING) < WRONG * TRAINING
    return np.where(wrong, (right + draws.integers(1, 10, TRAINING)) % 10, right), wrong


def lesson(notation: str, weight_decay: float) -> Lesson:
    pictures, classes = digits()
    x, target, taught = standard(pictures), torch.from_numpy(classes), torch.from_numpy(labels()[0])
    held = slice(TRAINING, TRAINING + HELD_BACK)
    steps, training, validation = [], [], []
    with seeded():
        network = create(notation, 10, 1, (8, 8))
        settings = SharedSettings(optimizer="adamw", lr=0.001, weight_decay=weight_decay)
        for step, _ in enumerate(fit(network, x[:TRAINING], taught, settings, STEPS), start=1):
            if step % EVERY == 0:
                steps.append(step)
                training.append(F.cross_entropy(asked(network, x[:TRAINING]), taught).item())
                validation.append(F.cross_entropy(asked(network, x[held]), target[held]).item())
        accuracy = (asked(network, x[held]).argmax(1) == target[held]).double().mean().item()
    return Lesson(np.array(steps), np.array(training), np.array(validation), accuracy)


def lessons() -> dict[str, Lesson]:
    return {name: lesson(*how) for name, how in NETWORKS.items()}


def optimisation_generalisation(out: Path) -> list[Path]:
    parts: list[str] = []
    for place, (name, of) in enumerate(lessons().items()):
        panel = Panel(40 + 400 * place, 84, 270, 240, (0, STEPS), (0, 2))
        said = f"{name}: {100 * of.accuracy:.0f} % right in the end"
        parts += panel.frame("step", "loss", (0, 60, 120, 180, 240), (0, 0.5, 1, 1.5, 2), said)
        for values, colour in ((of.training, "a"), (of.validation, "b")):
            parts.append(panel.line(np.stack([of.steps, values], axis=1), colour))
        parts += end_names(
            panel,
            [
                (float(of.training[-1]), "training", "a"),
                (float(of.validation[-1]), "validation", "b"),
            ],
        )
        parts += _lowest(panel, of)
    title = "Good for optimisation, bad for learning: no training loss left, and more wrong answers"
    caption = (
        f"A large network taught {TRAINING} digits of which a fifth are labelled wrongly, without "
        "and with regularisation: loss on what it "
        f"was taught, and on {HELD_BACK} others that are labelled rightly."
    )
    return [write_svg(out / "optimisation_generalisation.svg", (820, 366), title, caption, parts)]


def _lowest(panel: Panel, of: Lesson) -> list[str]:
    """A ring at the lowest validation loss, where early stopping would have kept the weights."""
    best = int(np.argmin(of.validation))
    point = float(of.steps[best]), float(of.validation[best])
    across, down = panel.at(*point)
    ring = f'<circle cx="{across:.1f}" cy="{down:.1f}" r="6" class="ring"/>'
    late = best > len(of.steps) / 2
    return [
        ring,
        panel.name(*point, "lowest", "ink mid" if late else "ink", (0, 22) if late else (12, -24)),
    ]
