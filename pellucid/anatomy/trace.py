"""The way of one picture through a network as a graph of operations, followed on torch's meta
device: shapes, no numbers, no memory."""

from __future__ import annotations

import copy
import inspect
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..core.errors import ModelError


@dataclass(frozen=True)
class Node:
    """A tensor on the way and the operation that made it; node 0 is the picture.

    op: torch's name of the function, without a leading or trailing underscore ("conv2d",
    "max_pool2d", "add", "cat").
    arguments: of the call, by name where torch tells names and by position ("0", "1" …) elsewhere;
    a tensor on the way is a `Ref`, any other tensor its shape.
    inputs: the nodes it takes, each once, in order. output: shape with the batch of one in front.
    which: number of this tensor where the operation gives several. call: the `Call` it happened in,
    None outside layers. module: the innermost module's name.
    """

    op: str
    arguments: Mapping[str, Any]
    inputs: tuple[int, ...]
    output: tuple[int, ...]
    which: int = 0
    call: int | None = None
    module: str = ""


@dataclass(frozen=True)
class Ref:
    """Stands for the tensor of a node."""

    node: int


@dataclass
class Call:
    """One pass of one layer: a module without modules inside, or one with parameters of its own.

    inputs: shapes without the batch. output: the node that it gave, None for none that comes from
    the picture.
    """

    name: str
    layer: nn.Module
    inputs: tuple[tuple[int, ...], ...]
    output: int | None = None


@dataclass(frozen=True)
class Graph:
    """Nodes in the order of work, an operation after what it takes;
    outputs: the nodes that the network returned."""

    nodes: tuple[Node, ...]
    calls: tuple[Call, ...]
    outputs: tuple[int, ...]


def trace(network: nn.Module, input_shape: tuple[int, ...]) -> Graph:
    """Follows one picture of `input_shape` (channels, sides…; no batch) in evaluation mode.

    Works on a copy without memory, so it touches neither weights, nor running statistics, nor hooks
    of the given network. Raises ModelError that names the layer which cannot take what reaches it.
    """
    shadow = shadow_of(network)
    kind = next((p.dtype for p in shadow.parameters() if p.is_floating_point()), torch.float32)
    picture = torch.empty(1, *input_shape, dtype=kind, device="meta")
    recorder = _Recorder(picture)
    for name, module in shadow.named_modules():
        recorder.watch(name, module)
    try:
        with torch.no_grad(), torch.device("meta"), recorder:
            outputs = shadow(picture)
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        if "meta tensor" in reason:
            raise ModelError(
                "what the network does depends on the values of the picture, so shapes alone do "
                f"not tell it; {recorder.place}"
            ) from error
        raise ModelError(
            f"an input of {by(input_shape)} does not pass the network; {recorder.place}: {reason}"
        ) from error
    ends = tuple(
        recorder.known[id(value)] for value in tensors_of(outputs) if id(value) in recorder.known
    )
    return Graph(tuple(recorder.nodes), tuple(recorder.calls), ends)


def shadow_of(network: nn.Module) -> nn.Module:
    """A copy in evaluation mode whose tensors have shapes but no memory,
    without the original's forward hooks."""
    memo: dict[int, Any] = {}
    for layer in network.modules():
        attributes = [value for value in vars(layer).values() if isinstance(value, Tensor)]
        memo |= {
            id(t): torch.empty_like(t, device="meta")
            for t in [*layer.buffers(recurse=False), *attributes]
        }
        memo |= {
            id(hooks): OrderedDict() for hooks in (layer._forward_hooks, layer._forward_pre_hooks)
        }
    memo |= {
        id(p): nn.Parameter(torch.empty_like(p, device="meta"), p.requires_grad)
        for p in network.parameters()
    }
    return copy.deepcopy(network, memo).eval()


