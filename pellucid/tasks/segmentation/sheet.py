"""What training sees of pictures with masks, and the worst errors, drawn."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch

from ...core.types import IGNORE, Prediction, VolumeGeometry
from ...data.sample import Sample
from ...plots import masks as draw_masks
from ...plots.annotate import sheet, to_rgb8

SHOWN, SIDE = 8, 300


def shown(
    images: torch.Tensor, targets: torch.Tensor, classes: Sequence[str]
) -> list[tuple[np.ndarray, str]]:
    """Each row with its mask drawn, and the shares of its classes. images: float B×C×… in 0..1, of
    volumes the middle slice is drawn, of other channels than 1 or 3 the middle one; truths: int64
    B×…, or float B×K×… of several annotators."""
    if targets.is_floating_point():
        targets = torch.where(targets.sum(1) > 0, targets.argmax(1), IGNORE)
    if images.ndim == 5:
        images, targets = (each.select(-3, each.shape[-3] // 2) for each in (images, targets))
    if images.shape[1] not in (1, 3):
        middle = images.shape[1] // 2
        images = images[:, middle : middle + 1]
    pictures = images.clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()
    masks = targets.cpu().numpy().astype(np.uint8)
    return [
        (draw_masks.overlay(to_rgb8(each), mask), _shares(mask, classes))
        for each, mask in zip(pictures, masks, strict=True)
    ]


def _shares(mask: np.ndarray, classes: Sequence[str]) -> str:
    parts = np.bincount(mask.ravel(), minlength=256)[1 : len(classes)] / max(
        1, (mask != IGNORE).sum()
    )
    return (
        ", ".join(
            f"{name} {part:.0%}" for name, part in zip(classes[1:], parts, strict=True) if part
        )
        or classes[0]
    )


def worst(
    samples: Sequence[Sample],
    predictions: Sequence[Prediction],
    classes: Sequence[str],
    annotator: int = 0,
) -> np.ndarray | None:
    """The eight pictures with the lowest Dice: picture, truth, answer, errors, over their legend;
    None where all is right.

    Of a volume the slice with the most errors is shown. annotator: whose masks are the truth, a
    number.
    """
    scores = [
        dice(*_compared(sample, prediction, annotator))
        for sample, prediction in zip(samples, predictions, strict=True)
    ]
    order = [i for i in np.argsort(scores, kind="stable")[:SHOWN].tolist() if scores[i] < 1]
    if not order:
        return None
    pictures, titles, seen = [], [], []
    for i in order:
        picture, target, answer, name = _flat(
            samples[i], *_compared(samples[i], predictions[i], annotator), predictions[i].space
        )
        pictures += [
            picture,
            draw_masks.drawn(picture, target),
            draw_masks.drawn(picture, answer),
            draw_masks.error_map(picture, target, answer),
        ]
        titles += [name, "truth", "answer", f"errors: Dice {scores[i]:.3f}"]
        seen += [np.unique(target), np.unique(answer)]
    return _with_legends(
        sheet(pictures, titles, columns=4, side=SIDE), np.unique(np.concatenate(seen)), classes
    )


def dice(target: np.ndarray, answer: np.ndarray) -> float:
    """The mean over the classes that either has, but the background; 1 where neither has any.
    Pixels nobody is asked about do not count."""
    asked = target != IGNORE
    counts = np.bincount(
        target[asked].astype(np.int64) * 256 + answer[asked], minlength=1 << 16
    ).reshape(256, 256)
    both = (counts.sum(0) + counts.sum(1))[1:]
    return (
        float((2 * np.diagonal(counts)[1:][both > 0] / both[both > 0]).mean())
        if both.any()
        else 1.0
    )


def _compared(
    sample: Sample, prediction: Prediction, annotator: int
) -> tuple[np.ndarray, np.ndarray]:
    assert prediction.mask is not None
    return sample.target.labels(annotator), prediction.mask


def _flat(
    sample: Sample, target: np.ndarray, answer: np.ndarray, space: VolumeGeometry | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, str]:
    """Picture uint8 H×W×3, truth and answer H×W, all of a cell's size, and a title."""
    pixels, name = sample.pixels(), sample.source
    if target.ndim == 3:
        at = int(((target != answer) & (target != IGNORE)).reshape(len(target), -1).sum(1).argmax())
        pixels, target, answer = draw_masks.grey8(pixels[at : at + 1])[0], target[at], answer[at]
        pixels, target, answer = (
            draw_masks.upright(each, space) for each in (pixels, target, answer)
        )
        name += f", slice {at + 1}"
    size = draw_masks.sized(target.shape, space, SIDE)[::-1]
    way = cv2.INTER_AREA if max(target.shape) > SIDE else cv2.INTER_NEAREST_EXACT
    picture = cv2.resize(to_rgb8(pixels), size, interpolation=way)
    target, answer = (
        cv2.resize(each, size, interpolation=cv2.INTER_NEAREST_EXACT) for each in (target, answer)
    )
    return picture, target, answer, name


def _with_legends(page: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    named = [
        (classes[label], draw_masks.colour_of(label))
        for label in labels.tolist()
        if 0 < label < len(classes)
    ]
    return draw_masks.above(
        page,
        [
            *named,
            *(
                (f"errors: {name}" if name == "right" else name, fill)
                for name, fill in draw_masks.ERRORS.items()
            ),
        ],
    )
