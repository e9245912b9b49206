"""The R-CNN line: first where an object might be, then what it is. Three networks of one form, from
the slowest to the fastest.

Sources: R. Girshick et al., Rich Feature Hierarchies, CVPR 2014 (arXiv 1311.2524): R-CNN, each
proposal cut out of the image, warped to one size and passed through the network by itself; R.
Girshick, Fast R-CNN, ICCV 2015 (arXiv 1504.08083): one pass over the image, proposals cut out of
its map; S. Ren et al., Faster R-CNN, NeurIPS 2015 (arXiv 1506.01497): the proposals come out of the
map too.

The form: `features(x)` gives the maps that regions are cut out of (R-CNN's is the image itself);
`regions(maps, boxes)` cuts them out and classifies each and says how its box should move;
`head(maps, boxes)` gives `Regions`. Faster R-CNN proposes its own boxes; the others take proposals
(`transforms.selective_search`) as an input, and without any take the whole image as often as there
would be proposals, so that their account of work is right. All are tensor operations alone.

Choices and deviations:
- Classes and boxes are trained together in all three, as since Fast R-CNN; R-CNN of 2014 trained
  one support vector machine a class on fixed features, and its boxes after that.
- A box moves the same way whatever its class is: fewer weights for small data.
- Class `classes` is background, after the others, so that classes keep their numbers.
- R-CNN's crops are 64 pixels a side and not 227, which would take too long here. As in the paper
  each shows 16/227 of its side of what is around the box, on each side.
- Fast R-CNN reads the map of stride 16 (the coarsest up to it), as the paper does, brought to
  `width` maps by a 1×1 convolution.
- Faster R-CNN reads a feature pyramid (Lin et al. 2017) through RoIAlign (He et al. 2017); the part
  that proposes is depthwise separable; two dense layers of 256 follow where the paper has 4096.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.boxes import area, clip
from ..core.boxes.coding import decode_deltas
from .layers import RELU_GAIN, scaled_normal_
from .pyramid import FeaturePyramid, Levels, coarsest, conv, places
from .roi import RoIAlign, RoIPool, roi_align

# What deltas are multiplied by, so that the targets of the regression are near 1 (Fast R-CNN's
# code; the paper divides by their deviation).
DELTA_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
RATIOS = (0.5, 1.0, 2.0)
STRIDES_WIDE = 5
CONTEXT = 16 / 227
# Of two proposals with a larger IoU one is dropped (Ren et al. 2015, section 3.3).
OVERLAP = 0.7


class Regions(NamedTuple):
    """The predictions for K boxes an image. boxes: B×K×4 in pixels, empty (0 0 0 0) where unused;
    logits: B×K×(classes + 1), the last of them background; deltas: B×K×4, how the box should move,
    times DELTA_WEIGHTS."""

    boxes: Tensor
    logits: Tensor
    deltas: Tensor


class Judge(nn.Module):
    """What a region is and how its box should move: …×C×side×side → …×(classes + 1) and …×4,
    through two dense layers."""

    def __init__(self, inputs: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.dense1, self.dense2 = nn.Linear(inputs, hidden), nn.Linear(hidden, hidden)
        self.relu = nn.ReLU(inplace=True)
        self.answer = Answer(hidden, classes)
        for layer in (self.dense1, self.dense2):
            scaled_normal_(layer, RELU_GAIN)

    def forward(self, regions: Tensor) -> tuple[Tensor, Tensor]:
        return self.answer(self.relu(self.dense2(self.relu(self.dense1(regions.flatten(-3))))))


class Answer(nn.Module):
    """…×C → …×(classes + 1) logits and …×4 deltas; drawn as in Fast R-CNN, section 2.3, so that
    boxes at first stay where they are."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.what, self.where = nn.Linear(inputs, classes + 1), nn.Linear(inputs, 4)
        small_normal_(self.what, 0.01)
        small_normal_(self.where, 0.001)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.what(x), self.where(x)


class RegionProposals(nn.Module):
    """The network that proposes, one for all levels: maps B×width×h×w → B×N logits of "something is
    here" and B×N×4 deltas.

    N: all places of all levels, row by row, times the anchors of a place.
    """

    def __init__(self, width: int, anchors: int) -> None:
        super().__init__()
        self.look = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False), conv(width, width, 1)
        )
        self.something, self.where = nn.Conv2d(width, anchors, 1), nn.Conv2d(width, 4 * anchors, 1)
        scaled_normal_(self.look[0], 1.0)
        for layer in (self.something, self.where):
            small_normal_(layer, 0.01)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        seen = [self.look(each) for each in maps]
        logits = [self.something(each).permute(0, 2, 3, 1).flatten(1) for each in seen]
        deltas = [self.where(each).permute(0, 2, 3, 1).reshape(len(each), -1, 4) for each in seen]
        return torch.cat(logits, 1), torch.cat(deltas, 1)


