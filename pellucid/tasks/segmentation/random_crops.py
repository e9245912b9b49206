"""The input of training: random crops of views and of their labels, with the same geometric changes
for both."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from ...core.errors import UsageError
from ...core.rng import Draws
from ...core.types import IGNORE, Batch, Mask
from ...models.unet import valid_size
from ...plots.formatting import by
from ...transforms.augment import Augmentation, change, recolour
from ...transforms.sliding_window import mirrored, taken_labels
from .volume_views import labels_in_view

# The share of the crops that surround a pixel of some class but the background, where a view has
# any (nnU-Net, Isensee et al. 2021: a third).
FOREGROUND = 1 / 2
# A crop that is resampled is cut so much larger and loses its border after that: no corner shows
# what was never there.
LARGER = 1.5


def patch_size(wanted: int | None, size: tuple[int, ...], margin: int) -> tuple[int, ...]:
    """The sides of training crops: as the user asked, or up to 256 pixels, 96 of a volume; never
    more than a window of this `size`."""
    side = wanted or (96 if len(size) == 3 else 256)
    if margin:
        side = valid_size(max(4, min(side, *size) - 2 * margin))
    return tuple(min(side, whole) for whole in size)


def check_patch(patch: tuple[int, ...], least: tuple[int, ...]) -> None:
    """Raises UsageError for crops that are smaller than the network takes."""
    if any(side < want for side, want in zip(patch, least, strict=True)):
        raise UsageError(
            f"patch: {by(patch)} is less than {by(least)}, the least that this network takes; "
            "make it larger"
        )


def crop_batch(
    batch: Batch, patch: Sequence[int], how: Augmentation, rng: Draws, annotators: Sequence[int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Float B×C×patch of the stored depth, and uint8 B×A×patch, the labels of A annotators."""
    wide = [
        round(side * LARGER) if how.resamples and axis >= len(patch) - 2 else side
        for axis, side in enumerate(patch)
    ]
    whole = _labels(batch, annotators)
    draws = rng.uniform(2 + len(patch))
    images, labels = [], []
    for row, (view, known) in enumerate(zip(batch.images, whole, strict=True)):
        origin = [
            at - (w - p) // 2
            for at, w, p in zip(_origin(known[0], patch, draws[row]), wide, patch, strict=True)
        ]
        images.append(_window(view, origin, wide).float())
        labels.append(_window_of_labels(known, origin, wide))
    return _move(
        torch.stack(images),
        torch.from_numpy(np.stack(labels)).to(batch.images.device),
        patch,
        how,
        rng,
    )


def view_labels(batch: Batch, annotators: Sequence[int]) -> torch.Tensor:
    """uint8 B×A×size of the whole views."""
    return torch.from_numpy(np.stack(_labels(batch, annotators)))


def recolor(images: torch.Tensor, how: Augmentation, rng: Draws, top: float) -> torch.Tensor:
    """Brightness, contrast and, of color images, saturation; the same in all slices of a volume."""
    if not how.recolours:
        return images
    flat = images.flatten(2, -2) if images.ndim == 5 else images
    return (recolour(flat / top, how, rng, np.zeros((0, images.shape[1]))) * top).reshape(
        images.shape
    )


def training_targets(labels: torch.Tensor, classes: int) -> torch.Tensor:
    """uint8 B×A×… of A annotators, to int64 B×… of one, or float B×classes×…, the share of
    annotators for each class; a pixel that any of them ignores has no class."""
    if labels.shape[1] == 1:
        return labels[:, 0].long()
    known = (labels != IGNORE).all(1)
    shares = (
        F.one_hot(torch.where(known[:, None], labels.long(), 0), classes)
        .float()
        .mean(1)
        .movedim(-1, 1)
    )
    return shares * known[:, None]


def _labels(batch: Batch, annotators: Sequence[int]) -> list[np.ndarray]:
    """Of each view uint8 A×size. A mask is unpacked once a batch, however many of its views are in
    it."""
    unpacked: dict[int, list[np.ndarray]] = {}
    found = []
    for target, transform in zip(batch.targets, batch.transforms, strict=True):
        mask: Mask = target
        if id(mask) not in unpacked:
            unpacked[id(mask)] = [mask.labels(number) for number in annotators]
        found.append(np.stack([labels_in_view(labels, transform) for labels in unpacked[id(mask)]]))
    return found


