"""Values for the settings that the user left open, from the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from ... import models
from ...data.formats import Dataset
from ...data.images import Header
from ...losses.classification import LIKELIHOODS
from ...transforms.augment import POLICIES
from ..settings import strengths
from .settings import ClassificationSettings


def suggest_defaults(
    settings: ClassificationSettings, dataset: Dataset, headers: Sequence[Header]
) -> dict[str, Any]:
    size = settings.size or models.fixed_size(settings.model or "") or _common_size(headers)
    count, loss = len(dataset.samples), settings.loss or "cross_entropy"
    policy = settings.augment or _policy(settings, dataset)
    return {
        "size": size,
        "model": _default_model(size, len(dataset.classes)),
        "epochs": int(np.clip(75_000 / count, 12, 90)),
        # Small sets need many steps rather than smooth ones.
        "batch": 16 if count < 1000 else 32 if count <= 5000 else 128,
        "loss": loss,
        "optimizer": "sgd" if settings.freeze == "all" and settings.weights else "adamw",
        "augment": policy,
        **asdict(POLICIES[policy]),
        # Smoothing needs a loss of probabilities: not a squared loss, not the hinge loss.
        "label_smoothing": 0.1 if loss in LIKELIHOODS else 0.0,
        "score": "accuracy" if settings.imbalance == "none" else "balanced_accuracy",
    }


def _policy(settings: ClassificationSettings, dataset: Dataset) -> str:
    # The features of a frozen network can be computed once only if no image is augmented.
    if settings.freeze == "all" and not any(strengths(settings).values()):
        return "none"
    letters = all(len(name) == 1 and name.isalnum() for name in dataset.classes)
    return "letters" if letters else "photos"


def _common_size(headers: Sequence[Header]) -> tuple[int, int]:
    """The size of the images where all agree and it is small; else a square of the median longer
    side, in steps of 32 up to 128."""
    sizes = {(header.height, header.width) for header in headers}
    if len(sizes) == 1 and max(size := next(iter(sizes))) <= 128 and min(size) >= 4:
        return size
    longer = float(np.median([max(header.height, header.width) for header in headers]))
    side = int(np.clip(np.ceil(longer / 32) * 32, 32, 128))
    return side, side


def _default_model(size: tuple[int, int], classes: int) -> str:
    """A small residual network in notation, as deep as the images are large. Pooling comes before
    the activation, which is cheaper."""
    side = min(size)
    if side <= 16:
        return f"C48 B R P C96 B R [C96 B R C96 B] R G D.2 L{classes}"
    if side <= 40:
        return (
            "C32 B P R [C32 B R C32 B] R P C64 B R [C64 B R C64 B] R P C128 B R [C128 B R C128 B] "
            f"R G D.2 L{classes}"
        )
    return (
        "C24k5s2p2 B P R [C24 B R C24 B] R P C48 B R [C48 B R C48 B] R P C96 B R [C96 B R C96 B] "
        f"R G D.2 L{classes}"
    )
