from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pellucid.engine.run.settings import options_of
from pellucid.models import create
from pellucid.models.initialise import INITIALISATIONS, initialise
from pellucid.models.notation import build
from pellucid.tasks.settings import SharedSettings

NETWORKS = {
    "C16 B R P C32k5 R [ C32 R C32 ] G L10": (1, 12, 12),
    "resnet18": (3, 32, 32),
    "V8k4s2 R C6g2 R L5": (4, 6, 6),
}


def fresh(name: str, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    channels, *size = NETWORKS[name]
    return (
        create(name, 10, channels, (size[0], size[1]))
        if name == "resnet18"
        else build(name, channels, (size[0], size[1]))
    )


def layers(network: nn.Module) -> list[nn.Module]:
    return [
        each
        for each in network.modules()
        if isinstance(each, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)
    ]


def test_the_settings_offer_these() -> None:
    assert tuple(INITIALISATIONS) == options_of(SharedSettings)["init"].choices


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("how", INITIALISATIONS)
def test_only_convolutions_and_dense_layers_change(name: str, how: str) -> None:
    ours, before = fresh(name), fresh(name).state_dict()
    initialise(ours, how)
    touched = {id(parameter) for layer in layers(ours) for parameter in layer.parameters()}
    for key, parameter in ours.named_parameters():
        same = torch.equal(parameter, before[key])
        assert same or (id(parameter) in touched and how != "own")
        if how == "zero_bias":
            assert same or key.endswith("bias")
    for layer in layers(ours):
        if how != "own" and layer._parameters["bias"] is not None:
            assert not layer.get_parameter("bias").any()


@pytest.mark.parametrize("name", ["resnet18", "C16 B R P C32k5 R [ C32 R C32 ] G L10"])
@pytest.mark.parametrize(("how", "times"), [("he", 1), ("large", 10)])
def test_deviations_are_hes(name: str, how: str, times: float) -> None:
    network = fresh(name)
    initialise(network, how)
    *hidden, last = layers(network)
    for layer, gain in [*((each, 2.0) for each in hidden), (last, 1.0)]:
        weight = layer.get_parameter("weight")
        expected = times * (gain / weight[0].numel()) ** 0.5
        # Four deviations of the deviation of so many numbers.
        assert weight.std().item() == pytest.approx(expected, rel=4 / (2 * weight.numel()) ** 0.5)


def test_he_keeps_the_size_of_activations() -> None:
    x = torch.randn(64, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    sizes = {}
    for how in ("he", "large"):
        torch.manual_seed(2)
        network = build("L256 R L256 R L256 R L256 R L10", 1, (8, 8))
        initialise(network, how)
        sizes[how] = network(x).detach()
    assert sizes["he"].std().item() == pytest.approx(1, rel=0.5)
    torch.testing.assert_close(sizes["large"], 1e5 * sizes["he"], rtol=1e-3, atol=1.0)


@pytest.mark.parametrize("name", NETWORKS)
def test_equal_weights_are_one_over_fan_in(name: str) -> None:
    network = fresh(name)
    initialise(network, "equal")
    for layer in layers(network):
        weight = layer.get_parameter("weight")
        units = weight.shape[1] if isinstance(layer, nn.ConvTranspose2d) else weight.shape[0]
        assert weight.unique().tolist() == pytest.approx([units / weight.numel()])


@pytest.mark.parametrize("notation", ["L8 R L8 R L3", "C8 B R P C8 T G L3"])
def test_equal_weights_make_a_layer_one_unit_wide_for_ever(notation: str) -> None:
    """All units of a hidden layer start alike, get the same gradient and so stay alike."""
    network = build(notation, 1, (6, 6))
    initialise(network, "equal")
    generator = torch.Generator().manual_seed(0)
    x, targets = (
        torch.randn(30, 1, 6, 6, generator=generator),
        torch.randint(0, 3, (30,), generator=generator),
    )
    x[:, 0, 0, 0] += 3 * targets
    *hidden, last = layers(network)
    before = hidden[0].get_parameter("weight").clone()
    optimiser = torch.optim.Adam(network.parameters(), 0.02)
    for _ in range(40):
        optimiser.zero_grad()
        F.cross_entropy(network(x), targets).backward()
        for layer in hidden:
            gradient = layer.get_parameter("weight").grad
            assert gradient is not None
            torch.testing.assert_close(
                gradient, gradient[:1].expand_as(gradient), rtol=1e-3, atol=1e-6
            )
        optimiser.step()
    # It did learn, and its answers to the three classes did part.
    assert not torch.allclose(hidden[0].get_parameter("weight"), before, atol=0.01)
    assert not torch.allclose(
        last.get_parameter("weight")[0], last.get_parameter("weight")[1], atol=0.01
    )


def test_a_layer_one_unit_wide_is_not_linear() -> None:
    network = build("L8 R L3", 1, (2, 2))
    initialise(network, "equal")
    x = torch.tensor([1.0, -0.5, 2.0, 0.5]).reshape(1, 1, 2, 2)
    assert not torch.allclose(network(-x), -network(x))
    assert torch.linalg.matrix_rank(network.get_parameter(next(iter(network.state_dict())))) == 1
