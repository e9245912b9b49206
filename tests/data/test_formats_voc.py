from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pellucid.core.errors import DataError
from pellucid.data import formats, images


def picture(path: Path, height: int = 40, width: int = 60) -> Path:
    images.write(path, np.zeros((height, width, 3), np.uint8))
    return path


def xml(
    path: Path,
    *objects: str,
    size: str = "<size><width>60</width><height>40</height></size>",
    filename: str = "",
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f"<annotation><filename>{filename}</filename>{size}{''.join(objects)}</annotation>"
    )
    return path


def thing(name: str, *corners: object, more: str = "") -> str:
    sides = "".join(
        f"<{side}>{corner}</{side}>"
        for side, corner in zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=False)
    )
    return f"<object><name>{name}</name>{more}<bndbox>{sides}</bndbox></object>"


def make(root: Path, stem: str, *objects: str) -> None:
    picture(root / "JPEGImages" / f"{stem}.jpg")
    xml(root / "Annotations" / f"{stem}.xml", *objects)


def test_reads_boxes_as_they_stand(tmp_path: Path) -> None:
    make(tmp_path, "b10", thing("dog", 1, 2, 30.25, 40))
    make(
        tmp_path,
        "b9",
        thing("cat", 0, 0, 10, 10, more="<difficult>1</difficult>"),
        thing("dog", 5, 6, 7, 8),
    )
    make(tmp_path, "b11")
    reading = formats.read_objects(tmp_path)
    assert formats.recognise_objects(tmp_path) == reading.format == "voc"
    assert reading.classes == ("cat", "dog") and reading.given == {} and reading.left_out == ()
    assert [sample.source for sample in reading.samples] == [
        f"JPEGImages/b{n}.jpg" for n in (9, 10, 11)
    ]
    first, second, last = (sample.target for sample in reading.samples)
    np.testing.assert_array_equal(first.boxes, [[0, 0, 10, 10], [5, 6, 7, 8]])
    assert first.labels.tolist() == [0, 1] and first.ignore.tolist() == [True, False]
    np.testing.assert_array_equal(second.boxes, [[1, 2, 30.25, 40]])
    assert len(last) == 0 and last.boxes.shape == (0, 4)
    assert (
        reading.why
        == "found 2 classes of objects in VOC format, 3 pictures (1 of background) with 3 objects"
    )


def test_boxes_that_cannot_be_learnt_are_named(tmp_path: Path) -> None:
    bad = [
        thing("cat", 5, 5, 5, 9),
        thing("cat", 9, 9, 3, 20),
        thing("cat", 70, 5, 80, 9),
        thing("cat", "nan", 1, 2, 3),
    ]
    bad += [
        thing("cat", "x", 1, 2, 3),
        thing("cat", 1, 2, 3),
        "<object><bndbox/></object>",
        thing("cat", 1, 2, 3, 4),
        thing("cat", 1, 2, 3, 4),
    ]
    make(
        tmp_path,
        "a",
        *bad,
        thing("cat", -5, 0, 20, 45),
        thing("cat", 60, 0, 61, 9),
        thing("cat", 50, 0, 61, 9),
    )
    reading = formats.read_objects(tmp_path)
    np.testing.assert_array_equal(
        reading.samples[0].target.boxes, [[1, 2, 3, 4], [0, 0, 20, 40], [50, 0, 60, 9]]
    )
    left_out = {
        where.removeprefix("Annotations/a.xml, object "): reason
        for where, reason in reading.left_out
    }
    assert left_out == {
        "1": "a box of no size (cat)",
        "2": "a box of no size (cat)",
        "3": "a box outside the picture (cat)",
        "4": "a box of numbers that are not finite (cat)",
        "5": "a box that is not four numbers (cat)",
        "6": "an object without a box (cat)",
        "7": "an object without a name",
        "9": "the same box twice (cat)",
        "10": "the part of a box that lies outside the picture (cat)",
        "11": "a box outside the picture (cat)",
    }


def test_lists_say_the_split(tmp_path: Path) -> None:
    for stem in "abcd":
        make(tmp_path, stem, thing("cat", 1, 2, 3, 4))
    main = tmp_path / "ImageSets" / "Main"
    main.mkdir(parents=True)
    for name, text in {
        "train": "a\n",
        "val": "b\nghost\n",
        "trainval": "a\nb\nc\n",
        "cat_train": "d 1\n",
        "test": "c\n",
    }.items():
        (main / f"{name}.txt").write_text(text)
    reading = formats.read_objects(tmp_path)
    assert {part: where.tolist() for part, where in reading.given.items()} == {
        "train": [0],
        "validation": [1],
        "test": [2],
    }
    assert ("Annotations/d.xml", "in no list of ImageSets/Main") in reading.left_out
    assert ("ghost", "named by a list of ImageSets/Main but not there") in reading.left_out


def test_trainval_trains_where_there_is_no_train(tmp_path: Path) -> None:
    for stem in "ab":
        make(tmp_path, stem, thing("cat", 1, 2, 3, 4))
    (tmp_path / "ImageSets" / "Main").mkdir(parents=True)
    (tmp_path / "ImageSets" / "Main" / "trainval.txt").write_text("a\n")
    (tmp_path / "ImageSets" / "Main" / "test.txt").write_text("b\n")
    given = formats.read_objects(tmp_path).given
    assert {part: where.tolist() for part, where in given.items()} == {"train": [0], "test": [1]}


