"""The result of classification."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...data.images import write
from ...plots.annotate import caption, to_rgb8


@dataclass(frozen=True, eq=False)
class ClassificationResult:
    """size: of the image, height and width. probabilities: float64, one a class, summing to 1.
    label: the class of the largest, which is the confidence. Raises ValueError for other
    probabilities."""

    source: str
    size: tuple[int, ...]
    classes: tuple[str, ...]
    probabilities: np.ndarray
    label: str = field(init=False)
    confidence: float = field(init=False)

    def __post_init__(self) -> None:
        p = np.asarray(self.probabilities, np.float64)
        if (
            p.shape != (len(self.classes),)
            or not np.isfinite(p).all()
            or p.min() < -1e-9
            or abs(p.sum() - 1) > 1e-4
        ):
            raise ValueError(
                f"{self.source}: {len(self.classes)} classes need as many probabilities that sum "
                "to 1"
            )
        best = int(p.argmax())
        object.__setattr__(self, "probabilities", p)
        object.__setattr__(self, "label", self.classes[best])
        object.__setattr__(self, "confidence", float(p[best]))

    def to_json(self) -> dict[str, Any]:
        return {
            "source": self.source,
            "size": list(self.size),
            "label": self.label,
            "confidence": self.confidence,
            "probabilities": dict(zip(self.classes, self.probabilities.tolist(), strict=True)),
        }

    def rows(self) -> list[dict[str, Any]]:
        row = {
            "source": self.source,
            "answer": self.label,
            "confidence": f"{self.confidence:.6f}",
        }
        named = zip(self.classes, self.probabilities, strict=True)
        return [row | {f"p_{name}": f"{p:.6f}" for name, p in named}]

    def summary(self) -> str:
        return f"{self.source}: {self.label} {self.confidence:.1%}"

    def labels(self) -> list[str]:
        return [self.label]

    def draw(self, image: np.ndarray, legend: bool = True) -> np.ndarray:
        """The label on a strip below the image, with and without a legend."""
        return caption(to_rgb8(image), f"{self.label}  {self.confidence:.1%}")

    def save(self, path: Path, image: np.ndarray) -> None:
        write(path, self.draw(image))

    def compact(self) -> ClassificationResult:
        return self
