"""From a traced graph to what a drawing shows: few items, in series and in branches, with equal
runs folded.

The decomposition is that of series-parallel graphs (Valdes, Tarjan, Lawler, The Recognition of
Series Parallel Digraphs, 1982): where every way from the picture to the end passes an item, the
graph is cut in two; what lies between two cuts falls apart into branches. What does neither is kept
whole as a `Tangle`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from ..multiplications import RULES, UNCOUNTED
from ..trace import Graph, Node, by

Shape = tuple[int, ...]

WEIGHTED = ("conv", "dense", "layer")
JOINS = {"sum": "+", "difference": "−", "product": "×", "stack": "c", "join": "•"}
JOIN_OF = {
    "add": "sum",
    "iadd": "sum",
    "sub": "difference",
    "mul": "product",
    "imul": "product",
    "cat": "stack",
    "concat": "stack",
}
ENLARGES = ("interpolate", "pixel_shuffle")
REDUCES = ("mean", "amax", "max", "amin")
# Layers that stay with what they follow, even those that have weights.
FOLLOWS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.PReLU)
FOLD_ABOVE = 24  # layers with weights: what has more is drawn with equal runs folded
LONGEST_PERIOD = 12


@dataclass
class Item:
    """One thing in the drawing: a layer with the norms, activations and reshapings that follow it,
    or a join.

    kind: "input", one of WEIGHTED, "pool", "up" or a key of JOINS. label: what happens ("3×3, s2").
    before, shape: what comes in and what the layer gives, without the batch. inputs: numbers of
    other items. layers: names of the layers it stands for. follows: what comes after it in the same
    block.
    """

    kind: str
    label: str
    before: Shape
    shape: Shape
    inputs: tuple[int, ...] = ()
    layers: list[str] = field(default_factory=list)
    follows: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Split:
    """Branches between a fork and a join, an empty one for a skip.

    join: None where the branches meet in an item that is no join; loose: they do not meet at all.
    """

    branches: tuple[Series, ...]
    join: Item | None
    loose: bool
    before: Shape


@dataclass(frozen=True)
class Tangle:
    """Items that are neither in series nor in branches; edges by position, −1 for the fork and
    len(items) for the join."""

    items: tuple[Item, ...]
    edges: tuple[tuple[int, int], ...]
    join: Item | None
    loose: bool


@dataclass(frozen=True)
class Fold:
    """Equal runs, drawn once."""

    body: Series
    times: int


Element = Item | Split | Tangle | Fold
Series = tuple[Element, ...]


def structure(graph: Graph) -> Series:
    """What to draw, from the picture to the end; folded where there are more than FOLD_ABOVE layers
    with weights."""
    items = condense(graph)
    series: Series = (
        items[0],
        *_Decomposition(items).series(list(range(1, len(items))), 0, len(items)),
    )
    return folded(series) if sum(item.kind in WEIGHTED for item in items) > FOLD_ABOVE else series


def items_of(series: Series) -> Iterator[Item]:
    """All items that are drawn, left to right."""
    for element in series:
        if isinstance(element, Item):
            yield element
        elif isinstance(element, Fold):
            yield from items_of(element.body)
        else:
            inside = (element.items,) if isinstance(element, Tangle) else element.branches
            for branch in inside:
                yield from items_of(branch)
            if element.join:
                yield element.join


# --------------------------------------------------------------------------------------- condensing


def condense(graph: Graph) -> list[Item]:
    """Items in the order of work; the first is the picture."""
    items = [Item("input", "input", (), graph.nodes[0].output[1:])]
    owner = {0: 0}
    for unit in _units(graph):
        inside = set(unit)
        taken = [i for n in unit for i in graph.nodes[n].inputs if i not in inside]
        sources = tuple(dict.fromkeys(owner[i] for i in taken))
        item = _item(graph, unit, taken[0], sources)
        if item is None:
            item = items[sources[0]]
            layer = _leaf(graph, graph.nodes[unit[-1]])
            item.follows.append(
                type(layer).__name__ if layer is not None else graph.nodes[unit[-1]].op
            )
            owner |= dict.fromkeys(unit, sources[0])
        else:
            owner |= dict.fromkeys(unit, len(items))
            items.append(item)
        call = graph.nodes[unit[-1]].call
        if call is not None and graph.calls[call].name not in item.layers:
            item.layers.append(graph.calls[call].name)
    return _stacked(items)


def _units(graph: Graph) -> list[list[int]]:
    """Operations one by one, but those of one pass of one layer together."""
    units: list[list[int]] = []
    held: int | None = None
    for number, node in enumerate(graph.nodes[1:], 1):
        whole = _leaf(graph, node) is not None
        if whole and node.call == held:
            units[-1].append(number)
        else:
            units.append([number])
        held = node.call if whole else None
    return units


def _leaf(graph: Graph, node: Node) -> nn.Module | None:
    """The layer that the operation happened in, None for one outside layers or beside the layers
    inside another."""
    layer = None if node.call is None else graph.calls[node.call].layer
    return layer if layer is not None and next(layer.children(), None) is None else None


def _item(graph: Graph, unit: Sequence[int], taken: int, sources: tuple[int, ...]) -> Item | None:
    """None for what stays with the item that it follows."""
    nodes = [graph.nodes[n] for n in unit]
    last, before = nodes[-1], graph.nodes[taken].output[1:]
    for node in nodes:
        kind = _kind(node, graph.nodes[node.inputs[0]].output[1:])
        if kind:
            entering = graph.nodes[node.inputs[0]].output[1:]
            return Item(kind, _label(node, kind, entering), before, last.output[1:], sources)
    name = _own_layer(graph, unit, len(sources)) or _product(nodes)
    if name:
        return Item("layer", name, before, last.output[1:], sources)
    return (
        Item(JOIN_OF.get(last.op, "join"), "", before, last.output[1:], sources)
        if len(sources) > 1
        else None
    )


def _product(nodes: Sequence[Node]) -> str:
    """What multiplies matrices without being a layer: attention's products."""
    return next((node.op for node in nodes if node.op in RULES or node.op in UNCOUNTED), "")


