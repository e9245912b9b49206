"""Published weights, used as they are."""

from __future__ import annotations

from torch import nn

from ...models import weights as published
from ...tasks import TASKS
from ...tasks.task import ModelSpec
from ..run.progress import Say

# The task that published weights are of.
PUBLISHED = "classification"


def published_parts(name: str) -> tuple[ModelSpec, nn.Module, dict[str, str]]:
    """Published weights as a specification, a network in evaluation mode, and their name and
    licence. Raises what `models.weights.get` raises."""
    entry = published.entry_of(name)
    stored = published.tensors(name)
    classes = published.labels(entry.classes)
    say = Say()
    say.line(published.licence_line(name))
    if classes is None:
        say.line(
            f"{name}: answers are numbers of classes, because {published.IMAGENET_FILE} lies "
            "neither in the mirror nor in the cache"
        )
        classes = tuple(map(str, range(1000)))
    spec = _spec_of_published(entry, classes)
    network = spec.architecture.build()
    published.fill(network, stored, name)
    return spec, network.eval(), {"name": name, "licence": entry.licence}


def _spec_of_published(entry: published.Weights, classes: tuple[str, ...]) -> ModelSpec:
    given = entry.preprocessing
    channels, size = len(given.mean), given.size
    parts = {
        "preprocess": {"size": size, "channels": channels, "mean": given.mean, "std": given.std},
        "architecture": {
            "model": entry.model,
            "num_outputs": len(classes),
            "channels": channels,
            "size": size,
        },
        "inference": {"classes": classes},
    }
    return ModelSpec.from_json(TASKS[PUBLISHED], parts)
