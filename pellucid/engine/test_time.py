"""Better answers from networks that are already trained: more views of a picture, more networks; what that gains and what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from ..core.errors import ModelError, UsageError
from ..core.evidence import mcnemar, paired_bootstrap, proportion
from ..core.paired import paired_bootstrap_of
from ..core.types import Prediction
from ..tasks.task import Metric, Task
from . import checkpoint
from .batches import Views


@dataclass(frozen=True)
class Member:
    """One model of an ensemble, and the room that shows it pictures and reads its answers."""

    path: Path
    room: Task
    network: nn.Module


@dataclass(frozen=True)
class Said:
    """What a member says of some pictures, the seconds its network took (decoding not counted) and the views that it saw."""

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
            raise ModelError(f"{other.path}: does not tell the same classes as {first.path} ({differs}), so their answers have no mean")
    return loaded


def mean(said: Sequence[Sequence[Prediction]]) -> list[Prediction]:
    """The mean of several models' probabilities for the same pictures; classes in the order of the first model."""
    return [_mean(answers) for answers in zip(*said, strict=True)]


def _mean(answers: Sequence[Prediction]) -> Prediction:
    first = answers[0]
    rows = []
    for answer in answers:
        assert answer.source == first.source and answer.probabilities is not None
        rows.append(answer.probabilities[[answer.classes.index(name) for name in first.classes]])
    return replace(first, probabilities=np.mean(rows, axis=0))


def scored(room: Task, views: Views, answers: Sequence[Prediction], costs: np.ndarray | None = None) -> Metric:
    metric = room.metric(costs)
    metric.add(answers, [sample.truth for sample in views.samples])
    return metric


def gain(room: Task, views: Views, answers_with: Sequence[Prediction], answers_without: Sequence[Prediction]) -> dict[str, Any]:
    """What one way of answering gains over another on the same pictures, ready for JSON.

    views: the pictures. Returns the paired differences `gain` (of accuracy: "value", "low", "high", "interval") and `balanced_gain` (of
    balanced accuracy: "mean", "low", "high", "p"); `mcnemar`, where `only_a` counts pictures that are right only with it;
    `accuracy_with` and `accuracy_without`.
    """
    (truths, ours), (_, theirs) = (_right(scored(room, views, answers)) for answers in (answers_with, answers_without))
    answered, answered_without = (np.where(right, truths, -1) for right in (ours, theirs))
    return {
        "gain": paired_bootstrap(ours, theirs),
        "balanced_gain": paired_bootstrap_of("balanced_accuracy", truths, answered, answered_without),
        "mcnemar": mcnemar(ours, theirs),
        "accuracy_with": proportion(int(ours.sum()), len(ours)),
        "accuracy_without": proportion(int(theirs.sum()), len(theirs)),
    }


def comparison(room: Task, views: Views, plain: Said, said: Sequence[Said], answers: Sequence[Prediction]) -> dict[str, Any]:
    """`gain` of the answers, the mean of what the members said, over those of the plain model, and `cost`.

    For an ensemble also the gain over the best of its members (a hard rival: it is chosen on these very pictures) and over their mean.
    """
    found: dict[str, Any] = gain(room, views, answers, plain.answers) | {"cost": _cost(len(views), plain, said)}
    if len(said) == 1:
        return found
    right = [_right(scored(room, views, each.answers))[1] for each in said]
    best = said[int(np.argmax([each.mean() for each in right]))]
    together = _right(scored(room, views, answers))[1]
    return found | {
        "members": [
            {"model": str(each.path), "accuracy": proportion(int(own.sum()), len(own))} for each, own in zip(said, right, strict=True)
        ],
        "over_best_member": {"model": str(best.path), **gain(room, views, answers, best.answers)},
        "over_mean_of_members": paired_bootstrap(together, np.mean(right, axis=0)),
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


def _right(metric: Metric) -> tuple[np.ndarray, np.ndarray]:
    """The truths, numbered, and which answers are right, by source."""
    rows = metric.rows()
    _, truths = np.unique([row["truth"] for row in rows], return_inverse=True)
    return truths, np.array([bool(row["correct"]) for row in rows])
