from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.core.rng import Draws
from pellucid.transforms.augment import Augmentation, augment, colour, geometry, warp


def pictures(count: int = 6, channels: int = 3, height: int = 17, width: int = 23) -> torch.Tensor:
    # Smooth, so that two bilinear samplers agree up to rounding.
    y, x = np.mgrid[:height, :width]
    planes = [
        127 + 100 * np.sin(x / 5 + c + n) * np.cos(y / 4 - n)
        for n in range(count)
        for c in range(channels)
    ]
    return torch.tensor(
        np.array(planes).reshape(count, channels, height, width), dtype=torch.float32
    )


@settings(max_examples=25, deadline=None)
@given(
    st.floats(0, 1),
    st.floats(0, 0.5),
    st.floats(0, 0.5),
    st.floats(0, 40),
    st.floats(0, 0.3),
    st.floats(0, 20),
    st.integers(0, 99),
)
def test_warping_equals_opencv(
    mirror: float, crop: float, zoom: float, rotate: float, shift: float, shear: float, seed: int
) -> None:
    how = Augmentation(mirror=mirror, crop=crop, zoom=zoom, rotate=rotate, shift=shift, shear=shear)
    images = pictures()
    maps = geometry(how, Draws(seed, 0, np.arange(6)), (17, 23))
    ours = warp(images, maps, torch.tensor([10.0, 20.0, 30.0]))
    for image, matrix, result in zip(images.numpy(), maps, ours.numpy(), strict=True):
        # OpenCV counts from pixel centres; ours from pixel edges.
        centred = matrix.copy()
        centred[:, 2] += matrix[:, :2] @ [0.5, 0.5] - 0.5
        y, x = np.mgrid[:17, :23].astype(np.float64)
        where = np.stack(
            [centred[i, 0] * x + centred[i, 1] * y + centred[i, 2] for i in (0, 1)]
        ).astype(np.float32)
        theirs = cv2.remap(
            image.transpose(1, 2, 0),
            where[0],
            where[1],
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=(10, 20, 30),
        )
        # OpenCV rounds positions to 1/32 pixel.
        assert np.abs(theirs.transpose(2, 0, 1) - result).max() < 6


def test_nothing_asked_changes_nothing() -> None:
    images = pictures().to(torch.uint8)
    assert augment(images, Augmentation(), Draws(0, 0, np.arange(6)), torch.zeros(3)) is images


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([1, 3]))
def test_shifting_moves_whole_pixels_by_as_much_as_allowed(seed: int, channels: int) -> None:
    images = (
        torch.arange(1, 1 + channels * 100)
        .reshape(1, channels, 10, 10)
        .to(torch.int32)
        .repeat(5, 1, 1, 1)
    )
    fill = torch.full((channels,), -7.0)
    moved = augment(images, Augmentation(shift=0.2), Draws(seed, 0, np.arange(5)), fill)
    for picture in moved:
        candidates = []
        for dy in range(-2, 3):
            for dx in range(-2, 3):
                expected = torch.full_like(images[0], -7)
                rows, columns = (
                    slice(max(0, -dy), 10 - max(0, dy)),
                    slice(max(0, -dx), 10 - max(0, dx)),
                )
                from_rows, from_columns = (
                    slice(max(0, dy), 10 + min(0, dy)),
                    slice(max(0, dx), 10 + min(0, dx)),
                )
                expected[:, rows, columns] = images[0][:, from_rows, from_columns]
                candidates.append(torch.equal(picture, expected))
        assert sum(candidates) == 1


def test_mirroring_has_its_probability() -> None:
    images = torch.zeros(1000, 1, 2, 2, dtype=torch.uint8)
    images[..., 0] = 9
    flipped = (
        augment(images, Augmentation(mirror=0.3), Draws(1, 0, np.arange(1000)), torch.zeros(1))[
            :, 0, 0, 0
        ]
        == 0
    )
    assert 0.25 < flipped.float().mean() < 0.35


def test_a_crop_stays_inside_the_picture() -> None:
    maps = geometry(Augmentation(crop=0.6), Draws(0, 0, np.arange(500)), (20, 30))
    corners = np.array([[0, 0], [30, 0], [30, 20], [0, 20]])
    seen = corners @ maps[:, :, :2].transpose(0, 2, 1) + maps[:, None, :, 2]
    assert seen[..., 0].min() > -1e-9
    assert seen[..., 0].max() < 30 + 1e-9
    assert seen[..., 1].min() > -1e-9
    assert seen[..., 1].max() < 20 + 1e-9
    sides = np.ptp(seen[..., 0], axis=1) / 30
    assert sides.min() < 0.45
    assert sides.max() > 0.97


def test_color_jitter_keeps_range_and_shape() -> None:
    images = pictures() / 255
    changed = colour(images, 0.4, Draws(0, 0, np.arange(6)))
    assert changed.shape == images.shape
    assert changed.min() >= 0
    assert changed.max() <= 1
    ratios = changed.mean((1, 2, 3)) / images.mean((1, 2, 3))
    assert len({round(r, 4) for r in ratios.tolist()}) == 6


@pytest.mark.parametrize("setting", [{"mirror": 1.5}, {"rotate": -1}, {"shear": 60}])
def test_settings_out_of_range_are_refused(setting: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(setting))):
        Augmentation(**setting)
