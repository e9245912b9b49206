"""Whose masks are the target, where several people drew them."""

from __future__ import annotations

from ...core.errors import UsageError, did_you_mean
from ...data.formats import Dataset


def annotator_number(wanted: str | None, dataset: Dataset) -> int:
    """The number of an annotator; -1 for the mean of all. Raises UsageError for one that drew no
    masks of this data set."""
    names = dataset.samples[0].target.names
    if wanted is None:
        return 0
    if wanted == "mean" and len(names) > 1:
        return -1
    if wanted not in names:
        told = (
            f"; {did_you_mean(wanted, [*names, 'mean'])}"
            if names
            else "; these masks name no annotators: leave it out"
        )
        raise UsageError(f'annotator: unknown "{wanted}"{told}')
    number: int = names.index(wanted)
    return number
