"""The metric of detection, its comparisons, and the sentences about it."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from pellucid.core.errors import UsageError
from pellucid.core.types import Objects
from pellucid.metrics.significance import over_mean, paired, resamples
from pellucid.tasks.detection.inference import DetectionInference
from pellucid.tasks.detection.metric import DetectionMetric
from pellucid.tasks.detection.preprocess import DetectionPreprocess
from pellucid.tasks.detection.report import sentences
from pellucid.tasks.detection.result import DetectionResult

CLASSES = ("RBC", "WBC")
BOXES = np.array([[0.0, 0, 40, 40], [50, 50, 90, 90], [100, 0, 140, 40]])


def picture(
    source: str,
    labels: list[int],
    said: list[tuple[int, int, float]],
    ignore: list[bool] | None = None,
) -> tuple[DetectionResult, Objects]:
    """labels: of the first boxes. said: box, label and score of each detection, surest first."""
    target = Objects(BOXES[: len(labels)], labels, ignore or [False] * len(labels))
    which, names, scores = (
        (list(column) for column in zip(*said, strict=True)) if said else ([], [], [])
    )
    boxes = BOXES[np.array(which, int)]
    arrays = boxes, np.array(scores), np.array(names, int)
    return DetectionResult(source, (200, 200), CLASSES, *arrays, threshold=0.5), target


PICTURES = [
    picture("a", [0, 1], [(0, 0, 0.9), (1, 1, 0.8)]),
    picture("b", [0, 0], [(0, 0, 0.9), (2, 1, 0.85), (1, 0, 0.2)]),
    picture("c", [], []),
    picture("d", [0], [(0, 0, 0.6)], [True]),
]


def metric_of(
    pictures: list[tuple[DetectionResult, Objects]], threshold: float = 0.5, score: str = "map50"
) -> DetectionMetric:
    metric = DetectionMetric(CLASSES, score, threshold, "f1")
    metric.add([result for result, _ in pictures], [target for _, target in pictures])
    return metric


def test_rows_say_what_was_found_missed_and_made_up() -> None:
    first, second, third, fourth = metric_of(PICTURES).rows()
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


def test_records_of_two_processes_are_the_whole() -> None:
    """And each image counts once."""
    whole, part = metric_of(PICTURES), metric_of(PICTURES[2:])
    part.records |= metric_of(PICTURES[:3]).records
    assert part.rows() == whole.rows() and part.scores() == whole.scores()


def test_records_are_the_whole_state() -> None:
    whole, again = metric_of(PICTURES), metric_of([])
    again.records = {
        source: {name: np.array(values) for name, values in record.items()}
        for source, record in reversed(whole.records.items())
    }
    assert again.rows() == whole.rows() and again.evidence() == whole.evidence()


def test_scores_are_those_of_the_evidence() -> None:
    metric = metric_of(PICTURES)
    scores, found = metric.scores(), metric.evidence()
    assert list(scores) == ["map50", "map", "score"]
    for name in ("map50", "map"):
        assert scores[name] == pytest.approx(found[name]["value"])
    assert scores["score"] == scores["map50"]
    assert metric_of(PICTURES, score="map").scores()["score"] == scores["map"]
    assert metric_of(PICTURES[2:3]).scores()["score"] == 0


def test_the_evidence_is_json_and_says_what_rows_say() -> None:
    metric = metric_of(PICTURES)
    found = json.loads(json.dumps(metric.evidence(), allow_nan=False))
    right, made_up, missed = (
        sum(row[name] for row in metric.rows()) for name in ("found", "false_alarms", "missed")
    )
    assert found["precision"]["value"] == right / (right + made_up)
    assert found["recall"]["value"] == right / (right + missed)
    assert found["threshold"] == {"value": 0.5, "aim": "f1", "note": ""}
    assert found["errors"]["background"]["said"] == made_up
    empty = json.loads(json.dumps(metric_of(PICTURES[2:3]).evidence(), allow_nan=False))
    assert empty["map"]["value"] is None


def test_resample_is_the_score_of_repeated_images() -> None:
    metric = metric_of(PICTURES)
    found = metric.resample(np.array([[1.0, 1, 1, 1], [2, 1, 0, 0], [0, 0, 1, 0]]))
    assert set(found) == set(DetectionMetric.SCORES)
    twice = [(replace(PICTURES[0][0], source=name), PICTURES[0][1]) for name in "xy"]
    for name in DetectionMetric.SCORES:
        assert found[name][0] == metric.scores()[name]
        assert found[name][1] == metric_of([*twice, PICTURES[1]]).scores()[name]
        assert np.isnan(found[name][2])
    spread = metric.resample(resamples(4))["map50"]
    low, high = np.nanquantile(spread, [0.025, 0.975])
    of = metric.evidence()["map50"]
    assert (of["low"], of["high"]) == (min(low, of["value"]), max(high, of["value"]))


def test_a_comparison_is_of_the_score_asked_for() -> None:
    ours = metric_of(PICTURES)
    theirs = metric_of(
        [picture(p.source, t.labels.tolist(), [], t.ignore.tolist()) for p, t in PICTURES]
    )
    gained = paired(ours, theirs)
    assert gained["score"] == "map50" and gained["theirs"] == 0
    assert gained["gain"]["value"] == pytest.approx(ours.scores()["map50"])
    assert paired(ours, theirs, "map")["gain"]["value"] == pytest.approx(ours.scores()["map"])
    mean = over_mean(ours, [ours, theirs])
    assert mean["gain"]["value"] == pytest.approx(gained["gain"]["value"] / 2)


def scattered(moved: float = 0.0) -> DetectionMetric:
    """Of 40 images: three objects each, of which most are found, `moved` pixels away."""
    rng, found = np.random.default_rng(1), []
    for number in range(40):
        low = rng.uniform(0, 100, (3, 2))
        boxes = np.concatenate([low, low + rng.uniform(20, 60, (3, 2))], 1)
        target = Objects(boxes, [0, 1, 1], [False] * 3)
        kept = rng.random(3) < 0.7
        scores = np.array([0.9, 0.8, 0.7])[kept]
        near = boxes[kept] + rng.uniform(-4, 4, (int(kept.sum()), 4)) + moved
        result = DetectionResult(
            f"{number:02}", (300, 300), CLASSES, near, scores, np.array([0, 1, 1])[kept], 0.5
        )
        found.append((result, target))
    return metric_of(found)


def test_a_detector_gains_over_noise_and_not_over_itself() -> None:
    ours, moved = scattered(), scattered(60)
    same = paired(ours, ours, "map")
    assert same["gain"]["value"] == 0 and same["p"] == 1
    better, worse = paired(ours, moved), paired(moved, ours)
    gain = better["gain"]
    assert 0 < gain["low"] <= gain["value"] <= gain["high"] and better["p"] < 0.01
    assert worse["gain"]["value"] == -gain["value"] and worse["p"] == better["p"]


def test_two_images_prove_nothing() -> None:
    right = [picture(name, [0], [(0, 0, 0.9)]) for name in "ab"]
    nothing = [picture(name, [0], []) for name in "ab"]
    assert paired(metric_of(right), metric_of(nothing), "map")["p"] == 0.5
    one = paired(metric_of(right[:1]), metric_of(nothing[:1]), "map")
    assert (one["gain"]["value"], one["gain"]["low"], one["p"]) == (1, None, 1)
    with pytest.raises(ValueError, match="images"):
        paired(metric_of(right[:1]), metric_of(nothing[1:]))


def test_costs_have_no_meaning() -> None:
    inference = DetectionInference(CLASSES, "yolo", threshold=0.3, aim="recall 0.9", note="why")
    preprocess = DetectionPreprocess((64, 64), 3)
    with pytest.raises(UsageError, match="costs"):
        DetectionMetric.create(preprocess, inference, costs=np.ones((2, 2)))
    made = DetectionMetric.create(preprocess, inference, "map50")
    assert (made.score, made.threshold, made.aim, made.note) == ("map50", 0.3, "recall 0.9", "why")
    assert DetectionMetric.create(preprocess, inference).score == "map"


def test_two_sentences() -> None:
    metric = metric_of(PICTURES)
    first, second = sentences({"test": metric.evidence(), "against_best_baseline": None})
    test = metric.evidence()["map50"]
    assert first.startswith(
        f"test:     mAP@.5 {test['value']:.1%} ({test['low']:.1%} to {test['high']:.1%})"
    )
    assert "4 pictures" in first
    assert "threshold 0.50 (for f1)" in second
    assert "costliest error: " in second and " points of mAP@.5" in second
    nothing = metric_of(PICTURES[2:3])
    assert "undefined" in sentences({"test": nothing.evidence()})[0]
    one = metric_of(PICTURES[1:2])
    assert "(no interval: too few pictures), 1 picture" in sentences({"test": one.evidence()})[0]


def test_a_missed_aim_is_a_third_sentence() -> None:
    metric = metric_of(PICTURES)
    metric.note = "no threshold reaches a recall of 0.9"
    assert sentences({"test": metric.evidence()})[2].strip() == metric.note
