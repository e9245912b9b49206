"""Pictures with objects in them: geometry and mosaics, boxes with their pixels.

A new picture is made of pieces, one or four, and each is a window of one old picture through one
map: whatever is asked for, a pixel is resampled once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F

from ...core.rng import Draws
from ...core.types import Objects
from .change import Change, change, geometry
from .policy import Augmentation

# An object of which less is left is learnt by nobody: a detector that must find a fingertip finds
# persons everywhere.
VISIBLE = 0.25
# From here on a run shows pictures as they will be asked about (Ge et al., YOLOX, 2021, section
# 2.1, the last 15 of 300 epochs).
LAST = 0.85
# Where the four pieces of a mosaic meet, as shares of the sides, and how small a piece may show its
# picture.
CENTRE = 0.3, 0.7
SMALLEST = 0.5


@dataclass(frozen=True, eq=False)
class Piece:
    """A rectangle of a new picture: what it shows of picture `source` of the batch, moved in
    coordinates of its own upper left corner."""

    source: int
    left: int
    top: int
    moved: Change


def scenes(
    images: torch.Tensor,
    objects: Sequence[Objects],
    how: Augmentation,
    draws: Draws,
    fill: torch.Tensor,
    progress: float,
) -> tuple[torch.Tensor, np.ndarray]:
    """Pictures B×C×H×W of any depth and their objects in their pixels, moved at random: floats in
    the same units, and B `Objects`.

    With probability `how.mosaic` a picture becomes one of four (Bochkovskiy et al., YOLOv4, 2020,
    section 3.3), itself and three others of the batch, that meet at a random point within 30 to 70
    % of the sides. Each piece shows a random window of its picture at a scale of its own, from 0.5
    to 1 + zoom and even in its logarithm, mirrored, turned and slanted as `how` says; bent is the
    whole. There are no mosaics once progress (0 to 1 over the run) is 0.85. Objects are clipped,
    and kept where a quarter of the moved box is left in its piece; their marks go with them. Colour
    is not changed here. fill: C numbers in the units of the images.
    All random numbers are a row's own, and so is the result but for the other three pictures.
    """
    moved = change(how, draws, (images.shape[2], images.shape[3]), images.device)
    rows = [[Piece(row, 0, 0, _of(moved, row))] for row in range(len(images))]
    if how.mosaic and progress < LAST:
        chosen = draws.uniform()[:, 0] < how.mosaic
        rows = [
            four if coin else one
            for one, four, coin in zip(rows, _mosaics(moved, how, draws), chosen, strict=True)
        ]
    targets = np.empty(len(images), object)
    for row, pieces in enumerate(rows):
        targets[row] = _objects(objects, pieces)
    return _painted(images, rows, fill), targets


def _of(moved: Change, row: int) -> Change:
    return Change(
        moved.maps[row : row + 1],
        None if moved.field is None else moved.field[row : row + 1],
        moved.size,
    )


def _mosaics(moved: Change, how: Augmentation, draws: Draws) -> list[list[Piece]]:
    """Four pieces for each row; upper left is its own picture."""
    count, side = len(draws), np.array(moved.size[::-1])
    centres = np.rint(draws.uniform(2, *CENTRE) * side).astype(np.int64)
    # The window decides on size and place; all else of the geometry belongs to the piece.
    turned = replace(how, zoom=0.0, shift=0.0, crop=0.0)
    rows: list[list[Piece]] = [[] for _ in range(count)]
    for right, below in ((0, 0), (1, 0), (0, 1), (1, 1)):
        maps = geometry(turned, draws, moved.size)
        scale = np.exp(draws.uniform(1, np.log(SMALLEST), np.log1p(how.zoom)))
        place, other = draws.uniform(2), draws.uniform()[:, 0]
        sources = np.arange(count)
        if right or below:
            sources = (sources + 1 + (other * (count - 1)).astype(np.int64)) % count
        low = centres * (right, below)
        high = np.where([right, below], side, centres)
        # Where a picture is smaller than its piece the window is larger than the picture, and shows
        # all of it somewhere inside.
        start = place * (side - (high - low) / scale)
        maps[:, :, 2] += (maps[:, :, :2] @ start[:, :, None])[:, :, 0]
        maps[:, :, :2] /= scale[:, :, None]
        for row in range(count):
            (left, top), (end, bottom) = low[row].tolist(), high[row].tolist()
            field = (
                None if moved.field is None else moved.field[row : row + 1, :, top:bottom, left:end]
            )
            rows[row].append(
                Piece(
                    int(sources[row]),
                    left,
                    top,
                    Change(maps[row : row + 1], field, (bottom - top, end - left)),
                )
            )
    return rows


def _objects(objects: Sequence[Objects], pieces: Sequence[Piece]) -> Objects:
    """What the pieces show of their pictures' objects, in pixels of the new picture."""
    shown = []
    for piece in pieces:
        old = objects[piece.source]
        # Corners are enough where straight lines stay straight.
        boxes, kept = piece.moved.boxes(
            0, old.boxes, VISIBLE, samples=1 if piece.moved.field is None else 32
        )
        shown.append(replace(old, boxes=boxes + [piece.left, piece.top] * 2).part(kept))
    return Objects.joined(shown)


def _painted(
    images: torch.Tensor, rows: Sequence[Sequence[Piece]], fill: torch.Tensor
) -> torch.Tensor:
    outside = fill.to(images.device, torch.float32)[None, :, None, None]
    # Outside is zero for the sampler, so the fill is moved there and back.
    old = images - outside
    new = torch.empty(images.shape, device=images.device)
    for row, pieces in enumerate(rows):
        for piece in pieces:
            height, width = piece.moved.size
            grid = _grid(piece.moved, (images.shape[2], images.shape[3]), images.device)
            target = new[
                row : row + 1, :, piece.top : piece.top + height, piece.left : piece.left + width
            ]
            shown = F.grid_sample(
                old[piece.source : piece.source + 1],
                grid,
                padding_mode="zeros",
                align_corners=False,
            )
            torch.add(shown, outside, out=target)
    return new


def _grid(moved: Change, source: tuple[int, int], device: torch.device) -> torch.Tensor:
    """1×h×w×2, as grid_sample takes it, into an old picture of another size than the piece."""
    height, width = moved.size
    unit = torch.from_numpy(
        moved.maps[0] * 2 / np.array([[source[1]], [source[0]]]) - [0, 0, 1]
    ).to(device, torch.float32)
    x, y = (
        torch.arange(width, device=device)[None] + 0.5,
        torch.arange(height, device=device)[:, None] + 0.5,
    )
    if moved.field is not None:
        x, y = x + moved.field[0, 0], y + moved.field[0, 1]
    return (x[..., None] * unit[:, 0] + unit[:, 2] + y[..., None] * unit[:, 1])[None]
