"""The five verbs as they are meant to be used: as commands and as functions,
and what they leave behind."""

from __future__ import annotations

import csv
import json
import tomllib
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import pellucid
from pellucid.engine.run.settings import flat, options_of
from pellucid.tasks import TASKS
from pellucid.tasks.settings import SharedSettings, own_fields

Cli = Callable[..., Any]
SHARED = options_of(SharedSettings)
QUICK = {"model": "C4 R G L3", "epochs": 2, "batch": 16, "threads": 1, "baselines": False}


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def only_json(said: Any, code: int = 0) -> Any:
    """stdout is one JSON value and nothing else; strict, without NaN."""
    assert said.code == code, said.err
    assert said.out.count("\n") == 1

    def refuse(name: str) -> None:
        raise AssertionError(name)

    return json.loads(said.out, parse_constant=refuse)


def test_help_names_the_verbs_and_the_version(cli: Cli) -> None:
    said = cli("--help")
    assert said.code == 0 and all(
        verb in said.out
        for verb in ("check", "train", "evaluate", "predict", "inspect", "Exit codes")
    )
    assert cli("--version").out.strip() == pellucid.__version__
    options = cli("train", "--help").out
    for task in TASKS.values():
        assert all(f"--{name.replace('_', '-')} " in options for name in task.settings.model_fields)


# --- check ----------------------------------------------------------------------------------------


def test_check(folders: Path, cli: Cli, here: Path) -> None:
    said = cli("check", folders)
    assert (
        said.code == 0
        and "found 3 classes as folders, 60 pictures" in said.out
        and "no findings" in said.out
    )
    found = only_json(cli("check", folders, "--json"))
    assert found["findings"] == [] and found == json.loads(
        json.dumps(asdict(pellucid.check(folders, quiet=True)))
    )
    assert sum(found["facts"]["counts"]["train"].values()) == 36
    (folders / "down" / "004.png").write_bytes(b"")
    assert "004.png" in only_json(cli("check", folders, "--json"), 1)["findings"][0]
    assert list(here.iterdir()) == []


def test_what_check_says_is_what_train_does(folders: Path, here: Path) -> None:
    checked = pellucid.check(folders, quiet=True, seed=3)
    run = pellucid.train(folders, quiet=True, seed=3, **QUICK)
    facts = json.loads((run.path / "data.json").read_text())
    assert facts == checked.facts
    recipe = tomllib.loads((run.path / "recipe.toml").read_text())
    assert recipe["size"] == list(checked.settings["size"])
    assert recipe["classification"]["mirror"] == checked.settings["mirror"]


# --- train ----------------------------------------------------------------------------------------

DOCUMENTED = {
    "recipe.toml",
    "command.txt",
    "environment.json",
    "data.json",
    "splits.csv",
    "anatomy.json",
    "metrics.csv",
    "predictions.csv",
}
DOCUMENTED |= {
    "summary.json",
    "evidence.safetensors",
    "report.html",
    "model/model.json",
    "model/weights.safetensors",
    "samples/batch.png",
}


def test_a_run_folder_holds_what_is_documented(trained: Any) -> None:
    files = {
        str(path.relative_to(trained.run)) for path in trained.run.rglob("*") if path.is_file()
    }
    assert {name for name in files if not name.startswith("plots/")} - {
        "samples/errors.png"
    } == DOCUMENTED
    summary = json.loads((trained.run / "summary.json").read_text())
    for part in ("test", "validation"):
        accuracy = summary[part]["accuracy"]
        assert 0 <= accuracy["low"] <= accuracy["value"] <= accuracy["high"] <= 1
    assert summary["baselines"] == {} and summary["epochs_run"] == 3
    rows = table(trained.run / "predictions.csv")
    assert (
        np.mean([row["truth"] == row["answer"] for row in rows])
        == summary["test"]["accuracy"]["value"]
    )
    parts = {row["source"]: row["part"] for row in table(trained.run / "splits.csv")}
    assert [parts[row["source"]] for row in rows] == ["test"] * 18
    assert len(table(trained.run / "metrics.csv")) == 3


def test_train_says_its_summary_as_json(
    folders: Path, cli: Cli, quick: list[str], here: Path
) -> None:
    said = only_json(cli("train", folders, *quick, "--json"))
    run = here / said.pop("run")
    assert said == json.loads((run / "summary.json").read_text())
    assert set(said) >= {"test", "validation", "baselines"}


def test_baselines_are_scored_on_the_same_split(folders: Path, here: Path) -> None:
    run = pellucid.train(folders, quiet=True, **(QUICK | {"baselines": True}))
    rivals = run.summary["baselines"]
    assert "majority class" in rivals and all(
        {"value", "low", "high"} <= set(rival["test"]["accuracy"]) for rival in rivals.values()
    )
    assert run.summary["against_best_baseline"]["baseline"] in rivals
    assert rivals["majority class"]["test"]["accuracy"]["value"] == pytest.approx(1 / 3, abs=0.1)


