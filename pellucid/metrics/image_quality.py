"""How near one picture comes to another: PSNR and SSIM as the papers on super-resolution count
them.

Of a colour picture only the luma counts (BT.601, 16 to 235, not rounded), of any other the mean
over its channels; `border` pixels at each side do not, and the papers leave out as many as the
factor.
"""

from __future__ import annotations

import numpy as np

from ..core.color import luma

# Decibels of equal pictures, whose PSNR is infinite, and the most that is said of any: half an
# 8-bit level everywhere is 54.
CEILING = 100.0
# Of SSIM: Wang, Bovik, Sheikh, Simoncelli, Image Quality Assessment: From Error Visibility to
# Structural Similarity, 2004, III.C.
SIDE, SIGMA, K1, K2 = 11, 1.5, 0.01, 0.03


def psnr(a: np.ndarray, b: np.ndarray, border: int = 0, peak: float = 255.0) -> float:
    """10·log₁₀(peak²/mean squared difference) in dB, at most CEILING. a, b: H×W or H×W×C of any
    type, from 0 to `peak`."""
    a, b = _compared(a, b, border, peak)
    error = float(np.square(a - b).mean())
    return min(CEILING, 10 * float(np.log10(peak**2 / error))) if error else CEILING


def ssim(a: np.ndarray, b: np.ndarray, border: int = 0, peak: float = 255.0) -> float | None:
    """Mean structural similarity over the whole windows inside, 11×11 with Gaussian weights; 1 for
    equal pictures. a, b as for `psnr`.

    None for pictures without one whole window, borders left out.
    """
    a, b = _compared(a, b, border, peak)
    if min(a.shape[:2]) < SIDE:
        return None
    mean_a, mean_b = _windows(a), _windows(b)
    var_a, var_b = _windows(a * a) - mean_a**2, _windows(b * b) - mean_b**2
    shared = _windows(a * b) - mean_a * mean_b
    c1, c2 = (K1 * peak) ** 2, (K2 * peak) ** 2
    alike = (
        (2 * mean_a * mean_b + c1)
        * (2 * shared + c2)
        / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
    )
    return float(alike.mean())


def _compared(
    a: np.ndarray, b: np.ndarray, border: int, peak: float
) -> tuple[np.ndarray, np.ndarray]:
    """Both as doubles H×W×C, without the border, colour as luma.
    Raises ValueError for other shapes or nothing left."""
    if a.shape != b.shape or min(a.shape[:2]) <= 2 * border:
        raise ValueError(
            f"pictures of {a.shape} and {b.shape} have nothing to compare inside a border of "
            f"{border}"
        )
    shaved = (
        each[border : each.shape[0] - border, border : each.shape[1] - border].astype(np.float64)
        for each in (a, b)
    )
    one, other = (
        each[..., None]
        if each.ndim == 2
        else luma(each / peak) * peak
        if each.shape[2] == 3
        else each
        for each in shaved
    )
    return one, other


def _windows(picture: np.ndarray) -> np.ndarray:
    """H×W×C → (H−10)×(W−10)×C: the weighted mean of each whole window."""
    weights = np.exp(-np.square(np.arange(SIDE) - SIDE // 2) / (2 * SIGMA**2))
    for axis in (0, 1):
        picture = np.lib.stride_tricks.sliding_window_view(picture, SIDE, axis) @ (
            weights / weights.sum()
        )
    return picture
