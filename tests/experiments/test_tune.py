"""A search from the command to the folder it leaves: what is tried, stopped, counted, refused,
and taken up again."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pellucid
from pellucid import cli as command_line
from pellucid.core.errors import ModelError, NonFiniteLoss, UsageError
from pellucid.engine.run.train import Interrupted, Run
from pellucid.experiments import lr_range, tune

QUICK: dict[str, Any] = {
    "model": "C4 R G L10",
    "threads": 1,
    "baselines": False,
    "train_pictures": 200,
    "quiet": True,
}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Trials whose score after epoch e of 9 is mixup · e / 9, without a network; what was tried.
    The winner is not trained."""
    tried: list[float] = []

    def epochs(prepared: Any, where: Any) -> Iterator[dict[str, float]]:
        tried.append(prepared.settings.mixup)
        for epoch in range(1, prepared.settings.epochs + 1):
            yield {"epoch": epoch, "validation_score": prepared.settings.mixup * epoch / 9}

    def trained(data: Any, **settings: Any) -> Any:
        return Run(Path("runs/classification/none"), {"test": None})

    monkeypatch.setattr(tune, "epochs", epochs)
    monkeypatch.setattr(tune, "train", trained)
    return tried


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "trials.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_search_trains_and_tests_its_winner_once() -> None:
    found = pellucid.tune(
        "digits", {"lr": "log:1e-5..1e-2", "batch": [16, 32]}, trials=4, epochs=2, **QUICK
    )
    assert (
        found.path == Path("runs/tune/digits")
        and json.loads((found.path / "tune.json").read_text()) == found.summary
    )
    table = rows(found.path)
    assert [int(row["trial"]) for row in table] == list(range(4)) and {
        row["outcome"] for row in table
    } <= {"finished", "stopped"}
    ends = [row for row in table if row["outcome"] == "finished"]
    best = found.summary["best"]
    assert best["validation_score"] == max(float(row["score"]) for row in ends)
    assert all(int(row["epochs"]) == 2 for row in ends) and found.summary["epochs"]["spent"] == sum(
        int(row["epochs"]) for row in table
    )
    # The winner's run is the trial again, with the same split, and the only one that was tested.
    assert [str(run) for run in Path("runs/classification").iterdir()] == [found.summary["run"]]
    with (Path(found.summary["run"]) / "metrics.csv").open() as file:
        scores = [float(row["validation_score"]) for row in csv.DictReader(file)]
    assert max(scores) == best["validation_score"]
    assert found.summary["test"]["accuracy"]["low"] <= found.summary["test"]["accuracy"]["value"]
    page = (found.path / "index.html").read_text()
    assert (
        page.count("<svg") >= 3
        and "<script" not in page
        and "http://" not in page.replace("http://www.w3.org", "")
    )


def test_the_same_command_does_nothing_again(scripted: list[float]) -> None:
    ask: dict[str, Any] = {"pruner": "none", "epochs": 9, **QUICK}
    first = tune.tune("digits", {"mixup": "0..1"}, trials=4, **ask)
    assert (
        len(scripted) == 4
        and tune.tune("digits", {"mixup": "0..1"}, trials=4, **ask) == first
        and len(scripted) == 4
    )
    more = tune.tune("digits", {"mixup": "0..1"}, trials=6, **ask)
    assert len(scripted) == 6 and [row["mixup"] for row in rows(more.path)[:4]] == [
        str(value) for value in scripted[:4]
    ]
    for changed in ({"mixup": "0..0.5"}, {"mixup": "0..1", "erase": "0..1"}):
        with pytest.raises(
            UsageError, match=r"the study digits has search .*choose another --name"
        ):
            tune.tune("digits", changed, trials=6, **ask)
    with pytest.raises(UsageError, match="has settings"):
        tune.tune("digits", {"mixup": "0..1"}, trials=6, **ask | {"epochs": 8})
    assert tune.tune("digits", {"mixup": "0..0.5"}, trials=2, name="other", **ask).path == Path(
        "runs/tune/other"
    )


def test_a_trial_is_its_number_and_the_seed(scripted: list[float]) -> None:
    for name in ("a", "b"):
        tune.tune(
            "digits",
            {"mixup": "0..1"},
            sampler="random",
            pruner="none",
            trials=3,
            name=name,
            epochs=9,
            **QUICK,
        )
    tune.tune(
        "digits",
        {"mixup": "0..1"},
        sampler="random",
        pruner="none",
        trials=3,
        name="c",
        epochs=9,
        seed=1,
        **QUICK,
    )
    assert scripted[:3] == scripted[3:6] and len(set(scripted)) == 6


