"""Bicubic resizing as MATLAB's imresize does it, and BT.601's luma: the arithmetic that every
figure of super-resolution rests on.

A side is resized by one matrix, and a picture by two: rows · picture · columnsᵀ. That is exact at
the borders, has a gradient, and runs wherever the picture is. It costs more multiplications than
the few taps need, which for windows of some hundred pixels is still little beside any network.
OpenCV's and torch's own bicubic are others (a = −0.75, or no widening when shrinking).

Past its ends a side is taken to go on as it ends. That is imresize as it was when the data sets of
the field were made, and `bicubic_array` gives their small pictures (Set5 of Huang et al., CVPR
2015) bit for bit; later releases mirror, which changes the outermost pixels only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

# (height, width), or what both sides are multiplied by.
Size = tuple[int, int] | float


def bicubic(images: Tensor, size: Size) -> Tensor:
    """…×H×W floats → …×h×w: imresize(…, 'bicubic') of an array of doubles. Not clipped: an edge
    overshoots.

    size: (h, w), or a factor, and then each side is ⌈side·factor⌉ long. Keys' cubic with a = −0.5
    (Cubic Convolution Interpolation, 1981), widened by the factor when shrinking so that it also
    smooths. Half precision is computed, and given back, as float32, also under autocast: bfloat16
    keeps 8 bits of a number, and a resized picture needs more.
    """
    # Results are drawn where there is no torch.
    import torch
    from torch.overrides import handle_torch_function, has_torch_function_unary

    # so that an account of a network sees one resizing and not two products of matrices
    if has_torch_function_unary(images):
        return handle_torch_function(bicubic, (images,), images, size)
    images = images.float() if images.dtype in (torch.bfloat16, torch.float16) else images
    rows, columns = (
        torch.tensor(each, dtype=images.dtype, device=images.device)
        for each in _matrices(images.shape[-2:], size)
    )
    kind = images.device.type
    with (
        torch.autocast(kind, enabled=False)
        if torch.amp.is_autocast_available(kind)
        else nullcontext()
    ):
        return rows @ images @ columns.T


def bicubic_array(picture: np.ndarray, size: Size) -> np.ndarray:
    """H×W or H×W×C → h×w or h×w×C of the same type. Whole numbers are rounded and clipped after
    each side, height first, as in imresize."""
    for axis, weights in enumerate(_matrices(picture.shape[:2], size)):
        resized = np.moveaxis(np.tensordot(weights, picture, (1, axis)), 0, axis)
        picture = (
            _whole(resized, picture.dtype)
            if np.issubdtype(picture.dtype, np.integer)
            else resized.astype(picture.dtype)
        )
    return picture


def _whole(values: np.ndarray, kind: np.dtype) -> np.ndarray:
    limits = np.iinfo(kind)
    return np.floor(values + 0.5).clip(limits.min, limits.max).astype(kind)


def _matrices(sides: Sequence[int], size: Size) -> list[np.ndarray]:
    if isinstance(size, tuple):
        return [matrix(n, m, m / n) for n, m in zip(sides, size, strict=True)]
    # A third of 255 is 85, whatever a float makes of it.
    return [matrix(n, math.ceil(n * size - 1e-6), float(size)) for n in sides]


@lru_cache(maxsize=64)
def matrix(n: int, m: int, scale: float) -> np.ndarray:
    """m×n, read-only: what each of m pixels takes of the n of a side that is resized by `scale`;
    rows sum to 1."""
    narrow = min(scale, 1.0)
    centres = (np.arange(m) + 0.5) / scale - 0.5
    reach = 2 / narrow
    taps = np.floor(centres - reach).astype(int)[:, None] + np.arange(math.ceil(2 * reach) + 2)
    weights = _cubic(narrow * (centres[:, None] - taps))
    weights /= weights.sum(1, keepdims=True)
    result = np.zeros((m, n))
    np.add.at(result, (np.arange(m)[:, None], taps.clip(0, n - 1)), weights)
    result.flags.writeable = False
    return result


def _cubic(x: np.ndarray) -> np.ndarray:
    """Keys 1981, eq. 15."""
    x = abs(x)
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))
