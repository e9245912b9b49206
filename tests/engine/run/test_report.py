from __future__ import annotations

import csv
import io
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

from pellucid.core.errors import ModelError
from pellucid.engine.run import report_text as course
from pellucid.engine.run.report import write
from pellucid.metrics.classification import classification
from pellucid.metrics.significance import mcnemar
from pellucid.plots import formatting
from pellucid.tasks.classification import report
from pellucid.tasks.classification.report import ladder

CLASSES = ["cat", "<script>alert(1)</script>", "猫"]
FILES = {
    "summary.json": "Evidence",
    "metrics.csv": "Training",
    "predictions.csv": "Can its confidence be trusted?",
    "samples/errors.png": "Worst errors",
    "samples/batch.png": "What the network sees",
    "data.json": "Data",
    "anatomy.json": "Network",
    "recipe.toml": "Settings",
}


class Page(HTMLParser):
    """What the tests ask of a page."""

    VOID = frozenset(("meta", "img"))

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.headings: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "h2":
            self.headings.append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words += data
        if self.open and self.open[-1] == "h2":
            self.headings[-1] += data


def answers(n: int, skill: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    target = rng.integers(3, size=n)
    p = np.exp(rng.normal(size=(n, 3)))
    p[np.arange(n), target] *= skill
    return target, p / p.sum(1, keepdims=True)


def table(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    target, p = answers(120, 8)
    _, weak = answers(120, 1)
    both = mcnemar(p.argmax(1) == target, weak.argmax(1) == target)
    evidence = classification(target, p, CLASSES)
    rival = {"test": classification(target, weak, CLASSES), "settings": {"k": 3}, "seconds": 0.5}
    majority = {
        "test": classification(target, np.tile([0.0, 0.0, 1.0], (120, 1)), CLASSES),
        "settings": {},
        "seconds": 0.0,
    }
    summary = {
        "task": "classification",
        "name": "a <b> run",
        "model": "lenet5",
        "parameters": 61706,
        "epochs_run": 12,
        "best_epoch": 8,
        "seconds": {"reading": 0.2, "training": 75.0},
        "test": evidence,
        "validation": evidence,
        "baselines": {"majority class": majority, "k-NN": rival},
        "against_best_baseline": {"baseline": "k-NN", **both},
    }
    counts = dict.fromkeys(CLASSES, 40)
    data = {
        "source": "pets",
        "format": "folders",
        "why": "found 3 classes as folders",
        "classes": CLASSES,
        "counts": {"train": counts, "validation": counts, "test": counts},
        "sizes": {"smallest": [8, 8], "largest": [20, 30], "median": [10.0, 12.5]},
        "channels": {"1": 100, "3": 20},
        "bits": {"8": 120},
        "left_out": [["</td><b>evil.txt", "not a picture"]],
        "duplicates": 0,
        "notes": [],
        "fingerprint": "abc",
    }
    layer = {
        "name": "c1",
        "kind": "Conv2d",
        "output": [6, 8, 8],
        "parameters": 60,
        "macs": 3840,
        "share": 0.1,
        "activations": 384,
    }
    anatomy = {
        "input": [1, 8, 8],
        "layers": [layer],
        "total": {"parameters": 600, "macs": 3840, "activations": 384},
    }
    rows = [
        {
            "epoch": e,
            "train_total": 2 / e,
            "train_loss": 2 / e,
            "train_accuracy": 1 - 0.5 / e,
            "validation_loss": 2 / e + 0.1,
            "validation_accuracy": 1 - 0.6 / e,
        }
        for e in range(1, 13)
    ]
    answered = [
        {
            "source": i,
            "truth": CLASSES[t],
            "answer": CLASSES[row.argmax()],
            "confidence": row.max(),
            "correct": int(row.argmax() == t),
        }
        for i, (t, row) in enumerate(zip(target, p, strict=True))
    ]
    (tmp_path / "samples").mkdir()
    for name in ("errors", "batch"):
        assert cv2.imwrite(str(tmp_path / "samples" / f"{name}.png"), np.zeros((4, 4, 3), np.uint8))
    for name, value in (
        ("summary", summary),
        ("data", data),
        ("anatomy", anatomy),
        ("environment", {"python": "3.11", "cuda": None}),
    ):
        (tmp_path / f"{name}.json").write_text(json.dumps(value), encoding="utf-8")
    (tmp_path / "metrics.csv").write_text(table(rows))
    (tmp_path / "predictions.csv").write_text(table(answered), encoding="utf-8")
    (tmp_path / "recipe.toml").write_text('model = "lenet5"\nepochs = 12\n')
    (tmp_path / "command.txt").write_text("pellucid train pets --epochs 12\n")
    return tmp_path


def test_the_page_is_whole_and_needs_nothing_from_outside(run: Path) -> None:
    text = write(run).read_text(encoding="utf-8")
    page = Page(text)
    assert set(FILES.values()) <= set(page.headings)
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "link", "iframe", "object"}
    for tag, attributes in page.tags:
        assert "href" not in attributes
        assert tag != "img" or (
            str(attributes["src"]).startswith("data:image/png;base64,") and attributes["alt"]
        )
        assert tag != "svg" or attributes.get("aria-label") or attributes.get("aria-hidden")
    assert "url(" not in text
    assert text.count("http") == text.count("http://www.w3.org/2000/svg")


def test_what_people_named_is_shown_not_run(run: Path) -> None:
    page = Page(write(run).read_text(encoding="utf-8"))
    tags = [tag for tag, _ in page.tags]
    assert "script" not in tags
    assert tags.count("b") == 1  # the number in the headline
    assert "<script>alert(1)</script>" in page.words
    assert "</td><b>evil.txt" in page.words
    assert "a <b> run" in page.words
    assert "猫" in page.words


def test_the_headline_has_the_numbers_of_the_summary(run: Path) -> None:
    page = Page(write(run).read_text(encoding="utf-8"))
    accuracy = json.loads((run / "summary.json").read_text())["test"]["accuracy"]
    assert f"{100 * accuracy['value']:.1f}\u202f% of 120 test pictures" in page.words
    assert f"{100 * accuracy['low']:.1f}–{100 * accuracy['high']:.1f}" in page.words
    assert "better by more than chance explains (p < 0.001)" in page.words
    assert "pellucid train pets --epochs 12" in page.words


@pytest.mark.parametrize(("file", "heading"), FILES.items())
def test_a_missing_file_leaves_its_section_out(run: Path, file: str, heading: str) -> None:
    (run / file).unlink()
    assert heading not in Page(write(run).read_text(encoding="utf-8")).headings


def test_an_empty_folder_still_has_a_page(tmp_path: Path) -> None:
    page = Page(write(tmp_path).read_text())
    assert page.headings == []
    assert tmp_path.name in page.words


def test_plots_are_files_of_their_own(run: Path) -> None:
    write(run)
    assert sorted(p.name for p in (run / "plots").iterdir()) == [
        "accuracy.svg",
        "confusion.svg",
        "loss.svg",
        "reliability.svg",
    ]
    for file in (run / "plots").iterdir():
        assert ElementTree.parse(file).getroot().tag.endswith("svg")


def test_writing_again_changes_nothing(run: Path) -> None:
    first = write(run).read_bytes()
    assert write(run).read_bytes() == first


def test_a_damaged_file_is_named(run: Path) -> None:
    (run / "summary.json").write_text("{")
    with pytest.raises(ModelError, match=r"summary\.json: damaged"):
        write(run)
    with pytest.raises(ModelError, match="not a run folder"):
        write(run / "nothing")


def test_a_run_without_baselines_and_defined_scores(run: Path) -> None:
    summary = json.loads((run / "summary.json").read_text())
    summary |= {"baselines": {}, "against_best_baseline": None, "model": "C8 R P " * 10 + "L3"}
    summary["test"] = classification(np.array([0, 0]), np.eye(3)[[1, 1]], CLASSES)
    (run / "summary.json").write_text(json.dumps(summary))
    page = Page(write(run).read_text(encoding="utf-8"))
    assert "No free baseline was scored" in page.words
    assert "log loss" not in page.words
    assert [entry["name"] for entry in ladder(summary)["entries"]] == ["this network"]


def test_the_ladder_is_in_order_and_on_a_scale_that_holds_it(run: Path) -> None:
    made = ladder(json.loads((run / "summary.json").read_text()))
    values = [entry["test"]["accuracy"]["value"] for entry in made["entries"]]
    assert values == sorted(values, reverse=True)
    assert made["marks"][0] <= min(
        e["test"]["accuracy"]["low"] for e in made["entries"] if e["name"] != "majority class"
    )
    assert ladder({"test": {}}) is None


def verdict(only_a: int, only_b: int) -> str:
    scores = {"accuracy": {"value": 0.9, "low": 0.8, "high": 0.95}}
    pairs = mcnemar(
        np.repeat([True, False], [only_a, only_b]), np.repeat([False, True], [only_a, only_b])
    )
    return report.verdict(
        {
            "baselines": {"k-NN": {"test": scores}},
            "against_best_baseline": {"baseline": "k-NN", **pairs},
        }
    )


def test_the_verdict_claims_no_more_than_the_test_says() -> None:
    assert "could be chance (p = 0.42)" in verdict(9, 5)
    assert "the network is better by more than chance" in verdict(20, 2)
    assert "better than the network by more than chance" in verdict(2, 20)
    assert "exactly the same pictures" in verdict(0, 0)


@pytest.mark.parametrize(
    ("training", "validation", "expected"),
    [
        ([2, 1, 0.5, 0.3, 0.2, 0.1, 0.05, 0.02], [2, 1, 0.7, 0.6, 0.7, 0.8, 0.9, 1.0], "overfits"),
        (
            [2, 1.8, 1.6, 1.4, 1.2, 1.0, 0.9, 0.8],
            [2, 1.8, 1.6, 1.4, 1.2, 1.1, 1.0, 0.9],
            "more epochs may help",
        ),
        ([2, 1, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5], [2, 1, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6], "level"),
        ([2, 1, 0.5, 0.5, 0.5, 0.5, 0.5, 0.6], [2, 1, 0.6, 0.6, 0.6, 0.6, 0.6, 0.9], "unsteady"),
        ([2, 1], [2, 1], "Too few epochs"),
        ([], [], "Too few epochs"),
    ],
)
def test_the_sentence_under_the_loss_says_what_happened(
    training: list[float], validation: list[float], expected: str
) -> None:
    assert expected in course.of_loss(list(range(1, len(training) + 1)), training, validation)


def test_the_most_frequent_confusion_is_named() -> None:
    said = report.confusions([[5, 3, 0], [1, 9, 0], [0, 0, 4]], ["a", "b", "c"])
    assert "a called b, 3 of 8 (37.5\u202f%)" in said
    assert "No test picture" in report.confusions([[5, 0], [0, 2]], ["a", "b"])
    assert "no confusion more than once" in report.confusions([[5, 1], [1, 2]], ["a", "b"])


def test_numbers_read_well() -> None:
    assert formatting.count(61706) == "61\u202f706"
    assert formatting.count(416_520_000) == "416.5 million"
    assert formatting.count(0) == "0"
    assert [formatting.clock(s) for s in (0.25, 75, 3720)] == ["0.2 s", "1 min 15 s", "1 h 2 min"]
    assert formatting.percent(None) == "–"
    assert formatting.chance(0.0004) == "p < 0.001"