def test_a_grid_tries_every_point_once(scripted: list[float]) -> None:
    ask: dict[str, Any] = {"sampler": "grid", "epochs": 9, **QUICK}
    found = tune.tune("digits", {"mixup": "0.2..0.8:4"}, **ask)
    assert scripted == [0.2, 0.4, 0.6, 0.8] and found.summary["best"]["settings"] == {"mixup": 0.8}
    with pytest.raises(UsageError, match="4 points"):
        tune.tune("digits", {"mixup": "0.2..0.8:4"}, trials=3, **ask)
    with pytest.raises(UsageError, match=r"0\.2\.\.0\.8:5"):
        tune.tune("digits", {"mixup": "0.2..0.8"}, **ask)


def test_asha_stops_by_thirds_at_1_3_9(scripted: list[float]) -> None:
    """Falling scores: after the first trial each is worse than a third of those before it, as soon
    as three have reached the rung."""
    falling = [round(0.9 - 0.05 * k, 2) for k in range(9)]
    found = tune.tune("digits", {"mixup": falling}, sampler="grid", epochs=9, **QUICK)
    spent = [int(row["epochs"]) for row in rows(found.path)]
    assert spent == [9] + [1] * 8 and found.summary["outcomes"] == {"finished": 1, "stopped": 8}
    rising = tune.tune(
        "digits", {"mixup": falling[::-1]}, sampler="grid", epochs=9, name="rising", **QUICK
    )
    assert [int(row["epochs"]) for row in rows(rising.path)] == [9] * 9
    none = tune.tune(
        "digits", {"mixup": falling}, sampler="grid", pruner="none", epochs=9, name="none", **QUICK
    )
    assert none.summary["epochs"]["spent"] == 81
    hyper = tune.tune(
        "digits",
        {"mixup": falling},
        sampler="grid",
        pruner="hyperband",
        epochs=9,
        name="hyper",
        **QUICK,
    )
    assert hyper.summary["epochs"]["spent"] <= 81 and hyper.summary["best"]["settings"] == {
        "mixup": 0.9
    }


def test_what_diverges_or_cannot_be_built_is_counted(
    monkeypatch: pytest.MonkeyPatch, scripted: list[float]
) -> None:
    honest = tune.epochs

    def epochs(prepared: Any, where: Any) -> Iterator[dict[str, float]]:
        if prepared.settings.mixup == 0.4:
            raise NonFiniteLoss("the loss became nan")
        if prepared.settings.mixup == 0.6:
            raise UsageError("mixup: does not go with this")
        yield from honest(prepared, where)

    monkeypatch.setattr(tune, "epochs", epochs)
    found = tune.tune(
        "digits", {"mixup": [0.2, 0.4, 0.6, 0.8]}, sampler="grid", pruner="none", epochs=9, **QUICK
    )
    assert [row["outcome"].partition(":")[0] for row in rows(found.path)] == [
        "finished",
        "diverged",
        "failed",
        "finished",
    ]
    assert float(rows(found.path)[1]["score"]) == 0 and rows(found.path)[2]["score"] == ""
    with pytest.raises(ModelError, match=r"no trial came to its end.*does not go"):
        tune.tune(
            "digits",
            {"mixup": [0.6, 0.4]},
            sampler="grid",
            pruner="none",
            epochs=9,
            name="bad",
            **QUICK,
        )


def test_ctrl_c_ends_cleanly_and_the_trial_is_not_lost(
    monkeypatch: pytest.MonkeyPatch, scripted: list[float]
) -> None:
    honest, calls = tune.epochs, iter(range(100))

    def epochs(prepared: Any, where: Any) -> Iterator[dict[str, float]]:
        for row in honest(prepared, where):
            yield row
            if next(calls) == 12:
                raise KeyboardInterrupt

    monkeypatch.setattr(tune, "epochs", epochs)
    ask: dict[str, Any] = {"sampler": "random", "pruner": "none", "trials": 4, "epochs": 9, **QUICK}
    with pytest.raises(Interrupted, match="1 of 4 trials"):
        tune.tune("digits", {"mixup": "0..1"}, **ask)
    found = tune.tune("digits", {"mixup": "0..1"}, **ask)
    assert scripted[1] == scripted[2] and len(scripted) == 5 and len(rows(found.path)) == 4


