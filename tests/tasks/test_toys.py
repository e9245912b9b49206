"""The hard cases of the task interface: two phases without a metric, and no phase at all."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from toys import bank, gan

import pellucid
from pellucid.engine.run import checkpoint, resolve
from pellucid.engine.run.loop import steps
from pellucid.engine.run.prepare import Prepared, prepare
from pellucid.engine.run.progress import Say
from pellucid.tasks.task import Task

Register = Callable[[Task], None]
CPU = torch.device("cpu")
GIVEN = {"task": "gan", "threads": 1, "seed": 3}
TOYS = Path(__file__).parent
RUN = (
    "import sys; sys.path.insert(0, {toys!r}); from toys import gan; "
    "from pellucid.tasks import TASKS; "
)
RUN += "TASKS.update({{'gan': gan.TASK, **{{k: TASKS.pop(k) for k in list(TASKS)}}}}); "
RUN += "from pellucid.cli import main; main()"


def images(root: Path, mark: str, odd: int = 0) -> Path:
    """30 gray images with a bright stripe; the first `odd` are noise."""
    rng = np.random.default_rng(0)
    root.mkdir(parents=True)
    for number in range(30):
        image = rng.integers(0, 60, (8, 8), dtype=np.uint8)
        image[number % 8] += 180
        name = f"ok{number:02}"
        if number < odd:
            image, name = rng.integers(0, 256, (8, 8), dtype=np.uint8), f"odd{number:02}"
        Image.fromarray(image).save(root / f"{name}.png")
    (root / mark).write_text("")
    return root


@pytest.fixture
def gan_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return images(tmp_path / "data", "gan.txt")


def prepared_gan(data: Path) -> Prepared:
    return prepare(data, GIVEN, Say(quiet=True))


def begun(prepared: Prepared) -> tuple[Prepared, checkpoint.State]:
    network = resolve.built(prepared.spec, prepared.settings)
    prepared = replace(prepared, settings=resolve.settled(prepared, network, CPU))
    return prepared, resolve.fresh(prepared, network, CPU)


def tensors(state: checkpoint.State) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in state.network.state_dict().items()}


def test_a_gan_step_is_both_phases(gan_data: Path, register: Register) -> None:
    register(gan.TASK)
    prepared, state = begun(prepared_gan(gan_data))
    views = prepared.part("train")
    found = list(steps(prepared.training, views, prepared.settings, state, CPU))
    per_epoch = len(found) // 2
    assert [step.number for step in found] == list(range(len(found)))
    assert [step.last for step in found] == ([False] * (per_epoch - 1) + [True]) * 2
    for step in found:
        assert set(step.losses) == {"critic/total", "critic/real", "generator/total"}
        assert step.grad_norm > 0


def test_a_gan_resumes_between_any_two_steps(
    gan_data: Path, register: Register, tmp_path: Path
) -> None:
    register(gan.TASK)
    base = prepared_gan(gan_data)
    prepared, state = begun(base)
    views = prepared.part("train")
    count = len(list(steps(prepared.training, views, prepared.settings, state, CPU)))
    whole = tensors(state)
    for stop in range(count):
        _, state = begun(base)
        run = steps(prepared.training, views, prepared.settings, state, CPU)
        for _ in range(stop):
            next(run)
        checkpoint.save_state(tmp_path / "state.safetensors", state)
        _, fresh = begun(base)
        checkpoint.load_state(tmp_path / "state.safetensors", fresh)
        rest = list(steps(prepared.training, views, prepared.settings, fresh, CPU))
        assert len(rest) == count - stop
        assert all(torch.equal(value, whole[key]) for key, value in tensors(fresh).items()), stop


def test_a_killed_gan_ends_with_the_same_weights(
    gan_data: Path, register: Register, tmp_path: Path
) -> None:
    register(gan.TASK)
    whole = pellucid.train(gan_data, epochs=40, threads=1, quiet=True, name="whole")
    words = ["train", str(gan_data), "--epochs", "40", "--threads", "1", "--name", "killed"]
    code = RUN.format(toys=str(TOYS))
    run = subprocess.Popen([sys.executable, "-c", code, *words], stderr=subprocess.DEVNULL)
    saved = tmp_path / "runs" / "gan" / "killed" / "metrics.csv"
    deadline = time.monotonic() + 120
    while not saved.exists() and time.monotonic() < deadline and run.poll() is None:
        time.sleep(0.01)
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    folder = tmp_path / "runs" / "gan" / "killed"
    resumed = pellucid.train(resume=folder, quiet=True)
    weights = "model/weights.safetensors"
    assert (resumed.path / weights).read_bytes() == (whole.path / weights).read_bytes()


def test_a_gan_without_a_metric_is_a_whole_run(gan_data: Path, register: Register) -> None:
    register(gan.TASK)
    run = pellucid.train(gan_data, threads=1, quiet=True)
    assert run.path.parent.name == "gan" and run.summary["test"] == {}
    assert run.summary["epochs_run"] == run.summary["best_epoch"] == 2
    header = (run.path / "metrics.csv").read_text().splitlines()[0]
    assert "train_critic/total" in header and "validation" not in header
    assert "realness" in (run.path / "predictions.csv").read_text()
    assert "[gan]\nlatent = 4" in (run.path / "recipe.toml").read_text()
    assert (run.path / "report.html").is_file()
    found = pellucid.evaluate(run.path, quiet=True)
    assert found.evidence == {} and any("no metric" in note for note in found.notes)
    results = pellucid.predict(run.path, gan_data, quiet=True).results
    assert len(results) == 30 and all(np.isfinite(result.realness) for result in results)
    with pytest.raises(pellucid.PellucidError, match="no metric"):
        pellucid.compare([run.path, run.path])


def test_the_last_weights_of_a_gan_are_kept(gan_data: Path, register: Register) -> None:
    register(gan.TASK)
    run = pellucid.train(gan_data, threads=1, seed=3, quiet=True)
    prepared, state = begun(prepared_gan(gan_data))
    list(steps(prepared.training, prepared.part("train"), prepared.settings, state, CPU))
    result = pellucid.load(run.path)(sorted(gan_data.glob("*.png"))[0])
    view = prepared.views.batch(np.array([0]))
    with torch.inference_mode():
        wanted = state.network.eval()(prepared.preprocess.network_input(view)).item()
    assert result.realness == pytest.approx(wanted, abs=1e-6)


def test_a_memory_bank_needs_no_training_step(
    tmp_path: Path, register: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    register(bank.TASK)
    data = images(tmp_path / "data", "bank.txt", odd=4)
    run = pellucid.train(data, threads=1, quiet=True, neighbors=2)
    assert run.summary["epochs_run"] == 0 and run.summary["test"]["accuracy"]["value"] > 0.5
    about = json.loads((run.path / "model" / "model.json").read_text())
    assert about["architecture"]["neighbors"] == 2 and about["inference"]["threshold"] > 0
    again = pellucid.evaluate(run.path, quiet=True)
    assert again.evidence == run.summary["test"]
    result = pellucid.load(run.path)(np.full((8, 8), 255, np.uint8))
    assert result.odd and result.distance > result.threshold
    assert (run.path / "report.html").is_file()
    resumed = pellucid.train(resume=run.path, quiet=True)
    assert resumed.summary == run.summary


def test_an_interrupted_bank_is_resumed(
    tmp_path: Path, register: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that was killed before its model was written goes on to it."""
    monkeypatch.chdir(tmp_path)
    register(bank.TASK)
    data = images(tmp_path / "data", "bank.txt", odd=4)
    whole = pellucid.train(data, threads=1, quiet=True, name="whole")
    from pellucid.engine.run import train

    def killed(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(train.finish, "finish", killed)
        with pytest.raises(train.Interrupted):
            pellucid.train(data, threads=1, quiet=True, name="killed")
    resumed = pellucid.train(resume=tmp_path / "runs" / "bank" / "killed", quiet=True)
    weights = "model/weights.safetensors"
    assert (resumed.path / weights).read_bytes() == (whole.path / weights).read_bytes()


def test_help_lists_the_settings_of_a_new_task() -> None:
    code = RUN.format(toys=str(TOYS))
    shown = subprocess.run(
        [sys.executable, "-c", code, "train", "--help"],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"COLUMNS": "120"},
    )
    assert "--latent" in shown.stdout
