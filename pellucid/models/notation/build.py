"""Layers and groups of a notation, to modules; the shape is followed along, so that what cannot fit
is said before it runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor, nn

from ...core.errors import UsageError
from ..layers import RELU_GAIN, scaled_normal_
from .grammar import Group, Item, Layer, parse

Shape = tuple[int, ...]  # (maps, height, width), or (units,) once it is a vector


@dataclass(frozen=True)
class Built:
    """Modules in order, the shape that leaves them, and how much coarser the map is than what came
    in (1/2: twice as fine)."""

    modules: list[nn.Module]
    shape: Shape
    stride: Fraction = Fraction(1)


class Residual(nn.Module):
    """The sum of the body and its input, projected where the shapes differ."""

    def __init__(self, body: list[nn.Module], projection: nn.Module | None) -> None:
        super().__init__()
        self.body = nn.Sequential(*body)
        self.projection = projection

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + (x if self.projection is None else self.projection(x))


class Branches(nn.Module):
    """The branches' outputs, stacked along channels; an empty branch passes its input on."""

    def __init__(self, branches: list[list[nn.Module]]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(nn.Sequential(*branch) for branch in branches)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


class NotationNet(nn.Module):
    """B×channels×sides of the size it was built for → B×classes logits.

    Features: the last map of each stride, from the layers before the first vector; a map that is
    made finer again later (U, V, X) is left out, so that the coarsest is last and is what the head
    reads. Without a map, the picture itself.
    """

    def __init__(self, stages: list[Built], classifier: list[nn.Module]) -> None:
        super().__init__()
        self.feature_channels = tuple(stage.shape[0] for stage in stages)
        self.feature_strides = tuple(
            int(s.stride) if s.stride.denominator == 1 else float(s.stride) for s in stages
        )
        self.stages = nn.ModuleList(nn.Sequential(*stage.modules) for stage in stages)
        self.classifier = nn.Sequential(*classifier)

    def features(self, x: Tensor) -> tuple[Tensor, ...]:
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return tuple(maps)

    def head(self, maps: tuple[Tensor, ...]) -> Tensor:
        return self.classifier(maps[-1])

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


def build(text: str, channels: int = 3, size: Sequence[int] = (32, 32)) -> NotationNet:
    """The network that the text describes, for pictures of `channels` × `size` (height, width; one
    side for 1D:, three for 3D:).

    Raises UsageError that names the token and its column.
    """
    dimension, items = parse(text)
    if len(size) != dimension:
        raise UsageError(
            f"notation: {dimension}-D layers need a size of {dimension} sides, not {_by(size)}"
        )
    built = _sequence(items, (channels, *size))
    first_vector = next(place for place, part in enumerate(built) if len(part.shape) == 1)
    stages = _stages(built[:first_vector]) or [Built([], (channels, *size))]
    return NotationNet(stages, [module for part in built[first_vector:] for module in part.modules])


def _stages(built: Sequence[Built]) -> list[Built]:
    """One part for each stride (now counted from the picture), finest first."""
    stages: list[Built] = []
    stride = Fraction(1)
    for part in built:
        stride *= part.stride
        modules = part.modules
        while stages and stages[-1].stride >= stride:
            modules = stages.pop().modules + modules
        stages.append(Built(modules, part.shape, stride))
    return stages


def _sequence(items: Sequence[Item], shape: Shape) -> list[Built]:
    built: list[Built] = []
    for place, item in enumerate(items):
        if isinstance(item, Group):
            part = _residual(item, shape) if item.residual else _branches(item, shape)
        elif item.letter == "R":
            part = Built(
                [nn.ReLU(inplace=place > 0 and _may_be_overwritten(items[place - 1]))], shape
            )
        else:
            part = _layer_module(item, shape)
            if item.letter in "CVL":
                scaled_normal_(part.modules[-1], _gain(items[place + 1 :]))
        built.append(part)
        shape = part.shape
    return built


def _may_be_overwritten(item: Item) -> bool:
    """Whether nothing else needs the output: not a shared input, and no backward pass reads it."""
    return isinstance(item, Group) or item.letter in "CBLV"


def _gain(rest: Sequence[Item]) -> float:
    for item in rest:
        if isinstance(item, Group) or item.letter not in "BNPADUX":
            return RELU_GAIN if isinstance(item, Layer) and item.letter == "R" else 1.0
    return 1.0


def _joined(items: Sequence[Item], shape: Shape) -> Built:
    """A sequence as one part."""
    parts = _sequence(items, shape)
    modules = [module for part in parts for module in part.modules]
    return Built(
        modules,
        parts[-1].shape if parts else shape,
        math.prod((part.stride for part in parts), start=Fraction(1)),
    )


def _residual(group: Group, shape: Shape) -> Built:
    body = _joined(group.branches[0], shape)
    if body.shape == shape:
        return Built([Residual(body.modules, None)], shape, body.stride)
    if len(body.shape) == len(shape) == 1:
        projection: nn.Module = nn.Linear(shape[0], body.shape[0])
    else:
        step = int(body.stride)
        reached = [(side - 1) // step + 1 for side in shape[1:]] if step == body.stride else None
        if reached != list(body.shape[1:]) or len(body.shape) != len(shape):
            raise group.opener.error(
                f"{_by(shape)} goes in and {_by(body.shape)} comes out, "
                "which no 1×1 projection can be added to"
            )
        projection = _nd("Conv", shape)(shape[0], body.shape[0], 1, step)
    scaled_normal_(projection, 1.0)
    return Built([Residual(body.modules, projection)], body.shape, body.stride)


def _branches(group: Group, shape: Shape) -> Built:
    parts = [_joined(branch, shape) for branch in group.branches]
    if len({(part.shape[1:], len(part.shape), part.stride) for part in parts}) > 1:
        raise group.opener.error(
            "branches of different sides cannot be stacked: "
            + ", ".join(_by(part.shape) for part in parts)
        )
    maps = sum(part.shape[0] for part in parts)
    return Built(
        [Branches([part.modules for part in parts])], (maps, *parts[0].shape[1:]), parts[0].stride
    )


# --------------------------------------------------------------------------------------- one letter


def _layer_module(layer: Layer, shape: Shape) -> Built:
    if layer.letter in "CNPAGUVX" and len(shape) == 1:
        raise layer.token.error(
            f"{layer.letter} needs maps, but what comes is a vector of {shape[0]}; "
            "put it before the first G or L"
        )
    return MAKERS[layer.letter](layer, shape)


def _convolution(layer: Layer, shape: Shape) -> Built:
    maps, groups = int(layer.number or 0), layer["g"]
    if shape[0] % groups or maps % groups:
        raise layer.token.error(
            f"{groups} groups do not divide both the {shape[0]} maps that come in and the {maps} "
            "that go out"
        )
    sides = _window(layer, shape, layer["k"], layer["d"])
    module = _nd("Conv", shape)(
        shape[0], maps, layer["k"], layer["s"], layer["p"], layer["d"], groups
    )
    return Built([module], (maps, *sides), Fraction(layer["s"]))


def _pool(layer: Layer, shape: Shape) -> Built:
    kernel = int(layer.number or 2)
    if layer["p"] > kernel // 2:
        raise layer.token.error(
            f"the padding of a pool may be at most half its kernel, {kernel // 2}"
        )
    sides = _window(layer, shape, kernel, 1)
    module = _nd({"P": "MaxPool", "A": "AvgPool"}[layer.letter], shape)(
        kernel, layer["s"], layer["p"]
    )
    return Built([module], (shape[0], *sides), Fraction(layer["s"]))


def _window(layer: Layer, shape: Shape, kernel: int, dilation: int) -> list[int]:
    """Sides after a sliding window: ⌊(n + 2p − d(k − 1) − 1) / s⌋ + 1."""
    reach = dilation * (kernel - 1) + 1
    if min(shape[1:]) + 2 * layer["p"] < reach:
        raise layer.token.error(
            f"a window of {reach} does not fit on {_by(shape[1:])} with padding {layer['p']}: "
            "nothing is left"
        )
    return [(side + 2 * layer["p"] - reach) // layer["s"] + 1 for side in shape[1:]]


def _dense(layer: Layer, shape: Shape) -> Built:
    units = int(layer.number or 0)
    flatten = [nn.Flatten()] if len(shape) > 1 else []
    return Built([*flatten, nn.Linear(math.prod(shape), units)], (units,))


def _global_average(layer: Layer, shape: Shape) -> Built:
    return Built([_nd("AdaptiveAvgPool", shape)(1), nn.Flatten()], shape[:1])


def _upsampling(layer: Layer, shape: Shape) -> Built:
    return Built(
        [nn.Upsample(scale_factor=2, mode="nearest")],
        (shape[0], *(2 * side for side in shape[1:])),
        Fraction(1, 2),
    )


def _transposed(layer: Layer, shape: Shape) -> Built:
    """Sides (n − 1)·s + k − 2p: here the padding is what is cut off the result,
    as in PyTorch and ONNX."""
    maps, kernel, stride, padding = int(layer.number or 0), layer["k"], layer["s"], layer["p"]
    sides = [(side - 1) * stride + kernel - 2 * padding for side in shape[1:]]
    if min(sides) < 1:
        raise layer.token.error(
            f"a padding of {padding} cuts off all that comes of {_by(shape[1:])}: nothing is left"
        )
    return Built(
        [_nd("ConvTranspose", shape)(shape[0], maps, kernel, stride, padding)],
        (maps, *sides),
        Fraction(1, stride),
    )


def _pixel_shuffle(layer: Layer, shape: Shape) -> Built:
    factor = int(layer.number or 0)
    if len(shape) != 3:
        raise layer.token.error("the pixel shuffle is for 2-D maps only")
    if shape[0] % factor**2:
        raise layer.token.error(
            f"{shape[0]} maps cannot be shared out over {factor}×{factor} pixels; it takes a "
            f"multiple of {factor**2}"
        )
    return Built(
        [nn.PixelShuffle(factor)],
        (shape[0] // factor**2, *(factor * side for side in shape[1:])),
        Fraction(1, factor),
    )


def _keeps_shape(make: Callable[[Layer, Shape], nn.Module]) -> Callable[[Layer, Shape], Built]:
    return lambda layer, shape: Built([make(layer, shape)], shape)


def _nd(kind: str, shape: Shape) -> Callable[..., nn.Module]:
    """torch's class for this dimension: Conv2d for (maps, height, width);
    a vector counts as 1-D."""
    return getattr(nn, f"{kind}{max(len(shape) - 1, 1)}d")


def _by(sides: Sequence[int]) -> str:
    return "×".join(map(str, sides))


MAKERS: dict[str, Callable[[Layer, Shape], Built]] = {
    "C": _convolution,
    "B": _keeps_shape(lambda layer, shape: _nd("BatchNorm", shape)(shape[0])),
    # torch divides α by n, the paper does not.
    "N": _keeps_shape(lambda layer, shape: nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)),
    "T": _keeps_shape(lambda layer, shape: nn.Tanh()),
    "S": _keeps_shape(lambda layer, shape: nn.Sigmoid()),
    "D": _keeps_shape(
        lambda layer, shape: nn.Dropout(0.5 if layer.number is None else layer.number)
    ),
    "P": _pool,
    "A": _pool,
    "G": _global_average,
    "L": _dense,
    "U": _upsampling,
    "V": _transposed,
    "X": _pixel_shuffle,
}
