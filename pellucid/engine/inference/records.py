"""The records of a metric as one file, so that a finished run can be compared without running it.

`evidence.safetensors`: the arrays of one name, type and number of dimensions stand end to end in
one tensor, with their shapes and the numbers of their sources beside it; the names are JSON in the
metadata. Nothing is pickled.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_bytes

from ...core.errors import ModelError
from ...core.files import write_bytes

NAME = "evidence.safetensors"
FORMAT = 1

Records = dict[str, dict[str, np.ndarray]]


def save(path: Path, metric: Any) -> None:
    """Writes `metric.records`, atomically. Arrays may differ in shape from source to source.

    Raises MachineError where it cannot be written, TypeError for arrays that are not numbers.
    """
    sources = list(metric.records)
    columns = _columns(metric.records)
    tensors: dict[str, np.ndarray] = {}
    for number, (_, arrays) in enumerate(columns):
        first = next(iter(arrays.values()))
        tensors[f"{number}.values"] = np.concatenate([each.ravel() for each in arrays.values()])
        tensors[f"{number}.shapes"] = np.array(
            [each.shape for each in arrays.values()], np.int64
        ).reshape(len(arrays), first.ndim)
        tensors[f"{number}.sources"] = np.fromiter(arrays, np.int64)
    described = {"format": FORMAT, "sources": sources, "names": [name for name, _ in columns]}
    write_bytes(path, to_bytes(tensors, {"records": json.dumps(described)}))


def load(path: Path, metric: Any) -> None:
    """Puts what `save` wrote into `metric.records`. Raises ModelError for a file that is not there
    or damaged."""
    try:
        with safe_open(path, framework="np") as file:
            described = json.loads(file.metadata()["records"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if described["format"] > FORMAT:
            raise ModelError(f"{path}: written by a later version of Pellucid; update Pellucid")
        metric.records = _records(described, tensors)
    except FileNotFoundError:
        raise ModelError(
            f"{path}: this file is missing, as in runs of earlier versions; train the run again"
        ) from None
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, IndexError) as error:
        raise ModelError(f"{path}: damaged ({error}); copy it again or train again") from None


def _columns(records: Records) -> list[tuple[str, dict[int, np.ndarray]]]:
    """Arrays that can stand end to end: their name, and each by the number of its source."""
    columns: dict[tuple[str, np.dtype, int], dict[int, np.ndarray]] = {}
    for number, record in enumerate(records.values()):
        for name, value in record.items():
            array = np.asarray(value)
            if array.dtype.kind not in "biuf":
                raise TypeError(f'the record "{name}" holds {array.dtype}, which is not numbers')
            columns.setdefault((name, array.dtype, array.ndim), {})[number] = array
    return [(name, arrays) for (name, _, _), arrays in columns.items()]


def _records(described: dict[str, Any], tensors: dict[str, np.ndarray]) -> Records:
    found: list[dict[str, np.ndarray]] = [{} for _ in described["sources"]]
    for number, name in enumerate(described["names"]):
        values, shapes, sources = (
            tensors[f"{number}.{part}"] for part in ("values", "shapes", "sources")
        )
        for source, array in zip(sources, _cut(values, shapes), strict=True):
            found[source][name] = array
    return dict(zip(described["sources"], found, strict=True))


def _cut(values: np.ndarray, shapes: np.ndarray) -> Iterator[np.ndarray]:
    sizes = shapes.prod(axis=1, dtype=np.int64)
    if sizes.sum() != len(values):
        raise ValueError("its shapes do not fit its values")
    for shape, part in zip(shapes, np.split(values, np.cumsum(sizes)[:-1]), strict=True):
        yield part.reshape(shape)
