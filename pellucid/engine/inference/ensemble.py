"""Better answers from networks that are already trained: more views of a picture, more networks;
what that gains and what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from ...core.errors import ModelError, UsageError
from ...core.types import Prediction
from ...tasks.task import Metric, Task
from ..run import checkpoint
from ..run.batches import Views


@dataclass(frozen=True)
class Member:
    """One model of an ensemble, and the room that shows it pictures and reads its answers."""

    path: Path
    room: Task
    network: nn.Module


@dataclass(frozen=True)
class Said:
    """What a member says of some pictures, the seconds its network took (decoding not counted) and
    the views that it saw."""

    path: Path
    answers: list[Prediction]
    seconds: float
    views: int


def members(models: Sequence[str | Path]) -> list[Member]:
    """The models, loaded. Raises ModelError for one that does not tell the classes of the first."""
    if len({Path(model).resolve() for model in models}) < len(models):
        raise UsageError("the same model is named twice, and would count twice; name each once")
    loaded = [Member(Path(model), *checkpoint.load_model(Path(model))[:2]) for model in models]
    first = loaded[0]
    for other in loaded[1:]:
        ours, theirs = (set(member.room.to_json()["classes"]) for member in (first, other))
        if other.room.name != first.room.name or ours != theirs:
            differs = ", ".join(sorted(ours ^ theirs)) or other.room.name
            raise ModelError(
                f"{other.path}: does not tell the same classes as {first.path} ({differs}), so "
                "their answers have no mean"
            )
    return loaded


def mean(room: Task, said: Sequence[Sequence[Prediction]]) -> list[Prediction]:
    """What several models say of the same pictures, as one answer each; classes in the order of the
    first model, whose room this is."""
    return [room.together(answers) for answers in zip(*said, strict=True)]


def scored(
    room: Task, views: Views, answers: Sequence[Prediction], costs: np.ndarray | None = None
) -> Metric:
    metric = room.metric(costs)
    metric.add(answers, [sample.target for sample in views.samples])
    return metric


def comparison(
    room: Task, views: Views, plain: Said, said: Sequence[Said], answers: Sequence[Prediction]
) -> dict[str, Any]:
    """The metric's `gain` of the answers, which the members gave together, over those of the plain
    model, and `cost`.

    For an ensemble also the gain over the best of its members (a hard rival: it is chosen on these
    very pictures) and over their mean.
    """
    together = scored(room, views, answers)
    found: dict[str, Any] = together.gain(scored(room, views, plain.answers)) | {
        "cost": _cost(len(views), plain, said)
    }
    if len(said) == 1:
        return found
    members = [scored(room, views, each.answers) for each in said]
    best = int(np.argmax([member.quick()["score"] for member in members]))
    score = found["score"]
    return found | {
        "members": [
            {"model": str(each.path), score: own.result()[score]}
            for each, own in zip(said, members, strict=True)
        ],
        "over_best_member": {"model": str(said[best].path), **together.gain(members[best])},
        "over_mean_of_members": together.over_mean(members),
    }


def _cost(pictures: int, plain: Said, said: Sequence[Said]) -> dict[str, float]:
    seconds = sum(each.seconds for each in said)
    return {
        "views_per_picture": sum(each.views for each in said) / pictures,
        "seconds": seconds,
        "seconds_as_it_is": plain.seconds,
        "ratio": seconds / plain.seconds,
        "pictures_per_second": pictures / seconds,
        "pictures_per_second_as_it_is": pictures / plain.seconds,
    }
