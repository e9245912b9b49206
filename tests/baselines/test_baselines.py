from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.feature import hog as reference
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier

from pellucid.baselines.classical import MOST, _stratified, baselines
from pellucid.transforms.hog import colour_histogram, hog

NAMES = {"majority class", "k-NN", "softmax regression", "HoG + SVM"}
Part = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def digits() -> tuple[Part, Part, Part]:
    found = load_digits()
    images = (found.images * 15).astype(np.uint8)[..., None]
    order = np.random.default_rng(0).permutation(len(images))
    first, second, third = np.split(order, [1000, 1400])
    return tuple((images[rows], found.target[rows]) for rows in (first, second, third))


@pytest.fixture(scope="module")
def scored(digits: tuple[Part, Part, Part]) -> dict:
    return baselines(*digits, [str(i) for i in range(10)], seed=0)


def accuracy(scores: np.ndarray, labels: np.ndarray) -> float:
    return float((scores.argmax(1) == labels).mean())


def test_they_are_strong_on_digits(scored: dict, digits: tuple[Part, Part, Part]) -> None:
    reached = {name: accuracy(found["test"], digits[2][1]) for name, found in scored.items()}
    assert set(reached) == NAMES
    assert reached["k-NN"] > 0.97
    assert reached["HoG + SVM"] > 0.97
    assert reached["softmax regression"] > 0.94
    assert reached["majority class"] < 0.2


def test_scores_are_probabilities_of_every_picture(
    scored: dict, digits: tuple[Part, Part, Part]
) -> None:
    for found in scored.values():
        for part, (_, labels) in (("validation", digits[1]), ("test", digits[2])):
            assert found[part].shape == (len(labels), 10)
            assert np.allclose(found[part].sum(1), 1)
            assert found[part].min() >= 0
        assert found["seconds"] >= 0
        assert all(isinstance(value, str | int | float) for value in found["settings"].values())


def test_neighbours_agree_with_scikit_learn(scored: dict, digits: tuple[Part, Part, Part]) -> None:
    (seen, labels), _, (images, _) = digits
    theirs = KNeighborsClassifier(scored["k-NN"]["settings"]["k"]).fit(
        seen.reshape(len(seen), -1).astype(float), labels
    )
    ours = scored["k-NN"]["test"]
    assert (
        np.abs(ours - theirs.predict_proba(images.reshape(len(images), -1).astype(float)))
        .max(1)
        .mean()
        < 0.01
    )


def test_the_test_part_is_only_answered(digits: tuple[Part, Part, Part]) -> None:
    train, validation, (images, labels) = digits
    small = train[0][:300], train[1][:300]
    once = baselines(small, validation, (images, labels), [str(i) for i in range(10)])
    again = baselines(
        small, validation, (images[:50], 9 - labels[:50]), [str(i) for i in range(10)]
    )
    for name, found in again.items():
        assert np.allclose(found["test"], once[name]["test"][:50], atol=1e-6)
        assert found["settings"] == once[name]["settings"]


def test_the_same_seed_gives_the_same_answers(digits: tuple[Part, Part, Part]) -> None:
    parts = [(images[:150], labels[:150]) for images, labels in digits]
    first, second = (baselines(*parts, [str(i) for i in range(10)], seed=3) for _ in range(2))
    assert all(np.array_equal(first[name]["test"], second[name]["test"]) for name in first)


def test_colour_16_bits_an_absent_class_and_no_validation() -> None:
    rng = np.random.default_rng(0)
    labels = np.array([0, 2] * 20)
    images = rng.integers(0, 2000, (40, 40, 30, 3)).astype(np.uint16)
    images[labels == 2, :, :, 0] += 2000
    nothing = images[:0], labels[:0]
    found = baselines(
        (images[:30], labels[:30]), nothing, (images[30:], labels[30:]), ["a", "absent", "c"]
    )
    assert set(found) == NAMES
    for name, of in found.items():
        assert of["validation"].shape == (0, 3)
        assert of["test"][:, 1].max() == 0
        assert name == "majority class" or accuracy(of["test"], labels[30:]) == 1


def test_one_class_or_one_picture_is_enough_for_an_answer() -> None:
    images, labels = np.zeros((3, 8, 8, 1), np.uint8), np.zeros(3, int)
    found = baselines(
        (images[:1], labels[:1]),
        (images[1:2], labels[1:2]),
        (images[2:], labels[2:]),
        ["only", "other"],
    )
    assert set(found) == {"majority class", "k-NN"}
    with pytest.raises(ValueError, match="at least one"):
        baselines((images[:0], labels[:0]), (images, labels), (images, labels), ["only"])


def test_a_large_training_set_is_thinned_in_proportion() -> None:
    labels = np.repeat([0, 1, 2], [20000, 9999, 1])
    images = np.arange(30000).reshape(-1, 1, 1, 1)
    kept, classes = _stratified((images, labels), MOST, seed=1)
    assert np.bincount(classes).tolist() == [6666, 3333, 1]
    assert np.array_equal(labels[kept.ravel()], classes)
    assert not np.array_equal(kept, _stratified((images, labels), MOST, seed=2)[0])


@settings(deadline=None, max_examples=25)
@given(
    st.integers(2, 7), st.integers(1, 3), st.integers(8, 40), st.integers(8, 40), st.integers(0, 99)
)
def test_hog_agrees_with_scikit_image(
    cell: int, channels: int, height: int, width: int, seed: int
) -> None:
    height, width = max(height, 2 * cell), max(width, 2 * cell)
    images = np.random.default_rng(seed).random((3, height, width, channels)).astype(np.float32)
    theirs = [
        reference(i, pixels_per_cell=(cell, cell), cells_per_block=(2, 2), channel_axis=-1)
        for i in images
    ]
    assert np.allclose(hog(images, cell), theirs, atol=1e-4)


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_a_histogram_counts_every_pixel_once_a_channel(channels: int) -> None:
    images = np.random.default_rng(0).random((4, 9, 7, channels)).astype(np.float32)
    found = colour_histogram(images)
    assert np.allclose((found**2).sum(1), 1)
    turned = colour_histogram(images[:, ::-1, ::-1])
    assert np.allclose(found, turned)
    assert np.isfinite(colour_histogram(images * 2)).all()
