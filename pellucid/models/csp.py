"""A backbone of the YOLO line: cross-stage-partial blocks of plain 3×3 convolutions, small enough
to learn from scratch on a CPU.

Sources: C.-Y. Wang, H.-Y. M. Liao, Y.-H. Wu, P.-Y. Chen, J.-W. Hsieh, I.-H. Yeh, CSPNet: A New
Backbone that can Enhance Learning Capability of CNN, CVPR Workshops 2020 (arXiv 1911.11929); the
block's form, C2f, and the fast spatial pyramid pooling, SPPF, are those of Ultralytics' YOLOv8
(2023) and YOLOv5 (2021), which have no paper. Spatial pyramid pooling is He et al.'s (ECCV 2014).
Introduced: half of a block's maps go past its convolutions, so that the gradient of the others is
not computed twice and the 3×3 are half as wide; C2f also hands on what stands after each of its
residual pairs.

Claims: CSPNet's paper, 10 to 20 per cent fewer operations at equal or better accuracy on ImageNet.
YOLOv8 makes no claim about its backbone alone.

Choices and deviations:
- `csp_nano` has the widths and depths of YOLOv8n's backbone (1.27 million parameters without the
  head); names of the state dict are ours.
- `csp_tiny` is three quarters as wide after the first layer and has one pair a block: half the
  parameters, about two thirds of the time.
- The head is the mean over the last map and one dense layer; YOLOv8's classifier has a 1×1
  convolution to 1,280 maps between.
- Plain convolutions, not depthwise ones: those have fewer multiplications and take longer on a CPU,
  where memory is what they wait for.
- Batch norm is PyTorch's (ε 1e-5, momentum 0.1), not YOLOv8's (1e-3, 0.03), which reckons with many
  thousands of steps.
- Initialisation: convolutions normal of deviation √(2/fan_in) (He et al., 2015, eq. 10), the dense
  layer normal of 1/√fan_in with bias 0.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .layers import Pyramid, conv_norm_silu, he_normal_


class Pair(nn.Module):
    """Two 3×3 and the skip around them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(conv_norm_silu(width, width, 3), conv_norm_silu(width, width, 3))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.convs(x)


class Partial(nn.Module):
    """C2f: 1×1; one half stays as it is, the other goes through `depth` pairs;
    both halves and each pair's result, 1×1."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.split = conv_norm_silu(width, width, 1)
        self.pairs = nn.ModuleList(Pair(width // 2) for _ in range(depth))
        self.join = conv_norm_silu((2 + depth) * width // 2, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        parts = list(self.split(x).chunk(2, 1))
        for pair in self.pairs:
            parts.append(pair(parts[-1]))
        return self.join(torch.cat(parts, 1))


class PyramidPooling(nn.Module):
    """SPPF: the maxima of 5×5, 9×9 and 13×13 pixels beside the map itself,
    as one 5×5 pooling after another."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.narrow = conv_norm_silu(width, width // 2, 1)
        self.pool = nn.MaxPool2d(5, 1, 2)
        self.join = conv_norm_silu(2 * width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        maps = [self.narrow(x)]
        for _ in range(3):
            maps.append(self.pool(maps[-1]))
        return self.join(torch.cat(maps, 1))


class CSPNet(nn.Module):
    """B×channels×height×width, any size → B×classes logits. Features: the last map of each of the
    strides 2, 4, 8, 16 and 32."""

    feature_strides = (2, 4, 8, 16, 32)

    def __init__(
        self, widths: tuple[int, ...], depths: tuple[int, ...], classes: int, channels: int
    ) -> None:
        super().__init__()
        self.feature_channels = widths
        rows = [conv_norm_silu(channels, widths[0], 3, 2)]
        for inputs, width, depth in zip(widths, widths[1:], depths, strict=False):
            rows.append(nn.Sequential(conv_norm_silu(inputs, width, 3, 2), Partial(width, depth)))
        rows[-1].append(PyramidPooling(widths[-1]))
        self.features = Pyramid(rows, cuts=range(len(rows)))
        self.fc = nn.Linear(widths[-1], classes)
        he_normal_(self, self.fc)

    def head(self, maps: tuple[Tensor, ...]) -> Tensor:
        return self.fc(maps[-1].mean((2, 3)))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


def csp_tiny(classes: int = 10, channels: int = 3) -> CSPNet:
    return CSPNet((16, 24, 48, 96, 192), (1, 1, 1, 1), classes, channels)


def csp_nano(classes: int = 10, channels: int = 3) -> CSPNet:
    return CSPNet((16, 32, 64, 128, 256), (1, 2, 2, 1), classes, channels)
