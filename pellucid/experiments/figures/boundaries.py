"""Decision boundaries of three classifiers on two measured features of real digits."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ...models import create
from ...tasks.settings import SharedSettings
from .paper import Panel, write_svg
from .practice import asked, digits, fit, seeded

CLASSES = {0: "b", 1: "a", 4: "c"}  # digit → colour
TRAINING = 360
NEIGHBOURS = 15
TIE = 1e-3
Answer = Callable[[np.ndarray], np.ndarray]  # N×2 features → N×3 scores


@dataclass(frozen=True)
class Classifier:
    """One that has been fitted: features N×2 to scores N×3,
    and its share of right answers on the test part."""

    name: str
    scores: Answer
    accuracy: float


def features(pictures: np.ndarray) -> np.ndarray:
    """N×8×8 in [0, 1] → N×2: left-right symmetry (1: its own mirror image), and the mean ink of the
    four pixels in the middle."""
    change = np.abs(pictures - pictures[:, :, ::-1]).sum(axis=(1, 2))
    return np.stack(
        [1 - change / (2 * pictures.sum(axis=(1, 2))), pictures[:, 3:5, 3:5].mean(axis=(1, 2))],
        axis=1,
    )


def measured() -> tuple[np.ndarray, np.ndarray]:
    """Features (N×2) and classes (0, 1, 2) of the three digits;
    the first TRAINING are the training part."""
    pictures, target = digits()
    kept = np.isin(target, list(CLASSES))
    return features(pictures[kept]), np.searchsorted(list(CLASSES), target[kept])


def classifiers() -> list[Classifier]:
    x, y = measured()
    made = {
        f"{NEIGHBOURS} nearest neighbours": _nearest(x[:TRAINING], y[:TRAINING]),
        "linear": _network("softmax_regression", x[:TRAINING], y[:TRAINING]),
        "two hidden layers": _network("L32 R L32 R L3", x[:TRAINING], y[:TRAINING]),
    }
    right = {
        name: float((scores(x[TRAINING:]).argmax(axis=1) == y[TRAINING:]).mean())
        for name, scores in made.items()
    }
    return [Classifier(name, scores, right[name]) for name, scores in made.items()]


def _nearest(x: np.ndarray, y: np.ndarray) -> Answer:
    from sklearn.neighbors import KNeighborsClassifier

    mean, deviation = x.mean(axis=0), x.std(axis=0)
    neighbours = KNeighborsClassifier(NEIGHBOURS).fit((x - mean) / deviation, y)
    return lambda asked_for: neighbours.predict_proba((asked_for - mean) / deviation)


def _network(name: str, x: np.ndarray, y: np.ndarray) -> Answer:
    mean, deviation = x.mean(axis=0), x.std(axis=0)

    def tensor(values: np.ndarray) -> torch.Tensor:
        return torch.tensor((values - mean) / deviation, dtype=torch.float32)[:, :, None, None]

    with seeded():
        network = create(name, len(CLASSES), 2, (1, 1))
        deque(
            fit(
                network,
                tensor(x),
                torch.from_numpy(y),
                SharedSettings(optimizer="adamw", lr=0.01, weight_decay=0.01),
                400,
            ),
            maxlen=0,
        )
    return lambda asked_for: asked(network, tensor(asked_for)).softmax(1).numpy()


def boundaries(out: Path) -> list[Path]:
    x, y = measured()
    parts: list[str] = []
    for place, classifier in enumerate(classifiers()):
        panel = Panel(44 + 270 * place, 96, 226, 226, (0.2, 1), (0, 1))
        name = f"{classifier.name}: {100 * classifier.accuracy:.0f} % right"
        parts += _areas(panel, classifier.scores)
        parts += panel.frame(
            "left-right symmetry", "ink in the middle", (0.2, 0.4, 0.6, 0.8, 1), (0, 0.5, 1), name
        )
        for c, colour in enumerate(CLASSES.values()):
            parts.append(panel.dots(x[:TRAINING][y[:TRAINING] == c], colour, 2.2, 0.85))
    for place, (digit, colour) in enumerate(CLASSES.items()):
        parts.append(
            f'<text x="{44 + 66 * place}" y="40" class="bold {colour}">● digit {digit}</text>'
        )
    title = "Two features, three classifiers, three kinds of boundary"
    caption = (
        "Training pictures of the digits 0, 1 and 4 by two measured features, and the areas in "
        "which each classifier answers each of them; "
        "the shares of right answers are those of test pictures."
    )
    return [write_svg(out / "boundaries.svg", (820, 364), title, caption, parts)]


def _areas(panel: Panel, scores: Answer, side: int = 141) -> list[str]:
    """Where each class scores highest: its score less the best of the others is above 0."""
    x, y = np.linspace(*panel.x, side), np.linspace(*panel.y, side)
    grid = np.stack([values.ravel() for values in np.meshgrid(x, y)], axis=1)
    points = scores(grid)
    winner = points.argmax(axis=1)
    parts = []
    for c, colour in enumerate(CLASSES.values()):
        margin = points[:, c] - np.delete(points, c, axis=1).max(axis=1)
        # Votes of neighbours tie; the first of equals gets the point, so that no gap is left
        # between two areas.
        margin = np.where(winner == c, np.maximum(margin, TIE), np.minimum(margin, -TIE))
        parts.append(panel.region(x, y, margin.reshape(side, side), colour, 0.16))
    return parts
