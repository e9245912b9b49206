"""What two architectures share."""

from __future__ import annotations

import math

from torch import nn

RELU_GAIN = math.sqrt(2)


def scaled_normal_(layer: nn.Module, gain: float) -> None:
    """Normal weights of deviation gain/√fan_in, biases 0; for a convolution, transposed or not, or a dense layer.

    gain √2 keeps the variance through a ReLU (He et al., Delving Deep into Rectifiers, 2015, eq. 10); gain 1 through no
    activation or around the middle of tanh (LeCun et al., Efficient BackProp, 1998, eq. 16).
    """
    weight = layer.get_parameter("weight")
    fan_in = weight[0].numel()
    if isinstance(layer, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d):
        # Stored input first. An output meets one tap in `stride` along each side, of every input map of its group.
        fan_in = weight.shape[0] // layer.groups * math.prod(layer.kernel_size) // math.prod(layer.stride)
    nn.init.normal_(weight, std=gain / math.sqrt(fan_in))
    for name, parameter in layer.named_parameters():
        if name == "bias":
            nn.init.zeros_(parameter)
