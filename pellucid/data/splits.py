"""Train, validation and test without leakage: copies and groups are never on two sides."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..core.errors import DataError
from ..core.rng import generator
from .images import to_channels

_HASHED_SIDE = 64  # smaller pictures (digits, icons) look alike without being copies
_THUMB = 32
_RADIUS = 10  # of 64 bits
_CORRELATION = 0.96
_WARN_SHARE = 0.05
_PARTS = ("train", "validation", "test")


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """What a picture is recognised by.

    exact: a digest of shape, depth and pixels. hash: 64 bits that survive resizing and compression
    (pHash).
    thumb: float16 32×32, grey, 0 to 1. hash and thumb are None below 64 pixels a side and for a
    picture of one flat tone.
    """

    exact: bytes
    hash: int | None = None
    thumb: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Splits:
    """train, validation, test: sorted int64 indices. notes: what the user should know, a line each.

    largest_group: how many pictures are tied together at most.
    """

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    notes: list[str]
    largest_group: int


def fingerprint(image: np.ndarray) -> Fingerprint:
    """Of a picture H×W×C, uint8 or uint16. The hash is pHash: signs of the 8×8 lowest DCT
    coefficients (Zauner 2010)."""
    import cv2

    image = np.ascontiguousarray(image)
    exact = hashlib.blake2b(f"{image.shape}{image.dtype}".encode(), digest_size=16)
    exact.update(image.data)
    if min(image.shape[:2]) < _HASHED_SIDE or image.shape[2] > 4:
        return Fingerprint(exact.digest())
    # Shrunk before it turns grey: averaging commutes with both, and this order costs a tenth for a
    # photograph.
    small = cv2.resize(image, (_THUMB, _THUMB), interpolation=cv2.INTER_AREA).reshape(
        _THUMB, _THUMB, -1
    )
    thumb = to_channels(small, 1)[..., 0].astype(np.float32) / np.iinfo(image.dtype).max
    if thumb.std() < 0.01:
        return Fingerprint(exact.digest())
    low = cv2.dct(thumb)[:8, :8].ravel()
    bits = low > np.median(low)
    return Fingerprint(
        exact.digest(), int(np.packbits(bits).view(">u8")[0]), thumb.astype(np.float16)
    )


def duplicates(fingerprints: Sequence[Fingerprint | None]) -> np.ndarray:
    """int64 N: pictures of one number are copies of each other, exact or near, directly or through
    a third; None stands alone.

    Near copies have hashes within 10 bits and thumbnails that correlate at 0.96 or more once the
    mean of the other pictures is taken off. All pairs of hashes are compared, which takes some ten
    seconds for 100,000 pictures.
    """
    seen: dict[bytes, int] = {}
    first = np.array(
        [i if p is None else seen.setdefault(p.exact, i) for i, p in enumerate(fingerprints)],
        np.int64,
    )
    hashed = [
        (i, p.hash, p.thumb)
        for i, p in enumerate(fingerprints)
        if p is not None and p.hash is not None and first[i] == i
    ]
    links = [np.column_stack([np.arange(len(first)), first])]
    if hashed:
        places, hashes, thumbs = zip(*hashed, strict=True)
        links.append(np.array(places)[_near_pairs(np.array(hashes, np.uint64), np.stack(thumbs))])
    return _components(len(first), np.concatenate(links))


def _near_pairs(hashes: np.ndarray, thumbs: np.ndarray) -> np.ndarray:
    """K×2 rows of near copies; hashes uint64 N, thumbs float16 N×32×32."""
    count, high, wide = len(hashes), 32, 4096
    thumbs = thumbs.reshape(count, -1)
    total = thumbs.sum(0, dtype=np.float32)
    found = [np.empty((0, 2), np.int64)]
    # Tiles small enough for the cache.
    for top in range(0, count, high):
        for left in range(top, count, wide):
            distance = np.bitwise_count(
                hashes[top : top + high, None] ^ hashes[None, left : left + wide]
            )
            rows, columns = np.divmod(np.flatnonzero(distance <= _RADIUS), distance.shape[1])
            pairs = np.column_stack([rows + top, columns + left])
            found.append(_confirmed(pairs[pairs[:, 0] < pairs[:, 1]], thumbs, total))
    return np.concatenate(found)


def _confirmed(pairs: np.ndarray, thumbs: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Those whose thumbnails correlate, without what the other pictures share: a fixed camera or
    the lighting makes no copies."""
    keep = np.zeros(len(pairs), bool)
    for start in range(0, len(pairs), 4096):
        a, b = (thumbs[side].astype(np.float32) for side in pairs[start : start + 4096].T)
        background = (total - a - b) / (len(thumbs) - 2) if len(thumbs) > 2 else 0
        keep[start : start + 4096] = (
            _standardised(a - background) * _standardised(b - background)
        ).sum(1) >= _CORRELATION
    return pairs[keep]


