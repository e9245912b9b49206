from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pellucid.core.errors import DataError
from pellucid.core.rng import generator
from pellucid.data.sample import Sample
from pellucid.engine.run import batches
from pellucid.engine.run.progress import Say
from pellucid.tasks.image_preprocess import ImagePreprocess
from pellucid.tasks.shared import shuffled

PREPROCESS = ImagePreprocess((6, 8), 1)


def samples(count: int) -> list[Sample]:
    rng = np.random.default_rng(1)
    return [
        Sample(rng.integers(0, 256, (6, 8, 1), dtype=np.uint8), i % 2, f"{i}.png")
        for i in range(count)
    ]


def test_views_are_the_pictures_in_order(tmp_path: Path) -> None:
    given = samples(11)
    views, marks, bad = batches.load(given, PREPROCESS, tmp_path, Say(quiet=True))
    assert (len(views), len(marks), bad) == (11, 11, [])
    part = views.part(np.array([7, 2, 9]))
    batch = part.batch(np.array([2, 0]))
    assert tuple(batch.sources) == ("9.png", "7.png")
    assert batch.targets.tolist() == [1, 1]
    assert np.array_equal(batch.images[0].permute(1, 2, 0).numpy(), given[9].pixels())
    assert np.array_equal(part.pixels()[0][1], given[2].pixels())
    assert len(views.batch(np.zeros(0, np.int64))) == 0


def test_a_store_on_disk_holds_the_same_and_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_memory, *_ = batches.load(samples(20), PREPROCESS, tmp_path, Say(quiet=True))
    monkeypatch.setattr(batches, "IN_MEMORY", 100)
    on_disk, *_ = batches.load(samples(20), PREPROCESS, tmp_path, Say(quiet=True))
    assert isinstance(on_disk.images, np.memmap)
    assert np.array_equal(in_memory.images, on_disk.images)
    assert list(tmp_path.iterdir()) == []
    assert 1 <= len(on_disk.pixels()[0]) < 20


def test_bad_pictures_are_left_out_and_listed(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"")
    given = [*samples(3), Sample(tmp_path / "broken.png", 0, "broken.png")]
    views, _, bad = batches.load(given, PREPROCESS, tmp_path, Say(quiet=True))
    assert len(views) == 3
    assert [source for source, _ in bad] == ["broken.png"]


@pytest.mark.parametrize(
    ("bad", "total", "skip", "refused"),
    [(0, 10, False, False), (1, 1000, False, True), (1, 100, True, False), (2, 100, True, True)],
)
def test_bad_images_are_refused_unless_few_may_be_skipped(
    bad: int, total: int, skip: bool, refused: bool
) -> None:
    listed = [(f"{i}.png", f"{i}.png: 0 bytes") for i in range(bad)]
    if refused:
        with pytest.raises(DataError, match=r"0\.png"):
            batches.refuse(listed, total, skip)
    else:
        batches.refuse(listed, total, skip)


def test_ahead_keeps_order_and_passes_errors_on() -> None:
    assert list(batches.ahead(iter(range(20)))) == list(range(20))

    def failing():
        yield 1
        raise ValueError("lost")

    with pytest.raises(ValueError, match="lost"):
        list(batches.ahead(failing()))
    first = next(batches.ahead(iter(range(1000))))
    assert first == 0


@pytest.mark.parametrize(("count", "batch"), [(10, 4), (9, 4), (8, 4), (1, 4), (5, 1), (33, 32)])
def test_an_order_has_every_sample_once_and_no_batch_of_one(count: int, batch: int) -> None:
    order = shuffled(count, batch, generator(3))
    assert sorted(np.concatenate(order).tolist()) == list(range(count))
    assert all(len(part) <= batch + 1 for part in order)
    if batch > 1 and count > 1:
        assert min(len(part) for part in order) > 1
