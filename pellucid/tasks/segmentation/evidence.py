"""All figures of segmentation with intervals, from the records of a metric."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...core.types import IGNORE
from ...metrics import segmentation
from ...metrics.segmentation import Estimate, Units

Record = Mapping[str, np.ndarray]


def encode(value: Any) -> np.ndarray:
    """A text, or a list of texts, as an array: JSON in UTF-8."""
    return np.frombuffer(json.dumps(value, ensure_ascii=False).encode(), np.uint8)


def decode(array: np.ndarray) -> Any:
    return json.loads(array.tobytes().decode())


@dataclass(frozen=True)
class Part:
    """Some of the records, in the sorted order of their sources, and what is resampled of them."""

    rows: list[Record]
    units: Units

    @staticmethod
    def of(
        records: Mapping[str, Record], accept: Callable[[Record], bool] = lambda row: True
    ) -> Part:
        sources = [source for source in sorted(records) if accept(records[source])]
        rows = [records[source] for source in sources]
        return Part(rows, Units([_unit(*each) for each in zip(sources, rows, strict=True)]))

    @property
    def counts(self) -> np.ndarray:
        """int64 P×3×K."""
        return np.stack([row["counts"] for row in self.rows])

    @property
    def rand(self) -> np.ndarray:
        return np.array([row["rand"][0] for row in self.rows])


def _unit(source: str, row: Record) -> str:
    # A group is told from an image of the same name.
    return (
        f"group {row['group'].tobytes().decode(errors='surrogateescape')}"
        if "group" in row
        else f"picture {source}"
    )


def compute_evidence(
    records: Mapping[str, Record], classes: Sequence[str], rand: bool
) -> dict[str, Any]:
    """rand: whether the Rand score is reported even where it is undefined everywhere."""
    part = Part.of(records)
    left_out = set() if rand or np.isfinite(part.rand).any() else {"rand"}
    left_out |= {"dice_whole"} if len(classes) == 2 else set()
    scores = {
        name: estimate(part).score() for name, estimate in ESTIMATES.items() if name not in left_out
    }
    return {
        **scores,
        "per_class": {name: _of_class(part, number) for number, name in enumerate(classes)},
        "kinds": _kinds(records),
        "annotators": _annotators(records),
        "distances": _distances(part, classes),
        "pictures": len(part.rows),
        "units": {"count": part.units.count, "name": part.units.name},
    }


def _of_class(part: Part, number: int) -> dict[str, Any]:
    """Scores of all pixels together, and the share of the target pixels that are of this class."""
    whole, mine = part.counts[:, 1].sum(), part.counts[..., [number]]

    def estimate(score: Callable[[np.ndarray], np.ndarray]) -> dict[str, Any]:
        return part.units.pixels(mine, lambda sums: score(sums)[..., 0]).score()

    return {
        "dice": estimate(segmentation.dice),
        "iou": estimate(segmentation.iou),
        "precision": estimate(segmentation.precision),
        "recall": estimate(segmentation.recall),
        "share": float(mine[:, 1].sum() / whole) if whole else None,
        "pictures": int((mine[:, 1] > 0).sum()),
    }


def _kinds(records: Mapping[str, Record]) -> dict[str, dict[str, Any]]:
    """Of the images of each kind: means over images, all classes but the background in one sum.
    empty: how many targets have none; clean: how many results of these have none either."""
    kinds = sorted({decode(row["kind"]) for row in records.values()} - {""})
    return {kind: _of_kind(records, kind) for kind in kinds}


def _of_kind(records: Mapping[str, Record], kind: str) -> dict[str, Any]:
    part = Part.of(records, lambda row: decode(row["kind"]) == kind)
    found = segmentation.together(part.counts[..., 1:])
    empty = found[:, 1, 0] == 0
    return {
        "pictures": len(part.rows),
        "empty": int(empty.sum()),
        "clean": int((empty & (found[:, 2, 0] == 0)).sum()),
        "iou": part.units.pictures(segmentation.mean_iou(found)).score(),
        "dice": part.units.pictures(segmentation.mean_dice(found)).score(),
    }


def _annotators(records: Mapping[str, Record]) -> dict[str, dict[str, Any]]:
    """Of each further annotator, on the images that it drew: `dice` and `iou` against the target;
    `network`, the Dice of the results against the target, and `network_against`, against this
    annotator."""
    names = sorted({name for row in records.values() for name in decode(row["annotators"])})
    return {name: _of_annotator(records, name) for name in names}


def _of_annotator(records: Mapping[str, Record], name: str) -> dict[str, Any]:
    part = Part.of(records, lambda row: name in decode(row["annotators"]))
    others = [row["others"][decode(row["annotators"]).index(name)] for row in part.rows]
    human, against = np.stack(others, axis=1)[..., 1:]
    return {
        "pictures": len(part.rows),
        "dice": part.units.pixels(human, segmentation.mean_dice).score(),
        "iou": part.units.pixels(human, segmentation.mean_iou).score(),
        "network": ESTIMATES["dice"](part).score(),
        "network_against": part.units.pixels(against, segmentation.mean_dice).score(),
    }


def _distances(part: Part, classes: Sequence[str]) -> dict[str, Any] | None:
    """Of each class but the background, the means of both distances over the images in which target
    and result have it; in millimeters where every image has a spacing. alone: in how many only one
    of the two has it. None where outlines are not compared."""
    if not all(row["answer"].size for row in part.rows):
        return None
    known = all(row["spacing"].size for row in part.rows)
    found = np.array([_outlines(row, len(classes), known) for row in part.rows])
    have = part.counts[:, 1:] > 0
    of_classes = {
        name: {
            "hausdorff95": part.units.pictures(found[:, number, 0]).distance(),
            "surface_distance": part.units.pictures(found[:, number, 1]).distance(),
            "pictures": int((~np.isnan(found[:, number, 0])).sum()),
            "alone": int((have[:, 0, number] != have[:, 1, number]).sum()),
        }
        for number, name in enumerate(classes)
        if number
    }
    return {"unit": "mm" if known else "pixels", "classes": of_classes}


def _outlines(row: Record, classes: int, known: bool) -> np.ndarray:
    """K×2: both distances of each class, NaN of the background."""
    target, answer = (
        np.frombuffer(zlib.decompress(row[name].tobytes()), np.uint8).reshape(row["shape"])
        for name in ("target", "answer")
    )
    answer = np.where(target == IGNORE, np.uint8(IGNORE), answer)
    spacing = tuple(row["spacing"].tolist()) if known else ()
    of = [
        segmentation.both_distances(target == number, answer == number, spacing)
        for number in range(1, classes)
    ]
    return np.array([(np.nan, np.nan), *of])


def _where_present(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Of images whose target has anything but background; NaN for the others."""
    return np.where(counts[:, 1, 1:].any(axis=1), values, np.nan)


ESTIMATES: dict[str, Callable[[Part], Estimate]] = {
    "dice": lambda part: part.units.pixels(part.counts[..., 1:], segmentation.mean_dice),
    "iou": lambda part: part.units.pixels(part.counts[..., 1:], segmentation.mean_iou),
    "dice_whole": lambda part: part.units.pixels(
        np.stack([row["whole"] for row in part.rows])[..., 1:], segmentation.mean_dice
    ),
    "dice_picture": lambda part: part.units.pictures(segmentation.mean_dice(part.counts[..., 1:])),
    "iou_picture": lambda part: part.units.pictures(segmentation.mean_iou(part.counts[..., 1:])),
    "iou_present": lambda part: part.units.pictures(
        _where_present(segmentation.mean_iou(part.counts[..., 1:]), part.counts)
    ),
    "pixel_accuracy": lambda part: part.units.pixels(
        segmentation.together(part.counts), segmentation.pixel_accuracy
    ),
    "rand": lambda part: part.units.pictures(part.rand),
}
