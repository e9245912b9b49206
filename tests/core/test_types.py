from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.core.types import ViewTransform

numbers = st.floats(-5, 5, allow_nan=False)


@st.composite
def transforms(draw: st.DrawFn) -> ViewTransform:
    matrix = np.array(
        [
            [draw(st.floats(0.2, 3)), draw(st.floats(-0.1, 0.1)), draw(numbers)],
            [0.05, draw(st.floats(0.2, 3)), draw(numbers)],
        ]
    )
    return ViewTransform(matrix, (30, 40), (20, 20))


@given(transforms(), st.lists(st.tuples(numbers, numbers), min_size=1, max_size=6))
def test_forward_and_back(transform: ViewTransform, points: list[tuple[float, float]]) -> None:
    assert np.allclose(transform.backward(transform.forward(np.array(points))), points, atol=1e-9)


@given(transforms(), transforms(), st.tuples(numbers, numbers))
def test_a_view_of_a_view(
    first: ViewTransform, second: ViewTransform, point: tuple[float, float]
) -> None:
    points = np.array([point])
    assert np.allclose(first.then(second).forward(points), second.forward(first.forward(points)))
    assert first.then(second).source_size == first.source_size


def test_a_placement_that_loses_pixels_is_refused() -> None:
    with pytest.raises(ValueError, match="invertible"):
        ViewTransform(np.array([[1.0, 0, 0], [2, 0, 0]]), (3, 3), (3, 3))