OTHER = {
    "model": "C5 R G L3",
    "size": "14x10",
    "epochs": "2",
    "batch": "9",
    "optimizer": "nesterov",
    "lr": "0.011",
    "momentum": "0.8",
    "weight_decay": "0.003",
    "schedule": "triangular2",
    "warmup": "0.5",
    "clip": "2.5",
    "label_smoothing": "0.05",
    "patience": "7",
    "mirror": "0.25",
    "crop": "0.15",
    "zoom": "0.12",
    "rotate": "3",
    "shift": "0.02",
    "shear": "4",
    "colour": "0.3",
    "elastic": "0.01",
    "thin_plate": "0.03",
    "pca_colour": "0.1",
    "channel_shift": "0.04",
    "erase": "0.35",
    "mixup": "0.2",
    "cutmix": "0.9",
    "augment": "strong",
    "loss": "focal",
    "focal_gamma": "1.5",
    "imbalance": "oversample",
    "score": "accuracy",
    "cycle": "1.5",
    "lr_low": "0.001",
    "ema": "0.9",
    "scale": "unit",
    "init": "he",
    "freeze": "0",
    "norms": "learned",
    "stage_lr": "0.7",
    "train_pictures": "30",
    "fold": "2/3",
    "split_seed": "5",
    "seed": "11",
    "device": "cpu",
    "precision": "bfloat16",
    "layout": "contiguous",
    "threads": "1",
    "task": "classification",
}


def test_options_reach_the_recipe_which_repeats_the_run(
    folders: Path, cli: Cli, here: Path
) -> None:
    words = [word for key, value in OTHER.items() for word in (f"--{key.replace('_', '-')}", value)]
    done = cli(
        "train", folders, *words, "--no-cache", "--no-baselines", "--skip-bad", "--name", "first"
    )
    assert done.code == 0, done.err
    first = here / "runs" / "classification" / "first"
    written = tomllib.loads((first / "recipe.toml").read_text())
    ours = options_of(TASKS["classification"].settings)
    expected = {
        name: text if ours[name].kind == "str" else float(text)
        for name, text in OTHER.items()
        if name != "size"
    }
    # A setting of data with parts of its own stays as it is.
    expected |= {"split": "own"}
    assert flat(written) == expected | {
        "size": [14, 10],
        "cache": False,
        "baselines": False,
        "skip_bad": True,
        "data": str(folders),
    }
    assert set(written["classification"]) == set(own_fields(TASKS["classification"].settings))
    # Weights to begin with are a file of their own: tests/engine/test_pretrained.py.
    assert set(flat(written)) - {"data"} == set(ours) - {"weights", "validation", "test"}
    assert (first / "command.txt").read_text().startswith("pellucid train ")
    again = cli("train", "--recipe", first / "recipe.toml", "--name", "again")
    assert again.code == 0, again.err
    second = here / "runs" / "classification" / "again"
    assert (second / "recipe.toml").read_bytes() == (first / "recipe.toml").read_bytes()
    assert (second / "model" / "weights.safetensors").read_bytes() == (
        first / "model" / "weights.safetensors"
    ).read_bytes()
    # What is given beside a recipe comes first.
    assert (
        cli(
            "train", "--recipe", first / "recipe.toml", "--name", "other", "--seed", 12, "--clip", 0
        ).code
        == 0
    )
    other = tomllib.loads((here / "runs" / "classification" / "other" / "recipe.toml").read_text())
    assert other == written | {"seed": 12, "clip": 0.0}


@pytest.mark.parametrize(
    "setting",
    [
        *({"optimizer": o} for o in SHARED["optimizer"].choices),
        *({"schedule": s} for s in SHARED["schedule"].choices),
    ],
    ids=str,
)
def test_each_optimizer_and_schedule(setting: dict[str, str], folders: Path, here: Path) -> None:
    run = pellucid.train(folders, quiet=True, **(QUICK | setting))
    losses = [float(row["train_total"]) for row in table(run.path / "metrics.csv")]
    assert len(losses) == 2 and np.isfinite(losses).all()


@pytest.mark.parametrize(
    "setting",
    [
        *({"precision": p} for p in SHARED["precision"].choices),
        *({"layout": c} for c in SHARED["layout"].choices),
    ],
    ids=str,
)
def test_a_run_is_scored_the_same_whatever_it_was_trained_with(
    setting: dict[str, str], folders: Path, here: Path, cli: Cli
) -> None:
    run = pellucid.train(folders, quiet=True, **(QUICK | setting))
    assert pellucid.evaluate(run.path, quiet=True).evidence == run.summary["test"]
    answers = {row["source"]: row for row in table(run.path / "predictions.csv")}
    for answer in pellucid.predict(
        run.path, [folders / source for source in answers], quiet=True
    ).answers:
        row = answers[str(Path(answer.source).relative_to(folders))]
        assert [
            answer.to_json()["probabilities"][name] for name in answer.classes
        ] == pytest.approx([float(row[f"p_{name}"]) for name in answer.classes], abs=1e-4)


