"""`pellucid train`: from a source to a run folder."""

from __future__ import annotations

import shlex
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ... import anatomy
from ...core.errors import INTERRUPTED, DataError, ModelError, PellucidError, UsageError
from ...core.files import write_text
from ...core.rng import Draws, generator
from ...plots import formatting
from ...tasks.settings import SharedSettings
from . import checkpoint, features, finish, folders, machine, pretrained, processes
from . import settings as configuration
from .checkpoint import State
from .epoch import close_epoch, epochs_without_gain
from .loop import steps
from .prepare import Prepared, prepare, resolve_task, with_weights
from .progress import Say, clock
from .resolve import built, fresh, settled

# Within an epoch the state is saved this often; it is always saved at the end of one.
SAVE_EVERY = 300.0


@dataclass(frozen=True)
class Run:
    """A run folder and what its `summary.json` says."""

    path: Path
    summary: dict[str, Any]


class Interrupted(PellucidError):
    """Stopped by Ctrl-C between two steps, with everything saved."""

    code = INTERRUPTED


def train(
    data: str | Path | None = None,
    *,
    recipe: str | Path | None = None,
    name: str | None = None,
    resume: str | Path | None = None,
    quiet: bool = False,
    **settings: Any,
) -> Run:
    """Trains a network on `data` and writes a run folder under `runs/`; or takes an unfinished run
    to its end.

    data: a folder, file or built-in name (see `pellucid check`). recipe: a TOML file whose settings
    hold where none is given here. settings: by the names that the options have. Raises UsageError,
    DataError, ModelError, NonFiniteLoss, MachineError, Interrupted.
    """
    folder = None
    if resume is not None:
        folder, data, settings = _resumed(
            Path(resume), settings | {"data": data, "recipe": recipe, "name": name}
        )
        if (folder / "summary.json").exists() and not (folder / "checkpoint.safetensors").exists():
            Say(quiet).line(f"{folder}: this run is finished; there is nothing to resume")
            return Run(folder, folders.read_json(folder / "summary.json"))
    elif recipe is not None:
        named, from_file = configuration.load(Path(recipe))
        data, settings = data or named, from_file | settings
    if data is None:
        raise UsageError("no data: say what to train on, as in `pellucid train my_photos/`")
    given = {key: value for key, value in settings.items() if value is not None}
    configuration.check(given)
    wanted = configuration.of(resolve_task(given, data), given)
    where = machine.device(wanted.device)
    with (
        processes.joined(where),
        torch.random.fork_rng(devices=[]),
        machine.threads(wanted.threads),
    ):
        say = Say(quiet or processes.rank() > 0)
        started = time.perf_counter()
        prepared = _prepared(data, given, folder, say)
        _say_what_was_found(prepared, say)
        network = built(prepared.spec, prepared.settings)
        prepared = replace(prepared, settings=settled(prepared, network, where))
        folder = _folder(prepared, folder, data, name, network, say)
        with machine.threads(prepared.settings.threads):
            try:
                state = _state(prepared, network, where, folder, say)
                reading = time.perf_counter() - started
                _learn(prepared, state, where, folder, say)
                return Run(folder, finish.finish(prepared, state, where, folder, reading, say))
            except KeyboardInterrupt:
                raise Interrupted(f"interrupted; go on with: {_resuming(folder)}") from None


def _resumed(folder: Path, given: dict[str, Any]) -> tuple[Path, str, dict[str, Any]]:
    """The run's folder, data and settings; `given` is what came with --resume,
    which must be nothing."""
    if changed := [key for key, value in given.items() if value is not None]:
        raise UsageError(
            f"--resume continues a run exactly as it was begun; leave out {changed[0]}, "
            "or start a new run"
        )
    recipe = folder / "recipe.toml"
    if not recipe.is_file():
        raise ModelError(
            f"{folder}: not a run folder (it has no recipe.toml); "
            f"runs are found under {folders.RUNS}/"
        )
    try:
        named, settings = configuration.load(recipe)
    except UsageError as error:
        raise ModelError(f"{error}; start a new run") from None
    if named is None:
        raise ModelError(f"{recipe}: does not name its data; start a new run")
    return folder, named, settings


