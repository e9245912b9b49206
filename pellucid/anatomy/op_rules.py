"""Operation by operation, which positions of what comes in each position of what goes out reads;
the rules that torch's names stand for.

An operation that is not in `RULES`, or does what its rule does not know, is unavailable, and so is
all that follows from it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from . import kernel_offsets as via
from .kernel_offsets import Taps
from .trace import Graph, Node, Ref

# What an operation reads of one source: taps for each side of the picture, and None where a
# position reads only its own.
Links = dict[int, tuple[Taps | None, ...]]


@dataclass(frozen=True)
class Wires:
    """dims: along which dimension of the tensor each side of the picture lies, None where it has
    none. links: from each source."""

    dims: tuple[int | None, ...]
    links: Links


@dataclass(frozen=True)
class Step:
    """One node, as a rule looks at it: `given` are its arguments, by torch's names;
    shape is that of its first input."""

    node: Node
    given: Mapping[str, Any]
    shape: tuple[int, ...]
    dims: tuple[int | None, ...]
    nodes: Sequence[Node]
    wires: Mapping[int, Wires]

    @property
    def single(self) -> bool:
        return len(self.node.inputs) == 1

    def sides(self) -> list[tuple[int, int, int] | None]:
        """For each side of the picture: dimension, units before, units after;
        None where the tensor has no such side."""
        return [None if d is None else (d, self.shape[d], self.node.output[d]) for d in self.dims]

    def linked(
        self, taps: Sequence[Taps | None], dims: Sequence[int | None] | None = None
    ) -> Wires:
        return Wires(self.dims if dims is None else tuple(dims), {self.node.inputs[0]: tuple(taps)})


Rule = Callable[[Step], Wires | None]


def wiring(graph: Graph) -> list[Wires | None]:
    """For each node what it reads and from where; None where no rule says so."""
    sides = len(graph.nodes[0].output) - 2
    wires: dict[int, Wires] = {0: Wires(tuple(range(2, 2 + sides)), {})}
    for place, node in enumerate(graph.nodes[1:], 1):
        rule, names = RULES.get(node.op, (None, ""))
        if rule is None or any(source not in wires for source in node.inputs):
            continue
        named = dict(zip(map(str, range(len(names.split()))), names.split(), strict=True))
        given = {named.get(key, key): value for key, value in node.arguments.items()}
        first = node.inputs[0]
        step = Step(node, given, graph.nodes[first].output, wires[first].dims, graph.nodes, wires)
        found = rule(step)
        if found is not None:
            wires[place] = found
    return [wires.get(place) for place in range(len(graph.nodes))]


def _each(value: Any, dim: int) -> Any:
    """A setting that torch takes once for all sides or once a side."""
    if isinstance(value, tuple | list):
        return value[dim - 2] if len(value) > 1 else value[0]
    return value


def _by_side(step: Step, make: Callable[[int, int, int], Taps | None]) -> Wires | None:
    """Operations that work along the sides, behind channels: taps from (dimension, units before,
    units after)."""
    if (
        not step.single
        or not isinstance(step.given["input"], Ref)
        or any(d is not None and d < 2 for d in step.dims)
    ):
        return None
    return step.linked([None if side is None else make(*side) for side in step.sides()])


def _convolution(step: Step) -> Wires | None:
    kernels = step.given["weight"]

    def make(dim: int, before: int, after: int) -> Taps | None:
        kernel, stride, dilation = (
            kernels[dim],
            *(_each(step.given.get(name, 1), dim) for name in ("stride", "dilation")),
        )
        padding = _each(step.given.get("padding", 0), dim)
        if isinstance(padding, str):
            padding = dilation * (kernel - 1) // 2 if padding == "same" else 0
        return (
            None
            if (kernel, stride, padding) == (1, 1, 0)
            else via.window(after, kernel, stride, padding, dilation)
        )

    return _by_side(step, make)


def _transposed(step: Step) -> Wires | None:
    def make(dim: int, before: int, after: int) -> Taps:
        stride, padding, dilation = (
            _each(step.given.get(name, usual), dim)
            for name, usual in (("stride", 1), ("padding", 0), ("dilation", 1))
        )
        return via.transposed(after, step.given["weight"][dim], stride, padding, dilation)

    return _by_side(step, make)


def _pool(step: Step) -> Wires | None:
    def make(dim: int, before: int, after: int) -> Taps:
        kernel = _each(step.given["kernel_size"], dim)
        stride = _each(step.given.get("stride"), dim) or kernel
        return via.window(
            after,
            kernel,
            stride,
            _each(step.given.get("padding", 0), dim),
            _each(step.given.get("dilation", 1), dim),
        )

    return _by_side(step, make)


def _adaptive(step: Step) -> Wires | None:
    return _by_side(step, lambda dim, before, after: via.adaptive(before, after))


def _interpolate(step: Step) -> Wires | None:
    mode, corners = step.given["mode"], step.given["align_corners"]
    kind = {"nearest": "nearest", "nearest-exact": "nearest", "bicubic": "cubic"}.get(
        mode, "linear"
    )
    if step.given["antialias"]:
        return None
    if mode == "area":
        return _adaptive(step)

    def make(dim: int, before: int, after: int) -> Taps:
        scale = _each(step.given["scale_factor"], dim)
        # Torch steps by the scale it was given, not by the sides that come of it, unless told to
        # compute it again.
        exact = scale is None or step.given["recompute_scale_factor"]
        pace = Fraction(before, after) if exact else 1 / Fraction(scale).limit_denominator(10_000)
        if corners:
            return via.resampled(after, Fraction(before - 1, max(after - 1, 1)), Fraction(0), kind)
        # Where the middle of unit 0 lies; plain "nearest" looks from its first edge instead.
        middle = {"nearest": Fraction(0), "nearest-exact": pace / 2}.get(mode, (pace - 1) / 2)
        return via.resampled(after, pace, middle, kind)

    return _by_side(step, make)


def _bicubic(step: Step) -> Wires | None:
    """Of transforms/resize.py, where it enlarges; shrinking reads as many more positions
    as it shrinks."""
    size = step.given["size"]

    def make(before: int, after: int) -> Taps:
        pace = (
            Fraction(before, after)
            if isinstance(size, tuple)
            else 1 / Fraction(size).limit_denominator(10_000)
        )
        return via.resampled(after, pace, (pace - 1) / 2, "cubic")

    enlarged = all(side is None or side[2] >= side[1] for side in step.sides())
    return (
        step.linked([None if side is None else make(*side[1:]) for side in step.sides()])
        if enlarged
        else None
    )


def _pad(step: Step) -> Wires | None:
    pad, mode = step.given["pad"], step.given.get("mode") or "constant"
    border = "zeros" if mode == "constant" else mode
    taps: list[Taps | None] = []
    for side in step.sides():
        pair = 2 * (len(step.shape) - 1 - side[0]) if side else len(pad)
        taps.append(
            via.window(side[2], 1, 1, pad[pair], border=border)
            if side and pair < len(pad)
            else None
        )
    return step.linked(taps) if step.single else None


def _shuffle(step: Step) -> Wires | None:
    return _by_side(
        step,
        lambda dim, before, after: via.resampled(
            after, Fraction(before, after), Fraction(0), "nearest"
        ),
    )


def _unshuffle(step: Step) -> Wires | None:
    return _by_side(
        step, lambda dim, before, after: via.window(after, before // after, before // after)
    )


def _flip(step: Step) -> Wires | None:
    flipped = _dims(step, "dims")
    taps = [
        via.window(s[2], 1, -1, 1 - s[1]) if s and s[0] in flipped else None for s in step.sides()
    ]
    return step.linked(taps)


# ------------------------------------------------------------------ position by position, and joins


def _together(step: Step) -> Wires | None:
    """Position by position, with whatever else comes in;
    a side of one unit is spread over the longer ones."""
    return _joined(step, step.node.inputs)


def _alone(step: Step) -> Wires | None:
    """Takes its shape or type from another tensor, and no numbers."""
    return _joined(step, step.node.inputs[:1])


def _joined(step: Step, sources: Sequence[int]) -> Wires | None:
    output = step.node.output
    shapes = {source: step.nodes[source].output for source in sources}
    placed = {
        source: tuple(
            None if d is None else d + len(output) - len(shapes[source])
            for d in step.wires[source].dims
        )
        for source in sources
    }
    dims: list[int | None] = []
    for each in zip(*placed.values(), strict=True):
        where = set(each) - {None}
        if len(where) > 1:
            return None
        dims.append(where.pop() if where else None)
    links: Links = {}
    for source in sources:
        before = [1 if d is None else shapes[source][d] for d in step.wires[source].dims]
        after = [1 if d is None else output[d] for d in dims]
        links[source] = tuple(
            None if n == m else via.spread(m) for n, m in zip(before, after, strict=True)
        )
    return Wires(tuple(dims), links)


def _stack(step: Step) -> Wires | None:
    """Along channels only."""
    along = step.given.get("dim", step.given.get("axis", 0)) % len(step.node.output)
    joined = _together(step) if len(step.shape) == len(step.node.output) else None
    return None if joined is None or along in joined.dims else joined


def _pieces(step: Step) -> Wires | None:
    """Parts along channels only."""
    along = step.given.get("dim", -1 if step.node.op == "glu" else 0) % len(step.shape)
    return None if along in step.dims else step.linked([None] * len(step.dims))


# ---------------------------------------------------------------- reductions, vectors, other shapes


def _dims(step: Step, name: str, usual: Any = None) -> set[int]:
    """Dimensions named in a call; all of them where none is."""
    value = step.given.get(name, step.given.get("axis", usual))
    rank = len(step.shape)
    if value is None or value == ():
        return set(range(rank))
    more = [v for key, v in step.given.items() if key.isdigit()]  # flip(x, 2, 3)
    return {d % rank for d in (*(value if isinstance(value, tuple | list) else (value,)), *more)}


def _reduce(step: Step) -> Wires | None:
    """Sums, means and extremes over dimensions: what lies along one of them is seen whole."""
    if isinstance(step.given.get("dim"), Ref):
        return _together(step)  # max(x, y)
    gone, kept = _dims(step, "dim"), bool(step.given.get("keepdim", False))
    taps = [
        via.everything(step.shape[d]) if d is not None and d in gone else None for d in step.dims
    ]
    if kept:
        return step.linked(taps)
    return step.linked(
        taps, [None if d is None or d in gone else d - sum(g < d for g in gone) for d in step.dims]
    )


def _spread_over(step: Step, over: set[int]) -> Wires | None:
    taps = [
        via.everything(step.shape[d], step.shape[d]) if d is not None and d in over else None
        for d in step.dims
    ]
    return step.linked(taps) if step.single else None


def _softmax(step: Step) -> Wires | None:
    return _spread_over(step, _dims(step, "dim")) if step.given.get("dim") is not None else None


def _normalise(step: Step) -> Wires | None:
    return _spread_over(step, _dims(step, "dim", 1))


def _layer_norm(step: Step) -> Wires | None:
    rank = len(step.shape)
    return _spread_over(step, set(range(rank - len(step.given["normalized_shape"]), rank)))


def _map_norm(step: Step) -> Wires | None:
    """Statistics of the map at hand make every position see all of it;
    running statistics do not."""
    own = step.given.get("training", step.given.get("use_input_stats", True))
    return _spread_over(step, set(range(2, len(step.shape)))) if own else _together(step)


def _dense(step: Step) -> Wires | None:
    """Mixes the last dimension."""
    if not step.single or not isinstance(step.given["input"], Ref):
        return None
    last = len(step.shape) - 1
    taps = [via.everything(step.shape[d]) if d == last else None for d in step.dims]
    return step.linked(taps, [None if d == last else d for d in step.dims])


def _reshape(step: Step) -> Wires | None:
    """Sides that stay as they are, in memory's order, are kept;
    a vector (batch × units) sees all that its map saw."""
    shape, output = step.shape, step.node.output
    taps: list[Taps | None] = []
    dims: list[int | None] = []
    for d in step.dims:
        fits = [
            e
            for e in range(1, len(output))
            if d is not None
            and output[e] == shape[d]
            and math.prod(output[:e]) == math.prod(shape[:d])
            and e not in dims
        ]
        dims.append(None if not fits else d if d in fits else fits[-1])
        lost = d is not None and not fits
        if lost and d is not None and shape[d] > 1 and len(output) > 2:
            return None
        taps.append(via.everything(shape[d]) if lost and d is not None else None)
    return step.linked(taps, dims) if step.single else None


def _permute(step: Step) -> Wires | None:
    rank = len(step.shape)
    numbers = step.given.get("dims", step.given.get("1"))
    order = [
        d % rank
        for d in (
            numbers
            if isinstance(numbers, tuple)
            else [step.given[str(i)] for i in range(1, rank + 1)]
        )
    ]
    return step.linked(
        [None] * len(step.dims), [None if d is None else order.index(d) for d in step.dims]
    )


def _transpose(step: Step) -> Wires | None:
    one, other = (step.given[name] % len(step.shape) for name in ("dim0", "dim1"))
    swap = {one: other, other: one}
    return step.linked(
        [None] * len(step.dims), [None if d is None else swap.get(d, d) for d in step.dims]
    )


def _index(step: Step) -> Wires | None:
    """Slices along sides, anything plain along other dimensions."""
    key = step.given["key"] if isinstance(step.given["key"], tuple) else (step.given["key"],)
    if not step.single or not all(
        k is None or k is Ellipsis or isinstance(k, int | slice) for k in key
    ):
        return None
    missing = len(step.shape) - sum(k is not None and k is not Ellipsis for k in key)
    at = key.index(Ellipsis) if Ellipsis in key else len(key)
    whole = [*key[:at], *[slice(None)] * missing, *key[at + 1 :]]
    cuts: dict[int, tuple[int | slice, int]] = {}
    after = 0
    for k in whole:
        if k is not None:
            cuts[len(cuts)] = (k, after)
        after += not isinstance(k, int)
    taps: list[Taps | None] = []
    dims: list[int | None] = []
    for d in step.dims:
        cut, place = (slice(None), None) if d is None else cuts[d]
        if isinstance(cut, int):
            return None
        first, _, pace = cut.indices(1 if d is None else step.shape[d])
        length = 1 if place is None else step.node.output[place]
        taps.append(None if cut == slice(None) else via.window(length, 1, pace, -first))
        dims.append(place)
    return step.linked(taps, dims)


# torch's name of an operation: its rule, and the names of its arguments by position.
RULES: dict[str, tuple[Rule, str]] = {}
_POOL = "input kernel_size stride padding"
for _n in "123":
    RULES |= {
        f"conv{_n}d": (_convolution, "input weight bias stride padding dilation groups"),
        f"conv_transpose{_n}d": (
            _transposed,
            "input weight bias stride padding output_padding groups dilation",
        ),
        f"max_pool{_n}d": (_pool, f"{_POOL} dilation ceil_mode"),
        f"max_pool{_n}d_with_indices": (_pool, f"{_POOL} dilation ceil_mode"),
        f"avg_pool{_n}d": (_pool, f"{_POOL} ceil_mode"),
        f"lp_pool{_n}d": (_pool, "input norm_type kernel_size stride ceil_mode"),
        f"adaptive_avg_pool{_n}d": (_adaptive, "input"),
        f"adaptive_max_pool{_n}d": (_adaptive, "input"),
        f"adaptive_max_pool{_n}d_with_indices": (_adaptive, "input"),
    }
_POINTWISE = """
abs add addcdiv addcmul alpha_dropout bfloat16 broadcast_to celu channel_shuffle clamp clamp_max
clamp_min clip clone contiguous cos
detach div double dropout dropout1d dropout2d dropout3d elu eq erf exp expand expm1
feature_alpha_dropout feature_dropout float floor
floor_divide floordiv ge gelu gt half hardshrink hardsigmoid hardswish hardtanh iadd imul isub
itruediv le leaky_relu lerp
local_response_norm log log1p logsigmoid lt masked_fill maximum minimum mish mul
native_channel_shuffle neg positive pow prelu radd
rdiv reciprocal relu relu6 remainder rmul round rpow rrelu rsqrt rsub rtruediv selu sigmoid sign
silu sin softplus softshrink softsign
sqrt square sub tanh tanhshrink threshold to true_divide truediv type where
"""
RULES |= {name: (_together, "input other") for name in _POINTWISE.split()}
RULES |= {
    name: (_reduce, "input dim keepdim")
    for name in ("amax", "amin", "argmax", "argmin", "logsumexp", "max", "mean", "min", "sum")
}
RULES |= {
    name: (_reshape, "")
    for name in ("flatten", "reshape", "squeeze", "unflatten", "unsqueeze", "view")
}
RULES |= {name: (_softmax, "input dim") for name in ("softmax", "softmin", "log_softmax")}
RULES |= {name: (_stack, "tensors dim") for name in ("cat", "concat", "concatenate")}
RULES |= {name: (_pieces, "input sections dim") for name in ("chunk", "split", "tensor_split")}
_STATISTICS = "input running_mean running_var weight bias"
RULES |= {
    "batch_norm": (_map_norm, f"{_STATISTICS} training"),
    "instance_norm": (_map_norm, f"{_STATISTICS} use_input_stats"),
    "group_norm": (_map_norm, "input"),
}
RULES |= {name: (_alone, "input") for name in ("expand_as", "type_as")}
RULES |= {
    "bicubic": (_bicubic, "images size"),
    "flip": (_flip, "input dims"),
    "getitem": (_index, "self key"),
    "glu": (_pieces, "input dim"),
    "interpolate": (_interpolate, "input"),
    "layer_norm": (_layer_norm, "input normalized_shape"),
    "rms_norm": (_layer_norm, "input normalized_shape"),
    "linear": (_dense, "input weight bias"),
    "normalize": (_normalise, ""),
    "pad": (_pad, "input pad mode value"),
    "permute": (_permute, "input"),
    "pixel_shuffle": (_shuffle, "input"),
    "pixel_unshuffle": (_unshuffle, "input"),
    "transpose": (_transpose, "input dim0 dim1"),
}
