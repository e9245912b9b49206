"""Runs held against each other: scores with intervals, paired tests, and what they allow to say.

An arm is what is tried: runs that differ in nothing but their seed or fold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..core.errors import UsageError, did_you_mean
from ..metrics.significance import holm, mcnemar, nadeau_bengio, over_seeds, paired
from . import compare_text as words
from .arms import (
    Arm,
    Result,
    arm,
    by_part,
    differing,
    grouped,
    known_score,
    mean_score,
    read,
    test_share,
)
from .comparison import Comparison, Difference
from .page import write

__all__ = ["Arm", "Comparison", "Difference", "Result", "compare", "write"]


def compare(
    arms: Mapping[str, Sequence[str | Path]] | Sequence[str | Path],
    against: str | Path | None = None,
    score: str | None = None,
    diverged: Mapping[str, int] | None = None,
) -> Comparison:
    """Holds every arm against one, the reference: `against` (its name or one of its runs), or the
    first that has runs.

    arms: name → folders of finished runs; or folders alone, of which those that differ only in
    their seed or fold make an arm.
    score: one of `SCORES` of the metric of the runs' task, the first of them by default. diverged:
    name → how many of its runs ended with a loss that was not finite; they are counted in the table
    and are in no mean. An arm all of whose runs diverged has no folders.

    Everything is measured by the metric of the task, whichever it is (`metrics/significance`). The
    same test images: a paired bootstrap for one run each, seeds and images together for several.
    Different test images, as in cross-validation: the corrected t-test of Nadeau and Bengio over
    the parts that both have. Holm's correction over the arms.

    Raises UsageError for an unknown arm or score and for runs of different tasks, data, classes or
    test images, ModelError for a folder that is no finished run or whose test has no such score.
    """
    lost = diverged or {}
    if isinstance(arms, Mapping):
        found = {
            name: [read(Path(folder)) for folder in arms.get(name, ())]
            for name in dict.fromkeys([*arms, *lost])
        }
    else:
        found = grouped([read(folder) for folder in dict.fromkeys(map(Path, arms))])
    reference = _reference(against, found)
    first = found[reference][0]
    score = known_score(score, first.task)
    _refuse_unlike(first, [run for runs in found.values() for run in runs])
    shown = differing(found)
    made = {name: arm(name, runs, lost.get(name, 0), shown, score) for name, runs in found.items()}
    raw = [
        _difference(name, runs, found[reference], reference, score)
        for name, runs in found.items()
        if runs and name != reference
    ]
    adjusted = holm({difference.arm: difference.p for difference in raw})
    corrected = [replace(difference, adjusted=adjusted[difference.arm]) for difference in raw]
    said = tuple(
        replace(d, sentence=words.conclusion(d, made[d.arm], reference, score, len(raw)))
        for d in corrected
    )
    sentences = {d.arm: d.sentence for d in said}
    sentences |= {each.name: words.all_diverged(each) for each in made.values() if not each.runs}
    shown_arms = tuple(made.values())
    comparison = Comparison(score, reference, shown_arms, said, sentences, "", _notes(found))
    return replace(comparison, summary=words.summary(comparison))


def _reference(against: str | Path | None, found: Mapping[str, Sequence[Result]]) -> str:
    """The name of the arm that the others are held against."""
    known = [name for name, runs in found.items() if runs]
    if not known:
        raise UsageError("nothing to compare: no arm has a finished run")
    if against is None:
        return known[0]
    by_run = {run.folder.resolve(): name for name, runs in found.items() for run in runs}
    name = str(against) if str(against) in known else by_run.get(Path(against).resolve())
    if name is None:
        raise UsageError(
            f'against: there is no arm or run "{against}" that is finished; '
            f"{did_you_mean(str(against), known)}"
        )
    return name


def _refuse_unlike(first: Result, runs: Sequence[Result]) -> None:
    for run in runs:
        if run.task != first.task:
            raise UsageError(
                f"{run.folder}: a run of {run.task.name}, and {first.folder} is of "
                f"{first.task.name}; "
                "compare runs of one task"
            )
        if run.classes != first.classes:
            raise UsageError(
                f"{run.folder}: has other classes than {first.folder}; only runs that answer the "
                "same can be compared"
            )
        if run.facts["fingerprint"] != first.facts["fingerprint"]:
            raise UsageError(
                f"{run.folder}: was trained on other data ({run.facts['source']}) than "
                f"{first.folder} ({first.facts['source']}), or they "
                "have changed in between; only runs on the same data can be compared"
            )


def _difference(
    name: str, ours: Sequence[Result], theirs: Sequence[Result], against: str, score: str
) -> Difference:
    """Without Holm's correction and its sentence."""
    mine, others = by_part(ours), by_part(theirs)
    common = [part for part in mine if part in others]
    if not common:
        raise UsageError(
            f"{name} and {against}: no run of one was tested on the same pictures as a run of the "
            "other; train both with the same seed, "
            "or set --split-seed for all"
        )
    if len(common) > 1:
        deltas = [
            mean_score(mine[part], score) - mean_score(others[part], score) for part in common
        ]
        t = nadeau_bengio(deltas, test_share([run for part in common for run in mine[part]]))
        detail = {"differences": deltas, "parts": len(common)}
        return Difference(
            name,
            "splits",
            t["mean"],
            t["low"],
            t["high"],
            t["p"],
            "corrected t-test (Nadeau and Bengio 2003)",
            detail,
        )
    return _on_one_part(name, mine[common[0]], others[common[0]], score)


def _on_one_part(
    name: str, ours: Sequence[Result], theirs: Sequence[Result], score: str
) -> Difference:
    """Of runs that were tested on the same images."""
    if len(ours) > 1 or len(theirs) > 1:
        found = over_seeds([run.metric for run in ours], [run.metric for run in theirs], score)
        kind, detail = "seeds", {"runs": found["runs"]}
    else:
        found = paired(ours[0].metric, theirs[0].metric, score)
        kind, detail = "pictures", {"pictures": found["images"]}
        if score == "accuracy":
            detail |= _alone_right(ours[0], theirs[0])
    gain = found["gain"]
    low, high = gain["low"], gain["high"]
    return Difference(name, kind, gain["value"], low, high, found["p"], found["test"], detail)


def _alone_right(ours: Result, theirs: Result) -> dict[str, int]:
    """How many images just one of two classifiers gets right."""
    a, b = (
        np.array([row["truth"] == row["answer"] for row in run.predicted]) for run in (ours, theirs)
    )
    counted = mcnemar(a, b)
    return {key: counted[key] for key in ("only_a", "only_b")}


def _notes(found: Mapping[str, Sequence[Result]]) -> tuple[str, ...]:
    notes = []
    for name, group in found.items():
        inside = differing({str(i): [run] for i, run in enumerate(group)})
        if inside:
            notes.append(
                f"The runs of {name} differ in {', '.join(inside)} as well as in their seeds; the "
                "table shows the first one's."
            )
    parts = {name: set(by_part(group)) for name, group in found.items() if group}
    if len({frozenset(of) for of in parts.values()}) > 1:
        notes.append(
            "Not all arms were tested on the same pictures: a difference is measured on those "
            "parts that both have."
        )
    if any(len(group) == 1 for group in found.values()):
        notes.append(words.ONE_RUN)
    return tuple(notes)
