"""Studies: what a file may say, and that runs are made once, resumed, told apart when they fail,
and never mixed with changed ones."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from pellucid.core.errors import DataError, UsageError
from pellucid.engine.run import settings as configuration
from pellucid.experiments import plan, running
from pellucid.experiments.study import lab as study

ROOT = Path(__file__).resolve().parents[2]
QUICK = """
title = "Two rates"
question = "Which?"
expected = "The larger."
data = "tiny.npz"
seeds = [0]
jobs = 1

[settings]
model = "C4 R G L3"
epochs = 1
batch = 256
optimizer = "sgd"

[arms.small]
lr = 0.001

[arms.large]
lr = 0.05
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with 60 pictures: what a run costs is its imports,
    which the built-in digits would make more of."""
    monkeypatch.chdir(tmp_path)
    classes = np.arange(60) % 3
    pictures = np.random.default_rng(0).integers(0, 60, (60, 8, 8)) + 90 * classes[:, None, None]
    np.savez("tiny.npz", images=pictures.astype(np.uint8), labels=classes)
    return tmp_path


def written(text: str, path: Path = Path("two.toml")) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def loaded(folder: Path, text: str) -> plan.Study:
    return plan.load(written(text, folder / "two.toml"))


def changed(old: str, new: str, text: str = QUICK) -> str:
    assert old in text
    return text.replace(old, new)


# --- the file -------------------------------------------------------------------------------------


def test_arms_get_the_common_settings_and_one_split(tmp_path: Path) -> None:
    study = loaded(tmp_path, changed("seeds = [0]", "seeds = [4, 7]"))
    runs = study.runs()
    assert [(run.arm, run.part) for run in runs] == [
        (arm, f"seed {seed}") for seed in (4, 7) for arm in ("small", "large")
    ]
    assert [run.settings["lr"] for run in runs] == [0.001, 0.05] * 2
    assert {run.settings["split_seed"] for run in runs} == {0} and {
        run.settings["threads"] for run in runs
    } == {1}
    assert len({run.stem for run in runs}) == 4


def test_an_arm_may_change_what_is_common(tmp_path: Path) -> None:
    study = loaded(tmp_path, QUICK + "threads = 2\nepochs = 3\n")
    assert [(run.settings["threads"], run.settings["epochs"]) for run in study.runs()] == [
        (1, 1),
        (2, 3),
    ]


def test_a_setting_may_be_written_as_its_option(tmp_path: Path) -> None:
    text = (
        changed("epochs = 1", "label-smoothing = 0.1")
        + "weight-decay = 0.2\n[vary]\nlr-low = [0.1]\nschedule = ['triangular']\n"
    )
    settings = (
        loaded(tmp_path, text.replace("lr = 0.05", "lr = 0.5").replace("lr = 0.001", "lr = 0.2"))
        .runs()[1]
        .settings
    )
    assert (
        settings["label_smoothing"] == 0.1
        and settings["weight_decay"] == 0.2
        and settings["lr_low"] == 0.1
    )


def test_lists_make_every_combination(tmp_path: Path) -> None:
    text = (
        QUICK.split("[arms.small]")[0]
        + '[vary]\nlr = [0.1, 1e-4]\nscale = ["raw", "unit", "standard"]\n'
    )
    study = loaded(tmp_path, text)
    assert len(study.arms) == 6 and "lr 0.0001, scale raw" in study.arms
    assert (
        study.arms["lr 0.1, scale unit"]["lr"] == 0.1
        and study.arms["lr 0.1, scale unit"]["scale"] == "unit"
    )
    crossed = loaded(tmp_path, text + '[arms.Adam]\noptimizer = "adam"\n[arms.plain]\n')
    assert (
        len(crossed.arms) == 12 and crossed.arms["Adam, lr 0.1, scale raw"]["optimizer"] == "adam"
    )


def test_folds_take_the_place_of_seeds(tmp_path: Path) -> None:
    study = loaded(tmp_path, changed("seeds = [0]", "seeds = [3, 4]\nfolds = 3"))
    assert [
        (run.part, run.settings["fold"], run.settings["seed"]) for run in study.runs()[::2]
    ] == [(f"fold {k}/3", f"{k}/3", 3) for k in (1, 2, 3)]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("title =", "titel =", 'unknown key "titel"; did you mean "title"?'),
        ("title =", "# title =", "title is missing"),
        ('title = "Two rates"\nquestion = "Which?"\n', "", "title and question are missing"),
        ("epochs = 1", "weight-decay = 0.1\nweight_decay = 0.2", "are one setting"),
        ("epochs = 1", "epoch = 1", 'arm "small": unknown setting "epoch"'),
        ("lr = 0.05", "lr = -1.0", 'arm "large": lr: -1.0 is out of range'),
        ("lr = 0.05", "seed = 3", "seed: is not a setting of an arm"),
        ("seeds = [0]", "seeds = []", "at least one seed"),
        ("seeds = [0]", "seeds = [1, 1]", "each only once"),
        ("seeds = [0]", "seeds = [0.5]", "seeds: 0.5 is not a whole number"),
        ("seeds = [0]", "seeds = 0\nfolds = 1", "folds: 1 is out of range"),
        ("jobs = 1", "jobs = 0", "jobs: 0 is not a whole number of at least 1"),
        ("jobs = 1", "budget_minutes = -3", "budget_minutes: -3"),
        ("jobs = 1", 'score = "acuracy"', 'score: unknown "acuracy"; did you mean "accuracy"?'),
        ("jobs = 1", 'against = "larg"', 'against: there is no arm "larg"; did you mean "large"?'),
        ("[arms.large]", '[arms."small "]', "differ only in signs"),
        ("[arms.large]", "[vary]", "vary: lr: 0.05 is not a list"),
        ("[arms.large]", "[arms.large", "not a study in TOML"),
    ],
)
def test_a_wrong_study_is_refused_in_one_line(
    tmp_path: Path, old: str, new: str, says: str
) -> None:
    with pytest.raises(UsageError) as refused:
        loaded(tmp_path, changed(old, new))
    assert (
        says in str(refused.value)
        and "two.toml" in str(refused.value)
        and "\n" not in str(refused.value)
    )


def test_nothing_varies_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing varies"):
        loaded(tmp_path, QUICK.split("[arms.small]")[0])


def test_an_unknown_study_is_refused() -> None:
    with pytest.raises(UsageError, match='did you mean "learning_rate"'):
        plan.find("learning_rates")
    with pytest.raises(UsageError, match="there is no such study"):
        plan.load(Path("nowhere.toml"))


@pytest.mark.parametrize("name", plan.names())
def test_shipped_studies_are_whole(name: str) -> None:
    shipped = plan.load(plan.find(name))
    assert shipped.against in shipped.arms and len(shipped.arms) > 1
    head = plan.find(name).read_text(encoding="utf-8").split("\n\n")[0]
    assert all(f"\n{key} = " in head for key in ("question", "expected", "seen"))
    row = f"| `{name}` | {shipped.question} | {shipped.expected} | {shipped.seen} |"
    assert row in (ROOT / "docs" / "lab.md").read_text(encoding="utf-8")


# --- running --------------------------------------------------------------------------------------


def test_a_study_runs_once_and_only_what_is_missing(
    here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = written(QUICK.split("[arms.large]")[0])
    assert [state.state for state in study(path, dry_run=True).states] == ["missing"] and not Path(
        "runs"
    ).exists()
    (alone,) = study(path).states
    assert alone.state == "done" and "1/1" in capfd.readouterr().err
    both = study(written(QUICK))
    assert both.states[0].folder == alone.folder and len(os.listdir("runs/classification")) == 2
    assert (both.folder / "index.html").exists() and both.folder == Path("runs/lab/two")
    assert json.loads((both.folder / "study.json").read_text()) == json.loads(
        json.dumps(both.to_json())
    )
    for state in both.states:
        assert state.folder is not None
        resolved = configuration.load(state.folder / "recipe.toml")[1]
        assert {key: resolved[key] for key in state.planned.settings} == dict(
            state.planned.settings
        )
        assert (
            state.score
            == json.loads((state.folder / "summary.json").read_text())["test"]["accuracy"]["value"]
        )
    with pytest.raises(UsageError, match="has changed since it ran large;"):
        study(written(changed("lr = 0.05", "lr = 0.06")))
    with pytest.raises(UsageError, match="has changed since it ran small, large;"):
        study(written(changed('data = "tiny.npz"', 'data = "."')))
    with pytest.raises(DataError, match="elsewhere: there is no such data"):
        study(path, "elsewhere")
    assert [state.state for state in study(path, name="other", dry_run=True).states] == [
        "missing"
    ] * 2
    assert study(path, "elsewhere/mine", dry_run=True).folder == Path("runs/lab/two-mine")


def test_divergence_is_a_result_and_failure_is_retried(here: Path) -> None:
    text = changed("lr = 0.05", "lr = 1e30\nmomentum = 0.0").replace(
        "[arms.small]\n", '[arms.small]\nmodel = "C4 R G L4"\n'
    )
    result = study(written(text))
    assert [state.state for state in result.states] == ["failed", "diverged"]
    assert "diverged in 1 of 1 runs" in result.text() and "ends in 4 classes" in result.text()
    log = result.folder / "large-0.log"
    before = log.read_text()
    mended = study(written(changed("L4", "L3", text)))
    assert [state.state for state in mended.states] == [
        "done",
        "diverged",
    ] and log.read_text() == before


def test_after_the_budget_no_run_begins(here: Path) -> None:
    result = study(written(QUICK), budget=1e-9)
    assert [state.state for state in result.states] == [
        "missing"
    ] * 2 and "missing in 1 of 1 runs" in result.text()


def test_a_run_that_another_process_has_is_left_to_it(here: Path) -> None:
    path = written(QUICK)
    study(path, budget=1e-9)
    with (
        open("runs/lab/two/small-0.log", "a") as first,
        open("runs/lab/two/large-0.log", "a") as second,
    ):
        for log in (first, second):
            fcntl.flock(log, fcntl.LOCK_EX)
        assert [state.state for state in study(path).states] == ["missing"] * 2
    assert not Path("runs/classification").exists()


def test_what_a_log_says(tmp_path: Path) -> None:
    planned = plan.Planned("a", "seed 0", {}, "a-0")
    run = tmp_path / "run"
    (tmp_path / "a-0.log").write_text(f"found\nrun folder: {run}\n")
    assert running.state(tmp_path, planned, "accuracy").state == "missing"
    run.mkdir()
    assert running.state(tmp_path, planned, "accuracy").folder == run
    for code, state, kept in (
        (6, "diverged", True),
        (7, "failed", True),
        (3, "failed", False),
        (130, "interrupted", True),
        (-9, "failed", True),
    ):
        (tmp_path / "a-0.log").write_text(
            f"run folder: {run}\nerror: so it was\n\nexit code: {code}\n"
        )
        said = running.state(tmp_path, planned, "accuracy")
        assert (said.state, said.folder is not None) == (state, kept)
    (tmp_path / "a-0.log").write_text(
        f"run folder: {run}\nerror: no\nexit code: 7\nresuming {run}\n"
    )
    assert running.state(tmp_path, planned, "accuracy").state == "interrupted"


def test_interrupted_runs_are_resumed_where_they_were(here: Path) -> None:
    path = written(changed("epochs = 1", 'epochs = 400\nschedule = "constant"'))
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "pellucid",
            "lab",
            str(path),
            "--seeds",
            "0,7",
            "--jobs",
            "1",
            "--budget",
            "5.5",
        ],
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler) and None,
        text=True,
    )
    log = Path("runs/lab/two/small-0.log")
    while process.poll() is None and not (log.exists() and "epoch   1/" in log.read_text()):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    said = process.communicate()[1]
    assert process.returncode == 130 and said.endswith(
        "go on with: pellucid lab two.toml --seeds 0,7 --budget 5.5 --jobs 1\n"
    )
    left = study(path, dry_run=True).states
    assert [state.state for state in left] == ["interrupted", "missing"] and left[
        0
    ].folder is not None
    rows = (left[0].folder / "metrics.csv").read_text().splitlines()
    child = running.start(Path("runs/lab/two"), left[0].planned, "accuracy", "two")
    assert (
        child is not None
        and running.start(Path("runs/lab/two"), left[0].planned, "accuracy", "two") is None
    )
    while child.process.poll() is None and "epoch" not in log.read_text().split("resuming")[-1]:
        time.sleep(0.05)
    running.interrupt([child])
    assert (left[0].folder / "metrics.csv").read_text().splitlines()[: len(rows)] == rows
    assert len(os.listdir("runs/classification")) == 1


# --- other tasks ----------------------------------------------------------------------------------

MASKS = (
    changed('data = "tiny.npz"', 'data = "discs"')
    .split("[settings]")[0]
    .replace("seeds = [0]", "seeds = [0, 1]")
)
MASKS += """
score = "dice"
[settings]
model = "unet"
width = 2
patch = 32
epochs = 1
batch = 4

