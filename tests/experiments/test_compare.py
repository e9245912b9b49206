from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Mapping, Sequence
from html import unescape
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from scipy import stats

import pellucid
from pellucid import cli as command_line
from pellucid.core.errors import ModelError, UsageError
from pellucid.data import images
from pellucid.engine.inference import ensemble, records
from pellucid.engine.inference.ensemble import Answered
from pellucid.engine.run import settings as configuration
from pellucid.engine.run.folders import table
from pellucid.experiments import arms as stored
from pellucid.experiments.compare import Comparison, compare, write
from pellucid.experiments.compare_text import chance
from pellucid.metrics.significance import mcnemar, paired
from pellucid.tasks import TASKS
from pellucid.tasks.task import ModelSpec

CLASSES = ["cat", "dog", "newt"]
# The parts of a model of each task, as small as they come.
PARTS: dict[str, dict[str, dict[str, Any]]] = {
    "classification": {
        "preprocess": {"size": (8, 8), "channels": 1},
        "architecture": {"model": "L3", "num_outputs": 3, "channels": 1, "size": (8, 8)},
        "inference": {"classes": tuple(CLASSES)},
    },
    "detection": {
        "preprocess": {"size": (64, 64), "channels": 3},
        "architecture": {
            **{"model": "resnet18", "detector": "fcos", "neck": 64, "classes": 2},
            **{"channels": 3, "size": (64, 64)},
        },
        "inference": {"classes": ("RBC", "WBC"), "detector": "fcos"},
    },
    "segmentation": {
        "preprocess": {"size": (32, 32), "channels": 1},
        "architecture": {"model": "unet", "classes": 2, "channels": 1, "size": (32, 32)},
        "inference": {"classes": ("background", "cell")},
    },
    "superresolution": {
        "preprocess": {"size": (32, 32), "channels": 1},
        "architecture": {"model": "espcn", "upscale": 2, "channels": 1},
        "inference": {"upscale": 2, "color_space": "luma", "margin": 0},
    },
}


def spec_of(name: str) -> ModelSpec:
    parts = TASKS[name].parts
    return ModelSpec(
        TASKS[name], **{part: getattr(parts, part)(**of) for part, of in PARTS[name].items()}
    )


def metric_of(name: str, found: Mapping[str, dict[str, Any]]) -> Any:
    """The metric of a task with these records; what a task does not compare by is left out."""
    spec = spec_of(name)
    metric = spec.task.parts.metric.create(spec.preprocess, spec.inference)
    metric.records = {
        source: {key: np.asarray(value) for key, value in record.items()}
        for source, record in found.items()
    }
    return metric


def finished(
    folder: Path,
    task: str,
    metric: Any,
    test: Mapping[str, Any],
    settings: Mapping[str, Any],
    facts: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
) -> Path:
    """A finished run, as files."""
    summary = {
        "task": task,
        "name": folder.name,
        "parameters": 61706,
        "epochs_run": len(rows),
        "best_epoch": min(2, len(rows)),
        "seconds": {"training": 7.5},
        "test": test,
    }
    answers = [{key: row[key] for key in ("source", "truth", "answer")} for row in metric]
    spec = spec_of(task)
    folder.mkdir(parents=True)
    (folder / "recipe.toml").write_text(
        "data = 'pets'\n" + "".join(f"{k} = {json.dumps(v)}\n" for k, v in settings.items())
    )
    (folder / "data.json").write_text(json.dumps(facts))
    (folder / "summary.json").write_text(json.dumps(summary))
    (folder / "metrics.csv").write_text(table(rows))
    (folder / "predictions.csv").write_text(table(answers))
    (folder / "model").mkdir()
    head = {"format": 2, "task": task}
    (folder / "model" / "model.json").write_text(json.dumps(head | spec.to_json()))
    return folder


