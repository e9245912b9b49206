from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pellucid.core.errors import DataError
from pellucid.data import formats, images

CATEGORIES = [
    {"id": 90, "name": "toothbrush"},
    {"id": 3, "name": "car"},
    {"id": 5, "name": "unused"},
]


def picture(path: Path, height: int = 40, width: int = 60) -> None:
    images.write(path, np.zeros((height, width, 3), np.uint8))


def image(number: int, name: str) -> dict[str, Any]:
    return {"id": number, "file_name": name, "width": 60, "height": 40}


def box(number: int, picture: int, category: int, *bbox: object, **more: object) -> dict[str, Any]:
    return {"id": number, "image_id": picture, "category_id": category, "bbox": list(bbox), **more}


def write(
    path: Path,
    pictures: list[Any],
    annotations: list[Any],
    categories: list[Any] = CATEGORIES,
    **more: Any,
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        json.dumps(
            {"images": pictures, "annotations": annotations, "categories": categories, **more}
        )
    )
    return path


@pytest.fixture
def official(tmp_path: Path) -> Path:
    """annotations/instances_train2017.json and images/train2017/, and the same for val, with the
    same name of a picture in both."""
    for part, label in (("train", 90), ("val", 3)):
        picture(tmp_path / "images" / f"{part}2017" / "1.jpg")
        picture(tmp_path / "images" / f"{part}2017" / f"{part}.jpg")
        rows = [box(1, 7, label, 1.5, 2, 10, 20), box(2, 7, 90, 0, 0, 60, 40, iscrowd=1)]
        write(
            tmp_path / "annotations" / f"instances_{part}2017.json",
            [image(7, "1.jpg"), image(9, f"{part}.jpg")],
            rows,
        )
    return tmp_path


def test_official_layout(official: Path) -> None:
    for name in ("captions_train2017", "panoptic_val2017", "person_keypoints_train2017"):
        field = {"captions": '"caption"', "panoptic": '"segments_info"'}.get(
            name.split("_")[0], '"bbox"'
        )
        (official / "annotations" / f"{name}.json").write_text(
            f'{{"images": [], "annotations": [{{{field}: 1}}]}}'
        )
    reading = formats.read_objects(official)
    assert formats.recognise_objects(official) == reading.format == "coco"
    assert reading.classes == ("toothbrush", "car", "unused")
    assert [sample.source.removeprefix("images/") for sample in reading.samples] == [
        "train2017/1.jpg",
        "val2017/1.jpg",
        "train2017/train.jpg",
        "val2017/val.jpg",
    ]
    assert {part: where.tolist() for part, where in reading.given.items()} == {
        "train": [0, 2],
        "validation": [1, 3],
    }
    target = reading.samples[1].target
    np.testing.assert_array_equal(target.boxes, [[1.5, 2, 11.5, 22], [0, 0, 60, 40]])
    assert target.labels.tolist() == [1, 0] and target.ignore.tolist() == [False, True]
    assert len(reading.samples[2].target) == 0
    assert reading.left_out == (
        ("annotations/person_keypoints_train2017.json", "not the instances"),
    )


@pytest.mark.parametrize("place", ["", "images", "data", "annotations/../train"])
def test_one_file_and_where_its_pictures_lie(tmp_path: Path, place: str) -> None:
    picture(tmp_path / place / "a.png")
    (tmp_path / "annotations").mkdir(exist_ok=True)
    path = write(
        tmp_path / "train" / "_annotations.coco.json",
        [image(1, "/elsewhere/a.png")],
        [box(1, 1, 3, 0, 0, 5, 5)],
    )
    reading = formats.read_objects(tmp_path)
    assert reading.given == {} and len(reading.samples) == 1
    if place.endswith("train"):
        assert [sample.source for sample in formats.read_objects(path).samples] == ["a.png"]


def test_pictures_of_another_part_are_never_taken(official: Path) -> None:
    """A val whose folder is missing finds nothing, and not the pictures of the same
    names in train."""
    for name in ("1.jpg", "val.jpg"):
        (official / "images" / "val2017" / name).unlink()
    reading = formats.read_objects(official)
    assert reading.given == {} and len(reading.samples) == 2
    assert ("1.jpg", "named by instances_val2017.json but not there") in reading.left_out


