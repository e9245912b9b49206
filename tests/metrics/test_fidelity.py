from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.color import rgb2ycbcr
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from pellucid.core.rng import generator
from pellucid.data.images import read
from pellucid.metrics.image_quality import CEILING, psnr, ssim
from pellucid.transforms.resize import bicubic_array

PAIR = arrays(np.uint8, (2, 14, 17, 3))


def theirs(a: np.ndarray, b: np.ndarray, peak: float = 255) -> float:
    return float(
        structural_similarity(
            a, b, data_range=peak, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
    )


@given(PAIR, st.integers(0, 1))
def test_colour_is_compared_by_its_luma_inside_the_border(pair: np.ndarray, border: int) -> None:
    a, b = pair
    inside = slice(border, -border or None)
    one, other = (rgb2ycbcr(each)[inside, inside, 0] for each in (a, b))
    if (one != other).any():
        assert psnr(a, b, border) == pytest.approx(
            min(CEILING, peak_signal_noise_ratio(one, other, data_range=255))
        )
    found = ssim(a, b, border)
    assert found is not None
    assert found == pytest.approx(theirs(one, other), abs=1e-9)


def test_grey_and_sixteen_bits() -> None:
    a, b = generator(3).integers(0, 65536, (2, 20, 20)).astype(np.uint16)
    assert psnr(a, b, peak=65535) == pytest.approx(peak_signal_noise_ratio(a, b, data_range=65535))
    assert ssim(a, b, peak=65535) == pytest.approx(theirs(a.astype(float), b.astype(float), 65535))
    assert psnr(a[..., None], b[..., None], 2, 65535) == psnr(a, b, 2, 65535)


def test_one_level_everywhere() -> None:
    a = np.full((5, 5), 7, np.uint8)
    assert psnr(a, a + 1) == pytest.approx(20 * math.log10(255))
    assert psnr(a + 1, a) == psnr(a, a + 1)


def test_equal_pictures_and_small_ones() -> None:
    a = generator(4).integers(0, 256, (12, 12, 3)).astype(np.uint8)
    assert psnr(a, a) == CEILING
    assert ssim(a, a) == pytest.approx(1)
    assert ssim(a, a, border=1) is None


def test_nothing_to_compare() -> None:
    a = np.zeros((4, 6), np.uint8)
    with pytest.raises(ValueError, match="border of 2"):
        psnr(a, a, border=2)
    with pytest.raises(ValueError, match=r"\(4, 5\)"):
        ssim(a, a[:, :5])


@pytest.mark.parametrize(("factor", "decibels"), [(2, 33.67), (3, 30.40), (4, 28.43)])
def test_bicubic_on_set5(data_root: Path, factor: int, decibels: float) -> None:
    """The data set's small pictures bit for bit, and the figure that papers give for
    enlarging them."""
    found = []
    for sharp in sorted((data_root / "superres" / "Set5" / f"image_SRF_{factor}").glob("*_HR.png")):
        picture, small = read(sharp), read(sharp.with_name(sharp.name.replace("HR", "LR")))
        assert np.array_equal(bicubic_array(picture, 1 / factor), small)
        height, width = picture.shape[:2]
        found.append(psnr(picture, bicubic_array(small, (height, width)), factor))
    assert len(found) == 5
    assert np.mean(found) == pytest.approx(decibels, abs=0.006)
