"""The metric of segmentation: of every picture how many pixels of each class agree,
and what that says."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...core.types import IGNORE, Mask, Prediction
from ...metrics import segmentation
from ...metrics.segmentation import Estimate, Units
from ...plots.formatting import plural

# Flat pictures up to which outlines are compared too: each costs about as much as it did to ask the
# network.
OUTLINED = 50
NAMES = {"dice": "Dice", "iou": "IoU", "rand": "Rand score"}


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """Of one picture. counts: 3×K, as `metrics.segmentation.counts`. others: of each further
    annotator the counts against the truth, and the network's against this annotator. whole: 3×2, of
    all classes but the background as one. rand: of its objects, where asked. answer: the mask,
    deflated, where outlines are compared at the end."""

    target: Mask
    counts: np.ndarray
    others: Mapping[str, tuple[np.ndarray, np.ndarray]]
    whole: np.ndarray
    rand: float
    answer: bytes | None


class Answers:
    """What the masks of all pictures say, in the order of their sources; no pixel is kept but,
    deflated, where outlines count.

    classes: the first one is the background, which no mean holds. score: "dice", "iou" or "rand",
    what chooses the best epoch; "rand" is costly, and computed only where it is the score or
    answers have objects parted. threshold, note: from which probability on the foreground is
    believed, and what is to be said of it. groups: source to patient, where several pictures are of
    one; intervals are then over patients. annotator: whose mask is the truth.
    """

    def __init__(
        self,
        classes: tuple[str, ...],
        score: str = "dice",
        threshold: float | None = None,
        note: str = "",
        groups: Mapping[str, str] | None = None,
        annotator: int = 0,
    ) -> None:
        self.classes, self.score = classes, score
        self.threshold, self.note = threshold, note
        self.groups, self.annotator = groups or {}, annotator
        self.rows_by_source: dict[str, Row] = {}

    def add(self, predictions: Sequence[Prediction], targets: Sequence[Mask]) -> None:
        for prediction, target in zip(predictions, targets, strict=True):
            assert prediction.mask is not None
            self.rows_by_source[prediction.source] = self._row(
                target, prediction.mask, prediction.regions
            )

    def _row(self, target: Mask, answer: np.ndarray, regions: np.ndarray | None) -> Row:
        labels, count = target.labels(self.annotator), len(self.classes)
        others = {}
        for number in set(range(len(target.packed))) - {self.annotator}:
            name, theirs = (
                target.names[number] if target.names else f"annotator {number + 1}",
                target.labels(number),
            )
            others[name] = (
                segmentation.counts(labels, theirs, count),
                segmentation.counts(theirs, answer, count),
            )
        rand = (
            segmentation.rand_score(labels, answer, regions)
            if self.score == "rand" or regions is not None
            else float("nan")
        )
        kept = answer.ndim == 3 or len(self.rows_by_source) < OUTLINED
        packed = zlib.compress(np.ascontiguousarray(answer).tobytes(), 1) if kept else None
        found = segmentation.counts(labels, answer, count)
        whole = (
            found if count == 2 else segmentation.counts(_anything(labels), _anything(answer), 2)
        )
        return Row(target, found, others, whole, rand, packed)

    def merge(self, other: Answers) -> None:
        self.rows_by_source |= other.rows_by_source

    def _rows(self) -> list[Row]:
        return [self.rows_by_source[source] for source in sorted(self.rows_by_source)]

    def _divided(self, rows: Sequence[Row]) -> bool:
        """Whether objects are compared too."""
        return self.score == "rand" or bool(np.isfinite([row.rand for row in rows]).any())

    def _units(self, sources: Sequence[str]) -> Units:
        # A group is told from a picture of the same name.
        return Units(
            [
                f"group {self.groups[source]}" if source in self.groups else f"picture {source}"
                for source in sources
            ]
        )

    def quick(self) -> dict[str, float]:
        """0 where nothing is there and nothing is said."""
        rows = self._rows()
        found = _counts(rows).sum(axis=0)
        scores = {
            "dice": segmentation.mean_dice(found[:, 1:]),
            "iou": segmentation.mean_iou(found[:, 1:]),
            "pixel_accuracy": segmentation.pixel_accuracy(found),
        }
        if self._divided(rows):
            scores["rand"] = segmentation.mean_defined(np.array([row.rand for row in rows]))
        said = {name: float(np.nan_to_num(value)) for name, value in scores.items()}
        return said | {"score": said[self.score]}

    def result(self) -> dict[str, Any]:
        """Scores with intervals, ready for JSON: `dice` and `iou` are means over the classes but
        the background, of all pixels together; `dice_picture` and `iou_picture` of each picture
        first. See docs/metrics_segmentation.md."""
        rows, units = self._rows(), self._units(sorted(self.rows_by_source))
        found = _counts(rows)
        left_out = {"rand"} if not self._divided(rows) else set()
        left_out |= {"dice_whole"} if len(self.classes) == 2 else set()
        scores = {
            name: estimate(rows, units).score()
            for name, estimate in ESTIMATES.items()
            if name not in left_out
        }
        stated = (
            {}
            if self.threshold is None
            else {"threshold": {"value": self.threshold, "note": self.note}}
        )
        return {
            **scores,
            "per_class": {
                name: _of_class(units, found, number) for number, name in enumerate(self.classes)
            },
            "kinds": self._kinds(),
            "annotators": self._annotators(),
            "distances": self._distances(),
            "pictures": len(rows),
            "units": {"count": units.count, "name": units.name},
            **stated,
        }

    def _part(self, which: Callable[[Row], bool]) -> tuple[list[Row], Units]:
        """Some of the pictures, and what chance draws of them."""
        sources = [
            source for source in sorted(self.rows_by_source) if which(self.rows_by_source[source])
        ]
        return [self.rows_by_source[source] for source in sources], self._units(sources)

    def _kinds(self) -> dict[str, dict[str, Any]]:
        """Of the pictures of each kind, where kinds are told: means over pictures of the foreground
        in one sum. empty: how many have none; clean: in how many of these none is said."""
        said = {}
        for kind in sorted({row.target.kind for row in self._rows()} - {""}):
            rows, units = self._part(lambda row, kind=kind: row.target.kind == kind)  # type: ignore[misc]
            found = segmentation.together(_counts(rows)[..., 1:])
            empty = found[:, 1, 0] == 0
            said[kind] = {
                "pictures": len(rows),
                "empty": int(empty.sum()),
                "clean": int((empty & (found[:, 2, 0] == 0)).sum()),
                "iou": units.pictures(segmentation.mean_iou(found)).score(),
                "dice": units.pictures(segmentation.mean_dice(found)).score(),
            }
        return said

    def _annotators(self) -> dict[str, dict[str, Any]]:
        """Of each further annotator, on the pictures that it drew: `dice` and `iou` against the
        truth; `network`, the network's Dice against the truth, and `network_against`, against this
        annotator."""
        said = {}
        for name in sorted({name for row in self._rows() for name in row.others}):
            rows, units = self._part(lambda row, name=name: name in row.others)  # type: ignore[misc]
            human, against = (
                np.stack([row.others[name][place] for row in rows])[..., 1:] for place in (0, 1)
            )
            said[name] = {
                "pictures": len(rows),
                "dice": units.pixels(human, segmentation.mean_dice).score(),
                "iou": units.pixels(human, segmentation.mean_iou).score(),
                "network": ESTIMATES["dice"](rows, units).score(),
                "network_against": units.pixels(against, segmentation.mean_dice).score(),
            }
        return said

    def _distances(self) -> dict[str, Any] | None:
        """Of each class but the background, the means of both distances over the pictures in which
        truth and answer have it; in millimetres where every picture says its spacing. alone: in how
        many only one of the two has it, so that there is no distance."""
        rows, units = self._rows(), self._units(sorted(self.rows_by_source))
        if any(row.answer is None for row in rows):
            return None
        known = all(row.target.spacing for row in rows)
        found = np.array([self._outlines(row, known) for row in rows])
        have = _counts(rows)[:, 1:] > 0
        classes = {
            name: {
                "hausdorff95": units.pictures(found[:, number, 0]).distance(),
                "surface_distance": units.pictures(found[:, number, 1]).distance(),
                "pictures": int((~np.isnan(found[:, number, 0])).sum()),
                "alone": int((have[:, 0, number] != have[:, 1, number]).sum()),
            }
            for number, name in enumerate(self.classes)
            if number
        }
        return {"unit": "mm" if known else "pixels", "classes": classes}

    def _outlines(self, row: Row, known: bool) -> np.ndarray:
        """K×2: both distances of each class, NaN of the background."""
        assert row.answer is not None
        target = row.target.labels(self.annotator)
        answer = np.frombuffer(zlib.decompress(row.answer), np.uint8).reshape(target.shape)
        answer = np.where(target == IGNORE, np.uint8(IGNORE), answer)
        spacing = row.target.spacing if known and row.target.spacing else ()
        of = [
            segmentation.both_distances(target == number, answer == number, spacing)
            for number in range(1, len(self.classes))
        ]
        return np.array([(np.nan, np.nan), *of])

    def rows(self) -> list[dict[str, Any]]:
        """truth, answer: the share of each class that there is. iou and each Dice: empty where
        neither has the class. correct: the share of right pixels."""
        rows = []
        for source in sorted(self.rows_by_source):
            found = self.rows_by_source[source].counts
            rows.append(
                {
                    "source": source,
                    "truth": self._shares(found[1]),
                    "answer": self._shares(found[2]),
                    "correct": _told(segmentation.pixel_accuracy(found)),
                    "iou": _told(segmentation.mean_iou(found[:, 1:])),
                }
                | {
                    f"dice_{name}": _told(value)
                    for name, value in zip(
                        self.classes[1:], segmentation.dice(found)[1:], strict=True
                    )
                }
            )
        return rows

    def _shares(self, pixels: np.ndarray) -> str:
        """`background 91.20 %, vessel 8.80 %`; `nothing` where no pixel is asked about."""
        whole = pixels.sum()
        told = [
            f"{name} {count / whole:.2%}"
            for name, count in zip(self.classes, pixels.tolist(), strict=True)
            if count
        ]
        return ", ".join(told).replace("%", " %") or "nothing"

    def _estimate(self, score: str) -> Estimate:
        return ESTIMATES[score](self._rows(), self._units(sorted(self.rows_by_source)))

    def gain(self, other: Answers) -> dict[str, Any]:
        """`score`, and `gain` in it (as `metrics.segmentation.gain`, with its p); the same of the
        other one of Dice and IoU as `dice_gain` or `iou_gain`; `with` and `without`, the scores
        themselves."""
        beside = "dice" if self.score == "iou" else "iou"
        found = self._gain(self.score, other)
        return {
            "score": self.score,
            "gain": found,
            f"{beside}_gain": self._gain(beside, other),
            f"{self.score}_with": found["ours"],
            f"{self.score}_without": found["theirs"],
        }

    def _gain(self, score: str, *others: Answers) -> dict[str, Any]:
        if any(other.rows_by_source.keys() != self.rows_by_source.keys() for other in others):
            raise ValueError("a paired test needs the same pictures for all answers")
        return segmentation.gain(
            self._estimate(score), *(other._estimate(score) for other in others)
        )

    def over_mean(self, others: Sequence[Answers]) -> dict[str, Any]:
        return self._gain(self.score, *others)

    def against(self, other: Answers) -> dict[str, Any]:
        found = self._gain(self.score, other)
        return {
            "score": self.score,
            "difference": found,
            "pictures": len(self.rows_by_source),
            "p": found["p"],
            "test": "paired bootstrap",
        }

    def sentences(self, summary: Mapping[str, Any]) -> list[str]:
        test = summary["test"]
        first = [name for name in ("rand", "dice", "iou") if name in test]
        lines = [
            "test:     "
            + ", ".join(f"{NAMES[name]} {_said(test[name])}" for name in first)
            + f", {plural(test['pictures'], 'picture')}"
        ]
        beside = [
            (
                f"{name} agrees with the truth to a Dice of {of['dice']['value']:.1%}, the network "
                f"to {of['network']['value']:.1%}"
            )
            for name, of in test["annotators"].items()
            if of["dice"]["value"] is not None and of["network"]["value"] is not None
        ]
        beside += [self.note] if self.note else []
        return [*lines, f"          {'; '.join(beside)}"] if beside else lines


def _of_class(units: Units, found: np.ndarray, number: int) -> dict[str, Any]:
    """Scores of all pixels together, and the share of the truth's pixels that are of this class."""
    whole, mine = found[:, 1].sum(), found[..., [number]]
    scores = {
        "dice": segmentation.dice,
        "iou": segmentation.iou,
        "precision": segmentation.precision,
        "recall": segmentation.recall,
    }
    said = {
        name: units.pixels(mine, lambda sums, of=of: of(sums)[..., 0]).score()
        for name, of in scores.items()
    }  # type: ignore[misc]
    return {
        **said,
        "share": float(mine[:, 1].sum() / whole) if whole else None,
        "pictures": int((mine[:, 1] > 0).sum()),
    }


