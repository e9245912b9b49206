from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.core.errors import DataError
from pellucid.data import formats, images
from pellucid.data.formats.yolo import to_pixels

SETTINGS = "path: .\ntrain: images/train\nval: images/val\nnames: [cat, 'no', dog]\n"


def picture(path: Path, height: int = 40, width: int = 60) -> None:
    images.write(path, np.zeros((height, width, 3), np.uint8))


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Two training pictures, one of them background, and one of validation."""
    for name in ("train/a", "train/b", "val/c"):
        picture(tmp_path / "images" / f"{name}.jpg")
    labels = {
        "labels/train/a.txt": "2 0.5 0.5 0.5 0.25\n1 .25 .25 .1 .1",
        "labels/val/c.txt": "0 0.5 0.5 1 1\n",
    }
    return write(tmp_path, labels | {"data.yaml": SETTINGS})


def test_reads_shares_as_pixels(small: Path) -> None:
    reading = formats.read_objects(small)
    assert formats.recognise_objects(small) == reading.format == "yolo"
    assert reading.classes == ("cat", "no", "dog")
    assert [sample.source for sample in reading.samples] == [
        "images/train/a.jpg",
        "images/train/b.jpg",
        "images/val/c.jpg",
    ]
    np.testing.assert_array_equal(
        reading.samples[0].target.boxes, [[15, 15, 45, 25], [12, 8, 18, 12]]
    )
    assert (
        reading.samples[0].target.labels.tolist() == [2, 1] and len(reading.samples[1].target) == 0
    )
    assert {part: where.tolist() for part, where in reading.given.items()} == {
        "train": [0, 1],
        "validation": [2],
    }
    assert reading.why == (
        "found 3 classes of objects in YOLO format, 3 pictures (1 of background) with 3 objects, "
        "split into train (2), validation (1), "
        "1 without a label file taken as background"
    )
    assert [sample.source for sample in formats.read_objects(small / "data.yaml").samples] == [
        s.source for s in reading.samples
    ]


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        ("names:\n  0: cat\n  7: yes\n  2: dog\n", ("cat", "dog", "yes")),
        ("names:\n- cat\n- 1e3\n- dog\n", ("cat", "1e3", "dog")),
        ("nc: 3\nnames: {0: cat, 1: 'ä: b', 2: dog}\n", ("cat", "ä: b", "dog")),
    ],
)
def test_names_are_text(small: Path, names: str, classes: tuple[str, ...]) -> None:
    (small / "labels/train/a.txt").write_text("2 0.5 0.5 0.5 0.25\n")
    write(small, {"data.yaml": f"train: images/train\nval: images/val\n{names}"})
    assert formats.read_objects(small).classes == classes


@pytest.mark.parametrize(
    "path",
    ["/home/other/set", "C:\\sets\\set", "../datasets/set", "../set"],
    ids=["absolute", "windows", "relative", "above"],
)
def test_paths_of_another_machine(small: Path, path: str) -> None:
    write(small, {"data.yaml": SETTINGS.replace("path: .", f"path: {path}")})
    reading = formats.read_objects(small)
    assert reading.given["validation"].tolist() == [2]
    assert any(
        where == "data.yaml" and "found as images/train" in reason
        for where, reason in reading.left_out
    )


@pytest.mark.parametrize(
    "entry", ["../images/train", "/elsewhere/set/images/train", "./images/train", "[images/train]"]
)
def test_entries(small: Path, entry: str) -> None:
    write(small, {"data.yaml": f"train: {entry}\nval: images/val\nnames: [cat, x, dog]\n"})
    assert formats.read_objects(small).given["train"].tolist() == [0, 1]


def test_lists_of_pictures(small: Path) -> None:
    text = "./images/train/a.jpg\n/elsewhere/images/train/b.jpg\nimages/train/ghost.jpg\n\n"
    write(
        small,
        {
            "train.txt": text,
            "data.yaml": "train: train.txt\nval: images/val\nnames: [cat, x, dog]\n",
        },
    )
    reading = formats.read_objects(small)
    assert reading.given["train"].tolist() == [0, 1]
    assert ("train.txt, line 3", "a picture that is not there") in reading.left_out


def test_without_settings(small: Path) -> None:
    """Parts by folder; names from classes.txt, or numbers."""
    (small / "data.yaml").unlink()
    reading = formats.read_objects(small)
    assert formats.recognise_objects(small) == "yolo"
    assert reading.classes == ("0", "1", "2") and "classes without names" in reading.why
    assert reading.given["validation"].tolist() == [2]
    write(small, {"labels/classes.txt": "cat\ncar\ndog\nunused\n"})
    assert formats.read_objects(small).classes == ("cat", "car", "dog", "unused")


def test_parts_above_pictures_and_labels_beside(tmp_path: Path) -> None:
    for name in ("train/images/a", "valid/images/b"):
        picture(tmp_path / f"{name}.jpg")
    labels = {"train/labels/a.txt": "0 .5 .5 .2 .2", "valid/labels/b.txt": "0 .5 .5 .2 .2"}
    write(
        tmp_path,
        labels | {"data.yaml": "train: ../train/images\nval: ../valid/images\nnames: [cat]\n"},
    )
    assert {part: len(where) for part, where in formats.read_objects(tmp_path).given.items()} == {
        "train": 1,
        "validation": 1,
    }
    beside = tmp_path / "beside"
    picture(beside / "a.jpg")
    write(beside, {"a.txt": "0 .5 .5 .2 .2", "classes.txt": "plate"})
    assert formats.recognise_objects(beside) == "yolo" and formats.read_objects(beside).classes == (
        "plate",
    )


def test_the_same_pictures_in_both_parts_train(small: Path) -> None:
    write(small, {"data.yaml": SETTINGS.replace("images/val", "images/train")})
    reading = formats.read_objects(small)
    assert reading.given == {} and len(reading.samples) == 2
    assert ("images/train/a.jpg", "named again by validation") in reading.left_out


def test_lines_that_are_no_boxes_are_named(small: Path) -> None:
    lines = [
        "0 .5 .5 .2 .2",
        "0 .5 .5",
        "x .5 .5 .2 .2",
        "0 nan .5 .2 .2",
        "0 .5 .5 -.2 .2",
        "0 .5 .5 0 .2",
        "0.5 .5 .5 .2 .2",
    ]
    lines += [
        "0 .5 .5 .2 .2 .9",
        "0 1e999999999 .5 .2 .2",
        "",
        "0 5 5 .2 .2",
        "0 .1 .1 .3 .1 .2 .6",
        "0 0 .5 .5 .2",
        "0 .5 .5 .2 .2",
    ]
    write(
        small, {"labels/train/a.txt": "\n".join(lines), "labels/train/spare.txt": "0 .5 .5 .2 .2"}
    )
    reading = formats.read_objects(small)
    np.testing.assert_allclose(
        reading.samples[0].target.boxes,
        [[24, 16, 36, 24], [6, 4, 18, 24], [0, 16, 15, 24]],
        rtol=1e-15,
    )
    left_out = {
        where.removeprefix("labels/train/a.txt, line "): reason
        for where, reason in reading.left_out
    }
    neither = "a line that is neither a box (five numbers) nor a polygon"
    assert left_out == {
        **dict.fromkeys(("2", "3", "4", "7", "8", "9"), neither),
        "5": "a box of no size (cat)",
        "6": "a box of no size (cat)",
        "11": "a box outside the picture (cat)",
        "13": "the part of a box that lies outside the picture (cat)",
        "14": "the same box twice (cat)",
        "labels/train/spare.txt": "a label file without a picture",
    }


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (
            {"labels/train/a.txt": "0 .5 .5 .2 .2\n3 .5 .5 .2 .2"},
            r"a\.txt, line 2: class 3 has no name; 3 are named: cat, no, dog",
        ),
        ({"labels/train/a.txt": "-1 .5 .5 .2 .2"}, r"a\.txt, line 1: class -1 has no name"),
        ({"data.yaml": "names: [cat\ntrain: x"}, r"data\.yaml, line 2: is not YAML"),
        ({"data.yaml": SETTINGS + "nc: 4\n"}, "nc says 4 classes, names holds 3"),
        ({"data.yaml": "names: [cat, cat]\ntrain: images/train"}, "names the class cat twice"),
        ({"data.yaml": "names: 3\ntrain: images/train"}, "must give each class a name"),
        ({"data.yaml": "names: [[a], b]\ntrain: images/train"}, "must give each class a name"),
        (
            {"data.yaml": "names: {a: b}\ntrain: images/train"},
            "must be a list, or numbers with names",
        ),
        ({"data.yaml": "names: [a, b, c]\ntrain: pictures"}, "none of its folders is there"),
        (
            {"labels/train/a.txt": "", "labels/val/c.txt": ""},
            "YOLO format, but no object in 3 pictures",
        ),
    ],
)
def test_sets_that_are_refused(small: Path, files: dict[str, str], said: str) -> None:
    write(small, files)
    with pytest.raises(DataError, match=said) as caught:
        formats.OBJECTS["yolo"].read(small)
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text(small: Path) -> None:
    (small / "labels/train/a.txt").write_bytes(b"0 .5 .5 .2 \xff")
    with pytest.raises(DataError, match=r"a\.txt: is not UTF-8 text"):
        formats.read_objects(small)


def test_polygons_alone_are_another_question(small: Path) -> None:
    write(
        small,
        {"labels/train/a.txt": "0 .1 .1 .3 .1 .2 .6", "labels/val/c.txt": "0 .1 .1 .3 .1 .2 .6"},
    )
    assert formats.recognise_objects(small) is None
    assert len(formats.OBJECTS["yolo"].read(small).samples) == 3


@given(
    st.lists(st.floats(0, 1, allow_subnormal=False), min_size=4, max_size=4),
    st.tuples(st.integers(1, 9999), st.integers(1, 9999)),
)
def test_pixels_agree_with_floating_point(shares: list[float], size: tuple[int, int]) -> None:
    x, y, width, height = shares
    plain = np.array([x - width / 2, y - height / 2, x + width / 2, y + height / 2]) * [
        *size,
        *size,
    ]
    np.testing.assert_allclose(
        to_pixels([Decimal(repr(share)) for share in shares], size), plain, atol=1e-11
    )


def test_coco128(data_root: Path) -> None:
    """Its pictures lie beside the folder of its settings, and its validation part is not there."""
    reading = formats.read_objects(data_root / "coco128" / "object_detection")
    assert (
        len(reading.classes) == 80
        and reading.classes[0] == "person"
        and len(reading.samples) == 128
        and reading.given == {}
    )
    assert all(
        sample.image.is_file() and sample.source.startswith("images/train2017/")
        for sample in reading.samples
    )  # type: ignore[union-attr]
    assert sum(len(sample.target) for sample in reading.samples) == 929
    assert ("config.yaml", "val: images/val2017, which is not there") in reading.left_out


def test_yaml_that_is_endless_to_print(small: Path) -> None:
    bomb = "a: &a [x, x]\n" + "".join(
        f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n"
        for a, b in zip("abcdefghij", "bcdefghijk", strict=True)
    )
    for end in ("nc: *k\n", "path: *k\n", "test: *k\n"):
        write(small, {"data.yaml": bomb + SETTINGS.removeprefix("path: .\n") + end})
        assert len(formats.read_objects(small).samples) == 3
    write(small, {"data.yaml": bomb + "names: *k\ntrain: images/train\n"})
    with pytest.raises(DataError, match="must give each class a name"):
        formats.read_objects(small)


def test_the_working_folder_is_the_data_set(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(small)
    for source in (".", "data.yaml"):
        assert [sample.source for sample in formats.read_objects(source).samples][
            -1
        ] == "images/val/c.jpg"


def test_a_picture_whose_lines_cannot_be_read_is_no_background(small: Path) -> None:
    write(
        small,
        {
            "labels/train/a.txt": "2 .5 .5 .5\ncat .5 .5 .1 .1\n",
            "labels/train/b.txt": "",
            "labels/val/c.txt": "0 .5 .5 1 1\n0 1\n",
        },
    )
    reading = formats.read_objects(small)
    assert [sample.source for sample in reading.samples] == [
        "images/train/b.jpg",
        "images/val/c.jpg",
    ]
    assert {part: where.tolist() for part, where in reading.given.items()} == {
        "train": [0],
        "validation": [1],
    }
    assert (
        "images/train/a.jpg",
        "a picture with objects of which none can be read",
    ) in reading.left_out
    (note,) = reading.notes
    assert note.startswith(
        "WARNING: 3 objects of 2 pictures cannot be read, such as labels/train/a.txt, line 1"
    )
    write(small, {"labels/train/a.txt": "2 .5 .5 0 .5"})  # a box of no size can be read
    assert len(formats.read_objects(small).samples) == 3


def test_labels_without_any_box_are_recognised_by_their_folders(small: Path) -> None:
    for name in ("labels/train/a.txt", "labels/val/c.txt"):
        write(small, {name: ""})
    for source in (small, small / "data.yaml"):
        assert formats.recognise_objects(source) == "yolo"
        with pytest.raises(DataError, match="YOLO format, but no object in 3 pictures"):
            formats.read_objects(source)
    (small / "data.yaml").unlink()
    assert formats.recognise_objects(small) == "yolo"
    assert formats.recognise_objects(small / "labels") is None


def test_a_damaged_picture_is_not_counted_as_background(small: Path) -> None:
    (small / "images/val/c.jpg").write_bytes(b"")
    assert (
        "3 pictures (1 of background, 1 unreadable) with 2 objects"
        in formats.read_objects(small).why
    )


def test_the_built_in_pictures_have_no_boxes() -> None:
    with pytest.raises(DataError, match="digits: the built-in pictures have no boxes"):
        formats.read_objects("digits")