def _standardised(rows: np.ndarray) -> np.ndarray:
    rows = rows - rows.mean(1, keepdims=True)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)


def _components(count: int, pairs: np.ndarray) -> np.ndarray:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def split(
    targets: Sequence[int] | np.ndarray,
    labels_of_group: Sequence[str | None],
    duplicate_labels: np.ndarray,
    given: Mapping[str, np.ndarray],
    seed: int,
    fractions: tuple[float, float, float] = (0.6, 0.2, 0.2),
    classes: Sequence[str] = (),
    sources: Sequence[str] = (),
    validation: float | None = None,
) -> Splits:
    """Share out N samples by class, without parting copies or groups; the same seed gives the same
    split.

    truths: int N. given: the data's own split ("train", "validation", "test" to indices). It is
    kept; a part that it lacks is cut from its train, as large as the other part, at most a quarter
    of train. With train alone, or nothing, `fractions` hold. validation: the share of what it is
    cut from, instead.
    classes, sources: names for the messages. Without groups each class has its fractions within one
    picture.
    Raises DataError for a class with too few independent pictures or groups to be in every part.
    """
    answers = np.asarray(targets, np.int64)
    groups = _merged(labels_of_group, duplicate_labels)
    pool = np.asarray(given.get("train", np.arange(len(answers))), np.int64)
    kept = {
        part: np.sort(np.asarray(given[part], np.int64)) for part in _PARTS[1:] if part in given
    }
    if validation is not None:
        fractions = (1 - validation - fractions[2], validation, fractions[2])
    shares = _shares(
        len(pool), {part: len(indices) for part, indices in kept.items()}, fractions, validation
    )
    of_pool = _cut(answers[pool], groups[pool], shares, generator(seed), classes)
    found = kept | {part: np.sort(pool[of_pool == number]) for number, part in enumerate(shares)}
    sizes = np.bincount(groups) if len(groups) else np.zeros(1, np.int64)
    notes = [_how(found, kept, validation, len(set(answers.tolist())))]
    notes += _crossing(kept | {"train": pool}, duplicate_labels, "a copy")
    notes += _crossing(
        kept | {"train": pool}, _numbered(labels_of_group), "a picture of the same group"
    )
    notes += _copies(np.asarray(duplicate_labels), answers, sources) + _largest(
        int(sizes.max()), len(answers)
    )
    return Splits(found["train"], found["validation"], found["test"], notes, int(sizes.max()))


def fold(
    targets: Sequence[int] | np.ndarray,
    labels_of_group: Sequence[str | None],
    duplicate_labels: np.ndarray,
    which: int,
    count: int,
    seed: int,
    classes: Sequence[str] = (),
) -> Splits:
    """One split of a cross-validation: test is fold `which` (from 0) of `count`, validation 15 % of
    the rest, train what is left.

    Arguments as in `split`; a split that the data brings is not kept, for every picture is tested
    once over all folds. Copies and groups stay together. Raises DataError for a class with too few
    independent pictures or groups.
    """
    answers, groups = np.asarray(targets, np.int64), _merged(labels_of_group, duplicate_labels)
    tested = (
        _cut(
            answers,
            groups,
            {f"fold {k + 1}": 1 / count for k in range(count)},
            generator(seed),
            classes,
        )
        == which
    )
    rest = np.flatnonzero(~tested)
    of_rest = _cut(
        answers[rest],
        groups[rest],
        {"train": 0.85, "validation": 0.15},
        generator(seed, which),
        classes,
    )
    sizes = np.bincount(groups)
    notes = [
        f"test is fold {which + 1} of {count}, validation 15 % of the rest",
        *_largest(int(sizes.max()), len(answers)),
    ]
    return Splits(
        rest[of_rest == 0], rest[of_rest == 1], np.flatnonzero(tested), notes, int(sizes.max())
    )


