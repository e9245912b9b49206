"""Worked examples, receptive fields: how much of the picture a unit sees."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pellucid.anatomy.receptive import Reach, backwards, receptive_fields
from pellucid.anatomy.trace import Graph, trace
from pellucid.models.notation import build
from pellucid.models.unet import UNet2015


def fields(graph: Graph, *ops: str) -> list[Reach]:
    """Of the rows, after each of these operations, in order."""
    reaches = receptive_fields(graph)
    found = [
        reach[0]
        for node, reach in zip(graph.nodes, reaches, strict=True)
        if node.op in ops and reach is not None
    ]
    assert len(found) == sum(node.op in ops for node in graph.nodes)
    return found


def graph_of(text: str, side: int = 40) -> Graph:
    with torch.device("meta"):
        return trace(build(f"{text} G", 1, (side, side)), (1, side, side))


def sizes(text: str) -> list[tuple[int, int]]:
    return [field.size for field in fields(graph_of(text), "conv2d", "max_pool2d")]


STACK = "C2p0 C2p0 P C2p0 C2p0"


def test_forward_through_convolutions_and_a_pool() -> None:
    assert sizes(STACK) == [(size, size) for size in (3, 5, 6, 10, 14)]


def test_backwards_from_one_unit() -> None:
    """How many units of a side of each earlier map one unit of the last one sees,
    down to the picture."""
    graph = graph_of(STACK)
    last = max(place for place, node in enumerate(graph.nodes) if node.op == "conv2d")
    seen = [None if units is None else len(units[0]) for units in backwards(graph, last)[last::-1]]
    assert seen == [1, 3, 5, 10, 12, 14]


def test_three_small_layers_reach_as_far_as_one_large() -> None:
    assert sizes("C2 C2 C2")[-1] == sizes("C2k7p3")[-1] == (7, 7)


def test_srcnn() -> None:
    low, high = sizes("C64k9p0 R C32k1p0 R C1k5p0")[-1]
    assert low == high == 13
    assert low**2 == 169


@pytest.fixture(scope="module")
def unet() -> Graph:
    return graph_of_unet(572)


def graph_of_unet(side: int) -> Graph:
    """Two maps in the first stage, for width changes no field."""
    with torch.device("meta"):
        return trace(UNet2015(width=2), (1, side, side))


def test_unet_bottleneck(unet: Graph) -> None:
    bottleneck = max(place for place, node in enumerate(unet.nodes) if node.output[2:] == (28, 28))
    reach = receptive_fields(unet)[bottleneck]
    assert reach is not None and reach[0].size == (140, 140)


def test_unet_output_sees_188_or_204_pixels(unet: Graph) -> None:
    last = fields(unet, "relu")[-1]
    seen = last.high - last.low + 1
    assert len(seen) == 388
    assert {int(size): int((seen == size).sum()) for size in np.unique(seen)} == {
        188: 100,
        204: 288,
    }
    assert last.size == (188, 204)


def test_unet_output_sees_the_whole_picture_of_small_ones_only() -> None:
    smallest, next_one = (fields(graph_of_unet(side), "relu")[-1] for side in (188, 204))
    assert (smallest.high - smallest.low + 1).tolist() == [188] * 4
    assert (next_one.high - next_one.low + 1).min() < 204