def _own_layer(graph: Graph, unit: Sequence[int], sources: int) -> str:
    """The class of a layer that is neither convolution nor dense but has weights, or multiplies: of
    its own, or, beside layers inside it, as a matrix (attention)."""
    node = graph.nodes[unit[-1]]
    if node.call is None:
        return ""
    call = graph.calls[node.call]
    if _leaf(graph, node) is not None:
        weighs = hasattr(call.layer, "macs") or next(call.layer.parameters(), None) is not None
        return type(call.layer).__name__ if weighs and not isinstance(call.layer, FOLLOWS) else ""
    matrix = any(parameter.dim() > 1 for parameter in call.layer.parameters(recurse=False))
    return type(call.layer).__name__ if matrix and sources == 1 and call.output in unit else ""


def _kind(node: Node, before: Shape) -> str:
    after = node.output[1:]
    if node.op.startswith("conv") and len(after) > 1:
        return "conv"
    if node.op == "linear":
        return "dense"
    if node.op in ENLARGES or node.op.startswith(("upsample", "max_unpool")):
        return "up"
    if "pool" in node.op or node.op == "pixel_unshuffle":
        # To the size that the map has already, it does nothing.
        return "" if "adaptive" in node.op and after == before else "pool"
    # A mean over all sides is a pool however it is written; a flattening is not.
    vanish = math.prod(after) == before[0] < math.prod(before) if before else False
    return "pool" if node.op in REDUCES and vanish else ""


def _label(node: Node, kind: str, before: Shape) -> str:
    after = node.output[1:]
    if kind == "conv":
        return _convolution(node, before)
    if kind == "up":
        ratio = after[-1] / before[-1]
        return f"×{ratio:.3g}"
    if kind != "pool":
        return ""
    way = (
        "max"
        if "max" in node.op
        else "mean"
        if "avg" in node.op or node.op == "mean"
        else node.op.split("_")[0]
    )
    kernel = _sides(_argument(node.arguments, "1", "kernel_size", 0), len(after) - 1)
    if "adaptive" in node.op or math.prod(after[1:]) == 1 or not any(kernel):
        return way
    stride = _sides(_argument(node.arguments, "2", "stride", None) or kernel, len(after) - 1)
    return f"{way} {by(kernel)}" + ("" if stride == kernel else f", s{_short(stride)}")


