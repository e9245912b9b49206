from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from html import unescape
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from scipy import stats

import pellucid
from pellucid import cli as command_line
from pellucid.core.errors import ModelError, UsageError
from pellucid.data import images
from pellucid.engine.run import settings as recipes
from pellucid.engine.run.folders import table
from pellucid.experiments.arms import SCORES
from pellucid.experiments.compare import Comparison, compare, write
from pellucid.experiments.compare_words import chance
from pellucid.metrics.evidence import classification, mcnemar
from pellucid.tasks import TASKS

CLASSES = ["cat", "dog", "newt"]


def made(
    folder: Path,
    right: float,
    *,
    seed: int = 0,
    part: int = 0,
    pictures: int = 120,
    **settings: Any,
) -> Path:
    """A finished run, as files: `part` says which test pictures,
    `right` how often they are answered right."""
    rng = np.random.default_rng([seed, part, int(1000 * right)])
    target = np.random.default_rng(part).choice(3, size=pictures, p=[0.6, 0.3, 0.1])
    answer = np.where(rng.random(pictures) < right, target, (target + 1) % 3)
    told = settings.pop("facts", {})
    settings = {
        "model": "lenet5",
        "lr": 0.01,
        "batch": 10,
        "seed": seed,
        "threads": 1 + seed % 2,
    } | settings
    counts = {"train": dict.fromkeys(CLASSES, 100), "validation": dict.fromkeys(CLASSES, 20)}
    counts["test"] = {name: int((target == i).sum()) for i, name in enumerate(CLASSES)}
    facts = {"source": "pets", "classes": CLASSES, "counts": counts, "fingerprint": "f00d"} | told
    evidence = classification(target, np.eye(3)[answer], CLASSES)
    summary = {
        "name": folder.name,
        "parameters": 61706,
        "epochs_run": 3,
        "best_epoch": 2,
        "seconds": {"training": 7.5},
        "test": evidence,
    }
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
    folder.mkdir(parents=True)
    (folder / "recipe.toml").write_text(
        "data = 'pets'\n" + "".join(f"{k} = {json.dumps(v)}\n" for k, v in settings.items())
    )
    (folder / "data.json").write_text(json.dumps(facts))
    (folder / "summary.json").write_text(json.dumps(summary))
    (folder / "metrics.csv").write_text(table(rows))
    answers = [
        {"source": f"{part}/{i}.png", "truth": CLASSES[t], "answer": CLASSES[a]}
        for i, (t, a) in enumerate(zip(target, answer, strict=True))
    ]
    # Runs need not write their pictures in one order.
    (folder / "predictions.csv").write_text(table([answers[i] for i in rng.permutation(pictures)]))
    return folder


def correct(folder: Path) -> np.ndarray:
    rows = sorted(
        line.split(",") for line in (folder / "predictions.csv").read_text().splitlines()[1:]
    )
    return np.array([target == answer for _, target, answer in rows])


def only(comparison: Comparison) -> Any:
    (difference,) = comparison.differences
    return difference


# --- which test -----------------------------------------------------------------------------------


def test_one_run_each_is_mcnemar_on_pictures_in_any_order(tmp_path: Path) -> None:
    a, b = made(tmp_path / "a", 0.95), made(tmp_path / "b", 0.7, lr=0.1)
    difference = only(compare({"a": [a], "b": [b]}))
    expected = mcnemar(correct(b), correct(a))
    assert difference.kind == "pictures" and difference.p == expected["p"] == difference.adjusted
    assert difference.detail["only_a"] == expected["only_a"]
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


def test_folds_are_matched_by_their_test_pictures_whatever_the_order(tmp_path: Path) -> None:
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
    assert "bootstrap" in difference.test and difference.p == difference.detail["bootstrap_p"]
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
    a, b = made(tmp_path / "a", 1.0), made(tmp_path / "b", 1.0, lr=0.1)
    for folder, wrong in ((a, "0/0.png,"), (b, "0/1.png,")):
        lines = (folder / "predictions.csv").read_text().splitlines()
        spoilt = [
            re.sub(r"\w+$", "dog" if line.endswith("cat") else "cat", line)
            if line.startswith(wrong)
            else line
            for line in lines
        ]
        (folder / "predictions.csv").write_text("\n".join(spoilt))
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