def thinned(indices: np.ndarray, targets: np.ndarray, count: int, seed: int) -> np.ndarray:
    """About `count` of the indices, each class in its proportion and with at least one picture; a
    smaller count gives a subset."""
    if count >= len(indices):
        return indices
    mixed = generator(seed, len(indices)).permutation(indices)
    of_class = [mixed[targets[mixed] == value] for value in np.unique(targets[indices])]
    return np.sort(
        np.concatenate(
            [rows[: max(1, round(len(rows) * count / len(indices)))] for rows in of_class]
        )
    )


def _numbered(names: Sequence[str | None]) -> np.ndarray:
    """A number a name; None is a name of its own each time."""
    seen: dict[str, int] = {}
    return np.array(
        [i if name is None else seen.setdefault(name, i) for i, name in enumerate(names)], np.int64
    )


def _merged(names: Sequence[str | None], duplicate_labels: np.ndarray) -> np.ndarray:
    count = len(names)
    _, first, inverse = np.unique(duplicate_labels, return_index=True, return_inverse=True)
    rows = np.arange(count)
    return _components(
        count,
        np.concatenate(
            [np.column_stack([rows, _numbered(names)]), np.column_stack([rows, first[inverse]])]
        ),
    )


def _shares(
    pool: int,
    kept: Mapping[str, int],
    fractions: tuple[float, float, float],
    validation: float | None,
) -> dict[str, float]:
    """What part of the pool each part takes that is not given."""
    if not kept:
        return dict(zip(_PARTS, fractions, strict=True))
    missing = [part for part in _PARTS[1:] if part not in kept]
    if not missing:
        return {"train": 1.0}
    share = min(0.25, *(size / max(1, pool) for size in kept.values()))
    if missing[0] == "validation" and validation is not None:
        share = validation
    return {"train": 1 - share, missing[0]: share}


