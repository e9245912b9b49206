from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from pellucid.metrics import paired
from pellucid.metrics.evidence import mcnemar
from pellucid.metrics.paired import (
    holm,
    nadeau_bengio,
    paired_bootstrap_of,
    score_of,
    seeds_and_pictures,
    seeds_interval,
)

DIFFERENCES = st.lists(st.floats(-1, 1), min_size=2, max_size=12).filter(
    lambda values: np.std(values) > 1e-3
)


@given(DIFFERENCES)
def test_the_interval_over_seeds_is_scipys(values: list[float]) -> None:
    found = seeds_interval(values)
    expected = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
    assert np.allclose([found["value"], found["low"], found["high"]], [np.mean(values), *expected])


def test_one_seed_has_no_interval_and_none_is_refused() -> None:
    assert seeds_interval([0.25]) == {"value": 0.25, "low": None, "high": None, "interval": None}
    with pytest.raises(ValueError, match="at least one"):
        seeds_interval([])


@given(DIFFERENCES)
def test_without_overlap_nadeau_and_bengio_is_the_plain_t_test(values: list[float]) -> None:
    found = nadeau_bengio(values, 0.0)
    plain = stats.ttest_1samp(values, 0.0)
    assert np.allclose([found["t"], found["p"]], [plain.statistic, plain.pvalue])
    assert np.allclose([found["low"], found["high"]], plain.confidence_interval(0.95))


@given(DIFFERENCES, st.floats(0.01, 1))
def test_nadeau_and_bengio_by_hand(values: list[float], share: float) -> None:
    mean = sum(values) / len(values)
    spread = sum((v - mean) ** 2 for v in values) / (len(values) - 1)
    t = mean / (spread * (1 / len(values) + share)) ** 0.5
    found, plain = nadeau_bengio(values, share), nadeau_bengio(values, 0.0)
    assert found["t"] == pytest.approx(t)
    assert (
        found["p"] >= plain["p"] - 1e-12
        and found["high"] - found["low"] > plain["high"] - plain["low"]
    )


def test_differences_that_do_not_vary_claim_nothing() -> None:
    assert nadeau_bengio([0.1, 0.1, 0.1], 0.25) == {
        "mean": pytest.approx(0.1),
        "low": None,
        "high": None,
        "t": None,
        "p": 1.0,
        "runs": 3,
    }
    for wrong in ([0.1], []):
        with pytest.raises(ValueError, match="two differences"):
            nadeau_bengio(wrong, 0.25)


def test_cross_validation_of_equal_learners_is_not_called_different_too_often() -> None:
    """Differences that share a part, as overlapping training sets make them: the plain test errs
    often, the corrected one does not."""
    rng, share, runs = np.random.default_rng(0), 0.25, 5
    correlation = share / (1 + share)
    wrong = {0.0: 0, share: 0}
    for _ in range(1000):
        differences = np.sqrt(correlation) * rng.normal() + np.sqrt(1 - correlation) * rng.normal(
            size=runs
        )
        for taken in wrong:
            wrong[taken] += nadeau_bengio(differences, taken)["p"] < 0.05
    assert wrong[0.0] > 120 and 20 <= wrong[share] <= 80


def naive_holm(p_values: list[float]) -> list[float]:
    ordered = sorted(p_values)
    return [
        max(min(1.0, (len(ordered) - j) * ordered[j]) for j in range(ordered.index(p) + 1))
        for p in p_values
    ]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12, unique=True))
def test_holm_is_the_naive_one_and_keeps_the_order(p_values: list[float]) -> None:
    given_names = {f"arm {i}": p for i, p in enumerate(p_values)}
    found = holm(given_names)
    assert list(found) == list(given_names)
    assert np.allclose(list(found.values()), naive_holm(p_values))
    assert all(p <= found[name] <= 1 for name, p in given_names.items())
    by_raw = [found[name] for name in sorted(given_names, key=given_names.__getitem__)]
    assert by_raw == sorted(by_raw)


