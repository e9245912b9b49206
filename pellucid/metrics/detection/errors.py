"""What goes wrong, and what each kind of error costs, in the manner of TIDE (Bolya, Foley,
Hays and Hoffman 2020)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .precision import THRESHOLDS, Judged, average_precision
from .table import LEFT_OUT, LIMIT, RIGHT, WRONG, Pairs, Table, match, outcomes, pairs

# In the order of asking, which is that of TIDE's code: a detection is of the first kind that it
# fits.
KINDS = ("localisation", "classification", "duplicate", "background", "both")
LOCALISATION, CLASSIFICATION, DUPLICATE, BACKGROUND, BOTH = range(len(KINDS))
FOREGROUND, FOUND = 0.1, 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Verdict:
    """kind: int8 D, an index of KINDS, -1 for a detection that is right or left out. target: D, the
    object that it would find were it mended, -1 for none. used: N booleans, objects that were
    found; missed: those that were not, nor would be were a detection mended. judged: at IoU 0.5."""

    kind: np.ndarray
    target: np.ndarray
    used: np.ndarray
    missed: np.ndarray
    judged: Judged


def table_of_errors(table: Table, threshold: float) -> dict[str, dict[str, Any]]:
    """Kind to `count` (of all detections), `said` (of those that score `threshold` or more) and
    `cost`: by how much mAP at IoU 0.5 would rise if this kind alone did not occur (None without
    objects).

    classification: right place, wrong class. localisation: right class, IoU between 0.1 and 0.5.
    both: neither is right, but it meets an object. duplicate: the object was found by a surer
    detection. background: nothing is there. missed: an object that no detection found.
    """
    all_of_them, said = verdict(table), verdict(table, threshold)
    costs = _costs(table, all_of_them)
    counts = {
        kind: [int((each.kind == number).sum()) for each in (all_of_them, said)]
        for number, kind in enumerate(KINDS)
    }
    counts["missed"] = [int(each.missed.sum()) for each in (all_of_them, said)]
    order = ("classification", "localisation", "both", "duplicate", "background", "missed")
    return {
        kind: {"count": counts[kind][0], "said": counts[kind][1], "cost": costs[kind]}
        for kind in order
    }


def verdict(table: Table, threshold: float = 0.0) -> Verdict:
    """What each detection that scores `threshold` or more is, at IoU 0.5."""
    close = pairs(table, FOREGROUND, same_class=False)
    alike = table.labels[close.detection] == table.objects.labels[close.object]
    # Detections choose surest first, so those below the threshold change nothing for the others.
    found = match(table, close.part(alike), THRESHOLDS[:1])
    outcome = outcomes(table, found)
    outcome[:, (table.rank >= LIMIT) | (table.scores < threshold)] = LEFT_OUT
    used = np.zeros(len(table.objects), bool)
    used[found[0, outcome[0] == RIGHT]] = True

    counted = ~table.objects.ignore[close.object]
    overlap, own = _closest(close.part(alike & counted), len(table.scores))
    elsewhere, other = _closest(close.part(~alike & counted), len(table.scores))
    fits = (
        (overlap >= FOREGROUND) & (overlap < FOUND),
        elsewhere >= FOUND,
        overlap >= FOUND,
        np.maximum(overlap, elsewhere) < FOREGROUND,
    )
    kind = np.where(outcome[0] == WRONG, np.select(fits, range(len(fits)), BOTH), -1).astype(
        np.int8
    )
    target = np.select([kind == LOCALISATION, kind == CLASSIFICATION], [own, other], -1)
    missed = ~used & ~table.objects.ignore
    missed[target[target >= 0]] = False
    return Verdict(
        kind, target, used, missed, Judged(table.labels, table.picture, outcome, table.positives())
    )


def _closest(close: Pairs, detections: int) -> tuple[np.ndarray, np.ndarray]:
    """D overlaps and objects: of each detection the one that it overlaps most;
    0 and -1 where there is none."""
    close = close.part(np.argsort(close.overlap, kind="stable"))
    overlap, thing = np.zeros(detections), np.full(detections, -1)
    overlap[close.detection], thing[close.detection] = close.overlap, close.object
    return overlap, thing


def _costs(table: Table, found: Verdict) -> dict[str, float | None]:
    """Kind to the gain in mAP at IoU 0.5 when it is mended."""
    if not found.judged.positives.any():
        return dict.fromkeys((*KINDS, "missed"))
    mended = {kind: _mended(table, found, number) for number, kind in enumerate(KINDS)}
    counted = ~table.objects.ignore & ~found.missed
    mended["missed"] = replace(found.judged, positives=table.positives(counted))
    occurs = found.judged.positives.sum(axis=0) > 0
    now = _map(found.judged, occurs)
    return {kind: _map(judged, occurs) - now for kind, judged in mended.items()}


def _map(judged: Judged, occurs: np.ndarray) -> float:
    """Of the classes that occur; one whose every object was missed, and is not asked for any more,
    is perfect."""
    return float(np.nan_to_num(average_precision(judged)[0, occurs, 0], nan=1.0).mean())


def _mended(table: Table, found: Verdict, kind: int) -> Judged:
    """A wrong class or box is put right, if no other detection has found its object yet, by the
    surest one; all others are taken away."""
    which = np.flatnonzero(found.kind == kind)
    outcome, labels = found.judged.outcome.copy(), found.judged.labels.copy()
    outcome[0, which] = LEFT_OUT
    if kind in (LOCALISATION, CLASSIFICATION):
        free = which[~found.used[found.target[which]]]
        _, first = np.unique(found.target[free], return_index=True)
        outcome[0, free[first]] = RIGHT
        labels[free[first]] = table.objects.labels[found.target[free[first]]]
    return replace(found.judged, outcome=outcome, labels=labels)
