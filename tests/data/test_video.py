from __future__ import annotations

import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from pellucid.core.errors import DataError, UsageError
from pellucid.data import video

av = pytest.importorskip("av")

WIDTH, HEIGHT = 64, 48


def picture(number: int) -> np.ndarray:
    """The left half red, the right half grey, brighter with each frame."""
    image = np.full((HEIGHT, WIDTH, 3), 10 * (number % 20), np.uint8)
    image[:, : WIDTH // 2] = 220, 20, 20
    return image


@pytest.fixture
def film(tmp_path: Path) -> Callable[..., Path]:
    def make(
        name: str = "film.mp4", count: int = 12, seconds: Callable[[int], float] = lambda n: n / 10
    ) -> Path:
        with video.writing(tmp_path / name, Fraction(10)) as add:
            for number in range(count):
                add(picture(number), seconds(number))
        return tmp_path / name

    return make


def test_what_is_written_is_read_again(film: Callable[..., Path]) -> None:
    path = film()
    assert video.describe(path) == video.VideoInfo((HEIGHT, WIDTH), Fraction(10), 12)
    frames = list(video.frames(path))
    assert [frame.number for frame in frames] == list(range(12))
    assert [frame.seconds for frame in frames] == pytest.approx(
        [n / 10 for n in range(12)], abs=1e-4
    )
    for frame in frames:
        assert (
            frame.pixels.shape == (HEIGHT, WIDTH, 3)
            and np.abs(frame.pixels.astype(int) - picture(frame.number)).mean() < 6
        )


def test_frames_of_a_varying_rate_keep_their_times(film: Callable[..., Path]) -> None:
    times = [0, 0.04, 0.5, 0.52, 1.7, 3]
    assert [
        f.seconds for f in video.frames(film(count=6, seconds=lambda n: times[n]))
    ] == pytest.approx(times, abs=1e-3)


def test_the_usual_rates_come_out_as_they_went_in(tmp_path: Path) -> None:
    for rate in (
        Fraction(24),
        Fraction(25),
        Fraction(30000, 1001),
        Fraction(24000, 1001),
        Fraction(25, 2),
    ):
        with video.writing(tmp_path / "rate.mp4", rate) as add:
            for number in range(30):
                add(picture(number % 20), float(number / rate))
        assert float(video.describe(tmp_path / "rate.mp4").rate) == pytest.approx(
            float(rate), rel=1e-4
        )


def test_an_odd_size_becomes_even_by_repeating_the_edge(tmp_path: Path) -> None:
    with video.writing(tmp_path / "odd.mp4", Fraction(10)) as add:
        add(np.full((33, 51, 3), 200, np.uint8), 0.0)
    (frame,) = video.frames(tmp_path / "odd.mp4")
    assert frame.pixels.shape == (34, 52, 3) and frame.pixels.min() > 180


@pytest.mark.parametrize(
    ("turn", "red"), [(0, "left"), (90, "top"), (180, "right"), (270, "bottom")]
)
def test_a_video_is_shown_as_its_rotation_says(
    film: Callable[..., Path], turn: int, red: str
) -> None:
    """The matrix of the track header (ISO 14496-12, 8.3.2),
    as a telephone writes it: degrees clockwise."""
    path = film()
    data = bytearray(path.read_bytes())
    cos, sin = {0: (1, 0), 90: (0, 1), 180: (-1, 0), 270: (0, -1)}[turn]
    at = data.index(b"tkhd") + 4 + 40
    assert struct.unpack(">9i", data[at : at + 36])[::4] == (1 << 16, 1 << 16, 1 << 30)
    data[at : at + 36] = struct.pack(
        ">9i", cos << 16, sin << 16, 0, -sin << 16, cos << 16, 0, 0, 0, 1 << 30
    )
    path.write_bytes(data)
    frame = next(video.frames(path)).pixels
    assert (
        frame.shape[:2]
        == video.describe(path).size
        == ((HEIGHT, WIDTH) if turn % 180 == 0 else (WIDTH, HEIGHT))
    )
    h, w = frame.shape[:2]
    half = {
        "left": frame[:, : w // 2],
        "right": frame[:, w // 2 :],
        "top": frame[: h // 2],
        "bottom": frame[h // 2 :],
    }[red]
    assert half[..., 0].mean() > 150 and half[..., 1].mean() < 60


def test_what_is_no_video_is_refused_in_one_line(film: Callable[..., Path], tmp_path: Path) -> None:
    whole = film(count=40).read_bytes()
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        for number in range(4):
            sound = av.AudioFrame.from_ndarray(
                np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
            )
            sound.sample_rate, sound.pts = 44100, number * 1024
            container.mux(stream.encode(sound))
        container.mux(stream.encode(None))
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_bytes(b"hello " * 100)
    (tmp_path / "half.mp4").write_bytes(whole[: len(whole) // 2])
    for name, why in (
        ("empty", "0 bytes"),
        ("text", "not a video"),
        ("half", "not a video"),
        ("sound", "sound"),
        ("none", "No such file"),
    ):
        with pytest.raises(DataError, match=why) as told:
            video.describe(tmp_path / f"{name}.mp4")
        assert str(told.value).startswith(str(tmp_path / name)) and "\n" not in str(told.value)


def test_damage_further_on_is_told_after_the_frames_before_it(
    data_root: Path, tmp_path: Path
) -> None:
    data = bytearray((data_root / "videos" / "head-pose-face-detection-male.mp4").read_bytes())
    third = len(data) // 3
    data[third : third + third // 2] = np.random.default_rng(0).bytes(third // 2)
    (tmp_path / "torn.mp4").write_bytes(data)
    seen: list[int] = []
    with pytest.raises(DataError, match="damaged after"):
        seen.extend(frame.number for frame in video.frames(tmp_path / "torn.mp4"))
    assert 0 < len(seen) < 62


def test_a_copy_that_is_broken_off_leaves_nothing(tmp_path: Path) -> None:
    def broken() -> None:
        with video.writing(tmp_path / "copy.mp4", Fraction(10)) as add:
            add(picture(1), 0.0)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken()
    assert list(tmp_path.iterdir()) == []


def test_without_pyav_one_is_told_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(UsageError, match=r"pip install 'pellucid\[detect\]'"):
        video.describe(tmp_path / "film.mp4")


def test_without_an_encoder_of_h264_it_is_mpeg4(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video, "_ENCODERS", ("no_such_encoder", "mpeg4"))
    with video.writing(tmp_path / "plain.mp4", Fraction(30000, 1001)) as add:
        for number in range(5):
            add(picture(number), number * 1001 / 30000)
    with av.open(str(tmp_path / "plain.mp4")) as container:
        assert container.streams.video[0].codec_context.name == "mpeg4"
    assert len(list(video.frames(tmp_path / "plain.mp4"))) == 5
