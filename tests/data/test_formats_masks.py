from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pellucid.core.errors import DataError
from pellucid.core.types import IGNORE
from pellucid.data import formats, images
from pellucid.data.formats.masks import files, layout

DATA = Path(os.environ.get("PELLUCID_TEST_DATA", "../shared/data"))
HALF = np.zeros((6, 8), np.uint8)
HALF[:, 4:] = 1


def picture(path: Path, height: int = 6, width: int = 8) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    images.write(path, np.full((height, width, 3), 90, np.uint8))


def mask(path: Path, labels: np.ndarray, palette: list[int] | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if palette is None:
        images.write(path, labels if labels.ndim == 3 else labels[..., None])
        return
    file = Image.fromarray(labels, "P")
    file.putpalette(palette)
    file.save(path)


def pairs(root: Path, *masks: np.ndarray, palette: list[int] | None = None) -> Path:
    """images/a.jpg, b.jpg … with masks/a.png, b.png …"""
    for name, labels in zip("abcdefgh", masks, strict=False):
        picture(root / "images" / f"{name}.jpg", *labels.shape[:2])
        mask(root / "masks" / f"{name}.png", labels, palette)
    return root


@pytest.mark.parametrize(
    ("shown", "drawn", "sources"),
    [
        ("images/{}.jpg", "masks/{}.png", ""),
        ("image/{}.png", "label/{}.png", ""),
        ("imgs/{}.jpg", "labels/{}.png", ""),
        ("img/{}.png", "mask/{}_mask.png", ""),
        ("images/image{}.png", "masks/mask{}.png", ""),
        ("image_{}.png", "mask_{}.png", ""),
        ("JPEGImages/{}.jpg", "SegmentationClass/{}.png", ""),
        ("images/{}.jpg", "ground_truth/{}_gt.png", ""),
        ("images/{}.jpg", "annotations/trimaps/{}.png", ""),
        ("{}.jpg", "masks/{}.png", ""),
        ("{}.png", "{}_mask.png", ""),
        ("{}_sat.jpg", "{}_mask.png", ""),
        ("{}.tif", "{}_seg.tif", ""),
        ("{}.jpg", "{}.png", ""),
        ("{}.bmp", "{}.gif", ""),
    ],
)
def test_finds_the_mask_of_each_picture(
    tmp_path: Path, shown: str, drawn: str, sources: str
) -> None:
    for number in ("1", "2", "10"):
        picture(tmp_path / shown.format(number))
        mask(tmp_path / drawn.format(number), HALF * (int(number) + 3 > 4) * 255)
    reading = formats.read_masks(tmp_path)
    assert formats.recognise_masks(tmp_path) == reading.format == "masks"
    assert [sample.source for sample in reading.samples] == [
        shown.format(number) for number in ("1", "2", "10")
    ]
    assert not reading.left_out and reading.classes == ("background", "foreground")
    np.testing.assert_array_equal(reading.samples[2].target.labels(), HALF)
    assert (
        reading.samples[0].target.counts[1] == 0 and "1 of them with one class alone" in reading.why
    )
    assert shown.format(1) in reading.why and Path(drawn.format(1)).name in reading.why


@pytest.mark.parametrize(
    ("shown", "drawn"),
    [
        ("{}/images/{}.jpg", "{}/masks/{}.png"),
        ("images/{}/{}.jpg", "masks/{}/{}.png"),
        ("{}_images/{}.jpg", "{}_labels/{}.png"),
        ("{}/{}.jpg", "{}/{}.png"),
        ("images/{}2017/{}.jpg", "masks/{}2017/{}.png"),
    ],
)
def test_takes_the_split_of_folders(tmp_path: Path, shown: str, drawn: str) -> None:
    """The same stem in each part is another picture."""
    for part in ("train", "valid", "test"):
        picture(tmp_path / shown.format(part, "a"))
        mask(tmp_path / drawn.format(part, "a"), HALF)
    reading = formats.read_masks(tmp_path)
    assert formats.recognise_masks(tmp_path) == "masks"
    said = {
        part: [reading.samples[i].source for i in where] for part, where in reading.given.items()
    }
    parts = {"train": "train", "validation": "valid", "test": "test"}
    assert said == {part: [shown.format(name, "a")] for part, name in parts.items()}


def test_takes_the_split_of_voc_lists(tmp_path: Path) -> None:
    for name in "abc":
        picture(tmp_path / "JPEGImages" / f"{name}.jpg")
        mask(tmp_path / "SegmentationClass" / f"{name}.png", HALF)
    lists = tmp_path / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("a\nc\n")
    (lists / "val.txt").write_text("b\n")
    assert {part: where.tolist() for part, where in formats.read_masks(tmp_path).given.items()} == {
        "train": [0, 2],
        "validation": [1],
    }


def test_reads_the_folders_that_a_settings_file_names(tmp_path: Path) -> None:
    picture(tmp_path / "pool" / "one" / "a.jpg")
    picture(tmp_path / "pool" / "one" / "b.jpg")
    mask(tmp_path / "set" / "truth" / "a.png", HALF * 7)
    settings = (
        "train: {images: ../pool/one, masks: truth}\nval: {images: ../pool/two, masks: "
        "truth2}\nclasses: {0: rest, 3: cat, 7: 'no'}\n"
    )
    (tmp_path / "set" / "config.yaml").write_text(settings)
    for source in (tmp_path / "set", tmp_path / "set" / "config.yaml"):
        reading = formats.read_masks(source)
        assert formats.recognise_masks(source) == "masks" and reading.classes == (
            "rest",
            "cat",
            "no",
        )
        assert [sample.source for sample in reading.samples] == ["pool/one/a.jpg"]
        np.testing.assert_array_equal(reading.samples[0].target.labels(), HALF * 2)
        assert ("pool/one/b.jpg", "a picture without a mask") in reading.left_out and len(
            reading.left_out
        ) == 3
    with pytest.raises(DataError, match=r"did you mean .*set\?"):
        formats.read_masks(tmp_path)


# What is not a set with masks


def test_folders_of_classes_stay_classes(tmp_path: Path) -> None:
    """Read when masks are asked for by name, and then the folders are kinds."""
    for kind in ("Crack", "Free"):
        for name in "ab":
            picture(tmp_path / kind / f"{name}.jpg")
            mask(tmp_path / kind / f"{name}.png", HALF * 255)
    picture(tmp_path / "Free" / "c.jpg")
    assert formats.recognise_masks(tmp_path) is None
    assert len(formats.read(tmp_path).samples) == 5
    reading = formats.read_masks(tmp_path)
    assert [sample.target.kind for sample in reading.samples] == ["Crack", "Crack", "Free", "Free"]
    assert reading.left_out == (("Free/c.jpg", "a picture without a mask"),)
    assert "2 kinds by sub-folder (Crack, Free)" in reading.why


@pytest.mark.parametrize(
    "names",
    [
        ["with_mask/1.jpg", "with_mask/2.jpg", "without_mask/1.jpg"],
        ["mask/1.jpg", "face/1.jpg"],
        ["mask/mask_1.jpg", "no_mask/no_mask_1.jpg"],
        ["cat/1.png", "cat/1_2.png", "dog/1.png"],
        ["cat/1.jpg", "cat/1_2.jpg"],
        ["images/a.jpg", "images/b.jpg"],
        ["img_label_1.jpg", "img_label_2.jpg"],
    ],
)
def test_other_sets_are_not_recognised(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        picture(tmp_path / name)
    assert formats.recognise_masks(tmp_path) is None


def test_labels_of_yolo_are_no_masks(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "a.jpg")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    assert (
        formats.recognise_masks(tmp_path) is None and formats.recognise_objects(tmp_path) == "yolo"
    )
    with pytest.raises(
        DataError, match=r"no picture with a mask \(images/a.jpg: a picture without a mask\)"
    ):
        formats.read_masks(tmp_path)


# Annotators, kinds, groups


@pytest.mark.parametrize(
    "drawn",
    ["masks_{1}/{0}.png", "masks/{1}/{0}.png", "masks/{0}_{1}.png", "masks/{0}_mask_{1}.png"],
)
def test_keeps_all_annotators(tmp_path: Path, drawn: str) -> None:
    for name in ("x", "y"):
        picture(tmp_path / "images" / f"{name}.jpg")
        for annotator, labels in (("a10", HALF), ("a2", 1 - HALF)):
            mask(tmp_path / drawn.format(name, annotator), labels)
    reading = formats.read_masks(tmp_path)
    target = reading.samples[1].target
    assert formats.recognise_masks(tmp_path) == "masks" and target.names == ("a2", "a10")
    np.testing.assert_array_equal(target.labels(0), 1 - HALF)
    np.testing.assert_array_equal(target.labels(1), HALF)
    assert "each by 2 annotators (a2, a10)" in reading.why


def test_annotators_and_both_eyes_of_a_patient(tmp_path: Path) -> None:
    for name in ("Image_01L", "Image_01R", "Image_02L"):
        picture(tmp_path / f"{name}.jpg")
        for annotator in ("1stHO", "2ndHO"):
            mask(tmp_path / f"{name}_{annotator}.png", HALF)
    reading = formats.read_masks(tmp_path)
    assert formats.recognise_masks(tmp_path) == "masks" and reading.samples[0].target.names == (
        "1stHO",
        "2ndHO",
    )
    assert [sample.group for sample in reading.samples] == ["Image_01", "Image_01", None]
    assert "1 group kept together (Image_01L.jpg, Image_01R.jpg are one)" in reading.why


def test_a_mask_that_few_pictures_have_is_left_out_and_said(tmp_path: Path) -> None:
    pairs(tmp_path, HALF, HALF, HALF)
    mask(tmp_path / "masks" / "a_1.png", HALF)
    reading = formats.read_masks(tmp_path)
    assert len(reading.samples) == 3 and reading.samples[0].target.names == ()
    assert reading.left_out == (("masks/a_1.png", "a mask beyond those that most pictures have"),)
    assert reading.notes[-1].startswith("WARNING: 1 mask beyond")


def test_numbered_folders_are_patients(tmp_path: Path) -> None:
    for patient in ("p_01", "p_02"):
        for name in ("1", "2"):
            picture(tmp_path / patient / f"{name}.png")
            mask(tmp_path / patient / f"{name}_mask.png", HALF)
    reading = formats.read_masks(tmp_path)
    assert [(sample.group, sample.target.kind) for sample in reading.samples] == [
        ("p_01", "")
    ] * 2 + [("p_02", "")] * 2


def test_names_what_has_no_partner(tmp_path: Path) -> None:
    pairs(tmp_path, HALF, HALF)
    picture(tmp_path / "images" / "q.jpg")
    mask(tmp_path / "masks" / "z.png", HALF)
    picture(tmp_path / "preview" / "a.jpg")
    reading = formats.read_masks(tmp_path)
    said = {
        ("images/q.jpg", "a picture without a mask"),
        ("masks/z.png", "a mask without a picture"),
    }
    assert set(reading.left_out) == said | {
        ("preview/a.jpg", "in a folder of neither pictures nor masks")
    }


# What masks hold


def test_palettes_keep_their_indices(tmp_path: Path) -> None:
    """Colours of the palette say nothing; 255 is ignored beside other labels;
    holes between the numbers close."""
    labels = HALF * 5
    labels[0, 0] = 255
    reading = formats.read_masks(
        pairs(tmp_path, labels, HALF * 15, palette=list(range(255, 255 - 16, -1)) * 48)
    )
    assert reading.classes == ("0", "5", "15")
    first, second = (sample.target.labels() for sample in reading.samples)
    assert (
        first[0, 0] == IGNORE
        and set(np.unique(first)) == {0, 1, IGNORE}
        and set(np.unique(second)) == {0, 2}
    )
    assert "255 ignored" in reading.why and "holes between" in reading.notes[0]


def test_a_palette_of_black_and_white_means_its_colours(tmp_path: Path) -> None:
    reading = formats.read_masks(pairs(tmp_path, 1 - HALF, palette=[255, 255, 255, 0, 0, 0]))
    np.testing.assert_array_equal(reading.samples[0].target.labels(), HALF)


@pytest.mark.parametrize("top", [1, 255])
def test_two_values_are_background_and_foreground(tmp_path: Path, top: int) -> None:
    reading = formats.read_masks(pairs(tmp_path, HALF * top, HALF * 0))
    assert reading.classes == ("background", "foreground")
    np.testing.assert_array_equal(reading.samples[0].target.labels(), HALF)
    assert any("0 and 255" in note for note in reading.notes) == (top == 255)


def test_sixteen_bits_hold_numbers_too(tmp_path: Path) -> None:
    reading = formats.read_masks(
        pairs(tmp_path, HALF.astype(np.uint16) * 40_000, HALF.astype(np.uint16) * 300)
    )
    assert reading.classes == ("0", "300", "40000")
    np.testing.assert_array_equal(reading.samples[0].target.labels(), HALF * 2)


def test_smeared_masks_are_cut_in_the_middle(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    sharp = np.zeros((64, 64), np.uint8)
    sharp[20:50, 10:40] = 255
    for name in "ab":
        picture(tmp_path / "images" / f"{name}.png", 64, 64)
        (tmp_path / "masks").mkdir(exist_ok=True)
        noisy = np.clip(sharp + rng.normal(0, 6, sharp.shape), 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(tmp_path / "masks" / f"{name}.jpg", quality=80)
    reading = formats.read_masks(tmp_path)
    assert reading.classes == ("background", "foreground") and "smeared" in reading.notes[0]
    for sample in reading.samples:
        assert (sample.target.labels() != sharp // 255).mean() < 0.01


def test_many_classes_are_not_taken_for_smear(tmp_path: Path) -> None:
    labels = np.arange(48, dtype=np.uint8).reshape(6, 8)
    assert len(formats.read_masks(pairs(tmp_path, labels, labels)).classes) == 48


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("legend.csv", "name,r,g,b\nroad,128,64,128\nsky blue,0,0,255\nvoid,0,0,0\n"),
        ("classes.txt", "road 128 64 128\nsky blue 0 0 255\nvoid 0 0 0\n"),
        (
            "labelmap.txt",
            (
                "# label:color_rgb:parts:actions\nroad:128,64,128::\nsky "
                "blue:0,0,255::\nvoid:0,0,0::\n"
            ),
        ),
        ("masks/classes.csv", "128,64,128,road\n0,0,255,sky blue\n0,0,0,void\n"),
        ("classes.csv", "4,road,128,64,128\n9,sky blue,0,0,255\n0,void,0,0,0\n"),
        ("classes.txt", "road,#804080\nsky blue,#0000ff\nvoid,#000000\n"),
        ("classes.json", '{"road": [128, 64, 128], "sky blue": "#0000ff", "void": [0, 0, 0]}'),
        (
            "classes.json",
            (
                '[{"name": "road", "color": [128, 64, 128]}, {"name": "sky blue", "color": '
                '"#0000FF"}, {"name": "void", "color": "#000000"}]'
            ),
        ),
    ],
)
def test_colours_are_read_by_their_legend(tmp_path: Path, name: str, text: str) -> None:
    colours = np.zeros((6, 8, 3), np.uint8)
    colours[:3] = (128, 64, 128)
    colours[3:, 1:] = (0, 0, 255)
    pairs(tmp_path, colours)
    (tmp_path / name).write_text(text)
    reading = formats.read_masks(tmp_path)
    assert reading.classes == ("road", "sky blue")
    labels = reading.samples[0].target.labels()
    assert (
        (labels[:3] == 0).all() and (labels[3:, 1:] == 1).all() and (labels[3:, 0] == IGNORE).all()
    )
    colours[4, 2] = (0, 0, 254)
    mask(tmp_path / "masks" / "a.png", colours)
    with pytest.raises(
        DataError,
        match=rf"masks/a.png: holds the colour 0 0 254 at x 2, y 4, which .*{name} does not name",
    ):
        formats.read_masks(tmp_path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("classes.txt", "rest\nclass 1\nclass 2\n"),
        ("labelmap.txt", "0 rest\n1 class 1\n2 class 2\n"),
        ("classes.json", '{"0": "rest", "1": "class 1", "2": "class 2"}'),
    ],
)
def test_numbers_are_read_by_their_legend(tmp_path: Path, name: str, text: str) -> None:
    pairs(tmp_path, HALF * 2)
    (tmp_path / name).write_text(text)
    assert formats.read_masks(tmp_path).classes == ("rest", "class 1", "class 2")
    mask(tmp_path / "masks" / "a.png", HALF * 3)
    with pytest.raises(DataError, match="holds the number 3 at x 4, y 0"):
        formats.read_masks(tmp_path)


def test_a_palette_is_read_by_colors_of_the_legend(tmp_path: Path) -> None:
    pairs(tmp_path, HALF, palette=[0, 0, 255, 128, 64, 128])
    (tmp_path / "legend.csv").write_text("road,128,64,128\nsky,0,0,255\n")
    np.testing.assert_array_equal(formats.read_masks(tmp_path).samples[0].target.labels(), 1 - HALF)


def test_the_commonest_color_is_the_background(tmp_path: Path) -> None:
    colours = np.full((6, 8, 3), (200, 30, 30), np.uint8)
    colours[2:4, 2:4] = (10, 20, 30)
    reading = formats.read_masks(pairs(tmp_path, colours))
    assert (
        reading.classes == ("#c81e1e", "#0a141e")
        and "#c81e1e is taken for the background" in reading.notes[0]
    )
    assert reading.samples[0].target.labels()[3, 3] == 1


def test_colours_without_a_legend_become_classes(tmp_path: Path) -> None:
    colours = np.zeros((6, 8, 3), np.uint8)
    colours[:, 4:] = (255, 128, 0)
    reading = formats.read_masks(pairs(tmp_path, colours, HALF[..., None].repeat(3, 2) * 0))
    assert reading.classes == ("#000000", "#ff8000") and "no legend" in reading.notes[0]
    np.testing.assert_array_equal(reading.samples[0].target.labels(), HALF)
    (tmp_path / "classes.txt").write_text("rest\ncat\n")
    with pytest.raises(
        DataError, match=r"classes.txt: names no colours, but the masks are in colour"
    ):
        formats.read_masks(tmp_path)
    (tmp_path / "classes.txt").unlink()
    noise = np.random.default_rng(0).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    mask(tmp_path / "masks" / "b.png", noise)
    with pytest.raises(DataError, match=r"masks/b.png: the masks hold 50 colours and no legend"):
        formats.read_masks(tmp_path)


@given(st.integers(0, 2**32 - 1), st.sampled_from(["uint8", "uint16", "colour"]))
def test_what_a_file_holds_comes_back(
    tmp_path_factory: pytest.TempPathFactory, seed: int, kind: str
) -> None:
    """Places, values and counts against NumPy's unique over the pixels as they were written."""
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(1, 9)), int(rng.integers(1, 9)), 3 if kind == "colour" else 1)
    pixels = rng.integers(0, 3, shape).astype("uint16" if kind == "uint16" else "uint8") * (
        20_000 if kind == "uint16" else 100
    )
    path = tmp_path_factory.getbasetemp() / f"{kind}.png"
    mask(path, pixels)
    raw = files.raw(path)
    flat = pixels.astype(np.int64).reshape(-1, shape[2])
    grey = shape[2] == 1 or (flat == flat[:, :1]).all()
    expected = flat[:, 0] if grey else flat @ [65536, 256, 1]
    np.testing.assert_array_equal(raw.values[raw.places()].ravel(), expected)
    values, counts = np.unique(expected, return_counts=True)
    assert raw.values.tolist() == values.tolist() and raw.counts.tolist() == counts.tolist()


