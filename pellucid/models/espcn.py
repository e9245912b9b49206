"""ESPCN: every pixel of the small picture becomes factor² pixels, each from a map of its own.

Source: W. Shi, J. Caballero, F. Huszár, J. Totz, A. P. Aitken, R. Bishop, D. Rueckert, Z. Wang,
Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel Convolutional Neural
Network, CVPR 2016 (arXiv 1609.05158).
Introduced: the sub-pixel convolution, which enlarges by putting maps in order (pixel shuffle) and
multiplies nothing for it.

Choices and deviations:
- What the layers give is added to the bicubic enlargement; the paper has no such skip.
- Zero padding keeps the size. Initialisation: deviation 1/√fan_in, for tanh; the last layer zero,
  so that training begins at bicubic.
"""

from __future__ import annotations

from torch import Tensor, nn

from .bicubic import Bicubic
from .layers import scaled_normal_


class ESPCN(nn.Module):
    """B×channels×h×w in 0…1 → B×channels×(factor·h)×(factor·w). width: maps of the first layer; the
    second has half of them."""

    margin = 4

    def __init__(self, factor: int = 3, channels: int = 1, width: int = 64) -> None:
        super().__init__()
        self.factor = factor
        self.bicubic = Bicubic(factor)
        self.conv1 = nn.Conv2d(channels, width, 5, padding=2)
        self.conv2 = nn.Conv2d(width, width // 2, 3, padding=1)
        self.conv3 = nn.Conv2d(width // 2, channels * factor**2, 3, padding=1)
        self.tanh = nn.Tanh()
        self.shuffle = nn.PixelShuffle(factor)
        scaled_normal_(self.conv1, 1.0)
        scaled_normal_(self.conv2, 1.0)
        scaled_normal_(self.conv3, 0.0)

    def features(self, x: Tensor) -> tuple[Tensor]:
        x = self.tanh(self.conv1(x))
        return (self.tanh(self.conv2(x)),)

    def head(self, maps: tuple[Tensor, ...]) -> Tensor:
        return self.shuffle(self.conv3(maps[-1]))

    def forward(self, x: Tensor) -> Tensor:
        return self.bicubic(x) + self.head(self.features(x))
