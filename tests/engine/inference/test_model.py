"""Model folders: what is saved comes back, models of version 1 are migrated, damage is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save as serialized
from torch import nn

from pellucid.core.errors import ModelError
from pellucid.engine.inference import model
from pellucid.engine.run import checkpoint
from pellucid.tasks import TASKS
from pellucid.tasks.task import ModelSpec

ROOM = {
    "classes": ["a", "b"],
    "size": [6, 5],
    "channels": 1,
    "bits": 8,
    "mean": [0.4],
    "std": [0.2],
    "fill": [7.0],
    "scale": "standard",
    "temperature": 1.7,
    "model": "C4 B R G L2",
}


def spec() -> ModelSpec:
    task = TASKS["classification"]
    assert task.parts.migrate is not None
    return ModelSpec.from_json(task, json.loads(json.dumps(task.parts.migrate(ROOM))))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    network = spec().architecture.build()
    model.save(tmp_path / "run" / "model", spec(), network, {"name": "run", "test": {}})
    return tmp_path / "run"


def test_what_is_saved_comes_back(saved: Path) -> None:
    torch.manual_seed(0)
    network = spec().architecture.build()
    for path in (saved, saved / "model", str(saved)):
        found = model.load(path)
        assert found.spec == spec() and found.path == Path(path) and not found.network.training
        assert (found.about["format"], found.about["name"]) == (2, "run")
        assert set(found.about) >= {"task", "preprocess", "architecture", "inference", "licence"}
        for key, value in network.state_dict().items():
            assert torch.equal(found.network.state_dict()[key], value)


def test_a_model_of_version_1_is_migrated(saved: Path) -> None:
    stored = json.loads((saved / "model" / "model.json").read_text())
    old = {"format": 1, "task": "classification", "room": ROOM, "licence": stored["licence"]}
    (saved / "model" / "model.json").write_text(json.dumps(old))
    weights = saved / "model" / "weights.safetensors"
    tensors = spec().architecture.build().state_dict()
    weights.write_bytes(serialized(tensors, {"format": "1"}))
    found = model.load(saved)
    assert found.spec == spec() and found.about == old
    assert found.spec.inference.temperature == 1.7 and found.spec.preprocess.pad_value == (7.0,)


def _without(key: str) -> Callable[[dict[str, Any]], Any]:
    return lambda about: {name: value for name, value in about.items() if name != key}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda about: about | {"format": 3}, r"newer version of Pellucid \(format 3, .* 2\)"),
        (lambda about: about | {"format": "one"}, "damaged"),
        (lambda about: about | {"format": 1}, "damaged .*room"),
        (lambda about: about | {"task": "astrology"}, 'task "astrology" is not known'),
        (lambda about: about | {"preprocess": {}}, "does not describe a network"),
        (lambda about: about | {"inference": {"strange": 1}}, "does not describe a network"),
        (_without("architecture"), "damaged .*architecture"),
        (lambda about: [], "damaged"),
    ],
)
def test_a_damaged_description_is_named(
    change: Callable[[Any], Any], named: str, saved: Path
) -> None:
    path = saved / "model" / "model.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(ModelError, match=f"^{path}: .*{named}"):
        model.load(saved)


def test_damaged_weights_are_named(saved: Path) -> None:
    path = saved / "model" / "weights.safetensors"
    good, tensors = path.read_bytes(), spec().architecture.build().state_dict()
    first = next(iter(tensors))
    for content, named in (
        (good[:-1], "truncated or not a safetensors file"),
        (b"PK\3\4" + good, "a pickle, which can run any code"),
        (serialized({**tensors, first: tensors[first] * torch.nan}), "not finite numbers"),
        (serialized({**tensors, first: tensors[first][:1].clone()}), "of another network"),
        (serialized(tensors, {"format": "3"}), "newer version"),
    ):
        path.write_bytes(content)
        with pytest.raises(ModelError, match=f"^{path}: .*{named}"):
            model.load(saved)
    path.unlink()
    with pytest.raises(ModelError, match="is missing"):
        model.load(saved)


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no trained model here"):
        model.load(tmp_path / "nowhere")
    (tmp_path / "recipe.toml").touch()
    with pytest.raises(ModelError, match="this run is unfinished"):
        model.load(tmp_path)


def test_a_checkpoint_of_version_1_is_refused(tmp_path: Path) -> None:
    network = nn.Linear(2, 2)
    state = checkpoint.State(network, [torch.optim.SGD(network.parameters())], epoch=3)
    path = tmp_path / "checkpoint.safetensors"
    checkpoint.save_state(path, state)
    state.epoch = 0
    checkpoint.load_state(path, state)
    assert state.epoch == 3
    good = path.read_bytes()
    path.write_bytes(good.replace(b'"format":"2"', b'"format":"1"'))
    with pytest.raises(
        ModelError,
        match=f"^{path}: this run was begun by version 0.1 of Pellucid and cannot be resumed; "
        "start a new run$",
    ):
        checkpoint.load_state(path, state)