def made(
    folder: Path,
    right: float,
    *,
    seed: int = 0,
    part: int = 0,
    pictures: int = 120,
    wrong: int | None = None,
    **settings: Any,
) -> Path:
    """A finished run of a classifier: `part` says which test images, `right` how often they are
    answered right; `wrong`, one that is not."""
    rng = np.random.default_rng([seed, part, int(1000 * right)])
    target = np.random.default_rng(part).choice(3, size=pictures, p=[0.6, 0.3, 0.1])
    answer = np.where(rng.random(pictures) < right, target, (target + 1) % 3)
    if wrong is not None:
        answer[wrong] = (target[wrong] + 1) % 3
    metric = metric_of(
        "classification",
        {
            f"{part}/{i}.png": {"target": target[i], "probabilities": np.eye(3)[answer[i]]}
            # Runs need not write their images in one order.
            for i in rng.permutation(pictures)
        },
    )
    told = settings.pop("facts", {})
    settings = {
        "model": "lenet5",
        "lr": 0.01,
        "batch": 10,
        "seed": seed,
        "threads": 1 + seed % 2,
    } | settings
    facts = {
        "source": "pets",
        "classes": CLASSES,
        "pictures": {"train": 300, "validation": 60, "test": pictures},
        "fingerprint": "f00d",
    } | told
    rows = [
        {
            "epoch": e,
            "step": 25 * e,
            "seen": 250 * e,
            "train_loss": 1 / e,
            "train_accuracy": 0.5 + 0.1 * e,
            "validation_loss": 1.2 / e,
            "validation_accuracy": 0.5,
        }
        for e in (1, 2, 3)
    ]
    evidence = metric.evidence()
    finished(folder, "classification", metric.rows()[::-1], evidence, settings, facts, rows)
    records.save(folder / records.NAME, metric)
    return folder


def correct(folder: Path) -> np.ndarray:
    with (folder / "predictions.csv").open(newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: row["source"])
    return np.array([row["truth"] == row["answer"] for row in rows])


def only(comparison: Comparison) -> Any:
    (difference,) = comparison.differences
    return difference


# --- which test -----------------------------------------------------------------------------------


def test_one_run_each_is_a_paired_bootstrap(tmp_path: Path) -> None:
    """Whatever the order in which runs write their images."""
    a, b = made(tmp_path / "a", 0.95), made(tmp_path / "b", 0.8, lr=0.1)
    difference = only(compare({"a": [a], "b": [b]}))
    expected = mcnemar(correct(b), correct(a))
    assert difference.kind == "pictures" and difference.test == "paired bootstrap over 120 images"
    assert difference.p == difference.adjusted
    assert expected["p"] / 5 < difference.p < 5 * expected["p"]
    counted = {key: expected[key] for key in ("only_a", "only_b", "pictures")}
    assert difference.detail == counted
    assert difference.mean == pytest.approx(correct(b).mean() - correct(a).mean())
    assert difference.claimed and difference.low < difference.mean < difference.high < 0


def test_several_seeds_on_the_same_pictures(tmp_path: Path) -> None:
    arms = {
        name: [made(tmp_path / f"{name}{seed}", right, seed=seed) for seed in range(3)]
        for name, right in (("a", 0.7), ("b", 0.9))
    }
    found = compare(arms)
    difference = only(found)
    assert difference.kind == "seeds" and difference.claimed and difference.low > 0
    scores = [correct(folder).mean() for folder in arms["b"]]
    interval = stats.t.interval(0.95, 2, np.mean(scores), stats.sem(scores))
    assert found.arms[1].test["value"] == pytest.approx(np.mean(scores))
    assert found.arms[1].test["low"] == pytest.approx(interval[0])
    assert "over seeds" in difference.sentence


def test_folds_are_matched_by_their_test_images(tmp_path: Path) -> None:
    arms = {
        name: [
            made(tmp_path / f"{name}{part}", right, part=part, fold=f"{part + 1}/5")
            for part in order
        ]
        for name, right, order in (("a", 0.7, range(5)), ("b", 0.85, [3, 1, 4, 0, 2]))
    }
    difference = only(compare(arms))
    deltas = [
        correct(tmp_path / f"b{p}").mean() - correct(tmp_path / f"a{p}").mean()
        for p in (3, 1, 4, 0, 2)
    ]
    assert difference.kind == "splits" and difference.detail["differences"] == pytest.approx(deltas)
    error = np.std(deltas, ddof=1) * np.sqrt(1 / 5 + 120 / 360)
    assert difference.p == pytest.approx(2 * stats.t.sf(abs(np.mean(deltas)) / error, 4))


