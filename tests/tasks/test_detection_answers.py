"""The metric of detection as the engine meets it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pellucid.core.errors import UsageError
from pellucid.core.types import Objects, Prediction
from pellucid.tasks.detection.answers import Answers

CLASSES = ("RBC", "WBC")
BOXES = np.array([[0.0, 0, 40, 40], [50, 50, 90, 90], [100, 0, 140, 40]])


def picture(
    source: str,
    labels: list[int],
    said: list[tuple[int, int, float]],
    ignore: list[bool] | None = None,
) -> tuple[Prediction, Objects]:
    """labels: of the first boxes. said: box, label and score of each detection, surest first."""
    target = Objects(BOXES[: len(labels)], labels, ignore or [False] * len(labels))
    which, names, scores = (
        (list(column) for column in zip(*said, strict=True)) if said else ([], [], [])
    )
    boxes = BOXES[np.array(which, int)]
    return Prediction(
        source,
        (200, 200),
        CLASSES,
        boxes=boxes,
        labels=np.array(names, int),
        scores=np.array(scores),
    ), target


PICTURES = [
    picture("a", [0, 1], [(0, 0, 0.9), (1, 1, 0.8)]),
    picture("b", [0, 0], [(0, 0, 0.9), (2, 1, 0.85), (1, 0, 0.2)]),
    picture("c", [], []),
    picture("d", [0], [(0, 0, 0.6)], [True]),
]


def answers(
    pictures: list[tuple[Prediction, Objects]], threshold: float = 0.5, score: str = "map50"
) -> Answers:
    metric = Answers(CLASSES, score, threshold, "f1")
    metric.add([prediction for prediction, _ in pictures], [target for _, target in pictures])
    return metric


def test_rows_say_what_was_found_missed_and_made_up() -> None:
    first, second, third, fourth = answers(PICTURES).rows()
    assert first == {
        "source": "a",
        "truth": "RBC 1, WBC 1",
        "answer": "RBC 1, WBC 1",
        "confidence": "0.850000",
        "correct": 1,
        "found": 2,
        "missed": 0,
        "false_alarms": 0,
    }
    assert [
        second[key] for key in ("truth", "answer", "correct", "found", "missed", "false_alarms")
    ] == [
        "RBC 2",
        "RBC 1, WBC 1",
        0,
        1,
        1,
        1,
    ]
    assert (third["truth"], third["answer"], third["confidence"], third["correct"]) == (
        "nothing",
        "nothing",
        "",
        1,
    )
    assert (fourth["truth"], fourth["correct"], fourth["found"], fourth["false_alarms"]) == (
        "nothing",
        1,
        0,
        0,
    )


def test_parts_of_two_processes_are_the_whole_and_each_picture_counts_once() -> None:
    whole, part = answers(PICTURES), answers(PICTURES[2:])
    part.merge(answers(PICTURES[:3]))
    assert part.rows() == whole.rows() and part.quick() == whole.quick()


def test_quick_is_the_result() -> None:
    metric = answers(PICTURES)
    quick, found = metric.quick(), metric.result()
    assert quick["map50"] == pytest.approx(found["map50"]["value"]) and quick[
        "map"
    ] == pytest.approx(found["map"]["value"])
    assert (
        quick["score"] == quick["map50"]
        and answers(PICTURES, score="map").quick()["score"] == quick["map"]
    )
    assert answers(PICTURES[2:3]).quick()["score"] == 0


def test_the_result_is_json_and_says_what_rows_say() -> None:
    metric = answers(PICTURES)
    found = json.loads(json.dumps(metric.result(), allow_nan=False))
    right, made_up, missed = (
        sum(row[name] for row in metric.rows()) for name in ("found", "false_alarms", "missed")
    )
    assert found["precision"]["value"] == right / (right + made_up) and found["recall"][
        "value"
    ] == right / (right + missed)
    assert (
        found["threshold"] == {"value": 0.5, "aim": "f1", "note": ""}
        and found["errors"]["background"]["said"] == made_up
    )
    assert (
        json.loads(json.dumps(answers(PICTURES[2:3]).result(), allow_nan=False))["map"]["value"]
        is None
    )


def test_a_paired_test_is_of_the_score_that_was_asked_for() -> None:
    ours, theirs = (
        answers(PICTURES),
        answers([picture(p.source, t.labels.tolist(), [], t.ignore.tolist()) for p, t in PICTURES]),
    )
    gained = ours.gain(theirs)
    assert gained["score"] == "map50" and gained["gain"]["value"] == pytest.approx(
        ours.quick()["map50"]
    )
    assert (
        gained["map_gain"]["value"] == pytest.approx(ours.quick()["map"])
        and gained["map50_without"] == 0
    )
    assert (
        ours.against(theirs)["p"] == gained["gain"]["p"] and ours.against(theirs)["pictures"] == 4
    )
    assert ours.over_mean([ours, theirs])["value"] == pytest.approx(gained["gain"]["value"] / 2)


def test_two_sentences() -> None:
    metric = answers(PICTURES)
    first, second = metric.sentences({"test": metric.result(), "against_best_baseline": None})
    test = metric.result()["map50"]
    assert (
        first.startswith(
            f"test:     mAP@.5 {test['value']:.1%} ({test['low']:.1%} to {test['high']:.1%})"
        )
        and "4 pictures" in first
    )
    assert (
        "threshold 0.50 (for f1)" in second
        and "costliest error: " in second
        and " points of mAP@.5" in second
    )
    nothing = answers(PICTURES[2:3])
    assert "undefined" in nothing.sentences({"test": nothing.result()})[0]
    one = answers(PICTURES[1:2])
    assert "(no interval: too few pictures), 1 picture" in one.sentences({"test": one.result()})[0]


def test_an_aim_that_is_none_is_refused_at_once() -> None:
    with pytest.raises(UsageError, match="precisoin"):
        Answers(CLASSES, "map", 0.5, "precisoin 0.9")
