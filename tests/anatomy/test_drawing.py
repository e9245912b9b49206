from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from itertools import combinations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pellucid.anatomy.drawing import draw
from pellucid.anatomy.drawing.layout import arrange
from pellucid.anatomy.drawing.parts import Block, Frame, Label, Part, Wire
from pellucid.anatomy.drawing.structure import (
    Fold,
    Item,
    Series,
    Split,
    Tangle,
    condense,
    items_of,
    structure,
)
from pellucid.anatomy.trace import Graph, trace
from pellucid.core.errors import ModelError
from pellucid.models import MODELS, create, native_size
from pellucid.models.notation import build

U_SHAPED = "C8 R { | P C16 R { | P C32 R U C16 R } C16 R U C8 R } C8 R C2k1p0 G L2"
SVG = "{http://www.w3.org/2000/svg}"


def graph_of(text: str, channels: int = 3, size: tuple[int, ...] = (32, 32)) -> Graph:
    # a drawing needs no weights, and a random wiring may have terabytes of them
    with torch.device("meta"):
        network = build(text, channels, size)
    return trace(network, (channels, *size))


def series_of(text: str) -> Series:
    return structure(graph_of(text))


def marks_of(graph: Graph, kind: type) -> list:
    return [mark for mark in arrange(structure(graph)).marks if isinstance(mark, kind)]


def box_of(mark: Block | Label | Frame | Wire) -> tuple[float, float, float, float]:
    if isinstance(mark, Frame):
        return mark.x, mark.y, mark.x + mark.width, mark.y + mark.height
    if isinstance(mark, Wire):
        across, down = zip(*mark.points, strict=True)
        return min(across), min(down), max(across), max(down)
    return mark.box


def assert_sound(graph: Graph) -> None:
    """What holds for every drawing: valid, nothing over anything else, nothing outside, no layer
    with weights left out."""
    part = arrange(structure(graph))
    assert_apart(part)
    svg = draw(graph, "a <net> & more")
    root = ElementTree.fromstring(svg)
    assert root.tag == f"{SVG}svg" and "script" not in svg and svg == draw(graph, "a <net> & more")
    shown = {
        name for group in root.iter(f"{SVG}g") for name in group.get("data-layers", "").split()
    }
    weighted = {
        call.name
        for call in graph.calls
        if next(call.layer.parameters(recurse=False), None) is not None
    }
    assert weighted <= shown
    assert_wired(part)


def assert_apart(part: Part) -> None:
    solid = [mark for mark in part.marks if isinstance(mark, Block | Label)]
    for (x1, y1, x2, y2), (u1, v1, u2, v2) in combinations([mark.box for mark in solid], 2):
        assert min(x2, u2) - max(x1, u1) < 1e-6 or min(y2, v2) - max(y1, v1) < 1e-6
    for x1, y1, x2, y2 in map(box_of, part.marks):
        assert (
            x1 > -1e-6 and x2 < part.width + 1e-6 and -1e-6 - part.up < y1 and y2 < part.down + 1e-6
        )


def assert_wired(part: Part) -> None:
    """Every arrow ends at a block, and into every block but the picture one way ends."""
    blocks = [mark for mark in part.marks if isinstance(mark, Block)]
    arrows = [mark.points[-1] for mark in part.marks if isinstance(mark, Wire) and mark.arrow]
    for x, y in arrows:
        assert any(
            b.box[0] - 1e-6 <= x <= b.box[2] + 1e-6 and b.box[1] - 1e-6 <= y <= b.box[3] + 1e-6
            for b in blocks
        )
    for block in blocks:
        inside = [
            1
            for x, y in arrows
            if block.x - 1e-6 <= x <= block.box[2]
            and block.box[1] - 1e-6 <= y <= block.box[3] + 1e-6
        ]
        assert inside or block.item.kind == "input"


# -------------------------------------------------------------------------------------- any network


@pytest.mark.parametrize("name", MODELS)
def test_every_model_is_drawn(name):
    size = native_size(name) or (64, 64)
    with torch.device("meta"):
        network = create(name, 10, 3, size)
    try:
        graph = trace(network, (3, *size))
    except ModelError:  # too small for it
        graph = trace(network, (3, 224, 224))
    assert_sound(graph)


LEAVES = st.sampled_from(
    ["C4", "C8 R", "C8k1p0 B R", "C8g4", "C8k5p2 T", "R", "D", "P3s1p1", "A3s1p1", "N"]
)
INSIDE = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(" ".join),
        inner.map(lambda body: f"[ {body} C4 ]"),
        st.lists(inner | st.just(""), min_size=1, max_size=3).map(
            lambda branches: "{ " + " | ".join(branches) + " }"
        ),
        inner.map(lambda body: f"( {body} )3"),
        inner.map(lambda body: f"P {body} U"),
    ),
    max_leaves=8,
)