def test_balanced_accuracy_of_single_runs_is_a_bootstrap(tmp_path: Path) -> None:
    found = compare(
        {"a": [made(tmp_path / "a", 0.9)], "b": [made(tmp_path / "b", 0.5)]},
        score="balanced_accuracy",
    )
    difference = only(found)
    assert "bootstrap" in difference.test and difference.detail == {"pictures": 120}
    values = [
        json.loads((tmp_path / name / "summary.json").read_text())["test"]["balanced_accuracy"][
            "value"
        ]
        for name in "ab"
    ]
    assert difference.mean == pytest.approx(values[1] - values[0])


def test_parts_that_only_one_arm_has_are_left_out_and_said(tmp_path: Path) -> None:
    a = [made(tmp_path / f"a{part}", 0.8, part=part) for part in range(3)]
    found = compare({"a": a, "b": [made(tmp_path / "b1", 0.8, part=1, lr=1.0)]})
    assert only(found).kind == "pictures" and only(found).detail["pictures"] == 120
    assert any("Not all arms" in note for note in found.notes)


# --- what is said ---------------------------------------------------------------------------------


def test_holm_decides_what_is_claimed_among_many_arms(tmp_path: Path) -> None:
    arms = {"none": [made(tmp_path / "none", 0.8)]}
    arms |= {f"arm {i}": [made(tmp_path / f"arm{i}", 0.6 + 0.02 * i, seed=i)] for i in range(1, 9)}
    found = compare(arms)
    assert any(d.p < 0.05 < d.adjusted for d in found.differences) and any(
        d.claimed for d in found.differences
    )
    alone = [d for d in found.differences if d.p < 0.05 < d.adjusted]
    assert all("alone but" in d.sentence and "among so many arms" in d.sentence for d in alone)
    for difference in found.differences:
        claimed = "no difference can be claimed" not in difference.sentence
        assert claimed == difference.claimed == (difference.adjusted < 0.05)
        assert claimed or "could easily be missed" in difference.sentence or difference.low is None


def test_an_arm_with_one_run_is_named_where_seeds_are_spoken_of(tmp_path: Path) -> None:
    arms = {
        "many": [made(tmp_path / f"many{seed}", 0.95, seed=seed) for seed in range(5)],
        "one": [made(tmp_path / "one", 0.3, lr=0.1)],
    }
    for against in arms:
        difference = only(compare(arms, against))
        assert difference.claimed and difference.kind == "seeds"
        assert (
            "of one there is one run: its seeds are taken to vary as much as those of many"
            in difference.sentence
        )


def test_no_difference_at_all_is_called_the_same(tmp_path: Path) -> None:
    a = made(tmp_path / "a", 1.0, wrong=0)
    b = made(tmp_path / "b", 1.0, lr=0.1, wrong=1)
    difference = only(compare({"a": [a], "b": [b]}))
    assert difference.mean == 0 and difference.low < 0 < difference.high
    assert (
        "accuracy is the same as that of a (" in difference.sentence
        and "lower" not in difference.sentence
    )


@pytest.mark.parametrize(
    ("p", "said"),
    [
        (0.0502, "p = 0.0502"),
        (0.04999, "p = 0.04999"),
        (0.05, "p = 0.05"),
        (0.046, "p = 0.046"),
        (0.0001, "p < 0.001"),
    ],
)
def test_p_has_the_digits_that_show_its_side_of_the_level(p: float, said: str) -> None:
    assert chance(p) == said


def test_the_reference_is_the_first_or_the_one_that_is_named(tmp_path: Path) -> None:
    arms = {"a": [made(tmp_path / "a", 0.95)], "b": [made(tmp_path / "b", 0.6)]}
    assert (
        compare(arms).against == "a"
        and compare(arms, "b").against == "b"
        and compare(arms, tmp_path / "b").against == "b"
    )
    assert "b is worse" in compare(arms).summary and "a is better" in compare(arms, "b").summary
    assert only(compare(arms)).mean == -only(compare(arms, "b")).mean


def test_settings_that_differ_are_shown_and_no_others(tmp_path: Path) -> None:
    found = compare(
        {
            "a": [made(tmp_path / "a", 0.9)],
            "b": [made(tmp_path / "b", 0.9, seed=1, lr=0.5, imbalance="oversample")],
        }
    )
    assert [arm.settings for arm in found.arms] == [
        {"lr": 0.01, "imbalance": None},
        {"lr": 0.5, "imbalance": "oversample"},
    ]
    plain = found.arms[0]
    assert (plain.train_accuracy, plain.epochs, plain.seconds, plain.parameters) == (
        0.7,
        3,
        7.5,
        61706,
    )
    assert plain.seen == 3 * 250


