"""What needs no network: bicubic upscaling."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from time import perf_counter

import numpy as np

from ...data.sample import Sample
from ...transforms.resize import bicubic_array
from ..task import Baseline
from .degradation import upscale_bicubic
from .inference import SuperResolutionInference
from .preprocess import SuperResolutionPreprocess
from .result import SuperResolutionResult


def applies(preprocess: SuperResolutionPreprocess, inference: SuperResolutionInference) -> bool:
    return True


def run(
    parts: Mapping[str, tuple[np.ndarray, Sequence[Sample]]],
    preprocess: SuperResolutionPreprocess,
    inference: SuperResolutionInference,
    seed: int,
) -> Iterator[Baseline]:
    started = perf_counter()
    results = {
        part: [_bicubic(sample, preprocess) for sample in parts[part][1]]
        for part in ("validation", "test")
    }
    about = {"settings": {"a": -0.5}, "seconds": round(perf_counter() - started, 3)}
    yield "bicubic", about, results


def _bicubic(sample: Sample, preprocess: SuperResolutionPreprocess) -> SuperResolutionResult:
    factor = preprocess.upscale
    high = sample.target.pixels(preprocess.channels, preprocess.bits, factor)
    image = upscale_bicubic(bicubic_array(high, 1 / factor), factor)
    return SuperResolutionResult(sample.source, sample.pixels().shape[:2], image)
