"""The ways in which maps grow: against torch, against each other,
and what pattern each begins with."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from pellucid.anatomy import describe
from pellucid.models.upsampling import (
    UPSAMPLINGS,
    Resize,
    Shuffle,
    checkerboard,
    checkerboard_of_gradient,
    icnr_,
    unevenness,
    up,
)


def made(
    kind: str,
    inputs: int = 6,
    outputs: int = 4,
    dims: int = 2,
    factors: tuple[int, ...] | None = None,
) -> nn.Module:
    torch.manual_seed(0)
    return up(kind, inputs, outputs, dims, factors)


@pytest.mark.parametrize("kind", UPSAMPLINGS)
@pytest.mark.parametrize("factors", [(2, 2), (1, 2), (4, 4), (2, 2, 2), (1, 2, 2)])
def test_each_side_grows_by_its_factor(kind: str, factors: tuple[int, ...]) -> None:
    layer = made(kind, dims=len(factors), factors=factors)
    sides = (3, 5, 4)[: len(factors)]
    grown = layer(torch.randn(2, 6, *sides))
    assert grown.shape == (
        2,
        4,
        *(side * factor for side, factor in zip(sides, factors, strict=True)),
    )


@pytest.mark.parametrize("kind", UPSAMPLINGS)
def test_the_variance_of_what_comes_in_is_kept(kind: str) -> None:
    """On white noise; bilinear takes the mean of neighbours,
    which is what it is for: 25/64 of the variance remains."""
    layer = made(kind, 256, 256)
    with torch.no_grad():
        variance = layer(torch.randn(4, 256, 16, 16)).var().item()
    assert variance == pytest.approx(25 / 64 if kind == "bilinear" else 1, rel=0.15)


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
def test_pointwise_convolution_commutes_with_resizing(mode: str) -> None:
    layer = made(mode)
    x = torch.randn(2, 6, 5, 7)
    after = layer[0](F.interpolate(x, scale_factor=2, mode=mode))
    torch.testing.assert_close(layer(x), after)


@given(
    channels=st.integers(1, 3),
    factors=st.lists(st.integers(1, 3), min_size=2, max_size=3),
    sides=st.lists(st.integers(1, 4), min_size=3, max_size=3),
)
def test_a_shuffle_puts_each_channel_in_its_place(
    channels: int, factors: list[int], sides: list[int]
) -> None:
    sides = sides[: len(factors)]
    positions = int(np.prod(factors))
    x = torch.randn(2, channels * positions, *sides)
    shuffled = Shuffle(factors)(x)
    for place in np.ndindex(
        channels, *(side * factor for side, factor in zip(sides, factors, strict=True))
    ):
        channel, *at = place
        position = 0
        for axis, factor in enumerate(factors):
            position = position * factor + at[axis] % factor
        source = tuple(each // factor for each, factor in zip(at, factors, strict=True))
        assert torch.equal(
            shuffled[(slice(None), *place)],
            x[(slice(None), channel * positions + position, *source)],
        )


def test_subpixel_begins_as_nearest() -> None:
    """Equal weights for all positions: the convolution once,
    then every value four (eight) times."""
    for dims, convolve in ((2, F.conv2d), (3, F.conv3d)):
        layer = made("subpixel", 3, 2, dims)
        conv = layer[0]
        x = torch.randn(1, 3, *(4,) * dims)
        once = convolve(x, conv.weight[:: 2**dims], conv.bias[:: 2**dims], padding=1)
        torch.testing.assert_close(layer(x), F.interpolate(once, scale_factor=2))


def test_anatomy_follows_every_way() -> None:
    """A transposed patch is painted by one place, a bilinear one by two along each side, a
    sub-pixel one by three."""
    for kind, sees in (("nearest", {1}), ("transposed", {1}), ("bilinear", {2}), ("subpixel", {3})):
        reach = describe(made(kind), (6, 8, 8)).rows[-1].reach
        assert reach is not None
        assert set((reach[0].high - reach[0].low + 1)[4:-4].tolist()) == sees


# --- checkerboards --------------------------------------------------------------------------------


def test_unevenness_by_hand() -> None:
    """A board of 1 and 3 has the mean 2, the deviation 1 and the root mean square √5;
    any constant has none."""
    board = 2 + (torch.arange(8)[:, None] + torch.arange(8)) % 2 * 2.0 - 1
    assert unevenness(board[None, None]) == pytest.approx(1 / 5**0.5)
    assert unevenness(torch.full((1, 2, 8, 8), 3.0)) == unevenness(torch.zeros(1, 1, 8, 8)) == 0
    assert unevenness(board[None, None], period=4) == pytest.approx(1 / 5**0.5)


def test_who_paints_a_checkerboard_at_first() -> None:
    even = {kind: checkerboard(made(kind, 16, 16), 16) for kind in UPSAMPLINGS}
    assert even["nearest"] == 0 and even["subpixel"] < 1e-6 and even["bilinear"] < 1e-6
    assert even["transposed"] > 0.5
    layer = made("subpixel", 16, 16)
    nn.init.normal_(layer[0].weight)
    assert checkerboard(layer, 16) > 0.5
    icnr_(layer[0], 4)
    assert checkerboard(layer, 16) < 1e-6


def test_a_strided_convolution_paints_one_on_the_way_back() -> None:
    torch.manual_seed(0)
    assert checkerboard_of_gradient(nn.Conv2d(8, 8, 3, stride=2, padding=1), 8) > 0.3
    assert checkerboard_of_gradient(nn.Conv2d(8, 8, 3, padding=1), 8) < 1e-6
    assert checkerboard_of_gradient(nn.AvgPool2d(2), 8) < 1e-6
    assert checkerboard_of_gradient(Resize((2, 2), "nearest"), 8) < 1e-6
