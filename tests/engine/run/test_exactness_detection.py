"""A detection run that was stopped anywhere and resumed ends with the same weights, bit for bit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import pellucid
from pellucid.engine.run import folders

TINY = "C8s2 B R C16s2 B R C16s2 B R C32s2 B R G L2"
SETTINGS: dict[str, object] = {
    "model": TINY,
    "size": 64,
    "neck": 16,
    "epochs": 3,
    "batch": 8,
    "threads": 1,
    "baselines": False,
}


@pytest.fixture
def squares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """40 noisy 64×64 pictures with up to two bright or dark squares, as YOLO writes them; the
    working folder is temporary."""
    monkeypatch.chdir(tmp_path)
    root, rng = tmp_path / "squares", np.random.default_rng(2)
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True)
    for number in range(40):
        picture, lines = rng.integers(100, 140, (64, 64, 3), dtype=np.uint8), []
        for label in range(number % 3):
            left, top = rng.integers(0, 12) + 32 * label, rng.integers(0, 44)
            picture[top : top + 20, left : left + 20] = (240, 15)[label]
            lines.append(f"{label} {(left + 10) / 64} {(top + 10) / 64} {20 / 64} {20 / 64}\n")
        Image.fromarray(picture).save(root / "images" / f"{number:02}.png")
        (root / "labels" / f"{number:02}.txt").write_text("".join(lines))
    (root / "data.yaml").write_text("names: [bright, dark]\ntrain: images\n")
    return root


def weights(run: Path) -> bytes:
    return (run / "model" / "weights.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("stop", "extra"),
    [
        (1, {}),
        (5, {"anchors": 2, "loss": "focal"}),
        (4, {"detector": "faster_rcnn"}),
        (2, {"detector": "grid"}),
    ],
    ids=["yolo", "anchors", "faster_rcnn", "grid"],
)
def test_ctrl_c_after_any_step_and_resuming_changes_nothing(
    squares: Path, stop: int, extra: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = SETTINGS | extra
    whole = pellucid.train(squares, quiet=True, name="whole", **settings)  # type: ignore[arg-type]
    from pellucid.engine.run import train as module

    original = module.steps

    def interrupted(*arguments):  # type: ignore[no-untyped-def]
        for step in original(*arguments):
            if step.number == stop:
                os.kill(os.getpid(), signal.SIGINT)
            yield step

    monkeypatch.setattr(module, "steps", interrupted)
    with pytest.raises(module.Interrupted, match="--resume"):
        pellucid.train(squares, quiet=True, name="stopped", **settings)  # type: ignore[arg-type]
    monkeypatch.setattr(module, "steps", original)
    run = pellucid.train(resume=folders.RUNS / "detection" / "stopped", quiet=True)
    assert weights(run.path) == weights(whole.path)
    assert run.summary["test"] == whole.summary["test"]


def test_sigkill_and_resume(squares: Path) -> None:
    settings = SETTINGS | {"epochs": 8}
    whole = pellucid.train(squares, quiet=True, name="whole", **settings)  # type: ignore[arg-type]
    folder = folders.RUNS / "detection" / "killed"
    words = [str(squares), "--name", "killed", "--no-baselines"]
    words += [
        word
        for key, value in settings.items()
        if key != "baselines"
        for word in (f"--{key}", str(value))
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "pellucid", "train", *words],
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    # As soon as an epoch is saved: it is killed within the next one.
    until = time.monotonic() + 120
    while (
        not (folder / "metrics.csv").exists()
        and process.poll() is None
        and time.monotonic() < until
    ):
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert (folder / "checkpoint.safetensors").exists()
    run = pellucid.train(resume=folder, quiet=True)
    assert weights(run.path) == weights(whole.path)
