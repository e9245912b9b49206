"""`report.html`: one page that says what a run showed, made from nothing but the files in its
folder.

Self-contained (pictures and plots are inside it), no scripts, opens offline. A file that is missing
leaves its section out.
"""

from __future__ import annotations

import base64
import csv
import json
import math
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...core.errors import ModelError
from ...core.files import write_text
from ...plots import curves, formatting, pages
from ...tasks import TASKS
from ...tasks.page import EVIDENCE, Figure, Section, Table
from . import report_text as course

Row = dict[str, Any]

LOSSES = ("loss", "total")  # what is no share


def write(run: Path) -> Path:
    """Build `report.html` and `plots/*.svg` of a run folder; returns the page's path. Writing again
    gives the same page.

    Raises ModelError when the folder is missing or one of its files is damaged, MachineError when
    it cannot be written.
    """
    from markupsafe import Markup

    run = Path(run)
    if not run.is_dir():
        raise ModelError(
            f"{run}: is not a run folder; name a folder that `pellucid train` has written"
        )
    found = read(run)
    summary = found["summary"] or {}
    name = summary.get("task") or (found["settings"] or {}).get("task", "")
    report = TASKS.get(name, list(TASKS.values())[-1]).parts.report
    own = report.sections(found)
    curves_of = training(found["metrics"] or [], summary.get("best_epoch"))
    for section in (*own, *curves_of):
        for part in section.parts:
            if isinstance(part, Figure):
                write_text(run / "plots" / f"{part.name}.svg", part.svg)
    jinja = pages.environment(Path(__file__).parent)
    jinja.filters |= {
        "percent": formatting.percent,
        "range": formatting.interval,
        "count": formatting.count,
        "clock": formatting.clock,
        "by": formatting.by,
    }
    jinja.tests |= {
        "figure": lambda part: isinstance(part, Figure),
        "table": lambda part: isinstance(part, Table),
    }
    page = jinja.get_template("report.html.j2").render(
        found,
        words=formatting,
        markup=Markup,
        worst=report.ERROR_SHEET,
        seen=report.PREVIEW,
        headline=report.headline(summary) if summary.get("test") else None,
        before=[*(section for section in own if section.title == EVIDENCE), *curves_of],
        after=[section for section in own if section.title != EVIDENCE],
        name=summary.get("name", run.name),
    )
    write_text(run / "report.html", page)
    return run / "report.html"


def read(run: Path) -> dict[str, Any]:
    """Every file that the report shows, by name; None for one that is not there."""
    return {
        "summary": _parsed(run / "summary.json", json.loads),
        "data": _parsed(run / "data.json", json.loads),
        "anatomy": _parsed(run / "anatomy.json", json.loads),
        "model": _parsed(run / "model" / "model.json", json.loads),
        "plots": {path.stem: _parsed(path, str) for path in sorted((run / "plots").glob("*.svg"))},
        "environment": _parsed(run / "environment.json", json.loads),
        "settings": _parsed(run / "recipe.toml", _settings),
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
        raise ModelError(
            f"{path}: damaged ({error}); the report needs it whole or not at all"
        ) from None


def _settings(text: str) -> dict[str, Any]:
    """The settings of a recipe by name, those of the task's table among them."""
    stored = tomllib.loads(text)
    tables = [value for value in stored.values() if isinstance(value, dict)]
    flat = {key: value for key, value in stored.items() if not isinstance(value, dict)}
    return flat | {key: value for table in tables for key, value in table.items()}


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


def training(rows: Sequence[Row], best: int | None) -> list[Section]:
    """The course of the training: a figure for each measure that training and validation both have,
    and for the scores of validation where training has none."""
    epochs = _numbers(rows, "epoch")
    parts = [_course(name, epochs, _lines(rows, name), best) for name in _measures(rows)]
    return [Section("Training", parts, pair=True)] if parts else []


def _measures(rows: Sequence[Row]) -> list[str]:
    columns = [
        column
        for column in (rows[0] if rows else {})
        if any(map(math.isfinite, _numbers(rows, column)))
    ]
    trained, validated = (
        [c.removeprefix(part) for c in columns if c.startswith(part)]
        for part in ("train_", "validation_")
    )
    both = [name for name in trained if name in validated]
    if "loss" not in both and "total" in trained:
        both.insert(0, "total")
    if any(name not in LOSSES for name in both):
        return both
    return both + [name for name in validated if name not in (*both, "score")]


def _lines(rows: Sequence[Row], name: str) -> dict[str, list[float]]:
    return {
        part: _numbers(rows, f"{column}_{name}")
        for part, column in (("training", "train"), ("validation", "validation"))
    }


def _course(
    name: str, epochs: list[float], lines: dict[str, list[float]], best: int | None
) -> Figure:
    title = "Training loss" if name == "total" else formatting.named(name, title=True)
    if name == "loss":
        sentence = course.of_loss(epochs, lines["training"], lines["validation"])
    elif name == "total":
        sentence = course.of_total(epochs, lines["training"])
    else:
        sentence = course.of_score(name, epochs, lines["training"], lines["validation"], best)
    shown = {part: values for part, values in lines.items() if any(map(math.isfinite, values))}
    mark = (float(best), f"best, epoch {best}") if best else None
    share = name not in LOSSES and name not in formatting.NO_SHARES
    svg = curves.curves(shown, title, epochs, percent=share, mark=mark, grounded=name in LOSSES)
    return Figure(name, svg, sentence)
