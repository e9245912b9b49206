"""Networks that answer with one place: shapes, and that the place survives until the answer."""

from __future__ import annotations

import pytest
import torch

from pellucid.models import create
from pellucid.models.localiser import Landmarks, Localiser


@pytest.mark.parametrize("name", ["resnet20", "lenet5", "C8s2 B R C16s2 R G L2", "mlp"])
def test_a_place_from_any_backbone(name: str) -> None:
    backbone = create(name, 2, 3, (32, 32))
    images = torch.randn(4, 3, 32, 32)
    for network, numbers in (
        (Localiser(backbone, 3), 8),
        (Localiser(backbone, 2, sized=False), 5),
        (Landmarks(backbone, 6), 12),
    ):
        assert network(images).shape == (4, numbers)
        torch.testing.assert_close(network.head(network.features(images)), network(images))
        assert network.feature_channels == backbone.feature_channels


def test_a_picture_of_any_size_passes() -> None:
    network = Localiser(create("C8s2 R C16s2 R G L2", 2, 3, (32, 32)), 2)
    assert network(torch.randn(2, 3, 50, 90)).shape == (2, 7)


def test_a_fresh_network_begins_in_the_middle() -> None:
    torch.manual_seed(0)
    network = Localiser(create("C8s2 R C16s2 R G L2", 2, 3, (32, 32)), 2)
    torch.testing.assert_close(network(torch.zeros(1, 3, 32, 32)), torch.full((1, 7), 0.5))


def test_a_shifted_picture_has_another_answer() -> None:
    """What a global average would have lost: the same maps at another place."""
    torch.manual_seed(0)
    network = Localiser(create("C8s2 R C16s2 R G L2", 2, 3, (64, 64)), 1).eval()
    images = torch.zeros(2, 3, 64, 64)
    images[0, :, 16:24, 16:24] = images[1, :, 40:48, 40:48] = 5.0
    first, second = network.features(images)[-1].mean((2, 3))
    torch.testing.assert_close(first, second)
    left, right = network(images)
    assert (left - right).abs().max() > 0.01
