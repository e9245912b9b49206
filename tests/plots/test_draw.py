from __future__ import annotations

import numpy as np
import pytest

from pellucid.plots.annotate import caption, sheet, to_rgb8


def test_eight_bit_rgb_is_left_as_it_is() -> None:
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    assert np.array_equal(to_rgb8(image), image)


@pytest.mark.parametrize(
    ("top", "dtype"),
    [
        (255, np.uint16),
        (1023, np.uint16),
        (4095, np.uint16),
        (65535, np.uint16),
        (2**32 - 1, np.uint32),
    ],
)
def test_the_full_scale_of_any_depth_is_white(top: int, dtype: type) -> None:
    image = np.array([[0, top // 2, top]], dtype)[:, :, None]
    assert to_rgb8(image)[0, :, 0].tolist() == [0, 127, 255]


def test_floats_bools_and_signed_values() -> None:
    assert to_rgb8(np.array([[0.0, 0.5, 1.0]]))[0, :, 1].tolist() == [0, 128, 255]
    assert to_rgb8(np.array([[False, True]]))[0, :, 2].tolist() == [0, 255]
    assert to_rgb8(np.array([[-1000, 0, 1000]], np.int16))[0, :, 0].tolist() == [0, 128, 255]
    assert to_rgb8(np.array([[np.nan, 0.0, 1.0]]))[0, :, 0].tolist() == [0, 0, 255]
    assert to_rgb8(np.full((2, 2, 1), -3.0)).max() == 0


@pytest.mark.parametrize(
    ("channels", "kept"), [(1, [0, 0, 0]), (2, [0, 0, 0]), (3, [0, 1, 2]), (5, [0, 1, 2])]
)
def test_channels(channels: int, kept: list[int]) -> None:
    image = np.random.default_rng(1).integers(0, 256, (4, 4, channels), np.uint8)
    assert np.array_equal(to_rgb8(image), image[:, :, kept])


def test_alpha_lies_over_white() -> None:
    image = np.zeros((1, 3, 4), np.uint8)
    image[0, :, 3] = 0, 51, 255
    assert to_rgb8(image)[0, :, 0].tolist() == [255, 204, 0]


@pytest.mark.parametrize("shape", [(3,), (2, 2, 0), (2, 2, 2, 3)])
def test_what_is_no_picture_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="H×W"):
        to_rgb8(np.zeros(shape, np.uint8))


def test_a_caption_hides_no_pixel_and_small_pictures_grow() -> None:
    picture = np.random.default_rng(2).integers(0, 256, (8, 8, 3), np.uint8)
    drawn = caption(picture, "seven  98.2%")
    assert drawn.shape[1] == 160
    assert np.array_equal(drawn[:160], picture.repeat(20, 0).repeat(20, 1))
    assert drawn[160:].min() < 100 < drawn[160:].max()
    large = np.zeros((300, 500, 3), np.uint8)
    assert np.array_equal(caption(large, "x")[:300], large)


@pytest.mark.parametrize(
    "text", ["", "ёж → ζώο", "猫", "नमस्ते", "قطة", "\x00\t", "a very long name " * 20, "two\nlines"]
)
def test_any_text_can_be_written(text: str) -> None:
    drawn = caption(np.zeros((10, 200, 3), np.uint8), text)
    assert drawn.shape[1:] == (200, 3)
    # A margin stays on the right: what is too long was shortened, not cut off.
    assert (drawn[10:, -3:] == 255).all()


def test_different_words_look_different() -> None:
    blank = np.zeros((10, 200, 3), np.uint8)
    assert not np.array_equal(caption(blank, "ёж"), caption(blank, "дом"))


def test_a_sheet_has_equal_cells_in_reading_order() -> None:
    pictures = [
        np.full((4, 4, 3), 10, np.uint8),
        np.full((300, 100), 20, np.uint8),
        np.full((16, 32, 3), 30, np.uint8),
    ]
    page = sheet(pictures, columns=2, side=64)
    assert page.shape == (2 * 74 + 10, 2 * 74 + 10, 3)
    centres = [
        page[10 + 32, 10 + 32, 0],
        page[10 + 32, 84 + 32, 0],
        page[84 + 32, 10 + 32, 0],
        page[84 + 32, 84 + 32, 0],
    ]
    assert centres == [10, 20, 30, 255]


def test_titles_make_room_for_themselves() -> None:
    pictures = [np.zeros((8, 8, 3), np.uint8)] * 2
    assert sheet(pictures, ["a", "b"]).shape[0] < sheet(pictures, ["a", "b\nc"]).shape[0]
    with pytest.raises(ValueError, match="argument"):
        sheet(pictures, ["only one"])
    with pytest.raises(ValueError, match="at least one"):
        sheet([])
