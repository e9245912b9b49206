"""The state of a run, saved and loaded, so that an interrupted run resumes exactly."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from ...core.errors import ModelError
from .. import tensors

FORMAT = 2


@dataclass
class State:
    """Where a run stands, complete: this and the settings determine all that follows.

    optimizers: one per phase. epoch: of the next step; position: steps of it that are done; totals:
    of its losses, so far. history: a row for each finished epoch; best: the weights of the best
    one. average: of the weights, where the settings ask for it; then `best` holds averages, and
    plain the weights as they were in that epoch.
    """

    network: nn.Module
    optimizers: list[torch.optim.Optimizer]
    epoch: int = 0
    position: int = 0
    totals: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, torch.Tensor] = field(default_factory=dict)
    average: dict[str, torch.Tensor] = field(default_factory=dict)
    plain: dict[str, torch.Tensor] = field(default_factory=dict)
    best_epoch: int = 0
    seconds: float = 0.0
    done: bool = False


_COPIES = ("best", "average", "plain")
_PLAIN = ("epoch", "position", "totals", "history", "best_epoch", "seconds", "done")


def save_state(path: Path, state: State) -> None:
    """One file, atomic. Raises MachineError."""
    stored = {f"network/{key}": value for key, value in state.network.state_dict().items()}
    for name in _COPIES:
        stored |= {f"{name}/{key}": value for key, value in getattr(state, name).items()}
    for number, optimizer in enumerate(state.optimizers):
        for index, values in optimizer.state_dict()["state"].items():
            stored |= {
                f"optimizer/{number}/{index}/{key}": value
                for key, value in values.items()
                if torch.is_tensor(value)
            }
    plain = {key: getattr(state, key) for key in _PLAIN}
    tensors.write(path, stored, {"format": str(FORMAT), "state": json.dumps(plain)})


def load_state(path: Path, state: State) -> None:
    """Brings `state` to where the file says. Raises ModelError for a file that is damaged, of
    another network, or of version 0.1."""
    stored, metadata = tensors.read(path, FORMAT)
    if metadata.get("format") == "1":
        raise ModelError(
            f"{path}: this run was begun by version 0.1 of Pellucid and cannot be resumed; start a "
            "new run"
        )
    try:
        plain = {key: json.loads(metadata["state"])[key] for key in _PLAIN}
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"{path}: is no checkpoint of a run ({error!r}); start a new run"
        ) from None
    for key, value in plain.items():
        setattr(state, key, value)
    tensors.fill(path, state.network, _under(stored, "network/"))
    like = state.network.state_dict()
    for name in _COPIES:
        copies = _under(stored, f"{name}/")
        setattr(state, name, {key: _laid_out(value, like[key]) for key, value in copies.items()})
    for number, optimizer in enumerate(state.optimizers):
        _load_optimizer(optimizer, _under(stored, f"optimizer/{number}/"))


def _load_optimizer(optimizer: torch.optim.Optimizer, stored: Mapping[str, torch.Tensor]) -> None:
    """stored: its state, by `index of the parameter/name`."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    found: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in stored.items():
        index, name = key.split("/")
        like = parameters[int(index)]
        # Fused optimizers walk through memory: a moment must lie there in the same order as its
        # weight.
        laid_out = _laid_out(value, like) if value.shape == like.shape else value
        found.setdefault(int(index), {})[name] = laid_out
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": found, "param_groups": groups})


def _laid_out(value: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """A copy on the device and in the memory format of `like`."""
    return torch.empty_like(like).copy_(value)


def _under(stored: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {key[len(prefix) :]: value for key, value in stored.items() if key.startswith(prefix)}
