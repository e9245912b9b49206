"""Is every gradient of a network right? Reverse mode against central differences, in float64.

A network with a wrong backward pass may still learn, only worse; its loss curve does not say so.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..core.errors import ModelError
from .trace import by, has_row, tensors_of

# two normalised numbers are always ±1, so batch norm of two single ones has no gradient to speak of
BATCH = 3
TOLERANCE = 1e-4
STEPS = (1e-5, 1e-6, 1e-7)
EPSILON = torch.finfo(torch.float64).eps
BUDGET, LEAST, MOST = 300, 4, 24  # entries of all tensors together; of one


@dataclass(frozen=True)
class TensorCheck:
    """One tensor. checked: entries compared, drawn at random; kinks: those that stand at a kink;
    error: the largest relative error of the others, None where there are none."""

    name: str
    shape: tuple[int, ...]
    checked: int
    kinks: int
    error: float | None

    @property
    def wrong(self) -> bool:
        return self.error is not None and self.error > TOLERANCE

    def to_json(self) -> dict[str, Any]:
        return vars(self) | {"shape": list(self.shape), "wrong": self.wrong}


@dataclass(frozen=True)
class GradientCheck:
    """tensors: the input, then every parameter. culprits: layers whose own gradient is wrong when
    checked alone."""

    input: tuple[int, ...]
    seed: int
    tensors: tuple[TensorCheck, ...]
    culprits: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        return not any(tensor.wrong for tensor in self.tensors)

    @property
    def verdict(self) -> str:
        checked, kinks = (
            sum(getattr(tensor, what) for tensor in self.tensors) for what in ("checked", "kinks")
        )
        aside = f"; {kinks} at a kink, where there is no derivative to compare" if kinks else ""
        if self.passed:
            return (
                f"right: {checked} entries of {len(self.tensors)} tensors agree to "
                f"{TOLERANCE:g}{aside}"
            )
        wrong = [tensor.name for tensor in self.tensors if tensor.wrong]
        names = ", ".join(wrong[:4]) + (f" and {len(wrong) - 4} more" if len(wrong) > 4 else "")
        where = (
            f"the backward pass of {', '.join(self.culprits)} is wrong"
            if self.culprits
            else "each layer alone is right: look between layers"
        )
        return f"wrong: {where}; it shows in the gradient of {names}{aside}"

    def to_json(self) -> dict[str, Any]:
        tensors = [tensor.to_json() for tensor in self.tensors]
        about = {
            "input": list(self.input),
            "batch": BATCH,
            "seed": self.seed,
            "tolerance": TOLERANCE,
        }
        return about | {
            "passed": self.passed,
            "verdict": self.verdict,
            "culprits": list(self.culprits),
            "tensors": tensors,
        }

    def text(self) -> str:
        """A table of plain text."""
        lines = [["tensor", "shape", "checked", "at a kink", "largest error", ""]]
        for t in self.tensors:
            error = "" if t.error is None else f"{t.error:.1e}"
            lines.append(
                [
                    t.name,
                    by(t.shape),
                    f"{t.checked}",
                    f"{t.kinks or ''}",
                    error,
                    "WRONG" if t.wrong else "",
                ]
            )
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        table = [
            "  ".join(
                c.ljust(w) if k < 2 else c.rjust(w)
                for k, (c, w) in enumerate(zip(line, widths, strict=True))
            )
            for line in lines
        ]
        how = (
            f"float64, training mode, {BATCH} random pictures of {by(self.input)}, seed "
            f"{self.seed}; errors are relative"
        )
        return "\n".join([*(line.rstrip() for line in table), how, self.verdict])


def one_sided(loss: Callable[[Tensor], Tensor], at: Tensor, step: float = 1e-6) -> Tensor:
    """The numerical gradient (L(θ + 1_p ε) − L(θ))/ε for each p, as textbooks begin: dim(θ) + 1
    evaluations, an error of the order of ε.

    loss: of a tensor like `at`, a scalar; at: θ, float64 of any shape. `check` takes differences to
    both sides, whose error is of ε².
    """
    here, slopes = loss(at), torch.empty_like(at)
    for p in range(at.numel()):
        moved = at.clone()
        moved.view(-1)[p] += step
        slopes.view(-1)[p] = (loss(moved) - here) / step
    return slopes


def check(network: nn.Module, input_shape: tuple[int, ...], seed: int = 0) -> GradientCheck:
    """Compares gradients of a random weighted sum of the outputs, on a copy in training mode.

    input_shape: channels, sides…; no batch. Of each tensor 4 to 24 entries are drawn. The seed
    fixes pictures, weights of the sum, dropout and the draw. An entry is at a kink (of ReLU, of
    max-pooling) when the differences to its left and right disagree however small the step. Raises
    ModelError for a network that cannot run in float64 or is random beyond torch's seed.
    """
    if any(parameter.is_complex() for parameter in network.parameters()):
        raise ModelError(
            "the network has complex parameters, whose gradients cannot be checked here"
        )
    network = copy.deepcopy(network).double().train().requires_grad_()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pictures = torch.randn(BATCH, *input_shape, dtype=torch.float64)
        try:
            tensors = _compare(network, (pictures,), seed, "input")
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise ModelError(
                f"gradients cannot be checked with pictures of {by(input_shape)} in float64: "
                f"{reason}"
            ) from error
        wrong = any(tensor.wrong for tensor in tensors)
        return GradientCheck(
            tuple(input_shape),
            seed,
            tuple(tensors),
            _culprits(network, pictures, seed) if wrong else (),
        )


def _compare(
    network: nn.Module, inputs: tuple[Tensor, ...], seed: int, name: str
) -> list[TensorCheck]:
    inputs = tuple(value.detach().clone().requires_grad_() for value in inputs)
    wanted = {
        name if number == 0 else f"{name} {number + 1}": value
        for number, value in enumerate(inputs)
    }
    wanted |= dict(network.named_parameters())
    ask = _Asked(network, inputs, seed)
    with _Precision():
        total, size = ask()
    if not total.requires_grad:
        raise ValueError(
            "what it returns does not depend on its input and parameters by differentiable steps"
        )
    gradients = torch.autograd.grad(total, list(wanted.values()), allow_unused=True)
    with torch.no_grad():
        here = ask()[0].item()
        if here != total.item():
            raise ModelError(
                "the network answers the same pictures differently each time, whatever torch's "
                "seed; its gradients cannot be checked"
            )
        entries = max(LEAST, min(MOST, BUDGET // len(wanted)))
        pairs = zip(wanted.items(), gradients, strict=True)
        return [
            _tensor(ask, key, value.data, gradient, (here, size), entries, seed)
            for (key, value), gradient in pairs
        ]


class _Precision(TorchFunctionMode):
    """Refuses a network that goes on in fewer digits: its rounding would look like a
    wrong gradient."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for value in tensors_of(result):
            if value.requires_grad and value.dtype not in (torch.float64, torch.complex128):
                name = str(value.dtype).removeprefix("torch.")
                raise ValueError(
                    f"{getattr(func, '__name__', func)} in it computes in {name}; "
                    "leave out the cast"
                )
        return result


