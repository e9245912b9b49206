"""The one-stage detectors and their pyramid: shapes over many backbones, boxes by hand, and what is
not needed is not kept."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from pellucid import models
from pellucid.core.boxes.coding import grid_shape
from pellucid.core.errors import UsageError
from pellucid.models.pyramid import FeaturePyramid, Levels, PathAggregation, headless, places
from pellucid.models.yolo import BINS, Grid, Yolo

BACKBONES = (
    "lenet5",
    "alexnet",
    "vgg11_bn",
    "resnet18",
    "resnet20",
    "squeezenet1_1",
    "mobilenet_v2",
    "csp_tiny",
    "C8 B R P C16 R P C24 R G L3",
)


def backbone(name: str, side: int = 96) -> nn.Module:
    torch.manual_seed(0)
    return headless(models.create(name, 3, 3, (side, side)), (3, side, side))


@pytest.mark.parametrize("name", BACKBONES)
def test_any_network_with_maps_is_a_backbone(name: str) -> None:
    network = Yolo(backbone(name), classes=4, width=16).eval()
    x = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        maps = network.features(x)
        raw = network(x)
    assert network.strides == (8, 16, 32)
    assert [each.shape[1] for each in maps] == [16, 16, 16]
    sizes = [tuple(each.shape[2:]) for each in maps]
    assert raw.shape == (2, sum(h * w for h, w in sizes), 4 * BINS + 4)
    assert torch.equal(network.head(maps), raw)
    boxes = network.boxes(raw, sizes)  # type: ignore[arg-type]
    assert boxes.shape == (2, raw.shape[1], 4)
    assert (boxes[..., 2:] > boxes[..., :2]).all()


def test_pictures_that_no_stride_divides() -> None:
    network = Yolo(backbone("resnet18"), classes=2, width=8).eval()
    with torch.no_grad():
        assert network(torch.randn(1, 3, 75, 101)).shape[1] == 10 * 13 + 5 * 7 + 3 * 4


def test_a_network_without_maps_is_refused() -> None:
    with pytest.raises(UsageError, match="no map to find objects in"):
        Levels(models.create("mlp", 3, 3, (32, 32)), 8)


def test_strides_that_a_backbone_lacks_are_made() -> None:
    levels = Levels(models.create("resnet20", 3, 3, (64, 64)), 8)
    assert levels.strides == [8, 16, 32]
    maps = levels(models.create("resnet20", 3, 3, (64, 64)).features(torch.randn(1, 3, 64, 64)))  # type: ignore[operator]
    assert [tuple(each.shape[1:]) for each in maps] == [(8, 8, 8), (8, 4, 4), (8, 2, 2)]


@pytest.mark.parametrize("kind", [FeaturePyramid, PathAggregation])
def test_the_finest_level_knows_of_the_coarsest(kind: type[nn.Module]) -> None:
    pyramid = kind((4, 6, 8), 5).eval()
    maps = [torch.randn(1, c, s, s, requires_grad=True) for c, s in ((4, 8), (6, 4), (8, 2))]
    found = pyramid(maps)
    assert [tuple(each.shape) for each in found] == [(1, 5, 8, 8), (1, 5, 4, 4), (1, 5, 2, 2)]
    found[0].sum().backward()
    assert all(each.grad is not None and each.grad.abs().sum() > 0 for each in maps)


def test_the_coarsest_level_sees_the_finest_bottom_up() -> None:
    maps = [torch.randn(1, 4, s, s, requires_grad=True) for s in (8, 4, 2)]
    FeaturePyramid((4, 4, 4), 5).eval()(maps)[-1].sum().backward()
    assert maps[0].grad is None
    PathAggregation((4, 4, 4), 5).eval()(maps)[-1].sum().backward()
    assert maps[0].grad is not None and maps[0].grad.abs().sum() > 0


def test_what_the_maps_do_not_need_is_left_out() -> None:
    whole = models.create("vgg11", 1000, 3, (64, 64))
    names = set(backbone("vgg11", 64).state_dict())
    assert names == {name for name in whole.state_dict() if name.startswith("features")}


def test_places_are_the_middles_of_cells() -> None:
    centres, strides = places([(1, 2), (1, 1)], (8, 16))
    assert centres.tolist() == [[4, 4], [12, 4], [8, 8]]
    assert strides.tolist() == [8, 8, 16]


def test_a_side_is_the_mean_of_its_distribution() -> None:
    network = Yolo(backbone("csp_tiny", 32), classes=1, width=8)
    raw = torch.full((1, 16 + 4 + 1, 4 * BINS + 1), -100.0)
    sides = raw[0, 0, : 4 * BINS].view(4, BINS)
    # Left: surely 1 stride. Top: half 0, half 1. Right: 2. Bottom: 0.
    for side, bins in enumerate(((1,), (0, 1), (2,), (0,))):
        sides[side, list(bins)] = 0
    box = network.boxes(raw, [(4, 4), (2, 2), (1, 1)])[0, 0]
    torch.testing.assert_close(box, torch.tensor([4.0 - 8, 4 - 4, 4 + 16, 4]))


def test_boxes_are_exact_where_networks_round() -> None:
    network, raw = (
        Yolo(backbone("csp_tiny", 32), classes=1, width=8),
        torch.randn(1, 16 + 4 + 1, 4 * BINS + 1),
    )
    with torch.autocast("cpu", torch.bfloat16):
        rounded = network.boxes(raw, [(4, 4), (2, 2), (1, 1)])
    assert torch.equal(rounded, network.boxes(raw, [(4, 4), (2, 2), (1, 1)]))


def test_anchors_are_what_a_fresh_box_is() -> None:
    anchors = torch.tensor([[[10.0, 20], [30, 8]], [[40, 40], [50, 60]], [[90, 90], [100, 30]]])
    network = Yolo(backbone("csp_tiny", 32), classes=2, width=8, anchors=anchors)
    raw = network(torch.zeros(2, 3, 32, 32))
    assert raw.shape == (2, (16 + 4 + 1) * 2, 4 + 2)
    boxes = network.boxes(torch.zeros_like(raw), [(4, 4), (2, 2), (1, 1)])[0]
    torch.testing.assert_close(boxes[1], torch.tensor([4 - 15.0, 4 - 4, 4 + 15, 4 + 4]))
    torch.testing.assert_close(boxes[-1], torch.tensor([16 - 50.0, 16 - 15, 16 + 50, 16 + 15]))


def test_the_grid_has_the_shape_of_the_paper() -> None:
    network = Grid(backbone("resnet18"), classes=20, width=8, anchors=torch.ones(5, 2) * 32).eval()
    with torch.no_grad():
        raw = network(torch.randn(1, 3, 96, 96))
    assert raw.flatten(3).shape[1:] == grid_shape((3, 3), 5, 20)
    box = network.boxes(torch.zeros_like(raw))[0, 1, 2, 0]
    torch.testing.assert_close(box, torch.tensor([80.0 - 16, 48 - 16, 80 + 16, 48 + 16]))


def test_a_fresh_network_says_nothing_nearly_everywhere() -> None:
    network = Yolo(backbone("csp_tiny"), classes=3, width=16).eval()
    with torch.no_grad():
        said = network(torch.randn(1, 3, 96, 96))[..., network.sides :].sigmoid()
    assert math.isclose(float(said.mean()), 0.01, abs_tol=0.01)
