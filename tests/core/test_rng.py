from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pellucid.core.rng import Draws, generator


@given(
    st.integers(0, 2**31 - 1),
    st.integers(0, 10_000),
    st.lists(st.integers(0, 10**6), min_size=2, max_size=50, unique=True),
)
def test_a_sample_draws_the_same_in_any_batch(seed: int, epoch: int, indices: list[int]) -> None:
    together = Draws(seed, epoch, np.array(indices))
    first, second = together.uniform(3), together.uniform(2)
    for row, index in enumerate(indices):
        alone = Draws(seed, epoch, np.array([index]))
        assert np.array_equal(alone.uniform(3)[0], first[row])
        assert np.array_equal(alone.uniform(2)[0], second[row])


def test_draws_are_uniform_and_independent() -> None:
    values = np.concatenate(
        [Draws(seed, epoch, np.arange(500)).uniform(4) for seed in range(5) for epoch in range(10)]
    )
    assert values.min() >= 0
    assert values.max() < 1
    counts = np.histogram(values, bins=20, range=(0, 1))[0]
    expected = values.size / 20
    # chi squared, 19 degrees of freedom, p = 0.001
    assert ((counts - expected) ** 2 / expected).sum() < 43.8
    assert np.abs(np.corrcoef(values.T) - np.eye(4)).max() < 0.03


def test_seeds_epochs_and_samples_differ() -> None:
    draws = [
        Draws(s, e, np.array([i])).uniform(1)[0, 0]
        for s in range(4)
        for e in range(4)
        for i in range(4)
    ]
    assert len(set(draws)) == 64


def test_range() -> None:
    values = Draws(0, 0, np.arange(1000)).uniform(1, -3, 5)
    assert values.min() >= -3
    assert values.max() < 5
    assert abs(values.mean() - 1) < 0.3


def test_generator_follows_from_its_keys() -> None:
    assert generator(1, 2).random() == generator(1, 2).random()
    assert generator(1, 2).random() != generator(2, 1).random()
