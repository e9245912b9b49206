"""What several tasks have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..core.errors import DataError
from ..data.formats import Dataset
from .task import Phase

if TYPE_CHECKING:
    from torch import nn


def class_numbers(dataset: Dataset, classes: Sequence[str]) -> np.ndarray:
    """int64: the model's number of each class of the data set. Raises DataError for a class that
    the model does not know."""
    unknown = [name for name in dataset.classes if name not in classes]
    if unknown:
        raise DataError(
            f'{dataset.root or dataset.name}: the model does not know the class "{unknown[0]}"; '
            f"it knows: {', '.join(classes)}"
        )
    return np.array([classes.index(name) for name in dataset.classes], np.int64)


def all_parameters(network: nn.Module) -> list[Phase]:
    """One phase, of every parameter that is not frozen."""
    return [Phase("", [(n, p) for n, p in network.named_parameters() if p.requires_grad])]


def shuffled(count: int, batch: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Every sample once, in random order, `batch` at a time; the last batch takes what is left.

    A single sample left over joins the batch before it: batch norm cannot measure one.
    """
    return np.split(rng.permutation(count), range(batch, count - 1, batch))


def spans(sources: Sequence[str]) -> list[tuple[int, int]]:
    """Where the views of each source begin and end; they stand together."""
    starts = [i for i, source in enumerate(sources) if i == 0 or source != sources[i - 1]]
    return list(zip(starts, [*starts[1:], len(sources)], strict=True))
