"""What a study leaves in its folder: `trials.csv`,
`tune.json` and a page that shows what was tried and what mattered."""

from __future__ import annotations

import math
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.files import write_json, write_text
from ..engine.run import folders as runs
from ..plots import formatting, pages, svg
from .space import Axis
from .tune_plan import Plan

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


# With fewer trials than this a forest says nothing about what mattered.
ENOUGH = 8


def write(
    folder: Path,
    name: str,
    plan: Plan,
    trials: Sequence[FrozenTrial],
    full: int,
    score: str,
    winner: dict[str, Any],
) -> dict[str, Any]:
    """Writes the three files; what `tune.json` says. score: by which trials were judged."""
    rows = [_row(trial, plan.axes) for trial in trials]
    epoch, importance = importances(plan.axes, trials)
    best = trials[winner["trial"]]
    summary = {
        "study": name,
        "search": {axis.name: axis.spec for axis in plan.axes},
        "settings": {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in plan.settings.items()
        },
        "sampler": plan.sampler,
        "pruner": plan.pruner,
        "score": score,
        "trials": len(trials),
        "outcomes": dict(Counter(row["outcome"].partition(":")[0] for row in rows)),
        "epochs": {
            "spent": sum(row["epochs"] for row in rows),
            "without_pruning": full * len(trials),
            "of_a_trial": full,
        },
        "best": {"trial": best.number, "settings": best.params, "validation_score": best.value},
        "importance": {"after_epoch": epoch, "shares": importance},
        "run": winner["run"],
        "test": winner["test"],
        "command": command(plan.data, {**plan.settings, **best.params}),
    }
    write_text(folder / "trials.csv", runs.table(rows))
    write_json(folder / "tune.json", summary)
    write_text(folder / "index.html", page(summary, plan.axes, rows))
    return summary


def command(data: str | Path, settings: Mapping[str, Any]) -> str:
    """The command that trains with these settings."""
    said = ["pellucid", "train", str(data)]
    for key, value in settings.items():
        option = key.replace("_", "-")
        if isinstance(value, bool):
            said.append(f"--{option}" if value else f"--no-{option}")
        else:
            said += [
                f"--{option}",
                "x".join(map(str, value)) if isinstance(value, list | tuple) else str(value),
            ]
    return shlex.join(said)


def conclusion(summary: dict[str, Any]) -> str:
    best, epochs = summary["best"], summary["epochs"]
    chosen = ", ".join(f"{key} {_shown(value)}" for key, value in best["settings"].items())
    reached = formatting.said(summary["score"], best["validation_score"], "{:.2%}".format)
    return (
        f"best of {summary['trials']} trials: {chosen} (validation "
        f"{formatting.named(summary['score'])} {reached}); "
        f"{epochs['spent']} epochs were trained, {epochs['without_pruning']} without stopping any\n"
        f"trained and tested with them: {summary['run']}"
    )


def importances(
    axes: Sequence[Axis], trials: Sequence[FrozenTrial]
) -> tuple[int, dict[str, float]]:
    """The share of each setting in how scores vary (fANOVA, Hutter et al. 2014), and the epoch
    whose scores these are.

    Trials that were stopped have no last score, so the scores compared are those after the last
    epoch that every trial reached; a diverged trial counts with the score of one. Nothing with few
    trials, or where all score the same.
    """
    counted = [
        trial
        for trial in trials
        if trial.user_attrs.get("outcome") in ("finished", "stopped", "diverged")
    ]
    reached = [
        max(trial.intermediate_values)
        for trial in counted
        if trial.user_attrs["outcome"] != "diverged"
    ]
    epoch = min(reached, default=0)
    scores = [trial.intermediate_values.get(epoch, trial.value or 0.0) for trial in counted]
    if len(counted) < ENOUGH or len(set(scores)) < 2:
        return epoch, {}

    from optuna import create_study, create_trial
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    study = create_study(direction="maximize")
    for trial, score in zip(counted, scores, strict=True):
        study.add_trial(
            create_trial(value=score, params=trial.params, distributions=trial.distributions)
        )
    shares = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0))
    return epoch, {name: float(share) for name, share in shares.items()}


def page(summary: dict[str, Any], axes: Sequence[Axis], rows: Sequence[dict[str, Any]]) -> str:
    from markupsafe import Markup

    jinja = pages.environment(Path(__file__).parent)
    jinja.filters |= {
        "percent": formatting.percent,
        "count": formatting.count,
        "range": formatting.interval,
        "shown": _shown,
        "said": partial(formatting.said, summary["score"]),
    }
    return jinja.get_template("tune.html.j2").render(
        summary=summary,
        best=rows[summary["best"]["trial"]],
        rows=sorted(rows, key=lambda row: (row["outcome"] != "finished", -(row["score"] or 0))),
        names=[axis.name for axis in axes],
        history=Markup(history(rows, summary["best"]["trial"], summary["score"])),
        importance=Markup(bars(summary["importance"]["shares"]))
        if summary["importance"]["shares"]
        else "",
        scatters=[Markup(scatter(axis, rows, summary["score"])) for axis in axes],
        words=formatting,
    )


