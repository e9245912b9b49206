"""How maps become larger: four ways by name, and how unevenly each paints.

Sources: A. Odena, V. Dumoulin, C. Olah, Deconvolution and Checkerboard Artifacts, Distill 2016, for
resizing first and for what goes wrong otherwise; J. Long, E. Shelhamer, T. Darrell, Fully
Convolutional Networks for Semantic Segmentation, CVPR 2015 (arXiv 1411.4038), and O. Ronneberger et
al., U-Net, 2015 (arXiv 1505.04597), for transposed convolutions; W. Shi et al., Real-Time Single
Image and Video Super-Resolution Using an Efficient Sub-Pixel Convolutional Neural Network, CVPR
2016 (arXiv 1609.05158); A. Aitken et al., Checkerboard artifact free sub-pixel convolution, 2017
(arXiv 1707.02937), for its first weights.

- nearest, bilinear: a 1×1 convolution, then the resizing. A resizing looks at each map alone and
  its weights sum to 1, so this order gives the same numbers as the other and multiplies a quarter
  as often (in 3-D an eighth).
- transposed: each place paints a patch of its own, kernel and stride alike, so that patches neither
  overlap nor leave gaps; but nothing says that the positions within a patch are painted alike.
- subpixel: a 3×3 convolution to a map for each position within the patch, shuffled into place. At
  first all of them are equal, so that it begins as nearest upsampling does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.errors import UsageError, did_you_mean
from .layers import scaled_normal_

CONVOLUTIONS: dict[int, type[nn.Conv2d] | type[nn.Conv3d]] = {2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED: dict[int, type[nn.ConvTranspose2d] | type[nn.ConvTranspose3d]] = {
    2: nn.ConvTranspose2d,
    3: nn.ConvTranspose3d,
}
LINEAR = {2: "bilinear", 3: "trilinear"}


class Resize(nn.Module):
    """B×C×(D×)H×W → sides times `factors`. mode: nearest, bilinear or trilinear."""

    def __init__(self, factors: Sequence[int], mode: str) -> None:
        super().__init__()
        self.factors = tuple(map(float, factors))
        self.mode = mode

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=self.factors, mode=self.mode)


class Shuffle(nn.Module):
    """B×(C·∏factors)×(D×)H×W → B×C×(D×)H×W, sides times `factors`: Shi et al. 2016, equation 4.

    Channel c·∏factors + p becomes position p, row by row, of the patches of map c, as in torch's
    PixelShuffle.
    """

    def __init__(self, factors: Sequence[int]) -> None:
        super().__init__()
        self.factors = tuple(factors)

    def forward(self, x: Tensor) -> Tensor:
        if len(self.factors) == 2 and len(set(self.factors)) == 1:
            return F.pixel_shuffle(x, self.factors[0])
        dims, sides = len(self.factors), x.shape[2:]
        x = x.unflatten(1, (-1, *self.factors))  # B×C×factors×sides
        interleaved = [axis for at in range(dims) for axis in (2 + dims + at, 2 + at)]
        return x.permute(0, 1, *interleaved).reshape(
            *x.shape[:2], *(side * factor for side, factor in zip(sides, self.factors, strict=True))
        )


def _nearest(inputs: int, outputs: int, factors: Sequence[int]) -> nn.Module:
    return nn.Sequential(_conv(inputs, outputs, len(factors), 1), Resize(factors, "nearest"))


def _linear(inputs: int, outputs: int, factors: Sequence[int]) -> nn.Module:
    return nn.Sequential(
        _conv(inputs, outputs, len(factors), 1), Resize(factors, LINEAR[len(factors)])
    )


def _transposed(inputs: int, outputs: int, factors: Sequence[int]) -> nn.Module:
    layer = TRANSPOSED[len(factors)](inputs, outputs, tuple(factors), tuple(factors))  # type: ignore[arg-type]
    scaled_normal_(layer, 1.0)
    return layer


def _subpixel(inputs: int, outputs: int, factors: Sequence[int]) -> nn.Module:
    positions = math.prod(factors)
    conv = _conv(inputs, outputs * positions, len(factors), 3)
    icnr_(conv, positions)
    return nn.Sequential(conv, Shuffle(factors))


UPSAMPLINGS: dict[str, Callable[[int, int, Sequence[int]], nn.Module]] = {
    "nearest": _nearest,
    "bilinear": _linear,
    "transposed": _transposed,
    "subpixel": _subpixel,
}


def up(
    kind: str, inputs: int, outputs: int, dims: int = 2, factors: Sequence[int] | None = None
) -> nn.Module:
    """B×inputs×(D×)H×W → B×outputs, each side times its factor (2). kind: a name of UPSAMPLINGS;
    raises UsageError for another.

    No activation follows, and the first weights keep the variance of what comes in.
    """
    if kind not in UPSAMPLINGS:
        raise UsageError(f'unknown upsampling "{kind}"; {did_you_mean(kind, UPSAMPLINGS)}')
    return UPSAMPLINGS[kind](inputs, outputs, factors or (2,) * dims)


def icnr_(conv: nn.Module, positions: int) -> None:
    """Equal first weights for all positions of a patch, for a convolution before a shuffle (Aitken
    et al. 2017, section 3.2)."""
    weight = conv.get_parameter("weight")
    with torch.no_grad():
        weight.copy_(weight[::positions].repeat_interleave(positions, 0))


def _conv(inputs: int, outputs: int, dims: int, kernel: int) -> nn.Module:
    conv = CONVOLUTIONS[dims](inputs, outputs, kernel, padding=kernel // 2)
    scaled_normal_(conv, 1.0)
    return conv


def unevenness(maps: Tensor, period: int = 2) -> float:
    """How unlike the positions (i mod period, j mod period) of B×C×H×W maps are: 0 for none.

    The deviation between the means of the positions, root mean square over pictures and maps, over
    the root mean square of all values.
    """
    means = torch.stack(
        [
            maps[..., i::period, j::period].mean((-2, -1))
            for i in range(period)
            for j in range(period)
        ]
    )
    magnitude = maps.square().mean().sqrt()
    return (
        float(means.std(0, correction=0).square().mean().sqrt() / magnitude)
        if magnitude > 0
        else 0.0
    )


def checkerboard(layer: nn.Module, inputs: int, side: int = 16, period: int = 2) -> float:
    """The unevenness of what a layer of 2-D maps makes of a picture whose `inputs` maps are
    constant, away from the border.

    A constant picture has no pattern of its own: whatever pattern comes out, the layer paints into
    every picture.
    """
    with torch.no_grad():
        constant = torch.randn(8, inputs, 1, 1, generator=torch.Generator().manual_seed(0)).expand(
            -1, -1, side, side
        )
        return unevenness(_middle(layer(constant), period), period)


def checkerboard_of_gradient(
    layer: nn.Module, inputs: int, side: int = 32, period: int = 2
) -> float:
    """The same of the gradient that a constant gradient of the output becomes at the input: what a
    strided convolution does on the way back is what a transposed one does on the way on."""
    picture = torch.zeros(8, inputs, side, side, requires_grad=True)
    output = layer(picture)
    constant = torch.randn(
        8, output.shape[1], 1, 1, generator=torch.Generator().manual_seed(0)
    ).expand_as(output)
    (gradient,) = torch.autograd.grad(output, picture, constant)
    return unevenness(_middle(gradient, period), period)


def _middle(maps: Tensor, period: int) -> Tensor:
    """Without the border, where padding shows; cut at whole periods."""
    edge = 2 * period
    height, width = (side // period * period - edge for side in maps.shape[-2:])
    return maps[..., edge:height, edge:width]
