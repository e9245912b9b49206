"""VGG: nothing but 3×3 convolutions and pooling, and deeper than anything before.

Source: K. Simonyan, A. Zisserman, Very Deep Convolutional Networks for Large-Scale Image
Recognition, ICLR 2015 (arXiv 1409.1556, 2014). The networks 11, 13, 16, 19 are its configurations
A, B, D, E of table 1.
Introduced: two 3×3 convolutions see as far as one 5×5, with fewer weights and one ReLU more; depth
as the thing to vary.

The paper's claims, ImageNet validation, one network at one scale, top-1 / top-5 error in per cent
(table 3): A 29.6 / 10.4, B 28.7 / 9.9, D 25.6 / 8.1, E 25.5 / 8.0. Parameters in millions (table
2): A 133, B 133, D 138, E 144.

Choices and deviations:
- The `_bn` twins have batch norm before every ReLU of the convolutions (S. Ioffe, C. Szegedy,
  2015); the paper has none.
- An average over 7×7 regions before the dense layers lets the network take any size from 32×32; at
  224×224 it changes nothing.
- Names and shapes of the state dict are those of the published PyTorch files, so these load as they
  are (classes=1000).
- Initialisation: He normal with fan_in before a ReLU, deviation 1/√fan_in for the last layer,
  biases 0 (see layers.py). The paper could not train its deep networks from a normal of deviation
  0.01 and started them from the trained layers of A.
"""

from __future__ import annotations

from itertools import accumulate

from torch import Tensor, nn

from .layers import Pyramid, he_normal_

WIDTHS = (64, 128, 256, 512, 512)


class VGG(nn.Module):
    """B×channels×height×width from 32×32 on → B×classes logits. Native size 224×224.

    depths: 3×3 convolutions of each of the five stages. Features: the last map of each stage at
    strides 1, 2, 4, 8, 16 and the last pool's at 32.
    """

    feature_channels = (*WIDTHS, 512)
    feature_strides = (1, 2, 4, 8, 16, 32)

    def __init__(
        self, depths: tuple[int, ...], classes: int, channels: int, norm: bool = False
    ) -> None:
        super().__init__()
        last = nn.Linear(4096, classes)
        self.features = convolutions(depths, channels, norm)
        self.avgpool = nn.AdaptiveAvgPool2d(7)
        self.classifier = nn.Sequential(
            *(nn.Linear(512 * 7 * 7, 4096), nn.ReLU(inplace=True), nn.Dropout()),
            *(nn.Linear(4096, 4096), nn.ReLU(inplace=True), nn.Dropout()),
            last,
        )
        he_normal_(self, last)

    def head(self, maps: tuple[Tensor, ...]) -> Tensor:
        return self.classifier(self.avgpool(maps[-1]).flatten(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


def convolutions(depths: tuple[int, ...], channels: int, norm: bool) -> Pyramid:
    stages = [
        stage(inputs, width, depth, norm)
        for inputs, width, depth in zip((channels, *WIDTHS), WIDTHS, depths, strict=False)
    ]
    pools = [end - 1 for end in accumulate(map(len, stages))]
    return Pyramid(
        [layer for each in stages for layer in each],
        cuts=(*(pool - 1 for pool in pools), pools[-1]),
    )


def stage(inputs: int, width: int, depth: int, norm: bool) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for seen in (inputs, *[width] * (depth - 1)):
        layers.append(nn.Conv2d(seen, width, 3, padding=1))
        if norm:
            layers.append(nn.BatchNorm2d(width))
        layers.append(nn.ReLU(inplace=True))
    return [*layers, nn.MaxPool2d(2)]


def vgg11(classes: int = 10, channels: int = 3) -> VGG:
    return VGG((1, 1, 2, 2, 2), classes, channels)


def vgg13(classes: int = 10, channels: int = 3) -> VGG:
    return VGG((2, 2, 2, 2, 2), classes, channels)


def vgg16(classes: int = 10, channels: int = 3) -> VGG:
    return VGG((2, 2, 3, 3, 3), classes, channels)


def vgg19(classes: int = 10, channels: int = 3) -> VGG:
    return VGG((2, 2, 4, 4, 4), classes, channels)


def vgg11_bn(classes: int = 10, channels: int = 3) -> VGG:
    return VGG((1, 1, 2, 2, 2), classes, channels, norm=True)


def vgg13_bn(classes: int = 10, channels: int = 3) -> VGG:
    return VGG((2, 2, 2, 2, 2), classes, channels, norm=True)


def vgg16_bn(classes: int = 10, channels: int = 3) -> VGG:
    return VGG((2, 2, 3, 3, 3), classes, channels, norm=True)


def vgg19_bn(classes: int = 10, channels: int = 3) -> VGG:
    return VGG((2, 2, 4, 4, 4), classes, channels, norm=True)
