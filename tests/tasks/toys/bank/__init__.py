"""A toy task without training steps: distances to a memory bank of the training images."""

from __future__ import annotations

from typing import ClassVar

from pellucid.tasks.settings import SharedSettings
from pellucid.tasks.task import Parts, Task


class BankSettings(SharedSettings):
    NAME: ClassVar[str] = "bank"

    neighbors: int = 1


def load_parts() -> Parts:
    from ..gan import report
    from . import data, parts

    return Parts(
        data=data,
        suggest_defaults=parts.suggest_defaults,
        preprocess=parts.GanPreprocess,
        architecture=parts.BankArchitecture,
        training=parts.BankTraining,
        inference=parts.BankInference,
        result=parts.BankResult,
        report=report,
        metric=parts.BankMetric,
    )


TASK = Task("bank", BankSettings, load_parts)
