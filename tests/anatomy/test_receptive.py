from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid.anatomy.receptive import Reach, backwards, receptive_fields
from pellucid.anatomy.trace import trace
from pellucid.models import MODELS
from pellucid.models.notation import build


class Function(nn.Module):
    """A function of the picture as a network, with layers where the function needs some."""

    def __init__(self, function: Callable[..., object], **layers: nn.Module) -> None:
        super().__init__()
        self.function = function
        self.layers = nn.ModuleDict(layers)

    def forward(self, x: Tensor) -> object:
        return self.function(x, **dict(self.layers))


def fields(network: nn.Module, *shape: int) -> list[tuple[Reach, ...] | None]:
    """Of what the network returns."""
    graph = trace(network, shape)
    found = receptive_fields(graph)
    return [found[node] for node in graph.outputs]


def field(
    function: Callable[..., object], *shape: int, **layers: nn.Module
) -> tuple[Reach, ...] | None:
    return fields(Function(function, **layers), *shape)[0]


def sizes(text: str, side: int = 64) -> list[tuple[int, int]]:
    """Of the maps of a notation, before its head."""
    with torch.device("meta"):
        network = build(text, 1, (side, side))
    graph = trace(network, (1, side, side))
    reaches = [
        reach
        for node, reach in zip(graph.nodes, receptive_fields(graph), strict=True)
        if len(node.output) == 4
    ]
    assert all(reach is not None and reach[0].size == reach[1].size for reach in reaches)
    return [reach[0].size for reach in reaches if reach and not reach[0].whole]


# ----------------------------------------------------------------------------------- golden figures


def test_forwards_and_backwards_through_a_small_network() -> None:
    assert sizes("C8 C8 P C8 C8 G") == [(1, 1), (3, 3), (5, 5), (6, 6), (10, 10), (14, 14)]
    with torch.device("meta"):
        graph = trace(build("C8 C8 P C8 C8 G", 1, (32, 32)), (1, 32, 32))
    seen = backwards(graph, 5, unit=3)
    assert [len(each[0]) for each in seen[5::-1] if each] == [1, 3, 5, 10, 12, 14]
    assert seen[3] is not None
    assert seen[3][1].tolist() == [1, 2, 3, 4, 5]
    assert seen[6] is None


def test_backwards_keeps_holes_and_joins_branches() -> None:
    def network(x: Tensor, fine: nn.Module, coarse: nn.Module) -> Tensor:
        return fine(x) + coarse(x)

    layers = {
        "fine": nn.Conv1d(1, 1, 3, padding=1),
        "coarse": nn.Conv1d(1, 1, 3, padding=5, dilation=5),
    }
    seen = backwards(trace(Function(network, **layers), (1, 20)), 3, unit=2)
    assert seen[0] is not None
    assert seen[0][0].tolist() == [-3, 1, 2, 3, 7]


def test_known_sizes() -> None:
    assert sizes("C8k9p4 R C8k1p0 R C1k5p2 G")[-1] == (13, 13)  # SRCNN 9-1-5
    assert sizes("C8 C8 C8 G")[-1] == sizes("C8k7p3 G")[-1] == (7, 7)
    assert sizes("C8k3d4p4 G")[-1] == (9, 9)
    vgg = sizes("( C1 R )2 P ( C1 R )2 P ( C1 R )3 P ( C1 R )3 P ( C1 R )3 P L10", 224)
    assert vgg[-1] == (212, 212)


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50"])
def test_residual_networks_follow_the_longest_path(name: str) -> None:
    with torch.device("meta"):
        network = MODELS[name]()
        graph = trace(network, (3, 224, 224))
    size, jump = 1, 1
    for call in graph.calls:
        layer = call.layer
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d):
            kernel, stride = (
                value[0] if isinstance(value, tuple) else value
                for value in (layer.kernel_size, layer.stride)
            )
            # a projection has a kernel of 1, beside the path that has the stride too
            if kernel > 1 or "downsample" not in call.name:
                size += (kernel - 1) * jump
                jump *= stride if kernel > 1 else 1
    reaches = receptive_fields(graph)
    last = [reach for node, reach in zip(graph.nodes, reaches, strict=True) if node.op == "relu"][
        -1
    ]
    assert last is not None
    assert (
        last[0].size
        == (size, size)
        == {"resnet18": (435,) * 2, "resnet34": (899,) * 2, "resnet50": (427,) * 2}[name]
    )
    assert last[0].stride == jump == 32
    assert reaches[-1] is not None
    assert reaches[-1][0].whole
    assert (reaches[-1][0].low.tolist(), reaches[-1][0].high.tolist()) == ([0], [223])


