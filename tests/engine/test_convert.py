from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pellucid.core.errors import DataError, UsageError
from pellucid.core.types import Objects
from pellucid.data import formats, images
from pellucid.data.formats import Dataset, writing
from pellucid.data.sample import Sample
from pellucid.engine import convert as converting
from pellucid.engine.convert import convert

KINDS = ("coco", "voc", "yolo")
WIDTH, HEIGHT = 61, 37
NAME = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=6)
SIDE = st.floats(0, 37, allow_subnormal=False).filter(lambda side: side == 0 or side > 1e-30)


@st.composite
def targets(draw: st.DrawFn, classes: int) -> Objects:
    rows = {}
    for _ in range(draw(st.integers(0, 4))):
        (x1, x2), (y1, y2) = (sorted((draw(SIDE), draw(SIDE))) for _ in range(2))
        if x1 < x2 and y1 < y2:
            rows[draw(st.integers(0, classes - 1)), x1, y1, x2, y2] = draw(st.booleans())
    boxes = np.array([key[1:] for key in rows]).reshape(-1, 4)
    return Objects(
        boxes, np.array([key[0] for key in rows], np.int64), np.array(list(rows.values()), bool)
    )


@st.composite
def readings(draw: st.DrawFn) -> tuple[tuple[str, ...], list[Objects], list[str]]:
    """Classes, truths of one to six pictures with an object at least, and their parts: none,
    or two and more."""
    classes = tuple(draw(st.lists(NAME, min_size=1, max_size=4, unique=True)))
    objects = draw(
        st.lists(targets(len(classes)), min_size=1, max_size=6).filter(
            lambda found: any(map(len, found))
        )
    )
    parts = [draw(st.sampled_from(("train", "validation", "test"))) for _ in objects]
    split = "train" in parts and len(set(parts)) > 1 and draw(st.booleans())
    return classes, objects, parts if split else [""] * len(objects)


def a_reading(
    root: Path, classes: tuple[str, ...], objects: list[Objects], parts: list[str]
) -> Dataset:
    sources = [f"{number}.png" for number in range(len(objects))]
    for source in sources:
        images.write(root / source, np.zeros((HEIGHT, WIDTH, 1), np.uint8))
    samples = tuple(
        Sample(root / source, target, source)
        for source, target in zip(sources, objects, strict=True)
    )
    given = {
        part: np.flatnonzero(np.array(parts) == part)
        for part in ("train", "validation", "test")
        if part in parts
    }
    return Dataset(samples, classes, "made", "made", "made", given=given, root=root)


def assert_same(one: Dataset, other: Dataset) -> None:
    assert one.classes == other.classes
    assert [Path(sample.source).name for sample in one.samples] == [
        Path(sample.source).name for sample in other.samples
    ]
    for mine, yours in zip(one.samples, other.samples, strict=True):
        for name in ("boxes", "labels", "ignore"):
            np.testing.assert_array_equal(getattr(mine.target, name), getattr(yours.target, name))
        assert Path(mine.image).read_bytes() == Path(yours.image).read_bytes()  # type: ignore[arg-type]
    assert {part: where.tolist() for part, where in one.given.items()} == {
        part: where.tolist() for part, where in other.given.items()
    }


