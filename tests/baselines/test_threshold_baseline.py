from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest
from scipy import ndimage
from skimage import color
from skimage.filters import threshold_otsu
from skimage.morphology import remove_small_objects

from pellucid.baselines.threshold import Settings, answer, fit, grey
from pellucid.core.types import IGNORE


def discs(
    count: int = 5, side: str = "bright", slope: float = 0.0, size: int = 48
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Discs of other brightness on noise and a slope of light."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:size, :size]
    pictures, masks = [], []
    for _ in range(count):
        centre = rng.uniform(10, size - 10, 2)
        mask = (y - centre[0]) ** 2 + (x - centre[1]) ** 2 < 36
        light = (
            110
            + slope * (x - size / 2)
            + (50 if side == "bright" else -50) * mask
            + rng.normal(0, 8, mask.shape)
        )
        pictures.append(light.clip(0, 255).astype(np.uint8)[:, :, None])
        masks.append(mask.astype(np.uint8))
    return pictures, masks


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float(((a == 1) & (b == 1)).sum() / ((a == 1) | (b == 1)).sum())


@pytest.mark.parametrize(("side", "slope"), [("bright", 0.0), ("dark", 3.0)])
def test_it_finds_what_stands_out_and_scores_it_as_it_answers(side: str, slope: float) -> None:
    pictures, masks = discs(7, side, slope)
    settings = fit(pictures[:4], masks[:4])
    seen, unseen = (
        [iou(answer(pictures[i], settings), masks[i]) for i in part]
        for part in (range(4), range(4, 7))
    )
    assert settings.score == pytest.approx(np.mean(seen), abs=1e-12)
    assert np.mean(unseen) > 0.85
    # A slope of light as high as the discs needs its background taken off.
    assert settings.side in (side, "either") and (settings.background != "none" or slope == 0)


def test_otsu_alone_is_that_of_scikit_image() -> None:
    picture = discs(1)[0][0]
    expected = picture[:, :, 0] > threshold_otsu(picture[:, :, 0])
    # Bins of the histogram differ between bytes and their 255ths.
    assert (answer(picture, Settings()) != expected).mean() < 0.01


@pytest.mark.parametrize("share", [0.01, 0.1, 0.25])
def test_a_share_is_a_share_of_the_picture(share: float) -> None:
    picture = np.random.default_rng(0).permutation(10_000).reshape(100, 100, 1).astype(np.uint16)
    assert answer(picture, Settings(rule="share", value=share)).mean() == pytest.approx(
        share, abs=0.0002
    )


def test_nothing_is_found_in_a_flat_picture() -> None:
    flat = np.full((20, 30, 1), 90, np.uint8)
    for rule in ("otsu", "share", "level"):
        assert not answer(flat, Settings(rule=rule, value=0.5, background="median", width=21)).any()


def test_small_objects_go_and_gaps_close() -> None:
    picture = np.zeros((30, 30, 1), np.uint8)
    picture[5:15, 5:15], picture[9, 9], picture[20:22, 20:22] = 200, 0, 200
    settings = Settings(rule="level", value=0.5, smallest=5)
    bright = picture[:, :, 0] > 128
    assert (
        answer(picture, settings).astype(bool)
        == remove_small_objects(bright, max_size=4, connectivity=2)
    ).all()
    closed = answer(picture, replace(settings, closing=1, smallest=0))
    assert (
        closed.astype(bool) == (ndimage.binary_closing(bright, iterations=1) | bright)
    ).all() and closed[9, 9]
    assert not answer(picture, replace(settings, opening=2, smallest=0))[20:22].any()


def test_brightness_is_luma() -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)
    np.testing.assert_allclose(grey(picture), color.rgb2yuv(picture)[:, :, 0], atol=1e-3)
    np.testing.assert_allclose(grey(picture[:, :, :2]), picture[:, :, :2].mean(2) / 255, atol=1e-6)
    np.testing.assert_allclose(grey(picture.astype(np.uint16) * 257), grey(picture), atol=1e-6)


def test_pixels_of_nobody_do_not_count() -> None:
    pictures, masks = discs(2)
    veiled = [
        np.where(picture[:, :, 0] > 135, mask, np.where(mask == 1, np.uint8(IGNORE), mask))
        for picture, mask in zip(pictures, masks, strict=True)
    ]
    assert fit(pictures, veiled).score >= fit(pictures, masks).score


def test_the_choice_is_the_same_twice_and_plain_to_write_down() -> None:
    pictures, masks = discs(3)
    assert fit(pictures, masks, 1) == fit(pictures, masks, 1)
    assert all(
        isinstance(value, str | int | float) for value in asdict(fit(pictures, masks)).values()
    )


def test_without_an_object_there_is_nothing_to_fit() -> None:
    pictures, masks = discs(2)
    with pytest.raises(ValueError, match="no mask has an object"):
        fit(pictures, [mask * 0 for mask in masks])
