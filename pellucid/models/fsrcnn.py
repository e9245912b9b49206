"""FSRCNN: work on the small picture, in few maps, and enlarge at the end.

Source: C. Dong, C. C. Loy, X. Tang, Accelerating the Super-Resolution Convolutional Neural Network,
ECCV 2016 (arXiv 1608.00367).
Introduced: an hourglass of convolutions at low resolution (d maps, shrunk to s, m mappings of 3×3,
expanded to d again) before a transposed convolution; only that one depends on the factor.
FSRCNN(56, 12, 4) has 12,464 weights at one channel.

Choices and deviations:
- What the layers give is added to the bicubic enlargement; the paper has no such skip.
- PReLU begins at 0.25. Initialisation: He normal with fan_in, as in the paper; the transposed
  convolution zero, so that training begins at bicubic, where the paper's has a deviation of 0.001.
"""

from __future__ import annotations

from torch import Tensor, nn

from .bicubic import Bicubic
from .layers import RELU_GAIN, scaled_normal_


class FSRCNN(nn.Module):
    """B×channels×h×w in 0…1 → B×channels×(factor·h)×(factor·w). width: the paper's d; shrunk: its
    s, in the paper's proportion."""

    def __init__(
        self,
        factor: int = 3,
        channels: int = 1,
        width: int = 56,
        shrunk: int | None = None,
        mappings: int = 4,
    ) -> None:
        super().__init__()
        self.factor = factor
        shrunk = shrunk or max(1, round(width * 12 / 56))
        self.margin = 2 + mappings + (factor + 3) // factor
        self.bicubic = Bicubic(factor)
        self.body = nn.Sequential(nn.Conv2d(channels, width, 5, padding=2), nn.PReLU(width))
        self.body.extend([nn.Conv2d(width, shrunk, 1), nn.PReLU(shrunk)])
        for _ in range(mappings):
            self.body.extend([nn.Conv2d(shrunk, shrunk, 3, padding=1), nn.PReLU(shrunk)])
        self.body.extend([nn.Conv2d(shrunk, width, 1), nn.PReLU(width)])
        self.enlarge = nn.ConvTranspose2d(
            width, channels, 9, factor, padding=4, output_padding=factor - 1
        )
        for layer in self.body:
            if isinstance(layer, nn.Conv2d):
                scaled_normal_(layer, RELU_GAIN)
        scaled_normal_(self.enlarge, 0.0)

    def features(self, x: Tensor) -> tuple[Tensor]:
        return (self.body(x),)

    def head(self, maps: tuple[Tensor, ...]) -> Tensor:
        return self.enlarge(maps[-1])

    def forward(self, x: Tensor) -> Tensor:
        return self.bicubic(x) + self.head(self.features(x))
