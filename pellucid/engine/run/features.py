"""What a frozen network sees in each picture, computed once and kept: its head then learns from
numbers instead of pixels."""

from __future__ import annotations

import copy
import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...anatomy.trace import shadow_of
from ...core.files import replacing
from ...core.rng import Draws
from ...core.types import Batch
from ...tasks.settings import SharedSettings
from ..inference.infer import SCORING, forward_outputs
from . import batches, folders, processes
from .prepare import Prepared
from .progress import Say
from .transfer import leaves, stages_of_features, trunk

# Another number when the same weights and pictures give other features, or these stand otherwise in
# the file.
FORMAT = 1
DIGEST = 16
# Images between two steps of the progress bar, and those whose network input is part of the key.
FEW, PROBE = 256, 4


class LastMap(nn.Module):
    """B×channels×height×width → the network's last map, float32; its mean over places, B×C×1×1,
    where that is all the head reads."""

    def __init__(self, network: nn.Module, pooled: bool) -> None:
        super().__init__()
        self.network, self.pooled = network, pooled

    def forward(self, x: Tensor) -> Tensor:
        last = features_of(self.network, x)[-1].float()
        return last.mean((2, 3), keepdim=True) if self.pooled else last


def features_of(network: Any, x: Tensor) -> tuple[Tensor, ...]:
    return network.features(x)


def head_of(network: Any, maps: tuple[Tensor, ...]) -> Tensor:
    return network.head(maps)


@dataclass(frozen=True)
class CachedFeatures:
    """The preprocessing of views that hold features in place of pixels: they are what the head
    takes. input_shape: of the image that the features are of."""

    input_shape: tuple[int, ...]

    def network_input(self, batch: Batch) -> Tensor:
        return batch.images


