"""Published weights: what there is, whose it is, where it comes from; fetched when asked, checked,
and read without running code.

A file is looked for in the folder that PELLUCID_MIRROR names, which is only read; then in the cache
(PELLUCID_CACHE, else ~/.cache/pellucid/weights); then, when it is asked for, at its address.
Pickled files are opened with torch's `weights_only`, which refuses whatever is not plain tensors,
and are kept as safetensors in the cache after that.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..core.errors import DataError, MachineError, ModelError, UsageError, did_you_mean
from ..core.files import write_bytes
from . import densenet

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
IMAGENET_FILE = "imagenet_labels_1001.txt"


@dataclass(frozen=True)
class Preprocessing:
    """What the weights expect. size: (height, width); mean, std: per channel,
    of pixels scaled to 0..1."""

    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Weights:
    """Published weights of one network.

    model: a name of MODELS. address: None where no public one is known. sha256: of the file, in
    hexadecimal; for the files of download.pytorch.org only its first 8 digits are published, in
    their names, and only these can be compared. bytes: of the file, where known. commercial: "yes",
    "no" or "unclear", and a word why. classes: the name of a list of labels. score: as the
    publisher states it.
    """

    name: str
    model: str
    file: str
    address: str | None
    sha256: str
    bytes: int | None
    licence: str
    commercial: str
    preprocessing: Preprocessing
    classes: str
    score: str
    source: str


_IMAGENET = Preprocessing((224, 224), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_HALF = Preprocessing((224, 224), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_CIFAR = Preprocessing((32, 32), _IMAGENET.mean, _IMAGENET.std)

# Model, first 8 digits of the sha256, top-1 accuracy on the ImageNet validation pictures (224×224,
# one centre crop) by its publisher.
_PYTORCH = """
alexnet 7be5be79 56.522
vgg11 8a719046 69.020
vgg13 19584684 69.928
vgg16 397923af 71.592
vgg19 dcbb9e9d 72.376
vgg11_bn 6002323d 70.370
vgg13_bn abd245e5 71.586
vgg16_bn 6c64b313 73.360
vgg19_bn c79401a0 74.218
resnet18 f37072fd 69.758
resnet34 b627a593 73.314
resnet50 0676ba61 76.130
resnet101 63fe2227 77.374
resnet152 394f9c45 78.312
googlenet 1378be20 69.778
densenet121 a639ec97 74.434
densenet161 8d451a50 77.138
densenet169 b2777c0a 75.600
densenet201 c1103571 76.896
mobilenet_v2 b0353104 71.878
squeezenet1_1 b8a52dc0 58.178
"""


def _of_pytorch(model: str, digits: str, top1: str) -> Weights:
    file = f"{'alexnet-owt' if model == 'alexnet' else model}-{digits}.pth"
    return Weights(
        name=f"{model}_imagenet",
        model=model,
        file=file,
        address=f"https://download.pytorch.org/models/{file}",
        sha256=digits,
        bytes=None,
        licence=(
            "BSD-3-Clause (the code they come with); trained on ImageNet, whose terms are for "
            "non-commercial research"
        ),
        commercial="unclear: ImageNet's terms are for non-commercial research",
        # The original file of GoogLeNet was trained on inputs from -1 to 1.
        preprocessing=_HALF if model == "googlenet" else _IMAGENET,
        classes="imagenet",
        score=f"ImageNet top-1 {top1} %, as stated by the publisher",
        source="PyTorch, torchvision model zoo",
    )


_MOBILENET_FOLDED = Weights(
    name="mobilenet_v2_imagenet_folded",
    model="mobilenet_v2_same",
    file="mobilenetv2_imagenet_fp16.pth",
    address=None,
    sha256="a24a83ea28dcc83a7e248e9aedaa42d6a1fef1e0b2fb8060f07c6ebbca844e6a",
    bytes=7182347,
    licence="Apache-2.0; trained on ImageNet, whose terms are for non-commercial research",
    commercial="unclear: Apache-2.0 allows it, ImageNet's terms are for non-commercial research",
    preprocessing=_HALF,
    classes="imagenet",
    score="no score stated",
    source=(
        "float16, batch norms folded into the convolutions; "
        "trained with padding at the bottom and right only"
    ),
)
_RESNET20_CIFAR10 = Weights(
    name="resnet20_cifar10",
    model="resnet20",
    file="resnet20_cifar10.th",
    address="https://github.com/akamaster/pytorch_resnet_cifar10/raw/master/pretrained_models/resnet20-12fca82f.th",
    sha256="12fca82f0bebc4135bf1f32f6e3710e61d5108578464b84fd6d7f5c1b04036c8",
    bytes=1099231,
    licence="BSD-2-Clause, Copyright (c) 2018 Yerlan Idelbayev",
    commercial="yes: BSD; CIFAR-10 states no terms",
    preprocessing=_CIFAR,
    classes="cifar10",
    score="CIFAR-10 top-1 91.78 %, as stored in the file",
    source="Y. Idelbayev, pytorch_resnet_cifar10",
)

CATALOGUE: dict[str, Weights] = {
    entry.name: entry
    for entry in [
        *(_of_pytorch(*line.split()) for line in _PYTORCH.split("\n") if line),
        _MOBILENET_FOLDED,
        _RESNET20_CIFAR10,
    ]
}


def entry_of(name: str) -> Weights:
    """Raises UsageError for a name that is not in the catalogue."""
    if name not in CATALOGUE:
        raise UsageError(f'no published weights "{name}"; {did_you_mean(name, CATALOGUE)}')
    return CATALOGUE[name]


# --- where a file is ------------------------------------------------------------------------------


def mirror() -> Path | None:
    """The folder that PELLUCID_MIRROR names; it is read and never written.
    Raises UsageError when it is not there."""
    named = os.environ.get("PELLUCID_MIRROR")
    if not named:
        return None
    if not Path(named).is_dir():
        raise UsageError(
            f"PELLUCID_MIRROR: {named} is not a folder; "
            "name the one that holds the files of weights"
        )
    return Path(named)


def cache() -> Path:
    return Path(os.environ.get("PELLUCID_CACHE") or Path.home() / ".cache" / "pellucid" / "weights")


def here(file: str) -> tuple[str, Path] | None:
    """("mirror" or "cache", path) of a file that needs no fetching."""
    places = [("mirror", mirror()), ("cache", cache())]
    return next(
        (
            (where, folder / file)
            for where, folder in places
            if folder is not None and (folder / file).is_file()
        ),
        None,
    )


def is_whole(path: Path, sha256: str) -> bool:
    """Whether the file's sha256 begins with these digits.
    Raises MachineError for a file that may not be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest().startswith(sha256)
    except OSError as error:
        raise MachineError(f"{path}: cannot be read ({error.strerror})") from error


