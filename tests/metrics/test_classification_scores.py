from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn import metrics

from pellucid.metrics.classification import BINS, classification, confidence_bin, resample


def answers(
    n: int, classes: int, seed: int = 0, skill: float = 2.0
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    rng = np.random.default_rng(seed)
    target = rng.integers(classes, size=n)
    logits = rng.normal(size=(n, classes)) * 1.5
    logits[np.arange(n), target] += skill
    p = np.exp(logits)
    return target, p / p.sum(1, keepdims=True), [f"c{i}" for i in range(classes)]


@pytest.mark.parametrize(("n", "count"), [(400, 4), (37, 2), (900, 30)])
def test_scores_agree_with_scikit_learn(n: int, count: int) -> None:
    target, p, names = answers(n, count)
    answer = p.argmax(1)
    found = classification(target, p, names)
    assert found["accuracy"]["value"] == pytest.approx(metrics.accuracy_score(target, answer))
    assert found["balanced_accuracy"]["value"] == pytest.approx(
        metrics.balanced_accuracy_score(target, answer)
    )
    assert found["macro_f1"]["value"] == pytest.approx(
        metrics.f1_score(target, answer, average="macro")
    )
    assert found["log_loss"]["value"] == pytest.approx(
        metrics.log_loss(target, p, labels=range(count))
    )
    assert (
        found["confusion"] == metrics.confusion_matrix(target, answer, labels=range(count)).tolist()
    )
    rows = metrics.precision_recall_fscore_support(
        target, answer, labels=range(count), zero_division=np.nan
    )
    for name, precision, recall, f1, support in zip(names, *rows, strict=True):
        of = found["per_class"][name]
        assert of["support"] == support
        for key, theirs in (("precision", precision), ("recall", recall), ("f1", f1)):
            value = of[key]["value"]
            assert np.isnan(theirs) if value is None else value == pytest.approx(theirs)


def test_every_interval_holds_its_value() -> None:
    def scores(tree: dict) -> list[dict]:
        return (
            [tree]
            if "interval" in tree
            else [s for v in tree.values() if isinstance(v, dict) for s in scores(v)]
        )

    target, p, names = answers(200, 3)
    found = scores(classification(target, p, names, costs=1 - np.eye(3)))
    assert len(found) == 6 + 3 * 3
    for score in found:
        assert score["low"] <= score["value"] <= score["high"]
        assert score["low"] < score["high"]
        assert "95 %" in score["interval"]


def test_the_calibration_error_agrees_with_its_definition() -> None:
    target, p, names = answers(500, 5)
    confidence, right = p.max(1), p.argmax(1) == target
    expected = 0.0
    for b in range(BINS):
        inside = (confidence > b / BINS) & (confidence <= (b + 1) / BINS)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert classification(target, p, names)["ece"]["value"] == pytest.approx(expected)


def test_confidence_bins_are_closed_on_the_right() -> None:
    assert confidence_bin(np.array([0.0, 1e-9, 1 / 15, 0.5, 1.0])).tolist() == [0, 0, 0, 7, 14]


def test_calibration_error_tells_calibrated_from_overconfident() -> None:
    covered = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        p = np.exp(rng.normal(size=(400, 3)) * 2)
        p /= p.sum(1, keepdims=True)
        target = (rng.random(400)[:, None] > p.cumsum(1)).sum(1).clip(0, 2)
        covered += classification(target, p, "abc")["ece"]["low"] == 0
        sharp = p**4 / (p**4).sum(1, keepdims=True)
        assert classification(target, sharp, "abc")["ece"]["low"] > 0
    assert covered >= 17


def test_bootstrap_intervals_are_as_wide_as_theory_says() -> None:
    # With costs of 0 and 1 the mean cost is one minus accuracy, whose standard error is known.
    target, p, names = answers(2000, 4, skill=1)
    found = classification(target, p, names, costs=1 - np.eye(4))
    share = found["accuracy"]["value"]
    assert found["cost"]["value"] == pytest.approx(1 - share)
    expected = 2 * 1.96 * np.sqrt(share * (1 - share) / 2000)
    assert found["cost"]["high"] - found["cost"]["low"] == pytest.approx(expected, rel=0.1)


def test_no_errors_still_leave_doubt() -> None:
    found = classification(np.array([0] * 10 + [1] * 5), np.eye(2)[[0] * 10 + [1] * 5], ["a", "b"])
    for name in ("accuracy", "balanced_accuracy", "macro_f1"):
        assert found[name]["value"] == 1
        assert 0.6 < found[name]["low"] < 0.9
    assert found["balanced_accuracy"]["low"] < found["accuracy"]["low"]
    assert found["per_class"]["b"]["f1"]["low"] < found["per_class"]["a"]["f1"]["low"] < 1


def test_undefined_scores_are_null_in_strict_json() -> None:
    p = np.array([[0.9, 0.1, 0], [0.8, 0.2, 0], [0.7, 0.3, 0]])
    found = json.loads(
        json.dumps(classification(np.array([0, 0, 1]), p, ["a", "b", "never"]), allow_nan=False)
    )
    null = {"value": None, "low": None, "high": None, "interval": None}
    assert found["per_class"]["never"] == {
        "support": 0,
        "precision": null,
        "recall": null,
        "f1": null,
    }
    assert found["per_class"]["b"]["precision"] == null
    assert found["per_class"]["b"]["recall"]["value"] == 0
    assert found["macro_f1"]["value"] == pytest.approx(0.4)
    # The truth was given probability 0: the log loss is infinite, which is not a number to report.
    assert classification(np.array([2, 0]), p[:2], ["a", "b", "never"])["log_loss"] == null


def test_the_same_seed_gives_the_same_evidence() -> None:
    target, p, names = answers(100, 3)
    assert classification(target, p, names, seed=4) == classification(target, p, names, seed=4)
    assert (
        classification(target, p, names, seed=4)["macro_f1"]
        != classification(target, p, names, seed=5)["macro_f1"]
    )


@pytest.mark.parametrize(
    ("target", "p"),
    [
        ([], np.zeros((0, 2))),
        ([0], np.zeros((1, 3))),
        ([2], np.ones((1, 2)) / 2),
        ([-1], np.ones((1, 2)) / 2),
        ([0], np.full((1, 2), np.nan)),
    ],
)
def test_misshapen_input_is_refused(target: list[int], p: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"need|outside"):
        classification(np.array(target, int), p, ["a", "b"])


@pytest.mark.parametrize("seed", range(20))
def test_resampled_scores_are_scikit_learns(seed: int) -> None:
    rng = np.random.default_rng(seed)
    target, answer = rng.integers(4, size=30), rng.integers(5, size=30)
    drawn = rng.integers(30, size=(3, 30))
    weights = np.stack([np.bincount(row, minlength=30) for row in drawn]).astype(float)
    found = resample(target, answer, weights)
    for r, row in enumerate(drawn):
        assert found["accuracy"][r] == pytest.approx(
            metrics.accuracy_score(target[row], answer[row])
        )
        # scikit-learn warns of predictions that are no target, which change nothing.
        occurs = np.unique(target[row])
        recalls = [(answer[row] == c)[target[row] == c].mean() for c in occurs]
        assert found["balanced_accuracy"][r] == pytest.approx(np.mean(recalls))


def test_resampling_once_each_is_the_evidence() -> None:
    target, p, names = answers(90, 3)
    once = resample(target, p.argmax(1), np.ones((1, 90)))
    found = classification(target, p, names)
    for score in ("accuracy", "balanced_accuracy"):
        assert once[score][0] == found[score]["value"]
