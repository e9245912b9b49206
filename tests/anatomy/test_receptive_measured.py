"""What is derived is what can be measured: random networks, single operations and the networks of
MODELS, position by position."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid.anatomy.receptive import Reach, receptive_fields
from pellucid.anatomy.trace import trace
from pellucid.models import MODELS


class Function(nn.Module):
    """A function of the picture as a network."""

    def __init__(self, function: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> object:
        return self.function(x)


def fields(network: nn.Module, *shape: int) -> list[tuple[Reach, ...] | None]:
    """Of what the network returns."""
    graph = trace(network, shape)
    found = receptive_fields(graph)
    return [found[node] for node in graph.outputs]


def positive(network: nn.Module, seed: int = 0) -> nn.Module:
    """Weights above 0, biases 0: a lit row of a black picture then lights every unit that sees it,
    and no other."""
    generator = torch.Generator().manual_seed(seed)
    network = network.double().eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.dim() > 1:
                fan_in = parameter[0].numel()
                parameter.copy_(
                    (torch.rand(parameter.shape, generator=generator, dtype=torch.float64) + 0.5)
                    / fan_in
                )
            else:
                parameter.fill_(0.0 if name.endswith("bias") else 1.0)
    return network


def lit(shape: Sequence[int], axis: int, rows: Sequence[int]) -> Tensor:
    """A black picture, and for each row one where that row (plane) alone is lit."""
    pictures = torch.zeros(len(rows) + 1, *shape, dtype=torch.float64)
    for place, row in enumerate(rows, 1):
        pictures[place].select(axis + 1, row).fill_(1.0)
    return pictures


def measured(maps: Tensor, axis: int) -> np.ndarray:
    """rows × positions: whether a unit at that position answers to that row. Rounding of a weight
    of 0 does not count."""
    change = (maps[1:] - maps[:1]).abs().transpose(1, axis + 2).flatten(2).amax(2)
    return (change > 1e-13 * change.max()).numpy()


def derived(reach: Reach, rows: Sequence[int]) -> np.ndarray:
    at = np.asarray(rows)[:, None]
    return (reach.low <= at) & (at <= reach.high)


def hull(seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and last row for each position; 0 and −1 for none."""
    low = seen.argmax(0)
    high = len(seen) - 1 - seen[::-1].argmax(0)
    nothing = ~seen.any(0)
    return np.where(nothing, 0, low), np.where(nothing, -1, high)


def check_every_position(network: nn.Module, shape: tuple[int, ...]) -> None:
    """low and high of all that the network returns, on every side, against pictures with one lit
    row each.

    Unavailable is right only on several sides, after a map with positions that see nothing.
    """
    with torch.no_grad():
        answers = [network(lit(shape, axis, range(side))) for axis, side in enumerate(shape[1:])]
    blind = False
    for number, reach in enumerate(fields(network, *shape)):
        hulls = [hull(measured(maps[number], axis)) for axis, maps in enumerate(answers)]
        for axis, (low, high) in enumerate(hulls if reach else []):
            assert reach is not None
            np.testing.assert_array_equal(
                reach[axis].low, low, err_msg=f"output {number}, side {axis}"
            )
            np.testing.assert_array_equal(
                reach[axis].high, high, err_msg=f"output {number}, side {axis}"
            )
        assert reach is not None or (blind and len(shape) > 2)
        blind |= any((high < 0).any() for _, high in hulls)


# Any, for torch types a number for each side by the number of sides.
CONV: Any = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED: Any = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
MAX_POOL: Any = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)
AVERAGE_POOL: Any = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)
LINEAR = ("linear", "bilinear", "trilinear")
MAPS = 2

Draw = Callable[[st.SearchStrategy], int]


