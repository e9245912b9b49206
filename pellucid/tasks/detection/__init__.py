"""Detection: boxes around the objects of several classes."""

from __future__ import annotations

from ..task import Parts, Task
from .settings import DetectionSettings


def load_parts() -> Parts:
    from . import data, report
    from .architecture import DetectionArchitecture
    from .defaults import suggest_defaults
    from .inference import DetectionInference
    from .metric import DetectionMetric
    from .preprocess import DetectionPreprocess
    from .result import DetectionResult
    from .training import DetectionTraining
    from .version1 import migrate

    return Parts(
        data=data,
        suggest_defaults=suggest_defaults,
        preprocess=DetectionPreprocess,
        architecture=DetectionArchitecture,
        training=DetectionTraining,
        inference=DetectionInference,
        result=DetectionResult,
        report=report,
        metric=DetectionMetric,
        migrate=migrate,
    )


TASK = Task("detection", DetectionSettings, load_parts)
