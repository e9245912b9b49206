"""`pellucid check`: all that can be said of a data set before the long run."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import UsageError
from ..core.rng import Draws
from ..data.images import write
from ..plots.annotate import sheet
from ..transforms.augment import Augmentation
from .run import batches
from .run.facts import PARTS, pictures_of
from .run.prepare import Prepared, prepare
from .run.progress import Say

# of the sheet of one picture; a cell is about so many pixels wide
TIMES, COLUMNS, SIDE = 16, 4, 200


@dataclass(frozen=True)
class Check:
    """facts: as in `data.json`. settings: what `train` would do. findings: what is wrong or worth a
    look; empty when all is well.

    sheet: where the changes of augmentation were drawn, if they were asked for.
    """

    facts: dict[str, Any]
    settings: dict[str, Any]
    findings: list[str]
    sheet: Path | None = None

    def text(self) -> str:
        facts, lines = self.facts, []
        lines.append(f"{facts['source']}: {facts['why']}")
        sizes = facts["sizes"]
        shapes = (
            f"{_by(sizes['smallest'])} to {_by(sizes['largest'])}, "
            f"median {_by(sizes['median'])} (height x width)"
        )
        kinds = f"channels {_counts(facts['channels'])}; bits {_counts(facts['bits'])}"
        lines.append(
            "pictures: "
            f"{shapes if sizes['smallest'] != sizes['largest'] else _by(sizes['smallest'])}; "
            f"{kinds}"
        )
        lines.append("")
        lines += _table(facts)
        lines.append("")
        lines += [f"- {note}" for note in facts["notes"] if note not in self.findings]
        lines += [f"- left out: {file}: {reason}" for file, reason in _few(facts["left_out"])]
        s = self.settings
        model = s["model"] or "the network of the task"
        size = _by(s["size"]) if s["size"] else "its own size"
        lines.append(
            f"- would train: {model} at {size}, {s['epochs']} epochs of batches of {s['batch']}"
        )
        if self.sheet is not None:
            lines.append(
                f"- augmentation {s.get('augment', 'of the task')}: {_strengths(s)}; "
                f"one picture {TIMES} times: {self.sheet}"
            )
        lines.append("")
        lines += [f"! {finding}" for finding in self.findings] or ["no findings: ready to train"]
        return "\n".join(lines)


def _table(facts: dict[str, Any]) -> list[str]:
    """A row a class with what is counted of it in each part; where that is not pictures, these and
    the empty ones of them below."""
    counts, counted = facts["counts"], facts.get("counted", "pictures")
    rows = [(name, [counts[part][name] for part in PARTS]) for name in facts["classes"]]
    if counted == "pictures":
        rows.append(("total", [facts["pictures"][part] for part in PARTS]))
    else:
        rows.append((f"all {counted}", [sum(counts[part].values()) for part in PARTS]))
        rows += [
            (label, [facts[key][part] for part in PARTS])
            for key, label in (("pictures", "pictures"), ("empty", "  without any"))
        ]
    width = max(5, *(len(name) for name, _ in rows))
    head = f"{'class':<{width}}" + "".join(f"{part:>12}" for part in (*PARTS, "total"))
    return [
        head,
        *(
            f"{name:<{width}}" + "".join(f"{n:>12,}" for n in [*row, sum(row)])
            for name, row in rows
        ),
    ]


def check(
    data: str | Path,
    *,
    show_augment: bool = False,
    out: str | Path | None = None,
    quiet: bool = False,
    **settings: Any,
) -> Check:
    """Reads every picture once and changes nothing. Raises DataError only where nothing can be said
    (no such folder, no classes).

    show_augment: draws a picture as training would change it, to `out` or augment.png; a number is
    added where that file is there.
    """
    if (
        out is not None
        and Path(data).is_dir()
        and Path(out).resolve().is_relative_to(Path(data).resolve())
    ):
        raise UsageError(
            f"{out}: lies in the data, where it would be taken for one of the pictures; "
            "choose another place"
        )
    prepared = prepare(data, settings, Say(quiet), any_bad=True)
    drawn = None
    if show_augment:
        drawn = _unused(Path(out or "augment.png"))
        write(drawn, augment_sheet(prepared))
    return Check(prepared.facts, prepared.settings.model_dump(), _findings(prepared.facts), drawn)


def augment_sheet(prepared: Prepared, number: int = 0) -> np.ndarray:
    """uint8 H×W×3: a training picture untouched, then fifteen times as training would change it,
    each time with other random numbers.

    Where pictures are mixed, the partners are other training pictures. What a result counts as
    stands under it where that has changed.
    """
    views, training = prepared.part("train"), prepared.training
    others = np.linspace(0, len(views), TIMES, endpoint=False).astype(int)[1:]
    # A picture's partner is the next one of its batch.
    batch = views.batch(np.stack([np.full(TIMES - 1, number), others], axis=1).reshape(-1))
    draws = Draws(prepared.settings.seed, 0, np.arange(len(batch)))
    changed = training.preview_batch(training.augment(batch, draws, 0.0))[::2]
    untouched, target = training.preview_batch(views.batch(np.array([number])))[0]
    pictures = [untouched, *(picture for picture, _ in changed)]
    longer = max(pictures[0].shape[:2])
    side = longer * max(1, round(SIDE / longer)) if longer <= 2 * SIDE else 2 * SIDE
    return sheet(
        pictures,
        ["as it is", *("" if title == target else title for _, title in changed)],
        COLUMNS,
        side,
    )


def _strengths(settings: dict[str, Any]) -> str:
    names = [strength.name for strength in fields(Augmentation)]
    return str(Augmentation(**{name: settings.get(name) or 0.0 for name in names}))


def _unused(path: Path) -> Path:
    """The path, or where there is such a file, the first one of NAME-2, NAME-3 … that is free."""
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_stem(f"{path.stem}-{number}")
    return free


def _findings(facts: dict[str, Any]) -> list[str]:
    findings = [reason for _, reason in facts["bad"]]
    if findings:
        total = len(findings) + sum(pictures_of(facts, *PARTS))
        share = len(findings) / total
        skip = (
            "--skip-bad leaves them out"
            if share <= batches.BAD_ALLOWED
            else "too many to be skipped (1 % at most)"
        )
        findings.append(
            f"{len(findings)} of {total:,} pictures cannot be read ({share:.1%}): {skip}"
        )
    findings += [note for note in facts["notes"] if note.startswith("WARNING")]
    return findings + _imbalance(facts)


def _imbalance(facts: dict[str, Any]) -> list[str]:
    """The largest class and the smallest one, where they differ tenfold."""
    train = sorted(facts["counts"]["train"].items(), key=lambda each: each[1])
    if not train or train[0][1] * 10 >= train[-1][1]:
        return []
    (least, few), (_, many) = train[0], train[-1]
    most = next(name for name, count in train if count == many)
    counted = facts.get("counted", "pictures")
    remedy = "each class by itself" if "counted" in facts else "balanced accuracy"
    return [
        f"imbalance: {most} has {many:,} training {counted}, {least} only {few:,}; look at {remedy}"
    ]


def _by(size: Any) -> str:
    return "x".join(f"{side:g}" for side in size)


def _counts(counts: dict[str, int]) -> str:
    return (
        next(iter(counts))
        if len(counts) == 1
        else ", ".join(f"{key} ({n:,})" for key, n in counts.items())
    )


def _few(rows: list[list[str]], most: int = 3) -> list[list[str]]:
    """The first rows of each reason; the rest are counted."""
    seen: Counter[str] = Counter()
    shown = []
    for file, reason in rows:
        seen[reason] += 1
        if seen[reason] <= most:
            shown.append([file, reason])
    return shown + [
        [f"{count - most:,} more", reason] for reason, count in seen.items() if count > most
    ]
