"""`pellucid lab STUDY`: runs what a study still lacks, and says what it shows."""

from __future__ import annotations

import math
import os
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

from ..core.errors import DataError, UsageError
from ..core.files import write_json, write_text
from ..engine.run.folders import RUNS, slug
from ..engine.run.progress import Say, clock
from ..plots.formatting import named, said
from . import plan, running
from .plan import Study
from .running import Child, State

if TYPE_CHECKING:
    from .compare import Comparison

POLL = 0.1


@dataclass(frozen=True)
class Result:
    """folder: `runs/lab/<name>/`. states: of every run. comparison: of the finished ones,
    where two arms have any."""

    study: Study
    folder: Path
    states: tuple[State, ...]
    comparison: Comparison | None = None

    def of(self, arm: str) -> list[State]:
        return [state for state in self.states if state.planned.arm == arm]

    @property
    def failed(self) -> list[State]:
        return [state for state in self.states if state.state == "failed"]

    def to_json(self) -> dict[str, Any]:
        study = self.study
        return {
            "study": study.name,
            "title": study.title,
            "question": study.question,
            "expected": study.expected,
            "folder": str(self.folder),
            "score": study.score,
            "runs": [state.to_json() for state in self.states],
        }

    def text(self) -> str:
        """A line an arm, then what is missing and why."""
        width = max(map(len, self.study.arms))
        lines = [
            f"{self.study.title}: {self.study.question}",
            f"expected: {self.study.expected}",
            "",
        ]
        lines += [f"{arm:<{width}}  {self._arm(arm)}" for arm in self.study.arms]
        if self.comparison is not None:
            lines += ["", self.comparison.summary]
        return "\n".join(
            lines + [f"failed: {s.planned.arm}, {s.planned.part}: {s.reason}" for s in self.failed]
        )

    def plan(self) -> str:
        """What would be run, and how long that takes by what the finished runs took."""
        missing, done = (
            [s for s in self.states if not s.over],
            [s.seconds for s in self.states if s.state == "done"],
        )
        lines = [f"{state.planned.arm}, {state.planned.part}: {state.state}" for state in missing]
        jobs = self.study.jobs or os.cpu_count() or 1
        guess = (
            f"about {clock(mean(done) * len(missing) / jobs)}"
            if done
            else "no run is finished that would tell how long"
        )
        return "\n".join(
            [*lines, f"{len(missing)} of {len(self.states)} runs to do, {jobs} at once; {guess}"]
        )

    def _arm(self, arm: str) -> str:
        states = self.of(arm)
        scores = [state.score for state in states if state.score is not None]
        lines, score = [], self.study.score
        if scores and score:
            average, least, most = (
                said(score, value, "{:.2%}".format)
                for value in (mean(scores), min(scores), max(scores))
            )
            lines.append(f"{named(score)} {average} ({least} to {most} over {len(scores)})")
        for name in ("diverged", "failed", "interrupted", "missing"):
            if count := sum(state.state == name for state in states):
                lines.append(
                    f"{name} in {count} of {len(states)} runs"
                    + (", which the mean leaves out" if scores else "")
                )
        return "; ".join(lines)


def lab(
    which: str | Path,
    data: str | Path | None = None,
    *,
    name: str | None = None,
    seeds: Sequence[int] | None = None,
    budget: float | None = None,
    jobs: int | None = None,
    dry_run: bool = False,
    quiet: bool = False,
) -> Result:
    """Runs what the study lacks, resumes what was interrupted, and writes `runs/lab/<name>/`: its
    page, its runs' recipes and logs.

    which: the name of a shipped study or a TOML file (see `plan`). data: in place of the study's
    own. budget: minutes after which no run is started. jobs: runs at once. A run that ends in a
    loss that is not finite is a result ("diverged"); one that fails otherwise is told and tried
    again the next time. Raises UsageError, DataError and Interrupted.
    """
    say = Say(quiet)
    path = plan.find(str(which))
    chosen = plan.load(path)
    given: dict[str, Any] = {
        "seeds": None if seeds is None else tuple(seeds),
        "budget_minutes": budget,
        "jobs": jobs,
        "data": data and str(data),
    }
    again = _command(which, data, {"name": name, **given})
    name = name or (f"{chosen.name}-{Path(data).absolute().stem}" if data else chosen.name)
    chosen = replace(
        chosen, name=slug(name), **{key: value for key, value in given.items() if value is not None}
    )
    folder = RUNS / "lab" / chosen.name
    before = _states(chosen, folder)
    if dry_run:
        return Result(chosen, folder, before)
    place = _place(chosen.data)
    chosen = _with_score(chosen, place)
    running.write_recipes(folder, before, place)
    write_text(folder / "study.toml", path.read_text(encoding="utf-8"))
    try:
        _work(chosen, folder, before, say)
    except KeyboardInterrupt:
        from ..engine.run.train import Interrupted

        raise Interrupted(f"interrupted, with every run saved; go on with: {again}") from None
    return _concluded(Result(chosen, folder, _states(chosen, folder)), say)


