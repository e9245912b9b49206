"""Network in Network: a small network slides over the picture where a linear filter did, and a
class is a map.

Source: M. Lin, Q. Chen, S. Yan, Network In Network, ICLR 2014 (arXiv 1312.4400, 2013).
Introduced: the mlpconv layer, a convolution followed by 1×1 convolutions; global average pooling of
one map a class in the place of dense layers.
The paper's claims, test error on CIFAR-10: 10.41 %, with translated and mirrored training pictures
8.81 %; CIFAR-100 35.68 %.

The form is the one for CIFAR: three mlpconv layers, the first two followed by 3×3 pooling with
stride 2 and by dropout. The paper does not print the widths; they are those of the authors'
published Caffe configuration, 192-160-96, 192-192-192, 192-192-classes, which pools by maximum
first and by average then, its windows cut off at the border. 966,986 parameters at 10 classes.

Choices and deviations:
- The last layer has a ReLU too (section 3.1 gives every unit one), so no logit is below 0.
- The paper's pictures are contrast-normalised and whitened; here they are not.
- Initialisation: He normal with fan_in before a ReLU, deviation 1/√fan_in for the last layer,
  biases 0 (see layers.py); the paper names none.
"""

from __future__ import annotations

from torch import Tensor, nn

from .layers import he_normal_


class NetworkInNetwork(nn.Module):
    """B×channels×height×width from 4×4 on → B×classes logits. Native size 32×32."""

    feature_channels = (96, 192, 192)
    feature_strides = (1, 2, 4)

    def __init__(self, classes: int = 10, channels: int = 3) -> None:
        super().__init__()
        self.mlpconv1 = mlpconv(channels, 5, (192, 160, 96))
        self.pool1 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.mlpconv2 = mlpconv(96, 5, (192, 192, 192))
        self.pool2 = nn.AvgPool2d(3, 2, ceil_mode=True)
        self.mlpconv3 = mlpconv(192, 3, (192, 192))
        self.dropout = nn.Dropout(0.5)
        self.class_maps = nn.Conv2d(192, classes, 1)
        self.relu = nn.ReLU(inplace=True)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        he_normal_(self, self.class_maps)

    def features(self, x: Tensor) -> tuple[Tensor, ...]:
        fine = self.mlpconv1(x)
        middle = self.mlpconv2(self.dropout(self.pool1(fine)))
        coarse = self.mlpconv3(self.dropout(self.pool2(middle)))
        return fine, middle, coarse

    def head(self, maps: tuple[Tensor, ...]) -> Tensor:
        return self.avgpool(self.relu(self.class_maps(maps[-1]))).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


def mlpconv(inputs: int, kernel: int, widths: tuple[int, ...]) -> nn.Sequential:
    """A convolution that keeps the size, then 1×1 convolutions, each with a ReLU."""
    layers: list[nn.Module] = []
    for seen, width, side in zip((inputs, *widths), widths, (kernel, 1, 1), strict=False):
        layers += [nn.Conv2d(seen, width, side, padding=side // 2), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
