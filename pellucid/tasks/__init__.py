"""Rooms: one task a file. A new task is one file and one line here.
The first room that recognises data takes it."""

from .classification import Classification
from .detection import Detection
from .segmentation import Segmentation
from .superresolution import SuperResolution
from .task import Task

TASKS: dict[str, type[Task]] = {
    "detection": Detection,
    "segmentation": Segmentation,
    "superresolution": SuperResolution,
    "classification": Classification,
}
