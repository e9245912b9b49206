"""Intervals of single scores, t-tests over runs, and Holm's correction.

A score that is not defined is None, with no interval.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .resampling import RESAMPLES

Score = dict[str, Any]

UNDEFINED: Score = {"value": None, "low": None, "high": None, "interval": None}
_WILSON = "Wilson 95 %"


def wilson(successes: float, n: float, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a proportion (Wilson 1927). n must be positive."""
    from scipy.special import ndtri

    if not 0 <= successes <= n or n <= 0:
        raise ValueError(f"{successes} of {n} is not a proportion")
    z = float(ndtri((1 + confidence) / 2))
    share, shrink = successes / n, 1 + z * z / n
    middle = (share + z * z / (2 * n)) / shrink
    half = z / shrink * float(np.sqrt(share * (1 - share) / n + z * z / (4 * n * n)))
    # The ends are exactly 0 and 1 where they should be, not a rounding error away.
    return (
        0.0 if successes == 0 else max(0.0, middle - half),
        1.0 if successes == n else min(1.0, middle + half),
    )


def proportion(successes: int, n: int) -> Score:
    """A share of independent images with Wilson's interval; undefined of none."""
    if not n:
        return UNDEFINED
    low, high = wilson(successes, n)
    return {
        "value": float(successes / n),
        "low": float(low),
        "high": float(high),
        "interval": _WILSON,
    }


def percentiles(value: float, drawn: np.ndarray) -> tuple[float, float]:
    """The middle 95 % of the resamples, widened to hold the value itself. drawn: without NaN."""
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(min(low, value)), float(max(high, value))


def interval(
    value: float, drawn: np.ndarray, held: np.ndarray, unit: str = "pictures", share: bool = True
) -> Score:
    """A score with the middle 95 % of its resamples, of which NaN ones are left out.

    held: how many units hold each class of a mean over classes. unit: what is drawn. No interval
    where one unit alone counts, or where all resamples are alike: they would claim to be certain.
    share: a score from 0 to 1. Where all is right, or nothing, no resample can show otherwise;
    Wilson's limits of as many units can, those of several classes combined (Zou and Donner 2008).
    """
    drawn = drawn[~np.isnan(drawn)]
    if held.sum() < 2:
        return UNDEFINED | {"value": value}
    if share and value in (0.0, 1.0):
        far = combined_reach([wilson(0, n)[1] for n in held])
        return {
            "value": value,
            "low": max(0.0, value - far) if value else 0.0,
            "high": 1.0 if value else min(1.0, far),
            "interval": f"{_WILSON}, {unit}",
        }
    if not len(drawn) or np.ptp(drawn) < 1e-12:
        return UNDEFINED | {"value": value}
    low, high = percentiles(value, drawn)
    said = f"bootstrap 95 %, {RESAMPLES} resamples of {unit}"
    return {"value": value, "low": low, "high": high, "interval": said}


def combined_reach(reaches: Sequence[float]) -> float:
    """How far the interval of a mean over classes reaches to one side, from how far that of each
    class does (Zou and Donner 2008)."""
    return float(np.sqrt((np.array(reaches) ** 2).sum()) / len(reaches))


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
    same images.

    differences: one a split or fold. test_share: images tested on for each one trained on. The runs
    share most of their training images, so they agree more than independent ones would: the
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
