"""Random changes of pictures, a whole batch at a time, on the device that trains.

All geometric changes of a picture are composed into one affine map, so that it is resampled once, whatever is asked for; a change
that only moves whole pixels (shift, mirror) is done by indexing and resamples nothing. Truth that has a place moves by the same maps,
which `geometry` gives.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
import torch.nn.functional as F

from .rng import Draws


@dataclass(frozen=True)
class Augmentation:
    """How far each change may go; 0 switches it off.

    mirror: probability of left-right reflection. crop: the largest part of each side that is cut away at a random place.
    zoom: ± share of the size. rotate, shear: ± degrees. shift: ± share of the side. colour: ± share of brightness, contrast and saturation.
    """

    mirror: float = 0.0
    crop: float = 0.0
    zoom: float = 0.0
    rotate: float = 0.0
    shift: float = 0.0
    shear: float = 0.0
    colour: float = 0.0

    def __post_init__(self) -> None:
        for setting in fields(self):
            limit = 180 if setting.name == "rotate" else 45 if setting.name == "shear" else 1
            if not 0 <= getattr(self, setting.name) <= limit:
                raise ValueError(f"{setting.name} must lie between 0 and {limit}")

    @property
    def resamples(self) -> bool:
        return any((self.crop, self.zoom, self.rotate, self.shear))


def augment(images: torch.Tensor, how: Augmentation, draws: Draws, fill: torch.Tensor) -> torch.Tensor:
    """B×C×H×W of any depth, changed at random; integers stay integers where nothing is resampled.

    fill: C numbers, in the units of the images: what comes in from outside the picture.
    """
    if how.resamples:
        images = warp(images.float(), geometry(how, draws, (images.shape[2], images.shape[3])), fill)
    else:
        images = mirror(shift(images, how.shift, draws, fill), how.mirror, draws)
    return images


def geometry(how: Augmentation, draws: Draws, size: tuple[int, int]) -> np.ndarray:
    """B×2×3: for each picture, the map that takes (x, y) of the new picture to (x, y) of the old one, in continuous pixel coordinates."""
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


def warp(images: torch.Tensor, maps: np.ndarray, fill: torch.Tensor) -> torch.Tensor:
    """Float B×C×H×W resampled bilinearly through B×2×3 maps (new to old, continuous pixel coordinates).

    The sampling grid is one broadcast sum of a row part and a column part: affine_grid and kornia's warp_affine build it by small matrix
    products, which on 28×28 pictures cost several times the sampling itself.
    """
    _, _, height, width = images.shape
    unit = torch.tensor([[2 / width], [2 / height]], dtype=torch.float64)
    maps_ = torch.from_numpy(maps) * unit
    maps_[:, :, 2] -= 1
    maps_ = maps_.to(images.device, torch.float32)
    x = torch.arange(width, device=images.device) + 0.5
    y = torch.arange(height, device=images.device) + 0.5
    across = x[None, :, None] * maps_[:, None, :, 0] + maps_[:, None, :, 2]
    down = y[None, :, None] * maps_[:, None, :, 1]
    grid = across[:, None] + down[:, :, None]
    outside = fill.to(images)[None, :, None, None]
    # Outside is zero for the sampler, so the fill is moved there and back.
    return F.grid_sample(images - outside, grid, mode="bilinear", padding_mode="zeros", align_corners=False).add_(outside)


def shift(images: torch.Tensor, part: float, draws: Draws, fill: torch.Tensor) -> torch.Tensor:
    """Moves each picture by whole pixels, at most `part` of each side."""
    _, _, height, width = images.shape
    dy_most, dx_most = round(part * height), round(part * width)
    if not (dy_most or dx_most):
        return images
    draw = draws.uniform(2)
    dy = torch.from_numpy((draw[:, 0] * (2 * dy_most + 1)).astype(np.int64))
    dx = torch.from_numpy((draw[:, 1] * (2 * dx_most + 1)).astype(np.int64))
    wide = fill.to(images.device, images.dtype)[None, :, None, None].repeat(len(images), 1, height + 2 * dy_most, width + 2 * dx_most)
    wide[:, :, dy_most : dy_most + height, dx_most : dx_most + width] = images
    windows = wide.permute(0, 2, 3, 1).unfold(1, height, 1).unfold(2, width, 1)
    return windows[torch.arange(len(images)), dy, dx]


def mirror(images: torch.Tensor, probability: float, draws: Draws) -> torch.Tensor:
    if not probability:
        return images
    flip = torch.from_numpy(draws.uniform()[:, 0] < probability).to(images.device)
    return torch.where(flip[:, None, None, None], images.flip(3), images)


def colour(images: torch.Tensor, strength: float, draws: Draws) -> torch.Tensor:
    """Float B×C×H×W in 0..1: brightness, contrast and, for three channels, saturation (kornia.enhance, the multiplicative forms)."""
    if not strength:
        return images
    from kornia import enhance

    draw = torch.from_numpy(draws.uniform(3, 1 - strength, 1 + strength)).to(images)
    images = enhance.adjust_brightness_accumulative(images, draw[:, 0])
    images = enhance.adjust_contrast_with_mean_subtraction(images, draw[:, 1])
    if images.shape[1] == 3:
        images = enhance.adjust_saturation_with_gray_subtraction(images, draw[:, 2])
    return images
