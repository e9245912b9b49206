"""Worked examples, training: decay of the rate and of weights, unequal classes, dropout, batch
norm, normalisation, early stopping."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pellucid.anatomy import gradcheck
from pellucid.core.rng import Draws, generator
from pellucid.core.types import Batch, ViewTransform
from pellucid.data.formats import Dataset
from pellucid.data.sample import Sample
from pellucid.engine.run.epoch import epochs_without_gain
from pellucid.engine.run.optim import learning_rate, optimizer
from pellucid.losses.class_balance import class_weights
from pellucid.metrics.classification import classification
from pellucid.models import MODELS
from pellucid.models.notation import build
from pellucid.tasks.classification.architecture import ClassificationArchitecture
from pellucid.tasks.classification.settings import ClassificationSettings
from pellucid.tasks.classification.training import ClassificationTraining
from pellucid.tasks.image_preprocess import ImagePreprocess
from pellucid.tasks.settings import SharedSettings
from pellucid.tasks.task import FitData

# -------------------------------------------------------------------------------- decay of the rate


def rates(
    schedule: str, epochs: int = 40, losses: tuple[float, ...] = (), **settings: float
) -> list[float]:
    """The rate of each epoch's first step, ten steps an epoch, 1 at its peak."""
    chosen = SharedSettings(schedule=schedule, epochs=epochs, lr=1.0, **settings)
    rows = [{"validation_loss": loss} for loss in losses]
    return [learning_rate(chosen, 10 * epoch, 10, rows[:epoch]) for epoch in range(epochs)]


def test_step_decay_is_a_tenth_after_half_and_three_quarters() -> None:
    assert rates("step") == pytest.approx([1.0] * 20 + [0.1] * 10 + [0.01] * 10)


def test_exponential_decay_has_one_factor_below_1() -> None:
    found = np.array(rates("exponential"))
    factors = found[1:] / found[:-1]
    assert found[0] == 1
    np.testing.assert_allclose(factors, factors[0])
    assert factors[0] < 1


def test_the_rate_falls_when_validation_stalls() -> None:
    falling, stalled = (
        tuple(0.9**epoch for epoch in range(40)),
        tuple(max(0.9**epoch, 0.9**10) for epoch in range(40)),
    )
    assert rates("plateau", losses=falling) == [1.0] * 40
    found = rates("plateau", losses=stalled)
    assert found[:11] == [1.0] * 11
    assert found[-1] < 0.11
    assert sorted(found, reverse=True) == found


def test_a_cyclic_rate_comes_back_each_cycle() -> None:
    found = rates("triangular", cycle=8.0, lr_low=0.2)
    assert found[:9] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 0.8, 0.6, 0.4, 0.2])
    assert found[8:] == pytest.approx(found[:-8])


# ----------------------------------------------------------------------------- decay of the weights


def test_weight_decay_leaves_biases_and_scales_alone() -> None:
    """The gradient of δ/2·‖w‖² is δw: where nothing else pulls, a step takes the share αδ off."""
    network = build("C4 B R P C4 B R G L3", 1, (8, 8))
    for parameter in network.parameters():
        nn.init.constant_(parameter, 2.0)
        parameter.grad = torch.zeros_like(parameter)
    optimizer(
        SharedSettings(optimizer="sgd", lr=0.1, momentum=0.0, weight_decay=0.01),
        list(network.named_parameters()),
    ).step()
    weights = [
        layer.weight for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)
    ]
    assert len(weights) == 3
    for parameter in network.parameters():
        expected = 2 * (1 - 0.1 * 0.01) if any(parameter is weight for weight in weights) else 2.0
        torch.testing.assert_close(parameter.detach(), torch.full_like(parameter, expected))


# ---------------------------------------------------------------------------------- unequal classes


TRUTHS = np.repeat([0, 1], [90, 10])
SAMPLES = tuple(
    Sample(np.zeros((1, 1, 1), np.uint8), int(target), str(i)) for i, target in enumerate(TRUTHS)
)