[arms.nearest]
upsampling = "nearest"

[arms.transposed]
upsampling = "transposed"
"""


@pytest.fixture
def discs(here: Path) -> Path:
    from pellucid.data import images

    rng, (y, x) = np.random.default_rng(0), np.mgrid[:48, :48]
    for number in range(10):
        mask = (
            (x - rng.integers(12, 36)) ** 2 + (y - rng.integers(12, 36)) ** 2
            < rng.integers(40, 120)
        ) * np.uint8(255)
        picture = np.clip(70 + 0.4 * mask + rng.normal(0, 12, mask.shape), 0, 255).astype(np.uint8)
        for name, each in (("images", picture), ("masks", mask)):
            images.write(here / "discs" / name / f"{number}.png", each[..., None])
    return here


def test_a_study_of_masks_concludes(discs: Path) -> None:
    result = study(written(MASKS))
    assert [state.state for state in result.states] == [
        "done"
    ] * 4 and result.comparison is not None
    (difference,) = result.comparison.differences
    scores = {
        arm: [state.score or 0.0 for state in result.of(arm)] for arm in ("nearest", "transposed")
    }
    assert difference.kind == "seeds" and difference.mean == pytest.approx(
        np.subtract(scores["transposed"], scores["nearest"]).mean()
    )
    page = (result.folder / "index.html").read_text()
    assert difference.sentence in page and "Validation Dice" in page and "Dice" in result.text()


@pytest.mark.parametrize(
    ("score", "says"),
    [
        (
            "accuracy",
            'arm "nearest": score: segmentation has no "accuracy"; known: dice, iou, rand',
        ),
        ("rand", 'objects are compared only where score = "rand" stands in \\[settings\\] too'),
    ],
)
def test_an_unknown_score_is_refused_before_training(discs: Path, score: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        study(written(MASKS.replace('"dice"', f'"{score}"')))
    assert not Path("runs").exists()


# --- the command ----------------------------------------------------------------------------------


def test_the_list_names_every_study() -> None:
    from typer.testing import CliRunner

    from pellucid.cli import app

    said = CliRunner().invoke(app, ["lab", "list"]).stdout
    assert [line.split()[0] for line in said.splitlines()] == plan.names()


@pytest.mark.parametrize(
    "words",
    [
        ["list", "--name", "x"],
        ["list", "digits"],
        ["figures", "--out", "f", "--jobs", "2"],
        ["depth_and_skips", "--out", "f"],
    ],
)
def test_an_option_that_would_do_nothing_is_refused(words: list[str], here: Path) -> None:
    from typer.testing import CliRunner

    from pellucid.cli import app

    answer = CliRunner().invoke(app, ["lab", *words])
    assert (
        isinstance(answer.exception, UsageError)
        and "does nothing here" in str(answer.exception)
        and os.listdir() == ["tiny.npz"]
    )


def test_what_every_run_gets_is_a_recipe() -> None:
    configuration.check(plan.COMMON)
