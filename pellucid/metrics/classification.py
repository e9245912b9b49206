"""How good probabilities of classes are: scores with intervals.

Proportions of independent images (accuracy, precision, recall) get Wilson's interval, in closed
form and right at 0 and 1; everything else a bootstrap over images. A score that is not defined is
None, with no interval.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .significance.intervals import (
    UNDEFINED,
    Score,
    combined_reach,
    percentiles,
    proportion,
    wilson,
)
from .significance.resampling import RESAMPLES, blocks

BINS = 15
_BOOTSTRAP = f"bootstrap 95 %, {RESAMPLES} resamples of pictures"

Sums = dict[str, np.ndarray]


def classification(
    target: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[str],
    costs: np.ndarray | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Everything that the results for N images say, ready for JSON.

    target: N class numbers; probabilities: N×C; costs: C×C, what it costs to predict the column
    when the row is true.
    Balanced accuracy is the mean recall of the classes that occur; macro F1 is the mean over the
    classes that occur or are predicted; ECE is the expected calibration error of the top class in
    15 equal bins (Guo et al. 2017); log loss is in nats. Raises ValueError for an empty or
    misshapen input, or a target outside the classes.
    """
    target, probabilities = np.asarray(target, np.int64), np.asarray(probabilities, np.float64)
    _check(target, probabilities, len(classes))
    answer = probabilities.argmax(axis=1)
    table = _table(target, probabilities, costs)
    ones, drawn = table.sums(np.ones((1, len(target)))), table.resampled(seed)
    right, support, answered = (
        ones[name][:, 0].astype(np.int64) for name in ("right", "support", "answered")
    )
    result: dict[str, Any] = {
        "accuracy": proportion(right.sum(), len(target)),
        "balanced_accuracy": _with_bootstrap(balanced_accuracy, ones, drawn),
        "macro_f1": _with_bootstrap(macro_f1, ones, drawn),
        "ece": _calibration_error(ones, drawn, len(target), seed),
        "log_loss": _with_bootstrap(lambda s: s["loss"][0] / len(target), ones, drawn)
        if probabilities[np.arange(len(target)), target].min() > 0
        else UNDEFINED,
        "per_class": {
            name: {
                "support": int(support[c]),
                "precision": proportion(right[c], answered[c]),
                "recall": proportion(right[c], support[c]),
                "f1": _f1(right[c], support[c] + answered[c]),
            }
            for c, name in enumerate(classes)
        },
        "confusion": confusion(target, answer, len(classes)).tolist(),
    }
    if right.sum() == len(target):
        for name in ("balanced_accuracy", "macro_f1"):
            result[name] = _without_errors(support[support > 0])
    if costs is not None:
        result["cost"] = _with_bootstrap(lambda s: s["cost"][0] / len(target), ones, drawn)
    return result


def _check(target: np.ndarray, probabilities: np.ndarray, count: int) -> None:
    if (
        target.ndim != 1
        or len(target) == 0
        or probabilities.shape != (len(target), count)
        or not np.isfinite(probabilities).all()
    ):
        raise ValueError(
            f"{len(target)} truths of {count} classes need finite probabilities "
            f"{len(target)}×{count}, not {probabilities.shape}"
        )
    if target.min() < 0 or target.max() >= count:
        raise ValueError(f"a truth is outside 0…{count - 1}")


def confusion(target: np.ndarray, answer: np.ndarray, count: int) -> np.ndarray:
    """C×C: how many images of the row's class were given the column's."""
    return np.bincount(target * count + answer, minlength=count * count).reshape(count, count)


def confidence_bin(confidence: np.ndarray) -> np.ndarray:
    """The bin, 0…14, of each confidence; bin b is (b/15, (b+1)/15], as in Guo et al. 2017."""
    return np.clip(np.ceil(np.asarray(confidence) * BINS).astype(np.int64) - 1, 0, BINS - 1)