def _resuming(folder: Path) -> str:
    return shlex.join(["pellucid", "train", "--resume", str(folder)])


def _prepared(data: str | Path, given: dict[str, Any], folder: Path | None, say: Say) -> Prepared:
    """The data, which for a resumed run must be what it was."""
    if folder is None:
        given, weights = with_weights(given, data)
        return prepare(data, given, say, weights=weights)
    before = folders.read_json(folder / "data.json")
    if not isinstance(before, dict) or "fingerprint" not in before:
        raise ModelError(f"{folder / 'data.json'}: damaged (no fingerprint); start a new run")
    changed = DataError(
        f"{data}: has changed since {folder} was begun, so it cannot be resumed exactly; "
        "start a new run"
    )
    try:
        weights = pretrained.stored(before.get("preprocessing"), folder / "data.json")
        prepared = prepare(data, given, say, weights=weights)
    except UsageError:  # settings that fitted the data do so no longer
        raise changed from None
    if before["fingerprint"] != prepared.facts["fingerprint"]:
        raise changed
    return prepared


def _say_what_was_found(prepared: Prepared, say: Say) -> None:
    facts = prepared.facts
    say.line(f"{facts['source']}: {facts['why']}")
    for _, reason in facts["bad"]:
        say.line(f"left out: {reason}")
    for note in facts["notes"]:
        if note.startswith("WARNING"):
            say.line(note)


def _folder(
    prepared: Prepared,
    folder: Path | None,
    data: str | Path,
    name: str | None,
    network: nn.Module,
    say: Say,
) -> Path:
    """The run's folder with what is known before training."""
    if folder is not None:
        say.line(f"resuming {folder}")
        return folder
    if processes.rank() == 0:
        import json

        place = data if str(data) == "digits" else Path(data).absolute()
        described = anatomy.describe(network, prepared.preprocess.input_shape)
        files = {
            "recipe.toml": configuration.to_toml(prepared.settings, str(place)),
            "command.txt": shlex.join(_command()) + "\n",
            "environment.json": json.dumps(machine.environment(), indent=2),
            "data.json": json.dumps(
                prepared.facts | pretrained.credit(prepared.settings), indent=2, ensure_ascii=False
            ),
            "splits.csv": folders.table(prepared.split_rows()),
            "anatomy.json": json.dumps(described.to_json(), indent=2),
        }
        folder = folders.create(prepared.task.name, name or prepared.dataset.name, files)
        _draw_batch(prepared, folder)
        for plot, svg in prepared.training.plots.items():
            write_text(folder / "plots" / f"{plot}.svg", svg)
        say.line(
            f"{prepared.architecture}: {described.parameters:,} parameters, {described.macs:,} "
            "multiplications a picture\n"
            f"run folder: {folder}"
        )
    return processes.same(folder)


def _command() -> list[str]:
    """The command line as the user would type it again."""
    program = Path(sys.argv[0])
    return [
        *(["python", "-m", "pellucid"] if program.name == "__main__.py" else [program.name]),
        *sys.argv[1:],
    ]


def _draw_batch(prepared: Prepared, folder: Path) -> None:
    from ...plots.annotate import sheet

    views, training, seed = prepared.part("train"), prepared.training, prepared.settings.seed
    order = training.batches(views.samples, views.counts, 0, generator(seed, 0))
    if not order:
        return
    chosen = order[0][:32]
    batch = training.augment(views.some(chosen), Draws(seed, 0, chosen), 0.0)
    images, captions = zip(*training.preview_batch(batch), strict=True)
    folders.write_picture(folder / "samples" / "batch.png", sheet(images, captions, columns=8))


