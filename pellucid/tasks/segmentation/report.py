"""The report of segmentation: scores, each class and kind of image, outlines, how far annotators
agree, and the worst errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...data.sample import Sample
from ...plots.formatting import count, interval, percent, plural
from ..page import EVIDENCE, Cell, Column, Section, Table, drawn, row, scored
from .error_sheet import worst
from .inference import SegmentationInference
from .result import SegmentationResult

ERROR_SHEET = (
    "The pictures with the lowest Dice: the picture, the truth, the answer, and where they differ."
)
PREVIEW = "Training pictures as they enter the network, fitted and randomly changed."

NAMES = {"dice": "Dice", "iou": "IoU", "rand": "Rand score"}
# Of the evidence, in the order in which they are shown.
SCORES = {
    "rand": "Rand score",
    "dice": "Dice",
    "iou": "IoU",
    "dice_whole": "Dice, all but background as one",
    "dice_picture": "Dice, mean over pictures",
    "iou_picture": "IoU, mean over pictures",
    "iou_present": "IoU, mean over pictures that have any",
    "pixel_accuracy": "right pixels",
}
SHARES = (0.0, 0.5, 1.0)


def headline(summary: Mapping[str, Any]) -> tuple[str, str, str]:
    test = summary["test"]
    first = "rand" if "rand" in test else "dice"
    if test[first].get("low") is not None:
        lead = f"The 95 % interval is {interval(test[first])} %."
    elif test[first]["value"] is None:
        lead = "No test picture has anything but background, in truth or answer."
    else:
        lead = "There is no interval: too few test pictures."
    second = (
        f"IoU is {percent(test['iou']['value'])}, and {percent(test['pixel_accuracy']['value'])} "
        "of all pixels are right."
    )
    return (
        percent(test[first]["value"]),
        f"{SCORES[first]} on {plural(test['pictures'], 'test picture')}.",
        f"{lead} {second}{_people(test)}",
    )


def sentences(summary: Mapping[str, Any]) -> list[str]:
    test = summary["test"]
    scores = [f"{name} {_score(test[key])}" for key, name in _first(test)]
    lines = [f"test:     {', '.join(scores)}, {plural(test['pictures'], 'picture')}"]
    beside = [
        f"{name} agrees with the truth to a Dice of {of['dice']['value']:.1%}, the network "
        f"to {of['network']['value']:.1%}"
        for name, of in test["annotators"].items()
        if of["dice"]["value"] is not None and of["network"]["value"] is not None
    ]
    beside += [note] if (note := test.get("threshold", {}).get("note")) else []
    return [*lines, f"          {'; '.join(beside)}"] if beside else lines


def error_sheet(
    samples: Sequence[Sample],
    results: Sequence[SegmentationResult],
    inference: SegmentationInference,
) -> np.ndarray | None:
    return worst(samples, results, inference.classes, max(inference.annotator, 0))


def sections(found: Mapping[str, Any]) -> list[Section]:
    """What the report shows of segmentation alone, from the run's files by name."""
    test = (found["summary"] or {}).get("test") or {}
    if "dice_picture" not in test:
        return []
    made = [_evidence(test), _per_class(test["per_class"])]
    if test["kinds"]:
        made.append(_kinds(test["kinds"]))
    if test["annotators"]:
        made.append(_annotators(test["annotators"]))
    return [*made, _distances(test["distances"])] if test["distances"] else made


def _people(test: Mapping[str, Any]) -> str:
    """How far people agree, where that is known: a network that agrees as well has reached what the
    truth can tell."""
    known = [
        (name, of) for name, of in test["annotators"].items() if of["dice"]["value"] is not None
    ]
    return "".join(
        f" Another annotator ({name}) reaches a Dice of {percent(of['dice']['value'])}."
        for name, of in known
    )


def _evidence(test: Mapping[str, Any]) -> Section:
    columns = [
        Column("Score", ""),
        Column("value"),
        Column(scale=SHARES),
        Column("95 % interval", "n wide"),
    ]
    rand = (
        "Rand score: of the pairs of pixels that lie in one object of the truth or of the answer, "
        "the F1 of those that lie in one of "
        "both (1 − adapted Rand error, in the truth's objects). "
    )
    many = f"{plural(test['pictures'], 'picture')} of {plural(test['units']['count'], 'group')}"
    of = many if test["units"]["name"] == "groups" else plural(test["pictures"], "picture")
    believed = (
        f" Foreground is believed from a probability of {test['threshold']['value']:.2f}."
        if "threshold" in test
        else ""
    )
    note = (
        f"{rand if 'rand' in test else ''}Dice: twice the pixels that truth and answer share, "
        "divided by those of both. IoU: the shared "
        "ones divided by those that either has. Both are means over the classes but the "
        "background, of all pixels together or of each "
        f"picture first.{believed} The lines are 95 % intervals over the choice of "
        f"{test['units']['name']}: {of}."
    )
    rows = [
        row(name, percent(test[key]["value"]), drawn(name, test[key]), interval(test[key]))
        for key, name in SCORES.items()
        if key in test and test[key]["value"] is not None
    ]
    return Section(EVIDENCE, [Table(columns, rows, note)])


