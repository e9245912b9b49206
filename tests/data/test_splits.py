from __future__ import annotations

from collections import defaultdict
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.fft import dctn

from pellucid.core.errors import DataError
from pellucid.data import formats, images, splits

RNG = np.random.default_rng(0)


def picture(seed: int, height: int = 120, width: int = 160) -> np.ndarray:
    """Coarse blobs under fine ones, as in a photograph."""
    rng = np.random.default_rng(seed)
    coarse, fine = (
        cv2.resize(rng.random((n, n, 3)), (width, height), interpolation=cv2.INTER_CUBIC)
        for n in (5, 20)
    )
    return np.clip(255 * (0.8 * coarse + 0.2 * fine), 0, 255).astype(np.uint8)


def labels_of(pictures: list[np.ndarray]) -> list[int]:
    return splits.duplicates([splits.fingerprint(image) for image in pictures]).tolist()


def together(labels: list[int]) -> set[tuple[int, int]]:
    return {(i, j) for i, j in combinations(range(len(labels)), 2) if labels[i] == labels[j]}


def test_exact_knows_shape_and_depth() -> None:
    image = picture(0)
    prints = [
        splits.fingerprint(other).exact
        for other in (
            image,
            image.reshape(160, 120, 3),
            image.astype(np.uint16),
            image[::-1],
            image[..., :1],
        )
    ]
    assert len(set(prints)) == 5
    assert splits.fingerprint(np.asfortranarray(image)).exact == prints[0]


def test_hash_is_the_phash() -> None:
    print_ = splits.fingerprint(picture(1))
    assert print_.thumb is not None
    assert print_.thumb.shape == (32, 32)
    low = dctn(print_.thumb.astype(float), norm="ortho")[:8, :8].ravel()
    # The thumb is kept at half precision, so coefficients next to the median may fall on its other
    # side.
    clear = np.abs(low - np.median(low)) > 2e-3
    found = np.array([print_.hash >> (63 - i) & 1 for i in range(64)])  # type: ignore[operator]
    assert clear.sum() > 50
    np.testing.assert_array_equal(found[clear], (low > np.median(low))[clear])


def test_small_and_flat_pictures_have_no_hash() -> None:
    for image in (
        RNG.integers(0, 255, (63, 200, 3), dtype=np.uint8),
        np.full((100, 100, 1), 7, np.uint8),
    ):
        assert splits.fingerprint(image).hash is None
    same, other = np.full((100, 100, 1), 7, np.uint8), np.full((100, 100, 1), 8, np.uint8)
    assert together(labels_of([same, other, same])) == {(0, 2)}


def test_copies_are_found_and_others_are_not() -> None:
    originals = [picture(seed) for seed in range(20)]
    image = originals[3]
    copies = [
        cv2.imdecode(
            cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 40])[1], cv2.IMREAD_COLOR
        ),
        cv2.resize(image, (80, 70), interpolation=cv2.INTER_AREA),
        cv2.resize(image, (500, 400), interpolation=cv2.INTER_CUBIC),
        image[1:-1, 2:-2],
        np.clip(image * 1.1 + 5, 0, 255).astype(np.uint8),
        images.to_channels(image, 1),
        image.astype(np.uint16) * 257,
        np.dstack([image, np.full(image.shape[:2], 255, np.uint8)]),
    ]
    labels = labels_of(originals + copies)
    assert together(labels) == set(combinations([3, *range(20, 28)], 2))


def test_a_fixed_background_makes_no_copies() -> None:
    """Parts under one camera: the same scene with something else at a place of its
    own each time."""
    background = picture(0).astype(float)
    y, x = np.mgrid[:120, :160]
    shots = []
    for at in np.ndindex(6, 10):
        blob = (
            25 * np.exp(-((y - 18 - 16 * at[0]) ** 2 + (x - 18 - 13 * at[1]) ** 2) / 200)[..., None]
        )
        shots.append(np.clip(background * 0.7 + blob, 0, 255).astype(np.uint8))
    thumbs = np.stack([splits.fingerprint(shot).thumb for shot in shots]).reshape(60, -1)  # type: ignore[arg-type]
    assert np.corrcoef(thumbs.astype(float)).min() > 0.96
    assert together(labels_of([*shots, shots[0][:, 1:]])) == {(0, 60)}