def _convolution(node: Node, before: Shape) -> str:
    dimension = len(node.output) - 2
    transposed = "transpose" in node.op
    weight = _argument(node.arguments, "1", "weight", ())
    # A kernel that is itself computed from the picture has no shape here.
    words = [by(tuple(weight[2:]))] if isinstance(weight, tuple) else ["computed"]
    stride = _sides(_argument(node.arguments, "3", "stride", 1), dimension)
    if any(step != 1 for step in stride):
        words.append(("↑" if transposed else "s") + _short(stride))
    dilation = _sides(
        _argument(node.arguments, "7" if transposed else "5", "dilation", 1), dimension
    )
    if any(step != 1 for step in dilation):
        words.append(f"d{_short(dilation)}")
    groups = _argument(node.arguments, "6", "groups", 1)
    if groups > 1:
        words.append("dw" if groups == before[0] else f"g{groups}")
    return ", ".join(words)


def _argument(arguments: Mapping[str, Any], place: str, name: str, default: Any) -> Any:
    return arguments.get(place, arguments.get(name, default))


def _sides(value: Any, count: int) -> tuple[int, ...]:
    sides = tuple(value) if isinstance(value, list | tuple) else (value,)
    return sides if len(sides) == count else sides[:1] * count


def _short(sides: tuple[int, ...]) -> str:
    return str(sides[0]) if len(set(sides)) == 1 else by(sides)


def _stacked(items: list[Item]) -> list[Item]:
    """A stack of all that an earlier stack holds and more takes that stack instead: dense blocks
    become a row."""
    stacks: dict[tuple[int, ...], int] = {}
    for number, item in enumerate(items):
        if item.kind == "stack":
            whole = item.inputs
            longest = next(
                (whole[:n] for n in range(len(whole) - 1, 1, -1) if whole[:n] in stacks), ()
            )
            if longest:
                item.inputs = (stacks[longest], *whole[len(longest) :])
            stacks.setdefault(whole, number)
    return items


# ------------------------------------------------------------------------------------ decomposition


class _Decomposition:
    """Items by number in the order of work; the number after the last stands for the end."""

    def __init__(self, items: list[Item]) -> None:
        self.items = items
        self.after: list[list[int]] = [[] for _ in items]
        for number, item in enumerate(items):
            for source in item.inputs:
                self.after[source].append(number)
        self.after = [after or [len(items)] for after in self.after]

    def series(self, inside: list[int], first: int, last: int) -> Series:
        """What lies between `first` and `last`, which are left out."""
        if not inside:
            return ()
        within = set(inside)
        # A skip from first to last is a branch of its own.
        cuts, far = [], max(n for n in self.after[first] if n in within)
        for number in inside:
            # No way jumps over it, so all of them pass it.
            if far <= number:
                cuts.append(number)
            far = max(far, *self.after[number])
        elements: list[Element] = []
        start = 0
        for left, right in zip([first, *cuts], [*cuts, last], strict=True):
            stop = start
            while stop < len(inside) and inside[stop] < right:
                stop += 1
            elements += self._between(
                inside[start:stop], left, right, right == last, left == first and right == last
            )
            start = stop + 1
        return tuple(elements)

    def _between(
        self, inside: list[int], left: int, right: int, ends: bool, whole: bool
    ) -> list[Element]:
        """What lies between two cuts, and the right one itself unless the series ends before it;
        whole: there is no cut."""
        end = None if ends else self.items[right]
        if not inside:
            return [end] if end else []
        join = end if end and end.kind in JOINS else None
        rest: list[Element] = [end] if end and not join else []
        loose = right == len(self.items)
        parts = self._components(inside)
        skips: list[Series] = [()] if right in self.after[left] and not whole else []
        if len(parts) + len(skips) == 1:
            return [self._tangle(inside, left, join, loose), *rest]
        branches = (*skips, *(self.series(part, left, right) for part in parts))
        return [Split(branches, join, loose, self.items[left].shape), *rest]

    def _components(self, inside: list[int]) -> list[list[int]]:
        """Parts that hang together without the fork and the join,
        in the order of their first item."""
        root = {number: number for number in inside}

        def find(number: int) -> int:
            while root[number] != number:
                root[number] = number = root[root[number]]
            return number

        for number in inside:
            for after in self.after[number]:
                if after in root:
                    low, high = sorted((find(number), find(after)))
                    root[high] = low
        parts: dict[int, list[int]] = {}
        for number in inside:
            parts.setdefault(find(number), []).append(number)
        return list(parts.values())

    def _tangle(self, inside: list[int], left: int, join: Item | None, loose: bool) -> Tangle:
        place = {number: position for position, number in enumerate(inside)}
        edges = [(-1, place[n]) for n in self.after[left] if n in place]
        edges += [
            (place[n], place.get(after, len(inside))) for n in inside for after in self.after[n]
        ]
        return Tangle(tuple(self.items[n] for n in inside), tuple(edges), join, loose)


