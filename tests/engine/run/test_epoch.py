from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import pellucid
from pellucid.engine.run import folders
from pellucid.engine.run.checkpoint import State
from pellucid.engine.run.epoch import averaged, epochs_without_gain
from pellucid.engine.run.loop import average


def test_the_average_follows_its_recursion() -> None:
    network = nn.Linear(3, 2)
    state, expected = State(network, []), network.weight.detach().clone()
    for number in range(30):
        with torch.no_grad():
            network.weight.add_(torch.randn(2, 3))
        average(state, 0.8, number)
        decay = min(0.8, (1 + number) / (10 + number))
        expected = (
            network.weight.detach().clone()
            if number == 0
            else decay * expected + (1 - decay) * network.weight.detach()
        )
    torch.testing.assert_close(state.average["weight"], expected)


def test_without_a_decay_there_is_no_average() -> None:
    state = State(nn.Linear(3, 2), [])
    average(state, 0.0, 0)
    assert state.average == {}
    with averaged(state):
        pass


def test_averaged_weights_last_for_the_block_alone() -> None:
    network = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    state = State(network, [])
    average(state, 0.5, 0)
    kept = {key: value.clone() for key, value in network.state_dict().items()}
    state.average = {key: value + 1 for key, value in state.average.items()}
    with averaged(state):
        torch.testing.assert_close(network[0].weight.detach(), kept["0.weight"] + 1)
        torch.testing.assert_close(network[1].running_mean, kept["1.running_mean"] + 1)
    assert all(torch.equal(value, kept[key]) for key, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("scores", "waited"),
    [([0.5], 0), ([0.5, 0.6], 0), ([0.6, 0.5, 0.6], 2), ([0.1, 0.9, 0.8, 0.7], 2)],
)
def test_early_stopping_counts_from_the_first_best_epoch(scores: list[float], waited: int) -> None:
    assert epochs_without_gain([{"validation_score": score} for score in scores]) == waited


def test_a_run_keeps_the_average_and_says_what_it_gained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = {
        "model": "C8 B R P C16 B R G L10",
        "epochs": 2,
        "threads": 1,
        "baselines": False,
        "quiet": True,
    }
    plain = pellucid.train("digits", name="plain", **settings)
    run = pellucid.train("digits", name="averaged", ema=0.95, **settings)
    gain = run.summary["ema"]
    assert gain["score"] == "accuracy"
    assert gain["ours"] == run.summary["test"]["accuracy"]["value"]
    assert gain["gain"]["value"] == pytest.approx(gain["ours"] - gain["theirs"])
    assert gain["seconds"] >= 0
    assert "ema" not in plain.summary
    # The path of the weights is the same; the average only watches it.
    losses = [
        [line.split(",")[5] for line in (each.path / "metrics.csv").read_text().splitlines()]
        for each in (plain, run)
    ]
    assert losses[0] == losses[1]
    assert not (run.path / "checkpoint.safetensors").exists()
    assert folders.read_json(run.path / "summary.json")["ema"] == gain
