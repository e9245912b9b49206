"""Two ways of doing it, compared over seeds, folds and pictures: how far apart they are, and how
sure that is.

`metrics/evidence.py` compares two sets of answers about the same pictures; here chance has more
than one source.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .evidence import RESAMPLES, Score, balanced_accuracy

# Score of each column of a resample: right answers and pictures of each class, C×R, to R.
SCORES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "accuracy": lambda right, support: right.sum(axis=0) / support.sum(axis=0),
    "balanced_accuracy": lambda right, support: balanced_accuracy(
        {"right": right, "support": support}
    ),
}
_CHUNK = 100
# Standard errors to either end of a 95 % interval.
NORMAL = 1.959963984540054


def seeds_interval(values: Sequence[float]) -> Score:
    """The mean of scores of independent runs with Student's interval; without one for a single run.
    Raises ValueError for none."""
    from scipy.special import stdtrit

    found = np.asarray(values, np.float64)
    if found.ndim != 1 or len(found) == 0:
        raise ValueError("a mean over runs needs at least one")
    mean, runs = float(found.mean()), len(found)
    if runs == 1:
        return {"value": mean, "low": None, "high": None, "interval": None}
    half = float(stdtrit(runs - 1, 0.975) * found.std(ddof=1) / np.sqrt(runs))
    return {
        "value": mean,
        "low": mean - half,
        "high": mean + half,
        "interval": f"t 95 %, {runs} runs",
    }


def nadeau_bengio(differences: Sequence[float], test_share: float) -> dict[str, Any]:
    """Student's test of a mean difference over runs that are trained on overlapping parts of the
    same pictures.

    differences: one a split or fold. test_share: pictures tested on for each one trained on. The
    runs share most of their training pictures, so they agree more than independent ones would: the
    variance of the mean is s² (1/k + test_share) instead of s²/k, with k - 1 degrees of freedom
    (Nadeau and Bengio 2003, "Inference for the generalization error", eq. 9). With test_share 0
    this is the plain t-test. Differences that do not vary at all say nothing about chance: no
    interval, and p is 1.
    Raises ValueError for fewer than two differences.
    """
    from scipy.special import stdtr, stdtrit

    found = np.asarray(differences, np.float64)
    runs = len(found)
    if found.ndim != 1 or runs < 2 or test_share < 0:
        raise ValueError(
            "a corrected t-test needs two differences or more and a share that is not negative, "
            f"not {runs} and {test_share}"
        )
    mean, error = float(found.mean()), float(found.std(ddof=1) * np.sqrt(1 / runs + test_share))
    # Equal differences may leave a rounding error as their deviation.
    if error <= 1e-12 * max(1.0, abs(mean)):
        return {"mean": mean, "low": None, "high": None, "t": None, "p": 1.0, "runs": runs}
    t, half = mean / error, float(stdtrit(runs - 1, 0.975)) * error
    return {
        "mean": mean,
        "low": mean - half,
        "high": mean + half,
        "t": t,
        "p": float(2 * stdtr(runs - 1, -abs(t))),
        "runs": runs,
    }


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """p-values of several tests, adjusted so that any one of them below 0.05 is a claim at 5 % for
    all together (Holm 1979)."""
    adjusted, largest = {}, 0.0
    for rank, name in enumerate(sorted(p_values, key=p_values.__getitem__)):
        largest = max(largest, min(1.0, p_values[name] * (len(p_values) - rank)))
        adjusted[name] = largest
    return {name: adjusted[name] for name in p_values}


def score_of(score: str, target: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """truth: N class numbers; answers: k×N, one row a run. Returns k scores."""
    target, answers = np.asarray(target, np.int64), np.atleast_2d(answers)
    return _scores(score, target, answers, np.ones((len(target), 1)))[:, 0]


def paired_bootstrap_of(
    score: str, target: np.ndarray, answers_a: np.ndarray, answers_b: np.ndarray, seed: int = 0
) -> dict[str, Any]:
    """The difference a - b of a score of two networks asked about the same pictures, with a
    percentile bootstrap over pictures.

    score: a name of SCORES. truth, answers_a, answers_b: N class numbers. What is resampled is the
    pictures alone, the same ones for both, so the interval is about these two trained networks and
    not about training them again. p is twice the smaller share of resamples on one side of 0
    (Davison and Hinkley 1997, 4.4). Where none reaches 0, their number alone would set p: it is
    then the normal one, from their standard deviation, but not below what the sign test gives where
    d pictures, all to one side, are answered differently, 2·½^d.
    """
    from scipy.special import ndtr

    a, b = (np.atleast_2d(answers) for answers in (answers_a, answers_b))
    value = float((score_of(score, target, a) - score_of(score, target, b))[0])
    drawn_a, drawn_b = _resampled(score, target, [a, b], seed)
    drawn = (drawn_a - drawn_b)[0]
    low, high = np.quantile(drawn, [0.025, 0.975])
    side = min((drawn <= 0).sum(), (drawn >= 0).sum())
    if side:
        p = min(1.0, 2 * float(side + 1) / (RESAMPLES + 1))
    else:
        p = max(
            2 * float(ndtr(-abs(value) / max(drawn.std(), 1e-12))), 2 * 0.5 ** int((a != b).sum())
        )
    return {"mean": value, "low": float(min(low, value)), "high": float(max(high, value)), "p": p}


def seeds_and_pictures(
    score: str, target: np.ndarray, answers_a: np.ndarray, answers_b: np.ndarray, seed: int = 0
) -> dict[str, Any]:
    """The difference a - b of the mean score of two recipes, each trained several times and asked
    about the same pictures.

    score: a name of SCORES. truth: N class numbers. answers_a: k×N, one row a run; answers_b: m×N;
    the runs differ in their seeds alone. A recipe with one run is taken to vary as much as the
    other one does. Raises ValueError when both have one.

    Two things are left to chance. Seeds: the variance between runs, which holds what chance in
    single pictures does to each run as well, known with as few degrees of freedom as there are runs
    (Welch and Satterthwaite's). Pictures: what resampling them (the same ones for all runs of both)
    shows beyond that, of pictures that one recipe finds harder than the other; known well. The
    squares of their two half intervals, Student's and the normal one, are added (Howe 1974), not
    the variances under one Student's t: a spread that came out small by chance would then count as
    well known. The interval is never narrower than resampled pictures alone make it; p is the level
    at which it ends at 0.
    """
    target = np.asarray(target, np.int64)
    answers = [np.atleast_2d(of) for of in (answers_a, answers_b)]
    runs = [len(of) for of in answers]
    if max(runs) < 2:
        raise ValueError("a comparison over seeds needs more than one run of an arm")
    values = [score_of(score, target, of) for of in answers]
    drawn = _resampled(score, target, answers, seed)
    mean = float(values[0].mean() - values[1].mean())
    of_seeds, degrees = _mean_variance(
        [float(v.var(ddof=1)) if len(v) > 1 else None for v in values], runs
    )
    in_both, _ = _mean_variance([_noise(d) if len(d) > 1 else None for d in drawn], runs)
    of_pictures = float(np.var(drawn[0].mean(axis=0) - drawn[1].mean(axis=0)))
    if of_seeds + of_pictures <= 1e-24:
        return {"mean": mean, "low": None, "high": None, "p": 1.0, "runs": runs}
    half, p = _half_and_p(
        abs(mean), of_seeds, degrees, max(0.0, of_pictures - in_both), of_pictures
    )
    return {"mean": mean, "low": mean - half, "high": mean + half, "p": p, "runs": runs}


def _mean_variance(spreads: Sequence[float | None], runs: Sequence[int]) -> tuple[float, float]:
    """The variance of the difference of two means and its degrees of freedom; an unknown spread (of
    one run) is that of the other mean."""
    known = next(spread for spread in spreads if spread is not None)
    parts = [
        (known if spread is None else spread) / k for spread, k in zip(spreads, runs, strict=True)
    ]
    # A spread that both are given is one estimate, not two.
    if min(runs) == 1:
        return sum(parts), max(runs) - 1
    squares = sum(part**2 / (k - 1) for part, k in zip(parts, runs, strict=True))
    return sum(parts), sum(parts) ** 2 / squares if squares else 1.0


def _noise(drawn: np.ndarray) -> float:
    """The variance of one run's score because runs err on different pictures. drawn: k×R."""
    return float(np.var(drawn - drawn.mean(axis=0), axis=1).mean() * len(drawn) / (len(drawn) - 1))


def _half_and_p(
    mean: float, of_seeds: float, degrees: float, beyond: float, of_pictures: float
) -> tuple[float, float]:
    """Half the 95 % interval, and the p at which half the interval is `mean`."""
    from scipy.optimize import brentq
    from scipy.special import ndtr, stdtrit

    def half(z: float) -> float:
        t = -float(stdtrit(degrees, ndtr(-z)))
        return float(np.sqrt(max(t**2 * of_seeds + z**2 * beyond, z**2 * of_pictures)))

    # Twelve standard errors: no p below 1e-32 is told apart.
    z = 12.0 if half(12.0) <= mean else brentq(lambda z: half(z) - mean, 0.0, 12.0)
    return half(NORMAL), float(2 * ndtr(-z))


def _scores(score: str, target: np.ndarray, answers: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """k×R: the score of each of k rows of answers in each resample; weights: N×R,
    how often it holds each picture."""
    from scipy.sparse import csr_array

    classes, n = int(target.max()) + 1, len(target)
    where = (target, np.arange(n))
    support = csr_array((np.ones(n), where), shape=(classes, n)) @ weights
    rows = [
        csr_array(((row == target).astype(np.float64), where), shape=(classes, n)) @ weights
        for row in answers
    ]
    return np.stack([SCORES[score](right, support) for right in rows])


def _resampled(
    score: str, target: np.ndarray, answers: Sequence[np.ndarray], seed: int
) -> list[np.ndarray]:
    """For each k×N of answers k×RESAMPLES scores, all on the same resampled pictures."""
    target = np.asarray(target, np.int64)
    rng, n, parts = np.random.default_rng(seed), len(target), []
    together = np.concatenate(answers)
    for _ in range(RESAMPLES // _CHUNK):
        drawn = rng.integers(n, size=(n, _CHUNK)) * _CHUNK + np.arange(_CHUNK)
        weights = (
            np.bincount(drawn.ravel(), minlength=n * _CHUNK).reshape(n, _CHUNK).astype(np.float64)
        )
        parts.append(_scores(score, target, together, weights))
    return np.split(np.concatenate(parts, axis=1), np.cumsum([len(of) for of in answers])[:-1])
