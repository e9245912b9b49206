"""`predict` for objects and for videos, asked of a room that finds one red patch in
each picture."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import pellucid
from pellucid import cli as command_line
from pellucid.core.errors import DataError, UsageError
from pellucid.core.types import Batch, Prediction, ViewTransform
from pellucid.data import video
from pellucid.data.sample import Sample
from pellucid.engine.inference import ensemble
from pellucid.engine.inference import predict as verb
from pellucid.engine.inference.ensemble import Member
from pellucid.tasks.classification import Classification
from pellucid.transforms import tiles
from pellucid.transforms.tta import one

SIZE = (64, 64)
GROUND = 60


@dataclass(frozen=True)
class Reds:
    """A detector without weights: the box around what is red in a view, as sure as 0.8; and one at
    0.2 that is nothing."""

    threshold: float = 0.4
    crops: str = "one"
    name: str = "detection"
    writes: tuple[str, ...] = (".png",)

    def find(self, path: Path) -> list[Sample] | None:
        return None

    def with_crops(self, kind: str) -> Reds:
        if kind not in ("one", "tiles"):
            raise UsageError(f'crops: unknown "{kind}"; known: one, tiles')
        return replace(self, crops=kind)

    def said_alone(self) -> Reds:
        return self

    def with_threshold(self, value: float) -> Reds:
        return replace(self, threshold=value)

    def views(self, sample: Sample) -> list[tuple[np.ndarray, ViewTransform]]:
        return (one if self.crops == "one" else tiles.views)(sample.pixels(), SIZE, 0)

    def outputs(self, network: torch.nn.Module, batch: Batch) -> torch.Tensor:
        found = torch.zeros(len(batch), 2, 6)
        for number, image in enumerate(batch.images):
            y, x = torch.nonzero((image[0] > 180) & (image[1] < 100), as_tuple=True)
            if len(x):
                box = (x.min(), y.min(), x.max() + 1, y.max() + 1)
                found[number] = torch.tensor([[*box, 0.8, 1], [0, 0, 9, 9, 0.2, 0]])
        return found

    def decode(self, outputs: torch.Tensor, batch: Batch) -> list[Prediction]:
        return [self._one(source, outputs, batch) for source in dict.fromkeys(batch.sources)]

    def _one(self, source: str, outputs: torch.Tensor, batch: Batch) -> Prediction:
        rows, seen = [np.zeros((0, 6))], [np.zeros((0, 4))]
        for output, transform, other in zip(
            outputs.double().numpy(), batch.transforms, batch.sources, strict=True
        ):
            if other == source:
                output = output[output[:, 4] > 0]
                corners = transform.backward(output[:, :4].reshape(-1, 2)).reshape(-1, 4)
                rows.append(np.column_stack([corners, output[:, 4:]]))
                seen.append(np.tile(tiles.seen(transform), (len(output), 1)))
                size = transform.source_size
        found = np.concatenate(rows)
        boxes, scores, labels = tiles.merge(
            found[:, :4], found[:, 4], found[:, 5].astype(np.int64), np.concatenate(seen), size
        )
        return Prediction(
            source,
            size,
            ("white", "red"),
            boxes=boxes,
            scores=scores,
            labels=labels,
            threshold=self.threshold,
        )

    def together(self, answers: Sequence[Prediction]) -> Prediction:
        return answers[0]


def scene(box: tuple[int, int, int, int] | None, size: tuple[int, int] = (96, 128)) -> np.ndarray:
    picture = np.full((*size, 3), GROUND, np.uint8)
    if box is not None:
        picture[box[1] : box[3], box[0] : box[2]] = 230, 20, 20
    return picture


def moving(number: int) -> tuple[int, int, int, int]:
    return 4 + 4 * number, 30, 44 + 4 * number, 62


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    Image.fromarray(scene((20, 30, 60, 70))).save("pictures/a.png")
    Image.fromarray(scene(None)).save("pictures/b.png")
    asked = [Member(Path("model"), Reds(), torch.nn.Identity())]  # type: ignore[arg-type]
    monkeypatch.setattr(ensemble, "members", lambda models: asked * len(models))
    return tmp_path


@pytest.fixture
def film(here: Path) -> Path:
    """20 frames in which a red patch moves right; in the first ten it is not there."""
    pytest.importorskip("av")
    with video.writing(Path("film.mp4"), Fraction(10)) as add:
        for number in range(20):
            add(scene(moving(number) if number >= 10 else None), number / 10)
    return Path("film.mp4")


def table(path: str) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def command(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["pellucid", "predict", "model", *words])
    with pytest.raises(SystemExit) as stopped:
        command_line.main()
    return int(stopped.value.code or 0)


def test_a_table_has_a_row_an_object_and_an_empty_one_where_there_is_none(here: Path) -> None:
    found = pellucid.predict("model", "pictures", csv="out.csv", quiet=True)
    first, second = table("out.csv")
    assert (first["source"], first["label"], first["confidence"]) == (
        "pictures/a.png",
        "red",
        "0.800000",
    )
    assert [float(first[side]) for side in ("x1", "y1", "x2", "y2")] == pytest.approx(
        [20, 30, 60, 70], abs=2.1
    )
    assert second == {
        "source": "pictures/b.png",
        **dict.fromkeys(("label", "confidence", "x1", "y1", "x2", "y2"), ""),
    }
    assert [len(answer.objects()) for answer in found.answers] == [1, 0]


def test_the_command_line_counts_objects(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(monkeypatch, "pictures") == 0
    assert capsys.readouterr().out.splitlines() == [
        "pictures/a.png: 1 object: red 1",
        "pictures/b.png: nothing found (threshold 0.40)",
    ]
    assert command(monkeypatch, "pictures/a.png", "--threshold", "0.1") == 0
    assert capsys.readouterr().out == "pictures/a.png: 2 objects: red 1, white 1\n"
    assert command(monkeypatch, "pictures/a.png", "--json") == 0
    (answer,) = json.loads(capsys.readouterr().out)
    assert answer["threshold"] == 0.4 and [each["label"] for each in answer["objects"]] == ["red"]


def test_a_threshold_that_means_nothing_is_refused(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for wrong in (1.5, -0.1, float("nan")):
        with pytest.raises(UsageError, match="between 0 and 1"):
            pellucid.predict("model", "pictures", threshold=wrong, quiet=True)

    whole = Classification(("a", "b"), (8, 8), 3)
    monkeypatch.setattr(
        ensemble, "members", lambda models: [Member(Path("model"), whole, torch.nn.Identity())]
    )
    with pytest.raises(UsageError, match="threshold: is for models that find objects"):
        pellucid.predict("model", "pictures", threshold=0.5, quiet=True)


def test_a_large_picture_in_tiles_has_its_objects_once_and_in_place(here: Path) -> None:
    # One crosses a seam, and is so large that no tile sees it whole; fitted into a view it would be
    # a few pixels.
    box = (300, 100, 420, 180)
    Image.fromarray(scene(box, (400, 700))).save("large.png")
    (whole,) = pellucid.predict("model", "large.png", quiet=True).answers
    (tiled,) = pellucid.predict("model", "large.png", crops="tiles", quiet=True).answers
    np.testing.assert_allclose(tiled.objects()[0]["box"], whole.objects()[0]["box"], atol=8)
    assert len(tiled.objects()) == 1


def test_answers_do_not_depend_on_what_is_asked_with_them(here: Path) -> None:
    for number in range(40):
        Image.fromarray(scene(moving(number % 20), (150, 200))).save(
            f"pictures/many{number:02}.png"
        )
    together = pellucid.predict("model", "pictures", crops="tiles", quiet=True).answers
    assert len(together) == 42
    for answer in together[::7]:
        (alone,) = pellucid.predict("model", answer.source, crops="tiles", quiet=True).answers
        assert alone.to_json() == answer.to_json()


def test_a_video_is_answered_frame_by_frame(film: Path) -> None:
    found = pellucid.predict("model", film, csv="out.csv", quiet=True)
    assert found.answers == [] and [moment.frame for moment in found.moments] == list(range(20))
    assert [moment.seconds for moment in found.moments] == pytest.approx(
        [n / 10 for n in range(20)], abs=1e-3
    )
    assert [len(moment.answer.objects()) for moment in found.moments] == [0] * 10 + [1] * 10
    for moment in found.moments[10:]:
        np.testing.assert_allclose(moment.answer.objects()[0]["box"], moving(moment.frame), atol=4)
    rows = table("out.csv")
    assert list(rows[0]) == [
        "source",
        "frame",
        "seconds",
        "label",
        "confidence",
        "x1",
        "y1",
        "x2",
        "y2",
    ]
    assert [(row["source"], row["frame"], row["label"]) for row in rows[8:12]] == [
        ("film.mp4", "8", ""),
        ("film.mp4", "9", ""),
        ("film.mp4", "10", "red"),
        ("film.mp4", "11", "red"),
    ]
    assert found.lines() == ["film.mp4: 20 frames (0:01): red in 10"]
    assert (
        found.to_json()[12] | {"source": "film.mp4", "frame": 12, "seconds": 1.2}
        == found.to_json()[12]
    )


def test_pictures_and_videos_in_one_table(film: Path) -> None:
    found = pellucid.predict("model", ["pictures", film], csv="out.csv", quiet=True)
    rows = table("out.csv")
    assert [row["frame"] for row in rows] == ["", "", *map(str, range(20))] and {
        row["source"] for row in rows[2:]
    } == {"film.mp4"}
    assert len(found.lines()) == 3


def test_an_annotated_copy_keeps_rate_and_size_and_shows_the_boxes(film: Path) -> None:
    pellucid.predict("model", [film, "pictures"], out="drawn", quiet=True)
    assert sorted(str(path) for path in Path("drawn").rglob("*.*")) == [
        "drawn/film.mp4",
        "drawn/pictures/a.png",
        "drawn/pictures/b.png",
    ]
    assert video.describe(Path("drawn/film.mp4")) == video.describe(film)
    for before, after in zip(video.frames(film), video.frames(Path("drawn/film.mp4")), strict=True):
        changed = np.abs(before.pixels.astype(int) - after.pixels).max(axis=2) > 60
        assert changed.any() == (before.number >= 10)


def test_nothing_is_written_over_a_video(film: Path) -> None:
    before = film.read_bytes()
    for settings in ({"out": "."}, {"csv": "film.mp4"}):
        with pytest.raises(UsageError, match="overwrite"):
            pellucid.predict("model", film, quiet=True, **settings)  # type: ignore[arg-type]
    assert film.read_bytes() == before
    Path("film.avi").write_bytes(before)
    pellucid.predict("model", ["film.avi", "film.mp4"], out="drawn", quiet=True)
    assert sorted(path.name for path in Path("drawn").iterdir()) == ["film.avi.mp4", "film.mp4.mp4"]


def test_videos_are_found_in_folders(film: Path) -> None:
    film.rename("pictures/film.MP4")
    assert [Path(sample.source).name for sample in verb.find(["pictures"], Reds().find)] == [
        "a.png",
        "b.png",
        "film.MP4",
    ]


def test_a_video_that_breaks_off_is_told(
    film: Path, data_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = (data_root / "videos" / "car-detection.mp4").read_bytes()
    Path("cut.mp4").write_bytes(data[: len(data) // 16])
    found = pellucid.predict("model", "cut.mp4", out="drawn")
    assert 0 < len(found.moments) < 100
    assert (
        f"cut.mp4: ends after {len(found.moments)} of the 377 frames that it promises"
        in capsys.readouterr().err
    )
    assert len(list(video.frames(Path("drawn/cut.mp4")))) == len(found.moments)


def test_a_bad_video_stops_it_before_anything_is_written(film: Path) -> None:
    Path("bad.mp4").write_bytes(b"no video at all")
    with pytest.raises(DataError, match=r"bad\.mp4: is not a video"):
        pellucid.predict("model", ["pictures", "bad.mp4"], csv="out.csv", out="drawn", quiet=True)
    assert not Path("out.csv").exists() and not Path("drawn").exists()


def test_an_interrupted_video_leaves_no_half_copy(
    film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = Reds.decode
    asked: list[int] = []

    def interrupted(self: Reds, outputs: torch.Tensor, batch: Batch) -> list[Prediction]:
        asked.append(len(batch))
        if len(asked) == 2:
            raise KeyboardInterrupt
        return decode(self, outputs, batch)

    monkeypatch.setattr(Reds, "decode", interrupted)
    assert command(monkeypatch, str(film), "--out", "drawn", "--csv", "out.csv") == 130
    assert list(Path("drawn").iterdir()) == [] and not Path("out.csv").exists()


def test_few_frames_are_in_memory_at_a_time(film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as are asked about, those that wait, and the one in the decoder's hands."""
    alive = most = 0
    made = video.Frame

    class Counted:
        def __init__(self) -> None:
            nonlocal alive, most
            alive += 1
            most = max(most, alive)

        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    original: Callable[..., Any] = video.frames

    def counted(path: Path) -> Any:
        for frame in original(path):
            kept = made(frame.number, frame.seconds, frame.pixels)
            object.__setattr__(kept, "mark", Counted())
            del frame
            yield kept

    with video.writing(Path("long.mp4"), Fraction(10)) as add:
        for number in range(120):
            add(scene(None), number / 10)
    monkeypatch.setattr(video, "frames", counted)
    assert len(pellucid.predict("model", "long.mp4", quiet=True).moments) == 120
    assert most <= 48
