"""A picture of any size through windows of one size: taken with mirrored borders, and what is said
of each put together without seams.

All is for two axes (height, width) and three (depth, height, width) alike; `n` is their number. An
answer can be smaller than its window by a `margin` on every side, as that of a network without
padding is (Ronneberger et al. 2015: overlap-tile).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch

from ..core.types import ViewTransform, VolumeGeometry

View = tuple[np.ndarray, ViewTransform]

# Of what neighbouring windows share, the part in which one fades into the other; the rest, at their
# edges, is not used: there a network sees less than it was meant to.
FADE = 1 / 8


@dataclass(frozen=True)
class Windows:
    """How a picture is looked at. size: of a window, in n numbers, larger than `overlap` and `step`
    together. margin: pixels that an answer lacks on every side. overlap: pixels that the answers of
    neighbours share at least. step: windows begin at its multiples, so that pooling meets the same
    pixels in all of them."""

    size: tuple[int, ...]
    margin: int = 0
    overlap: tuple[int, ...] = ()
    step: int = 1

    @property
    def answer(self) -> tuple[int, ...]:
        """The size of the answer about a window."""
        return tuple(side - 2 * self.margin for side in self.size)

    def starts(self, whole: Sequence[int]) -> list[tuple[int, ...]]:
        """Where the answers begin in a picture of this size, the last axis fastest; they cover it,
        and the last may reach beyond."""
        overlap = self.overlap or (0,) * len(self.size)
        return list(
            product(
                *(
                    _starts(*each, self.step)
                    for each in zip(whole, self.answer, overlap, strict=True)
                )
            )
        )

    def views(self, image: np.ndarray, space: VolumeGeometry | None = None) -> list[View]:
        """The windows of a picture, …×C, each of `size`;
        what lies outside the picture is mirrored."""
        whole = image.shape[: len(self.size)]
        return [self._view(image, start, whole, space) for start in self.starts(whole)]

    def _view(
        self,
        image: np.ndarray,
        start: tuple[int, ...],
        whole: tuple[int, ...],
        space: VolumeGeometry | None,
    ) -> View:
        origin = [each - self.margin for each in start]
        return taken(image, origin, self.size), ViewTransform(
            translation(origin), whole, self.size, space=space
        )

    def blended(
        self, answers: Sequence[torch.Tensor], transforms: Sequence[ViewTransform]
    ) -> torch.Tensor:
        """K×answer of each window of one picture, to float32 K×the picture's size: a mean in which
        windows fade into each other."""
        whole = transforms[0].source_size
        if len(answers) == 1:
            return _inside(
                answers[0].float(), [each + self.margin for each in origin_of(transforms[0])], whole
            )
        total, weight = torch.zeros(len(answers[0]), *whole), torch.zeros(whole)
        for answer, transform in zip(answers, transforms, strict=True):
            start = [each + self.margin for each in origin_of(transform)]
            ramp = _inside(self._weights(start, whole)[None], start, whole)
            place = tuple(
                slice(max(0, at), min(at + side, end))
                for at, side, end in zip(start, self.answer, whole, strict=True)
            )
            total[(slice(None), *place)] += _inside(answer.float(), start, whole) * ramp
            weight[place] += ramp[0]
        return total / weight

    def _weights(self, start: Sequence[int], whole: Sequence[int]) -> torch.Tensor:
        """Of the answer that begins at `start`: 1 in the middle,
        0 at edges that other windows see better."""
        weights = torch.ones(())
        for at, side, shared, end in zip(
            start, self.answer, self.overlap or (0,) * len(whole), whole, strict=True
        ):
            place = torch.arange(side) + 0.5
            fade = max(1.0, FADE * shared)
            rim = (shared - fade) / 2
            low = ((place - rim) / fade).clamp(0, 1) if at > 0 else torch.ones(side)
            high = (
                ((side - place - rim) / fade).clamp(0, 1) if at + side < end else torch.ones(side)
            )
            weights = weights[..., None] * torch.minimum(low, high).clamp(min=1e-6)
        return weights


def taken(image: np.ndarray, origin: Sequence[int], size: Sequence[int]) -> np.ndarray:
    """The window …×C of a picture that begins at `origin`, which may lie outside; what is outside
    is mirrored at the border."""
    for axis, (start, side) in enumerate(zip(origin, size, strict=True)):
        whole = image.shape[axis]
        if start >= 0 and start + side <= whole:
            image = image[(slice(None),) * axis + (slice(start, start + side),)]
        else:
            image = image.take(mirrored(start, side, whole), axis=axis)
    return image


def taken_labels(
    labels: np.ndarray, origin: Sequence[int], size: Sequence[int], fill: int
) -> np.ndarray:
    """The window of labels that begins at `origin`; `fill` outside."""
    window = np.full(tuple(size), fill, labels.dtype)
    theirs = tuple(
        slice(max(0, at), max(0, min(at + side, end)))
        for at, side, end in zip(origin, size, labels.shape, strict=True)
    )
    ours = tuple(
        slice(s.start - at, s.start - at + max(0, s.stop - s.start))
        for s, at in zip(theirs, origin, strict=True)
    )
    window[ours] = labels[theirs]
    return window


def mirrored(start: int, count: int, whole: int) -> np.ndarray:
    """int64: which of `whole` pixels stand at `count` places from `start` on, when a row is
    mirrored at its first and its last pixel."""
    if whole == 1:
        return np.zeros(count, np.int64)
    period = 2 * (whole - 1)
    place = np.arange(start, start + count) % period
    return np.minimum(place, period - place)


def translation(origin: Sequence[int]) -> np.ndarray:
    """The matrix of a placement that begins at `origin`, given in the order of the array's axes:
    n×(n+1) of (x, y[, z])."""
    return np.column_stack([np.eye(len(origin)), [-float(each) for each in reversed(origin)]])


def origin_of(transform: ViewTransform) -> tuple[int, ...]:
    """Where a window begins in its source, in the order of the array's axes."""
    return tuple(round(-each) for each in transform.matrix[::-1, -1])


def _starts(whole: int, part: int, overlap: int, step: int) -> list[int]:
    if whole <= part:
        return [0]
    last = -(-(whole - part) // step)  # in steps, as all here
    stride = max(1, (part - overlap) // step)
    count = -(-last // stride) + 1
    return [last * number // (count - 1) * step for number in range(count)]


def _inside(answer: torch.Tensor, start: Sequence[int], whole: Sequence[int]) -> torch.Tensor:
    """The part of K×answer that lies in the picture."""
    cut = [
        slice(max(0, -at), min(side, end - at))
        for at, side, end in zip(start, answer.shape[1:], whole, strict=True)
    ]
    return answer[(slice(None), *cut)]
