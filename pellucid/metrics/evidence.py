"""How good the answers are, and how sure that is: scores with intervals, and paired tests.

Proportions of independent pictures (accuracy, precision, recall) get Wilson's interval, in closed
form and right at 0 and 1; everything else a bootstrap over pictures. A score that is not defined is
None, with no interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Score = dict[str, Any]

RESAMPLES = 1000
BINS = 15
UNDEFINED: Score = {"value": None, "low": None, "high": None, "interval": None}
_WILSON = "Wilson 95 %"
_BOOTSTRAP = f"bootstrap 95 %, {RESAMPLES} resamples of pictures"


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


def classification(
    target: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[str],
    costs: np.ndarray | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Everything that one set of answers says, ready for JSON.

    truth: N class numbers; probabilities: N×C; costs: C×C, what it costs to answer the column when
    the row is true.
    Balanced accuracy is the mean recall of the classes that occur; macro F1 is the mean over the
    classes that occur or are answered; ECE is the expected calibration error of the top answer in
    15 equal bins (Guo et al. 2017); log loss is in nats. Raises ValueError for an empty or
    misshapen input, or a truth outside the classes.
    """
    target, probabilities = np.asarray(target, np.int64), np.asarray(probabilities, np.float64)
    count = len(classes)
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
    answer, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    cells = np.bincount(target * count + answer, minlength=count * count).reshape(count, count)
    right, support, answered = np.diag(cells), cells.sum(axis=1), cells.sum(axis=0)

    # What each picture adds to the sums that the scores are made of: a resample of pictures is then
    # one product with its counts.
    per_picture = _PerPicture(len(target))
    per_picture.add("right", answer, count, target == answer)
    per_picture.add("support", target, count)
    per_picture.add("answered", answer, count)
    per_picture.add("gap", confidence_bin(confidence), BINS, confidence - (target == answer))
    per_picture.add("spread", confidence_bin(confidence), BINS, confidence * (1 - confidence))
    likelihood = probabilities[np.arange(len(target)), target]
    per_picture.add("loss", 0, 1, -np.log(np.maximum(likelihood, np.finfo(float).tiny)))
    if costs is not None:
        per_picture.add("cost", 0, 1, np.asarray(costs, np.float64)[target, answer])
    ones = per_picture.sums(np.ones((len(target), 1)))
    drawn = per_picture.resampled(seed)

    result: dict[str, Any] = {
        "accuracy": proportion(right.sum(), len(target)),
        "balanced_accuracy": _with_bootstrap(balanced_accuracy, ones, drawn),
        "macro_f1": _with_bootstrap(macro_f1, ones, drawn),
        "ece": _calibration_error(ones, drawn, len(target), seed),
        "log_loss": _with_bootstrap(lambda s: s["loss"][0] / len(target), ones, drawn)
        if likelihood.min() > 0
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
        "confusion": cells.tolist(),
    }
    if cells.trace() == cells.sum():
        for name in ("balanced_accuracy", "macro_f1"):
            result[name] = _without_errors(support[support > 0])
    if costs is not None:
        result["cost"] = _with_bootstrap(lambda s: s["cost"][0] / len(target), ones, drawn)
    return result


def confidence_bin(confidence: np.ndarray) -> np.ndarray:
    """The bin, 0…14, of each confidence; bin b is (b/15, (b+1)/15], as in Guo et al. 2017."""
    return np.clip(np.ceil(np.asarray(confidence) * BINS).astype(np.int64) - 1, 0, BINS - 1)


def balanced_accuracy(sums: dict[str, np.ndarray]) -> np.ndarray:
    present = sums["support"] > 0
    recall = sums["right"] / np.where(present, sums["support"], 1)
    return recall.sum(axis=0) / present.sum(axis=0)


def macro_f1(sums: dict[str, np.ndarray]) -> np.ndarray:
    both = sums["support"] + sums["answered"]
    return (2 * sums["right"] / np.where(both > 0, both, 1)).sum(axis=0) / (both > 0).sum(axis=0)


