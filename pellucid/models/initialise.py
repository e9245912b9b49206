"""Weights to begin with, other than a network's own: to see what initialisation does."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn
from torch.nn.modules.conv import _ConvNd

from .layers import RELU_GAIN, scaled_normal_

Layer = _ConvNd | nn.Linear


def initialise(network: nn.Module, how: str) -> None:
    """Draws the weights of every convolution and dense layer anew, in place, and sets their biases
    to 0. how:

    - own: nothing happens;
    - zero_bias: only the biases change;
    - he: normal, of deviation √(2/fan_in), and √(1/fan_in) in the last layer (He et al., Delving
      Deep into Rectifiers, 2015);
    - large: ten times that, so that in a row of L layers without normalisation the logits are 10^L
      times as large;
    - equal: every weight of a layer is 1/fan_in. All units of a hidden layer then answer alike and
      get the same gradient for ever: the layer is one unit wide, though not linear. Only dropout
      tells its units apart.

    Normalisation layers keep scale 1 and shift 0. The last layer is by rule of thumb the
    convolution or dense layer that was registered last; auxiliary classifiers end in a layer like
    any other.
    Random numbers are torch's own, as in building a network.
    """
    INITIALISATIONS[how]([layer for _, layer in weighted(network)])


def weighted(network: nn.Module) -> list[tuple[str, Layer]]:
    """Every convolution and dense layer with its name,
    in the order in which they were registered."""
    return [(name, layer) for name, layer in network.named_modules() if isinstance(layer, Layer)]


def _own(layers: list[Layer]) -> None:
    pass


def _zero_bias(layers: list[Layer]) -> None:
    for layer in layers:
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def _he(layers: list[Layer], times: float = 1.0) -> None:
    for layer in layers:
        scaled_normal_(layer, times * (1.0 if layer is layers[-1] else RELU_GAIN))


def _large(layers: list[Layer]) -> None:
    _he(layers, times=10.0)


def _equal(layers: list[Layer]) -> None:
    for layer in layers:
        units = layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels
        nn.init.constant_(layer.weight, units / layer.weight.numel())
    _zero_bias(layers)


INITIALISATIONS: dict[str, Callable[[list[Layer]], None]] = {
    "own": _own,
    "zero_bias": _zero_bias,
    "he": _he,
    "large": _large,
    "equal": _equal,
}
