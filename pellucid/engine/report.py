"""`report.html`: one page that says what a run showed, made from nothing but the files in its folder.

Self-contained (pictures and plots are inside it), no scripts, opens offline. A file that is missing leaves its section out.
"""

from __future__ import annotations

import base64
import csv
import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..core import plots
from ..core.errors import ModelError
from ..core.files import write_text
from . import report_words as words

Row = dict[str, Any]
Figure = tuple[str, str]  # SVG, and a sentence


def write(run: Path) -> Path:
    """Build `report.html` and `plots/*.svg` of a run folder; returns the page's path. Writing again gives the same page.

    Raises ModelError when the folder is missing or one of its files is damaged, MachineError when it cannot be written.
    """
    from jinja2 import Environment, FileSystemLoader
    from markupsafe import Markup

    run = Path(run)
    if not run.is_dir():
        raise ModelError(f"{run}: is not a run folder; name a folder that `pellucid train` has written")
    found = read(run)
    drawn = figures(found)
    for name, (svg, _) in drawn.items():
        write_text(run / "plots" / f"{name}.svg", svg)
    jinja = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    jinja.filters |= {"percent": words.percent, "range": words.interval, "count": words.count, "clock": words.clock, "by": words.by}
    page = jinja.get_template("report.html.j2").render(
        found,
        words=words,
        figures={name: (Markup(svg), sentence) for name, (svg, sentence) in drawn.items()},
        ladder=ladder(found["summary"]) if found["summary"] else None,
        name=(found["summary"] or {}).get("name", run.name),
    )
    write_text(run / "report.html", page)
    return run / "report.html"


def read(run: Path) -> dict[str, Any]:
    """Every file that the report shows, by name; None for one that is not there."""
    return {
        "summary": _parsed(run / "summary.json", json.loads),
        "data": _parsed(run / "data.json", json.loads),
        "anatomy": _parsed(run / "anatomy.json", json.loads),
        "environment": _parsed(run / "environment.json", json.loads),
        "settings": _parsed(run / "recipe.toml", tomllib.loads),
        "command": _parsed(run / "command.txt", str.strip),
        "metrics": _parsed(run / "metrics.csv", _rows),
        "predictions": _parsed(run / "predictions.csv", _rows),
        "errors": _picture(run / "samples" / "errors.png"),
        "batch": _picture(run / "samples" / "batch.png"),
    }


def _parsed(path: Path, parse: Any) -> Any:
    try:
        return parse(path.read_text(encoding="utf-8")) or None
    except FileNotFoundError:
        return None
    except (OSError, ValueError, csv.Error) as error:
        raise ModelError(f"{path}: damaged ({error}); the report needs it whole or not at all") from None


def _rows(text: str) -> list[Row]:
    return list(csv.DictReader(text.splitlines()))


def _picture(path: Path) -> str | None:
    """A data: URI."""
    if not path.is_file():
        return None
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


def _numbers(rows: Sequence[Row], column: str) -> list[float]:
    """NaN where the cell is empty or not a number."""
    values = []
    for row in rows:
        try:
            values.append(float(row.get(column) or "nan"))
        except ValueError:
            values.append(math.nan)
    return values


def figures(found: Mapping[str, Any]) -> dict[str, Figure]:
    """name → (SVG, what it shows, in a sentence made from the same numbers)."""
    made: dict[str, Figure] = {}
    summary, rows = found["summary"], found["metrics"]
    if rows:
        made |= _training(rows, (summary or {}).get("best_epoch"))
    test = (summary or {}).get("test") or {}
    if test.get("confusion"):
        classes = list(test["per_class"])
        made["confusion"] = plots.confusion(test["confusion"], classes), words.confusions(test["confusion"], classes)
    if found["predictions"]:
        confidence = np.array(_numbers(found["predictions"], "confidence"))
        correct = np.array(_numbers(found["predictions"], "correct")) > 0
        known = np.isfinite(confidence)
        if known.any():
            sentence = words.calibration(confidence[known], correct[known], test.get("ece"))
            made["reliability"] = plots.reliability(confidence[known], correct[known]), sentence
    return made


def _training(rows: Sequence[Row], best: int | None) -> dict[str, Figure]:
    epochs = _numbers(rows, "epoch")
    mark = (float(best), f"best, epoch {best}") if best else None
    made: dict[str, Figure] = {}
    loss = {"training": _numbers(rows, "train_loss"), "validation": _numbers(rows, "validation_loss")}
    if _any(loss):
        made["loss"] = plots.curves(loss, "Loss", epochs, mark=mark), words.loss_curves(epochs, *loss.values())
    accuracy = {"training": _numbers(rows, "train_accuracy"), "validation": _numbers(rows, "validation_accuracy")}
    if _any(accuracy):
        sentence = words.accuracy_curves(epochs, accuracy["training"], accuracy["validation"], best)
        made["accuracy"] = plots.curves(accuracy, "Accuracy", epochs, percent=True, mark=mark), sentence
    return made


def _any(lines: Mapping[str, Sequence[float]]) -> bool:
    return any(math.isfinite(v) for values in lines.values() for v in values)


def ladder(summary: Mapping[str, Any]) -> dict[str, Any] | None:
    """The network and the baselines on one scale, best first. `low` and `high` are the ends of the scale; it starts above 0 when
    every method but the majority class does."""
    model = summary.get("model") or ""
    ours = model if 0 < len(model) <= 24 else "this network"  # a network in the notation is too long for a label
    methods = [(ours, True, summary.get("test") or {})]
    methods += [(name, False, found.get("test") or {}) for name, found in (summary.get("baselines") or {}).items()]
    methods = [method for method in methods if method[2].get("accuracy", {}).get("value") is not None]
    if not methods:
        return None
    methods.sort(key=lambda method: -method[2]["accuracy"]["value"])
    shown = [test["accuracy"]["low"] for name, _, test in methods if name != "majority class"]
    marks = plots.ticks(min(shown, default=0.0), 1.0, 4)
    entries = [{"name": name, "ours": mine, "test": test} for name, mine, test in methods]
    return {"entries": entries, "low": max(0.0, marks[0]), "high": 1.0, "marks": [m for m in marks if 0 <= m <= 1]}
