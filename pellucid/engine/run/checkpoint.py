"""Saving and loading: models and the state of a run. safetensors and JSON;
nothing here is or reads a pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ...core.errors import ModelError
from ...core.files import write_bytes, write_json
from ...models.weights import CATALOGUE
from ...tasks import TASKS
from ...tasks.task import Task
from .progress import Say

FORMAT = 1
LICENCE = "the owner of the training data decides; Pellucid itself is Apache-2.0"


@dataclass
class State:
    """Where a run stands, complete: what is saved here and the recipe determine all that follows.

    epoch: of the next step; position: steps of it that are done; totals: of its losses, so far.
    history: a row for each finished epoch; best: the weights of the best one. average: of the
    weights, where the recipe asks for it; then `best` holds averages, and plain the weights as they
    were in that epoch.
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
    """One file, atomic."""
    tensors = {f"network/{key}": value for key, value in state.network.state_dict().items()}
    for name in _COPIES:
        tensors |= {f"{name}/{key}": value for key, value in getattr(state, name).items()}
    for number, optimizer in enumerate(state.optimizers):
        for index, values in optimizer.state_dict()["state"].items():
            tensors |= {
                f"optimizer/{number}/{index}/{key}": value
                for key, value in values.items()
                if torch.is_tensor(value)
            }
    plain = {key: getattr(state, key) for key in _PLAIN}
    write_bytes(path, _serialised(tensors, {"format": str(FORMAT), "state": json.dumps(plain)}))


def load_state(path: Path, state: State) -> None:
    """Brings `state` to where the file says. Raises ModelError when the file is damaged or of
    another network."""
    tensors, metadata = _deserialised(path)
    try:
        plain = {key: json.loads(metadata["state"])[key] for key in _PLAIN}
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"{path}: is no checkpoint of a run ({error!r}); start a new run"
        ) from None
    for key, value in plain.items():
        setattr(state, key, value)
    _load_weights(path, state.network, _under(tensors, "network/"))
    like = state.network.state_dict()
    for name in _COPIES:
        kept = _under(tensors, f"{name}/")
        setattr(
            state,
            name,
            {key: torch.empty_like(like[key]).copy_(value) for key, value in kept.items()},
        )
    for number, optimizer in enumerate(state.optimizers):
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        stored: dict[int, dict[str, torch.Tensor]] = {}
        for key, value in _under(tensors, f"optimizer/{number}/").items():
            index, name = key.split("/")
            like = parameters[int(index)]
            # Fused optimisers walk through memory: a moment must lie there in the same order as its
            # weight.
            laid_out = torch.empty_like(like).copy_(value) if value.shape == like.shape else value
            stored.setdefault(int(index), {})[name] = laid_out
        whole = optimizer.state_dict()
        optimizer.load_state_dict({"state": stored, "param_groups": whole["param_groups"]})


def save_model(folder: Path, room: Task, network: nn.Module, facts: Mapping[str, Any]) -> None:
    """`weights.safetensors` and `model.json`: classes,
    preprocessing and thresholds travel with the weights."""
    weights = {
        key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()
    }
    write_bytes(folder / "weights.safetensors", _serialised(weights, {"format": str(FORMAT)}))
    write_json(
        folder / "model.json",
        {"format": FORMAT, "task": room.name, "room": room.to_json(), "licence": LICENCE, **facts},
    )


def load_model(path: Path) -> tuple[Task, nn.Module, dict[str, Any]]:
    """The room, the network in evaluation mode, and what `model.json` says, from a run folder, its
    `model/`, or published weights by name.

    Raises ModelError: not a model, truncated, from a newer version, weights that do not fit.
    """
    if str(path) in CATALOGUE and not path.exists():
        from . import pretrained

        return pretrained.published_model(str(path), Say())
    folder = path / "model" if (path / "model").is_dir() else path
    description = folder / "model.json"
    if not description.is_file():
        unfinished = (
            " (this run is unfinished: `pellucid train --resume` finishes it)"
            if (path / "recipe.toml").exists()
            else ""
        )
        raise ModelError(
            f"{path}: no trained model here; give a run folder, its model/ or a name of `pellucid "
            f"weights list`{unfinished}"
        )
    try:
        about = json.loads(description.read_text(encoding="utf-8"))
        version, task, stored = int(about["format"]), str(about["task"]), about["room"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(
            f"{description}: damaged ({error}); copy the model again or train it again"
        ) from None
    _check_version(description, version)
    if task not in TASKS:
        raise ModelError(f'{description}: task "{task}" is not known to this version of Pellucid')
    try:
        room = TASKS[task].from_json(stored)
        network = room.build()
    except Exception as error:
        raise ModelError(f"{description}: does not describe a network ({error})") from error
    path = folder / "weights.safetensors"
    weights, _ = _deserialised(path)
    _load_weights(path, network, weights)
    if not all(torch.isfinite(value).all() for value in weights.values()):
        raise ModelError(
            f"{path}: holds weights that are not finite numbers; "
            "copy the model again or train it again"
        )
    return room, network.eval(), about


def _serialised(tensors: Mapping[str, torch.Tensor], metadata: dict[str, str]) -> bytes:
    from safetensors.torch import save

    return save(
        {key: value.detach().cpu().contiguous() for key, value in tensors.items()},
        metadata=metadata,
    )


def _deserialised(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            _check_version(path, int(metadata.get("format", 0)))
            return {key: file.get_tensor(key) for key in file.keys()}, metadata  # noqa: SIM118
    except FileNotFoundError:
        raise ModelError(f"{path}: is missing; copy the whole folder again") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(f"{path}: {_what_is_wrong(path)} ({error}); it was not loaded") from None


def _what_is_wrong(path: Path) -> str:
    start = path.read_bytes()[:4] if path.is_file() else b""
    if start[:2] == b"PK" or start[:1] == b"\x80":
        return "a pickle, which can run any code when opened, and not a safetensors file"
    return "truncated or not a safetensors file"


def _check_version(path: Path, version: int) -> None:
    if version > FORMAT:
        raise ModelError(
            f"{path}: written by a newer version of Pellucid (format {version}, "
            f"this one reads {FORMAT}); upgrade"
        )


def _load_weights(path: Path, network: nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    try:
        network.load_state_dict(dict(weights))
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{path}: these weights are of another network ({reason})") from None


def _under(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}
