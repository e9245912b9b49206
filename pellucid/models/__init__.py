"""Networks: one architecture a file, readable top to bottom; MODELS says what there is.

What every network keeps to, so that any of them fits any room:
- `MODELS[name](classes=10, channels=3)` builds it with fresh weights, drawn from torch's generator;
- `features(x)` → a tuple of maps B×C×H×W, coarsest last; `feature_channels` and `feature_strides`
  have one number for each;
- `head(maps)` → B×classes logits, and `forward(x)` is `head(features(x))`;
- an optional argument `size` (height, width) where the picture's size shapes the weights, or an
  attribute `fixed_size` where only one size is taken;
- a network with auxiliary classifiers gives, in training only, `with_auxiliary(x)` → (logits, a
  tuple of the logits of each) and has a number `auxiliary_weight`: what each of their losses counts
  for beside the main one; `forward` leaves them out;
- its line in SMALLEST where a picture can be too small and there is no `size`;
- a layer of its own that multiplies (neither convolution nor dense) says how often in
  `macs(output)`, output without the batch.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

from ..core.errors import UsageError, did_you_mean
from .alexnet import AlexNet, AlexNetOf2012
from .cifar_resnet import resnet20, resnet32, resnet44, resnet56
from .csp import csp_nano, csp_tiny
from .densenet import densenet121, densenet161, densenet169, densenet201
from .espcn import ESPCN
from .fsrcnn import FSRCNN
from .googlenet import googlenet, googlenet_2014
from .lenet import LeNet5, LeNet5Of1998
from .mlp import MLP
from .mobilenet import mobilenet_v2, mobilenet_v2_same
from .nin import NetworkInNetwork
from .notation import build, classes_of, is_notation
from .pyramid import headless
from .residual_sr import ResidualSR
from .resnet import (
    plain18,
    plain34,
    plain50,
    plain101,
    plain152,
    resnet18,
    resnet34,
    resnet50,
    resnet101,
    resnet152,
)
from .softmax_regression import SoftmaxRegression
from .squeezenet import SqueezeNet
from .srcnn import SRCNN, srcnn_955
from .unet import UNet, UNet2015, check_window, unet
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

# Networks whose answers are maps, a logit for each class of each pixel; they keep to the contract
# above but for that, and have a `margin` (pixels that the answer lacks on every side) and a `step`
# (what windows should begin at a multiple of).
SEGMENTERS: dict[str, Callable[..., nn.Module]] = {"unet": unet, "unet_2015": UNet2015}

# Networks whose answer is the picture enlarged: `ENLARGERS[name](factor=3, channels=1)` takes
# B×channels×h×w in 0…1, of any size, to B×channels×(factor·h)×(factor·w), the bicubic enlargement
# and what `head(features(x))` adds to it. `margin`: how many pixels of the small picture on each
# side a pixel of the answer depends on. SRCNN's own factor is 1, for pictures that are enlarged
# already.
ENLARGERS: dict[str, Callable[..., nn.Module]] = {
    "srcnn": SRCNN,
    "srcnn_955": srcnn_955,
    "fsrcnn": FSRCNN,
    "espcn": ESPCN,
    "residual_sr": ResidualSR,
}

# The least side in pixels, where it is more than 1 and no argument `size` or `fixed_size` decides:
# a smaller picture has nothing left after some pooling. Training needs two pictures a batch there,
# for batch norm cannot normalise a single number.
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
    """The (height, width) that the network was made for,
    or None where its weights do not depend on it."""
    factory = MODELS.get(name) or SEGMENTERS.get(name)
    if factory is None:
        return None
    taken = inspect.signature(factory).parameters.get("size")
    return fixed_size(name) or (taken.default if taken else None)


def create(name: str, classes: int, channels: int, size: tuple[int, ...]) -> nn.Module:
    """A network with fresh weights for pictures of `size` (height, width): a name of MODELS, or the
    notation ("C16 R P L10").

    Raises UsageError for an unknown name, a size that the network does not take, or a notation that
    is wrong or ends in another number of classes.
    """
    if name not in MODELS:
        return _from_notation(name, classes, channels, size)
    only = fixed_size(name)
    if only is not None and tuple(size) != only:
        raise UsageError(
            f"{name} takes pictures of {only[0]}×{only[1]} only, not {size[0]}×{size[1]}; "
            f"set the size to {only[0]}"
        )
    least = SMALLEST.get(name, 1)
    if min(size) < least:
        raise UsageError(
            f"{name}: pictures of {size[0]}×{size[1]} are too small; "
            f"it needs at least {least}×{least}"
        )
    factory = MODELS[name]
    if "size" in inspect.signature(factory).parameters:
        return factory(classes=classes, channels=channels, size=size)
    return factory(classes=classes, channels=channels)


def segmenter(
    name: str,
    classes: int,
    channels: int,
    size: tuple[int, ...],
    width: int | None = None,
    upsampling: str | None = None,
    skips: str | None = None,
    dims: int | None = None,
) -> nn.Module:
    """A network with fresh weights whose answers are maps, B×channels×H×W → B×classes×H×W logits
    (D×H×W in 3-D): a name of SEGMENTERS, or a U-Net around a name of MODELS or a notation, whose
    own answers are left out.

    size: of the windows, (H, W) or (D, H, W). dims: 2 or 3; the length of `size` where nothing is
    said. What else is None is the network's own. Raises UsageError for an unknown name, a size that
    the network does not take, or a setting that it has no use for.
    """
    if (dims or len(size)) == 3 and name != "unet":
        raise UsageError(f"model: {name} is made for pictures; volumes in 3-D need unet")
    given = _said(width=width, upsampling=upsampling, skips=skips)
    if name in SEGMENTERS:
        taken = inspect.signature(SEGMENTERS[name]).parameters
        for setting in given.keys() - taken.keys():
            raise UsageError(
                f"{setting}: {name} is as its paper has it and takes none; leave it out"
            )
        return SEGMENTERS[name](classes=classes, channels=channels, size=size, **given)
    own = classes_of(name) if is_notation(name) else 10
    backbone = headless(create(name, own, channels, size), (channels, *size))
    network = UNet(
        backbone, classes, channels, width or 16, **_said(upsampling=upsampling, skips=skips)
    )
    check_window(size, network)
    return network


def _said(**settings: Any) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value is not None}


def enlarger(name: str, factor: int, channels: int, width: int | None = None) -> nn.Module:
    """A network of ENLARGERS with fresh weights, which begins as bicubic. width: maps of its first
    layer, from 2; None is the paper's.

    Raises UsageError for an unknown name or a width below 2.
    """
    if name not in ENLARGERS:
        raise UsageError(f'unknown model "{name}" for enlarging; {did_you_mean(name, ENLARGERS)}')
    if width is not None and width < 2:
        raise UsageError(f"width: {name} needs at least 2 maps, not {width}")
    return ENLARGERS[name](factor=factor, channels=channels, **_said(width=width))


def _from_notation(text: str, classes: int, channels: int, size: tuple[int, ...]) -> nn.Module:
    if text in SEGMENTERS:
        raise UsageError(
            f"{text} answers about every pixel, which is segmentation; of whole pictures ask "
            "another model, as resnet18"
        )
    if text in ENLARGERS:
        raise UsageError(
            f"{text} enlarges pictures, which is super-resolution; "
            "of whole pictures ask another model, as resnet18"
        )
    if not is_notation(text):
        raise UsageError(
            f'unknown model "{text}"; {did_you_mean(text, [*MODELS, *SEGMENTERS, *ENLARGERS])}'
        )
    if classes_of(text) != classes:
        raise UsageError(
            f'the notation "{text}" ends in {classes_of(text)} classes, the data has {classes}; '
            f"end it in L{classes}"
        )
    return build(text, channels, size)
