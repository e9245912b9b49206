"""What the report says of a detector: its scores, its curves, each class and size,
and what its errors cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...plots import curves as plots
from ...plots.curves import MANY, Line
from ...plots.formatting import count, interval, named, percent, plural
from ..page import EVIDENCE, Column, Figure, Section, Table, drawn, row, scored

# Of the evidence, in the order in which they are shown.
SCORES = ("map50", "map", "recall100", "precision", "recall", "f1")
# By the area of the box in the picture as it is; COCO's limits.
SIZES = {
    "small": "small, under 32×32 pixels",
    "medium": "medium",
    "large": "large, from 96×96 pixels",
}
KINDS = {
    "classification": "wrong class",
    "localisation": "right class, badly placed",
    "both": "wrong class and badly placed",
    "duplicate": "found before",
    "background": "nothing there",
    "missed": "missed",
}
SHARES = (0.0, 0.5, 1.0)


def headline(summary: Mapping[str, Any]) -> tuple[str, str, str]:
    """Of a finished run: the number, the rest of the sentence that it begins,
    and what follows from it."""
    test = summary["test"]
    if test["map50"].get("low") is not None:
        lead = f"The 95 % interval is {interval(test['map50'])} %."
    elif test["map50"]["value"] is None:
        lead = "No test picture has an object."
    else:
        lead = "There is no interval: too few test pictures have objects."
    return (
        percent(test["map50"]["value"]),
        f"mAP@.5 on {plural(test['pictures'], 'test picture')}.",
        f"{lead} {believed(test)}",
    )


def sections(found: Mapping[str, Any]) -> list[Section]:
    """What the report shows of detection alone, from the run's files by name."""
    test = (found["summary"] or {}).get("test") or {}
    if "map50" not in test:
        return []
    made = [_evidence(test)]
    if test["curves"]:
        made.append(Section("Precision over recall", [_curves(test["curves"])]))
    made += [_per_class(test["per_class"]), _per_size(test["per_size"]), _errors(test)]
    cover, svg = (
        ((found.get("model") or {}).get("room") or {}).get("cover"),
        (found.get("plots") or {}).get("anchors"),
    )
    return (
        [
            *made,
            Section(
                "Anchors", [Figure("anchors", svg, f"In pixels of what the network sees. {cover}")]
            ),
        ]
        if cover and svg
        else made
    )


def believed(test: Mapping[str, Any]) -> str:
    """What holds at the threshold, in a sentence."""
    at = (
        f"At the threshold {test['threshold']['value']:.2f}, which was chosen on the validation "
        f"pictures for {test['threshold']['aim']}"
    )
    if test["precision"]["value"] is None:
        return f"{at}, nothing is said to be there."
    found = (
        f", {percent(test['recall']['value'])} of the objects are found"
        if test["recall"]["value"] is not None
        else ""
    )
    return f"{at}{found}, and {percent(test['precision']['value'])} of what is said to be there is."


def _evidence(test: Mapping[str, Any]) -> Section:
    columns = [
        Column("Score", ""),
        Column("value"),
        Column(scale=SHARES),
        Column("95 % interval", "n wide"),
    ]
    note = (
        "mAP: the mean over the classes of the area under precision over recall, at an overlap "
        "(IoU) of 0.5 or as the mean over 0.5 to "
        "0.95. Recall of 100 boxes: of the objects, those that the 100 surest boxes of a picture "
        "hold, over the same overlaps. Precision, "
        f"recall and F1 are those at the threshold. {believed(test)} "
        f"{plural(test['objects'], 'object')} in "
        f"{plural(test['pictures'], 'picture')}; "
        "the lines are 95 % intervals over the choice of pictures."
    )
    rows = [
        row(
            named(key),
            percent(test[key]["value"]),
            drawn(named(key), test[key]),
            interval(test[key]),
        )
        for key in SCORES
        if test[key]["value"] is not None
    ]
    return Section(EVIDENCE, [Table(columns, rows, note)])


def _curves(curves: Mapping[str, Mapping[str, Any]]) -> Figure:
    colours = [*MANY, *[None] * len(curves)]
    lines = [
        Line(name, of["recall"], of["precision"], colour)
        for (name, of), colour in zip(curves.items(), colours, strict=False)
    ]
    many = " Classes beyond the colours are grey." if len(curves) > len(MANY) else ""
    sentence = (
        "Each point is a threshold: to the right more objects are found, and below more of what is "
        "said is wrong. The curve falls to 0 "
        f"where no threshold finds more. Overlaps of 0.5 count as found.{many}"
    )
    return Figure(
        "precision_recall",
        plots.overlay(lines, "Precision", "recall", percent=True),
        sentence,
        wide=True,
    )


def _per_class(per_class: Mapping[str, Mapping[str, Any]]) -> Section:
    columns = [
        Column("Class", ""),
        Column("objects"),
        Column("AP@.5"),
        Column(scale=SHARES),
        Column("AP@.5:.95", "n wide"),
    ]
    columns += [Column("right when said"), Column("found"), Column("F1", "n wide")]
    rows = [
        row(
            name,
            count(of["objects"]),
            percent(of["ap50"]["value"]),
            drawn(f"{name}, AP@.5", of["ap50"]),
            scored(of["ap"]),
        )
        + row(scored(of["precision"]), scored(of["recall"]), scored(of["f1"]))
        for name, of in per_class.items()
    ]
    note = (
        "Right when said (precision) and found (recall) are those at the threshold, with their 95 "
        "% intervals. A dash: there is nothing to "
        "measure it on."
    )
    return Section("Class by class", [Table(columns, rows, note, css="mine")])


def _per_size(per_size: Mapping[str, Mapping[str, Any]]) -> Section:
    columns = [
        Column("Objects", ""),
        Column("number"),
        Column("AP@.5"),
        Column(scale=SHARES),
        Column("AP@.5:.95", "n wide"),
    ]
    rows = [
        row(
            SIZES[size],
            count(of["objects"]),
            percent(of["ap50"]["value"]),
            drawn(f"{size}, AP@.5", of["ap50"]),
            scored(of["ap"]),
        )
        for size, of in per_size.items()
    ]
    return Section(
        "Size by size",
        [
            Table(
                columns,
                rows,
                "Means over the classes, in pixels of the pictures as they are.",
                css="mine",
            )
        ],
    )


def _errors(test: Mapping[str, Any]) -> Section:
    columns = [
        Column("Error", ""),
        Column("at the threshold"),
        Column("of all boxes", "n wide"),
        Column("costs, in points of mAP@.5"),
    ]
    rows = [
        row(
            KINDS[kind],
            count(of["said"]),
            count(of["count"]),
            "–" if of["cost"] is None else f"{100 * of['cost']:.1f}",
        )
        for kind, of in test["errors"].items()
    ]
    note = (
        "What each kind costs is by how much mAP@.5 would rise if it alone did not occur (Bolya et "
        "al. 2020); the costs do not add up, for "
        "one error can hide another. Badly placed: an overlap of 0.1 to 0.5. Found before: a surer "
        "box already has this object. Errors "
        "above the threshold are what a user meets."
    )
    return Section("What goes wrong", [Table(columns, rows, note)])
