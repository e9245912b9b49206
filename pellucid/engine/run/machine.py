"""What this machine can do, and how it is set for a run: device, precision, memory layout,
threads."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from ...core.errors import UsageError
from ...core.types import Batch


class NumericSettings(Protocol):
    """What decides how numbers are computed: "float32" or "bfloat16", "channels_last" or
    "contiguous"."""

    @property
    def precision(self) -> str | None: ...
    @property
    def layout(self) -> str | None: ...


def device(name: str | None) -> torch.device:
    """The named device, or the graphics card where there is one.
    Raises UsageError for one that is not there."""
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(name)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError):
        raise UsageError(
            f'device "{name}" cannot be used here; there is '
            f'"cpu"{" and cuda" if torch.cuda.is_available() else ""}'
        ) from None
    return chosen


def fast_bfloat16(where: torch.device) -> bool:
    """Whether the hardware multiplies bfloat16 itself; emulated, it is slower than float32."""
    if where.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def propose(where: torch.device, network: nn.Module, macs: int) -> dict[str, Any]:
    """Precision and layout where they pay: casting costs more than it gains in networks of a few
    million multiplications.

    Networks in 3-D stay in float32 on a processor: in bfloat16 their gradients are not finite now
    and then (torch 2.13).
    """
    convolves = any(isinstance(module, nn.Conv2d | nn.Conv3d) for module in network.modules())
    solid = where.type == "cpu" and any(
        isinstance(module, nn.Conv3d) for module in network.modules()
    )
    return {
        "device": str(where),
        "precision": "bfloat16"
        if fast_bfloat16(where) and macs > 20e6 and not solid
        else "float32",
        "layout": "channels_last" if convolves else "contiguous",
    }


def fastest_threads(step: Callable[[], object], rounds: int = 5) -> int:
    """1 or all cores, whichever takes `step` through quicker: tiny networks lose more by waiting
    for each other than they gain."""
    cores = torch.get_num_threads()
    seconds = {}
    for number in sorted({1, cores}):
        torch.set_num_threads(number)
        step()
        times = []
        for _ in range(rounds):
            start = time.perf_counter()
            step()
            times.append(time.perf_counter() - start)
        seconds[number] = min(times)
    torch.set_num_threads(cores)
    return min(seconds, key=lambda number: seconds[number])


@contextmanager
def threads(number: int | None) -> Iterator[None]:
    """So many processor threads for the length of the block;
    what the caller had comes back after it."""
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def autocast(settings: NumericSettings, where: torch.device) -> AbstractContextManager[object]:
    return (
        torch.autocast(where.type, torch.bfloat16)
        if settings.precision == "bfloat16"
        else nullcontext()
    )


def place(network: nn.Module, where: torch.device, layout: torch.memory_format) -> nn.Module:
    """The network on the device, the weights of its convolutions in that memory order."""
    for parameter in network.to(where).parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=layout)
        elif parameter.ndim == 5 and layout is torch.channels_last:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last_3d)
    return network


def laid_out(batch: Batch, settings: NumericSettings) -> Batch:
    """The batch with its pictures in the memory order of the settings,
    volumes in that of five axes."""
    wanted = memory_format(settings)
    if wanted is torch.channels_last and batch.images.ndim == 5:
        wanted = torch.channels_last_3d
    return replace(batch, images=batch.images.contiguous(memory_format=wanted))


def memory_format(settings: NumericSettings) -> torch.memory_format:
    return torch.channels_last if settings.layout == "channels_last" else torch.contiguous_format


def environment() -> dict[str, Any]:
    """What a result may depend on besides settings and data."""
    import kornia
    import numpy

    from ...core.version import __version__

    return {
        "pellucid": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "kornia": kornia.__version__,
        "platform": platform.platform(),
        "processor": _processor(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "cuda": torch.version.cuda if torch.cuda.is_available() else None,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(
            line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")
        )
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
