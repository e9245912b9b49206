"""The report of a detector, from files as a run leaves them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from pellucid.core.files import write_json, write_text
from pellucid.core.types import Objects
from pellucid.engine.run.report import training, write
from pellucid.plots.anchors import figure
from pellucid.tasks.detection import report
from pellucid.tasks.detection.metric import DetectionMetric
from pellucid.tasks.detection.result import DetectionResult
from pellucid.tasks.page import Figure
from pellucid.transforms.anchors import judge

CLASSES = ("cell", "<b>other</b>")


def evidence(found: bool = True, objects: int = 3) -> dict[str, Any]:
    """Of twelve pictures: every object is found but each fifth one, and each picture has a false
    alarm that scores least."""
    rng, metric = np.random.default_rng(0), DetectionMetric(CLASSES, threshold=0.3, aim="f1")
    targets, answers = [], []
    for number in range(12):
        corners = rng.uniform(0, 80, (objects, 2))
        boxes = np.concatenate([corners, corners + 15], axis=1)
        labels = np.array([0, 0, 1])[:objects]
        targets.append(Objects(boxes, labels, np.zeros(objects, bool)))
        kept = ((np.arange(objects) + number) % 5 > 0) & found
        false = np.array([[0.0, 0, 5, 5]])
        said = (
            np.concatenate([boxes[kept], false]),
            np.append(np.linspace(0.9, 0.7, objects)[kept], 0.1),
            np.append(labels[kept], 0),
        )
        answers.append(DetectionResult(f"{number}", (100, 100), CLASSES, *said, threshold=0.3))
    metric.add(answers, targets)
    return metric.evidence()


def folder(path: Path, test: dict[str, Any]) -> Path:
    summary = {
        "task": "detection",
        "name": "run",
        "model": "csp_nano",
        "best_epoch": 2,
        "test": test,
        "validation": test,
    }
    (path / "summary.json").write_text(json.dumps(summary))
    rows = [
        "epoch,train_total,train_box,validation_map50,validation_map,validation_score",
        "1,3,1,0.2,0.1,0.1",
        "2,2,1,0.6,0.4,0.4",
    ]
    (path / "metrics.csv").write_text("\n".join(rows))
    return path


def test_the_page_says_what_the_evidence_says(tmp_path: Path) -> None:
    test = evidence()
    page = write(folder(tmp_path, test)).read_text(encoding="utf-8")
    assert f"<b>{100 * test['map50']['value']:.1f}\u202f%</b> mAP@.5 on 12 test pictures." in page
    assert f"{100 * test['map50']['low']:.1f}–{100 * test['map50']['high']:.1f}" in page
    assert "At the threshold 0.30, which was chosen on the validation pictures for f1" in page
    assert "<b>other</b>" not in page and "&lt;b&gt;other&lt;/b&gt;" in page
    for title in (
        "Evidence",
        "Training",
        "Precision over recall",
        "Class by class",
        "Size by size",
        "What goes wrong",
    ):
        assert page.count(f"<h2>{title}</h2>") == 1
    assert (
        page.index("<h2>Evidence")
        < page.index("<h2>Training")
        < page.index("<h2>Precision over recall")
    )


def test_plots_are_files_of_their_own(tmp_path: Path) -> None:
    write(folder(tmp_path, evidence()))
    assert sorted(file.name for file in (tmp_path / "plots").iterdir()) == [
        "map.svg",
        "map50.svg",
        "precision_recall.svg",
        "total.svg",
    ]
    for file in (tmp_path / "plots").iterdir():
        assert ElementTree.parse(file).getroot().tag.endswith("svg")


def test_the_errors_are_those_of_the_evidence() -> None:
    test = evidence()
    table: Any = report.sections({"summary": {"test": test}})[-1].parts[0]
    rows = {row[0].text: [cell.text for cell in row[1:]] for row in table.rows}
    assert rows["missed"] == [
        str(test["errors"]["missed"]["said"]),
        str(test["errors"]["missed"]["count"]),
        f"{100 * test['errors']['missed']['cost']:.1f}",
    ]
    assert rows["nothing there"][:2] == ["0", "12"]
    assert set(rows) == set(report.KINDS.values())


@pytest.mark.parametrize("objects", [0, 3])
def test_a_detector_that_says_nothing_still_has_a_page(tmp_path: Path, objects: int) -> None:
    test = evidence(found=False, objects=objects)
    page = write(folder(tmp_path, test)).read_text(encoding="utf-8")
    assert "nothing is said to be there" in page
    assert ("No test picture has an object." in page) == (objects == 0)


def test_a_score_of_one_image_has_no_interval(tmp_path: Path) -> None:
    test = evidence()
    test["map50"] |= {"low": None, "high": None, "interval": None}
    page = write(folder(tmp_path, test)).read_text(encoding="utf-8")
    assert "There is no interval: too few test pictures have objects." in page


def test_the_fit_of_anchors_is_shown(tmp_path: Path) -> None:
    run = folder(tmp_path, evidence())
    write_json(
        run / "model" / "model.json",
        {"architecture": {"cover": "9 anchors cover the boxes with a mean IoU of 0.71"}},
    )
    ten = np.array([[10.0, 10]])
    write_text(run / "plots" / "anchors.svg", figure(ten, judge(ten, ten)))
    for page in (write(run), write(run)):
        text = page.read_text(encoding="utf-8")
        assert text.count("9 anchors cover the boxes") == 1 and "Sizes of boxes and anchors" in text


def drawn(rows: list[dict[str, str]]) -> list[str]:
    return [part.name for part in training(rows, 1)[0].parts if isinstance(part, Figure)]


def test_the_course_shows_pairs_and_scores_that_training_lacks() -> None:
    rows = [
        {
            "epoch": "1",
            "train_loss": "2",
            "train_accuracy": "0.5",
            "validation_loss": "1",
            "validation_accuracy": "0.4",
            "validation_score": "0.4",
        }
    ]
    assert drawn(rows) == ["loss", "accuracy"]
    rows = [
        {
            "epoch": "1",
            "train_total": "2",
            "train_box": "1",
            "validation_map": "0.4",
            "validation_score": "0.4",
        }
    ]
    assert drawn(rows) == ["total", "map"]
    assert training([], None) == []
