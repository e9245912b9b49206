"""The R-CNN line: shapes, where it looks, and what its account is made of."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pellucid.anatomy.blank import blank
from pellucid.anatomy.measure import describe
from pellucid.anatomy.trace import trace
from pellucid.core.boxes import area, clip, iou, suppress
from pellucid.core.errors import UsageError
from pellucid.models import create
from pellucid.models.rcnn import FasterRCNN, everywhere, separated, usual_anchors, with_context
from pellucid.tasks.detection.designs import DESIGNS

LINE = ("faster_rcnn", "fast_rcnn", "rcnn")
TINY = "C8 R P C8 R P C16 R P C16 R P C16 R P C16 R G L2"


def network(name: str, backbone: str = TINY, classes: int = 3) -> Any:
    torch.manual_seed(0)
    return DESIGNS[name].build(create(backbone, 2, 3, (96, 96)), classes, 16, None).eval()


@pytest.mark.parametrize("name", LINE)
@torch.no_grad()
def test_every_network_of_the_line_answers_for_each_region(name: str) -> None:
    net, x = network(name), torch.randn(2, 3, 96, 128)
    found = net(x)
    assert found.boxes.shape == (2, net.kept, 4) and found.deltas.shape == (2, net.kept, 4)
    assert found.logits.shape == (2, net.kept, 4) and found.logits.isfinite().all()
    assert (
        found.boxes.min() >= 0
        and found.boxes[..., 0::2].max() <= 128
        and found.boxes[..., 1::2].max() <= 96
    )
    again = net.head(net.features(x))
    assert all(torch.equal(one, other) for one, other in zip(found, again, strict=True))


@pytest.mark.parametrize("name", ["fast_rcnn", "rcnn"])
@torch.no_grad()
def test_what_is_said_of_a_region_depends_on_where_it_is(name: str) -> None:
    net, x = network(name), torch.randn(2, 3, 96, 96)
    boxes = torch.tensor([[0.0, 0, 40, 40], [30, 20, 90, 90], [0, 0, 40, 40]]).expand(2, 3, 4)
    logits = net(x, boxes).logits
    torch.testing.assert_close(logits[:, 0], logits[:, 2])
    assert not torch.allclose(logits[:, 0], logits[:, 1])
    torch.testing.assert_close(net(x[:1], boxes[:1]).logits, logits[:1], atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_crops_pass_in_parts_as_they_would_together() -> None:
    net, x = network("rcnn"), torch.randn(2, 3, 96, 96)
    corners = torch.rand(2, 9, 2) * 50
    boxes = torch.cat([corners, corners + 30], -1)
    together = net(x, boxes).logits
    net.at_once = 4
    torch.testing.assert_close(net(x, boxes).logits, together, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_proposals_hardly_overlap_and_are_the_likeliest() -> None:
    net = network("faster_rcnn")
    maps = net.features(torch.randn(1, 3, 96, 96))
    anchors = net.anchors_of(maps)
    logits, deltas = net.rpn(maps)
    assert logits.shape == (1, len(anchors)) and deltas.shape == (1, len(anchors), 4)
    logits = torch.randn_like(logits)
    boxes = net.proposed(maps, logits, torch.zeros_like(deltas))[0].double().numpy()
    used = boxes[area(boxes) > 0]
    overlaps = iou(used, used)
    np.fill_diagonal(overlaps, 0)
    assert len(used) > 10 and overlaps.max() <= 0.7
    best = anchors[logits[0].argmax()].clamp(0, 96)
    np.testing.assert_allclose(used[0], best, atol=1e-4)


@given(
    st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(1, 40), st.sampled_from([0.2, 1, 9])
)
def test_proposals_are_those_of_suppression(
    seed: int, boxes: int, count: int, spread: float
) -> None:
    """To the bit, empty and equal boxes among them, as many as there are and no more."""
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 4 * spread, (2, boxes, 2)).round(1)
    sized = np.concatenate([low, low + rng.choice([0.0, 6, 7, 8], (2, boxes, 2))], -1)
    given_boxes = clip(torch.from_numpy(sized).float(), (20, 30))
    found = separated(given_boxes, count)
    assert found.shape == (2, count, 4)
    for one, kept in zip(given_boxes, found, strict=True):
        wanted = one[torch.from_numpy(suppress(one, -np.arange(boxes), 0.7)[:count])]
        assert torch.equal(kept[: len(wanted)], wanted) and not kept[len(wanted) :].any()


def test_anchors_lie_around_their_places_in_the_output_order() -> None:
    net = network("faster_rcnn")
    maps = [torch.zeros(1, 16, 96 // s, 128 // s) for s in (8, 16, 32)]
    with torch.no_grad():
        net.rpn.something.weight.zero_()
        net.rpn.something.bias.copy_(torch.tensor([0.0, 1.0, 2.0]))
        logits, _ = net.rpn(maps)
    anchors = net.anchors_of(maps)
    wide = (anchors[:, 2] - anchors[:, 0]) / (anchors[:, 3] - anchors[:, 1])
    # the answers of one place stand together, in the order of its shapes
    torch.testing.assert_close(wide, (2.0 ** (1 - logits[0])))
    centres = (anchors[:, :2] + anchors[:, 2:]) / 2
    assert (
        centres[0].tolist() == [4, 4]
        and centres[3].tolist() == [12, 4]
        and centres[3 * 16].tolist() == [4, 12]
    )
    assert centres[3 * 16 * 12].tolist() == [8, 8]
    assert area(anchors)[0] == pytest.approx(40 * 40) and area(anchors)[-1] == pytest.approx(
        160 * 160
    )


def test_anchors_may_be_given() -> None:
    given = torch.tensor([[[10.0, 20.0]], [[30.0, 40.0]], [[90.0, 50.0]]])
    net = FasterRCNN(create(TINY, 2, 3, (96, 96)), 2, 16, given)
    maps = net.features(torch.zeros(1, 3, 96, 96))
    anchors = net.anchors_of(maps)
    assert len(anchors) == 144 + 36 + 9 == net.rpn(maps)[0].shape[1]
    torch.testing.assert_close(anchors[-1, 2:] - anchors[-1, :2], given[2, 0])
    assert torch.equal(net.state_dict()["anchors"], given) and usual_anchors((8.0,)).shape == (
        1,
        3,
        2,
    )


def test_a_crop_shows_16_of_227_pixels_of_context() -> None:
    boxes = torch.tensor([[10.0, 20, 205, 410]])
    wider = with_context(boxes)
    side = wider[0, 2] - wider[0, 0]
    assert (boxes[0, 0] - wider[0, 0]) / side * 227 == pytest.approx(16, abs=1e-3)
    assert (wider[0, 3] - boxes[0, 3]) / (wider[0, 3] - wider[0, 1]) * 227 == pytest.approx(
        16, abs=1e-3
    )


def test_without_proposals_the_whole_image_is_one() -> None:
    boxes = everywhere([torch.zeros(2, 1, 6, 8)], (16.0,), 5)
    assert boxes.shape == (2, 5, 4) and boxes[1, 3].tolist() == [0, 0, 128, 96]


@pytest.mark.parametrize("name", LINE)
def test_shapes_alone_tell_the_way_of_a_picture(name: str) -> None:
    with blank():
        net = DESIGNS[name].build(create("mobilenet_v2", 2, 3, (320, 320)), 20, 96, None)
        found: tuple[Tensor, ...] = net.eval()(torch.empty(1, 3, 320, 320))
    assert [tuple(each.shape) for each in found] == [
        (1, net.kept, 4),
        (1, net.kept, 21),
        (1, net.kept, 4),
    ]
    graph = trace(network(name), (3, 96, 96))
    assert len(graph.outputs) >= 2


def test_the_account_counts_every_crop() -> None:
    """Of R-CNN: as often as it looks, the backbone on one crop, and the two layers that answer."""
    net, backbone = network("rcnn"), create(TINY.replace(" L2", ""), 16, 3, (64, 64))
    assert describe(net, (3, 96, 96)).macs == net.kept * (
        describe(backbone, (3, 64, 64)).macs + 16 * (4 + 4)
    )


def test_a_network_without_maps_is_refused() -> None:
    for name in LINE:
        with pytest.raises(UsageError, match="without convolutions"):
            DESIGNS[name].build(create("mlp", 2, 3, (96, 96)), 2, 16, None)


def test_a_picture_may_be_grey() -> None:
    grey = DESIGNS["rcnn"].build(create(TINY, 2, 1, (96, 96)), 2, 16, None)
    assert grey.feature_channels == (1,) and grey(torch.zeros(1, 1, 64, 64)).logits.shape == (
        1,
        300,
        3,
    )
