"""Where things go: one sampling grid a picture, through which pictures, masks, points and boxes
move alike.

All geometric changes of a picture are composed into one affine map and, where it is bent, one field
of displacements, so that it is resampled once, whatever is asked for; a change that only moves
whole pixels (shift, mirror) is done by indexing and resamples nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from ...core.rng import Draws
from .bend import at, bend
from .policy import Augmentation

Moves = tuple[np.ndarray, np.ndarray, np.ndarray]

# Of a point's new place, in pixels; the error left is at most four times the last step.
STEP = 1e-4


@dataclass(frozen=True, eq=False)
class Change:
    """What is done to the geometry of a batch, for all that has a place in it. Coordinates are
    continuous: pixel i covers [i, i+1).

    A point p of the new picture shows the point A(p + d(p)) of the old one. maps: B×2×3, the A of
    each picture. field: B×2×H×W, d at the pixels' centres in pixels (x, y), None where nothing is
    bent. size: (height, width). moves: where only whole pixels move, by how many (x, y), and
    whether the result is reflected; else None.
    """

    maps: np.ndarray
    field: torch.Tensor | None
    size: tuple[int, int]
    moves: Moves | None = None

    def images(self, images: torch.Tensor, fill: torch.Tensor) -> torch.Tensor:
        """B×C×H×W, resampled bilinearly to float; whole pixels keep their type. fill: C numbers,
        what comes in from outside."""
        if self.moves is not None:
            return _indexed(images, self.moves, fill)
        return _sampled(images.float(), self._grid(images.device), fill, "bilinear")

    def masks(self, masks: torch.Tensor, ignore: int = 255) -> torch.Tensor:
        """Integer B×H×W or B×M×H×W: the nearest pixel's; `ignore` where the new picture shows what
        was not in the old one."""
        if masks.ndim == 3:
            return self.masks(masks[:, None], ignore)[:, 0]
        fill = torch.tensor([float(ignore)])
        if self.moves is not None:
            return _indexed(masks, self.moves, fill.expand(masks.shape[1]))
        return _sampled(masks.float(), self._grid(masks.device), fill, "nearest").to(masks.dtype)

    def forward(self, row: int, points: np.ndarray) -> np.ndarray:
        """N×2 (x, y) of the old picture in this row, to N×2 of the new one, to 1e-3 pixels.

        p + d(p) = A⁻¹(old) is solved by iterating p ← A⁻¹(old) - d(p), which converges because d is
        nowhere as steep as 1.
        """
        linear, offset = self.maps[row, :, :2], self.maps[row, :, 2]
        goal = np.linalg.solve(linear, (np.asarray(points, np.float64) - offset).T).T
        if self.field is None or not len(goal):
            return goal
        place, step = goal, np.inf
        while step > STEP:
            place, before = goal - at(self.field[row], place), place
            step = np.abs(place - before).max()
        return place

    def backward(self, row: int, points: np.ndarray) -> np.ndarray:
        """N×2 (x, y) of the new picture in this row, to N×2 of the old one."""
        points = np.asarray(points, np.float64)
        if self.field is not None and len(points):
            points = points + at(self.field[row], points)
        return points @ self.maps[row, :, :2].T + self.maps[row, :, 2]

    def boxes(
        self, row: int, boxes_xyxy: np.ndarray, least: float = 0.0, samples: int = 32
    ) -> tuple[np.ndarray, np.ndarray]:
        """N×4 of the old picture in this row, to N×4 of the new one and N booleans: what is left is
        at least this share of the box.

        A new box holds the old one's moved border, looked at in `samples` steps a side, and is
        clipped to the picture; its share is of the new box before clipping. One that is wholly
        outside is never left.
        """
        boxes = np.asarray(boxes_xyxy, np.float64).reshape(-1, 4)
        border = self.forward(row, _border(boxes, samples).reshape(-1, 2)).reshape(
            len(boxes), 4 * samples, 2
        )
        low, high = border.min(1), border.max(1)
        limit = np.array([self.size[1], self.size[0]], np.float64)
        clipped = np.concatenate([low.clip(0, limit), high.clip(0, limit)], axis=1)
        area, left = (high - low).prod(1), (clipped[:, 2:] - clipped[:, :2]).prod(1)
        return clipped, (left > 0) & (left >= least * area)

    def _grid(self, device: torch.device) -> torch.Tensor:
        height, width = self.size
        if self.field is None:
            return _affine_grid(self.maps, self.size, device)
        maps = _normalised(self.maps, self.size, device)
        x = (torch.arange(width, device=device) + 0.5) + self.field[:, 0]
        y = (torch.arange(height, device=device) + 0.5)[:, None] + self.field[:, 1]
        a = maps[:, None, None]
        return x[..., None] * a[..., 0] + y[..., None] * a[..., 1] + a[..., 2]


def change(
    how: Augmentation, draws: Draws, size: tuple[int, int], device: torch.device | str = "cpu"
) -> Change:
    """A random change for a batch of pictures of this (height, width).
    device: where the pictures are."""
    if not how.resamples:
        moves = _whole_pixels(how, draws, size)
        return Change(_as_maps(moves, size), None, size, moves)
    maps = geometry(how, draws, size)
    return Change(maps, bend(how, draws, size, device) if how.bends else None, size)


def augment(
    images: torch.Tensor, how: Augmentation, draws: Draws, fill: torch.Tensor
) -> torch.Tensor:
    """B×C×H×W of any depth, moved at random; integers stay integers where nothing is resampled.

    fill: C numbers, in the units of the images: what comes in from outside the picture.
    """
    size = images.shape[2], images.shape[3]
    if how.resamples:
        return change(how, draws, size, images.device).images(images, fill)
    return _indexed(images, _whole_pixels(how, draws, size), fill)


def geometry(how: Augmentation, draws: Draws, size: tuple[int, int]) -> np.ndarray:
    """B×2×3: for each picture, the map that takes (x, y) of the new picture to (x, y) of the old
    one, in continuous pixel coordinates."""
    height, width = size
    n = len(draws)
    flip, zoom, angle, dx, dy, shear, keep, left, top = draws.uniform(9).T
    scale = np.exp((2 * zoom - 1) * np.log1p(how.zoom)) * (1 - how.crop * keep)
    radians = np.deg2rad(how.rotate) * (2 * angle - 1)
    slant = np.tan(np.deg2rad(how.shear) * (2 * shear - 1))
    cos, sin = np.cos(radians) * scale, np.sin(radians) * scale
    sign = np.where(flip < how.mirror, -1.0, 1.0)
    linear = np.empty((n, 2, 2))
    linear[:, 0, 0], linear[:, 0, 1] = cos * sign, cos * slant - sin
    linear[:, 1, 0], linear[:, 1, 1] = sin * sign, sin * slant + cos
    room = how.crop * keep
    centre = np.array([width / 2, height / 2])
    offset = np.stack(
        [
            width * (how.shift * (2 * dx - 1) + room * (left - 0.5)),
            height * (how.shift * (2 * dy - 1) + room * (top - 0.5)),
        ],
        axis=1,
    )
    return np.concatenate([linear, (centre + offset - linear @ centre)[:, :, None]], axis=2)


def _whole_pixels(how: Augmentation, draws: Draws, size: tuple[int, int]) -> Moves:
    """At most `shift` of each side across and down,
    and whether the picture is reflected after that: B each."""
    down, across = round(how.shift * size[0]), round(how.shift * size[1])
    dx = dy = np.zeros(len(draws), np.int64)
    if down or across:
        draw = draws.uniform(2)
        dy = (draw[:, 0] * (2 * down + 1)).astype(np.int64) - down
        dx = (draw[:, 1] * (2 * across + 1)).astype(np.int64) - across
    flip = draws.uniform()[:, 0] < how.mirror if how.mirror else np.zeros(len(draws), bool)
    return dx, dy, flip


def _as_maps(moves: Moves, size: tuple[int, int]) -> np.ndarray:
    dx, dy, flip = moves
    maps = np.tile(np.eye(2, 3), (len(dx), 1, 1))
    maps[flip, 0, 0] = -1
    maps[:, 0, 2], maps[:, 1, 2] = dx + size[1] * flip, dy
    return maps


def warp(images: torch.Tensor, maps: np.ndarray, fill: torch.Tensor) -> torch.Tensor:
    """Float B×C×H×W resampled bilinearly through B×2×3 maps (new to old,
    continuous pixel coordinates)."""
    return Change(maps, None, (images.shape[2], images.shape[3])).images(images, fill)


def shift(images: torch.Tensor, part: float, draws: Draws, fill: torch.Tensor) -> torch.Tensor:
    """Moves each picture by whole pixels, at most `part` of each side."""
    return augment(images, Augmentation(shift=part), draws, fill)


def mirror(images: torch.Tensor, probability: float, draws: Draws) -> torch.Tensor:
    return augment(images, Augmentation(mirror=probability), draws, torch.zeros(images.shape[1]))


def _affine_grid(maps: np.ndarray, size: tuple[int, int], device: torch.device) -> torch.Tensor:
    """B×H×W×2, as grid_sample takes it.

    One broadcast sum of a row part and a column part: affine_grid and kornia's warp_affine build it
    by small matrix products, which on 28×28 pictures cost several times the sampling itself.
    """
    height, width = size
    unit = _normalised(maps, size, device)
    x = torch.arange(width, device=device) + 0.5
    y = torch.arange(height, device=device) + 0.5
    across = x[None, :, None] * unit[:, None, :, 0] + unit[:, None, :, 2]
    down = y[None, :, None] * unit[:, None, :, 1]
    return across[:, None] + down[:, :, None]


def _normalised(maps: np.ndarray, size: tuple[int, int], device: torch.device) -> torch.Tensor:
    """float32 B×2×3 whose results run from -1 to 1 over the old picture."""
    unit = torch.from_numpy(maps) * torch.tensor(
        [[2 / size[1]], [2 / size[0]]], dtype=torch.float64
    )
    unit[:, :, 2] -= 1
    return unit.to(device, torch.float32)


def _sampled(
    images: torch.Tensor, grid: torch.Tensor, fill: torch.Tensor, mode: str
) -> torch.Tensor:
    outside = fill.to(images)[None, :, None, None]
    # Outside is zero for the sampler, so the fill is moved there and back.
    return F.grid_sample(
        images - outside, grid, mode=mode, padding_mode="zeros", align_corners=False
    ).add_(outside)


def _indexed(images: torch.Tensor, moves: Moves, fill: torch.Tensor) -> torch.Tensor:
    """B×C×H×W of any type, moved by whole pixels; itself where nothing moves."""
    dx, dy, flip = moves
    _, _, height, width = images.shape
    down, across = int(np.abs(dy).max()), int(np.abs(dx).max())
    if down or across:
        wide = fill.to(images.device, images.dtype)[None, :, None, None].repeat(
            len(images), 1, height + 2 * down, width + 2 * across
        )
        wide[:, :, down : down + height, across : across + width] = images
        windows = wide.permute(0, 2, 3, 1).unfold(1, height, 1).unfold(2, width, 1)
        images = windows[
            torch.arange(len(images)), torch.from_numpy(dy + down), torch.from_numpy(dx + across)
        ]
    if flip.any():
        images = torch.where(
            torch.from_numpy(flip).to(images.device)[:, None, None, None], images.flip(3), images
        )
    return images


def _border(boxes: np.ndarray, samples: int) -> np.ndarray:
    """N×(4·samples)×2: points around each box, corners among them."""
    t = np.arange(samples) / samples
    zero, one = np.zeros(samples), np.ones(samples)
    share = np.concatenate(
        [np.stack(side, 1) for side in ((t, zero), (one, t), (1 - t, one), (zero, 1 - t))]
    )
    low, high = boxes[:, None, :2], boxes[:, None, 2:]
    # Not low + share · (high - low), which misses a corner by a rounding error.
    return low * (1 - share) + high * share
