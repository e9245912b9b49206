"""Multi-layer perceptron: dense layers on the pixels, which knows nothing of neighbourhood.

Source: D. E. Rumelhart, G. E. Hinton, R. J. Williams, Learning Representations by Back-Propagating
Errors, Nature 323, 1986.
Introduced: hidden layers whose meaning nobody gives; they are learned from the error of the last.
Claims: LeCun et al. 1998 report 4.7 % error on MNIST for one hidden layer of 300 units, 2.95 % for
two of 500 and 150.
Deviations: ReLU for the sigmoid, logits for squashed outputs.
Initialisation: He normal with fan_in before a ReLU, deviation 1/√fan_in for the last layer, biases
0 (see layers.py).
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from .layers import he_normal_


class MLP(nn.Module):
    """B×channels×height×width → B×classes logits. It takes only the size that it was built for.
    hidden: units of each hidden layer."""

    feature_strides = (1,)

    def __init__(
        self,
        classes: int = 10,
        channels: int = 3,
        size: tuple[int, int] = (32, 32),
        hidden: tuple[int, ...] = (512, 256),
    ) -> None:
        super().__init__()
        self.feature_channels = (channels,)
        widths = (channels * size[0] * size[1], *hidden)
        self.hidden = nn.Sequential()
        for inputs, units in pairwise(widths):
            self.hidden.extend([nn.Linear(inputs, units), nn.ReLU(inplace=True)])
        self.fc = nn.Linear(widths[-1], classes)
        he_normal_(self, self.fc)

    def features(self, x: Tensor) -> tuple[Tensor, ...]:
        """The picture itself."""
        return (x,)

    def head(self, maps: tuple[Tensor, ...]) -> Tensor:
        return self.fc(self.hidden(maps[-1].flatten(1)))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))
