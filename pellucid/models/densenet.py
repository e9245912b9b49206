"""DenseNet: each layer sees the maps of all layers before it in its block, and adds a few of its
own.

Source: G. Huang, Z. Liu, L. van der Maaten, K. Q. Weinberger, Densely Connected Convolutional
Networks, CVPR 2017 (arXiv 1608.06993, 2016).
Introduced: concatenation where residual networks add, so that L layers have L(L+1)/2 connections
and a layer needs only `growth` maps of its own; transitions (1×1 convolution to half the maps, 2×2
average) between the dense blocks.

The paper's claims, ImageNet validation, one crop, top-1 error in per cent (table 3): DenseNet-121
25.02, 169 23.80, 201 22.58.

Choices and deviations:
- The form is DenseNet-BC: a 1×1 convolution to 4·growth maps before each 3×3, transitions that
  halve. Growth 32, and 48 in DenseNet-161, whose stem has 96 maps.
- Names and shapes of the state dict are those of the published PyTorch modules. The published files
  themselves were written with older names; `renamed` gives them the present ones.
- The last batch norm is followed by a ReLU within `features`, where the published code has it in
  front of the dense layer: the last map is then like every other's input, and the logits are the
  same.
- Each layer copies all maps of its block once more, which costs memory in training that grows with
  the square of the block's depth.
- Initialisation: convolutions normal of deviation √(2/fan_in) (He et al., Delving Deep into
  Rectifiers, 2015, eq. 10), as in the paper (section 4.2); batch norm γ = 1, β = 0; the dense layer
  normal of 1/√fan_in (LeCun et al., 1998) with bias 0.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from .layers import RELU_GAIN, Pyramid, scaled_normal_

_OLD = re.compile(r"(denselayer\d+\.(?:norm|conv))\.(\d)\.")


class DenseLayer(nn.Module):
    """1×1 to 4·growth maps, 3×3 to `growth`, each after batch norm and ReLU: inputs → inputs +
    growth maps, the first as they came."""

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv1 = nn.Conv2d(inputs, 4 * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(4 * growth)
        self.relu2 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        narrow = self.conv1(self.relu1(self.norm1(x)))
        return torch.cat([x, self.conv2(self.relu2(self.norm2(narrow)))], 1)


def dense_block(inputs: int, growth: int, depth: int) -> nn.Sequential:
    """inputs → inputs + depth·growth maps of the same size."""
    return nn.Sequential(
        OrderedDict(
            (f"denselayer{at + 1}", DenseLayer(inputs + at * growth, growth)) for at in range(depth)
        )
    )


def transition(inputs: int) -> nn.Sequential:
    """Half the maps, half the height and width."""
    return nn.Sequential(
        OrderedDict(
            norm=nn.BatchNorm2d(inputs),
            relu=nn.ReLU(inplace=True),
            conv=nn.Conv2d(inputs, inputs // 2, 1, bias=False),
            pool=nn.AvgPool2d(2, stride=2),
        )
    )


class DenseNet(nn.Module):
    """B×channels×height×width → B×classes logits. Features: the stem at stride 2 and the four dense
    blocks at 4, 8, 16, 32."""

    feature_strides = (2, 4, 8, 16, 32)

    def __init__(
        self, depths: tuple[int, int, int, int], growth: int, stem: int, classes: int, channels: int
    ) -> None:
        super().__init__()
        rows: OrderedDict[str, nn.Module] = OrderedDict(
            conv0=nn.Conv2d(channels, stem, 7, stride=2, padding=3, bias=False),
            norm0=nn.BatchNorm2d(stem),
            relu0=nn.ReLU(inplace=True),
            pool0=nn.MaxPool2d(3, stride=2, padding=1),
        )
        maps, widths = stem, [stem]
        for number, depth in enumerate(depths, start=1):
            rows[f"denseblock{number}"] = dense_block(maps, growth, depth)
            maps += depth * growth
            widths.append(maps)
            if number < len(depths):
                rows[f"transition{number}"] = transition(maps)
                maps //= 2
        rows["norm5"] = nn.BatchNorm2d(maps)
        rows["relu5"] = nn.ReLU(inplace=True)
        names = list(rows)
        self.feature_channels = tuple(widths)
        self.features = Pyramid(
            rows,
            [
                names.index(each)
                for each in ("relu0", "denseblock1", "denseblock2", "denseblock3", "relu5")
            ],
        )
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(maps, classes)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                scaled_normal_(layer, RELU_GAIN if isinstance(layer, nn.Conv2d) else 1)

    def head(self, maps: tuple[Tensor, ...]) -> Tensor:
        return self.classifier(self.avgpool(maps[-1]).flatten(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


def renamed(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a published file under the names of the modules: `…denselayer1.norm.1.weight`
    is `…denselayer1.norm1.weight`.

    Names that are new already stay, so a file of either age may be given.
    """
    return {_OLD.sub(r"\1\2.", name): tensor for name, tensor in weights.items()}


def densenet121(classes: int = 10, channels: int = 3) -> DenseNet:
    return DenseNet((6, 12, 24, 16), 32, 64, classes, channels)


def densenet161(classes: int = 10, channels: int = 3) -> DenseNet:
    return DenseNet((6, 12, 36, 24), 48, 96, classes, channels)


def densenet169(classes: int = 10, channels: int = 3) -> DenseNet:
    return DenseNet((6, 12, 32, 32), 32, 64, classes, channels)


def densenet201(classes: int = 10, channels: int = 3) -> DenseNet:
    return DenseNet((6, 12, 48, 32), 32, 64, classes, channels)
