from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pellucid.core.types import IGNORE, Mask, Prediction, VolumeGeometry
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
from pellucid.transforms.resize import bicubic_array

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
def test_background_stays_as_it_is_and_classes_are_tinted_by_their_colours(
    size: tuple[int, int], channels: int, kind: type
) -> None:
    picture = np.full((*size, channels), np.iinfo(kind).max, kind)
    assert (overlay(picture, np.zeros(size, np.uint8)) == 255).all()
    for label in (1, 2, IGNORE):
        tinted = overlay(picture, np.full(size, label, np.uint8), alpha=0.4)
        assert np.abs(tinted - (0.6 * 255 + 0.4 * np.array(colour_of(label)))).max() <= 1


def test_the_first_class_after_the_background_has_the_colour_of_the_first_box() -> None:
    assert [colour_of(label) for label in (1, 2, 9)] == [colour(0), colour(1), colour(8)]
    assert (
        len({colour_of(label) for label in range(1, 22)}) == 21 and colour_of(IGNORE) == masks.GREY
    )


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        overlay(np.zeros((4, 5, 3), np.uint8), np.zeros((5, 4), np.uint8))


def test_an_outline_is_one_pixel_within_its_region_and_none_at_the_edge_of_the_picture() -> None:
    mask = square()
    mask[:, :5] = 2
    drawn = contours(np.zeros((40, 60, 3), np.uint8), mask)
    expected = np.zeros((40, 60), bool)
    expected[10:30, 20:40], expected[11:29, 21:39] = True, False
    expected[:, 4] = True
    assert (drawn.any(axis=2) == expected).all()
    assert (drawn[20, 20] == colour_of(1)).all() and (drawn[20, 4] == colour_of(2)).all()


def test_touching_objects_of_one_class_are_parted_by_their_outlines() -> None:
    regions = square().astype(np.int32) * 70_000
    regions[:, :30] //= 2
    one, two = (
        contours(np.zeros((40, 60, 3), np.uint8), square(), each) for each in (None, regions)
    )
    assert np.flatnonzero((one != two).any(axis=2)[20]).tolist() == [29, 30]


def test_an_outline_grows_with_the_picture() -> None:
    large = np.kron(square(), np.ones((50, 50), np.uint8))
    drawn = contours(np.zeros((2000, 3000, 3), np.uint8), large)
    assert drawn[1000].any(axis=1).sum() == 2 * round(3000 / 900)


def test_a_legend_names_what_is_there_and_its_share_of_what_is_asked() -> None:
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


def test_a_drawing_has_its_picture_above_and_a_tiny_one_is_enlarged() -> None:
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


def test_an_error_map_leaves_agreed_background_grey_and_colours_what_is_wrong() -> None:
    picture = np.full((40, 60, 3), (200, 30, 90), np.uint8)
    drawn = error_map(picture, square(), np.roll(square(), 10, axis=1))
    assert np.ptp(drawn[0, 0]) == 0
    for column, name in ((25, "missed"), (35, "right"), (45, "said in vain")):
        apart = {
            other: float(np.abs(drawn[20, column].astype(float) - fill).sum())
            for other, fill in masks.ERRORS.items()
        }
        assert min(apart, key=apart.__getitem__) == name


def test_an_indexed_mask_holds_numbers_and_shows_colours(tmp_path: Path) -> None:
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
def test_slices_have_the_proportions_that_their_spacing_says(
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
    assert (upright(plane, None) == plane).all()


def test_all_slices_of_a_volume_have_one_brightness() -> None:
    volume = np.full((4, 30, 30, 2), 1000, np.uint16)
    volume[3, 0, 0] = 65535
    grey = masks.grey8(volume)
    assert grey[0, 5, 5] == grey[3, 5, 5] == round(1000 / 65535 * 255) and grey.max() == 255


def volume_answer() -> tuple[np.ndarray, Prediction]:
    volume = np.random.default_rng(2).integers(0, 65535, (6, 40, 60, 1), dtype=np.uint16)
    mask = np.zeros((6, 40, 60), np.uint8)
    mask[1:5] = square()
    return volume, Prediction(
        "scan", mask.shape, CLASSES, mask=mask, space=space(2, 1, 1, signs=(-1, -1, 1))
    )


def test_a_volume_is_drawn_as_a_sheet_and_saved_with_its_labels_and_an_animation(
    tmp_path: Path,
) -> None:
    nib = pytest.importorskip("nibabel")
    volume, answer = volume_answer()
    assert answer.mask is not None and answer.space is not None
    sheet = slices(volume, answer.mask, CLASSES, answer.space)
    assert (answer.draw(volume) == sheet).all() and sheet.shape[1] == 4 * 300 + 5 * 10
    answer.save(tmp_path / "scan.png", volume)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        "scan" + ending for ending in masks.VOLUME_FILES
    )
    written = nib.load(tmp_path / "scan.nii.gz")
    assert (answer.mask == np.asarray(written.dataobj).T).all()
    assert (written.affine == answer.space.affine).all() and written.header.get_zooms() == (1, 1, 2)
    with Image.open(tmp_path / "scan.gif") as image:
        assert image.n_frames == 6 and image.size == (320, 213)


