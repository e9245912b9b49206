from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pellucid import models
from pellucid.anatomy.gradcheck import BATCH, check
from pellucid.core.errors import ModelError


class HalfSquare(torch.autograd.Function):
    """x², whose backward pass forgets the 2."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient * ctx.saved_tensors[0]


class Square(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return HalfSquare.apply(x)


class Forgetful(nn.Module):
    """A scale whose gradient is cut off, as by a stray detach."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((3, 1, 1), 0.7))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale.detach() + 0 * self.scale


class Noise(nn.Module):
    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x * self.calls


def test_a_wrong_backward_pass_is_found_and_named() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 3, 3), Square(), nn.Flatten(), nn.Linear(48, 3))
    found = check(network, (1, 6, 6))
    assert not found.passed
    assert [tensor.name for tensor in found.tensors if tensor.wrong] == [
        "input",
        "0.weight",
        "0.bias",
    ]
    assert found.culprits == ("1 (Square)",)
    assert "1 (Square)" in found.verdict and "WRONG" in found.text()
    assert found.tensors[1].error == pytest.approx(0.5, abs=1e-6)


def test_a_wrong_gradient_of_a_parameter_is_found() -> None:
    found = check(nn.Sequential(nn.Conv2d(1, 3, 3), Forgetful()), (1, 5, 5))
    assert [tensor.name for tensor in found.tensors if tensor.wrong] == ["1.scale"]
    assert found.culprits == ("1 (Forgetful)",)


@pytest.mark.parametrize(
    ("network", "shape"),
    [
        ("C8 B R P D C16 B R P L10", (1, 8, 8)),
        ("[ C4 N R ] P3s2 T V4 X2 U S G L3", (3, 8, 8)),
        ("{ C4 | A3s1p1 } R D.5 G L2", (2, 6, 6)),
        ("lenet5", (1, 16, 16)),
        ("lenet5_1998", (1, 32, 32)),
        ("softmax_regression", (1, 8, 8)),
    ],
)
def test_right_networks_pass(network: str, shape: tuple[int, ...]) -> None:
    torch.manual_seed(1)
    classes = models.notation.classes_of(network) if models.notation.is_notation(network) else 10
    found = check(models.create(network, classes, shape[0], shape[1:]), shape)
    assert found.passed and not found.culprits, found.text()
    assert found.tensors[0].shape == (BATCH, *shape)
    assert all(4 <= tensor.checked <= 24 or tensor.checked < 24 for tensor in found.tensors)


def test_kinks_are_counted_and_not_wrong() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, 2))
    nn.init.zeros_(network[0].get_parameter("weight"))
    nn.init.zeros_(network[0].get_parameter("bias"))
    found = check(network, (1, 6, 6))
    assert found.passed, found.text()
    kinks = {tensor.name: tensor.kinks for tensor in found.tensors}
    assert kinks["0.weight"] + kinks["0.bias"] > 0
    assert kinks["3.weight"] == kinks["3.bias"] == 0
    assert "kink" in found.verdict


def test_the_network_is_left_as_it_was_and_the_seed_decides() -> None:
    network = models.create("C4 B R D G L3", 3, 1, (6, 6)).eval()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    state = torch.random.get_rng_state()
    one, two = check(network, (1, 6, 6), seed=3), check(network, (1, 6, 6), seed=3)
    assert one == two
    assert one != check(network, (1, 6, 6), seed=4)
    assert torch.equal(state, torch.random.get_rng_state())
    assert not network.training and all(p.grad is None for p in network.parameters())
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_an_unused_parameter_agrees_with_no_difference() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    network.register_parameter("spare", nn.Parameter(torch.ones(2)))
    found = check(network, (1, 2, 2))
    assert found.passed and {t.name: t.error for t in found.tensors}["spare"] == 0


class Chosen(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1).argmax(1)


@pytest.mark.parametrize(
    ("network", "shape", "words"),
    [
        (Noise(), (1, 2, 2), "differently each time"),
        (Chosen(), (1, 2, 2), "finite numbers"),
        (nn.Linear(3, 2), (1, 2, 2), "1×2×2"),
        (nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).requires_grad_(False), (2, 2, 2), "2×2×2"),
    ],
)
def test_what_cannot_be_checked_is_said(
    network: nn.Module, shape: tuple[int, ...], words: str
) -> None:
    with pytest.raises(ModelError, match=words):
        check(network, shape)


class Short(nn.Module):
    """Right, but in 32 bits on the way."""

    def forward(self, x: Tensor) -> Tensor:
        return x.float().tanh()


def test_fewer_digits_are_refused_and_not_called_wrong() -> None:
    with pytest.raises(ModelError, match="computes in float32"):
        check(Short(), (1, 3, 3))