def get(name: str) -> Path:
    """The file of published weights, checked: from the mirror, the cache, or else from its address
    into the cache.

    Raises UsageError for an unknown name; ModelError for a file that is not the published one, or
    that has no address; MachineError when the address cannot be reached.
    """
    entry = entry_of(name)
    found = here(entry.file)
    if found is None and entry.address is None:
        raise ModelError(
            f"{name}: has no public address; put {entry.file} into a folder and name that folder "
            "in PELLUCID_MIRROR"
        )
    if found is None:
        from .download import download

        target = cache() / entry.file
        download(str(entry.address), target, entry.sha256)
        return target
    where, path = found
    if not is_whole(path, entry.sha256):
        advice = "put the right file there" if where == "mirror" else "remove it and get it again"
        raise ModelError(
            f"{path}: is not the published file (its sha256 does not begin with "
            f"{entry.sha256[:8]}); {advice}"
        )
    return path


# --- what is in it --------------------------------------------------------------------------------


def tensors(name: str) -> dict[str, Tensor]:
    """Published weights by the keys of our network, as stored; from the cache's safetensors where
    they were read before.

    Raises what `get` and `read` raise.
    """
    entry = entry_of(name)
    converted = cache() / f"{name}.safetensors"
    if (kept := _converted(converted, entry.sha256)) is not None:
        return kept
    path = get(name)
    weights = read(path)
    from safetensors.torch import save

    # A cache that cannot be written only costs the next reading its time.
    with suppress(MachineError):
        write_bytes(
            converted,
            save(weights, metadata={"sha256": entry.sha256, "contents": _digest(weights)}),
        )
    return weights


def _converted(path: Path, sha256: str) -> dict[str, Tensor] | None:
    """The tensors that were converted from the file with this hash, or None."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("sha256") != sha256:
                return None
            kept = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError):
        return None
    # A disk forgets: what was changed since is read from the file itself again.
    return kept if _digest(kept) == metadata.get("contents") else None


def licence_line(name: str) -> str:
    """What is told whenever published weights are used."""
    entry = CATALOGUE[name]
    return f"weights {name}: licence {entry.licence}; commercial use {entry.commercial}"


def _digest(weights: Mapping[str, Tensor]) -> str:
    whole = hashlib.sha256()
    for key in sorted(weights):
        whole.update(f"{key} {weights[key].dtype} {tuple(weights[key].shape)}".encode())
        whole.update(weights[key].contiguous().flatten().view(torch.uint8).numpy().data)
    return whole.hexdigest()


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors or pickled (.pth, .pt, .th) file by the keys of our networks,
    dtypes as stored.

    An outer "state_dict", the prefix "module." and DenseNet's old names are taken off. Raises
    ModelError for a file that is damaged, holds something else, or is a pickle that needs code to
    be opened: such code is never run.
    """
    try:
        with path.open("rb") as file:
            start = file.read(2)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from None
    if start == b"PK" or start[:1] == b"\x80":
        return _plain(_unpickled(path), path)
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return _plain(load_file(path), path)
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"{path}: neither a safetensors file nor weights saved by PyTorch, "
            f"or truncated ({error})"
        ) from None


