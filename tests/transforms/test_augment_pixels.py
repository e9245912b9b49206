"""Colour, erasing, and two pictures made one."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta as beta_distribution
from scipy.stats import kstest, norm
from sklearn.decomposition import PCA

from pellucid.core.rng import Draws
from pellucid.engine.run.settings import all_options, of, options_of
from pellucid.tasks import TASKS
from pellucid.tasks.settings import STRENGTHS, strengths
from pellucid.transforms.augment import (
    Augmentation,
    augment,
    channel_shift,
    colour,
    erase,
    mix,
    pca_colour,
    principal_components,
    recolour,
)
from pellucid.transforms.augment.mixing import _beta
from pellucid.transforms.augment.pixels import _normal
from pellucid.transforms.augment.policy import POLICIES

seeds = st.integers(0, 10_000)


def draws(count: int, seed: int = 0, first: int = 0) -> Draws:
    return Draws(seed, 0, np.arange(first, first + count))


def test_strength_zero_gives_the_same_picture_back() -> None:
    images, fill, targets = torch.rand(3, 3, 8, 9), torch.zeros(3), torch.eye(3)
    off = Augmentation()
    assert augment(images, off, draws(3), fill) is images
    assert recolour(images, off, draws(3), np.eye(3)) is images
    assert erase(images, 0, draws(3), fill) is images
    assert mix(images, targets, off, draws(3)) == (images, targets)


@settings(max_examples=60, deadline=None)
@given(
    seeds,
    st.integers(1, 3),
    st.integers(10, 40),
    st.integers(10, 40),
    st.sampled_from([torch.uint8, torch.float32]),
)
def test_erasing_leaves_a_rectangle_of_fill_and_nothing_else(
    seed: int, channels: int, height: int, width: int, kind: torch.dtype
) -> None:
    images = torch.full((20, channels, height, width), 9).to(kind)
    fill = torch.arange(3.0)[:channels]
    erased = erase(images, 1.0, draws(20, seed), fill)
    assert erased.dtype == kind
    for picture in erased:
        gone = picture[0] == 0
        assert (picture == torch.where(gone, fill.to(kind)[:, None, None], 9)).all()
        h, w = int(gone.any(1).sum()), int(gone.any(0).sum())
        assert int(gone.sum()) == h * w
        assert h * w <= 0.33 * height * width + (h + w) / 2 + 1
        # Smaller than 2 % only where a side of the picture left no room, or by rounding.
        assert h in (height,) or w in (width,) or (h + 0.5) * (w + 0.5) >= 0.02 * height * width
        assert (
            h == height
            or w == width
            or ((h + 0.5) / (w - 0.5) >= 0.3 and (h - 0.5) / (w + 0.5) <= 3.3)
        )


def test_erasing_has_its_probability() -> None:
    erased = erase(torch.ones(2000, 1, 10, 10), 0.3, draws(2000), torch.zeros(1))
    assert 0.26 < (erased.amin((1, 2, 3)) == 0).float().mean() < 0.34


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([0.0, 0.2, 1.0, 5.0]),
    st.sampled_from([0.0, 0.5, 1.0]),
    seeds,
    st.integers(1, 7),
)
def test_targets_of_mixed_images_are_pixel_shares(
    mixup: float, cutmix: float, seed: int, count: int
) -> None:
    # Picture i is i everywhere in channel i, so the mean of a channel is the share of that picture.
    images = torch.eye(count)[:, :, None, None].expand(count, count, 13, 17)
    mixed, targets = mix(
        images, torch.eye(count), Augmentation(mixup=mixup, cutmix=cutmix), draws(count, seed)
    )
    assert torch.allclose(mixed.mean((2, 3)), targets, atol=1e-5)
    assert torch.allclose(targets.sum(1), torch.ones(count))
    for row in range(count):
        assert set(targets[row].nonzero().flatten().tolist()) <= {row, (row + 1) % count}
    if cutmix and not mixup:
        assert set(mixed.unique().tolist()) <= {0.0, 1.0}


def test_each_row_takes_mixup_or_cutmix() -> None:
    how = Augmentation(mixup=1.0, cutmix=1.0)
    images = torch.rand(400, 1, 8, 8)
    mixed, targets = mix(images, torch.eye(400), how, draws(400))
    partners = images.roll(-1, 0)
    pasted = ((mixed == images) | (mixed == partners)).flatten(1).all(1)
    assert 0.4 < pasted.float().mean() < 0.6
    part, part_truths = mix(images[100:110], torch.eye(400)[100:110], how, draws(10, first=100))
    assert torch.equal(part[:9], mixed[100:109]) and torch.equal(part_truths[:9], targets[100:109])


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0])
def test_shares_have_their_distribution(alpha: float) -> None:
    assert kstest(_beta(draws(2000), alpha), beta_distribution(alpha, alpha).cdf).pvalue > 0.001
    assert kstest(_normal(draws(1000), 2).ravel(), norm.cdf).pvalue > 0.001


@pytest.mark.parametrize(("kind", "top"), [(np.uint8, 255), (np.uint16, 65535), (np.float32, 1)])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_principal_components_equal_scikit_learn(kind: type, top: int, channels: int) -> None:
    rng = np.random.default_rng(channels)
    pixels = np.clip(
        0.5 + 0.1 * rng.normal(size=(4000, channels)) @ rng.normal(size=(channels, channels)), 0, 1
    )
    images = (pixels * top).astype(kind).reshape(40, 10, 10, channels)
    ours = principal_components(images)
    theirs = PCA().fit(images.reshape(-1, channels) / top)
    deviations = np.sqrt(theirs.explained_variance_ * 3999 / 4000)
    assert np.allclose(np.abs(ours), np.abs(theirs.components_.T * deviations), atol=1e-5)
    assert (ours[np.abs(ours).argmax(0), np.arange(channels)] > 0).all()


def test_pictures_of_one_colour_have_no_components() -> None:
    assert np.allclose(principal_components(np.full((3, 4, 4, 3), 200, np.uint8)), 0, atol=1e-6)


def test_pca_color_moves_pixels_along_components() -> None:
    components = np.array([[0.3, 0.0, 0.0], [0.3, 0.0, 0.0], [0.0, 0.02, 0.0]])
    images = torch.full((4000, 3, 2, 2), 0.5)
    moved = (pca_colour(images, 0.1, draws(4000), components) - 0.5).numpy()
    assert np.ptp(moved, axis=(2, 3)).max() == 0
    red, green, blue = moved[:, :, 0, 0].T
    assert np.allclose(red, green)
    assert abs(red.std() / 0.03 - 1) < 0.1 and abs(blue.std() / 0.002 - 1) < 0.1
    assert abs(np.corrcoef(red, blue)[0, 1]) < 0.06


def test_channels_shift_each_by_itself_within_the_range() -> None:
    moved = channel_shift(torch.full((2000, 2, 2, 2), 0.9), 0.2, draws(2000))[:, :, 0, 0].numpy()
    assert moved.max() == 1 and 0.7 <= moved.min() < 0.71
    assert abs(np.corrcoef(moved.T)[0, 1]) < 0.08


@settings(max_examples=20, deadline=None)
@given(seeds)
def test_colour_belongs_to_the_sample(seed: int) -> None:
    images = torch.rand(5, 3, 6, 6, generator=torch.Generator().manual_seed(seed))
    how = Augmentation(colour=0.3, pca_colour=0.2, channel_shift=0.1)
    together = recolour(images, how, draws(5, seed), np.eye(3))
    alone = recolour(images[2:3], how, draws(1, seed, 2), np.eye(3))
    assert torch.allclose(together[2:3], alone, atol=1e-6)
    assert torch.equal(
        colour(images, 0.3, draws(5, seed)),
        recolour(images, Augmentation(colour=0.3), draws(5, seed), np.eye(3)),
    )


def test_policies_are_those_that_the_tasks_offer() -> None:
    options = all_options()
    assert set(POLICIES) == set(options["augment"].choices)
    assert tuple(asdict(Augmentation())) == STRENGTHS
    for task in TASKS.values():
        own = options_of(task.settings)
        changed = {name for name in STRENGTHS if name in own}
        for name in own["augment"].choices if "augment" in own else ():
            how = {key: value for key, value in asdict(POLICIES[name]).items() if value}
            assert set(how) <= changed
            found = of(task, {"augment": name, **how})
            assert found.augment == name and strengths(found) == asdict(POLICIES[name])
    assert str(POLICIES["none"]) == "nothing"
    assert str(POLICIES["alexnet"]) == "mirror 0.5, crop 0.125, pca_colour 0.1"