def _per_class(per_class: Mapping[str, Mapping[str, Any]]) -> Section:
    columns = [
        Column("Class", ""),
        Column("of all pixels"),
        Column("Dice"),
        Column(scale=SHARES),
        Column("IoU", "n wide"),
    ]
    columns += [Column("right when said"), Column("found")]
    rows = [
        row(
            name,
            Cell(percent(of["share"], 2), f"in {plural(of['pictures'], 'picture')}"),
            percent(of["dice"]["value"]),
        )
        + row(
            drawn(f"{name}, Dice", of["dice"]),
            scored(of["iou"]),
            scored(of["precision"]),
            scored(of["recall"]),
        )
        for name, of in per_class.items()
    ]
    note = (
        "Of all pixels together. Right when said (precision) and found (recall) are shares of "
        "pixels, with their 95 % intervals. A dash: "
        "neither truth nor answer has it. The first class is the background, which no mean holds."
    )
    return Section("Class by class", [Table(columns, rows, note, css="mine")])


def _kinds(kinds: Mapping[str, Mapping[str, Any]]) -> Section:
    columns = [
        Column("Kind", ""),
        Column("pictures"),
        Column("IoU"),
        Column(scale=SHARES),
        Column("Dice", "n wide"),
    ]
    columns.append(Column("empty, and left so"))
    rows = [
        row(
            kind,
            count(of["pictures"]),
            percent(of["iou"]["value"]),
            drawn(f"{kind}, IoU", of["iou"]),
            scored(of["dice"]),
        )
        + row(f"{count(of['clean'])} of {count(of['empty'])}" if of["empty"] else "–")
        for kind, of in kinds.items()
    ]
    note = (
        "Means over the pictures of each kind, all classes but the background in one sum. A "
        "picture in which nothing is and nothing is "
        "said counts in no mean; one that is empty and in which something is said counts as 0."
    )
    return Section("Kind by kind", [Table(columns, rows, note, css="mine")])


def _annotators(annotators: Mapping[str, Mapping[str, Any]]) -> Section:
    columns = [
        Column("Annotator", ""),
        Column("pictures"),
        Column("agrees with the truth"),
        Column("so does the network"),
    ]
    columns.append(Column("the network with this annotator", "n wide"))
    rows = [
        row(
            name,
            count(of["pictures"]),
            scored(of["dice"]),
            scored(of["network"]),
            scored(of["network_against"]),
        )
        for name, of in annotators.items()
    ]
    note = (
        "Dice on the same pictures, with 95 % intervals. The truth is one annotator's; another one "
        "agrees with it as far as people agree, "
        "and a network that agrees more has learnt this annotator's habits."
    )
    return Section("How far people agree", [Table(columns, rows, note)])


def _distances(distances: Mapping[str, Any]) -> Section:
    unit = distances["unit"]
    columns = [
        Column("Class", ""),
        Column(f"Hausdorff 95 %, {unit}"),
        Column(f"mean distance, {unit}"),
        Column("pictures"),
    ]
    columns.append(Column("in one alone", "n wide"))
    rows = [
        row(
            name,
            _length(of["hausdorff95"]),
            _length(of["surface_distance"]),
            count(of["pictures"]),
            count(of["alone"]),
        )
        for name, of in distances["classes"].items()
    ]
    note = (
        "Between the outlines of truth and answer, means over the pictures that have the class in "
        "both. Hausdorff 95 %: 95 % of either "
        "outline lie no farther than this from the other. In one alone: pictures in which only "
        "truth or answer has the class, so that "
        "there is no distance to count; they are the worst ones."
    )
    return Section("Outlines", [Table(columns, rows, note)])


def _length(score: Mapping[str, Any]) -> Cell:
    """`4.12` and its interval."""
    if score["value"] is None:
        return Cell("–")
    return Cell(
        f"{score['value']:.2f}",
        "" if score["low"] is None else f"{score['low']:.2f}–{score['high']:.2f}",
    )


def _first(test: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The scores of the console, each its key and name."""
    return [(key, NAMES[key]) for key in ("rand", "dice", "iou") if key in test]


def _score(score: Mapping[str, Any]) -> str:
    """With its 95 % interval."""
    if score["value"] is None:
        return "undefined"
    reach = (
        "no interval: too few pictures"
        if score["low"] is None
        else f"{score['low']:.1%} to {score['high']:.1%}"
    )
    return f"{score['value']:.1%} ({reach})"
