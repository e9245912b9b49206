"""How much memory a network needs, to answer and to learn, from a pass without numbers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode

from ..core.errors import ModelError, UsageError, did_you_mean
from .blank import blank
from .trace import by, shadow_of, tensors_of

# Numbers that an optimiser remembers for each parameter.
STATE = {"sgd": 0, "momentum": 1, "nesterov": 1, "adam": 2, "adamw": 2}


@dataclass(frozen=True)
class Memory:
    """Bytes. `fixed` is needed once, the figures without it by every picture; pictures are counted
    with what is made of them.

    weights: parameters and buffers. gradients: of the parameters that learn.
    activations: most that is alive at once while the network answers.
    kept: what autograd keeps for the backward pass; None where the network cannot be run in
    training mode at this size.

    Left out: the working space of a library's convolutions, the gradients of activations during the
    backward pass (about the two largest neighbouring maps at a time), the loss, and what the
    process itself takes.
    """

    weights: int
    gradients: int
    activations: int
    activations_fixed: int
    kept: int | None
    kept_fixed: int | None

    def inference(self, batch: int = 1) -> int:
        return self.weights + self.activations_fixed + batch * self.activations

    def training(self, batch: int, optimizer: str = "adamw") -> int | None:
        """Weights, gradients, the optimiser's state (`STATE` numbers a parameter), and what
        autograd keeps, or what is alive at once on the way where that is more."""
        if self.kept is None or self.kept_fixed is None:
            return None
        kept, alive = (
            self.kept_fixed + batch * self.kept,
            self.activations_fixed + batch * self.activations,
        )
        return self.learning(optimizer) + max(kept, alive)

    def learning(self, optimizer: str = "adamw") -> int:
        """Weights, gradients and the optimiser's state: what training takes whatever the batch.
        Raises UsageError for its name."""
        if optimizer not in STATE:
            raise UsageError(f'unknown optimizer "{optimizer}"; {did_you_mean(optimizer, STATE)}')
        return self.weights + self.gradients * (1 + STATE[optimizer])

    def largest_batch(self, memory_bytes: int, optimizer: str = "adamw") -> int | None:
        """Pictures a step for which training stays within so many bytes;
        0 where not even one fits."""
        if self.kept is None or self.kept_fixed is None:
            return None
        left = memory_bytes - self.learning(optimizer)
        kept, alive = (
            (left - self.kept_fixed) // max(1, self.kept),
            (left - self.activations_fixed) // max(1, self.activations),
        )
        return max(0, min(kept, alive))

    def to_json(self) -> dict[str, Any]:
        return {
            "weights_bytes": self.weights,
            "gradients_bytes": self.gradients,
            "optimizer_bytes": {name: number * self.gradients for name, number in STATE.items()},
            "inference_bytes": {
                "fixed": self.weights + self.activations_fixed,
                "per_picture": self.activations,
            },
            "kept_for_backward_bytes": None
            if self.kept is None
            else {"fixed": self.kept_fixed, "per_picture": self.kept},
        }


def memory(network: nn.Module, input_shape: tuple[int, ...]) -> Memory:
    """For pictures of `input_shape` (channels, sides…; no batch), in the precision of the weights.

    The network is run on torch's meta device, which has shapes and no numbers, on batches of two
    and three pictures: two, since batch norm needs more than one value a channel to learn; the
    difference is what one picture costs. Dropout is counted as on a processor. Auxiliary
    classifiers (a method `with_auxiliary`) take part in training.
    Raises ModelError for a shape that does not pass.
    """
    with blank():
        shadow = shadow_of(network)
    try:
        alive = [peak(shadow, _pictures(shadow, batch, input_shape)) for batch in (2, 3)]
    except Exception as error:
        raise ModelError(
            f"an input of {by(input_shape)} does not pass the network: {str(error).splitlines()[0]}"
        ) from error
    kept: list[int] | None
    try:
        shadow.train()
        kept = [saved(shadow, _pictures(shadow, batch, input_shape)) for batch in (2, 3)]
    except Exception:  # what it does in training only; it has just passed in evaluation
        kept = None
    learns = [parameter for parameter in network.parameters() if parameter.requires_grad]
    each, fixed = _line(alive)
    kept_each, kept_fixed = _line(kept) if kept else (None, None)
    return Memory(
        _bytes([*network.parameters(), *network.buffers()]),
        _bytes(learns),
        each,
        fixed,
        kept_each,
        kept_fixed,
    )


def _line(of_two_and_three: list[int]) -> tuple[int, int]:
    """Slope and start."""
    each = of_two_and_three[1] - of_two_and_three[0]
    return each, of_two_and_three[0] - 2 * each


def _pictures(network: nn.Module, batch: int, shape: tuple[int, ...]) -> Tensor:
    kind = next((p.dtype for p in network.parameters() if p.is_floating_point()), torch.float32)
    return torch.empty(batch, *shape, dtype=kind, device="meta")


def _bytes(tensors: Iterable[Tensor]) -> int:
    """Each storage once, however many tensors share it."""
    return sum(
        t.untyped_storage().nbytes() if not t.is_meta else t.numel() * t.element_size()
        for t in {_key(t): t for t in tensors}.values()
    )


def _key(tensor: Tensor) -> int:
    # The address of the numbers would not do: on the meta device it is always 0.
    return tensor.untyped_storage()._cdata


def saved(network: nn.Module, pictures: Tensor) -> int:
    """Bytes that autograd keeps when the network answers these pictures as it stands: each storage
    once, and no parameter or buffer."""
    own = {_key(tensor) for tensor in [*network.parameters(), *network.buffers()]}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept.setdefault(_key(tensor), tensor.untyped_storage())
        return tensor.detach()  # the tensor itself would hold the graph that holds it

    run = getattr(network, "with_auxiliary", network) if network.training else network
    with blank(), torch.enable_grad(), saved_tensors_hooks(keep, lambda tensor: tensor):
        answer = run(pictures)
    del answer
    return sum(storage.nbytes() for key, storage in kept.items() if key not in own)


def peak(network: nn.Module, pictures: Tensor) -> int:
    """Most bytes alive at once, without parameters and buffers, while the network answers these
    pictures; they are counted too."""
    watch = _Alive([*network.parameters(), *network.buffers()], pictures)
    with blank(), torch.no_grad(), watch:
        network(pictures)
    return watch.most


class _Alive(TorchDispatchMode):
    """Adds up the storages that operations make, and takes away those that nothing holds any more.
    Views and in-place work make none."""

    def __init__(self, own: list[Tensor], pictures: Tensor) -> None:
        super().__init__()
        self.own = {_key(tensor) for tensor in own}
        self.held: dict[int, tuple[Any, int]] = {}
        self.most = 0
        self._add([pictures])

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # torch would load its compiler, to tell it to stay away

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self._add(tensors_of(result))
        return result

    def _add(self, tensors: list[Tensor]) -> None:
        for tensor in tensors:
            storage = tensor.untyped_storage()
            if storage._cdata not in self.own:
                self.held[storage._cdata] = (
                    torch.multiprocessing.reductions.StorageWeakRef(storage),
                    storage.nbytes(),
                )
        self.held = {key: of for key, of in self.held.items() if not of[0].expired()}
        self.most = max(self.most, sum(size for _, size in self.held.values()))
