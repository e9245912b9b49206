"""Layer by layer: shapes, activations, parameters and multiplications (MACs), without computing a single number."""

from __future__ import annotations

import copy
import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..core.errors import ModelError

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@dataclass(frozen=True)
class Row:
    """One pass of one layer. Shapes and counts are for one picture, without the batch.

    weights, biases: what the layer has of its own; 0 where an earlier row has counted them already (a layer used twice).
    macs: multiplications of a convolution, transposed convolution or dense layer; 0 for every other kind.
    """

    name: str
    kind: str
    output: tuple[int, ...]
    weights: int
    biases: int
    macs: int

    @property
    def activations(self) -> int:
        return math.prod(self.output)

    @property
    def parameters(self) -> int:
        return self.weights + self.biases

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"output": list(self.output), "activations": self.activations, "parameters": self.parameters}


@dataclass(frozen=True)
class Anatomy:
    """The layers of a network in the order in which one picture passes them.

    parameters: of the whole network, each once; buffers (running statistics, fixed codes) are not parameters.
    """

    input: tuple[int, ...]
    rows: tuple[Row, ...]
    parameters: int

    @property
    def macs(self) -> int:
        return sum(row.macs for row in self.rows)

    @property
    def activations(self) -> int:
        """Numbers that all layers put out, without the picture."""
        return sum(row.activations for row in self.rows)

    @property
    def unused(self) -> int:
        """Parameters that the pass does not meet in a layer."""
        return self.parameters - sum(row.parameters for row in self.rows)

    @property
    def depth(self) -> int:
        """Passes of convolutions and dense layers; with branches or projections that is more than the longest path."""
        return sum(row.macs > 0 for row in self.rows)

    def to_json(self) -> dict[str, Any]:
        rows = [row.to_json() | {"share": self._share(row)} for row in self.rows]
        total = {
            "parameters": self.parameters,
            "unused_parameters": self.unused,
            "activations": self.activations,
            "macs": self.macs,
            "flops": 2 * self.macs,
            "weight_layers": self.depth,
        }
        return {"input": list(self.input), "layers": rows, "total": total}

    def text(self) -> str:
        """A table of plain text; shapes are channels×height×width."""
        lines = [["layer", "kind", "output", "activations", "parameters", "share", "MACs"]]
        lines.append(["input", "", _by(self.input), f"{math.prod(self.input):,}", "0", "", ""])
        for row in self.rows:
            share = f"{self._share(row):.1%}" if row.parameters else ""
            counts = [f"{row.activations:,}", f"{row.parameters:,}", share, f"{row.macs:,}" if row.macs else ""]
            lines.append([row.name, row.kind, _by(row.output), *counts])
        lines.append(["total", "", "", f"{self.activations:,}", f"{self.parameters:,}", "", f"{self.macs:,}"])
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        table = [_line(line, widths) for line in lines]
        notes = [f"{self.depth} convolutions and dense layers; FLOPs = 2 × MACs = {2 * self.macs:,}"]
        if self.unused:
            notes.append(f"{self.unused:,} parameters are in no layer that the picture passes")
        return "\n".join([*table, *notes])

    def _share(self, row: Row) -> float:
        return row.parameters / self.parameters if self.parameters else 0.0


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    left = [cell.ljust(width) for cell, width in zip(cells[:3], widths[:3], strict=True)]
    right = [cell.rjust(width) for cell, width in zip(cells[3:], widths[3:], strict=True)]
    return "  ".join(left + right).rstrip()


def describe(network: nn.Module, input_shape: tuple[int, ...]) -> Anatomy:
    """What happens to one picture of `input_shape` (channels, height, width; no batch) in evaluation mode.

    Runs on a copy without memory (torch's meta device), so it costs milliseconds and touches neither weights, nor running
    statistics, nor hooks of the given network. Work outside layers (a skip's sum, a flattening in `forward`) has no row.
    Raises ModelError that names the layer which cannot take what reaches it.
    """
    shadow = _shadow(network)
    rows: list[Row] = []
    counted: set[int] = set()
    place = ["before the first layer"]
    for name, layer in shadow.named_modules():
        if _has_row(layer):
            _watch(name or type(layer).__name__, layer, rows, counted, place)
    kind = next((p.dtype for p in shadow.parameters() if p.is_floating_point()), torch.float32)
    try:
        with torch.no_grad(), torch.device("meta"):
            shadow(torch.empty(1, *input_shape, dtype=kind))
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(f"an input of {_by(input_shape)} does not pass the network; {place[0]}: {reason}") from error
    return Anatomy(tuple(input_shape), tuple(rows), sum(p.numel() for p in network.parameters()))


