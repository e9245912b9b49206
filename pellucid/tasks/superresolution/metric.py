"""The metric of super-resolution: PSNR and SSIM of the results, and of bicubic upscaling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from ...core.errors import UsageError
from ...metrics.image_quality import psnr, ssim
from ...metrics.significance import Score, paired_bootstrap
from ...transforms.resize import bicubic_array
from .degradation import Reference, upscale_bicubic
from .inference import SuperResolutionInference
from .preprocess import SuperResolutionPreprocess
from .result import SuperResolutionResult


class SuperResolutionMetric:
    """upscale: so many pixels of the border do not count. channels, bits: of the high-resolution
    images as they are compared. records: for each source `size`, int64 (height, width) of its
    result; `psnr` in dB and `ssim`, float64, of the result and of bicubic upscaling."""

    SCORES: ClassVar[tuple[str, ...]] = ("psnr", "ssim")

    def __init__(self, upscale: int, channels: int, bits: int = 8, score: str = "psnr") -> None:
        self.upscale, self.channels, self.bits, self.score = upscale, channels, bits, score
        self.records: dict[str, dict[str, np.ndarray]] = {}

    @classmethod
    def create(
        cls,
        preprocess: SuperResolutionPreprocess,
        inference: SuperResolutionInference,
        score: str | None = None,
        costs: np.ndarray | None = None,
    ) -> SuperResolutionMetric:
        if costs is not None:
            raise UsageError(
                "costs: are of answers in words; a picture is judged by how near it comes to the "
                "sharp one"
            )
        p = preprocess
        return cls(p.upscale, p.channels, p.bits, score or cls.SCORES[0])

    def add(self, results: Sequence[SuperResolutionResult], targets: Sequence[Reference]) -> None:
        for result, target in zip(results, targets, strict=True):
            high = target.pixels(self.channels, self.bits, self.upscale)
            low = bicubic_array(high, 1 / self.upscale)
            both = [result.image, upscale_bicubic(low, self.upscale)]
            self.records[result.source] = {
                "size": np.array(high.shape[:2], np.int64),
                "psnr": np.array([self._psnr(image, high) for image in both]),
                "ssim": np.array([self._ssim(image, high) for image in both]),
            }

    def scores(self) -> dict[str, float]:
        means = {name: float(self._values(name)[0].mean()) for name in self.SCORES}
        return means | {"score": means[self.score]}

    def evidence(self) -> dict[str, Any]:
        """Means over the images. `psnr_gain`, `ssim_gain`: what the results gain over bicubic
        upscaling."""
        values = {name: self._values(name) for name in self.SCORES}
        return {
            "pictures": len(self.records),
            "factor": self.upscale,
            **{name: _mean(own) for name, (own, _) in values.items()},
            **{f"{name}_bicubic": _mean(bicubic) for name, (_, bicubic) in values.items()},
            **{f"{name}_gain": _mean(own - bicubic) for name, (own, bicubic) in values.items()},
        }

    def rows(self) -> list[dict[str, Any]]:
        """truth: the size of the high-resolution image, which is that of the result."""
        return [_row(source, record) for source, record in sorted(self.records.items())]

    def resample(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        with np.errstate(invalid="ignore"):
            return {name: weights @ self._values(name)[0] / weights.sum(1) for name in self.SCORES}

    def _psnr(self, image: np.ndarray, high: np.ndarray) -> float:
        return psnr(image, high, self.upscale, 2.0**self.bits - 1)

    def _ssim(self, image: np.ndarray, high: np.ndarray) -> float:
        found = ssim(image, high, self.upscale, 2.0**self.bits - 1)
        assert found is not None  # `views` refuses images without one whole window
        return found

    def _values(self, name: str) -> np.ndarray:
        """2×N: of the results and of bicubic upscaling, in the sorted order of the sources."""
        columns = [self.records[source][name] for source in sorted(self.records)]
        return np.ascontiguousarray(np.stack(columns, axis=1))


def _row(source: str, record: dict[str, np.ndarray]) -> dict[str, Any]:
    height, width = record["size"].tolist()
    size = f"{width}×{height}"
    scores = {
        f"{name}{of}": f"{record[name][number]:.4f}"
        for number, of in enumerate(("", "_bicubic"))
        for name in SuperResolutionMetric.SCORES
    }
    return {"source": source, "truth": size, "answer": size} | scores


def _mean(values: np.ndarray) -> Score:
    """With a bootstrap interval over images; without one for a single image."""
    if len(values) < 2:
        return {"value": float(values.mean()), "low": None, "high": None, "interval": None}
    return paired_bootstrap(values, np.zeros(len(values)))
