from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid.models import MODELS, create
from pellucid.models.csp import Pair, PyramidPooling


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def on_meta(name: str, classes: int = 1000) -> nn.Module:
    with torch.device("meta"):
        return MODELS[name](classes=classes)


def test_nano_has_the_parameters_of_yolov8n() -> None:
    # As Ultralytics' summary of yolov8n lists its first ten layers; convolutions and blocks
    # alternate, the last is the pooling.
    published = [464, 4_672, 7_360, 18_560, 49_664, 73_984, 197_632, 295_424, 460_288, 164_608]
    first, *stages = on_meta("csp_nano").features
    assert [
        parameters(first),
        *(parameters(layer) for stage in stages for layer in stage),
    ] == published
    assert parameters(on_meta("csp_nano")) == sum(published) + 257_000


@pytest.mark.parametrize(
    ("name", "count", "maps"),
    [("csp_tiny", 852_984, (16, 24, 48, 96, 192)), ("csp_nano", 1_529_656, (16, 32, 64, 128, 256))],
)
def test_counts_and_shapes(name: str, count: int, maps: tuple[int, ...]) -> None:
    network = on_meta(name)
    assert parameters(network) == count
    found = network.features(torch.empty(1, 3, 224, 320, device="meta"))
    assert [tuple(each.shape[1:]) for each in found] == [
        (m, 224 // s, 320 // s) for m, s in zip(maps, (2, 4, 8, 16, 32), strict=True)
    ]


def shaken(network: nn.Module) -> nn.Module:
    """Statistics and weights of norms that are not the identity,
    and an answer that is the same each time."""
    torch.manual_seed(1)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.uniform_(layer.bias, -0.5, 0.5)
            nn.init.uniform_(layer.running_mean, -0.5, 0.5)
            nn.init.uniform_(layer.running_var, 0.5, 1.5)
    return network.eval()


def test_csp_agrees_with_torchs_own_operations() -> None:
    torch.manual_seed(0)
    network = shaken(MODELS["csp_nano"](classes=3, channels=2))
    state = network.state_dict()

    def unit(x: Tensor, key: str, stride: int = 1) -> Tensor:
        weight = state[f"{key}.0.weight"]
        x = F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)
        norm = [
            state[f"{key}.1.{name}"] for name in ("running_mean", "running_var", "weight", "bias")
        ]
        x = F.batch_norm(x, *norm)
        return x * torch.sigmoid(x)

    def block(x: Tensor, key: str, depth: int) -> Tensor:
        both = unit(x, f"{key}.split")
        half = both.shape[1] // 2
        parts = [both[:, :half], both[:, half:]]
        for number in range(depth):
            inner = unit(
                unit(parts[-1], f"{key}.pairs.{number}.convs.0"), f"{key}.pairs.{number}.convs.1"
            )
            parts.append(parts[-1] + inner)
        return unit(torch.cat(parts, 1), f"{key}.join")

    x = torch.randn(2, 2, 70, 90)
    with torch.no_grad():
        answer, y = network(x), unit(x, "features.0", 2)
        for stage, depth in enumerate((1, 2, 2, 1), 1):
            y = block(unit(y, f"features.{stage}.0", 2), f"features.{stage}.1", depth)
        narrow = unit(y, "features.4.2.narrow")
        # One pooling after another is one of 9×9 and one of 13×13.
        pooled = [F.max_pool2d(narrow, side, 1, side // 2) for side in (5, 9, 13)]
        y = unit(torch.cat([narrow, *pooled], 1), "features.4.2.join")
        expected = F.linear(y.mean((2, 3)), state["fc.weight"], state["fc.bias"])
    torch.testing.assert_close(answer, expected, rtol=1e-4, atol=1e-5)


def test_blocks_keep_the_shape_and_do_not_write_on_their_input() -> None:
    for layer in (Pair(6), PyramidPooling(6)):
        x = torch.randn(2, 6, 9, 7)
        before = x.clone()
        assert layer(x).shape == x.shape
        assert torch.equal(x, before)


@pytest.mark.parametrize(
    ("layer", "deviation"),
    [
        ("features.3.0.0", math.sqrt(2 / (64 * 9))),
        ("features.4.1.split.0", math.sqrt(2 / 256)),
        ("fc", math.sqrt(1 / 256)),
    ],
)
def test_initial_deviation(layer: str, deviation: float) -> None:
    torch.manual_seed(0)
    weight = MODELS["csp_nano"](classes=100).get_submodule(layer).weight
    assert weight.std().item() == pytest.approx(deviation, rel=0.03)


@pytest.mark.parametrize("name", ["csp_tiny", "csp_nano"])
def test_a_single_pixel_is_taken(name: str) -> None:
    with torch.device("meta"):
        assert create(name, 10, 1, (1, 1)).eval()(torch.empty(1, 1, 1, 1)).shape == (1, 10)
