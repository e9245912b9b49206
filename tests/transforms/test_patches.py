"""Windows cover a picture, and what is said of them becomes one answer without seams."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pellucid.core.types import ViewTransform
from pellucid.transforms.sliding_window import Windows, mirrored, origin_of, taken, taken_labels

sides = st.integers(1, 40)


@given(
    st.tuples(sides, sides),
    st.integers(8, 20),
    st.integers(0, 3),
    st.integers(1, 4),
    st.integers(0, 1),
)
@settings(max_examples=80, deadline=None)
def test_what_every_window_says_of_itself_comes_back(
    whole: tuple[int, int], side: int, overlap: int, step: int, margin: int
) -> None:
    """The picture as its own answer: cut out of each window by the margin, and put together,
    it is itself."""
    image = np.arange(whole[0] * whole[1], dtype=np.float64).reshape(*whole, 1)
    windows = Windows((side + 2 * margin, side + 2 * margin), margin, (overlap, overlap), step)
    views = windows.views(image)
    inner = slice(margin, margin + side)
    answers = [torch.from_numpy(view[inner, inner]).permute(2, 0, 1) for view, _ in views]
    found = windows.blended(answers, [transform for _, transform in views])
    assert found.shape == (1, *whole)
    assert torch.allclose(found[0].double(), torch.from_numpy(image[..., 0]), atol=1e-3)


@given(sides, st.integers(10, 20), st.integers(0, 5), st.integers(1, 5))
@settings(max_examples=200, deadline=None)
def test_windows_begin_at_multiples_and_share_what_is_asked(
    whole: int, side: int, overlap: int, step: int
) -> None:
    starts = [at for (at,) in Windows((side,), 0, (overlap,), step).starts((whole,))]
    assert starts[0] == 0 and all(at % step == 0 for at in starts)
    assert starts[-1] + side >= whole and (len(starts) == 1 or starts[-1] < whole)
    longest = max(step, (side - overlap) // step * step)
    assert all(
        0 < after - before <= longest for before, after in zip(starts, starts[1:], strict=False)
    )


@given(st.integers(-50, 50), st.integers(1, 60), st.integers(2, 9))
def test_mirroring_is_that_of_numpy(start: int, count: int, whole: int) -> None:
    wide = np.pad(np.arange(whole), 120, mode="reflect")
    assert (
        mirrored(start, count, whole).tolist() == wide[120 + start : 120 + start + count].tolist()
    )


def test_one_pixel_is_mirrored_too() -> None:
    assert (
        taken(np.full((1, 1, 3), 7, np.uint8), (-2, 0), (4, 3)).tolist()
        == np.full((4, 3, 3), 7).tolist()
    )


def test_labels_outside_are_nobodys() -> None:
    labels = np.arange(6, dtype=np.uint8).reshape(2, 3)
    assert taken_labels(labels, (-1, 1), (3, 4), 255).tolist() == [
        [255] * 4,
        [1, 2, 255, 255],
        [4, 5, 255, 255],
    ]
    assert (taken_labels(labels, (5, 0), (2, 2), 255) == 255).all()


def test_volumes_alike() -> None:
    volume = np.random.default_rng(0).random((9, 14, 11, 2)).astype(np.float32)
    windows = Windows((6, 8, 8), 0, (2, 4, 4), 2)
    views = windows.views(volume)
    assert all(view.shape == (6, 8, 8, 2) for view, _ in views)
    answers = [torch.from_numpy(view).permute(3, 0, 1, 2) for view, _ in views]
    found = windows.blended(answers, [transform for _, transform in views])
    assert np.allclose(found.numpy(), volume.transpose(3, 0, 1, 2), atol=1e-6)


def test_a_placement_says_where_a_window_lies() -> None:
    (_, first), *_ = Windows((8, 8), 2).views(np.zeros((20, 30, 1), np.uint8))
    assert origin_of(first) == (-2, -2) and isinstance(first, ViewTransform)
    assert first.forward(np.array([[3.0, 5.0]])).tolist() == [[5.0, 7.0]]


@pytest.mark.parametrize("depth", [3, 5])
def test_windows_say_what_the_whole_says(depth: int) -> None:
    """Of a network whose fields fit into what windows share,
    the answer is the same through windows and in one piece."""
    torch.manual_seed(0)
    network = nn.Sequential(*(nn.Conv2d(1 if i == 0 else 4, 4, 3, padding=1) for i in range(depth)))
    image = np.random.default_rng(0).random((64, 80, 1)).astype(np.float32)

    def ask(windows: Windows) -> torch.Tensor:
        views = windows.views(image)
        with torch.inference_mode():
            said = [network(torch.from_numpy(view).permute(2, 0, 1)[None])[0] for view, _ in views]
        return windows.blended(said, [transform for _, transform in views])

    overlap = 4 * depth
    parted = Windows((32, 32), 0, (overlap, overlap), 1)
    assert len(parted.starts((64, 80))) > 4
    assert torch.allclose(ask(parted), ask(Windows((64, 80))), atol=1e-5)
