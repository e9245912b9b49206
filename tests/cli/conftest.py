"""What the tests of the command line share: a working folder, small data sets, the command line in
this process, one trained model."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import pellucid
from pellucid import cli as command_line

QUICK = {"model": "C4 R G L3", "epochs": 1, "batch": 16, "threads": 1, "baselines": False}


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        return [line for line in self.err.splitlines() if line.startswith("error: ")]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, where runs/ would be made."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def cli(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Outcome]:
    """Runs `pellucid WORDS` in this process."""

    def run(*words: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["pellucid", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            command_line.main()
        said = capsys.readouterr()
        return Outcome(int(stopped.value.code or 0), said.out, said.err)

    return run


@pytest.fixture
def quick() -> list[str]:
    """The options of a run of a second."""
    return [
        "--model",
        "C4 R G L3",
        "--epochs",
        "1",
        "--batch",
        "16",
        "--threads",
        "1",
        "--no-baselines",
    ]


def stripes(count: int, size: int = 12, seed: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """uint8 N×size×size×3 and N labels of 0 to 2: a bright row, a bright column, or neither,
    on noise."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    images = rng.integers(0, 90, (count, size, size, 3), dtype=np.uint8)
    images[labels == 0, size // 2] += 160
    images[labels == 1, :, size // 2] += 160
    return images, labels


def write_folders(
    root: Path, count: int = 60, names: tuple[str, ...] = ("across", "down", "none"), seed: int = 5
) -> Path:
    images, labels = stripes(count, seed=seed)
    for name in names:
        (root / name).mkdir(parents=True)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        Image.fromarray(image).save(root / names[label] / f"{number:03}.png")
    return root


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """60 pictures of 12×12 in three class folders."""
    return write_folders(tmp_path / "data")


@pytest.fixture
def make_folders() -> Callable[..., Path]:
    return write_folders


@dataclass(frozen=True)
class Trained:
    data: Path
    run: Path


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A finished run of three epochs on 90 pictures; to be read, not changed."""
    place = tmp_path_factory.mktemp("trained")
    data = write_folders(place / "data", 90)
    before = os.getcwd()
    os.chdir(place)
    try:
        run = pellucid.train(
            data, quiet=True, **(QUICK | {"model": "C8 B R P C8 R G L3", "epochs": 3})
        )
        return Trained(data, run.path.absolute())
    finally:
        os.chdir(before)