def test_a_mask_is_saved_drawn_and_as_numbers(tmp_path: Path) -> None:
    answer = Prediction("wall.jpg", (40, 60), CLASSES, mask=square())
    answer.save(tmp_path / "wall.png", np.zeros((40, 60, 3), np.uint8))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["wall.png", "wall_mask.png"]
    assert (np.asarray(Image.open(tmp_path / "wall_mask.png")) == square()).all()


def test_an_enlarged_picture_is_saved_as_it_is_and_beside_a_plain_one(tmp_path: Path) -> None:
    small = np.random.default_rng(3).integers(0, 65535, (20, 100, 3), dtype=np.uint16)
    large = small.repeat(3, axis=0).repeat(3, axis=1)
    answer = Prediction("a.png", (20, 100), picture=large)
    answer.save(tmp_path / "a.png", small)
    from pellucid.data.images import read

    assert (read(tmp_path / "a.png") == large).all()
    drawn = read(tmp_path / "a_before_after.png")
    assert drawn.shape[0] > 60 and np.abs(drawn[:60, -300:] - large / 257).max() <= 1
    # The left half is smooth where the answer repeats pixels.
    left, right = (
        np.abs(np.diff(half.astype(int), axis=1)).max()
        for half in (drawn[:60, :300], drawn[:60, -300:])
    )
    assert left < right


def test_numbers_outlive_pixels() -> None:
    _, answer = volume_answer()
    light = answer.counted()
    assert light.mask is None and light.to_json() == answer.to_json()
    crack = light.to_json()["areas"][1]
    assert crack == {"label": "crack", "pixels": 1600, "share": 1600 / (6 * 40 * 60), "ml": 3.2}
    enlarged = Prediction("a.png", (2, 3), picture=np.zeros((4, 6, 1), np.uint8)).counted()
    assert enlarged.picture is None and enlarged.to_json() == {
        "source": "a.png",
        "size": [2, 3],
        "enlarged": [4, 6],
    }


def test_frames_of_a_video_keep_their_size() -> None:
    picture = np.zeros((40, 60, 3), np.uint8)
    frame = Prediction("v#1", (40, 60), CLASSES, mask=square()).frame(picture)
    assert (
        frame.shape == picture.shape
        and (frame[20, 20] == colour_of(1)).all()
        and not frame[0, 0].any()
    )
    assert Prediction("v#1", (40, 60), picture=np.ones((80, 120, 1), np.uint8)).frame(
        picture
    ).shape == (80, 120, 3)


class TestSheet:
    def pair(self, source: str, shift: int) -> tuple[Sample, Prediction]:
        sample = Sample(np.full((40, 60, 1), 90, np.uint8), Mask.of(square()), source)
        return sample, Prediction(source, (40, 60), CLASSES, mask=np.roll(square(), shift, axis=1))

    def test_nothing_is_drawn_where_all_is_right(self) -> None:
        from pellucid.tasks.segmentation.sheet import worst

        sample, right = self.pair("a", 0)
        assert worst([sample], [right], CLASSES) is None

    def test_the_worst_come_first_and_right_ones_not(self) -> None:
        from pellucid.tasks.segmentation.sheet import SIDE, worst

        pairs = [self.pair("right", 0), self.pair("near", 2), self.pair("far", 10)]
        both = worst([sample for sample, _ in pairs], [answer for _, answer in pairs], CLASSES)
        far = worst([pairs[2][0]], [pairs[2][1]], CLASSES)
        assert both is not None and far is not None
        assert (both[: SIDE + 10] == far[: SIDE + 10]).all() and far.shape[0] + SIDE < both.shape[
            0
        ] < far.shape[0] + 1.2 * SIDE

    def test_dice_counts_classes_alike_and_no_pixel_that_is_not_asked_about(self) -> None:
        from pellucid.tasks.segmentation.sheet import dice

        target, answer = (
            np.array([[0, 1, 1, 2, IGNORE]], np.uint8),
            np.array([[0, 1, 0, 2, 1]], np.uint8),
        )
        assert dice(target, answer) == pytest.approx((2 / 3 + 1) / 2)
        assert dice(target * 0, answer * 0) == 1.0 and dice(target * 0, answer) == 0.0

    def test_of_a_volume_the_slice_with_most_errors_is_shown(self) -> None:
        from pellucid.tasks.segmentation.sheet import worst

        volume, answer = volume_answer()
        assert answer.mask is not None
        volume[:], target = 0, answer.mask.copy()
        volume[4] = 65535
        target[4] = 0
        page = worst(
            [Sample(volume, Mask.of(target), "scan", space=answer.space)], [answer], CLASSES
        )
        assert page is not None and (page[150, 20] == 255).all()
        volume[4], volume[3] = 0, 65535
        page = worst(
            [Sample(volume, Mask.of(target), "scan", space=answer.space)], [answer], CLASSES
        )
        assert page is not None and (page[150, 20] == 0).all()


def test_of_a_large_answer_the_middle_is_compared() -> None:
    before = np.random.default_rng(0).integers(0, 256, (700, 900, 3), dtype=np.uint8)
    after = before.repeat(2, axis=0).repeat(2, axis=1)
    drawn = masks.before_after(before, after)
    assert drawn.shape[1] == 2 * 1024 + 10
    assert np.array_equal(drawn[:1024, -1024:], after[188:1212, 388:1412])
    whole = bicubic_array(before, 2)[188:1212, 388:1412]
    assert np.array_equal(drawn[4:1020, 4:1020], whole[4:-4, 4:-4])
