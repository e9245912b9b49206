from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from pellucid.anatomy import blank, describe, memory
from pellucid.anatomy.memory import STATE, peak, saved
from pellucid.anatomy.trace import tensors_of
from pellucid.core.errors import ModelError, UsageError
from pellucid.models import create
from pellucid.models.notation import build

NETWORKS = [
    "lenet5",
    "resnet18",
    "C8 B R P C16 R [C16 B R C16] A G D.2 L5",
    "{ C4 R | C8 P3s1p1 | } N C8s2 T U V4 S G L3",
]
SIZE = (32, 32)


def made(name: str) -> nn.Module:
    torch.manual_seed(0)
    return create(name, 10, 3, SIZE) if " " not in name else build(name, 3, SIZE)


# ------------------------------------------------------------------------------ against a real pass


def really_saved(network: nn.Module, batch: int) -> int:
    """Bytes by the addresses of real numbers, in a real forward pass, in training mode."""
    own = {p.data_ptr() for p in [*network.parameters(), *network.buffers()]}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept.setdefault(tensor.untyped_storage().data_ptr(), tensor.detach())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        network.train()(torch.rand(batch, 3, *SIZE))
    return sum(t.untyped_storage().nbytes() for address, t in kept.items() if address not in own)


@pytest.mark.parametrize("name", NETWORKS)
def test_memory_of_the_backward_pass_is_what_is_kept(name: str) -> None:
    found = memory(made(name), (3, *SIZE))
    assert found.kept is not None and found.kept_fixed is not None
    for batch in (2, 5):
        assert really_saved(made(name), batch) == found.kept_fixed + batch * found.kept


class Alive(TorchDispatchMode):
    """Adds up real storages as they come and go."""

    def __init__(self, own: list[Tensor], picture: Tensor) -> None:
        super().__init__()
        self.own = {t.untyped_storage().data_ptr() for t in own}
        self.held = {
            picture.untyped_storage().data_ptr(): (
                StorageWeakRef(picture.untyped_storage()),
                picture.nbytes,
            )
        }
        self.most = picture.nbytes

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tensors_of(result):
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in self.own:
                self.held[storage.data_ptr()] = (StorageWeakRef(storage), storage.nbytes())
        self.held = {key: of for key, of in self.held.items() if not of[0].expired()}
        self.most = max(self.most, sum(size for _, size in self.held.values()))
        return result


@pytest.mark.parametrize("name", NETWORKS)
def test_the_peak_of_an_answer_is_that_of_a_real_one(name: str) -> None:
    network = made(name).eval()
    found = memory(network, (3, *SIZE))
    picture = torch.rand(4, 3, *SIZE)
    gc.collect()
    with torch.no_grad(), Alive([*network.parameters(), *network.buffers()], picture) as alive:
        network(picture)
    assert found.inference(4) - found.weights == alive.most


def test_weights_and_gradients() -> None:
    network = made("resnet18")
    found = memory(network, (3, *SIZE))
    assert found.weights == sum(t.nbytes for t in [*network.parameters(), *network.buffers()])
    network.train()(torch.rand(2, 3, *SIZE)).sum().backward()
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    assert found.gradients == sum(g.nbytes for g in gradients)
    for name, kind in (("adam", torch.optim.Adam), ("sgd", torch.optim.SGD)):
        optimizer = kind(network.parameters())
        optimizer.step()
        state = [
            v
            for values in optimizer.state.values()
            for v in values.values()
            if isinstance(v, Tensor) and v.ndim
        ]
        assert STATE[name] * found.gradients == sum(t.nbytes for t in state)
    frozen = network.get_parameter("conv1.weight").requires_grad_(False)
    assert memory(network, (3, *SIZE)).gradients == found.gradients - frozen.nbytes


# ------------------------------------------------------------------------------------------ by hand


def test_in_place_work_and_views_own_nothing() -> None:
    def of(*layers: nn.Module) -> int:
        return memory(nn.Sequential(*layers), (1, 8, 8)).activations

    picture, maps = 4 * 64, 4 * 4 * 64
    conv: Callable[[], nn.Module] = lambda: nn.Conv2d(1, 4, 3, padding=1)  # noqa: E731
    assert of(conv()) == picture + maps
    assert (
        of(conv(), nn.ReLU(inplace=True), nn.Flatten(), nn.Identity(), nn.Dropout())
        == picture + maps
    )
    assert of(conv(), nn.ReLU()) == picture + 2 * maps


