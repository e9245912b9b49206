"""How good detections are: average precision with intervals, kinds of error and what they cost,
thresholds, paired tests.

`gather` makes a `Table` of all truths and answers, which everything else reads. Average precision
is that of faster-coco-eval (`coco.py`); the same arithmetic on weighted pictures (`precision.py`)
gives the intervals, and the scores of each epoch.
"""

from .coco import require
from .evidence import evaluation, gain
from .precision import average_precision, judge, mean_precision
from .table import gather
from .threshold import Threshold, choose, read_aim

__all__ = [
    "Threshold",
    "average_precision",
    "choose",
    "evaluation",
    "gain",
    "gather",
    "judge",
    "mean_precision",
    "read_aim",
    "require",
]