def _unpickled(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # which protocol a pickle has is nothing to act on
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = " ".join(str(error).split())
        if "global" in reason.lower() or "weights_only" in reason:
            raise ModelError(
                f"{path}: a pickle that runs code when it is opened; it was refused: ask for the "
                "weights as safetensors"
            ) from None
        raise ModelError(
            f"{path}: truncated or damaged ({reason[:120]}); copy or get it again"
        ) from None


def _plain(stored: Any, path: Path) -> dict[str, Tensor]:
    while isinstance(stored, Mapping) and isinstance(stored.get("state_dict"), Mapping):
        stored = stored["state_dict"]
    if (
        not isinstance(stored, Mapping)
        or not stored
        or not all(torch.is_tensor(value) for value in stored.values())
    ):
        raise ModelError(
            f"{path}: holds no weights by name (a state dict); save `network.state_dict()`"
        )
    for key, value in stored.items():
        if value.layout != torch.strided or not (
            value.is_floating_point() or str(key).endswith("num_batches_tracked")
        ):
            layout, kind = (
                str(what).removeprefix("torch.") for what in (value.layout, value.dtype)
            )
            raise ModelError(
                f"{path}: {key} is no tensor of real numbers ({layout}, {kind}); "
                "save the weights as floats"
            )
    names = {str(key): value.contiguous() for key, value in stored.items()}
    if all(key.startswith("module.") for key in names):
        names = {key.removeprefix("module."): value for key, value in names.items()}
    return densenet.renamed(names)


def fill(
    network: nn.Module, weights: Mapping[str, Tensor], what: str, other_classes: bool = False
) -> list[str]:
    """Puts the weights into the network, in its own dtype; the keys that kept what they had.

    other_classes: tensors that differ in their first size only, which is the number of classes,
    keep what they had. Counters of batches are not needed: old files have none. Raises ModelError
    for weights of another network, or that are not finite.
    """
    own = network.state_dict()
    wrong = [key for key, value in weights.items() if key in own and value.shape != own[key].shape]
    fresh = [key for key in wrong if other_classes and weights[key].shape[1:] == own[key].shape[1:]]
    # The classes are the only thing that may differ, so all that differs does so from one number to
    # one other.
    if len({(weights[key].shape[0], own[key].shape[0]) for key in fresh}) > 1:
        fresh = []
    missing = [key for key in own if key not in weights and not key.endswith("num_batches_tracked")]
    strange = [key for key in weights if key not in own]
    wrong = [key for key in wrong if key not in fresh]
    if wrong and not missing and not strange:
        shapes = f"{_by(weights[wrong[0]])} in the file, {_by(own[wrong[0]])} here"
        raise ModelError(
            f"{what}: these weights are of another network, or of this one with other channels or "
            f"classes ({wrong[0]}: {shapes})"
        )
    if missing or strange:
        said = (
            f"{len(missing)} tensors of it are missing, {len(strange)} are strange, as "
            f"{(missing + strange)[0]}"
        )
        raise ModelError(f"{what}: these weights are of another network ({said})")
    if not all(torch.isfinite(value).all() for value in weights.values()):
        raise ModelError(
            f"{what}: holds weights that are not finite numbers; get or train them again"
        )
    network.load_state_dict(
        {key: value for key, value in weights.items() if key not in fresh}, strict=False
    )
    return fresh


def _by(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "one number"


# --- what its answers are called ------------------------------------------------------------------


def labels(classes: str) -> tuple[str, ...] | None:
    """The names of "cifar10" or "imagenet"; None where the file of ImageNet's names lies neither in
    the mirror nor in the cache.

    A line of that file is a list of synonyms; the first stands for all where it is unique. Raises
    DataError for another file of that name.
    """
    if classes == "cifar10":
        return CIFAR10
    found = here(IMAGENET_FILE)
    if found is None:
        return None
    lines = found[1].read_text(encoding="utf-8").splitlines()
    if len(lines) != 1001:
        raise DataError(
            f"{found[1]}: has {len(lines)} lines, not 1001 (background, then a line a class); put "
            "the right file there"
        )
    names = [line.split(",")[0].strip() for line in lines[1:]]
    for better in (lines[1:], [f"{line} ({number})" for number, line in enumerate(lines[1:])]):
        often = Counter(names)
        names = [
            name if often[name] == 1 else other for name, other in zip(names, better, strict=True)
        ]
    return tuple(names)