def _command(which: str | Path, data: str | Path | None, given: dict[str, Any]) -> str:
    """The command line that asks for the same again."""
    options = {
        "--name": given["name"],
        "--seeds": given["seeds"] and ",".join(map(str, given["seeds"])),
        "--budget": given["budget_minutes"],
        "--jobs": given["jobs"],
    }
    words = [
        word
        for option, value in options.items()
        if value is not None
        for word in (option, str(value))
    ]
    return shlex.join(["pellucid", "lab", str(which), *([str(data)] if data else []), *words])


def _place(data: str) -> str:
    """Where the data is, whatever folder a run is started in. Raises DataError,
    once and not in every run."""
    if data == "digits":
        return data
    if not Path(data).exists():
        raise DataError(
            f"{data}: there is no such data here; say where it is, "
            "as in `pellucid lab STUDY my_photos/`"
        )
    return str(Path(data).absolute())


def _with_score(chosen: Study, place: str) -> Study:
    """With the usual score of the task where the study names none. Raises UsageError for a score
    that an arm does not have, before any of them is trained."""
    from ..engine.run import settings as configuration
    from ..engine.run.prepare import resolve_task
    from .arms import known_score

    for arm, given in chosen.arms.items():
        try:
            task = resolve_task(given, place)
            chosen = replace(chosen, score=known_score(chosen.score, task))
            settings = configuration.of(task, given)
        except UsageError as error:
            raise UsageError(f'{chosen.name}: arm "{arm}": {error}') from None
        if chosen.score == "rand" and not _compares_objects(settings):
            raise UsageError(
                f'{chosen.name}: arm "{arm}": objects are compared only where score = "rand" '
                "stands in [settings] too"
            )
    return chosen


def _compares_objects(settings: Any) -> bool:
    return settings.score == "rand" or settings.refine == "watershed"


def _states(chosen: Study, folder: Path) -> tuple[State, ...]:
    return tuple(running.state(folder, planned, chosen.score) for planned in chosen.runs())


def _work(chosen: Study, folder: Path, before: Sequence[State], say: Say) -> None:
    """Keeps so many runs going until none is left or the budget is spent."""
    todo = [state.planned for state in before if not state.over]
    jobs = chosen.jobs or os.cpu_count() or 1
    say.line(
        f"{chosen.title}: {len(before)} runs, {len(before) - len(todo)} of them done; "
        f"{jobs} at once"
    )
    started = time.monotonic()
    until = started + 60 * (chosen.budget_minutes or math.inf)
    waiting, busy, ended = list(reversed(todo)), list[Child](), 0
    try:
        while waiting or busy:
            while waiting and len(busy) < jobs and time.monotonic() < until:
                if child := running.start(folder, waiting.pop(), chosen.score, chosen.name):
                    busy.append(child)
            if not busy:
                break
            time.sleep(POLL)
            for child in [child for child in busy if child.process.poll() is not None]:
                busy.remove(child)
                running.end(child)
                ended += 1
                left = (time.monotonic() - started) / ended * (len(waiting) + len(busy))
                number = f"{len(before) - len(waiting) - len(busy)}/{len(before)}"
                say.line(
                    f"{number}  "
                    f"{_told(running.state(folder, child.planned, chosen.score), chosen.score)}; "
                    f"about {clock(left)} left"
                )
    except KeyboardInterrupt:
        running.interrupt(busy)
        raise


def _told(state: State, score: str | None) -> str:
    """One run in one line."""
    reached = f"{named(score)} {said(score, state.score, '{:.2%}'.format)}" if score else "done"
    how = {
        "done": f"{reached} in {clock(state.seconds)}",
        "diverged": f"diverged ({state.reason})",
        "failed": f"FAILED: {state.reason}",
    }
    return f"{state.planned.arm}, {state.planned.part}: {how.get(state.state, state.state)}"


def _concluded(result: Result, say: Say) -> Result:
    """The result with the comparison of what is finished, written to the study's folder."""
    from .compare import compare, write

    study, folder = result.study, result.folder
    arms = {
        arm: [state.folder for state in result.of(arm) if state.state == "done" and state.folder]
        for arm in study.arms
    }
    diverged = {
        arm: sum(state.state == "diverged" for state in result.of(arm)) for arm in study.arms
    }
    told = [arm for arm in study.arms if arms[arm] or diverged[arm]]
    if sum(map(bool, arms.values())) > 1:
        against = study.against if study.against and arms[study.against] else None
        comparison = compare(
            {arm: arms[arm] for arm in told},
            against,
            study.score,
            {arm: diverged[arm] for arm in told},
        )
        page = write(comparison, folder, study.title, _about(result))
        result = replace(result, comparison=comparison)
        say.line(f"page: {page}")
    write_json(folder / "study.json", result.to_json())
    return result


def _about(result: Result) -> dict[str, str]:
    """What stands above the findings."""
    study, lacking = result.study, [state for state in result.states if not state.over]
    about = {"question": study.question, "expected": study.expected}
    if study.seen:
        about["seen before"] = study.seen
    if lacking:
        names = "; ".join(
            f"{state.planned.arm}, {state.planned.part} ({state.state})" for state in lacking
        )
        about["missing"] = f"{len(lacking)} of {len(result.states)} runs: {names}"
    return about