def convolution(draw: Draw, n: int) -> nn.Module:
    kernel, stride, dilation = (
        tuple(draw(st.integers(1, most)) for _ in range(n)) for most in (4, 3, 2)
    )
    padding = tuple(draw(st.integers(0, 3)) for _ in range(n))
    return CONV[n - 1](MAPS, MAPS, kernel, stride, padding, dilation, bias=False)


def transposed(draw: Draw, n: int) -> nn.Module:
    kernel, stride, dilation = (
        tuple(draw(st.integers(1, most)) for _ in range(n)) for most in (4, 3, 2)
    )
    padding = tuple(draw(st.integers(0, 2)) for _ in range(n))
    extra = tuple(
        draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True)
    )
    return TRANSPOSED[n - 1](
        MAPS, MAPS, kernel, stride, padding, extra, dilation=dilation, bias=False
    )


def pool(draw: Draw, n: int) -> nn.Module:
    kernel, stride = (tuple(draw(st.integers(1, 3)) for _ in range(n)) for _ in range(2))
    padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    up = bool(draw(st.booleans()))
    if draw(st.booleans()):
        return AVERAGE_POOL[n - 1](kernel, stride, padding, ceil_mode=up)
    dilation = tuple(draw(st.integers(1, 2)) for _ in range(n))
    return MAX_POOL[n - 1](kernel, stride, padding, dilation, ceil_mode=up)


def resize(draw: Draw, n: int) -> nn.Module:
    size = tuple(draw(st.integers(1, 20)) for _ in range(n))
    kind = draw(st.integers(0, 4))
    if kind == 0:
        return nn.Upsample(scale_factor=draw(st.integers(2, 3)), mode="nearest")
    if kind == 1:
        return nn.Upsample(size=size, mode="nearest")
    if kind == 2:
        return nn.Upsample(scale_factor=draw(st.integers(2, 3)), mode=LINEAR[n - 1])
    if kind == 3:
        return nn.Upsample(size=size, mode=LINEAR[n - 1], align_corners=bool(draw(st.booleans())))
    return (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)[n - 1](size)


def rearrange(draw: Draw, n: int) -> nn.Module:
    kind = draw(st.integers(0, 3))
    if kind == 0:
        first, pace = draw(st.integers(0, 3)), draw(st.integers(1, 3))
        return Function(lambda x: x[..., first::pace])
    if kind == 1:
        axis = 2 + draw(st.integers(0, n - 1))
        return Function(lambda x: x.flip(axis))
    mode = ("constant", "reflect", "replicate", "circular")[draw(st.integers(0, 3))]
    sides = [draw(st.integers(0, 3)) for _ in range(2 * n)]
    return Function(lambda x: F.pad(x, sides, mode=mode))


