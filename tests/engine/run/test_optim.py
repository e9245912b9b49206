from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from pellucid.engine.run.optim import learning_rate, optimizer
from pellucid.engine.run.settings import options_of
from pellucid.tasks.settings import SharedSettings

SCHEDULES = options_of(SharedSettings)["schedule"].choices
DEFAULTS: dict[str, Any] = {"optimizer": "adamw", "lr": 0.1, "epochs": 8, "weight_decay": 0.01}


def settings(**changes: Any) -> SharedSettings:
    return SharedSettings(**(DEFAULTS | changes))


def rates(history: list[dict[str, float]] | None = None, **changes: Any) -> list[float]:
    return [learning_rate(settings(**changes), step, 10, history or []) for step in range(80)]


def test_step_drops_to_a_tenth_at_half_and_three_quarters() -> None:
    values = rates(schedule="step")
    assert values[:40] == pytest.approx([0.1] * 40)
    assert values[40:60] == pytest.approx([0.01] * 20)
    assert values[60:] == pytest.approx([0.001] * 20)


def test_cosine_equals_torch() -> None:
    weight = nn.Parameter(torch.zeros(1))
    peer = torch.optim.SGD([weight], lr=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(peer, T_max=80)
    for value in rates(schedule="cosine"):
        assert value == pytest.approx(schedule.get_last_lr()[0])
        peer.step()
        schedule.step()


def test_exponential_falls_by_one_factor_each_epoch() -> None:
    values = rates(schedule="exponential")[::10]
    factors = [b / a for a, b in zip(values, values[1:], strict=False)]
    assert factors == pytest.approx([factors[0]] * 7)
    assert factors[0] < 1
    assert len(set(rates(schedule="exponential")[:10])) == 1


def test_one_cycle_rises_to_its_peak_and_ends_near_nothing() -> None:
    values = rates(schedule="onecycle")
    peak = values.index(max(values))
    assert max(values) == pytest.approx(0.1)
    assert 0.15 < peak / 80 < 0.35
    assert values[:peak] == sorted(values[:peak])
    assert values[peak:] == sorted(values[peak:], reverse=True)
    assert values[-1] < 1e-3


def test_plateau_drops_when_validation_stalls() -> None:
    falling = [{"validation_loss": 1 / (i + 1)} for i in range(20)]
    stalled = falling + [{"validation_loss": 1.0}] * 5
    assert learning_rate(settings(schedule="plateau"), 0, 10, falling) == pytest.approx(0.1)
    assert learning_rate(settings(schedule="plateau"), 0, 10, stalled) == pytest.approx(0.01)
    assert learning_rate(
        settings(schedule="plateau"), 0, 10, stalled + stalled[-5:]
    ) == pytest.approx(0.001)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_warm_up_is_a_straight_line(schedule: str) -> None:
    values = rates(schedule=schedule, warmup=2.0)
    assert values[:20] == pytest.approx([0.1 * (i + 1) / 20 for i in range(20)])
    assert all(value > 0 for value in values)


@pytest.mark.parametrize("name", ["sgd", "nesterov", "adam", "adamw"])
def test_optimisers_equal_torch_and_decay_weights_only(name: str) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 3, bias=False), nn.BatchNorm1d(3), nn.Linear(3, 2))
    twin = nn.Sequential(nn.Linear(4, 3, bias=False), nn.BatchNorm1d(3), nn.Linear(3, 2))
    twin.load_state_dict(network.state_dict())
    ours = optimizer(settings(optimizer=name, momentum=0.8), list(network.named_parameters()))
    decays = {id(p): group["weight_decay"] for group in ours.param_groups for p in group["params"]}
    assert {name for name, p in network.named_parameters() if decays[id(p)]} == {
        "0.weight",
        "2.weight",
    }
    kinds = {
        "sgd": lambda p, decay: torch.optim.SGD(p, 0.1, momentum=0.8, weight_decay=decay),
        "nesterov": lambda p, decay: torch.optim.SGD(
            p, 0.1, momentum=0.8, nesterov=True, weight_decay=decay
        ),
        "adam": lambda p, decay: torch.optim.Adam(p, 0.1, weight_decay=decay),
        "adamw": lambda p, decay: torch.optim.AdamW(p, 0.1, weight_decay=decay),
    }
    weights = [p for p in twin.parameters() if p.ndim > 1]
    others = [p for p in twin.parameters() if p.ndim == 1]
    peers = [kinds[name](weights, 0.01), kinds[name](others, 0.0)]
    for _ in range(3):
        x = torch.randn(8, 4)
        for net, steppers in ((network, [ours]), (twin, peers)):
            net.zero_grad()
            net(x).square().sum().backward()
            for stepper in steppers:
                stepper.step()
    for p, q in zip(network.parameters(), twin.parameters(), strict=True):
        assert torch.allclose(p, q, atol=1e-6)


@pytest.mark.parametrize("mode", ["triangular", "triangular2"])
def test_cyclic_rates_equal_torch(mode: str) -> None:
    peer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    schedule = torch.optim.lr_scheduler.CyclicLR(
        peer, base_lr=0.02, max_lr=0.1, step_size_up=10, mode=mode, cycle_momentum=False
    )  # type: ignore[arg-type]
    for value in rates(schedule=mode, lr_low=0.02, cycle=2.0):
        assert value == pytest.approx(schedule.get_last_lr()[0])
        peer.step()
        schedule.step()


def test_exp_range_is_a_triangle_that_falls_to_a_hundredth() -> None:
    peer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    schedule = torch.optim.lr_scheduler.CyclicLR(
        peer,
        base_lr=0.02,
        max_lr=0.1,
        step_size_up=10,
        mode="exp_range",
        gamma=0.01 ** (1 / 80),
        cycle_momentum=False,
    )
    for value in rates(schedule="exp_range", lr_low=0.02, cycle=2.0):
        assert value == pytest.approx(schedule.get_last_lr()[0])
        peer.step()
        schedule.step()


def test_a_cyclic_schedule_by_default_has_four_cycles() -> None:
    values = rates(schedule="triangular")
    assert min(values) == pytest.approx(0.01)
    assert [i for i, value in enumerate(values) if value == pytest.approx(0.1)] == [10, 30, 50, 70]


def test_restarts_equal_torch() -> None:
    peer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(peer, T_0=10, T_mult=2)
    for value in rates(schedule="restarts", cycle=1.0):
        assert value == pytest.approx(schedule.get_last_lr()[0], abs=1e-12)
        peer.step()
        schedule.step()


def test_restarts_left_open_fill_the_run_with_three_cycles() -> None:
    values = [
        learning_rate(settings(schedule="restarts", epochs=7), step, 10, []) for step in range(70)
    ]
    assert [i for i, value in enumerate(values) if value == pytest.approx(0.1)] == [0, 10, 30]


def test_a_ramp_multiplies_by_the_same_factor_each_step() -> None:
    values = rates(schedule="ramp", lr_low=1e-6)
    assert values[0] == pytest.approx(1e-6) and values[-1] == pytest.approx(0.1)
    factors = [b / a for a, b in zip(values, values[1:], strict=False)]
    assert factors == pytest.approx([factors[0]] * 79)
