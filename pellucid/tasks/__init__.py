"""The tasks. A new task is its folder and one line here; the first that matches data takes it."""

from . import classification, detection, segmentation, superresolution
from .task import Task

TASKS: dict[str, Task] = {
    "detection": detection.TASK,
    "segmentation": segmentation.TASK,
    "superresolution": superresolution.TASK,
    "classification": classification.TASK,
}
