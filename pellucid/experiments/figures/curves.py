"""Two figures of formulas: activation functions with their derivatives,
and what a loss makes of a probability."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from .paper import Panel, write_svg

Function = Callable[[np.ndarray], np.ndarray]
Places = tuple[tuple[float, float], tuple[float, float]]


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def sigmoid_slope(x: np.ndarray) -> np.ndarray:
    return sigmoid(x) * (1 - sigmoid(x))


def tanh_slope(x: np.ndarray) -> np.ndarray:
    return 1 - np.tanh(x) ** 2


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0.0)


def relu_slope(x: np.ndarray) -> np.ndarray:
    """0 at the corner, as frameworks have it."""
    return (x > 0).astype(np.float64)


# Name: function, derivative, what to see, and where the words "derivative" and the name stand.
ACTIVATIONS: dict[str, tuple[Function, Function, str, Places]] = {
    "sigmoid": (sigmoid, sigmoid_slope, "slope at most ¼", ((-4.9, -0.3), (1.4, 1.2))),
    "tanh": (np.tanh, tanh_slope, "slope at most 1", ((-4.9, 0.4), (1.4, 1.2))),
    "ReLU": (relu, relu_slope, "slope 1 where it is on", ((2.2, 0.72), (0.1, 1.8))),
}


def activations(out: Path) -> list[Path]:
    parts: list[str] = []
    x = np.sort(np.append(np.linspace(-5, 5, 201), 1e-9))  # ReLU's derivative jumps right after 0
    for place, (name, (function, slope, remark, places)) in enumerate(ACTIVATIONS.items()):
        panel = Panel(34 + 270 * place, 74, 226, 190, (-5, 5), (-1.1, 2.1))
        parts += panel.frame(
            "input x", "output", (-4, -2, 0, 2, 4), (-1, 0, 1, 2), f"{name}: {remark}"
        )
        parts += [
            panel.line(_shown(x, slope(x), panel), "b"),
            panel.line(_shown(x, function(x), panel), "a"),
        ]
        parts += [
            panel.name(*at, word, f"bold {colour}")
            for word, colour, at in zip(("derivative", name), "ba", places, strict=True)
        ]
    title = "What passes forward, and what passes back"
    caption = (
        "Sigmoid, tanh and ReLU with their derivatives: a gradient that goes back through a layer "
        "is multiplied by the orange line."
    )
    return [write_svg(out / "activations.svg", (830, 304), title, caption, parts)]


def _shown(x: np.ndarray, y: np.ndarray, panel: Panel) -> np.ndarray:
    """The part of a line that lies in the panel; a jump is drawn upright."""
    inside = y <= panel.y[1]
    return np.stack([x, y], axis=1)[inside]


GAMMA = 2.0  # of the focal loss, as in its paper


def cross_entropy_of(p: np.ndarray) -> np.ndarray:
    return -np.log(p)


def focal_of(p: np.ndarray) -> np.ndarray:
    """(1 − p)^γ·(−ln p): Lin et al. 2017, equation 4."""
    return (1 - p) ** GAMMA * cross_entropy_of(p)


def squared_of(p: np.ndarray) -> np.ndarray:
    """The squared error of that one probability."""
    return (1 - p) ** 2


LOSSES: tuple[tuple[str, Function, str], ...] = (
    ("cross-entropy: −ln p", cross_entropy_of, "a"),
    ("focal loss, γ = 2: −(1 − p)² ln p", focal_of, "b"),
    ("squared error: (1 − p)²", squared_of, "c"),
)


def cross_entropy(out: Path) -> list[Path]:
    panel = Panel(40, 62, 520, 260, (0, 1), (0, 5))
    parts = panel.frame(
        "predicted probability p of the right class",
        "loss of one picture",
        (0, 0.2, 0.4, 0.6, 0.8, 1),
        range(6),
    )
    p = np.linspace(0.0067, 1, 300)
    for place, (name, loss, colour) in enumerate(LOSSES):
        line = np.stack([p, loss(p)], axis=1)
        y = 3.78 - 0.28 * place
        parts += [
            panel.line(line[line[:, 1] <= 5], colour),
            panel.line([(0.4, y), (0.45, y)], colour),
        ]
        parts.append(panel.name(0.47, y, name, f"bold {colour}"))
    title = "Cross-entropy has no limit for what is wrong and certain of it"
    caption = (
        "The loss of one picture against the probability of its right class: cross-entropy, focal "
        "loss with γ = 2, squared error, "
        "which never exceeds 1."
    )
    return [write_svg(out / "cross_entropy.svg", (580, 366), title, caption, parts)]
