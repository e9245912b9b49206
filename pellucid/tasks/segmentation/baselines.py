"""What needs no network: a threshold and morphology, chosen on the training and validation
images."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict

import numpy as np

from ...baselines import threshold
from ...data.sample import Sample
from ..task import Baseline
from .inference import SegmentationInference
from .preprocess import SegmentationPreprocess
from .result import SegmentationResult


def applies(preprocess: SegmentationPreprocess, inference: SegmentationInference) -> bool:
    return len(inference.classes) == 2 and preprocess.look == "picture"


def run(
    parts: Mapping[str, tuple[np.ndarray, Sequence[Sample]]],
    preprocess: SegmentationPreprocess,
    inference: SegmentationInference,
    seed: int,
) -> Iterator[Baseline]:
    started = time.perf_counter()
    samples = {name: of for name, (_, of) in parts.items()}
    fitted = [*samples["train"], *samples["validation"]]
    found = threshold.fit(
        [sample.pixels() for sample in fitted],
        [sample.target.labels(max(inference.annotator, 0)) for sample in fitted],
        seed,
    )
    results = {
        part: [_result(sample, inference.classes, found) for sample in samples[part]]
        for part in ("validation", "test")
    }
    about = {"settings": asdict(found), "seconds": round(time.perf_counter() - started, 2)}
    yield "threshold and morphology", about, results


def _result(
    sample: Sample, classes: tuple[str, ...], found: threshold.Settings
) -> SegmentationResult:
    mask = threshold.answer(sample.pixels(), found)
    return SegmentationResult(sample.source, mask.shape, classes, mask)
