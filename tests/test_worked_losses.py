"""Worked examples, softmax, losses and momentum: each figure through the parts of classification,
the baselines or the optimizers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pellucid.baselines.classical import baselines
from pellucid.core.rng import Draws
from pellucid.core.types import Batch, ViewTransform
from pellucid.engine.run.optim import optimizer
from pellucid.losses.localization import landmarks, loss, target
from pellucid.models.notation import build
from pellucid.tasks.classification.inference import ClassificationInference
from pellucid.tasks.classification.training import ClassificationTraining
from pellucid.tasks.image_preprocess import ImagePreprocess
from pellucid.tasks.settings import SharedSettings

CLASSES = ("a", "b", "c")
PREPROCESS = ImagePreprocess(size=(1, 1), channels=1, mean=(0.0,), std=(1.0,))
logit = st.floats(-20, 20)


def batch(targets: list[int]) -> Batch:
    count = len(targets)
    place = ViewTransform(np.eye(2, 3), (1, 1), (1, 1))
    return Batch(
        torch.zeros(count, 1, 1, 1),
        torch.tensor(targets),
        (place,) * count,
        tuple(map(str, range(count))),
    )


def softmax(*logits: float) -> np.ndarray:
    """The probabilities of the result for these logits."""
    outputs = torch.tensor([logits], dtype=torch.float64)
    (result,) = ClassificationInference(CLASSES).decode(outputs, batch([0]))
    return result.probabilities


def cross_entropy(logits: tuple[float, ...], targets: list[int], smoothing: float = 0.0) -> float:
    """The training loss of a network that gives these logits for every image."""
    network = build("L3", 1, (1, 1))
    weight, bias = network.parameters()
    with torch.no_grad():
        weight.zero_()
        bias.copy_(torch.tensor(logits))
    training = ClassificationTraining(PREPROCESS, CLASSES, label_smoothing=smoothing)
    draws = Draws(0, 0, np.arange(len(targets)))
    return training.loss(network, batch(targets), "", draws)["total"].item()


# ------------------------------------------------------------------------------------------ softmax


def test_softmax_of_1_0_4() -> None:
    assert softmax(1, 0, 4).round(4).tolist() == [0.0466, 0.0171, 0.9362]


@given(a=logit, b=logit, c=logit, shift=logit)
@settings(max_examples=50, deadline=None)
def test_softmax_does_not_see_a_shift(a: float, b: float, c: float, shift: float) -> None:
    np.testing.assert_allclose(
        softmax(a + shift, b + shift, c + shift), softmax(a, b, c), atol=1e-9
    )


def test_softmax_sees_a_scale() -> None:
    assert softmax(2, 0, 8)[2] > softmax(1, 0, 4)[2] + 0.05


def test_scores_of_nearest_neighbours_are_counts_of_labels() -> None:
    """Six grey pictures; the five nearest to the one of level 113 are one of class a and
    four of class c."""

    def grey(*levels: int) -> np.ndarray:
        return np.array(levels, np.uint8)[:, None, None, None].repeat(8, 1).repeat(8, 2)

    train = grey(100, 102, 110, 112, 114, 116), np.array([0, 0, 2, 2, 2, 2])
    validation = grey(101), np.array([2])  # only five neighbours get it right
    found = baselines(train, validation, (grey(113), np.array([2])), ["a", "b", "c"])["k-NN"]
    assert found["settings"]["k"] == 5
    assert (5 * found["test"]).tolist() == [[1, 0, 4]]


# ------------------------------------------------------------------------------------ cross-entropy


@given(
    logits=st.tuples(logit, logit, logit),
    targets=st.lists(st.integers(0, 2), min_size=1, max_size=6),
)
@settings(max_examples=50, deadline=None)
def test_loss_is_the_mean_of_minus_ln_v(logits: tuple[float, ...], targets: list[int]) -> None:
    v = softmax(*logits)
    expected = -np.log(v[targets]).mean()
    assert cross_entropy(logits, targets) == pytest.approx(expected, abs=1e-4)


def test_cross_entropy_of_1_0_4() -> None:
    assert cross_entropy((1, 0, 4), [2]) == pytest.approx(-math.log(0.93624), abs=1e-5)


def test_cross_entropy_reaches_0_for_a_one_hot_truth_only() -> None:
    assert cross_entropy((0, 0, 200), [2]) == 0
    # A smoothed truth u has its own entropy, and no answer v gets below H(u, u).
    u = np.array([0.1, 0.1, 1.0 - 0.2])
    least = -(u * np.log(u)).sum()
    assert cross_entropy(tuple(np.log(u)), [2], smoothing=0.3) == pytest.approx(least, abs=1e-5)
    for logits in ((0, 0, 200), (0, 0, 1), (0, 0.1, 2.1), (1, 0, 4)):
        assert cross_entropy(logits, [2], smoothing=0.3) > least + 1e-4


@given(logits=st.tuples(logit, logit, logit), smoothing=st.floats(0.01, 0.9))
@settings(max_examples=50, deadline=None)
def test_cross_entropy_of_a_soft_target(logits: tuple[float, ...], smoothing: float) -> None:
    u = np.full(3, smoothing / 3) + (1 - smoothing) * np.eye(3)[1]
    assert cross_entropy(logits, [1], smoothing) == pytest.approx(
        -(u * np.log(softmax(*logits))).sum(), abs=1e-4
    )


# ------------------------------------------------------------------------------------- localisation


def test_localisation_of_a_red_car() -> None:
    wanted = target((0.3, 0.7, 0.3, 0.3), 1, 3)
    assert wanted.tolist() == pytest.approx([1, 0.3, 0.7, 0.3, 0.3, 0, 1, 0])
    # Without anchors, a cell of a 19×19 grid has as many numbers: 19×19×8 for three classes.
    assert len(wanted) == 8


def test_localisation_loss() -> None:
    answer = torch.tensor([[0.9, 0.3, 0.7, 0.3, 0.5, 0.0, 0.5, 0.0]])
    car, nothing = target((0.3, 0.7, 0.3, 0.3), 1, 3)[None], target(None, None, 3)[None]
    assert loss(answer, car).item() == pytest.approx(0.1**2 + 0.2**2 + 0.5**2)
    assert loss(answer, nothing).item() == pytest.approx(0.9**2)


def test_a_can_of_constant_size_needs_three_outputs() -> None:
    assert target((0.4, 0.6), None, 0, sized=False).tolist() == pytest.approx([1, 0.4, 0.6])


@pytest.mark.parametrize("count", [1, 5, 64])
def test_landmarks_need_two_outputs_each(count: int) -> None:
    assert landmarks([(0.5, 0.5)] * count).shape == (2 * count,)


# --------------------------------------------------------------------------------------- optimisers


def stepper(
    name: str, lr: float, momentum: float, start: list[float]
) -> tuple[torch.optim.Optimizer, Tensor]:
    weight = torch.nn.Parameter(torch.tensor(start, dtype=torch.float64))
    return optimizer(
        SharedSettings(optimizer=name, lr=lr, momentum=momentum, weight_decay=0.0),
        [("weight", weight)],
    ), weight


def test_a_step_has_the_length_of_lr_times_gradient() -> None:
    ours, weight = stepper("sgd", 0.1, 0.0, [1.0, 2.0])
    weight.grad = torch.tensor([3.0, 4.0], dtype=torch.float64)
    ours.step()
    assert torch.dist(
        weight.detach(), torch.tensor([1.0, 2.0], dtype=torch.float64)
    ).item() == pytest.approx(0.1 * 5)


def test_the_largest_step_with_momentum_is_ten_times_as_long() -> None:
    """On a slope that never changes: v → −α‖g‖/(1 − β)."""
    ours, weight = stepper("sgd", 0.1, 0.9, [0.0])
    weight.grad = torch.tensor([2.0], dtype=torch.float64)
    places = [0.0]
    for _ in range(300):
        ours.step()
        places.append(weight.item())
    steps = -np.diff(places)
    assert steps[0] == pytest.approx(0.1 * 2)
    assert steps[-1] == pytest.approx(10 * 0.1 * 2)
    assert (steps <= 10 * 0.1 * 2 + 1e-12).all()


def nesterov(look: float, steps: int, lr: float = 0.1, beta: float = 0.9) -> list[float]:
    """v ← βv − α∇L(θ + look·v), θ ← θ + v on L = θ²/2; returns θ + βv,
    where the textbook takes its next gradient."""
    theta, v, places = 1.0, 0.0, []
    for _ in range(steps):
        v = beta * v - lr * (theta + look * v)
        theta += v
        places.append(theta + beta * v)
    return places


def test_nesterov_is_the_textbook_method_in_shifted_form() -> None:
    """What a framework stores is θ + βv. The gradient at θ + v is another method,
    and goes elsewhere."""
    ours, weight = stepper("nesterov", 0.1, 0.9, [1.0])
    places = []
    for _ in range(30):
        weight.grad = weight.detach().clone()
        ours.step()
        places.append(weight.item())
    assert places == pytest.approx(nesterov(0.9, 30))
    assert max(abs(a - b) for a, b in zip(places, nesterov(1.0, 30), strict=True)) > 0.01