# --- answers that are no classes ------------------------------------------------------------------


def numbered(
    folder: Path,
    task: str,
    score: str,
    values: Sequence[float | None],
    *,
    seed: int = 0,
    **test: Any,
) -> Path:
    """A finished run of another task, as files: `score` of each test picture, and of the test part
    their mean, unless `test` says other."""
    known = [value for value in values if value is not None]
    summary: dict[str, Any] = {
        "task": task,
        "parameters": 7,
        "epochs_run": 1,
        "best_epoch": 1,
        "seconds": {"training": 1.0},
    }
    summary["test"] = {
        score: {"value": float(np.mean(known)), "low": None, "high": None, "interval": None}
    } | test
    pictures = {"train": 6, "validation": 2, "test": len(values)}
    facts = {
        "source": "cells",
        "classes": ["background", "cell"],
        "counts": {},
        "pictures": pictures,
        "fingerprint": "f00d",
    }
    column = "dice_cell" if score == "dice" else score
    rows = [{"source": f"{i}.png", "truth": "48×48", "answer": "48×48"} for i in range(len(values))]
    if task != "detection":
        rows = [
            row | {column: "" if value is None else str(value)}
            for row, value in zip(rows, values, strict=True)
        ]
    folder.mkdir(parents=True)
    (folder / "recipe.toml").write_text(
        f"data = 'cells'\nmodel = 'unet'\nseed = {seed}\nwidth = {len(folder.name)}\n"
    )
    (folder / "data.json").write_text(json.dumps(facts))
    (folder / "summary.json").write_text(json.dumps(summary))
    (folder / "metrics.csv").write_text(
        table(
            [
                {
                    "epoch": 1,
                    "step": 3,
                    "train_loss": 0.5,
                    "validation_loss": 0.6,
                    f"validation_{score}": 0.5,
                }
            ]
        )
    )
    (folder / "predictions.csv").write_text(table(rows))
    return folder


def test_a_decibel_stays_one_picture_by_picture(tmp_path: Path) -> None:
    ours, theirs = [31.2, 28.4, 35.1, 30.1], [30.9, 28.2, 34.5, 30.0]
    found = compare(
        [
            numbered(tmp_path / name, "superresolution", "psnr", of)
            for name, of in (("a", theirs), ("bb", ours))
        ]
    )
    difference, expected = only(found), stats.ttest_rel(ours, theirs)
    assert (
        found.score == "psnr"
        and difference.kind == "pictures"
        and difference.p == pytest.approx(expected.pvalue)
    )
    assert (difference.low, difference.high) == pytest.approx(tuple(expected.confidence_interval()))
    assert (
        "PSNR is 0.30 dB higher (\u22120.04 to +0.64) than a" in difference.sentence
        and "30.90 dB" in found.summary
    )
    page = unescape(write(found, tmp_path / "page").read_text())
    assert (
        "30.90 dB" in page
        and "31.20 dB" in page
        and "30.90 %" not in page
        and "+0.30" in page
        and "Validation PSNR" in page
    )


def test_seeds_of_other_tasks_are_paired(tmp_path: Path) -> None:
    scores = {"a": {0: 0.70, 1: 0.74, 2: 0.71}, "bb": {2: 0.75, 0: 0.76, 1: 0.79}}
    arms = {
        name: [
            numbered(tmp_path / f"{name}{seed}", "segmentation", "dice", [value] * 3, seed=seed)
            for seed, value in of.items()
        ]
        for name, of in scores.items()
    }
    found = compare(arms)
    difference, expected = only(found), stats.ttest_rel([0.76, 0.79, 0.75], [0.70, 0.74, 0.71])
    assert (
        difference.kind == "paired"
        and difference.mean == pytest.approx(0.05)
        and difference.p == pytest.approx(expected.pvalue)
    )
    assert (
        "Dice is 5.0 points higher (+2.5 to +7.5) than a" in difference.sentence
        and "over seeds" in difference.sentence
    )
    interval = stats.t.interval(0.95, 2, np.mean([0.70, 0.74, 0.71]), stats.sem([0.70, 0.74, 0.71]))
    assert (found.arms[0].test["low"], found.arms[0].test["high"]) == pytest.approx(interval)


