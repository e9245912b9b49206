from __future__ import annotations

import pytest
import torch
from torch import nn

from pellucid.engine.optim import learning_rate, optimizer
from pellucid.engine.recipe import SCHEDULES, Recipe


def recipe(**settings: object) -> Recipe:
    return Recipe(**({"lr": 0.1, "epochs": 8, "weight_decay": 0.01} | settings))  # type: ignore[arg-type]


def rates(history: list[dict[str, float]] | None = None, **settings: object) -> list[float]:
    return [learning_rate(recipe(**settings), step, 10, history or []) for step in range(80)]


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
    assert learning_rate(recipe(schedule="plateau"), 0, 10, falling) == pytest.approx(0.1)
    assert learning_rate(recipe(schedule="plateau"), 0, 10, stalled) == pytest.approx(0.01)
    assert learning_rate(recipe(schedule="plateau"), 0, 10, stalled + stalled[-5:]) == pytest.approx(0.001)


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
    ours = optimizer(recipe(optimizer=name, momentum=0.8), list(network.named_parameters()))
    decays = {id(p): group["weight_decay"] for group in ours.param_groups for p in group["params"]}
    assert {name for name, p in network.named_parameters() if decays[id(p)]} == {"0.weight", "2.weight"}
    kinds = {
        "sgd": lambda p, decay: torch.optim.SGD(p, 0.1, momentum=0.8, weight_decay=decay),
        "nesterov": lambda p, decay: torch.optim.SGD(p, 0.1, momentum=0.8, nesterov=True, weight_decay=decay),
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