# What is wrong


def test_another_size_names_both_files(tmp_path: Path) -> None:
    pairs(tmp_path, *[HALF] * 5)
    for name in "bcde":
        mask(tmp_path / "masks" / f"{name}.png", HALF.T)
    with pytest.raises(
        DataError,
        match=(
            r"images/b.jpg is 8×6 pixels, its mask masks/b.png 6×8; .*d.png 6×8 \(and 1 more\); "
            r"a mask has"
        ),
    ):
        formats.read_masks(tmp_path)


def test_an_unreadable_mask_is_named(tmp_path: Path) -> None:
    pairs(tmp_path, HALF, HALF, np.random.default_rng(0).integers(0, 2, (6, 8)).astype(np.uint8))
    (tmp_path / "masks" / "b.png").write_bytes(b"")
    (tmp_path / "masks" / "c.png").write_bytes((tmp_path / "masks" / "c.png").read_bytes()[:-30])
    with pytest.raises(
        DataError, match=r"masks/b.png: is empty .*; .*masks/c.png: .*cut off or damaged"
    ):
        formats.read_masks(tmp_path)


@pytest.mark.parametrize("value", [0, 255])
def test_one_class_alone_is_nothing_to_learn(tmp_path: Path, value: int) -> None:
    with pytest.raises(DataError, match=r"masks/a.png: 2 masks hold .* alone"):
        formats.read_masks(pairs(tmp_path, HALF * 0 + value, HALF * 0 + value))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("road,128,64\n", "line 1: 2 numbers are neither"),
        ("road 128 64 300\nsky 0 0 0", "line 1: .*is no colour"),
        ("road 1 1 1\nroad 2 2 2\n", "names the class road twice"),
        ("road 1 1 1\nsky 1 1 1\n", "gives the colour 010101 to two classes"),
        ("road\n", "names 1 classes"),
        ("\n".join(f"c{i}" for i in range(256)), "names 256 classes; expected 2 to 255"),
        ("1 2 3\n", "line 1: names no class"),
    ],
)
def test_a_bad_legend_is_named(tmp_path: Path, text: str, said: str) -> None:
    pairs(tmp_path, HALF)
    (tmp_path / "classes.txt").write_text(text)
    with pytest.raises(DataError, match=rf"classes.txt.*{said}"):
        formats.read_masks(tmp_path)


