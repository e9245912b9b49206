"""A run is a folder: made whole, never overwritten, readable at any moment."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...core.errors import MachineError, ModelError
from ...core.files import write_bytes, write_text

RUNS = Path("runs")


def slug(name: str) -> str:
    """The name as one file or folder may have it: a path's separators and spaces become dashes."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "run"


def create(task: str, name: str, files: Mapping[str, str]) -> Path:
    """`runs/<task>/<name>[-N]/` with its first files: it appears with all of them or not at all."""
    parent = RUNS / task
    name = slug(name)
    try:
        parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=parent, prefix=f".{name}."))
        os.chmod(fresh, 0o755)
    except OSError as error:
        raise MachineError(
            f"{parent}: no run folder can be made here ({error.strerror})"
        ) from error
    try:
        for file, text in files.items():
            write_text(fresh / file, text)
        return _claim(fresh, parent, name)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise


def _claim(fresh: Path, parent: Path, name: str) -> Path:
    number = 1
    while True:
        folder = parent / (name if number == 1 else f"{name}-{number}")
        number += 1
        if folder.exists():
            continue
        try:
            fresh.rename(folder)
            return folder
        except OSError as error:
            # Renaming onto a folder that appeared meanwhile fails so unless that folder is empty;
            # then the next number is free.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise MachineError(
                    f"{folder}: no run folder can be made here ({error.strerror})"
                ) from error


def read_json(path: Path) -> Any:
    """Raises ModelError that names the file when it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{path}: is missing; is {path.parent} a run folder?") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(
            f"{path}: damaged ({error}); copy it again from where it was whole"
        ) from None


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of one kind as CSV, columns in the order of their first appearance."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def write_picture(path: Path, image: Any) -> None:
    """uint8 H×W×3 as PNG."""
    import cv2

    done, data = cv2.imencode(".png", image[:, :, ::-1])
    assert done
    write_bytes(path, data.tobytes())