# ------------------------------------------------------------------------------------------ folding


def folded(series: Series) -> Series:
    """Runs of equal elements, or of equal groups of them,
    become a `Fold` where that saves two layers or more."""
    series = tuple(
        replace(e, branches=tuple(map(folded, e.branches))) if isinstance(e, Split) else e
        for e in series
    )
    signs = [_sign(element) for element in series]
    result: list[Element] = []
    at = 0
    while at < len(series):
        saves, period, times = _longest_run(series, signs, at)
        # Of the equally long runs that begin one after the other, the last one begins where the
        # groups do.
        later = (_longest_run(series, signs, at + shift)[0] for shift in range(1, period))
        if times == 1 or any(other >= saves for other in later):
            result.append(series[at])
            at += 1
        else:
            runs = [series[at + period * k : at + period * (k + 1)] for k in range(times)]
            result.append(Fold(tuple(_merged(equal) for equal in zip(*runs, strict=True)), times))
            at += period * times
    return tuple(result)


def _longest_run(series: Series, signs: Sequence[Any], at: int) -> tuple[int, int, int]:
    """(layers saved, elements in a group, times) of the run from here that saves most; one time
    where none saves two."""
    best = (1, 1, 1)
    for period in range(1, min(LONGEST_PERIOD, (len(series) - at) // 2) + 1):
        group = signs[at : at + period]
        times = 1
        while signs[at + period * times : at + period * (times + 1)] == group:
            times += 1
        saves = (times - 1) * sum(
            item.kind in WEIGHTED for item in items_of(series[at : at + period])
        )
        if saves > best[0]:
            best = (saves, period, times)
    return best


def _sign(element: Element) -> Any:
    """Equal for what looks equal; how many maps a join holds is left out,
    for in a dense block that grows."""
    if isinstance(element, Item):
        return (
            element.kind,
            element.label,
            element.shape[1:] if element.kind in JOINS else element.shape,
        )
    if isinstance(element, Fold):
        return (element.times, tuple(map(_sign, element.body)))
    join = element.join and _sign(element.join)
    if isinstance(element, Tangle):
        return (tuple(map(_sign, element.items)), element.edges, join)
    return (tuple(tuple(map(_sign, branch)) for branch in element.branches), join)


def _merged(equal: Sequence[Any]) -> Any:
    """The last of equal elements, with the names of the layers of all."""
    last = equal[-1]
    if last is None:
        return None
    if isinstance(last, Item):
        return replace(last, layers=[name for item in equal for name in item.layers])
    if isinstance(last, tuple):
        return tuple(_merged(same) for same in zip(*equal, strict=True))
    if isinstance(last, Fold):
        return replace(last, body=_merged([fold.body for fold in equal]))
    join = _merged([each.join for each in equal])
    if isinstance(last, Tangle):
        return replace(last, items=_merged([each.items for each in equal]), join=join)
    return replace(last, branches=_merged([each.branches for each in equal]), join=join)
