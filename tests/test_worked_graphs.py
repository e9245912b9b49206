"""Worked examples, graphs for back-propagation: values and partial derivatives."""

from __future__ import annotations

import pytest

from pellucid.anatomy.expression import differentiate, parse


@pytest.mark.parametrize(
    ("text", "at", "value", "partials"),
    [
        ("(a + b)*(b + 1)", {"a": 2, "b": 1}, 6, {"a": 2, "b": 5}),
        (
            "(a*b + d)*(b + c)",
            {"a": 8, "b": 0, "c": 1, "d": 5},
            5,
            {"a": 0, "b": 13, "c": 5, "d": 1},
        ),
        (
            "(a*b + d)*(b + c)",
            {"a": 1, "b": 3, "c": 6, "d": 5},
            72,
            {"a": 27, "b": 17, "c": 8, "d": 9},
        ),
    ],
)
def test_value_and_partial_derivatives(
    text: str, at: dict[str, float], value: float, partials: dict[str, float]
) -> None:
    found = differentiate(parse(text), at)
    assert found.values[-1] == value
    assert found.to_json()["partials"] == partials


def test_back_propagation_touches_each_edge_once() -> None:
    """e = (a + b)(b + 1) has five edges that a derivative passes;
    over all paths from a and from b there are six."""
    found = differentiate(parse("(a + b)*(b + 1)"), {"a": 2, "b": 1})
    assert found.reverse == len({(edge.source, edge.target) for edge in found.edges}) == 5
    assert found.all_paths == 6
