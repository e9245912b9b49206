"""U-Nets: shapes, sizes, skips, and how far each pixel sees."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from typer.testing import CliRunner

import pellucid
from pellucid.anatomy import describe
from pellucid.cli import app
from pellucid.core.errors import UsageError
from pellucid.engine.run import transfer
from pellucid.engine.run.settings import options_of
from pellucid.models import MODELS, SEGMENTERS, create, segmenter
from pellucid.models.unet import (
    UNet,
    UNet2015,
    between,
    check_side,
    fitted,
    halvings,
    unet,
    valid_size,
)
from pellucid.models.upsampling import UPSAMPLINGS
from pellucid.tasks.segmentation.settings import SegmentationSettings


def made(
    name: str = "unet",
    classes: int = 3,
    channels: int = 1,
    size: tuple[int, ...] = (32, 32),
    **settings: object,
) -> nn.Module:
    torch.manual_seed(0)
    return segmenter(name, classes, channels, size, **{"width": 2, **settings})  # type: ignore[arg-type]


def shape_of(network: nn.Module, *shape: int) -> tuple[int, ...]:
    with torch.no_grad():
        return tuple(network.eval()(torch.randn(*shape)).shape)


# --- the paper's ----------------------------------------------------------------------------------


def test_the_papers_network() -> None:
    """Figure 1 of the paper; the parameters by hand."""
    with torch.device("meta"):
        network = UNet2015()
        assert network(torch.empty(1, 1, 572, 572)).shape == (1, 2, 388, 388)
        assert [
            tuple(each.shape[1:]) for each in network.features(torch.empty(1, 1, 572, 572))
        ] == [
            (64, 568, 568),
            (128, 280, 280),
            (256, 136, 136),
            (512, 64, 64),
            (1024, 28, 28),
        ]
    widths = [64, 128, 256, 512, 1024]
    double = lambda a, b: 9 * a * b + b + 9 * b * b + b  # noqa: E731
    down = sum(double(a, b) for a, b in zip([1, *widths], widths, strict=False))
    up = sum(4 * 2 * c * c + c + double(2 * c, c) for c in widths[:-1])
    assert sum(p.numel() for p in network.parameters()) == down + up + 64 * 2 + 2 == 31_030_658


def test_the_paper_against_the_plainest_form_of_it() -> None:
    torch.manual_seed(1)
    network = UNet2015(classes=2, width=2).eval()
    x = torch.randn(1, 1, 204, 220)
    down, up, join = network.down, network.up, network.join
    two = lambda stage, y: F.relu(  # noqa: E731
        F.conv2d(
            F.relu(F.conv2d(y, stage[0].weight, stage[0].bias)), stage[2].weight, stage[2].bias
        )
    )
    a = two(down[0], x)
    b = two(down[1], F.max_pool2d(a, 2))
    c = two(down[2], F.max_pool2d(b, 2))
    d = two(down[3], F.max_pool2d(c, 2))
    y = two(down[4], F.max_pool2d(d, 2))
    for fine, cut, at in ((d, 4, 0), (c, 16, 1), (b, 40, 2), (a, 88, 3)):
        y = F.conv_transpose2d(y, up[at].weight, up[at].bias, stride=2)
        y = two(join[at], torch.cat([fine[:, :, cut:-cut, cut:-cut], y], 1))
    expected = F.conv2d(y, network.last.weight, network.last.bias)
    with torch.no_grad():
        torch.testing.assert_close(network(x), expected)


@given(least=st.integers(1, 2000))
def test_a_valid_size_is_the_smallest_that_halves_evenly(least: int) -> None:
    def fits(side: int) -> int:
        """The side of the answer, or 0 where some pooling meets an odd one."""
        for _ in range(4):
            if side <= 4 or side % 2:
                return 0
            side = (side - 4) // 2
        side -= 4
        for _ in range(4):
            side = 2 * side - 4
        return max(side, 0)

    side = valid_size(least)
    assert fits(side) == side - 2 * UNet2015.margin >= least
    assert not any(fits(each) >= least for each in range(max(1, side - 2 * UNet2015.step), side))
    check_side(side)


@pytest.mark.parametrize(
    ("side", "says"),
    [(570, "556 or 572 fits"), (100, "188 fits"), (1, "188 fits"), (190, "188 or 204 fits")],
)
def test_an_odd_side_is_refused_with_what_fits(side: int, says: str) -> None:
    for build in (
        lambda: check_side(side),
        lambda: segmenter("unet_2015", 2, 1, (572, side)),
        lambda: pellucid.inspect("unet_2015", input=f"1x{side}x572"),
    ):
        with pytest.raises(UsageError, match=says):
            build()


@pytest.mark.parametrize(
    "given", [{"upsampling": "nearest"}, {"skips": "add"}, {"size": (188, 188, 188)}]
)
def test_the_paper_has_no_settings_but_its_width(given: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="unet_2015"):
        made("unet_2015", **{"size": (188, 188), **given})


def test_what_each_pixel_of_the_paper_sees_out_of_inspect() -> None:
    """188 pixels at 100 of every 388 places along a side, 204 at the others; 140 at the bottom."""
    account = pellucid.inspect("unet_2015", input="1x572x572")
    seen = account.rows[-1].reach[0]
    sizes = seen.high - seen.low + 1
    assert {int(size): int((sizes == size).sum()) for size in np.unique(sizes)} == {
        188: 100,
        204: 288,
    }
    result = CliRunner().invoke(app, ["inspect", "unet_2015", "--input", "1x572x572", "--json"])
    rows = {row["name"]: row for row in json.loads(result.stdout)["layers"]}
    assert rows["down.4.3"]["receptive_field"][0]["size"] == 140 and rows["down.4.3"]["output"] == [
        1024,
        28,
        28,
    ]
    assert rows["last"]["receptive_field"][1]["size"] == [188, 204] and rows["last"]["output"] == [
        2,
        388,
        388,
    ]


def test_inspect_says_that_the_answers_are_maps() -> None:
    assert (
        "the answers are maps: 2 of 388×388, of a picture of 572×572"
        in pellucid.inspect("unet_2015", input="1x572x572").text()
    )
    assert (
        "the answers are maps: 4 of 4×32×32"
        in pellucid.inspect("unet", input="1x4x32x32", classes=4).text()
    )
    assert "the answers are maps" not in pellucid.inspect("lenet5").text()


# --- any ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("skips", ["concat", "add"])
@pytest.mark.parametrize("upsampling", ["nearest", "bilinear", "transposed", "subpixel"])
@pytest.mark.parametrize("size", [(37, 50), (9, 33, 40)])
def test_odd_sides_come_back(size: tuple[int, ...], upsampling: str, skips: str) -> None:
    network = made(size=size, upsampling=upsampling, skips=skips)
    assert shape_of(network, 2, 1, *size) == (2, 3, *size)


@settings(max_examples=25, deadline=None)
@given(height=st.integers(16, 70), width=st.integers(16, 70))
def test_any_side_comes_back_from_one_network(height: int, width: int) -> None:
    assert shape_of(made(), 1, 1, height, width) == (1, 3, height, width)


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        "resnet20",
        "vgg11_bn",
        "mobilenet_v2",
        "csp_tiny",
        "densenet121",
        "alexnet",
        "lenet5",
        "nin",
    ],
)
def test_any_network_can_be_the_way_down(name: str) -> None:
    network: UNet = made(name, channels=3, size=(75, 67))
    assert shape_of(network, 2, 3, 75, 67) == (2, 3, 75, 67)
    with torch.no_grad():
        x = torch.randn(1, 3, 75, 67)
        maps = network.features(x)
        torch.testing.assert_close(network.head(maps), network(x))
    assert maps[0].shape[2:] == (75, 67)
    assert tuple(each.shape[1] for each in maps) == tuple(network.feature_channels)
    assert list(network.feature_strides) == sorted(set(network.feature_strides))


@pytest.mark.parametrize("name", MODELS)
def test_every_network_of_models_is_taken_or_refused_in_words(name: str) -> None:
    """Without weights or memory: only that the shapes fit."""
    side = {"lenet5_1998": 32}.get(name, 224)
    with torch.device("meta"):
        if name in ("mlp", "softmax_regression"):
            with pytest.raises(UsageError, match="without convolutions"):
                made(name, channels=3, size=(side, side))
            return
        network = made(name, channels=3, size=(side, side), upsampling="transposed")
        assert network(torch.empty(1, 3, side, side)).shape == (1, 3, side, side)


def test_a_notation_is_taken_with_any_number_of_answers() -> None:
    network = made("C4 R C8s2 B R P C16 R G L7", size=(33, 21))
    assert network.feature_strides == (1, 2, 4) and shape_of(network, 1, 1, 33, 21) == (
        1,
        3,
        33,
        21,
    )


def test_a_backbone_without_head_keeps_names() -> None:
    network = made("resnet18", channels=3, size=(64, 64))
    prefix, trunk = transfer.trunk(network)
    assert prefix == "backbone." and not any("fc" in name for name, _ in network.named_parameters())
    wanted = {
        name
        for name in create("resnet18", 10, 3, (64, 64)).state_dict()
        if not name.startswith("fc.")
    }
    assert set(trunk.state_dict()) == wanted
    assert sum(bool(stage) for stage in transfer.stages(network, (3, 64, 64))) == 6


def test_first_outputs_are_small_and_all_weights_learn() -> None:
    network = made(size=(32, 32), width=4).train()
    logits = network(torch.randn(2, 1, 32, 32))
    assert 0.2 < logits.std() < 2
    F.cross_entropy(logits, torch.randint(3, (2, 32, 32))).backward()
    assert all(
        parameter.grad is not None and parameter.grad.abs().sum() > 0
        for parameter in network.parameters()
    )


@pytest.mark.parametrize("name", SEGMENTERS)
def test_the_same_seed_draws_the_same(name: str) -> None:
    size = (188, 188) if name == "unet_2015" else (32, 32)
    first, second = (made(name, size=size).eval() for _ in range(2))
    x = torch.randn(1, 1, *size)
    with torch.no_grad():
        assert torch.equal(first(x), second(x))
        channels_last = second.to(memory_format=torch.channels_last)(
            x.to(memory_format=torch.channels_last)
        )
        torch.testing.assert_close(channels_last, first(x), rtol=1e-4, atol=1e-5)


def test_small_windows_are_refused_in_one_line() -> None:
    for build in (
        lambda: made(size=(15, 64)),
        lambda: made(size=(64, 64))(torch.randn(1, 1, 1, 1)),
        lambda: made("resnet18", size=(31, 64)),
    ):
        with pytest.raises(UsageError, match=r"size: windows of .* are smaller than (16×16|32×32)"):
            build()


def test_what_is_no_segmenter_is_told_apart() -> None:
    with pytest.raises(UsageError, match='did you mean "unet"'):
        made("unett")
    with pytest.raises(UsageError, match="answers about every pixel"):
        create("unet", 10, 3, (64, 64))
    with pytest.raises(UsageError, match="volumes in 3-D need unet"):
        made("resnet18", size=(16, 32, 32))
    with pytest.raises(UsageError, match='unknown upsampling "nearst"; did you mean "nearest"'):
        made(upsampling="nearst")


# --- three dimensions -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "divided"),
    [
        ((16, 128, 128), (4, 16, 16)),
        ((64, 64, 64), (16, 16, 16)),
        ((4, 32, 32), (1, 8, 8)),
        ((1, 16, 16), (1, 4, 4)),
        ((7, 7, 7), (1, 1, 1)),
    ],
)
def test_an_axis_of_few_slices_is_halved_less_often(
    size: tuple[int, ...], divided: tuple[int, ...]
) -> None:
    factors = halvings(5, 3, size)
    assert tuple(int(each) for each in np.prod(factors, axis=0)) == divided
    network = made(size=size)
    assert network.step == min(divided)
    shapes = [tuple(each.shape[2:]) for each in network.eval().features(torch.randn(1, 1, *size))]
    assert shapes[-1] == tuple(-(-side // by) for side, by in zip(size, divided, strict=True))


def test_a_volume_learns_one_at_a_time() -> None:
    network = made(size=(8, 16, 16)).train()
    network(torch.randn(1, 1, 8, 16, 16)).square().mean().backward()
    assert describe(network, (1, 8, 16, 16)).rows[-1].output == (3, 8, 16, 16)


# --- the small parts ------------------------------------------------------------------------------


def test_a_grown_map_keeps_its_places() -> None:
    """Halved, rounding up, and grown: each pixel stands where it stood."""
    x = torch.arange(35.0).reshape(1, 1, 5, 7)
    halved = F.max_pool2d(x, 2, ceil_mode=True)
    grown = fitted(F.interpolate(halved, scale_factor=2.0), (5, 7))
    assert grown.shape == x.shape
    for row in range(5):
        for column in range(7):
            assert (
                grown[0, 0, row, column]
                == x[
                    0, 0, row // 2 * 2 : row // 2 * 2 + 2, column // 2 * 2 : column // 2 * 2 + 2
                ].max()
            )
    assert fitted(x, (5, 7)) is x
    assert fitted(x, (9, 9)).shape == (1, 1, 9, 9)


def test_factors_between_strides() -> None:
    assert between([1, 2, 4, 16], 2) == [(1, 1), (2, 2), (2, 2), (4, 4)]
    assert halvings(3, 2) == [(1, 1), (2, 2), (2, 2)]


def test_the_default_width() -> None:
    with torch.device("meta"):
        assert unet().feature_channels == (32, 64, 128, 256, 512)
        assert unet(size=(16, 64, 64)).feature_channels == (16, 32, 64, 128, 256)


def test_windows_at_multiples_of_the_step_agree() -> None:
    """They meet the same poolings: away from the border, beyond what a pixel sees,
    their answers agree."""
    network: UNet = made(size=(256, 256), width=2).eval()
    step, reach = network.step, describe(network, (1, 256, 256)).rows[-1].reach
    border = int((reach[0].high - reach[0].low).max()) // 2 + step
    picture = torch.randn(1, 1, 256 + step, 256)
    with torch.no_grad():
        first, second = network(picture[..., :256, :]), network(picture[..., step:, :])
        aside = network(picture[..., 1:257, :])
    inner = slice(border, 256 - border)
    assert 256 - 2 * border > 8
    theirs = first[..., border + step : 256 - border, inner]
    torch.testing.assert_close(theirs, second[..., border : 256 - border - step, inner])
    assert (theirs - aside[..., border + step - 1 : 256 - border - 1, inner]).abs().max() > 1e-4


# --- the page -------------------------------------------------------------------------------------

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "segmentation_networks.md").read_text(
    encoding="utf-8"
)


def counted(network: nn.Module, shape: tuple[int, ...]) -> tuple[str, str]:
    account = describe(network, shape)
    return f"{account.parameters:,}", f"{account.macs:,}"


def test_the_page_counts_right() -> None:
    named = re.findall(
        r"^\| `(\w+)`.*? \| .*? \| ([\d×]+) → 2×[\d×]+ \| ([\d,]+) \| ([\d,]+) \|",
        PAGE,
        re.MULTILINE,
    )
    assert len(named) == 3
    for name, shape, *counts in named:
        channels, *size = map(int, shape.split("×"))
        with torch.device("meta"):
            assert (
                list(counted(segmenter(name, 2, channels, tuple(size)), (channels, *size)))
                == counts
            )
    ways = re.findall(r"^\| `(\w+)` \| (\d+) \| ([\d,]+) \| ([\d,]+) \|$", PAGE, re.MULTILINE)
    assert len(ways) == 5
    for name, width, *counts in ways:
        with torch.device("meta"):
            assert (
                list(counted(segmenter(name, 2, 3, (256, 256), width=int(width)), (3, 256, 256)))
                == counts
            )
    grown = re.findall(r"^\| `(\w+)` \| [^|]+ \| ([\d,]+) \|$", PAGE, re.MULTILINE)
    assert [kind for kind, _ in grown] == list(UPSAMPLINGS)
    assert tuple(UPSAMPLINGS) == options_of(SegmentationSettings)["upsampling"].choices
    for kind, macs in grown:
        with torch.device("meta"):
            assert (
                counted(
                    segmenter("unet", 2, 3, (256, 256), width=16, upsampling=kind), (3, 256, 256)
                )[1]
                == macs
            )
