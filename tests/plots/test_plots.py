from __future__ import annotations

import re
from itertools import combinations, pairwise
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.plots.curves import (
    Line,
    Mark,
    _spread,
    confusion,
    curves,
    forest,
    overlay,
    reliability,
)
from pellucid.plots.svg import ticks

SVG = "{http://www.w3.org/2000/svg}"


def texts(svg: str) -> list[str]:
    return [node.text or "" for node in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def inside(svg: str) -> bool:
    """Every number that says where a circle or a rectangle is lies in the picture."""
    root = ElementTree.fromstring(svg)
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    circles = [(float(c.attrib["cx"]), float(c.attrib["cy"])) for c in root.iter(f"{SVG}circle")]
    boxes = [(float(r.attrib["x"]), float(r.attrib["y"])) for r in root.iter(f"{SVG}rect")]
    return all(0 <= x <= width and 0 <= y <= height for x, y in circles + boxes)


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_ticks_are_few_even_and_reach_around_the_values(low: float, span: float) -> None:
    found = ticks(low, low + span)
    steps = np.diff(found)
    assert 2 <= len(found) <= 8
    assert np.allclose(steps, steps[0], rtol=1e-3)
    assert found[0] <= low + 1e-6 * span + 1e-9 * abs(low)
    assert found[-1] >= low + span - 1e-6 * span - 1e-9 * abs(low)


def test_curves_name_their_lines_and_leave_gaps() -> None:
    svg = curves(
        {"training": [3, 2, None, 1], "validation": [3.0, 2.5, float("nan"), 2]},
        "Loss",
        mark=(2, "best, epoch 2"),
    )
    assert {"Loss", "training", "validation", "epoch", "best, epoch 2"} <= set(texts(svg))
    paths = [
        p.attrib["d"]
        for p in ElementTree.fromstring(svg).iter(f"{SVG}path")
        if "line" in p.attrib["class"]
    ]
    assert [path.count("M") for path in paths] == [2, 2]
    assert "nan" not in svg
    assert inside(svg)


def test_a_wide_range_is_logarithmic_and_says_so() -> None:
    assert "Loss (log scale)" in texts(curves({"a": [2.0, 0.2, 0.02]}, "Loss"))
    assert "Loss" in texts(curves({"a": [2.0, 1.0, 0.0]}, "Loss"))
    assert "Loss" in texts(curves({"a": [2.0, 1.0, -1.0]}, "Loss"))


@pytest.mark.parametrize(
    "values", [[0.5], [0.0, 0.0], [1.0, 1.0], [None, None], [1e-9, 1e-9], [1e8, 3e8]]
)
@pytest.mark.parametrize("percent", [False, True])
def test_degenerate_curves_are_drawn(values: list[float | None], percent: bool) -> None:
    svg = curves({"training": values}, "T", percent=percent)
    assert inside(svg)
    assert not re.search(r"\bnan\b|\binf\b", svg)


def test_the_labels_of_lines_that_end_together_stay_apart() -> None:
    svg = curves({"training": [0.1, 0.99], "validation": [0.1, 0.99]}, "Accuracy", percent=True)
    ends = [
        float(n.attrib["y"])
        for n in ElementTree.fromstring(svg).iter(f"{SVG}text")
        if n.text in ("training", "validation")
    ]
    assert abs(ends[0] - ends[1]) >= 12


def test_confusion_shows_every_count_and_escapes_names() -> None:
    svg = confusion([[5, 2], [0, 7]], ["<b>&", "猫"])
    assert {"5", "2", "7", "<b>&", "猫"} <= set(texts(svg))
    assert "<b>" not in svg
    assert inside(svg)
    tips = [node.text for node in ElementTree.fromstring(svg).iter(f"{SVG}title")]
    assert "<b>& called 猫: 2" in tips


def test_many_classes_and_long_names_are_shortened() -> None:
    svg = confusion(
        np.eye(60, dtype=int) * 7, [f"class number {i} with a very long name" for i in range(60)]
    )
    assert "7" not in texts(svg)
    assert all(len(text) < 30 for text in texts(svg))
    assert float(ElementTree.fromstring(svg).attrib["width"]) < 800


def test_reliability_draws_one_point_a_filled_bin() -> None:
    confidence = np.array([0.05, 0.51, 0.52, 0.97, 0.98, 1.0])
    svg = reliability(confidence, np.array([0, 1, 0, 1, 1, 1]))
    circles = list(ElementTree.fromstring(svg).iter(f"{SVG}circle"))
    assert len(circles) == 3
    assert inside(svg)


@given(st.lists(st.floats(0, 300), max_size=9))
def test_names_at_the_ends_of_many_lines_never_overlap(heights: list[float]) -> None:
    placed = _spread(heights, 15, 0, 300)
    assert all(b - a >= 15 - 1e-6 for a, b in pairwise(sorted(placed)))
    assert all(-1e-6 <= y <= 300 + 1e-6 for y in placed)
    assert [a < b for a, b in combinations(heights, 2) if a != b] == [
        x < y
        for (a, b), (x, y) in zip(combinations(heights, 2), combinations(placed, 2), strict=True)
        if a != b
    ]
    if all(b - a >= 15 for a, b in pairwise(sorted(heights))):
        assert np.allclose(placed, heights)


def test_an_overlay_names_coloured_lines_and_leaves_gaps_in_all() -> None:
    lines = [
        Line(
            f"arm {i}",
            [1, 2, 3],
            [1.0, float("nan"), i],
            f"c{i}",
            dashed=i == 1,
            low=[0.5, 0, 0],
            high=[2, 2, 3],
        )
        for i in range(3)
    ]
    svg = overlay(
        [*lines, Line("grey", [1, 9], [1, 2], None), Line("empty", [], [], "c4")],
        "Loss",
        "epoch",
        above=("thousands", 2),
    )
    assert {"arm 0", "arm 1", "arm 2", "Loss", "epoch", "thousands"} <= set(texts(svg)) and not {
        "grey",
        "empty",
    } & set(texts(svg))
    drawn = [
        p.attrib
        for p in ElementTree.fromstring(svg).iter(f"{SVG}path")
        if "drawn" in p.attrib["class"]
    ]
    assert [("dashed" in p["class"], p["d"].count("M")) for p in drawn] == [
        (False, 1),
        (False, 2),
        (True, 2),
        (False, 2),
    ]
    assert inside(svg) and "nan" not in svg


@pytest.mark.parametrize(
    "lines", [[], [Line("a", [1], [0.5], "c0")], [Line("a", [1, 2], [float("nan")] * 2, "c0")]]
)
@pytest.mark.parametrize("percent", [False, True])
def test_degenerate_overlays_are_drawn(lines: list[Line], percent: bool) -> None:
    svg = overlay(lines, "T", "epoch", percent=percent)
    assert inside(svg) and not re.search(r"\bnan\b|\binf\b", svg)


def test_a_forest_has_a_point_a_value_and_a_line_an_interval() -> None:
    rows = [
        Mark("ours", 2.0, 1.0, 3.0, "+2"),
        Mark("one run", -4.0, None, None, "−4"),
        Mark("diverged", None, None, None, "diverged"),
    ]
    svg = forest(rows, "Differences", "points", zero=0.0, strong="ours")
    points = [circle.attrib for circle in ElementTree.fromstring(svg).iter(f"{SVG}circle")]
    assert [point["class"] for point in points] == ["a", "b"] and float(points[1]["cx"]) < float(
        points[0]["cx"]
    )
    assert (
        svg.count('class="line ') == 1
        and {"ours", "diverged", "+2"} <= set(texts(svg))
        and inside(svg)
    )
    assert inside(forest([Mark("x", None, None, None, "")], "T", "percent"))
