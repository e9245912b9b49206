"""`pellucid inspect`: a network accounts for itself before it runs, alone or held against the data
that it is meant for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from .. import anatomy, models
from ..anatomy import Anatomy
from ..anatomy.gradcheck import GradientCheck, check
from ..core.errors import UsageError
from ..engine.inference import model as trained_model
from ..engine.run.progress import Say
from . import code
from . import data as inspect_data

LARGEST = 65_536


def inspect(
    network: str | Path,
    *,
    input: str | None = None,
    classes: int | None = None,
    data: str | Path | None = None,
    html: str | Path | None = None,
    quiet: bool = False,
) -> Anatomy:
    """Shapes, parameters, activations, multiplications, memory and receptive fields of each layer,
    without weights or memory.

    network: a name of MODELS, SEGMENTERS or ENLARGERS, a notation, a run folder, or
    "module:function" or "file.py:function" that returns an nn.Module, which runs that code. input:
    "3x224x224" (channels × height × width); for a run its own. classes: answers of a named network;
    where nothing is said 10, of one that answers about every pixel 2. data: what to hold it
    against, which also sets input and classes as training would. html: a page to write.
    """
    if str(network) and Path(network).is_dir():
        if input is not None or classes is not None:
            raise UsageError(
                f"{network}: a trained model has its own input and classes; "
                "leave out --input and --classes"
            )
        described, build, found = _trained(Path(network), data, Say(quiet))
    else:
        name = str(network)
        if code.is_code(name) and classes is not None:
            raise UsageError(
                f"{name}: a network of your own decides itself how many answers it has; "
                "leave out --classes"
            )
        shape = parse_input(input) if input else None
        model = None if code.is_code(name) else name
        found = inspect_data.gathered(data, shape, Say(quiet), model) if data is not None else None
        if found is not None and found.num_outputs is None:
            alone = model is None or classes is not None
            described, build = _built_around(name, found, alone)
        else:
            if found is not None:
                shape = found.preprocess.input_shape
                classes = classes or len(found.dataset.classes)
            described, build = _described(name, shape, classes)
    if found is not None:
        described = replace(
            described, findings=tuple(inspect_data.findings(described, found, build, Say(quiet)))
        )
    if html is not None:
        from . import page

        page.write(Path(html), described, str(network))
    return described


def _trained(
    path: Path, data: str | Path | None, say: Say
) -> tuple[Anatomy, Callable[[], nn.Module], inspect_data.Found | None]:
    """The account of a trained network, the network itself, and the data to hold it against."""
    model = trained_model.load(path)
    shape = model.spec.preprocess.input_shape
    described = anatomy.describe(model.network, shape)
    if data is None:
        return described, lambda: model.network, None
    found = inspect_data.gathered(data, shape, say, trained=model.spec)
    return described, lambda: model.network, found


def _built_around(
    name: str, found: inspect_data.Found, alone: bool
) -> tuple[Anatomy, Callable[[], nn.Module]]:
    """The account of what training would build around a named network, where that is not the
    network itself. Raises UsageError for one that stands alone: of the user's own, or with answers
    of its own number."""
    if alone:
        raise UsageError(
            f"{name}: {found.task.name} builds its answers around a named network; "
            "leave out --classes, "
            "or --data for your own code"
        )
    with torch.random.fork_rng(devices=[]):
        network = found.architecture.build()
        described = anatomy.describe(network, found.preprocess.input_shape)
        return described, found.architecture.build


def _described(
    name: str, shape: tuple[int, ...] | None, classes: int | None
) -> tuple[Anatomy, Callable[[], nn.Module]]:
    """The account of a network without weights, and how to build it with them."""
    if name.endswith(".py"):
        raise UsageError(
            f"{name}: say which function in it returns the network, as in {name}:network"
        )
    if code.is_code(name):
        make = code.function(name)
        return anatomy.describe(code.built(name, make), shape or (3, 224, 224)), make
    if name in models.ENLARGERS and classes is not None:
        raise UsageError(
            f"{name} answers with a larger picture, which has no classes; leave out --classes"
        )
    own = models.native_size(name)
    # What was made for 32 pixels was made for grey digits.
    channels, *size = shape or ((1 if max(own) <= 32 else 3, *own) if own else (3, 224, 224))
    maps = name in models.SEGMENTERS
    if classes is None:
        classes = (
            models.notation.classes_of(name)
            if models.notation.is_notation(name)
            else 2
            if maps
            else 10
        )
    make_any = models.segmenter if maps else models.create

    def make_named() -> nn.Module:
        if name in models.ENLARGERS:
            return models.ENLARGERS[name](channels=channels)
        return make_any(name, classes, channels, tuple(size))

    with anatomy.blank():
        network = make_named()
    return anatomy.describe(network, (channels, *size)), make_named


def gradcheck(
    network: str | Path, *, input: str | None = None, classes: int | None = None, seed: int = 0
) -> GradientCheck:
    """Every gradient of a network against central differences. network, input and classes as for
    `inspect`; the seed draws the weights too.

    Each tensor of the network costs some dozens of passes, so a network of any size wants a small
    input.
    """
    if str(network) and Path(network).is_dir():
        if input is not None or classes is not None:
            raise UsageError(
                f"{network}: a trained model has its own input and classes; "
                "leave out --input and --classes"
            )
        model = trained_model.load(Path(network))
        return check(model.network, model.spec.preprocess.input_shape, seed)
    if input is None and (
        str(network) in models.SEGMENTERS or models.native_size(str(network)) is None
    ):
        raise UsageError(
            "a gradient check passes the network hundreds of times; say a small --input, "
            "as in 3x32x32"
        )
    described, make = _described(str(network), parse_input(input) if input else None, classes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return check(make(), described.input, seed)


def parse_input(text: str) -> tuple[int, ...]:
    try:
        numbers = tuple(int(part) for part in text.lower().replace("×", "x").split("x"))
    except ValueError:
        numbers = ()
    if len(numbers) < 2 or min(numbers) < 1:
        raise UsageError(
            f'input: "{text}" is not a shape; write channels x height x width, as in 3x224x224'
        )
    if max(numbers) > LARGEST:
        raise UsageError(
            f"input: {max(numbers):,} is too many; no side, and no number of channels, "
            f"may be above {LARGEST:,}"
        )
    return numbers
