"""Worked examples, sliding windows: one pass of a classifier whose dense layers are convolutions,
and the crops it stands for."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pellucid.core.errors import UsageError
from pellucid.models.convolutional import as_convolutions, by_crops
from pellucid.models.notation import build
from pellucid.transforms.windows import windows

# OverFeat's drawing: 14×14 is one window, its dense layer a 5×5 convolution; 16×16 are 2×2 windows,
# 28×28 are 8×8, 2 apart.
DRAWN = "C16k5p0 R P L400 R L400 R L4"


@pytest.mark.parametrize(("side", "places"), [(14, 1), (16, 2), (28, 8)])
@torch.no_grad()
def test_one_pass_gives_exactly_the_scores_of_separate_crops(side: int, places: int) -> None:
    torch.manual_seed(0)
    network = build(DRAWN, 3, (14, 14)).eval()
    sliding = as_convolutions(network, (3, 14, 14))
    picture = torch.randn(1, 3, side, side)
    scores = sliding(picture)
    assert sliding.stride == (2, 2)  # of the pooling: the network's total stride
    assert scores.shape == (1, 4, places, places)
    crops = [
        network(picture[:, :, y1:y2, x1:x2])[0]
        for x1, y1, x2, y2 in windows((side, side), (14, 14), (2, 2)).astype(int)
    ]
    torch.testing.assert_close(scores[0].flatten(1), torch.stack(crops, 1), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_and_only_without_padding() -> None:
    """The same network with padding is refused; turned by hand,
    its scores differ from those of crops."""
    torch.manual_seed(0)
    network = build("C16k5p2 R P L4", 3, (14, 14)).eval()
    with pytest.raises(UsageError, match="padding"):
        as_convolutions(network, (3, 14, 14))
    convolution, dense = network.stages[0], network.classifier[-1]
    assert isinstance(dense, nn.Linear)
    picture = torch.randn(1, 3, 28, 28)
    maps = network.stages[1](convolution(picture))
    by_hand = nn.functional.conv2d(maps, dense.weight.view(4, 16, 7, 7), dense.bias)
    crops = by_crops(network, picture, (14, 14), (2, 2))
    assert by_hand.shape == crops.shape and (by_hand - crops).abs().max() > 0.01