class FasterRCNN(nn.Module):
    """B×channels×H×W → `Regions` of its own proposals.

    width: maps in each level of the pyramid. anchors: levels×A×2 widths and heights in pixels; None
    for three shapes a level, five strides wide. searched: proposals an image before
    suppression; kept: after it. sampled: regions an image in a training step.
    """

    searched, kept, sampled = 600, 100, 64
    anchors: Tensor

    def __init__(
        self, backbone: Any, classes: int, width: int = 96, anchors: Tensor | None = None
    ) -> None:
        super().__init__()
        self.backbone, self.classes = backbone, classes
        self.levels = Levels(backbone, width)
        self.strides = tuple(self.levels.strides)
        self.feature_channels, self.feature_strides = (width,) * len(self.strides), self.strides
        self.register_buffer("anchors", usual_anchors(self.strides) if anchors is None else anchors)
        self.neck = FeaturePyramid(self.levels.channels, width)
        self.rpn = RegionProposals(width, self.anchors.shape[1])
        self.cut = RoIAlign(self.strides)
        self.judge = Judge(width * self.cut.side**2, 256, classes)

    def features(self, x: Tensor) -> tuple[Tensor, ...]:
        return self.neck(self.levels(self.backbone.features(x)))

    def anchors_of(self, maps: Sequence[Tensor]) -> Tensor:
        """N×4 boxes in pixels, in the order in which `rpn` answers."""
        sizes = [(each.shape[2], each.shape[3]) for each in maps]
        per_level = places(sizes, self.strides, maps[0].device)[0].split(
            [height * width for height, width in sizes]
        )
        around = [
            torch.cat([centres[:, None] - shapes / 2, centres[:, None] + shapes / 2], -1).flatten(
                0, 1
            )
            for centres, shapes in zip(per_level, self.anchors, strict=True)
        ]
        return torch.cat(around)

    def proposed(self, maps: Sequence[Tensor], logits: Tensor, deltas: Tensor) -> Tensor:
        """B×kept×4 boxes, highest score first, empty where there are fewer. Accounts of a network
        (the meta device) leave suppression out: there is no layer in it."""
        boxes = decode_deltas(deltas.detach().float(), self.anchors_of(maps))
        best = logits.detach().float().topk(min(self.searched, logits.shape[1]), 1).indices
        boxes = clip(boxes.gather(1, best[..., None].expand(-1, -1, 4)), extent(maps, self.strides))
        if boxes.is_meta:
            return boxes[:, : self.kept]
        return separated(boxes, self.kept)

    def regions(self, maps: Sequence[Tensor], boxes: Tensor) -> tuple[Tensor, Tensor]:
        return self.judge(self.cut(maps, boxes))

    def head(self, maps: Sequence[Tensor]) -> Regions:
        boxes = self.proposed(maps, *self.rpn(maps))
        return Regions(boxes, *self.regions(maps, boxes))

    def forward(self, x: Tensor) -> Regions:
        return self.head(self.features(x))


class FastRCNN(nn.Module):
    """B×channels×H×W and B×K×4 boxes in pixels → `Regions` of these boxes."""

    kept, sampled = 300, 64

    def __init__(self, backbone: Any, classes: int, width: int = 96) -> None:
        super().__init__()
        self.backbone, self.classes = backbone, classes
        self.at = coarsest(backbone, 16)
        self.stride = float(backbone.feature_strides[self.at])
        self.feature_channels, self.feature_strides = (width,), (self.stride,)
        self.neck = conv(backbone.feature_channels[self.at], width, 1)
        self.cut = RoIPool(self.stride)
        self.judge = Judge(width * self.cut.side**2, 256, classes)

    def features(self, x: Tensor) -> tuple[Tensor, ...]:
        return (self.neck(self.backbone.features(x)[self.at]),)

    def regions(self, maps: Sequence[Tensor], boxes: Tensor) -> tuple[Tensor, Tensor]:
        return self.judge(self.cut(maps, boxes))

    def head(self, maps: Sequence[Tensor], boxes: Tensor | None = None) -> Regions:
        boxes = everywhere(maps, self.feature_strides, self.kept) if boxes is None else boxes
        return Regions(boxes, *self.regions(maps, boxes))

    def forward(self, x: Tensor, boxes: Tensor | None = None) -> Regions:
        return self.head(self.features(x), boxes)


