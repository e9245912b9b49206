"""Tensor files: safetensors with a format number, written whole or not at all. Nothing here reads
or writes a pickle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from ..core.errors import ModelError
from ..core.files import write_bytes

Tensors = dict[str, torch.Tensor]


def write(path: Path, tensors: Mapping[str, torch.Tensor], metadata: dict[str, str]) -> None:
    """Atomic. metadata: has the format number under `format`. Raises MachineError."""
    from safetensors.torch import save

    on_cpu = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    write_bytes(path, save(on_cpu, metadata=metadata))


def read(path: Path, newest: int) -> tuple[Tensors, dict[str, str]]:
    """The tensors and the metadata. newest: the highest format number that the caller reads. Raises
    ModelError for a file that is missing, damaged, a pickle or newer."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            check_format(path, int(metadata.get("format", 0)), newest)
            return {key: file.get_tensor(key) for key in file.keys()}, metadata  # noqa: SIM118
    except FileNotFoundError:
        raise ModelError(f"{path}: is missing; copy the whole folder again") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(f"{path}: {_damage(path)} ({error}); it was not loaded") from None


def _damage(path: Path) -> str:
    start = path.read_bytes()[:4] if path.is_file() else b""
    if start[:2] == b"PK" or start[:1] == b"\x80":
        return "a pickle, which can run any code when opened, and not a safetensors file"
    return "truncated or not a safetensors file"


def check_format(path: Path, found: int, newest: int) -> None:
    """Raises ModelError for a file that a newer version wrote."""
    if found > newest:
        raise ModelError(
            f"{path}: written by a newer version of Pellucid (format {found}, this one reads "
            f"{newest}); upgrade"
        )


def fill(path: Path, network: nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    """Copies the tensors of `path` into the network. Raises ModelError where they do not fit."""
    try:
        network.load_state_dict(dict(tensors))
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{path}: these weights are of another network ({reason})") from None
