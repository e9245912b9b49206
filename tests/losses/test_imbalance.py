from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.core.rng import generator
from pellucid.losses.class_balance import (
    CLUSTERS,
    class_weights,
    clusters,
    minority,
    minority_repeated,
    oversampled,
    repeats,
    undersampled,
    undersampled_by_cluster,
)

few = settings(max_examples=50, deadline=None)
truth_lists = st.lists(st.sampled_from([0, 1, 2, 5]), min_size=1, max_size=60).map(np.array)
seeds = st.integers(0, 2**31 - 1)


def in_one_cluster(targets: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return undersampled_by_cluster(targets, np.zeros(len(targets), int), rng)


ORDERS = (oversampled, minority_repeated, undersampled, in_one_cluster)


def times(order: np.ndarray, pictures: int) -> np.ndarray:
    return np.bincount(order, minlength=pictures)


# ------------------------------------------------------------------------------------------ weights


def test_weights_of_ninety_and_ten() -> None:
    assert class_weights(np.array([90, 0, 10])).tolist() == pytest.approx([100 / 180, 0, 5])


@given(targets=truth_lists)
@few
def test_weights_are_those_of_scikit_learn(targets: np.ndarray) -> None:
    from sklearn.utils.class_weight import compute_class_weight

    weights = class_weights(np.bincount(targets, minlength=8))
    present = np.unique(targets)
    np.testing.assert_allclose(
        weights[present], compute_class_weight("balanced", classes=present, y=targets)
    )
    assert weights[targets].mean() == pytest.approx(1)
    assert np.count_nonzero(weights) == len(present)


def test_minority_is_less_than_half_of_the_largest() -> None:
    assert minority(np.array([10, 5, 4, 1, 0])).tolist() == [False, False, True, True, False]


# ------------------------------------------------------------------------------------------- orders


@pytest.mark.parametrize("order", ORDERS)
@given(targets=truth_lists, seed=seeds)
@few
def test_an_order_follows_from_its_generator_and_has_one_length(
    order: Callable[[np.ndarray, np.random.Generator], np.ndarray], targets: np.ndarray, seed: int
) -> None:
    found = order(targets, generator(seed))
    assert found.tolist() == order(targets, generator(seed)).tolist()
    assert len(found) == len(order(targets, generator(seed + 1)))
    assert set(targets[found]) == set(targets)


@given(targets=truth_lists, seed=seeds)
@few
def test_oversampling_balances_classes(targets: np.ndarray, seed: int) -> None:
    order = oversampled(targets, generator(seed))
    assert len(order) == len(targets)
    of_class = np.bincount(targets[order], minlength=6)[np.unique(targets)]
    assert of_class.max() - of_class.min() <= 1
    for number in np.unique(targets):
        of_picture = times(order, len(targets))[targets == number]
        assert of_picture.max() - of_picture.min() <= 1


def test_oversampling_varies_between_epochs() -> None:
    targets = np.repeat([0, 1], [90, 10])
    seen = np.unique(
        np.concatenate([oversampled(targets, generator(epoch)) for epoch in range(20)])
    )
    assert seen.tolist() == list(range(100))
    assert (times(oversampled(targets, generator(0)), 100)[90:] == 5).all()


def test_a_remainder_falls_on_each_class_in_its_turn() -> None:
    targets = np.array([0, 0, 1, 1, 2])
    counts = sum(
        np.bincount(targets[oversampled(targets, generator(epoch))], minlength=3)
        for epoch in range(300)
    )
    assert np.abs(counts / 300 - 5 / 3).max() < 0.1


@given(targets=truth_lists, seed=seeds)
@few
def test_only_a_minority_is_repeated(targets: np.ndarray, seed: int) -> None:
    counts = np.bincount(targets)
    order = minority_repeated(targets, generator(seed))
    shown, rare = np.bincount(targets[order], minlength=len(counts)), minority(counts)
    assert (shown[rare] == counts.max()).all()
    assert (shown[~rare] == counts[~rare]).all()
    assert (times(order, len(targets)) >= 1).all()


@pytest.mark.parametrize("order", [undersampled, in_one_cluster])
@given(targets=truth_lists, seed=seeds)
@few
def test_undersampling_cuts_every_class_to_the_smallest(
    order: Callable[[np.ndarray, np.random.Generator], np.ndarray], targets: np.ndarray, seed: int
) -> None:
    found = order(targets, generator(seed))
    assert len(set(found.tolist())) == len(found)
    shown = np.bincount(targets[found])
    assert set(shown[shown > 0]) == {np.unique(targets, return_counts=True)[1].min()}


def test_undersampling_chooses_afresh_each_epoch() -> None:
    targets = np.repeat([0, 1], [90, 10])
    for order in (undersampled, in_one_cluster):
        seen = np.unique(np.concatenate([order(targets, generator(epoch)) for epoch in range(100)]))
        assert seen.tolist() == list(range(100))


@pytest.mark.parametrize("order", ORDERS)
def test_orders_are_shuffled(
    order: Callable[[np.ndarray, np.random.Generator], np.ndarray],
) -> None:
    targets = np.repeat([0, 1], [60, 20])
    firsts = [int(targets[order(targets, generator(epoch))][:10].sum()) for epoch in range(20)]
    assert 0 < np.mean(firsts) < 10 and len(set(firsts)) > 2


def test_undersampling_by_cluster_keeps_rare_images() -> None:
    """A class of 96 has three appearances of 90, 4 and 2 pictures; 12 are kept."""
    targets, cluster = np.repeat([0, 1], [96, 12]), np.repeat([0, 1, 2, 3], [90, 4, 2, 12])
    for epoch in range(20):
        kept = undersampled_by_cluster(targets, cluster, generator(epoch))
        assert np.bincount(cluster[kept]).tolist() == [6, 4, 2, 12]
    plain = [
        np.bincount(cluster[undersampled(targets, generator(epoch))], minlength=4)[2]
        for epoch in range(20)
    ]
    assert np.mean(plain) < 1


@given(sizes=st.lists(st.integers(1, 20), min_size=1, max_size=6), seed=seeds, data=st.data())
@few
def test_clusters_give_equally_many_as_far_as_they_can(
    sizes: list[int], seed: int, data: st.DataObject
) -> None:
    least = data.draw(st.integers(1, sum(sizes)))
    targets, cluster = (
        np.repeat([0, 1], [sum(sizes), least]),
        np.repeat(np.arange(len(sizes) + 1), [*sizes, least]),
    )
    kept = np.bincount(
        cluster[undersampled_by_cluster(targets, cluster, generator(seed))],
        minlength=len(sizes) + 1,
    )[:-1]
    assert kept.sum() == least
    for size, count in zip(sizes, kept, strict=True):
        assert count == size or count >= kept.max() - 1


# ----------------------------------------------------------------------------------------- clusters


def striped(
    count: int, turned: bool, rng: np.random.Generator, dtype: type = np.uint8
) -> np.ndarray:
    """Stripes of random shift and contrast, upright or lying."""
    waves = np.sin(np.arange(16) * 1.2 + rng.uniform(0, 6, (count, 1))) * rng.uniform(
        0.5, 1, (count, 1)
    )
    pictures = np.broadcast_to(waves[:, None, :], (count, 16, 16))
    pictures = pictures.swapaxes(1, 2) if turned else pictures
    return ((pictures + 1) * (np.iinfo(dtype).max / 2)).astype(dtype)[..., None]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_clusters_find_the_appearances_of_a_class(dtype: type) -> None:
    rng = generator(1)
    images = np.concatenate(
        [striped(40, False, rng, dtype), striped(4, True, rng, dtype), striped(6, True, rng, dtype)]
    )
    targets, appearance = np.repeat([0, 1], [44, 6]), np.repeat([0, 1, 2], [40, 4, 6])
    found = clusters(images, targets, seed=0)
    for number in np.unique(found):
        assert len(set(appearance[found == number])) == 1
    assert len(set(found[targets == 1])) == 1
    assert 2 <= len(set(found[targets == 0])) <= 6


def test_there_are_at_most_fifty_clusters_of_a_class() -> None:
    images = generator(2).integers(0, 256, (190, 8, 8, 3), np.uint8)
    targets = np.repeat([0, 3], [120, 70])
    found = clusters(images, targets, seed=4)
    assert found.tolist() == clusters(images, targets, seed=4).tolist()
    assert found.shape == (190,) and set(found[targets == 0]).isdisjoint(found[targets == 3])
    assert 10 < len(set(found[targets == 0])) <= CLUSTERS


# ------------------------------------------------------------------------------------------ repeats


@given(entries=st.lists(st.integers(0, 5), max_size=40).map(partial(np.array, dtype=np.int64)))
@few
def test_repeats_count_what_came_before(entries: np.ndarray) -> None:
    expected = [int((entries[:place] == entry).sum()) for place, entry in enumerate(entries)]
    assert repeats(entries).tolist() == expected
