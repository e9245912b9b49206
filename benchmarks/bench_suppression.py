"""Suppression of 1,000 boxes against the usual NumPy loop; and of a hundred pictures in one call
against a call a picture."""

from __future__ import annotations

import numpy as np
from side_by_side import compare

from pellucid.core.boxes import suppress, suppress_batch, suppress_by_class

THRESHOLD, SIZE = 0.5, 640
PICTURES, CANDIDATES, CLASSES, FOUND, FLOOR = 100, 8400, 80, 300, 0.25

Case = tuple[np.ndarray, np.ndarray]


def numpy_loop(boxes: np.ndarray, scores: np.ndarray, threshold: float) -> np.ndarray:
    """The peer as most people write it: sort, take the best, one vectorised IoU with the rest."""
    x1, y1, x2, y2 = boxes.T
    areas = (x2 - x1) * (y2 - y1)
    order, kept = np.argsort(-scores, kind="stable"), []
    while order.size:
        best, rest = order[0], order[1:]
        kept.append(best)
        width = np.maximum(0, np.minimum(x2[best], x2[rest]) - np.maximum(x1[best], x1[rest]))
        height = np.maximum(0, np.minimum(y2[best], y2[rest]) - np.maximum(y1[best], y1[rest]))
        both = width * height
        order = rest[both / (areas[best] + areas[rest] - both) <= threshold]
    return np.array(kept, np.int64)


def uniform(rng: np.random.Generator, count: int) -> Case:
    """Anywhere, of any size up to a fifth of the picture."""
    centres, half = rng.uniform(0, SIZE, (count, 2)), rng.uniform(4, 64, (count, 2))
    return np.concatenate([centres - half, centres + half], axis=1), rng.random(count)


def clustered(rng: np.random.Generator, count: int, objects: int, spread: float) -> Case:
    """Candidates around objects, as a detector gives them: `spread` sizes from the middle, and as
    much besides it in size."""
    which, sizes, middles = (
        rng.integers(0, objects, count),
        rng.uniform(20, 200, (objects, 2)),
        rng.uniform(50, SIZE - 50, (objects, 2)),
    )
    half = sizes[which] * np.exp(rng.normal(0, 1.5 * spread, (count, 2))) / 2
    centres = middles[which] + rng.normal(0, spread, (count, 2)) * sizes[which]
    return np.concatenate([centres - half, centres + half], axis=1), rng.random(count)


def single() -> None:
    rng = np.random.default_rng(0)
    makers = {
        "uniformly random": (lambda: uniform(rng, 1000), 3.5),
        "around 100 objects": (lambda: clustered(rng, 1000, 100, 0.12), 3.5),
        "around 20 objects, loosely": (lambda: clustered(rng, 1000, 20, 0.25), 3.5),
        "around 20 objects, closely": (lambda: clustered(rng, 1000, 20, 0.12), None),
    }
    for name, (make, wanted) in makers.items():
        cases = [make() for _ in range(20)]
        for boxes, scores in cases:
            assert np.array_equal(
                suppress(boxes, scores, THRESHOLD), numpy_loop(boxes, scores, THRESHOLD)
            )
        stay = np.mean([len(suppress(boxes, scores, THRESHOLD)) for boxes, scores in cases])
        compare(
            f"1,000 boxes {name}, {stay:.0f} stay",
            lambda cases=cases: [suppress(boxes, scores, THRESHOLD) for boxes, scores in cases],
            lambda cases=cases: [numpy_loop(boxes, scores, THRESHOLD) for boxes, scores in cases],
            rounds=15,
            wanted=wanted,
        )


def pictures(rng: np.random.Generator, by_object: bool) -> np.ndarray:
    """B×K×6: in each picture 300 candidates above the floor,
    with classes at random or one an object."""
    table = np.zeros((PICTURES, CANDIDATES, 6), np.float32)
    table[..., 4] = rng.random((PICTURES, CANDIDATES)) * FLOOR
    for picture in table:
        where = rng.permutation(CANDIDATES)[:FOUND]
        boxes, scores = clustered(rng, FOUND, 20, 0.12) if by_object else uniform(rng, FOUND)
        nearest = np.linalg.norm(boxes[:, None, :2] - boxes[None, :20, :2], axis=-1).argmin(axis=1)
        labels = (
            rng.integers(0, CLASSES, 20)[nearest] if by_object else rng.integers(0, CLASSES, FOUND)
        )
        picture[where] = np.column_stack([boxes, FLOOR + (1 - FLOOR) * scores, labels])
    return table


def one_by_one(table: np.ndarray) -> list[np.ndarray]:
    kept = []
    for picture in table:
        used = np.flatnonzero(picture[:, 4] > FLOOR)
        rows = picture[used]
        kept.append(used[suppress_by_class(rows[:, :4], rows[:, 4], rows[:, 5], THRESHOLD)])
    return kept


def many() -> None:
    for name, by_object in (("classes at random", False), ("a class an object", True)):
        table = pictures(np.random.default_rng(1), by_object)
        for together, alone in zip(
            suppress_batch(table, THRESHOLD, FLOOR), one_by_one(table), strict=True
        ):
            assert np.array_equal(together, alone)
        compare(
            f"{PICTURES} pictures, {CANDIDATES} candidates, {CLASSES} classes, "
            f"{FOUND} above the floor, {name}",
            lambda table=table: suppress_batch(table, THRESHOLD, FLOOR),
            lambda table=table: one_by_one(table),
            rounds=15,
            wanted=2.0,
        )


if __name__ == "__main__":
    single()
    many()