def _origin(labels: np.ndarray, patch: Sequence[int], draws: np.ndarray) -> list[int]:
    """Where a crop begins in its view: anywhere in the part that the image covers, or around a
    pixel of a class that is drawn."""
    drawn, which, *where = draws.tolist()
    present = (
        np.flatnonzero(np.bincount(labels.ravel(), minlength=256)[1:IGNORE]) + 1
        if drawn < FOREGROUND
        else np.empty(0, np.int64)
    )
    wanted = (
        _around(labels, present[int(which * len(present))], patch, where[0])
        if len(present)
        else _anywhere(labels, patch, where)
    )
    return [
        min(max(at, 0), max(whole - side, 0))
        for at, side, whole in zip(wanted, patch, labels.shape, strict=True)
    ]


def _around(labels: np.ndarray, label: int, patch: Sequence[int], where: float) -> list[int]:
    rows = np.flatnonzero(labels == label)
    center = np.unravel_index(rows[int(where * len(rows))], labels.shape)
    return [int(at) - side // 2 for at, side in zip(center, patch, strict=True)]


def _anywhere(labels: np.ndarray, patch: Sequence[int], where: Sequence[float]) -> list[int]:
    known = labels != IGNORE
    wanted = []
    for axis, (side, share) in enumerate(zip(patch, where, strict=True)):
        there = np.flatnonzero(known.any(axis=tuple(a for a in range(known.ndim) if a != axis)))
        low, high = (
            (int(there[0]), int(there[-1]) + 1 - side)
            if len(there)
            else (0, labels.shape[axis] - side)
        )
        wanted.append(low + int(share * (max(high - low, 0) + 1)))
    return wanted


def _window(view: torch.Tensor, origin: Sequence[int], size: Sequence[int]) -> torch.Tensor:
    """C×size of C×view, mirrored where it reaches beyond the view."""
    for axis, (start, side) in enumerate(zip(origin, size, strict=True), 1):
        whole = view.shape[axis]
        if start >= 0 and start + side <= whole:
            view = view.narrow(axis, start, side)
        else:
            view = view.index_select(
                axis, torch.from_numpy(mirrored(start, side, whole)).to(view.device)
            )
    return view


def _window_of_labels(labels: np.ndarray, origin: Sequence[int], size: Sequence[int]) -> np.ndarray:
    return np.stack([taken_labels(each, origin, size, IGNORE) for each in labels])


def _move(
    images: torch.Tensor, labels: torch.Tensor, patch: Sequence[int], how: Augmentation, rng: Draws
) -> tuple[torch.Tensor, torch.Tensor]:
    """Geometry of the last two axes, the same in every slice; then the middle of a wider crop; then
    quarter turns and reflections."""
    images, shape = images.flatten(1, -3), images.shape
    labels, shape_of_labels = labels.flatten(1, -3), labels.shape
    if how.resamples or how.mirror or how.shift:
        changed = change(how, rng, (images.shape[2], images.shape[3]), images.device)
        images = changed.images(images, images.mean((0, 2, 3)))
        labels = changed.masks(labels, IGNORE)
    top, left = (images.shape[2] - patch[-2]) // 2, (images.shape[3] - patch[-1]) // 2
    images, labels = (
        each[:, :, top : top + patch[-2], left : left + patch[-1]] for each in (images, labels)
    )
    images, labels = _turn(images, labels, how, rng)
    images, labels = (
        images.reshape(*shape[:-2], *patch[-2:]),
        labels.reshape(*shape_of_labels[:-2], *patch[-2:]),
    )
    if len(patch) == 3 and how.mirror:
        return _reverse(images, labels, how, rng)
    return images, labels


def _reverse(
    images: torch.Tensor, labels: torch.Tensor, how: Augmentation, rng: Draws
) -> tuple[torch.Tensor, torch.Tensor]:
    """Each volume upside down with the probability of a reflection."""
    chosen = torch.from_numpy(rng.uniform()[:, 0] < how.mirror).to(images.device)
    back = chosen[:, None, None, None, None]
    return (
        torch.where(back, images.flip(2), images),
        torch.where(back, labels.flip(2), labels),
    )


def _turn(
    images: torch.Tensor, labels: torch.Tensor, how: Augmentation, rng: Draws
) -> tuple[torch.Tensor, torch.Tensor]:
    """Each row by 90, 180 or 270 degrees with a probability, where the crop is a square."""
    if not how.turn or images.shape[2] != images.shape[3]:
        return images, labels
    draw = rng.uniform(2)
    quarters = np.where(draw[:, 0] < how.turn, 1 + (draw[:, 1] * 3).astype(np.int64), 0).tolist()
    turned = [
        [torch.rot90(row, k, (1, 2)) for row, k in zip(each, quarters, strict=True)]
        for each in (images, labels)
    ]
    return torch.stack(turned[0]), torch.stack(turned[1])
