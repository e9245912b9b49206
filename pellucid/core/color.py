"""BT.601: luma and chroma of RGB, as MATLAB's rgb2ycbcr and its inverse."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

Image = TypeVar("Image", Tensor, np.ndarray)

# ITU-R BT.601, digital: rows Y, Cb, Cr over R, G, B in 0…1, in 255ths; and what black becomes.
_WEIGHTS = (
    np.array([(65.481, 128.553, 24.966), (-37.797, -74.203, 112.0), (112.0, -93.786, -18.214)])
    / 255
)
_OFFSETS = np.array([16.0, 128.0, 128.0]) / 255
_INVERSE = np.linalg.inv(_WEIGHTS)


def luma(rgb: Image) -> Image:
    """Y of BT.601 as `ycbcr` has it, the axis of channels kept with one.
    What has one channel is its own luma."""
    channels = rgb.shape[-3 if isinstance(rgb, Tensor) else -1]
    return rgb if channels == 1 else _mixed(rgb, _WEIGHTS[:1], _OFFSETS[:1])


def ycbcr(rgb: Image) -> Image:
    """MATLAB's rgb2ycbcr of floats in 0…1: Y in 16…235 and Cb, Cr in 16…240 of 255. Tensors
    …×3×H×W, arrays H×W×3."""
    return _mixed(rgb, _WEIGHTS, _OFFSETS)


def rgb(ycbcr: Image) -> Image:
    """The inverse of `ycbcr`. Not clipped: not every Y, Cb, Cr is a colour."""
    return _mixed(ycbcr, _INVERSE, -_INVERSE @ _OFFSETS)


def _mixed(picture: Image, weights: np.ndarray, offsets: np.ndarray) -> Image:
    if isinstance(picture, np.ndarray):
        return picture @ weights.T + offsets
    # Sums, for autocast would round a product of matrices to 8 bits.
    red, green, blue = picture.unbind(-3)
    rows = zip(weights.tolist(), offsets.tolist(), strict=True)
    return torch.stack([r * red + g * green + b * blue + offset for (r, g, b), offset in rows], -3)
