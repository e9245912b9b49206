"""Losses of the R-CNN line: what is sampled, the terms, and that each of the three networks can
overfit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from pellucid.core.boxes import iou
from pellucid.core.boxes.coding import encode_deltas
from pellucid.core.rng import Draws
from pellucid.core.types import Objects
from pellucid.models import create
from pellucid.models.rcnn import DELTA_WEIGHTS
from pellucid.tasks.detection import two_stage
from pellucid.tasks.detection.candidates import CANDIDATES
from pellucid.tasks.detection.designs import DESIGNS
from pellucid.tasks.detection.proposals import search, stacked
from pellucid.tasks.detection.two_stage import (
    candidates,
    loss,
    meet,
    region_losses,
    sample,
    sampled_regions,
)
from pellucid.transforms.selective_search import with_proposals

TINY = "C16 B R P C16 B R P C32 B R P C32 B R P C32 B R P C32 B G L2"
COLOURS = [(220, 40, 40), (40, 60, 220)]
SCENES = [
    Objects([[8.0, 12, 48, 44], [56, 50, 90, 90]], [0, 1], [False, False]),
    Objects([[30.0, 20, 60, 80]], [1], [False]),
]


def pictures() -> torch.Tensor:
    """uint8 2×3×96×96: the scenes as coloured rectangles, with a dark edge, on a noisy ground."""
    images = np.random.default_rng(0).integers(90, 110, (2, 96, 96, 3)).astype(np.uint8)
    for image, objects in zip(images, SCENES, strict=True):
        for (x1, y1, x2, y2), label in zip(objects.boxes.astype(int), objects.labels, strict=True):
            image[y1:y2, x1:x2] = 20
            image[y1 + 3 : y2 - 3, x1 + 3 : x2 - 3] = COLOURS[label]
    return torch.from_numpy(images).permute(0, 3, 1, 2)


def network(name: str) -> Any:
    torch.manual_seed(0)
    return DESIGNS[name].build(create(TINY, 2, 3, (96, 96)), 2, 32, None)


def truths_for(net: Any, stored: torch.Tensor) -> list[Objects]:
    if isinstance(net, two_stage.FasterRCNN):
        return SCENES
    return [with_proposals(each, boxes) for each, boxes in zip(SCENES, search(stored), strict=True)]


@pytest.mark.parametrize(("name", "steps"), [("faster_rcnn", 60), ("fast_rcnn", 100), ("rcnn", 40)])
def test_each_network_of_the_line_overfits_two_images(name: str, steps: int) -> None:
    net, stored = network(name), pictures()
    images, targets = (stored.float() - 100) / 50, truths_for(net, stored)
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    first = last = 0.0
    for step in range(steps):
        losses = loss(net, images, targets, Draws(0, step, np.arange(2)))
        optimizer.zero_grad()
        losses["total"].backward()
        optimizer.step()
        last = float(losses["total"].detach())
        first = first or last
    assert last < first / 2
    net.eval()
    proposals = None if name == "faster_rcnn" else stacked(search(stored), 300)
    with torch.no_grad():
        found = candidates(net, images, proposals).double().numpy()
    assert found.shape[0] == 2 and found.shape[2] == 6 and found.shape[1] <= 1000
    for rows, objects in zip(found, SCENES, strict=True):
        sure = rows[rows[:, 4] > 0.5]
        same = (iou(objects.boxes, sure[:, :4]) > 0.6) & (objects.labels[:, None] == sure[:, 5])
        assert same.any(1).all(), "an object is missed"
        assert (iou(sure[:, :4], objects.boxes).max(1) > 0.3).all(), (
            "something is seen where nothing is"
        )


def test_samples_repeat_and_every_part_has_a_gradient() -> None:
    net, stored = network("faster_rcnn"), pictures()
    images = stored.float() / 100 - 1
    first, again = (loss(net, images, SCENES, Draws(0, 3, np.arange(2))) for _ in range(2))
    other = loss(net, images, SCENES, Draws(0, 4, np.arange(2)))
    assert set(first) == {"proposal", "proposal_box", "class", "box", "total"}
    assert all(torch.equal(first[name], again[name]) for name in first) and not torch.equal(
        first["proposal"], other["proposal"]
    )
    torch.testing.assert_close(
        first["total"], sum(first[name] for name in first if name != "total")
    )
    first["total"].backward()
    unmoved = [name for name, each in net.named_parameters() if each.grad is None]
    # the classifier's last layer alone is not asked
    assert all(name.startswith("backbone.") for name in unmoved), unmoved


@pytest.mark.parametrize("name", ["faster_rcnn", "fast_rcnn", "rcnn"])
def test_pictures_without_objects_are_learnt_from(name: str) -> None:
    net, stored = network(name), pictures()
    nothing = Objects(np.zeros((0, 4)), [], [])
    targets = [
        with_proposals(nothing, np.array([[5.0, 5, 40, 40]])) if name != "faster_rcnn" else nothing
        for _ in range(2)
    ]
    losses = loss(net, stored.float() / 100 - 1, targets, Draws(0, 0, np.arange(2)))
    losses["total"].backward()
    assert torch.isfinite(losses["total"]) and losses["box"] == 0 and losses["class"] > 0


def test_a_network_without_its_proposals_is_refused() -> None:
    with pytest.raises(ValueError, match="needs proposals"):
        loss(network("fast_rcnn"), torch.zeros(2, 3, 96, 96), SCENES, Draws(0, 0, np.arange(2)))


# --- samples --------------------------------------------------------------------------------------


def test_boxes_meet_the_object_they_overlap_most() -> None:
    objects = Objects(
        [[0.0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 60, 10]], [0, 1, 2], [False, False, True]
    )
    boxes = np.array(
        [
            [0.0, 0, 10, 10],
            [22, 0, 30, 10],
            [2, 0, 12, 10],
            [45, 0, 60, 10],
            [52, 0, 70, 10],
            [80, 0, 90, 10],
        ]
    )
    met = meet(boxes, objects)
    np.testing.assert_allclose(met.overlap, [1, 0.8, 8 / 12, 0, 0, 0])
    assert met.which[:3].tolist() == [0, 1, 0]
    assert met.first.tolist() == [True, True, False, False, False, False]
    assert met.excused.tolist() == [False, False, False, True, False, False]
    alone = meet(boxes, objects.part(np.array([2])))
    assert (
        not alone.overlap.any()
        and not alone.first.any()
        and alone.excused.tolist() == met.excused.tolist()
    )


def test_regions_are_a_quarter_objects_and_none_is_ignored() -> None:
    objects = Objects([[0.0, 0, 40, 40], [60, 60, 90, 90]], [1, 0], [False, True])
    rng = np.random.default_rng(0)
    near = np.array([0.0, 0, 40, 40]) + rng.uniform(-4, 4, (40, 4))
    corner = rng.uniform(0, 60, (300, 2))
    others = np.concatenate([corner, corner + rng.uniform(5, 30, (300, 2))], 1)
    boxes, labels, aims = sampled_regions(
        [np.concatenate([near, others])], [objects], Draws(0, 0, np.array([7])), 64, 3
    )
    positive = labels[0] < 3
    assert (
        positive.sum() == 16
        and (labels[0][positive] == 1).all()
        and (labels[0][~positive] == 3).all()
    )
    assert (aims[0][positive] == objects.boxes[0].astype(np.float32)).all() and len(
        np.unique(boxes[0], axis=0)
    ) == 64
    overlaps = iou(boxes[0], objects.boxes[:1])[:, 0]
    assert (overlaps[positive] >= 0.5).all() and (overlaps[~positive] < 0.5).all()
    assert not meet(boxes[0], objects).excused[~positive].any()


def test_true_boxes_are_proposals_and_padding_is_not() -> None:
    objects = Objects([[0.0, 0, 40, 40]], [2], [False])
    proposals = [np.array([[50.0, 50, 60, 60]]), np.zeros((0, 4))]
    boxes, labels, _ = sampled_regions(
        proposals, [objects, objects.part(np.array([], int))], Draws(0, 0, np.arange(2)), 4, 3
    )
    assert labels.tolist() == [[2, 3, -100, -100], [-100] * 4]
    assert boxes[0, :2].tolist() == [[0, 0, 40, 40], [50, 50, 60, 60]]


@given(seed=st.integers(0, 1000), count=st.integers(0, 12))
def test_a_sample_is_made_of_what_may_be_taken(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    which, keys = rng.random(10) < 0.5, rng.random(10)
    taken = sample(which, keys, count)
    assert len(set(taken)) == len(taken) == min(count, which.sum()) and which[taken].all()
    left = np.setdiff1d(np.flatnonzero(which), taken)
    assert not len(left) or not len(taken) or keys[taken].max() <= keys[left].min()


# --- costs ----------------------------------------------------------------------------------------


def test_costs_of_regions_are_those_of_a_plain_loop() -> None:
    torch.manual_seed(0)
    logits, deltas = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    boxes = torch.tensor([[10.0, 10, 30, 40]]).expand(2, 3, 4) + torch.rand(2, 3, 1) * 5
    aims = boxes + torch.tensor([1.0, 2, 3, 4])
    labels = torch.tensor([[0, 3, -100], [2, 3, 3]])
    what = where = 0.0
    for b in range(2):
        for k in range(3):
            label = int(labels[b, k])
            if label >= 0:
                what -= float(torch.log_softmax(logits[b, k], 0)[label]) / 5
            if 0 <= label < 3:
                far = (deltas[b, k] - encode_deltas(aims[b, k], boxes[b, k], DELTA_WEIGHTS)).abs()
                where += float(torch.where(far < 1, far**2 / 2, far - 0.5).sum()) / 5
    found = region_losses(logits, deltas, boxes, labels, aims)
    assert float(found["class"]) == pytest.approx(what, rel=1e-5) and float(
        found["box"]
    ) == pytest.approx(where, rel=1e-5)


def test_anchors_that_meet_an_object_are_positive() -> None:
    anchors = torch.tensor(
        [[0.0, 0, 10, 10], [1, 0, 11, 10], [5, 0, 15, 10], [40, 0, 50, 10], [70, 0, 76, 10]]
    )
    objects = Objects(
        [[0.0, 0, 10, 10], [70, 0, 90, 10], [38, 0, 52, 10]], [0, 0, 0], [False, False, True]
    )
    logits, deltas = torch.zeros(1, 5, requires_grad=True), torch.zeros(1, 5, 4)
    losses = two_stage.proposal_losses(
        logits, deltas, anchors, [objects], Draws(0, 0, np.arange(1))
    )
    losses["proposal"].backward()
    # Positive: the same box; IoU 9/11; the best, though poor, of the second object. Neither: IoU
    # 1/3, and the ignored one.
    assert torch.sign(logits.grad[0]).tolist() == [-1, -1, 0, 0, -1]
    wanted = encode_deltas(
        torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10], [70, 0, 90, 10]]), anchors[[0, 1, 4]]
    )
    expected = F.smooth_l1_loss(torch.zeros(3, 4), wanted, reduction="sum", beta=1 / 9) / 3
    torch.testing.assert_close(losses["proposal_box"], expected)


# --- answers --------------------------------------------------------------------------------------


@torch.no_grad()
def test_candidates_are_the_best_scores_of_regions_and_classes() -> None:
    net, stored = network("fast_rcnn").eval(), pictures()
    images = stored.float() / 100 - 1
    proposals = [np.array([[5.0, 5, 40, 40], [-20, 60, 50, 120]]), np.array([[30.0, 30, 60, 60]])]
    found = candidates(net, images, stacked(proposals, 300))
    assert found.shape == (2, CANDIDATES, 6) and (found[..., 4] > 0).sum(1).tolist() == [4, 2]
    regions = net(images, stacked(proposals, 2))
    shares = regions.logits.softmax(-1)[0, :, :2]
    torch.testing.assert_close(found[0, :4, 4], shares.flatten().sort(descending=True).values)
    torch.testing.assert_close(found[0, 0, 5], (shares.flatten().argmax() % 2).float())
    assert found[..., :4].min() >= 0 and found[..., :4].max() <= 96
