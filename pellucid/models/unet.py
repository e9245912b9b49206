"""U-Net: down to what a picture shows, up again to where, with the fine maps of the way down beside
the coarse ones on the way up.

Source: O. Ronneberger, P. Fischer, T. Brox, U-Net: Convolutional Networks for Biomedical Image
Segmentation, MICCAI 2015 (arXiv 1505.04597). In 3-D: Ö. Çiçek et al., 3D U-Net, MICCAI 2016 (arXiv
1606.06650), and F. Isensee et al., nnU-Net, Nature Methods 2021 (arXiv 1809.10486), for instance
norm and for axes that are halved less often.
Introduced: a way up as wide as the way down, joined by skips, that learns from some dozens of
pictures; answers window by window.

The paper's claims: ISBI 2012 (neurons in electron microscopy), warping error 0.000353, Rand error
0.0382, pixel error 0.0611; ISBI cell tracking 2015, mean IoU 0.9203 (PhC-U373) and 0.7756
(DIC-HeLa).

Choices and deviations:
- `UNet2015` is figure 1: no padding, no norm, 64 to 1,024 maps. Dropout (0.5) stands after the last
  two stages of the way down, as in the authors' files; the paper says only "at the end of the
  contracting path". Convolutions are normal of deviation √(2/fan_in), as the paper asks;
  up-convolutions and the last one, which no ReLU follows, of √(1/fan_in).
- `UNet` pads, so that the answer has the picture's size, and normalises each map: over the batch in
  2-D; over the picture in 3-D, where a batch has one volume or two. A last convolution that begins
  a tenth as large was tried and left: narrow networks then stood for a hundred steps where every
  pixel is of the commonest class.
- Halving rounds up and the way back cuts off the last row again, so that a map of odd size keeps
  its places.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.errors import UsageError
from ..plots.formatting import by
from .layers import RELU_GAIN, scaled_normal_
from .upsampling import CONVOLUTIONS, up

Factors = tuple[int, ...]

MARGIN = 92
STEP = 16
SMALLEST_SIDE = 188


def valid_size(least: int) -> int:
    """The smallest side of a window about which UNet2015 answers at least `least` pixels: 12 +
    16·k, and 184 of them are margin."""
    return max(SMALLEST_SIDE, least + 2 * MARGIN + -(least + 2 * MARGIN - 12) % STEP)


def check_side(side: int) -> None:
    """Raises UsageError for a side that would not halve four times without a remainder."""
    fits = valid_size(side - 2 * MARGIN)
    if side != fits:
        near = f"{fits - STEP} or {fits} fits" if fits > SMALLEST_SIDE else f"{fits} fits"
        raise UsageError(
            f"size: unet_2015 halves sides of {SMALLEST_SIDE}, {SMALLEST_SIDE + STEP} … four times "
            f"evenly, not {side}; {near}"
        )


class UNet2015(nn.Module):
    """B×channels×H×W → B×classes×(H − 184)×(W − 184) logits: of the pixels 92 and more away from
    the border.

    size: of the windows, only checked. width: maps of the first stage. margin, step: pixels that
    the answer lacks on every side, and what windows should begin at a multiple of. Raises
    UsageError for sides that do not fit (`valid_size`).
    """

    margin = MARGIN
    step = STEP
    feature_strides = (1, 2, 4, 8, 16)

    def __init__(
        self,
        classes: int = 2,
        channels: int = 1,
        size: tuple[int, ...] = (572, 572),
        width: int = 64,
    ) -> None:
        super().__init__()
        for side in size:
            check_side(side)
        self.feature_channels = widths = tuple(width * 2**level for level in range(5))
        self.down = nn.ModuleList(
            unpadded(*pair) for pair in zip((channels, *widths), widths, strict=False)
        )
        self.pool = nn.MaxPool2d(2)
        self.dropout = nn.Dropout(0.5)
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * each, each, 2, 2) for each in widths[-2::-1])
        self.join = nn.ModuleList(unpadded(2 * each, each) for each in widths[-2::-1])
        self.last = nn.Conv2d(width, classes, 1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                scaled_normal_(
                    layer,
                    1.0
                    if layer is self.last or isinstance(layer, nn.ConvTranspose2d)
                    else RELU_GAIN,
                )

    def features(self, x: Tensor) -> tuple[Tensor, ...]:
        for side in x.shape[2:]:
            check_side(side)
        maps: list[Tensor] = []
        for level, stage in enumerate(self.down):
            x = stage(self.pool(x) if level else x)
            maps.append(self.dropout(x) if level >= 3 else x)
            x = maps[-1]
        return tuple(maps)

    def head(self, maps: Sequence[Tensor]) -> Tensor:
        x = maps[-1]
        for grow, join, fine in zip(self.up, self.join, maps[-2::-1], strict=True):
            x = grow(x)
            x = join(torch.cat([centre(fine, x.shape[2:]), x], 1))
        return self.last(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


def unpadded(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3),
        nn.ReLU(inplace=True),
        nn.Conv2d(outputs, outputs, 3),
        nn.ReLU(inplace=True),
    )


def centre(x: Tensor, size: Sequence[int]) -> Tensor:
    """The middle of B×C×H×W maps."""
    top, left = ((have - want) // 2 for have, want in zip(x.shape[2:], size, strict=True))
    return x[:, :, top : top + size[0], left : left + size[1]]


class UNet(nn.Module):
    """B×channels×(D×)H×W → B×classes×(D×)H×W logits.

    backbone: what gives the maps on the way down, finest first: `Stages`, or a network of MODELS
    without its head. Where its first map is coarser than the picture, stages of convolutions of our
    own make the finer ones. width: maps at the picture's own resolution on the way up; twice as
    many at each coarser one, at most 16 times. skips: the fine maps stand beside the coarse ones
    (concat), or are added. least: the smallest window, by axis. margin, step: pixels that the
    answer lacks on every side, and what windows should begin at a multiple of. Raises UsageError
    for a backbone without convolutions, and in `features` for windows below `least`.
    """

    margin = 0

    def __init__(
        self,
        backbone: Any,
        classes: int,
        channels: int,
        width: int,
        upsampling: str = "nearest",
        skips: str = "concat",
        dims: int = 2,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.taken = last_of_each_stride(backbone)
        strides = [backbone.feature_strides[at] for at in self.taken]
        finer = [2**level for level in range(math.ceil(math.log2(strides[0])))]
        self.stem = (
            Stages(channels, [width * stride for stride in finer], halvings(len(finer), dims))
            if finer
            else None
        )
        self.feature_strides = (*finer, *strides)
        self.feature_channels = (
            *(width * stride for stride in finer),
            *(backbone.feature_channels[at] for at in self.taken),
        )
        factors = getattr(backbone, "factors", None) or between(self.feature_strides, dims)
        self.least = tuple(divisors(factors))
        # Of the axis that is halved least: windows of few slices could not overlap along the
        # others' step.
        self.step = min(self.least)
        joins, coarse = [], self.feature_channels[-1]
        for stride, skip, factor in list(
            zip(self.feature_strides, self.feature_channels, factors[1:], strict=False)
        )[::-1]:
            grown = min(round(width * stride), 16 * width)
            joins.append(Join(coarse, skip, grown, factor, upsampling, skips))
            coarse = grown
        self.joins = nn.ModuleList(joins)
        self.last = CONVOLUTIONS[dims](coarse, classes, 1)
        scaled_normal_(self.last, 1.0)

    def features(self, x: Tensor) -> tuple[Tensor, ...]:
        check_window(x.shape[2:], self)
        found = self.backbone.features(x)
        maps = [found[at] for at in self.taken]
        if self.stem is not None:
            return (*self.stem.features(x), *maps)
        # A first convolution without padding left less than the picture.
        return (fitted(maps[0], x.shape[2:]), *maps[1:])

    def head(self, maps: Sequence[Tensor]) -> Tensor:
        x = maps[-1]
        for join, fine in zip(self.joins, maps[-2::-1], strict=True):
            x = join(x, fine)
        return self.last(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


class Stages(nn.Module):
    """The way down of a U-Net: at each level two convolutions, each with its norm and ReLU; a
    max-pool between levels.

    widths: maps of each level. factors: by what each level's max-pool divides each axis, rounding
    up; the first level has none, so all 1.
    """

    def __init__(self, channels: int, widths: Sequence[int], factors: Sequence[Factors]) -> None:
        super().__init__()
        dims = len(factors[0])
        self.feature_channels = tuple(widths)
        self.feature_strides = tuple(
            max(divisors(factors[: level + 1])) for level in range(len(widths))
        )
        self.factors = tuple(factors)
        self.levels = nn.ModuleList(
            double(*pair, dims) for pair in zip((channels, *widths), widths, strict=False)
        )

    def features(self, x: Tensor) -> tuple[Tensor, ...]:
        pool = F.max_pool2d if len(self.factors[0]) == 2 else F.max_pool3d
        maps: list[Tensor] = []
        for level, factor in zip(self.levels, self.factors, strict=True):
            x = level(pool(x, factor, ceil_mode=True) if maps else x)
            maps.append(x)
        return tuple(maps)


class Join(nn.Module):
    """A coarse map, grown, and a fine one → `outputs` maps of the fine one's size."""

    def __init__(
        self, coarse: int, fine: int, outputs: int, factors: Factors, upsampling: str, skips: str
    ) -> None:
        super().__init__()
        dims = len(factors)
        self.concat = skips == "concat"
        self.up = up(upsampling, coarse, outputs, dims, factors)
        self.match = (
            nn.Identity()
            if self.concat or fine == outputs
            else CONVOLUTIONS[dims](fine, outputs, 1)
        )
        self.convs = double(fine + outputs if self.concat else outputs, outputs, dims)

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        grown = fitted(self.up(coarse), fine.shape[2:])
        fine = self.match(fine)
        return self.convs(torch.cat([fine, grown], 1) if self.concat else fine + grown)


