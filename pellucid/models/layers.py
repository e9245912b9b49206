"""What two architectures share."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable, Sequence

from torch import Tensor, nn

RELU_GAIN = math.sqrt(2)


def scaled_normal_(layer: nn.Module, gain: float) -> None:
    """Normal weights of deviation gain/√fan_in, biases 0; for a convolution, transposed or not, or
    a dense layer.

    gain √2 keeps the variance through a ReLU (He et al., Delving Deep into Rectifiers, 2015, eq.
    10); gain 1 through no activation or around the middle of tanh (LeCun et al., Efficient
    BackProp, 1998, eq. 16).
    """
    weight = layer.get_parameter("weight")
    fan_in: float = weight[0].numel()
    if isinstance(layer, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d):
        # Stored input first. An output meets one tap in `stride` along each side, of every input
        # map of its group; where the stride is wider than the kernel, one tap or none.
        taps = math.prod(
            max(1.0, kernel / stride)
            for kernel, stride in zip(layer.kernel_size, layer.stride, strict=True)
        )
        fan_in = weight.shape[0] // layer.groups * taps
    nn.init.normal_(weight, std=gain / math.sqrt(fan_in))
    for name, parameter in layer.named_parameters():
        if name == "bias":
            nn.init.zeros_(parameter)


def conv_norm_silu(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Convolution that keeps the size (over the stride), batch norm, SiLU: the block of the YOLO
    line; not yet drawn."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.SiLU(inplace=True))


def he_normal_(network: nn.Module, last: nn.Module) -> None:
    """Every convolution and dense layer drawn for the ReLU that follows it, and `last`,
    which gives logits, for none."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            scaled_normal_(layer, 1.0 if layer is last else RELU_GAIN)


class Pyramid(nn.Sequential):
    """Layers in a row that give back the maps after some of them: the last of each stride, coarsest
    last.

    children: the layers, or an OrderedDict of named ones. cuts: places (from 0) in that row,
    rising, the last layer's last. The published files of several networks call their convolutional
    row `features`, which is also what our contract calls the way to the maps. As an attribute
    `features` this is both: the file's names stay, and `network.features(x)` gives the maps. After
    a cut must not come a layer that works in place, for it would overwrite the map.
    """

    def __init__(
        self, children: Iterable[nn.Module] | OrderedDict[str, nn.Module], cuts: Sequence[int]
    ) -> None:
        named = (
            children
            if isinstance(children, OrderedDict)
            else OrderedDict((str(at), layer) for at, layer in enumerate(children))
        )
        super().__init__(named)
        if list(cuts) != sorted(set(cuts)) or not cuts or cuts[-1] != len(self) - 1:
            raise ValueError(
                f"cuts {list(cuts)} must rise and end at the last layer, {len(self) - 1}"
            )
        self.cuts = tuple(cuts)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        maps = []
        for at, layer in enumerate(self):
            x = layer(x)
            if at in self.cuts:
                maps.append(x)
        return tuple(maps)
