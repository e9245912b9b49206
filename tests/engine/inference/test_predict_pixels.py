"""`predict` for a class of every pixel, for volumes and for larger images, with toy parts without
weights."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import pellucid
from pellucid.core.errors import DataError, UsageError
from pellucid.core.types import UNKNOWN_GEOMETRY, Batch, ViewTransform, VolumeGeometry
from pellucid.data import video
from pellucid.data.images import Header
from pellucid.data.sample import Sample
from pellucid.engine.inference import predict as command_module
from pellucid.engine.inference.model import Model
from pellucid.plots import masks
from pellucid.tasks.segmentation.result import SegmentationResult
from pellucid.tasks.superresolution.result import OUTPUT_SUFFIXES, SuperResolutionResult

CLASSES = ("background", "crack")
SPACE = VolumeGeometry((2.0, 1.0, 1.0), np.diag([-1.0, -1.0, 2.0, 1.0]))


@dataclass(frozen=True)
class Stack:
    """A volume of 6×10×12 voxels in a folder; a bright cube in it."""

    folder: Path

    def header(self) -> Header:
        return Header(10, 12, 1, 16, 6)

    def space(self) -> VolumeGeometry:
        return SPACE

    def pixels(self) -> np.ndarray:
        if (self.folder / "damaged").exists():
            raise DataError(f"{self.folder}: is damaged; replace it")
        volume = np.zeros((6, 10, 12, 1), np.uint16)
        volume[2:4, 3:6, 4:8] = 60_000
        return volume


def find_patients(path: Path, preprocess: Any) -> list[Sample]:
    patients = (
        [path]
        if (path / "scan.txt").exists()
        else sorted(each for each in path.iterdir() if (each / "scan.txt").exists())
    )
    return [
        Sample(Stack(each), None, str(each.relative_to(path)) if each != path else path.name)
        for each in patients
    ]


class WholePreprocess:
    """One view: the image as it is."""

    def views(self, sample: Sample, tta: str) -> list[tuple[np.ndarray, ViewTransform]]:
        pixels = sample.pixels()
        size = pixels.shape[:-1]
        transform = ViewTransform(np.eye(len(size), len(size) + 1), size, size, space=sample.space)
        return [(pixels.astype(np.int32), transform)]

    def network_input(self, batch: Batch) -> torch.Tensor:
        return batch.images


@dataclass(frozen=True)
class WholeInference:
    """What is bright is a crack. enlarges: the result is each pixel four times instead."""

    output_suffixes: tuple[str, ...] = masks.MASK_FILES
    enlarges: bool = False
    classes: tuple[str, ...] = CLASSES
    tta: str = "none"

    def with_options(
        self, tta: str = "none", threshold: float | None = None, full: bool = True
    ) -> WholeInference:
        return self

    def forward(self, network: torch.nn.Module, inputs: torch.Tensor) -> torch.Tensor:
        return inputs.double()

    def decode(self, outputs: torch.Tensor, batch: Batch) -> list[Any]:
        rows = zip(batch.sources, outputs.numpy(), batch.transforms, strict=True)
        return [
            self._one(source, np.moveaxis(output, 0, -1), transform)
            for source, output, transform in rows
        ]

    def _one(self, source: str, output: np.ndarray, transform: ViewTransform) -> Any:
        size = transform.source_size
        if self.enlarges:
            larger = output.repeat(2, axis=0).repeat(2, axis=1).astype(np.uint8)
            return SuperResolutionResult(source, size, larger)
        mask = (output[..., 0] > 200).astype(np.uint8)
        geometry = transform.space or UNKNOWN_GEOMETRY
        return SegmentationResult(source, size, CLASSES, mask, geometry=geometry)


def wall(cracked: bool = True) -> np.ndarray:
    picture = np.full((40, 60, 3), 90, np.uint8)
    picture[10:20, 15:45] = 250 if cracked else 90
    return picture


@pytest.fixture
def here(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    toy_model: Callable[..., Model],
    use: Callable[[Model], None],
) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "walls").mkdir()
    Image.fromarray(wall()).save("walls/a.png")
    Image.fromarray(wall(cracked=False)).save("walls/b.png")
    for name in ("pat1", "pat2"):
        (tmp_path / "brains" / name).mkdir(parents=True)
        (tmp_path / "brains" / name / "scan.txt").write_text("voxels")
    use(toy_model(WholePreprocess(), WholeInference()))
    return tmp_path


def ask(what: Any, **settings: Any) -> Any:
    return pellucid.predict("model", what, quiet=True, **settings)


def table(path: str) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def written(folder: str) -> list[str]:
    return sorted(
        str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file()
    )


def test_each_class_is_reported_as_a_share(here: Path) -> None:
    found = ask("walls", csv="out.csv", out="drawn")
    assert found.lines() == [
        "walls/a.png: crack 12.5%, background 87.5%",
        "walls/b.png: background 100.0%",
    ]
    assert table("out.csv")[0] == {
        "source": "walls/a.png",
        "share_background": "0.875000",
        "share_crack": "0.125000",
    }
    assert found.to_json()[0]["areas"][1] == {"label": "crack", "pixels": 300, "share": 0.125}
    assert written("drawn") == ["a.png", "a_mask.png", "b.png", "b_mask.png"]
    assert (np.asarray(Image.open("drawn/a_mask.png")) == found.results[0].mask).all()
    assert all(result.probabilities.size == 0 for result in found.results)


def test_nothing_beside_an_image_is_overwritten(here: Path) -> None:
    before = Path("walls/a.png").read_bytes()
    with pytest.raises(UsageError, match=r"would overwrite walls/a\.png"):
        ask("walls", out="walls")
    Image.fromarray(wall()).save("walls/c.jpg")
    Path("walls/c_mask.png").write_text("mine")
    with pytest.raises(UsageError, match=r"would overwrite walls/c_mask\.png"):
        ask("walls/c.jpg", out="walls")
    assert (
        Path("walls/a.png").read_bytes() == before
        and Path("walls/c_mask.png").read_text() == "mine"
    )
    assert not Path("walls/c.png").exists()


def test_copies_of_an_image_and_its_mask_do_not_clash(here: Path) -> None:
    Image.fromarray(wall()).save("walls/a_mask.png")
    ask("walls", out="drawn")
    names = [
        f"{name}{ending}"
        for name in ("a.png", "a_mask.png", "b.png")
        for ending in masks.MASK_FILES
    ]
    assert written("drawn") == sorted(names)


def test_masks_are_kept_up_to_a_bound(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command_module, "KEPT", 40 * 60)
    first, second = ask("walls").results
    assert first.mask.shape == (40, 60) and not hasattr(second, "mask")
    assert second.counts.tolist() == [2400, 0]


def test_a_video_keeps_its_size_and_no_masks(here: Path) -> None:
    pytest.importorskip("av")
    with video.writing(Path("film.mp4"), Fraction(10)) as add:
        for number in range(10):
            add(wall(cracked=number >= 4), number / 10)
    found = ask("film.mp4", csv="out.csv", out="drawn")
    assert found.lines() == ["film.mp4: 10 frames (0:00): crack in 6"]
    assert not any(hasattr(frame.result, "mask") for frame in found.frames)
    assert len(table("out.csv")) == 10
    assert video.describe(Path("drawn/film.mp4")) == video.describe(Path("film.mp4"))


def test_a_larger_image_is_reported_by_its_size(
    here: Path, toy_model: Callable[..., Model], use: Callable[[Model], None]
) -> None:
    use(toy_model(WholePreprocess(), WholeInference(OUTPUT_SUFFIXES, enlarges=True)))
    found = ask("walls/a.png", csv="out.csv", out="drawn")
    assert found.lines() == ["walls/a.png: 60×40 → 120×80"]
    assert table("out.csv") == [
        {
            "source": "walls/a.png",
            "height": "40",
            "width": "60",
            "new_height": "80",
            "new_width": "120",
        }
    ]
    assert written("drawn") == ["a.png", "a_before_after.png"] and Image.open(
        "drawn/a.png"
    ).size == (120, 80)


class TestVolumes:
    @pytest.fixture(autouse=True)
    def model(
        self, here: Path, toy_model: Callable[..., Model], use: Callable[[Model], None]
    ) -> None:
        inference = WholeInference(masks.VOLUME_FILES)
        use(toy_model(WholePreprocess(), inference, find_inputs=find_patients))

    @pytest.mark.parametrize("named", ["brains", "brains/*", ["brains/pat1", "brains/pat2"]])
    def test_patients_are_found_however_they_are_named(self, named: Any) -> None:
        # 24 voxels of 2 mm³.
        assert ask(named).lines() == ["brains/pat1: crack 48 mm³", "brains/pat2: crack 48 mm³"]

    def test_the_files_and_the_table(self) -> None:
        nib = pytest.importorskip("nibabel")
        found = ask("brains", csv="out.csv", out="drawn")
        assert written("drawn") == sorted(
            f"{name}{ending}" for name in ("pat1", "pat2") for ending in masks.VOLUME_FILES
        )
        labels = nib.load("drawn/pat1.nii.gz")
        assert (labels.affine == SPACE.affine).all() and (
            found.results[0].mask == np.asarray(labels.dataobj).T
        ).all()
        (row, _) = table("out.csv")
        assert (row["source"], row["ml_crack"], row["share_crack"]) == (
            "brains/pat1",
            "0.0480",
            f"{24 / 720:.6f}",
        )
        assert found.to_json()[0]["spacing"] == [2.0, 1.0, 1.0]

    def test_nothing_is_written_into_what_is_read(self) -> None:
        Path("brains/pat1.gif").write_text("mine")
        with pytest.raises(UsageError, match=r"pat1\.gif"):
            ask("brains", out="brains")
        with pytest.raises(UsageError, match="table would overwrite"):
            ask("brains", csv="brains/pat1/scan.txt")
        assert (
            Path("brains/pat1.gif").read_text() == "mine"
            and Path("brains/pat1/scan.txt").read_text() == "voxels"
        )

    def test_one_that_cannot_be_read_is_reported(self) -> None:
        Path("brains/pat2/damaged").touch()
        with pytest.raises(DataError, match="pat2: is damaged"):
            ask("brains")
