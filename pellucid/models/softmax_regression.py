"""Softmax regression: one dense layer on the pixels. The network that every other one has to beat.

Source: D. R. Cox, The Regression Analysis of Binary Sequences, J. Royal Statistical Society B,
1958, for two classes; H. Theil, A Multinomial Extension of the Linear Logit Model, 1969, for
several.
Introduced: probabilities as a linear function of what is measured, in the exponent.
Claims: LeCun et al. 1998 report 12.0 % error on MNIST for a linear classifier.
Initialisation: zero. The loss is convex, so the start does not decide the end, and every class
begins at probability 1/classes.
"""

from __future__ import annotations

from torch import Tensor, nn


class SoftmaxRegression(nn.Module):
    """B×channels×height×width → B×classes logits. It takes only the size that it was built for."""

    feature_strides = (1,)

    def __init__(
        self, classes: int = 10, channels: int = 3, size: tuple[int, int] = (32, 32)
    ) -> None:
        super().__init__()
        self.feature_channels = (channels,)
        self.fc = nn.Linear(channels * size[0] * size[1], classes)
        nn.init.zeros_(self.fc.weight)
        nn.init.zeros_(self.fc.bias)

    def features(self, x: Tensor) -> tuple[Tensor, ...]:
        """The picture itself."""
        return (x,)

    def head(self, maps: tuple[Tensor, ...]) -> Tensor:
        return self.fc(maps[-1].flatten(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))
