"""Changes of what a pixel is worth, where it stands: colour,
and rectangles that are blotted out."""

from __future__ import annotations

import numpy as np
import torch

from ...core.rng import Draws
from .policy import Augmentation

ERASED = (0.02, 0.33)
ASPECT = (0.3, 3.3)


def recolour(
    images: torch.Tensor, how: Augmentation, draws: Draws, components: np.ndarray
) -> torch.Tensor:
    """Float B×C×H×W in 0..1: all changes of colour that are asked for. components: C×C, see
    `principal_components`."""
    images = colour(images, how.colour, draws)
    images = pca_colour(images, how.pca_colour, draws, components)
    return channel_shift(images, how.channel_shift, draws)


def colour(images: torch.Tensor, strength: float, draws: Draws) -> torch.Tensor:
    """Float B×C×H×W in 0..1: brightness, contrast and, for three channels, saturation
    (kornia.enhance, the multiplicative forms)."""
    if not strength:
        return images
    from kornia import enhance

    draw = torch.from_numpy(draws.uniform(3, 1 - strength, 1 + strength)).to(images)
    images = enhance.adjust_brightness_accumulative(images, draw[:, 0])
    images = enhance.adjust_contrast_with_mean_subtraction(images, draw[:, 1])
    if images.shape[1] == 3:
        images = enhance.adjust_saturation_with_gray_subtraction(images, draw[:, 2])
    return images


def pca_colour(
    images: torch.Tensor, deviation: float, draws: Draws, components: np.ndarray
) -> torch.Tensor:
    """Float B×C×H×W in 0..1: every pixel of a picture moves by normal multiples of the components
    (Krizhevsky et al. 2012, section 4.1).

    The paper weighs an eigenvector by its eigenvalue; here it is by the root, which is in the units
    of a pixel, so that `deviation` means the same for every set: the share of the natural spread
    along each direction.
    """
    if not deviation:
        return images
    move = deviation * _normal(draws, len(components)) @ np.asarray(components).T
    return (images + torch.from_numpy(move).to(images)[:, :, None, None]).clamp_(0, 1)


def channel_shift(images: torch.Tensor, strength: float, draws: Draws) -> torch.Tensor:
    """Float B×C×H×W in 0..1: each channel brighter or darker by up to this share of the range."""
    if not strength:
        return images
    move = torch.from_numpy(draws.uniform(images.shape[1], -strength, strength)).to(images)
    return (images + move[:, :, None, None]).clamp_(0, 1)


def erase(
    images: torch.Tensor, probability: float, draws: Draws, fill: torch.Tensor
) -> torch.Tensor:
    """B×C×H×W of any type: with this probability, a rectangle becomes `fill` (Zhong et al. 2020).

    Its area is 2 to 33 % of the picture's, its height over its width 0.3 to 3.3, and a side never
    exceeds the picture's: the paper draws again until one fits. fill: C numbers in the units of the
    images.
    """
    if not probability:
        return images
    height, width = images.shape[2:]
    chosen, area, aspect, y, x = draws.uniform(5).T
    area = height * width * (ERASED[0] + area * (ERASED[1] - ERASED[0]))
    aspect = np.exp(np.log(ASPECT[0]) + aspect * np.log(ASPECT[1] / ASPECT[0]))
    h = np.rint(np.sqrt(area * aspect)).clip(1, height)
    w = np.rint(np.sqrt(area / aspect)).clip(1, width)
    h = np.where(chosen < probability, h, 0)
    top, left = np.floor(y * (height - h + 1)), np.floor(x * (width - w + 1))
    inside = rectangles(top, left, top + h, left + w, (height, width)).to(images.device)
    return torch.where(inside, fill.to(images)[None, :, None, None], images)


def rectangles(
    top: np.ndarray, left: np.ndarray, bottom: np.ndarray, right: np.ndarray, size: tuple[int, int]
) -> torch.Tensor:
    """bool B×1×H×W: inside of [top, bottom) × [left, right), in whole pixels."""
    y, x = np.arange(size[0])[None, :, None], np.arange(size[1])[None, None, :]
    top, left, bottom, right = (edge[:, None, None] for edge in (top, left, bottom, right))
    return torch.from_numpy((y >= top) & (y < bottom) & (x >= left) & (x < right))[:, None]


def principal_components(images: np.ndarray) -> np.ndarray:
    """float64 C×C: the principal components of the pixels of M×H×W×C as columns, the largest first,
    each as long as its deviation.

    images: floats in 0..1, or unsigned integers of any depth, which are scaled to it. Of many
    pictures 1,024 are looked at. A component's sign, which is arbitrary, is such that its largest
    entry is positive.
    """
    few = images[:: max(1, -(-len(images) // 1024))].reshape(-1, images.shape[-1])
    total, products = np.zeros(few.shape[1]), np.zeros((few.shape[1],) * 2)
    for part in np.array_split(few, -(-len(few) // 500_000)):
        scaled = (
            part / np.iinfo(part.dtype).max if part.dtype.kind == "u" else part.astype(np.float64)
        )
        total, products = total + scaled.sum(0), products + scaled.T @ scaled
    mean = total / len(few)
    values, vectors = np.linalg.eigh(products / len(few) - np.outer(mean, mean))
    vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(0), np.arange(len(mean))])
    return (vectors * np.sqrt(values.clip(0)))[:, ::-1].copy()


def _normal(draws: Draws, count: int) -> np.ndarray:
    """N×count standard normal numbers (Box and Muller 1958)."""
    radius, angle = draws.uniform(count), draws.uniform(count)
    return np.sqrt(-2 * np.log1p(-radius)) * np.cos(2 * np.pi * angle)
