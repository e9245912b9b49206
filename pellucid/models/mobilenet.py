"""MobileNetV2: residual blocks turned inside out, thin outside and wide within, cheap because the
wide part works map by map.

Source: M. Sandler, A. Howard, M. Zhu, A. Zhmoginov, L.-C. Chen, MobileNetV2: Inverted Residuals and
Linear Bottlenecks, CVPR 2018 (arXiv 1801.04381).
Introduced: the inverted residual (1×1 up to `expansion` times the maps, 3×3 on each map by itself,
1×1 down again, with the skip between the thin ends) and the linear bottleneck (no ReLU after the
way down, where it would lose what the thin end still holds).

The paper's claims at width 1.0 and 224×224, ImageNet: top-1 accuracy 72.0 per cent, 3.4 million
parameters, 300 million MACs (table 4).

Choices and deviations:
- Names and shapes of the state dict are those of the published PyTorch file, so it loads as it is
  (classes=1000). As in that file the block whose expansion is 1 has no first 1×1, and dropout 0.2
  stands before the dense layer.
- The widths are those of table 2. The width multiplier is left out.
- `mobilenet_v2` pads all sides by 1, as the published PyTorch file was trained; `mobilenet_v2_same`
  pads as TensorFlow's "same" does, at stride 2 and an even side with one row at the bottom and one
  column at the right. Weights of either fit into the other, but answer less well there.
- Initialisation: convolutions normal of deviation √(2/fan_in) (He et al., Delving Deep into
  Rectifiers, 2015, eq. 10), where a depthwise convolution has a fan_in of 9; batch norm γ = 1, β =
  0; the dense layer normal of 1/√fan_in (LeCun et al., 1998) with bias 0. The paper names none.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn
from torch.nn import functional as F

from .layers import RELU_GAIN, Pyramid, scaled_normal_

# Table 2: expansion, maps, blocks, stride of the first block.
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class Same(nn.Module):
    """Zeros around a map before 3×3 at stride 2, such that n becomes ⌈n/2⌉ and an even n gets them
    at the bottom and right only."""

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        return F.pad(x, (width % 2, 1, height % 2, 1))


def convolution(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, same: bool = False
) -> nn.Sequential:
    """Convolution that keeps the size (over the stride), batch norm, ReLU6."""
    uneven = same and stride > 1
    layers: OrderedDict[str, nn.Module] = OrderedDict(pad=Same()) if uneven else OrderedDict()
    layers["0"] = nn.Conv2d(
        inputs,
        outputs,
        kernel,
        stride,
        padding=0 if uneven else kernel // 2,
        groups=groups,
        bias=False,
    )
    layers["1"] = nn.BatchNorm2d(outputs)
    layers["2"] = nn.ReLU6(inplace=True)
    return nn.Sequential(layers)


class InvertedResidual(nn.Module):
    """1×1 up to expansion·inputs maps, depthwise 3×3, linear 1×1 down to `outputs`;
    the skip where shapes allow it."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int, same: bool) -> None:
        super().__init__()
        self.skip = stride == 1 and inputs == outputs
        width = inputs * expansion
        self.conv = nn.Sequential(
            *([convolution(inputs, width, 1)] if expansion > 1 else []),
            convolution(width, width, 3, stride, groups=width, same=same),
            nn.Conv2d(width, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.skip else self.conv(x)


class MobileNetV2(nn.Module):
    """B×channels×height×width, any size → B×classes logits. Features: the last map of each of the
    strides 2, 4, 8, 16 and 32."""

    feature_channels = (16, 24, 32, 96, 1280)
    feature_strides = (2, 4, 8, 16, 32)

    def __init__(self, classes: int = 10, channels: int = 3, same: bool = False) -> None:
        super().__init__()
        first = convolution(channels, 32, 3, stride=2, same=same)
        self.features = Pyramid(
            [first, *blocks(32, same), convolution(320, 1280, 1)], cuts=(1, 3, 6, 13, 18)
        )
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, classes))
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                scaled_normal_(layer, RELU_GAIN if isinstance(layer, nn.Conv2d) else 1)

    def head(self, maps: tuple[Tensor, ...]) -> Tensor:
        return self.classifier(self.avgpool(maps[-1]).flatten(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


def blocks(inputs: int, same: bool) -> list[InvertedResidual]:
    rows = []
    for expansion, outputs, count, first in STAGES:
        for number in range(count):
            rows.append(
                InvertedResidual(inputs, outputs, first if number == 0 else 1, expansion, same)
            )
            inputs = outputs
    return rows


def mobilenet_v2(classes: int = 10, channels: int = 3) -> MobileNetV2:
    return MobileNetV2(classes, channels)


def mobilenet_v2_same(classes: int = 10, channels: int = 3) -> MobileNetV2:
    return MobileNetV2(classes, channels, same=True)
