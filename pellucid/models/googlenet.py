"""GoogLeNet: several kernel sizes side by side in one layer, each behind a 1×1 convolution that
makes it affordable.

Source: C. Szegedy, W. Liu, Y. Jia, P. Sermanet, S. Reed, D. Anguelov, D. Erhan, V. Vanhoucke, A.
Rabinovich, Going Deeper with Convolutions, CVPR 2015 (arXiv 1409.4842, 2014).
Introduced: the inception module (1×1, 3×3, 5×5 and max-pooling branches, stacked along channels),
the 1×1 convolution as a bottleneck of cost, and two auxiliary classifiers half-way, whose losses
bring gradient to the early layers; the large dense layers of its predecessors give way to one
average.

The paper's claims, ImageNet: top-5 error 6.67 per cent with seven networks and 144 crops, 10.07
with one network and one crop (tables 2 and 3); 12 times fewer parameters than AlexNet, within
1.5·10⁹ multiply-adds (section 1). At 224×224 and 1000 classes `googlenet` has 1.50·10⁹ and
`googlenet_2014` 1.58·10⁹.

Two forms:
- `googlenet` is the form of the published PyTorch file. Its weights came from a TensorFlow model
  whose "5×5" branch has 3×3 kernels, so 3×3 it must be for the file to load.
- `googlenet_2014` has the 5×5 of the paper's table 1, and differs in nothing else.

Choices and deviations, in both forms:
- Batch norm after each convolution (it was published a year later), ε = 0.001; no local response
  normalisation.
- The last pooling is 2×2, not 3×3; dropout before the dense layer is 0.2, not 0.4; the auxiliary
  heads average over adaptive windows (4 wide on 14×14) to 4×4, where the paper has 5×5 with stride
  3: so they take any size.
- Names and shapes of the state dict are those of the published file, auxiliary heads included, so
  it loads as it is (classes=1000). That is why the heads are built by default. The file holds them
  untrained: fine-tuning trains them from there.
- Initialisation: convolutions and the dense layer before a ReLU normal of deviation √(2/fan_in) (He
  et al., Delving Deep into Rectifiers, 2015, eq. 10); dense layers that give logits normal of
  1/√fan_in (LeCun et al., 1998); biases 0; batch norm γ = 1, β = 0. The paper names none.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from .layers import RELU_GAIN, scaled_normal_


def convolution(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Convolution that keeps the size (over the stride), batch norm, ReLU."""
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False),
            bn=nn.BatchNorm2d(outputs, eps=0.001),
            relu=nn.ReLU(inplace=True),
        )
    )


