"""Localisation: targets, losses and pixels; and a small network that learns to point at
a rectangle."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pellucid.core.boxes import iou
from pellucid.core.rng import generator
from pellucid.core.types import Objects
from pellucid.models import create
from pellucid.models.localiser import Landmarks, Localiser
from pellucid.tasks.detection.localise import (
    candidates,
    encode_targets,
    landmark_loss,
    landmarks_in_pixels,
    loss,
)


class Says(nn.Module):
    """Answers with given numbers, whatever it sees."""

    def __init__(self, answers: Tensor, classes: int, sized: bool = True) -> None:
        super().__init__()
        self.answers, self.classes, self.sized = answers, classes, sized

    def forward(self, x: Tensor) -> Tensor:
        return self.answers


def objects(*rows: tuple[list[float], int, bool]) -> Objects:
    boxes, labels, ignore = zip(*rows, strict=True) if rows else ((), (), ())
    return Objects(np.array(boxes), np.array(labels), np.array(ignore))


def test_the_target_is_the_largest_object_in_shares() -> None:
    target = objects(
        ([0, 0, 10, 10], 0, False), ([20, 40, 100, 60], 1, False), ([0, 0, 200, 100], 0, True)
    )
    assert encode_targets([target], (100, 200), 2)[0].tolist() == pytest.approx(
        [1, 0.3, 0.5, 0.2, 0.4, 0, 1]
    )
    assert encode_targets([target], (100, 200), 0, sized=False)[0].tolist() == pytest.approx(
        [1, 0.3, 0.5]
    )


def test_what_lies_outside_counts_as_far_as_it_is_seen() -> None:
    """The second is larger, but not in the view."""
    target = objects(([-20, 0, 20, 100], 0, False), ([190, 0, 900, 900], 1, False))
    assert encode_targets([target], (100, 200), 2)[0].tolist() == pytest.approx(
        [1, 0.05, 0.5, 1.0, 0.1, 1, 0]
    )


@pytest.mark.parametrize(
    "target",
    [
        objects(),
        objects(([0, 0, 9, 9], 0, True)),
        objects(([-9, 0, 0, 9], 0, False)),
        objects(([3, 3, 3, 9], 0, False)),
    ],
)
def test_no_object_is_a_target_of_zeros(target: Objects) -> None:
    assert not encode_targets([target], (100, 200), 2).any()


SHARE = st.floats(0, 1, width=32)


@settings(max_examples=60, deadline=None)
@given(
    corners=st.tuples(SHARE, SHARE, SHARE, SHARE),
    label=st.integers(0, 2),
    size=st.tuples(st.integers(8, 300), st.integers(8, 300)),
)
def test_a_network_that_gives_the_target_has_no_loss(
    corners: tuple[float, ...], label: int, size: tuple[int, int]
) -> None:
    height, width = size
    (left, right), (top, bottom) = (
        sorted((corners[0] * width, corners[1] * width)),
        sorted((corners[2] * height, corners[3] * height)),
    )
    target = objects(([left, top, right, bottom], label, False))
    images = torch.zeros(1, 3, *size)
    network = Says(encode_targets([target], size, 3), 3)
    found = candidates(network, images)  # type: ignore[arg-type]
    assert found.shape == (1, 1, 6)
    assert loss(network, images, [target])["total"] == 0  # type: ignore[arg-type]
    if (right - left) * (bottom - top) > 0:
        np.testing.assert_allclose(found[0, 0], [left, top, right, bottom, 1, label], atol=1e-3)
    else:
        assert found[0, 0, 4] == 0


def test_answers_beyond_all_bounds_are_still_boxes() -> None:
    wild = torch.tensor(
        [[1.7, 0.9, 0.2, 0.4, 0.6, 3.0, -2.0], [-0.3, 0.5, 0.5, -1.0, -1.0, 0.0, 1.0]]
    )
    found = candidates(Says(wild, 2), torch.zeros(2, 1, 100, 200))[:, 0]  # type: ignore[arg-type]
    np.testing.assert_allclose(
        found, [[120, 0, 200, 40, 1, 0], [100, 50, 100, 50, 0, 1]], atol=1e-4
    )


def test_without_classes_the_label_is_zero() -> None:
    found = candidates(
        Says(torch.tensor([[0.8, 0.5, 0.5, 1.0, 0.5]]), 0), torch.zeros(1, 1, 10, 20)
    )  # type: ignore[arg-type]
    np.testing.assert_allclose(found[0, 0], [5, 0, 15, 10, 0.8, 0], atol=1e-5)


def test_the_loss_of_an_empty_image_is_of_presence_alone() -> None:
    answers = torch.tensor([[0.5, 9.0, 9.0, 9.0, 9.0, 9.0]], requires_grad=True)
    total = loss(Says(answers, 1), torch.zeros(1, 1, 8, 8), [objects()])["total"]  # type: ignore[arg-type]
    total.backward()
    assert (
        total.item() == 0.25
        and answers.grad is not None
        and answers.grad.tolist() == [[1, 0, 0, 0, 0, 0]]
    )


def test_landmarks_in_pixels_and_their_loss() -> None:
    points = torch.tensor([[[20.0, 10.0], [0.0, 50.0]]])
    shares = torch.tensor([[0.1, 0.1, 0.0, 0.5]])
    torch.testing.assert_close(landmarks_in_pixels(shares, (100, 200)), points)
    assert landmark_loss(shares, points, (100, 200)) == 0
    off = shares + torch.tensor([[0.1, 0, 0, -0.2]])
    assert landmark_loss(off, points, (100, 200)).item() == pytest.approx(0.05)


def scenes(count: int, seed: int) -> tuple[Tensor, list[Objects]]:
    """Noise of 32×32, with a bright or a dark rectangle on it in four of five."""
    rng = generator(seed)
    images, targets = rng.normal(0, 0.3, (count, 1, 32, 32)), []
    for image in images:
        height, width = rng.integers(8, 20, 2)
        top, left = rng.integers(0, 32 - height), rng.integers(0, 32 - width)
        label = int(rng.integers(2))
        if rng.random() < 0.2:
            targets.append(objects())
            continue
        image[0, top : top + height, left : left + width] += 2.0 if label else -2.0
        targets.append(objects(([left, top, left + width, top + height], label, False)))
    return torch.from_numpy(images).float(), targets


def learnt(
    network: nn.Module, cost, images: Tensor, targets: list[Objects], steps: int = 400
) -> nn.Module:  # type: ignore[no-untyped-def]
    optimizer = torch.optim.Adam(network.parameters(), 2e-3)
    for step in range(steps):
        rows = generator(7, step).integers(0, len(images), 32)
        optimizer.zero_grad()
        cost(network, images[rows], [targets[row] for row in rows]).backward()
        optimizer.step()
    return network.eval()


def test_a_small_network_finds_a_rectangle() -> None:
    torch.manual_seed(0)
    network = Localiser(create("C12s2 R C24s2 R C24 R G L2", 2, 1, (32, 32)), 2)
    learnt(network, lambda n, images, targets: loss(n, images, targets)["total"], *scenes(2000, 1))
    images, targets = scenes(200, 2)
    with torch.no_grad():
        found = candidates(network, images)[:, 0].numpy()
    there = np.array([len(target) > 0 for target in targets])
    assert ((found[:, 4] > 0.5) == there).mean() > 0.95
    overlaps = [
        iou(row[None, :4].astype(float), target.boxes).item()
        for row, target in zip(found, targets, strict=True)
        if len(target)
    ]
    assert np.mean(overlaps) > 0.6
    assert (
        np.mean(
            [
                row[5] == target.labels[0]
                for row, target in zip(found, targets, strict=True)
                if len(target)
            ]
        )
        > 0.95
    )


def test_a_small_network_finds_two_corners() -> None:
    torch.manual_seed(0)
    images, targets = scenes(2000, 3)
    network = Landmarks(create("C12s2 R C24s2 R C24 R G L2", 2, 1, (32, 32)), 2)
    rows = torch.tensor([row for row, target in enumerate(targets) if len(target)])
    some = [targets[int(row)] for row in rows]

    def corners(targets: list[Objects]) -> Tensor:
        return torch.tensor(np.stack([target.boxes[0].reshape(2, 2) for target in targets])).float()

    learnt(
        network,
        lambda n, images, targets: landmark_loss(n(images), corners(targets), (32, 32)),
        images[rows][100:],
        some[100:],
    )
    with torch.no_grad():
        off = (
            landmarks_in_pixels(network(images[rows][:100]), (32, 32)) - corners(some[:100])
        ).norm(dim=2)
    assert off.mean() < 3
