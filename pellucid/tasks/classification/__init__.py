"""Classification: one class for each image."""

from __future__ import annotations

from ..task import Parts, Task
from .settings import ClassificationSettings


def load_parts() -> Parts:
    from ..image_preprocess import ImagePreprocess
    from . import baselines, data, report
    from .architecture import ClassificationArchitecture
    from .defaults import suggest_defaults
    from .inference import ClassificationInference
    from .metric import ClassificationMetric
    from .result import ClassificationResult
    from .training import ClassificationTraining
    from .version1 import migrate

    return Parts(
        data=data,
        suggest_defaults=suggest_defaults,
        preprocess=ImagePreprocess,
        architecture=ClassificationArchitecture,
        training=ClassificationTraining,
        inference=ClassificationInference,
        result=ClassificationResult,
        report=report,
        metric=ClassificationMetric,
        baselines=baselines,
        migrate=migrate,
    )


TASK = Task("classification", ClassificationSettings, load_parts)
