"""What `pellucid inspect --data` holds a network against: the pictures, the objects in them, this
machine, a short trial."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ..anatomy import Anatomy, diagnostics
from ..anatomy.diagnostics import Finding
from ..core.errors import DataError, PellucidError, UsageError
from ..data.formats import Dataset
from ..data.images import Header
from ..data.sample import Sample
from ..engine.run import batches, folders, machine, settings
from ..engine.run.checkpoint import State
from ..engine.run.loop import steps
from ..engine.run.optim import optimizer
from ..engine.run.prepare import room_of, split_of, without
from ..engine.run.progress import Say
from ..engine.run.settings import Recipe
from ..tasks.task import Task

# A step of the trial and the whole of it take about so many seconds; there are five steps at most,
# after one to warm up.
STEP = 0.5
TRIAL = 2.5
STEPS = 5
MOST_MASKS = 2000
SPECK = 9  # a part of a mask with fewer pixels is taken for dirt


@dataclass(frozen=True)
class Found:
    """A data set as training would take it: `room` is opened for it, not measured.
    headers: of its readable pictures."""

    reading: Dataset
    headers: tuple[Header, ...]
    recipe: Recipe
    room: Task


def gathered(
    data: str | Path,
    shape: tuple[int, ...] | None,
    say: Say,
    model: str | None = None,
    trained: Task | None = None,
) -> Found:
    """shape: channels, height, width of the input, where it does not follow from the data. model: a
    name or a notation. trained: the room of a trained model, whose task and design hold; where it
    does not answer for whole pictures, the data must be in its terms.

    Raises DataError for data that cannot be read, UsageError for an input that does not fit it.
    """
    if shape is not None and len(shape) != 3:
        raise UsageError(
            f"input: pictures have channels x height x width, not {len(shape)} sides; "
            "leave out --input or --data"
        )
    wanted = settings.make(
        **({"model": model} if trained is None else _settings_of(trained)),
        size=shape[1:] if shape else None,
    )
    task = room_of(wanted, data)
    reading = task.read(data)
    if trained is not None and trained.answers is None:
        reading = trained.relabelled(reading)
    heads, unread = batches.headers(reading.samples, say)
    found = tuple(head for head in heads if head is not None)
    if not found:
        raise DataError(f"{data}: none of the {len(heads)} pictures can be read: {unread[0][1]}")
    reading = without(reading, {source for source, _ in unread}, task)
    wanted = wanted.completed(task.propose(wanted.settings(), reading, found))
    room = task.open(wanted.settings(), reading, found)
    if shape is not None and shape[0] != room.input[0]:
        raise UsageError(
            f"input: the pictures of {data} have {room.input[0]} channels, not {shape[0]}; "
            f"write {room.input[0]}x…"
        )
    return Found(reading, found, wanted, room)


def _settings_of(room: Task) -> dict[str, Any]:
    """What of a recipe stands in a model: words alone, such as its design; numbers of the same name
    are those that were measured."""
    known = {setting.name for setting in fields(Recipe)}
    return {"task": room.name} | {
        key: value
        for key, value in room.to_json().items()
        if key in known and isinstance(value, str)
    }


def findings(
    anatomy: Anatomy, found: Found, build: Callable[[], nn.Module], say: Say
) -> Iterator[Finding]:
    """One after the other; the last one takes a few seconds."""
    sizes = np.array([(head.height, head.width) for head in found.headers])
    unlike = (
        None if found.room.answers is None else diagnostics.answers(anatomy, found.room.answers)
    )
    if found.room.answers is None:
        yield Finding(
            "ok", f"what is accounted for is what training builds here: {found.room.design}"
        )
    yield diagnostics.pictures(anatomy, sizes)
    # what answers for places of many sizes is not judged by the last map alone
    if found.room.answers is not None:
        held = (
            diagnostics.sight(anatomy),
            diagnostics.objects(
                anatomy, object_sizes(found.reading.samples, anatomy.input[1:], say)
            ),
            unlike,
        )
        yield from (finding for finding in held if finding is not None)
    where = machine.device(None)
    batch = found.recipe.batch or 32
    free = free_memory(where)
    optimizer = found.recipe.optimizer or "adamw"
    yield diagnostics.batch(anatomy.memory, free, batch, optimizer)
    least = anatomy.memory.training(2, optimizer)
    if unlike is None and least is not None and least < free:
        yield trial(anatomy, found, build, where)


def object_sizes(samples: tuple[Sample, ...], size: tuple[int, ...], say: Say) -> np.ndarray:
    """N×2: height and width, in pixels of the input, of every connected part of the masks (above
    127) that stand beside pictures.

    A mask has the name of its picture and another ending. Of very many pictures, an even choice is
    looked at.
    """
    import cv2

    boxes = []
    files = [sample.image for sample in samples if isinstance(sample.image, Path)]
    for path in say.track(
        files[:: max(1, -(-len(files) // MOST_MASKS))],
        "looking for masks",
        min(len(files), MOST_MASKS),
    ):
        for other in (
            path.with_suffix(ending) for ending in (".png", ".bmp") if path.suffix.lower() != ending
        ):
            mask = cv2.imread(str(other), cv2.IMREAD_GRAYSCALE) if other.is_file() else None
            if mask is None:
                continue
            parts = cv2.connectedComponentsWithStats((mask > 127).astype(np.uint8))[2][1:]
            scale = min(size[0] / mask.shape[0], size[1] / mask.shape[1])
            parts = parts[parts[:, cv2.CC_STAT_AREA] >= SPECK]
            boxes.append(parts[:, [cv2.CC_STAT_HEIGHT, cv2.CC_STAT_WIDTH]] * scale)
    return np.concatenate(boxes) if boxes else np.zeros((0, 2))


def free_memory(where: torch.device) -> int:
    """Bytes that are not in use: of the graphics card, or of this machine."""
    if where.type == "cuda":
        return int(torch.cuda.mem_get_info(where)[0])
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(
            int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:")
        )
    except (OSError, StopIteration):
        import os

        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def trial(
    anatomy: Anatomy, found: Found, build: Callable[[], nn.Module], where: torch.device
) -> Finding:
    """Seconds an epoch, from real training steps (random changes, forward, backward, optimiser) on
    a few of the pictures.

    A step of a large network is tried with fewer pictures, in two sizes, and what a picture and
    what a step costs follow from them.
    """
    wanted = found.recipe.batch or 32
    settled = replace(found.recipe, split_seed=found.recipe.seed)
    count = len(
        split_of(
            found.reading, np.arange(len(found.reading.samples)), settled, type(found.room)
        ).train
    )
    settled = _settled(found.recipe, anatomy, where)
    try:
        with torch.random.fork_rng(devices=[]):
            network = machine.place(build(), where, machine.memory_format(settled))
            few, threads = min(
                _with_threads(number, found, settled, network, where)
                for number in {1, torch.get_num_threads()}
            )
            number = int(np.clip(2 * STEP / few, min(6, wanted), wanted))
            with machine.threads(threads):
                more = _seconds_a_step(
                    found, settled, network, number, where, most=_affordable(few * number / 2)
                )
    except PellucidError as error:
        return Finding("wrong", f"the trial of training failed: {error}")
    a_picture = max(0.0, more - few) / max(1, number - 2)
    a_step = max(0.0, more - number * a_picture) + wanted * a_picture
    rounds = -(-count // wanted)
    how = f"steps of {number}; reading the pictures the first time and validation come on top"
    return diagnostics.epoch(a_step * rounds, rounds, count, how)


def _with_threads(
    threads: int, found: Found, settled: Recipe, network: nn.Module, where: torch.device
) -> tuple[float, int]:
    """Training chooses between one thread and all, so the trial does."""
    with machine.threads(threads):
        return _seconds_a_step(found, settled, network, 2, where, most=1), threads


def _affordable(seconds: float) -> int:
    return int(np.clip(TRIAL / seconds, 1, STEPS))


def _settled(wanted: Recipe, anatomy: Anatomy, where: torch.device) -> Recipe:
    """The recipe with precision and layout as training would choose them;
    the learning rate does not matter here."""
    completed = wanted.completed(machine.propose(where, anatomy.network, anatomy.macs))
    return replace(
        completed.completed({"optimizer": "adamw", "lr": 1e-4, "weight_decay": 0.05}), epochs=10_000
    )


def _seconds_a_step(
    found: Found, settled: Recipe, network: nn.Module, number: int, where: torch.device, most: int
) -> float:
    """Median over at most so many steps of `number` pictures; the first, which warms up,
    does not count."""
    few = found.reading.samples[:: max(1, len(found.reading.samples) // (4 * number))][: 4 * number]
    room = type(found.room).open(
        settled.settings() | {"batch": number}, found.reading, found.headers
    )
    views, _, _ = batches.load(few, room, folders.RUNS, Say(quiet=True))
    room = room.measured(views.pixels()[0])
    state = State(network, [optimizer(settled, named) for named in room.turns(network)])
    run = steps(room, views, settled, state, where)
    next(run)
    taken = []
    for _ in range(most):
        started = time.perf_counter()
        next(run)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)
