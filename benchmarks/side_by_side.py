"""Two ways of doing the same, in turns in one process, so that both meet the same machine;
medians of several rounds."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pellucid.core.types import ViewTransform
from pellucid.data.sample import Sample
from pellucid.engine.run.batches import Views
from pellucid.tasks.classification.training import ClassificationTraining
from pellucid.tasks.image_preprocess import ImagePreprocess

CLASSES = tuple("0123456789")
DATA = Path(
    os.environ.get(
        "PELLUCID_TEST_DATA", Path(__file__).resolve().parent.parent.parent / "shared" / "data"
    )
)


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def compare(
    name: str,
    ours: Callable[[], object],
    peer: Callable[[], object],
    rounds: int = 7,
    wanted: float | None = None,
) -> float:
    """Prints and returns how many times faster ours is: the median over rounds of peer's time / our
    time. One round first warms up."""
    ours(), peer()
    ratios, times = [], []
    for number in range(rounds):
        order = (ours, peer) if number % 2 else (peer, ours)
        took = {work: seconds(work) for work in order}
        ratios.append(took[peer] / took[ours])
        times.append((took[ours], took[peer]))
    ratio = statistics.median(ratios)
    mine, theirs = (statistics.median(column) for column in zip(*times, strict=True))
    goal = "" if wanted is None else f"   wanted >= {wanted}: {'yes' if ratio >= wanted else 'NO'}"
    print(
        f"{name}: ours {mine:.3f} s, peer {theirs:.3f} s, ratio {ratio:.2f} (from "
        f"{min(ratios):.2f} to {max(ratios):.2f}){goal}",
        flush=True,
    )
    return ratio


def views_of(images: np.ndarray, labels: np.ndarray) -> Views:
    """N×H×W×C pictures in memory as the engine holds them."""
    size = images.shape[1:3]
    transform = ViewTransform(np.eye(2, 3), size, size)
    samples = tuple(
        Sample(image, int(label), str(i))
        for i, (image, label) in enumerate(zip(images, labels, strict=True))
    )
    count = len(images)
    return Views(
        samples,
        images,
        [transform] * count,
        np.arange(count),
        np.ones(count, np.int64),
        torch.from_numpy(labels.astype(np.int64)),
    )


def training_of(views: Views, batch: int, **options: Any) -> ClassificationTraining:
    """Training of a classifier of ten classes, with the statistics of these views."""
    size, channels = views.images.shape[1:3], views.images.shape[3]
    preprocess = ImagePreprocess(size, channels).fit_statistics(views.fit_data())
    return ClassificationTraining(preprocess, CLASSES, batch, **options)
