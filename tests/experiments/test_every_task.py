"""Two real runs, a search and a study, of each task."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import pellucid
from pellucid.core.errors import UsageError
from pellucid.engine.inference import records
from pellucid.engine.run.progress import Say
from pellucid.experiments import lr_range, plan, study, tune
from pellucid.tasks import TASKS

TINY = "C8s2 B R C16s2 B R C16s2 B R C32s2 B R G L2"
QUICK: dict[str, Any] = {"epochs": 1, "batch": 4, "threads": 1, "baselines": False, "quiet": True}
# Settings of a small network for each task, and the folder with its data.
SMALL: dict[str, tuple[str, dict[str, Any]]] = {
    "classification": ("classes", {"model": "C4 R G L2"}),
    "detection": ("boxes", {"model": TINY, "size": 64, "neck": 16}),
    "segmentation": ("masks", {"model": "unet", "width": 2, "patch": 32}),
    "superresolution": (
        "masks/images",
        {"task": "superresolution", "model": "espcn", "width": 4},
    ),
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Squares on noise: `classes/` with a folder each, `boxes/` as YOLO, and `masks/`."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(2)
    for number in range(20):
        pixels, mask = rng.integers(100, 140, (64, 64, 3), dtype=np.uint8), np.zeros((64, 64))
        left, top, label = *rng.integers(0, 40, 2), number % 2
        pixels[top : top + 20, left : left + 20] = (240, 15)[label]
        mask[top : top + 20, left : left + 20] = 255
        named = {
            f"classes/{('bright', 'dark')[label]}/{number}.png": pixels,
            f"boxes/images/{number}.png": pixels,
            f"masks/images/{number}.png": pixels,
            f"masks/masks/{number}.png": mask.astype(np.uint8),
        }
        for name, image in named.items():
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(name)
        Path("boxes/labels").mkdir(exist_ok=True)
        box = f"{label} {(left + 10) / 64} {(top + 10) / 64} {20 / 64} {20 / 64}\n"
        Path(f"boxes/labels/{number}.txt").write_text(box)
    Path("boxes/data.yaml").write_text("names: [bright, dark]\ntrain: images\n")
    return tmp_path


@pytest.mark.parametrize("task", TASKS)
def test_runs_are_compared_by_the_score_of_their_task(task: str, here: Path) -> None:
    data, small = SMALL[task]
    a, b = (
        pellucid.train(data, name=name, lr=lr, **small, **QUICK).path
        for name, lr in (("low", 1e-5), ("up", 1e-2))
    )
    assert (a / records.NAME).is_file()
    for score in TASKS[task].parts.metric.SCORES[:2]:  # type: ignore[union-attr]
        found = pellucid.compare([a, b], score=score)
        (difference,) = found.differences
        tests = [json.loads((run / "summary.json").read_text())["test"] for run in (a, b)]
        assert found.arms[0].test == tests[0][score]
        assert difference.mean == pytest.approx(tests[1][score]["value"] - tests[0][score]["value"])
        assert "paired bootstrap over" in difference.test


@pytest.mark.parametrize("task", TASKS)
def test_settings_of_any_task_are_searched(task: str, here: Path) -> None:
    data, small = SMALL[task]
    found = tune.tune(data, {"lr": [1e-4, 1e-2]}, sampler="grid", **small, **QUICK)
    assert found.summary["score"] == TASKS[task].parts.metric.SCORES[0]  # type: ignore[union-attr]
    assert found.summary["outcomes"] == {"finished": 2}
    assert set(found.summary["test"]) >= {found.summary["score"]}
    assert (Path(found.summary["run"]) / records.NAME).is_file()


def test_images_are_decoded_again_only_for_other_views(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[dict[str, Any]] = []
    honest = tune.prepare

    def prepare(data: Any, given: Any, *rest: Any, **named: Any) -> Any:
        decoded.append(given)
        return honest(data, given, *rest, **named)

    monkeypatch.setattr(tune, "prepare", prepare)
    data, small = SMALL["superresolution"]
    bench = tune.Bench(
        tune.Plan(data, (), small | {"epochs": 1}, "grid", "none"),
        torch.device("cpu"),
        Say(quiet=True),
    )
    for lr in (0.1, 0.2):
        assert bench.prepared({"lr": lr, "factor": 2}).settings.lr == lr
    assert len(decoded) == 1
    for factor in (4, 2, 4):
        found = bench.prepared({"factor": factor})
        assert found.preprocess.upscale == found.architecture.upscale == factor
        fresh = honest(data, small | {"factor": factor}, Say(quiet=True))
        assert np.array_equal(found.views.images, fresh.views.images)
    assert len(decoded) == 2


def test_a_study_takes_the_score_of_its_task(here: Path) -> None:
    text = """
title = "Two rates"
question = "Which?"
expected = "The larger."
data = "masks"
[settings]
model = "unet"
[vary]
lr = [0.1, 0.01]
"""
    Path("two.toml").write_text(text)
    chosen = plan.load(Path("two.toml"))
    assert chosen.score is None and study._with_score(chosen, "masks").score == "dice"
    assert study._with_score(chosen, "boxes").score == "map"


def test_a_study_by_any_score_of_its_task(here: Path) -> None:
    Path("two.toml").write_text(
        'title = "T"\nquestion = "Q?"\nexpected = "E."\ndata = "masks"\nscore = "map50"\n'
        "[vary]\nlr = [0.1, 0.01]\n"
    )
    chosen = plan.load(Path("two.toml"))
    assert study._with_score(chosen, "boxes").score == "map50"
    with pytest.raises(UsageError, match='segmentation has no "map50"'):
        study._with_score(chosen, "masks")


@pytest.mark.parametrize("task", ["detection", "segmentation"])
def test_the_rate_of_any_task_is_found(task: str, here: Path) -> None:
    data, small = SMALL[task]
    quick = {"batch": 4, "threads": 1, "quiet": True, "seed": 1}
    found = lr_range.lr_range(data, **small, **quick)
    assert 1e-8 < found.summary["suggestion"] < 10