class Join(nn.Module):
    """A skip, branches side by side, or something that sees everything: each keeps the shape."""

    def __init__(self, kind: int, n: int, dilation: int) -> None:
        super().__init__()
        self.kind = kind
        self.wide = CONV[n - 1](MAPS, MAPS, 3, padding=dilation, dilation=dilation, bias=False)
        self.pool = MAX_POOL[n - 1](3, 1, 1)
        self.narrow = CONV[n - 1](3 * MAPS, MAPS, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == 0:
            return F.relu(self.wide(x)) + x
        if self.kind == 1:
            return self.narrow(torch.cat([self.wide(x), self.pool(x), x], 1))
        return x + self.wide(x).mean(tuple(range(2, x.dim())), keepdim=True)


def join(draw: Draw, n: int) -> nn.Module:
    return Join(draw(st.sampled_from([0, 0, 1, 1, 2])), n, draw(st.integers(1, 2)))


class Chain(nn.Module):
    """Returns the maps after every part."""

    def __init__(self, parts: Sequence[nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        maps = []
        for part in self.parts:
            maps.append(x := part(x))
        return tuple(maps)


def fits(part: nn.Module, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """The shape that comes out, if torch takes what comes in and the sides stay small."""
    try:
        after = tuple(part.double()(torch.zeros(1, *shape, dtype=torch.float64)).shape[1:])
    except RuntimeError:
        return None
    return after if min(after[1:]) > 0 and max(after[1:]) <= 30 else None


KINDS = (convolution, transposed, pool, resize, rearrange, join)


def random_network(
    draw: Draw, shape: tuple[int, ...], kinds: Sequence[Callable[[Draw, int], nn.Module]] = KINDS
) -> nn.Module:
    parts: list[nn.Module] = []
    for _ in range(draw(st.integers(1, 5))):
        part = kinds[draw(st.integers(0, len(kinds) - 1))](draw, len(shape) - 1)
        after = fits(part, shape)
        if after is not None:
            parts.append(part)
            shape = after
    assume(parts)
    return positive(Chain(parts))


RANDOM = settings(deadline=None, suppress_health_check=list(HealthCheck))


@settings(RANDOM, max_examples=120)
@given(st.data())
def test_random_networks_in_one_dimension(data: st.DataObject) -> None:
    shape = (MAPS, data.draw(st.integers(4, 24)))
    check_every_position(random_network(data.draw, shape), shape)


@settings(RANDOM, max_examples=100)
@given(st.data())
def test_random_networks_in_two_dimensions(data: st.DataObject) -> None:
    shape = (MAPS, data.draw(st.integers(4, 14)), data.draw(st.integers(4, 14)))
    check_every_position(random_network(data.draw, shape), shape)


@settings(RANDOM, max_examples=20)
@given(st.data())
def test_random_networks_in_three_dimensions(data: st.DataObject) -> None:
    shape = (MAPS, *(data.draw(st.integers(4, 7)) for _ in range(3)))
    check_every_position(
        random_network(data.draw, shape, (convolution, pool, join, rearrange)), shape
    )


def steady_resize(draw: Draw, n: int) -> nn.Module:
    return nn.Upsample(
        scale_factor=draw(st.integers(2, 3)),
        mode=("nearest", LINEAR[n - 1])[draw(st.integers(0, 1))],
    )


def steady_join(draw: Draw, n: int) -> nn.Module:
    return Join(draw(st.integers(0, 1)), n, draw(st.integers(1, 2)))


STEADY = (convolution, transposed, pool, steady_resize, steady_join)


def finer(part: nn.Module) -> int:
    if isinstance(part, nn.Upsample):
        factor: Any = part.scale_factor
        return int(factor)
    return int(part.stride[0]) if isinstance(part, TRANSPOSED) else 1


@settings(RANDOM, max_examples=80)
@given(st.data())
def test_size_stride_and_start_far_from_borders(data: st.DataObject) -> None:
    side, margin = 300, 70
    parts = [
        STEADY[data.draw(st.integers(0, 4))](data.draw, 1)
        for _ in range(data.draw(st.integers(1, 4)))
    ]
    period = math.prod(map(finer, parts))  # after which any pattern repeats
    assume(period <= 12)
    network = positive(Chain(parts))
    reach = fields(network, MAPS, side)[-1]
    assert reach is not None
    with torch.no_grad():
        low, high = hull(measured(network(lit((MAPS, side), 0, range(side)))[-1], 0))
    inside = np.flatnonzero((low > margin) & (high < side - margin) & (low <= high))
    assume(len(inside) and inside[-1] - inside[0] >= 2 * period)
    between = np.arange(inside[0], inside[-1] + 1)
    seen = (high - low + 1)[between]
    assert (seen.min(), seen.max()) == reach[0].size
    later = low[inside[0] + period] - low[inside[0]]
    assert Fraction(int(later), period) == reach[0].stride
    first = between[between % period == 0][0]
    if low[first] <= high[first]:
        assert (
            Fraction(int(low[first] + high[first]), 2)
            == reach[0].start + int(first) * reach[0].stride
        )


@pytest.mark.parametrize("sides", [(5, 12), (12, 5), (7, 7), (1, 4), (9, 3)])
@pytest.mark.parametrize("corners", [False, True])
def test_cubic_resizing(sides: tuple[int, int], corners: bool) -> None:
    before, after = sides
    network = Function(
        lambda x: (F.interpolate(x, size=(after, 3), mode="bicubic", align_corners=corners),)
    )
    reach = fields(network, 1, before, 3)[0]
    assert reach is not None
    low, high = hull(measured(network(lit((1, before, 3), 0, range(before)))[0], 0))
    assert (reach[0].low.tolist(), reach[0].high.tolist()) == (low.tolist(), high.tolist())


@pytest.mark.parametrize(
    "function",
    [
        lambda x: F.interpolate(x, size=(5, 9), mode="nearest-exact"),
        lambda x: F.interpolate(x, size=(5, 9), mode="area"),
        lambda x: F.interpolate(x, scale_factor=1.5, mode="bilinear"),
        lambda x: F.interpolate(x, scale_factor=(0.5, 1.3), mode="nearest"),
        lambda x: F.interpolate(x, scale_factor=1.3, mode="nearest", recompute_scale_factor=True),
        lambda x: F.pixel_shuffle(x, 2),
        lambda x: F.pixel_unshuffle(F.max_pool2d(x, 3, 1, 1), 2),
        lambda x: F.max_pool2d(x, 2, return_indices=True)[0],
        lambda x: nn.AdaptiveMaxPool2d((3, None))(x),
        lambda x: F.lp_pool2d(x, 2, 3, 2),
        lambda x: F.conv2d(
            x, torch.ones(1, 4, 4, 3, dtype=x.dtype, device=x.device), padding="same"
        ),
        lambda x: x[:, 1:3, 2:-1, ::3],
        lambda x: x[:, None, ..., -4:].squeeze(1),
        lambda x: F.pad(x, (-1, 2, 0, -3)),
        lambda x: x.permute(0, 2, 3, 1)[:, ::2].permute(0, 3, 1, 2),
        lambda x: (
            F.avg_pool2d(x, 3).view(1 * len(x), 2, 2, 2, 4).transpose(1, 2).reshape(len(x), 4, 2, 4)
        ),  # a shuffle of channels
        lambda x: F.avg_pool2d(x, 2).mean(2, keepdim=True),
        lambda x: (
            F.max_pool2d(x, (2, 3))[:, :, :2].flip(3).mean((2, 3), keepdim=True)
            + F.avg_pool2d(x, 3)
        ),
        lambda x: torch.max(x.amax(1, keepdim=True), x.mean(1, keepdim=True)).expand(-1, 3, -1, -1),
    ],
)
def test_single_operations(function: Callable[[Tensor], Tensor]) -> None:
    check_every_position(Function(lambda x: (function(x),)), (4, 8, 12))


class Watched(nn.Module):
    """A network's maps and its answer."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        network: Any = self.network
        maps = network.features(x)
        return (*maps, network.head(maps))


SOME = (
    "lenet5",
    "lenet5_1998",
    "resnet18",
    "resnet50",
    "googlenet",
    "mobilenet_v2",
    "squeezenet1_1",
    "densenet121",
)


@pytest.mark.parametrize("name", [name for name in SOME if name in MODELS])
def test_networks_answer_to_the_rows_that_they_are_said_to_see(name: str) -> None:
    side = 32 if name.startswith("lenet") else 64
    network = Watched(positive(MODELS[name](channels=1)))
    rows = (0, 7, side // 2 + 1, side - 1)
    with torch.no_grad():
        answers = network(lit((1, side, side), 0, rows))
    for reach, maps in zip(fields(network, 1, side, side), answers, strict=True):
        assert reach is not None
        if maps.dim() == 4:
            np.testing.assert_array_equal(derived(reach[0], rows), measured(maps, 0))
        else:
            assert ((maps[1:] != maps[:1]).any(1).numpy() == derived(reach[0], rows)[:, 0]).all()
