"""Gradients in a deep network without shortcuts and in its twin with them, while both train."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ...models import create
from ...plots import svg
from ...tasks.settings import SharedSettings
from .paper import Panel, decades, write_svg
from .practice import digits, fit, seeded, standard

# The same layers and parameters; brackets are the shortcuts. Sigmoids, because each passes back at
# most a quarter of what it gets.
NETWORKS = {"plain": "C8 ( S C8 )18 P L10", "residual": "C8 ( [ S C8 ] )18 P L10"}
STEPS, BATCH, TRAINING = 150, 64, 1200
WINDOW = 10  # steps that one point of a line is the median of


@dataclass(frozen=True)
class Course:
    """norms: steps × layers, the length of the gradient of each layer's weights, the first layer
    first. losses: one a step."""

    norms: np.ndarray
    losses: np.ndarray


def course(notation: str) -> Course:
    pictures, classes = digits()
    x, y = standard(pictures)[:TRAINING], torch.from_numpy(classes)[:TRAINING]
    norms, losses = [], []
    with seeded():
        network = create(notation, 10, 1, (8, 8))
        weights = [parameter for parameter in network.parameters() if parameter.ndim > 1]
        for loss in fit(
            network,
            x,
            y,
            SharedSettings(optimizer="adam", lr=0.005, weight_decay=0.0),
            STEPS,
            BATCH,
        ):
            norms.append(
                [
                    float(torch.linalg.vector_norm(weight.grad))
                    for weight in weights
                    if weight.grad is not None
                ]
            )
            losses.append(loss)
    return Course(np.array(norms), np.array(losses))


def courses() -> dict[str, Course]:
    return {name: course(notation) for name, notation in NETWORKS.items()}


def gradient_norms(out: Path) -> list[Path]:
    parts: list[str] = []
    found = courses()
    for place, (name, of) in enumerate(found.items()):
        panel = Panel(52 + 410 * place, 84, 280, 250, (1, STEPS), (1e-17, 10), log_y=True)
        parts += panel.frame(
            "step",
            "norm of a layer's gradient (log scale)",
            (1, 50, 100, 150),
            decades(-16, 0, 4),
            _said(name, of),
        )
        parts += _layers(panel, of.norms)
    title = "Twenty layers: without shortcuts hardly any gradient reaches the first"
    caption = (
        f"The norm of the gradient of every layer's weights over {STEPS} steps, for two networks "
        "of twenty layers and the same parameters; "
        "the darker the line, the nearer the layer to the answer. Medians of ten steps."
    )
    return [write_svg(out / "gradient_norms.svg", (830, 376), title, caption, parts)]


def _said(name: str, of: Course) -> str:
    return f"{name}: loss {of.losses[0]:.2f} → {of.losses[-WINDOW:].mean():.2f}"


def _layers(panel: Panel, norms: np.ndarray) -> list[str]:
    """A line a layer; the first, the middle and the last are named where they end."""
    blocks = np.median(norms.reshape(-1, WINDOW, norms.shape[1]), axis=1)
    middles = np.arange(len(blocks)) * WINDOW + (WINDOW + 1) / 2
    count = norms.shape[1]
    parts, ends = [], []
    for layer in range(count):
        line = list(zip(middles, np.maximum(blocks[:, layer], panel.y[0]), strict=True))
        parts.append(
            panel.line(line, "a thin", f' stroke-opacity="{0.25 + 0.75 * layer / (count - 1):.2f}"')
        )
        if layer in (0, count // 2 - 1, count - 1):
            ends.append((panel.at(*line[-1])[1], f"layer {layer + 1}"))
    last = -1e9
    for y, word in sorted(ends):
        last = max(y, last + 15)
        parts.append(svg.text(panel.right + 4, last + 4, word, "bold a"))
    return parts
