"""Filters with names: small kernels that are slid over a picture, as a convolution layer slides its
own.

What deep learning calls convolution is cross-correlation: the kernel is laid on the picture as it
is printed here, not turned by 180°. x goes right, y goes down; the middle of the kernel is the
pixel that is written.

  sobel_y     −1 −2 −1 /  0 0 0 / 1 2 1: the derivative along y. It answers to *horizontal* edges,
              positive where it is brighter below
  prewitt_y   −1 −1 −1 /  0 0 0 / 1 1 1
  scharr_y    −3 −10 −3 / 0 0 0 / 3 10 3: of the three the most even over directions
  …_x         the same, transposed: the derivative along x. It answers to *vertical* edges, positive
              where it is brighter to the right
  laplacian   0 1 0 / 1 −4 1 / 0 1 0: ∂²/∂x² + ∂²/∂y²
  sharpen     0 −1 0 / −1 5 −1 / 0 −1 0: the picture minus its Laplacian
  box         the mean of 3×3 pixels
  gaussian    exp(−(x² + y²)/2σ²), its sum made 1; σ = 1.5 pixels
  gabor_λ_θ   exp(−(u² + γ²v²)/2σ²) · cos(2πu/λ) with u = x·cos θ + y·sin θ, v = −x·sin θ + y·cos θ,
              σ = λ/2, γ = 1/2 (Daugman, 1985), its
              mean made 0 and the sum of its sizes 1. λ is the wavelength in pixels, θ in degrees
              the way across the stripes: gabor_8_0
              answers to vertical stripes of 8 pixels

Derivatives are not divided by anything: on pixels of 0 to 255 sobel goes up to ±1020.
"""

from __future__ import annotations

import numpy as np

from ..core.errors import UsageError, did_you_mean

WAVELENGTHS, ANGLES = (4, 8, 16), (0, 45, 90, 135)


def gaussian(sigma: float) -> np.ndarray:
    """(2r + 1)×(2r + 1) with r = 4σ, rounded; sum 1. sigma: pixels, above 0."""
    radius = int(4 * sigma + 0.5)
    line = np.exp(-(np.arange(-radius, radius + 1) ** 2) / (2 * sigma**2))
    return np.outer(line, line) / line.sum() ** 2


def gabor(wavelength: float, degrees: float) -> np.ndarray:
    """The even Gabor filter, as wide as three deviations along its stripes allow; mean 0, Σ|k| = 1.
    wavelength: pixels, 2 or more."""
    sigma, ratio, angle = wavelength / 2, 0.5, np.deg2rad(degrees)
    radius = int(np.ceil(3 * sigma / ratio))
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    across, along = x * np.cos(angle) + y * np.sin(angle), -x * np.sin(angle) + y * np.cos(angle)
    envelope = np.exp(-(across**2 + ratio**2 * along**2) / (2 * sigma**2))
    wave = np.cos(2 * np.pi * across / wavelength)
    # The mean goes under the envelope, so that the kernel still fades out at its border.
    kernel = envelope * (wave - (envelope * wave).sum() / envelope.sum())
    return kernel / np.abs(kernel).sum()


def _across(*line: float) -> np.ndarray:
    """The derivative along y that smooths along x by `line`."""
    return np.outer([-1.0, 0.0, 1.0], line)


FILTERS: dict[str, np.ndarray] = {
    "sobel_x": _across(1, 2, 1).T,
    "sobel_y": _across(1, 2, 1),
    "prewitt_x": _across(1, 1, 1).T,
    "prewitt_y": _across(1, 1, 1),
    "scharr_x": _across(3, 10, 3).T,
    "scharr_y": _across(3, 10, 3),
    "laplacian": np.array([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]]),
    "sharpen": np.array([[0.0, -1, 0], [-1, 5, -1], [0, -1, 0]]),
    "box": np.full((3, 3), 1 / 9),
    "gaussian": gaussian(1.5),
    **{
        f"gabor_{length}_{angle}": gabor(length, angle)
        for length in WAVELENGTHS
        for angle in ANGLES
    },
}


def kernel_of(name: str) -> np.ndarray:
    """Raises UsageError for a name that is not in FILTERS."""
    if name not in FILTERS:
        raise UsageError(f'unknown filter "{name}"; {did_you_mean(name, FILTERS)}')
    return FILTERS[name]


def is_signed(name: str) -> bool:
    """Whether flat grey gives 0, so that answers go both ways."""
    return abs(float(kernel_of(name).sum())) < 1e-9


def apply(image: np.ndarray, name: str) -> np.ndarray:
    """H×W or H×W×C of any depth, each channel for itself, to float64 of the same shape, in the
    picture's own units.

    Beyond the border the picture is mirrored, the outermost pixel repeated (d c b a | a b c d | d c
    b a). Raises UsageError for a name that is not in FILTERS.
    """
    import cv2

    kernel = kernel_of(name)
    values = np.asarray(image, np.float64)
    channels = values.reshape(*values.shape[:2], -1)
    parts = [
        cv2.filter2D(channels[:, :, c], cv2.CV_64F, kernel, borderType=cv2.BORDER_REFLECT)
        for c in range(channels.shape[2])
    ]
    return np.stack(parts, axis=2).reshape(values.shape)


def signed_to_grey(values: np.ndarray, most: float | None = None) -> np.ndarray:
    """Numbers of both signs to uint8: 0 is mid-grey (128), +most white, −most black; `most` is the
    largest size of all unless given."""
    most = float(np.abs(values).max(initial=0.0)) if most is None else most
    return np.clip(np.rint(128 + 127 * values / (most or 1.0)), 1, 255).astype(np.uint8)