class RCNN(nn.Module):
    """B×channels×H×W and B×K×4 boxes in pixels → `Regions` of these boxes, each passed through the
    backbone by itself.

    side: of a crop, in pixels. at_once: crops that pass together; all of them would take gigabytes.
    """

    kept, sampled = 300, 16
    side, at_once = 64, 128
    feature_strides = (1.0,)

    def __init__(self, backbone: Any, classes: int) -> None:
        super().__init__()
        self.backbone, self.classes = backbone, classes
        self.at = coarsest(backbone)
        self.feature_channels = (
            next(each.in_channels for each in backbone.modules() if isinstance(each, nn.Conv2d)),
        )
        self.answer = Answer(backbone.feature_channels[self.at], classes)

    def features(self, x: Tensor) -> tuple[Tensor, ...]:
        return (x,)

    def regions(self, maps: Sequence[Tensor], boxes: Tensor) -> tuple[Tensor, Tensor]:
        some = max(1, self.at_once // len(boxes))
        return self.answer(
            torch.cat([self._seen(maps, each) for each in with_context(boxes).split(some, 1)], 1)
        )

    def _seen(self, maps: Sequence[Tensor], boxes: Tensor) -> Tensor:
        """B×K×4 boxes to B×K×C: the mean of the backbone's last map of each."""
        crops = roi_align(maps, boxes, self.feature_strides, self.side)
        return self.backbone.features(crops)[self.at].mean((2, 3)).unflatten(0, boxes.shape[:2])

    def head(self, maps: Sequence[Tensor], boxes: Tensor | None = None) -> Regions:
        boxes = everywhere(maps, self.feature_strides, self.kept) if boxes is None else boxes
        return Regions(boxes, *self.regions(maps, boxes))

    def forward(self, x: Tensor, boxes: Tensor | None = None) -> Regions:
        return self.head(self.features(x), boxes)


def small_normal_(layer: nn.Module, deviation: float) -> None:
    nn.init.normal_(layer.get_parameter("weight"), std=deviation)
    nn.init.zeros_(layer.get_parameter("bias"))


def usual_anchors(strides: Sequence[float]) -> Tensor:
    """levels×3×2 widths and heights in pixels: one area a level, upright, square and lying."""
    area, ratio = (torch.tensor(strides) * STRIDES_WIDE).square()[:, None], torch.tensor(RATIOS)
    height = (area * ratio).sqrt()
    return torch.stack([area / height, height], -1)


def extent(maps: Sequence[Tensor], strides: Sequence[float]) -> tuple[int, int]:
    """Height and width in pixels of what the finest map covers, which is the image,
    rounded up to its stride."""
    height, width = maps[0].shape[2:]
    return round(height * strides[0]), round(width * strides[0])


def everywhere(maps: Sequence[Tensor], strides: Sequence[float], count: int) -> Tensor:
    """B×count×4: the whole image, `count` times."""
    height, width = extent(maps, strides)
    return torch.tensor([0.0, 0.0, width, height], device=maps[0].device).expand(
        len(maps[0]), count, 4
    )


def with_context(boxes_xyxy: Tensor) -> Tensor:
    """Boxes so much larger that, warped to one size, each shows CONTEXT of its side of what is
    around it, on each side."""
    low, high = boxes_xyxy.split(2, -1)
    margin = (high - low) * (CONTEXT / (1 - 2 * CONTEXT))
    return torch.cat([low - margin, high + margin], -1)


def separated(boxes_xyxy: Tensor, count: int) -> Tensor:
    """B×N×4 boxes, highest score first → B×count×4: greedy suppression, the first `count` boxes of
    each image with no IoU above OVERLAP to one before; padded with empty boxes.

    As `core.boxes.suppress`, to the bit, in tensor operations alone, so that it can be exported:
    `count` steps, of which each takes the first box that is left and drops what overlaps it.
    """
    low, high = boxes_xyxy.double().split(2, -1)
    areas = area(boxes_xyxy.double())
    table = torch.cat([low, high, areas[..., None]], -1)
    left = torch.ones(areas.shape, dtype=torch.uint8, device=areas.device)
    chosen = []
    for _ in range(min(count, areas.shape[1])):
        first = left.argmax(1, keepdim=True)
        chosen.append(torch.where(left.gather(1, first) > 0, first, -1))
        one = table.gather(1, first[..., None].expand(-1, -1, 5))
        size = (torch.minimum(high, one[..., 2:4]) - torch.maximum(low, one[..., :2])).clamp(min=0)
        both = size[..., 0] * size[..., 1]
        # Of two empty boxes the share is not a number, and neither drops the other.
        left = (left & ~(both / (areas + one[..., 4] - both) > OVERLAP)).scatter(1, first, 0)
    at = torch.cat(chosen, 1)
    found = boxes_xyxy.gather(1, at.clamp(min=0)[..., None].expand(-1, -1, 4))
    found = torch.where((at >= 0)[..., None], found, 0.0)
    return F.pad(found, (0, 0, 0, count - at.shape[1]))
