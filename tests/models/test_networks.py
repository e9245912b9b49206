from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from pellucid.core.errors import UsageError
from pellucid.models import MODELS, create, fixed_size
from pellucid.models.lenet import (
    LeNet5,
    LeNet5Of1998,
    PartialConvolution,
    RadialBasis,
    Subsampling,
    codes,
)
from pellucid.models.notation import NotationNet


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def on_meta(name: str, **options: int) -> nn.Module:
    with torch.device("meta"):
        return MODELS[name](**options)


# ------------------------------------------------------------------------------------------- create


def test_an_unknown_name_gets_a_suggestion() -> None:
    with pytest.raises(UsageError, match=r'"resnet81".*did you mean "resnet18"') as caught:
        create("resnet81", 10, 3, (32, 32))
    assert caught.value.code == 2


def test_a_size_that_is_not_taken_is_refused() -> None:
    assert fixed_size("lenet5_1998") == (32, 32)
    assert fixed_size("lenet5") is fixed_size("nonsense") is None
    with pytest.raises(UsageError, match="32×32 only, not 28×28"):
        create("lenet5_1998", 10, 1, (28, 28))
    with pytest.raises(UsageError, match="15×40 are too small"):
        create("lenet5", 10, 1, (15, 40))
    assert create("lenet5", 10, 1, (16, 40))(torch.zeros(1, 1, 16, 40)).shape == (1, 10)


def test_the_size_reaches_those_who_want_it() -> None:
    assert parameters(create("softmax_regression", 5, 2, (4, 6))) == (2 * 4 * 6 + 1) * 5
    assert isinstance(create("C4 R G L5", 5, 2, (4, 6)), NotationNet)


def test_a_notation_for_other_classes_is_refused() -> None:
    with pytest.raises(UsageError, match="ends in 20 classes, the data has 10; end it in L10"):
        create("C16 R P L20", 10, 3, (64, 64))


# ------------------------------------------------------------------------------------------ LeNet-5


def test_lenet5_has_61706_parameters() -> None:
    network = LeNet5(channels=1)
    assert parameters(network) == 61_706
    assert [tuple(m.shape[1:]) for m in network.features(torch.zeros(1, 1, 32, 32))] == [
        (6, 28, 28),
        (16, 10, 10),
        (16, 5, 5),
    ]


def test_lenet5_of_1998_has_60000_parameters() -> None:
    network = LeNet5Of1998(channels=1)
    counts = {name: parameters(child) for name, child in network.named_children()}
    assert counts == {
        "c1": 156,
        "s2": 12,
        "c3": 1_516,
        "s4": 32,
        "c5": 48_120,
        "f6": 10_164,
        "squash": 0,
        "output": 0,
    }
    assert parameters(network) == 60_000


def test_the_partial_convolution_sees_what_table_1_says() -> None:
    layer = PartialConvolution().double()
    x = torch.randn(2, 6, 9, 9, dtype=torch.float64)
    expected, start = [], 0
    for number, sources in enumerate(layer.sees):
        kernels = layer.weight[start : start + len(sources)].view(1, -1, 5, 5)
        expected.append(
            nn.functional.conv2d(x[:, list(sources)], kernels, layer.bias[number : number + 1])
        )
        start += len(sources)
    torch.testing.assert_close(layer(x), torch.cat(expected, 1))
    # Table I, by column: each map of S2 feeds ten of the sixteen.
    assert [sum(source in sources for sources in layer.sees) for source in range(6)] == [10] * 6
    assert len(set(layer.sees)) == 16


def test_subsampling_scales_the_sum_of_each_square() -> None:
    layer = Subsampling(1)
    with torch.no_grad():
        layer.weight.fill_(0.5)
        layer.bias.fill_(3.0)
    x = torch.tensor([[1.0, 2, 0, 1], [3, 4, 1, 0]]).view(1, 1, 2, 4)
    assert layer(x).flatten().tolist() == [8.0, 4.0]


def test_the_output_is_highest_for_the_class_whose_code_is_met() -> None:
    for classes in (2, 10, 26):
        drawn = codes(classes)
        assert drawn.shape == (classes, 84)
        assert drawn.abs().eq(1).all()
        logits = RadialBasis(drawn)(drawn)
        assert logits.diagonal().eq(0).all()
        assert logits.argmax(1).tolist() == list(range(classes))
    assert torch.equal(codes(26)[:5], codes(5))


def test_the_paper_counts_340908_connections() -> None:
    # C1 122,304; S2 5,880; C3 151,600; S4 2,000; C5 48,120; F6 10,164; the output's 840 are counted
    # apart (section II.B).
    layer = PartialConvolution()
    assert layer.macs((16, 10, 10)) + 16 * 10 * 10 == 151_600
    assert 122_304 + 5_880 + 151_600 + 2_000 + 48_120 + 10_164 + 840 == 340_908