class _PerPicture:
    """A sparse table, one row a picture, of what it adds to each named sum."""

    def __init__(self, pictures: int) -> None:
        self.pictures = pictures
        self._blocks: dict[str, Any] = {}

    def add(
        self, name: str, column: np.ndarray | int, columns: int, value: np.ndarray | None = None
    ) -> None:
        from scipy.sparse import csr_array

        rows = np.arange(self.pictures)
        values = np.ones(self.pictures) if value is None else np.asarray(value, np.float64)
        where = np.broadcast_to(column, self.pictures)
        self._blocks[name] = csr_array(
            (values, (rows, where)), shape=(self.pictures, columns)
        ).T.tocsr()

    def sums(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """weights: N×R, how often each resample holds each picture. Returns name → columns×R."""
        return {name: block @ weights for name, block in self._blocks.items()}

    def resampled(self, seed: int, chunk: int = 50) -> dict[str, np.ndarray]:
        rng, n = np.random.default_rng(seed), self.pictures
        parts = []
        for _ in range(RESAMPLES // chunk):
            drawn = rng.integers(n, size=(n, chunk)) * chunk + np.arange(chunk)
            parts.append(
                self.sums(
                    np.bincount(drawn.ravel(), minlength=n * chunk)
                    .reshape(n, chunk)
                    .astype(np.float64)
                )
            )
        return {
            name: np.concatenate([part[name] for part in parts], axis=1) for name in self._blocks
        }


def _score(value: Any, low: Any, high: Any, interval: str) -> Score:
    return {"value": float(value), "low": float(low), "high": float(high), "interval": interval}


def proportion(successes: int, n: int) -> Score:
    """A share of independent pictures with Wilson's interval; undefined of none."""
    return _score(successes / n, *wilson(successes, n), _WILSON) if n else UNDEFINED


def _f1(right: int, both: int) -> Score:
    """F1 is no proportion, but F1 / (2 - F1) is: right of all pictures that are or are called the
    class (Hand et al. 2021, F*)."""
    if not both:
        return UNDEFINED
    low, high = wilson(right, both - right)
    return _score(
        2 * right / both, 2 * low / (1 + low), 2 * high / (1 + high), "Wilson 95 % of F/(2−F)"
    )


def _with_bootstrap(score: Any, ones: dict[str, np.ndarray], drawn: dict[str, np.ndarray]) -> Score:
    low, high = np.quantile(score(drawn), [0.025, 0.975])
    value = np.ravel(score(ones))[0]
    return _score(value, min(low, value), max(high, value), _BOOTSTRAP)


def _calibration_error(
    ones: dict[str, np.ndarray], drawn: dict[str, np.ndarray], n: int, seed: int
) -> Score:
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
    """No resample of answers that are all right can show an error; Wilson's limits of the recalls,
    combined, can (Zou and Donner 2008)."""
    reach = np.array([1 - wilson(n, n)[0] for n in support])
    return _score(
        1.0,
        1 - np.sqrt((reach**2).sum()) / len(support),
        1.0,
        "Wilson 95 % of each class, combined",
    )


def mcnemar(correct_a: np.ndarray, correct_b: np.ndarray) -> dict[str, Any]:
    """Do two classifiers, asked about the same pictures, differ by more than chance? McNemar's
    test, exact (binomial, two-sided).

    correct_a, correct_b: N booleans. `only_a` and `only_b` count the pictures that just one of them
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
    """The mean of a - b over the same pictures (any score a picture: right or not, a loss),
    with a bootstrap interval."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape or a.ndim != 1 or len(a) == 0:
        raise ValueError(
            f"a paired bootstrap needs the same pictures twice, not {a.shape} and {b.shape}"
        )
    difference = _PerPicture(len(a))
    difference.add("difference", 0, 1, a - b)
    return _with_bootstrap(
        lambda s: s["difference"][0] / len(a),
        difference.sums(np.ones((len(a), 1))),
        difference.resampled(seed),
    )


def chance_of(value: float, drawn: np.ndarray, units: int) -> float:
    """The two-sided p of a difference, from its bootstrap resamples: of those on the other side of
    0; where there are none, from a normal distribution, and never less than as many coin tosses as
    there are units give."""
    from scipy.special import ndtr

    if side := min((drawn <= 0).sum(), (drawn >= 0).sum()):
        return min(1.0, 2 * float(side + 1) / (len(drawn) + 1))
    return min(1.0, max(2 * float(ndtr(-abs(value) / max(drawn.std(), 1e-12))), 2 * 0.5**units))