def _anything(labels: np.ndarray) -> np.ndarray:
    """uint8: 1 for all classes but the background."""
    return np.where(labels == IGNORE, IGNORE, labels > 0).astype(np.uint8)


def _where_there(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Of pictures whose truth has anything but background; NaN for the others."""
    return np.where(counts[:, 1, 1:].any(axis=1), values, np.nan)


def _counts(rows: Sequence[Row]) -> np.ndarray:
    return np.stack([row.counts for row in rows])


# A score of pictures, and what resamples of them say.
ESTIMATES: dict[str, Callable[[Sequence[Row], Units], Estimate]] = {
    "dice": lambda rows, units: units.pixels(_counts(rows)[..., 1:], segmentation.mean_dice),
    "iou": lambda rows, units: units.pixels(_counts(rows)[..., 1:], segmentation.mean_iou),
    "dice_whole": lambda rows, units: units.pixels(
        np.stack([row.whole for row in rows])[..., 1:], segmentation.mean_dice
    ),
    "dice_picture": lambda rows, units: units.pictures(
        segmentation.mean_dice(_counts(rows)[..., 1:])
    ),
    "iou_picture": lambda rows, units: units.pictures(
        segmentation.mean_iou(_counts(rows)[..., 1:])
    ),
    "iou_present": lambda rows, units: units.pictures(
        _where_there(segmentation.mean_iou(_counts(rows)[..., 1:]), _counts(rows))
    ),
    "pixel_accuracy": lambda rows, units: units.pixels(
        segmentation.together(_counts(rows)), segmentation.pixel_accuracy
    ),
    "rand": lambda rows, units: units.pictures(np.array([row.rand for row in rows])),
}


def _told(value: Any) -> str:
    return "" if np.isnan(value) else f"{value:.6f}"


def _said(score: Mapping[str, Any]) -> str:
    """With its 95 % interval."""
    if score["value"] is None:
        return "undefined"
    reach = (
        "no interval: too few pictures"
        if score["low"] is None
        else f"{score['low']:.1%} to {score['high']:.1%}"
    )
    return f"{score['value']:.1%} ({reach})"
