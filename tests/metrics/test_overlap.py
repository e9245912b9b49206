"""Agreement of masks against definitions written out, scikit-image, and its own laws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from skimage.measure import label
from skimage.metrics import adapted_rand_error

from pellucid.core.rng import generator
from pellucid.core.types import IGNORE
from pellucid.metrics import segmentation
from pellucid.metrics.segmentation import Units

few = settings(max_examples=40, deadline=None)
seeds = st.integers(0, 2**31 - 1)
CLASSES = 4
MEASURES = (segmentation.dice, segmentation.iou, segmentation.precision, segmentation.recall)


def masks(
    seed: int, size: tuple[int, ...] = (9, 11), ignored: float = 0.1
) -> tuple[np.ndarray, np.ndarray]:
    """Two that agree in places; some classes may be nowhere."""
    rng = generator(seed)
    target = rng.integers(0, rng.integers(1, CLASSES + 1), size).astype(np.uint8)
    answer = np.where(rng.random(size) < 0.6, target, rng.integers(0, CLASSES, size)).astype(
        np.uint8
    )
    target[rng.random(size) < ignored] = IGNORE
    return target, answer


def blobs(seed: int, size: tuple[int, ...] = (24, 30), share: float = 0.55) -> np.ndarray:
    from scipy.ndimage import uniform_filter

    noise = uniform_filter(generator(seed).random(size), 3)
    return (noise > np.quantile(noise, 1 - share)).astype(np.uint8)


# -------------------------------------------------------------------------------------------- areas


@given(seed=seeds, flat=st.booleans())
@few
def test_scores_are_what_sets_of_pixels_give(seed: int, flat: bool) -> None:
    target, answer = masks(seed, (9, 11) if flat else (3, 4, 5))
    found = segmentation.counts(target, answer, CLASSES)
    asked = {tuple(at) for at in np.argwhere(target != IGNORE)}
    right = 0
    for c in range(CLASSES):
        a, b = ({tuple(at) for at in np.argwhere(mask == c)} & asked for mask in (target, answer))
        right += len(a & b)
        expected = (
            (2 * len(a & b), len(a) + len(b)),
            (len(a & b), len(a | b)),
            (len(a & b), len(b)),
            (len(a & b), len(a)),
        )
        for measure, (part, whole) in zip(MEASURES, expected, strict=True):
            assert measure(found)[c] == pytest.approx(
                part / whole if whole else np.nan, nan_ok=True
            )
    assert segmentation.pixel_accuracy(found) == pytest.approx(right / len(asked))


@given(seed=seeds)
@few
def test_a_perfect_mask_scores_one(seed: int) -> None:
    target, _ = masks(seed)
    found = segmentation.counts(target, target, CLASSES)
    there = found[1] > 0
    for measure in MEASURES:
        assert (measure(found)[there] == 1).all() and np.isnan(measure(found)[~there]).all()
    assert segmentation.pixel_accuracy(found) == 1


@given(seed=seeds)
@few
def test_dice_and_iou_are_symmetric_and_equivalent(seed: int) -> None:
    target, answer = masks(seed, ignored=0)
    there, back = (
        segmentation.counts(target, answer, CLASSES),
        segmentation.counts(answer, target, CLASSES),
    )
    for measure in (segmentation.dice, segmentation.iou):
        np.testing.assert_array_equal(measure(there), measure(back))
    np.testing.assert_allclose(
        segmentation.iou(there), segmentation.dice(there) / (2 - segmentation.dice(there))
    )
    np.testing.assert_array_equal(segmentation.precision(there), segmentation.recall(back))


@given(seed=seeds)
@few
def test_counts_of_parts_add_up(seed: int) -> None:
    target, answer = masks(seed)
    halves = [
        segmentation.counts(target[part], answer[part], CLASSES)
        for part in (slice(0, 4), slice(4, None))
    ]
    np.testing.assert_array_equal(sum(halves), segmentation.counts(target, answer, CLASSES))


def test_masks_that_do_not_fit_are_refused() -> None:
    mask = np.zeros((3, 3), np.uint8)
    with pytest.raises(ValueError, match="no overlap"):
        segmentation.counts(mask, mask[:2], 2)
    with pytest.raises(ValueError, match="says 2"):
        segmentation.counts(mask, mask + np.uint8(2), 2)


def test_without_known_pixels_nothing_is_defined() -> None:
    nobody = np.full((3, 3), IGNORE, np.uint8)
    found = segmentation.counts(nobody, np.zeros((3, 3), np.uint8), 2)
    assert np.isnan(segmentation.pixel_accuracy(found)) and np.isnan(segmentation.mean_dice(found))


# ----------------------------------------------------------------------------------------- outlines


def distances(a: np.ndarray, b: np.ndarray, spacing: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every point of one outline against every one of the other."""

    def points(mask: np.ndarray) -> np.ndarray:
        padded = np.pad(mask, 1)
        inside = padded.copy()
        for axis in range(mask.ndim):
            for step in (-1, 1):
                inside &= np.roll(padded, step, axis)
        return (np.argwhere(padded & ~inside) - 1) * spacing

    ours, theirs = points(a), points(b)
    every = np.sqrt(((ours[:, None] - theirs[None]) ** 2).sum(axis=2))
    return every.min(axis=1), every.min(axis=0)


