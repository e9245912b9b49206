"""Networks without numbers: built and passed in an instant, whatever they weigh."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

FILLS = {
    "normal_",
    "uniform_",
    "constant_",
    "ones_",
    "zeros_",
    "trunc_normal_",
    "random_",
    "bernoulli_",
    "exponential_",
    "fill_",
    "zero_",
}
FILLS |= {
    "kaiming_uniform_",
    "kaiming_normal_",
    "xavier_uniform_",
    "xavier_normal_",
    "dirac_",
    "orthogonal_",
}


@contextmanager
def blank() -> Iterator[None]:
    """Tensors made inside lie on torch's meta device: they have shapes and no memory. They are not
    filled either.

    A few things are answered here rather than by torch: empty tensors, filling, batch norm, means
    and biases. Its own way for them on the meta device first loads its compiler, which takes about
    as long as `import torch`.
    """
    with torch.device("meta"), _Shortcuts():
        yield


class _Shortcuts(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        first = args[0] if args else kwargs.get("tensor")
        if func is torch.empty_like and kwargs.keys() <= {"device"} and first.is_contiguous():
            return torch.empty(
                first.shape, dtype=first.dtype, device=kwargs.get("device", first.device)
            )
        if isinstance(first, Tensor) and first.is_meta:
            if getattr(func, "__name__", "") in FILLS:
                return first
            if func is F.batch_norm:
                return _batch_norm(first, *args[1:], **kwargs)
            if func is F.adaptive_avg_pool2d and args[1:] in ((1,), ((1, 1),)):
                return first.sum((-2, -1), keepdim=True)
            if func is F.linear and len(args) == 3 and args[2] is not None:
                return F.linear(first, args[1]).add_(args[2])
            if func in (torch.mean, Tensor.mean):  # keeps as little for the backward pass as a sum
                return first.sum(*args[1:], **kwargs)
        return func(*args, **kwargs)


def _batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    known = [t.numel() for t in (running_mean, running_var, weight, bias) if t is not None]
    alone = training and x.numel() == x.shape[1]
    if alone or any(number != x.shape[1] for number in known) or x.dtype != torch.float32:
        # What torch refuses, it refuses in its own words.
        return F.batch_norm(x, running_mean, running_var, weight, bias, training, momentum, eps)
    if not training or not torch.is_grad_enabled():
        return x.new_empty(x.shape)
    made: Tensor = _BatchNorm.apply(x, weight, bias)
    return made


class _BatchNorm(torch.autograd.Function):
    """Keeps for the backward pass what torch keeps: the input, the weight,
    and mean and deviation of each channel."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight, x.new_empty(2, x.shape[1]))
        return x.new_empty(x.shape)
