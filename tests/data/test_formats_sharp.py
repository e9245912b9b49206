from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from pellucid.core.errors import DataError
from pellucid.data import formats, images
from pellucid.data.sample import HighResolution

DATA = Path(os.environ.get("PELLUCID_TEST_DATA", "../shared/data"))


def picture(path: Path, side: int, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    images.write(
        path, np.random.default_rng(seed).integers(0, 256, (side, side, 3)).astype(np.uint8)
    )


def test_a_plain_folder_is_read_when_asked(tmp_path: Path) -> None:
    for name in ("b2.png", "b10.png", "deep/a.jpg"):
        picture(tmp_path / name, 12)
    picture(tmp_path / "deep" / "a.png", 12)
    reading = formats.read_sharp(tmp_path)
    assert (
        not formats.recognise_sharp(tmp_path)
        and reading.format == "sharp"
        and reading.classes == ()
    )
    assert [sample.source for sample in reading.samples] == ["b2.png", "b10.png", "deep/a.jpg"]
    assert all(sample.target.low == () and sample.group is None for sample in reading.samples)
    assert [name for name, _ in reading.left_out] == ["deep/a.png"]


def test_copies_for_several_factors_are_one_picture(tmp_path: Path) -> None:
    """A copy joins; one cropped to a multiple of its factor stands by itself, in the same group."""
    for factor, side in ((2, 8), (3, 6), (4, 8)):
        picture(tmp_path / f"image_SRF_{factor}" / f"img_001_SRF_{factor}_HR.png", side)
        picture(tmp_path / f"image_SRF_{factor}" / f"img_001_SRF_{factor}_LR.png", side // factor)
    reading = formats.read_sharp(tmp_path)
    assert formats.recognise_sharp(tmp_path)
    said = [
        (sample.source, [(factor, path.name) for factor, path in sample.target.low])
        for sample in reading.samples
    ]
    assert said == [
        (
            "image_SRF_2/img_001_SRF_2_HR.png",
            [(2, "img_001_SRF_2_LR.png"), (4, "img_001_SRF_4_LR.png")],
        ),
        ("image_SRF_3/img_001_SRF_3_HR.png", [(3, "img_001_SRF_3_LR.png")]),
    ]
    assert (
        len({sample.group for sample in reading.samples}) == 1
        and reading.samples[0].group is not None
    )
    assert "with small ones supplied (×2, ×3, ×4)" in reading.why


def test_the_same_name_of_other_pixels_is_another_picture(tmp_path: Path) -> None:
    picture(tmp_path / "x2" / "a_HR.png", 8, seed=1)
    picture(tmp_path / "x4" / "a_HR.png", 8, seed=2)
    assert len(formats.read_sharp(tmp_path).samples) == 2


@pytest.mark.parametrize(
    ("large", "small"),
    [
        ("HR/{}.png", "LR/x2/{}x2.png"),
        ("DIV_train_HR/{}.png", "DIV_train_LR_bicubic/X2/{}x2.png"),
        ("{}_HR.png", "{}_LR.png"),
    ],
)
def test_pairs_by_names_of_folders_or_files(tmp_path: Path, large: str, small: str) -> None:
    for name in ("0001", "0002"):
        picture(tmp_path / large.format(name), 9, int(name))
        picture(tmp_path / small.format(name), 5, int(name))
    picture(tmp_path / small.format("0003"), 5)
    reading = formats.read_sharp(tmp_path)
    assert formats.recognise_sharp(tmp_path) and [sample.source for sample in reading.samples] == [
        large.format("0001"),
        large.format("0002"),
    ]
    assert [
        (factor, path.stem[:4]) for sample in reading.samples for factor, path in sample.target.low
    ] == [(2, "0001"), (2, "0002")]
    assert reading.left_out == ((small.format("0003"), "a small picture without its sharp one"),)


def test_parts_in_the_names_are_the_split(tmp_path: Path) -> None:
    for part in ("train", "valid"):
        picture(tmp_path / f"DIV_{part}_HR" / "1.png", 8)
    assert {part: where.tolist() for part, where in formats.read_sharp(tmp_path).given.items()} == {
        "train": [0],
        "validation": [1],
    }


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no picture"):
        formats.read_sharp(tmp_path)
    picture(tmp_path / "a_LR.png", 5)
    with pytest.raises(DataError, match="small pictures"):
        formats.read_sharp(tmp_path)
    picture(tmp_path / "a_HR.png", 6)
    with pytest.raises(
        DataError, match=r"a_LR.png: 5×5 pixels are no whole part of .*a_HR.png \(6×6\)"
    ):
        formats.read_sharp(tmp_path)
    with pytest.raises(DataError, match="is no folder of pictures; name the folder"):
        formats.read_sharp(tmp_path / "a_HR.png")
    with pytest.raises(DataError, match="there is no folder of pictures"):
        formats.read_sharp(tmp_path / "b")


def test_the_text_of_a_truth_follows_its_names() -> None:
    one = HighResolution(((2, Path("x/a.png")),))
    assert (
        str(one)
        == str(HighResolution(((2, Path("y/a.png")),)))
        != str(HighResolution(((3, Path("x/a.png")),)))
        != str(HighResolution())
    )


def test_real_set() -> None:
    if not (DATA / "superres").is_dir():
        pytest.skip(
            f"{DATA / 'superres'} is not there; set PELLUCID_TEST_DATA to the folder of real data"
        )
    reading = formats.read_sharp(DATA / "superres" / "Set5")
    factors = [factor for sample in reading.samples for factor, _ in sample.target.low]
    assert {factor: factors.count(factor) for factor in factors} == {
        2: 5,
        3: 5,
        4: 5,
    } and formats.recognise_sharp(DATA / "superres" / "Set5")
