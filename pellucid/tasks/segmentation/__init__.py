"""Segmentation: a class for each pixel of an image, or each voxel of a volume."""

from __future__ import annotations

from ..task import Parts, Task
from .settings import SegmentationSettings


def load_parts() -> Parts:
    from . import baselines, data, report
    from .architecture import SegmentationArchitecture
    from .defaults import suggest_defaults
    from .inference import SegmentationInference
    from .metric import SegmentationMetric
    from .preprocess import SegmentationPreprocess
    from .result import SegmentationResult
    from .training import SegmentationTraining
    from .version1 import migrate

    return Parts(
        data=data,
        suggest_defaults=suggest_defaults,
        preprocess=SegmentationPreprocess,
        architecture=SegmentationArchitecture,
        training=SegmentationTraining,
        inference=SegmentationInference,
        result=SegmentationResult,
        report=report,
        metric=SegmentationMetric,
        baselines=baselines,
        migrate=migrate,
    )


TASK = Task("segmentation", SegmentationSettings, load_parts)
