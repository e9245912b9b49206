"""The color space in which a network upscales: the luma of BT.601, or RGB."""

from __future__ import annotations

import torch

from ...core.color import luma, rgb, ycbcr

# BT.601 keeps gray within 16…235 of 255: the luma of a gray image, as if it were in color.
BLACK, RANGE = 16 / 255, 219 / 255


def in_color_space(images: torch.Tensor, color_space: str) -> torch.Tensor:
    """What the network takes of images B×C×H×W in 0…1: with "luma" B×1×H×W, with "rgb" all."""
    if color_space == "rgb":
        return images
    return images * RANGE + BLACK if images.shape[1] == 1 else luma(images)


def with_chroma(luma: torch.Tensor, upscaled: torch.Tensor) -> torch.Tensor:
    """B×C×H×W with the luma B×1×H×W and the colors of `upscaled`, B×C×H×W in 0…1."""
    if upscaled.shape[1] == 1:
        return (luma - BLACK) / RANGE
    return rgb(torch.cat([luma, ycbcr(upscaled)[:, 1:]], dim=1))
