"""Every window of a 480×640 picture scored by a small classifier: one pass with dense layers as
convolutions, against windows cut out.

The peer is what a good user would write without it: windows as views of one tensor, classified 256
at a time, on the same threads. Both score the same windows, the network's total stride of 4 apart.
Printed are also the largest difference of their scores, and that of the same layers with padding,
turned by hand.
"""

from __future__ import annotations

from typing import Any

import torch
from side_by_side import compare
from torch import Tensor, nn

from pellucid.models import create
from pellucid.models.convolutional import SlidingDense, as_convolutions, by_crops
from pellucid.transforms.windows import windows

NETWORKS = ("C16k5p0 R P C32k5p0 R P L64 R L3", "lenet5")
WINDOW, SIZE = (32, 32), (480, 640)


def timed(name: str, picture: Tensor) -> None:
    torch.manual_seed(0)
    network = create(name, 3, 3, WINDOW).eval()
    sliding = as_convolutions(network, (3, *WINDOW))

    def ours() -> Tensor:
        return sliding(picture)

    def peer() -> Tensor:
        return by_crops(network, picture, WINDOW, sliding.stride)

    off = (ours() - peer()).abs().max().item()
    compare(f"{name}, {len(windows(SIZE, WINDOW, sliding.stride)):,} windows", ours, peer, 5, 10)
    print(
        f"largest difference of a score: {off:.1e}   wanted <= 1e-5: "
        f"{'yes' if off <= 1e-5 else 'NO'}",
        flush=True,
    )


def padded(text: str, picture: Tensor) -> None:
    """How far the scores of one pass are from those of crops where every convolution has zeros
    at its border."""
    torch.manual_seed(0)
    network: Any = create(text, 3, 3, WINDOW).eval()
    _, first, relu, last = network.classifier
    head = nn.Sequential(SlidingDense(first, (8, 8)), relu, SlidingDense(last, (1, 1)))
    crops = by_crops(network, picture, WINDOW, (4, 4))
    off = head(network.features(picture)[-1]) - crops
    other = (head(network.features(picture)[-1]).argmax(1) != crops.argmax(1)).float().mean().item()
    print(
        f"{text}, padded: scores off by {off.abs().max().item():.2f} at most and "
        f"{off.std().item():.2f} in deviation, "
        f"of scores whose own deviation is {crops.std().item():.2f}; "
        f"another class for {other:.1%} of the windows",
        flush=True,
    )


def main() -> None:
    torch.manual_seed(0)
    picture = torch.randn(1, 3, *SIZE)
    with torch.inference_mode():
        for name in NETWORKS:
            timed(name, picture)
        padded("C16k5p2 R P C32k5p2 R P L64 R L3", picture)


if __name__ == "__main__":
    main()
