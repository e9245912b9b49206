"""Networks: one architecture a file, readable top to bottom; MODELS says what there is.

What every network keeps to, so that any of them fits any room:
- `MODELS[name](classes=10, channels=3)` builds it with fresh weights, drawn from torch's generator;
- `features(x)` → a tuple of maps B×C×H×W, coarsest last; `feature_channels` and `feature_strides` have one number for each;
- `head(maps)` → B×classes logits, and `forward(x)` is `head(features(x))`;
- an optional argument `size` (height, width) where the picture's size shapes the weights, or an attribute `fixed_size` where only
  one size is taken;
- a network with auxiliary classifiers gives, in training only, `with_auxiliary(x)` → (logits, a tuple of the logits of each) and has a
  number `auxiliary_weight`: what each of their losses counts for beside the main one; `forward` leaves them out;
- its line in SMALLEST where a picture can be too small and there is no `size`;
- a layer of its own that multiplies (neither convolution nor dense) says how often in `macs(output)`, output without the batch.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable

from torch import nn

from ..core.errors import UsageError, did_you_mean
from .alexnet import AlexNet, AlexNetOf2012
from .cifar_resnet import resnet20, resnet32, resnet44, resnet56
from .csp import csp_nano, csp_tiny
from .densenet import densenet121, densenet161, densenet169, densenet201
from .googlenet import googlenet, googlenet_2014
from .lenet import LeNet5, LeNet5Of1998
from .mlp import MLP
from .mobilenet import mobilenet_v2, mobilenet_v2_same
from .nin import NetworkInNetwork
from .notation import build, classes_of, is_notation
from .resnet import plain18, plain34, plain50, plain101, plain152, resnet18, resnet34, resnet50, resnet101, resnet152
from .softmax_regression import SoftmaxRegression
from .squeezenet import SqueezeNet
from .vgg import vgg11, vgg11_bn, vgg13, vgg13_bn, vgg16, vgg16_bn, vgg19, vgg19_bn

MODELS: dict[str, Callable[..., nn.Module]] = {
    "softmax_regression": SoftmaxRegression,
    "mlp": MLP,
    "lenet5": LeNet5,
    "lenet5_1998": LeNet5Of1998,
    "alexnet": AlexNet,
    "alexnet_2012": AlexNetOf2012,
    "nin": NetworkInNetwork,
    "vgg11": vgg11,
    "vgg13": vgg13,
    "vgg16": vgg16,
    "vgg19": vgg19,
    "vgg11_bn": vgg11_bn,
    "vgg13_bn": vgg13_bn,
    "vgg16_bn": vgg16_bn,
    "vgg19_bn": vgg19_bn,
    "squeezenet1_1": SqueezeNet,
    "resnet20": resnet20,
    "resnet32": resnet32,
    "resnet44": resnet44,
    "resnet56": resnet56,
    "resnet18": resnet18,
    "resnet34": resnet34,
    "resnet50": resnet50,
    "resnet101": resnet101,
    "resnet152": resnet152,
    "plain18": plain18,
    "plain34": plain34,
    "plain50": plain50,
    "plain101": plain101,
    "plain152": plain152,
    "googlenet": googlenet,
    "googlenet_2014": googlenet_2014,
    "densenet121": densenet121,
    "densenet161": densenet161,
    "densenet169": densenet169,
    "densenet201": densenet201,
    "mobilenet_v2": mobilenet_v2,
    "mobilenet_v2_same": mobilenet_v2_same,
    "csp_tiny": csp_tiny,
    "csp_nano": csp_nano,
}

# The least side in pixels, where it is more than 1 and no argument `size` or `fixed_size` decides: a smaller picture has nothing
# left after some pooling. Training needs two pictures a batch there, for batch norm cannot normalise a single number.
SMALLEST: dict[str, int] = {
    "alexnet": 63,
    "vgg11": 32,
    "vgg13": 32,
    "vgg16": 32,
    "vgg19": 32,
    "vgg11_bn": 32,
    "vgg13_bn": 32,
    "vgg16_bn": 32,
    "vgg19_bn": 32,
    "squeezenet1_1": 17,
    "nin": 4,
    "googlenet": 15,
    "googlenet_2014": 15,
    "densenet121": 29,
    "densenet161": 29,
    "densenet169": 29,
    "densenet201": 29,
}


def fixed_size(name: str) -> tuple[int, int] | None:
    """The one (height, width) that the network takes, or None where it takes others too."""
    return getattr(MODELS.get(name), "fixed_size", None)


def native_size(name: str) -> tuple[int, int] | None:
    """The (height, width) that the network was made for, or None where its weights do not depend on it."""
    if name not in MODELS:
        return None
    taken = inspect.signature(MODELS[name]).parameters.get("size")
    return fixed_size(name) or (taken.default if taken else None)


def create(name: str, classes: int, channels: int, size: tuple[int, ...]) -> nn.Module:
    """A network with fresh weights for pictures of `size` (height, width): a name of MODELS, or the notation ("C16 R P L10").

    Raises UsageError for an unknown name, a size that the network does not take, or a notation that is wrong or ends in
    another number of classes.
    """
    if name not in MODELS:
        return _from_notation(name, classes, channels, size)
    only = fixed_size(name)
    if only is not None and tuple(size) != only:
        raise UsageError(f"{name} takes pictures of {only[0]}×{only[1]} only, not {size[0]}×{size[1]}; set the size to {only[0]}")
    least = SMALLEST.get(name, 1)
    if min(size) < least:
        raise UsageError(f"{name}: pictures of {size[0]}×{size[1]} are too small; it needs at least {least}×{least}")
    factory = MODELS[name]
    if "size" in inspect.signature(factory).parameters:
        return factory(classes=classes, channels=channels, size=size)
    return factory(classes=classes, channels=channels)


def _from_notation(text: str, classes: int, channels: int, size: tuple[int, ...]) -> nn.Module:
    if not is_notation(text):
        raise UsageError(f'unknown model "{text}"; {did_you_mean(text, MODELS)}')
    if classes_of(text) != classes:
        raise UsageError(f'the notation "{text}" ends in {classes_of(text)} classes, the data has {classes}; end it in L{classes}')
    return build(text, channels, size)
