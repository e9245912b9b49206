"""A toy task with two phases and no metric: a critic and a generator of small images."""

from __future__ import annotations

from typing import ClassVar

from pellucid.tasks.settings import SharedSettings
from pellucid.tasks.task import Parts, Task


class GanSettings(SharedSettings):
    NAME: ClassVar[str] = "gan"

    latent: int = 4


def load_parts() -> Parts:
    from . import data, parts, report

    return Parts(
        data=data,
        suggest_defaults=parts.suggest_defaults,
        preprocess=parts.GanPreprocess,
        architecture=parts.GanArchitecture,
        training=parts.GanTraining,
        inference=parts.GanInference,
        result=parts.GanResult,
        report=report,
    )


TASK = Task("gan", GanSettings, load_parts)
