"""One object a picture, or its landmarks, by regression: a backbone of any kind and one dense
layer.

Source: P. Sermanet et al., OverFeat, ICLR 2014, section 4 (a regressor of boxes on the maps of a
classifier); for landmarks, A. Toshev and C. Szegedy, DeepPose, CVPR 2014. Where the object is must
survive until the dense layer: so the last map is averaged to 7×7 cells and not, as for classes,
over the whole picture.
Initialisation: of the dense layer, deviation 1/√fan_in and as biases what is right on average
without looking: an object as likely as not, in the middle, half as large as the picture.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from .layers import scaled_normal_

CELLS = 7


class Localiser(nn.Module):
    """B×channels×height×width → B×(1 + 4 + classes): is there an object, its x, y, height and width
    in shares of the picture, its class.

    Without `sized` objects have one size, and the answer is 1 + 2 + classes (see
    `losses.localization`). No activation: the loss is squared.
    """

    def __init__(self, backbone: Any, classes: int, sized: bool = True) -> None:
        super().__init__()
        self.backbone, self.classes, self.sized = backbone, classes, sized
        self.feature_channels, self.feature_strides = (
            backbone.feature_channels,
            backbone.feature_strides,
        )
        self.answer = Regression(backbone.feature_channels[-1], 1 + (4 if sized else 2) + classes)

    def features(self, x: Tensor) -> tuple[Tensor, ...]:
        return self.backbone.features(x)

    def head(self, maps: tuple[Tensor, ...]) -> Tensor:
        return self.answer(maps[-1])

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


class Landmarks(nn.Module):
    """B×channels×height×width → B×2N: x_1, y_1, … x_N,
    y_N of N landmarks in shares of the picture."""

    def __init__(self, backbone: Any, points: int) -> None:
        super().__init__()
        self.backbone, self.points = backbone, points
        self.feature_channels, self.feature_strides = (
            backbone.feature_channels,
            backbone.feature_strides,
        )
        self.answer = Regression(backbone.feature_channels[-1], 2 * points)

    def features(self, x: Tensor) -> tuple[Tensor, ...]:
        return self.backbone.features(x)

    def head(self, maps: tuple[Tensor, ...]) -> Tensor:
        return self.answer(maps[-1])

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


class Regression(nn.Module):
    """B×channels×h×w → B×numbers: one dense layer over the map, averaged to 7×7 cells."""

    def __init__(self, channels: int, numbers: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(CELLS)
        self.fc = nn.Linear(channels * CELLS**2, numbers)
        scaled_normal_(self.fc, 1.0)
        nn.init.constant_(self.fc.bias, 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.pool(x).flatten(1))