def test_warmup_and_clip(folders: Path, here: Path) -> None:
    """Two epochs of three steps, of which the first three rise to the rate."""
    run = pellucid.train(
        folders,
        quiet=True,
        **(
            QUICK
            | {
                "warmup": 1.0,
                "schedule": "constant",
                "lr": 0.01,
                "clip": 1e-9,
                "weight_decay": 0.0,
                "optimizer": "sgd",
            }
        ),
    )
    rows = table(run.path / "metrics.csv")
    assert [float(row["lr"]) for row in rows] == pytest.approx([0.01, 0.01])
    free = pellucid.train(
        folders, quiet=True, **(QUICK | {"schedule": "constant", "lr": 0.01, "optimizer": "sgd"})
    )
    moved = [float(table(r.path / "metrics.csv")[1]["validation_loss"]) for r in (run, free)]
    still = float(rows[0]["validation_loss"])
    assert moved[0] == pytest.approx(still, abs=1e-6) and moved[1] != pytest.approx(still, abs=1e-6)


def test_patience_stops_early(folders: Path, cli: Cli, here: Path, quick: list[str]) -> None:
    """Weights that do not move get no better."""
    said = cli("train", folders, *quick, "--epochs", 9, "--lr", 0, "--patience", 2, "--json")
    summary = only_json(said)
    assert "stopping early" in said.err
    assert summary["epochs_run"] < 9
    # A run that stopped early is finished: there is nothing to resume.
    assert "finished" in cli("train", "--resume", summary["run"]).err


def test_two_runs_never_overwrite_each_other(folders: Path, here: Path) -> None:
    one = pellucid.train(folders, quiet=True, **QUICK)
    before = {path: path.read_bytes() for path in one.path.rglob("*") if path.is_file()}
    two, named = (
        pellucid.train(folders, quiet=True, **QUICK),
        pellucid.train(folders, quiet=True, name="mine", **QUICK),
    )
    assert [run.path.name for run in (one, two, named)] == ["data", "data-2", "mine"]
    assert {path: path.read_bytes() for path in one.path.rglob("*") if path.is_file()} == before


# --- evaluate -------------------------------------------------------------------------------------


def test_evaluate_reproduces_the_summary(trained: Any, cli: Cli) -> None:
    summary = json.loads((trained.run / "summary.json").read_text())
    result = pellucid.evaluate(trained.run, quiet=True)
    assert (result.part, result.pictures, result.notes) == ("test", 18, [])
    assert json.loads(json.dumps(result.evidence)) == summary["test"]
    assert only_json(cli("evaluate", trained.run, "--json"))["evidence"] == summary["test"]
    text = cli("evaluate", trained.run)
    assert (
        text.code == 0
        and "18 pictures (the test part)" in text.out
        and f"{summary['test']['accuracy']['value']:.4f}" in text.out
    )


def test_costs_of_answers(trained: Any, cli: Cli, tmp_path: Path) -> None:
    costs = np.array([[0, 1, 9], [2, 0, 3], [4, 5, 0]])
    rows = table(trained.run / "predictions.csv")
    names = ["across", "down", "none"]
    expected = np.mean(
        [costs[names.index(row["truth"]), names.index(row["answer"])] for row in rows]
    )
    plain, named = tmp_path / "plain.csv", tmp_path / "named.csv"
    plain.write_text("\n".join(",".join(map(str, row)) for row in costs))
    body = "\n".join(
        ",".join([name, *map(str, row)]) for name, row in zip(names, costs, strict=True)
    )
    named.write_text(f"truth,{','.join(names)}\n{body}\n")
    for path in (plain, named):
        evidence = only_json(cli("evaluate", trained.run, "--costs", path, "--json"))["evidence"]
        figures = [
            score["value"]
            for name, score in evidence.items()
            if "cost" in name and isinstance(score, dict) and "value" in score
        ]
        assert any(figure == pytest.approx(expected) for figure in figures), evidence.keys()


def test_a_model_alone_is_enough(trained: Any, make_folders: Cli, tmp_path: Path, cli: Cli) -> None:
    import shutil

    alone = shutil.copytree(trained.run / "model", tmp_path / "alone")
    fresh = make_folders(tmp_path / "fresh", 30, seed=99)
    assert pellucid.evaluate(alone, fresh, quiet=True) == pellucid.evaluate(
        trained.run, fresh, quiet=True
    )
    assert pellucid.evaluate(alone, fresh, quiet=True).pictures == 30
    assert pellucid.inspect(alone).parameters == pellucid.inspect(trained.run).parameters


