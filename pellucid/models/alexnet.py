"""AlexNet, twice: as its weights are published for PyTorch, and as it was in 2012.

Source: A. Krizhevsky, I. Sutskever, G. E. Hinton, ImageNet Classification with Deep Convolutional
Neural Networks, NIPS 2012.
Introduced: a deep convolutional network trained on two GPUs on a million pictures, with ReLU for
tanh, dropout, local response normalisation, and pooling windows that overlap.
The paper's claims: 37.5 % top-1 and 17.0 % top-5 error on the test pictures of ILSVRC-2010; 18.2 %
top-5 error of one network on the validation pictures of ILSVRC-2012, 16.4 % of five averaged, 15.3
% on its test pictures of seven; "60 million parameters and 650,000 neurons".

`AlexNet` has the form and the names of the published PyTorch file, which follows A. Krizhevsky, One
Weird Trick for Parallelizing Convolutional Neural Networks, 2014 (arXiv 1404.5997): one column of
64-192-384-256-256 maps and no normalisation. An average over 6×6 regions before the dense layers
lets it take any size from 63×63. 61,100,840 parameters at 1000 classes.
Its initialisation: He normal with fan_in before a ReLU, deviation 1/√fan_in for the last layer,
biases 0 (see layers.py).

`AlexNetOf2012` follows section 3 of the 2012 paper:
- 96-256-384-384-256 maps; the second, fourth and fifth convolution see only the half of the maps
  that lay on their own GPU (`groups=2`, 60,965,224 parameters at 1000 classes; `groups=1` undoes
  the split, 62,378,344);
- normalisation over 5 neighbouring maps after the first two ReLUs: k 2, α 1e-4, β 0.75. torch
  divides α by the 5, so it is given 5e-4; pooling is 3×3 with stride 2, so windows overlap;
- pictures are 227×227. The paper prints 224, a slip: (224 − 11)/4 is no whole number, and its own
  55×55 needs 227.
Its deviations: one device computes both halves, and there is no augmentation in the network.
Its initialisation is He normal as above. The paper's own, normal of deviation 0.01 with biases 1 in
the second, fourth and fifth convolution and the hidden dense layers, did not start on a small set:
with 40 pictures of 5 flowers, rate 0.01, momentum 0.9, the loss at 67×67 was 1.61 = ln 5 after 40
steps (He normal: 1.26), and at 227×227 1.61 after 25 (He normal: 1.55 after 15).
"""

from __future__ import annotations

from torch import Tensor, nn

from ..core.errors import UsageError
from .layers import Pyramid, he_normal_


class AlexNet(nn.Module):
    """B×channels×height×width from 63×63 on → B×classes logits. Native size 224×224."""

    feature_channels = (64, 192, 256, 256)
    feature_strides = (4, 8, 16, 32)

    def __init__(self, classes: int = 10, channels: int = 3) -> None:
        super().__init__()
        row = [
            *(nn.Conv2d(channels, 64, 11, stride=4, padding=2), nn.ReLU(inplace=True)),
            nn.MaxPool2d(3, 2),
            *(nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(inplace=True)),
            nn.MaxPool2d(3, 2),
            *(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(inplace=True)),
            *(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(inplace=True)),
            *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(inplace=True)),
            nn.MaxPool2d(3, 2),
        ]
        last = nn.Linear(4096, classes)
        self.features = Pyramid(row, cuts=(1, 4, 11, 12))
        self.avgpool = nn.AdaptiveAvgPool2d(6)
        self.classifier = nn.Sequential(
            *(nn.Dropout(), nn.Linear(256 * 6 * 6, 4096), nn.ReLU(inplace=True)),
            *(nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU(inplace=True)),
            last,
        )
        he_normal_(self, last)

    def head(self, maps: tuple[Tensor, ...]) -> Tensor:
        return self.classifier(self.avgpool(maps[-1]).flatten(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


class AlexNetOf2012(nn.Module):
    """B×channels×height×width of the size it was built for → B×classes logits. The paper's size is
    227×227; 67×67 is the least."""

    feature_channels = (96, 256, 256, 256)
    feature_strides = (4, 8, 16, 32)

    def __init__(
        self,
        classes: int = 10,
        channels: int = 3,
        size: tuple[int, int] = (227, 227),
        groups: int = 2,
    ) -> None:
        super().__init__()
        if min(size) < 67:
            raise UsageError(
                f"alexnet_2012: pictures of {size[0]}×{size[1]} are too small; "
                "it needs at least 67×67"
            )
        height, width = (((((side - 7) // 4 - 1) // 2 - 1) // 2 - 1) // 2 for side in size)
        self.conv1 = nn.Conv2d(channels, 96, 11, stride=4)
        self.conv2 = nn.Conv2d(96, 256, 5, padding=2, groups=groups)
        self.conv3 = nn.Conv2d(256, 384, 3, padding=1)
        self.conv4 = nn.Conv2d(384, 384, 3, padding=1, groups=groups)
        self.conv5 = nn.Conv2d(384, 256, 3, padding=1, groups=groups)
        self.relu = nn.ReLU(inplace=True)
        self.norm = nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)
        self.pool = nn.MaxPool2d(3, 2)
        self.dropout = nn.Dropout(0.5)
        self.fc6 = nn.Linear(256 * height * width, 4096)
        self.fc7 = nn.Linear(4096, 4096)
        self.fc8 = nn.Linear(4096, classes)
        he_normal_(self, self.fc8)

    def features(self, x: Tensor) -> tuple[Tensor, ...]:
        c1 = self.norm(self.relu(self.conv1(x)))
        c2 = self.norm(self.relu(self.conv2(self.pool(c1))))
        c3 = self.relu(self.conv3(self.pool(c2)))
        c4 = self.relu(self.conv4(c3))
        c5 = self.relu(self.conv5(c4))
        return c1, c2, c5, self.pool(c5)

    def head(self, maps: tuple[Tensor, ...]) -> Tensor:
        x = self.dropout(maps[-1].flatten(1))
        x = self.dropout(self.relu(self.fc6(x)))
        return self.fc8(self.relu(self.fc7(x)))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))