def test_arms_that_diverged_are_counted_and_are_in_no_mean(tmp_path: Path) -> None:
    a, b = made(tmp_path / "a", 0.9), made(tmp_path / "b", 0.9, lr=0.1)
    found = compare({"huge": [], "a": [a], "b": [b]}, diverged={"huge": 3, "b": 1, "vast": 1})
    assert found.against == "a" and [arm.diverged for arm in found.arms] == [3, 0, 1, 1]
    assert (
        "all 3 runs diverged" in found.sentences["huge"]
        and "1 further run of it diverged" in found.sentences["b"]
    )
    assert found.summary.count("huge and vast diverged") == 1
    page = write(found, tmp_path / "page").read_text()
    assert "3 diverged" in page


def test_identical_answers_and_a_single_arm(tmp_path: Path) -> None:
    a, b = made(tmp_path / "a", 1.0), made(tmp_path / "b", 1.0, lr=0.1)
    assert only(compare({"a": [a], "b": [b]})).p == 1.0
    alone = compare({"a": [a]})
    assert alone.differences == () and "nothing to compare it with" in alone.summary
    assert write(alone, tmp_path / "page").exists()


def test_runs_alone_are_grouped_by_their_settings(tmp_path: Path) -> None:
    folders = [made(tmp_path / f"slow-{seed}", 0.8, seed=seed, lr=0.001) for seed in range(3)] + [
        made(tmp_path / "fast", 0.9, lr=0.1)
    ]
    found = compare([folders[0], folders[3], folders[1], folders[2], folders[0]])
    assert {arm.name: len(arm.runs) for arm in found.arms} == {"slow": 3, "fast": 1}


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"fingerprint": "beef"}, "other data"),
        ({"classes": ["cat", "dog", "newt", "owl"]}, "other classes"),
    ],
)
def test_other_data_is_refused(tmp_path: Path, facts: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        compare({"a": [made(tmp_path / "a", 0.9)], "b": [made(tmp_path / "b", 0.9, facts=facts)]})


def test_nothing_in_common_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--split-seed"):
        compare({"a": [made(tmp_path / "a", 0.9)], "b": [made(tmp_path / "b", 0.9, part=1)]})


def test_unfinished_and_damaged_runs_are_refused(tmp_path: Path) -> None:
    a, b = made(tmp_path / "a", 0.9), made(tmp_path / "b", 0.9)
    (b / "checkpoint.safetensors").write_bytes(b"")
    with pytest.raises(
        ModelError, match=r"not finished; leave it out if its loss diverged.*--resume .*b$"
    ):
        compare({"a": [a], "b": [b]})
    (b / "checkpoint.safetensors").unlink()
    for name in ("metrics.csv", "predictions.csv", "data.json", "recipe.toml"):
        kept = (b / name).read_text()
        for spoilt in ("", "[[", "source,truth\n1,2\n"):
            (b / name).write_text(spoilt)
            if (name, spoilt) != ("recipe.toml", ""):
                with pytest.raises(ModelError, match=re.escape(str(b / name))):
                    compare({"a": [a], "b": [b]})
        (b / name).write_text(kept)
    for name, kept in ((n, (b / n).read_bytes()) for n in (records.NAME, "model/model.json")):
        for spoilt in (b"", b"[[", kept[:-40]):
            (b / name).write_bytes(spoilt)
            with pytest.raises(ModelError, match=re.escape(str(b / name))):
                compare({"a": [a], "b": [b]})
        (b / name).write_bytes(kept)
    (b / "predictions.csv").unlink()
    with pytest.raises(ModelError) as missing:
        compare({"a": [a], "b": [b]})
    assert str(missing.value).count("predictions.csv") == 1 and "Errno" not in str(missing.value)
    with pytest.raises(ModelError, match="not a run folder"):
        compare({"a": [a], "b": [tmp_path]})


def test_unknown_names_are_refused(tmp_path: Path) -> None:
    a = made(tmp_path / "a", 0.9)
    with pytest.raises(UsageError, match="against"):
        compare({"a": [a]}, "b")
    with pytest.raises(UsageError, match="balanced_accuracy"):
        compare({"a": [a]}, score="balanced")
    with pytest.raises(UsageError, match="no arm has a finished run"):
        compare({}, diverged={"a": 1})


# --- the page -------------------------------------------------------------------------------------


def test_the_page_is_whole_offline_and_the_same_again(tmp_path: Path) -> None:
    arms = {
        f"<b>{i}": [
            made(tmp_path / f"{i}-{s}", 0.6 + 0.03 * i, seed=s, lr=10.0**-i) for s in range(2)
        ]
        for i in range(10)
    }
    found = compare(arms)
    page = write(found, tmp_path / "page", "Rates & more", {"question": "Which <one>?"})
    text = page.read_text()
    assert "Rates &amp; more" in text and "Which &lt;one&gt;?" in text and "<b>1" not in text
    assert not re.search(r"<script|src=|https?://(?!www\.w3\.org)|\bnan\b", text)
    assert all(found.sentences[name] in unescape(text) for name in list(arms)[1:])
    for name in (
        "scores",
        "differences",
        "loss-seen",
        "loss-epochs",
        "score-seen",
        "score-epochs",
        "arm-1-loss",
        "arm-10-accuracy",
    ):
        ElementTree.parse(tmp_path / "page" / "plots" / f"{name}.svg")
    stored = json.loads((tmp_path / "page" / "comparison.json").read_text())
    assert (
        stored["summary"] == found.summary
        and len(stored["arms"]) == 10
        and stored["arms"][0]["runs"]
    )
    write(found, tmp_path / "page", "Rates & more", {"question": "Which <one>?"})
    assert page.read_text() == text


def test_recall_stands_where_classes_differ_in_number(tmp_path: Path) -> None:
    a, b = made(tmp_path / "a", 0.9), made(tmp_path / "b", 0.6)
    found = compare({"a": [a], "b": [b]})
    expected = {
        name: of["recall"]["value"]
        for name, of in json.loads((b / "summary.json").read_text())["test"]["per_class"].items()
    }
    assert found.arms[1].recall == pytest.approx(expected)
    assert "Class by class" in write(found, tmp_path / "page").read_text()


# --- the verb -------------------------------------------------------------------------------------


def verb(
    words: Sequence[object], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["pellucid", *map(str, words)])
    with pytest.raises(SystemExit) as stopped:
        command_line.main()
    said = capsys.readouterr()
    return int(stopped.value.code or 0), said.out, said.err


def test_the_verb_writes_a_page_that_is_never_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    a, b = made(tmp_path / "a", 0.9), made(tmp_path / "b", 0.6, lr=0.1)
    code, out, _ = verb(["compare", a, b], monkeypatch, capsys)
    assert code == 0 and "b is worse" in out and "runs/compare/a-b/index.html" in out
    code, out, _ = verb(["compare", a, b, "--against", b, "--json"], monkeypatch, capsys)
    found = json.loads(out)
    assert (
        code == 0 and found["against"] == "b" and found["page"] == "runs/compare/a-b-2/index.html"
    )
    code, _, _ = verb(
        ["compare", a, b, "--score", "balanced_accuracy", "--out", "here"], monkeypatch, capsys
    )
    page = (tmp_path / "here" / "index.html").read_text()
    assert code == 0 and "balanced accuracy" in page
    code, _, err = verb(["compare", a, b, "--out", "here"], monkeypatch, capsys)
    assert (
        code == 2 and "--out here" in err and (tmp_path / "here" / "index.html").read_text() == page
    )
    code, _, err = verb(["compare", a, a], monkeypatch, capsys)
    assert code == 2 and "two or more" in err


def test_real_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    quick: dict[str, Any] = {
        "model": "C4 R G L10",
        "epochs": 2,
        "batch": 64,
        "threads": 1,
        "baselines": False,
        "quiet": True,
    }
    folders = [
        pellucid.train("digits", name=name, lr=lr, **quick).path
        for name, lr in (("low", 1e-5), ("high", 0.03))
    ]
    found = pellucid.compare(folders)
    assert found.arms[0].settings == {"lr": 1e-5} and only(found).detail["pictures"] == 359
    summary = json.loads((folders[0] / "summary.json").read_text())
    assert found.arms[0].test == summary["test"]["accuracy"]
    assert write(found, tmp_path / "page").exists()


# --- every task -----------------------------------------------------------------------------------


def counts(right: int, missed: int, false: int, clear: int = 100) -> np.ndarray:
    """Of an image of segmentation: 3×2, of background and cell the pixels that agree, of the target
    and of the result."""
    return np.array(
        [[clear, right], [clear + false, right + missed], [clear + missed, right + false]]
    )


def record_of(task: str, rng: np.random.Generator, skill: float) -> dict[str, Any]:
    """Of one image, the better the greater the skill, from 0 to 1."""
    if task == "classification":
        target = int(rng.integers(3))
        answer = target if rng.random() < skill else (target + 1) % 3
        return {"target": target, "probabilities": np.eye(3)[answer]}
    if task == "segmentation":
        right = int(100 * skill * rng.random())
        return {"counts": counts(right, 100 - right, 5), "rand": [np.nan]}
    if task == "superresolution":
        values = [20 + 10 * skill + rng.normal(), 25.0]
        return {"psnr": values, "ssim": [skill + 0.02 * rng.normal(), 0.5]}
    boxes = np.array([[10.0, 10, 40, 40], [50, 50, 70, 70]])
    off = rng.random((2, 1)) * 30 * (1 - skill)
    return {
        **{"boxes": boxes + off, "scores": rng.random(2), "class_ids": np.array([0, 1])},
        **{"target_boxes": boxes, "target_labels": np.array([0, 1])},
        "target_ignore": np.zeros(2, bool),
    }


def run_of(
    folder: Path, task: str, found: Mapping[str, dict[str, Any]], seed: int = 0, **settings: Any
) -> Path:
    """A finished run of any task, with these records of its test images."""
    metric = metric_of(task, found)
    ones = np.ones((1, len(found)))
    test: dict[str, Any] = {
        score: {"value": None if np.isnan(value[0]) else float(value[0]), "low": None, "high": None}
        | {"interval": None}
        for score, value in metric.resample(ones).items()
    }
    score = type(metric).SCORES[0]
    rows = [{"epoch": 1, "step": 3, "train_loss": 0.5, "validation_loss": 0.6}]
    facts = {
        "source": "cells",
        "classes": list(spec_of(task).inference.classes),
        "pictures": {"train": 6, "validation": 2, "test": len(found)},
        "fingerprint": "f00d",
    }
    answers = [{"source": source, "truth": "", "answer": ""} for source in sorted(found)]
    finished(
        folder,
        task,
        answers,
        test,
        {"model": "any", "seed": seed, "width": len(folder.name)} | settings,
        facts,
        [row | {f"validation_{score}": 0.5} for row in rows],
    )
    records.save(folder / records.NAME, metric)
    return folder


def answered(task: str, skill: float, seed: int, images: int = 30) -> dict[str, dict[str, Any]]:
    rng = np.random.default_rng(seed)
    return {f"{i:03}.png": record_of(task, rng, skill) for i in range(images)}


@pytest.mark.parametrize("task", TASKS)
def test_two_runs_of_any_task_are_compared(task: str, tmp_path: Path) -> None:
    a = run_of(tmp_path / "a", task, answered(task, 0.3, 1))
    b = run_of(tmp_path / "bb", task, answered(task, 0.9, 2))
    found = compare([a, b])
    difference, scores = only(found), TASKS[task].parts.metric.SCORES  # type: ignore[union-attr]
    assert found.score == scores[0] and difference.kind == "pictures"
    assert difference.claimed and difference.low < difference.mean < difference.high
    tests = [json.loads((folder / "summary.json").read_text())["test"] for folder in (a, b)]
    values = [test[found.score]["value"] for test in tests]
    assert difference.mean == pytest.approx(values[1] - values[0])
    assert write(found, tmp_path / "page").exists()
    other = compare([a, b], score=scores[1])
    assert other.score == scores[1] and only(other).mean != difference.mean


@pytest.mark.parametrize("task", TASKS)
def test_the_same_question_has_one_answer(
    task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a run against its baseline, in `evaluate` of an ensemble and in `compare`."""
    found = [answered(task, skill, seed) for seed, skill in enumerate((0.75, 0.7))]
    ours, theirs = (metric_of(task, each) for each in found)
    in_run = paired(ours, theirs)
    assert in_run["test"] == "paired bootstrap over 30 images" and 1e-9 < in_run["p"] <= 1
    folders = [
        run_of(tmp_path / name, task, each) for name, each in zip(("a", "bb"), found, strict=True)
    ]
    difference = only(compare(folders, against=folders[1]))
    told = (difference.mean, difference.low, difference.high, difference.p, difference.test)
    gain = in_run["gain"]
    assert told == (gain["value"], gain["low"], gain["high"], in_run["p"], in_run["test"])
    monkeypatch.setattr(ensemble, "scored", lambda spec, views, results, *_: results)
    plain, both = (Answered(Path("a"), metric, 1.0, 30) for metric in (theirs, ours))
    evaluated = ensemble.comparison(spec_of(task), range(30), plain, [both], ours)  # type: ignore[arg-type]
    assert {key: evaluated[key] for key in in_run} == in_run


@pytest.mark.parametrize("task", TASKS)
def test_seeds_of_any_task_are_compared(task: str, tmp_path: Path) -> None:
    arms = {
        name: [
            run_of(
                tmp_path / f"{name}{seed}", task, answered(task, skill + 0.02 * seed, seed), seed
            )
            for seed in range(3)
        ]
        for name, skill in (("a", 0.3), ("b", 0.9))
    }
    found = compare(arms)
    difference = only(found)
    assert difference.kind == "seeds" and difference.claimed and difference.detail["runs"] == [3, 3]
    assert difference.test == "t-test over seeds and images" and "over seeds" in difference.sentence
    runs = [[stored.read(folder) for folder in of] for of in arms.values()]
    means = [np.mean([run.score(found.score) for run in of]) for of in runs]
    assert difference.mean == pytest.approx(means[1] - means[0])


@pytest.mark.parametrize("task", TASKS)
def test_folds_of_any_task_are_compared(task: str, tmp_path: Path) -> None:
    arms = {}
    for name, skill in (("a", 0.4), ("b", 0.9)):
        arms[name] = [
            run_of(
                tmp_path / f"{name}{fold}",
                task,
                {f"{fold}/{k}": v for k, v in answered(task, skill, fold).items()},
                fold=f"{fold + 1}/3",
            )
            for fold in range(3)
        ]
    assert only(compare(arms)).kind == "splits" and only(compare(arms)).mean > 0


def test_a_decibel_stays_one(tmp_path: Path) -> None:
    ours, theirs = [31.2, 28.4, 35.1, 30.1], [30.9, 28.2, 34.5, 30.0]
    found = compare(
        [
            run_of(
                tmp_path / name,
                "superresolution",
                {f"{i}.png": {"psnr": [v, 25.0], "ssim": [0.9, 0.5]} for i, v in enumerate(of)},
            )
            for name, of in (("a", theirs), ("bb", ours))
        ]
    )
    difference = only(found)
    assert found.score == "psnr" and difference.kind == "pictures"
    apart = np.subtract(ours, theirs)
    assert difference.mean == pytest.approx(apart.mean())
    assert apart.min() <= difference.low < difference.mean < difference.high <= apart.max()
    # All four are better: by chance that is seen twice in 2^4 times.
    assert difference.p == 0.125
    assert "PSNR is 0.30 dB higher (+0.12 to +0.52) than a" in difference.sentence
    assert "30.90 dB" in found.summary
    page = unescape(write(found, tmp_path / "page").read_text())
    assert (
        "30.90 dB" in page
        and "31.20 dB" in page
        and "30.90 %" not in page
        and "+0.30" in page
        and "Validation PSNR" in page
    )


def test_dice_is_that_of_all_pixels_in_differences_too(tmp_path: Path) -> None:
    """One large image counts by its pixels, as it does in the test score."""
    found = {
        name: {"large": counts(of, 1000 - of, 0), "small": counts(10, 0, 0)}
        for name, of in (("a", 500), ("bb", 900))
    }
    folders = [
        run_of(
            tmp_path / name,
            "segmentation",
            {source: {"counts": each, "rand": [np.nan]} for source, each in of.items()},
        )
        for name, of in found.items()
    ]
    difference = only(compare(folders))
    dice = [2 * (right + 10) / (right + 10 + 1010) for right in (500, 900)]
    assert difference.mean == pytest.approx(dice[1] - dice[0])
    assert "Dice is" in difference.sentence


def test_patients_are_drawn_instead_of_slices(tmp_path: Path) -> None:
    def run(name: str, skill: float, grouped: bool) -> Path:
        found = answered("segmentation", skill, 3)
        for number, record in enumerate(found.values()):
            if grouped:
                patient = f"patient {number // 10}".encode()
                record["group"] = np.frombuffer(patient, np.uint8)
        return run_of(tmp_path / name, "segmentation", found)

    slices = only(compare([run("a", 0.6, False), run("bb", 0.7, False)]))
    patients = only(compare([run("c", 0.6, True), run("dd", 0.7, True)]))
    assert patients.test == "paired bootstrap over 3 groups"
    assert patients.mean == slices.mean and patients.p > slices.p


def test_other_tasks_and_their_scores_are_refused(tmp_path: Path) -> None:
    masks, sharper = (
        run_of(tmp_path / name, task, answered(task, 0.5, 0, 3))
        for name, task in (("a", "segmentation"), ("bb", "superresolution"))
    )
    with pytest.raises(
        UsageError, match=r"bb: a run of superresolution, and .*a is of segmentation"
    ):
        compare([masks, sharper])
    with pytest.raises(UsageError, match='segmentation has no "accuracy"; known: dice, iou, rand'):
        compare([masks], score="accuracy")
    with pytest.raises(ModelError, match=r'its test has no "rand".*--score rand'):
        compare([masks], score="rand")


def test_a_run_of_an_earlier_version_is_refused_in_a_line(tmp_path: Path) -> None:
    a, b = made(tmp_path / "a", 0.9), made(tmp_path / "b", 0.9)
    (b / records.NAME).unlink()
    with pytest.raises(ModelError, match=r"b: has no evidence.*earlier versions.*train it again"):
        compare([a, b])


def test_a_task_without_a_metric_is_refused_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = made(tmp_path / "a", 0.9)
    scoreless = SimpleNamespace(name="gan", parts=SimpleNamespace(metric=None))
    monkeypatch.setitem(TASKS, "classification", scoreless)  # type: ignore[misc]
    with pytest.raises(ModelError, match="classification has no metric to compare runs by"):
        compare([a])
    with pytest.raises(UsageError, match="gan has no metric"):
        stored.known_score(None, scoreless)  # type: ignore[arg-type]


@pytest.mark.parametrize("task", TASKS)
def test_the_scores_of_a_setting_are_those_of_the_metric(task: str) -> None:
    choices = configuration.options_of(TASKS[task].settings)["score"].choices
    assert set(choices) == set(TASKS[task].parts.metric.SCORES)  # type: ignore[union-attr]


def pictures(folder: Path) -> Path:
    """Bright discs on noise, `images/` and `masks/`."""
    rng, (y, x) = np.random.default_rng(0), np.mgrid[:48, :48]
    for number in range(10):
        mask = (
            (x - rng.integers(12, 36)) ** 2 + (y - rng.integers(12, 36)) ** 2
            < rng.integers(40, 120)
        ) * np.uint8(255)
        picture = np.clip(70 + 0.4 * mask + rng.normal(0, 12, mask.shape), 0, 255).astype(np.uint8)
        for name, each in (("images", picture), ("masks", mask)):
            images.write(folder / name / f"{number}.png", each[..., None])
    return folder


@pytest.mark.parametrize(
    ("part", "quick"),
    [
        (".", {"model": "unet", "width": 2, "patch": 32, "score": "dice"}),
        (
            "images",
            {"task": "superresolution", "model": "espcn", "width": 4, "factor": 2, "score": "psnr"},
        ),
    ],
)
def test_real_runs_of_pictures(
    part: str, quick: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    common: dict[str, Any] = quick | {
        "epochs": 1,
        "batch": 4,
        "threads": 1,
        "baselines": False,
        "quiet": True,
    }
    folders = [
        pellucid.train(pictures(tmp_path / "discs") / part, name=name, lr=lr, **common).path
        for name, lr in (("low", 1e-5), ("up", 1e-2))
    ]
    found = compare(folders)
    tests = [json.loads((folder / "summary.json").read_text())["test"] for folder in folders]
    assert found.score == quick["score"] and only(found).kind == "pictures"
    first, second = (test[found.score]["value"] for test in tests)
    assert only(found).mean == pytest.approx(second - first)
    assert write(found, tmp_path / "page").exists()
