"""Better results from networks that are already trained: more views of an image, more networks;
what that gains and what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import ModelError, UsageError
from ...tasks.task import Metric, ModelSpec
from ..run.batches import Views
from .model import Model, load


@dataclass(frozen=True)
class Answered:
    """The results of a member for some images, the seconds that its network took (decoding of the
    images not counted) and the number of views that it computed."""

    path: Path
    results: list[Any]
    seconds: float
    views: int


def members(paths: Sequence[str | Path]) -> list[Model]:
    """The models, loaded. Raises UsageError for one that is named twice, ModelError for one of
    other classes than the first."""
    _refuse_twice([Path(path) for path in paths])
    loaded = [load(path) for path in paths]
    check(loaded)
    return loaded


def check(models: Sequence[Model]) -> None:
    """Raises UsageError for a model that is named twice, ModelError for one of other classes than
    the first."""
    _refuse_twice([model.path for model in models])
    first = models[0]
    for other in models[1:]:
        ours, theirs = (set(model.spec.inference.classes) for model in (first, other))
        name = other.spec.task.name
        if name != first.spec.task.name or ours != theirs:
            raise ModelError(
                f"{other.path}: does not tell the same classes as {first.path} "
                f"({', '.join(sorted(ours ^ theirs)) or name}), so their answers have no mean"
            )


def _refuse_twice(paths: Sequence[Path]) -> None:
    if len({path.resolve() for path in paths}) < len(paths):
        raise UsageError("the same model is named twice, and would count twice; name each once")


def with_options(
    model: Model, tta: str = "none", threshold: float | None = None, full: bool = True
) -> Model:
    """The model with options of inference (see `Inference.with_options`). Raises UsageError."""
    inference = model.spec.inference.with_options(tta=tta, threshold=threshold, full=full)
    return replace(model, spec=replace(model.spec, inference=inference))


def mean(spec: ModelSpec, results: Sequence[Sequence[Any]]) -> list[Any]:
    """The results of several models for the same images as one each; classes in the order of the
    first model, whose parts these are."""
    return [spec.inference.ensemble(each) for each in zip(*results, strict=True)]


def scored(
    spec: ModelSpec,
    views: Views,
    results: Sequence[Any],
    score: str | None = None,
    costs: np.ndarray | None = None,
) -> Metric:
    """The metric of a task that has one, with these results added, and the group of each sample
    that has one, so that groups are resampled; `score` and `costs` as `create` takes them. Raises
    UsageError for costs where they have no meaning."""
    kind = spec.task.parts.metric
    assert kind is not None
    metric: Metric = kind.create(spec.preprocess, spec.inference, score, costs)
    metric.add(results, [sample.target for sample in views.samples])
    for sample in views.samples:
        if sample.group is not None:
            group = np.frombuffer(sample.group.encode(errors="surrogateescape"), np.uint8)
            metric.records[sample.source]["group"] = group
    return metric


def comparison(
    spec: ModelSpec,
    views: Views,
    plain: Answered,
    parts: Sequence[Answered],
    results: Sequence[Any],
) -> dict[str, Any]:
    """What the results, which the parts gave together, gained over those of the plain model (see
    `metrics.significance.paired`), and `cost`.

    For an ensemble also the gain over the best of its members (a hard rival: it is chosen on these
    very images) and over their mean.
    """
    from ...metrics.significance import over_mean, paired

    together = scored(spec, views, results)
    found: dict[str, Any] = paired(together, scored(spec, views, plain.results))
    found |= {"cost": _cost(len(views), plain, parts)}
    if len(parts) == 1:
        return found
    metrics = [scored(spec, views, each.results) for each in parts]
    best = int(np.argmax([metric.scores()["score"] for metric in metrics]))
    score = found["score"]
    return found | {
        "members": [
            {"model": str(each.path), score: own.evidence()[score]}
            for each, own in zip(parts, metrics, strict=True)
        ],
        "over_best_member": {"model": str(parts[best].path), **paired(together, metrics[best])},
        "over_mean_of_members": over_mean(together, metrics, score)["gain"],
    }


def _cost(images: int, plain: Answered, parts: Sequence[Answered]) -> dict[str, float]:
    seconds = sum(each.seconds for each in parts)
    return {
        "views_per_picture": sum(each.views for each in parts) / images,
        "seconds": seconds,
        "seconds_as_it_is": plain.seconds,
        "ratio": seconds / plain.seconds,
        "pictures_per_second": images / seconds,
        "pictures_per_second_as_it_is": images / plain.seconds,
    }
