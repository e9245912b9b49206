"""The metric of classification."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from ..image_preprocess import ImagePreprocess
from .inference import ClassificationInference
from .result import ClassificationResult


class ClassificationMetric:
    """costs: float64 C×C, the cost of answering the column where the row is right; None for none.
    records: for each source `target`, int64, and `probabilities`, float64 C."""

    SCORES: ClassVar[tuple[str, ...]] = ("accuracy", "balanced_accuracy")

    def __init__(
        self,
        classes: tuple[str, ...],
        score: str = "accuracy",
        costs: np.ndarray | None = None,
    ) -> None:
        self.classes, self.score, self.costs = classes, score, costs
        self.records: dict[str, dict[str, np.ndarray]] = {}

    @classmethod
    def create(
        cls,
        preprocess: ImagePreprocess,
        inference: ClassificationInference,
        score: str | None = None,
        costs: np.ndarray | None = None,
    ) -> ClassificationMetric:
        return cls(inference.classes, score or cls.SCORES[0], costs)

    def add(self, results: Sequence[ClassificationResult], targets: Sequence[int]) -> None:
        for result, target in zip(results, targets, strict=True):
            self.records[result.source] = {
                "target": np.array(int(target)),
                "probabilities": result.probabilities,
            }

    def scores(self) -> dict[str, float]:
        """`loss`: cross-entropy in nats. `balanced_accuracy`: the mean recall of the classes that
        occur. `score`: of these the one that chooses the best epoch."""
        target, probabilities = self._arrays()
        right = probabilities.argmax(1) == target
        likelihood = probabilities[np.arange(len(target)), target]
        support = np.bincount(target)
        occurs = support > 0
        recall = np.bincount(target, right)[occurs] / support[occurs]
        found = {
            "loss": float(-np.log(np.maximum(likelihood, 1e-12)).mean()),
            "accuracy": float(right.mean()),
            "balanced_accuracy": float(recall.mean()),
        }
        return found | {"score": found[self.score]}

    def evidence(self) -> dict[str, Any]:
        from ...metrics.classification import classification

        return classification(*self._arrays(), self.classes, self.costs)

    def rows(self) -> list[dict[str, Any]]:
        return [self._row(source) for source in sorted(self.records)]

    def resample(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        from ...metrics.classification import resample

        target, probabilities = self._arrays()
        return resample(target, probabilities.argmax(1), weights)

    def _row(self, source: str) -> dict[str, Any]:
        target, p = int(self.records[source]["target"]), self.records[source]["probabilities"]
        answer = int(p.argmax())
        row = {
            "source": source,
            "truth": self.classes[target],
            "answer": self.classes[answer],
            "confidence": f"{p[answer]:.6f}",
            "correct": int(answer == target),
        }
        named = zip(self.classes, p, strict=True)
        return row | {f"p_{name}": f"{value:.6f}" for name, value in named}

    def _arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """int64 N and float64 N×C, in the sorted order of the sources."""
        rows = [self.records[source] for source in sorted(self.records)]
        targets = np.array([int(row["target"]) for row in rows])
        return targets, np.stack([row["probabilities"] for row in rows])
