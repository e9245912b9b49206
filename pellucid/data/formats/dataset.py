"""What a reader of data sets gives back, and what all of them check."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ...core.errors import DataError
from ..sample import Sample

PARTS = ("train", "validation", "test")
PART_NAMES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
}
PART_NAMES |= {"test": "test", "testing": "test"}


@dataclass(frozen=True)
class Dataset:
    """A data set as found.

    samples: truth is the index into classes, or Objects with such labels. classes: in natural order
    (s2 before s10).
    format: folders, csv, idx, npz or digits; coco, voc or yolo with boxes. why: one line on what
    was recognised, converted and left out. left_out: (file relative to root, reason). notes: what
    the user should know, a line each.
    given: the data's own split, "train"/"validation"/"test" to int64 indices; {} when there is
    none.
    root: the folder that the sources are relative to; None for the built-in. name: a short name for
    a run.
    """

    samples: tuple[Sample, ...]
    classes: tuple[str, ...]
    format: str
    why: str
    name: str
    left_out: tuple[tuple[str, str], ...] = ()
    given: dict[str, np.ndarray] = field(default_factory=dict)
    root: Path | None = None
    notes: tuple[str, ...] = ()


def natural(text: str) -> tuple[list[str | int], str]:
    """A sort key: digits by their value, letters without regard to case."""
    return [
        int(part) if part.isdecimal() else part.casefold() for part in re.split(r"(\d+)", text)
    ], text


def counted(left_out: Iterable[tuple[str, str]]) -> str:
    """`; left out 377 × a mask, 2 × not a picture`, or nothing."""
    kinds = Counter(reason for _, reason in left_out)
    return (
        "; left out: " + ", ".join(f"{count} × {reason}" for reason, count in kinds.most_common())
        if kinds
        else ""
    )


def plural(count: int, word: str) -> str:
    return (
        f"{count:,} {word}"
        if count == 1
        else f"{count:,} {word}{'es' if word.endswith('s') else 's'}"
    )


def first(items: Sequence[object], count: int = 3) -> str:
    """The first few of a list, and how many more there are."""
    more = f" and {len(items) - count:,} more" if len(items) > count else ""
    return ", ".join(str(item) for item in items[:count]) + more


def check_classes(
    where: Path | str, classes: Sequence[str], targets: np.ndarray, given: dict[str, np.ndarray]
) -> None:
    """Raises DataError for fewer than two classes, and for a class that the data's own split has in
    one part but not in another."""
    if len(classes) < 2:
        raise DataError(
            f"{where}: holds only one class ({classes[0]}); a classifier needs at least two"
        )
    present = {part: np.unique(targets[indices]) for part, indices in given.items()}
    for part in PARTS[1:]:
        if part not in present:
            continue
        unknown = np.setdiff1d(present[part], present["train"])
        if len(unknown):
            names = first([classes[i] for i in unknown])
            raise DataError(
                f"{where}: {part} holds a class that train does not ({names}); "
                "add it to train or remove it"
            )
        missing = np.setdiff1d(present["train"], present[part])
        if len(missing):
            names = first([classes[i] for i in missing])
            advice = f"add pictures of it, or remove {part} and let it be cut from train"
            raise DataError(
                f"{where}: {part} holds no picture of a class in train ({names}); {advice}"
            )
