"""SqueezeNet 1.1: as right as AlexNet with a fiftieth of its parameters.

Source: F. N. Iandola, S. Han, M. W. Moskewicz, K. Ashraf, W. J. Dally, K. Keutzer, SqueezeNet:
AlexNet-Level Accuracy with 50× Fewer Parameters and <0.5 MB Model Size, 2016 (arXiv 1602.07360).
Version 1.1 is the authors' own later release: a smaller first convolution and earlier pooling, 2.4
times less to compute than the paper's 1.0.
Introduced: the fire module: 1×1 convolutions squeeze the maps to few, then 1×1 and 3×3 convolutions
side by side expand them.

The paper's claims for 1.0, ImageNet: 57.5 % top-1 and 80.3 % top-5 accuracy (AlexNet's: 57.2 % and
80.3 %) in 4.8 MB of weights. 1,235,496 parameters at 1000 classes here.

Choices and deviations:
- Names and shapes of the state dict are those of the published PyTorch file, so it loads as it is
  (classes=1000).
- The classifier is a 1×1 convolution with a ReLU and an average over the map, so no logit is
  below 0.
- Initialisation: He normal with fan_in before a ReLU, biases 0 (see layers.py); the last
  convolution normal of deviation 0.01, as in the published form.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .layers import Pyramid, he_normal_


class Fire(nn.Module):
    """inputs → `squeeze` maps by 1×1 → `expand` maps by 1×1 beside `expand` maps by 3×3."""

    def __init__(self, inputs: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeeze, 1)
        self.squeeze_activation = nn.ReLU(inplace=True)
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
        self.expand1x1_activation = nn.ReLU(inplace=True)
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)
        self.expand3x3_activation = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.squeeze_activation(self.squeeze(x))
        return torch.cat(
            [
                self.expand1x1_activation(self.expand1x1(x)),
                self.expand3x3_activation(self.expand3x3(x)),
            ],
            1,
        )


class SqueezeNet(nn.Module):
    """B×channels×height×width from 17×17 on → B×classes logits. Native size 224×224."""

    feature_channels = (64, 128, 256, 512)
    feature_strides = (2, 4, 8, 16)

    def __init__(self, classes: int = 10, channels: int = 3) -> None:
        super().__init__()
        row = [
            *(nn.Conv2d(channels, 64, 3, stride=2), nn.ReLU(inplace=True)),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            *(Fire(64, 16, 64), Fire(128, 16, 64)),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            *(Fire(128, 32, 128), Fire(256, 32, 128)),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            *(Fire(256, 48, 192), Fire(384, 48, 192), Fire(384, 64, 256), Fire(512, 64, 256)),
        ]
        last = nn.Conv2d(512, classes, 1)
        self.features = Pyramid(row, cuts=(1, 4, 7, 12))
        self.classifier = nn.Sequential(
            nn.Dropout(), last, nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1)
        )
        he_normal_(self, last)
        nn.init.normal_(last.weight, std=0.01)

    def head(self, maps: tuple[Tensor, ...]) -> Tensor:
        return self.classifier(maps[-1]).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))
