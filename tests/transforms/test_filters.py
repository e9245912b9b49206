from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage import filters as skimage_filters

from pellucid.core.errors import UsageError
from pellucid.transforms.filters import FILTERS, apply, gabor, gaussian, is_signed, signed_to_grey


def noise(
    height: int = 20, width: int = 30, channels: int = 3, kind: type = np.uint8, seed: int = 0
) -> np.ndarray:
    return (
        np.random.default_rng(seed)
        .integers(0, np.iinfo(kind).max + 1, (height, width, channels))
        .astype(kind)
    )


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_filters_are_cross_correlation(name: str, kind: type) -> None:
    image = noise(kind=kind)
    found = apply(image, name)
    assert found.shape == image.shape and found.dtype == np.float64
    for c in range(3):
        expected = ndimage.correlate(
            image[:, :, c].astype(np.float64), FILTERS[name], mode="reflect"
        )
        np.testing.assert_allclose(
            found[:, :, c],
            expected,
            atol=1e-9 * np.iinfo(kind).max * max(1, np.abs(FILTERS[name]).sum()),
        )


@pytest.mark.parametrize(
    ("ours", "theirs", "factor"),
    [
        ("sobel_y", skimage_filters.sobel_h, 4),
        ("sobel_x", skimage_filters.sobel_v, 4),
        ("prewitt_y", skimage_filters.prewitt_h, 3),
        ("prewitt_x", skimage_filters.prewitt_v, 3),
        ("scharr_y", skimage_filters.scharr_h, 16),
        ("scharr_x", skimage_filters.scharr_v, 16),
    ],
)
def test_derivatives_agree_with_scikit_image(ours: str, theirs: object, factor: float) -> None:
    image = noise()[:, :, 0].astype(np.float64)
    assert callable(theirs)
    # scikit-image turns its kernels and divides them by the sum of one side.
    np.testing.assert_allclose(
        np.abs(apply(image, ours)), factor * np.abs(theirs(image)), atol=1e-6
    )


@given(st.floats(0.5, 3))
@settings(max_examples=15, deadline=None)
def test_gaussian_is_that_of_scipy(sigma: float) -> None:
    spike = np.zeros((31, 31))
    spike[15, 15] = 1
    kernel = gaussian(sigma)
    radius = len(kernel) // 2
    expected = ndimage.gaussian_filter(spike, sigma)[
        15 - radius : 16 + radius, 15 - radius : 16 + radius
    ]
    np.testing.assert_allclose(kernel, expected, atol=1e-12)


def test_orientations_are_as_stated() -> None:
    below = np.zeros((9, 9))
    below[5:] = 1  # a horizontal edge, brighter below
    for kind in ("sobel", "prewitt", "scharr"):
        assert apply(below, f"{kind}_y").max() > 0 and apply(below, f"{kind}_y").min() == 0
        assert np.abs(apply(below, f"{kind}_x")).max() == 0
        assert apply(below.T, f"{kind}_x").max() > 0
    assert FILTERS["prewitt_y"].tolist() == [[-1, -1, -1], [0, 0, 0], [1, 1, 1]]


@pytest.mark.parametrize("wavelength", [4, 8, 16])
def test_a_gabor_filter_answers_to_its_own_stripes(wavelength: int) -> None:
    x = np.tile(np.arange(96), (96, 1))
    vertical = np.cos(2 * np.pi * x / wavelength)
    answers = {
        name: np.abs(apply(vertical, name))[40:56, 40:56].max()
        for name in FILTERS
        if name.startswith("gabor")
    }
    assert max(answers, key=lambda name: answers[name]) == f"gabor_{wavelength}_0"
    assert answers[f"gabor_{wavelength}_90"] < 0.1 * answers[f"gabor_{wavelength}_0"]


@given(st.integers(2, 12), st.integers(0, 180))
@settings(max_examples=20, deadline=None)
def test_gabor_has_no_mean_and_a_size_of_one(wavelength: int, degrees: int) -> None:
    kernel = gabor(wavelength, degrees)
    assert abs(kernel.sum()) < 1e-12 and np.abs(kernel).sum() == pytest.approx(1)
    np.testing.assert_allclose(kernel, kernel[::-1, ::-1], atol=1e-12)


@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 255))
@settings(max_examples=20, deadline=None)
def test_a_flat_picture_of_any_size_stays_flat(height: int, width: int, value: int) -> None:
    image = np.full((height, width, 1), value, np.uint8)
    for name in FILTERS:
        np.testing.assert_allclose(apply(image, name), 0 if is_signed(name) else value, atol=1e-6)


def test_signed_numbers_stand_around_mid_grey() -> None:
    assert signed_to_grey(np.array([-2.0, 0.0, 1.0, 2.0])).tolist() == [1, 128, 192, 255]
    assert signed_to_grey(np.zeros((2, 2))).tolist() == [[128, 128], [128, 128]]


def test_an_unknown_name_gets_a_suggestion() -> None:
    with pytest.raises(UsageError, match='did you mean "sobel_x"'):
        apply(noise(), "sobelx")
