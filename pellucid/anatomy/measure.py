"""Layer by layer: shapes, activations, parameters, multiplications and receptive fields, without
computing a single number."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING, Any

from torch import nn

from .blank import blank
from .memory import Memory, memory
from .multiplications import (
    CONVOLUTIONS,
    RULES,
    TRANSPOSED,
    UNCOUNTED,
    argument,
    has_weights,
    macs_of,
)
from .trace import Call, Graph, Node, by, trace

if TYPE_CHECKING:
    from .receptive import Reach

# Where ways meet. What a skip adds belongs into the account, though it has no layer and nothing to
# count.
JOINS = {
    "add": "add",
    "sub": "subtract",
    "mul": "multiply",
    "div": "divide",
    "cat": "cat",
    "concat": "cat",
    "stack": "stack",
}
JOINS |= {"maximum": "maximum", "minimum": "minimum"}
# These only look at memory that is there.
VIEWS = {
    "view",
    "reshape",
    "flatten",
    "unflatten",
    "squeeze",
    "unsqueeze",
    "permute",
    "transpose",
    "movedim",
    "getitem",
    "chunk",
    "split",
}
VIEWS |= {
    "narrow",
    "select",
    "expand",
    "unbind",
    "detach",
    "contiguous",
    "dropout",
    "dropout1d",
    "dropout2d",
    "dropout3d",
    "identity",
}


@dataclass(frozen=True)
class Row:
    """One pass of one layer, or one operation outside layers that multiplies or joins. For one
    picture, without the batch.

    weights, biases: what the layer has of its own; 0 where an earlier row has counted them already
    (a layer used twice). macs: multiplications, each with its addition; None where they cannot be
    derived. join: it has a shape and no counts. weights_bytes: of weights and biases.
    activation_bytes: of memory that the output takes; 0 for views and in-place work. reach: what a
    unit of the output sees of the picture, along each side; None where that cannot be derived.
    again: the output is that of another row, inside this layer, and is counted there.
    """

    name: str
    kind: str
    output: tuple[int, ...]
    weights: int
    biases: int
    macs: int | None
    join: bool = False
    weights_bytes: int = 0
    activation_bytes: int = 0
    reach: tuple[Reach, ...] | None = field(default=None, compare=False, repr=False)
    again: bool = False

    @property
    def activations(self) -> int:
        return 0 if self.join or self.again else math.prod(self.output)

    @property
    def parameters(self) -> int:
        return self.weights + self.biases

    @property
    def flops(self) -> int | None:
        """A multiplication and an addition a MAC."""
        return None if self.macs is None else 2 * self.macs

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "kind": self.kind,
            "output": list(self.output),
            "weights": self.weights,
            "biases": self.biases,
            "macs": _or_unavailable(self.macs),
            "flops": _or_unavailable(self.flops),
            "activations": self.activations,
            "parameters": self.parameters,
            "weights_bytes": self.weights_bytes,
            "activation_bytes": self.activation_bytes,
            "receptive_field": _or_unavailable(
                None if self.reach is None else [reach_json(axis) for axis in self.reach]
            ),
        }


@dataclass(frozen=True)
class Finding:
    """level: "ok", "look" (may be meant so) or "wrong" (will not work, or work badly)."""

    level: str
    text: str

    def to_json(self) -> dict[str, Any]:
        return {"level": self.level, "text": self.text}


@dataclass(frozen=True)
class Anatomy:
    """The layers of a network in the order in which one picture passes them.

    parameters: of the whole network, each once; buffers (running statistics, fixed codes) are not
    parameters. depth: layers with weights (convolutions, dense layers) on the longest path from the
    picture to the answer. findings: what was found when it was held against data.
    """

    input: tuple[int, ...]
    rows: tuple[Row, ...]
    parameters: int
    depth: int
    graph: Graph = field(compare=False, repr=False)
    network: nn.Module = field(compare=False, repr=False)
    findings: tuple[Finding, ...] = ()

    @property
    def macs(self) -> int:
        """Of all rows where they can be derived; `uncounted` says how many there are where not."""
        return sum(row.macs or 0 for row in self.rows)

    @property
    def uncounted(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(row.name for row in self.rows if row.macs is None))

    @property
    def activations(self) -> int:
        """Numbers that all layers put out, without the picture."""
        return sum(row.activations for row in self.rows)

    @property
    def unused(self) -> int:
        """Parameters that the pass does not meet in a layer."""
        return self.parameters - sum(row.parameters for row in self.rows)

    @cached_property
    def memory(self) -> Memory:
        """Needs a few passes of its own, so it is derived when it is first asked for."""
        return memory(self.network, self.input)

    def share(self, row: Row) -> float:
        """Of the network's parameters."""
        return row.parameters / self.parameters if self.parameters else 0.0

    def macs_share(self, row: Row) -> float:
        return (row.macs or 0) / self.macs if self.macs else 0.0

    def to_json(self) -> dict[str, Any]:
        rows = [
            row.to_json() | {"share": self.share(row), "macs_share": self.macs_share(row)}
            for row in self.rows
        ]
        total = {
            "parameters": self.parameters,
            "unused_parameters": self.unused,
            "activations": self.activations,
            "macs": self.macs,
            "flops": 2 * self.macs,
            "flops_per_mac": 2,
            "macs_unavailable_in": list(self.uncounted),
            "weight_layers": sum(_weighted(self.graph)),
            "depth": self.depth,
        }
        found = (
            {"findings": [finding.to_json() for finding in self.findings]} if self.findings else {}
        )
        return {
            "input": list(self.input),
            "layers": rows,
            "total": total,
            "memory": self.memory.to_json(),
        } | found

    def text(self) -> str:
        """A table of plain text; shapes are channels×height×width."""
        from .table import text

        return text(self)