def resample(target: np.ndarray, answer: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Accuracy and balanced accuracy, R each, when image i counts `weights[r, i]` times.

    target, answer: N class numbers; weights: R×N.
    """
    count = int(max(target.max(), answer.max())) + 1
    table = _PerImage(len(target))
    table.add("right", answer, count, target == answer)
    table.add("support", target, count)
    sums = table.sums(weights)
    with np.errstate(invalid="ignore"):  # NaN where no image counts
        return {
            "accuracy": sums["right"].sum(axis=0) / sums["support"].sum(axis=0),
            "balanced_accuracy": balanced_accuracy(sums),
        }


def balanced_accuracy(sums: Sums) -> np.ndarray:
    present = sums["support"] > 0
    recall = sums["right"] / np.where(present, sums["support"], 1)
    return recall.sum(axis=0) / present.sum(axis=0)


def macro_f1(sums: Sums) -> np.ndarray:
    both = sums["support"] + sums["answered"]
    return (2 * sums["right"] / np.where(both > 0, both, 1)).sum(axis=0) / (both > 0).sum(axis=0)


class _PerImage:
    """A sparse table, one row an image, of what it adds to each named sum: a resample of images is
    then one product with its weights."""

    def __init__(self, images: int) -> None:
        self.images = images
        self._blocks: dict[str, Any] = {}

    def add(
        self, name: str, column: np.ndarray | int, columns: int, value: np.ndarray | None = None
    ) -> None:
        from scipy.sparse import csr_array

        rows = np.arange(self.images)
        values = np.ones(self.images) if value is None else np.asarray(value, np.float64)
        where = np.broadcast_to(column, self.images)
        self._blocks[name] = csr_array(
            (values, (rows, where)), shape=(self.images, columns)
        ).T.tocsr()

    def sums(self, weights: np.ndarray) -> Sums:
        """weights: R×N, how often each resample holds each image. Returns name → columns×R."""
        return {name: block @ weights.T for name, block in self._blocks.items()}

    def resampled(self, seed: int) -> Sums:
        parts = [self.sums(weights) for weights in blocks(self.images, seed)]
        return {
            name: np.concatenate([part[name] for part in parts], axis=1) for name in self._blocks
        }


def _table(target: np.ndarray, probabilities: np.ndarray, costs: np.ndarray | None) -> _PerImage:
    """What each image adds to the sums that the scores are made of."""
    answer, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    count, bins = probabilities.shape[1], confidence_bin(confidence)
    table = _PerImage(len(target))
    table.add("right", answer, count, target == answer)
    table.add("support", target, count)
    table.add("answered", answer, count)
    table.add("gap", bins, BINS, confidence - (target == answer))
    table.add("spread", bins, BINS, confidence * (1 - confidence))
    likelihood = probabilities[np.arange(len(target)), target]
    table.add("loss", 0, 1, -np.log(np.maximum(likelihood, np.finfo(float).tiny)))
    if costs is not None:
        table.add("cost", 0, 1, np.asarray(costs, np.float64)[target, answer])
    return table


def _score(value: Any, low: Any, high: Any, interval: str) -> Score:
    return {"value": float(value), "low": float(low), "high": float(high), "interval": interval}


def _f1(right: int, both: int) -> Score:
    """F1 is no proportion, but F1 / (2 - F1) is: right of all images that are or are called the
    class (Hand et al. 2021, F*)."""
    if not both:
        return UNDEFINED
    low, high = wilson(right, both - right)
    return _score(
        2 * right / both, 2 * low / (1 + low), 2 * high / (1 + high), "Wilson 95 % of F/(2−F)"
    )


def _with_bootstrap(score: Callable[[Sums], np.ndarray], ones: Sums, drawn: Sums) -> Score:
    value = float(np.ravel(score(ones))[0])
    return _score(value, *percentiles(value, score(drawn)), _BOOTSTRAP)


def _calibration_error(ones: Sums, drawn: Sums, n: int, seed: int) -> Score:
    """The error is a sum of absolute values, so chance only adds to it, and to every resample once
    more: the interval is mirrored at the value (basic bootstrap, Davison and Hinkley 1997, 5.2),
    which takes that out. It reaches down to 0 when a perfectly calibrated classifier with these
    confidences would show as much; `by_chance` is what such a one shows on average."""
    value = np.abs(ones["gap"]).sum() / n
    low, high = 2 * value - np.quantile(np.abs(drawn["gap"]).sum(axis=0) / n, [0.975, 0.025])
    noise = np.random.default_rng(seed).normal(size=(RESAMPLES, BINS)) * np.sqrt(
        ones["spread"].ravel()
    )
    calibrated = np.abs(noise).sum(axis=1) / n
    low = 0.0 if value <= np.quantile(calibrated, 0.975) else max(0.0, low)
    return _score(value, low, max(high, value), f"basic {_BOOTSTRAP}") | {
        "by_chance": float(calibrated.mean())
    }


def _without_errors(support: np.ndarray) -> Score:
    """No resample of results that are all right can show an error; Wilson's limits of the recalls,
    combined, can."""
    reach = combined_reach([1 - wilson(n, n)[0] for n in support])
    return _score(1.0, 1 - reach, 1.0, "Wilson 95 % of each class, combined")
