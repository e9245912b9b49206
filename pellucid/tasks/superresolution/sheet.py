"""The pictures that came out worst, drawn."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from ...core.types import Prediction
from ...data.images import to_channels
from ...data.sample import Sample
from ...metrics.image_quality import CEILING, psnr
from ...plots.annotate import sheet, to_rgb8
from ...transforms.resize import bicubic_array
from .pictures import enlarged

SHOWN, SIDE, CELL = 8, 96, 288
# An error as large as this is white, or black, in the drawing of it: most are far smaller.
GLARING = 96


def worst(
    samples: Sequence[Sample], predictions: Sequence[Prediction], factor: int
) -> np.ndarray | None:
    """Of the eight pictures with the lowest PSNR the part with the largest error: sharp, bicubic,
    answer, error; None without any."""
    compared = [
        (_sharp(sample, prediction, factor), prediction)
        for sample, prediction in zip(samples, predictions, strict=True)
    ]
    decibels = [_decibels(said.picture, sharp, factor) for sharp, said in compared]
    shown, titles = [], []
    for i in [
        i for i in np.argsort(decibels, kind="stable")[:SHOWN].tolist() if decibels[i] < CEILING
    ]:
        sharp, said = compared[i]
        assert said.picture is not None
        blurred = enlarged(bicubic_array(sharp, 1 / factor), factor)
        here = _most(sharp, said.picture)
        parts = [to_rgb8(each[here]) for each in (sharp, blurred, said.picture)]
        shown += [*parts, _error(parts[0], parts[2])]
        titles += [
            samples[i].source,
            f"bicubic {_decibels(blurred, sharp, factor):.2f} dB",
            f"answer {decibels[i]:.2f} dB",
            "error",
        ]
    return sheet(shown, titles, columns=4, side=CELL) if shown else None


def _sharp(sample: Sample, prediction: Prediction, factor: int) -> np.ndarray:
    assert prediction.picture is not None
    picture = prediction.picture
    found: np.ndarray = sample.target.pixels(picture.shape[2], 8 * picture.dtype.itemsize, factor)
    return found


def _decibels(picture: np.ndarray | None, sharp: np.ndarray, factor: int) -> float:
    assert picture is not None
    return psnr(picture, sharp, factor, float(np.iinfo(sharp.dtype).max))


def _most(sharp: np.ndarray, answer: np.ndarray) -> tuple[slice, slice]:
    """The square in which they differ most."""
    error = np.square(sharp.astype(np.float32) - answer).mean(axis=2)
    side = min(SIDE, *error.shape)
    sums = cv2.boxFilter(error, -1, (side, side), anchor=(0, 0), normalize=False)[
        : error.shape[0] - side + 1, : error.shape[1] - side + 1
    ]
    top, left = np.unravel_index(sums.argmax(), sums.shape)
    return slice(int(top), int(top) + side), slice(int(left), int(left) + side)


def _error(sharp: np.ndarray, answer: np.ndarray) -> np.ndarray:
    """Grey where they are alike, lighter where the answer is too light."""
    apart = to_channels(answer, 1).astype(np.float32) - to_channels(sharp, 1)
    return np.clip(127.5 * (1 + apart / GLARING), 0, 255).astype(np.uint8)