def double(inputs: int, outputs: int, dims: int) -> nn.Sequential:
    """Convolution 3×3 (×3), norm, ReLU, twice: B×inputs×… → B×outputs×…, sides kept."""
    rows: list[nn.Module] = []
    for before in (inputs, outputs):
        # A norm takes out any constant, so a bias before it would be for nothing.
        conv = CONVOLUTIONS[dims](before, outputs, 3, padding=1, bias=False)
        scaled_normal_(conv, RELU_GAIN)
        norm = nn.BatchNorm2d(outputs) if dims == 2 else nn.InstanceNorm3d(outputs, affine=True)
        rows += [conv, norm, nn.ReLU(inplace=True)]
    return nn.Sequential(*rows)


def fitted(x: Tensor, size: Sequence[int]) -> Tensor:
    """Maps that grew beyond a size that was rounded up, cut to it; others, of networks without
    padding, resized to it."""
    over = [have - want for have, want in zip(x.shape[2:], size, strict=True)]
    if not any(over):
        return x
    if min(over) >= 0 and max(over) <= 1:
        return x[(slice(None), slice(None), *(slice(side) for side in size))]
    return F.interpolate(x, tuple(size), mode="nearest")


def last_of_each_stride(backbone: Any) -> list[int]:
    """Which maps of `backbone.features` a U-Net joins.
    Raises UsageError for a network without convolutions."""
    if not any(isinstance(each, nn.Conv2d | nn.Conv3d) for each in backbone.modules()):
        raise UsageError(
            "model: a network without convolutions has no maps to say of each pixel what it is; "
            "choose another one"
        )
    return list({stride: at for at, stride in enumerate(backbone.feature_strides)}.values())