def _cut(
    targets: np.ndarray,
    groups: np.ndarray,
    shares: Mapping[str, float],
    rng: np.random.Generator,
    classes: Sequence[str],
) -> np.ndarray:
    """The number of the part for each sample: the largest groups first, each to the part that then
    lacks most.

    Least squares over parts and classes, in the spirit of Sechidis et al. 2011, On the
    stratification of multi-label data.
    """
    values, targets = np.unique(targets, return_inverse=True)
    ids, groups = np.unique(groups, return_inverse=True)
    cells, counts = np.unique(groups * len(values) + targets, return_counts=True)
    contents: list[list[tuple[int, int]]] = [[] for _ in ids]
    for cell, count in zip(cells.tolist(), counts.tolist(), strict=True):
        contents[cell // len(values)].append((cell % len(values), count))
    left = np.bincount(cells % len(values)).tolist()
    names = [classes[value] if classes else str(value) for value in values]
    _enough(left, len(ids), shares, names)
    excess = (-_sizes(np.bincount(targets), list(shares.values()))).tolist()
    held = [[0] * len(values) for _ in shares]
    part_of_group = np.zeros(len(ids), np.int64)
    order = rng.permutation(len(ids))
    for group in order[np.argsort(-np.bincount(groups)[order], kind="stable")].tolist():
        best = min(
            range(len(shares)), key=lambda part: _cost(part, contents[group], left, held, excess)
        )
        part_of_group[group] = best
        for value, count in contents[group]:
            left[value] -= 1
            held[best][value] += 1
            excess[best][value] += count
    for part, row in zip(shares, held, strict=True):
        if 0 in row:
            advice = (
                "its groups are tied to other classes; add pictures of it in a group of their own"
            )
            raise DataError(
                f"class {names[row.index(0)]}: no group of it could be put into {part}; {advice}"
            )
    return part_of_group[groups]


def _sizes(totals: np.ndarray, shares: Sequence[float]) -> np.ndarray:
    """int parts×classes: each class's shares rounded up or down,
    so that the parts as a whole have theirs too."""
    exact = np.outer(shares, totals).round(6)
    sizes = np.floor(exact).astype(np.int64)
    lack = exact.sum(1) - sizes.sum(1)
    for value, spare in enumerate(totals - sizes.sum(0)):
        fraction = exact[:, value] - sizes[:, value]
        up = np.lexsort((-lack, fraction == 0))[:spare]
        sizes[up, value] += 1
        lack[up] -= 1
    return sizes


def _cost(
    part: int,
    content: list[tuple[int, int]],
    left: list[int],
    held: list[list[int]],
    excess: list[list[int]],
) -> tuple[int, int]:
    """Smaller is better: first every part gets its one group of each class,
    then the size that it should have."""
    starved = sum(
        left[value] <= len(held)
        and held[part][value] > 0
        and left[value] <= sum(row[value] == 0 for row in held)
        for value, _ in content
    )
    misfit = sum(count * (2 * excess[part][value] + count) for value, count in content)
    return starved, misfit


def _enough(
    groups: Sequence[int], total: int, shares: Mapping[str, float], names: Sequence[str]
) -> None:
    if total < len(shares):
        what = (
            f"{total} independent {'picture or group' if total == 1 else 'pictures or groups'} in "
            "all (copies count as one)"
        )
        raise DataError(
            f"the data has only {what}, but {', '.join(shares)} need one each; add some"
        )
    for name, count in zip(names, groups, strict=True):
        if count < len(shares):
            what = (
                "independent picture or group" if count == 1 else "independent pictures or groups"
            )
            needs = f"{', '.join(shares)} need one each, so at least {len(shares)}"
            raise DataError(
                f"class {name}: has only {count} {what} (copies count as one), but {needs}; add "
                "some or remove the class"
            )


def _how(
    found: Mapping[str, np.ndarray],
    kept: Mapping[str, np.ndarray],
    validation: float | None,
    classes: int,
) -> str:
    sizes = ", ".join(f"{part} {len(found[part]):,}" for part in _PARTS)
    if not kept:
        return f"split {'by class' if classes > 1 else 'at random'}: {sizes}"
    cut = [part for part in _PARTS[1:] if part not in kept]
    own = f"the data's own split is kept: {sizes}"
    usual = f"as large as {next(iter(kept))}, at most a quarter of train"
    return own + (
        (
            f"; {cut[0]} was cut from train, "
            f"{usual if validation is None else f'{validation:.0%} of it'}"
        )
        if cut
        else ""
    )


def _crossing(parts: Mapping[str, np.ndarray], labels: np.ndarray, what: str) -> list[str]:
    labels = np.asarray(labels)
    notes = []
    for part, other in (("validation", "train"), ("test", "train"), ("test", "validation")):
        if part in parts and other in parts:
            count = int(np.isin(labels[parts[part]], labels[parts[other]]).sum())
            if count:
                notes.append(
                    f"WARNING: {count:,} of the given {part} set's pictures have {what} in "
                    f"{other}; its score is flattered"
                )
    return notes


def _copies(labels: np.ndarray, targets: np.ndarray, sources: Sequence[str]) -> list[str]:
    """How many copies there are, and whether their answers agree."""
    _, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    sets = int((counts > 1).sum())
    if not sets:
        return []
    pictures = int(counts[counts > 1].sum())
    notes = [
        (
            f"{pictures:,} pictures are copies or near copies of another ({_sets(sets)}); "
            "each set is kept together"
        )
    ]
    _, first = np.unique(inverse, return_index=True)
    odd = np.flatnonzero(targets != targets[first[inverse]])
    if len(odd):
        pair = (int(first[inverse[odd[0]]]), int(odd[0]))
        names = " and ".join(sources[i] if sources else f"picture {i}" for i in pair)
        count = len(np.unique(inverse[odd]))
        notes.append(
            f"WARNING: copies with different labels: {_sets(count)}, such as {names}; "
            "a label may be wrong"
        )
    return notes


def _sets(count: int) -> str:
    return "1 set" if count == 1 else f"{count:,} sets"


def _largest(size: int, count: int) -> list[str]:
    if size <= 1:
        return []
    share = size / count
    warning = "WARNING: " if share > _WARN_SHARE else ""
    return [
        (
            f"{warning}the largest group holds {size:,} pictures, {share:.1%} of the data; "
            "it is kept together"
        )
    ]
