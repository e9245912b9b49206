"""What every network keeps to, over all of MODELS;
a new network is held to it by its line in the dict."""

from __future__ import annotations

import math
import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from pellucid import models
from pellucid.core.errors import UsageError
from pellucid.models import MODELS, SMALLEST, create, fixed_size


def smallest(name: str) -> int:
    """The side that a network asks for when it refuses a picture of one pixel, or 1."""
    try:
        with torch.device("meta"):
            create(name, 7, 3, (1, 1))
    except UsageError as error:
        return int(re.findall(r"(?:at least|takes pictures of) (\d+)×", str(error))[0])
    return 1


def size_of(name: str) -> tuple[int, int]:
    side = max(64, smallest(name))
    return fixed_size(name) or (side, side)


def fresh(name: str, channels: int = 1, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return create(name, 7, channels, size_of(name))


def check_contract(name: str, folder: Path) -> None:
    network = fresh(name).eval()
    x = torch.randn(2, 1, *size_of(name))
    with torch.no_grad():
        logits = network(x)
        assert logits.shape == (2, 7)
        assert logits.isfinite().all()
        assert torch.equal(network.head(network.features(x)), logits)
    check_features(network, x)
    check_seed_and_file(name, network, logits, x, folder / "weights.safetensors")
    with torch.no_grad():
        close(
            network.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last)),
            logits,
        )
    check_gradient(network.train(), x)
    with torch.device("meta"):
        assert fresh(name, channels=3)(torch.empty(2, 3, *size_of(name))).shape == (2, 7)


def close(ours: torch.Tensor, expected: torch.Tensor) -> None:
    """Other kernels round differently; the deepest networks carry logits of 10⁶ before training."""
    torch.testing.assert_close(ours, expected, rtol=1e-3, atol=1e-4 * expected.abs().max().item())


def check_features(network: nn.Module, x: torch.Tensor) -> None:
    before = x.clone()
    with torch.no_grad():
        maps = network.features(x)
        assert torch.equal(x, before), "features may not write on the picture"
        assert len(maps) == len(network.feature_channels) == len(network.feature_strides)
        assert tuple(each.shape[1] for each in maps) == tuple(network.feature_channels)
        assert list(network.feature_strides) == sorted(set(network.feature_strides))
        # A picture that is larger by a common multiple of the strides has maps that are larger by
        # exactly that over the stride.
        more = math.lcm(*network.feature_strides)
        wider = network.features(torch.zeros(1, 1, x.shape[2], x.shape[3] + more))
    for fine, wide, stride in zip(maps, wider, network.feature_strides, strict=True):
        assert wide.shape[3] - fine.shape[3] == more // stride
        assert wide.shape[2] == fine.shape[2]


def check_seed_and_file(
    name: str, network: nn.Module, logits: torch.Tensor, x: torch.Tensor, path: Path
) -> None:
    save_file(network.state_dict(), path)
    again = fresh(name).eval()
    assert all(
        torch.equal(a, b)
        for a, b in zip(network.state_dict().values(), again.state_dict().values(), strict=True)
    )
    with torch.no_grad():
        for parameter in again.parameters():
            parameter.zero_()
        again.load_state_dict(load_file(path), strict=True)
        close(again(x), logits)
    path.unlink()  # of a giant half a gigabyte


def check_gradient(network: nn.Module, x: torch.Tensor) -> None:
    logits, auxiliary = answers(network, x)
    assert all(each.shape == logits.shape for each in auxiliary)
    sum(
        nn.functional.cross_entropy(each, torch.tensor([0, 6])) for each in (logits, *auxiliary)
    ).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, f"{name} is not reached by the gradient"
        # NaN if anything is; and no copy of a giant's gradient
        low, high = parameter.grad.aminmax()
        assert low.isfinite(), name
        assert high.isfinite(), name
        assert low != 0 or high != 0, f"the gradient of {name} is zero"


def answers(network: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
    """The logits in training, and those of auxiliary classifiers."""
    return network.with_auxiliary(x) if hasattr(network, "with_auxiliary") else (network(x), ())


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("name", MODELS)
def test_contract(name: str, tmp_path: Path) -> None:
    check_contract(name, tmp_path)


@pytest.mark.parametrize("name", MODELS)
def test_the_smallest_size_is_the_smallest(name: str) -> None:
    least = smallest(name)
    with torch.device("meta"):
        network = create(name, 7, 3, (least, least)).train()
        logits, auxiliary = answers(network, torch.empty(2, 3, least, least))
        torch.stack([logits, *auxiliary]).sum().backward()
        assert all(parameter.grad is not None for parameter in network.parameters())
        if name in SMALLEST:
            with pytest.raises(RuntimeError):
                network(torch.empty(2, 3, least - 1, least))
    for size in ((least - 1, least), (least, least - 1)):
        with pytest.raises(UsageError, match=f"{least}×{least}"):
            create(name, 7, 3, size)


NEW_NETWORK = """
from torch import nn

class Tiny(nn.Module):
    feature_channels, feature_strides = (4, 8), (1, 2)

    def __init__(self, classes=10, channels=3):
        super().__init__()
        self.one = nn.Conv2d(channels, 4, 3, padding=1)
        self.two = nn.Conv2d(4, 8, 3, stride=2, padding=1)
        self.fc = nn.Linear(8, classes)

    def features(self, x):
        fine = self.one(x).tanh()
        return fine, self.two(fine).tanh()

    def head(self, maps):
        return self.fc(maps[-1].mean((2, 3)))

    def forward(self, x):
        return self.head(self.features(x))
"""


def test_a_new_network_is_one_file_and_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = types.ModuleType("tiny")
    exec(NEW_NETWORK, module.__dict__)
    monkeypatch.setitem(sys.modules, "tiny", module)
    monkeypatch.setitem(models.MODELS, "tiny", module.Tiny)
    check_contract("tiny", tmp_path)


def test_the_contract_notices_a_wrong_stride(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = types.ModuleType("tiny")
    exec(NEW_NETWORK.replace("(1, 2)", "(1, 4)"), module.__dict__)
    monkeypatch.setitem(models.MODELS, "tiny", module.Tiny)
    with pytest.raises(AssertionError):
        check_contract("tiny", tmp_path)
