"""An expression as a computational graph: values forward, derivatives backward, every number of it
shown.

Source: reverse-mode differentiation as in D. E. Rumelhart, G. E. Hinton, R. J. Williams, Learning
representations by back-propagating errors, Nature, 1986. The graph has a node for each name, each
number and each operation as written; a name that stands in two places is one node, a sub-expression
that is written twice is two.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..core.errors import UsageError, did_you_mean
from .expression_grammar import Expression, Node, parse, plain, short, values_of
from .quotient import Check, check

__all__ = [
    "Differentiated",
    "Edge",
    "Expression",
    "Node",
    "differentiate",
    "forward",
    "parse",
    "plain",
    "short",
    "values_of",
    "written",
]

CENTRAL_NAMES = 32  # so many names are checked at most; each costs up to 36 evaluations


@dataclass(frozen=True)
class Operation:
    """written, formulas: with {0}, {1} for the arguments. slope(i, arguments, value): the
    derivative by argument i."""

    value: Callable[..., float]
    slope: Callable[[int, Sequence[float], float], float]
    written: str
    formulas: tuple[str, ...]


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def _power_slope(i: int, x: Sequence[float], value: float) -> float:
    base, exponent = x
    if i == 0:
        return exponent * math.pow(base, exponent - 1) if exponent else 0.0
    return 0.0 if base == 0 and exponent > 0 else value * math.log(base)


def _share_of_extreme(i: int, x: Sequence[float], value: float) -> float:
    """1 for the chosen argument; equal ones share it, as in PyTorch."""
    return (x[i] == value) / sum(each == value for each in x)


OPERATIONS = {
    "+": Operation(lambda a, b: a + b, lambda i, x, v: 1.0, "{0} + {1}", ("1", "1")),
    "-": Operation(lambda a, b: a - b, lambda i, x, v: (1.0, -1.0)[i], "{0} − {1}", ("1", "−1")),
    "*": Operation(lambda a, b: a * b, lambda i, x, v: x[1 - i], "{0} · {1}", ("{1}", "{0}")),
    "/": Operation(
        lambda a, b: a / b,
        lambda i, x, v: (1 / x[1], -v / x[1])[i],
        "{0} / {1}",
        ("1/{1}", "−{0}/{1}²"),
    ),
    "**": Operation(
        math.pow, _power_slope, "{0} ^ {1}", ("{1} · {0}^({1} − 1)", "{0}^{1} · log {0}")
    ),
    "neg": Operation(lambda a: -a, lambda i, x, v: -1.0, "−{0}", ("−1",)),
    "exp": Operation(math.exp, lambda i, x, v: v, "exp({0})", ("exp({0})",)),
    "log": Operation(math.log, lambda i, x, v: 1 / x[0], "log({0})", ("1/{0}",)),
    "sin": Operation(math.sin, lambda i, x, v: math.cos(x[0]), "sin({0})", ("cos({0})",)),
    "cos": Operation(math.cos, lambda i, x, v: -math.sin(x[0]), "cos({0})", ("−sin({0})",)),
    "tanh": Operation(math.tanh, lambda i, x, v: 1 - v * v, "tanh({0})", ("1 − tanh²({0})",)),
    "sigmoid": Operation(
        _sigmoid,
        lambda i, x, v: v * _sigmoid(-x[0]),
        "sigmoid({0})",
        ("sigmoid({0}) · (1 − sigmoid({0}))",),
    ),
    "relu": Operation(
        lambda a: max(a, 0.0),
        lambda i, x, v: float(x[0] > 0),
        "relu({0})",
        ("1 if {0} > 0 else 0",),
    ),
    "sqrt": Operation(math.sqrt, lambda i, x, v: 1 / (2 * v), "sqrt({0})", ("1/(2 · sqrt({0}))",)),
    "max": Operation(max, _share_of_extreme, "max", ()),
    "min": Operation(min, _share_of_extreme, "min", ()),
}


@dataclass(frozen=True)
class Edge:
    """local: the derivative of `target` by `source` along this edge alone; formula: what it is."""

    source: int
    target: int
    local: float
    formula: str


@dataclass(frozen=True)
class Differentiated:
    """values, partials: of each node (∂result/∂node; NaN for nodes that depend on no name). edges:
    those that a derivative passes.

    all_paths, reverse: edges visited by summing over every path from every name to the result, and
    by reverse mode. kinks: sentences.
    """

    expression: Expression
    values: tuple[float, ...]
    edges: tuple[Edge, ...]
    partials: tuple[float, ...]
    all_paths: int
    kinks: tuple[str, ...]
    check: Check

    @property
    def reverse(self) -> int:
        return len(self.edges)

    def to_json(self) -> dict[str, Any]:
        nodes, names = self.expression.nodes, [node.name for node in self.expression.nodes]
        return {
            "expression": self.expression.text,
            "value": self.values[-1],
            "partials": {
                node.name: self.partials[i] for i, node in enumerate(nodes) if node.op == "name"
            },
            "nodes": [
                {
                    "name": node.name,
                    "op": node.op,
                    "inputs": [names[i] for i in node.inputs],
                    "value": self.values[k],
                }
                | ({"partial": self.partials[k]} if node.active else {})
                for k, node in enumerate(nodes)
            ],
            "edges": [
                {
                    "from": names[e.source],
                    "to": names[e.target],
                    "local": e.local,
                    "formula": e.formula,
                }
                for e in self.edges
            ],
            "edge_visits": {"all_paths": self.all_paths, "reverse": self.reverse},
            "kinks": list(self.kinks),
            "check": self.check.to_json(),
        }


def differentiate(expression: Expression, values: Mapping[str, float]) -> Differentiated:
    """Values forward, partial derivatives by reverse mode, and the same ones by central differences
    to check them.

    values: one for each name. Raises UsageError: missing or superfluous values, and where a value
    or derivative is not a finite number.
    """
    _match(expression.names, values)
    results = forward(expression, values)
    edges = _edges(expression, results)
    partials = [0.0 if node.active else math.nan for node in expression.nodes]
    if expression.nodes[-1].active:
        partials[-1] = 1.0
    # edges are in the order of their targets, so a node's partial is whole before it is passed on
    for edge in reversed(edges):
        partials[edge.source] += partials[edge.target] * edge.local
    for node, partial in zip(expression.nodes, partials, strict=True):
        if node.active and not math.isfinite(partial):
            raise UsageError(
                f"expression: the derivative by {node.name} is too large for floating point"
            )
    kinks = _kinks(expression, results)
    return Differentiated(
        expression,
        tuple(results),
        edges,
        tuple(partials),
        _all_paths(expression, edges),
        kinks,
        _checked(expression, values, partials, kinks),
    )


def _match(names: Sequence[str], values: Mapping[str, float]) -> None:
    missing = [name for name in names if name not in values]
    if missing:
        raise UsageError(
            f"expression: no value for {short(', '.join(missing))}; add {missing[0]}=1"
        )
    extra = [name for name in values if name not in names]
    if extra:
        raise UsageError(
            f'expression: "{extra[0]}" has a value but does not occur; '
            f"{did_you_mean(extra[0], names) if names else 'drop it'}"
        )
    wild = [name for name in names if not math.isfinite(values[name])]
    if wild:
        raise UsageError(f"expression: the value of {wild[0]} must be finite")


def forward(expression: Expression, values: Mapping[str, float]) -> list[float]:
    """The value of each node. Raises UsageError that names the column and the operation."""
    results: list[float] = []
    for node in expression.nodes:
        if not node.inputs:
            results.append(values[node.name] if node.op == "name" else node.number)
            continue
        given = [results[i] for i in node.inputs]
        results.append(_finite(OPERATIONS[node.op].value, given, expression, node, given))
    return results


def _edges(expression: Expression, results: Sequence[float]) -> tuple[Edge, ...]:
    edges = []
    for target, node in enumerate(expression.nodes):
        given = [results[i] for i in node.inputs]
        for position, source in enumerate(node.inputs):
            if expression.nodes[source].active:
                arguments = (position, given, results[target])
                local = _finite(
                    OPERATIONS[node.op].slope,
                    arguments,
                    expression,
                    node,
                    given,
                    "the derivative of ",
                )
                edges.append(Edge(source, target, local, _formula(expression, node, position)))
    return tuple(edges)


def _formula(expression: Expression, node: Node, position: int) -> str:
    names = [expression.nodes[i].name for i in node.inputs]
    if node.op in ("max", "min"):
        return (
            f"1 if {names[position]} is the {'largest' if node.op == 'max' else 'smallest'} else 0"
        )
    return OPERATIONS[node.op].formulas[position].format(*names)


def _finite(
    work: Callable[..., float],
    arguments: Sequence[Any],
    expression: Expression,
    node: Node,
    given: Sequence[float],
    what: str = "",
) -> float:
    try:
        value = work(*arguments)
        reason = "" if math.isfinite(value) else "is too large for floating point"
    except ZeroDivisionError:
        value, reason = math.nan, "divides by zero"
    except OverflowError:
        value, reason = math.nan, "is too large for floating point"
    except ValueError:
        value, reason = math.nan, "is not a real number"
    if reason:
        at = ", ".join(map(plain, given))
        text = short(expression.text[slice(*node.place)])
        raise UsageError(
            f"expression, column {node.place[0] + 1}: "
            f"{what}{text} {reason} (its arguments are {at})"
        )
    return value


def _all_paths(expression: Expression, edges: Sequence[Edge]) -> int:
    """Edges over all paths from each name to the result, counted from the result back; the paths
    themselves are never listed."""
    paths, lengths = [0] * len(expression.nodes), [0] * len(expression.nodes)
    paths[-1] = 1
    for edge in reversed(edges):
        paths[edge.source] += paths[edge.target]
        lengths[edge.source] += lengths[edge.target] + paths[edge.target]
    return sum(lengths[i] for i, node in enumerate(expression.nodes) if node.op == "name")


def _kinks(expression: Expression, results: Sequence[float]) -> tuple[str, ...]:
    found = []
    for i, node in enumerate(expression.nodes):
        if not node.active:
            continue
        where = f"{written(expression, i)} (column {node.place[0] + 1})"
        if node.op == "relu" and results[node.inputs[0]] == 0:
            found.append(
                f"{where} stands at its kink, {expression.nodes[node.inputs[0]].name} = 0: it has "
                "no derivative there; 0 is taken"
            )
        elif node.op in ("max", "min"):
            tied = list(dict.fromkeys(j for j in node.inputs if results[j] == results[i]))
            if len(tied) > 1:
                names = " = ".join(expression.nodes[j].name for j in tied)
                found.append(
                    f"{where} stands at its kink, {names}: it has no derivative there; the equal "
                    "ones share it evenly"
                )
    return tuple(found)


def _branches(expression: Expression, results: Sequence[float]) -> list[tuple[bool, ...]]:
    """Which side of each kink the values are on."""
    return [
        tuple(results[j] == results[i] for j in node.inputs)
        for i, node in enumerate(expression.nodes)
        if node.op in ("relu", "max", "min") and node.active
    ]


def _checked(
    expression: Expression,
    values: Mapping[str, float],
    partials: Sequence[float],
    kinks: Sequence[str],
) -> Check:
    by_name = {
        node.name: partials[i] for i, node in enumerate(expression.nodes) if node.op == "name"
    }
    names = list(by_name)[:: max(1, -(-len(by_name) // CENTRAL_NAMES))]
    if kinks:
        return Check(len(by_name), {}, "at a kink there is no derivative to check")
    here = _branches(expression, forward(expression, values))

    def at(name: str, x: float) -> float | None:
        try:
            results = forward(expression, {**values, name: x})
        except UsageError:
            return None
        return results[-1] if _branches(expression, results) == here else None

    return check(at, {name: (values[name], by_name[name]) for name in names}, len(by_name))


def written(expression: Expression, index: int) -> str:
    """The operation of a node in terms of its arguments' names: "a + b"."""
    node = expression.nodes[index]
    names = [expression.nodes[i].name for i in node.inputs]
    if node.op in ("max", "min"):
        return f"{node.op}({', '.join(names)})"
    return OPERATIONS[node.op].written.format(*names) if names else node.name
