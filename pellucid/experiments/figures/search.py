"""Grid against random search on two settings of which one matters (Bergstra and Bengio 2012,
figure 1)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...core.rng import generator
from .paper import Panel, write_svg

SEED = 42


def quality(matters: np.ndarray, hardly: np.ndarray) -> np.ndarray:
    """Made for this figure: a narrow peak in one setting, and a tenth of that much in the other.
    Both lie in [0, 1]."""
    return peak(matters) + 0.1 * slope(hardly)


def peak(matters: np.ndarray) -> np.ndarray:
    return np.exp(-(((matters - 0.68) / 0.11) ** 2))


def slope(hardly: np.ndarray) -> np.ndarray:
    return np.exp(-(((hardly - 0.4) / 0.5) ** 2))


def grid_points() -> np.ndarray:
    """9×2: three values of each setting."""
    values = np.array([1, 3, 5]) / 6
    return np.stack([a.ravel() for a in np.meshgrid(values, values)], axis=1)


def random_points() -> np.ndarray:
    """9×2, uniform."""
    return generator(SEED).random((9, 2))


def grid_random(out: Path) -> list[Path]:
    parts: list[str] = []
    for place, (name, points) in enumerate((("Grid", grid_points()), ("Random", random_points()))):
        parts += _search(60 + 380 * place, name, points)
    title = "Nine trials: a grid tries three values of the setting that matters, chance tries nine"
    caption = (
        "Grid and random search with nine trials each; the curves beside each square say how much "
        "one setting does alone, their dots "
        "which of its values were tried."
    )
    return [write_svg(out / "grid_random.svg", (760, 420), title, caption, parts)]


def _search(left: float, name: str, points: np.ndarray) -> list[str]:
    square = Panel(left, 130, 240, 240, (0, 1), (0, 1))
    above = Panel(left, 66, 240, 60, (0, 1), (0, 1.05))
    beside = Panel(square.right + 4, 130, 60, 240, (0, 1.05), (0, 1))
    line = np.linspace(0, 1, 121)
    grid = quality(*np.meshgrid(line, line))
    best = points[np.argmax(quality(points[:, 0], points[:, 1]))]
    tried = len(np.unique(points[:, 0].round(9)))
    parts = square.frame("the setting that matters", "", (0, 0.5, 1), (0, 0.5, 1))
    parts.append(above.name(0, 1.05, f"{name}: {tried} values tried", "ink bold", (0, -10)))
    x, y = square.left - 40, square.top + 120
    parts.append(
        f'<text x="{x:g}" y="{y:g}" class="mid" transform="rotate(-90 {x:g} {y:g})">the setting '
        "that hardly matters</text>"
    )
    parts.append(square.contours(line, line, grid, (0.15, 0.3, 0.5, 0.7, 0.9, 1.05)))
    outline = [(0, peak(line[:1])[0]), *zip(line, peak(line), strict=True)]
    parts += [
        above.line(outline, "a"),
        beside.line(list(zip(0.1 * slope(line), line, strict=True)), "a"),
    ]
    for a, b in points:
        parts.append(
            square.line([(a, b), (a, 1)], "b thin", ' opacity=".45" stroke-dasharray="2 3"')
        )
    parts.append(
        above.dots([(a, float(peak(a))) for a in np.unique(points[:, 0].round(9))], "b", 3.4)
    )
    parts.append(
        beside.dots(
            [(0.1 * float(slope(b)), b) for b in np.unique(points[:, 1].round(9))], "b", 3.4
        )
    )
    across, down = square.at(*best)
    parts += [
        square.dots(points, "b", 4),
        f'<circle cx="{across:.1f}" cy="{down:.1f}" r="8" class="ring"/>',
    ]
    return parts
