"""The steps of "Adding a task" in the documentation, executed."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import pellucid
from pellucid import tasks
from pellucid.engine.run import settings
from pellucid.tasks.task import Task

PAGE = Path(__file__).resolve().parents[2] / "docs" / "adding_a_task.md"
FILES = dict(
    re.findall(
        r"^```py\n# pellucid/tasks/(brightness/\w+\.py)\n(.*?)^```",
        PAGE.read_text(encoding="utf-8"),
        re.MULTILINE | re.DOTALL,
    )
)


@pytest.fixture
def brightness(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, register: Callable[[Task], None]
) -> Iterator[Task]:
    """The task of the page, as a folder that `pellucid.tasks` finds."""
    for name, text in FILES.items():
        path = tmp_path / "folder" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    monkeypatch.setattr(tasks, "__path__", [*tasks.__path__, str(tmp_path / "folder")])
    from importlib import import_module

    module = import_module("pellucid.tasks.brightness")
    register(module.TASK)
    yield module.TASK
    for name in [name for name in sys.modules if name.startswith("pellucid.tasks.brightness")]:
        del sys.modules[name]


def grays(root: Path) -> Path:
    rng = np.random.default_rng(0)
    root.mkdir()
    lines = ["image,value"]
    for number in range(60):
        value = rng.uniform(0.1, 0.9)
        image = rng.normal(255 * value, 20, (20, 24)).clip(0, 255).astype(np.uint8)
        Image.fromarray(image).save(root / f"{number:02}.png")
        lines.append(f"{number:02}.png,{value:.4f}")
    (root / "brightness.csv").write_text("\n".join(lines))
    return root


def test_the_page_shows_every_file_of_a_task() -> None:
    names = ["settings", "data", "defaults", "architecture", "training"]
    names += ["inference", "result", "metric", "report"]
    assert set(FILES) == {f"brightness/{name}.py" for name in [*names, "__init__"]}


def test_the_steps_of_the_page_make_a_task(
    brightness: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = grays(tmp_path / "grays")
    run = pellucid.train(data, threads=1, quiet=True, beta=0.05)
    assert run.path.parent.name == "brightness"
    assert run.summary["test"]["negative_mae"]["value"] > -0.1
    assert "[brightness]\nbeta = 0.05" in (run.path / "recipe.toml").read_text()
    assert (run.path / "report.html").is_file()
    assert pellucid.evaluate(run.path, quiet=True).evidence == run.summary["test"]
    found = pellucid.predict(run.path, data / "00.png", out=tmp_path / "drawn", quiet=True)
    assert (tmp_path / "drawn" / "00.png").is_file()
    assert json.loads(json.dumps(found.to_json()))[0]["value"] == pytest.approx(
        pellucid.load(run.path)(data / "00.png").value
    )
    resumed = pellucid.train(resume=run.path, quiet=True)
    assert resumed.summary == run.summary


def test_its_settings_are_options_and_its_own(brightness: Task) -> None:
    assert "beta" in settings.all_names()
    with pytest.raises(pellucid.UsageError, match="beta: is a setting of brightness"):
        settings.of(tasks.TASKS["classification"], {"beta": 0.5})
    with pytest.raises(pellucid.UsageError, match=r"beta: 3\.0 is out of range"):
        settings.of(brightness, {"beta": 3.0})
