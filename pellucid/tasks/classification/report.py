"""What the report says of a classifier: baselines, confusions, classes, calibration and the worst
errors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...data.sample import Sample
from ...plots import curves, svg
from ...plots.annotate import sheet, to_rgb8
from ...plots.formatting import (
    NARROW,
    Score,
    chance,
    count,
    difference,
    interval,
    named,
    percent,
    plural,
)
from ..page import EVIDENCE, Cell, Column, Figure, Section, Table, Values, drawn, row, scored
from .inference import ClassificationInference
from .result import ClassificationResult

ERROR_SHEET = "The wrong answers given with the most confidence."
PREVIEW = (
    "Training pictures as they enter the network, fitted and randomly changed. "
    "If you cannot tell the classes here, neither can it."
)
SHOWN = 24  # errors


def headline(summary: Mapping[str, Any]) -> tuple[str, str, str]:
    test = summary["test"]
    said = f"of {count(pictures(test))} test pictures are answered right."
    return (
        percent(test["accuracy"]["value"]),
        said,
        f"The 95 % interval is {interval(test['accuracy'])} %. {verdict(summary)}",
    )


def sentences(summary: Mapping[str, Any]) -> list[str]:
    test = summary["test"]
    accuracy = test["accuracy"]
    lines = [
        f"test:     {accuracy['value']:.2%} of {pictures(test)} pictures right "
        f"(95 % interval {accuracy['low']:.2%} to {accuracy['high']:.2%})"
    ]
    if _score(summary) == "balanced_accuracy":
        lines[0] += (
            f"; balanced {_with_interval(test['balanced_accuracy'])}, worst "
            f"{_least_found(test['per_class'])}"
        )
    if against := summary["against_best_baseline"]:
        rival = summary["baselines"][against["baseline"]]["test"]["accuracy"]["value"]
        lines.append(
            f"baseline: {against['baseline']} gets {rival:.2%}; "
            f"difference by {_name_of_test(against)} p = {against['p']:.2g}"
        )
    return lines


def error_sheet(
    samples: Sequence[Sample],
    results: Sequence[ClassificationResult],
    inference: ClassificationInference,
) -> np.ndarray | None:
    """The 24 wrong answers with the highest confidence, each above its answer and its class."""
    targets = [inference.classes[sample.target] for sample in samples]
    wrong = [i for i, result in enumerate(results) if result.label != targets[i]]
    shown = sorted(wrong, key=lambda i: -results[i].confidence)[:SHOWN]
    titles = [f"{results[i].label} {results[i].confidence:.0%}\nis {targets[i]}" for i in shown]
    return (
        sheet([to_rgb8(samples[i].pixels()) for i in shown], titles, columns=6) if shown else None
    )


def sections(found: Mapping[str, Any]) -> list[Section]:
    summary = found["summary"] or {}
    test, made = summary.get("test") or {}, []
    if rungs := ladder(summary):
        made.append(_evidence(summary, rungs))
    if test.get("confusion"):
        classes = list(test["per_class"])
        figure = Figure(
            "confusion",
            curves.confusion(test["confusion"], classes),
            confusions(test["confusion"], classes),
            wide=True,
        )
        made += [Section("What is taken for what", [figure]), _per_class(test["per_class"])]
    if found["predictions"]:
        made += _trust(found["predictions"], test.get("ece"))
    return made


def ladder(summary: Mapping[str, Any]) -> dict[str, Any] | None:
    """The network and the baselines on one scale, best first. `marks` run over the scale; it starts
    above 0 when every method but the majority class does."""
    model = summary.get("model") or ""
    # a network in the notation is too long for a label
    ours = model if 0 < len(model) <= 24 else "this network"
    methods = [(ours, True, summary.get("test") or {})]
    methods += [
        (name, False, found.get("test") or {})
        for name, found in (summary.get("baselines") or {}).items()
    ]
    methods = [
        method for method in methods if method[2].get("accuracy", {}).get("value") is not None
    ]
    if not methods:
        return None
    methods.sort(key=lambda method: -method[2]["accuracy"]["value"])
    shown = [test["accuracy"]["low"] for name, _, test in methods if name != "majority class"]
    marks = svg.ticks(min(shown, default=0.0), 1.0, 4)
    entries = [{"name": name, "ours": mine, "test": test} for name, mine, test in methods]
    return {"entries": entries, "marks": [mark for mark in marks if 0 <= mark <= 1]}


def _evidence(summary: Mapping[str, Any], rungs: Mapping[str, Any]) -> Section:
    wide = [Column(name, "n wide") for name in ("95 % interval", "balanced", "macro F1")]
    table = Table(
        [Column("Answered by", ""), Column("right"), Column(scale=tuple(rungs["marks"])), *wide],
        [_rung(entry["name"], entry["test"]) for entry in rungs["entries"]],
        _about(summary),
        next((at for at, entry in enumerate(rungs["entries"]) if entry["ours"]), None),
    )
    return Section(EVIDENCE, [table, *_other_scores(summary["test"])])


def _rung(name: str, test: Mapping[str, Any]) -> list[Cell]:
    accuracy = test["accuracy"]
    others = (percent(test.get(key, {}).get("value")) for key in ("balanced_accuracy", "macro_f1"))
    return row(
        name,
        percent(accuracy["value"]),
        drawn(name, accuracy),
        Cell("", interval(accuracy)),
        *others,
    )


def _about(summary: Mapping[str, Any]) -> str:
    tested = count(pictures(summary["test"]))
    said = (
        f"Share of the {tested} test pictures that are answered right; the lines are Wilson 95 % "
        "intervals, which show how far chance in "
    )
    said += "the choice of these pictures reaches."
    if against := summary.get("against_best_baseline"):
        said += f" {duel(against)}"
    said += " All settings were chosen on the validation pictures"
    if accuracy := (summary.get("validation") or {}).get("accuracy"):
        said += (
            f", of which the network answers {percent(accuracy['value'])} right "
            f"({interval(accuracy)})"
        )
    return said + "."


def _other_scores(test: Mapping[str, Any]) -> list[Values]:
    if "balanced_accuracy" not in test:
        return []
    shares = (
        ("balanced_accuracy", "balanced accuracy"),
        ("macro_f1", "macro F1"),
        ("ece", "calibration error"),
    )
    items = [
        (label, percent(test[key]["value"]), interval(test[key]))
        for key, label in shares
        if key in test
    ]
    for key, label in (("log_loss", "log loss"), ("cost", "mean cost")):
        if test.get(key, {}).get("value") is not None:
            items.append(
                (
                    label,
                    f"{test[key]['value']:.3f}",
                    f"{test[key]['low']:.3f}–{test[key]['high']:.3f}",
                )
            )
    return [Values(items)]


def _per_class(per_class: Mapping[str, Mapping[str, Any]]) -> Section:
    columns = [Column("Class", ""), Column("pictures"), Column("found"), Column(scale=(0, 0.5, 1))]
    note = (
        "Found (recall): of the pictures of this class, the share that is called so, with its 95 % "
        "interval. Right when said (precision): "
        "of the pictures called so, the share that is. F1 joins the two. A dash: "
        "there is nothing to measure it on."
    )
    rows = [
        row(
            name,
            count(of["support"]),
            percent(of["recall"]["value"]),
            drawn(f"{name}, found", of["recall"]),
        )
        + row(scored(of["precision"]), scored(of["f1"]))
        for name, of in per_class.items()
    ]
    return Section(
        "Class by class",
        [
            Table(
                [*columns, Column("right when said"), Column("F1", "n wide")],
                rows,
                note,
                css="mine",
            )
        ],
    )


def _trust(predictions: Sequence[Mapping[str, Any]], error: Score | None) -> list[Section]:
    confidence, correct = (
        np.array([_number(row.get(key)) for row in predictions])
        for key in ("confidence", "correct")
    )
    known = np.isfinite(confidence)
    if not known.any():
        return []
    confidence, right = confidence[known], correct[known] > 0
    sentence = (
        f"{calibration(confidence, right, error)} On the dotted line, "
        "confidence is what it claims to be."
    )
    return [
        Section(
            "Can its confidence be trusted?",
            [Figure("reliability", curves.reliability(confidence, right), sentence)],
        )
    ]


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan


def pictures(evidence: Mapping[str, Any]) -> int:
    return int(np.sum(evidence["confusion"]))


def verdict(summary: Mapping[str, Any]) -> str:
    """How the network stands against the best free baseline."""
    against, baselines = summary.get("against_best_baseline"), summary.get("baselines") or {}
    if not against or not baselines:
        return "No free baseline was scored beside it."
    name = against.get("baseline") or max(
        baselines, key=lambda b: baselines[b]["test"]["accuracy"]["value"]
    )
    said = (
        f"The best free baseline, {name}, gets "
        f"{percent(baselines[name]['test']['accuracy']['value'])}"
    )
    p = against["p"]
    if against.get("only_a") == 0 == against.get("only_b"):
        return f"{said}; the two are right and wrong on exactly the same pictures."
    if p >= 0.05:
        return f"{said}; the difference could be chance ({chance(p)})."
    if _lead(against) > 0:
        return f"{said}; the network is better by more than chance explains ({chance(p)})."
    return (
        f"{said} and is better than the network by more than chance explains ({chance(p)}): use "
        "the baseline, or train differently."
    )


def duel(against: Mapping[str, Any]) -> str:
    rival = against.get("baseline", "the best baseline")
    if "only_a" in against:
        said = (
            f"On {plural(against['only_a'], 'picture')} only the network is right, on "
            f"{count(against['only_b'])} only {rival}"
        )
    else:
        score = against["score"]
        said = f"{named(score, title=True)} against {rival}: {difference(score, _lead(against))}"
    return f"{said} ({against['test']}: {chance(against['p'])})."


def _score(summary: Mapping[str, Any]) -> str:
    """The score that chose the best epoch."""
    against = summary.get("against_best_baseline") or {}
    return str(summary.get("score") or against.get("score") or "accuracy")


def _lead(against: Mapping[str, Any]) -> float:
    """Positive where the network is better than the baseline."""
    if "only_a" in against:
        return float(against["only_a"] - against["only_b"])
    return against["gain"]["value"] or 0.0


def _name_of_test(against: Mapping[str, Any]) -> str:
    return "McNemar's test" if against["test"].startswith("McNemar") else str(against["test"])


def _with_interval(score: Mapping[str, float]) -> str:
    return f"{score['value']:.2%} ({score['low']:.2%} to {score['high']:.2%})"


def _least_found(per_class: Mapping[str, Mapping[str, Any]]) -> str:
    """The class with the lowest recall, and its recall."""
    found = {
        name: scores["recall"]["value"] for name, scores in per_class.items() if scores["support"]
    }
    least = min(found, key=found.__getitem__)
    return f"{least} ({found[least]:.2%} found)"


def confusions(matrix: Sequence[Sequence[int]], classes: Sequence[str]) -> str:
    cells = np.asarray(matrix)
    wrong = cells * (1 - np.eye(len(cells), dtype=int))
    if wrong.sum() == 0:
        return "No test picture was answered wrongly."
    row, column = divmod(int(wrong.argmax()), len(cells))
    worst = int(wrong[row, column])
    share = f"{worst} of {cells[row].sum()} ({percent(worst / cells[row].sum())})"
    if (wrong == worst).sum() > 1 and worst == 1:
        return f"{plural(int(wrong.sum()), 'error')}, no confusion more than once."
    return (
        f"The most frequent of {plural(int(wrong.sum()), 'error')}: {classes[row]} called "
        f"{classes[column]}, {share}. {SHADES}"
    )


def calibration(confidence: np.ndarray, correct: np.ndarray, error: Score | None) -> str:
    mean, right = float(confidence.mean()), float(correct.mean())
    said = f"On average the answers claim {percent(mean)} and {percent(right)} of them are right"
    if not error or error.get("value") is None:
        return said + "."
    said += (
        f". Expected calibration error {percent(error['value'])} (95{NARROW}% interval "
        f"{interval(error)})"
    )
    floor = error.get("by_chance")
    if floor is None:
        return said + "."
    if error["low"] == 0:
        return (
            f"{said}: no more than chance gives a perfectly calibrated network ({percent(floor)} "
            "on average)."
        )
    tendency = "surer than it is right" if mean > right else "right more often than it claims"
    return f"{said}; chance alone would give {percent(floor)}, so the network is {tendency}."


SHADES = (
    "Right answers are blue, errors orange; the orange is stretched so that rare errors are seen."
)