def describe(network: nn.Module, input_shape: tuple[int, ...]) -> Anatomy:
    """What happens to one picture of `input_shape` (channels, height, width; no batch) in
    evaluation mode.

    Runs on a copy without memory (torch's meta device), so it costs milliseconds and touches
    neither weights, nor running statistics, nor hooks of the given network. Raises ModelError that
    names the layer which cannot take what reaches it.
    """
    from .receptive import receptive_fields

    with blank():
        graph = trace(network, input_shape)
    reaches = receptive_fields(graph)
    counted: set[int] = set()
    opened = _opened(graph)
    rows = [
        (at, _layer_row(graph, number, opened, counted, reaches))
        for *at, number in _order(graph.calls, opened)
    ]
    rows += [
        ([number, 1], _free_row(graph, number, reaches, network)) for number in _free(graph, opened)
    ]
    ordered = tuple(row for _, row in sorted(rows, key=lambda pair: pair[0]))
    return Anatomy(
        tuple(input_shape),
        ordered,
        sum(p.numel() for p in network.parameters()),
        _depth(graph),
        graph,
        network,
    )


def _opened(graph: Graph) -> set[int]:
    """Calls whose work is shown one by one: they have layers inside, or multiply more than once
    without saying how often. Not those that hand their parameters, and those of layers inside, to
    one operation that cannot be looked into (attention)."""
    products = Counter(node.call for node in graph.nodes if node.op in RULES)
    closed = {node.call for node in graph.nodes if node.op in UNCOUNTED}
    calls = [(number, call) for number, call in enumerate(graph.calls) if number not in closed]
    return {
        number
        for number, call in calls
        if _holds(call) or (products[number] > 1 and not hasattr(call.layer, "macs"))
    }


def _holds(call: Call) -> bool:
    """It has layers inside, and parameters of its own."""
    return next(call.layer.children(), None) is not None


def _order(calls: Sequence[Call], opened: set[int]) -> list[tuple[int, int, int]]:
    """(node after which it ended, layers before work outside them before what holds them, number of
    the call), sorted.

    Of calls that hold each other and end with the same node the inner one, which began later, comes
    first.
    """
    places, last = [], 0
    for number, call in enumerate(calls):
        last = max(last, call.output or 0) if number not in opened else last
        places.append(
            (call.output if call.output is not None else last, 2 * (number in opened), number)
        )
    return sorted(
        places, key=lambda place: (place[0], place[1], -place[2] if place[1] else place[2])
    )


def _layer_row(
    graph: Graph,
    number: int,
    opened: set[int],
    counted: set[int],
    reaches: Sequence[tuple[Reach, ...] | None],
) -> Row:
    call = graph.calls[number]
    nodes = [node for node in graph.nodes if node.call == number]
    output = () if call.output is None else graph.nodes[call.output].output[1:]
    handed = any(node.op in UNCOUNTED for node in nodes)
    own = {key: p for key, p in call.layer.named_parameters(recurse=handed) if id(p) not in counted}
    counted.update(map(id, own.values()))
    biases = sum(p.numel() for key, p in own.items() if "bias" in key)
    size = next((p.element_size() for p in call.layer.parameters()), 4)
    again = (
        number in opened
        and call.output is not None
        and (graph.nodes[call.output].call != number or _is_free(graph.nodes[call.output], opened))
    )
    return Row(
        call.name,
        kind_of(call.layer),
        output,
        sum(p.numel() for p in own.values()) - biases,
        biases,
        _layer_macs(call, [] if number in opened else nodes, graph, output),
        weights_bytes=sum(p.numel() * p.element_size() for p in own.values()),
        activation_bytes=0 if again or all(map(_owns_nothing, nodes)) else math.prod(output) * size,
        again=again,
        reach=None if call.output is None else reaches[call.output],
    )


def _layer_macs(
    call: Call, nodes: Sequence[Node], graph: Graph, output: tuple[int, ...]
) -> int | None:
    """A layer that knows better than its operations tell says so in a method `macs(output)`."""
    own = getattr(call.layer, "macs", None)
    if callable(own):
        return int(own(output))
    counts = [macs_of(node, graph.nodes) for node in nodes]
    return None if None in counts else sum(count or 0 for count in counts)


