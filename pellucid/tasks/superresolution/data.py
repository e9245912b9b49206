"""The data of super-resolution: high-resolution images, and low-resolution ones supplied with
them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import DataError
from ...data import formats, images
from ...data.formats import Dataset
from ...data.sample import Sample
from .degradation import Reference, largest_difference

COUNTED = "images"
# So many of the supplied low-resolution images are compared with those made here.
COMPARED = 5


def matches(source: str | Path) -> bool:
    return formats.recognise_sharp(source)


def load(source: str | Path) -> Dataset:
    """Targets are `Reference`s."""
    dataset = formats.read_sharp(source)
    samples = tuple(
        replace(sample, target=Reference(sample, sample.target)) for sample in dataset.samples
    )
    notes = (*dataset.notes, *_about_supplied(samples))
    return replace(dataset, samples=samples, notes=notes)


def find_inputs(path: Path, preprocess: Any) -> list[Sample] | None:
    return None


def validate(dataset: Dataset) -> None:
    if len(dataset.samples) < 2:
        raise DataError(
            f"{dataset.root or dataset.name}: one picture cannot be shared out for learning and "
            "testing; add some"
        )


def strata(dataset: Dataset) -> tuple[np.ndarray, tuple[str, ...]]:
    """One for all images."""
    return np.zeros(len(dataset.samples), np.int64), ("images",)


def class_counts(samples: Sequence[Sample], classes: Sequence[str]) -> dict[str, int]:
    """Empty: there are no classes."""
    return {}


def remap_labels(dataset: Dataset, classes: Sequence[str]) -> Dataset:
    return dataset


def _about_supplied(samples: Sequence[Sample]) -> list[str]:
    """A note on the low-resolution images that come with the high-resolution ones."""
    pairs = [
        (sample, factor, path) for sample in samples for factor, path in sample.target.supplied.low
    ]
    if not pairs:
        return []
    try:
        differences = [
            largest_difference(sample.pixels(), images.read(path), factor)
            for sample, factor, path in pairs[:COMPARED]
        ]
    except DataError as error:
        return [
            "WARNING: the small pictures that come with the sharp ones could not be held against "
            f"those made here: {error}"
        ]
    return [_compared(differences, len(pairs))]


def _compared(differences: Sequence[int | None], supplied: int) -> str:
    """differences: in levels, None for an image of another size."""
    compared = (
        f"of {supplied} small pictures that come with the sharp ones {len(differences)} were held "
        "against those made here"
    )
    unused = "so scores on them would be other ones; they are not used"
    most = max((each for each in differences if each is not None), default=0)
    if None in differences:
        return f"WARNING: {compared}: they are of other sizes, {unused}"
    if most > 1:
        return f"WARNING: {compared}: they differ by up to {most} levels, {unused}"
    return f"{compared}: {'they differ by at most 1 level' if most else 'they are the same'}"
