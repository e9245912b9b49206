"""LeNet-5, twice: as it is taught today, and as it was in 1998.

Source: Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, Gradient-Based Learning Applied to Document
Recognition, Proc. IEEE, 1998.
Introduced: the order convolution, subsampling, convolution, subsampling, dense, trained as one by
back-propagation.
The paper's claims: 0.95 % test error on MNIST, 0.8 % with distorted training digits added; 60,000
trainable parameters and 340,908 connections.

`LeNet5` deviates from the paper: every map of the second convolution sees all six maps, ReLU for
tanh, max-pooling for trainable subsampling, a dense layer of logits for the RBF units. 61,706
parameters at 32×32×1 and 10 classes.
Its initialisation: He normal with fan_in before a ReLU, deviation 1/√fan_in for the last layer,
biases 0 (see layers.py).

`LeNet5Of1998` follows section II.B and appendix A:
- every unit up to F6 is squashed by 1.7159·tanh(2/3·x), the subsampling units too;
- S2, S4: the sum of 2×2 inputs times a trainable coefficient, plus a trainable bias, one pair a
  map;
- C3: each map sees 3, 4 or 6 maps of S2 (table I), so 1,516 parameters and not 2,416;
- output: one RBF unit a class, whose centre is a fixed ±1 code of 84 numbers, a 7×12 drawing of the
  digit;
- initialisation: uniform in ±2.4/fan_in, biases 0.
C1 156, S2 12, C3 1,516, S4 32, C5 48,120, F6 10,164 = 60,000 trainable parameters; the codes are a
buffer.
Its deviations: the paper's RBF is ‖x − w‖², a penalty that training pushes down; here the logit is
−‖x − w‖²/√84, so that cross-entropy on it is the paper's criterion of eq. 9 without the constant
rubbish class and at another temperature. √84 is the deviation of a sum over 84 units; without it
the logits are so large that gradient descent at a rate of 0.1 diverges.
The drawings are our own, for the paper's are only printed. For other than 10 classes the codes are
pseudo-random ±1, the same for a class whatever their number. The paper's pixels go from −0.1
(paper) to 1.175 (ink).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.errors import UsageError
from ..core.rng import generator
from .layers import RELU_GAIN, scaled_normal_


class LeNet5(nn.Module):
    """B×channels×height×width of the size it was built for → B×classes logits. The paper's size is
    32×32; 16×16 is the least."""

    feature_channels = (6, 16, 16)
    feature_strides = (1, 2, 4)

    def __init__(
        self, classes: int = 10, channels: int = 3, size: tuple[int, int] = (32, 32)
    ) -> None:
        super().__init__()
        height, width = (((side - 4) // 2 - 4) // 2 for side in size)
        if min(height, width) < 1:
            raise UsageError(
                f"lenet5: pictures of {size[0]}×{size[1]} are too small; it needs at least 16×16"
            )
        self.conv1 = nn.Conv2d(channels, 6, 5)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.relu = nn.ReLU(inplace=True)
        self.pool = nn.MaxPool2d(2)
        self.fc1 = nn.Linear(16 * height * width, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, classes)
        for layer in (self.conv1, self.conv2, self.fc1, self.fc2):
            scaled_normal_(layer, RELU_GAIN)
        scaled_normal_(self.fc3, 1.0)

    def features(self, x: Tensor) -> tuple[Tensor, ...]:
        fine = self.relu(self.conv1(x))
        middle = self.relu(self.conv2(self.pool(fine)))
        return fine, middle, self.pool(middle)

    def head(self, maps: tuple[Tensor, ...]) -> Tensor:
        x = self.relu(self.fc1(maps[-1].flatten(1)))
        x = self.relu(self.fc2(x))
        return self.fc3(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


class LeNet5Of1998(nn.Module):
    """B×channels×32×32 → B×classes logits; no other size."""

    feature_channels = (6, 16, 16)
    feature_strides = (1, 2, 4)
    fixed_size = (32, 32)

    def __init__(self, classes: int = 10, channels: int = 3) -> None:
        super().__init__()
        self.c1 = nn.Conv2d(channels, 6, 5)
        self.s2 = Subsampling(6)
        self.c3 = PartialConvolution()
        self.s4 = Subsampling(16)
        self.c5 = nn.Conv2d(16, 120, 5)
        self.f6 = nn.Linear(120, 84)
        self.squash = ScaledTanh()
        self.output = RadialBasis(codes(classes))
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                bound = 2.4 / layer.weight[0].numel()
                nn.init.uniform_(layer.weight, -bound, bound)
                nn.init.zeros_(layer.get_parameter("bias"))

    def features(self, x: Tensor) -> tuple[Tensor, ...]:
        fine = self.squash(self.c1(x))
        middle = self.squash(self.c3(self.squash(self.s2(fine))))
        return fine, middle, self.squash(self.s4(middle))

    def head(self, maps: tuple[Tensor, ...]) -> Tensor:
        x = self.squash(self.c5(maps[-1])).flatten(1)
        return self.output(self.squash(self.f6(x)))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


class ScaledTanh(nn.Module):
    """1.7159·tanh(2/3·x): takes ±1 to ±1, where its curvature is largest (appendix A)."""

    def forward(self, x: Tensor) -> Tensor:
        return 1.7159 * torch.tanh(x * (2 / 3))


class Subsampling(nn.Module):
    """The sum of each 2×2 square times a coefficient, plus a bias; both trained, one pair a map.
    fan_in is 4."""

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(maps).uniform_(-2.4 / 4, 2.4 / 4))
        self.bias = nn.Parameter(torch.zeros(maps))

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 2) * (4 * self.weight[:, None, None]) + self.bias[:, None, None]


class PartialConvolution(nn.Module):
    """C3: 6 maps to 16 by 5×5, each seeing only the maps that table I of the paper names: 60 of the
    96 kernels exist.

    It computes with all 96, 36 of them zero: one dense convolution takes less than half the time of
    three grouped ones.
    """

    sees = (
        *((0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5)),
        *((0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5)),
        *((0, 1, 2, 5), (0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5)),
        (0, 1, 2, 3, 4, 5),
    )
    kernel_of: Tensor

    def __init__(self) -> None:
        super().__init__()
        pairs = [(output, source) for output, sources in enumerate(self.sees) for source in sources]
        places = [
            pairs.index((output, source)) + 1 if source in self.sees[output] else 0
            for output in range(16)
            for source in range(6)
        ]
        self.register_buffer("kernel_of", torch.tensor(places), persistent=False)
        bounds = torch.tensor([2.4 / (25 * len(self.sees[output])) for output, _ in pairs])
        self.weight = nn.Parameter((torch.rand(len(pairs), 25) * 2 - 1) * bounds[:, None])
        self.bias = nn.Parameter(torch.zeros(16))

    def forward(self, x: Tensor) -> Tensor:
        kernels = F.pad(self.weight, (0, 0, 1, 0)).index_select(0, self.kernel_of)
        return F.conv2d(x, kernels.view(16, 6, 5, 5), self.bias)

    def macs(self, output: tuple[int, ...]) -> int:
        """Those of the kernels that exist."""
        return self.weight.numel() * output[1] * output[2]


class RadialBasis(nn.Module):
    """B×84 → B×classes: −‖x − code‖²/√84 for each class.
    The codes are fixed and are no parameters."""

    codes: Tensor

    def __init__(self, codes: Tensor) -> None:
        super().__init__()
        self.register_buffer("codes", codes)

    def forward(self, x: Tensor) -> Tensor:
        return -(x[:, None] - self.codes).square().sum(-1) / math.sqrt(84)

    def macs(self, output: tuple[int, ...]) -> int:
        return self.codes.numel()


def codes(classes: int) -> Tensor:
    """classes×84 of ±1: the drawn digits for ten classes, pseudo-random otherwise."""
    if classes == 10:
        glyphs = zip(*(line.split() for line in DIGITS.split("\n")), strict=True)
        bits = np.array([[mark == "#" for line in glyph for mark in line] for glyph in glyphs])
    else:
        bits = generator(1998, 84).integers(0, 2, (classes, 84))
    return torch.tensor(bits, dtype=torch.float32) * 2 - 1


DIGITS = """\
..###.. ...#... ..###.. .#####. ....#.. ####### ..####. ####### ..###.. ..###..
.#...#. ..##... .#...#. #.....# ...##.. #...... .#....# ......# .#...#. .#...#.
#.....# .#.#... #.....# ......# ...##.. #...... #...... ......# #.....# #.....#
#.....# ...#... ......# ......# ..#.#.. #...... #...... .....#. #.....# #.....#
#.....# ...#... ......# .....#. ..#.#.. #.###.. #...... .....#. .#...#. #.....#
#.....# ...#... .....#. ..###.. .#..#.. ##...#. #.###.. ....#.. ..###.. .#...##
#.....# ...#... ....#.. .....#. .#..#.. ......# ##...#. ....#.. .#...#. ..###.#
#.....# ...#... ...#... ......# #...#.. ......# #.....# ...#... #.....# ......#
#.....# ...#... ..#.... ......# ####### ......# #.....# ...#... #.....# ......#
#.....# ...#... .#..... ......# ....#.. ......# #.....# ..#.... #.....# ......#
.#...#. ...#... #...... #.....# ....#.. #....#. .#...#. ..#.... .#...#. #....#.
..###.. .#####. ####### .#####. ....#.. .####.. ..###.. ..#.... ..###.. .####.."""
