"""The runs of a study as processes of their own, each with a recipe and a log in the study's
folder.

The log is all there is to know of a run: which run folder it has, how it ended, and, by a lock on
the file that the process inherits and the system releases when it ends however it ends, whether it
still goes on. So a study can be stopped, killed, and started twice.
"""

from __future__ import annotations

import fcntl
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from io import BufferedRandom
from pathlib import Path
from typing import Any

from ..core.errors import NonFiniteLoss, UsageError
from ..core.files import write_text
from ..engine.run import folders
from ..engine.run.settings import in_toml
from .plan import Planned

_FOLDER, _CODE = "run folder: ", "exit code: "
# Of a usage, data or model error there is nothing to resume; a full disk or a kill leaves a run
# that can go on.
_FINAL = range(1, 6)


@dataclass(frozen=True)
class State:
    """What a log says. state: missing, interrupted, done, diverged or failed. reason: of a failure,
    the run's own line."""

    planned: Planned
    state: str
    folder: Path | None = None
    reason: str = ""
    seconds: float = 0.0
    score: float | None = None

    @property
    def over(self) -> bool:
        return self.state in ("done", "diverged")

    def to_json(self) -> dict[str, Any]:
        return {
            "arm": self.planned.arm,
            "part": self.planned.part,
            "state": self.state,
            "folder": str(self.folder) if self.folder else None,
            "score": self.score,
            "seconds": self.seconds,
            "reason": self.reason,
        }


@dataclass(frozen=True)
class Child:
    planned: Planned
    process: subprocess.Popen[bytes]
    log: BufferedRandom


def state(folder: Path, planned: Planned, score: str | None) -> State:
    """How far a run of the study in `folder` has come; `score` is the test score that is told, if
    any."""
    log = folder / f"{planned.stem}.log"
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    places = [line.removeprefix(_FOLDER) for line in lines if line.startswith(_FOLDER)]
    codes = [
        int(line.removeprefix(_CODE)) for line in lines[-1:] if re.fullmatch(rf"{_CODE}-?\d+", line)
    ]
    place, code = (
        (Path(places[-1]) if places and Path(places[-1]).is_dir() else None),
        (codes[0] if codes else None),
    )
    if (
        place is not None
        and (place / "summary.json").exists()
        and not (place / "checkpoint.safetensors").exists()
    ):
        summary = folders.read_json(place / "summary.json")
        return State(
            planned,
            "done",
            place,
            "",
            sum(summary["seconds"].values()),
            summary["test"].get(score, {}).get("value") if score else None,
        )
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    if code == NonFiniteLoss.code:
        return State(planned, "diverged", place, errors[-1])
    if code is not None and code not in (130, -signal.SIGINT, -signal.SIGTERM):
        return State(
            planned,
            "failed",
            place if code not in _FINAL else None,
            errors[-1] if errors else f"ended with {code}; see {log}",
        )
    return State(planned, "interrupted" if place else "missing", place)


def write_recipes(folder: Path, states: Sequence[State], data: str) -> None:
    """The recipe of each run that has not begun. Raises UsageError when one that has begun was
    begun with another."""
    texts = {state.planned: _recipe(state.planned, data) for state in states}
    begun = [state.planned for state in states if state.over or state.folder is not None]
    changed = dict.fromkeys(
        run.arm
        for run in begun
        if (folder / f"{run.stem}.toml").read_text(encoding="utf-8") != texts[run]
    )
    if changed:
        raise UsageError(
            f"{folder}: the study or its data has changed since it ran {', '.join(changed)}; undo "
            "that, or choose another --name"
        )
    for run, text in texts.items():
        if run not in begun:
            write_text(folder / f"{run.stem}.toml", text)


def _recipe(run: Planned, data: str) -> str:
    lines = [f"{key} = {in_toml(value)}" for key, value in {"data": data, **run.settings}.items()]
    return "\n".join([f"# {run.arm}, {run.part}", *lines, ""])


def start(folder: Path, planned: Planned, score: str | None, name: str) -> Child | None:
    """Begins or resumes a run; None when another process has it,
    or has meanwhile brought it to its end."""
    log = (folder / f"{planned.stem}.log").open("a+b")
    try:
        fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        log.close()
        return None
    before = state(folder, planned, score)
    if before.over:
        log.close()
        return None
    if before.folder is None:
        log.truncate(0)
        words = [
            "--recipe",
            str(folder / f"{planned.stem}.toml"),
            "--name",
            f"{name}-{planned.stem}",
        ]
    else:
        words = ["--resume", str(before.folder)]
    # A session of its own keeps the terminal's Ctrl-C from the run, which is to get exactly one.
    process = subprocess.Popen(
        [sys.executable, "-m", "pellucid", "train", *words],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    return Child(planned, process, log)


def end(child: Child) -> None:
    """Notes how the run ended and lets go of it."""
    child.log.write(f"\n{_CODE}{child.process.wait()}\n".encode())
    child.log.close()


def interrupt(children: Sequence[Child]) -> None:
    """Asks each to save and stop, and waits until they have."""
    for child in children:
        child.process.send_signal(signal.SIGINT)
    for child in children:
        end(child)