# --- predict --------------------------------------------------------------------------------------


def test_predict_says_what_the_run_said(trained: Any, cli: Cli, here: Path) -> None:
    rows = table(trained.run / "predictions.csv")
    wanted = [trained.data / row["source"] for row in rows]
    answers = only_json(cli("predict", trained.run, *wanted, "--json"))
    for row, answer, path in zip(rows, answers, wanted, strict=True):
        assert (answer["source"], answer["label"], answer["size"]) == (
            str(path),
            row["answer"],
            [12, 12],
        )
        for name, p in answer["probabilities"].items():
            assert p == pytest.approx(float(row[f"p_{name}"]), abs=1e-4)


def test_predict_a_file_a_folder_and_a_pattern(
    trained: Any, cli: Cli, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, folder = trained.data / "down" / "001.png", trained.data / "down"
    one = cli("predict", trained.run, file)
    assert one.code == 0 and one.out.startswith(f"{file}: ") and one.out.endswith("%\n")
    sources = [
        answer.source for answer in pellucid.predict(trained.run, folder, quiet=True).answers
    ]
    assert sources == [str(path) for path in sorted(folder.iterdir())] and len(sources) == 30
    assert [
        a.source for a in pellucid.predict(trained.run, f"{folder}/*.png", quiet=True).answers
    ] == sources
    # Named twice, asked once; relative names stay as they were given.
    monkeypatch.chdir(trained.data)
    twice = pellucid.predict(
        trained.run, ["down/001.png", "down", "d*/001.png", "**/004.png"], quiet=True
    ).answers
    assert [answer.source for answer in twice][:2] == ["down/001.png", "down/004.png"] and len(
        twice
    ) == 30


def test_predict_writes_a_table_and_pictures(trained: Any, cli: Cli, here: Path) -> None:
    said = cli(
        "predict",
        trained.run,
        trained.data,
        "--csv",
        "tables/answers.csv",
        "--out",
        "drawn",
        "--json",
    )
    answers = only_json(said)
    rows = table(here / "tables" / "answers.csv")
    assert [(row["source"], row["answer"]) for row in rows] == [
        (answer["source"], answer["label"]) for answer in answers
    ]
    assert all(
        float(row["confidence"]) == pytest.approx(answer["confidence"], abs=1e-6)
        for row, answer in zip(rows, answers, strict=True)
    )
    drawn = {
        str(path.relative_to(here / "drawn"))
        for path in (here / "drawn").rglob("*")
        if path.is_file()
    }
    assert drawn == {str(path.relative_to(trained.data)) for path in trained.data.rglob("*.png")}
    picture = Image.open(here / "drawn" / "down" / "001.png")
    assert picture.mode == "RGB" and picture.height > 12


# --- inspect --------------------------------------------------------------------------------------


def test_inspect_a_name_a_notation_and_a_run(trained: Any, cli: Cli, here: Path) -> None:
    assert (
        only_json(cli("inspect", "resnet18", "--input", "3x224x224", "--classes", 1000, "--json"))[
            "total"
        ]["parameters"]
        == 11_689_512
    )
    small = only_json(cli("inspect", "C4 R G L3", "--input", "1x12x12", "--json"))
    # 4 maps of 3×3 weights and a bias; a dense layer of 4×3 weights and 3 biases.
    assert small["total"]["parameters"] == 4 * (9 + 1) + 3 * (4 + 1)
    assert small == json.loads(json.dumps(pellucid.inspect("C4 R G L3", input="1x12x12").to_json()))
    run = only_json(cli("inspect", trained.run, "--json"))
    assert run == json.loads((trained.run / "anatomy.json").read_text())
    assert (
        run["total"]["parameters"]
        == json.loads((trained.run / "summary.json").read_text())["parameters"]
    )
    text = cli("inspect", "lenet5", "--input", "1x32x32")
    assert (
        text.code == 0 and f"{pellucid.inspect('lenet5', input='1x32x32').parameters:,}" in text.out
    )
    assert list(here.iterdir()) == []


def test_the_built_in_digits(here: Path, cli: Cli) -> None:
    done = only_json(
        cli(
            "train",
            "digits",
            "--epochs",
            1,
            "--threads",
            1,
            "--model",
            "softmax_regression",
            "--no-baselines",
            "--json",
        )
    )
    assert done["test"]["accuracy"]["value"] > 0.5
    recipe = tomllib.loads((here / done["run"] / "recipe.toml").read_text())
    assert recipe["data"] == "digits"
    assert only_json(cli("evaluate", done["run"], "--json"))["evidence"] == done["test"]
