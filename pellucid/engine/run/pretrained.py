"""Weights that others trained: used as they are, or as the beginning of a training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ... import models
from ...core.errors import ModelError, UsageError, did_you_mean
from ...models import weights as published
from ...models.initialise import weighted
from ...models.weights import CATALOGUE, Preprocessing
from ...tasks.settings import SharedSettings
from ...tasks.task import ModelSpec, Task
from ..inference.infer import SCORING, forward_outputs
from ..inference.published import PUBLISHED
from . import folders, processes
from .batches import Views
from .progress import Say
from .transfer import Norm, norms_kept, trunk

# Fewer than from scratch: most of what is to be learned is there.
EPOCHS = 10
# Images from which the statistics of folded norms are measured: the deepest map of a 224×224 image
# still has 49 places.
MEASURED = 128
# Folded norms that were stored as float16 are off by the rounding of variance 1 - ε.
ROUNDING = 1e-3


# --- as a beginning -------------------------------------------------------------------------------


def chosen(given: Mapping[str, Any], task: Task) -> tuple[dict[str, Any], Preprocessing | None]:
    """The given settings with the model that their weights are of, and the preprocessing of the
    weights where it is known; weights of the very same task also suggest size and epochs.

    Gets published weights, so that what is wrong with them is told first. Raises UsageError for
    weights that are not there or of another model, and what `models.weights.get` raises.
    """
    name, model = given.get("weights"), given.get("model")
    if name is None:
        return dict(given), None
    if name in CATALOGUE:
        entry = CATALOGUE[name]
        if model not in (None, entry.model):
            raise UsageError(
                f"weights {entry.name} are of {entry.model}, not of {model}; leave out the model"
            )
        # One process fetches; the others find it in the cache.
        processes.same(str(published.get(entry.name)) if processes.rank() == 0 else None)
        suggested = _suggested(entry.preprocessing, task.name == PUBLISHED)
        return _completed(given, {"model": entry.model} | suggested), entry.preprocessing
    path = Path(name)
    if path.is_dir():  # a run
        path = path / "model" / "weights.safetensors"
    if not path.is_file():
        raise UsageError(
            f"weights: no such file and no published weights: {path}; "
            f"{did_you_mean(str(path), CATALOGUE)}"
        )
    own, preprocessing, trained = _own_model(path)
    if own is None and model is None:
        raise UsageError(f"{path}: does not say which network it is of; name it with --model")
    published.read(path)  # what is wrong with it is told before anything is read or written
    suggested = {"model": own} | _suggested(preprocessing, trained in (None, task.name))
    return _completed(given, suggested) | {"weights": str(path.absolute())}, preprocessing


def _completed(given: Mapping[str, Any], suggested: Mapping[str, Any]) -> dict[str, Any]:
    """With a suggested value wherever none is given."""
    open_ones = {k: v for k, v in suggested.items() if v is not None and given.get(k) is None}
    return dict(given) | open_ones


def _suggested(given: Preprocessing | None, same: bool) -> dict[str, Any]:
    """Another task has its own size, and much that it has to learn from nothing."""
    return {"size": given and given.size, "epochs": EPOCHS} if same else {}


def _own_model(path: Path) -> tuple[str | None, Preprocessing | None, str | None]:
    """Model, preprocessing and task of weights that Pellucid saved: they stand in the `model.json`
    beside them."""
    about = _beside(path)
    if about is None:
        return None, None, None
    given = stored(_stored_part(about, "preprocess") or {}, path.parent / "model.json")
    architecture = _stored_part(about, "architecture") or {}
    model = architecture.get("model")
    return model and str(model), given, about.get("task")


def _stored_part(about: Mapping[str, Any], part: str) -> Any:
    """The fields of a part in a `model.json`: in format 1 all parts were one, `room`."""
    return about.get(part, about.get("room"))


def _beside(path: Path) -> dict[str, Any] | None:
    """The `model.json` of weights that Pellucid saved."""
    if path.name != "weights.safetensors" or not (path.parent / "model.json").is_file():
        return None
    about = folders.read_json(path.parent / "model.json")
    return about if isinstance(about, dict) else {}


def stored(found: Any, path: Path) -> Preprocessing | None:
    """The preprocessing that is found in `path`: the `data.json` of a run, so that resuming it
    does not need the file of the weights, or a `model.json`. Raises ModelError."""
    if found is None:
        return None
    try:
        return Preprocessing(*(tuple(found[field.name]) for field in fields(Preprocessing)))
    except (KeyError, TypeError) as error:
        raise ModelError(
            f"{path}: does not say how the weights want their pictures ({error}); copy it again "
            "from where it was whole"
        ) from None


def kept(given: Preprocessing | None) -> dict[str, Any]:
    """What `data.json` keeps of it."""
    return {} if given is None else {"preprocessing": asdict(given)}


def begin(
    network: nn.Module,
    spec: ModelSpec,
    settings: SharedSettings,
    views: Views,
    device: torch.device,
    say: Say,
) -> None:
    """Puts the weights of the settings into the network, all but a last layer for other classes, or
    into the backbone of a detector; unfolds folded norms that are to learn. Raises ModelError for
    weights of another network."""
    assert settings.weights is not None
    name = settings.weights
    if name in CATALOGUE:
        weights = published.tensors(name)
        say.line(published.licence_line(name))
    else:
        weights = published.read(Path(name))
        if (licence := credit(settings).get("licence_of_weights")) is not None:
            say.line(f"{name}: trained from weights of others, licence {licence}")
    prefix, own = trunk(network)
    if prefix and not any(key.startswith(prefix) for key in weights):
        taken = _fill_backbone(own, weights, name, spec, settings)
        say.line(
            f"{name}: {taken} of {len(weights)} tensors taken over into the backbone; the rest of "
            "the network starts fresh"
        )
    else:
        fresh = _fill(network, weights, name, spec, settings)
        said = (
            f"{len(weights) - len(fresh)} tensors taken over; the last layer starts fresh "
            f"({', '.join(fresh)})"
        )
        say.line(
            f"{name}: "
            f"{said if fresh else f'all {len(weights)} tensors taken over; nothing starts fresh'}"
        )
    if folded(network) and norms_kept(settings):
        say.line(
            f"{name}: batch norms were folded into the layers before them; kept as they are "
            "(--norms learned unfolds them)"
        )
    elif folded(network):
        count = unfold(network, spec, views, device)
        say.line(
            f"{name}: batch norms were folded into the layers before them; unfolded by the "
            f"statistics of {count} training pictures"
        )


def _fill(
    network: nn.Module,
    weights: Mapping[str, Tensor],
    name: str,
    spec: ModelSpec,
    settings: SharedSettings,
) -> list[str]:
    """The keys that start fresh: those of a layer for other classes."""
    own = {key: network.state_dict()[key].clone() for key in _of_classes(network, spec)}
    fresh = published.fill(network, weights, name, other_classes=True)
    if not fresh and _classes(settings) not in (None, spec.inference.classes):
        # As many classes, but others: what the last layer knows is wrong here.
        network.load_state_dict(own, strict=False)
        fresh = list(own)
    return fresh


def _fill_backbone(
    backbone: nn.Module,
    weights: Mapping[str, Tensor],
    name: str,
    spec: ModelSpec,
    settings: SharedSettings,
) -> int:
    """How many tensors were taken over. What the file has beyond them must be of the same network:
    its classifier, which finds nothing."""
    own = backbone.state_dict()
    shared = {key: value for key, value in weights.items() if key in own}
    strange = [
        key for key in weights if key not in own and key not in _whole(settings, spec).state_dict()
    ]
    if strange:
        raise ModelError(
            f"{name}: these weights are not of {settings.model} ({strange[0]}); name the network "
            "they are of with --model"
        )
    published.fill(backbone, shared, name)
    return len(shared)


def _whole(settings: SharedSettings, spec: ModelSpec) -> nn.Module:
    """The network whose first part the backbone is, without numbers."""
    channels, *size = spec.preprocess.input_shape
    assert settings.model is not None
    classes = models.classes_of(settings.model) if models.is_notation(settings.model) else 1000
    with torch.device("meta"):
        return models.create(settings.model, classes, channels, tuple(size))


def _of_classes(network: nn.Module, spec: ModelSpec) -> list[str]:
    """The keys of the layers that tell the classes apart: of a network with a backbone those that
    another class would make larger. Its architecture has the number of classes as `classes`."""
    architecture = spec.architecture
    if trunk(network)[0] and "classes" in (each.name for each in fields(architecture)):
        with torch.random.fork_rng(devices=[]):
            larger = replace(architecture, classes=architecture.classes + 1).build().state_dict()
        return [
            key for key, value in network.state_dict().items() if value.shape != larger[key].shape
        ]
    last = _last_layer(network)
    return [key for key in network.state_dict() if key.startswith(last)]


def _last_layer(network: nn.Module) -> str:
    """The beginning of its keys: by rule of thumb the last one that multiplies, in the order in
    which the network lists them."""
    return weighted(network)[-1][0] + "."


def _classes(settings: SharedSettings) -> tuple[str, ...] | None:
    """The classes that the weights were trained for, where these are known."""
    assert settings.weights is not None
    if settings.weights in CATALOGUE:
        return published.labels(CATALOGUE[settings.weights].classes)
    about = _beside(Path(settings.weights)) or {}
    found = (_stored_part(about, "inference") or {}).get("classes")
    return tuple(found) if found else None


def credit(settings: SharedSettings) -> dict[str, Any]:
    """What a model that was trained from these weights says of them; a licence goes on from
    generation to generation."""
    if settings.weights is None:
        return {}
    entry = CATALOGUE.get(settings.weights)
    if entry is None:
        before = _beside(Path(settings.weights)) or {}
        return {"weights": Path(settings.weights).name} | {
            key: before[key] for key in ("licence_of_weights",) if key in before
        }
    return {
        "weights": entry.name,
        "licence_of_weights": f"{entry.licence}; commercial use {entry.commercial}",
    }


def credited(folder: Path) -> dict[str, Any]:
    """What `credit` said when the run was begun: its weights may be gone when it ends."""
    facts = folders.read_json(folder / "data.json")
    return {key: facts[key] for key in ("weights", "licence_of_weights") if key in facts}


# --- folded norms ---------------------------------------------------------------------------------


def norms(network: nn.Module) -> list[Norm]:
    """Of the trunk: those that weights of others may have been folded into."""
    return [layer for layer in trunk(network)[1].modules() if isinstance(layer, Norm)]


def folded(network: nn.Module) -> bool:
    """Whether every batch norm only adds its bias: weight 1, mean 0, variance 1 - ε, as they are
    left when folded into convolutions.

    A fresh norm looks much alike, with variance 1; but its bias is 0.
    """

    def all_near(values: Tensor | None, aim: float) -> bool:
        return values is not None and bool(((values - aim).abs() <= ROUNDING).all())

    found = norms(network)
    return any(norm.bias is not None and bool(norm.bias.any()) for norm in found) and all(
        all_near(norm.weight, 1)
        and all_near(norm.running_mean, 0)
        and all_near(norm.running_var, 1 - norm.eps)
        for norm in found
    )


def unfold(network: nn.Module, spec: ModelSpec, views: Views, device: torch.device) -> int:
    """Gives each batch norm the mean μ and variance σ² of its own input, and a scale and bias that
    undo them.

    In evaluation s·(x - m) + b becomes w·(x - μ)/√(σ² + ε) + b′ with w = s·√(σ² + ε) and b′ = b +
    s·(μ - m): the same function. In training a batch's statistics are now near the running ones; a
    folded norm would scale what was never meant to be scaled. As no output changes, one pass
    measures all norms. Returns the number of images measured.
    """
    rows = np.unique(np.linspace(0, len(views) - 1, min(MEASURED, len(views))).astype(np.int64))
    network.eval()
    with torch.no_grad():
        for norm, (mean, variance) in _inputs_of_norms(network, spec, views, rows, device).items():
            assert norm.running_mean is not None and norm.running_var is not None
            scale = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
            norm.bias.add_(scale * (mean - norm.running_mean))
            norm.weight.copy_(scale * torch.sqrt(variance + norm.eps))
            norm.running_mean.copy_(mean)
            norm.running_var.copy_(variance)
    return len(rows)


def _inputs_of_norms(
    network: nn.Module, spec: ModelSpec, views: Views, rows: np.ndarray, device: torch.device
) -> dict[Norm, tuple[Tensor, Tensor]]:
    """Mean and variance of each channel of what comes into each norm that is run, over these
    images as evaluation sees them."""
    sums: dict[Norm, Tensor] = {}

    def look(norm: Any, inputs: tuple[Tensor]) -> None:
        x = inputs[0].transpose(0, 1).flatten(1)
        variance, mean = (value.double() for value in torch.var_mean(x, 1, correction=0))
        sums[norm] = sums.get(norm, 0) + x.shape[1] * torch.stack(
            [torch.ones_like(mean), mean, variance + mean**2]
        )

    watches = [norm.register_forward_pre_hook(look) for norm in norms(network)]
    try:
        for few in np.array_split(rows, -(-len(rows) // 16)):
            forward_outputs(spec, network, views.batch(few), SCORING, device)
    finally:
        for watch in watches:
            watch.remove()
    return {
        norm: (total / count, (squares / count - (total / count) ** 2).clamp(min=0))
        for norm, (count, total, squares) in sums.items()
    }