class Inception(nn.Module):
    """Four branches on the same map, one+three+five+pool maps in all. reduce3, reduce5: maps after
    the 1×1 in front of the wider kernels; wide: the side of the kernel of the branch that the paper
    calls 5×5."""

    def __init__(
        self,
        inputs: int,
        one: int,
        reduce3: int,
        three: int,
        reduce5: int,
        five: int,
        pool: int,
        wide: int,
    ) -> None:
        super().__init__()
        self.branch1 = convolution(inputs, one, 1)
        self.branch2 = nn.Sequential(
            convolution(inputs, reduce3, 1), convolution(reduce3, three, 3)
        )
        self.branch3 = nn.Sequential(
            convolution(inputs, reduce5, 1), convolution(reduce5, five, wide)
        )
        self.branch4 = nn.Sequential(
            nn.MaxPool2d(3, stride=1, padding=1), convolution(inputs, pool, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


class AuxiliaryHead(nn.Module):
    """B×inputs×height×width, any size → B×classes logits; for training only (section 5)."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(4)
        self.conv = convolution(inputs, 128, 1)
        self.fc1 = nn.Linear(128 * 4 * 4, 1024)
        self.relu = nn.ReLU(inplace=True)
        self.dropout = nn.Dropout(0.7)
        self.fc2 = nn.Linear(1024, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(self.avgpool(x)).flatten(1)
        return self.fc2(self.dropout(self.relu(self.fc1(x))))


class GoogLeNet(nn.Module):
    """B×channels×height×width → B×classes logits. Features: the last map of each of the strides 2,
    4, 8, 16 and 32.

    wide: side of the kernels of the "5×5" branches. auxiliary: with the two heads that
    `with_auxiliary` asks; `forward` leaves them out, and they cost nothing then.
    """

    feature_channels = (64, 192, 480, 832, 1024)
    feature_strides = (2, 4, 8, 16, 32)
    auxiliary_weight = 0.3

    def __init__(self, wide: int, classes: int, channels: int, auxiliary: bool) -> None:
        super().__init__()
        self.conv1 = convolution(channels, 64, 7, stride=2)
        self.maxpool1 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.conv2 = convolution(64, 64, 1)
        self.conv3 = convolution(64, 192, 3)
        self.maxpool2 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.inception3a = Inception(192, 64, 96, 128, 16, 32, 32, wide)
        self.inception3b = Inception(256, 128, 128, 192, 32, 96, 64, wide)
        self.maxpool3 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.inception4a = Inception(480, 192, 96, 208, 16, 48, 64, wide)
        self.inception4b = Inception(512, 160, 112, 224, 24, 64, 64, wide)
        self.inception4c = Inception(512, 128, 128, 256, 24, 64, 64, wide)
        self.inception4d = Inception(512, 112, 144, 288, 32, 64, 64, wide)
        self.inception4e = Inception(528, 256, 160, 320, 32, 128, 128, wide)
        self.maxpool4 = nn.MaxPool2d(2, stride=2, ceil_mode=True)
        self.inception5a = Inception(832, 256, 160, 320, 32, 128, 128, wide)
        self.inception5b = Inception(832, 384, 192, 384, 48, 128, 128, wide)
        self.aux1 = AuxiliaryHead(512, classes) if auxiliary else None
        self.aux2 = AuxiliaryHead(528, classes) if auxiliary else None
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(0.2)
        self.fc = nn.Linear(1024, classes)
        self.initialise()

    def initialise(self) -> None:
        for name, layer in self.named_modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                scaled_normal_(layer, 1 if name.endswith(("fc", "fc2")) else RELU_GAIN)

    def features(self, x: Tensor) -> tuple[Tensor, ...]:
        return self._maps(x)[0]

    def head(self, maps: tuple[Tensor, ...]) -> Tensor:
        return self.fc(self.dropout(self.avgpool(maps[-1]).flatten(1)))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))

    def with_auxiliary(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """B×classes logits, and those of each auxiliary head: none where the network was built
        without them."""
        maps, middle = self._maps(x)
        heads = (self.aux1, self.aux2)
        return self.head(maps), tuple(
            head(each) for head, each in zip(heads, middle, strict=True) if head is not None
        )

    def _maps(self, x: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, Tensor]]:
        """The features, and the two maps of stride 16 that the auxiliary heads look at."""
        c1 = self.conv1(x)
        c2 = self.conv3(self.conv2(self.maxpool1(c1)))
        c3 = self.inception3b(self.inception3a(self.maxpool2(c2)))
        early = self.inception4a(self.maxpool3(c3))
        late = self.inception4d(self.inception4c(self.inception4b(early)))
        c4 = self.inception4e(late)
        c5 = self.inception5b(self.inception5a(self.maxpool4(c4)))
        return (c1, c2, c3, c4, c5), (early, late)


def googlenet(classes: int = 10, channels: int = 3, auxiliary: bool = True) -> GoogLeNet:
    return GoogLeNet(3, classes, channels, auxiliary)


def googlenet_2014(classes: int = 10, channels: int = 3, auxiliary: bool = True) -> GoogLeNet:
    return GoogLeNet(5, classes, channels, auxiliary)
