"""Rooms: one task a file. A new task is one file and one line here."""

from .classification import Classification
from .task import Task

TASKS: dict[str, type[Task]] = {
    "classification": Classification,
}