def test_importance_finds_the_setting_that_matters(scripted: list[float]) -> None:
    found = tune.tune(
        "digits", {"mixup": "0..1", "erase": "0..1"}, sampler="random", trials=24, epochs=9, **QUICK
    )
    shares = found.summary["importance"]["shares"]
    assert (
        found.summary["importance"]["after_epoch"] == 1
        and shares["mixup"] > 0.8
        and abs(sum(shares.values()) - 1) < 1e-6
    )


def test_given_settings_override_the_file(scripted: list[float]) -> None:
    Path("space.toml").write_text(
        'data = "digits"\nbatch = 16\nlr = 0.1\n[search]\nmixup = "0..1"\nerase = [0.1, '
        '0.2]\nweight-decay = "0..1"\n'
    )
    search: dict[str, Any] = {"mixup": "0..0.5", "lr": [0.1, 0.2]}
    found = tune.tune(
        None,
        search,
        recipe="space.toml",
        sampler="random",
        trials=1,
        epochs=1,
        weight_decay=0.5,
        **QUICK,
    )
    assert found.summary["search"] == {"erase": "0.1,0.2", "mixup": "0..0.5", "lr": "0.1,0.2"}
    assert (
        found.summary["settings"]["weight_decay"] == 0.5
        and found.summary["settings"]["batch"] == 16
    )


def test_a_name_is_one_folder_under_runs(scripted: list[float], here: Path) -> None:
    ask: dict[str, Any] = {"sampler": "random", "trials": 1, "epochs": 1, **QUICK}
    for name, place in (("../../tmp/evil", "tmp-evil"), ("my rates", "my-rates")):
        found = tune.tune("digits", {"mixup": "0..1"}, name=name, **ask)
        assert found.path == Path("runs/tune") / place and found.summary["study"] == place
    assert [path.name for path in here.iterdir()] == ["runs"]


def test_an_interrupted_winner_is_resumed(monkeypatch: pytest.MonkeyPatch) -> None:
    ask: dict[str, Any] = {"sampler": "random", "pruner": "none", "trials": 1, "epochs": 3, **QUICK}
    close = pellucid.engine.run.train.close_epoch

    def stopped(*arguments: Any) -> None:
        close(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pellucid.engine.run.train, "close_epoch", stopped)
        with pytest.raises(Interrupted, match="1 of 1 trials done"):
            tune.tune("digits", {"lr": "1e-3..1e-2"}, name="a b", **ask)
    (begun,) = Path("runs/classification").iterdir()
    # Another run of that name is not mistaken for it, nor is one of another study.
    (other := begun.with_name("a-b-2")).mkdir()
    (other / "recipe.toml").write_text(
        (begun / "recipe.toml").read_text().replace("seed = 0", "seed = 1")
    )
    (other / "data.json").write_text((begun / "data.json").read_text())
    begun = begun.rename(begun.with_name("a-b-3"))
    found = tune.tune("digits", {"lr": "1e-3..1e-2"}, name="a b", **ask)
    assert (
        found.summary["run"] == str(begun)
        and len((begun / "metrics.csv").read_text().splitlines()) == 4
    )
    assert (
        sorted(path.name for path in begun.parent.iterdir()) == ["a-b-2", "a-b-3"]
        and not (other / "summary.json").exists()
    )


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        ({"search": {}}, "nothing to search"),
        ({"search": {"lr": "1e-3..1"}, "lr": 0.1}, "lr is both searched and given"),
        ({"search": {"epochs": "2..9"}}, "--pruner none"),
        ({"search": {"lr": "1e-3..1"}, "sampler": "tpx"}, 'did you mean "tpe"'),
        ({"search": {"lr": "1e-3..1"}, "trials": 0}, "trials"),
        ({"search": {"lr": "1e-3..1"}, "storage": "study.db"}, "not the address of a database"),
        (
            {"search": {"lr": "1e-3..1"}, "storage": "sqlite:////nowhere/at/all/study.db"},
            "cannot be used as a study's database",
        ),
    ],
)
def test_refusals(ask: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says) as refused:
        tune.tune("digits", **QUICK | ask)
    assert "\n" not in str(refused.value)


