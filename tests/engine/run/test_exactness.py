"""A run that was stopped anywhere and resumed ends with the same weights, bit for bit; processes
sharing a batch make no difference."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import pellucid
from pellucid.engine.run import folders

SETTINGS = {
    "model": "C8 B R P C16 R D.2 G L3",
    "epochs": 4,
    "batch": 16,
    "threads": 1,
    "baselines": False,
}


@pytest.fixture
def shapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """90 noisy 12×12 pictures of three kinds of stripes, as NPZ;
    the working folder is temporary."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(5)
    labels = np.arange(90) % 3
    images = rng.integers(0, 90, (90, 12, 12), dtype=np.uint8)
    images[labels == 0, 5] += 160
    images[labels == 1, :, 5] += 160
    np.savez(tmp_path / "stripes.npz", images=images, labels=labels)
    return tmp_path / "stripes.npz"


def weights(run: Path) -> bytes:
    return (run / "model" / "weights.safetensors").read_bytes()


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "pellucid", "train", *map(str, words)]


def options(**changes: object) -> list[str]:
    settings = {key: value for key, value in (SETTINGS | changes).items() if key != "baselines"}
    return [
        "--no-baselines",
        *(
            word
            for key, value in settings.items()
            for word in (f"--{key.replace('_', '-')}", str(value))
        ),
    ]


def test_the_seed_alone_decides_the_weights(shapes: Path) -> None:
    one, two, other = (
        pellucid.train(shapes, quiet=True, seed=seed, **SETTINGS).path for seed in (1, 1, 2)
    )
    assert one != two
    assert weights(one) == weights(two)
    assert weights(one) != weights(other)
    assert (one / "metrics.csv").read_text().count("\n") == 5


CRAFT: list[dict[str, object]] = [
    {"ema": 0.9},
    {"imbalance": "oversample", "augment": "mixup", "schedule": "triangular2"},
    {"imbalance": "undersample_clusters", "augment": "strong", "loss": "focal"},
    {"imbalance": "augment_minority", "augment": "elastic", "ema": 0.5, "schedule": "restarts"},
    {"imbalance": "class_weights", "augment": "cutmix", "loss": "hinge", "optimizer": "nesterov"},
]


@pytest.mark.parametrize(
    ("stop", "extra"),
    [*((stop, {}) for stop in (1, 3, 4, 6, 11, 15)), *((6, extra) for extra in CRAFT)],
)
def test_ctrl_c_after_any_step_and_resuming_changes_nothing(
    shapes: Path, stop: int, extra: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = SETTINGS | extra
    if extra.get("imbalance") == "augment_minority":
        stripes = np.load(shapes)
        kept = (stripes["labels"] != 2) | (np.arange(90) < 40)
        np.savez(shapes, images=stripes["images"][kept], labels=stripes["labels"][kept])
    whole = pellucid.train(shapes, quiet=True, name="whole", **settings)
    from pellucid.engine.run import train as module

    original = module.steps

    def interrupted(*arguments):
        for step in original(*arguments):
            if step.number == stop:
                os.kill(os.getpid(), signal.SIGINT)
            yield step

    monkeypatch.setattr(module, "steps", interrupted)
    with pytest.raises(module.Interrupted, match="--resume"):
        pellucid.train(shapes, quiet=True, name="stopped", **settings)
    monkeypatch.setattr(module, "steps", original)
    run = pellucid.train(resume=folders.RUNS / "classification" / "stopped", quiet=True)
    assert weights(run.path) == weights(whole.path)
    without_seconds = [
        [
            line.split(",")[:2] + line.split(",")[3:]
            for line in (path / "metrics.csv").read_text().splitlines()
        ]
        for path in (run.path, whole.path)
    ]
    assert without_seconds[0] == without_seconds[1]
    assert run.summary["test"] == whole.summary["test"]


def succeed(words: list[str]) -> None:
    said = subprocess.run(
        words,
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert said.returncode == 0, said.stderr[-2000:]


def finished_after_kills(shapes: Path, name: str, delays: list[float]) -> Path:
    """Starts a run, kills it and every resumption of it after the given delays,
    then lets it end."""
    folder = folders.RUNS / "classification" / name
    for delay in delays:
        words = (
            ["--resume", folder]
            if folder.exists()
            else [shapes, "--name", name, *options(epochs=60)]
        )
        process = subprocess.Popen(
            command(*words), stderr=subprocess.DEVNULL, start_new_session=True
        )
        time.sleep(delay)
        process.kill()
        process.wait()
    words = (
        ["--resume", folder] if folder.exists() else [shapes, "--name", name, *options(epochs=60)]
    )
    succeed(command(*words))
    return folder


def test_sigkill_and_resume(shapes: Path) -> None:
    whole = pellucid.train(shapes, quiet=True, name="whole", **(SETTINGS | {"epochs": 60}))
    assert weights(finished_after_kills(shapes, "killed", [3.2, 3.5])) == weights(whole.path)


@pytest.mark.slow
def test_a_hundred_kills(shapes: Path) -> None:
    """Every kill is followed by a resumption that is killed in turn,
    or by the end of the run and a new one."""
    whole = pellucid.train(shapes, quiet=True, name="whole", **(SETTINGS | {"epochs": 60}))
    rng, kills, number = np.random.default_rng(0), 0, 0
    while kills < 100:
        delays = rng.uniform(0.5, 6.0, size=4).tolist()
        assert weights(finished_after_kills(shapes, f"killed-{number}", delays)) == weights(
            whole.path
        )
        kills, number = kills + len(delays), number + 1


@pytest.mark.parametrize("batch", [16, 20])
def test_two_processes_with_half_batches_equal_one(shapes: Path, batch: int) -> None:
    """54 training pictures: the last batch has 6 or 14; validation and test, of 18, are shared too.
    One of 13 makes odd halves."""
    plain = {
        "model": "C8 R P C16 R G L3",
        "batch": batch - 3 if batch == 16 else batch,
        "optimizer": "sgd",
        "lr": 0.05,
    }
    one = pellucid.train(shapes, quiet=True, name="one", **(SETTINGS | plain))
    torchrun = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
    ]
    words = command(shapes, "--name", "two", *options(**plain))[1:]
    succeed([*torchrun, *words])
    two = folders.RUNS / "classification" / "two"
    from safetensors.torch import load

    first, second = load(weights(one.path)), load(weights(two))
    assert all(torch.allclose(first[key], second[key], atol=1e-5, rtol=0) for key in first)
    assert (
        folders.read_json(two / "summary.json")["test"]["accuracy"]
        == one.summary["test"]["accuracy"]
    )
    assert [p.name for p in sorted((folders.RUNS / "classification").iterdir())] == ["one", "two"]
