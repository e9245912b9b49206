"""The report of a detector: its scores and curves, each class and size, its errors and their
costs, and the sheet of the worst images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...core.types import Objects
from ...data.sample import Sample
from ...metrics.detection import gather
from ...metrics.detection.threshold import per_image
from ...plots import curves as plots
from ...plots.annotate import boxes, sheet, to_rgb8
from ...plots.curves import MANY, Line
from ...plots.formatting import count, interval, named, percent, plural
from ..page import EVIDENCE, Column, Figure, Section, Table, drawn, row, scored
from .inference import DetectionInference
from .result import DetectionResult

ERROR_SHEET = (
    "The pictures with the most misses and false alarms at the threshold, "
    "the truth beside the answer."
)
PREVIEW = (
    "Training pictures as they enter the network, fitted and randomly changed. "
    "If you cannot tell the objects here, neither can it."
)
# Images on the error sheet, and the side of each in pixels.
SHOWN, SIDE = 12, 400

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
    test = (found["summary"] or {}).get("test") or {}
    if "map50" not in test:
        return []
    made = [_evidence(test)]
    if test["curves"]:
        made.append(Section("Precision over recall", [_curves(test["curves"])]))
    made += [_per_class(test["per_class"]), _per_size(test["per_size"]), _errors(test)]
    cover, svg = (
        ((found.get("model") or {}).get("architecture") or {}).get("cover"),
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


def sentences(summary: Mapping[str, Any]) -> list[str]:
    test = summary["test"]
    threshold = test["threshold"]
    at_threshold = ", ".join(
        f"{named(key)} {_share(test[key])}" for key in ("precision", "recall", "f1")
    )
    lines = [
        (
            f"test:     mAP@.5 {_share(test['map50'])}, mAP@.5:.95 {_share(test['map'])}, "
            f"{plural(test['pictures'], 'picture')}"
        ),
        (
            f"          at threshold {threshold['value']:.2f} (for {threshold['aim']}): "
            f"{at_threshold}; {_costliest(test['errors'])}"
        ),
    ]
    return [*lines, f"          {threshold['note']}"] if threshold["note"] else lines


def error_sheet(
    samples: Sequence[Sample], results: Sequence[DetectionResult], inference: DetectionInference
) -> np.ndarray | None:
    """The images with the most missed objects and false detections at the threshold, each twice:
    its target, then its result."""
    missed, false = mistakes(samples, results, len(inference.classes))
    wrong = missed + false
    order = [i for i in np.argsort(-wrong, kind="stable")[:SHOWN].tolist() if wrong[i]]
    if not order:
        return None
    images, titles = [], []
    for i in order:
        image = to_rgb8(samples[i].pixels())
        images += [_target(image, samples[i].target, inference.classes), results[i].draw(image)]
        titles += [f"{samples[i].source}: truth", f"{missed[i]} missed, {false[i]} false"]
    return sheet(images, titles, columns=4, side=SIDE)


def mistakes(
    samples: Sequence[Sample], results: Sequence[DetectionResult], classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Of each image how many objects were missed at the threshold, which all results share, and how
    many detections are of no object."""
    table = gather([sample.target for sample in samples], results, classes)
    threshold = results[0].threshold if results else 0.0
    right, wrong, objects = (each.sum(axis=1).astype(int) for each in per_image(table, threshold))
    return objects - right, wrong


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


def _target(image: np.ndarray, target: Objects, classes: Sequence[str]) -> np.ndarray:
    labels = target.labels.tolist()
    return boxes(image, target.boxes, labels, [classes[label] for label in labels])


def _share(score: Mapping[str, Any]) -> str:
    """A score with its 95 % interval."""
    if score["value"] is None:
        return "undefined"
    reach = (
        "no interval: too few pictures"
        if score["low"] is None
        else f"{score['low']:.1%} to {score['high']:.1%}"
    )
    return f"{score['value']:.1%} ({reach})"


def _costliest(errors: Mapping[str, Mapping[str, Any]]) -> str:
    kind = max(errors, key=lambda name: errors[name]["cost"] or 0.0)
    cost = errors[kind]["cost"]
    return (
        f"costliest error: {kind} ({100 * cost:.1f} points of mAP@.5)"
        if cost
        else "no error costs anything"
    )