def between(strides: Sequence[float], dims: int) -> list[Factors]:
    """By what each map is smaller than the one before it; the first by 1."""
    return [
        (1,) * dims,
        *((max(1, round(b / a)),) * dims for a, b in zip(strides, strides[1:], strict=False)),
    ]


def halvings(levels: int, dims: int, size: Sequence[int] | None = None) -> list[Factors]:
    """The factors of `levels` levels, each 2; where a size is given, an axis of it is halved only
    while 4 places are left and it is no shorter than half of the longest one, and levels end when
    no axis is left: 16×128×128 is halved to 4×8×8.

    An axis of few slices is one of thick slices: after two halvings of the others its voxels are as
    long as theirs.
    """
    factors: list[Factors] = [(1,) * dims]
    sides = list(size or [2**levels * 4] * dims)
    while len(factors) < levels:
        factor = tuple(2 if side >= 8 and 2 * side >= max(sides) else 1 for side in sides)
        if set(factor) == {1}:
            break
        factors.append(factor)
        sides = [math.ceil(side / by) for side, by in zip(sides, factor, strict=True)]
    return factors[:levels]


def divisors(factors: Sequence[Factors]) -> list[int]:
    """By what all levels together divide each axis."""
    return [math.prod(axis) for axis in zip(*factors, strict=True)]


def check_window(size: Sequence[int], network: UNet) -> None:
    """Raises UsageError for a window smaller than one place of the coarsest map."""
    if any(have < want for have, want in zip(size, network.least, strict=True)):
        raise UsageError(
            f"size: windows of {by(size)} are smaller than {by(network.least)}, the least that "
            "this U-Net takes; make them larger"
        )


def unet(
    classes: int = 2,
    channels: int = 3,
    size: tuple[int, ...] = (256, 256),
    width: int | None = None,
    upsampling: str = "nearest",
    skips: str = "concat",
) -> UNet:
    """A U-Net of its own stages, five levels of `width` (32 in 2-D, 16 in 3-D) to 16·`width` maps.

    size: H×W or D×H×W of the windows; in 3-D it says which axes are halved how often.
    """
    dims = len(size)
    width = width or (32 if dims == 2 else 16)
    factors = halvings(5, dims, size if dims == 3 else None)
    stages = Stages(channels, [width * 2**level for level in range(len(factors))], factors)
    network = UNet(stages, classes, channels, width, upsampling, skips, dims)
    check_window(size, network)
    return network