def _free(graph: Graph, opened: set[int]) -> list[int]:
    return [number for number, node in enumerate(graph.nodes) if _is_free(node, opened)]


def _is_free(node: Node, opened: set[int]) -> bool:
    """An operation outside layers that multiplies, or joins what comes from the picture on
    several ways."""
    outside = node.call is None or node.call in opened
    return (
        outside and node.which == 0 and (_joins(node) or node.op in RULES or node.op in UNCOUNTED)
    )


def _joins(node: Node) -> bool:
    return node.op in JOINS and len(node.inputs) > 1


def _free_row(
    graph: Graph, number: int, reaches: Sequence[tuple[Reach, ...] | None], network: nn.Module
) -> Row:
    node = graph.nodes[number]
    name = node.module or type(network).__name__
    if _joins(node):
        return Row(name, JOINS[node.op], node.output[1:], 0, 0, 0, join=True, reach=reaches[number])
    size = next((p.element_size() for p in network.parameters()), 4)
    macs = macs_of(node, graph.nodes)
    return Row(
        name,
        _kind_of_node(node),
        node.output[1:],
        0,
        0,
        macs,
        False,
        0,
        math.prod(node.output) * size,
        reaches[number],
    )


def _owns_nothing(node: Node) -> bool:
    return node.op in VIEWS or node.arguments.get("inplace") is True


def _weighted(graph: Graph) -> list[int]:
    """For each node, 1 where a layer with weights does its work, each pass of it. Where a layer
    counts itself and does so by no operation known here, its end counts."""
    counts = [int(has_weights(node) and node.which == 0) for node in graph.nodes]
    inside = {node.call for node, count in zip(graph.nodes, counts, strict=True) if count}
    for number, call in enumerate(graph.calls):
        if call.output is not None and number not in inside and hasattr(call.layer, "macs"):
            counts[call.output] += 1
    return counts


def _depth(graph: Graph) -> int:
    """Layers with weights on the longest path."""
    counts = _weighted(graph)
    longest = [0] * len(graph.nodes)
    for number, node in enumerate(graph.nodes):
        longest[number] = counts[number] + max((longest[i] for i in node.inputs), default=0)
    return max((longest[number] for number in graph.outputs or range(len(graph.nodes))), default=0)


def kind_of(layer: nn.Module) -> str:
    """The class, and for a window its kernel and what is not the rule: `Conv2d 3×3 s2 p1 g4`."""
    words = [type(layer).__name__]
    kernel = getattr(layer, "kernel_size", None)
    if isinstance(kernel, int | tuple):
        sides = (
            len(kernel)
            if isinstance(kernel, tuple)
            else int(words[0][-2])
            if words[0][-2].isdigit()
            else 1
        )
        words.append(by(_sides(kernel, sides)))
        words += _options(
            [(letter, getattr(layer, option, rule), rule) for letter, option, rule in OPTIONS],
            sides,
        )
    elif isinstance(layer, nn.Dropout):
        words.append(str(layer.p))
    return " ".join(words)


OPTIONS = (("s", "stride", 1), ("p", "padding", 0), ("d", "dilation", 1), ("g", "groups", 1))


def _kind_of_node(node: Node) -> str:
    """The function, and for a convolution its window."""
    words = [node.op]
    if node.op in CONVOLUTIONS | TRANSPOSED:
        places = (3, 4, 5, 6) if node.op in CONVOLUTIONS else (3, 4, 7, 6)
        weight = argument(node, 1, "weight")
        sides = int(node.op[-2])
        if isinstance(weight, tuple):
            words.append(by(weight[2:]))
        given = zip(OPTIONS, places, strict=True)
        words += _options(
            [
                (letter, argument(node, place, name, rule), rule)
                for (letter, name, rule), place in given
            ],
            sides,
        )
    return " ".join(words)


def _options(values: Sequence[tuple[str, Any, int]], sides: int) -> list[str]:
    words = []
    for letter, value, rule in values:
        plain = _sides(value, sides)
        if set(plain) != {rule}:
            words.append(letter + (str(plain[0]) if len(set(plain)) == 1 else by(plain)))
    return words


def _sides(value: int | str | tuple[int, ...], sides: int) -> tuple[int | str, ...]:
    return value if isinstance(value, tuple) else (value,) * sides


def reach_json(axis: Reach) -> dict[str, Any]:
    """Pixels of the picture: size is one number, [least, greatest] where it depends on the
    position, or "whole"."""
    least, greatest = axis.size
    size: Any = "whole" if axis.whole else least if least == greatest else [least, greatest]
    return {"size": size, "stride": plain(axis.stride), "start": plain(axis.start)}


def plain(number: Fraction | int | float) -> int | float:
    return int(number) if number == int(number) else float(number)


def _or_unavailable(value: Any) -> Any:
    return "unavailable" if value is None else value