@given(seed=seeds, flat=st.booleans(), share=st.floats(0.05, 0.9))
@few
def test_distances_are_those_of_every_pair_of_points(seed: int, flat: bool, share: float) -> None:
    size = (10, 12) if flat else (4, 7, 6)
    a, b = blobs(seed, size, share) > 0, blobs(seed + 1, size, share) > 0
    assume(a.any() and b.any())
    spacing = generator(seed, 2).uniform(0.5, 3, len(size))
    there, back = distances(a, b, spacing)
    expected = max(np.quantile(there, 0.95), np.quantile(back, 0.95))
    assert segmentation.hausdorff95(a, b, tuple(spacing)) == pytest.approx(expected)
    assert segmentation.hausdorff95(b, a, tuple(spacing)) == pytest.approx(expected)
    mean = (there.sum() + back.sum()) / (len(there) + len(back))
    assert segmentation.surface_distance(a, b, tuple(spacing)) == pytest.approx(mean)
    assert segmentation.both_distances(a, b, tuple(spacing)) == (
        segmentation.hausdorff95(a, b, tuple(spacing)),
        pytest.approx(mean),
    )
    assert segmentation.both_distances(a, a) == (0, 0)


def test_distances_follow_the_spacing() -> None:
    a, b = np.zeros((2, 4, 12, 12), bool)
    a[1:3, 2:6, 2:6], b[1:3, 2:6, 5:9] = True, True
    assert segmentation.hausdorff95(a, b, (5.0, 1.0, 2.0)) == pytest.approx(6)
    assert segmentation.hausdorff95(a, b) == pytest.approx(3)


def test_there_is_no_distance_to_nothing() -> None:
    a = np.eye(4, dtype=bool)
    for first, second in ((a, ~a & a), (~a & a, a)):
        assert np.isnan(segmentation.both_distances(first, second)).all()


# ------------------------------------------------------------------------------------------ objects


def test_objects_touch_at_sides_and_are_of_one_class() -> None:
    mask = np.array([[1, 0, 2, 2], [0, 1, 1, 2], [IGNORE, 0, 0, 0]], np.uint8)
    numbered, count = segmentation.objects(mask)
    assert count == 3 and not numbered[(mask == 0) | (mask == IGNORE)].any()
    assert numbered[1, 1] == numbered[1, 2] != numbered[0, 0] and numbered[0, 2] == numbered[1, 3]


@given(seed=seeds, share=st.floats(0.1, 0.9))
@few
def test_the_rand_score_is_one_minus_scikit_images_error(seed: int, share: float) -> None:
    target, answer = blobs(seed, share=share), blobs(seed, share=share)
    answer[generator(seed, 3).random(answer.shape) < 0.05] ^= 1
    there, said = (label(mask, connectivity=1, background=0) for mask in (target, answer))
    expected = 1 - adapted_rand_error(there, said, ignore_labels=(0,))[0]
    assert segmentation.rand_score(target, answer) == pytest.approx(expected)
    assert segmentation.rand_score(target, target) == 1