class HeadOnly(nn.Module):
    """The head of a network, for features in place of images: B×C×h×w → its outputs."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, features: Tensor) -> Tensor:
        return head_of(self.network, (features,))


def cached(
    prepared: Prepared, network: nn.Module, where: torch.device, say: Say
) -> tuple[Prepared, nn.Module | None]:
    """The same with features in place of pixels, and the head that takes them, where features are
    fixed; else `prepared` itself and None.

    `network` must hold the weights that it will keep. The features lie in a file
    `runs/.features/<key>.npy`, where another run with the same frozen weights and images finds
    them; one that is damaged is made again. Raises MachineError where the disk is full.
    """
    shape = prepared.preprocess.input_shape
    if not fixed(prepared.settings, network, shape) or augments(prepared):
        return prepared, None
    path = folders.RUNS / ".features" / f"{key(prepared, network)}.npy"
    held = _read(path)
    if all(processes.gather(held is not None)):
        say.line(f"features: from the cache ({path})")
    else:
        _compute(path, prepared, network, where, say)
        held = _read(path)
        say.line(f"features: computed once for {len(prepared.views)} pictures and kept in {path}")
    assert held is not None
    preprocess = CachedFeatures(shape)
    return replace(
        prepared,
        preprocess=preprocess,
        training=replace(prepared.training, preprocess=preprocess),
        views=replace(prepared.views, images=held),
    ), HeadOnly(network)


def augments(prepared: Prepared) -> bool:
    """Whether training images are changed at random: `augment` gives back the batch itself where
    they are not."""
    rows = np.arange(min(PROBE, len(prepared.part("train"))))
    probe = prepared.part("train").some(rows)
    return prepared.training.augment(probe, Draws(0, 0, rows), 0.0) is not probe


def fixed(settings: SharedSettings, network: nn.Module, input_shape: tuple[int, ...]) -> bool:
    """Whether the head reads the same numbers in every epoch, and from the last map alone.

    All before it must be frozen.
    """
    # Of a detector only the backbone is frozen: its neck reads several maps, and learns.
    if settings.freeze != "all" or not settings.cache or trunk(network)[1] is not network:
        return False
    shadow = shadow_of(network)
    with torch.device("meta"):
        maps = tuple(
            torch.empty(shape, requires_grad=True) for shape in shapes(network, input_shape)
        )
        with torch.enable_grad():
            read = {id(leaf) for leaf in leaves(head_of(shadow, maps), set())}
    return maps[-1].ndim == 4 and not any(id(each) in read for each in maps[:-1])


def shapes(network: nn.Module, input_shape: tuple[int, ...]) -> list[torch.Size]:
    """Of each map, of a batch of one picture."""
    with torch.no_grad(), torch.device("meta"):
        return [
            each.shape for each in features_of(shadow_of(network), torch.empty(1, *input_shape))
        ]


def pooling(network: nn.Module, input_shape: tuple[int, ...]) -> bool:
    """Whether the head begins with the mean over places, so that the mean alone need be kept.

    Tried on a map and weights drawn at random, with dropout at work: the mean in the map's place
    must give the same logits. Dropout before the mean draws other numbers for one place than for
    many, and so is found out too.
    """
    twin = copy.deepcopy(network).cpu().eval()
    draws = torch.Generator().manual_seed(0)
    last = torch.rand((2, *shapes(network, input_shape)[-1][1:]), generator=draws)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        for parameter in twin.parameters():
            if parameter.requires_grad:
                parameter.normal_(generator=draws)
        for layer in twin.modules():
            layer.training = isinstance(layer, nn.modules.dropout._DropoutNd)
        logits = []
        for maps in (last, last.mean((2, 3), keepdim=True)):
            torch.manual_seed(0)
            try:
                logits.append(head_of(twin, (maps,)))
            except RuntimeError:  # a dense layer takes one number of places only
                return False
    whole, mean = logits
    return bool((whole - mean).abs().max() <= 1e-4 * whole.abs().max())


def key(prepared: Prepared, network: nn.Module) -> str:
    """Of all that features follow from: the images in their order, how their pixels become the
    input of the network, and the frozen weights."""
    whole = hashlib.blake2b(digest_size=DIGEST)
    whole.update(json.dumps([FORMAT, prepared.hashes]).encode())
    probe = prepared.views.batch(np.arange(min(PROBE, len(prepared.views))))
    whole.update(_bytes(prepared.preprocess.network_input(probe)))
    for stage in stages_of_features(network, prepared.preprocess.input_shape):
        for name in stage.modules:
            module = network.get_submodule(name)
            for own, value in [
                *module.named_parameters(name, recurse=False),
                *module.named_buffers(name, recurse=False),
            ]:
                whole.update(own.encode() + _bytes(value))
    return whole.hexdigest()


def _bytes(value: Tensor) -> bytes:
    return value.detach().cpu().contiguous().numpy().tobytes()


def _compute(
    path: Path, prepared: Prepared, network: nn.Module, where: torch.device, say: Say
) -> None:
    """Writes M×h×w×C as NumPy does, and after it the hash of these numbers. A few pictures at a
    time: they need not fit in memory."""
    every = prepared.views
    shape = prepared.preprocess.input_shape
    last_map = LastMap(network, pooling(network, shape))
    digest = hashlib.blake2b(digest_size=DIGEST)
    with replacing(path) as file:
        for start in say.track(range(0, len(every), FEW), "features", -(-len(every) // FEW)):
            part = every.part(np.arange(start, min(start + FEW, len(every))))
            batch = part.batch(np.arange(len(part)))
            outputs = forward_outputs(prepared.spec, last_map, batch, SCORING, where)
            few = outputs.permute(0, 2, 3, 1).contiguous().numpy()
            if start == 0:
                about = {
                    "descr": np.lib.format.dtype_to_descr(few.dtype),
                    "fortran_order": False,
                    "shape": (len(every.images), *few.shape[1:]),
                }
                np.lib.format.write_array_header_1_0(file, about)
            file.write(few.tobytes())
            digest.update(few.tobytes())
        file.write(digest.digest())


def _read(path: Path) -> np.ndarray | None:
    """The features, mapped from the file where they are many;
    None where it is not there or damaged."""
    try:
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
        with path.open("rb") as file:
            file.seek(-DIGEST, 2)
            stored = file.read()
    except (OSError, ValueError, EOFError):
        return None
    if hashlib.blake2b(mapped, digest_size=DIGEST).digest() != stored:
        return None
    return mapped if mapped.nbytes > batches.IN_MEMORY else np.array(mapped)