@settings(max_examples=40, deadline=None)
@given(INSIDE, st.sampled_from(["G L3", "L5 R L3", "P C16 R G L3"]))
def test_any_notation_is_drawn(body, head):
    assert_sound(graph_of(f"C8 {body} {head}", size=(16, 16)))


class Mesh(nn.Module):
    """Each layer adds up some of the tensors before it, whatever those are."""

    def __init__(self, takes: list[set[int]], several: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(4, 4, 3, padding=1) for _ in takes)
        self.takes, self.several = takes, several

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        known = [x]
        for layer, takes in zip(self.layers, self.takes, strict=True):
            first, *rest = sorted({number % len(known) for number in takes})
            total = known[first]
            for number in rest:
                total = total + known[number]
            known.append(layer(total))
        return known[1:] if self.several else torch.cat(known[-2:], 1)


@settings(max_examples=40, deadline=None)
@example([{0}, {0, 1}, {2}, {2}, {0}, {0, 1}], False)
@given(
    st.lists(st.sets(st.integers(0, 30), min_size=1, max_size=3), min_size=1, max_size=9),
    st.booleans(),
)
def test_any_wiring_is_drawn(takes, several):
    assert_sound(trace(Mesh(takes, several), (4, 8, 8)))


@pytest.mark.parametrize(
    ("text", "channels", "size"),
    [
        ("1D: C16k5p2 R P [ C16 R C16 ] R P C32 G L4", 1, (64,)),
        ("3D: C8 R P C16 R P G L2", 1, (8, 16, 16)),
        ("L3", 1, (4, 16)),
    ],
)
def test_other_dimensions(text, channels, size):
    assert_sound(graph_of(text, channels, size))


def test_networks_of_one_layer_or_none():
    assert_sound(trace(nn.Linear(5, 3), (5,)))
    assert_sound(trace(nn.Identity(), (3, 8, 8)))


# ------------------------------------------------------------------------------------ what it shows


def test_a_block_is_a_convolution_with_what_follows():
    picture, block, pool, dense = condense(graph_of("C16k5s2p2 B R D P L10"))
    assert (picture.kind, picture.shape) == ("input", (3, 32, 32))
    assert (block.kind, block.label, block.shape) == ("conv", "5×5, s2", (16, 16, 16))
    assert block.follows == ["BatchNorm2d", "ReLU", "Dropout"] and len(block.layers) == 4
    assert (pool.kind, pool.label, pool.follows) == ("pool", "max 2×2", ["Flatten"])
    assert (dense.kind, dense.shape) == ("dense", (10,))


def test_a_pool_that_does_nothing_is_not_drawn():
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.AdaptiveAvgPool2d(7))
    assert [item.kind for item in condense(trace(network, (3, 7, 7)))] == ["input", "conv"]
    assert [item.kind for item in condense(trace(network, (3, 9, 9)))] == ["input", "conv", "pool"]


def test_labels_say_what_happens():
    items = condense(graph_of("C6k3d2p2 C12g3 C12g12 V8 U X2 A3s2p1 G L2"))
    assert [item.label for item in items[1:]] == [
        "3×3, d2",
        "3×3, g3",
        "3×3, dw",
        "2×2, ↑2",
        "×2",
        "×2",
        "mean 3×3, s2",
        "mean",
        "",
    ]


def test_shape_stands_where_it_changes():
    texts = [label.text for label in marks_of(graph_of("C16 R C16 R P C32 R L10"), Label)]
    assert texts == [
        "input",
        "3×32×32",
        "3×3",
        "16",
        "3×3",
        "max 2×2",
        "16×16×16",
        "3×3",
        "32",
        "10",
    ]


def test_sizes_are_to_scale():
    first, second = (
        block for block in marks_of(graph_of("C8 C32s4 G L2"), Block) if block.item.kind == "conv"
    )
    assert first.left / second.left == pytest.approx(
        2
    ) and second.width / first.width == pytest.approx(2)


def test_a_pool_narrows_and_an_upsampling_widens():
    pool, up = (
        block
        for block in marks_of(graph_of("C8 P U L2"), Block)
        if block.item.kind in ("pool", "up")
    )
    assert pool.left > pool.right == up.left < up.right