# ------------------------------------------------------------------------------------------- ResNet


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("resnet18", 11_689_512),
        ("resnet34", 21_797_672),
        ("resnet50", 25_557_032),
        ("resnet101", 44_549_160),
        ("resnet152", 60_192_808),
    ],
)
def test_published_parameter_counts(name: str, count: int) -> None:
    assert parameters(on_meta(name, classes=1000)) == count


def published_entries(expansion: int, depths: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Names and shapes in the published PyTorch files, written out from their naming rule."""
    entries: dict[str, tuple[int, ...]] = {"conv1.weight": (64, 3, 7, 7), **norm("bn1", 64)}
    inputs = 64
    for stage, (depth, width) in enumerate(zip(depths, (64, 128, 256, 512), strict=True), 1):
        for block in range(depth):
            outputs, at = width * expansion, f"layer{stage}.{block}"
            shapes = (
                [(width, inputs, 3), (width, width, 3)]
                if expansion == 1
                else [(width, inputs, 1), (width, width, 3), (outputs, width, 1)]
            )
            for number, (out, into, side) in enumerate(shapes, 1):
                entries |= {
                    f"{at}.conv{number}.weight": (out, into, side, side),
                    **norm(f"{at}.bn{number}", out),
                }
            if block == 0 and (stage > 1 or expansion > 1):
                entries |= {
                    f"{at}.downsample.0.weight": (outputs, inputs, 1, 1),
                    **norm(f"{at}.downsample.1", outputs),
                }
            inputs = outputs
    return entries | {"fc.weight": (1000, inputs), "fc.bias": (1000,)}


def norm(name: str, maps: int) -> dict[str, tuple[int, ...]]:
    return {
        f"{name}.{what}": (maps,) for what in ("weight", "bias", "running_mean", "running_var")
    } | {f"{name}.num_batches_tracked": ()}


@pytest.mark.parametrize(
    ("name", "expansion", "depths"),
    [("resnet18", 1, (2, 2, 2, 2)), ("resnet152", 4, (3, 8, 36, 3))],
)
def test_state_dict_is_that_of_the_published_files(
    name: str, expansion: int, depths: tuple[int, ...]
) -> None:
    ours = {
        key: tuple(value.shape) for key, value in on_meta(name, classes=1000).state_dict().items()
    }
    assert ours == published_entries(expansion, depths)


def test_the_bottleneck_strides_on_its_3x3() -> None:
    block = on_meta("resnet50").layer2[0]
    assert (block.conv1.stride, block.conv2.stride, block.conv3.stride) == ((1, 1), (2, 2), (1, 1))


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
def test_the_plain_twin_is_the_same_without_skips(depth: int) -> None:
    twin = on_meta(f"plain{depth}").state_dict()
    residual = on_meta(f"resnet{depth}").state_dict()
    assert {key: value.shape for key, value in residual.items() if "downsample" not in key} == {
        k: v.shape for k, v in twin.items()
    }


def test_a_dead_residual_block_passes_its_input() -> None:
    x = torch.rand(1, 64, 8, 8)
    for name, passes in (("resnet18", True), ("plain18", False)):
        block = MODELS[name]().layer1[1].eval()
        nn.init.zeros_(block.conv2.weight)
        assert torch.equal(block(x), x) == passes


def test_initial_deviation_is_he_fan_out() -> None:
    weight = MODELS["resnet18"]().layer3[1].conv1.weight
    assert weight.std().item() == pytest.approx(math.sqrt(2 / (256 * 9)), rel=0.01)


def test_resnet_agrees_with_torchs_own_operations() -> None:
    """The whole of ResNet-18 again, from functions and the state dict alone."""
    torch.manual_seed(1)
    network = MODELS["resnet18"](classes=4).eval()
    state, x = network.state_dict(), torch.randn(1, 3, 64, 64)

    def conv_bn(x: torch.Tensor, conv: str, bn: str, stride: int, padding: int) -> torch.Tensor:
        y = nn.functional.conv2d(x, state[f"{conv}.weight"], None, stride, padding)
        return nn.functional.batch_norm(
            y,
            *(state[f"{bn}.{what}"] for what in ("running_mean", "running_var", "weight", "bias")),
        )

    y = nn.functional.max_pool2d(conv_bn(x, "conv1", "bn1", 2, 3).relu(), 3, 2, 1)
    for stage in range(1, 5):
        for block in range(2):
            at, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            inner = conv_bn(
                conv_bn(y, f"{at}.conv1", f"{at}.bn1", stride, 1).relu(),
                f"{at}.conv2",
                f"{at}.bn2",
                1,
                1,
            )
            y = (
                inner
                + (
                    conv_bn(y, f"{at}.downsample.0", f"{at}.downsample.1", 2, 0)
                    if stride == 2
                    else y
                )
            ).relu()
    expected = y.mean((2, 3)) @ state["fc.weight"].T + state["fc.bias"]
    with torch.no_grad():
        torch.testing.assert_close(network(x), expected)
