"""Dense layers turned into convolutions: the scores of one pass are those of windows cut out, or
the network is refused."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pellucid.anatomy.receptive import receptive_fields
from pellucid.anatomy.trace import trace
from pellucid.core.errors import UsageError
from pellucid.models import create
from pellucid.models.convolutional import SlidingDense, as_convolutions, by_crops
from pellucid.transforms.windows import windows

PLAIN = "C8k5p0 R P C12k3p0 R P L16 R L3"
# Text or name, and the size of its window.
SLIDING = [
    (PLAIN, (24, 20)),
    ("C8k5p0 T A C12k3s2p0d2 S P3s2 D L16 R D L3", (41, 33)),
    ("C8k3p0 B R P N C12k3p0 B R P L16 B R L8 B R L3", (20, 21)),
    ("C8k3p0 B R [C8k1p0 R C8k1p0] R P { C6k1p0 R | C4k1p0 R | } L16 R [L16 R L16] R L3", (15, 15)),
    ("P3s2 L3", (9, 8)),
    ("lenet5", (32, 32)),
    ("mlp", (9, 7)),
    ("softmax_regression", (8, 8)),
]


def network_of(text: str, size: tuple[int, int]) -> nn.Module:
    """In evaluation mode, its batch norms with statistics and weights that are not those of a
    fresh network."""
    torch.manual_seed(0)
    network = create(text, 3, 2, size)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            for value in (layer.weight, layer.bias, layer.running_mean):
                nn.init.normal_(value)
            nn.init.uniform_(layer.running_var, 0.5, 2)
        if isinstance(layer, nn.Linear):  # the regression begins at zero
            nn.init.normal_(layer.weight, std=layer.in_features**-0.5)
    return network.eval()


@pytest.mark.parametrize(("text", "size"), SLIDING, ids=[text[:24] for text, _ in SLIDING])
@pytest.mark.parametrize("larger", [(0, 0), (1, 7), (13, 22), (30, 5)])
@torch.no_grad()
def test_one_pass_scores_as_crops_do(
    text: str, size: tuple[int, int], larger: tuple[int, int]
) -> None:
    network = network_of(text, size)
    sliding = as_convolutions(network, (2, *size))
    images = torch.randn(2, 2, size[0] + larger[0], size[1] + larger[1])
    scores = sliding(images)
    assert len(windows(images.shape[2:], size, sliding.stride)) == scores[0, 0].numel()
    torch.testing.assert_close(
        scores, by_crops(network, images, size, sliding.stride), atol=1e-5, rtol=1e-5
    )
    one_by_one = [
        network(images[:, :, y1:y2, x1:x2])
        for x1, y1, x2, y2 in windows(images.shape[2:], size, sliding.stride).astype(int)
    ]
    torch.testing.assert_close(scores.flatten(2), torch.stack(one_by_one, 2), atol=1e-5, rtol=1e-5)


@settings(max_examples=25, deadline=None)
@given(
    kernels=st.lists(
        st.tuples(st.sampled_from("CPA"), st.integers(1, 4), st.integers(1, 3)),
        min_size=1,
        max_size=4,
    ),
    spare=st.integers(0, 5),
    larger=st.tuples(st.integers(0, 20), st.integers(0, 20)),
)
@torch.no_grad()
def test_it_holds_for_any_row_of_windows(
    kernels: list[tuple[str, int, int]], spare: int, larger: tuple[int, int]
) -> None:
    """Also where pooling leaves pixels over: a larger picture must not use them."""
    least = 1
    for _, kernel, stride in reversed(kernels):
        least = (least - 1) * stride + kernel
    size = (least + spare, least)
    rows = [
        f"C4k{kernel}s{stride}p0" if letter == "C" else f"{letter}{kernel}s{stride}"
        for letter, kernel, stride in kernels
    ]
    network = network_of(" ".join([*rows, "L5 R L3"]), size)
    sliding = as_convolutions(network, (2, *size))
    images = torch.randn(1, 2, size[0] + larger[0], size[1] + larger[1])
    torch.testing.assert_close(
        sliding(images), by_crops(network, images, size, sliding.stride), atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize(("text", "size"), SLIDING[:6], ids=[text[:24] for text, _ in SLIDING[:6]])
def test_the_stride_is_that_of_the_receptive_fields(text: str, size: tuple[int, int]) -> None:
    network = network_of(text, size)
    graph = trace(network, (2, *size))
    maps = [
        reach
        for node, reach in zip(graph.nodes, receptive_fields(graph), strict=True)
        if len(node.output) == 4 and reach is not None
    ]
    assert as_convolutions(network, (2, *size)).stride == tuple(
        int(reach.stride) for reach in maps[-1]
    )


def test_weights_are_shared_and_learn_together() -> None:
    network = network_of(PLAIN, (24, 20))
    sliding = as_convolutions(network, (2, 24, 20))
    assert {id(p) for p in sliding.parameters()} == {id(p) for p in network.parameters()}
    assert not any(
        isinstance(layer, nn.Linear)
        for name, layer in sliding.named_modules()
        if not name.endswith(".dense")
    )
    assert sum(isinstance(layer, SlidingDense) for layer in sliding.modules()) == 2
    images = torch.randn(1, 2, 24, 20)
    torch.optim.SGD(network.parameters(), 0.1).zero_grad()
    sliding(images).square().sum().backward()
    with torch.no_grad():
        for parameter in network.parameters():
            assert parameter.grad is not None
            parameter -= 0.01 * parameter.grad
        torch.testing.assert_close(sliding(images)[:, :, 0, 0], network(images))


class Folded(nn.Module):
    """A flattening that is no flattening, and dense layers on maps."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.fc = kind, nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.kind == "on maps":
            return self.fc(x).flatten(1)
        if self.kind == "looks":
            return self.fc(x.flatten(1)) if x.sum() > 0 else x
        return self.fc(x.mean((2, 3)))


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        (create("C8k3 R P L3", 3, 2, (8, 8)), "padding"),
        (create("C8k3p0 R P3s2p1 L3", 3, 2, (8, 8)), "padding"),
        (create("C8k3p0 R G L3", 3, 2, (8, 8)), "whole map"),
        (create("V8 R L3", 3, 2, (8, 8)), "overlap"),
        (create("alexnet", 3, 2, (64, 64)), r'"features.0" \(Conv2d\).*padding'),
        (create("lenet5_1998", 3, 2, (32, 32)), "treats all positions alike"),
        (
            nn.Sequential(nn.Conv2d(2, 4, 3, padding="same"), nn.Flatten(), nn.Linear(256, 3)),
            "padding",
        ),
        (
            nn.Sequential(nn.MaxPool2d(3, 2, ceil_mode=True), nn.Flatten(), nn.Linear(32, 3)),
            "ceiling",
        ),
        (
            nn.Sequential(nn.GroupNorm(1, 2), nn.Flatten(), nn.Linear(128, 3)),
            "statistics of the whole map",
        ),
        (
            nn.Sequential(
                nn.BatchNorm2d(2, track_running_stats=False), nn.Flatten(), nn.Linear(128, 3)
            ),
            "statistics of the batch",
        ),
        (nn.Sequential(nn.Flatten(), nn.BatchNorm1d(128), nn.Linear(128, 3)), "each position"),
        (nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU()), "dense layer"),
        (Folded("on maps"), "flatten before"),
        (Folded("looks"), "no fixed row"),
        (Folded("mean"), "treats all positions alike"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_is_not_exact_is_refused(network: nn.Module, reason: str) -> None:
    side = {"AlexNet": 64, "LeNet5Of1998": 32}.get(type(network).__name__, 8)
    with pytest.raises(UsageError, match=reason):
        as_convolutions(network.eval(), (2, side, side))


@pytest.mark.parametrize("text", ["C8k3p0 B R L3", "C8k3p0 R D L3"])
def test_a_network_in_training_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"call \.eval\(\) first"):
        as_convolutions(create(text, 3, 2, (8, 8)), (2, 8, 8))


def test_padding_would_not_have_been_exact() -> None:
    """Why it is refused: the same layers with zeros at the border, by hand,
    score differently in one pass."""
    torch.manual_seed(0)
    conv, dense = nn.Conv2d(2, 4, 3, padding=1), nn.Linear(4 * 8 * 8, 3)
    images = torch.randn(1, 2, 16, 16)
    one_pass = nn.functional.conv2d(conv(images), dense.weight.view(3, 4, 8, 8), dense.bias)
    crops = by_crops(nn.Sequential(conv, nn.Flatten(), dense), images, (8, 8), (1, 1))
    assert (one_pass - crops).abs().max() > 0.01


def test_wrong_sizes_are_said() -> None:
    network = network_of(PLAIN, (24, 20))
    with pytest.raises(UsageError, match="2×30×20 does not pass"):
        as_convolutions(network, (2, 30, 20))
    with pytest.raises(UsageError, match="23×60 is smaller than the window of 24×20"):
        as_convolutions(network, (2, 24, 20))(torch.zeros(1, 2, 23, 60))