def test_resnet18_shows_eight_residual_blocks():
    graph = trace(MODELS["resnet18"](), (3, 64, 64))
    series = structure(graph)
    blocks = [element for element in series if isinstance(element, Split)]
    assert [len(block.branches) for block in blocks] == [2] * 8 and all(
        block.join and block.join.kind == "sum" for block in blocks
    )
    # Five skips are identities, three have a projection.
    skips = [wire for wire in marks_of(graph, Wire) if wire.kind == "skip"]
    assert len(skips) == 5 and all(
        min(y for _, y in wire.points) < wire.points[0][1] for wire in skips
    )


def test_resnet152_is_folded():
    series = structure(trace(MODELS["resnet152"](), (3, 64, 64)))
    assert [element.times for element in series if isinstance(element, Fold)] == [2, 7, 35, 2]
    assert sum(item.kind == "conv" for item in items_of(series)) == 1 + 4 * (3 + 1) + 4 * 3


def test_a_dense_block_is_folded_however_it_is_written():
    class Dense(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.Conv2d(4 + 2 * n, 2, 3, padding=1) for n in range(30))

        def forward(self, x: Tensor) -> Tensor:
            known = [x]
            for layer in self.layers:
                known.append(F.relu(layer(torch.cat(known, 1))))
            return torch.cat(known, 1)

    graph = trace(Dense(), (4, 8, 8))
    assert [type(element) for element in structure(graph)] == [Item, Fold]
    assert "dense block: 30 layers" in draw(graph)


def test_short_networks_are_not_folded():
    assert not any(isinstance(element, Fold) for element in series_of("( C8 R )12 G L2"))
    (fold,) = (element for element in series_of("( C8 R )30 G L2") if isinstance(element, Fold))
    assert fold.times == 30


def test_a_fold_begins_where_the_groups_do():
    series = series_of("C8 R C4k1p0 R ( C16k1p0 R C4k1p0 R C8 R )9 G L2")
    (fold,) = (element for element in series if isinstance(element, Fold))
    assert fold.times == 9 and [item.shape[0] for item in items_of(fold.body)] == [16, 4, 8]


def test_branches_stand_one_above_the_other():
    graph = graph_of("C8 { C4k1p0 R | C4k1p0 C8 R | P3s1p1 C4k1p0 } G L2")
    (split,) = (element for element in structure(graph) if isinstance(element, Split))
    assert [len(branch) for branch in split.branches] == [1, 2, 2]
    kernels = [block for block in marks_of(graph, Block) if block.item.kind == "conv"]
    assert len({block.y for block in kernels[1:]}) == 3


def test_an_encoder_and_its_decoder_are_a_u():
    graph = graph_of(U_SHAPED)
    blocks = marks_of(graph, Block)
    finest, middle, coarsest = (
        next(b.y for b in blocks if b.item.kind == "conv" and b.item.shape == shape)
        for shape in ((8, 32, 32), (16, 16, 16), (32, 8, 8))
    )
    assert finest < middle < coarsest
    last = [block for block in blocks if block.item.kind == "conv"][-1]
    assert last.y == finest
    skips = [wire for wire in marks_of(graph, Wire) if wire.kind == "skip"]
    # The long ways run straight across at the level they come from.
    assert sorted({y for _, y in wire.points} == {wire.points[0][1]} for wire in skips) == [
        True,
        True,
    ]


def test_what_is_neither_series_nor_branches_is_layered():
    class Ladder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c, self.d = (nn.Conv2d(4, 4, 1) for _ in range(4))

        def forward(self, x: Tensor) -> Tensor:
            a, b = self.a(x), self.b(x)
            return self.c(a) + self.d(a + b) + b

    graph = trace(Ladder(), (4, 8, 8))
    assert any(isinstance(element, Tangle) for element in structure(graph))
    assert_sound(graph)


def test_long_networks_run_in_rows():
    graph = graph_of(" ".join(f"C{8 * n} R" for n in range(1, 61)) + " G L2")
    part = arrange(structure(graph))
    assert (
        part.width < 1600 and len({block.y for block in part.marks if isinstance(block, Block)}) > 1
    )
    assert_sound(graph)


def test_attention_is_a_layer_with_its_skip():
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    graph = trace(layer, (10, 16))
    assert "MultiheadAttention" in [item.label for item in condense(graph)]
    assert_sound(graph)


def test_layers_of_a_fold_are_all_named():
    svg = draw(trace(MODELS["resnet50"](), (3, 64, 64)))
    named = re.findall(r'data-layers="([^"]*)"', svg)
    assert any({"layer3.1.conv1", "layer3.5.conv1"} <= set(names.split()) for names in named)


def test_the_drawing_follows_the_color_scheme():
    svg = draw(graph_of(U_SHAPED), "U")
    assert "prefers-color-scheme:dark" in svg and svg.count("height ∝ √side") == 1
    assert all(word in svg for word in ("convolution", "pooling", "upsampling", "dense", "stack"))
