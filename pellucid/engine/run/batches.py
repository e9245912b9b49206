"""From samples to batches: every image is decoded and fitted once and kept, in memory or in a
memory-mapped file."""

from __future__ import annotations

import os
import queue
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from ...core.errors import DataError, MachineError
from ...core.types import Batch, LazySubset, ViewTransform
from ...data.images import Header, header
from ...data.sample import Sample
from ...data.splits import Fingerprint, fingerprint
from ...tasks.task import FitData
from .progress import Say

T = TypeVar("T")

# More than this many bytes of fitted pictures are kept in a file, which the system pages in and
# out, instead of in memory.
IN_MEMORY = 2 << 30
BAD_ALLOWED = 0.01

Bad = list[tuple[str, str]]


@dataclass(frozen=True)
class Views:
    """The fitted views of some samples.

    samples: N. images: all views there are, M×H×W×C (or M×D×H×W×C), uint8 or uint16, shared between
    parts. first, counts: N each; the views of sample i are `counts[i]` rows from `first[i]` on.
    targets: N, an int64 tensor, or a NumPy array of objects.
    """

    samples: tuple[Sample, ...]
    images: np.ndarray
    transforms: Sequence[ViewTransform]
    first: np.ndarray
    counts: np.ndarray
    targets: Any

    def __len__(self) -> int:
        return len(self.samples)

    def part(self, indices: np.ndarray) -> Views:
        """Some of the samples, over the same pixels."""
        samples = tuple(self.samples[i] for i in indices)
        return Views(
            samples,
            self.images,
            self.transforms,
            self.first[indices],
            self.counts[indices],
            self.targets_at(indices),
        )

    def targets_at(self, indices: np.ndarray) -> Any:
        """Of some of the samples; one index gives one target in a row."""
        where = np.asarray(indices, np.int64)
        return (
            self.targets[torch.from_numpy(where)]
            if isinstance(self.targets, torch.Tensor)
            else self.targets[where]
        )

    def fit_data(self) -> FitData:
        """What statistics are fitted to."""
        rows, owners = self.fitting()
        transforms = [self.transforms[row] for row in rows]
        return FitData(self.images[rows], self.targets_at(owners), transforms)

    def pixels(self) -> tuple[np.ndarray, np.ndarray]:
        """The views M×H×W×C of these samples, copied, and M indices of the samples they are of; as
        many as fit in memory."""
        rows, owners = self.fitting()
        return self.images[rows], owners

    def fitting(self) -> tuple[np.ndarray, np.ndarray]:
        """M rows of `images` and M indices of the samples they are of; evenly thinned where there
        is more than fits in memory."""
        owners, rows = (
            np.repeat(np.arange(len(self)), self.counts),
            self._rows(np.arange(len(self))),
        )
        step = max(1, -(-len(rows) // max(1, IN_MEMORY // max(1, self.images[:1].nbytes))))
        return rows[::step], owners[::step]

    def batch(self, indices: np.ndarray) -> Batch:
        """All views of some of these samples. images: stored depth, B×C×H×W over channels-last
        memory, as they were decoded."""
        owners = indices if self._single else np.repeat(indices, self.counts[indices])
        return self._batch(self._rows(indices), owners)

    def some(self, which: np.ndarray) -> Batch:
        """Some views, counted over all samples in their order; as `batch`."""
        if self._single:
            return self.batch(which)
        owners = self._owners[which]
        return self._batch(self.first[owners] + which - self._before[owners], owners)

    def _batch(self, rows: np.ndarray, owners: np.ndarray) -> Batch:
        images = channels_first(self.images.take(rows, axis=0))
        return Batch(
            images,
            self.targets_at(owners),
            LazySubset(self.transforms, rows),
            LazySubset(self._sources, owners),
        )

    @cached_property
    def _owners(self) -> np.ndarray:
        return np.repeat(np.arange(len(self)), self.counts)

    @cached_property
    def _before(self) -> np.ndarray:
        """Of each sample, the views of those before it."""
        return np.cumsum(self.counts) - self.counts

    @cached_property
    def _sources(self) -> tuple[str, ...]:
        return tuple(sample.source for sample in self.samples)

    @cached_property
    def _single(self) -> bool:
        return bool((self.counts == 1).all())

    def _rows(self, indices: np.ndarray) -> np.ndarray:
        if self._single:
            return self.first[indices]
        first, counts = self.first[indices], self.counts[indices]
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return np.repeat(first, counts) + within


def channels_first(views: np.ndarray) -> torch.Tensor:
    """M×H×W×C or M×D×H×W×C as a network takes it, over the same memory."""
    return torch.from_numpy(views).movedim(-1, 1)


def headers(samples: Sequence[Sample], say: Say) -> tuple[list[Header | None], Bad]:
    """Size, channels and depth of each picture without decoding it; None, and a reason,
    where that fails."""
    found: list[Header | None] = []
    bad: Bad = []
    for sample in say.track(samples, "reading headers", len(samples)):
        try:
            found.append(_header(sample))
        except DataError as error:
            found.append(None)
            bad.append((sample.source, str(error)))
    return found, bad


def _header(sample: Sample) -> Header:
    if isinstance(sample.image, Path):
        return header(sample.image)
    if not isinstance(sample.image, np.ndarray):
        return sample.image.header()
    *depth, height, width, channels = sample.image.shape
    return Header(height, width, channels, 8 * sample.image.dtype.itemsize, *depth)


def stacked(targets: Sequence[Any]) -> Any:
    """Whole numbers as an int64 tensor; whatever else in a NumPy array of objects, one each."""
    if all(isinstance(target, int | np.integer) for target in targets):
        return torch.tensor([int(target) for target in targets], dtype=torch.int64)
    found = np.empty(len(targets), object)
    for row, target in enumerate(targets):  # NumPy would look into them
        found[row] = target
    return found


def load(
    samples: Sequence[Sample], preprocess: Any, folder: Path, say: Say, tta: str = "none"
) -> tuple[Views, list[Fingerprint], Bad]:
    """Decodes each picture once: its views, and its fingerprint for finding duplicates. Pictures
    that fail are left out and listed.

    folder: where the memory-mapped file goes when the views do not fit in memory.
    """
    kept: list[Sample] = []
    fingerprints: list[Fingerprint] = []
    transforms: list[ViewTransform] = []
    counts: list[int] = []
    images: np.ndarray | None = None
    filled, bad = 0, Bad()
    for sample, outcome in say.track(_decoded(samples, preprocess, tta), "decoding", len(samples)):
        if isinstance(outcome, DataError):
            bad.append((sample.source, str(outcome)))
            continue
        views, mark = outcome
        images = _with_room(images, filled, len(views), views[0][0], len(samples), folder)
        for view, transform in views:
            images[filled] = view
            transforms.append(transform)
            filled += 1
        counts.append(len(views))
        kept.append(sample)
        fingerprints.append(mark)
    pixels = images[:filled] if images is not None else np.zeros((0, 1, 1, 1), np.uint8)
    number = np.array(counts, np.int64)
    targets = stacked([sample.target for sample in kept])
    first = np.cumsum(number) - number
    return Views(tuple(kept), pixels, transforms, first, number, targets), fingerprints, bad


def _decoded(samples: Sequence[Sample], preprocess: Any, tta: str) -> Iterator[tuple[Sample, Any]]:
    """(sample, (views, fingerprint) or the error), in order; files are decoded in parallel, since
    decoders let go of the interpreter."""

    def one(sample: Sample) -> Any:
        try:
            shown = sample.decoded()
            return preprocess.views(shown, tta), fingerprint(shown.pixels())
        except DataError as error:
            return error

    if all(isinstance(sample.image, np.ndarray) for sample in samples):
        yield from ((sample, one(sample)) for sample in samples)
        return
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        # In slices, so that decoded pictures that wait for their turn do not pile up.
        for start in range(0, len(samples), 256):
            few = samples[start : start + 256]
            yield from zip(few, pool.map(one, few), strict=True)


def _with_room(
    images: np.ndarray | None, filled: int, more: int, like: np.ndarray, samples: int, folder: Path
) -> np.ndarray:
    """The store, made on first use and doubled when several views a sample outgrow it."""
    if images is not None and filled + more <= len(images):
        return images
    count = max(samples * more, 2 * filled)
    shape = (count, *like.shape)
    if count * like.nbytes <= IN_MEMORY:
        grown = np.empty(shape, like.dtype)
    else:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=folder, prefix=".views-") as file:
                # Without a name the file goes away by itself with the process, however that ends.
                grown = np.memmap(file, like.dtype, "w+", shape=shape)
        except OSError as error:
            raise MachineError(
                f"{folder}: no room for {count * like.nbytes >> 20} MiB of fitted pictures "
                f"({error.strerror})"
            ) from error
    if images is not None:
        grown[:filled] = images[:filled]
    return grown


def refuse(bad: Bad, total: int, skip: bool) -> None:
    """Raises DataError unless bad pictures may be skipped and are few."""
    if not bad or (skip and len(bad) <= BAD_ALLOWED * total):
        return
    named = "; ".join(reason for _, reason in bad[:3]) + (
        f"; and {len(bad) - 3} more" if len(bad) > 3 else ""
    )
    if skip:
        raise DataError(
            f"{len(bad)} of {total} pictures cannot be read, "
            f"more than the 1 % that may be skipped: {named}"
        )
    raise DataError(f"{named}; or leave out bad pictures with --skip-bad")


def ahead(items: Iterable[T], depth: int = 2) -> Iterator[T]:
    """The items, made `depth` ahead by a thread: for pictures on disk or a device that
    computes meanwhile."""
    waiting: queue.Queue[Any] = queue.Queue(depth)
    end, stop = object(), threading.Event()

    def put(item: Any) -> None:
        while not stop.is_set():
            try:
                return waiting.put(item, timeout=0.1)
            except queue.Full:
                continue

    def fill() -> None:
        try:
            for item in items:
                put(item)
                if stop.is_set():
                    return
            put(end)
        except BaseException as error:
            put(error)

    thread = threading.Thread(target=fill, daemon=True)
    thread.start()
    try:
        while (item := waiting.get()) is not end:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        thread.join()
