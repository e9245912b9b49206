"""What of a network learns: stages that stay as they are, statistics that are kept, lower rates
towards the picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...anatomy.trace import shadow_of
from ...core.errors import UsageError
from ...tasks.settings import SharedSettings

Norm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d


@dataclass(frozen=True)
class Stage:
    """Names of the parameters and of the modules that a map of `features` needs and no map
    before it does."""

    parameters: list[str]
    modules: list[str]


def trunk(network: nn.Module) -> tuple[str, nn.Module]:
    """What of a network weights of other tasks fit, and the beginning of its names: a detector's
    `backbone`, else the whole network."""
    backbone = getattr(network, "backbone", None)
    return ("", network) if backbone is None else ("backbone.", backbone)


def stages(network: nn.Module, input_shape: tuple[int, ...]) -> list[list[str]]:
    """Names of the parameters first needed for map 0, 1, … of the trunk's `features`, then of all
    that are left: the head's, auxiliary ones among them, and a detector's neck.

    input_shape: of one picture, without the batch. A stage may be empty: a map that is a pooled
    copy of the one before it.
    """
    found = [stage.parameters for stage in stages_of_features(network, input_shape)]
    placed = {name for stage in found for name in stage}
    return [*found, [name for name, _ in network.named_parameters() if name not in placed]]


def stages_of_features(network: nn.Module, input_shape: tuple[int, ...]) -> list[Stage]:
    """One for each map of the trunk. Found on torch's meta device, from the graph that autograd
    records: nothing is computed.

    The output of each module is multiplied by a tag of its own, which wants a gradient, so that
    modules without parameters, such as dropout, are leaves of that graph as well.
    """
    prefix, own = trunk(network)
    shadow: Any = shadow_of(own).requires_grad_(True)
    parameters = {id(parameter): prefix + name for name, parameter in shadow.named_parameters()}
    tags = [
        ((prefix + name).removesuffix("."), _tagged(module))
        for name, module in shadow.named_modules()
    ]
    with torch.enable_grad(), torch.device("meta"):
        maps = shadow.features(torch.empty(1, *input_shape))
    seen: set[Any] = set()
    found = []
    for each in maps:
        new = {id(leaf) for leaf in leaves(each, seen)}
        found.append(
            Stage(
                [name for key, name in parameters.items() if key in new],
                [name for name, tag in tags if id(tag) in new],
            )
        )
    return found


def _tagged(module: nn.Module) -> Tensor:
    tag = torch.ones((), device="meta", requires_grad=True)
    module.register_forward_hook(
        lambda module, inputs, output: output * tag if isinstance(output, Tensor) else None
    )
    return tag


def leaves(tensor: Tensor, seen: set[Any]) -> list[Tensor]:
    """The tensors from which autograd made this one, without those behind the nodes in `seen`,
    which grows."""
    waiting, found = [tensor.grad_fn], []
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.append(node.variable)
        waiting.extend(before for before, _ in node.next_functions)
    return found


def _frozen(
    network: nn.Module, settings: SharedSettings, input_shape: tuple[int, ...]
) -> list[Stage]:
    """The stages that stay as they are. Raises UsageError for more than there are, or for stages in
    which nothing could learn."""
    if settings.freeze in (None, "0"):
        return []
    found = stages_of_features(network, input_shape)
    count = len(found) if settings.freeze == "all" else int(settings.freeze)
    if count > len(found):
        raise UsageError(
            f"freeze: {settings.model} has {len(found)} stages before its head, not {count}; "
            "write 0 "
            f"to {len(found)}, or all"
        )
    if not any(stage.parameters for stage in found[:count]):
        raise UsageError(
            f"freeze: {settings.model} has no weights in its first stages ({count}) that could "
            "stay "
            "as they are; leave out freeze"
        )
    return found[:count]


def freeze(network: nn.Module, settings: SharedSettings, input_shape: tuple[int, ...]) -> None:
    """Takes the gradient from the stages that `settings.freeze` names, counted from the picture.
    Raises UsageError."""
    for stage in _frozen(network, settings, input_shape):
        for name in stage.parameters:
            network.get_parameter(name).requires_grad_(False)


def norms_kept(settings: SharedSettings) -> bool:
    """Weights of others come with statistics of more pictures than are at hand here; a fresh
    network has none worth keeping."""
    return settings.norms == "kept" if settings.norms else settings.weights is not None


def quiet(
    network: nn.Module, settings: SharedSettings, input_shape: tuple[int, ...]
) -> list[nn.Module]:
    """The modules that stay in evaluation mode in training: frozen ones, whose dropout and
    statistics rest too, and norms of the trunk that are kept; those of a detector's neck and head
    are fresh, and learn.

    A kept norm that is not frozen still learns its scale and bias: they are weights like others,
    while statistics are not learned.
    """
    frozen = [
        network.get_submodule(name)
        for stage in _frozen(network, settings, input_shape)
        for name in stage.modules
    ]
    return frozen + (
        [module for module in trunk(network)[1].modules() if isinstance(module, Norm)]
        if norms_kept(settings)
        else []
    )


def learning(network: nn.Module, resting: Sequence[nn.Module]) -> None:
    """Training mode, but for what `quiet` found."""
    network.train()
    for module in resting:
        module.eval()


def rates(
    network: nn.Module, settings: SharedSettings, input_shape: tuple[int, ...]
) -> Mapping[str, float]:
    """The rate of each parameter as a share of the settings: `stage_lr` to the power of its stage's
    distance from the head.

    Discriminative fine-tuning (Howard and Ruder 2018, section 3.2, where the share is 1/2.6).
    Stages without parameters do not count.
    """
    share = settings.stage_lr or 1.0
    if share == 1:
        return {}
    found = [names for names in stages(network, input_shape) if names]
    return {
        name: share ** (len(found) - 1 - at) for at, names in enumerate(found) for name in names
    }
