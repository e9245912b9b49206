from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pellucid.core.types import IGNORE, UNKNOWN_GEOMETRY, Mask, VolumeGeometry
from pellucid.data.sample import Sample
from pellucid.plots import masks
from pellucid.plots.annotate import colour, legend
from pellucid.plots.masks import (
    colour_of,
    contours,
    entries,
    error_map,
    errors,
    indexed,
    overlay,
    places,
    share,
    sized,
    slices,
    upright,
)
from pellucid.tasks.segmentation.error_sheet import SIDE, dice, worst
from pellucid.tasks.segmentation.result import SegmentationResult

CLASSES = ("background", "crack", "rust")


def space(*spacing: float, signs: tuple[int, int, int] = (1, 1, 1)) -> VolumeGeometry:
    """Axis by axis: spacing along D, H, W; signs of right, front, head along i, j, k."""
    return VolumeGeometry(
        (spacing[0], spacing[1], spacing[2]),
        np.diag([signs[0] * spacing[2], signs[1] * spacing[1], signs[2] * spacing[0], 1.0]),
    )


def square(size: tuple[int, ...] = (40, 60)) -> np.ndarray:
    mask = np.zeros(size, np.uint8)
    mask[..., 10:30, 20:40] = 1
    return mask


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(1, 1), (3, 200), (40, 60)])
def test_background_stays_and_classes_are_tinted(
    size: tuple[int, int], channels: int, kind: type
) -> None:
    picture = np.full((*size, channels), np.iinfo(kind).max, kind)
    assert (overlay(picture, np.zeros(size, np.uint8)) == 255).all()
    for label in (1, 2, IGNORE):
        tinted = overlay(picture, np.full(size, label, np.uint8), alpha=0.4)
        assert np.abs(tinted - (0.6 * 255 + 0.4 * np.array(colour_of(label)))).max() <= 1


def test_classes_have_the_colors_of_boxes() -> None:
    assert [colour_of(label) for label in (1, 2, 9)] == [colour(0), colour(1), colour(8)]
    assert (
        len({colour_of(label) for label in range(1, 22)}) == 21 and colour_of(IGNORE) == masks.GREY
    )


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        overlay(np.zeros((4, 5, 3), np.uint8), np.zeros((5, 4), np.uint8))


def test_an_outline_is_one_pixel_within_its_region() -> None:
    mask = square()
    mask[:, :5] = 2
    drawn = contours(np.zeros((40, 60, 3), np.uint8), mask)
    expected = np.zeros((40, 60), bool)
    expected[10:30, 20:40], expected[11:29, 21:39] = True, False
    expected[:, 4] = True
    assert (drawn.any(axis=2) == expected).all()
    assert (drawn[20, 20] == colour_of(1)).all() and (drawn[20, 4] == colour_of(2)).all()


def test_outlines_separate_touching_objects() -> None:
    regions = square().astype(np.int32) * 70_000
    regions[:, :30] //= 2
    one, two = (
        contours(np.zeros((40, 60, 3), np.uint8), square(), each)
        for each in (masks.NO_REGIONS, regions)
    )
    assert np.flatnonzero((one != two).any(axis=2)[20]).tolist() == [29, 30]


def test_an_outline_grows_with_the_picture() -> None:
    large = np.kron(square(), np.ones((50, 50), np.uint8))
    drawn = contours(np.zeros((2000, 3000, 3), np.uint8), large)
    assert drawn[1000].any(axis=1).sum() == 2 * round(3000 / 900)


def test_a_legend_names_classes_and_their_shares() -> None:
    mask = square()
    mask[0] = IGNORE
    assert [name for name, _ in entries(mask, CLASSES)] == [
        "crack 17.1%",
        "background 82.9%",
        "not asked 2.5%",
    ]
    assert entries(np.zeros((4, 4), np.uint8), CLASSES) == [("background 100.0%", None)]
    # 400 voxels of 1×2×3 mm; a volume's background is no size that anybody asks for.
    assert [name for name, _ in entries(mask[None], CLASSES, space(1, 2, 3))] == [
        "crack 2.4 ml",
        "not asked 2.5%",
    ]
    assert share(0.0001) == "<0.1%" and share(0) == "0.0%"
    many = np.arange(100, dtype=np.uint8)[None]
    named = entries(many, [f"class {label}" for label in range(100)])
    assert len(named) == masks.NAMED + 2 and named[-2][0] == "and 75 more 75.0%"


def test_a_legend_wraps_and_keeps_its_width() -> None:
    named = [(f"a class with a name {label}", colour(label)) for label in range(6)]
    one, many, narrow = legend(named[:1], 300), legend(named, 300), legend(named, 40)
    assert (
        one.shape[1] == many.shape[1] == 300
        and many.shape[0] > 2 * one.shape[0]
        and narrow.shape[1] == 40
    )
    for label in range(6):
        assert (many == colour(label)).all(axis=2).sum() > 50