def test_pictures_and_annotations_find_each_other(tmp_path: Path) -> None:
    """Beside each other in folders of parts, where two parts hold the same name; by the file that
    is named; and those left alone."""
    for part in ("train", "valid"):
        picture(tmp_path / part / "1.jpg")
        xml(tmp_path / part / "1.xml", thing("cat" if part == "train" else "dog", 1, 2, 3, 4))
    picture(tmp_path / "train" / "named.png")
    xml(
        tmp_path / "train" / "other.xml", thing("cat", 1, 2, 3, 4), filename="C:\\photos\\named.jpg"
    )
    xml(tmp_path / "train" / "lost.xml", thing("cat", 1, 2, 3, 4))
    picture(tmp_path / "valid" / "bare.jpg")
    reading = formats.read_objects(tmp_path)
    assert [(sample.source, sample.target.labels.tolist()) for sample in reading.samples] == [
        ("train/1.jpg", [0]),
        ("valid/1.jpg", [1]),
        ("train/named.png", [0]),
    ]
    assert reading.given["validation"].tolist() == [1]
    assert set(reading.left_out) == {
        ("train/lost.xml", "an annotation without a picture"),
        ("valid/bare.jpg", "a picture without an annotation"),
    }


def test_the_picture_says_its_size(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "a.png", 40, 60)
    xml(
        tmp_path / "annots" / "a.xml",
        thing("cat", 10, 10, 90, 39),
        size="<size><width>100</width><height>40</height></size>",
    )
    reading = formats.read_objects(tmp_path)
    np.testing.assert_array_equal(reading.samples[0].target.boxes, [[10, 10, 60, 39]])
    assert ("annots/a.xml", "a size that is not the picture's") in reading.left_out


def test_a_picture_that_cannot_be_read_stays(tmp_path: Path) -> None:
    """Whoever decodes it reports it by name, as of any data set."""
    make(tmp_path, "a", thing("cat", 1, 2, 3, 4))
    (tmp_path / "JPEGImages" / "a.jpg").write_bytes(b"")
    assert len(formats.read_objects(tmp_path).samples) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            '<!DOCTYPE a [<!ENTITY l "lol"><!ENTITY m "&l;&l;">]><annotation>&m;</annotation>',
            "DOCTYPE",
        ),
        (
            (
                "<!DOCTYPE a [<!ENTITY x SYSTEM "
                '"file:///etc/passwd">]><annotation><object><name>&x;</name></object></annotation>'
            ),
            "DOCTYPE",
        ),
        ("<annotation><object>", "is not XML"),
        ("<annotation>&undefined;</annotation>", "is not XML"),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_xml_that_is_refused(tmp_path: Path, text: str, said: str, encoding: str) -> None:
    make(tmp_path, "a", thing("cat", 1, 2, 3, 4))
    (tmp_path / "Annotations" / "b.xml").write_bytes(text.encode(encoding))
    if encoding == "utf-16":  # is not looked at as an annotation at all
        assert len(formats.read_objects(tmp_path).samples) == 1
        return
    with pytest.raises(DataError, match=said) as caught:
        formats.read_objects(tmp_path)
    assert "b.xml" in str(caught.value) and "\n" not in str(caught.value)


def test_nothing_to_find_is_refused(tmp_path: Path) -> None:
    make(tmp_path, "a", thing("cat", 5, 5, 5, 5))
    with pytest.raises(DataError, match=r"no object in 1 picture.*no size \(cat\)"):
        formats.read_objects(tmp_path)
    xml(tmp_path / "alone" / "a.xml", thing("cat", 1, 2, 3, 4))
    with pytest.raises(DataError, match="none of 1 annotations has a picture"):
        formats.read_objects(tmp_path / "alone")


def test_blood_cells(data_root: Path) -> None:
    reading = formats.read_objects(data_root / "bccd_voc")
    assert reading.classes == ("Platelets", "RBC", "WBC") and len(reading.samples) == 292
    assert {part: len(where) for part, where in reading.given.items()} == {
        "train": 205,
        "validation": 87,
    }
    assert {Path(where.split(",")[0]).stem for where, _ in reading.left_out} == {
        "BloodImage_00338",
        "BloodImage_00343",
    }
    assert {reason for _, reason in reading.left_out} == {"a box of no size (RBC)"}


def test_what_is_taken_for_boxes(data_root: Path) -> None:
    """Of all real sets only those with boxes."""
    folders = [
        path
        for path in sorted(data_root.rglob("*"))
        if path.is_dir() and len(path.relative_to(data_root).parts) <= 2
    ]
    found = {
        path.relative_to(data_root).as_posix(): formats.recognise_objects(path) for path in folders
    }
    assert {name: kind for name, kind in found.items() if kind} == {
        "bccd_voc": "voc",
        "bccd_voc/Annotations": "voc",
        "coco128/object_detection": "yolo",
        "plates_romania_voc": "voc",
        "plates_romania_voc/annots": "voc",
    }
    with pytest.raises(DataError, match=r"did you mean .*coco128/object_detection"):
        formats.read_objects(data_root / "coco128")


def test_unreadable_objects_are_not_background(tmp_path: Path) -> None:
    make(tmp_path, "a", thing("cat", 1, 2, 3, 4))
    make(tmp_path, "b", "<object><name>cat</name></object>", thing("cat", "nan", 1, 2, 3))
    reading = formats.read_objects(tmp_path)
    assert [sample.source for sample in reading.samples] == ["JPEGImages/a.jpg"]
    assert reading.notes[0].startswith(
        "WARNING: 2 objects of 1 picture cannot be read, such as Annotations/b.xml, object 1"
    )