def has_row(layer: nn.Module) -> bool:
    """Layers without layers inside, and any that have parameters of their own."""
    container = (
        isinstance(layer, nn.Sequential | nn.ModuleList | nn.ModuleDict)
        or next(layer.children(), None) is not None
    )
    return not container or next(layer.parameters(recurse=False), None) is not None


@dataclass
class _Recorder(TorchFunctionMode):
    """Sees every torch function between `with` and its end;
    what a function calls inside is not seen again."""

    picture: Tensor
    nodes: list[Node] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    known: dict[int, int] = field(default_factory=dict)
    place: str = "before the first layer"

    def __post_init__(self) -> None:
        super().__init__()
        self._modules: list[str] = []
        self._calls: list[int] = []
        # Kept alive, so that no later tensor gets the identity of an earlier one.
        self._alive: list[Tensor] = [self.picture]
        self.nodes.append(Node("input", {}, (), tuple(self.picture.shape)))
        self.known[id(self.picture)] = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        # An assignment gives nothing back: what it makes is the tensor that was assigned to.
        values = tensors_of(args[0] if func is Tensor.__setitem__ else result)
        taken = [value for value in tensors_of([args, kwargs or {}]) if id(value) in self.known]
        if values and taken:
            inputs = tuple(dict.fromkeys(self.known[id(value)] for value in taken))
            arguments = self._arguments(func, args, kwargs or {})
            for number, value in enumerate(values):
                node = Node(
                    getattr(func, "__name__", str(func)).strip("_"),
                    arguments,
                    inputs,
                    tuple(value.shape),
                    number,
                    self._calls[-1] if self._calls else None,
                    self._modules[-1] if self._modules else "",
                )
                self.known[id(value)] = len(self.nodes)
                self.nodes.append(node)
                self._alive.append(value)
        return result

    def _arguments(
        self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> dict[str, Any]:
        try:
            named = inspect.signature(func).bind(*args, **kwargs).arguments
        except (TypeError, ValueError):
            named = {}
        # torch's own functions hide their names, and so do those of its that choose between two by
        # a flag.
        if not named or "args" in named:
            named = {str(number): value for number, value in enumerate(args)} | dict(kwargs)
        return {key: self._plain(value) for key, value in named.items()}

    def _plain(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return Ref(self.known[id(value)]) if id(value) in self.known else tuple(value.shape)
        if isinstance(value, list | tuple):
            return tuple(map(self._plain, value))
        return value

    def watch(self, name: str, layer: nn.Module) -> None:
        row = has_row(layer)
        kind = type(layer).__name__

        def before(layer: nn.Module, inputs: tuple[Any, ...]) -> None:
            self._modules.append(name)
            if row:
                shapes = tuple(tuple(x.shape[1:]) for x in tensors_of(inputs))
                self.place = (
                    f'layer "{name or kind}" ({kind}) cannot take {", ".join(map(by, shapes))}'
                )
                self._calls.append(len(self.calls))
                self.calls.append(Call(name or kind, layer, shapes))

        def after(layer: nn.Module, inputs: tuple[Any, ...], outputs: Any) -> None:
            self._modules.pop()
            if row:
                call = self.calls[self._calls.pop()]
                given = tensors_of(outputs)
                call.output = next(
                    (self.known[id(value)] for value in given if id(value) in self.known), None
                )
                self.place = (
                    f'after layer "{call.name}" ({kind}), which gave '
                    f"{by(tuple(given[0].shape[1:])) if given else 'nothing'}"
                )

        layer.register_forward_pre_hook(before)
        layer.register_forward_hook(after)


def tensors_of(value: Any) -> list[Tensor]:
    """All tensors in nested tuples, lists and dictionaries, in order."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, Mapping):
        value = list(value.values())
    return (
        [each for part in value for each in tensors_of(part)]
        if isinstance(value, list | tuple)
        else []
    )


def by(sides: tuple[int | str, ...]) -> str:
    return "×".join(map(str, sides)) or "one number"