def test_a_tiny_image_is_enlarged_above_its_legend() -> None:
    picture = np.random.default_rng(1).integers(0, 255, (400, 500, 3), dtype=np.uint8)
    drawn = masks.with_legend(picture, np.zeros((400, 500), np.uint8), CLASSES)
    assert (drawn[:400] == picture).all() and drawn.shape[0] > 410
    tiny = masks.with_legend(np.full((1, 1, 1), 90, np.uint8), np.ones((1, 1), np.uint8), CLASSES)
    assert tiny.shape[1] == masks.LEAST and len(np.unique(tiny[:300].reshape(-1, 3), axis=0)) == 1


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_errors_are_told_apart_pixel_by_pixel(seed: int) -> None:
    rng = np.random.default_rng(seed)
    target, answer = (
        rng.choice(np.array([0, 1, 2, IGNORE], np.uint8), (4, 5)),
        rng.integers(0, 3, (4, 5), dtype=np.uint8),
    )
    names = ["", *masks.ERRORS]
    for t, a, kind in zip(target.flat, answer.flat, errors(target, answer).flat, strict=True):
        if t == IGNORE:
            assert names[kind] == "not asked"
        elif t == a:
            assert names[kind] == ("right" if t else "")
        else:
            assert names[kind] == (
                "missed" if a == 0 else "said in vain" if t == 0 else "wrong class"
            )


def test_an_error_map_colors_errors_on_gray() -> None:
    picture = np.full((40, 60, 3), (200, 30, 90), np.uint8)
    drawn = error_map(picture, square(), np.roll(square(), 10, axis=1))
    assert np.ptp(drawn[0, 0]) == 0
    for column, name in ((25, "missed"), (35, "right"), (45, "said in vain")):
        apart = {
            other: float(np.abs(drawn[20, column].astype(float) - fill).sum())
            for other, fill in masks.ERRORS.items()
        }
        assert min(apart, key=apart.__getitem__) == name


def test_an_indexed_mask_holds_numbers_and_shows_colors(tmp_path: Path) -> None:
    mask = square()
    mask[0] = IGNORE
    indexed(tmp_path / "mask.png", mask)
    with Image.open(tmp_path / "mask.png") as image:
        assert image.mode == "P" and (np.asarray(image) == mask).all()
        shown = np.asarray(image.convert("RGB"))
    assert (
        (shown[20, 30] == colour_of(1)).all()
        and (shown[0, 0] == masks.GREY).all()
        and not shown[5, 5].any()
    )


def test_slices_stand_where_the_mask_is() -> None:
    mask = np.zeros((50, 4, 4), np.uint8)
    mask[10:33] = 1
    assert places(mask) == [10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 32]
    assert places(mask, 3) == [10, 21, 32] and places(mask[:12]) == [10, 11]
    assert places(np.zeros((3, 4, 4), np.uint8)) == [0, 1, 2]


@given(st.integers(1, 300), st.integers(1, 300), st.floats(0.2, 5), st.floats(0.2, 5))
def test_slices_have_the_proportions_of_their_spacing(
    height: int, width: int, down: float, across: float
) -> None:
    rows, columns = sized((height, width), space(1, down, across), 300)
    longer, shorter = max(height * down, width * across), min(height * down, width * across)
    assert max(rows, columns) == 300 and (rows >= columns) == (
        height * down >= width * across or rows == columns
    )
    assert min(rows, columns) == pytest.approx(300 * shorter / longer, abs=1)


def test_slices_are_turned_as_the_affine_says() -> None:
    plane = np.arange(6).reshape(2, 3)
    # Stored to the left and back: as it is looked at. Stored to the right and front, as NIfTI
    # counts: turned twice.
    assert (upright(plane, space(1, 1, 1, signs=(-1, -1, 1))) == plane).all()
    assert (upright(plane, space(1, 1, 1)) == plane[::-1, ::-1]).all()
    assert (upright(plane, space(1, 1, 1, signs=(-1, 1, 1))) == plane[::-1]).all()
    assert (upright(plane, UNKNOWN_GEOMETRY) == plane).all()


def test_all_slices_of_a_volume_have_one_brightness() -> None:
    volume = np.full((4, 30, 30, 2), 1000, np.uint16)
    volume[3, 0, 0] = 65535
    grey = masks.grey8(volume)
    assert grey[0, 5, 5] == grey[3, 5, 5] == round(1000 / 65535 * 255) and grey.max() == 255


def volume_result() -> tuple[np.ndarray, SegmentationResult]:
    volume = np.random.default_rng(2).integers(0, 65535, (6, 40, 60, 1), dtype=np.uint16)
    mask = np.zeros((6, 40, 60), np.uint8)
    mask[1:5] = square()
    return volume, SegmentationResult(
        "scan", mask.shape, CLASSES, mask, geometry=space(2, 1, 1, signs=(-1, -1, 1))
    )


def test_a_volume_is_saved_as_sheet_labels_and_animation(tmp_path: Path) -> None:
    nib = pytest.importorskip("nibabel")
    volume, result = volume_result()
    sheet = slices(volume, result.mask, CLASSES, result.geometry)
    assert (result.draw(volume) == sheet).all() and sheet.shape[1] == 4 * 300 + 5 * 10
    result.save(tmp_path / "scan.png", volume)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        "scan" + ending for ending in masks.VOLUME_FILES
    )
    written = nib.load(tmp_path / "scan.nii.gz")
    assert (result.mask == np.asarray(written.dataobj).T).all()
    assert (written.affine == result.geometry.affine).all()
    assert written.header.get_zooms() == (1, 1, 2)
    with Image.open(tmp_path / "scan.gif") as image:
        assert image.n_frames == 6 and image.size == (320, 213)


