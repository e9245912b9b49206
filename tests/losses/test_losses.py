from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pellucid.core.rng import generator
from pellucid.losses.classification import (
    LIKELIHOODS,
    LOSSES,
    focal,
    hinge,
    l2,
    l2_logits,
    mean_loss,
)
from pellucid.tasks.classification.settings import Loss

NAMES = tuple(LOSSES)
SHIFTABLE = ("cross_entropy", "focal", "l2", "hinge")
few = settings(max_examples=30, deadline=None)
seeds = st.integers(0, 2**31 - 1)


def drawn(seed: int, count: int = 5, classes: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    """float64 logits B×C, class numbers B, class weights C."""
    rng = generator(seed)
    logits, weights = rng.normal(0, 3, (count, classes)), rng.uniform(0.1, 5, classes)
    return (
        torch.from_numpy(logits),
        torch.from_numpy(rng.integers(0, classes, count)),
        torch.from_numpy(weights),
    )


def soft(seed: int, count: int = 5, classes: int = 4) -> Tensor:
    return torch.from_numpy(generator(seed, 1).dirichlet(np.full(classes, 0.5), count))


def one_hot(targets: Tensor, classes: int = 4) -> Tensor:
    return F.one_hot(targets, classes).double()


def test_the_settings_offer_these_losses() -> None:
    assert get_args(Loss) == NAMES


# -------------------------------------------------------------------- against other implementations


@given(seed=seeds, smoothing=st.floats(0, 0.9), weighted=st.booleans())
@few
def test_cross_entropy_is_torchs(seed: int, smoothing: float, weighted: bool) -> None:
    logits, targets, weights = drawn(seed)
    given_weights = weights if weighted else None
    expected = F.cross_entropy(logits, targets, given_weights, label_smoothing=smoothing)
    for wanted in (targets, one_hot(targets)):
        torch.testing.assert_close(
            mean_loss("cross_entropy", logits, wanted, given_weights, smoothing=smoothing), expected
        )


@given(seed=seeds, smoothing=st.floats(0, 0.9))
@few
def test_soft_cross_entropy_without_weights_is_torchs(seed: int, smoothing: float) -> None:
    logits, wanted = drawn(seed)[0], soft(seed)
    expected = F.cross_entropy(logits, wanted, label_smoothing=smoothing)
    torch.testing.assert_close(
        mean_loss("cross_entropy", logits, wanted, smoothing=smoothing), expected
    )


@given(seed=seeds)
@few
def test_hinge_is_a_loop(seed: int) -> None:
    logits, _, weights = drawn(seed)
    wanted = soft(seed)
    expected = []
    for s, t in zip(logits.tolist(), wanted.tolist(), strict=True):
        each = [sum(max(0.0, s[j] - s[y] + 1) for j in range(4) if j != y) for y in range(4)]
        expected.append(sum(t[y] * weights[y].item() * each[y] for y in range(4)))
    np.testing.assert_allclose(hinge(logits, wanted, weights, 0).numpy(), expected, atol=1e-12)


@given(seed=seeds)
@few
def test_hinge_is_the_margin_loss_of_torch_times_classes(seed: int) -> None:
    logits, targets, weights = drawn(seed)
    torch.testing.assert_close(
        mean_loss("hinge", logits, targets), 4 * F.multi_margin_loss(logits, targets)
    )
    expected = (
        4 * F.multi_margin_loss(logits, targets, reduction="none") * weights[targets]
    ).sum() / weights[targets].sum()
    torch.testing.assert_close(mean_loss("hinge", logits, targets, weights), expected)


@given(seed=seeds, gamma=st.floats(0, 5))
@few
def test_focal_is_its_formula(seed: int, gamma: float) -> None:
    logits, targets, weights = drawn(seed)
    p = torch.softmax(logits, 1)[torch.arange(5), targets]
    expected = -weights[targets] * (1 - p) ** gamma * torch.log(p)
    torch.testing.assert_close(focal(logits, one_hot(targets), weights, gamma), expected)


def test_squared_error_is_the_brier_score() -> None:
    logits, targets, _ = drawn(3)
    expected = [
        sum((p - (c == target)) ** 2 for c, p in enumerate(row))
        for row, target in zip(torch.softmax(logits, 1).tolist(), targets.tolist(), strict=True)
    ]
    assert l2(logits, one_hot(targets), None, 0).tolist() == pytest.approx(expected)
    assert mean_loss("l2", logits, targets).item() == pytest.approx(np.mean(expected))


def test_squared_error_of_logits_is_a_regression_on_one_hot() -> None:
    from sklearn.linear_model import LinearRegression

    rng = generator(5)
    x, targets = rng.normal(size=(40, 3)), rng.integers(0, 4, 40)
    fitted = LinearRegression().fit(x, np.eye(4)[targets])
    weight, bias = (
        torch.tensor(value, requires_grad=True) for value in (fitted.coef_, fitted.intercept_)
    )
    mean_loss(
        "l2_logits", torch.from_numpy(x) @ weight.T + bias, torch.from_numpy(targets)
    ).backward()
    for parameter in (weight, bias):
        assert parameter.grad is not None
        np.testing.assert_allclose(parameter.grad.numpy(), 0, atol=1e-12)


# ----------------------------------------------------------------------------------- what must hold


@given(seed=seeds, name=st.sampled_from(NAMES), scale=st.sampled_from([0.1, 1.0, 30.0]))
@few
def test_no_loss_is_negative(seed: int, name: str, scale: float) -> None:
    logits, _, weights = drawn(seed)
    assert (LOSSES[name](scale * logits, soft(seed), weights, 2.0) >= 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_perfect_answer_costs_nothing(name: str) -> None:
    targets = torch.tensor([2, 0])
    perfect = one_hot(targets) * (1 if name == "l2_logits" else 1000)
    assert mean_loss(name, perfect, targets).item() == 0
    assert mean_loss(name, perfect.roll(1, 1), targets).item() > 1


def test_hinge_costs_nothing_from_a_margin_of_1_on() -> None:
    targets = torch.tensor([1])
    assert mean_loss("hinge", torch.tensor([[0.5, 1.5, 0.0]]), targets).item() == 0
    assert mean_loss("hinge", torch.tensor([[0.5, 1.25, 0.0]]), targets).item() == 0.25


@given(seed=seeds, name=st.sampled_from(SHIFTABLE), shift=st.floats(-50, 50))
@few
def test_only_differences_of_logits_count(seed: int, name: str, shift: float) -> None:
    logits, _, weights = drawn(seed)
    torch.testing.assert_close(
        mean_loss(name, logits + shift, soft(seed), weights),
        mean_loss(name, logits, soft(seed), weights),
    )


def test_regression_on_one_hot_sees_a_shift() -> None:
    logits, targets, _ = drawn(0)
    assert not torch.allclose(
        mean_loss("l2_logits", logits + 1, targets), mean_loss("l2_logits", logits, targets)
    )


@given(seed=seeds, smoothing=st.floats(0, 0.5))
@few
def test_focal_without_focus_is_cross_entropy(seed: int, smoothing: float) -> None:
    logits, targets, weights = drawn(seed)
    for wanted in (targets, soft(seed)):
        ours = mean_loss("focal", logits, wanted, weights, gamma=0.0, smoothing=smoothing)
        torch.testing.assert_close(
            ours, mean_loss("cross_entropy", logits, wanted, weights, smoothing=smoothing)
        )


def test_focal_leaves_easy_pictures_aside() -> None:
    logits, targets = torch.tensor([[3.0, 0.0], [0.0, 3.0]]), torch.tensor([0, 0])
    easy, hard = (
        focal(logits, F.one_hot(targets, 2).float(), None, 2.0)
        / focal(logits, F.one_hot(targets, 2).float(), None, 0.0)
    ).tolist()
    assert easy < 0.01 < 0.9 < hard < 1


@given(seed=seeds, name=st.sampled_from(NAMES), times=st.floats(0.01, 100))
@few
def test_equal_weights_change_nothing(seed: int, name: str, times: float) -> None:
    logits, targets, _ = drawn(seed)
    weights = torch.full((4,), times, dtype=torch.float64)
    for wanted in (targets, soft(seed)):
        torch.testing.assert_close(
            mean_loss(name, logits, wanted, weights), mean_loss(name, logits, wanted)
        )


@given(seed=seeds, name=st.sampled_from(NAMES))
@few
def test_weight_2_counts_each_image_of_a_class_twice(seed: int, name: str) -> None:
    logits, targets, _ = drawn(seed)
    weights = torch.tensor([2.0, 1, 1, 1], dtype=torch.float64)
    rows = torch.cat([torch.arange(5), torch.nonzero(targets == 0)[:, 0]])
    torch.testing.assert_close(
        mean_loss(name, logits, targets, weights), mean_loss(name, logits[rows], targets[rows])
    )


@given(seed=seeds, name=st.sampled_from(["cross_entropy", "focal", "hinge"]), share=st.floats(0, 1))
@few
def test_loss_of_a_mixture_is_the_mixture_of_losses(seed: int, name: str, share: float) -> None:
    logits, targets, weights = drawn(seed)
    first, second = one_hot(targets), one_hot((targets + 1) % 4)
    mixed = LOSSES[name](logits, share * first + (1 - share) * second, weights, 2.0)
    apart = [LOSSES[name](logits, each, weights, 2.0) for each in (first, second)]
    torch.testing.assert_close(mixed, share * apart[0] + (1 - share) * apart[1])


@pytest.mark.parametrize("name", NAMES)
def test_class_numbers_and_one_hot_rows_agree(name: str) -> None:
    logits, targets, weights = drawn(7)
    for smoothing in (0.0, 0.2):
        by_number = mean_loss(name, logits, targets, weights, smoothing=smoothing)
        torch.testing.assert_close(
            mean_loss(name, logits, one_hot(targets), weights, smoothing=smoothing), by_number
        )


@pytest.mark.parametrize("name", NAMES)
def test_smoothing_is_for_likelihoods(name: str) -> None:
    logits, targets, _ = drawn(8)
    changes = not torch.allclose(
        mean_loss(name, logits, targets, smoothing=0.2), mean_loss(name, logits, targets)
    )
    assert changes == (name in LIKELIHOODS)


# ---------------------------------------------------------------------------------------- gradients


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("softly", [False, True])
def test_gradients_are_those_of_finite_differences(name: str, softly: bool) -> None:
    logits, targets, weights = drawn(9)
    wanted = soft(9) if softly else targets
    assert torch.autograd.gradcheck(
        lambda x: mean_loss(name, x, wanted, weights, gamma=1.5, smoothing=0.1),
        (logits.requires_grad_(),),
        eps=1e-6,
        atol=1e-7,
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("gamma", [0.0, 0.01, 0.5, 1.0, 2.0, 10.0])
def test_gradients_stay_finite_where_the_network_is_quite_sure(name: str, gamma: float) -> None:
    logits = torch.tensor(
        [[200.0, 0.0, -200.0], [200.0, 0.0, -200.0], [0.0, 1e-9, 0.0]], requires_grad=True
    )
    loss = mean_loss(name, logits, torch.tensor([0, 2, 1]), gamma=gamma)
    loss.backward()
    assert loss.isfinite() and logits.grad is not None and logits.grad.isfinite().all()


def test_squared_error_saturates_for_confident_mistakes() -> None:
    """The gradient of cross-entropy on a sure mistake is near 1, that of the Brier score near 0."""
    slopes = {}
    for name in ("cross_entropy", "l2"):
        logits = torch.tensor([[10.0, 0.0]], requires_grad=True)
        mean_loss(name, logits, torch.tensor([1])).backward()
        assert logits.grad is not None
        slopes[name] = logits.grad.abs().max().item()
    assert slopes["cross_entropy"] > 0.99 > 0.001 > slopes["l2"]


def test_l2_of_logits_keeps_the_dtype() -> None:
    assert l2_logits(torch.zeros(2, 3), torch.ones(2, 3) / 3, None, 0).dtype == torch.float32
    assert (
        mean_loss("hinge", torch.zeros(2, 3), torch.ones(2, 3, dtype=torch.float64) / 3).dtype
        == torch.float32
    )