def test_a_gap_costs_much_and_a_thick_wall_nothing() -> None:
    target = np.ones((20, 20), np.uint8)
    target[:, 10] = 0
    gap, thick = target.copy(), target.copy()
    gap[5, 10], thick[:, 11] = 1, 0
    assert segmentation.rand_score(target, gap) < 0.7 < 0.9 < segmentation.rand_score(target, thick)
    thin = target.copy()
    thin[:, 9], thin[:, 10] = 0, 0
    assert segmentation.rand_score(thin, target) == 1


def test_without_objects_there_is_no_rand_score() -> None:
    empty = np.zeros((5, 5), np.uint8)
    assert np.isnan(segmentation.rand_score(empty, empty + np.uint8(1)))


# ---------------------------------------------------------------------------------------- intervals


def many(count: int = 40, seed: int = 0) -> np.ndarray:
    return np.stack(
        [segmentation.counts(*masks(1000 * seed + number), CLASSES) for number in range(count)]
    )


def test_an_interval_is_that_of_resampled_images() -> None:
    found, units = many(), Units([f"{number}" for number in range(40)])
    estimate = units.pixels(found[..., 1:], segmentation.mean_dice)
    drawn = generator(9).integers(40, size=(4000, 40))
    expected = np.quantile(
        [segmentation.mean_dice(found[which].sum(axis=0)[:, 1:]) for which in drawn], [0.025, 0.975]
    )
    said = estimate.score()
    assert said["value"] == pytest.approx(segmentation.mean_dice(found.sum(axis=0)[:, 1:]))
    np.testing.assert_allclose([said["low"], said["high"]], expected, atol=0.01)
    assert said["interval"] == "bootstrap 95 %, 1000 resamples of pictures"


def test_images_of_one_group_are_drawn_together() -> None:
    found = np.repeat(many(10), 4, axis=0)
    alone = (
        Units([f"{number}" for number in range(40)])
        .pixels(found[..., 1:], segmentation.mean_dice)
        .score()
    )
    grouped = (
        Units([f"{number // 4}" for number in range(40)])
        .pixels(found[..., 1:], segmentation.mean_dice)
        .score()
    )
    once = (
        Units([f"{number}" for number in range(10)])
        .pixels(many(10)[..., 1:], segmentation.mean_dice)
        .score()
    )
    assert grouped["high"] - grouped["low"] > 1.5 * (alone["high"] - alone["low"])
    assert (grouped["low"], grouped["high"]) == (once["low"], once["high"])
    assert "groups" in grouped["interval"]


def test_a_mean_over_images_leaves_out_undefined_ones() -> None:
    values = np.array([0.5, np.nan, 0.7, 0.9])
    said = Units(list("abcd")).pictures(values)
    assert said.value == pytest.approx(0.7) and said.held.tolist() == [3]
    assert 0.5 <= said.score()["low"] < 0.7 < said.score()["high"] <= 0.9


def test_no_interval_claims_to_be_certain() -> None:
    perfect = Units(list("abcde")).pictures(np.ones(5)).score()
    assert perfect["value"] == perfect["high"] == 1 and perfect["low"] < 0.7
    assert Units(["a"]).pictures(np.array([0.5])).score() == {
        "value": 0.5,
        "low": None,
        "high": None,
        "interval": None,
    }
    assert Units(list("ab")).pictures(np.full(2, np.nan)).score()["value"] is None
    assert Units(list("ab")).pictures(np.ones(2)).distance()["low"] is None


def test_weighted_means_are_those_of_repeated_values() -> None:
    values = np.array([0.2, np.nan, 0.8, 0.5])
    weights = np.array([[1.0, 1, 1, 1], [3, 0, 1, 0], [0, 2, 0, 0]])
    found = segmentation.weighted_means(values, weights)
    assert found[:2] == pytest.approx([0.5, (3 * 0.2 + 0.8) / 4]) and np.isnan(found[2])


def test_separated_objects_count_as_they_are() -> None:
    target = np.ones((20, 20), np.uint8)
    target[:, 10] = 0
    open_gap = target.copy()
    open_gap[5, 10] = 1
    whole, _ = segmentation.objects(open_gap)
    assert segmentation.rand_score(target, open_gap, whole) == segmentation.rand_score(
        target, open_gap
    )
    parted = np.where(np.arange(20) < 10, 1, 2)[None].repeat(20, 0).astype(np.int32)
    assert segmentation.rand_score(target, open_gap, parted) == 1
