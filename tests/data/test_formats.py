from __future__ import annotations

import gzip
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest

from pellucid.core.errors import DataError
from pellucid.data import formats, images

PIXELS = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)


def put(root: Path, *names: str) -> Path:
    """A picture (or a few bytes, for other suffixes) at each name."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix.lower() in (".png", ".jpg", ".bmp"):
            images.write(path, PIXELS)
        else:
            path.write_bytes(b"bytes")
    return root


def sources(reading: formats.Dataset) -> list[str]:
    return [sample.source for sample in reading.samples]


def refused(source: object, said: str) -> None:
    with pytest.raises(DataError, match=said) as caught:
        formats.read(source)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    assert caught.value.code == 3


# Folders


def test_class_folders(tmp_path: Path) -> None:
    put(tmp_path, "s10/1.png", "s2/10.png", "s2/9.png", "s2/more/deep/1.PNG")
    reading = formats.read(tmp_path)
    assert reading.classes == ("s2", "s10")
    assert sources(reading) == ["s2/9.png", "s2/10.png", "s2/more/deep/1.PNG", "s10/1.png"]
    assert [sample.target for sample in reading.samples] == [0, 0, 0, 1]
    assert (reading.format, reading.given, reading.root, reading.name) == (
        "folders",
        {},
        tmp_path,
        tmp_path.name,
    )
    assert reading.why == "found 2 classes as folders, 4 pictures"
    np.testing.assert_array_equal(reading.samples[0].pixels(), PIXELS)


def test_what_is_left_out_has_a_reason(tmp_path: Path) -> None:
    put(
        tmp_path,
        "a/1.jpg",
        "a/1.png",
        "a/2.png",
        "b/1.jpg",
        "b/notes.txt",
        "b/Thumbs.db",
        "b/.hidden.png",
        "stray.png",
    )
    put(tmp_path, "__MACOSX/a/1.png", ".git/x.png", "b/.cache/x.png", "docs/readme.md")
    reading = formats.read(tmp_path)
    assert sources(reading) == ["a/1.jpg", "a/2.png", "b/1.jpg"]
    left_out = dict(reading.left_out)
    assert "mask" in left_out["a/1.png"]
    assert left_out["b/notes.txt"] == left_out["docs/readme.md"] == "not a picture"
    assert {name for name, why in left_out.items() if "hidden or system" in why} == {
        "b/Thumbs.db",
        "b/.hidden.png",
        "__MACOSX",
        ".git",
        "b/.cache",
    }
    assert "without a class" in left_out["stray.png"]
    assert left_out["docs"] == "a folder without pictures"
    assert "1 × a mask" in reading.why
    assert "3 × a hidden or system folder, 2 × a hidden or system file" in reading.why


@pytest.mark.parametrize("validation", ["val", "valid", "Validation"])
def test_own_split(tmp_path: Path, validation: str) -> None:
    put(
        tmp_path,
        *(
            f"{part}/{name}/{i}.png"
            for part in ("train", validation, "test")
            for name in "ab"
            for i in range(2)
        ),
    )
    reading = formats.read(tmp_path)
    assert reading.classes == ("a", "b")
    assert sorted(reading.given) == ["test", "train", "validation"]
    assert [sources(reading)[i] for i in reading.given["validation"]] == [
        f"{validation}/{n}/{i}.png" for n in "ab" for i in range(2)
    ]
    assert sorted(np.concatenate(list(reading.given.values()))) == list(range(12))
    assert "validation (4)" in reading.why


def test_train_alone_and_classes_of_such_names(tmp_path: Path) -> None:
    assert list(formats.read(put(tmp_path / "one", "train/a/1.png", "train/b/1.png")).given) == [
        "train"
    ]
    vehicles = formats.read(put(tmp_path / "two", "train/steam/1.png", "bus/1.png", "car/1.png"))
    assert vehicles.classes == ("bus", "car", "train")
    assert vehicles.given == {}


def test_linked_folders_are_followed_once(tmp_path: Path) -> None:
    put(tmp_path, "elsewhere/1.png", "set/b/1.png")
    os.symlink(tmp_path / "elsewhere", tmp_path / "set" / "a")
    os.symlink(tmp_path / "set" / "b", tmp_path / "set" / "b" / "loop")
    assert sources(formats.read(tmp_path / "set")) == ["a/1.png", "b/1.png"]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([], "is empty"),
        (["1.png", "2.png"], "2 pictures but no sub-folders.*one sub-folder a class"),
        (["readme.txt"], "no picture.*readme.txt"),
        (["a/readme.txt"], "no picture in its sub-folders"),
        (["a/1.png", "a/2.png"], r"only one class \(a\)"),
        (["flowers/a/1.png", "flowers/b/1.png"], "did you mean .*flowers"),
        (["train/1.png", "test/1.png"], "no class folders in train"),
        (["val/a/1.png", "test/a/1.png"], "no class folders in train"),
        (
            ["train/a/1.png", "train/b/1.png", "val/a/1.png"],
            r"validation holds no picture of a class in train \(b\)",
        ),
        (
            ["train/a/1.png", "train/b/1.png", "test/a/1.png", "test/b/1.png", "test/c/1.png"],
            r"test holds a class that train.*\(c\)",
        ),
        (["x.npz"], "name the file: .*x.npz"),
    ],
)
def test_folders_that_are_refused(tmp_path: Path, names: list[str], said: str) -> None:
    refused(put(tmp_path, *names), said)


def test_missing_path_has_a_suggestion(tmp_path: Path) -> None:
    put(tmp_path, "flowers/a/1.png")
    refused(tmp_path / "flower", 'flower: does not exist; did you mean "flowers"')
    refused(tmp_path / "no" / "where", "neither does")


def test_folder_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "a/1.png", "b/1.png")

    def refuse(path: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    refused(tmp_path, "may not be read; change its permissions")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("x.pkl", "pickle"),
        ("x.pt", "pickle"),
        ("x.zip", "unpack"),
        ("x.npy", "numpy.savez"),
        ("x.png", "one picture"),
        ("x.docx", "not a data set"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, name: str, said: str) -> None:
    refused(put(tmp_path, name) / name, rf"{name}: .*{said}")


# Tables


def table(root: Path, text: str | bytes, name: str = "labels.csv") -> Path:
    put(root, "p/1.png", "p/2.png", "p/3.png")
    (root / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return root / name


def test_table(tmp_path: Path) -> None:
    path = table(
        tmp_path,
        b"\xef\xbb\xbfIMAGE, Label "
        b",group\r\np/1.png,cat,x\r\n\r\np\\2.png,dog,\r\np/3.png,cat,x\r\n",
    )
    for source in (path, tmp_path):
        reading = formats.read(source)
        assert (reading.format, reading.classes, reading.root) == ("csv", ("cat", "dog"), tmp_path)
        assert sources(reading) == ["p/1.png", "p/2.png", "p/3.png"]
        assert [(sample.target, sample.group) for sample in reading.samples] == [
            (0, "x"),
            (1, None),
            (0, "x"),
        ]
        assert "1 group" in reading.why
        np.testing.assert_array_equal(reading.samples[1].pixels(), PIXELS)


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_table_with_a_split_and_other_delimiters(tmp_path: Path, delimiter: str) -> None:
    lines = [
        "label,split,image",
        "a,train,p/1.png",
        "b,Train,p/2.png",
        "a,valid,p/3.png",
        "b,val,p/4.png",
        'b,val,"p/4.png"',
    ]
    put(tmp_path, "p/4.png")
    reading = formats.read(table(tmp_path, "\n".join(lines).replace(",", delimiter)))
    assert {part: indices.tolist() for part, indices in reading.given.items()} == {
        "train": [0, 1],
        "validation": [2, 3],
    }
    assert reading.left_out == (("p/4.png", "named twice in the table"),)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("image,label\n", "no rows"),
        ("file,label\np/1.png,a\n", r"no column image \(found: file, label\)"),
        (
            "image,label\np/1.png,a\np/9.png,b\np/8.png,b\n",
            r"2 pictures not found: p/9.png \(line 3\), p/8.png \(line 4\)",
        ),
        ("image,label\np/1.png,a\np/2.png,\np/3.png\n", "empty label in line 3, 4"),
        ("image,label\n,a\np/2.png,b\n", "no image in line 2"),
        (
            "image,label\np/1.png,a\np/2.png,b\np/1.png,b\n",
            'p/1.png has the label "a" in line 2 and "b" in line 4',
        ),
        ("image,label\np/1.png,a\np/2.png,a\n", r"only one class \(a\)"),
        ("image,label\np/1.png,a,b\np/2.png,a\n", "line 2 has more cells"),
        ("image,label,split\np/1.png,a,train\np/2.png,b,later\n", "unknown split in line 3"),
        ("image,label,split\np/1.png,a,test\np/2.png,b,test\n", "names no train"),
        (b"image,label\np/1.png,caf\xe9\n", "not UTF-8"),
    ],
)
def test_tables_that_are_refused(tmp_path: Path, text: str | bytes, said: str) -> None:
    refused(table(tmp_path, text), rf"labels.csv: .*{said}")


def test_two_tables_must_be_named(tmp_path: Path) -> None:
    table(tmp_path, "image,label\np/1.png,a\np/2.png,b\n", "one.csv")
    table(tmp_path, "image,label\np/1.png,a\np/3.png,b\n", "two.csv")
    assert formats.read(tmp_path / "two.csv").classes == ("a", "b")
    for name in ("1.png", "2.png", "3.png"):
        (tmp_path / "p" / name).rename(tmp_path / name)
    (tmp_path / "p").rmdir()
    refused(tmp_path, "several tables of labels .one.csv, two.csv")


def test_another_table_does_not_hide_the_folders(tmp_path: Path) -> None:
    put(tmp_path, "a/1.png", "b/1.png")
    (tmp_path / "pairs.csv").write_text("left,right\na/1.png,b/1.png\n")
    assert formats.read(tmp_path).format == "folders"


# IDX


def idx(path: Path, array: np.ndarray, magic: int | None = None, extra: bytes = b"") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    head = struct.pack(">I", magic if magic is not None else 0x800 + array.ndim) + struct.pack(
        f">{array.ndim}I", *array.shape
    )
    data = head + array.astype(np.uint8).tobytes() + extra
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def mnist(
    root: Path, suffix: str = "", parts: tuple[str, ...] = ("train", "t10k"), count: int = 12
) -> tuple[np.ndarray, np.ndarray]:
    pictures = np.random.default_rng(0).integers(0, 256, (count, 5, 4))
    labels = np.arange(count) % 3 + 7
    for part in parts:
        idx(root / f"{part}-images-idx3-ubyte{suffix}", pictures)
        idx(root / f"{part}-labels-idx1-ubyte{suffix}", labels)
    return pictures, labels


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx(tmp_path: Path, suffix: str) -> None:
    pictures, labels = mnist(tmp_path, suffix)
    reading = formats.read(tmp_path)
    assert (reading.format, reading.classes, reading.name) == (
        "idx",
        ("7", "8", "9"),
        tmp_path.name,
    )
    assert {part: (indices[0], indices[-1]) for part, indices in reading.given.items()} == {
        "train": (0, 11),
        "test": (12, 23),
    }
    np.testing.assert_array_equal(
        np.stack([sample.pixels() for sample in reading.samples[12:]])[..., 0], pictures
    )
    assert [
        int(reading.classes[sample.target]) for sample in reading.samples[:12]
    ] == labels.tolist()
    assert len(set(sources(reading))) == 24


def test_idx_of_train_alone_and_by_file(tmp_path: Path) -> None:
    mnist(tmp_path, parts=("train",))
    for source in (tmp_path, tmp_path / "train-images-idx3-ubyte"):
        reading = formats.read(source)
        assert (len(reading.samples), reading.given) == (12, {})
    refused(tmp_path / "train-labels-idx1-ubyte", "holds the labels; name the file of images")


def test_idx_that_is_refused(tmp_path: Path) -> None:
    pictures, labels = mnist(tmp_path, parts=("train",))
    images_path, labels_path = (
        tmp_path / "train-images-idx3-ubyte",
        tmp_path / "train-labels-idx1-ubyte",
    )
    idx(images_path, pictures, magic=0x12345)
    refused(tmp_path, "train-images-idx3-ubyte: starts with 00012345")
    idx(images_path, pictures[:-1])
    refused(tmp_path, "11 pictures but train-labels-idx1-ubyte 12 labels")
    idx(images_path, pictures, extra=b"x")
    refused(tmp_path, "promises 240 bytes, the file holds more")
    images_path.write_bytes(idx(images_path, pictures).read_bytes()[:-5])
    refused(tmp_path, "promises 240 bytes, the file holds 235")
    images_path.write_bytes(b"")
    refused(tmp_path, "starts with nothing")
    idx(images_path, pictures)
    labels_path.unlink()
    refused(tmp_path, "labels, train-labels-idx1-ubyte, are not beside it")
    idx(tmp_path / "train-labels-idx1-ubyte.gz", labels)
    assert len(formats.read(tmp_path).samples) == 12
    zipped = tmp_path / "train-labels-idx1-ubyte.gz"
    zipped.write_bytes(zipped.read_bytes()[:-12])
    refused(tmp_path, "cut off or damaged")


# NPZ


@pytest.mark.parametrize("names", [("images", "labels"), ("x", "y"), ("X", "Y")])
@pytest.mark.parametrize("shape", [(6, 5, 4), (6, 5, 4, 3)])
def test_npz(tmp_path: Path, names: tuple[str, str], shape: tuple[int, ...]) -> None:
    pictures = np.random.default_rng(0).integers(0, 60_000, shape, dtype=np.uint16)
    np.savez(
        tmp_path / "set.npz",
        **{names[0]: pictures, names[1]: np.array([[10], [2], [10], [2], [2], [10]])},
    )
    reading = formats.read(tmp_path / "set.npz")
    assert (reading.format, reading.classes, reading.name, reading.given) == (
        "npz",
        ("2", "10"),
        "set",
        {},
    )
    assert [sample.target for sample in reading.samples] == [1, 0, 1, 0, 0, 1]
    np.testing.assert_array_equal(
        np.stack([sample.pixels() for sample in reading.samples]).reshape(shape), pictures
    )
    assert reading.samples[0].pixels().dtype == np.uint16


def test_npz_with_its_own_split(tmp_path: Path) -> None:
    x, y = np.zeros((4, 3, 3), np.uint8), np.array(["cat", "dog", "cat", "dog"])
    np.savez(
        tmp_path / "a.npz",
        x_train=x,
        y_train=y,
        x_test=x[:2],
        y_test=y[:2],
        x_val=x[:2],
        y_val=y[:2],
    )
    np.savez_compressed(
        tmp_path / "b.npz", train_images=x, train_labels=y, test_images=x[:2], test_labels=y[:2]
    )
    assert {k: len(v) for k, v in formats.read(tmp_path / "a.npz").given.items()} == {
        "train": 4,
        "validation": 2,
        "test": 2,
    }
    assert {k: len(v) for k, v in formats.read(tmp_path / "b.npz").given.items()} == {
        "train": 4,
        "test": 2,
    }


def test_npz_numbers_are_converted_and_said(tmp_path: Path) -> None:
    x, y = np.array([0, 0.5, 1]).reshape(3, 1, 1) * np.ones((3, 2, 2)), np.array([0.0, 1.0, 1.0])
    np.savez(tmp_path / "a.npz", x=x, y=y)
    reading = formats.read(tmp_path / "a.npz")
    assert [int(sample.pixels()[0, 0, 0]) for sample in reading.samples] == [0, 128, 255]
    assert "x from 0 to 1 were spread over 0 to 255" in reading.why
    np.savez(tmp_path / "b.npz", x=(x * 300).astype(np.int64), y=y)
    reading = formats.read(tmp_path / "b.npz")
    assert [int(sample.pixels()[0, 0, 0]) for sample in reading.samples] == [0, 150, 300]
    assert "int64 was read as uint16" in reading.why


GOOD, LABELS = np.zeros((4, 3, 3), np.uint8), np.array([0, 1, 0, 1])


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"x": GOOD, "y": LABELS[:3]}, "y holds 3 labels for 4 pictures"),
        ({"x": GOOD, "z": LABELS}, "holds the arrays x, z; expected"),
        ({"x": GOOD.astype(float) - 1, "y": LABELS}, "from -1 to -1"),
        ({"x": np.full((4, 3, 3), np.nan), "y": LABELS}, "from nan"),
        (
            {"x": np.zeros((4, 3, 32, 32), np.uint8), "y": LABELS},
            r"channels first; save x.transpose\(0, 2, 3, 1\)",
        ),
        ({"x": np.zeros((4, 9), np.uint8), "y": LABELS}, "4×9 is no list of pictures"),
        ({"x": GOOD, "y": np.eye(4)}, "no list of labels"),
        ({"x": GOOD, "y": LABELS + 0.5}, "fractions"),
        ({"x": GOOD, "y": LABELS * 0}, r"only one class \(0\)"),
        (
            {"x_train": GOOD, "y_train": LABELS, "x_test": GOOD, "y_test": LABELS * 0},
            r"test holds no picture of a class.*\(1\)",
        ),
        (
            {"x_train": GOOD, "y_train": LABELS, "x_test": GOOD, "y_test": LABELS + 1},
            r"test holds a class that train does not \(2\)",
        ),
    ],
)
def test_npz_that_is_refused(tmp_path: Path, arrays: dict[str, np.ndarray], said: str) -> None:
    np.savez(tmp_path / "set.npz", **arrays)
    refused(tmp_path / "set.npz", rf"set.npz.*{said}")


class Dropper:
    """Unpickling it leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple:
        return open, (self.path, "w")


