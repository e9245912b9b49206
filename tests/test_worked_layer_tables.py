"""Worked examples, layer tables: shapes, activations,
parameters and multiplications of whole networks."""

from __future__ import annotations

import functools
import itertools
import re

import pytest
import torch
from torch import nn

import pellucid
from pellucid import models
from pellucid.anatomy import Anatomy, Row, describe
from pellucid.anatomy.trace import trace
from pellucid.core.errors import UsageError
from pellucid.models.notation import build


def made(name: str, classes: int, channels: int, *size: int) -> nn.Module:
    with torch.device("meta"):
        return models.create(name, classes, channels, size)


@functools.cache
def anatomy(name: str, classes: int, *shape: int) -> Anatomy:
    return describe(made(name, classes, *shape), shape)


def layers(table: Anatomy) -> list[Row]:
    """The rows that a layer table of a course shows: what multiplies and what pools."""
    return [
        row for row in table.rows if row.macs or ("Pool" in row.kind and "Adaptive" not in row.kind)
    ]


def outputs(table: Anatomy) -> list[tuple[int, ...]]:
    return [row.output for row in layers(table)]


TOY = "C8k5p0 R P C16k5p0 R P L120 R L84 R L10"


def test_lenet_style_on_colour() -> None:
    table = pellucid.inspect(TOY, input="3x32x32")
    rows = [(row.output, row.activations, row.parameters) for row in layers(table)]
    assert rows == [
        ((8, 28, 28), 6_272, 608),
        ((8, 14, 14), 1_568, 0),
        ((16, 10, 10), 1_600, 3_216),
        ((16, 5, 5), 400, 0),
        ((120,), 120, 48_120),
        ((84,), 84, 10_164),
        ((10,), 10, 850),
    ]
    assert table.input == (3, 32, 32)
    assert "3,072" in table.text()
    assert table.parameters == 62_958


def test_depth_counts_layers_with_weights() -> None:
    assert pellucid.inspect(TOY, input="3x32x32").depth == 5
    assert anatomy("alexnet_2012", 1000, 3, 227, 227).depth == 8
    assert anatomy("vgg16", 1000, 3, 224, 224).depth == 16


def test_lenet5() -> None:
    table = anatomy("lenet5", 10, 1, 32, 32)
    assert outputs(table) == [
        (6, 28, 28),
        (6, 14, 14),
        (16, 10, 10),
        (16, 5, 5),
        (120,),
        (84,),
        (10,),
    ]
    assert layers(table)[3].activations == 400
    assert table.parameters == 61_706


def test_lenet5_historic_and_modern() -> None:
    """Then: subsampling, squashed after it. Now: ReLU, the maximum, and a softmax outside the
    network, for it returns logits."""
    historic = [row.kind.split()[0] for row in anatomy("lenet5_1998", 10, 1, 32, 32).rows]
    places = [place for place, kind in enumerate(historic) if kind == "Subsampling"]
    assert [historic[place + 1] for place in places] == ["ScaledTanh", "ScaledTanh"]
    modern = {row.kind.split()[0] for row in anatomy("lenet5", 10, 1, 32, 32).rows}
    assert {"ReLU", "MaxPool2d"} <= modern
    assert not modern & {"Tanh", "Sigmoid", "AvgPool2d", "Softmax"}


def test_lenet5_of_1998_is_partially_connected() -> None:
    table = anatomy("lenet5_1998", 10, 1, 32, 32)
    assert {row.name: row.parameters for row in table.rows}["c3"] == 1_516
    assert table.parameters == 60_000


def test_alexnet() -> None:
    table = anatomy("alexnet_2012", 1000, 3, 227, 227)
    convolutions = [(96, 55, 55), (96, 27, 27), (256, 27, 27), (256, 13, 13)]
    deeper = [(384, 13, 13), (384, 13, 13), (256, 13, 13), (256, 6, 6), (4096,), (4096,), (1000,)]
    assert outputs(table) == convolutions + deeper
    assert layers(table)[7].activations == 9_216
    assert table.parameters == 60_965_224
    assert sum(row.kind.startswith("LocalResponseNorm") for row in table.rows) == 2
    with torch.device("meta"):
        ungrouped = models.MODELS["alexnet_2012"](classes=1000, channels=3, groups=1)
    assert describe(ungrouped, (3, 227, 227)).parameters == 62_378_344


def test_alexnet_of_224_is_a_slip() -> None:
    """(224 − 11)/4 + 1 is no whole number: 54 columns come out, not the paper's 55."""
    assert pellucid.inspect("C96k11s4p0 G", input="3x224x224").rows[0].output == (96, 54, 54)
    assert pellucid.inspect("C96k11s4p0 G", input="3x227x227").rows[0].output == (96, 55, 55)


