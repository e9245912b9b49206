"""A report without scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pellucid.data.sample import Sample
from pellucid.tasks.page import Section

ERROR_SHEET = "Nothing is shown."
PREVIEW = "Real images."


def headline(summary: Mapping[str, Any]) -> tuple[str, str, str]:
    return str(summary["epochs_run"]), "epochs were trained.", ""


def sentences(summary: Mapping[str, Any]) -> list[str]:
    return ["test:     no score exists for this task"]


def sections(found: Mapping[str, Any]) -> list[Section]:
    return []


def error_sheet(
    samples: Sequence[Sample], results: Sequence[Any], inference: Any
) -> np.ndarray | None:
    return None
