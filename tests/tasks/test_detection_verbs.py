"""What the verbs say and do where the data has boxes."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import pellucid
from pellucid import cli as command_line
from pellucid.cli.evaluate import _lines
from pellucid.core.errors import DataError, UsageError
from pellucid.data.images import read
from pellucid.engine.run.train import Run
from pellucid.inspection.feature_maps import look

TINY = "C8s2 B R C16s2 B R C16s2 B R C32s2 B R G L2"
QUICK: dict[str, Any] = {
    "model": TINY,
    "size": 64,
    "neck": 8,
    "batch": 8,
    "epochs": 1,
    "threads": 1,
}
Cli = Callable[..., tuple[str, str]]


def marked(root: Path, labels: Callable[[str, int], list[int]], parts: dict[str, int]) -> Path:
    """Pictures of 64×64 with a bright square for each label (0 or 1) of a part's n-th one,
    as YOLO writes them."""
    rng = np.random.default_rng(2)
    for part, count in parts.items():
        for number in range(count):
            picture, lines = rng.integers(100, 140, (64, 64, 3), dtype=np.uint8), []
            for at, label in enumerate(labels(part, number)):
                picture[20:40, 4 + 30 * at : 24 + 30 * at] = (240, 15)[label]
                lines.append(f"{label} {(14 + 30 * at) / 64} {30 / 64} {20 / 64} {20 / 64}\n")
            for folder in ("images", "labels"):
                (root / folder / part).mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(root / "images" / part / f"{part}{number:02}.png")
            (root / "labels" / part / f"{part}{number:02}.txt").write_text("".join(lines))
    (root / "data.yaml").write_text(
        "names: [bright, dark]\n" + "".join(f"{part}: images/{part}\n" for part in parts)
    )
    return root


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return marked(
        tmp_path_factory.mktemp("verbs") / "data",
        lambda part, n: [n % 2, 1 - n % 2],
        {"train": 12, "val": 6, "test": 6},
    )


@pytest.fixture(scope="module")
def run(data: Path) -> Run:
    before = os.getcwd()
    os.chdir(data.parent)
    try:
        found = pellucid.train(data, quiet=True, name="x", **QUICK)
        return Run(found.path.absolute(), found.summary)
    finally:
        os.chdir(before)


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Cli:
    monkeypatch.chdir(tmp_path)

    def said(*words: object) -> tuple[str, str]:
        monkeypatch.setattr(sys, "argv", ["pellucid", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            command_line.main()
        assert not stopped.value.code
        streams = capsys.readouterr()
        return streams.out, streams.err

    return said


def test_a_search_ends_with_the_scores_of_its_winner(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = pellucid.tune(data, {"lr": "log:1e-4..1e-2"}, trials=2, quiet=True, **QUICK).summary
    assert {"map", "map50", "recall"} <= found["test"].keys() and not {
        "objects",
        "per_class",
        "threshold",
    } & found["test"].keys()


@pytest.mark.parametrize("part", ["test", "val"])
def test_a_part_without_objects_is_a_finding(part: str, tmp_path: Path) -> None:
    parts = {"train": 8, "val": 4, "test": 4}
    source = marked(tmp_path / "data", lambda of, n: [] if of == part else [n % 2], parts)
    called = {"val": "validation"}.get(part, part)
    assert [
        f
        for f in pellucid.check(source, quiet=True).findings
        if f"no objects in the {called} part" in f
    ]


def test_a_class_without_training_images_is_a_finding(tmp_path: Path) -> None:
    source = marked(
        tmp_path / "data",
        lambda part, n: [0, 1] if (part, n) == ("test", 0) else [0],
        {"train": 8, "val": 4, "test": 4},
    )
    assert any(
        "class dark: 1 object in test, none in train" in finding
        for finding in pellucid.check(source, quiet=True).findings
    )


def test_inspect_builds_the_detector_of_the_data(data: Path) -> None:
    found = pellucid.inspect(TINY, data=data, quiet=True)
    said = found.text()
    assert f"what training builds here: yolo over {TINY}" in said and "an epoch of" in said
    assert found.parameters > pellucid.inspect(TINY, input="3x64x64", quiet=True).parameters
    with pytest.raises(UsageError, match="around a named network"):
        pellucid.inspect(TINY, data=data, classes=2, quiet=True)


def test_inspect_holds_a_detector_against_its_own_data(run: Run, data: Path) -> None:
    found = pellucid.inspect(run.path, data=data, quiet=True)
    assert {finding.level for finding in found.findings} == {
        "ok"
    } and "receptive field of the last map" not in found.text()


def test_inspect_refuses_data_with_other_classes(run: Run, tmp_path: Path) -> None:
    other = marked(tmp_path / "other", lambda part, n: [n % 2], {"train": 8})
    (other / "data.yaml").write_text("names: [bright, red]\ntrain: images\n")
    with pytest.raises(DataError, match='does not know the class "red"'):
        pellucid.inspect(run.path, data=other, quiet=True)


def test_a_detector_can_be_looked_into(run: Run, data: Path, tmp_path: Path) -> None:
    words = look(run.path, data / "images" / "test" / "test00.png", tmp_path / "sheet.png")
    assert (
        "8 kernels, 24 maps of 3 stages" in words
        and read(tmp_path / "sheet.png").shape[1] == 8 * 170 + 10
    )


def test_the_design_is_named_and_all_weights_are_loaded(run: Run, data: Path, cli: Cli) -> None:
    options = [f"--{key}={value}" for key, value in QUICK.items()]
    _, err = cli("train", data, "--weights", run.path, "--name", "y", *options)
    assert f"yolo over {TINY}: " in err and re.search(
        r"all \d+ tensors taken over; nothing starts fresh", err
    )
    assert f"detection with yolo over {TINY}" in Path("runs/detection/y/report.html").read_text(
        encoding="utf-8"
    )


def test_evaluate_says_what_is_undefined_and_what_does_nothing(
    run: Run, tmp_path: Path, cli: Cli
) -> None:
    empty = marked(tmp_path / "empty", lambda part, n: [0] * (n == 0), {"train": 1})
    out, err = cli("evaluate", run.path, empty, "--crops", "tiles")
    assert (
        "None" not in out
        and "dark    ap50 undefined" in out
        and "--crops tiles changes nothing" in err
    )


def test_a_figure_without_value_or_interval_is_said_in_words() -> None:
    nothing, bare = (
        {"value": None, "low": None, "high": None, "interval": None},
        {"value": 0.5, "low": None, "high": None, "interval": None},
    )
    said = _lines({"precision": nothing, "recall": bare, "objects": 0})
    assert [line.split() for line in said] == [
        ["precision", "undefined", "(there", "is", "nothing", "to", "measure", "it", "on)"],
        ["recall", "0.5000", "(no", "interval)"],
    ]


def test_ten_crops_are_refused_with_the_reason(run: Run) -> None:
    with pytest.raises(UsageError, match="ten is for whole pictures"):
        pellucid.evaluate(run.path, crops="ten", quiet=True)


@pytest.mark.parametrize("settings", [{}, {"loss": "focal"}])
def test_focal_gamma_is_no_setting_of_a_detector(data: Path, settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"focal_gamma: .* this is detection"):
        pellucid.check(data, focal_gamma=3.0, quiet=True, **settings)
