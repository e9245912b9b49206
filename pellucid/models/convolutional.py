"""A classifier that slides: its dense layers turned into convolutions, so that one pass over a
large picture scores every window.

Source: P. Sermanet, D. Eigen, X. Zhang, M. Mathieu, R. Fergus, Y. LeCun, OverFeat: Integrated
Recognition, Localization and Detection using Convolutional Networks, ICLR 2014, section 3.5; before
it O. Matan, C. Burges, Y. LeCun, J. Denker, Multi-Digit Recognition Using a Space Displacement
Neural Network, NIPS 1991.

A dense layer over C×h×w numbers is a convolution with an h×w kernel, and one over the outputs of
another dense layer a 1×1 one. What neighbouring windows share is then computed once. The scores are
those of windows cut out and classified one by one only where a window is computed from its own
pixels by rules that are the same everywhere: so no padding (a cut window has zeros where the pass
has its neighbours), no pooling of the whole map, and no statistics of the map or the batch. All
else is refused, not approximated.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from ..core.errors import UsageError
from ..plots.formatting import by

Pair = tuple[int, int]

SLIDES = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)
# Each position of a map for itself.
POINTWISE = (
    *(
        nn.ReLU,
        nn.ReLU6,
        nn.LeakyReLU,
        nn.ELU,
        nn.GELU,
        nn.SiLU,
        nn.Hardswish,
        nn.Sigmoid,
        nn.Tanh,
        nn.Identity,
    ),
    *(nn.LocalResponseNorm, nn.Dropout, nn.Dropout2d, nn.BatchNorm1d, nn.BatchNorm2d),
    *(nn.Linear, nn.Flatten),  # turned into what is
)
POINTWISE_CALLS = (
    torch.relu,
    F.relu,
    torch.tanh,
    F.tanh,
    torch.sigmoid,
    F.sigmoid,
    "relu",
    "relu_",
    "tanh",
    "sigmoid",
)
FLATTENS = (torch.flatten, "flatten")
JOINS = (operator.add, operator.iadd, torch.add, torch.cat, "add", "add_")
# What people try, and why it cannot be.
REASONS: dict[type[nn.Module], str] = {
    nn.AdaptiveAvgPool2d: (
        "it pools the whole map, so that in a larger picture the windows are mixed; "
        "end in a dense layer (L) instead"
    ),
    nn.AdaptiveMaxPool2d: (
        "it pools the whole map, so that in a larger picture the windows are mixed; "
        "end in a dense layer (L) instead"
    ),
    nn.GroupNorm: (
        "it normalises by statistics of the whole map, which are others in a larger picture"
    ),
    nn.InstanceNorm2d: (
        "it normalises by statistics of the whole map, which are others in a larger picture"
    ),
    nn.ConvTranspose2d: (
        "neighbouring windows overlap in its output, "
        "so that a window's score depends on what lies beside it"
    ),
    nn.Upsample: "a window need not begin on its coarser grid",
}


class SlidingDense(nn.Module):
    """A dense layer as a convolution: B×C×H×W → B×units×(H−h+1)×(W−w+1).

    dense: the layer itself; its weights, units×(C·h·w), are looked at as units×C×h×w, so there is
    nothing to keep in step.
    """

    def __init__(self, dense: nn.Linear, window: Pair) -> None:
        super().__init__()
        self.dense = dense
        self.window = window

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.dense.weight.unflatten(1, (-1, *self.window)), self.dense.bias)


class SlidingNorm(nn.Module):
    """Batch norm of a vector, by its stored statistics, at every position of a map."""

    def __init__(self, norm: nn.BatchNorm1d) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.flatten(2)).unflatten(2, x.shape[2:])


class Convolutional(nn.Module):
    """B×channels×H×W, from one window on → B×classes×rows×columns: the scores of windows, `stride`
    apart, first row first.

    body: the network without its flattening; it shares every parameter with the network it was made
    from. window: (height, width) that the network was built for. stride: (down, across), the
    product of all strides. What is left at the right and at the bottom, where no whole stride fits,
    is seen by no window.
    """

    def __init__(self, body: nn.Module, window: Pair, stride: Pair) -> None:
        super().__init__()
        self.body = body
        self.window = window
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        # Cut to whole strides, every layer grows by whole strides: else a floor inside could add a
        # position that sees past a window.
        rest = [
            (side - window) % stride
            for side, window, stride in zip(x.shape[2:], self.window, self.stride, strict=True)
        ]
        if any(side < window for side, window in zip(x.shape[2:], self.window, strict=True)):
            raise UsageError(
                f"a picture of {by(x.shape[2:])} is smaller than the window of {by(self.window)}; "
                "enlarge it"
            )
        return self.body(x[:, :, : x.shape[2] - rest[0], : x.shape[3] - rest[1]])


def as_convolutions(network: nn.Module, shape: tuple[int, int, int]) -> Convolutional:
    """The network for pictures larger than `shape` (channels, height, width), which it was built
    for.

    It shares all weights with the network: what one learns the other knows. Raises UsageError that
    names the layer for a network whose windows would not score exactly as alone: padding, ceiling
    sizes, pooling of the whole map, statistics of the batch.
    """
    traced = _traced(network)
    for node in traced.graph.nodes:
        _check(node, traced)
    _follow_shapes(traced, shape)
    strides: dict[fx.Node, Pair] = {}
    modules: dict[str, nn.Module] = {}
    for node in traced.graph.nodes:
        strides[node] = _stride(node, traced, strides)
        if node.op == "call_module":
            modules[str(node.target)] = _sliding(node, traced)
    answer = node.args[0]
    if not isinstance(answer, fx.Node) or _window(answer, traced) != (1, 1):
        raise UsageError(
            f"{type(network).__name__} does not end in one vector of scores; "
            "end it in a dense layer"
        )
    for flatten in [node for node in traced.graph.nodes if node.target in FLATTENS]:
        flatten.replace_all_uses_with(flatten.args[0])
        traced.graph.erase_node(flatten)
    return Convolutional(fx.GraphModule(modules, traced.graph), shape[1:], strides[answer]).eval()


def by_crops(
    network: nn.Module, images: Tensor, window: Pair, stride: Pair, batch: int = 256
) -> Tensor:
    """B×classes×rows×columns: each window of B×channels×H×W cut out and classified, `batch` at a
    time; what any network can do."""
    # a view; only a batch of it is ever copied
    cut = images.unfold(2, window[0], stride[0]).unfold(3, window[1], stride[1])
    places = torch.cartesian_prod(
        *(torch.arange(count) for count in (len(images), *cut.shape[2:4]))
    )
    scores = torch.cat(
        [
            network(cut[image, :, row, column])
            for image, row, column in (few.T for few in places.split(batch))
        ]
    )
    return scores.unflatten(0, (len(images), *cut.shape[2:4])).permute(0, 3, 1, 2)


# ------------------------------------------------------------------- what slides, and what does not


def _traced(network: nn.Module) -> fx.GraphModule:
    try:
        return fx.symbolic_trace(network)
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UsageError(
            f"{type(network).__name__} has no fixed row of layers that could slide ({reason}); "
            "cut windows instead"
        ) from error


def _layer(node: fx.Node, traced: fx.GraphModule) -> Any:
    return traced.get_submodule(str(node.target)) if node.op == "call_module" else None


def _check(node: fx.Node, traced: fx.GraphModule) -> None:
    reason = next(_reasons(node, _layer(node, traced)), None)
    if reason:
        kind = type(_layer(node, traced)).__name__ if node.op == "call_module" else "an operation"
        raise UsageError(
            f'"{node.target if node.op == "call_module" else node.name}" ({kind}) cannot slide '
            f"exactly: {reason}"
        )


def _reasons(node: fx.Node, layer: Any) -> Iterator[str]:
    """Why this node does not slide; nothing where it does."""
    if node.op in ("placeholder", "output"):
        return
    if node.op != "call_module":
        known = node.target in (*POINTWISE_CALLS, *FLATTENS, *JOINS)
        rest = (*node.args[1:], *node.kwargs.values())
        if (
            not known
            or (node.target in FLATTENS and rest != (1,))
            or (node.target is torch.cat and rest != (1,))
        ):
            yield (
                "no rule says that it treats all positions alike; write it with layers, "
                "or cut windows instead"
            )
        return
    if isinstance(layer, SLIDES):
        if layer.padding not in (0, (0, 0), "valid"):
            yield (
                "its padding puts zeros where a larger picture has pixels; use p0, "
                "or cut windows instead"
            )
        if getattr(layer, "ceil_mode", False):
            yield (
                "in ceiling mode its last window reaches past the border, which a larger picture "
                "does not have; use floor sizes"
            )
    elif not isinstance(layer, POINTWISE):
        yield REASONS.get(
            type(layer), "no rule says that it treats all positions alike; cut windows instead"
        )
    if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d) and (
        layer.training or layer.running_mean is None
    ):
        yield (
            "it normalises by statistics of the batch, and a batch of windows has others than a "
            "picture; call .eval() first"
        )
    if isinstance(layer, nn.Dropout | nn.Dropout2d) and layer.training:
        yield "it drops units at random in training mode; call .eval() first"


def _follow_shapes(traced: fx.GraphModule, shape: tuple[int, int, int]) -> None:
    first = next(traced.parameters())
    try:
        with torch.no_grad():
            ShapeProp(traced).propagate(
                torch.zeros(1, *shape, dtype=first.dtype, device=first.device)
            )
    except RuntimeError as error:
        raise UsageError(
            f"a picture of {by(shape)} does not pass the network; "
            "give the size that it was built for"
        ) from error


def _stride(node: fx.Node, traced: fx.GraphModule, before: dict[fx.Node, Pair]) -> Pair:
    """Pixels between neighbouring positions."""
    layer = _layer(node, traced)
    reached = {before[source] for source in node.all_input_nodes} or {(1, 1)}
    if len(reached) > 1:
        raise UsageError(
            f'"{node.name}" joins maps of strides {" and ".join(map(by, sorted(reached)))}, which '
            "part in a larger picture"
        )
    down, across = reached.pop()
    step = layer.stride if isinstance(layer, SLIDES) else 1
    further = step if isinstance(step, tuple) else (step, step)
    return down * further[0], across * further[1]


def _sliding(node: fx.Node, traced: fx.GraphModule) -> nn.Module:
    """The layer as it works on maps."""
    layer, source = _layer(node, traced), node.all_input_nodes[0]
    window = _window(source, traced)
    if isinstance(layer, nn.Linear):
        if len(_shape(source)) != 2:
            raise UsageError(
                f'"{node.target}" (Linear) gets {by(_shape(source)[1:])}; '
                "flatten before the first dense layer"
            )
        return SlidingDense(layer, window)
    if isinstance(layer, nn.Flatten):
        return nn.Identity()
    if isinstance(layer, nn.BatchNorm1d):
        if window != (1, 1):
            raise UsageError(
                f'"{node.target}" (BatchNorm1d) has statistics of its own for each position; '
                "normalise before flattening"
            )
        return SlidingNorm(layer)
    return layer


def _window(node: fx.Node, traced: fx.GraphModule) -> Pair:
    """Height and width of the map at this node, when the network sees one window; what a vector was
    before it was flattened."""
    shape = _shape(node)
    if len(shape) == 4:
        return shape[2], shape[3]
    if isinstance(_layer(node, traced), nn.Linear):
        return 1, 1
    windows = {_window(source, traced) for source in node.all_input_nodes}
    if len(windows) > 1:
        raise UsageError(
            f'"{node.name}" joins vectors made of maps of different sides, '
            "which no convolution can be"
        )
    return windows.pop()


def _shape(node: fx.Node) -> tuple[int, ...]:
    return tuple(node.meta["tensor_meta"].shape)
