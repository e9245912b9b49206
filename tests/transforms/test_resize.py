from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from skimage.color import rgb2ycbcr

from pellucid.core import color
from pellucid.core.rng import generator
from pellucid.transforms import resize

SCALES = st.sampled_from([1 / 4, 1 / 3, 1 / 2, 0.7, 1.0, 1.5, 2.0, 3.0, 4.0])


def cubic(x: float) -> float:
    x = abs(x)
    if x <= 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


def pixel(line: list[float], place: int, scale: float) -> float:
    """One pixel of a resized side, by going over all that could take part."""
    narrow = min(scale, 1)
    centre = (place + 0.5) / scale - 0.5
    reach = math.ceil(2 / narrow) + 1
    total = weights = 0.0
    for tap in range(math.floor(centre) - reach, math.floor(centre) + reach + 1):
        weight = cubic(narrow * (centre - tap))
        total += weight * line[min(max(tap, 0), len(line) - 1)]
        weights += weight
    return total / weights


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=12), SCALES)
def test_a_side_is_resized_as_the_formula_says(line: list[float], scale: float) -> None:
    length = math.ceil(len(line) * scale - 1e-6)
    ours = resize.matrix(len(line), length, scale) @ np.array(line)
    assert np.allclose(ours, [pixel(line, place, scale) for place in range(length)], atol=1e-9)


@given(st.integers(1, 9), st.integers(1, 9), SCALES, st.floats(0, 1))
def test_a_constant_is_kept(height: int, width: int, scale: float, value: float) -> None:
    resized = resize.bicubic_array(np.full((height, width, 2), value), scale)
    assert resized.shape == (math.ceil(height * scale - 1e-6), math.ceil(width * scale - 1e-6), 2)
    assert np.allclose(resized, value)


def test_sizes() -> None:
    x = torch.rand(2, 1, 255, 10)
    assert resize.bicubic(x, 1 / 3).shape == (2, 1, 85, 4)
    assert resize.bicubic(x, (7, 11)).shape == (2, 1, 7, 11)
    assert torch.equal(resize.bicubic(x, 1.0), x)
    assert resize.bicubic(torch.rand(1, 1, 1, 1), 3.0).unique().numel() == 1


@pytest.mark.parametrize("size", [(16, 20), (48, 60), (96, 120)])
def test_pillow_agrees_away_from_the_border(size: tuple[int, int]) -> None:
    picture = generator(1).random((48, 60)).astype(np.float32)
    theirs = np.asarray(Image.fromarray(picture).resize(size[::-1], Image.Resampling.BICUBIC))
    edge = 3 * max(1, size[0] // 48)
    ours = resize.bicubic_array(picture, size)
    assert np.allclose(ours[edge:-edge, edge:-edge], theirs[edge:-edge, edge:-edge], atol=1e-5)


def test_tensors_and_arrays_agree() -> None:
    picture = generator(2).random((9, 7, 3))
    tensor = torch.tensor(picture).permute(2, 0, 1)[None]
    for size in (1 / 3, 2.0, (5, 13)):
        assert np.allclose(
            resize.bicubic(tensor, size)[0].permute(1, 2, 0), resize.bicubic_array(picture, size)
        )


def test_whole_numbers_are_rounded_and_clipped_after_each_side() -> None:
    picture = np.array([[0, 255, 0, 255], [255, 255, 0, 0], [3, 255, 0, 7]], np.uint8)
    tall = [
        [min(255, max(0, math.floor(pixel([float(v) for v in c], i, 2) + 0.5))) for c in picture.T]
        for i in range(6)
    ]
    both = [
        [min(255, max(0, math.floor(pixel([float(v) for v in row], j, 2) + 0.5))) for j in range(8)]
        for row in tall
    ]
    ours = resize.bicubic_array(picture, 2.0)
    assert ours.dtype == np.uint8
    assert ours.tolist() == both


def test_gradient() -> None:
    x = torch.rand(1, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: resize.bicubic(x, 3.0), x)
    assert torch.autograd.gradcheck(lambda x: resize.bicubic(x, (2, 3)), x)


def test_precision_is_kept_under_autocast() -> None:
    x = torch.rand(1, 1, 8, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(resize.bicubic(x, 2.0), resize.bicubic(x.clone(), 2.0))
        inside = resize.bicubic(x, 2.0), color.ycbcr(x.expand(1, 3, 8, 8))
    assert torch.equal(inside[0], resize.bicubic(x, 2.0))
    assert torch.equal(inside[1], color.ycbcr(x.expand(1, 3, 8, 8)))
    assert resize.bicubic(x.bfloat16(), 2.0).dtype == torch.float32


def test_inference_results_can_be_trained_through_later() -> None:
    with torch.inference_mode():
        resize.bicubic(torch.rand(1, 1, 6, 6), 2.0)
    x = torch.rand(1, 1, 6, 6, requires_grad=True)
    resize.bicubic(x, 2.0).sum().backward()
    assert x.grad is not None


COLOURS = arrays(np.float64, (3, 4, 3), elements=st.floats(0, 1))


@given(COLOURS)
def test_luma_and_colour_differences(picture: np.ndarray) -> None:
    assert np.allclose(color.ycbcr(picture) * 255, rgb2ycbcr(picture), atol=1e-9)
    assert np.allclose(color.rgb(color.ycbcr(picture)), picture, atol=1e-6)
    assert np.allclose(color.luma(picture), color.ycbcr(picture)[..., :1])
    tensor = torch.tensor(picture).permute(2, 0, 1)[None]
    assert np.allclose(color.ycbcr(tensor)[0].permute(1, 2, 0), color.ycbcr(picture))
    assert np.allclose(color.rgb(color.ycbcr(tensor)), tensor, atol=1e-6)
    assert torch.equal(color.luma(tensor), color.ycbcr(tensor)[:, :1])


def test_white_black_and_grey() -> None:
    ends = color.ycbcr(np.array([[[0.0, 0, 0], [1, 1, 1]]])) * 255
    assert np.allclose(ends, [[[16, 128, 128], [235, 128, 128]]])
    grey = np.array([[[0.3]]])
    assert color.luma(grey) is grey