def test_holm_by_hand_with_ties() -> None:
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005}) == pytest.approx(
        {"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02}
    )
    assert holm({"a": 0.5, "b": 0.5}) == {"a": 1.0, "b": 1.0}
    assert holm({}) == {}


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_scores_are_scikit_learns(seed: int) -> None:
    rng = np.random.default_rng(seed)
    target, answers = rng.integers(4, size=30), rng.integers(5, size=(3, 30))
    expected = [accuracy_score(target, row) for row in answers]
    assert np.allclose(score_of("accuracy", target, answers), expected)
    kept = np.where(answers < 4, answers, 0)
    # scikit-learn warns of answers that are no truth, which change nothing.
    assert np.allclose(
        score_of("balanced_accuracy", target, kept),
        [balanced_accuracy_score(target, row) for row in kept],
    )


def world(
    rng: np.random.Generator, seeds: int, pictures: int, spread: float
) -> tuple[np.ndarray, np.ndarray]:
    """Truth, and the answers of equally good runs that share how hard a picture is."""
    target = (rng.random(pictures) < 0.2).astype(int)
    hard = rng.normal(size=pictures) + 1
    right = hard + spread * rng.normal(size=(seeds, 1)) + rng.normal(size=(seeds, pictures)) > 0
    return target, np.where(right, target, 1 - target)


@pytest.mark.parametrize("score", ["accuracy", "balanced_accuracy"])
def test_the_paired_bootstrap_covers_the_difference_of_equal_networks(
    score: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paired, "RESAMPLES", 200)
    rng = np.random.default_rng(1)
    inside = 0
    for repetition in range(200):
        target, answers = world(rng, 2, 150, 0.0)
        found = paired_bootstrap_of(score, target, answers[0], answers[1], repetition)
        inside += found["low"] <= 0 <= found["high"]
    assert 0.90 <= inside / 200 <= 0.99


@pytest.mark.parametrize(
    ("score", "spread", "runs"),
    [("accuracy", 0.3, (3, 3)), ("accuracy", 0.0, (3, 3)), ("balanced_accuracy", 0.1, (4, 2))],
)
def test_seeds_and_pictures_covers_the_difference_of_equal_recipes(
    score: str, spread: float, runs: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paired, "RESAMPLES", 100)
    rng = np.random.default_rng(2)
    inside = claimed = 0
    for repetition in range(300):
        target, answers = world(rng, sum(runs), 150, spread)
        found = seeds_and_pictures(
            score, target, answers[: runs[0]], answers[runs[0] :], repetition
        )
        inside += found["low"] <= 0 <= found["high"]
        claimed += found["p"] < 0.05
    # Where seeds do not matter, the few degrees of freedom of their spread make the interval too
    # wide, never too narrow.
    assert 0.93 <= inside / 300 <= (0.99 if spread else 1.0)
    assert claimed == 300 - inside


@pytest.mark.parametrize("runs", [(2, 1), (1, 3), (5, 1), (2, 2)])
@pytest.mark.parametrize("spread", [0.1, 0.3])
def test_equal_recipes_are_not_called_different_too_often_whatever_the_runs(
    runs: tuple[int, int], spread: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paired, "RESAMPLES", 100)
    rng = np.random.default_rng(5)
    claimed = 0
    for repetition in range(400):
        target, answers = world(rng, sum(runs), 360, spread)
        claimed += (
            seeds_and_pictures(
                "accuracy", target, answers[: runs[0]], answers[runs[0] :], repetition
            )["p"]
            < 0.05
        )
    # At a true rate of 5 % more than this is seen once in two hundred times.
    assert claimed <= 0.08 * 400


def test_where_pictures_hardly_matter_it_is_welchs_t_test() -> None:
    rng = np.random.default_rng(6)
    target = np.zeros(20_000, int)
    a, b = (
        np.stack([np.where(np.arange(20_000) < 20_000 * share, 0, 1) for share in shares])
        for shares in (0.8 + 0.1 * rng.normal(size=4), 0.6 + 0.1 * rng.normal(size=3))
    )
    found, plain = (
        seeds_and_pictures("accuracy", target, a, b),
        stats.ttest_ind((a == 0).mean(1), (b == 0).mean(1), equal_var=False),
    )
    assert found["p"] == pytest.approx(plain.pvalue, rel=0.1)
    assert [found["low"], found["high"]] == pytest.approx(
        list(plain.confidence_interval(0.95)), abs=0.01
    )


def test_seeds_that_differ_widen_the_interval_and_pictures_alone_do_not_narrow_it() -> None:
    rng = np.random.default_rng(3)
    target = rng.integers(2, size=400)
    right = {
        share: rng.random((3, 400)) < np.array(share)[:, None]
        for share in ((0.8, 0.8, 0.8), (0.6, 0.8, 0.99))
    }
    alike, unlike = (np.where(r, target, 1 - target) for r in right.values())
    narrow, wide = (
        seeds_and_pictures("accuracy", target, answers, alike) for answers in (alike[::-1], unlike)
    )
    assert narrow["mean"] == 0 and wide["high"] - wide["low"] > 2 * (
        narrow["high"] - narrow["low"] + 0.05
    )


def test_a_clear_difference_is_found_and_its_sign_is_that_of_the_first() -> None:
    rng = np.random.default_rng(4)
    target = rng.integers(3, size=300)
    good = np.where(rng.random((3, 300)) < 0.95, target, (target + 1) % 3)
    poor = np.where(rng.random((3, 300)) < 0.60, target, (target + 1) % 3)
    for found in (
        seeds_and_pictures("accuracy", target, good, poor),
        paired_bootstrap_of("accuracy", target, good[0], poor[0]),
    ):
        assert found["low"] > 0.2 and found["p"] < 0.01
    with pytest.raises(ValueError, match="more than one run"):
        seeds_and_pictures("accuracy", target, good[0], poor[0])


def test_equal_answers_are_no_difference() -> None:
    target = np.array([0, 1, 1, 0])
    answers = np.array([[0, 1, 0, 0], [0, 1, 0, 0]])
    assert seeds_and_pictures("accuracy", target, answers, answers)["p"] == 1.0
    assert paired_bootstrap_of("accuracy", target, answers[0], answers[0]) == {
        "mean": 0.0,
        "low": 0.0,
        "high": 0.0,
        "p": 1.0,
    }


def test_a_clear_difference_has_a_p_that_survives_many_arms_and_few_pictures_have_none() -> None:
    rng = np.random.default_rng(7)
    target = rng.integers(3, size=400)
    good, poor = (
        np.where(rng.random(400) < share, target, (target + 1) % 3) for share in (0.9, 0.75)
    )
    found, exact = (
        paired_bootstrap_of("balanced_accuracy", target, good, poor),
        mcnemar(good == target, poor == target),
    )
    assert found["p"] < 1e-4 and abs(np.log10(found["p"] / exact["p"])) < 1.5
    three = np.array([0, 1, 2])
    assert paired_bootstrap_of("balanced_accuracy", three, three, (three + 1) % 3)["p"] == 0.25