def _shadow(network: nn.Module) -> nn.Module:
    """A copy in evaluation mode whose tensors have shapes but no memory, without the original's forward hooks."""
    memo: dict[int, Any] = {}
    for layer in network.modules():
        attributes = [value for value in vars(layer).values() if isinstance(value, Tensor)]
        memo |= {id(t): torch.empty_like(t, device="meta") for t in [*layer.buffers(recurse=False), *attributes]}
        memo |= {id(hooks): OrderedDict() for hooks in (layer._forward_hooks, layer._forward_pre_hooks)}
    memo |= {id(p): nn.Parameter(torch.empty_like(p, device="meta"), p.requires_grad) for p in network.parameters()}
    return copy.deepcopy(network, memo).eval()


def _has_row(layer: nn.Module) -> bool:
    """Layers without layers inside, and any that have parameters of their own."""
    container = isinstance(layer, nn.Sequential | nn.ModuleList | nn.ModuleDict) or next(layer.children(), None) is not None
    return not container or next(layer.parameters(recurse=False), None) is not None


def _watch(name: str, layer: nn.Module, rows: list[Row], counted: set[int], place: list[str]) -> None:
    kind = kind_of(layer)

    def before(layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        shapes = ", ".join(_by(x.shape[1:]) for x in inputs if isinstance(x, Tensor))
        place[0] = f'layer "{name}" ({kind}) cannot take {shapes}'

    def after(layer: nn.Module, inputs: tuple[Any, ...], outputs: Any) -> None:
        output = _first_tensor(outputs)
        shape = () if output is None else tuple(output.shape[1:])
        own = {key: p for key, p in layer.named_parameters(recurse=False) if id(p) not in counted}
        counted.update(map(id, own.values()))
        biases = sum(p.numel() for key, p in own.items() if "bias" in key)
        rows.append(Row(name, kind, shape, sum(p.numel() for p in own.values()) - biases, biases, macs_of(layer, inputs, shape)))
        place[0] = f'after layer "{name}" ({kind}), which gave {_by(shape)}'

    layer.register_forward_pre_hook(before)
    layer.register_forward_hook(after)


def _first_tensor(outputs: Any) -> Tensor | None:
    values = outputs.values() if isinstance(outputs, dict) else outputs if isinstance(outputs, tuple | list) else (outputs,)
    return next((value for value in values if isinstance(value, Tensor)), None)


def macs_of(layer: nn.Module, inputs: tuple[Any, ...], output: tuple[int, ...]) -> int:
    """Multiplications for one picture: H_out·W_out·C_out·f·f·C_in/groups for a convolution, inputs × outputs for a dense layer.

    A transposed convolution multiplies every input with every tap of its kernel, those that padding cuts off again included.
    A layer of another kind that multiplies says how often in a method `macs(output)`.
    """
    if isinstance(layer, (*CONVOLUTIONS, nn.Linear)):
        return math.prod(output) * layer.weight[0].numel()
    if isinstance(layer, TRANSPOSED):
        return math.prod(inputs[0].shape[1:]) * layer.weight[0].numel()
    own = getattr(layer, "macs", None)
    return own(output) if callable(own) else 0


def kind_of(layer: nn.Module) -> str:
    """The class, and for a window its kernel and what is not the rule: `Conv2d 3×3 s2 p1 g4`."""
    words = [type(layer).__name__]
    kernel = getattr(layer, "kernel_size", None)
    if isinstance(kernel, int | tuple):
        sides = len(kernel) if isinstance(kernel, tuple) else int(words[0][-2]) if words[0][-2].isdigit() else 1
        words.append(_by(_sides(kernel, sides)))
        for letter, option, rule in (("s", "stride", 1), ("p", "padding", 0), ("d", "dilation", 1), ("g", "groups", 1)):
            value = getattr(layer, option, rule)
            plain = _sides(value, sides)
            if set(plain) != {rule}:
                words.append(letter + (str(plain[0]) if len(set(plain)) == 1 else _by(plain)))
    elif isinstance(layer, nn.Dropout):
        words.append(str(layer.p))
    return " ".join(words)


def _sides(value: int | str | tuple[int, ...], sides: int) -> tuple[int | str, ...]:
    return value if isinstance(value, tuple) else (value,) * sides


def _by(sides: Sequence[int | str]) -> str:
    return "×".join(map(str, sides)) or "one number"