@pytest.mark.parametrize(
    "text",
    ["{", '[{"name": "a", "id": "x"}]', '{"a": [1, 2], "b": "#000000"}', '{"a": 0.5, "b": 1}'],
)
def test_a_bad_legend_in_json_is_named(tmp_path: Path, text: str) -> None:
    pairs(tmp_path, HALF)
    (tmp_path / "classes.json").write_text(text)
    with pytest.raises(DataError, match=r"classes.json"):
        formats.read_masks(tmp_path)


def test_every_kind_of_picture_has_its_place() -> None:
    assert set(layout._RANK) == images.PICTURE_SUFFIXES


def test_nothing_there(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    with pytest.raises(DataError, match="holds no picture with a mask"):
        formats.read_masks(tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        formats.read_masks(tmp_path / "mask")
    assert formats.recognise_masks(tmp_path / "mask") is None


def test_nothing_is_written(tmp_path: Path) -> None:
    pairs(tmp_path, HALF)
    before = sorted(path.stat().st_mtime_ns for path in tmp_path.rglob("*"))
    formats.read_masks(tmp_path)
    assert sorted(path.stat().st_mtime_ns for path in tmp_path.rglob("*")) == before


# Real sets


@pytest.mark.parametrize(
    ("name", "pictures", "classes", "said"),
    [
        ("em_membrane", 24, 2, "image/0.png with label/0.png"),
        ("retina_chasedb1", 28, 2, "each by 2 annotators (1stHO, 2ndHO), 14 groups"),
        ("magnetic_tile", 377, 2, "of 6 kinds by sub-folder"),
        ("coco128/semantic_segmentation", 100, 130, "by the numbers of config.yaml"),
    ],
)
def test_real_sets(name: str, pictures: int, classes: int, said: str) -> None:
    if not (DATA / name).is_dir():
        pytest.skip(
            f"{DATA / name} is not there; set PELLUCID_TEST_DATA to the folder of real data"
        )
    reading = formats.read_masks(DATA / name)
    assert (len(reading.samples), len(reading.classes)) == (
        pictures,
        classes,
    ) and said in reading.why
    assert formats.recognise_masks(DATA / name) == (None if name == "magnetic_tile" else "masks")
    sample = reading.samples[0]
    assert sample.target.shape == sample.pixels().shape[:2]
