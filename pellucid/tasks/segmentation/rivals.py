"""What anybody gets without a network: a threshold and morphology, chosen on the training and
validation pictures."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict

from ...baselines import threshold
from ...core.types import Prediction
from ...data.sample import Sample
from ..task import Baseline


def rivals(
    parts: Mapping[str, Sequence[Sample]], classes: tuple[str, ...], annotator: int, seed: int
) -> Iterator[Baseline]:
    started = time.perf_counter()
    learnt = [*parts["train"], *parts["validation"]]
    found = threshold.fit(
        [sample.pixels() for sample in learnt],
        [sample.target.labels(annotator) for sample in learnt],
        seed,
    )
    answers = {
        part: [_answer(sample, classes, found) for sample in parts[part]]
        for part in ("validation", "test")
    }
    about = {"settings": asdict(found), "seconds": round(time.perf_counter() - started, 2)}
    yield "threshold and morphology", about, answers


def _answer(sample: Sample, classes: tuple[str, ...], found: threshold.Settings) -> Prediction:
    mask = threshold.answer(sample.pixels(), found)
    return Prediction(sample.source, mask.shape, classes, mask=mask)