def test_what_of_a_picture_is_another_number_is_said(tmp_path: Path) -> None:
    whole = {"value": 0.9, "low": 0.8, "high": 0.95, "interval": "bootstrap"}
    a = numbered(tmp_path / "a", "segmentation", "dice", [0.6, None, 0.5, 0.7], dice=whole)
    b = numbered(tmp_path / "bb", "segmentation", "dice", [0.7, 0.1, 0.64, 0.8], dice=whole)
    difference, found = only(compare([a, b])), compare([a, b])
    assert difference.detail["pictures"] == 3 and difference.mean == pytest.approx(
        np.mean([0.1, 0.14, 0.1])
    )
    assert "the mean Dice of a picture is 11.3 points higher" in difference.sentence
    assert (
        any("all pixels together" in note for note in found.notes) and found.arms[0].test == whole
    )


def test_one_run_of_what_no_picture_has_alone_needs_seeds(tmp_path: Path) -> None:
    detectors = [
        numbered(tmp_path / name, "detection", "map", [value] * 4)
        for name, value in (("a", 0.5), ("bb", 0.6))
    ]
    difference = only(compare(detectors))
    assert (difference.kind, difference.p, difference.low) == (
        "alone",
        1.0,
        None,
    ) and "over several seeds alone" in difference.sentence
    write(compare(detectors), tmp_path / "page")
    of_patients = {"units": {"count": 2, "name": "patients"}}
    slices = [
        numbered(tmp_path / name, "segmentation", "dice", [0.1, 0.2, 0.3], **of_patients)
        for name in ("c", "dd")
    ]
    assert only(compare(slices)).kind == "alone"


def test_fewer_than_two_seeds_in_common_are_said(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((4, 5)).tolist()
    a = [
        numbered(tmp_path / f"a{seed}", "segmentation", "dice", values[seed], seed=seed)
        for seed in (0, 1)
    ]
    b = [
        numbered(tmp_path / f"bb{seed}", "segmentation", "dice", values[seed + 1], seed=seed)
        for seed in (1, 2)
    ]
    found = compare({"a": a, "b": b})
    assert only(found).kind == "pictures" and any(
        "Fewer than two seeds of b" in note for note in found.notes
    )
    assert only(found).mean == pytest.approx(np.mean(values[2]) - np.mean(values[1]))


def test_other_tasks_and_their_scores_are_refused(tmp_path: Path) -> None:
    masks, sharper = (
        numbered(tmp_path / "a", "segmentation", "dice", [0.5] * 3),
        numbered(tmp_path / "bb", "superresolution", "psnr", [30] * 3),
    )
    with pytest.raises(
        UsageError, match=r"bb: a run of superresolution, and .*a is of segmentation"
    ):
        compare([masks, sharper])
    with pytest.raises(UsageError, match='segmentation has no "accuracy"; known: dice, iou, rand'):
        compare([masks], score="accuracy")
    with pytest.raises(ModelError, match=r'its test has no "rand".*--score rand'):
        compare([masks], score="rand")


def test_every_score_is_of_a_task() -> None:
    assert {score for scores in SCORES.values() for score in scores} == set(
        recipes.SCORES
    ) and SCORES.keys() == TASKS.keys()


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
    first, second = (
        test["dice_picture" if found.score == "dice" else "psnr"]["value"] for test in tests
    )
    assert only(found).mean == pytest.approx(second - first, abs=1e-4)
    assert write(found, tmp_path / "page").exists()