def training(imbalance: str) -> ClassificationTraining:
    """For ninety images of one class and ten of the other."""
    settings = ClassificationSettings(
        batch=20, loss="cross_entropy", label_smoothing=0.0, imbalance=imbalance
    )
    images = np.arange(100, dtype=np.uint8)[:, None, None, None]
    fitted = FitData(images, torch.from_numpy(TRUTHS), ())
    preprocess = ImagePreprocess(size=(1, 1), channels=1).fit_statistics(fitted)
    architecture = ClassificationArchitecture("L2", 2, 1, (1, 1))
    dataset = Dataset(SAMPLES, ("common", "rare"), "", "", "")
    return ClassificationTraining.create(settings, dataset, preprocess, architecture, fitted)


def shown(imbalance: str) -> list[int]:
    """How many images of each class an epoch shows."""
    views = np.ones(len(SAMPLES), np.int64)
    batches = training(imbalance).batches(SAMPLES, views, 0, generator(0))
    return np.bincount(TRUTHS[np.concatenate(batches)]).tolist()


def test_class_weights_make_up_for_frequencies() -> None:
    weights = class_weights(np.array([90, 10]))
    assert weights.tolist() == pytest.approx([100 / 180, 100 / 20])
    network = build("L2", 1, (1, 1))
    with torch.no_grad():
        for parameter, value in zip(
            network.parameters(), (torch.zeros(2, 1), torch.tensor([2.0, 0.0])), strict=True
        ):
            parameter.copy_(value)
    place = ViewTransform(np.eye(2, 3), (1, 1), (1, 1))
    batch = Batch(
        torch.zeros(100, 1, 1, 1),
        torch.from_numpy(TRUTHS),
        (place,) * 100,
        tuple(map(str, range(100))),
    )
    losses = {
        name: training(name).loss(network, batch, "", Draws(0, 0, np.arange(100)))["total"].item()
        for name in ("none", "class_weights")
    }
    common, rare = math.log(1 + math.exp(-2)), math.log(1 + math.exp(2))
    assert losses["none"] == pytest.approx(0.9 * common + 0.1 * rare)
    assert losses["class_weights"] == pytest.approx((common + rare) / 2)


def test_resampling_repeats_the_rare_or_drops_the_common() -> None:
    assert shown("none") == shown("class_weights") == [90, 10]
    assert shown("oversample") == [50, 50]
    assert shown("augment_minority") == [90, 90]
    assert shown("undersample") == shown("undersample_clusters") == [10, 10]


def test_balanced_accuracy_shows_what_accuracy_hides() -> None:
    always = classification(TRUTHS, np.tile([0.9, 0.1], (100, 1)), ["common", "rare"])
    assert always["accuracy"]["value"] == 0.9
    assert always["balanced_accuracy"]["value"] == 0.5
    assert always["confusion"] == [[90, 0], [10, 0]]
    assert always["per_class"]["rare"]["recall"]["value"] == 0


# -------------------------------------------------------------------------------------- the network


def test_dropout_scales_what_it_keeps_in_training() -> None:
    torch.manual_seed(0)
    network = build("D.25 G", 1, (1, 1))
    x = torch.ones(4000, 1, 1, 1)
    kept = network.train()(x)
    assert kept.unique().tolist() == pytest.approx([0, 1 / (1 - 0.25)])
    assert kept.mean().item() == pytest.approx(1, abs=0.04)
    assert torch.equal(network.eval()(x).flatten(), torch.ones(4000))


def skewed(count: int, channels: int = 2) -> Tensor:
    """Exponentially distributed: far from Gaussian, of skewness 2; each channel of its own size."""
    drawn = torch.from_numpy(generator(3).exponential(1, (count, channels, 1, 1))).float()
    return drawn * torch.arange(1, channels + 1)[:, None, None] + 5


def skewness(values: Tensor) -> Tensor:
    return ((values - values.mean(0)) / values.std(0)).pow(3).mean(0)


def test_batch_norm_standardizes_but_keeps_the_skewness() -> None:
    network, x = build("B G", 2, (1, 1)), skewed(5000)
    y = network.train()(x).detach()
    torch.testing.assert_close(y.mean(0), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(y.var(0, unbiased=False), torch.ones(2), atol=1e-4, rtol=0)
    torch.testing.assert_close(skewness(y), skewness(x[:, :, 0, 0]), atol=1e-2, rtol=0)
    assert skewness(y).min() > 1.5

    norm = next(layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d))
    nn.init.constant_(norm.weight, 3.0)
    nn.init.constant_(norm.bias, -1.0)
    torch.testing.assert_close(network(x), 3 * y - 1)


