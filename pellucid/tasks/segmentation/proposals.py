"""Sizes that follow from the pictures, and settings that mean nothing to masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...core.errors import DataError, UsageError, did_you_mean
from ...data.formats import Dataset
from ...data.images import Header
from ...models.unet import valid_size
from ...plots.formatting import by
from ...transforms.sliding_window import Windows

LOSSES = ("cross_entropy", "focal", "dice", "tversky", "dice_cross_entropy")
SCORES = ("dice", "iou", "rand")
# A picture is seen whole up to so many pixels, and else through windows of this side; a volume
# through such boxes.
WHOLE, WINDOW = 1024 * 1024, 512
BOX = (64, 96, 96)
STEPS = 3000
# A side that every halving of the networks here leaves whole.
STEP = 16
# What neighbouring windows share at most: twice what a U-Net of four halvings sees on each side of
# a pixel, and a little to fade.
SHARED = 224


def sizes(settings: Mapping[str, Any], headers: Sequence[Header], look: str) -> dict[str, Any]:
    """`size` and `depth` of the windows."""
    if look == "volume":
        whole = np.array([header.size for header in headers]).max(0)
        # A norm over the picture measures what it is shown: windows of another size than the crops
        # that were learnt from cost 15 points of Dice on a brain.
        box = BOX if settings["patch"] is None else (settings["patch"],) * 3
        depth, *rest = (
            min(_up(most), _up(int(side))) for most, side in zip(box, whole, strict=True)
        )
        return {"size": tuple(rest), "depth": depth}
    sides = [_faces(header, look) for header in headers]
    height, width = (_up(max(side)) for side in zip(*sides, strict=True))
    if height * width > WHOLE:
        height, width = min(height, WINDOW), min(width, WINDOW)
    if settings["model"] == "unet_2015":
        side = valid_size(min(max(height, width), WINDOW))
        return {"size": (side, side)}
    return {"size": (height, width)}


def epochs(settings: Mapping[str, Any], reading: Dataset, headers: Sequence[Header]) -> int:
    """So many that about `STEPS` steps of four crops are made: some twenty minutes on two cores for
    a U-Net of 16 maps."""
    if headers[0].depth is not None:
        return 20
    crops = sum(
        max(1, header.height * header.width / (settings["patch"] or 256) ** 2) for header in headers
    )
    return int(np.clip(STEPS * 4 / max(0.7 * crops, 400), 5, 60))


def _faces(header: Header, look: str) -> tuple[int, int]:
    """The largest height and width of the slices that a volume is seen in, or of a picture."""
    if look != "planes" or header.depth is None:
        return header.height, header.width
    return max(header.depth, header.height), max(header.height, header.width)


def _up(side: int) -> int:
    return -(-side // STEP) * STEP


def default_windows(size: tuple[int, ...], margin: int, step: int) -> Windows:
    """Windows whose answers share half, or `SHARED` pixels where that is less. Answers of fewer
    pixels than a step leave no gap."""
    overlap = () if margin else tuple(min(side // 2, SHARED) for side in size)
    return Windows(size, margin, overlap, min(step, *(side - 2 * margin for side in size)))


def refuse_settings_of_others(settings: Mapping[str, Any]) -> None:
    """Raises UsageError for what speaks of one class a picture, or of boxes."""
    for name in ("mixup", "cutmix", "mosaic", "pca_colour", "erase", "thin_plate"):
        if settings[name]:
            raise UsageError(f"{name}: is not for masks; leave it out")
    if settings["augment"] in (
        "mixup",
        "cutmix",
        "alexnet",
        "scenes",
        "erasing",
        "strong",
        "warped",
    ):
        raise UsageError(
            f"augment: {settings['augment']} is not for masks; try fields, photos or volumes"
        )
    if settings["loss"] not in (None, *LOSSES):
        raise UsageError(
            f"loss: {settings['loss']} is not for masks; choose one of {', '.join(LOSSES)}"
        )
    if settings["score"] not in (None, *SCORES):
        raise UsageError(
            f"score: {settings['score']} is not of masks; choose one of {', '.join(SCORES)}"
        )
    if settings["imbalance"] not in ("none", "class_weights"):
        raise UsageError(
            f"imbalance: {settings['imbalance']} counts pictures of one class each; "
            "choose class_weights"
        )
    if settings["label_smoothing"]:
        raise UsageError("label_smoothing: is of one class a picture; leave it out")
    if settings["focal_gamma"] != 2 and settings["loss"] != "focal":
        raise UsageError("focal_gamma: is of the focal loss; leave it out")
    if settings["size"] and min(settings["size"]) < STEP:
        raise UsageError(
            f"size: {min(settings['size'])} is less than a network of four halvings needs; "
            f"set it to {STEP} or more"
        )


def annotator_of(wanted: str | None, reading: Dataset) -> int:
    """The number of an annotator. Raises UsageError for one that drew nothing here."""
    names = reading.samples[0].target.names
    if wanted is None:
        return 0
    if wanted == "mean" and len(names) > 1:
        return -1
    if wanted not in names:
        told = (
            f"; {did_you_mean(wanted, [*names, 'mean'])}"
            if names
            else "; these masks name no annotators: leave it out"
        )
        raise UsageError(f'annotator: unknown "{wanted}"{told}')
    return names.index(wanted)


def patch_of(wanted: int | None, size: tuple[int, ...], margin: int) -> tuple[int, ...]:
    """The sides of training crops: as asked, or up to 256 pixels, 96 of a volume; never more than a
    window of this `size`."""
    side = wanted or (96 if len(size) == 3 else 256)
    if margin:
        side = valid_size(max(4, min(side, *size) - 2 * margin))
    return tuple(min(side, whole) for whole in size)


def check_patch(patch: tuple[int, ...], least: tuple[int, ...]) -> None:
    """Raises UsageError for crops that are smaller than a network takes, before a run is begun."""
    if any(side < want for side, want in zip(patch, least, strict=True)):
        raise UsageError(
            f"patch: {by(patch)} is less than {by(least)}, the least that this network takes; "
            "make it larger"
        )


def check_size(source: str, size: tuple[int, ...], step: int) -> None:
    """Raises DataError for a picture, or for slices, of less than one place of the network's
    coarsest map: all would be mirror images."""
    if min(size) < step:
        raise DataError(
            f"{source}: {by(size)} pixels are less than one place of the network's coarsest map "
            f"({step}×{step}); leave it out"
        )
