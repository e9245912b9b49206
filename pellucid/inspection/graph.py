"""`pellucid inspect --expression`: the graph of an expression, its values and its derivatives, as
text and as a drawing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..anatomy.expression import (
    Differentiated,
    Edge,
    differentiate,
    parse,
    plain,
    short,
    values_of,
    written,
)
from ..core.errors import UsageError
from ..core.files import write_text
from .graph_drawing import draw

MOST_STEPS, MOST_TERMS = 60, 6


def expression(
    text: str, values: Sequence[str], *, svg: str | Path | None = None
) -> Differentiated:
    """Differentiates an expression and checks it. values: ["a=2", "b=1"]. svg: where to write a
    drawing. Raises UsageError."""
    result = differentiate(parse(text), values_of(values))
    if svg is not None:
        if Path(svg).suffix.lower() != ".svg":
            raise UsageError(f"{svg}: the drawing is SVG; give a name that ends in .svg")
        write_text(Path(svg), draw(result))
    return result


def describe(result: Differentiated) -> str:
    """Forward, local derivatives, backward, check and counts, step by step; of more than 60 nodes
    only the names' derivatives."""
    nodes = result.expression.nodes
    lines = [
        short(f"{nodes[-1].name} = {result.expression.text}", 120)
        if nodes[-1].op != "name"
        else result.expression.text
    ]
    if len(nodes) <= MOST_STEPS:
        lines += ["", "forward: the value of each node", *_forward(result)]
        lines += ["", "local derivatives: along each edge", *_local(result)] if result.edges else []
        lines += (
            [
                "",
                "backward: partial derivatives, each computed once and kept at its node",
                *_backward(result),
            ]
            if result.edges
            else []
        )
    else:
        names = [i for i, node in enumerate(nodes) if node.op == "name"]
        lines += ["", f"  {nodes[-1].name} = {plain(result.values[-1])}"]
        lines += [
            f"  {_partial(result, i)} = {plain(result.partials[i])}" for i in names[:MOST_STEPS]
        ]
        lines += (
            [f"  … and {len(names) - MOST_STEPS} more names"] if len(names) > MOST_STEPS else []
        )
        lines += [f"  {len(nodes):,} nodes: the single steps are left out; --json has them all"]
    return "\n".join([*lines, "", *_notes(result)])


def _partial(result: Differentiated, index: int) -> str:
    nodes = result.expression.nodes
    return f"∂{nodes[-1].name}/∂{nodes[index].name}"


def _chain(*parts: str) -> str:
    """a = b = c, where the same is said once."""
    return " = ".join(dict.fromkeys(parts))


def _forward(result: Differentiated) -> list[str]:
    steps = enumerate(result.expression.nodes)
    return [
        f"  {_chain(node.name, written(result.expression, i), plain(result.values[i]))}"
        for i, node in steps
        if node.op != "number"
    ]


def _local(result: Differentiated) -> list[str]:
    nodes = result.expression.nodes
    return [
        f"  {_chain(f'∂{nodes[e.target].name}/∂{nodes[e.source].name}', e.formula, plain(e.local))}"
        for e in result.edges
    ]


def _backward(result: Differentiated) -> list[str]:
    last = len(result.expression.nodes) - 1
    lines = [f"  {_partial(result, last)} = 1"]
    for index in range(last - 1, -1, -1):
        out = [edge for edge in result.edges if edge.source == index]
        if out:
            symbols = [_symbols(result, edge) for edge in out]
            numbers = [_numbers(result, edge) for edge in out]
            value = plain(result.partials[index])
            chain = _chain(_partial(result, index), _sum(symbols), _sum(numbers), value)
            lines.append(f"  {chain}")
    return lines


def _symbols(result: Differentiated, edge: Edge) -> str:
    nodes = result.expression.nodes
    return (
        edge.formula
        if edge.target == len(nodes) - 1
        else (
            f"{_partial(result, edge.target)} · "
            f"∂{nodes[edge.target].name}/∂{nodes[edge.source].name}"
        )
    )


def _numbers(result: Differentiated, edge: Edge) -> str:
    if edge.target == len(result.expression.nodes) - 1:
        return plain(edge.local)
    return " · ".join(
        f"({plain(x)})" if x < 0 else plain(x) for x in (result.partials[edge.target], edge.local)
    )


def _sum(terms: Sequence[str]) -> str:
    rest = f" + … ({len(terms) - MOST_TERMS} more)" if len(terms) > MOST_TERMS else ""
    return " + ".join(terms[:MOST_TERMS]) + rest


def _notes(result: Differentiated) -> list[str]:
    check = result.check
    if check.worst is None:
        lines = [f"check: none ({check.reason or 'it depends on no name'})"]
    else:
        name, worst = check.worst
        verdict = "agree" if check.agrees else "DISAGREE"
        largest = (
            f"the largest relative difference is {worst.difference:.1e}, "
            f"by {name} (step {worst.step:.0e})"
        )
        lines = [f"check: central differences {verdict}; {largest}"]
        if len(check.quotients) < check.names:
            lines.append(
                f"       checked {len(check.quotients)} of {check.names} names"
                + (f": {check.reason}" if check.reason else "")
            )
    visits = (
        f"edge visits: {_count(result.all_paths)} by summing over every path, {result.reverse:,} "
        "in reverse mode (each edge once)"
    )
    return [*(f"kink: {kink}" for kink in result.kinks), *lines, visits]


def _count(number: int) -> str:
    return (
        f"{number:,}"
        if number < 10**15
        else f"about {number / 10 ** (len(str(number)) - 1):.1f}e{len(str(number)) - 1}"
    )
