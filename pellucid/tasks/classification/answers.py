"""The metric of classification: probabilities and truths of all pictures, and what they say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...core.types import Prediction


class Answers:
    """The probabilities and truths of all pictures, in the order of their sources."""

    def __init__(
        self, classes: tuple[str, ...], costs: np.ndarray | None = None, score: str = "accuracy"
    ) -> None:
        self.classes, self.costs, self.score = classes, costs, score
        self.rows_by_source: dict[str, tuple[int, np.ndarray]] = {}

    def add(self, predictions: Sequence[Prediction], targets: Sequence[int]) -> None:
        for prediction, target in zip(predictions, targets, strict=True):
            assert prediction.probabilities is not None
            self.rows_by_source[prediction.source] = (int(target), prediction.probabilities)

    def merge(self, other: Answers) -> None:
        self.rows_by_source |= other.rows_by_source

    def _arrays(self) -> tuple[np.ndarray, np.ndarray]:
        rows = [self.rows_by_source[source] for source in sorted(self.rows_by_source)]
        return np.array([target for target, _ in rows]), np.stack([p for _, p in rows])

    def quick(self) -> dict[str, float]:
        target, probabilities = self._arrays()
        accuracy = float((probabilities.argmax(1) == target).mean())
        likelihood = probabilities[np.arange(len(target)), target]
        loss = float(-np.log(np.maximum(likelihood, 1e-12)).mean())
        occurs = np.bincount(target) > 0
        recall = (
            np.bincount(target, probabilities.argmax(1) == target)[occurs]
            / np.bincount(target)[occurs]
        )
        said = {"loss": loss, "accuracy": accuracy, "balanced_accuracy": float(recall.mean())}
        return said | {"score": said[self.score]}

    def rows(self) -> list[dict[str, Any]]:
        rows = []
        for source in sorted(self.rows_by_source):
            target, p = self.rows_by_source[source]
            answer = int(p.argmax())
            row = {
                "source": source,
                "truth": self.classes[target],
                "answer": self.classes[answer],
                "confidence": f"{p[answer]:.6f}",
            }
            rows.append(
                row
                | {"correct": int(answer == target)}
                | {f"p_{name}": f"{value:.6f}" for name, value in zip(self.classes, p, strict=True)}
            )
        return rows

    def gain(self, other: Answers) -> dict[str, Any]:
        """The paired differences `gain` (of accuracy: "value", "low", "high", "interval") and
        `balanced_gain` (of balanced accuracy: "mean", "low", "high", "p"); `mcnemar`, where
        `only_a` counts pictures that are right only here; `accuracy_with` and `accuracy_without`.
        """
        from ...metrics.evidence import mcnemar, paired_bootstrap, proportion
        from ...metrics.paired import paired_bootstrap_of

        (target, ours), (_, theirs) = self._arrays(), other._arrays()
        right, right_without = ours.argmax(1) == target, theirs.argmax(1) == target
        return {
            "score": "accuracy",
            "gain": paired_bootstrap(right, right_without),
            "balanced_gain": paired_bootstrap_of(
                "balanced_accuracy", target, ours.argmax(1), theirs.argmax(1)
            ),
            "mcnemar": mcnemar(right, right_without),
            "accuracy_with": proportion(int(right.sum()), len(right)),
            "accuracy_without": proportion(int(right_without.sum()), len(right_without)),
        }

    def over_mean(self, others: Sequence[Answers]) -> dict[str, Any]:
        from ...metrics.evidence import paired_bootstrap

        right, *theirs = (
            p.argmax(1) == target for target, p in (each._arrays() for each in (self, *others))
        )
        return paired_bootstrap(right, np.mean(theirs, axis=0))

    def against(self, other: Answers) -> dict[str, Any]:
        from ...metrics.evidence import mcnemar

        (target, ours), (_, theirs) = self._arrays(), other._arrays()
        return mcnemar(ours.argmax(1) == target, theirs.argmax(1) == target)

    def sentences(self, summary: Mapping[str, Any]) -> list[str]:
        accuracy = summary["test"]["accuracy"]
        lines = [
            f"test:     {accuracy['value']:.2%} of {len(self.rows_by_source)} pictures right "
            f"(95 % interval {accuracy['low']:.2%} to {accuracy['high']:.2%})"
        ]
        if self.score == "balanced_accuracy":
            lines[0] += (
                f"; balanced {_interval(summary['test']['balanced_accuracy'])}, worst "
                f"{_worst(summary['test']['per_class'])}"
            )
        if against := summary["against_best_baseline"]:
            rival = summary["baselines"][against["baseline"]]["test"]["accuracy"]["value"]
            lines.append(
                f"baseline: {against['baseline']} gets {rival:.2%}; difference by McNemar's test p "
                f"= {against['p']:.2g}"
            )
        return lines

    def result(self) -> dict[str, Any]:
        from ...metrics.evidence import classification

        return classification(*self._arrays(), self.classes, self.costs)


def _interval(score: Mapping[str, float]) -> str:
    return f"{score['value']:.2%} ({score['low']:.2%} to {score['high']:.2%})"


def _worst(per_class: Mapping[str, Mapping[str, Any]]) -> str:
    """The class that is found least often, with its recall."""
    found = {
        name: scores["recall"]["value"] for name, scores in per_class.items() if scores["support"]
    }
    least = min(found, key=found.__getitem__)
    return f"{least} ({found[least]:.2%} found)"