class UNet2015(nn.Module):
    """Ronneberger, Fischer and Brox, U-Net (2015), figure 1, one map wide: valid 3×3, max-pool 2,
    transposed 2×2, crops."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList(self.pair(1) for _ in range(5))
        self.up = nn.ModuleList(nn.ConvTranspose2d(1, 1, 2, 2) for _ in range(4))
        self.merge = nn.ModuleList(self.pair(2) for _ in range(4))

    @staticmethod
    def pair(maps: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(maps, 1, 3), nn.ReLU(), nn.Conv2d(1, 1, 3), nn.ReLU())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        skips: list[Tensor] = []
        for level, pair in enumerate(self.down):
            skips.append(x := pair(F.max_pool2d(x, 2) if level else x))
        bottleneck = x
        for up, merge, skip in zip(self.up, self.merge, skips[-2::-1], strict=True):
            x = up(x)
            cut = (skip.shape[-1] - x.shape[-1]) // 2
            x = merge(
                torch.cat([skip[..., cut : cut + x.shape[-2], cut : cut + x.shape[-1]], x], 1)
            )
        return bottleneck, x


def test_the_u_net_of_2015_sees_by_position() -> None:
    bottleneck, output = fields(UNet2015(), 1, 572, 572)
    assert bottleneck is not None
    assert output is not None
    assert len(bottleneck[0].low) == 28
    assert bottleneck[0].size == (140, 140)
    assert output[0].size == (188, 204)
    assert output[0].stride == 1
    assert not output[0].whole
    seen = output[0].high - output[0].low + 1
    assert {int(size): int((seen == size).sum()) for size in np.unique(seen)} == {
        188: 100,
        204: 288,
    }


# --------------------------------------------------------------------------- vectors and everything


def test_vectors_see_all_that_their_map_saw() -> None:
    dense = field(
        lambda x, c, f: f(c(x).flatten(1)),
        1,
        10,
        9,
        c=nn.Conv2d(1, 1, 3, stride=2),
        f=nn.Linear(16, 5),
    )
    assert dense is not None
    assert [(r.low.tolist(), r.high.tolist(), r.whole, r.size, r.stride) for r in dense] == [
        ([0], [8], True, (9, 9), 0)
    ] * 2
    assert field(lambda x: x.mean(2), 1, 6, 5)[0].low.tolist() == [0]  # type: ignore[index]


def test_columns_after_a_mean_over_the_height() -> None:
    reach = field(
        lambda x, c: c(F.max_pool2d(x, 2).mean(2)), 1, 8, 12, c=nn.Conv1d(1, 4, 3, padding=1)
    )
    assert reach is not None
    assert (reach[0].whole, reach[0].low.tolist(), reach[0].high.tolist()) == (True, [0], [7])
    assert (reach[1].whole, reach[1].size, reach[1].stride, reach[1].low.tolist()) == (
        False,
        (6, 6),
        2,
        [0, 0, 2, 4, 6, 8],
    )


def test_gates_and_statistics_see_everything() -> None:
    def gated(x: Tensor, c: nn.Module, f: nn.Module) -> Tensor:
        y = c(x)
        return y * torch.sigmoid(f(y.mean((2, 3)))).view(-1, 2, 1, 1).expand_as(y)

    ways: list[tuple[Reach, ...] | None] = [
        field(gated, 1, 8, 8, c=nn.Conv2d(1, 2, 3, padding=1), f=nn.Linear(2, 2)),
        field(lambda x, n: n(x), 4, 8, 8, n=nn.GroupNorm(2, 4)),
        field(lambda x, n: n(x), 4, 8, 8, n=nn.InstanceNorm2d(4)),
        field(
            lambda x: (
                x.flatten(2).softmax(2).view_as(x)
                if x.dim() == 3
                else F.softmax(F.softmax(x, 2), 3)
            ),
            4,
            8,
            8,
        ),
    ]
    for reach in ways:
        assert reach is not None
        for side in reach:
            assert side.whole
            assert (side.low.tolist(), side.high.tolist()) == ([0] * 8, [7] * 8)


def test_work_on_each_position_alone_keeps_the_field() -> None:
    norm, mix = nn.LayerNorm(4), nn.Linear(4, 4)
    reach = field(
        lambda x, n, m: m(n(x.permute(0, 2, 3, 1))).permute(0, 3, 1, 2).softmax(1),
        4,
        5,
        5,
        n=norm,
        m=mix,
    )
    assert reach is not None
    assert [(side.size, side.start, side.low.tolist()) for side in reach] == [
        ((1, 1), 0, [0, 1, 2, 3, 4])
    ] * 2


def test_padding_and_start() -> None:
    reach = field(lambda x, c: c(x), 1, 9, 9, c=nn.Conv2d(1, 1, (3, 4), stride=2, padding=(1, 5)))
    assert reach is not None
    assert [(side.start, side.stride) for side in reach] == [(0, 2), (Fraction(-7, 2), 2)]
    assert (reach[1].low[0], reach[1].high[0]) == (0, -1)  # nothing but padding


# ------------------------------------------------------------------------------------ never guessed


def test_unknown_operations_are_unavailable_downstream() -> None:
    network = Function(
        lambda x: (F.relu(x), x.roll(1, 2), F.relu(x.roll(1, 2)), x + x.roll(1, 3), x * 2)
    )
    assert [reach is None for reach in fields(network, 1, 6, 6)] == [False, True, True, True, False]


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.flatten(2),
        lambda x: x.reshape(1, 2, 3, 2, 6),
        lambda x: x + x.transpose(2, 3),
        lambda x: x.flatten(2) @ x.flatten(2).transpose(1, 2),
        lambda x: torch.cat([x, x], 2),
        lambda x: x + x.flip(2),
        lambda x: F.grid_sample(x, torch.zeros(1, 6, 6, 2, device=x.device)),
        lambda x: F.conv2d(torch.ones(1, 2, 9, 9, device=x.device), x),
        lambda x: x[:, :, 2],
        lambda x: x[:, :, torch.tensor([0, 2], device=x.device)],
        lambda x: F.interpolate(x, size=(3, 3), mode="bilinear", antialias=True),
    ],
)
def test_unavailable(function: Callable[[Tensor], Tensor]) -> None:
    assert field(function, 2, 6, 6) is None


def test_a_pattern_that_takes_too_long_to_repeat_is_unavailable() -> None:
    def resized(x: Tensor, *sides: int) -> Tensor:
        for side in sides:
            x = F.interpolate(x[..., 1:-1], size=side)
        return x

    assert field(lambda x: resized(x, 257), 1, 253) is not None
    assert field(lambda x: resized(x, 257, 263), 1, 253) is None


def test_holes_that_hang_together_are_unavailable() -> None:
    def network(x: Tensor, up: nn.Module, wide: nn.Module) -> Tensor:
        x = up(x)
        # of x itself only the holes, so that its columns do not count either
        return (x + wide(x))[:, :, 1::2]

    up, wide = nn.ConvTranspose2d(1, 1, 1, (2, 1)), nn.Conv2d(1, 1, 3, padding=1)
    assert field(network, 1, 4, 4, up=up, wide=wide) is None
    assert field(network, 1, 4, 4, up=nn.ConvTranspose2d(1, 1, 2, (2, 1)), wide=wide) is not None


def test_branches_of_different_strides_would_drift_apart() -> None:
    assert field(lambda x: F.max_pool2d(x, 2)[..., :2, :2] + x[..., :2, :2], 1, 6, 6) is None
    even = field(lambda x: F.interpolate(F.max_pool2d(x, 2), size=(6, 6)) + x, 1, 6, 6)
    assert even is not None
    assert (even[0].size, even[0].stride) == ((2, 2), 1)


class Pasted(nn.Module):
    """Writes its map into the middle of zeros, which torch reports as an assignment and not
    as a result."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        canvas = torch.zeros(1, 2, 6, 6, device=x.device)
        canvas[:, :, 1:5, 1:5] = self.conv(x)
        return canvas


def test_an_assignment_is_unavailable_and_not_a_constant() -> None:
    graph = trace(Pasted(), (1, 6, 6))
    assert graph.nodes[-1].inputs == (1,) and graph.outputs == (2,)
    assert receptive_fields(graph)[-1] is None
