"""What of a network learns: its stages, who is frozen, which statistics are kept,
which rate a stage has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import nn

import pellucid
from pellucid.core.errors import UsageError
from pellucid.engine.run import features, transfer
from pellucid.engine.run.optim import optimizer
from pellucid.models import MODELS, create, fixed_size
from pellucid.models.notation import build
from pellucid.models.pyramid import headless
from pellucid.models.yolo import Yolo
from pellucid.tasks.detection.settings import DetectionSettings
from pellucid.tasks.settings import SharedSettings

NOTATION = "C8 B R P D C8 B R G"
QUICK = {
    "model": f"{NOTATION} L3",
    "epochs": 2,
    "batch": 16,
    "threads": 1,
    "baselines": False,
    "quiet": True,
    "augment": "none",
}


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def stripes(tmp_path: Path) -> Path:
    """60 noisy pictures of 12×12×3 in three classes."""
    rng = np.random.default_rng(5)
    labels = np.arange(60) % 3
    images = rng.integers(0, 90, (60, 12, 12, 3), dtype=np.uint8)
    images[labels == 0, 5] += 160
    images[labels == 1, :, 5] += 160
    np.savez(tmp_path / "stripes.npz", images=images, labels=labels)
    return tmp_path / "stripes.npz"


def tried(name: str) -> tuple[nn.Module, tuple[int, int, int]]:
    size = fixed_size(name) or (67, 67)  # large enough for every network
    torch.manual_seed(0)
    return create(name, 3, 1, size), (1, *size)


def moved(
    chosen: SharedSettings, text: str = f"{NOTATION} L3", seed: int = 0
) -> tuple[nn.Module, dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """A network, and its tensors before and after three steps with these settings."""
    torch.manual_seed(seed)
    network, shape = build(text, 3, (12, 12)), (3, 12, 12)
    transfer.freeze(network, chosen, shape)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    named = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
    stepper = optimizer(chosen, named, transfer.rates(network, chosen, shape))
    transfer.learning(network, transfer.quiet(network, chosen, shape))
    for _ in range(3):
        stepper.zero_grad()
        nn.functional.cross_entropy(
            network(torch.randn(6, *shape)), torch.tensor([0, 1, 2] * 2)
        ).backward()
        stepper.step()
    return network, before, network.state_dict()


# --- stages ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_every_parameter_has_one_stage(name: str) -> None:
    with torch.device("meta"):
        network, shape = tried(name)
    found = transfer.stages(network, shape)
    assert len(found) == len(network.feature_channels) + 1
    names = [each for stage in found for each in stage]
    assert sorted(names) == sorted(dict(network.named_parameters())) and len(set(names)) == len(
        names
    )
    assert found[-1] and all(network.get_parameter(each).requires_grad for each in names)


@pytest.mark.parametrize(
    "name", ["lenet5_1998", "nin", "squeezenet1_1", "resnet20", "plain18", "googlenet"]
)
def test_stages_are_those_that_gradients_reach(name: str) -> None:
    network, shape = tried(name)
    network.eval()
    found, before = transfer.stages(network, shape), set()
    named = dict(network.named_parameters())
    for at, each in enumerate(network.features(torch.randn(1, *shape))):
        gradients = torch.autograd.grad(
            each.sum(), list(named.values()), allow_unused=True, retain_graph=True
        )
        reached = {
            key for key, gradient in zip(named, gradients, strict=True) if gradient is not None
        }
        assert set(found[at]) == reached - before
        before |= reached
    assert set(found[-1]) == set(named) - before


def test_auxiliary_heads_go_with_the_head() -> None:
    network, shape = tried("googlenet")
    last = transfer.stages(network, shape)[-1]
    assert {name.split(".")[0] for name in last} == {"aux1", "aux2", "fc"}


# --- freezing -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("wanted", "resting"), [("0", 0), ("1", 1), ("2", 2), ("all", 2)])
def test_frozen_stages_do_not_move_and_others_do(wanted: str, resting: int) -> None:
    chosen = SharedSettings(model="x", optimizer="adamw", lr=0.1, weight_decay=0.1, freeze=wanted)
    network, before, after = moved(chosen)
    found = transfer.stages(network, (3, 12, 12))
    for at, names in enumerate(found):
        assert all(torch.equal(before[name], after[name]) == (at < resting) for name in names)
    statistics = [key for key in before if "running" in key]
    frozen = {name.rsplit(".", 1)[0] for names in found[:resting] for name in names}
    assert len(statistics) == 4
    assert all(
        torch.equal(before[key], after[key]) == (key.rsplit(".", 1)[0] in frozen)
        for key in statistics
    )


def test_dropout_of_a_frozen_stage_rests() -> None:
    network, shape = tried("nin")
    chosen = SharedSettings(model="nin", freeze="all")
    transfer.learning(network, transfer.quiet(network, chosen, shape))
    assert not network.dropout.training and network.training
    x = torch.randn(2, *shape)
    assert torch.equal(network(x), network(x))
    transfer.learning(
        network, transfer.quiet(network, SharedSettings(model="nin", freeze="1"), shape)
    )
    assert network.dropout.training
    with torch.device("meta"):
        head, shape = tried("alexnet_2012")
    transfer.learning(head, transfer.quiet(head, chosen, shape))
    assert head.dropout.training


@pytest.mark.parametrize(
    ("model", "wanted", "says"),
    [
        ("resnet20", "4", "resnet20 has 3 stages before its head, not 4"),
        ("mlp", "all", "mlp has no weights in"),
        ("mlp", "1", "mlp has no"),
    ],
)
def test_what_cannot_be_frozen_is_refused(model: str, wanted: str, says: str) -> None:
    network, shape = tried(model)
    with pytest.raises(UsageError, match=says):
        transfer.freeze(network, SharedSettings(model=model, freeze=wanted), shape)


def test_too_many_stages_are_refused_before_a_run_begins(stripes: Path) -> None:
    with pytest.raises(UsageError, match="2 stages before its head, not 9; write 0 to 2, or all"):
        pellucid.train(stripes, freeze="9", **QUICK)
    assert not list(Path("runs").glob("*/*"))


# --- norms ----------------------------------------------------------------------------------------


def test_kept_norms_learn_scale_and_bias_but_no_statistics() -> None:
    for chosen, kept in (
        (SharedSettings(norms="kept"), True),
        (SharedSettings(norms="learned", weights="x.pth"), False),
        (SharedSettings(weights="x.pth"), True),
        (SharedSettings(), False),
    ):
        assert transfer.norms_kept(chosen) is kept
    _, before, after = moved(
        SharedSettings(model="x", optimizer="adamw", lr=0.1, weight_decay=0.0, norms="kept")
    )
    for key in before:
        assert torch.equal(before[key], after[key]) == ("running" in key or "num_batches" in key)


# --- rates ----------------------------------------------------------------------------------------


@given(st.sampled_from([0.3, 0.5, 0.9]), st.sampled_from(["resnet20", "alexnet", "mlp"]))
@settings(deadline=None, max_examples=9)
def test_rates_fall_by_one_factor_a_stage(share: float, name: str) -> None:
    with torch.device("meta"):
        network, shape = tried(name)
    found = transfer.rates(network, SharedSettings(model=name, stage_lr=share), shape)
    filled = [names for names in transfer.stages(network, shape) if names]
    expected = {
        each: share ** (len(filled) - 1 - at) for at, names in enumerate(filled) for each in names
    }
    assert found == pytest.approx(expected) and found[filled[-1][0]] == 1


def test_a_stage_moves_by_its_rate() -> None:
    """Plain gradient descent: the first step of a stage is that of training at one rate,
    times its share."""
    chosen = SharedSettings(model="x", optimizer="sgd", momentum=0.0, lr=0.1, weight_decay=0.0)
    steps = []
    for each in (
        chosen,
        SharedSettings(
            model="x", optimizer="sgd", momentum=0.0, lr=0.1, weight_decay=0.0, stage_lr=0.5
        ),
    ):
        torch.manual_seed(0)
        network, shape = build(f"{NOTATION} L3", 3, (12, 12)).eval(), (3, 12, 12)
        before = {name: p.detach().clone() for name, p in network.named_parameters()}
        stepper = optimizer(
            each, list(network.named_parameters()), transfer.rates(network, each, shape)
        )
        nn.functional.cross_entropy(
            network(torch.ones(3, *shape)), torch.tensor([0, 1, 2])
        ).backward()
        for group in stepper.param_groups:
            group["lr"] = 0.1 * group["scale"]
        stepper.step()
        steps.append({name: p.detach() - before[name] for name, p in network.named_parameters()})
    whole, scaled = steps
    for at, names in enumerate(transfer.stages(network, shape)):
        for name in names:
            torch.testing.assert_close(
                scaled[name], whole[name] * 0.5 ** (2 - at), rtol=1e-3, atol=1e-7
            )


def test_a_run_has_its_stages_rates_and_resumes_nothing_new(stripes: Path) -> None:
    first = pellucid.train(stripes, **QUICK)
    weights = str(first.path / "model" / "weights.safetensors")
    settings_of_second = {key: value for key, value in QUICK.items() if key != "model"}
    second = pellucid.train(
        stripes, weights=weights, freeze="1", stage_lr=0.3, **settings_of_second
    )
    assert 'norms = "kept"' in (second.path / "recipe.toml").read_text()
    before, after = (
        load_file(run.path / "model" / "weights.safetensors") for run in (first, second)
    )
    same = {key for key in before if torch.equal(before[key], after[key])}
    assert {
        key
        for key in before
        if key.startswith("stages.0") or "running" in key or "num_batches" in key
    } <= same
    assert "classifier.1.weight" not in same and any(
        key.startswith("stages.1") for key in set(before) - same
    )


# --- detectors ------------------------------------------------------------------------------------


def detector() -> nn.Module:
    return Yolo(headless(create("resnet20", 10, 3, (32, 32)), (3, 32, 32)), 2, 8)


def test_neck_and_head_of_a_detector_are_the_last_stage() -> None:
    network = detector()
    *backbone, rest = transfer.stages(network, (3, 32, 32))
    names = [name for stage in backbone for name in stage]
    assert names == [name for name, _ in network.named_parameters() if name.startswith("backbone.")]
    assert sorted([*names, *rest]) == sorted(name for name, _ in network.named_parameters())
    alone = transfer.stages(create("resnet20", 10, 3, (32, 32)), (3, 32, 32))
    assert [[name.removeprefix("backbone.") for name in stage] for stage in backbone] == alone[:-1]


def test_a_frozen_backbone_rests_and_the_neck_and_head_learn() -> None:
    network, chosen = (
        detector(),
        DetectionSettings(
            model="resnet20", freeze="all", weights="w", norms="kept", augment="none"
        ),
    )
    transfer.freeze(network, chosen, (3, 32, 32))
    assert all(
        parameter.requires_grad != name.startswith("backbone.")
        for name, parameter in network.named_parameters()
    )
    transfer.learning(network, transfer.quiet(network, chosen, (3, 32, 32)))
    norms = {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, nn.BatchNorm2d)
    }
    assert {name for name, norm in norms.items() if not norm.training} == {
        name for name in norms if name.startswith("backbone.")
    }
    assert not features.fixed(chosen, network, (3, 32, 32))