def _state(
    prepared: Prepared, network: nn.Module, where: torch.device, folder: Path, say: Say
) -> State:
    state = fresh(prepared, network, where)
    saved = folder / "checkpoint.safetensors"
    if saved.exists():
        checkpoint.load_state(saved, state)
    elif prepared.settings.weights is not None:
        views = prepared.part("train")
        pretrained.begin(network, prepared.spec, prepared.settings, views, where, say)
        _save(folder, state)  # from here on the run does not need the weights' file
    return state


def _learn(prepared: Prepared, state: State, where: torch.device, folder: Path, say: Say) -> None:
    """Drains the loop: validates and saves at the end of each epoch, keeps the best weights, stops
    early or when asked."""
    if state.done:
        return
    started = saved = time.perf_counter()
    before = state.seconds
    prepared, head = features.cached(prepared, state.network, where, say)
    settings, views = prepared.settings, prepared.part("train")
    with _ctrl_c() as asked:
        for step in steps(prepared.training, views, settings, state, where, head):
            state.seconds = before + time.perf_counter() - started
            if step.last:
                close_epoch(prepared, state, step, where, head)
                _save(folder, state)
                saved = time.perf_counter()
                say.line(_line(state, settings))
            elif time.perf_counter() - saved > SAVE_EVERY:
                _save(folder, state)
                saved = time.perf_counter()
            # Several processes agree on stopping, which costs a message, only where they meet
            # anyway.
            if (
                asked.is_set()
                if processes.count() == 1
                else step.last and any(processes.gather(asked.is_set()))
            ):
                _save(folder, state)
                raise Interrupted(
                    f"interrupted after step {step.number + 1}; go on with: {_resuming(folder)}"
                )
            if step.last and 0 < settings.patience <= epochs_without_gain(state.history):
                say.line(
                    f"no better validation score for {settings.patience} epochs: stopping early"
                )
                break
    state.done = True
    _save(folder, state)


@contextmanager
def _ctrl_c() -> Iterator[threading.Event]:
    """The first Ctrl-C asks to stop after the step that runs; the second one stops at once, and the
    last saved state holds."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def ask(number: int, frame: Any) -> None:
        asked.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


def _save(folder: Path, state: State) -> None:
    if processes.rank() == 0:
        checkpoint.save_state(folder / "checkpoint.safetensors", state)
        if state.history:
            write_text(folder / "metrics.csv", folders.table(state.history))


def _line(state: State, settings: SharedSettings) -> str:
    """The epoch in one line: losses, scores of validation, time left."""
    row = state.history[-1]
    assert settings.epochs is not None
    left = state.seconds / len(state.history) * (settings.epochs - len(state.history))
    scores = {
        key.removeprefix("validation_"): value
        for key, value in row.items()
        if key.startswith("validation_")
    }
    shown = [f"validation loss {scores.pop('loss'):.4f}"] if "loss" in scores else []
    shown += [
        f"{formatting.named(key)} {formatting.said(key, value, '{:.2%}'.format)}"
        for key, value in scores.items()
        if key != "score"
    ]
    best = " *" if scores and state.best_epoch == row["epoch"] else ""
    return (
        f"epoch {int(row['epoch']):>3}/{settings.epochs}  {_losses(row)}  "
        f"{'  '.join([*shown, clock(left)])} left{best}"
    )


def _losses(row: Mapping[str, float]) -> str:
    """`loss 0.1234`, or the total of each phase: `critic loss 0.1234  generator loss 0.5678`."""
    if "train_loss" in row or "train_total" in row:
        return f"loss {row.get('train_loss', row.get('train_total', 0.0)):.4f}"
    totals = {k: v for k, v in row.items() if k.startswith("train_") and k.endswith("/total")}
    names = {k.removeprefix("train_").removesuffix("/total"): v for k, v in totals.items()}
    return "  ".join(f"{name} loss {value:.4f}" for name, value in names.items())
