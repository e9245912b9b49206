"""What the tests of inference share: models of toy parts, without weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from pellucid.engine.inference import ensemble
from pellucid.engine.inference.model import Model
from pellucid.tasks.settings import SharedSettings
from pellucid.tasks.task import ModelSpec, Task

MakeModel = Callable[..., Model]


@pytest.fixture
def toy_model() -> MakeModel:
    """A model of a task whose data module knows `find_inputs` alone."""

    def make(
        preprocess: Any,
        inference: Any,
        network: torch.nn.Module | None = None,
        find_inputs: Callable[[Path, Any], Any] = lambda path, preprocess: None,
        metric: Any = None,
        path: str = "model",
    ) -> Model:
        parts: Any = SimpleNamespace(data=SimpleNamespace(find_inputs=find_inputs), metric=metric)
        spec = ModelSpec(Task("toy", SharedSettings, lambda: parts), preprocess, "toy", inference)
        return Model(spec, network or torch.nn.Identity(), Path(path), {})

    return make


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[Model], None]:
    """Lets `pellucid.predict` load this model, whatever it is asked for."""

    def replace_members(model: Model) -> None:
        monkeypatch.setattr(ensemble, "members", lambda models: [model] * len(models))

    return replace_members
