"""ResNet for CIFAR: 6n + 2 layers, narrow, and skips without a parameter.

Source: K. He, X. Zhang, S. Ren, J. Sun, Deep Residual Learning for Image Recognition, CVPR 2016
(arXiv 1512.03385, 2015), section 4.2. What the skip is for says resnet.py; this is the small form
with which the paper studies depth: a 3×3 stem, three stages of n blocks with 16, 32 and 64 maps at
32×32, 16×16 and 8×8, and option A: a shortcut that changes its shape takes every second pixel and
pads with maps of zeros.

The paper's claims, CIFAR-10 test error in per cent (table 6): ResNet-20 8.75, -32 7.51, -44 7.17,
-56 6.97; 0.27, 0.46, 0.66 and 0.85 million parameters.

Choices and deviations:
- The zeros lie on both sides of the maps, half and half; the paper does not say where. Published
  files are trained so.
- Names and shapes of the state dict are those of the files published by Y. Idelbayev, once their
  prefix `module.` is taken off.
- Initialisation: convolutions He normal with fan_in (the paper names He et al. 2015), batch norm γ
  = 1, β = 0; the dense layer normal of deviation 1/√fan_in, bias 0 (see layers.py).
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from .layers import he_normal_


class Block(nn.Module):
    """Two 3×3 convolutions and the skip: inputs → width maps, at 1/stride of the size,
    rounded up."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.added = width - inputs
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        y += self.shortcut(x)
        return self.relu(y)

    def shortcut(self, x: Tensor) -> Tensor:
        """Option A: x itself, or every second pixel of it between maps of zeros."""
        if self.stride == 1 and not self.added:
            return x
        before = self.added // 2
        return F.pad(
            x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, before, self.added - before)
        )


class CifarResNet(nn.Module):
    """B×channels×height×width, any size → B×classes logits. depth: blocks a stage.
    Native size 32×32."""

    feature_channels = (16, 32, 64)
    feature_strides = (1, 2, 4)

    def __init__(self, depth: int, classes: int, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = stage(16, 16, depth, 1)
        self.layer2 = stage(16, 32, depth, 2)
        self.layer3 = stage(32, 64, depth, 2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(64, classes)
        he_normal_(self, self.linear)

    def features(self, x: Tensor) -> tuple[Tensor, ...]:
        fine = self.layer1(self.relu(self.bn1(self.conv1(x))))
        middle = self.layer2(fine)
        return fine, middle, self.layer3(middle)

    def head(self, maps: tuple[Tensor, ...]) -> Tensor:
        return self.linear(self.avgpool(maps[-1]).flatten(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


def stage(inputs: int, width: int, depth: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        Block(inputs, width, stride), *(Block(width, width, 1) for _ in range(depth - 1))
    )


def resnet20(classes: int = 10, channels: int = 3) -> CifarResNet:
    return CifarResNet(3, classes, channels)


def resnet32(classes: int = 10, channels: int = 3) -> CifarResNet:
    return CifarResNet(5, classes, channels)


def resnet44(classes: int = 10, channels: int = 3) -> CifarResNet:
    return CifarResNet(7, classes, channels)


def resnet56(classes: int = 10, channels: int = 3) -> CifarResNet:
    return CifarResNet(9, classes, channels)