def test_vgg16() -> None:
    table = anatomy("vgg16", 1000, 3, 224, 224)
    blocks = [(64, 224, 2), (128, 112, 2), (256, 56, 3), (512, 28, 3), (512, 14, 3)]
    shapes = [
        [(maps, side, side)] * times + [(maps, side // 2, side // 2)]
        for maps, side, times in blocks
    ]
    assert outputs(table) == [*itertools.chain(*shapes), (4096,), (4096,), (1000,)]
    convolutions = [row for row in table.rows if row.kind.startswith("Conv2d")]
    assert {row.kind for row in convolutions} == {"Conv2d 3×3 p1"}
    assert sum(row.parameters for row in convolutions) == 14_714_688
    assert [row.weights for row in table.rows if row.kind == "Linear"] == [
        25_088 * 4096,
        4096 * 4096,
        4096 * 1000,
    ]
    assert table.parameters == 138_357_544


def test_a_padding_of_2_would_grow_the_28_block() -> None:
    assert pellucid.inspect("C512p2 G", input="512x28x28").rows[0].output == (512, 30, 30)


# ---------------------------------------------------------------------------------------- inception


def test_a_bottleneck_saves_nine_tenths_of_the_multiplications() -> None:
    assert pellucid.inspect("C32k5p2 G", input="192x28x28").macs == 120_422_400
    bottleneck = pellucid.inspect("C16k1p0 C32k5p2 G", input="192x28x28")
    assert [row.macs for row in layers(bottleneck)] == [2_408_448, 10_035_200]
    assert bottleneck.macs == 12_443_648
    # A 1×1 layer of 192 maps would cost more than both.
    assert pellucid.inspect("C192k1p0 G", input="192x28x28").macs == 28_901_376


def test_four_branches_stack_to_256_maps() -> None:
    module = "{ C64k1p0 R | C96k1p0 R C128 R | C16k1p0 R C32k5p2 R | P3s1p1 C32k1p0 R }"
    with torch.device("meta"):
        network = build(f"{module} G", 192, (28, 28))
        assert network.features(torch.empty(1, 192, 28, 28))[-1].shape == (1, 256, 28, 28)


@pytest.mark.parametrize("name", ["googlenet", "googlenet_2014"])
def test_googlenet(name: str) -> None:
    network = made(name, 1000, 3, 224, 224)
    shapes = {node.output[1:] for node in trace(network, (3, 224, 224)).nodes if node.op == "cat"}
    assert (256, 28, 28) in shapes
    network.eval()
    with torch.no_grad():
        logits, auxiliary = network.with_auxiliary(torch.empty(2, 3, 224, 224, device="meta"))
    assert [tuple(each.shape) for each in (logits, *auxiliary)] == [(2, 1000)] * 3


# ------------------------------------------------------------------------------- models of one size


def test_two_models_said_to_be_of_similar_size() -> None:
    large = layers(pellucid.inspect("C32k5p0 G", input="1x28x28"))[0]
    assert (large.parameters, large.output, large.activations, large.macs) == (
        832,
        (32, 24, 24),
        18_432,
        460_800,
    )
    first, second = layers(pellucid.inspect("C32p0 C32p0 G", input="1x28x28"))
    assert (first.parameters, second.parameters) == (320, 9_248)
    assert (first.macs, second.macs) == (194_688, 5_308_416)
    assert second.activations == 18_432


def test_a_fair_pair_differs_in_its_stride_alone() -> None:
    dense, strided = (
        layers(pellucid.inspect(f"C32k5p0s{stride} G", input="1x28x28"))[0] for stride in (1, 2)
    )
    assert dense.parameters == strided.parameters == 832
    assert strided.output == (32, 12, 12)


@pytest.mark.parametrize(("pool", "side"), [("P2p1", 13), ("P2", 12)])
def test_a_padded_pool_is_one_wider(pool: str, side: int) -> None:
    assert pellucid.inspect(f"C32k5p0 {pool} G", input="1x28x28").rows[1].output == (32, side, side)


# ----------------------------------------------------------------------------------------- notation


def test_the_notation_in_two_examples() -> None:
    assert pellucid.inspect("C16 R P L20", input="3x64x64").parameters == 328_148
    assert (
        pellucid.inspect("C64 B R C64 B R P C128 B R C128 B R G L10", input="3x32x32").parameters
        == 262_218
    )


@pytest.mark.parametrize("last", ["R", "B", "S"])
def test_nothing_belongs_after_the_last_dense_layer(last: str) -> None:
    with pytest.raises(UsageError, match="nothing belongs after that"):
        pellucid.inspect(f"C16 R P L20 {last}", input="3x64x64")


# -------------------------------------------------------------------------------------- connections


def sums(name: str) -> int:
    return sum(
        node.op == "add" and len(node.inputs) == 2
        for node in trace(made(name, 10, 3, 64, 64), (3, 64, 64)).nodes
    )


def test_resnet_has_a_skip_every_two_or_three_layers() -> None:
    assert [sums(name) for name in ("resnet18", "resnet34", "resnet50")] == [8, 16, 16]
    assert sums("plain18") == 0


def test_a_dense_block_has_l_times_l_plus_1_over_2_links() -> None:
    """Layer l reads the block's input and the maps of all l − 1 layers before it, stacked."""
    nodes = trace(made("densenet121", 10, 3, 64, 64), (3, 64, 64)).nodes
    stacked: list[set[int]] = []
    for number, node in enumerate(nodes):
        stacked.append(
            set().union(*(stacked[each] for each in node.inputs)) if node.op == "cat" else {number}
        )
    for block, depth in enumerate((6, 12, 24, 16), 1):
        read = [
            len(stacked[n.inputs[0]])
            for n in nodes
            if re.search(rf"denseblock{block}\.denselayer\d+\.norm1$", n.module)
        ]
        assert read == list(range(1, depth + 1))
        assert sum(read) == depth * (depth + 1) // 2