def test_a_volume_of_unknown_geometry_has_no_nifti(tmp_path: Path) -> None:
    volume, result = volume_result()
    SegmentationResult("scan", result.size, CLASSES, result.mask).save(
        tmp_path / "scan.png", volume
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scan.gif", "scan.png"]


def test_a_mask_is_saved_drawn_and_as_numbers(tmp_path: Path) -> None:
    result = SegmentationResult("wall.jpg", (40, 60), CLASSES, square())
    result.save(tmp_path / "wall.png", np.zeros((40, 60, 3), np.uint8))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["wall.png", "wall_mask.png"]
    assert (np.asarray(Image.open(tmp_path / "wall_mask.png")) == square()).all()


def test_numbers_outlive_pixels() -> None:
    _, result = volume_result()
    compact = result.compact()
    assert not hasattr(compact, "mask")
    for name in ("to_json", "rows", "summary", "labels"):
        assert getattr(compact, name)() == getattr(result, name)()
    crack = compact.to_json()["areas"][1]
    assert crack == {"label": "crack", "pixels": 1600, "share": 1600 / (6 * 40 * 60), "ml": 3.2}


def test_a_result_of_an_image_in_words() -> None:
    result = SegmentationResult("wall.jpg", (40, 60), CLASSES, square())
    assert result.summary() == "wall.jpg: crack 16.7%, background 83.3%"
    assert result.labels() == ["crack"] and "spacing" not in result.to_json()
    (row,) = result.rows()
    assert row == {
        "source": "wall.jpg",
        "share_background": "0.833333",
        "share_crack": "0.166667",
        "share_rust": "0.000000",
    }


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"mask": square((40, 61))}, "does not fit"),
        ({"mask": square().astype(np.int64)}, "does not fit"),
        ({"mask": 3 * square()}, "none of 3 classes"),
        ({"regions": square()}, "they are int32"),
        ({"probabilities": np.zeros((2, 40, 60), np.uint8)}, "do not fit 3 classes"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(given: dict[str, np.ndarray], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        SegmentationResult("a", (40, 60), CLASSES, **({"mask": square()} | given))


def test_frames_of_a_video_keep_their_size() -> None:
    picture = np.zeros((40, 60, 3), np.uint8)
    result = SegmentationResult("v#1", (40, 60), CLASSES, square())
    frame = result.draw(picture, legend=False)
    assert (
        frame.shape == picture.shape
        and (frame[20, 20] == colour_of(1)).all()
        and not frame[0, 0].any()
    )


def test_a_result_is_drawn_without_torch() -> None:
    code = "import sys, pellucid.tasks.segmentation.result; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class TestSheet:
    def pair(self, source: str, shift: int) -> tuple[Sample, SegmentationResult]:
        sample = Sample(np.full((40, 60, 1), 90, np.uint8), Mask.of(square()), source)
        mask = np.roll(square(), shift, axis=1)
        return sample, SegmentationResult(source, (40, 60), CLASSES, mask)

    def test_nothing_is_drawn_where_all_is_right(self) -> None:
        sample, right = self.pair("a", 0)
        assert worst([sample], [right], CLASSES) is None

    def test_the_worst_come_first_and_right_ones_not(self) -> None:
        pairs = [self.pair("right", 0), self.pair("near", 2), self.pair("far", 10)]
        both = worst([sample for sample, _ in pairs], [answer for _, answer in pairs], CLASSES)
        far = worst([pairs[2][0]], [pairs[2][1]], CLASSES)
        assert both is not None and far is not None
        assert (both[: SIDE + 10] == far[: SIDE + 10]).all() and far.shape[0] + SIDE < both.shape[
            0
        ] < far.shape[0] + 1.2 * SIDE

    def test_dice_weighs_classes_alike_without_ignored_pixels(self) -> None:
        target, answer = (
            np.array([[0, 1, 1, 2, IGNORE]], np.uint8),
            np.array([[0, 1, 0, 2, 1]], np.uint8),
        )
        assert dice(target, answer) == pytest.approx((2 / 3 + 1) / 2)
        assert dice(target * 0, answer * 0) == 1.0 and dice(target * 0, answer) == 0.0

    def test_the_slice_with_the_most_errors_is_shown(self) -> None:
        volume, answer = volume_result()
        volume[:], target = 0, answer.mask.copy()
        volume[4] = 65535
        target[4] = 0
        page = worst(
            [Sample(volume, Mask.of(target), "scan", space=answer.geometry)], [answer], CLASSES
        )
        assert page is not None and (page[150, 20] == 255).all()
        volume[4], volume[3] = 0, 65535
        page = worst(
            [Sample(volume, Mask.of(target), "scan", space=answer.geometry)], [answer], CLASSES
        )
        assert page is not None and (page[150, 20] == 0).all()