class _Asked:
    """The weighted sum of the outputs as a function of what stands in the tensors; each call starts
    from the same state."""

    def __init__(self, network: nn.Module, inputs: tuple[Tensor, ...], seed: int) -> None:
        self.network, self.inputs, self.seed = network, inputs, seed
        self.buffers = {key: value.clone() for key, value in network.named_buffers()}

    def __call__(self) -> tuple[Tensor, float]:
        """The sum, and the sum of its terms' sizes, which bounds its rounding."""
        for key, value in self.network.named_buffers():
            value.copy_(self.buffers[key])
        torch.manual_seed(self.seed)
        # A layer that works in place would spoil the input for the next call.
        outputs = [
            value
            for value in tensors_of(self.network(*(value.clone() for value in self.inputs)))
            if value.is_floating_point()
        ]
        draws = torch.Generator().manual_seed(self.seed)
        terms = [
            value * torch.randn(value.shape, generator=draws, dtype=value.dtype)
            for value in outputs
        ]
        if not terms or not all(bool(torch.isfinite(term).all()) for term in terms):
            raise ValueError("its output is not made of finite numbers")
        return torch.stack([term.sum() for term in terms]).sum(), float(
            sum(term.detach().abs().sum() for term in terms)
        )


def _tensor(
    ask: Callable[[], tuple[Tensor, float]],
    name: str,
    value: Tensor,
    gradient: Tensor | None,
    here: tuple[float, float],
    entries: int,
    seed: int,
) -> TensorCheck:
    draw = torch.randperm(value.numel(), generator=torch.Generator().manual_seed(seed))[
        :entries
    ].tolist()
    # A parameter that no output depends on has no gradient; then no difference may show either.
    slopes = (
        torch.zeros(value.numel(), dtype=value.dtype) if gradient is None else gradient.reshape(-1)
    )
    errors = [_entry(ask, value, index, slopes[index].item(), here) for index in draw]
    known = [error for error in errors if error is not None]
    return TensorCheck(
        name, tuple(value.shape), len(draw), len(errors) - len(known), max(known, default=None)
    )


