"""SRCNN: three convolutions make an enlarged picture sharper.

Source: C. Dong, C. C. Loy, K. He, X. Tang, Learning a Deep Convolutional Network for Image
Super-Resolution, ECCV 2014, and Image Super-Resolution Using Deep Convolutional Networks, TPAMI
2016 (arXiv 1501.00092).
Introduced: super-resolution as one network from pixels to pixels. Its layers stand for patches, a
mapping between them, and their overlapping sum; 9-1-5 sees 13×13 pixels of the enlarged picture.
8,032 weights at one channel, and 97 biases.

The paper's claims, Set5, PSNR of the luma at ×3: 9-1-5 trained on 91 pictures 32.39 dB, 9-5-5
trained on ImageNet 32.75 dB.

Choices and deviations:
- What the layers give is added to the enlarged picture, as Kim, Lee and Lee did it in 2016 (VDSR,
  arXiv 1511.04587): the paper, which has no such skip, needs 8·10⁸ back-propagations at rates of
  10⁻⁴ and 10⁻⁵. `residual=False` is the paper's.
- Enlarging is the network's first step, so that a small picture goes in as with every other; a
  factor of 1 takes pictures that are enlarged already, as the paper does.
- Zero padding keeps the size, where the paper trains on the inner 21×21 of 33×33.
- Initialisation: He normal with fan_in; the last layer zero, so that training begins at bicubic, or
  without the skip deviation 1/√fan_in. The paper draws all with a deviation of 0.001.
"""

from __future__ import annotations

from torch import Tensor, nn

from .bicubic import Bicubic, reach
from .layers import RELU_GAIN, scaled_normal_


class SRCNN(nn.Module):
    """B×channels×h×w in 0…1 → B×channels×(factor·h)×(factor·w).

    middle: side of the second kernel, 1 or 5 in the paper. width: maps of the first layer; the
    second has half of them.
    """

    def __init__(
        self,
        factor: int = 1,
        channels: int = 1,
        width: int = 64,
        middle: int = 1,
        residual: bool = True,
    ) -> None:
        super().__init__()
        self.factor, self.residual = factor, residual
        self.margin = reach(factor, 4 + middle // 2 + 2)
        self.bicubic = Bicubic(factor) if factor > 1 else nn.Identity()
        self.patches = nn.Conv2d(channels, width, 9, padding=4)
        self.mapping = nn.Conv2d(width, width // 2, middle, padding=middle // 2)
        self.reconstruction = nn.Conv2d(width // 2, channels, 5, padding=2)
        self.relu = nn.ReLU(inplace=True)
        scaled_normal_(self.patches, RELU_GAIN)
        scaled_normal_(self.mapping, RELU_GAIN)
        scaled_normal_(self.reconstruction, 0.0 if residual else 1.0)

    def features(self, x: Tensor) -> tuple[Tensor]:
        return self.sharpened(self.bicubic(x))

    def sharpened(self, enlarged: Tensor) -> tuple[Tensor]:
        x = self.relu(self.patches(enlarged))
        return (self.relu(self.mapping(x)),)

    def head(self, maps: tuple[Tensor, ...]) -> Tensor:
        return self.reconstruction(maps[-1])

    def forward(self, x: Tensor) -> Tensor:
        enlarged = self.bicubic(x)
        made = self.head(self.sharpened(enlarged))
        return enlarged + made if self.residual else made


def srcnn_955(factor: int = 1, channels: int = 1, width: int = 64) -> SRCNN:
    return SRCNN(factor, channels, width, middle=5)
