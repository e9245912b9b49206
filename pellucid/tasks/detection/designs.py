"""The designs of detectors: how feature maps become boxes, and with which loss. A new design is an
entry here and in `settings.LOSSES`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ...core.rng import Draws
from ...core.types import Objects
from ...models.localiser import Localiser
from ...models.rcnn import RCNN, FasterRCNN, FastRCNN
from ...models.yolo import Grid, Yolo
from . import classic, localise, one_stage, two_stage


@dataclass(frozen=True)
class Design:
    """build(backbone, classes, neck, anchors): the network; anchors: levels×A×2, or None.
    loss(network, images, targets, criterion, draws): named means. candidates(network, images), and
    with proposals B×P×4 where the network takes any: B×K×6, x1 y1 x2 y2 score label; tensor
    operations alone. proposals: how many boxes selective search gives it at most; 0 for none.
    levels: how many levels have anchors of their own; anchors: how many a level by default; 0: none
    are needed.
    """

    build: Callable[[Any, int, int, Tensor | None], nn.Module]
    loss: Callable[[Any, Tensor, Sequence[Objects], str, Draws], dict[str, Tensor]]
    candidates: Callable[..., Tensor]
    proposals: int = 0
    levels: int = 0
    anchors: int = 0


def _region_loss(
    network: Any, images: Tensor, targets: Sequence[Objects], criterion: str, draws: Draws
) -> dict[str, Tensor]:
    return two_stage.loss(network, images, targets, draws)


DESIGNS: dict[str, Design] = {
    "yolo": Design(
        Yolo,
        lambda network, images, targets, criterion, draws: one_stage.loss(
            network, images, targets, criterion
        ),
        one_stage.candidates,
        levels=3,
    ),
    "grid": Design(
        lambda backbone, classes, neck, anchors: Grid(
            backbone, classes, neck, None if anchors is None else anchors[0]
        ),
        lambda network, images, targets, criterion, draws: classic.loss(network, images, targets),
        classic.candidates,
        levels=1,
        anchors=5,
    ),
    "faster_rcnn": Design(FasterRCNN, _region_loss, two_stage.candidates, levels=3, anchors=3),
    "fast_rcnn": Design(
        lambda backbone, classes, neck, anchors: FastRCNN(backbone, classes, neck),
        _region_loss,
        two_stage.candidates,
        proposals=FastRCNN.kept,
    ),
    "rcnn": Design(
        lambda backbone, classes, neck, anchors: RCNN(backbone, classes),
        _region_loss,
        two_stage.candidates,
        proposals=RCNN.kept,
    ),
    "localiser": Design(
        lambda backbone, classes, neck, anchors: Localiser(backbone, classes),
        lambda network, images, targets, criterion, draws: localise.loss(network, images, targets),
        localise.candidates,
    ),
}