def _entry(
    ask: Callable[[], tuple[Tensor, float]],
    value: Tensor,
    index: int,
    slope: float,
    here: tuple[float, float],
) -> float | None:
    """The relative error of one entry at the best of three steps; None at a kink."""
    place = _place(index, tuple(value.shape))
    middle, size = here
    start = value[place].item()
    best = float("inf")
    for relative in STEPS:
        step = relative * max(abs(start), 1.0)
        sides = []
        for moved in (start + step, start - step):
            value[place] = moved
            sides.append(ask()[0].item())
        value[place] = start
        right, left = (sides[0] - middle) / step, (middle - sides[1]) / step
        central = (right + left) / 2
        # What rounding can do to the quotient is no error: smaller gradients than this are not told
        # from 0.
        floor = 20 * EPSILON * size / step / TOLERANCE
        scale = max(abs(slope), abs(central), floor)
        best = min(best, abs(central - slope) / scale if scale else 0.0)
        if best <= TOLERANCE:
            return best
    # Off at every step. Beside a kink the two sides differ however small the step, by about as much
    # as the slope is off: a slope that is off by more than they differ is wrong all the same.
    apart = abs(right - left)
    return None if apart > TOLERANCE * scale and abs(central - slope) < 10 * apart else best


def _place(index: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The place of a flat index in a tensor of that shape, row-major."""
    place = []
    for side in reversed(shape):
        index, rest = divmod(index, side)
        place.append(rest)
    return tuple(reversed(place))


def _culprits(network: nn.Module, pictures: Tensor, seed: int) -> tuple[str, ...]:
    """Each layer alone, with what really reaches it: those whose own gradients are wrong."""
    reached: dict[str, tuple[nn.Module, tuple[Any, ...]]] = {}

    def remember(name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def hook(layer: nn.Module, inputs: tuple[Any, ...]) -> None:
            reached.setdefault(
                name,
                (layer, tuple(x.detach().clone() if isinstance(x, Tensor) else x for x in inputs)),
            )

        return hook

    layers: Mapping[str, nn.Module] = {
        name: layer for name, layer in network.named_modules() if has_row(layer)
    }
    handles = [layer.register_forward_pre_hook(remember(name)) for name, layer in layers.items()]
    with torch.no_grad():
        network(pictures.clone())
    for handle in handles:
        handle.remove()
    found = []
    for name, (layer, inputs) in reached.items():
        plain = all(isinstance(x, Tensor) and x.is_floating_point() for x in inputs)
        if plain and any(tensor.wrong for tensor in _compare(layer, inputs, seed, "input")):
            found.append(f"{name or 'the network'} ({type(layer).__name__})")
    return tuple(found)
