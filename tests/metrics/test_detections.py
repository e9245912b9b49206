"""Average precision against faster-coco-eval, error kinds by hand, thresholds, intervals, and what
must not change them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.core.errors import UsageError
from pellucid.core.types import Objects
from pellucid.metrics.detection import (
    average_precision,
    choose,
    coco,
    evaluation,
    gather,
    judge,
    mean_precision,
    read_aim,
)
from pellucid.metrics.detection.errors import table_of_errors
from pellucid.metrics.detection.precision import (
    RECALLS,
    SIZES,
    THRESHOLDS,
    curve,
    highest_recall,
)
from pellucid.metrics.detection.table import Table, pairs, places
from pellucid.metrics.detection.threshold import per_image
from pellucid.metrics.significance import interval, resamples

CLASSES = ("cat", "dog", "owl")


@dataclass(frozen=True, eq=False)
class Detected:
    """Detections of one image: what is read of a result."""

    boxes: np.ndarray
    scores: np.ndarray
    class_ids: np.ndarray


Scene = tuple[list[Objects], list[Detected]]


def objects(*rows: tuple[float, ...], ignore: tuple[bool, ...] | None = None) -> Objects:
    """Rows of x1 y1 x2 y2 label."""
    table = np.array(rows, float).reshape(-1, 5)
    return Objects(
        table[:, :4],
        table[:, 4].astype(int),
        np.zeros(len(table), bool) if ignore is None else np.array(ignore),
    )


def answer(*rows: tuple[float, ...]) -> Detected:
    """Rows of x1 y1 x2 y2 label score, highest score first."""
    table = np.array(rows, float).reshape(-1, 6)
    return Detected(table[:, :4], table[:, 5], table[:, 4].astype(int))


def scene(
    seed: int,
    pictures: int = 8,
    most: int = 8,
    many: int = 30,
    ties: bool = True,
    crowds: float = 0.2,
) -> Scene:
    """Objects anywhere, some of them crowds, and detections around them, some of another class,
    many of equal score."""
    rng = np.random.default_rng(seed)
    targets, answers = [], []
    for _ in range(pictures):
        count, said = rng.integers(0, most + 1), rng.integers(0, many + 1)
        low = rng.integers(0, 100, (count, 2))
        target = Objects(
            np.hstack([low, low + rng.integers(1, 140, (count, 2))]),
            rng.integers(0, 3, count),
            rng.random(count) < crowds,
        )
        near = rng.integers(0, max(count, 1), said)
        boxes = (
            target.boxes[near] + rng.integers(-6, 7, (said, 4))
            if count
            else np.tile([5.0, 5, 40, 40], (said, 1))
        )
        boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
        labels = rng.integers(0, 3, said)
        if count:
            labels = np.where(rng.random(said) < 0.8, target.labels[near], labels)
        scores = -np.sort(-rng.random(said))
        scores = scores.round(1) if ties else scores
        targets.append(target)
        answers.append(Detected(boxes, scores, labels))
    return targets, answers


def table_of(found: Scene) -> Table:
    return gather(*found, len(CLASSES))


def map_of(found: Scene) -> float:
    return float(mean_precision(average_precision(judge(table_of(found))))[0])


def agree(ours: np.ndarray, theirs: np.ndarray) -> None:
    np.testing.assert_array_equal(np.isnan(ours), np.isnan(theirs))
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


# --- against faster-coco-eval ---------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    ties=st.booleans(),
    many=st.sampled_from([0, 10, 40, 500]),
    crowds=st.sampled_from([0.0, 0.3, 1.0]),
)
def test_average_precision_is_that_of_coco(seed: int, ties: bool, many: int, crowds: float) -> None:
    table = table_of(scene(seed, many=many, ties=ties, crowds=crowds))
    reference = coco.evaluate(table)
    agree(average_precision(judge(table))[..., 0], reference.ap[..., 0])
    agree(highest_recall(judge(table))[..., 0], reference.recall)
    for number, size in enumerate(SIZES, start=1):
        agree(average_precision(judge(table, size=size))[..., 0], reference.ap[..., number])


def test_a_weight_is_a_picture_that_comes_more_than_once() -> None:
    targets, answers = scene(3, ties=False)
    weights = np.array([2, 0, 1, 3, 1, 0, 0, 1])
    which = np.repeat(np.arange(8), weights)
    again = coco.evaluate(table_of(([targets[i] for i in which], [answers[i] for i in which]))).ap[
        ..., 0
    ]
    agree(
        average_precision(judge(table_of((targets, answers))), weights[:, None].astype(float))[
            ..., 0
        ],
        again,
    )


def test_the_curve_is_what_its_area_says() -> None:
    table = table_of(scene(5, pictures=20))
    at_half = judge(table, THRESHOLDS[:1])
    for label in range(3):
        points = curve(at_half, label)
        assert points.shape == RECALLS.shape and (np.diff(points) <= 0).all()
        assert points.mean() == pytest.approx(average_precision(at_half)[0, label, 0])


def test_pairs_are_the_same_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    table = table_of(scene(9))
    whole = pairs(table, 0.1, same_class=False)
    monkeypatch.setattr("pellucid.metrics.detection.table._CHUNK", 7)
    pieces = pairs(table, 0.1, same_class=False)
    for name in ("detection", "object", "overlap"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(pieces, name))


@given(st.lists(st.integers(0, 4), max_size=30))
def test_places_count_within_their_group(groups: list[int]) -> None:
    assert places(np.array(groups, int)).tolist() == [
        groups[:i].count(group) for i, group in enumerate(groups)
    ]


# --- what must not change it ----------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_the_order_of_pictures_is_of_no_account(seed: int) -> None:
    targets, answers = scene(seed, ties=False)
    order = np.random.default_rng(seed).permutation(len(targets))
    there = map_of(([targets[i] for i in order], [answers[i] for i in order]))
    assert there == pytest.approx(map_of((targets, answers)), nan_ok=True)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_perfect_detections_are_perfect_and_a_duplicate_is_not(seed: int) -> None:
    targets, _ = scene(seed, crowds=0.0)
    perfect = [
        answer(
            *((*box, label, 0.9) for box, label in zip(target.boxes, target.labels, strict=True))
        )
        for target in targets
    ]
    twice = [
        answer(
            *(
                row
                for box, label in zip(t.boxes, t.labels, strict=True)
                for row in ((*box, label, 0.9),) * 2
            )
        )
        for t in targets
    ]
    if not any(len(target) for target in targets):
        assert np.isnan(map_of((targets, perfect)))
        return
    assert map_of((targets, perfect)) == 1
    assert map_of((targets, twice)) < 1
    errors = table_of_errors(table_of((targets, perfect)), 0.5)
    assert all(each == {"count": 0, "said": 0, "cost": 0} for each in errors.values())


# --- kinds of error -------------------------------------------------------------------------------

CAT = (0.0, 0, 100, 100, 0)
WRONG_ANSWERS = {
    "classification": (0, 0, 100, 100, 1, 0.9),
    "localisation": (0, 0, 100, 40, 0, 0.9),
    "both": (0, 0, 100, 40, 1, 0.9),
    "background": (200, 200, 300, 300, 0, 0.9),
}


@pytest.mark.parametrize("kind", WRONG_ANSWERS)
def test_each_kind_of_wrong_answer(kind: str) -> None:
    dog = (300, 300, 390, 390, 1)
    found = table_of_errors(
        table_of(([objects(CAT, dog)], [answer(WRONG_ANSWERS[kind], (*dog, 0.8))])), 0.5
    )
    missed = kind in ("both", "background")
    expected = {name: int(name == kind or (name == "missed" and missed)) for name in found}
    assert {name: each["count"] for name, each in found.items()} == expected


def test_what_mending_gains() -> None:
    # mAP of cat 0 and dog 1/2 (a wrong detection above the right one); a mended class makes both 1.
    target, dog = objects(CAT, (300, 300, 390, 390, 1)), (300, 300, 390, 390, 1, 0.8)
    found = table_of_errors(
        table_of(([target], [answer(WRONG_ANSWERS["classification"], dog)])), 0.85
    )
    assert found["classification"] == {"count": 1, "said": 1, "cost": pytest.approx(0.75)}
    assert [
        found[kind]["cost"]
        for kind in ("localisation", "both", "duplicate", "background", "missed")
    ] == [0] * 5
    # At 0.85 the dog is not found any more.
    assert found["missed"] == {"count": 0, "said": 1, "cost": 0}


def test_mending_removes_boxes_whose_object_is_found() -> None:
    rows = (
        (*CAT, 0.9),
        (0, 0, 100, 95, 0, 0.8),
        (0, 0, 100, 40, 0, 0.7),
        (200, 200, 290, 290, 0, 0.6),
    )
    found = table_of_errors(
        table_of(([objects(CAT, (200, 200, 290, 290, 0))], [answer(*rows)])), 0.0
    )
    assert (
        found["duplicate"]["count"],
        found["localisation"]["count"],
        found["missed"]["count"],
    ) == (1, 1, 0)
    # Precision at recall 1 is 2/4; without either of the two 2/3; the first 51 recalls have 1.
    assert found["duplicate"]["cost"] == pytest.approx(50 / 101 * (2 / 3 - 1 / 2))
    assert found["localisation"]["cost"] == pytest.approx(50 / 101 * (2 / 3 - 1 / 2))


def test_the_surest_of_several_mends_an_object() -> None:
    rows = (0, 0, 100, 40, 0, 0.9), (0, 0, 100, 30, 0, 0.8)
    found = table_of_errors(table_of(([objects(CAT)], [answer(*rows)])), 0.0)
    assert found["localisation"] == {"count": 2, "said": 2, "cost": 1}


def test_silence_costs_what_is_missed() -> None:
    found = table_of_errors(table_of(([objects(CAT)], [answer()])), 0.5)
    assert found["missed"] == {"count": 1, "said": 1, "cost": 1}


def test_ignored_objects_are_no_errors() -> None:
    found = table_of_errors(
        table_of(([objects(CAT, ignore=(True,))], [answer((*CAT, 0.9), (*CAT, 0.8))])), 0.5
    )
    assert all(each["count"] == 0 and each["cost"] is None for each in found.values())


# --- thresholds -----------------------------------------------------------------------------------


def ladder() -> Scene:
    """Four objects; detections right, right, wrong, right, wrong from 0.9 down to 0.5; the fourth
    object is never found."""
    things = [(100.0 * i, 0, 100 * i + 50, 50, 0) for i in range(4)]
    away = (0, 300, 50, 350, 0)
    rows = [(*things[0], 0.9), (*things[1], 0.8), (*away, 0.7), (*things[2], 0.6), (*away, 0.5)]
    return [objects(*things)], [answer(*rows)]


@pytest.mark.parametrize(
    ("aim", "value", "precision", "recall"),
    [
        ("f1", 0.55, 3 / 4, 3 / 4),
        ("precision 0.9", 0.75, 1, 0.5),
        ("recall 0.4", 0.75, 1, 0.5),
        ("recall 0.75", 0.55, 3 / 4, 3 / 4),
    ],
)
def test_a_threshold_for_an_aim(aim: str, value: float, precision: float, recall: float) -> None:
    found = choose(aim, *ladder(), 3)
    assert found.value == pytest.approx(value) and not found.note
    assert (found.precision, found.recall) == (precision, recall)
    right, wrong, things = (each.sum() for each in per_image(table_of(ladder()), found.value))
    assert (right / (right + wrong), right / things) == (precision, recall)
    assert found.f1 == pytest.approx(2 * right / (right + wrong + things))


def test_an_aim_out_of_reach_says_so() -> None:
    found = choose("recall 0.95", *ladder(), 3)
    assert (
        found.recall == 0.75
        and found.value == pytest.approx(0.55)
        and "0.95" in found.note
        and "0.750" in found.note
    )
    nothing = choose("f1", [objects()], [answer((*CAT, 0.9))], 3)
    assert (nothing.value, nothing.f1) == (0.5, None) and "no objects" in nothing.note
    assert "no detections" in choose("f1", [objects(CAT)], [answer()], 3).note


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), ties=st.booleans())
def test_no_other_threshold_has_a_higher_f1(seed: int, ties: bool) -> None:
    found = scene(seed, ties=ties)
    table, best = table_of(found), choose("f1", *found, 3)
    if best.f1 is None:
        return
    for value in (best.value, *np.unique(table.scores)):
        right, wrong, things = (each.sum() for each in per_image(table, float(value)))
        f1 = 2 * right / (right + wrong + things)
        assert f1 <= best.f1 + 1e-12 if value != best.value else f1 == pytest.approx(best.f1)


@pytest.mark.parametrize(
    "aim",
    ["", "f2", "f1 0.5", "precision", "precision high", "recall 0", "recall 1.2", "recall nan"],
)
def test_an_aim_that_is_none(aim: str) -> None:
    with pytest.raises(UsageError, match=r'write "f1"'):
        read_aim(aim)


# --- intervals ------------------------------------------------------------------------------------


def test_the_interval_is_that_of_pictures_drawn_one_by_one() -> None:
    targets, answers = scene(11, pictures=25, ties=False)
    table = table_of((targets, answers))
    ours = mean_precision(average_precision(judge(table), resamples(25).T))
    rng = np.random.default_rng(4)
    drawn = (rng.integers(25, size=25) for _ in range(150))
    theirs = [map_of(([targets[i] for i in which], [answers[i] for i in which])) for which in drawn]
    assert ours.mean() == pytest.approx(np.mean(theirs), abs=0.02)
    assert ours.std() == pytest.approx(np.std(theirs), rel=0.3)


def test_everything_with_its_interval() -> None:
    table = table_of(scene(2, pictures=30))
    found, reference = evaluation(table, CLASSES, 0.5), coco.evaluate(table)
    assert found["map50"]["value"] == pytest.approx(np.nanmean(reference.ap[0, :, 0]))
    assert found["per_size"]["small"]["ap"]["value"] == pytest.approx(
        np.nanmean(reference.ap[:, :, 1])
    )
    scores = [found[name] for name in ("map", "map50", "recall100", "precision", "recall", "f1")]
    scores += [
        of[name]
        for of in found["per_class"].values()
        for name in ("ap", "ap50", "precision", "recall", "f1")
    ]
    for score in scores:
        assert 0 <= score["low"] < score["value"] < score["high"] <= 1
    assert sum(of["objects"] for of in found["per_class"].values()) == found["objects"]


def test_all_right_is_not_sure_to_be_perfect() -> None:
    few, many = (interval(1.0, np.ones(1000), np.array([n, n])) for n in (5, 500))
    assert few["high"] == many["high"] == 1 and few["low"] < 0.75 < 0.99 < many["low"] < 1
    assert interval(0.0, np.zeros(1000), np.array([5]))["high"] > 0.3


def test_one_image_and_equal_resamples_have_no_interval() -> None:
    said = answer((200, 200, 250, 250, 0, 0.95), (*CAT, 0.9))
    one = evaluation(table_of(([objects(CAT)], [said])), CLASSES, 0.5)
    beside = evaluation(
        table_of(([objects(CAT), objects()], [said, answer((*CAT, 0.95))])), CLASSES, 0.5
    )
    alike = evaluation(table_of(([objects(CAT)] * 2, [said, said])), CLASSES, 0.5)
    for score in (one["map50"], one["precision"], one["recall"], beside["map"], alike["precision"]):
        assert (
            0 < score["value"] <= 1
            and score["low"] is None
            and score["high"] is None
            and score["interval"] is None
        )
    assert alike["recall"]["low"] < 0.5


def test_a_class_without_objects_is_left_out_of_means() -> None:
    only_cats = evaluation(
        table_of(([objects(CAT)], [answer((*CAT, 0.9), (200, 200, 250, 250, 2, 0.4))])),
        CLASSES,
        0.5,
    )
    assert only_cats["map"]["value"] == 1 and only_cats["per_class"]["owl"]["ap"]["value"] is None
    assert list(only_cats["curves"]) == ["cat"]
    nothing = evaluation(
        table_of(([objects()] * 3, [answer((*CAT, 0.9)), answer(), answer()])), CLASSES, 0.5
    )
    assert (
        nothing["map"]["value"] is None
        and nothing["precision"]["value"] == 0
        and nothing["recall"]["value"] is None
    )
    silent = evaluation(table_of(([objects(CAT)], [answer()])), CLASSES, 0.5)
    assert silent["map"]["value"] == 0 and silent["precision"]["value"] is None


def test_the_library_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coco, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'pellucid\[detect\]'"):
        coco.require()
