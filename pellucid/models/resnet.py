"""ResNet: what a layer has to learn is the difference from its input; and the plain twins that show
why.

Source: K. He, X. Zhang, S. Ren, J. Sun, Deep Residual Learning for Image Recognition, CVPR 2016
(arXiv 1512.03385, 2015).
Introduced: the identity skip around two or three convolutions, which let networks of 152 layers
train where plain ones of 34 already did worse than plain ones of 18; the bottleneck block 1×1, 3×3,
1×1.

The paper's claims, ImageNet validation, 10 crops, top-1 error in per cent (tables 2 and 3):
plain-18 27.94, plain-34 28.54, ResNet-18 27.88, ResNet-34 25.03 (shortcut A) and 24.52 (B),
ResNet-50 22.85, ResNet-101 21.75, ResNet-152 21.43.

Choices and deviations:
- Shortcuts are option B: a 1×1 projection where the shape changes, the identity elsewhere.
- "v1.5": in a bottleneck that halves the map, the stride sits on the 3×3 and not, as in the paper,
  on the first 1×1, which would throw three quarters of its input away. The published PyTorch
  weights are of this form. The MACs are therefore 4.09·10⁹ for ResNet-50 at 224×224 where the
  paper's table 1 has 3.8·10⁹.
- Names and shapes of the state dict are those of the published PyTorch files, so these load as they
  are (classes=1000).
- Initialisation: convolutions He normal with fan_out (He et al., Delving Deep into Rectifiers,
  2015, eq. 14: keeps the gradient's variance); batch norm γ = 1, β = 0, the last γ of a block too
  (zero there is a later idea: Goyal et al. 2017); the dense layer uniform in ±1/√fan_in (LeCun et
  al. 1998) with bias 0.
- The plain twins are the same layers without skips, and so without projections.
"""

from __future__ import annotations

import math

from torch import Tensor, nn


def projection(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


class BasicBlock(nn.Module):
    """Two 3×3 convolutions and the skip: inputs → width maps."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int, skip: bool) -> None:
        super().__init__()
        self.skip = skip
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = (
            projection(inputs, width, stride) if skip and (stride != 1 or inputs != width) else None
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.skip:
            y += x if self.downsample is None else self.downsample(x)
        return self.relu(y)


class Bottleneck(nn.Module):
    """1×1 down to `width`, 3×3, 1×1 up to 4·width, and the skip: inputs → 4·width maps."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int, skip: bool) -> None:
        super().__init__()
        outputs = width * self.expansion
        self.skip = skip
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = (
            projection(inputs, outputs, stride)
            if skip and (stride != 1 or inputs != outputs)
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        if self.skip:
            y += x if self.downsample is None else self.downsample(x)
        return self.relu(y)


class ResNet(nn.Module):
    """B×channels×height×width, any size → B×classes logits. Features: the stem at stride 2 and the
    four stages at 4, 8, 16, 32."""

    feature_strides = (2, 4, 8, 16, 32)

    def __init__(
        self,
        block: type[BasicBlock | Bottleneck],
        depths: tuple[int, int, int, int],
        classes: int,
        channels: int,
        skip: bool = True,
    ) -> None:
        super().__init__()
        widths = [64, *(width * block.expansion for width in (64, 128, 256, 512))]
        self.feature_channels = tuple(widths)
        self.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = stage(block, widths[0], 64, depths[0], 1, skip)
        self.layer2 = stage(block, widths[1], 128, depths[1], 2, skip)
        self.layer3 = stage(block, widths[2], 256, depths[2], 2, skip)
        self.layer4 = stage(block, widths[3], 512, depths[3], 2, skip)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(widths[4], classes)
        self.initialise()

    def initialise(self) -> None:
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(layer, nn.BatchNorm2d):
                nn.init.ones_(layer.weight)
                nn.init.zeros_(layer.bias)
        bound = 1 / math.sqrt(self.fc.in_features)
        nn.init.uniform_(self.fc.weight, -bound, bound)
        nn.init.zeros_(self.fc.bias)

    def features(self, x: Tensor) -> tuple[Tensor, ...]:
        stem = self.relu(self.bn1(self.conv1(x)))
        c2 = self.layer1(self.maxpool(stem))
        c3 = self.layer2(c2)
        c4 = self.layer3(c3)
        c5 = self.layer4(c4)
        return stem, c2, c3, c4, c5

    def head(self, maps: tuple[Tensor, ...]) -> Tensor:
        return self.fc(self.avgpool(maps[-1]).flatten(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


def stage(
    block: type[BasicBlock | Bottleneck],
    inputs: int,
    width: int,
    depth: int,
    stride: int,
    skip: bool,
) -> nn.Sequential:
    first = block(inputs, width, stride, skip)
    return nn.Sequential(
        first, *(block(width * block.expansion, width, 1, skip) for _ in range(depth - 1))
    )


def resnet18(classes: int = 10, channels: int = 3) -> ResNet:
    return ResNet(BasicBlock, (2, 2, 2, 2), classes, channels)


def resnet34(classes: int = 10, channels: int = 3) -> ResNet:
    return ResNet(BasicBlock, (3, 4, 6, 3), classes, channels)


def resnet50(classes: int = 10, channels: int = 3) -> ResNet:
    return ResNet(Bottleneck, (3, 4, 6, 3), classes, channels)


def resnet101(classes: int = 10, channels: int = 3) -> ResNet:
    return ResNet(Bottleneck, (3, 4, 23, 3), classes, channels)


def resnet152(classes: int = 10, channels: int = 3) -> ResNet:
    return ResNet(Bottleneck, (3, 8, 36, 3), classes, channels)


def plain18(classes: int = 10, channels: int = 3) -> ResNet:
    return ResNet(BasicBlock, (2, 2, 2, 2), classes, channels, skip=False)


def plain34(classes: int = 10, channels: int = 3) -> ResNet:
    return ResNet(BasicBlock, (3, 4, 6, 3), classes, channels, skip=False)


def plain50(classes: int = 10, channels: int = 3) -> ResNet:
    return ResNet(Bottleneck, (3, 4, 6, 3), classes, channels, skip=False)


def plain101(classes: int = 10, channels: int = 3) -> ResNet:
    return ResNet(Bottleneck, (3, 4, 23, 3), classes, channels, skip=False)


def plain152(classes: int = 10, channels: int = 3) -> ResNet:
    return ResNet(Bottleneck, (3, 8, 36, 3), classes, channels, skip=False)
