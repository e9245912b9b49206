"""Registration of toy tasks, as one line in TASKS would do it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from pellucid.tasks import TASKS
from pellucid.tasks.task import Task


@pytest.fixture
def register() -> Iterator[Callable[[Task], None]]:
    """Puts a task in front of the others for the length of a test."""
    before = dict(TASKS)

    def registered(task: Task) -> None:
        others = dict(TASKS)
        TASKS.clear()
        TASKS.update({task.name: task, **others})

    yield registered
    TASKS.clear()
    TASKS.update(before)
