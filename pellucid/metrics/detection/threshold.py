"""The score from which on a detection counts: chosen for an aim, and how good the detections above
it are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...core.errors import UsageError
from ...core.types import Objects
from .precision import THRESHOLDS, judge
from .table import LEFT_OUT, RIGHT, WRONG, Detections, Table, gather

# The threshold where there are no objects or no detections to choose it by.
UNKNOWN = 0.5


@dataclass(frozen=True, slots=True)
class Threshold:
    """value: detections of this score or more count. precision, recall, f1: at IoU 0.5,
    of all classes together, where it was chosen; None where they are not defined. note: a sentence
    where the aim was not reached; else empty."""

    value: float
    precision: float | None
    recall: float | None
    f1: float | None
    note: str = ""


def read_aim(aim: str) -> tuple[str, float]:
    """ "f1", "precision 0.9" or "recall 0.95" as a name and a number (0 for "f1"). Raises
    UsageError for anything else."""
    name, _, number = aim.strip().partition(" ")
    if name == "f1" and not number:
        return name, 0.0
    try:
        least = float(number)
    except ValueError:
        least = 0.0
    if name in ("precision", "recall") and 0 < least <= 1:
        return name, least
    raise UsageError(
        f'aim "{aim}": write "f1", or "precision" or "recall" with a share above 0 and up to 1, '
        'as in "precision 0.9"'
    )


def choose(
    aim: str, targets: Sequence[Objects], results: Sequence[Detections], classes: int
) -> Threshold:
    """The threshold for an aim, from targets and results of validation images at IoU 0.5, all
    classes together. classes: how many there are.

    "f1": the highest F1. "precision p": the highest recall of the thresholds with that precision;
    "recall r": the highest precision of those with that recall. Where none reaches it, the one that
    comes nearest, with a note. Among equals the highest threshold. It lies halfway to the next
    lower score, so that no rounding decides. Raises UsageError for an aim that is none.
    """
    name, least = read_aim(aim)
    table = gather(targets, results, classes)
    scores, right, wrong = _counts(table)
    objects = int((~table.objects.ignore).sum())
    if not len(scores) or not objects:
        what = "objects" if not objects else "detections"
        return Threshold(
            UNKNOWN,
            None,
            None,
            None,
            f"there are no {what} to choose a threshold by, so it is {UNKNOWN}",
        )
    precision, recall = right / (right + wrong), right / objects
    f1 = 2 * right / (right + wrong + objects)
    wanted, other = {
        "f1": (f1, f1),
        "precision": (precision, recall),
        "recall": (recall, precision),
    }[name]
    reached = wanted >= least if name != "f1" else np.ones(len(f1), bool)
    place = int(np.argmax(np.where(reached, other, -1.0) if reached.any() else wanted))
    found = float(scores[place]), float(scores[place + 1]) if place + 1 < len(scores) else 0.0
    middle = sum(found) / 2
    note = (
        ""
        if reached.any()
        else f"no threshold reaches a {name} of {least:g}; the highest is {wanted[place]:.3f}"
    )
    value = middle if middle > found[1] else found[0]
    return Threshold(value, float(precision[place]), float(recall[place]), float(f1[place]), note)


def _counts(table: Table) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each different score that counts, highest first, and how many detections that score so much
    or more are right and wrong."""
    outcome = judge(table, THRESHOLDS[:1], limit=None).outcome[0]
    counted = outcome != LEFT_OUT
    scores, outcome = table.scores[counted], outcome[counted]
    last = np.flatnonzero(np.diff(scores, append=-1))
    return scores[last], np.cumsum(outcome == RIGHT)[last], np.cumsum(outcome == WRONG)[last]


def per_image(table: Table, threshold: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Three float64 P×C, at IoU 0.5: detections that score `threshold` or more and are right, those
    that are wrong, and objects."""
    judged = judge(table, THRESHOLDS[:1], limit=None)
    said = table.scores >= threshold
    cells, shape = table.picture * table.classes + table.labels, (table.pictures, table.classes)
    right, wrong = (
        np.bincount(cells[said & (judged.outcome[0] == what)], minlength=shape[0] * shape[1])
        .reshape(shape)
        .astype(np.float64)
        for what in (RIGHT, WRONG)
    )
    return right, wrong, judged.positives
