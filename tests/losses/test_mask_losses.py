"""Losses of masks against plain loops, and the weights of gaps against distances
measured one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pellucid.core.rng import generator
from pellucid.core.types import IGNORE
from pellucid.engine.run.settings import options_of
from pellucid.losses.segmentation import ALPHA, BETA, LOSSES, OF_PIXELS, border_weights, mean_loss
from pellucid.metrics.segmentation import objects
from pellucid.tasks.segmentation.settings import SegmentationSettings

KINDS = tuple(LOSSES)
few = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 2**31 - 1)


def drawn(
    seed: int, classes: int, size: tuple[int, ...] = (4, 5), batch: int = 2
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """float64 logits, masks with some IGNORE, class weights, weights of pixels."""
    rng = generator(seed)
    targets = rng.integers(0, classes, (batch, *size))
    targets[rng.random(targets.shape) < 0.2] = IGNORE
    logits, border = rng.normal(0, 2, (batch, classes, *size)), rng.uniform(0, 3, (batch, *size))
    return tuple(map(torch.from_numpy, (logits, targets, rng.uniform(0.2, 3, classes), border)))  # type: ignore[return-value]


def soft(targets: Tensor, classes: int) -> Tensor:
    """The same masks as shares of classes, nothing where nobody is asked."""
    return torch.stack([(targets == c).double() for c in range(classes)], dim=1)


def plain(
    kind: str,
    logits: np.ndarray,
    targets: np.ndarray,
    weights: np.ndarray,
    border: np.ndarray,
    gamma: float,
) -> float:
    """Pixel by pixel. truths: B×K×…, shares."""
    if kind == "dice_cross_entropy":
        return sum(
            plain(each, logits, targets, weights, border, gamma)
            for each in ("dice", "cross_entropy")
        )
    classes = logits.shape[1]
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    pixels = [(b, *at) for b in range(len(p)) for at in np.ndindex(*p.shape[2:])]
    pixels = [at for at in pixels if targets[at[0], :, *at[1:]].sum() > 0]
    if kind in ("cross_entropy", "focal"):
        above = below = 0.0
        for b, *at in pixels:
            for c in range(classes):
                likely, share = p[b, c, *at], targets[b, c, *at] * (weights[c] + border[b, *at])
                above -= share * np.log(likely) * ((1 - likely) ** gamma if kind == "focal" else 1)
                below += share
        return above / below
    overlaps = []
    for c in range(classes):
        said, true = (np.array([of[b, c, *at] for b, *at in pixels]) for of in (p, targets))
        both = (said * true).sum()
        whole = ALPHA * (said * (1 - true)).sum() + BETA * ((1 - said) * true).sum() + both + 1
        overlaps.append(
            (2 * both + 1) / ((said**2).sum() + (true**2).sum() + 1)
            if kind == "dice"
            else (both + 1) / whole
        )
    return 1 - (overlaps[1] if classes == 2 else np.average(overlaps, weights=weights))


def test_the_settings_offer_these_losses() -> None:
    assert set(KINDS) <= set(options_of(SegmentationSettings)["loss"].choices)


@given(
    seed=seeds,
    classes=st.integers(2, 4),
    kind=st.sampled_from(KINDS),
    gamma=st.floats(0, 4),
    flat=st.booleans(),
)
@few
def test_each_loss_is_what_a_loop_over_pixels_gives(
    seed: int, classes: int, kind: str, gamma: float, flat: bool
) -> None:
    logits, targets, weights, border = drawn(seed, classes, (4, 5) if flat else (2, 3, 3))
    shares = soft(targets, classes)
    expected = plain(kind, logits.numpy(), shares.numpy(), weights.numpy(), border.numpy(), gamma)
    for form in (targets, shares):
        assert float(mean_loss(kind, logits, form, weights, border, gamma)) == pytest.approx(
            expected, rel=1e-9
        )


@given(seed=seeds, kind=st.sampled_from(KINDS))
@few
def test_a_truth_may_be_what_annotators_say_on_average(seed: int, kind: str) -> None:
    logits, _, weights, border = drawn(seed, 3)
    shares = generator(seed, 1).dirichlet(np.ones(3), (2, 4, 5)).transpose(0, 3, 1, 2)
    expected = plain(kind, logits.numpy(), shares, weights.numpy(), border.numpy(), 2.0)
    assert float(
        mean_loss(kind, logits, torch.from_numpy(shares), weights, border)
    ) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("form", ["numbers", "shares"])
@pytest.mark.parametrize("kind", KINDS)
def test_slopes_are_those_of_differences(kind: str, form: str) -> None:
    logits, targets, weights, border = drawn(3, 3, (2, 3))
    given_truths = targets if form == "numbers" else soft(targets, 3)
    assert torch.autograd.gradcheck(
        lambda x: mean_loss(kind, x, given_truths, weights, border), logits.requires_grad_()
    )


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_where_nobody_is_asked_it_costs_nothing(kind: str, classes: int) -> None:
    logits, targets, *_ = drawn(0, classes)
    nobody = torch.full_like(targets, IGNORE)
    for form in (nobody, soft(nobody, classes)):
        asked = logits.clone().requires_grad_()
        cost = mean_loss(kind, asked, form)
        cost.backward()
        assert cost.item() == 0 and asked.grad is not None and not asked.grad.any()


@given(seed=seeds, kind=st.sampled_from(KINDS))
@few
def test_what_is_said_where_nobody_is_asked_does_not_matter(seed: int, kind: str) -> None:
    logits, targets, weights, border = drawn(seed, 3)
    other = (
        logits
        + 5
        * torch.randn(logits.shape, generator=torch.Generator().manual_seed(0))
        * (targets == IGNORE)[:, None]
    )
    assert mean_loss(kind, other, targets, weights, border).item() == pytest.approx(
        mean_loss(kind, logits, targets, weights, border).item()
    )


@pytest.mark.parametrize("kind", KINDS)
def test_loss_of_confident_right_and_wrong_outputs(kind: str) -> None:
    targets = torch.from_numpy(generator(0).integers(0, 3, (2, 8, 8)))
    right = 60.0 * soft(targets, 3)
    assert mean_loss(kind, right, targets).item() == pytest.approx(0, abs=1e-9)
    assert mean_loss(kind, -right, targets).item() > 0.8


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_is_summed_in_float32(kind: str) -> None:
    logits, targets, *_ = drawn(1, 2, (64, 64))
    half = logits.to(torch.bfloat16)
    found = mean_loss(kind, half, targets)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, mean_loss(kind, half.float(), targets))


def test_missing_a_pixel_costs_more_than_saying_one_in_vain() -> None:
    target = torch.zeros(1, 6, 6, dtype=torch.int64)
    target[:, 2:4, 2:4] = 1
    missed, vain = target.clone(), target.clone()
    missed[:, 2, 2], vain[:, 0, 0] = 0, 1
    assert mean_loss("tversky", 40 * soft(missed, 2), target) > mean_loss(
        "tversky", 40 * soft(vain, 2), target
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_weight_of_pixels_counts_in_losses_of_pixels_alone(kind: str) -> None:
    logits, targets, _, border = drawn(2, 3)
    same = mean_loss(kind, logits, targets, None, border) == mean_loss(kind, logits, targets)
    assert same.item() is (kind not in OF_PIXELS)


# ----------------------------------------------------------------------------------- border weights


def measured(mask: np.ndarray, w0: float, sigma: float) -> np.ndarray:
    """The distance to every object from every pixel, the two smallest of which count."""
    labels, count = objects(mask)
    result = np.zeros(mask.shape)
    places = [np.argwhere(labels == number) for number in range(1, count + 1)]
    for at in np.argwhere(mask == 0):
        near = sorted(np.sqrt(((each - at) ** 2).sum(axis=1)).min() for each in places)
        result[tuple(at)] = (
            w0 * np.exp(-((near[0] + near[1]) ** 2) / (2 * sigma**2)) if count > 1 else 0
        )
    return result


@given(seed=seeds, flat=st.booleans(), share=st.floats(0.02, 0.5))
@few
def test_border_weights_are_those_of_the_two_nearest_objects(
    seed: int, flat: bool, share: float
) -> None:
    rng = generator(seed)
    size = (12, 15) if flat else (4, 6, 5)
    mask = (rng.random(size) < share).astype(np.uint8) * rng.integers(1, 3, size).astype(np.uint8)
    mask[rng.random(size) < 0.05] = IGNORE
    found = border_weights(mask, 7.0, 3.0)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, measured(mask, 7.0, 3.0), atol=1e-5)


def test_a_gap_weighs_more_the_narrower_it_is() -> None:
    mask = np.ones((9, 20), np.uint8)
    mask[:, 5], mask[:, 12:15] = 0, 0
    found = border_weights(mask)
    # One pixel between two objects is 1 from both of them.
    assert found[4, 5] == pytest.approx(10 * np.exp(-4 / 50)) and found[4, 5] > found[4, 13] > 0
    assert not found[mask == 1].any()


def test_one_object_has_no_gaps() -> None:
    mask = np.zeros((9, 9), np.uint8)
    assert not border_weights(mask).any()
    mask[2:5, 2:5] = 1
    assert not border_weights(mask).any()
