"""Super-resolution: an image two, three or four times as large, learned from high-resolution images
that were degraded."""

from __future__ import annotations

from ..task import Parts, Task
from .settings import SuperResolutionSettings


def load_parts() -> Parts:
    from . import baselines, data, report
    from .architecture import SuperResolutionArchitecture
    from .defaults import suggest_defaults
    from .inference import SuperResolutionInference
    from .metric import SuperResolutionMetric
    from .preprocess import SuperResolutionPreprocess
    from .result import SuperResolutionResult
    from .training import SuperResolutionTraining
    from .version1 import migrate

    return Parts(
        data=data,
        suggest_defaults=suggest_defaults,
        preprocess=SuperResolutionPreprocess,
        architecture=SuperResolutionArchitecture,
        training=SuperResolutionTraining,
        inference=SuperResolutionInference,
        result=SuperResolutionResult,
        report=report,
        metric=SuperResolutionMetric,
        baselines=baselines,
        migrate=migrate,
    )


TASK = Task("superresolution", SuperResolutionSettings, load_parts)
