"""Pixels from an image to the input of a network: depth, channels, normalization."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ..core.errors import DataError
from ..data.images import Header, to_channels

# Numbers that are added up at a time: in double precision ten million are 80 MB.
AT_ONCE = 10_000_000


def common_channels(headers: Sequence[Header]) -> int:
    """1 where every image is gray, 3 where there are RGB images or ones with alpha, else their own
    number. Raises DataError for a mixture."""
    kinds = {header.channels for header in headers}
    if kinds <= {1, 2}:
        return 1
    if kinds <= {1, 2, 3, 4}:
        return 3
    if len(kinds) > 1:
        raise DataError(
            f"pictures with {sorted(kinds)} channels cannot be mixed; "
            "convert them to one number of channels"
        )
    return kinds.pop()


def stored(pixels: np.ndarray, channels: int, bits: int) -> np.ndarray:
    """H×W×C of any depth, to H×W×channels of 8 or 16 bits."""
    pixels = to_channels(pixels, channels)
    if pixels.dtype == np.uint8 and bits == 16:
        return pixels.astype(np.uint16) * 257
    if pixels.dtype == np.uint16 and bits == 8:
        return (pixels / 257).round().astype(np.uint8)
    return pixels


def border(images: np.ndarray) -> tuple[float, ...]:
    """The median color of the outermost pixels of M×H×W×C."""
    few = images[:: max(1, len(images) // 512)]
    edges = [few[:, 0], few[:, -1], few[:, :, 0], few[:, :, -1]]
    return tuple(
        np.median(np.concatenate([e.reshape(-1, images.shape[3]) for e in edges]), axis=0).tolist()
    )


def mean_and_deviation(
    images: np.ndarray, bits: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Per channel, of the pixels of M×H×W×C (or M×D×H×W×C) scaled to 0..1. A channel without any
    variation (a black training set) is left unscaled."""
    top, channels = 2.0**bits - 1, images.shape[-1]
    totals, squares = np.zeros(channels), np.zeros(channels)
    for part in np.array_split(images, min(len(images), 1 + images.size // AT_ONCE)):
        scaled = part.reshape(-1, channels).astype(np.float64) / top
        totals, squares = totals + scaled.sum(0), squares + (scaled**2).sum(0)
    pixels = images[..., 0].size
    mean = totals / pixels
    std = np.sqrt(np.maximum(squares / pixels - mean**2, 0))
    return tuple(mean.tolist()), tuple(np.where(std > 1e-6, std, 1.0).tolist())


def offset_and_gain(
    normalization: str, bits: int, mean: Sequence[float], std: Sequence[float]
) -> tuple[torch.Tensor, torch.Tensor]:
    """What is subtracted from stored pixels, and what the difference is multiplied by: to zero mean
    and unit deviation ("standard"), to 0..1 ("unit"), or as they are ("raw")."""
    top = 2.0**bits - 1
    if normalization != "standard":
        return torch.zeros(()), torch.tensor(1.0 if normalization == "raw" else 1 / top)
    centre, deviation = (torch.tensor(values)[None, :, None, None] * top for values in (mean, std))
    return centre, 1 / deviation


def normalised(images: torch.Tensor, offset: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
    """Stored or augmented pixels B×C×H×W as the input of a network, float32; offset and gain from
    `offset_and_gain`."""
    return (images.float() - offset.to(images.device)).mul_(gain.to(images.device))
