"""Rooms: one task a file. A new task is one file and one line here. The first room that recognises data takes it."""

from .classification import Classification
from .detection import Detection
from .task import Task

TASKS: dict[str, type[Task]] = {
    "detection": Detection,
    "classification": Classification,
}
