"""Intervals, the resampler, and paired tests through the metric of a task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.stats import binomtest, chi2

from pellucid.metrics import classification, significance
from pellucid.metrics.significance import (
    holm,
    mcnemar,
    nadeau_bengio,
    over_mean,
    over_seeds,
    paired,
    paired_bootstrap,
    resampling,
    score_of,
    seeds_interval,
    wilson,
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


def test_equal_learners_rarely_differ_in_cross_validation() -> None:
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


# --- single scores ---


@given(
    st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))),
    st.sampled_from([0.8, 0.95, 0.99]),
)
def test_wilson_agrees_with_scipy(counts: tuple[int, int], confidence: float) -> None:
    theirs = binomtest(*counts).proportion_ci(confidence, method="wilson")
    assert wilson(*counts, confidence) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_wilson_is_exact_at_the_ends_and_refuses_nonsense() -> None:
    assert wilson(0, 10)[0] == 0
    assert wilson(10, 10)[1] == 1
    assert wilson(356, 360) == pytest.approx((0.97183, 0.99567), abs=1e-4)
    for bad in ((1, 0), (11, 10), (-1, 10)):
        with pytest.raises(ValueError, match="proportion"):
            wilson(*bad)


def test_mcnemar_knows_the_textbook() -> None:
    a = np.array([1] * 9 + [0] * 1 + [1] * 50 + [0] * 7, bool)
    b = np.array([0] * 9 + [1] * 1 + [1] * 50 + [0] * 7, bool)
    found = mcnemar(a, b)
    assert (found["only_a"], found["only_b"], found["pictures"]) == (9, 1, 67)
    assert found["p"] == pytest.approx(22 / 1024)  # two-sided: 2·(1 + 10)/2^10
    assert mcnemar(b, a)["p"] == found["p"]
    assert mcnemar(a, a)["p"] == 1


def test_mcnemar_approaches_chi_squared_for_many_pairs() -> None:
    a = np.array([1] * 560 + [0] * 500, bool)
    expected = chi2.sf((60 - 1) ** 2 / 1060, 1)
    assert mcnemar(a, ~a)["p"] == pytest.approx(expected, rel=0.02)


def test_paired_bootstrap_uses_the_pairs() -> None:
    rng = np.random.default_rng(0)
    b = rng.normal(size=1000) * 10
    a = b + 0.1 + rng.normal(size=1000) * 0.5
    found = paired_bootstrap(a, b)
    assert found["value"] == pytest.approx((a - b).mean())
    assert 0 < found["low"] < 0.1 < found["high"] < 0.2
    expected = 2 * 1.96 * (a - b).std() / np.sqrt(1000)
    assert found["high"] - found["low"] == pytest.approx(expected, rel=0.12)


@pytest.mark.parametrize("test", [mcnemar, paired_bootstrap])
def test_pairs_must_match(test) -> None:
    with pytest.raises(ValueError, match="same pictures"):
        test(np.ones(3), np.ones(4))


# --- the resampler --------------------------------------------------------------------------------


@pytest.mark.parametrize("units", [1, 2, 37, 500])
def test_blocks_are_whole_resamples(units: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = significance.resamples(units, 3)
    assert whole.shape == (1000, units) and (whole.sum(axis=1) == units).all()
    assert whole.dtype == np.float64
    monkeypatch.setattr(resampling, "_AT_ONCE", 64 * units)
    few = list(significance.blocks(units, 3))
    assert len(few) == 16 and np.array_equal(np.concatenate(few), whole)


def test_resamples_follow_from_units_and_seed() -> None:
    once = significance.resamples(50, 1)
    assert np.array_equal(once, significance.resamples(50, 1))
    assert not np.array_equal(once, significance.resamples(50, 2))
    # A draw of N from N: each is held once on average, with the variance of a binomial.
    assert once.mean() == 1 and once.var() == pytest.approx(1 - 1 / 50, rel=0.02)


def test_p_counts_resamples_or_is_normal_with_a_floor() -> None:
    drawn = np.arange(-10, 990) + 0.5
    assert significance.chance_of(400.0, drawn, 100) == pytest.approx(2 * 11 / 1001)
    assert significance.chance_of(0.0, np.zeros(1000), 9) == 1.0
    high = np.random.default_rng(0).normal(5, 1, 1000)
    assert significance.chance_of(5.0, high, 1000) == pytest.approx(2 * stats.norm.sf(5), rel=0.6)
    assert significance.chance_of(5.0, high, 3) == significance.chance_of(400, drawn, 3) == 0.25


# --- paired tests ---------------------------------------------------------------------------------


class Labels:
    """The metric of a classifier, no more than comparisons ask for."""

    score = "accuracy"

    def __init__(self, records: dict[str, dict[str, np.ndarray]]) -> None:
        self.records = records

    def resample(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        rows = [self.records[source] for source in sorted(self.records)]
        target, answer = (np.array([row[key] for row in rows]) for key in ("target", "answer"))
        return classification.resample(target, answer, weights)


def labels(target: Sequence[int], answer: Sequence[int], first: int = 0) -> Labels:
    rows = enumerate(zip(target, answer, strict=True), first)
    return Labels({f"{i:05}": {"target": np.array(t), "answer": np.array(a)} for i, (t, a) in rows})


def many(target: np.ndarray, answers: np.ndarray) -> list[Labels]:
    return [labels(target, row) for row in np.atleast_2d(answers)]


class Values:
    """A score that is the mean of one number an image; undefined of none."""

    score = "mean"

    def __init__(self, values: Sequence[float], groups: Sequence[str] = ()) -> None:
        self.records = {f"{i:05}": {"value": np.array(v)} for i, v in enumerate(values)}
        for i, group in enumerate(groups):
            self.records[f"{i:05}"]["group"] = np.frombuffer(group.encode(), np.uint8)

    def resample(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        values = np.array([self.records[source]["value"] for source in sorted(self.records)])
        known = np.isfinite(values)
        held = weights @ known.astype(float)
        mean = weights @ np.where(known, values, 0) / np.where(held > 0, held, np.nan)
        return {"mean": mean}


def world(
    rng: np.random.Generator, seeds: int, images: int, spread: float
) -> tuple[np.ndarray, np.ndarray]:
    """Targets, and the answers of equally good runs that share how hard an image is."""
    target = (rng.random(images) < 0.2).astype(int)
    hard = rng.normal(size=images) + 1
    right = hard + spread * rng.normal(size=(seeds, 1)) + rng.normal(size=(seeds, images)) > 0
    return target, np.where(right, target, 1 - target)


def covers_0(found: dict[str, Any]) -> bool:
    return found["gain"]["low"] <= 0 <= found["gain"]["high"]


@pytest.mark.parametrize("score", ["accuracy", "balanced_accuracy"])
def test_equal_networks_are_covered(score: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resampling, "RESAMPLES", 200)
    rng = np.random.default_rng(1)
    inside = 0
    for repetition in range(200):
        target, answers = world(rng, 2, 150, 0.0)
        inside += covers_0(paired(*many(target, answers), score, repetition))
    assert 0.90 <= inside / 200 <= 0.99


@pytest.mark.parametrize(
    ("score", "spread", "runs"),
    [("accuracy", 0.3, (3, 3)), ("accuracy", 0.0, (3, 3)), ("balanced_accuracy", 0.1, (4, 2))],
)
def test_equal_recipes_are_covered_over_seeds(
    score: str, spread: float, runs: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resampling, "RESAMPLES", 100)
    rng = np.random.default_rng(2)
    inside = claimed = 0
    for repetition in range(300):
        target, answers = world(rng, sum(runs), 150, spread)
        ours, theirs = many(target, answers[: runs[0]]), many(target, answers[runs[0] :])
        found = over_seeds(ours, theirs, score, repetition)
        inside += covers_0(found)
        claimed += found["p"] < 0.05
    # Where seeds do not matter, the few degrees of freedom of their spread make the interval too
    # wide, never too narrow.
    assert 0.93 <= inside / 300 <= (0.99 if spread else 1.0)
    assert claimed == 300 - inside


@pytest.mark.parametrize("runs", [(2, 1), (1, 3), (5, 1), (2, 2)])
@pytest.mark.parametrize("spread", [0.1, 0.3])
def test_equal_recipes_are_not_told_apart_too_often(
    runs: tuple[int, int], spread: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resampling, "RESAMPLES", 100)
    rng = np.random.default_rng(5)
    claimed = 0
    for repetition in range(400):
        target, answers = world(rng, sum(runs), 360, spread)
        ours, theirs = many(target, answers[: runs[0]]), many(target, answers[runs[0] :])
        claimed += over_seeds(ours, theirs, "accuracy", repetition)["p"] < 0.05
    # At a true rate of 5 % more than this is seen once in two hundred times.
    assert claimed <= 0.08 * 400


def test_where_images_hardly_matter_it_is_welchs_t_test() -> None:
    rng = np.random.default_rng(6)
    target = np.zeros(20_000, int)
    a, b = (
        np.stack([np.where(np.arange(20_000) < 20_000 * share, 0, 1) for share in shares])
        for shares in (0.8 + 0.1 * rng.normal(size=4), 0.6 + 0.1 * rng.normal(size=3))
    )
    found = over_seeds(many(target, a), many(target, b), "accuracy")
    plain = stats.ttest_ind((a == 0).mean(1), (b == 0).mean(1), equal_var=False)
    assert found["p"] == pytest.approx(plain.pvalue, rel=0.1)
    assert [found["gain"]["low"], found["gain"]["high"]] == pytest.approx(
        list(plain.confidence_interval(0.95)), abs=0.01
    )


def test_seeds_that_differ_widen_the_interval() -> None:
    """And images alone do not narrow it."""
    rng = np.random.default_rng(3)
    target = rng.integers(2, size=400)
    right = {
        share: rng.random((3, 400)) < np.array(share)[:, None]
        for share in ((0.8, 0.8, 0.8), (0.6, 0.8, 0.99))
    }
    alike, unlike = (np.where(r, target, 1 - target) for r in right.values())
    narrow, wide = (
        over_seeds(many(target, answers), many(target, alike), "accuracy")["gain"]
        for answers in (alike[::-1], unlike)
    )
    assert narrow["value"] == pytest.approx(0, abs=1e-12)
    assert wide["high"] - wide["low"] > 2 * (narrow["high"] - narrow["low"] + 0.05)


def test_a_clear_difference_is_found_and_has_its_sign() -> None:
    rng = np.random.default_rng(4)
    target = rng.integers(3, size=300)
    good, poor = (
        many(target, np.where(rng.random((3, 300)) < share, target, (target + 1) % 3))
        for share in (0.95, 0.60)
    )
    for found in (over_seeds(good, poor, "accuracy"), paired(good[0], poor[0])):
        assert found["gain"]["low"] > 0.2 and found["p"] < 0.01
    with pytest.raises(ValueError, match="more than one run"):
        over_seeds(good[:1], poor[:1], "accuracy")


def test_equal_answers_are_no_difference() -> None:
    same = many(np.array([0, 1, 1, 0]), np.array([[0, 1, 0, 0], [0, 1, 0, 0]]))
    assert over_seeds(same, same, "accuracy")["p"] == 1.0
    assert paired(same[0], same[1]) == {
        "score": "accuracy",
        "gain": {"value": 0.0, "low": None, "high": None, "interval": None},
        "ours": 0.75,
        "theirs": 0.75,
        "images": 4,
        "p": 1.0,
        "test": "paired bootstrap over 4 images",
    }


def test_p_survives_many_arms_and_few_images_have_none() -> None:
    rng = np.random.default_rng(7)
    target = rng.integers(3, size=400)
    good, poor = (
        np.where(rng.random(400) < share, target, (target + 1) % 3) for share in (0.9, 0.75)
    )
    exact = mcnemar(good == target, poor == target)
    for score in ("accuracy", "balanced_accuracy"):
        found = paired(labels(target, good), labels(target, poor), score)
        assert found["p"] < 1e-4 and abs(np.log10(found["p"] / exact["p"])) < 1.5
    three = [0, 1, 2]
    assert paired(labels(three, three), labels(three, [1, 2, 0]))["p"] == 0.25


@pytest.mark.parametrize("images", [30, 3000])
@pytest.mark.parametrize("apart", [1, 3, 5, 8, 20])
def test_few_images_that_differ_prove_little(images: int, apart: int) -> None:
    """However many images both got right."""
    target = np.zeros(images, int)
    theirs = target.copy()
    theirs[np.random.default_rng(apart).permutation(images)[:apart]] = 1
    found = paired(labels(target, target), labels(target, theirs))
    exact = mcnemar(np.ones(images), theirs == 0)["p"]
    assert exact <= found["p"] <= 4 * exact


def test_paired_takes_the_images_that_both_have() -> None:
    rng = np.random.default_rng(8)
    target, a, b = rng.integers(3, size=(3, 60))
    found = paired(labels(target[:50], a[:50]), labels(target[10:], b[10:], first=10))
    expected = paired(labels(target[10:50], a[10:50]), labels(target[10:50], b[10:50]))
    assert found == expected and found["images"] == 40
    ours = labels(target[:50], a[:50])
    paired(ours, labels(target[10:], b[10:], first=10))
    assert len(ours.records) == 50
    with pytest.raises(ValueError, match="both were asked about"):
        paired(labels(target[:9], a[:9]), labels(target[9:], b[9:], first=9))


def test_the_order_of_records_does_not_matter() -> None:
    rng = np.random.default_rng(9)
    target, a, b = rng.integers(3, size=(3, 40))
    ours, theirs = labels(target, a), labels(target, b)
    turned = Labels(dict(reversed(ours.records.items())))
    assert paired(turned, theirs) == paired(ours, theirs)


def test_any_score_is_compared_and_one_that_is_undefined_is_not() -> None:
    rng = np.random.default_rng(10)
    a = rng.normal(30, 3, 200)
    b = a - 0.1 + rng.normal(0, 0.3, 200)
    found = paired(Values(a), Values(b))
    plain = stats.ttest_rel(a, b)
    assert found["score"] == "mean" and found["ours"] == pytest.approx(a.mean())
    assert found["gain"]["value"] == pytest.approx((a - b).mean())
    limits = [found["gain"]["low"], found["gain"]["high"]]
    assert limits == pytest.approx(list(plain.confidence_interval()), abs=0.01)
    assert abs(np.log10(found["p"] / plain.pvalue)) < 1.5
    nothing = paired(Values([np.nan] * 5), Values(range(5)))
    assert nothing["gain"] == significance.UNDEFINED and nothing["p"] == 1.0


def test_groups_are_drawn_whole() -> None:
    """Ten images of each of five patients say no more than five images."""
    rng = np.random.default_rng(11)
    of_patient = np.repeat(rng.normal(0.5, 1, 5), 10)
    names = [f"patient {i // 10}" for i in range(50)]
    flat = paired(Values(of_patient), Values(np.zeros(50)))
    grouped = paired(Values(of_patient, names), Values(np.zeros(50), names))
    assert grouped["gain"]["value"] == flat["gain"]["value"]
    assert grouped["test"] == "paired bootstrap over 5 groups" and grouped["images"] == 50
    width = [found["gain"]["high"] - found["gain"]["low"] for found in (flat, grouped)]
    assert width[1] > 2 * width[0] and grouped["p"] > flat["p"]
    five = paired(Values(of_patient[::10]), Values(np.zeros(5)))
    assert grouped["gain"]["low"] == pytest.approx(five["gain"]["low"])


def test_an_image_without_a_group_stands_alone() -> None:
    ours, theirs = Values([1.0, 2, 3, 4], ["a", "a"]), Values([0.0, 1, 1, 0])
    assert paired(ours, theirs)["test"] == "paired bootstrap over 3 groups"


def test_the_mean_of_several_is_one_rival() -> None:
    rng = np.random.default_rng(12)
    a, b, c = rng.normal(size=(3, 100))
    found = over_mean(Values(a), [Values(b), Values(c)])
    alone = paired(Values(a), Values((b + c) / 2))
    assert found["gain"]["value"] == pytest.approx(alone["gain"]["value"])
    assert found["gain"]["low"] == pytest.approx(alone["gain"]["low"])
    assert found["p"] == pytest.approx(alone["p"])
    assert found["theirs"] == pytest.approx((b + c).mean() / 2)


def test_a_score_over_seeds_may_be_undefined_in_a_resample() -> None:
    rng = np.random.default_rng(13)
    values = np.full((4, 30), np.nan)
    values[:, :3] = rng.normal(size=(4, 3))
    runs = [Values(of) for of in values]
    found = over_seeds(runs[:2], runs[2:], "mean")
    assert np.isfinite([found["p"], found["gain"]["low"], found["gain"]["high"]]).all()
    undefined = over_seeds([Values([np.nan] * 3)] * 2, [Values([1.0, 2, 3])] * 2, "mean")
    assert undefined["gain"] == significance.UNDEFINED and undefined["p"] == 1.0


def test_score_of_all_images() -> None:
    assert score_of(labels([0, 1, 1], [0, 1, 0]), "accuracy") == pytest.approx(2 / 3)