def test_batch_norm_answers_with_running_statistics_at_test() -> None:
    network, x = build("B G", 2, (1, 1)), skewed(500)
    for _ in range(200):
        network.train()(x)
    alone, together = network.eval()(x[:1]), network(x[:7])
    torch.testing.assert_close(alone[0], together[0])
    mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3))
    torch.testing.assert_close(
        alone[0], (x[0, :, 0, 0] - mean) / (variance + 1e-5).sqrt(), atol=1e-4, rtol=1e-4
    )


def test_batch_norm_stands_before_the_activation() -> None:
    with torch.device("meta"):
        layers = [
            layer
            for layer in MODELS["vgg16_bn"](classes=10, channels=3).modules()
            if not list(layer.children())
        ]
    after = [
        layers[place + 1] for place, layer in enumerate(layers) if isinstance(layer, nn.BatchNorm2d)
    ]
    assert len(after) == 13
    assert all(isinstance(layer, nn.ReLU) for layer in after)


class Counted(nn.Module):
    """A dense layer that counts how often it is asked, over all of its copies."""

    def __init__(self, calls: list[int]) -> None:
        super().__init__()
        self.layer, self.ask = nn.Linear(2, 1), lambda: calls.append(1)

    def forward(self, x: Tensor) -> Tensor:
        self.ask()
        return self.layer(x)


def test_a_numerical_gradient_evaluates_each_number() -> None:
    """Differences to one side take dim + 1 evaluations; ours, to both sides, 2·dim, beside one in
    the middle and one to go back through."""
    calls: list[int] = []
    found = gradcheck.check(Counted(calls), (2,))
    dim = sum(math.prod(tensor.shape) for tensor in found.tensors)
    assert found.passed and dim == gradcheck.BATCH * 2 + 3
    assert len(calls) - 1 == dim + (dim + 1)


# ------------------------------------------------------------------------------------------ the run


def test_images_are_normalized_by_the_training_set_alone() -> None:
    rng = generator(8)
    train, test = (
        rng.integers(0, 200, (50, 4, 4, 3), np.uint8),
        rng.integers(100, 256, (20, 4, 4, 3), np.uint8),
    )
    fitted = FitData(train, None, ())
    measured = ImagePreprocess(size=(4, 4), channels=3).fit_statistics(fitted)
    mean, deviation = (train / 255).mean((0, 1, 2)), (train / 255).std((0, 1, 2))
    assert measured.mean == pytest.approx(mean.tolist()) and measured.std == pytest.approx(
        deviation.tolist()
    )
    seen, unseen = (
        measured.network_input(Batch(torch.from_numpy(part).permute(0, 3, 1, 2), None, (), ()))
        .permute(0, 2, 3, 1)
        .numpy()
        for part in (train, test)
    )
    np.testing.assert_allclose(seen.mean((0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(seen.std((0, 1, 2)), 1, atol=1e-5)
    np.testing.assert_allclose(unseen, (test / 255 - mean) / deviation, atol=1e-5)
    assert (unseen.mean((0, 1, 2)) > 1).all()


def test_early_stopping_waits_for_accuracy_to_fall() -> None:
    """While it rises nothing is counted, and an equal is no rise."""
    scores = [0.5, 0.6, 0.7, 0.7, 0.65, 0.6]
    history = [{"validation_score": score} for score in scores]
    assert [epochs_without_gain(history[: count + 1]) for count in range(6)] == [0, 0, 0, 1, 2, 3]


def test_a_one_sided_gradient_takes_dim_plus_1_evaluations() -> None:
    asked = []

    def loss(theta: torch.Tensor) -> torch.Tensor:
        asked.append(theta)
        return (theta[0] * theta[1] + 5) * (theta[1] + theta[2])

    slopes = gradcheck.one_sided(loss, torch.tensor([8.0, 0.0, 1.0], dtype=torch.float64))
    assert len(asked) == 3 + 1
    torch.testing.assert_close(
        slopes, torch.tensor([0.0, 13.0, 5.0], dtype=torch.float64), atol=1e-4, rtol=0
    )
