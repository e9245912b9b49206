"""A light residual network for super-resolution: deep at low resolution, few maps, no batch norm.

Source: B. Lim, S. Son, H. Kim, S. Nah, K. M. Lee, Enhanced Deep Residual Networks for Single Image
Super-Resolution, CVPR Workshops 2017 (EDSR, arXiv 1707.02921), which has 64 maps and 16 blocks as
its baseline. Its block is convolution, ReLU, convolution and the skip: batch norm would take away
the range of values that the answer is made of.

Choices and deviations:
- What the layers give is added to the bicubic enlargement; EDSR has no such skip, and one around
  all blocks instead.
- 32 maps and 6 blocks: what a processor trains in minutes.
- Factors of 4 are shuffled at once, where EDSR enlarges twice by 2 with a convolution between.
- Initialisation: He normal with fan_in; the second convolution of each block and the last one zero,
  so that training begins with the identity (Goyal et al., Accurate, Large Minibatch SGD, 2017,
  section 5.1, for batch norm's γ) and at bicubic.
"""

from __future__ import annotations

from torch import Tensor, nn

from .bicubic import Bicubic
from .layers import RELU_GAIN, scaled_normal_


class Block(nn.Module):
    """Two 3×3 convolutions and the skip."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        scaled_normal_(self.conv1, RELU_GAIN)
        scaled_normal_(self.conv2, 0.0)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(self.relu(self.conv1(x)))


class ResidualSR(nn.Module):
    """B×channels×h×w in 0…1 → B×channels×(factor·h)×(factor·w)."""

    def __init__(
        self, factor: int = 3, channels: int = 1, width: int = 32, blocks: int = 6
    ) -> None:
        super().__init__()
        self.factor = factor
        self.margin = 2 + 2 * blocks
        self.bicubic = Bicubic(factor)
        self.first = nn.Conv2d(channels, width, 3, padding=1)
        self.blocks = nn.Sequential(*(Block(width) for _ in range(blocks)))
        self.last = nn.Conv2d(width, channels * factor**2, 3, padding=1)
        self.shuffle = nn.PixelShuffle(factor)
        scaled_normal_(self.first, 1.0)
        scaled_normal_(self.last, 0.0)

    def features(self, x: Tensor) -> tuple[Tensor]:
        return (self.blocks(self.first(x)),)

    def head(self, maps: tuple[Tensor, ...]) -> Tensor:
        return self.shuffle(self.last(maps[-1]))

    def forward(self, x: Tensor) -> Tensor:
        return self.bicubic(x) + self.head(self.features(x))
