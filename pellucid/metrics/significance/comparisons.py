"""Two sets of results for the same images: how far apart they are, and how sure that is.

All that is asked of a task is its metric: `resample` scores any resample of its images.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np

from .intervals import UNDEFINED, Score, interval, percentiles
from .resampling import RESAMPLES, blocks, chance_of

# So many units that differ bound p by 1e-12, which is no bound.
_MANY, _BLOCKS = 40, 64
# Standard errors to either end of a 95 % interval.
NORMAL = 1.959963984540054


class Metric(Protocol):
    """What a comparison needs of the metric of a task; see `tasks.task.Metric`. Its whole state is
    in `records`. A record with the array `group` (uint8, UTF-8) belongs to a group, as several
    images of one patient do, and groups are drawn instead of images."""

    score: str
    records: dict[str, dict[str, np.ndarray]]

    def resample(self, weights: np.ndarray) -> dict[str, np.ndarray]: ...


M = TypeVar("M", bound=Metric)


def paired(ours: Metric, theirs: Metric, score: str | None = None, seed: int = 0) -> dict[str, Any]:
    """The difference of a score between two sets of results, by a paired bootstrap over the images
    that both have.

    score: that of `ours` unless given. Returns `score`; `gain`, the difference with `value`, `low`,
    `high` and `interval` (percentiles; None where all resamples are alike); `ours` and `theirs`,
    the scores; `images`, how many both have; `p` by `chance_of`, and `test`, its name. Where either
    is undefined the numbers are None, and p is 1. Images alone are drawn, so this is about
    these two trained networks, not about training them again. Raises ValueError without a common
    image.
    """
    return over_mean(ours, [theirs], score, seed)


def over_mean(
    ours: Metric, others: Sequence[Metric], score: str | None = None, seed: int = 0
) -> dict[str, Any]:
    """As `paired`, against the mean score of several."""
    score = score or ours.score
    first, *rest = common_parts([ours, *others])
    own = score_of(first, score)
    other = float(np.mean([score_of(each, score) for each in rest]))
    units, unit = _units(first)
    drawn = _drawn([first, *rest], score, seed)
    apart = drawn[0] - np.mean(drawn[1:], axis=0)
    found = {
        "score": score,
        "gain": UNDEFINED,
        "ours": None,
        "theirs": None,
        "images": len(first.records),
        "p": 1.0,
        "test": f"paired bootstrap over {_count(units)} {unit}",
    }
    if np.isnan(own - other):
        return found
    counted = np.array([_count(units)])
    return found | {
        "gain": interval(own - other, apart, counted, unit, share=False),
        "ours": own,
        "theirs": other,
        "p": chance_of(own - other, apart[~np.isnan(apart)], _differing([first, *rest], score)),
    }


def bootstrap(metric: Metric, score: str | None = None, seed: int = 0) -> Score:
    """A score of one set of results with its percentile interval over images, or groups of them.
    Undefined where the score is."""
    score = score or metric.score
    value = score_of(metric, score)
    if not np.isfinite(value):
        return UNDEFINED
    _, unit = _units(metric)
    drawn = _drawn([metric], score, seed)[0]
    low, high = percentiles(value, drawn[np.isfinite(drawn)])
    name = f"bootstrap 95 %, {RESAMPLES} resamples of {unit}"
    return {"value": value, "low": low, "high": high, "interval": name}


def score_of(metric: Metric, score: str) -> float:
    """The score of all images, NaN where it is undefined."""
    return float(metric.resample(np.ones((1, len(metric.records))))[score][0])


def common_parts(metrics: Sequence[M]) -> list[M]:
    """The metrics with those images alone that all of them have. Raises ValueError for none."""
    first, *others = (metric.records for metric in metrics)
    sources = [source for source in first if all(source in records for records in others)]
    if not sources:
        raise ValueError("a paired test needs images that both were asked about")
    parts = [copy.copy(metric) for metric in metrics]
    for part in parts:
        part.records = {source: part.records[source] for source in sources}
    return parts


def over_seeds(
    ours: Sequence[Metric], theirs: Sequence[Metric], score: str, seed: int = 0
) -> dict[str, Any]:
    """The difference of the mean score of two recipes, each trained several times and asked about
    the same images.

    ours, theirs: a metric of each run; the runs differ in their seeds alone. A recipe with one run
    is taken to vary as much as the other one does. Returns `score`, `gain` as `paired` has it, `p`,
    `test` and `runs`, how many of both. Raises ValueError when both have one.

    Two things are left to chance. Seeds: the variance between runs, which holds what chance in
    single images does to each run as well, known with as few degrees of freedom as there are runs
    (Welch and Satterthwaite's). Images: what resampling them (the same ones for all runs of both)
    shows beyond that, of images that one recipe finds harder than the other; known well. The
    squares of their two half intervals, Student's and the normal one, are added (Howe 1974), not
    the variances under one Student's t: a spread that came out small by chance would then count as
    well known. The interval is never narrower than resampled images alone make it; p is the level
    at which it ends at 0.
    """
    runs = [len(ours), len(theirs)]
    if max(runs) < 2:
        raise ValueError("a comparison over seeds needs more than one run of an arm")
    parts = common_parts([*ours, *theirs])
    values = np.split(np.array([score_of(each, score) for each in parts]), [runs[0]])
    drawn = _drawn(parts, score, seed)
    drawn = drawn[:, ~np.isnan(drawn).any(axis=0)]
    mean = float(values[0].mean() - values[1].mean())
    found = {
        "score": score,
        "gain": UNDEFINED,
        "p": 1.0,
        "test": "t-test over seeds and images",
        "runs": runs,
    }
    if np.isnan(mean) or not drawn.shape[1]:
        return found
    half, p = _spread(mean, values, np.split(drawn, [runs[0]]))
    if half is None:
        return found | {"gain": UNDEFINED | {"value": mean}}
    said = f"t 95 %, {runs[0]} and {runs[1]} runs, and images"
    gain = {"value": mean, "low": mean - half, "high": mean + half, "interval": said}
    return found | {"gain": gain, "p": p}


def _spread(
    mean: float, values: Sequence[np.ndarray], drawn: Sequence[np.ndarray]
) -> tuple[float | None, float]:
    """Half the 95 % interval, and p; None and 1 where nothing varies. values: k and m scores;
    drawn: k×R and m×R of them."""
    runs = [len(of) for of in values]
    of_seeds, degrees = _mean_variance(
        [float(v.var(ddof=1)) if len(v) > 1 else None for v in values], runs
    )
    in_both, _ = _mean_variance([_noise(d) if len(d) > 1 else None for d in drawn], runs)
    of_images = float(np.var(drawn[0].mean(axis=0) - drawn[1].mean(axis=0)))
    if of_seeds + of_images <= 1e-24:
        return None, 1.0
    return _half_and_p(abs(mean), of_seeds, degrees, max(0.0, of_images - in_both), of_images)


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
    """The variance of one run's score because runs err on different images. drawn: k×R."""
    return float(np.var(drawn - drawn.mean(axis=0), axis=1).mean() * len(drawn) / (len(drawn) - 1))


def _half_and_p(
    mean: float, of_seeds: float, degrees: float, beyond: float, of_images: float
) -> tuple[float, float]:
    """Half the 95 % interval, and the p at which half the interval is `mean`."""
    from scipy.optimize import brentq
    from scipy.special import ndtr, stdtrit

    def half(z: float) -> float:
        t = -float(stdtrit(degrees, ndtr(-z)))
        return float(np.sqrt(max(t**2 * of_seeds + z**2 * beyond, z**2 * of_images)))

    # Twelve standard errors: no p below 1e-32 is told apart.
    z = 12.0 if half(12.0) <= mean else brentq(lambda z: half(z) - mean, 0.0, 12.0)
    return half(NORMAL), float(2 * ndtr(-z))


def _differing(metrics: Sequence[Metric], score: str) -> int:
    """Of how many units, scored alone, the first metric differs from the mean of the others,
    counted up to _MANY. Blocks of units are halved, so that a large test part takes few scores; two
    units of a block that cancel out are missed."""
    units, _ = _units(metrics[0])
    parts = np.array_split(np.arange(_count(units)), min(_count(units), _BLOCKS))
    while True:
        weights = np.stack([np.isin(units, part) for part in parts]).astype(np.float64)
        first, *rest = (metric.resample(weights)[score] for metric in metrics)
        apart = first - np.mean(rest, axis=0)
        found = [part for part, by in zip(parts, apart, strict=True) if by and not np.isnan(by)]
        if len(found) >= _MANY or all(len(part) == 1 for part in found):
            return len(found)
        parts = [half for part in found for half in np.array_split(part, min(2, len(part)))]


def _drawn(metrics: Sequence[Metric], score: str, seed: int) -> np.ndarray:
    """K×R: the score of each of K metrics of the same images in each resample."""
    units, _ = _units(metrics[0])
    rows = [
        [metric.resample(weights)[score] for metric in metrics] for weights in _weights(units, seed)
    ]
    return np.concatenate(rows, axis=1)


def _weights(units: np.ndarray, seed: int) -> Iterator[np.ndarray]:
    """Of images, whose unit each is. units: N numbers from 0."""
    return (weights[:, units] for weights in blocks(_count(units), seed))


def _units(metric: Metric) -> tuple[np.ndarray, str]:
    """What chance draws: of each image, in the sorted order of the sources, its unit; and what a
    unit is called."""
    groups = [metric.records[source].get("group") for source in sorted(metric.records)]
    if all(group is None for group in groups):
        return np.arange(len(groups)), "images"
    # An image that stands alone is told from a group of the same name, and comes after all groups.
    names = [
        (number, b"") if group is None else (-1, group.tobytes())
        for number, group in enumerate(groups)
    ]
    number_of = {name: number for number, name in enumerate(sorted(set(names)))}
    return np.array([number_of[name] for name in names]), "groups"


def _count(units: np.ndarray) -> int:
    return int(units.max()) + 1


def mcnemar(correct_a: np.ndarray, correct_b: np.ndarray) -> dict[str, Any]:
    """Do two classifiers, asked about the same images, differ by more than chance? McNemar's test,
    exact (binomial, two-sided).

    correct_a, correct_b: N booleans. `only_a` and `only_b` count the images that just one of them
    got right.
    """
    from scipy.stats import binomtest

    a, b = np.asarray(correct_a, bool), np.asarray(correct_b, bool)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(
            f"a paired test needs the same pictures twice, not {a.shape} and {b.shape}"
        )
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    p = float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0
    return {
        "only_a": only_a,
        "only_b": only_b,
        "pictures": len(a),
        "p": p,
        "test": "McNemar, exact binomial, two-sided",
    }


def paired_bootstrap(a: np.ndarray, b: np.ndarray, seed: int = 0) -> Score:
    """The mean of a - b over the same images (any score an image: right or not, a loss), with a
    bootstrap interval."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape or a.ndim != 1 or len(a) == 0:
        raise ValueError(
            f"a paired bootstrap needs the same pictures twice, not {a.shape} and {b.shape}"
        )
    drawn = np.concatenate([weights @ (a - b) for weights in blocks(len(a), seed)]) / len(a)
    value = float((a - b).mean())
    low, high = percentiles(value, drawn)
    said = f"bootstrap 95 %, {RESAMPLES} resamples of pictures"
    return {"value": value, "low": low, "high": high, "interval": said}
