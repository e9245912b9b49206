"""The network of a detector, and its anchors."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from ... import models
from ...core.errors import DataError, UsageError
from ...data.formats import Dataset
from ...models.pyramid import headless
from ...transforms import anchors as fitting
from ..task import FitData, tuples
from .designs import DESIGNS
from .preprocess import DetectionPreprocess
from .settings import DetectionSettings
from .views import moved

# Width and height of the anchors of a network that is built before any are fitted.
PLACEHOLDER = 32.0


@dataclass(frozen=True)
class DetectionArchitecture:
    """model: a name or a notation of the backbone. detector: of DESIGNS. neck: channels of each
    level of its feature pyramid. classes: how many. channels, size (height, width): of the input.
    anchors: levels×A×2 widths and heights in pixels of a view, fitted to the training boxes; empty
    where the detector has none. cover: how well they fit, a sentence."""

    model: str
    detector: str
    neck: int
    classes: int
    channels: int
    size: tuple[int, int]
    anchors: tuple[tuple[tuple[float, float], ...], ...] = ()
    cover: str = ""

    @property
    def num_outputs(self) -> None:
        """None: a detector gives boxes."""
        return None

    @classmethod
    def create(
        cls,
        settings: DetectionSettings,
        dataset: Dataset,
        preprocess: DetectionPreprocess,
        fitted: FitData | None,
    ) -> DetectionArchitecture:
        """Raises UsageError for anchors of a detector that has none, DataError for training images
        without an object."""
        assert settings.model is not None and settings.detector is not None
        assert settings.neck is not None
        levels, count = _anchor_counts(settings.detector, settings.anchors)
        made = cls(
            model=settings.model,
            detector=settings.detector,
            neck=settings.neck,
            classes=len(dataset.classes),
            channels=preprocess.channels,
            size=preprocess.size,
            anchors=tuples([[[PLACEHOLDER, PLACEHOLDER]] * count] * levels) if count else (),
        )
        return made if fitted is None else made._fitted(box_sizes(fitted))

    def __str__(self) -> str:
        return f"{self.detector} over {self.model}"

    def build(self) -> nn.Module:
        text = self.model
        outputs = models.classes_of(text) if models.is_notation(text) else self.classes
        network: Any = models.create(text, outputs, self.channels, self.size)
        backbone = headless(network, (self.channels, *self.size))
        anchors = torch.tensor(self.anchors) if self.anchors else None
        return DESIGNS[self.detector].build(backbone, self.classes, self.neck, anchors)

    def _fitted(self, sizes: np.ndarray) -> DetectionArchitecture:
        if not self.anchors:
            return self
        levels, count = len(self.anchors), len(self.anchors[0])
        found = fitting.fit(sizes, levels * count, seed=0)
        anchors = tuples(found.sizes.reshape(levels, count, 2).tolist())
        return replace(self, anchors=anchors, cover=str(found))


def box_sizes(fitted: FitData) -> np.ndarray:
    """float64 N×2: width and height in pixels of a view of each object that counts. Raises
    DataError for none."""
    objects = [
        moved(target, transform)
        for target, transform in zip(fitted.targets, fitted.transforms, strict=True)
    ]
    sizes = np.concatenate(
        [each.boxes[~each.ignore, 2:] - each.boxes[~each.ignore, :2] for each in objects]
    )
    if not len(sizes):
        raise DataError(
            "the training part holds no object to learn; add boxes to its pictures, or share "
            "the pictures out otherwise"
        )
    return sizes


def _anchor_counts(detector: str, given: int) -> tuple[int, int]:
    """How many levels have anchors of their own, and how many anchors each."""
    design = DESIGNS[detector]
    if given and not design.levels:
        raise UsageError(
            f"anchors: {detector} does not begin with boxes fitted to the data; leave it out"
        )
    return design.levels, given or design.anchors
