"""What can go wrong, each with the exit code that the command line answers with.

A message is one line: it names the file or the setting, says what is wrong, and what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class PellucidError(Exception):
    """Something the user can mend; printed as one line, without a traceback."""

    code = 1


class UsageError(PellucidError):
    """An unknown verb, setting, model or class, or a value out of range."""

    code = 2


class DataError(PellucidError):
    """A data set or a picture that cannot be used as it is."""

    code = 3


class ModelError(PellucidError):
    """A model or a run that cannot be built or loaded."""

    code = 4


class NonFiniteOutput(ModelError):
    """An answer of the network is not a finite number."""


class NonFiniteLoss(PellucidError):
    """The loss became NaN or infinite; training stopped there."""

    code = 6


class MachineError(PellucidError):
    """Disk or memory is full, or a folder may not be read or written."""

    code = 7


INTERRUPTED = 130


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`did you mean "resnet18"?`, or else the list of what there is."""
    known = list(known)
    near = difflib.get_close_matches(word.lower(), known, n=1, cutoff=0.5)
    if near:
        return f'did you mean "{near[0]}"?'
    return "known: " + ", ".join(known)
