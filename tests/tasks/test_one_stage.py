"""Assignment and losses of the one-stage detectors, against plain loops and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pellucid import models
from pellucid.core.boxes import iou
from pellucid.core.types import Objects
from pellucid.models.pyramid import headless, places
from pellucid.models.yolo import Grid, Yolo
from pellucid.tasks.detection import classic, one_stage
from pellucid.tasks.detection.candidates import best, padded
from pellucid.tasks.detection.one_stage import assign

SIZES, STRIDES = [(8, 8), (4, 4), (2, 2)], (8.0, 16.0, 32.0)


def some_objects(rng: np.random.Generator, count: int, side: int = 64, ignored: int = 0) -> Objects:
    low = rng.uniform(0, side * 0.6, (count, 2))
    boxes = np.concatenate([low, (low + rng.uniform(6, side * 0.6, (count, 2))).clip(max=side)], 1)
    return Objects(boxes, rng.integers(0, 3, count), np.arange(count) < ignored)


def plainly(
    scores: np.ndarray, boxes: np.ndarray, centres: np.ndarray, target: Objects
) -> dict[int, tuple[int, float]]:
    """Task-aligned assignment of one picture, in loops: place to (object, what it should say)."""
    claims: dict[int, list[tuple[float, int, float]]] = {}
    for number in range(len(target)):
        if target.ignore[number]:
            continue
        x1, y1, x2, y2 = target.boxes[number]
        half_w, half_h = max(x2 - x1, 8) / 2, max(y2 - y1, 8) / 2
        inside = [
            p
            for p, (x, y) in enumerate(centres)
            if abs(x - (x1 + x2) / 2) <= half_w and abs(y - (y1 + y2) / 2) <= half_h
        ]
        fit = {
            p: float(iou(boxes[p : p + 1], target.boxes[number : number + 1])[0, 0]) for p in inside
        }
        aligned = {p: scores[p, target.labels[number]] ** 0.5 * fit[p] ** 6 for p in inside}
        for p in sorted(inside, key=lambda p: -aligned[p])[:10]:
            claims.setdefault(p, []).append((fit[p], number, aligned[p]))
    won = {p: max(each, key=lambda claim: claim[0]) for p, each in claims.items()}
    found = {}
    for p, (_, number, aligned_here) in won.items():
        mine = [claim for claim in won.values() if claim[1] == number]
        found[p] = (
            number,
            aligned_here * max(c[0] for c in mine) / max(max(c[2] for c in mine), 1e-9),
        )
    return found


@pytest.mark.parametrize("seed", range(8))
def test_assignment_is_that_of_plain_loops(seed: int) -> None:
    rng = np.random.default_rng(seed)
    targets = [some_objects(rng, count, ignored=seed % 2) for count in (5, 0, 2)]
    centres, _ = places(SIZES, STRIDES)
    middle = centres.numpy() + rng.uniform(-6, 6, (3, len(centres), 2))
    half = rng.uniform(3, 20, (3, len(centres), 2))
    boxes, scores = (
        np.concatenate([middle - half, middle + half], 2),
        rng.uniform(0.01, 0.99, (3, len(centres), 3)),
    )
    found = assign(
        torch.from_numpy(scores).float(),
        torch.from_numpy(boxes).float(),
        centres,
        8.0,
        padded(targets, torch.device("cpu")),
    )
    for row, target in enumerate(targets):
        mine = found.picture == row
        said = {
            int(p): (int(o), float(s))
            for p, o, s in zip(
                found.place[mine], found.object[mine], found.score[mine], strict=True
            )
        }
        expected = plainly(scores[row], boxes[row], centres.numpy(), target)
        assert {p: o for p, (o, _) in said.items()} == {p: o for p, (o, _) in expected.items()}
        for place, (_, score) in expected.items():
            assert said[place][1] == pytest.approx(score, rel=1e-3, abs=1e-6)


def test_the_best_place_aims_at_its_best_overlap() -> None:
    target = Objects(np.array([[10.0, 10, 50, 50]]), np.array([1]), np.array([False]))
    centres, _ = places(SIZES, STRIDES)
    boxes = torch.tensor([10.0, 10, 50, 46]).repeat(1, len(centres), 1)
    found = assign(
        torch.full((1, len(centres), 3), 0.2),
        boxes,
        centres,
        8.0,
        padded([target], torch.device("cpu")),
    )
    assert len(found.place) == 10
    torch.testing.assert_close(found.score, torch.full((10,), 0.9))


def test_a_small_object_is_assigned_however_bad_its_boxes() -> None:
    target = Objects(np.array([[30.0, 30, 34, 34]]), np.array([1]), np.array([False]))
    centres = torch.tensor([[32.0, 32]])
    found = assign(
        torch.full((1, 1, 3), 1e-3),
        torch.tensor([[[-100.0, -100, 164, 164]]]),
        centres,
        8.0,
        padded([target], torch.device("cpu")),
    )
    torch.testing.assert_close(found.score, torch.tensor([16 / 264**2]), rtol=1e-4, atol=0)


def test_an_object_between_all_places_is_learnt_by_the_nearest() -> None:
    target = Objects(np.array([[29.0, 5, 35, 11]]), np.array([1]), np.array([False]))
    centres, _ = places(SIZES, STRIDES)
    assert (
        not ((centres > torch.tensor([29.0, 5])) & (centres < torch.tensor([35.0, 11])))
        .all(1)
        .any()
    )
    boxes = torch.cat([centres - 8, centres + 8], 1)[None]
    found = assign(
        torch.full((1, len(centres), 3), 0.5),
        boxes,
        centres,
        8.0,
        padded([target], torch.device("cpu")),
    )
    assert (
        len(found.place) == 4 and (centres[found.place] - torch.tensor([32.0, 8])).abs().max() == 4
    )


def test_ignored_objects_are_neither_targets_nor_errors() -> None:
    target = Objects(np.array([[0.0, 0, 32, 64]]), np.array([0]), np.array([True]))
    centres, _ = places(SIZES, STRIDES)
    found = assign(
        torch.rand(1, len(centres), 3),
        torch.rand(1, len(centres), 4),
        centres,
        8.0,
        padded([target], torch.device("cpu")),
    )
    assert len(found.place) == 0
    assert torch.equal(found.excused[0], centres[:, 0] < 32)


def network(kind: str = "yolo") -> Yolo | Grid:
    torch.manual_seed(1)
    backbone = headless(
        models.create("C8s2 B R C16s2 B R C16s2 B R C32s2 B R C32s2 B R G L3", 3, 3, (64, 64)),
        (3, 64, 64),
    )
    anchors = torch.tensor([[12.0, 12], [30, 30]])
    return Yolo(backbone, 3, 16) if kind == "yolo" else Grid(backbone, 3, 16, anchors)


@pytest.mark.parametrize("criterion", ["bce", "focal"])
@pytest.mark.parametrize("count", [0, 3])
def test_losses_are_finite_and_reach_every_parameter(criterion: str, count: int) -> None:
    net = network()
    targets = [
        some_objects(np.random.default_rng(7), count),
        some_objects(np.random.default_rng(8), 0),
    ]
    losses = one_stage.loss(net, torch.randn(2, 3, 64, 64), targets, criterion)  # type: ignore[arg-type]
    assert all(torch.isfinite(value) for value in losses.values())
    losses["total"].backward()
    silent = {name for name, parameter in net.named_parameters() if parameter.grad is None}
    assert not silent if count else all(name.startswith("where") for name in silent)


def test_a_perfect_answer_costs_next_to_nothing() -> None:
    """Logits that say what should be said, by a network that is only its answer."""
    ends = torch.tensor([[2.0, 1.5, 2.25, 3]])
    raw = torch.full((1, 4 * 16), -100.0)
    for side, end in enumerate(ends[0].tolist()):
        low = int(end)
        raw[0, side * 16 + low], raw[0, side * 16 + low + 1] = (
            np.log(1 - end + low + 1e-30),
            np.log(end - low + 1e-30),
        )
    entropy = (
        -sum(p * np.log(p) for end in ends[0].tolist() for p in (end % 1, 1 - end % 1) if p) / 4
    )
    assert float(one_stage._of_sides(raw, ends)[0]) == pytest.approx(entropy, abs=1e-5)
    assert float(one_stage._of_sides(raw, ends + 1)[0]) > 10


def test_candidates_are_the_likeliest_pairs_of_place_and_class() -> None:
    boxes, scores = torch.rand(2, 5, 4), torch.rand(2, 5, 3)
    rows = best(boxes, scores, 8, 0.3)
    for picture in range(2):
        pairs = sorted(
            ((float(scores[picture, p, c]), p, c) for p in range(5) for c in range(3)), reverse=True
        )[:8]
        for row, (score, p, c) in zip(rows[picture], pairs, strict=True):
            assert float(row[4]) == pytest.approx(score if score > 0.3 else 0)
            assert int(row[5]) == c
            assert torch.equal(row[:4], boxes[picture, p])
    assert best(boxes, scores, 40, 0.3).shape == (2, 40, 6)
    assert (best(boxes, scores, 40, 0.3)[:, 15:] == 0).all()


def test_the_classic_loss_is_equation_3_in_loops() -> None:
    net = network("grid").eval()
    assert isinstance(net, Grid)
    targets = [some_objects(np.random.default_rng(3), 2), some_objects(np.random.default_rng(4), 0)]
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        losses = classic.loss(net, x, targets)
        raw, boxes = net(x).double(), net.boxes(net(x)).double()
    taken, total = set(), 0.0
    for number in range(2):
        x1, y1, x2, y2 = targets[0].boxes[number]
        column, row = int((x1 + x2) / 2 // 32), int((y1 + y2) / 2 // 32)
        shapes = [
            min(x2 - x1, a)
            * min(y2 - y1, a)
            / ((x2 - x1) * (y2 - y1) + a * a - min(x2 - x1, a) * min(y2 - y1, a))
            for a in (12, 30)
        ]
        anchor = int(np.argmax(shapes))
        taken.add((row, column, anchor))
        said, box = raw[0, row, column, anchor], boxes[0, row, column, anchor]
        fit = float(iou(box[None].numpy(), targets[0].boxes[number][None])[0, 0])
        width, height = box[2] - box[0], box[3] - box[1]
        place = ((box[0] + box[2]) / 64 - (x1 + x2) / 64) ** 2 + (
            (box[1] + box[3]) / 64 - (y1 + y2) / 64
        ) ** 2
        place += ((width / 64).sqrt() - ((x2 - x1) / 64) ** 0.5) ** 2 + (
            (height / 64).sqrt() - ((y2 - y1) / 64) ** 0.5
        ) ** 2
        wanted = F.one_hot(torch.tensor(targets[0].labels[number]), 3)
        total += float(
            5 * place + (said[4].sigmoid() - fit) ** 2 + ((said[5:].sigmoid() - wanted) ** 2).sum()
        )
    empty = raw[..., 4].sigmoid() ** 2
    total += 0.5 * float(empty.sum() - sum(empty[0, r, c, a] for r, c, a in taken))
    assert len(taken) == 2
    assert float(losses["total"]) == pytest.approx(total / 2, rel=1e-4)
