"""Windows over a picture, and the pictures of a pyramid."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pellucid.transforms.windows import pyramid, windows

SIDE = st.integers(1, 40)


@given(
    size=st.tuples(SIDE, SIDE),
    window=st.tuples(SIDE, SIDE),
    stride=st.tuples(st.integers(1, 9), st.integers(1, 9)),
)
def test_windows_are_those_that_two_loops_give(
    size: tuple[int, int], window: tuple[int, int], stride: tuple[int, int]
) -> None:
    expected = []
    top = 0
    while top + window[0] <= size[0]:
        left = 0
        while left + window[1] <= size[1]:
            expected.append([left, top, left + window[1], top + window[0]])
            left += stride[1]
        top += stride[0]
    assert windows(size, window, stride).tolist() == expected


def test_a_pyramid_leaves_out_scales_without_a_window() -> None:
    image = np.zeros((40, 61, 3), np.uint8)
    levels = pyramid(image, (1, 0.5, 0.25, 1.5), (20, 20))
    assert [view.shape for view, _ in levels] == [(40, 61, 3), (20, 30, 3), (60, 92, 3)]
    assert levels[0][0] is image
    for view, transform in levels:
        assert transform.size == view.shape[:2] and transform.source_size == (40, 61)
        np.testing.assert_allclose(transform.forward(np.array([[61.0, 40.0]])), [view.shape[1::-1]])


def test_what_is_drawn_lies_where_its_placement_says() -> None:
    image = np.zeros((60, 80, 1), np.uint8)
    image[20:40, 48:64] = 255
    for view, transform in pyramid(image, (0.5, 1.5), (8, 8)):
        rows, columns = np.nonzero(view[..., 0] > 127)
        box = np.array([[columns.min(), rows.min()], [columns.max() + 1, rows.max() + 1]])
        np.testing.assert_allclose(transform.backward(box), [[48, 20], [64, 40]], atol=0.7)