def test_no_pickle_is_ever_run(tmp_path: Path) -> None:
    dropper = Dropper(tmp_path / "ran")
    np.savez(tmp_path / "set.npz", x=GOOD, y=np.array([dropper] * 4, object))
    refused(tmp_path / "set.npz", "Python objects")
    for name in ("set.pkl", "data.npz", "x-images-idx3-ubyte"):
        (tmp_path / name).write_bytes(pickle.dumps(dropper))
        refused(tmp_path / name, name)
    assert not (tmp_path / "ran").exists()


def test_npz_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    np.savez_compressed(
        path, x=np.random.default_rng(0).integers(0, 255, (4, 30, 30), dtype=np.uint8), y=LABELS
    )
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"text", whole[:300] + bytes(50) + whole[350:]):
        path.write_bytes(content)
        refused(path, r"set\.npz: is (cut off|damaged)")


# The built-in set, and real ones


def test_digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.datasets import load_digits

    monkeypatch.chdir(tmp_path)
    put(tmp_path, "digits/a/1.png", "digits/b/1.png")
    reading = formats.read("digits")
    assert (len(reading.samples), reading.classes, reading.root) == (
        1797,
        tuple("0123456789"),
        None,
    )
    expected = load_digits()
    pixels = np.stack([sample.pixels() for sample in reading.samples])
    assert pixels.dtype == np.uint8
    assert (pixels.min(), pixels.max()) == (0, 255)
    np.testing.assert_allclose(pixels[..., 0] / 255 * 16, expected.images, atol=0.04)
    assert [sample.target for sample in reading.samples] == expected.target.tolist()
    assert formats.read("./digits").classes == ("a", "b")


def test_real_sets(data_root: Path) -> None:
    mnist_reading = formats.read(data_root / "mnist")
    assert {part: len(indices) for part, indices in mnist_reading.given.items()} == {
        "train": 60_000,
        "test": 10_000,
    }
    assert [mnist_reading.samples[i].target for i in range(5)] == [5, 0, 4, 1, 9]
    tiles = formats.read(data_root / "magnetic_tile")
    assert len(tiles.samples) == len(tiles.left_out) == 377
    assert all("mask" in reason and name.endswith(".png") for name, reason in tiles.left_out)
    faces = formats.read(data_root / "att_faces")
    assert faces.classes[:3] == ("s1", "s2", "s3")
    assert sources(faces)[:10] == [f"s1/{i}.pgm" for i in range(1, 11)]
    refused(data_root / "imagenet_samples", "4 pictures but no sub-folders")