@pytest.mark.parametrize(
    "kinds",
    [
        *((kind,) for kind in KINDS),
        ("coco", "voc", "yolo", "coco"),
        ("yolo", "voc"),
        ("voc", "coco", "voc"),
    ],
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(made=readings())
def test_nothing_is_lost(
    kinds: tuple[str, ...], made: tuple[tuple[str, ...], list[Objects], list[str]]
) -> None:
    """Every bit of every box, classes that do not occur and their order, background,
    parts and marks."""
    with tempfile.TemporaryDirectory() as place:
        before = after = a_reading(Path(place) / "made", *made)
        for number, kind in enumerate(kinds):
            writing.write_objects(after, kind, Path(place) / str(number))
            # labels without a box say little
            assert formats.recognise_objects(Path(place) / str(number)) in (kind, None)
            after = formats.OBJECTS[kind].read(Path(place) / str(number))
            assert (after.format, after.left_out) == (kind, ())
        assert_same(before, after)


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A VOC set with a split, a mark, a background, an unused class and a box that no share of 61
    pixels gives exactly."""
    box = np.array([[0.1, 1 / 3, 20.7, 30], [1, 2, 3, 4]])
    objects = [
        Objects(box, np.array([2, 0]), np.array([True, False])),
        Objects(box[:0], np.zeros(0), np.zeros(0)),
        *([Objects(box[:1], [0], [0])] * 2),
    ]
    reading = a_reading(
        tmp_path / "made", ("z", "b", "a & <c>"), objects, ["train", "train", "validation", "test"]
    )
    writing.write_objects(reading, "voc", tmp_path / "voc")
    return tmp_path / "voc"


@pytest.mark.parametrize("kind", KINDS)
def test_convert(made: Path, tmp_path: Path, kind: str) -> None:
    out = tmp_path / "new" / "out"
    done = convert(made, kind, out)
    assert_same(formats.read_objects(made), formats.read_objects(out))
    assert (done.pictures, done.objects, done.side) == (4, 4, kind != "coco")
    assert f"4 pictures, 4 objects as {kind.upper()}" in done.text()
    assert not any((made / name).samefile(out / again) for name, again in _same_names(made, out))


def _same_names(one: Path, other: Path) -> list[tuple[Path, Path]]:
    found = {path.name: path for path in other.rglob("*.png")}
    return [
        (path.relative_to(one), found[path.name].relative_to(other)) for path in one.rglob("*.png")
    ]


def test_pictures_of_the_same_name(tmp_path: Path) -> None:
    for part in ("train", "val"):
        for name in ("a.jpg", "A.png"):
            images.write(
                tmp_path / "set" / part / "images" / name, np.zeros((HEIGHT, WIDTH, 3), np.uint8)
            )
            label = (tmp_path / "set" / part / "labels" / name).with_suffix(".txt")
            label.parent.mkdir(exist_ok=True)
            label.write_text("0 .5 .5 .2 .2\n")
    for kind in KINDS:
        assert convert(tmp_path / "set", kind, tmp_path / kind).pictures == 4


def test_out_is_never_written_over(made: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("keep")
    (tmp_path / "file").write_text("keep")
    for out in (tmp_path / "out", tmp_path / "file"):
        with pytest.raises(UsageError, match="never written over"):
            convert(made, "coco", out)
    with pytest.raises(UsageError, match="lies in the data"):
        convert(made, "coco", made / "coco")
    with pytest.raises(UsageError, match='did you mean "yolo"'):
        convert(made, "yollo", tmp_path / "new")
    (tmp_path / "empty").mkdir()
    convert(made, "coco", tmp_path / "empty")
    assert (tmp_path / "out" / "mine").read_text() == "keep"


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_a_stop_leaves_nothing(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    def stop(*_: Any) -> None:
        raise error

    before = sorted(os.listdir(tmp_path))
    monkeypatch.setattr(converting, "_compare", stop)
    with pytest.raises(BaseException) as caught:  # noqa: PT011 (an interrupt, or our own)
        convert(made, "coco", tmp_path / "deep" / "out")
    assert not isinstance(caught.value, AssertionError)
    assert sorted(os.listdir(tmp_path)) == before


def test_what_cannot_be_held_is_refused(tmp_path: Path) -> None:
    """An XML file cannot hold a control character, and a name is read without blanks around it."""
    for number, name in enumerate(("bell\x07", " blank ")):
        reading = a_reading(
            tmp_path / "made", (name, "b"), [Objects([[0, 0, 5, 5]], [0], [False])], [""]
        )
        writing.write_objects(reading, "coco", tmp_path / f"coco{number}")
        with pytest.raises(DataError, match="VOC cannot hold"):
            convert(tmp_path / f"coco{number}", "voc", tmp_path / "voc")
        assert not (tmp_path / "voc").exists()
        convert(tmp_path / f"coco{number}", "yolo", tmp_path / f"yolo{number}")


def test_others_read_what_is_written(made: Path, tmp_path: Path) -> None:
    """COCO's numbers as floating point gives them, for tools that know nothing of ours."""
    import json

    convert(made, "coco", tmp_path / "coco")
    found = json.loads((tmp_path / "coco" / "annotations" / "instances_train.json").read_text())
    assert [each["id"] for each in found["categories"]] == [1, 2, 3]
    np.testing.assert_allclose(found["annotations"][0]["bbox"], [0.1, 1 / 3, 20.6, 30 - 1 / 3])
    convert(made, "yolo", tmp_path / "yolo")
    words = (tmp_path / "yolo" / "labels" / "train" / "0.txt").read_text().split()
    np.testing.assert_allclose(
        [float(word) for word in words[1:5]],
        [10.4 / WIDTH, (30 + 1 / 3) / 2 / HEIGHT, 20.6 / WIDTH, (30 - 1 / 3) / HEIGHT],
    )


@pytest.mark.parametrize(
    "words",
    [
        ["--convert", "yolo", "OUT"],
        ["--convert", "yolo", "--out", "OUT"],
        ["OUT", "--convert", "yolo"],
    ],
)
def test_command_line(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, words: list[str]
) -> None:
    assert (
        run(
            monkeypatch, made, *(str(tmp_path / "out") if word == "OUT" else word for word in words)
        )
        == 0
    )
    assert "as YOLO; read back, the same" in capsys.readouterr().out
    assert formats.recognise_objects(tmp_path / "out") == "yolo"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--convert", "yolo"], "no folder to write to"),
        (["out"], "check looks at one data set"),
        (["--convert", "voc", "out", "--size", "9"], "--size"),
    ],
)
def test_command_line_refuses(
    made: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, words: list[str], said: str
) -> None:
    assert run(monkeypatch, made, *words) == 2
    assert said in capsys.readouterr().err


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    from pellucid import cli

    main: Callable[[], None] = cli.main
    monkeypatch.setattr("sys.argv", ["pellucid", "check", *map(str, words)])
    with pytest.raises(SystemExit) as stopped:
        main()
    return int(stopped.value.code or 0)
