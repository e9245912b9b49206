"""The metric of segmentation: how many pixels of each class agree in each image."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from ...core.errors import UsageError
from ...core.types import IGNORE, Mask
from ...metrics import segmentation
from .evidence import compute_evidence, encode
from .inference import SegmentationInference
from .preprocess import SegmentationPreprocess
from .result import SegmentationResult

# Up to how many flat images outlines are compared too: each costs about as much as its forward
# pass.
OUTLINED = 50


class SegmentationMetric:
    """classes: the first one is the background, which no mean includes. score: "dice", "iou" or
    "rand"; "rand" is costly, and computed only where it is the score or objects were separated.
    threshold: the least probability of the foreground. annotator: whose masks are the targets.

    records: for each source `counts`, int64 3×K, as `metrics.segmentation.counts`; `whole`, int64
    3×2, the same with all classes but the background as one; `rand`, float64 1, NaN where it was
    not computed; `others`, int64 A×2×3×K, of each further annotator the counts against the target,
    and those of the result against this annotator, and `annotators`, their names; `kind`, of the
    image; `spacing`, float64; `shape`, int64, `target` and `answer`, both masks deflated, empty
    where outlines are not compared. Names are JSON, uint8 (see `evidence.encode`). A record may
    also have `group`, the patient or original that images share, uint8 of UTF-8: intervals are then
    over groups.
    """

    SCORES: ClassVar[tuple[str, ...]] = ("dice", "iou", "rand")

    def __init__(
        self,
        classes: tuple[str, ...],
        score: str = "dice",
        threshold: float | None = None,
        annotator: int = 0,
    ) -> None:
        self.classes, self.score = classes, score
        self.threshold, self.annotator = threshold, annotator
        self.records: dict[str, dict[str, np.ndarray]] = {}

    @classmethod
    def create(
        cls,
        preprocess: SegmentationPreprocess,
        inference: SegmentationInference,
        score: str | None = None,
        costs: np.ndarray | None = None,
    ) -> SegmentationMetric:
        if costs is not None:
            raise UsageError("costs: are of answers about whole pictures; leave it out")
        return cls(
            inference.classes,
            score or cls.SCORES[0],
            inference.threshold,
            max(inference.annotator, 0),
        )

    def add(self, results: Sequence[SegmentationResult], targets: Sequence[Mask]) -> None:
        for result, target in zip(results, targets, strict=True):
            outlined = result.mask.ndim == 3 or len(self.records) < OUTLINED
            self.records[result.source] = {
                **self._counted(result, target),
                **self._of_annotators(result, target),
                "kind": encode(target.kind),
                "spacing": np.array(target.spacing or (), np.float64),
                **self._masks(result, target, outlined),
            }

    def scores(self) -> dict[str, float]:
        """0 where neither targets nor results have anything but background."""
        rows = [self.records[source] for source in sorted(self.records)]
        counts = np.stack([row["counts"] for row in rows]).sum(axis=0)
        found = {
            "dice": segmentation.mean_dice(counts[:, 1:]),
            "iou": segmentation.mean_iou(counts[:, 1:]),
            "pixel_accuracy": segmentation.pixel_accuracy(counts),
        }
        rand = np.array([row["rand"][0] for row in rows])
        if self.score == "rand" or np.isfinite(rand).any():
            found["rand"] = segmentation.mean_defined(rand)
        numbers = {name: float(np.nan_to_num(value)) for name, value in found.items()}
        return numbers | {"score": numbers[self.score]}

    def evidence(self) -> dict[str, Any]:
        """`dice` and `iou`: means over the classes but the background, of all pixels together;
        `dice_picture` and `iou_picture`: of each image first. See docs/metrics_segmentation.md."""
        found = compute_evidence(self.records, self.classes, rand=self.score == "rand")
        if self.threshold is None:
            return found
        return found | {"threshold": {"value": self.threshold, "note": ""}}

    def rows(self) -> list[dict[str, Any]]:
        """truth, answer: the share of each class that is present. iou and each Dice: empty where
        neither has the class. correct: the share of right pixels."""
        return [self._row(source) for source in sorted(self.records)]

    def resample(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        rows = [self.records[source] for source in sorted(self.records)]
        counts = np.stack([row["counts"] for row in rows])[..., 1:]
        drawn = np.tensordot(weights, counts.astype(np.float64), axes=1)
        rand = np.array([row["rand"][0] for row in rows])
        return {
            "dice": segmentation.mean_dice(drawn),
            "iou": segmentation.mean_iou(drawn),
            "rand": segmentation.weighted_means(rand, weights),
        }

    def _counted(self, result: SegmentationResult, target: Mask) -> dict[str, np.ndarray]:
        labels, answer, count = target.labels(self.annotator), result.mask, len(self.classes)
        counts = segmentation.counts(labels, answer, count)
        asked = self.score == "rand" or result.regions.size > 0
        rand = segmentation.rand_score(labels, answer, result.regions) if asked else np.nan
        whole = (
            counts
            if count == 2
            else segmentation.counts(_foreground(labels), _foreground(answer), 2)
        )
        return {"counts": counts, "whole": whole, "rand": np.array([rand])}

    def _of_annotators(self, result: SegmentationResult, target: Mask) -> dict[str, np.ndarray]:
        count, labels = len(self.classes), target.labels(self.annotator)
        numbers = sorted(set(range(len(target.packed))) - {self.annotator})
        names = [target.names[n] if target.names else f"annotator {n + 1}" for n in numbers]
        others = [
            [
                segmentation.counts(labels, theirs, count),
                segmentation.counts(theirs, result.mask, count),
            ]
            for theirs in map(target.labels, numbers)
        ]
        return {
            "annotators": encode(names),
            "others": np.array(others, np.int64).reshape(-1, 2, 3, count),
        }

    def _masks(
        self, result: SegmentationResult, target: Mask, outlined: bool
    ) -> dict[str, np.ndarray]:
        answer = zlib.compress(np.ascontiguousarray(result.mask).tobytes(), 1)
        both = {"target": target.packed[self.annotator], "answer": answer} if outlined else {}
        shape = {"shape": np.array(target.shape, np.int64)}
        return shape | {
            name: np.frombuffer(both.get(name, b""), np.uint8) for name in ("target", "answer")
        }

    def _row(self, source: str) -> dict[str, Any]:
        counts = self.records[source]["counts"]
        named = zip(self.classes[1:], segmentation.dice(counts)[1:], strict=True)
        return {
            "source": source,
            "truth": self._shares(counts[1]),
            "answer": self._shares(counts[2]),
            "correct": _number(segmentation.pixel_accuracy(counts)),
            "iou": _number(segmentation.mean_iou(counts[:, 1:])),
        } | {f"dice_{name}": _number(value) for name, value in named}

    def _shares(self, pixels: np.ndarray) -> str:
        """`background 91.20 %, vessel 8.80 %`; `nothing` where all pixels are ignored."""
        whole = pixels.sum()
        named = zip(self.classes, pixels.tolist(), strict=True)
        parts = [f"{name} {count / whole:.2%}" for name, count in named if count]
        return ", ".join(parts).replace("%", " %") or "nothing"


def _foreground(labels: np.ndarray) -> np.ndarray:
    """uint8: 1 for all classes but the background."""
    return np.where(labels == IGNORE, IGNORE, labels > 0).astype(np.uint8)


def _number(value: Any) -> str:
    return "" if np.isnan(value) else f"{value:.6f}"