def test_without_optuna_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UsageError, match=r"pip install 'pellucid\[tune\]'"):
        tune.tune("digits", {"lr": "1e-3..1"}, **QUICK)


def test_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], here: Path
) -> None:
    def said(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["pellucid", *words])
        with pytest.raises(SystemExit) as stopped:
            command_line.main()
        out = capsys.readouterr()
        return int(stopped.value.code or 0), out.out, out.err

    quick = [
        "--model",
        "C4 R G L10",
        "--threads",
        "1",
        "--no-baselines",
        "--train-pictures",
        "200",
        "--epochs",
        "1",
    ]
    (here / "space.toml").write_text('data = "digits"\n[search]\nlr = ["log:1e-4..1e-2"]\n')
    assert said("tune", "--recipe", "space.toml")[0] == 2
    (here / "space.toml").write_text(
        'data = "digits"\nbatch = 16\n[search]\nlr = "log:1e-4..1e-2"\n'
    )
    code, out, err = said("tune", "--recipe", "space.toml", "--trials", "2", "--json", *quick)
    assert (
        code == 0 and json.loads(out)["trials"] == 2 and json.loads(out)["settings"]["batch"] == 16
    )
    assert err.count("trial ") >= 2 and "best of 2 trials" in err
    code, _, err = said("tune", "digits", "--search", "lrr=1..2")
    assert code == 2 and err == 'error: unknown setting "lrr" in the search; did you mean "lr"?\n'
    assert said("tune", "digits", "--lr-range", "--search", "lr=1..2")[0] == 2


# --- the learning-rate range test -----------------------------------------------------------------


def test_smoothing_is_that_of_adam() -> None:
    values = np.random.default_rng(3).normal(size=50)
    keep, mean = 0.9, 0.0
    for number, (value, ours) in enumerate(
        zip(values, lr_range.smoothed(list(values), keep), strict=True), 1
    ):
        mean = keep * mean + (1 - keep) * value
        assert np.isclose(ours, mean / (1 - keep**number))
    assert np.allclose(lr_range.smoothed([2.5] * 9), 2.5)


def test_the_range_test_leaves_a_curve_and_a_suggestion(here: Path) -> None:
    found = lr_range.lr_range("digits", model="C8 R P C16 R G L10", threads=1, quiet=True, seed=2)
    assert found.path == Path("runs/lr_range/digits")
    with (found.path / "curve.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    rates = np.array([float(row["lr"]) for row in table])
    assert (
        np.isclose(rates[0], 1e-7)
        and rates[-1] <= 10.0001
        and np.allclose(np.diff(np.log(rates)), np.log(rates[1] / rates[0]), rtol=1e-3)
    )
    assert 10 < len(table) <= 340 and rates[0] < found.summary["suggestion"] < rates[-1]
    svg = (found.path / "curve.svg").read_text()
    assert svg.startswith("<svg") and f"{found.summary['suggestion']:.2g}" in svg
    assert (
        f"--lr {found.summary['suggestion']:.2g}" in found.summary["command"]
        and "--model 'C8 R P C16 R G L10'" in found.summary["command"]
    )


def test_the_steepest_descent_lies_before_the_least_loss() -> None:
    rates = list(np.geomspace(1e-4, 1e2, 7))
    assert lr_range.steepest(rates, [2.0, 2.0, 1.5, 0.5, 0.4, 9.0, 1.0]) in rates[1:4]
    assert lr_range.steepest(rates[:2], [1.0, 2.0]) == rates[0]
    assert lr_range.exploded([1.0, 0.5, 2.1]) and not lr_range.exploded([1.0, 0.5, 1.9])


def test_a_range_test_begins_with_pretrained_weights() -> None:
    settings = {"model": "C8 B R P C16 B R G L10", "threads": 1, "quiet": True}
    run = pellucid.train("digits", epochs=4, baselines=False, **settings)
    found = lr_range.lr_range("digits", weights=str(run.path), **settings)
    first = float((found.path / "curve.csv").read_text().splitlines()[1].split(",")[1])
    with (run.path / "metrics.csv").open() as file:
        learnt = float(list(csv.DictReader(file))[-1]["train_loss"])
    assert learnt < 2.2 and first == pytest.approx(learnt, abs=0.2)
