"""`predict` for objects and for videos, with a detector that finds one red patch in
each image."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable
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
from pellucid.core.types import Batch, ViewTransform
from pellucid.data import video
from pellucid.data.sample import Sample
from pellucid.engine.inference import predict as command_module
from pellucid.engine.inference.model import Model
from pellucid.tasks import TASKS
from pellucid.tasks.detection.result import DetectionResult
from pellucid.tasks.task import ModelSpec
from pellucid.transforms import tiles
from pellucid.transforms.tta import one

SIZE = (64, 64)
GROUND = 60


class RedsPreprocess:
    """Views of 64×64: the whole image, or tiles."""

    def views(self, sample: Sample, tta: str) -> list[tuple[np.ndarray, ViewTransform]]:
        return (one if tta == "none" else tiles.views)(sample.pixels(), SIZE, 0)

    def network_input(self, batch: Batch) -> torch.Tensor:
        return batch.images


@dataclass(frozen=True)
class RedsInference:
    """A detector without weights: the box around what is red in a view, with the score 0.8; and one
    at 0.2 that is nothing."""

    classes: tuple[str, ...] = ("white", "red")
    threshold: float = 0.4
    tta: str = "none"
    output_suffixes: tuple[str, ...] = (".png",)

    def with_options(
        self, tta: str = "none", threshold: float | None = None, full: bool = True
    ) -> RedsInference:
        if tta not in ("none", "tiles"):
            raise UsageError(f'crops: unknown "{tta}"; known: one, tiles')
        return replace(self, tta=tta, threshold=self.threshold if threshold is None else threshold)

    def forward(self, network: torch.nn.Module, inputs: torch.Tensor) -> torch.Tensor:
        found = torch.zeros(len(inputs), 2, 6)
        for number, image in enumerate(inputs):
            y, x = torch.nonzero((image[0] > 180) & (image[1] < 100), as_tuple=True)
            if len(x):
                box = (x.min(), y.min(), x.max() + 1, y.max() + 1)
                found[number] = torch.tensor([[*box, 0.8, 1], [0, 0, 9, 9, 0.2, 0]])
        return found

    def decode(self, outputs: torch.Tensor, batch: Batch) -> list[DetectionResult]:
        return [self._one(source, outputs, batch) for source in dict.fromkeys(batch.sources)]

    def _one(self, source: str, outputs: torch.Tensor, batch: Batch) -> DetectionResult:
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
        return DetectionResult(source, size, self.classes, boxes, scores, labels, self.threshold)


def scene(box: tuple[int, int, int, int] | None, size: tuple[int, int] = (96, 128)) -> np.ndarray:
    picture = np.full((*size, 3), GROUND, np.uint8)
    if box is not None:
        picture[box[1] : box[3], box[0] : box[2]] = 230, 20, 20
    return picture


def moving(number: int) -> tuple[int, int, int, int]:
    return 4 + 4 * number, 30, 44 + 4 * number, 62


@pytest.fixture
def here(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    toy_model: Callable[..., Model],
    use: Callable[[Model], None],
) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    Image.fromarray(scene((20, 30, 60, 70))).save("pictures/a.png")
    Image.fromarray(scene(None)).save("pictures/b.png")
    use(toy_model(RedsPreprocess(), RedsInference()))
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


def test_a_table_has_a_row_for_each_object(here: Path) -> None:
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
    assert [len(answer.to_json()["objects"]) for answer in found.results] == [1, 0]


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


def test_a_threshold_without_meaning_is_refused(here: Path, use: Callable[[Model], None]) -> None:
    for wrong in (1.5, -0.1, float("nan")):
        with pytest.raises(UsageError, match="between 0 and 1"):
            pellucid.predict("model", "pictures", threshold=wrong, quiet=True)

    spec = ModelSpec.from_json(
        TASKS["classification"],
        {
            "preprocess": {"size": (8, 8), "channels": 3},
            "architecture": {"model": "L2", "num_outputs": 2, "channels": 3, "size": (8, 8)},
            "inference": {"classes": ("a", "b")},
        },
    )
    use(Model(spec, torch.nn.Identity(), Path("model"), {}))
    with pytest.raises(UsageError, match="threshold: is for models that find objects"):
        pellucid.predict("model", "pictures", threshold=0.5, quiet=True)


def test_tiles_find_each_object_once_and_in_place(here: Path) -> None:
    # One crosses a seam, and is so large that no tile sees it whole; fitted into a view it would be
    # a few pixels.
    box = (300, 100, 420, 180)
    Image.fromarray(scene(box, (400, 700))).save("large.png")
    (whole,) = pellucid.predict("model", "large.png", quiet=True).results
    (tiled,) = pellucid.predict("model", "large.png", crops="tiles", quiet=True).results
    np.testing.assert_allclose(
        tiled.to_json()["objects"][0]["box"], whole.to_json()["objects"][0]["box"], atol=8
    )
    assert len(tiled.to_json()["objects"]) == 1


def test_results_do_not_depend_on_the_other_images(here: Path) -> None:
    for number in range(40):
        Image.fromarray(scene(moving(number % 20), (150, 200))).save(
            f"pictures/many{number:02}.png"
        )
    together = pellucid.predict("model", "pictures", crops="tiles", quiet=True).results
    assert len(together) == 42
    for answer in together[::7]:
        (alone,) = pellucid.predict("model", answer.source, crops="tiles", quiet=True).results
        assert alone.to_json() == answer.to_json()


def test_a_video_has_a_result_for_each_frame(film: Path) -> None:
    found = pellucid.predict("model", film, csv="out.csv", quiet=True)
    assert found.results == [] and [frame.frame for frame in found.frames] == list(range(20))
    assert [frame.seconds for frame in found.frames] == pytest.approx(
        [n / 10 for n in range(20)], abs=1e-3
    )
    assert [len(frame.result.to_json()["objects"]) for frame in found.frames] == [0] * 10 + [1] * 10
    for frame in found.frames[10:]:
        np.testing.assert_allclose(
            frame.result.to_json()["objects"][0]["box"], moving(frame.frame), atol=4
        )
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


def test_images_and_videos_in_one_table(film: Path) -> None:
    found = pellucid.predict("model", ["pictures", film], csv="out.csv", quiet=True)
    rows = table("out.csv")
    assert [row["frame"] for row in rows] == ["", "", *map(str, range(20))] and {
        row["source"] for row in rows[2:]
    } == {"film.mp4"}
    assert len(found.lines()) == 3


def test_an_annotated_copy_keeps_rate_and_size(film: Path) -> None:
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
    assert [
        Path(sample.source).name for sample in command_module.find(["pictures"], lambda path: None)
    ] == [
        "a.png",
        "b.png",
        "film.MP4",
    ]


def test_a_video_that_breaks_off_is_reported(
    film: Path, data_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = (data_root / "videos" / "car-detection.mp4").read_bytes()
    Path("cut.mp4").write_bytes(data[: len(data) // 16])
    found = pellucid.predict("model", "cut.mp4", out="drawn")
    assert 0 < len(found.frames) < 100
    assert (
        f"cut.mp4: ends after {len(found.frames)} of the 377 frames that it promises"
        in capsys.readouterr().err
    )
    assert len(list(video.frames(Path("drawn/cut.mp4")))) == len(found.frames)


def test_a_bad_video_stops_before_anything_is_written(film: Path) -> None:
    Path("bad.mp4").write_bytes(b"no video at all")
    with pytest.raises(DataError, match=r"bad\.mp4: is not a video"):
        pellucid.predict("model", ["pictures", "bad.mp4"], csv="out.csv", out="drawn", quiet=True)
    assert not Path("out.csv").exists() and not Path("drawn").exists()


def test_an_interrupted_video_leaves_no_half_copy(
    film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = RedsInference.decode
    asked: list[int] = []

    def interrupted(self: RedsInference, outputs: torch.Tensor, batch: Batch) -> Any:
        asked.append(len(batch))
        if len(asked) == 2:
            raise KeyboardInterrupt
        return decode(self, outputs, batch)

    monkeypatch.setattr(RedsInference, "decode", interrupted)
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
    assert len(pellucid.predict("model", "long.mp4", quiet=True).frames) == 120
    assert most <= 48
