"""How often an operation multiplies and adds (MACs), from the shapes that reach it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from .trace import Node, Ref

Shape = tuple[int, ...]

CONVOLUTIONS = {"conv1d", "conv2d", "conv3d"}
TRANSPOSED = {"conv_transpose1d", "conv_transpose2d", "conv_transpose3d"}
# What multiplies in a way that no rule here counts. It is said to be unavailable rather than
# guessed.
UNCOUNTED = {
    "lstm",
    "gru",
    "rnn_tanh",
    "rnn_relu",
    "lstm_cell",
    "gru_cell",
    "rnn_tanh_cell",
    "rnn_relu_cell",
    "multi_head_attention_forward",
}
UNCOUNTED |= {
    "native_multi_head_attention",
    "transformer_encoder_layer_fwd",
    "bilinear",
    "tensordot",
    "apply",
}
# By numbers that are fixed and no layer's.
FIXED = {"bicubic"}


def macs_of(node: Node, nodes: Sequence[Node]) -> int | None:
    """MACs of one operation for one picture: 0 where it does not multiply matrices, None where that
    cannot be derived.

    A convolution: H_out·W_out·C_out·f·f·C_in/groups. A transposed one multiplies every input with
    every tap of its kernel, those that padding cuts off again included. A product of matrices, a
    dense layer's too: numbers that come out × length of the sums.
    """
    if node.op in UNCOUNTED:
        return None
    rule = RULES.get(node.op)
    return rule(node, _shapes(node, nodes)) if rule and node.which == 0 else 0


def has_weights(node: Node) -> bool:
    """Whether something that does not come from the picture takes part in the multiplication."""
    return (
        len(node.inputs) < 2 and node.op not in FIXED and (node.op in RULES or node.op in UNCOUNTED)
    )


def argument(node: Node, place: int, name: str, default: Any = None) -> Any:
    """torch names some arguments of a call and numbers the others."""
    return node.arguments.get(name, node.arguments.get(str(place), default))


def _shapes(node: Node, nodes: Sequence[Node]) -> list[Shape]:
    """Of the first arguments that are tensors."""
    found = []
    for value in node.arguments.values():
        if isinstance(value, Ref):
            found.append(nodes[value.node].output)
        elif isinstance(value, tuple) and all(isinstance(side, int) for side in value):
            found.append(value)
    return found


def _convolution(node: Node, shapes: Sequence[Shape]) -> int:
    return math.prod(node.output) * math.prod(shapes[1][1:])


def _transposed(node: Node, shapes: Sequence[Shape]) -> int:
    return math.prod(shapes[0]) * math.prod(shapes[1][1:])


def _product(node: Node, shapes: Sequence[Shape]) -> int:
    return math.prod(node.output) * shapes[0][-1]


def _reversed_product(node: Node, shapes: Sequence[Shape]) -> int:
    return math.prod(node.output) * shapes[0][max(-2, -len(shapes[0]))]


def _sum_and_product(node: Node, shapes: Sequence[Shape]) -> int:
    return math.prod(node.output) * shapes[1][-1]


def _attention(node: Node, shapes: Sequence[Shape]) -> int:
    query, key, value = shapes[:3]
    return math.prod(query) * key[-2] + math.prod(query[:-1]) * key[-2] * value[-1]


def _resized(node: Node, shapes: Sequence[Shape]) -> int:
    """Two products with matrices, height first."""
    height, width = node.output[-2:]
    return math.prod(node.output[:-2]) * height * shapes[0][-1] * (shapes[0][-2] + width)


def _einsum(node: Node, shapes: Sequence[Shape]) -> int | None:
    """Of two factors: the product of all the sides that the equation names."""
    equation, *factors = [v for v in node.arguments.values()]
    if len(factors) == 1 and isinstance(factors[0], tuple):
        factors = list(factors[0])
    terms = str(equation).replace(" ", "").split("->")[0].split(",")
    if len(factors) != 2 or "." in equation or len(terms) != 2 or len(shapes) != 2:
        return None
    sides = {
        letter: side
        for term, shape in zip(terms, shapes, strict=True)
        for letter, side in zip(term, shape, strict=True)
    }
    return math.prod(sides.values())


RULES: dict[str, Callable[[Node, Sequence[Shape]], int | None]] = {
    **dict.fromkeys(CONVOLUTIONS, _convolution),
    **dict.fromkeys(TRANSPOSED, _transposed),
    **dict.fromkeys(("linear", "matmul", "mm", "bmm", "mv", "dot", "inner"), _product),
    "rmatmul": _reversed_product,
    "addmm": _sum_and_product,
    "baddbmm": _sum_and_product,
    "scaled_dot_product_attention": _attention,
    "einsum": _einsum,
    "bicubic": _resized,
}
