from __future__ import annotations

from itertools import product
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pellucid.core.boxes import iou_of_sizes
from pellucid.core.errors import DataError
from pellucid.core.rng import generator
from pellucid.plots.anchors import figure
from pellucid.transforms.anchors import POOR, Anchors, cluster, fit, judge, spread

SVG = "{http://www.w3.org/2000/svg}"
some_sizes = st.integers(1, 30).flatmap(
    lambda n: arrays(np.float64, (n, 2), elements=st.floats(2, 500))
)


def groups(seed: int = 0, each: int = 60) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = np.array([[12, 30], [60, 50], [150, 40], [200, 260]])
    return np.concatenate([centre * np.exp(rng.normal(0, 0.08, (each, 2))) for centre in centres])


def plain_iou(a: tuple[float, float], b: tuple[float, float]) -> float:
    shared = min(a[0], b[0]) * min(a[1], b[1])
    return shared / (a[0] * a[1] + b[0] * b[1] - shared)


def plain_k_means(sizes: np.ndarray, anchors: np.ndarray) -> list[tuple[float, float]]:
    """Redmon and Farhadi's, box by box, with means."""
    boxes, centres = (
        [tuple(box) for box in sizes.tolist()],
        [tuple(anchor) for anchor in anchors.tolist()],
    )
    for _ in range(100):
        members: list[list[tuple[float, float]]] = [[] for _ in centres]
        for box in boxes:
            distances = [1 - plain_iou(box, centre) for centre in centres]
            members[distances.index(min(distances))].append(box)
        centres = [
            (sum(b[0] for b in group) / len(group), sum(b[1] for b in group) / len(group))
            if group
            else centre
            for group, centre in zip(members, centres, strict=True)
        ]
    return sorted(centres, key=lambda centre: centre[0] * centre[1])


@given(some_sizes, some_sizes)
def test_overlap_is_that_of_boxes_on_one_centre(sizes: np.ndarray, others: np.ndarray) -> None:
    found = iou_of_sizes(sizes, others)
    for (i, a), (j, b) in product(enumerate(sizes.tolist()), enumerate(others.tolist())):
        assert found[i, j] == pytest.approx(plain_iou(tuple(a), tuple(b)))


@settings(deadline=None)
@given(some_sizes, st.integers(1, 6), st.integers(0, 100))
def test_no_round_makes_it_worse(sizes: np.ndarray, count: int, seed: int) -> None:
    anchors, means = cluster(sizes, spread(sizes, count, generator(seed)))
    assert anchors.shape == (count, 2)
    assert (np.diff(means) <= 1e-12).all()
    assert means[-1] == pytest.approx(1 - iou_of_sizes(sizes, anchors).max(1).mean())


def test_groups_are_found_as_plain_k_means_finds_them() -> None:
    sizes = groups()
    found = fit(sizes, 4)
    plain = np.array(plain_k_means(sizes, sizes[[0, 60, 120, 180]]))
    np.testing.assert_allclose(found.sizes, plain, rtol=0.03)
    assert found.mean_iou >= judge(sizes, plain).mean_iou - 1e-9
    assert found.poor == 0


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000))
def test_of_a_few_boxes_no_two_of_them_are_much_better_anchors(seed: int) -> None:
    sizes = np.random.default_rng(seed).uniform(5, 100, (8, 2))
    best = max(iou_of_sizes(sizes, sizes[[i, j]]).max(1).mean() for i in range(8) for j in range(i))
    assert fit(sizes, 2).mean_iou >= best - 0.05


@settings(max_examples=30, deadline=None)
@given(some_sizes, st.integers(1, 5), st.floats(0.1, 10))
def test_anchors_grow_with_the_boxes(sizes: np.ndarray, count: int, factor: float) -> None:
    one, other = fit(sizes, count), fit(sizes * factor, count)
    assert (np.diff(one.sizes.prod(1)) >= 0).all()
    assert one.mean_iou == pytest.approx(other.mean_iou, abs=0.05)


def test_the_same_seed_gives_the_same_anchors() -> None:
    sizes = groups(1)
    assert np.array_equal(fit(sizes, 9, 5).sizes, fit(sizes, 9, 5).sizes)
    assert fit(sizes, 9).mean_iou > fit(sizes, 4).mean_iou > fit(sizes, 1).mean_iou
    few = fit(np.array([[10.0, 20.0], [0.0, 5.0]]), 3)
    np.testing.assert_allclose(few.sizes, [[10, 20]] * 3)
    assert few.mean_iou == pytest.approx(1)


def test_many_boxes_are_sampled_and_all_of_them_judged() -> None:
    sizes = np.concatenate([groups(each=6000), [[1.0, 900.0]] * 100])
    found = fit(sizes, 4)
    best = iou_of_sizes(sizes, found.sizes).max(1)
    assert found.mean_iou == pytest.approx(best.mean())
    assert found.poor == pytest.approx((best < POOR).mean())


def test_it_says_how_well_they_cover() -> None:
    said = str(Anchors(np.ones((9, 2)), 0.7149, 0.0041))
    assert said == (
        "9 anchors cover the boxes with a mean IoU of 0.71; "
        "0.4% of boxes fit none better than 0.25."
    )


def test_no_boxes_are_refused() -> None:
    with pytest.raises(DataError, match="no box with an area"):
        fit(np.zeros((0, 2)), 3)
    with pytest.raises(DataError, match="no box with an area"):
        fit(np.array([[5.0, 0.0]]), 3)


@pytest.mark.parametrize(
    "sizes",
    [groups(), np.array([[20.0, 20.0]]), np.array([[1.0, 900.0], [30.0, 30.0]]), groups(each=2000)],
)
def test_the_figure_holds_boxes_and_anchors(sizes: np.ndarray) -> None:
    anchors = judge(sizes, np.array([[30.0, 30.0], [25.0, 20.0]]))
    root = ElementTree.fromstring(figure(sizes, anchors))
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    circles = list(root.iter(f"{SVG}circle"))
    assert all(
        0 <= float(c.attrib["cx"]) <= width and 0 <= float(c.attrib["cy"]) <= height
        for c in circles
    )
    kinds = [c.attrib["class"] for c in circles]
    assert kinds.count("b") == 2
    assert len(sizes) / 8 < len(kinds) - 2 <= 1500
    assert ("rule" in kinds) == (anchors.poor > 0)
    assert any(node.text and node.text.isdigit() for node in root.iter(f"{SVG}text"))
