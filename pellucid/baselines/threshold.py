"""What anybody gets of a two-class mask without a network: a threshold, and morphology after it,
every setting searched for.

A picture is taken as its brightness (luma, Rec. 601), 0 to 1, smoothed, its background taken off;
what is brighter than a threshold is the object, or what is darker, or either; then opening,
closing, and no object below a size. Sources: N. Otsu, A Threshold Selection Method from Gray-Level
Histograms, IEEE Trans. SMC 9 (1979), as scikit-image has it; the rest is textbook (Gonzalez and
Woods, chapters 9 and 10).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from ..core.rng import generator
from ..core.types import IGNORE

# searched on; a million pixels take about fifteen seconds
MOST_PICTURES, MOST_PIXELS = 40, 3_000_000
KEPT = 5  # thresholds whose morphology is searched

SMOOTH = (0.0, 1.0, 2.5)
BACKGROUNDS = (("none", 0), ("gaussian", 10), ("gaussian", 30), ("median", 21), ("median", 61))
SHARES = (0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25)
RADII = (0, 1, 2, 4)
SMALLEST = (0, 20, 60, 200)


@dataclass(frozen=True, slots=True)
class Settings:
    """side: "bright", "dark" or "either". smooth: the Gaussian's deviation in pixels, 0 none.
    background, width: what is taken off, "none", "gaussian" of that deviation or "median" of that
    side. rule: "otsu"; "share", the `value` of the picture's pixels that stand out most; or
    "level", what stands out by more than `value`. opening, closing: radii in pixels. smallest:
    pixels of an object. score: mean IoU on the pictures searched on.
    """

    side: str = "bright"
    smooth: float = 0.0
    background: str = "none"
    width: int = 0
    rule: str = "otsu"
    value: float = 0.0
    opening: int = 0
    closing: int = 0
    smallest: int = 0
    score: float = 0.0


def fit(pictures: Sequence[np.ndarray], masks: Sequence[np.ndarray], seed: int = 0) -> Settings:
    """The settings with the best mean IoU of class 1 over pictures that have any of it, the first
    of equals.

    pictures: H×W×C of any depth. masks: uint8 H×W, 0 and 1, and IGNORE where nobody is asked. First
    the thresholds alone, then for the best of them the morphology. Of many pictures some are drawn.
    Raises ValueError where no mask has an object.
    """
    asked = [number for number, mask in enumerate(masks) if (mask == 1).any()]
    if not asked:
        raise ValueError("no mask has an object: there is nothing to choose a threshold by")
    pixels = np.mean([masks[number].size for number in asked])
    count = int(np.clip(MOST_PIXELS / pixels, 4, MOST_PICTURES))
    drawn = np.sort(generator(seed, len(asked)).permutation(asked)[:count])
    greys, targets = [grey(pictures[i]) for i in drawn], [masks[i] for i in drawn]
    coarse = sorted(_thresholds(greys, targets), key=lambda each: -each.score)[:KEPT]
    return max(
        (best for each in coarse for best in _morphologies(each, greys, targets)),
        key=lambda each: each.score,
    )


def answer(picture: np.ndarray, settings: Settings) -> np.ndarray:
    """H×W×C of any depth → uint8 H×W, 1 where the object is."""
    found = _above(_standing_out(grey(picture), settings), settings)
    return _large_enough(_shaped(found, settings), settings.smallest)


def grey(picture: np.ndarray) -> np.ndarray:
    """H×W×C of any depth → float32 H×W: luma of three or four channels, else their mean; integers
    divided by the largest of their type."""
    whole = np.issubdtype(picture.dtype, np.integer)
    weights = (
        [0.299, 0.587, 0.114]
        if picture.shape[2] in (3, 4)
        else [1 / picture.shape[2]] * picture.shape[2]
    )
    flat = picture[:, :, : len(weights)] @ np.array(weights, np.float32)
    return (flat / (np.iinfo(picture.dtype).max if whole else 1)).astype(np.float32)


def _standing_out(image: np.ndarray, settings: Settings) -> np.ndarray:
    return _sided(_filtered(image, settings), settings.side)


def _filtered(image: np.ndarray, settings: Settings) -> np.ndarray:
    """Smoothed, and its background taken off."""
    behind: np.ndarray | float = 0.0
    if settings.background == "gaussian":
        behind = cv2.GaussianBlur(image, (0, 0), settings.width)
    elif settings.background == "median":
        # OpenCV has wide medians of bytes only.
        behind = (
            cv2.medianBlur(np.rint(image.clip(0, 1) * 255).astype(np.uint8), settings.width).astype(
                np.float32
            )
            / 255
        )
    return (cv2.GaussianBlur(image, (0, 0), settings.smooth) if settings.smooth else image) - behind


def _sided(values: np.ndarray, side: str) -> np.ndarray:
    return values if side == "bright" else -values if side == "dark" else np.abs(values)


def _above(values: np.ndarray, settings: Settings) -> np.ndarray:
    from skimage.filters import threshold_otsu

    if settings.rule == "level":
        return values > settings.value
    if settings.rule == "share":
        place = int((1 - settings.value) * (values.size - 1))
        return values > np.partition(values.ravel(), place)[place]
    return values > threshold_otsu(values) if np.ptp(values) else np.zeros(values.shape, bool)


def _shaped(found: np.ndarray, settings: Settings) -> np.ndarray:
    mask: np.ndarray = found.astype(np.uint8)
    for way, radius in ((cv2.MORPH_OPEN, settings.opening), (cv2.MORPH_CLOSE, settings.closing)):
        if radius:
            mask = cv2.morphologyEx(
                mask,
                way,
                cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1)),
            )
    return mask


def _large_enough(mask: np.ndarray, smallest: int) -> np.ndarray:
    _, pieces, rows, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    kept = rows[:, cv2.CC_STAT_AREA] >= smallest
    kept[0] = False
    return kept[pieces].astype(np.uint8)


def _score(found: Iterable[np.ndarray], targets: Sequence[np.ndarray]) -> float:
    """Mean over pictures of the IoU of class 1, of the pixels that anybody was asked about."""
    scores = []
    for mask, target in zip(found, targets, strict=True):
        said, true = (mask != 0) & (target != IGNORE), target == 1
        scores.append((said & true).sum() / (said | true).sum())
    return float(np.mean(scores))


def _thresholds(greys: Sequence[np.ndarray], targets: Sequence[np.ndarray]) -> Iterator[Settings]:
    """Every threshold without morphology, with its score. Pictures are filtered once for all
    thresholds of a filter."""
    for smooth in SMOOTH:
        for background, width in BACKGROUNDS:
            base = Settings(smooth=smooth, background=background, width=width)
            filtered = [_filtered(image, base) for image in greys]
            for side in (
                ("bright", "dark") if background == "none" else ("bright", "dark", "either")
            ):
                values = [_sided(each, side) for each in filtered]
                for each in _rules(replace(base, side=side), values):
                    yield replace(each, score=_score((_above(of, each) for of in values), targets))


def _rules(base: Settings, values: Sequence[np.ndarray]) -> Iterator[Settings]:
    some = np.concatenate([each.ravel()[::17] for each in values])
    yield base
    for share in SHARES:
        yield replace(base, rule="share", value=share)
        yield replace(base, rule="level", value=float(np.quantile(some, 1 - share)))


def _morphologies(
    base: Settings, greys: Sequence[np.ndarray], targets: Sequence[np.ndarray]
) -> Iterator[Settings]:
    found = [_above(_standing_out(image, base), base) for image in greys]
    for opening in RADII[:3]:
        for closing in RADII:
            shape = replace(base, opening=opening, closing=closing)
            shaped = [_shaped(each, shape) for each in found]
            for smallest in SMALLEST:
                score = _score((_large_enough(each, smallest) for each in shaped), targets)
                yield replace(shape, smallest=smallest, score=score)
