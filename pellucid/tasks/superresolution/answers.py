"""The metric of super-resolution: how near each picture comes to the sharp one, and what bicubic
enlargement reaches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ...core.types import Prediction
from ...metrics.evidence import paired_bootstrap
from ...metrics.image_quality import psnr, ssim
from ...plots.formatting import plural, said
from ...transforms.resize import bicubic_array
from .pictures import Original, enlarged

Score = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """Of one picture: its size as it became (width×height), PSNR in dB and SSIM of the answer and
    of bicubic enlargement."""

    size: str
    psnr: float
    ssim: float
    psnr_bicubic: float
    ssim_bicubic: float


SCORES = ("psnr", "ssim", "psnr_bicubic", "ssim_bicubic")


class Answers:
    """What was said of all pictures, in the order of their sources; the pictures themselves are not
    kept.

    factor: so many pixels of the border do not count. channels, bits: of the sharp pictures as they
    are compared. score: "psnr" or "ssim".
    """

    def __init__(self, factor: int, channels: int, bits: int, score: str = "psnr") -> None:
        self.factor, self.channels, self.bits, self.score = factor, channels, bits, score
        self.rows_by_source: dict[str, Row] = {}

    def add(self, predictions: Sequence[Prediction], targets: Sequence[Original]) -> None:
        for prediction, target in zip(predictions, targets, strict=True):
            assert prediction.picture is not None
            sharp = target.pixels(self.channels, self.bits, self.factor)
            blurred = enlarged(bicubic_array(sharp, 1 / self.factor), self.factor)
            height, width = sharp.shape[:2]
            found = (*self._fidelity(prediction.picture, sharp), *self._fidelity(blurred, sharp))
            self.rows_by_source[prediction.source] = Row(f"{width}×{height}", *found)

    def _fidelity(self, picture: np.ndarray, sharp: np.ndarray) -> tuple[float, float]:
        peak = 2.0**self.bits - 1
        alike = ssim(picture, sharp, self.factor, peak)
        assert alike is not None  # the room refuses pictures without one whole window
        return psnr(picture, sharp, self.factor, peak), alike

    def merge(self, other: Answers) -> None:
        self.rows_by_source |= other.rows_by_source

    def _column(self, name: str) -> np.ndarray:
        return np.array(
            [getattr(self.rows_by_source[source], name) for source in sorted(self.rows_by_source)]
        )

    def quick(self) -> dict[str, float]:
        means = {name: float(self._column(name).mean()) for name in ("psnr", "ssim")}
        return means | {"score": means[self.score]}

    def result(self) -> dict[str, Any]:
        """Means over the pictures, with intervals; `gain` and `ssim_gain`, those over bicubic
        enlargement, picture by picture."""
        scores = {name: _mean(self._column(name)) for name in SCORES}
        gains = {
            f"{name}_gain": _mean(self._column(name) - self._column(f"{name}_bicubic"))
            for name in ("psnr", "ssim")
        }
        return {"pictures": len(self.rows_by_source), "factor": self.factor, **scores, **gains}

    def rows(self) -> list[dict[str, Any]]:
        """truth: the size of the sharp picture, which is that of the answer."""
        return [
            {"source": source, "truth": row.size, "answer": row.size}
            | {name: f"{value:.4f}" for name, value in asdict(row).items() if name in SCORES}
            for source, row in sorted(self.rows_by_source.items())
        ]

    def gain(self, other: Answers) -> dict[str, Any]:
        """`score`, `gain` in it, `with` and `without`, the scores themselves."""
        return {
            "score": self.score,
            "gain": _mean(self._column(self.score) - other._column(self.score)),
            f"{self.score}_with": _mean(self._column(self.score)),
            f"{self.score}_without": _mean(other._column(self.score)),
        }

    def over_mean(self, others: Sequence[Answers]) -> dict[str, Any]:
        return _mean(
            self._column(self.score)
            - np.mean([each._column(self.score) for each in others], axis=0)
        )

    def against(self, other: Answers) -> dict[str, Any]:
        from scipy.stats import wilcoxon

        apart = self._column(self.score) - other._column(self.score)
        p = float(wilcoxon(apart).pvalue) if apart.any() else 1.0
        test = "Wilcoxon's signed ranks, two-sided"
        return {
            "score": self.score,
            "difference": _mean(apart),
            "pictures": len(apart),
            "p": p,
            "test": test,
        }

    def sentences(self, summary: Mapping[str, Any]) -> list[str]:
        test = summary["test"]
        gained = test["psnr_gain"]["value"]
        beside = f"{abs(gained):.2f} dB {'above' if gained >= 0 else 'below'} bicubic"
        return [
            (
                f"test:     {_reaching('psnr', test['psnr'])}, {beside}, "
                f"{plural(test['pictures'], 'picture')} enlarged ×{test['factor']}"
            ),
            (
                f"          SSIM {_reaching('ssim', test['ssim'])}, of bicubic "
                f"{said('ssim', test['ssim_bicubic']['value'])}"
            ),
        ]


def _mean(values: np.ndarray) -> Score:
    """With a bootstrap interval over pictures; without one for a single picture."""
    if len(values) < 2:
        return {"value": float(values.mean()), "low": None, "high": None, "interval": None}
    return paired_bootstrap(values, np.zeros(len(values)))


def _reaching(name: str, score: Score) -> str:
    ends = (
        ("no interval: one picture",)
        if score["low"] is None
        else (said(name, score[end]).split()[0] for end in ("low", "high"))
    )
    reach = " to ".join(ends)
    return f"{said(name, score['value'])} ({reach})"