def test_kept_by_hand() -> None:
    # The picture for the weights' gradient; the rectified map once, for ReLU and for the dense
    # layer; no parameter.
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(256, 2)
    )
    found = memory(network, (1, 8, 8))
    assert (found.kept, found.kept_fixed) == (4 * 64 + 4 * 256, 0)
    normed = memory(nn.Sequential(nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4)), (1, 8, 8))
    assert (normed.kept, normed.kept_fixed) == (4 * 64 + 4 * 4 * 36, 2 * 4 * 4)


def test_half_precision_takes_half() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3))
    whole, half = memory(network, (3, 16, 16)), memory(network.half(), (3, 16, 16))
    assert (2 * half.weights, 2 * half.activations, 2 * (half.kept or 0)) == (
        whole.weights,
        whole.activations,
        whole.kept,
    )


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**11), st.sampled_from(sorted(STATE)))
def test_the_largest_batch_is_the_largest_that_fits(free: int, optimizer: str) -> None:
    found = MEMORY
    batch = found.largest_batch(free, optimizer)
    assert batch is not None and batch >= 0
    if batch:
        assert (found.training(batch, optimizer) or 0) <= free
    assert (found.training(batch + 1, optimizer) or 0) > free


with blank():
    MEMORY = memory(create("resnet18", 10, 3, (64, 64)), (3, 64, 64))


def test_an_unknown_optimiser() -> None:
    with pytest.raises(UsageError, match='did you mean "adamw"'):
        MEMORY.training(3, "adamww")


# ------------------------------------------------------------------------------------- odd networks


class NoTraining(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            raise RuntimeError("only answers")
        return x * 2


def test_a_network_that_only_answers() -> None:
    found = describe(NoTraining(), (1, 4, 4))
    assert (
        found.memory.kept is None
        and found.memory.training(3) is None
        and found.memory.largest_batch(10**9) is None
    )
    assert "memory to train: unavailable" in found.text()
    assert found.to_json()["memory"]["kept_for_backward_bytes"] is None


def test_a_shape_that_does_not_pass() -> None:
    with pytest.raises(ModelError, match="3×4×4"):
        memory(made("lenet5"), (3, 4, 4))


def test_nothing_of_the_network_is_touched() -> None:
    network = made("resnet18").train()
    state = {key: value.clone() for key, value in network.state_dict().items()}
    memory(network, (3, *SIZE))
    assert network.training and all(
        torch.equal(state[key], value) for key, value in network.state_dict().items()
    )
    assert all(p.grad is None for p in network.parameters())


def test_a_network_of_a_gigabyte_costs_nothing() -> None:
    with blank():
        network = nn.Sequential(
            nn.Flatten(),
            nn.Linear(3 * 64 * 64, 20_000),
            nn.ReLU(inplace=True),
            nn.Linear(20_000, 10),
        )
        pictures = torch.empty(2, 3, 64, 64)
    assert memory(network, (3, 64, 64)).weights > 9e8
    assert peak(network.eval(), pictures) == 4 * 2 * (3 * 64 * 64 + 20_000 + 10)
    assert saved(network.train(), pictures) == 4 * 2 * (3 * 64 * 64 + 20_000)


class Squared(nn.Module):
    """Keeps little for the backward pass, and has much alive on the way."""

    def forward(self, x: Tensor) -> Tensor:
        pixels = x.flatten(1)
        return (pixels[:, :, None] + pixels[:, None]).sum((1, 2))


def test_learning_takes_no_less_than_answering() -> None:
    found = memory(Squared(), (1, 8, 8))
    assert found.kept is not None and found.kept < found.activations
    for batch in (1, 32):
        assert found.training(batch, "sgd") >= found.inference(batch)
    most = found.largest_batch(10**6, "sgd")
    assert found.training(most, "sgd") <= 10**6 < found.training(most + 1, "sgd")