def test_what_is_wrong_is_named(official: Path) -> None:
    (official / "annotations" / "instances_val2017.json").unlink()
    rows = [
        box(1, 7, 90, 5, 5, 0, 5),
        box(2, 7, 90, 5, 5, -3, 5),
        box(3, 7, 90, 70, 5, 5, 5),
        box(4, 7, 90, float("nan"), 5, 5, 5),
    ]
    rows += [
        box(5, 7, 90, True, 5, 5, 5),
        box(6, 7, 90, 5, 5),
        {"id": 7, "image_id": 7, "category_id": 90},
        box(8, 99, 90, 5, 5, 5, 5),
    ]
    rows += [box(9, 7, 3, 5, 5, 5, 5), box(10, 7, 3, 5, 5, 5, 5), box(11, 7, 3, 50, 5, 50, 5)]
    write(
        official / "annotations" / "instances_train2017.json",
        [image(7, "1.jpg") | {"width": 61}],
        rows,
    )
    reading = formats.read_objects(official)
    np.testing.assert_array_equal(
        reading.samples[0].target.boxes, [[5, 5, 10, 10], [50, 5, 60, 10]]
    )
    left_out = {
        where.removeprefix("images/train2017/1.jpg").removeprefix(", annotation "): reason
        for where, reason in reading.left_out
    }
    assert left_out == {
        "": "a size that is not the picture's",
        "1": "a box of no size (toothbrush)",
        "2": "a box of no size (toothbrush)",
        "3": "a box outside the picture (toothbrush)",
        "4": "a box of numbers that are not finite (toothbrush)",
        **dict.fromkeys(("5", "6", "7"), "an annotation without a box (toothbrush)"),
        "annotations/instances_train2017.json, annotation 8": "an annotation without a picture",
        "10": "the same box twice (car)",
        "11": "the part of a box that lies outside the picture (car)",
        "images/train2017/train.jpg": "a picture without an annotation",
    }


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"annotations": [box(1, 7, 4, 0, 0, 5, 5)]},
            "annotation 1 has the category 4, which categories does not name",
        ),
        (
            {"annotations": [{"id": 1, "image_id": 7, "category_id": [3], "bbox": [0, 0, 5, 5]}]},
            "which categories does not name",
        ),
        ({"annotations": None}, "annotations is missing or not a list"),
        ({"images": [{"id": 7}]}, "an entry of images has no usable file_name"),
        ({"images": [{"file_name": "1.jpg"}]}, "an entry of images has no usable id"),
        ({"images": [{"file_name": "gone.jpg"}]}, "an entry of images has no usable id"),
        ({"categories": [{"id": 3}]}, "an entry of categories has no usable name"),
        ({"images": [image(7, "ghost.jpg")]}, "none of the pictures it names was found"),
    ],
)
def test_files_that_are_refused(official: Path, change: dict[str, Any], said: str) -> None:
    path = official / "annotations" / "instances_train2017.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DataError, match=said) as caught:
        formats.read_objects(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ['{"images": [], "categories": ', "[" * 100_000, "[]"])
def test_what_is_no_json_object(official: Path, text: str) -> None:
    path = official / "annotations" / "instances_train2017.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"instances_train2017\.json"):
        formats.OBJECTS["coco"].read(path)


def test_numbers_of_huge_size_are_not_finite(official: Path) -> None:
    path = official / "annotations" / "instances_train2017.json"
    path.write_text(path.read_text().replace("1.5, 2, 10, 20", "1e999, 2, 1" + "0" * 400 + ", 20"))
    reasons = [reason for _, reason in formats.read_objects(path).left_out]
    assert "a box of numbers that are not finite (toothbrush)" in reasons


def test_unreadable_annotations_are_not_background(official: Path) -> None:
    rows = [box(1, 7, 90, 1, 1, 5, 5), box(2, 9, 90, 1, 1, 5), box(3, 9, 90, float("inf"), 1, 5, 5)]
    path = write(
        official / "annotations" / "instances_train2017.json",
        [image(7, "1.jpg"), image(9, "train.jpg")],
        rows,
    )
    reading = formats.read_objects(path)
    assert [sample.source for sample in reading.samples] == ["images/train2017/1.jpg"]
    assert "2 objects of 1 picture cannot be read" in reading.notes[0]
