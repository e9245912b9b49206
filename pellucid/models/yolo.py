"""The YOLO line: every place of every map says at once what is there and where it ends.

Sources: J. Redmon et al., You Only Look Once, CVPR 2016 (arXiv 1506.02640): one pass, the place
with an object's centre answers for it; J. Redmon, A. Farhadi, YOLO9000, CVPR 2017 (arXiv
1612.08242): anchors fitted to the data; Z. Tian et al., FCOS, ICCV 2019 (arXiv 1904.01355): no
anchors, distances to the four sides; X. Li et al., Generalized Focal Loss, NeurIPS 2020 (arXiv
2006.04388): a side as a distribution over distances; Z. Ge et al., YOLOX, 2021 (arXiv 2107.08430):
separate towers for what and where.

Choices and deviations:
- The backbone is any network that gives maps (`features`); the neck is the pyramid with the way
  back up of the YOLO line since 2020.
- Without anchors a side's distance from the place's centre is the mean of a distribution over 0 to
  15 strides; with anchors it is the form of 2017, σ(t)+cell and anchor·eᵗ.
- One score for each class by its own logistic function, and none for "an object at all": so a
  class's score is how sure the network is that an object of this class is there, and how well its
  box fits.
- `Grid` is the classic design, for those who want to see it: one coarse map, confidences beside
  classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..core.boxes.coding import decode_anchored, decode_distances
from .pyramid import Levels, PathAggregation, conv, places

BINS = 16
# A fresh network says "nothing" nearly everywhere, or the many empty places would drown the few
# others (Lin et al. 2017, section 3.3).
PRIOR = 0.01


class Yolo(nn.Module):
    """B×channels×H×W → B×N×(sides + classes), N places times anchors, finest map first, row by row.

    sides: 64 numbers without anchors (four distributions over 16 strides: left, top, right,
    bottom), else 4 (tx, ty, tw, th). anchors: levels×A×2 widths and heights in pixels; None for
    none.
    """

    anchors: Tensor | None

    def __init__(
        self, backbone: Any, classes: int, width: int = 96, anchors: Tensor | None = None
    ) -> None:
        super().__init__()
        self.backbone, self.classes = backbone, classes
        self.levels = Levels(backbone, width)
        self.strides = tuple(self.levels.strides)
        self.feature_channels, self.feature_strides = (width,) * len(self.strides), self.strides
        self.sides = 4 * BINS if anchors is None else 4
        self.register_buffer("anchors", anchors)
        count = 1 if anchors is None else anchors.shape[1]
        self.neck = PathAggregation(self.levels.channels, width)
        self.where = nn.ModuleList(self._tower(width, count * self.sides) for _ in self.strides)
        self.what = nn.ModuleList(self._tower(width, count * classes) for _ in self.strides)
        self._begin()

    @staticmethod
    def _tower(width: int, outputs: int) -> nn.Sequential:
        return nn.Sequential(
            conv(width, width, 3), conv(width, width, 3), nn.Conv2d(width, outputs, 1)
        )

    def _begin(self) -> None:
        # A side begins some three strides away, as most do, and not in the middle of what can be
        # said: of boxes far too large, none fits.
        near = -0.3 * torch.arange(BINS) if self.anchors is None else torch.zeros(1)
        rare = torch.full((1,), -math.log((1 - PRIOR) / PRIOR))
        for where, what in zip(self.where, self.what, strict=True):
            for last, bias in ((where[-1], near), (what[-1], rare)):  # type: ignore[index]
                nn.init.normal_(last.weight, std=0.01)
                last.bias.data.copy_(bias.repeat(len(last.bias) // len(bias)))

    def features(self, x: Tensor) -> tuple[Tensor, ...]:
        return self.neck(self.levels(self.backbone.features(x)))

    def head(self, maps: Sequence[Tensor]) -> Tensor:
        rows = []
        for each, where, what in zip(maps, self.where, self.what, strict=True):
            # B×(A·K)×h×w → B×(h·w·A)×K
            parts = [
                tower(each).permute(0, 2, 3, 1).reshape(len(each), -1, numbers)
                for tower, numbers in ((where, self.sides), (what, self.classes))
            ]
            rows.append(torch.cat(parts, 2))
        return torch.cat(rows, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))

    def places(self, sizes: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor]:
        """As `places`, each as many times as there are anchors; on the device of the weights."""
        centres, strides = places(sizes, self.strides, self.where[0][-1].weight.device)  # type: ignore[index]
        count = 1 if self.anchors is None else self.anchors.shape[1]
        return centres.repeat_interleave(count, 0), strides.repeat_interleave(count)

    def boxes(self, raw: Tensor, sizes: Sequence[tuple[int, int]]) -> Tensor:
        """…×N×(sides + classes) to …×N×4, x1 y1 x2 y2 in pixels."""
        centres, strides = self.places(sizes)
        sides = raw[..., : self.sides].float()
        if self.anchors is None:
            steps = torch.arange(BINS, device=raw.device, dtype=torch.float32)
            # Not a matrix product, which autocast would round to bfloat16: half a pixel at the
            # coarsest level.
            distances = (sides.unflatten(-1, (4, BINS)).softmax(-1) * steps).sum(-1)
            return decode_distances(distances, centres, strides[:, None])
        per_level = [height * width for height, width in sizes]
        shapes = torch.cat(
            [a.repeat(count, 1) for a, count in zip(self.anchors, per_level, strict=True)]
        )
        return decode_anchored(sides, shapes, centres / strides[:, None] - 0.5, strides[:, None])


class Grid(nn.Module):
    """The classic design: B×channels×H×W → B×S×S×A×(5 + classes) over the coarsest map.

    Of each place and anchor tx ty tw th, the confidence's logit and the classes' logits. anchors:
    A×2 widths and heights in pixels.
    """

    anchors: Tensor

    def __init__(
        self, backbone: Any, classes: int, width: int = 96, anchors: Tensor | None = None
    ) -> None:
        super().__init__()
        assert anchors is not None
        self.backbone, self.classes = backbone, classes
        self.levels = Levels(backbone, width)
        self.stride = self.levels.strides[-1]
        self.feature_channels, self.feature_strides = (width,), (self.stride,)
        self.register_buffer("anchors", anchors)
        self.neck = nn.Sequential(
            conv(self.levels.channels[-1], width, 1), conv(width, width, 3), conv(width, width, 3)
        )
        self.last = nn.Conv2d(width, len(anchors) * (5 + classes), 1)
        nn.init.normal_(self.last.weight, std=0.01)
        nn.init.constant_(self.last.get_parameter("bias"), 0)

    def features(self, x: Tensor) -> tuple[Tensor, ...]:
        return (self.neck(self.levels(self.backbone.features(x))[-1]),)

    def head(self, maps: Sequence[Tensor]) -> Tensor:
        return self.last(maps[-1]).permute(0, 2, 3, 1).unflatten(-1, (-1, 5 + self.classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))

    def boxes(self, raw: Tensor) -> Tensor:
        """B×S×S×A×(5 + classes) to B×S×S×A×4, x1 y1 x2 y2 in pixels."""
        centres, _ = places([(raw.shape[1], raw.shape[2])], [1.0], raw.device)
        cells = (centres - 0.5).reshape(raw.shape[1], raw.shape[2], 1, 2)
        return decode_anchored(raw[..., :4].float(), self.anchors, cells, self.stride)
