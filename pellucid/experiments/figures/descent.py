"""Two figures of descent on a surface of two parameters;
every path is walked by the project's own optimisers."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...engine.run.optim import optimizer
from ...tasks.settings import SharedSettings
from .paper import COLOURS, Panel, decades, end_names, write_svg

Surface = Callable[[Any, Any], Any]
STEPS = 60
START = (-9.0, 2.6)
# The same rate for the first three, so that only the method differs; Adam's is the length of its
# first step.
METHODS: dict[str, dict[str, Any]] = {
    "gradient descent": {"optimizer": "sgd", "momentum": 0.0, "lr": 0.02},
    "momentum": {"optimizer": "sgd", "momentum": 0.9, "lr": 0.02},
    "Nesterov": {"optimizer": "nesterov", "momentum": 0.9, "lr": 0.02},
    "Adam": {"optimizer": "adam", "lr": 0.5},
}


def valley(x: Any, y: Any) -> Any:
    """Twenty times as steep across as along; the minimum, 0, lies at the origin."""
    return 0.5 * (x * x + 20 * y * y)


def wells(x: Any, y: Any) -> Any:
    """Two hollows, the right one deeper, and a saddle between them near (−0.08, 0)."""
    return 0.5 * (x * x - 1) ** 2 - 0.15 * x + 1.5 * y * y


def descend(
    surface: Surface, start: tuple[float, float], steps: int, **settings: Any
) -> np.ndarray:
    """The points (steps + 1)×2 that an optimiser goes through. settings: of a recipe (optimizer,
    lr, momentum).

    Of Nesterov's method these are the points where it takes the gradient, θ + βv: the form that
    frameworks keep.
    """
    point = torch.nn.Parameter(torch.tensor(start, dtype=torch.float64))
    way = [point.detach().numpy().copy()]
    method = optimizer(SharedSettings(weight_decay=0.0, **settings), [("point", point)])
    for _ in range(steps):
        method.zero_grad()
        surface(point[0], point[1]).backward()
        method.step()
        way.append(point.detach().numpy().copy())
    return np.array(way)


def ways() -> dict[str, np.ndarray]:
    return {name: descend(valley, START, STEPS, **settings) for name, settings in METHODS.items()}


def contour_paths(out: Path) -> list[Path]:
    """The still and the animation."""
    title = "One valley, one start, four ways down"
    caption = (
        f"{STEPS} steps of gradient descent, momentum (β = 0.9), Nesterov (β = 0.9), all at a rate "
        "of 0.02, and Adam (rate 0.5) in a "
        "valley that is twenty times as steep across as along; a dot is a step."
    )
    size = (730, 560)
    still = write_svg(out / "contour_paths.svg", size, title, caption, _paths(moving=False))
    return [
        still,
        write_svg(out / "contour_paths_animated.svg", size, title, caption, _paths(moving=True)),
    ]


def _paths(moving: bool) -> list[str]:
    valley_panel = Panel(40, 52, 560, 240, (-10, 6), (-3.4, 3.4))
    loss_panel = Panel(40, 366, 560, 150, (0, STEPS), (1e-4, 1e2), log_y=True)
    parts = [_floor(valley_panel, valley, [0.2, 1, 3, 7, 14, 25, 40, 60, 85, 115, 150])]
    parts += valley_panel.frame("parameter θ₁", "parameter θ₂", (-10, -5, 0, 5), (-3, 0, 3))
    parts += loss_panel.frame("step", "loss (log scale)", (), decades(-4, 2))
    ends = []
    for (name, way), colour in zip(ways().items(), COLOURS, strict=True):
        losses = np.clip(valley(way[:, 0], way[:, 1]), *loss_panel.y)
        course = np.stack([np.arange(STEPS + 1.0), losses], axis=1)
        draw = _walking if moving else _walked
        parts += [*draw(valley_panel, way, colour), *draw(loss_panel, course, colour)]
        ends.append((float(losses[-1]), name, colour))
    parts += [
        valley_panel.dots([START], "ink", 4),
        valley_panel.name(*START, "start", "ink bold", (-4, -12)),
    ]
    parts += [
        valley_panel.line([(0.1, -0.3), (0.7, -2.1)], "rule"),
        valley_panel.name(0.7, -2.1, "minimum", "ink bold", (4, 10)),
    ]
    return [*parts, *end_names(loss_panel, ends)]


def _floor(panel: Panel, surface: Surface, levels: list[float]) -> str:
    x, y = np.linspace(*panel.x, 161), np.linspace(*panel.y, 121)
    return panel.contours(x, y, surface(*np.meshgrid(x, y)), levels)


def _walked(panel: Panel, way: np.ndarray, colour: str) -> list[str]:
    return [panel.line(way, colour + " thin"), panel.dots(way, colour, 2)]


def _walking(panel: Panel, way: np.ndarray, colour: str, seconds: int = 12) -> list[str]:
    """The path drawn as it is walked, over and over: the last quarter of the time shows the end."""
    places = [panel.at(float(x), float(y)) for x, y in way]
    lengths = np.array(
        [0.0, *(np.hypot(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(places))]
    ).cumsum()
    left = [f"{1 - share:.4f}" for share in lengths / lengths[-1]]
    times = ";".join([*(f"{0.75 * k / (len(way) - 1):.4f}" for k in range(len(way))), "1"])

    def move(attribute: str, values: list[str]) -> str:
        course = ";".join([*values, values[-1]])
        return (
            f'<animate attributeName="{attribute}" dur="{seconds}s" repeatCount="indefinite" '
            f'keyTimes="{times}" values="{course}"/>'
        )

    line = panel.line(way, colour, ' pathLength="1" stroke-dasharray="1 1"').removesuffix("/>")
    ball = f'<circle cx="{places[-1][0]:.1f}" cy="{places[-1][1]:.1f}" r="4.5" class="{colour}">'
    across, down = ([f"{place[axis]:.1f}" for place in places] for axis in (0, 1))
    return [
        f"{line}>{move('stroke-dashoffset', left)}</path>",
        f"{ball}{move('cx', across)}{move('cy', down)}</circle>",
    ]


SADDLE_STEPS = 80
# Two starts a hair's breadth apart, one on either side of the ridge that leads down to the saddle.
WORDS = "left start", "right start"
STARTS = {"a": (-0.08, 1.5), "b": (-0.07, 1.5)}


def falls() -> dict[str, np.ndarray]:
    """Gradient descent from each start, by colour."""
    return {
        colour: descend(wells, start, SADDLE_STEPS, optimizer="sgd", momentum=0.0, lr=0.06)
        for colour, start in STARTS.items()
    }


def stationary() -> dict[str, float]:
    """θ₁ of the local minimum, the saddle and the minimum: the roots of the derivative 2x³ − 2x −
    0.15. θ₂ is 0 at each."""
    roots = sorted(float(root.real) for root in np.roots([2, 0, -2, -0.15]))
    return dict(zip(("local minimum", "saddle", "minimum"), roots, strict=True))


def minima_saddle(out: Path) -> list[Path]:
    surface = Panel(40, 62, 380, 270, (-1.8, 1.8), (-1.2, 1.7))
    loss = Panel(500, 62, 240, 270, (0, SADDLE_STEPS), (-0.5, 4))
    parts = [_floor(surface, wells, [-0.1, 0, 0.1, 0.2, 0.3, 0.4, 0.506, 0.7, 1, 1.5, 2, 3, 4])]
    parts += surface.frame("parameter θ₁", "parameter θ₂", (-1, 0, 1), (-1, 0, 1))
    parts += loss.frame("step", "loss")
    for colour, way in falls().items():
        parts += _walked(surface, way, colour)
        parts += _walked(
            loss, np.stack([np.arange(len(way)), wells(way[:, 0], way[:, 1])], axis=1), colour
        )
    parts += end_names(
        loss,
        [
            (float(wells(*way[-1])), word, colour)
            for (colour, way), word in zip(falls().items(), WORDS, strict=True)
        ],
    )
    for name, x in stationary().items():
        parts.append(surface.dots([(x, 0)], "ink", 3.2))
        parts.append(surface.name(x, 0, name, "ink bold mid", (0, 20)))
    title = "Near a saddle descent hesitates; a hair's breadth decides where it goes"
    caption = (
        "Gradient descent from two starts 0.01 apart, on a surface with a minimum, a local minimum "
        "and a saddle between them: both come "
        "down to the saddle, rest where the slope is small, and part."
    )
    return [write_svg(out / "minima_saddle.svg", (820, 376), title, caption, parts)]
