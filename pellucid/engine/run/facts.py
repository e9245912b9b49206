"""What `data.json` holds and `pellucid check` prints about a data set."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...data.formats import Dataset
from ...data.images import Header
from ...data.splits import Splits
from ...plots.formatting import plural
from ...tasks.task import Task
from .batches import Bad

PARTS = ("train", "validation", "test")


def describe(
    data: str | Path,
    task: Task,
    dataset: Dataset,
    heads: Sequence[Header],
    splits: Splits,
    bad: Bad,
    copies: np.ndarray,
    hashes: Sequence[str],
) -> dict[str, Any]:
    """What `data.json` holds and `pellucid check` says."""
    sides = np.array([(head.height, head.width) for head in heads])
    counted = _counted(task, dataset, splits)
    whole = hashlib.blake2b(digest_size=16)
    for sample, mark in zip(dataset.samples, hashes, strict=True):
        whole.update(f"{sample.source}\0{sample.target}\0{mark}\n".encode())
    return {
        "source": str(data),
        "format": dataset.format,
        "why": dataset.why,
        "classes": list(dataset.classes),
        **counted,
        "sizes": {
            "smallest": sides.min(0).tolist(),
            "largest": sides.max(0).tolist(),
            "median": np.median(sides, axis=0).tolist(),
        },
        "channels": dict(sorted(Counter(str(head.channels) for head in heads).items())),
        "bits": dict(sorted(Counter(str(head.bits) for head in heads).items())),
        "bad": [list(row) for row in bad],
        "left_out": [list(row) for row in dataset.left_out],
        "duplicates": int(len(copies) - len(np.unique(copies))),
        "notes": [*dataset.notes, *splits.notes, *_uneven(counted)],
        "fingerprint": whole.hexdigest(),
    }


def pictures_of(facts: Mapping[str, Any], *parts: str) -> list[int]:
    """How many images are in these parts."""
    return [facts["pictures"][part] for part in parts]


def _uneven(found: Mapping[str, Any]) -> list[str]:
    """Parts in which nothing can be scored, and classes that are asked for and never learnt, by
    what `_counted` found."""
    counts, counted = found["counts"], found.get("counted", "images")
    present = (
        found["pictures"] if counted == "images" else {p: sum(counts[p].values()) for p in PARTS}
    )
    empty = [part for part in PARTS[1:] if not present[part]]
    notes = [
        (
            f"WARNING: no {counted} in the {part} part, so nothing can be scored there; "
            "share it out otherwise"
        )
        for part in empty
    ]
    for name, learnt in counts["train"].items():
        seen = [
            f"{plural(number, counted.removesuffix('s'))} in {part}"
            for part in PARTS[1:]
            if (number := counts[part][name])
        ]
        if seen and not learnt:
            notes.append(
                f"WARNING: class {name}: {' and '.join(seen)}, none in train, so it cannot be found"
            )
    return notes


def _counted(task: Task, dataset: Dataset, splits: Splits) -> dict[str, Any]:
    """counts: of each class in each part; pictures: how many images there are. Where a class counts
    something else than images also what, and how many images are without any."""
    parts = {part: [dataset.samples[i] for i in getattr(splits, part)] for part in PARTS}
    count, counted = task.parts.data.class_counts, task.parts.data.COUNTED
    found: dict[str, Any] = {
        "counts": {part: count(samples, dataset.classes) for part, samples in parts.items()},
        "pictures": {part: len(samples) for part, samples in parts.items()},
    }
    if counted == "images":
        return found
    empty = {
        part: sum(not any(count([sample], dataset.classes).values()) for sample in samples)
        for part, samples in parts.items()
    }
    return found | {"counted": counted, "empty": empty}