def _row(trial: FrozenTrial, axes: Sequence[Axis]) -> dict[str, Any]:
    known = trial.user_attrs
    took = (
        (trial.datetime_complete - trial.datetime_start).total_seconds()
        if trial.datetime_complete and trial.datetime_start
        else 0.0
    )
    row = {
        "trial": trial.number,
        "outcome": known.get("outcome", trial.state.name.lower()),
        "score": trial.value,
    }
    row |= {"epochs": known.get("epochs", 0), "seconds": round(took, 1)}
    return row | {axis.name: trial.params.get(axis.name) for axis in axes}


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def history(rows: Sequence[dict[str, Any]], best: int, score: str) -> str:
    """Each trial's score in the order of the trials: dots went to the end, rings were stopped; the
    line is the best one so far."""
    left, right, top, bottom, width, height = 46.0, 90.0, 44.0, 36.0, 640.0, 300.0
    seen = [row for row in rows if row["score"] is not None]
    across = svg.Scale(1, max(len(rows), 2), left + 8, width - right)
    up, levels = _scale([row["score"] for row in seen], score, height - bottom, top)
    parts = [
        svg.text(0, 14, "Validation score of each trial", "ink bold"),
        *_grid(levels, up, left, width - right, score),
    ]
    for at in svg.whole_ticks(1, max(len(rows), 2)):
        parts.append(svg.text(across(at), height - bottom + 18, f"{at:g}", "mid"))
    parts.append(svg.text(width - right, height - 3, "trial", "end"))
    leader, line = -math.inf, []
    for row in rows:
        leader = max(leader, row["score"]) if row["outcome"] == "finished" else leader
        if math.isfinite(leader):
            line.append((across(row["trial"] + 1), up(max(leader, levels[0]))))
    parts.append(f'<path d="{svg.path(line)}" class="line a" stroke-opacity=".45"/>')
    parts += [
        _dot(across(row["trial"] + 1), up(max(row["score"], levels[0])), row, score) for row in seen
    ]
    if line:
        parts.append(svg.text(width - right + 9, line[-1][1] + 4, f"best: {best + 1}", "bold a"))
    return svg.document(width, height, "Validation score of each trial", parts)


def bars(shares: dict[str, float]) -> str:
    """The share of each setting, greatest first."""
    names = max(map(svg.width_of, shares)) + 14
    row, width, top = 26.0, 440.0, 34.0
    across = svg.Scale(0, max(*shares.values(), 1e-9), names, width - 56)
    parts = [svg.text(0, 14, "Share of each setting in the scores' variance", "ink bold")]
    for number, (name, share) in enumerate(shares.items()):
        y = top + number * row
        parts.append(svg.text(names - 10, y + 12, name, "ink end"))
        size = (
            f'x="{names:.1f}" y="{y:.1f}" width="{max(across(share) - names, 1):.1f}" height="16" '
            'rx="2"'
        )
        parts += [f'<rect {size} class="a"/>', svg.text(across(share) + 8, y + 12, f"{share:.0%}")]
    return svg.document(width, top + row * len(shares) + 4, "Importance", parts)


def scatter(axis: Axis, rows: Sequence[dict[str, Any]], score: str) -> str:
    """A setting against the score; the axis is logarithmic where the search is."""
    left, right, top, bottom, width, height = 46.0, 16.0, 44.0, 36.0, 340.0, 250.0
    seen = [row for row in rows if row["score"] is not None and row[axis.name] is not None]
    up, levels = _scale([row["score"] for row in seen], score, height - bottom, top)
    parts = [svg.text(0, 14, axis.name, "ink bold"), *_grid(levels, up, left, width - right, score)]
    places, marks = _places(axis, left + 12, width - right - 12)
    for text, x in marks:
        parts.append(
            svg.text(
                x, height - bottom + 18, svg.shortened(text, (width - left) / len(marks)), "mid"
            )
        )
    for row in sorted(seen, key=lambda row: row["outcome"] == "finished"):
        parts.append(_dot(places(row[axis.name]), up(max(row["score"], levels[0])), row, score))
    return svg.document(width, height, f"{axis.name} against the score", parts)


def _places(axis: Axis, start: float, stop: float) -> tuple[Any, list[tuple[str, float]]]:
    """From a value to its x, and the texts below the axis with theirs."""
    if axis.choices:
        step = (stop - start) / len(axis.choices)
        middles = {
            value: start + step * (number + 0.5) for number, value in enumerate(axis.choices)
        }
        return middles.__getitem__, [(_shown(value), x) for value, x in middles.items()]
    scale = svg.Scale(axis.low, axis.high, start, stop, axis.log)
    levels = svg.decades(axis.low, axis.high) if axis.log else svg.ticks(axis.low, axis.high, 4)
    return scale, [
        (f"{level:g}", scale(level)) for level in levels if axis.low <= level <= axis.high
    ] or [(f"{axis.low:g}", start)]


def _scale(
    scores: Sequence[float], score: str, base: float, top: float
) -> tuple[svg.Scale, list[float]]:
    """A scale for scores, and its round levels. It begins at the tenth part of the scores that is
    worst, where the rest is then seen."""
    low, high = (float(np.quantile(scores, 0.1)), max(scores)) if scores else (0.0, 1.0)
    levels = [
        level
        for level in svg.ticks(min(low, high - 0.02), high)
        if level <= 1 or score in formatting.NO_SHARES
    ]
    return svg.Scale(levels[0], max(levels[-1], high), base, top), levels


def _grid(
    levels: Sequence[float], up: svg.Scale, left: float, right: float, score: str
) -> list[str]:
    parts = []
    for level in levels:
        parts += [
            svg.line(left, up(level), right, up(level), "hair"),
            svg.text(
                left - 8, up(level) + 4, svg.number(level, score not in formatting.NO_SHARES), "end"
            ),
        ]
    return parts


def _dot(x: float, y: float, row: dict[str, Any], score: str) -> str:
    tip = escape(
        f"trial {row['trial'] + 1}: {formatting.said(score, row['score'], '{:.2%}'.format)}, "
        f"{row['outcome']}, {row['epochs']} epochs"
    )
    ring = 'class="line a" style="stroke-width:1.4" stroke-opacity=".7"'
    look = {"finished": 'class="a"', "stopped": ring}.get(row["outcome"], 'class="b"')
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.6" {look}><title>{tip}</title></circle>'
