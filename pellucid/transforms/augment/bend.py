"""Smooth displacements: elastic (Simard et al. 2003) and thin-plate (Bookstein 1989), as fields of
B×2×H×W pixels (x, y).

Both are linear in a few random numbers a picture, so that a field is a small matrix product. A
field that would fold the picture over itself is weakened until it does not: then each point of the
old picture has exactly one place in the new one.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F

from ...core.rng import Draws
from .policy import Augmentation

# Width of the Gaussian of elastic distortion, a share of the side: 4 of 29 pixels in Simard et al.
SMOOTHNESS = 0.14
CONTROL = 4
# Largest slope of a field. Below 1 nothing folds; finding a point's new place takes more steps the
# nearer it is.
STEEPEST = 0.8


def bend(
    how: Augmentation, draws: Draws, size: tuple[int, int], device: torch.device | str = "cpu"
) -> torch.Tensor:
    """float32 B×2×H×W: how far from the centre of a new pixel the picture is looked up,
    in pixels."""
    fields = []
    if how.elastic:
        fields.append(_elastic(how.elastic, draws, size, device))
    if how.thin_plate:
        fields.append(_thin_plate(how.thin_plate, draws, size, device))
    field = torch.stack(fields).sum(0)
    return field * (STEEPEST / _slope(field).clamp(min=STEEPEST))[:, None, None, None]


def _elastic(
    strength: float, draws: Draws, size: tuple[int, int], device: torch.device | str
) -> torch.Tensor:
    down, across = (torch.from_numpy(_smoothing(side)).to(device) for side in size)
    nodes = down.shape[1]
    # sqrt(3) is the bound of uniform numbers of unit variance.
    noise = (
        draws.uniform(2 * nodes * nodes, -np.sqrt(3), np.sqrt(3))
        .astype(np.float32)
        .reshape(-1, 2, nodes, nodes)
    )
    return strength * _sides(size, device) * (down @ torch.from_numpy(noise).to(device) @ across.T)


def _thin_plate(
    strength: float, draws: Draws, size: tuple[int, int], device: torch.device | str
) -> torch.Tensor:
    moves = (
        draws.uniform(2 * CONTROL**2, -strength, strength)
        .astype(np.float32)
        .reshape(-1, 2, CONTROL**2)
    )
    plate = torch.from_numpy(_plate(*size)).to(device)
    return _sides(size, device) * (torch.from_numpy(moves).to(device) @ plate).reshape(-1, 2, *size)


def _sides(size: tuple[int, int], device: torch.device | str) -> torch.Tensor:
    return torch.tensor([size[1], size[0]], dtype=torch.float32, device=device)[:, None, None]


@lru_cache(maxsize=16)
def _smoothing(side: int) -> np.ndarray:
    """side×nodes: independent numbers of unit variance on a coarse line, to smooth ones of unit
    variance at each pixel.

    White noise a Gaussian's deviation apart and smoothed by it is what noise in every pixel would
    be, for far fewer random numbers.
    """
    nodes = np.arange(-2 * SMOOTHNESS, 1 + 3 * SMOOTHNESS, SMOOTHNESS)
    pixels = (np.arange(side) + 0.5) / side
    weights = np.exp(-0.5 * ((pixels[:, None] - nodes) / SMOOTHNESS) ** 2)
    return (weights / np.sqrt((weights**2).sum(1, keepdims=True))).astype(np.float32)


@lru_cache(maxsize=16)
def _plate(height: int, width: int) -> np.ndarray:
    """K×(H·W): how much each of the K control points carries each pixel along (Bookstein 1989,
    equations 2 to 6), on the unit square."""
    ticks = np.linspace(0, 1, CONTROL)
    control = np.stack(np.meshgrid(ticks, ticks), -1).reshape(-1, 2)
    pixels = np.stack(
        np.meshgrid((np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height), -1
    ).reshape(-1, 2)
    system = np.zeros((len(control) + 3, len(control) + 3))
    system[:-3] = _terms(control, control)
    system[-3:, :-3] = system[:-3, -3:].T
    return np.linalg.solve(system.T, _terms(pixels, control).T)[:-3].astype(np.float32)


def _terms(points: np.ndarray, control: np.ndarray) -> np.ndarray:
    """N×(K+3): U(r) = r² log r² to each control point, then 1, x, y."""
    squared = ((points[:, None] - control) ** 2).sum(2)
    return np.column_stack(
        [squared * np.log(np.where(squared > 0, squared, 1)), np.ones(len(points)), points]
    )


def _slope(field: torch.Tensor) -> torch.Tensor:
    """B: the Lipschitz constant of each field, interpolated bilinearly, in the maximum norm (an
    upper bound, cell by cell)."""
    wide = F.pad(field, (0, 1, 0, 1), mode="replicate")
    across, down = wide.diff(dim=3).abs(), wide.diff(dim=2).abs()
    within = torch.maximum(across[:, :, 1:], across[:, :, :-1]) + torch.maximum(
        down[..., 1:], down[..., :-1]
    )
    return within.amax((1, 2, 3))


def at(field: torch.Tensor, points: np.ndarray) -> np.ndarray:
    """N×2: a field 2×H×W between the pixels' centres, bilinearly;
    beyond the outermost ones it stays as there."""
    _, height, width = field.shape
    grid = torch.from_numpy(2 * points / [width, height] - 1)[None, None]
    found = F.grid_sample(
        field[None].double().cpu(),
        grid,
        mode="bilinear",
        padding_mode="border",
        align_corners=False,
    )
    return found[0, :, 0].T.numpy()