def test_copies_are_transitive_and_none_stands_alone() -> None:
    image = np.zeros((8, 8, 1), np.uint8)
    one, two = splits.fingerprint(image), splits.fingerprint(image + 1)
    assert together(splits.duplicates([one, None, two, one, None, two]).tolist()) == {
        (0, 3),
        (2, 5),
    }
    assert splits.duplicates([None]).tolist() == [0]


def test_near_copies_as_all_pairs_find_them() -> None:
    """Tiles of the pairwise search against the plain definition,
    with more pictures than fit one tile."""
    count = 4200
    hashes = RNG.integers(0, 2**64, count, dtype=np.uint64)
    thumbs = RNG.random((count, 32, 32), np.float32).astype(np.float16)
    planted = [(0, 4199), (31, 32), (5, 4100), (4096, 4097)]
    for a, b in planted:
        hashes[b] = hashes[a] ^ np.uint64(0b1111111111)
        thumbs[b] = thumbs[a]
    hashes[100] = hashes[200] ^ np.uint64(0b11111111111)  # one bit too far
    thumbs[100] = thumbs[200]
    hashes[300] = hashes[400]  # another thumbnail
    prints = [
        splits.Fingerprint(bytes([i % 256, i // 256]), int(h), t)
        for i, (h, t) in enumerate(zip(hashes, thumbs, strict=True))
    ]
    assert together(splits.duplicates(prints).tolist()) == set(planted)


# Splits

ROW = st.tuples(st.integers(0, 3), st.sampled_from([None, *"abcdefghijkl"]), st.integers(0, 60))
# Tied to each other in every way, and six pictures of each class that are tied to nothing.
ROWS = st.lists(ROW, min_size=1, max_size=150).map(
    lambda rows: [*rows, *((i % 4, None, 100 + i) for i in range(24))]
)


def pieces(result: splits.Splits) -> dict[str, np.ndarray]:
    return {"train": result.train, "validation": result.validation, "test": result.test}


@settings(max_examples=60, deadline=None)
@given(rows=ROWS, seed=st.integers(0, 2**32))
def test_partition_that_parts_nothing(rows: list[tuple[int, str | None, int]], seed: int) -> None:
    targets, groups, copies = (list(column) for column in zip(*rows, strict=True))
    result = splits.split(targets, groups, np.array(copies), {}, seed)
    parts = pieces(result)
    assert np.concatenate(list(parts.values())).size == len(rows)
    assert sorted(np.concatenate(list(parts.values()))) == list(range(len(rows)))
    assert all((np.diff(part) > 0).all() for part in parts.values())
    home = {int(i): name for name, part in parts.items() for i in part}
    for key in (groups, copies):
        homes = defaultdict(set)
        for i, value in enumerate(key):
            if value is not None:
                homes[value].add(home[i])
        assert all(len(found) == 1 for found in homes.values())
    for part in parts.values():
        assert {targets[i] for i in part} == set(targets)
    again = splits.split(targets, groups, np.array(copies), {}, seed)
    assert all(
        np.array_equal(a, b) for a, b in zip(parts.values(), pieces(again).values(), strict=True)
    )
    assert again.notes == result.notes


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(3, 60), min_size=1, max_size=6),
    seed=st.integers(0, 99),
    thirds=st.booleans(),
)
def test_each_class_has_its_fractions_within_one(
    counts: list[int], seed: int, thirds: bool
) -> None:
    fractions = (1 / 3, 1 / 3, 1 / 3) if thirds else (0.6, 0.2, 0.2)
    targets = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    result = splits.split(
        targets, [None] * len(targets), np.arange(len(targets)), {}, seed, fractions
    )
    for part, fraction in zip(pieces(result).values(), fractions, strict=True):
        for value, count in enumerate(counts):
            found = int((targets[part] == value).sum())
            assert found >= 1
            assert abs(found - fraction * count) <= 1 + 1e-6
    assert result.largest_group == 1


@settings(max_examples=30, deadline=None)
@given(
    sizes=st.lists(st.lists(st.integers(1, 12), min_size=10, max_size=30), min_size=2, max_size=4),
    seed=st.integers(0, 99),
)
def test_grouped_classes_miss_by_less_than_a_group(sizes: list[list[int]], seed: int) -> None:
    targets, groups = [], []
    for value, of_class in enumerate(sizes):
        for number, size in enumerate(of_class):
            targets += [value] * size
            groups += [f"{value}-{number}"] * size
    result = splits.split(targets, groups, np.arange(len(targets)), {}, seed)
    for part, fraction in zip(pieces(result).values(), (0.6, 0.2, 0.2), strict=True):
        for value, of_class in enumerate(sizes):
            found = int((np.array(targets)[part] == value).sum())
            assert abs(found - fraction * sum(of_class)) <= max(of_class) + 1


def test_seeds_differ() -> None:
    targets = [0, 1] * 50
    one, two = (splits.split(targets, [None] * 100, np.arange(100), {}, seed) for seed in (0, 1))
    assert not np.array_equal(one.test, two.test)
    assert [len(part) for part in pieces(one).values()] == [60, 20, 20]


@pytest.mark.parametrize(
    ("train", "test", "validation"), [(600, 100, 100), (200, 100, 50), (60, 6, 6)]
)
def test_validation_is_cut_from_a_given_train(train: int, test: int, validation: int) -> None:
    count = train + test
    targets = np.arange(count) % 3
    order = np.random.default_rng(0).permutation(count)
    given = {"train": order[:train], "test": order[train:]}
    copies = np.arange(count)
    copies[order[1]] = copies[order[0]]
    result = splits.split(targets, [None] * count, copies, given, 0)
    np.testing.assert_array_equal(result.test, np.sort(order[train:]))
    np.testing.assert_array_equal(
        np.sort(np.concatenate([result.train, result.validation])), np.sort(order[:train])
    )
    assert len(result.validation) == validation
    assert np.isin(order[:2], result.validation).sum() != 1
    assert "validation was cut from train" in result.notes[0]


def test_a_split_that_is_whole_is_kept() -> None:
    given = {"train": np.arange(10), "validation": np.arange(10, 14), "test": np.arange(14, 20)}
    result = splits.split(np.arange(20) % 2, [None] * 20, np.arange(20), given, 0)
    assert {name: part.tolist() for name, part in pieces(result).items()} == {
        name: part.tolist() for name, part in given.items()
    }
    result = splits.split(
        np.arange(14) % 2,
        [None] * 14,
        np.arange(14),
        {"train": given["train"], "validation": given["validation"]},
        0,
    )
    assert result.validation.tolist() == [10, 11, 12, 13]
    assert len(result.test) == 2
    only_train = splits.split(
        np.arange(20) % 2, [None] * 20, np.arange(20), {"train": np.arange(20)}, 0
    )
    assert [len(part) for part in pieces(only_train).values()] == [12, 4, 4]


def test_notes_say_what_leaks() -> None:
    given = {"train": np.arange(20), "validation": np.arange(20, 26), "test": np.arange(26, 32)}
    targets, copies = np.arange(32) % 2, np.arange(32)
    copies[[26, 28]] = 0
    copies[27] = 20  # a copy in validation, with another label
    groups: list[str | None] = [None] * 32
    groups[5] = groups[30] = groups[31] = "patient"
    sources = [f"{i}.png" for i in range(32)]
    notes = "\n".join(splits.split(targets, groups, copies, given, 0, sources=sources).notes)
    assert "2 of the given test set's pictures have a copy in train" in notes
    assert "1 of the given test set's pictures have a copy in validation" in notes
    assert "2 of the given test set's pictures have a picture of the same group in train" in notes
    assert "5 pictures are copies or near copies of another (2 sets)" in notes
    assert "different labels: 1 set, such as 20.png and 27.png" in notes
    assert "WARNING: the largest group holds 3 pictures, 9.4% of the data" in notes
    quiet = splits.split([0, 1] * 50, [None] * 100, np.r_[0, np.arange(99)], {}, 0)
    assert "the largest group holds 2 pictures, 2.0%" in quiet.notes[-1]
    assert "WARNING" not in quiet.notes[-1]


@pytest.mark.parametrize(
    ("targets", "groups", "copies", "given", "said"),
    [
        (
            [0, 0, 0, 1, 1],
            [None] * 5,
            range(5),
            {},
            "class dog: has only 2 independent pictures.*at least 3",
        ),
        (
            [0, 0, 0, 1, 1, 1],
            [None] * 6,
            [0, 1, 2, 3, 3, 3],
            {},
            "class dog: has only 1 independent picture or group",
        ),
        (
            [0, 0, 0, 1, 1, 1, 1],
            [None] * 3 + list("aabb"),
            range(7),
            {},
            "class dog: has only 2 independent",
        ),
        (
            [0, 0],
            [None] * 2,
            range(2),
            {},
            (
                "the data has only 2 independent pictures or groups in all.*train, "
                "validation, test need one each"
            ),
        ),
        (
            [0, 0, 1, 0, 1],
            [None] * 5,
            range(5),
            {"train": np.arange(3), "test": np.array([3, 4])},
            "class dog.*at least 2",
        ),
    ],
)
def test_too_few_to_share_out(
    targets: list[int], groups: list, copies: list[int], given: dict, said: str
) -> None:
    with pytest.raises(DataError, match=said):
        splits.split(targets, groups, np.array(copies), given, 0, classes=("cat", "dog"))


def test_three_equal_groups_go_to_three_parts() -> None:
    targets = [0] * 30 + [1] * 30
    groups = [f"{i // 10}" for i in range(60)]
    for seed in range(10):
        assert [
            len(part)
            for part in pieces(splits.split(targets, groups, np.arange(60), {}, seed)).values()
        ] == [20, 20, 20]


def real_labels(path: Path) -> tuple[formats.Dataset, np.ndarray]:
    reading = formats.read(path)
    return reading, splits.duplicates(
        [splits.fingerprint(sample.pixels()) for sample in reading.samples]
    )


def test_real_copies(data_root: Path) -> None:
    reading, labels = real_labels(data_root / "plate_chars")
    pairs = defaultdict(list)
    for sample, label in zip(reading.samples, labels, strict=True):
        pairs[label].append(sample.source)
    assert sorted(names for names in pairs.values() if len(names) > 1) == [
        ["0/0_753.jpg", "O/O_753.jpg"],
        ["0/0_756.jpg", "O/O_756.jpg"],
    ]
    reading, labels = real_labels(data_root / "hymenoptera300")
    assert len(set(labels)) == len(labels)
    targets = [sample.target for sample in reading.samples]
    sizes = [
        len(part)
        for part in pieces(splits.split(targets, [None] * len(targets), labels, {}, 0)).values()
    ]
    assert sizes == [147, 49, 49]


def test_real_labels_of_mnist_give_the_usual_split(data_root: Path) -> None:
    reading = formats.read(data_root / "mnist")
    targets = [sample.target for sample in reading.samples]
    result = splits.split(targets, [None] * len(targets), np.arange(len(targets)), reading.given, 0)
    assert [len(part) for part in pieces(result).values()] == [50_000, 10_000, 10_000]


@settings(deadline=None)
@given(
    st.integers(0, 2**31 - 1),
    st.integers(2, 6),
    st.lists(st.integers(0, 2), min_size=60, max_size=90),
)
def test_the_folds_test_every_picture_once_and_part_no_copies(
    seed: int, count: int, drawn: list[int]
) -> None:
    targets = np.array([0, 1, 2] * 20 + drawn)
    copies = np.arange(len(targets))
    copies[1::7] = copies[0::7][: len(copies[1::7])]
    found = [
        splits.fold(targets, [None] * len(targets), copies, which, count, seed)
        for which in range(count)
    ]
    assert sorted(np.concatenate([each.test for each in found]).tolist()) == list(
        range(len(targets))
    )
    for each in found:
        parts = [each.train, each.validation, each.test]
        assert sorted(np.concatenate(parts).tolist()) == list(range(len(targets)))
        labels = [set(copies[part].tolist()) for part in parts]
        assert not (labels[0] & labels[1] or labels[0] & labels[2] or labels[1] & labels[2])
        assert all(set(targets[part].tolist()) == {0, 1, 2} for part in parts)


@given(st.integers(0, 2**31 - 1), st.integers(2, 80), st.integers(2, 80))
def test_fewer_pictures_are_a_subset_with_every_class(seed: int, one: int, other: int) -> None:
    targets = np.repeat([0, 1, 2], [60, 30, 10])
    indices = np.arange(0, 100, 1)
    few, many = (splits.thinned(indices, targets, count, seed) for count in sorted((one, other)))
    assert set(few.tolist()) <= set(many.tolist())
    assert set(targets[few].tolist()) == {0, 1, 2}
    assert abs(len(few) - max(3, min(one, other))) <= 2
