from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pellucid.plots.gif import animation


def frames(count: int) -> Iterator[np.ndarray]:
    for number in range(count):
        frame = np.full((20, 30, 3), 60 + 15 * number, np.uint8)
        frame[5:10, number : number + 8] = 230, 159, 0
        yield frame


def test_frames_keep_order_rate_and_colors(tmp_path: Path) -> None:
    animation(tmp_path / "a.gif", frames(12), 10, like=np.concatenate(list(frames(12))))
    with Image.open(tmp_path / "a.gif") as image:
        assert image.n_frames == 12 and image.info["loop"] == 0 and image.info["duration"] == 100
        for number, frame in enumerate(frames(12)):
            image.seek(number)
            assert np.abs(np.asarray(image.convert("RGB")).astype(int) - frame).max() <= 8


def test_a_rare_colour_survives_many_greys(tmp_path: Path) -> None:
    frame = np.arange(256, dtype=np.uint8)[None, :, None].repeat(200, axis=0).repeat(3, axis=2)
    frame[100, 100:106] = 204, 121, 167
    animation(tmp_path / "a.gif", [frame], 5, like=frame)
    with Image.open(tmp_path / "a.gif") as image:
        shown = np.asarray(image.convert("RGB")).astype(int)
    assert np.abs(shown[100, 102] - (204, 121, 167)).max() <= 8 and np.abs(shown - frame).max() <= 8


def test_no_rate_is_so_fast_that_browsers_slow_it_down(tmp_path: Path) -> None:
    animation(tmp_path / "a.gif", frames(3), 1000, like=next(frames(1)))
    with Image.open(tmp_path / "a.gif") as image:
        assert image.info["duration"] == 20


def test_what_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    def broken() -> Iterator[np.ndarray]:
        yield from frames(2)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        animation(tmp_path / "a.gif", broken(), 10, like=next(frames(1)))
    with pytest.raises(ValueError, match="at least one"):
        animation(tmp_path / "a.gif", [], 10, like=next(frames(1)))
    assert list(tmp_path.iterdir()) == []
