"""A model folder: `weights.safetensors`, and `model.json` with the parts of its task that travel
with the weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ...core.errors import ModelError
from ...core.files import write_json
from ...models.weights import CATALOGUE
from ...tasks import TASKS
from ...tasks.task import TRAVELS, ModelSpec, Task
from .. import tensors
from .published import published_parts

# 1: the parts of a task as one table, `room`. 2: a table for each of `TRAVELS`.
FORMAT = 2
LICENCE = "the owner of the training data decides; Pellucid itself is Apache-2.0"


@dataclass(frozen=True, eq=False)
class Model:
    """A trained model. network: in evaluation mode, on the CPU. path: as it was asked for, or the
    name of published weights. about: what `model.json` says."""

    spec: ModelSpec
    network: nn.Module
    path: Path
    about: dict[str, Any]


def save(folder: Path, spec: ModelSpec, network: nn.Module, facts: Mapping[str, Any]) -> None:
    """Writes `weights.safetensors` and `model.json` into the folder. Raises MachineError."""
    metadata = {"format": str(FORMAT)}
    tensors.write(folder / "weights.safetensors", network.state_dict(), metadata)
    head = {"format": FORMAT, "task": spec.task.name}
    write_json(folder / "model.json", head | spec.to_json() | {"licence": LICENCE} | dict(facts))


def load(path: str | Path) -> Model:
    """path: a run folder, its `model/`, or a name of published weights. Raises ModelError: not a
    model, truncated, from a newer version, weights that do not fit."""
    path = Path(path)
    if str(path) in CATALOGUE and not path.exists():
        spec, network, about = published_parts(str(path))
        return Model(spec, network, path, about)
    folder = path / "model" if (path / "model").is_dir() else path
    about = _described(path, folder / "model.json")
    spec, network = _built(folder / "model.json", about)
    file = folder / "weights.safetensors"
    weights, _ = tensors.read(file, FORMAT)
    tensors.fill(file, network, weights)
    if not all(torch.isfinite(value).all() for value in weights.values()):
        raise ModelError(
            f"{file}: holds weights that are not finite numbers; "
            "copy the model again or train it again"
        )
    return Model(spec, network.eval(), path, about)


def _described(path: Path, description: Path) -> dict[str, Any]:
    """What `model.json` says. path: what the user named."""
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
        about: dict[str, Any] = json.loads(description.read_text(encoding="utf-8"))
        version, task = int(about["format"]), str(about["task"])
        tensors.check_format(description, version, FORMAT)
        for name in _stored_names(version):
            about[name]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(
            f"{description}: damaged ({error}); copy the model again or train it again"
        ) from None
    if task not in TASKS:
        raise ModelError(f'{description}: task "{task}" is not known to this version of Pellucid')
    return about


def _stored_names(version: int) -> tuple[str, ...]:
    return TRAVELS if version > 1 else ("room",)


def _built(description: Path, about: Mapping[str, Any]) -> tuple[ModelSpec, nn.Module]:
    try:
        task = TASKS[str(about["task"])]
        spec = ModelSpec.from_json(task, stored_parts(task, about))
        return spec, spec.architecture.build()
    except Exception as error:
        raise ModelError(f"{description}: does not describe a network ({error})") from error


def stored_parts(task: Task, about: Mapping[str, Any]) -> Mapping[str, Any]:
    """The parts of the task as a `model.json` of any format tells them. Raises KeyError, TypeError,
    ValueError and what `migrate` raises where they are damaged."""
    if int(about["format"]) > 1:
        return about
    if task.parts.migrate is None:
        raise ValueError(f"{task.name} had no models of format 1")
    return task.parts.migrate(about["room"])
