"""The designs of detectors: how the maps of a backbone become boxes, and by what they learn. A new
design is one line here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor, nn

from ...core.rng import Draws
from ...core.types import Objects
from ...models.localiser import Localiser
from ...models.rcnn import RCNN, FasterRCNN, FastRCNN
from ...models.yolo import Grid, Yolo
from . import classic, localise, one_stage, two_stage


@dataclass(frozen=True)
class Design:
    """build(backbone, classes, neck, anchors): the network; anchors as the room holds them,
    levels×A×2, or None.
    loss(network, images, truths, criterion, draws): named means. candidates(network, images,
    proposals): B×K×6, x1 y1 x2 y2 score label. proposes: whether boxes to look at are found in the
    pixels beforehand, and come along with the truths and as `proposals`.
    losses: what its classes can be learnt by; the first where the user does not say.
    levels: how many levels have anchors of their own; anchors: how many a level where the user does
    not say; 0: none are needed.
    """

    build: Callable[[Any, int, int, Tensor | None], nn.Module]
    loss: Callable[[Any, Tensor, Sequence[Objects], str, Draws], dict[str, Tensor]]
    candidates: Callable[[Any, Tensor, Sequence[np.ndarray] | None], Tensor]
    losses: tuple[str, ...]
    proposes: bool = False
    levels: int = 0
    anchors: int = 0


def _regions_learn(
    network: Any, images: Tensor, targets: Sequence[Objects], criterion: str, draws: Draws
) -> dict[str, Tensor]:
    return two_stage.loss(network, images, targets, draws)


DESIGNS: dict[str, Design] = {
    "yolo": Design(
        Yolo,
        lambda network, images, targets, criterion, draws: one_stage.loss(
            network, images, targets, criterion
        ),
        lambda network, images, proposals: one_stage.candidates(network, images),
        ("bce", "focal"),
        levels=3,
    ),
    "grid": Design(
        lambda backbone, classes, neck, anchors: Grid(
            backbone, classes, neck, None if anchors is None else anchors[0]
        ),
        lambda network, images, targets, criterion, draws: classic.loss(network, images, targets),
        lambda network, images, proposals: classic.candidates(network, images),
        ("l2",),
        levels=1,
        anchors=5,
    ),
    "faster_rcnn": Design(
        FasterRCNN, _regions_learn, two_stage.candidates, ("cross_entropy",), levels=3, anchors=3
    ),
    "fast_rcnn": Design(
        lambda backbone, classes, neck, anchors: FastRCNN(backbone, classes, neck),
        _regions_learn,
        two_stage.candidates,
        ("cross_entropy",),
        True,
    ),
    "rcnn": Design(
        lambda backbone, classes, neck, anchors: RCNN(backbone, classes),
        _regions_learn,
        two_stage.candidates,
        ("cross_entropy",),
        True,
    ),
    "localiser": Design(
        lambda backbone, classes, neck, anchors: Localiser(backbone, classes),
        lambda network, images, targets, criterion, draws: localise.loss(network, images, targets),
        lambda network, images, proposals: localise.candidates(network, images),
        ("l2",),
    ),
}
