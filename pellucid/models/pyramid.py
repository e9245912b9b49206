"""A feature pyramid: maps of several strides that all know what the coarsest one knows.

Sources: T.-Y. Lin et al., Feature Pyramid Networks for Object Detection, CVPR 2017 (arXiv
1612.03144): the way down from the coarsest map, added to each finer one; S. Liu et al., Path
Aggregation Network, CVPR 2018 (arXiv 1803.01534): the way back up, so that the coarse maps also
know where edges are.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.errors import UsageError
from .layers import RELU_GAIN, conv_norm_silu, scaled_normal_

# Finer maps than these cost more than small objects are worth, and coarser ones than 32 no backbone
# here has.
STRIDES = (8, 16, 32)


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """`layers.conv_norm_silu`, drawn for the activation that follows."""
    row = conv_norm_silu(inputs, outputs, kernel, stride)
    scaled_normal_(row[0], RELU_GAIN)
    return row


class Levels(nn.Module):
    """Of a backbone's maps those of stride 8, 16 and 32; where its coarsest is finer than 32, the
    rest is made of that by convolutions.

    channels, strides: of what comes out, finest first. Raises UsageError for a network without
    maps: it keeps no places.
    """

    def __init__(self, backbone: Any, width: int) -> None:
        super().__init__()
        channels, strides = backbone.feature_channels, strides_of(backbone)
        last_of = {stride: at for at, stride in enumerate(strides)}
        self.taken = [last_of[stride] for stride in STRIDES if stride in last_of]
        self.channels = [channels[at] for at in self.taken]
        self.strides = [strides[at] for at in self.taken]
        self.further = nn.ModuleList()
        inputs, stride = channels[-1], strides[-1]
        while stride < STRIDES[-1]:
            self.further.append(conv(inputs, width, 3, stride=2))
            inputs, stride = width, 2 * stride
            if stride >= STRIDES[0]:
                self.channels.append(width)
                self.strides.append(stride)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        found, x = [maps[at] for at in self.taken], maps[-1]
        made = []
        for further in self.further:
            x = further(x)
            made.append(x)
        return found + made[len(made) - (len(self.strides) - len(found)) :]


def strides_of(backbone: Any) -> list[float]:
    """Of the maps of `backbone.features`, finest first.
    Raises UsageError for a network without maps."""
    if not any(isinstance(each, nn.Conv2d) for each in backbone.modules()):
        raise UsageError(
            "model: a network without convolutions has no map to find objects in; "
            "choose another one"
        )
    return [float(stride) for stride in backbone.feature_strides]


def coarsest(backbone: Any, most: float = math.inf) -> int:
    """Which map of `backbone.features` is the last of a stride up to `most`. Raises UsageError for
    a network without maps."""
    return max(at for at, stride in enumerate(strides_of(backbone)) if stride <= most)


def places(
    sizes: Sequence[tuple[int, int]], strides: Sequence[float], device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor]:
    """N×2 centres (x, y) in pixels of all places of maps of these (height, width), row by row,
    and N strides."""
    centres, steps = [], []
    for (height, width), stride in zip(sizes, strides, strict=True):
        y, x = torch.meshgrid(
            torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij"
        )
        centres.append((torch.stack([x, y], -1).reshape(-1, 2) + 0.5) * stride)
        steps.append(torch.full((height * width,), float(stride), device=device))
    return torch.cat(centres), torch.cat(steps)


class FeaturePyramid(nn.Module):
    """Maps of `channels` channels, finest first → as many maps of `width` channels,
    of the same strides."""

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(conv(each, width, 1) for each in channels)
        self.smooth = nn.ModuleList(conv(width, width, 3) for _ in channels[1:])

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        x, *finer = [lateral(each) for lateral, each in zip(self.lateral, maps, strict=True)][::-1]
        found = [x]
        for smooth, each in zip(self.smooth, finer, strict=True):
            # To the finer map's own size: sides that do not divide by the stride were rounded up on
            # the way.
            x = smooth(each + F.interpolate(x, each.shape[2:], mode="nearest"))
            found.append(x)
        return tuple(found[::-1])


class PathAggregation(nn.Module):
    """A feature pyramid and the way back up: maps of `channels` channels,
    finest first → as many of `width` channels."""

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.down = FeaturePyramid(channels, width)
        self.stride = nn.ModuleList(conv(width, width, 3, stride=2) for _ in channels[1:])
        self.join = nn.ModuleList(conv(2 * width, width, 3) for _ in channels[1:])

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        x, *coarser = self.down(maps)
        found = [x]
        for stride, join, each in zip(self.stride, self.join, coarser, strict=True):
            halved = stride(x)
            # Networks without padding round their sides otherwise than a convolution that pads.
            if halved.shape[2:] != each.shape[2:]:
                halved = F.interpolate(halved, each.shape[2:], mode="nearest")
            x = join(torch.cat([halved, each], 1))
            found.append(x)
        return tuple(found)


def headless(backbone: nn.Module, input_shape: tuple[int, ...]) -> nn.Module:
    """The same network without the parts that its maps do not need: what is left is what is
    trained, counted and saved.

    input_shape: of one picture, without the batch. Which parts run is seen on the meta device,
    where nothing is computed.
    """
    shadow: Any = copy.deepcopy(backbone).to("meta").eval()
    run: set[str] = set()
    for name, module in shadow.named_modules():
        module.register_forward_pre_hook(lambda module, inputs, name=name: run.add(name))
    shadow.features(torch.empty(1, *input_shape, device="meta"))
    for name in [name for name, _ in backbone.named_children()]:
        if not any(each == name or each.startswith(f"{name}.") for each in run):
            setattr(backbone, name, nn.Identity())
    return backbone
