"""What anybody gets without a network: the peers that a network has to beat, on the same split, as
a careful user would write them.

Everything is fitted on the training pictures; every choice (k, C, dimensions) is made on the
validation pictures; the test pictures are only answered.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import numpy as np

from ..core.rng import generator
from ..transforms.hog import LARGE, SMALL, described, resized

Part = tuple[np.ndarray, np.ndarray]
Scores = tuple[np.ndarray, np.ndarray]
Choice = TypeVar("Choice")

MOST = 10_000  # training pictures of the methods whose time grows faster than their number
STEPS = 100  # of L-BFGS
NEIGHBOURS = (1, 3, 5, 7, 9, 15, 25)


def baselines(
    train: Part, validation: Part, test: Part, classes: Sequence[str], seed: int = 0
) -> dict[str, dict[str, Any]]:
    """The free baselines: majority class, k-NN, softmax regression, colour histogram + HoG → PCA →
    linear SVM.

    Each part is (images, labels): uint8 or uint16 N×H×W×C of one size, and N class numbers.
    Returns, by name: `test` and `validation` (N×C, rows sum to 1), `settings` (what was chosen and
    what was done, flat), `seconds`.
    Raises ValueError when there is no training picture. Methods that learn a boundary are left out
    when only one class is there.
    """
    if not len(train[0]):
        raise ValueError("a baseline needs at least one training picture")
    few = _stratified(train, MOST, seed)
    methods: dict[str, Callable[[], tuple[Scores, dict[str, Any]]]] = {
        "majority class": lambda: _majority(train, validation, test, len(classes)),
        "k-NN": lambda: _nearest(train, validation, test, len(classes)),
    }
    if len(np.unique(train[1])) > 1:
        methods["softmax regression"] = lambda: _softmax(few, validation, test, len(classes))
        methods["HoG + SVM"] = lambda: _hog_svm(few, validation, test, len(classes), seed)
    return {name: _timed(method) for name, method in methods.items()}


def _timed(method: Callable[[], tuple[Scores, dict[str, Any]]]) -> dict[str, Any]:
    from threadpoolctl import threadpool_limits

    start = time.perf_counter()
    # Many small products and decompositions: with two threads on a busy machine they took up to
    # fifty times as long as with one. The neighbour search threads by itself and is not held back.
    with threadpool_limits(1, user_api="blas"):
        (validation, test), settings = method()
    return {
        "test": test,
        "validation": validation,
        "settings": settings,
        "seconds": round(time.perf_counter() - start, 3),
    }


def _stratified(part: Part, most: int, seed: int) -> Part:
    """At most about `most` pictures, each class in its proportion and with at least one picture."""
    images, labels = part
    if len(labels) <= most:
        return part
    order = generator(seed, len(labels)).permutation(len(labels))
    kept = [
        of[: max(1, len(of) * most // len(labels))]
        for of in (order[labels[order] == c] for c in np.unique(labels))
    ]
    rows = np.sort(np.concatenate(kept))
    return images[rows], labels[rows]


def _choose(
    candidates: Iterable[Choice], scores: Callable[[Choice], np.ndarray], labels: np.ndarray
) -> Choice:
    """The candidate with the best validation accuracy, the first of equals; the first one when
    there is nothing to validate on."""
    candidates = list(candidates)
    if len(labels) == 0:
        return candidates[0]
    accuracy = [
        float((scores(candidate).argmax(axis=1) == labels).mean()) for candidate in candidates
    ]
    best = int(np.argmax(accuracy))
    return candidates[best]


def _majority(
    train: Part, validation: Part, test: Part, count: int
) -> tuple[Scores, dict[str, Any]]:
    shares = np.bincount(train[1], minlength=count) / len(train[1])
    scores = np.tile(shares, (len(validation[1]), 1)), np.tile(shares, (len(test[1]), 1))
    return scores, {"scores": "share of each class in training"}


def _nearest(
    train: Part, validation: Part, test: Part, count: int
) -> tuple[Scores, dict[str, Any]]:
    from sklearn.neighbors import NearestNeighbors

    (seen, *rest), settings = _pixels(train[0], validation[0], test[0], per_pixel=False)
    ks = [k for k in NEIGHBOURS if k <= len(seen)]
    finder = NearestNeighbors(n_neighbors=ks[-1], algorithm="brute").fit(seen)
    votes = [
        train[1][finder.kneighbors(x, return_distance=False)]
        if len(x)
        else np.empty((0, ks[-1]), int)
        for x in rest
    ]
    k = _choose(ks, lambda k: _counts(votes[0][:, :k], count), validation[1])
    scores = _counts(votes[0][:, :k], count) / k, _counts(votes[1][:, :k], count) / k
    return scores, settings | {
        "k": k,
        "distance": "Euclidean",
        "scores": "share of the k neighbours",
        "training pictures": len(seen),
    }


def _counts(votes: np.ndarray, count: int) -> np.ndarray:
    rows = np.arange(len(votes))[:, None] * count
    return (
        np.bincount((rows + votes).ravel(), minlength=len(votes) * count)
        .reshape(len(votes), count)
        .astype(np.float64)
    )


def _softmax(
    train: Part, validation: Part, test: Part, count: int
) -> tuple[Scores, dict[str, Any]]:
    from sklearn.linear_model import LogisticRegression

    (seen, *rest), settings = _pixels(train[0], validation[0], test[0], per_pixel=True)
    fitted = {}

    def validated(c: float) -> np.ndarray:
        fitted[c] = LogisticRegression(C=c, max_iter=STEPS, tol=1e-3).fit(seen, train[1])
        return _spread(fitted[c].predict_proba(rest[0]), fitted[c].classes_, count)

    with warnings.catch_warnings():
        # Stopping early is one more regulariser, chosen like the others by what it does on the
        # validation pictures.
        warnings.filterwarnings("ignore", module="sklearn")
        c = _choose((0.01, 0.1, 1.0, 0.001, 0.0001), validated, validation[1])
        model = fitted.get(c) or LogisticRegression(C=c, max_iter=STEPS, tol=1e-3).fit(
            seen, train[1]
        )
    scores = [
        _spread(model.predict_proba(x), model.classes_, count) if len(x) else np.empty((0, count))
        for x in rest
    ]
    return (scores[0], scores[1]), settings | {
        "C": c,
        "steps at most": STEPS,
        "training pictures": len(seen),
    }


def _spread(scores: np.ndarray, present: np.ndarray, count: int) -> np.ndarray:
    """Columns for the classes seen in training, to columns for all classes."""
    full = np.zeros((len(scores), count))
    full[:, present] = scores
    return full


def _pixels(*parts: np.ndarray, per_pixel: bool) -> tuple[list[np.ndarray], dict[str, Any]]:
    """Flattened float32 pixels, less the training mean and divided by the training deviation, of
    each pixel or of each channel."""
    small = [resized(images, 1, SMALL) for images in parts]
    axes = 0 if per_pixel else (0, 1, 2)
    mean = small[0].mean(axis=axes, dtype=np.float64).astype(np.float32)
    deviation = small[0].std(axis=axes, dtype=np.float64).astype(np.float32)
    # A pixel that hardly changes in training must not shout when it does in the test.
    deviation = np.maximum(deviation, max(0.1 * float(deviation.max()), 1e-6))
    flat = [
        ((images - mean) / deviation).reshape(len(images), small[0][0].size) for images in small
    ]
    return flat, {
        "pixels": _said(parts[0], small[0]),
        "normalised": "each pixel" if per_pixel else "each channel",
    }


def _said(images: np.ndarray, resized: np.ndarray) -> str:
    change = "" if images.shape == resized.shape else f", from {images.shape[1]}×{images.shape[2]}"
    return f"{resized.shape[1]}×{resized.shape[2]}{change}"


def _hog_svm(
    train: Part, validation: Part, test: Part, count: int, seed: int
) -> tuple[Scores, dict[str, Any]]:
    from sklearn.decomposition import PCA
    from sklearn.svm import LinearSVC

    top = 255.0 if train[0].dtype == np.uint8 else max(float(train[0].max()), 1.0)
    # Histograms of a few pixels say little: on 8×8 digits, cells on a smooth enlargement take the
    # errors from 5 % to 1 %.
    shown = [resized(images, SMALL, LARGE) for images, _ in (train, validation, test)]
    groups = [described(images, top) for images in shown]
    # Both descriptions count alike: each has a total variance of 1 in training.
    scales = [max(float(np.sqrt(group.var(axis=0).sum())), 1e-9) for group in groups[0]]
    features = [
        np.hstack([group / scale for group, scale in zip(part, scales, strict=True)])
        for part in groups
    ]
    pca = PCA(min(256, *features[0].shape), svd_solver="covariance_eigh").fit(features[0])
    seen, *rest = (
        pca.transform(part) if len(part) else np.empty((0, pca.n_components_)) for part in features
    )
    fitted = {}

    def decided(choice: tuple[int, float], x: np.ndarray) -> np.ndarray:
        dimensions, c = choice
        if choice not in fitted:
            fitted[choice] = LinearSVC(C=c, tol=1e-3, random_state=seed).fit(
                seen[:, :dimensions], train[1]
            )
        return (
            np.eye(count)[fitted[choice].predict(x[:, :dimensions])]
            if len(x)
            else np.empty((0, count))
        )

    most = seen.shape[1]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="sklearn")
        # First C, then the dimensions with it: nearly as good as the whole grid, in half the time.
        _, c = _choose(
            [(most, c) for c in (1.0, 0.1, 10.0)],
            lambda choice: decided(choice, rest[0]),
            validation[1],
        )
        dimensions = [most, *(d for d in (128, 64) if d < most)]
        choice = _choose(
            [(d, c) for d in dimensions], lambda choice: decided(choice, rest[0]), validation[1]
        )
        scores = decided(choice, rest[0]), decided(choice, rest[1])
    settings = {"pixels": _said(train[0], shown[0]), "PCA dimensions": choice[0], "C": choice[1]}
    return scores, settings | {
        "scores": "1 for the decision, 0 else",
        "training pictures": len(seen),
    }
