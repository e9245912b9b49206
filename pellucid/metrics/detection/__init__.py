"""The quality of detections: average precision with intervals, kinds of error and their costs,
thresholds.

`gather` makes a `Table` of all targets and detections, which everything else reads. Average
precision is that of faster-coco-eval (`coco.py`); the same arithmetic on weighted images
(`precision.py`) gives the intervals, the comparisons and the scores of each epoch.
"""

from .coco import require
from .evidence import evaluation
from .precision import average_precision, judge, mean_precision
from .table import Detections, gather
from .threshold import Threshold, choose, read_aim

__all__ = [
    "Detections",
    "Threshold",
    "average_precision",
    "choose",
    "evaluation",
    "gather",
    "judge",
    "mean_precision",
    "read_aim",
    "require",
]
