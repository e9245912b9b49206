"""Classifiers without a network, on the same split."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ...data.sample import Sample
from ..image_preprocess import ImagePreprocess
from ..task import Baseline
from .inference import ClassificationInference
from .result import ClassificationResult


def applies(preprocess: ImagePreprocess, inference: ClassificationInference) -> bool:
    return True


def run(
    parts: Mapping[str, tuple[np.ndarray, Sequence[Sample]]],
    preprocess: ImagePreprocess,
    inference: ClassificationInference,
    seed: int,
) -> Iterator[Baseline]:
    from ...baselines.classical import baselines

    train, validation, test = (
        (parts[part][0], np.array([sample.target for sample in parts[part][1]]))
        for part in ("train", "validation", "test")
    )
    found = baselines(train, validation, test, inference.classes, seed)
    for name, answer in found.items():
        results = {
            part: [
                ClassificationResult(sample.source, preprocess.size, inference.classes, p)
                for sample, p in zip(parts[part][1], answer[part], strict=True)
            ]
            for part in ("validation", "test")
        }
        yield name, {"settings": answer["settings"], "seconds": answer["seconds"]}, results
