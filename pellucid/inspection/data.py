"""What `pellucid inspect --data` holds a network against: the pictures, the objects in them, this
machine, a short trial."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
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
from ..engine.run.prepare import completed_by, resolve_task, without
from ..engine.run.progress import Say
from ..engine.run.splitting import split_of
from ..tasks.settings import completed
from ..tasks.task import ModelSpec, Task

# A step of the trial and the whole of it take about so many seconds; there are five steps at most,
# after one to warm up.
STEP = 0.5
TRIAL = 2.5
STEPS = 5
MOST_MASKS = 2000
SPECK = 9  # a part of a mask with fewer pixels is taken for dirt


@dataclass(frozen=True)
class Found:
    """A data set as training would take it; nothing is fitted to it. headers: of its readable
    images."""

    task: Task
    settings: Any
    dataset: Dataset
    headers: tuple[Header, ...]
    preprocess: Any
    architecture: Any

    @property
    def num_outputs(self) -> int | None:
        """As of `Architecture`."""
        outputs: int | None = self.architecture.num_outputs
        return outputs


def gathered(
    data: str | Path,
    shape: tuple[int, ...] | None,
    say: Say,
    model: str | None = None,
    trained: ModelSpec | None = None,
) -> Found:
    """shape: channels, height, width of the input, where it does not follow from the data. model: a
    name or a notation. trained: a trained model, whose task and architecture hold; where it does
    not answer for whole images, the data must have its classes.

    Raises DataError for data that cannot be read, UsageError for an input that does not fit it.
    """
    if shape is not None and len(shape) != 3:
        raise UsageError(
            f"input: pictures have channels x height x width, not {len(shape)} sides; "
            "leave out --input or --data"
        )
    given = {"model": model} if trained is None else _settings_of(trained)
    given |= {"size": shape[1:]} if shape else {}
    task = resolve_task(given, data)
    wanted = settings.of(task, {key: value for key, value in given.items() if value is not None})
    dataset = task.parts.data.load(data)
    if trained is not None and trained.architecture.num_outputs is None:
        dataset = task.parts.data.remap_labels(dataset, trained.inference.classes)
    heads, unread = batches.headers(dataset.samples, say)
    found = tuple(head for head in heads if head is not None)
    if not found:
        raise DataError(f"{data}: none of the {len(heads)} pictures can be read: {unread[0][1]}")
    dataset = without(dataset, {source for source, _ in unread}, task)
    wanted = completed_by(task, wanted, dataset, found)
    preprocess = task.parts.preprocess.create(wanted, dataset, found)
    channels = preprocess.input_shape[0]
    if shape is not None and shape[0] != channels:
        raise UsageError(
            f"input: the pictures of {data} have {channels} channels, not {shape[0]}; "
            f"write {channels}x…"
        )
    architecture = task.parts.architecture.create(wanted, dataset, preprocess, None)
    return Found(task, wanted, dataset, found, preprocess, architecture)


def _settings_of(spec: ModelSpec) -> dict[str, Any]:
    """The settings that a model tells: words alone, such as its architecture; numbers of the same
    name are those that were fitted."""
    known = spec.task.settings.model_fields
    told = [pair for part in spec.to_json().values() for pair in part.items()]
    words = {key: value for key, value in told if key in known and isinstance(value, str)}
    return {key: value for key, value in words.items() if value} | {"task": spec.task.name}


def findings(
    anatomy: Anatomy, found: Found, build: Callable[[], nn.Module], say: Say
) -> Iterator[Finding]:
    """One after the other; the last one takes a few seconds."""
    sizes = np.array([(head.height, head.width) for head in found.headers])
    outputs = found.num_outputs
    unlike = None if outputs is None else diagnostics.answers(anatomy, outputs)
    if outputs is None:
        built = f"what is accounted for is what training builds here: {found.architecture}"
        yield Finding("ok", built)
    yield diagnostics.pictures(anatomy, sizes)
    # what answers for places of many sizes is not judged by the last map alone
    if outputs is not None:
        sizes = object_sizes(found.dataset.samples, anatomy.input[1:], say)
        held = (diagnostics.sight(anatomy), diagnostics.objects(anatomy, sizes), unlike)
        yield from (finding for finding in held if finding is not None)
    where = machine.device(None)
    batch = found.settings.batch or 32
    free = free_memory(where)
    optimizer = found.settings.optimizer or "adamw"
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
    wanted = found.settings.batch or 32
    settled = completed(found.settings, {"split_seed": found.settings.seed})
    copies = np.arange(len(found.dataset.samples))
    count = len(split_of(found.dataset, copies, settled, found.task).train)
    settled = _settled(found.settings, anatomy, where)
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
    threads: int, found: Found, settled: Any, network: nn.Module, where: torch.device
) -> tuple[float, int]:
    """Training chooses between one thread and all, so the trial does."""
    with machine.threads(threads):
        return _seconds_a_step(found, settled, network, 2, where, most=1), threads


def _affordable(seconds: float) -> int:
    return int(np.clip(TRIAL / seconds, 1, STEPS))


def _settled(wanted: Any, anatomy: Anatomy, where: torch.device) -> Any:
    """The settings with precision and layout as training would choose them; the learning rate does
    not matter here."""
    settled = completed(wanted, machine.propose(where, anatomy.network, anatomy.macs))
    settled = completed(settled, {"optimizer": "adamw", "lr": 1e-4, "weight_decay": 0.05})
    return settled.model_copy(update={"epochs": 10_000})


def _seconds_a_step(
    found: Found, settled: Any, network: nn.Module, number: int, where: torch.device, most: int
) -> float:
    """Median over at most so many steps of `number` pictures; the first, which warms up,
    does not count."""
    samples = found.dataset.samples
    few = samples[:: max(1, len(samples) // (4 * number))][: 4 * number]
    views, _, _ = batches.load(few, found.preprocess, folders.RUNS, Say(quiet=True))
    fitted = views.fit_data()
    preprocess = found.preprocess.fit_statistics(fitted)
    training = found.task.parts.training.create(
        settled.model_copy(update={"batch": number}),
        found.dataset,
        preprocess,
        found.architecture,
        fitted,
    )
    phases = training.phases(network)
    state = State(network, [optimizer(settled, phase.parameters) for phase in phases])
    run = steps(training, views, settled, state, where)
    next(run)
    taken = []
    for _ in range(most):
        started = time.perf_counter()
        next(run)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)
