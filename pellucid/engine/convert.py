"""`pellucid check DATA --convert coco OUT`: the same pictures and boxes in another format, held
against the original before they appear."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import DataError, MachineError, UsageError, did_you_mean
from ..data.formats import OBJECTS, Dataset, read_objects
from ..data.formats.objects import SIDE
from ..data.formats.writing import WRITERS, parts_of, write_objects


@dataclass(frozen=True)
class Conversion:
    """What was written where. source: what was recognised. side: whether the copy has a
    `pellucid.json`.

    left_out: (file, reason) of the original's faults, which the copy has no more.
    """

    out: Path
    source: str
    format: str
    pictures: int
    objects: int
    side: bool
    left_out: tuple[tuple[str, str], ...]

    def text(self) -> str:
        lines = [
            self.source,
            (
                f"{self.out}: {self.pictures:,} pictures, {self.objects:,} objects as "
                f"{self.format.upper()}; read back, the same"
            ),
        ]
        if self.side:
            lines.append(
                f"- {SIDE} in it holds what {self.format.upper()} cannot say; "
                "other tools do not read it"
            )
        lines += [f"- left out: {file}: {reason}" for file, reason in self.left_out[:20]]
        more = len(self.left_out) - 20
        return "\n".join([*lines, f"- left out: {more:,} more"] if more > 0 else lines)


def convert(data: str | Path, kind: str, out: str | Path) -> Conversion:
    """Copies a set of pictures with boxes into a new folder in another format; what reading both
    gives is equal, to the last bit.

    kind: "coco", "voc" or "yolo". out: absent or empty; it appears by one rename when all is there
    and read back, and not at all otherwise. Raises UsageError for an unknown kind or a folder that
    is in use, DataError for data that cannot be read or held, MachineError.
    """
    out = Path(out)
    if kind not in WRITERS:
        raise UsageError(f"--convert {kind}: no such format; {did_you_mean(kind, WRITERS)}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out}: is there already and is never written over; name a new folder")
    dataset = read_objects(data)
    if any(
        out.resolve().is_relative_to(root.resolve())
        for root in (dataset.root, Path(data))
        if root is not None
    ):
        raise UsageError(
            f"{out}: lies in the data, where it would be taken for a part of it; "
            "choose another place"
        )
    try:
        _build(dataset, kind, out)
    except OSError as error:
        advice = (
            "free some space"
            if error.errno in (errno.ENOSPC, errno.EDQUOT)
            else "choose a folder that may be written"
        )
        raise MachineError(
            f"{out}: could not be written ({error.strerror or error}); "
            f"nothing was changed: {advice}"
        ) from error
    objects = sum(len(sample.target) for sample in dataset.samples)
    return Conversion(
        out,
        dataset.why,
        kind,
        len(dataset.samples),
        objects,
        (out / SIDE).is_file(),
        dataset.left_out,
    )


def _build(dataset: Dataset, kind: str, out: Path) -> None:
    # On the same disk, so that the rename is one step; in a folder that is there, so that a stop
    # leaves no empty ones.
    beside = next(folder for folder in out.absolute().parents if folder.is_dir())
    made = Path(tempfile.mkdtemp(dir=beside, prefix=f".{out.name}.", suffix=".part"))
    try:
        inside = made / "set"
        inside.mkdir()
        _compare(dataset, kind, inside, write_objects(dataset, kind, inside))
        out.parent.mkdir(parents=True, exist_ok=True)
        if out.exists():
            out.rmdir()
        os.rename(inside, out)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _compare(dataset: Dataset, kind: str, folder: Path, places: list[str]) -> None:
    """Raises DataError where the copy, read again, is not the original: such as a name that the
    format cannot hold."""
    try:
        again = OBJECTS[kind].read(folder)
    except DataError as error:
        raise DataError(
            f"{dataset.root}: {kind.upper()} cannot hold it "
            f"({str(error).replace(f'{folder}/', '')})"
        ) from None
    found = {
        sample.source: (sample.target, part)
        for sample, part in zip(again.samples, parts_of(again), strict=True)
    }
    if again.classes != dataset.classes:
        differ = next(
            (name for name in dataset.classes if name not in again.classes), "their order"
        )
        raise DataError(
            f"{dataset.root}: {kind.upper()} cannot hold its classes ({differ!r}); rename the class"
        )
    for sample, place, part in zip(dataset.samples, places, parts_of(dataset), strict=True):
        if (
            place not in found
            or found[place][1] != part
            or not _same(found[place][0], sample.target)
        ):
            raise DataError(
                f"{sample.source}: {kind.upper()} cannot hold its objects without loss; "
                "convert to another format"
            )


def _same(one: Any, other: Any) -> bool:
    return all(
        np.array_equal(getattr(one, name), getattr(other, name))
        for name in ("boxes", "labels", "ignore")
    )
