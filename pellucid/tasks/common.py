"""What rooms that fit pictures into views have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
from torch import nn

from ..core.errors import DataError
from ..data.formats import Dataset
from ..data.sample import Sample


def travelling(room: Any) -> dict[str, Any]:
    """The fields of a room, up to `model`: what follows is of training alone."""
    names = [each.name for each in fields(room)]
    return {name: getattr(room, name) for name in names[: names.index("model") + 1]}


def arrived(stored: Mapping[str, Any]) -> dict[str, Any]:
    """What `travelling` gave, back from JSON: its lists, nested ones too, are tuples again."""
    return {key: tuples(value) for key, value in stored.items()}


def tuples(value: Any) -> Any:
    """Lists, nested ones too, as tuples: what a frozen room may hold."""
    return tuple(tuples(each) for each in value) if isinstance(value, list) else value


def numbers_of(reading: Dataset, classes: Sequence[str]) -> np.ndarray:
    """int64: the model's number of each class of the reading. Raises DataError for a class that the
    model does not know."""
    strange = [name for name in reading.classes if name not in classes]
    if strange:
        raise DataError(
            f'{reading.root or reading.name}: the model does not know the class "{strange[0]}"; it '
            f"knows: {', '.join(classes)}"
        )
    return np.array([classes.index(name) for name in reading.classes], np.int64)


def all_that_learns(network: nn.Module) -> list[list[tuple[str, nn.Parameter]]]:
    """One turn, of every parameter that is not frozen."""
    return [
        [
            (name, parameter)
            for name, parameter in network.named_parameters()
            if parameter.requires_grad
        ]
    ]


def spans(sources: Sequence[str]) -> list[tuple[int, int]]:
    """Where the views of each source begin and end; they stand together."""
    starts = [i for i, source in enumerate(sources) if i == 0 or source != sources[i - 1]]
    return list(zip(starts, [*starts[1:], len(sources)], strict=True))


def truths_of(samples: Sequence[Sample]) -> np.ndarray:
    """Truths that are no numbers, one each, in an array that can be indexed: NumPy would
    look into them."""
    found = np.empty(len(samples), object)
    for row, sample in enumerate(samples):
        found[row] = sample.target
    return found
