"""Where classes differ in number: weights for the loss, and which pictures an epoch shows how
often.

Orders give shuffled indices into the pictures, to be cut into batches. An order is drawn anew each
epoch and always has the same length.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

CLUSTERS = 50  # of one class, at most
DIMENSIONS = 32  # of the features that are clustered


def class_weights(counts: np.ndarray) -> np.ndarray:
    """N/(K·n_c) for each of C classes, 0 for an absent one; K is the number of classes that are
    there.

    Every class then weighs the same in all, and a picture 1 on average. (King and Zeng, Logistic
    Regression in Rare Events Data, 2001; scikit-learn's "balanced".)
    """
    counts = np.asarray(counts)
    present = counts > 0
    return np.divide(counts.sum(), present.sum() * counts, out=np.zeros(len(counts)), where=present)


def minority(counts: np.ndarray) -> np.ndarray:
    """bool C: the classes that are there with less than half as many pictures as the
    largest one."""
    counts = np.asarray(counts)
    return (counts > 0) & (2 * counts < counts.max())


def oversampled(targets: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """As many indices as there are pictures, N/K of each of the K classes that are there: an epoch
    costs what it did.

    Within a class no picture comes a second time before all came once, so a small class repeats
    itself and a large one shows a part that is new each epoch. Where K does not divide N, the
    classes with one more are drawn.
    """
    classes = list(_classes(targets))
    draws = np.full(len(classes), len(targets) // len(classes))
    draws[rng.permutation(len(classes))[: len(targets) % len(classes)]] += 1
    return rng.permutation(
        np.concatenate(
            [_repeated(of, count, rng) for of, count in zip(classes, draws, strict=True)]
        )
    )


def minority_repeated(targets: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Every picture once, and those of the classes of `minority` again until each has as many as
    the largest class.

    For augmentation of the minority alone: a changed picture helps where the unchanged one would
    come again.
    """
    counts = np.bincount(targets)
    draws = np.where(minority(counts), counts.max(), counts)
    return rng.permutation(
        np.concatenate([_repeated(of, draws[targets[of[0]]], rng) for of in _classes(targets)])
    )


def undersampled(targets: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """As many pictures of each class as the smallest class that is there has."""
    least = min(map(len, _classes(targets)))
    return rng.permutation(
        np.concatenate([rng.permutation(of)[:least] for of in _classes(targets)])
    )


def undersampled_by_cluster(
    targets: np.ndarray, cluster: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """As `undersampled`, and of each cluster of a class equally many as far as it has them: rare
    appearances of a large class stay.

    cluster: a number for each picture, as `clusters` gives them.
    """
    least = min(map(len, _classes(targets)))
    kept = []
    for of in _classes(targets):
        of = rng.permutation(of)
        # In rounds that take one picture of each cluster which still has any; the sort is stable,
        # so the order within a round is random.
        kept.append(of[np.argsort(repeats(cluster[of]), kind="stable")][:least])
    return rng.permutation(np.concatenate(kept))


def clusters(images: np.ndarray, targets: np.ndarray, seed: int) -> np.ndarray:
    """int64 M: which cluster of its class each picture lies in, numbered through over all classes.

    images: uint8 or uint16 M×H×W×C. Each class gets as many clusters as the smallest class has
    pictures, at most 50, by k-means (in small batches: Sculley, Web-scale k-means clustering, 2010)
    on HoG and colour histogram reduced to 32 dimensions; a class without any picture to spare is
    one cluster, for nothing is left out of it.
    """
    from sklearn.cluster import MiniBatchKMeans
    from threadpoolctl import threadpool_limits

    least = min(map(len, _classes(targets)))
    found, used = np.zeros(len(targets), np.int64), 0
    with threadpool_limits(1):
        features = _features(images, seed)
        for of in _classes(targets):
            count = min(least, CLUSTERS) if len(of) > least else 1
            means = (
                MiniBatchKMeans(count, n_init=1, random_state=seed).fit(features[of])
                if count > 1
                else None
            )
            found[of] = used if means is None else used + means.labels_
            used += count
    return found


def repeats(order: np.ndarray) -> np.ndarray:
    """int64, as long as the order: how often each entry came before. With it a repeated picture can
    be given other random numbers."""
    _, inverse, counts = np.unique(order, return_inverse=True, return_counts=True)
    places = np.argsort(inverse, kind="stable")
    before = np.empty(len(order), np.int64)
    before[places] = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    return before


def _classes(targets: np.ndarray) -> Iterator[np.ndarray]:
    """The indices of the pictures of each class that is there."""
    return (np.flatnonzero(targets == number) for number in np.unique(targets))


def _repeated(of: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` of them: whole permutations, then the beginning of one more."""
    return np.concatenate([rng.permutation(of) for _ in range(-(-count // len(of)))])[:count]


def _features(images: np.ndarray, seed: int) -> np.ndarray:
    """The description of `baselines`' HoG + SVM, both parts of the same variance, by principal
    components: float32 M×32 or fewer."""
    from sklearn.decomposition import PCA

    from ..transforms.hog import LARGE, SMALL, described, resized

    top = 255.0 if images.dtype == np.uint8 else max(float(images.max()), 1.0)
    parts = described(resized(images, SMALL, LARGE), top)
    joined = np.hstack([part / max(float(np.sqrt(part.var(axis=0).sum())), 1e-9) for part in parts])
    return PCA(
        min(DIMENSIONS, *joined.shape), svd_solver="randomized", random_state=seed
    ).fit_transform(joined)
