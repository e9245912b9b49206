"""What a linear classifier looks for: one template a class."""

from __future__ import annotations

from collections import deque
from pathlib import Path

import numpy as np
import torch

from ...models import create
from ...plots import svg
from ...tasks.settings import SharedSettings
from .paper import write_svg
from .practice import asked, digits, fit, seeded, standard

TRAINING = 1200
CELL = 8.0


def learned() -> tuple[np.ndarray, np.ndarray, float]:
    """The mean picture of each digit (10×8×8, in [0, 1]), its template (10×8×8, any sign), and the
    test accuracy of the templates."""
    pictures, classes = digits()
    x, y = standard(pictures), torch.from_numpy(classes)
    network = create("softmax_regression", 10, 1, (8, 8))
    settings = SharedSettings(optimizer="sgd", lr=0.1, weight_decay=0.03)
    with seeded():
        deque(fit(network, x[:TRAINING], y[:TRAINING], settings, 300), maxlen=0)
        right = asked(network, x[TRAINING:]).argmax(1) == y[TRAINING:]
    means = np.stack([pictures[:TRAINING][classes[:TRAINING] == c].mean(axis=0) for c in range(10)])
    return (
        means,
        network.get_parameter("fc.weight").detach().numpy().reshape(10, 8, 8),
        right.double().mean().item(),
    )


def templates(out: Path) -> list[Path]:
    means, weights, accuracy = learned()
    most = float(np.abs(weights).max())
    parts = [svg.text(0, 94, "mean"), svg.text(0, 108, "picture"), svg.text(0, 184, "template")]
    for digit in range(10):
        left = 62 + 74 * digit
        parts += [
            svg.text(left + 32, 46, str(digit), "ink bold mid"),
            cells(left, 58, means[digit], "ink"),
            _frame(left, 58),
        ]
        parts += [
            cells(left, 140, weights[digit] / most, "a"),
            cells(left, 140, -weights[digit] / most, "b"),
            _frame(left, 140),
        ]
    parts += _key(62, 226, most)
    title = "What a linear classifier looks for: one template a digit"
    caption = (
        "Softmax regression on 8×8 digits: blue where ink speaks for the digit, orange where it "
        "speaks against it; the score is the sum of "
        f"picture times template. {100 * accuracy:.0f} % of the test pictures are answered rightly."
    )
    return [write_svg(out / "templates.svg", (804, 262), title, caption, parts)]


def cells(left: float, top: float, shares: np.ndarray, css: str, levels: int = 12) -> str:
    """Squares as dark as their share of 1, in a few steps, so that each step is one path; what is
    not above 0 is left out."""
    steps = np.ceil(np.clip(shares, 0, 1) * levels - 0.5).astype(int)
    drawn = []
    for step in np.unique(steps[steps > 0]):
        squares = "".join(
            f"M{left + CELL * column:g} {top + CELL * row:g}h{CELL:g}v{CELL:g}h-{CELL:g}z"
            for row, column in np.argwhere(steps == step)
        )
        drawn.append(
            f'<path d="{squares}" class="{css}" fill-opacity="{step / levels:.2f}" '
            'shape-rendering="crispEdges"/>'
        )
    return "".join(drawn)


def _frame(left: float, top: float) -> str:
    return (
        f'<rect x="{left - 0.5:g}" y="{top - 0.5:g}" width="{8 * CELL + 1:g}" '
        f'height="{8 * CELL + 1:g}" class="hair"/>'
    )


def _key(left: float, top: float, most: float) -> list[str]:
    """The scale of the templates' colours, from the most negative weight to the most
    positive one."""
    shares = np.linspace(-1, 1, 25)[None]
    parts = [cells(left + 92, top, -shares, "b"), cells(left + 92, top, shares, "a")]
    words = (
        (f"weight: −{most:.2f}", left + 84, "end"),
        ("0", left + 192, "mid"),
        (f"+{most:.2f}", left + 300, ""),
    )
    return [
        *parts,
        *(svg.text(x, top + (24 if css == "mid" else 9), word, css) for word, x, css in words),
    ]
