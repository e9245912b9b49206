"""`pellucid tune`: many short trainings to choose the settings of a long one.

The trials of a study are made when it begins, all of them waiting; a process claims one after the
other (`claims.py`), so any number of processes share a study and none of it is lost or done twice.
A trial looks at training and validation images only. The winner is trained by `pellucid train`
when all trials are done, and that run alone is tested, once.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..core.errors import ModelError, NonFiniteLoss, PellucidError, UsageError
from ..core.rng import generator
from ..engine.run import folders, machine
from ..engine.run import settings as configuration
from ..engine.run.prepare import (
    FIXED_BY_DATA,
    Prepared,
    completed_by,
    initial,
    prepare,
    resolve_task,
    with_weights,
)
from ..engine.run.progress import Say
from ..engine.run.train import Interrupted, train
from ..engine.run.trial import epochs
from ..plots.formatting import said
from ..tasks.settings import SharedSettings, completed
from . import space
from .arms import known_score
from .claims import POLL, Claims, arguments, connected
from .tune_plan import Plan, make_plan

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

    from ..models.weights import Preprocessing

# One trial in three goes on from each rung to the next one, at 1, 3, 9, 27 … epochs (Li et al. 2020
# use 3 or 4).
REDUCTION = 3
# What a diverged trial scores: less than any that learned something.
WORST = 0.0
# So many sets of decoded images are kept: trials may ask for several sizes in turn.
DECODED = 2


@dataclass(frozen=True)
class Tuned:
    """The study's folder and what its `tune.json` says."""

    path: Path
    summary: dict[str, Any]


def tune(
    data: str | Path | None = None,
    search: Mapping[str, Any] | None = None,
    *,
    recipe: str | Path | None = None,
    sampler: str = "tpe",
    pruner: str = "asha",
    trials: int | None = None,
    storage: str | None = None,
    name: str | None = None,
    quiet: bool = False,
    **settings: Any,
) -> Tuned:
    """Searches settings by their validation score, trains with the best ones and tests that run
    once; writes `runs/tune/<name>/`.

    search: settings by name, each with a range or a list in the grammar of `experiments/space.py`.
    recipe: a TOML file of settings whose table [search] holds where none is given here. sampler:
    tpe (Bergstra et al. 2011), random, or grid, which tries every combination. pruner:
    asha (Li et al. 2020) or hyperband (Li et al. 2018) stop trials that fall behind, none stops
    none. storage: the address of a database that processes share; study.db in the folder by
    default. A study of this name goes on where it stands; trials: of all processes.
    settings: those of `pellucid.train`, the same for all trials. What is given here holds against
    the file, setting by setting. Raises what `pellucid.train` does, and UsageError when the study
    exists and is another one, or Optuna is not installed.
    """
    plan, trials = make_plan(data, search, recipe, sampler, pruner, trials, settings)
    say = Say(quiet)
    where = machine.device(plan.settings.get("device"))
    bench = Bench(plan, where, say)
    score = known_score(plan.settings.get("score"), bench.task)
    first = bench.prepared(plan.first())
    name = folders.slug(name or first.dataset.name)
    folder = folders.RUNS / "tune" / name
    identity = plan.identity(first.facts["fingerprint"])
    shared = Shared.opened(plan, storage, folder, name, first.settings, score, identity, trials)
    say.line(f"study {name}: {len(shared.trials())} trials of {plan}\nstudy folder: {folder}")
    try:
        with shared.claims.beating(), torch.random.fork_rng(devices=[]):
            _work(shared, bench, say)
            winner = _winner(shared, identity["pictures"], quiet)
    except (KeyboardInterrupt, Interrupted):
        done = sum(trial.state.is_finished() for trial in shared.trials())
        raise Interrupted(
            f"interrupted with {done} of {len(shared.trials())} trials done; "
            "the same command goes on from there"
        ) from None
    return Tuned(folder, _written(shared, plan, folder, name, winner, say))


class Bench:
    """Where trials are trained: images are decoded once a process, and again only where a trial
    wants other ones, or other views of them."""

    def __init__(self, plan: Plan, where: torch.device, say: Say) -> None:
        self.plan, self.where, self.say = plan, where, say
        self.task = resolve_task(plan.settings, plan.data)
        self._decoded: list[tuple[Any, Prepared]] = []

    def prepared(self, chosen: Mapping[str, Any]) -> Prepared:
        """For the settings of a trial."""
        given = {**self.plan.settings, **chosen}
        given, weights = with_weights(given, self.plan.data)
        settings = configuration.of(self.task, given)
        for wanted, decoded in self._decoded:
            if self._wants(settings, decoded, weights) == wanted:
                return decoded.again(settings)
        fresh = prepare(self.plan.data, given, self.say, weights=weights)
        wanted = self._wants(settings, fresh, weights)
        self._decoded = [*self._decoded, (wanted, fresh)][-DECODED:]
        return fresh

    def _wants(
        self, settings: SharedSettings, known: Prepared, weights: Preprocessing | None
    ) -> tuple[Any, ...]:
        """What decides which images are decoded, and how. known: any preparation of the data."""
        whole = completed_by(self.task, settings, known.dataset, known.heads)
        before = initial(self.task, whole, known.dataset, known.heads, weights)
        return before, *(getattr(whole, name) for name in FIXED_BY_DATA)

    def epochs(self, chosen: Mapping[str, Any]) -> Iterator[Mapping[str, float]]:
        return epochs(self.prepared(chosen), self.where)


@dataclass(frozen=True)
class Shared:
    """A study in its database, as any process sees it. full: epochs of a trial that is not stopped.
    score: by whose name it is said."""

    plan: Plan
    storage: BaseStorage
    name: str
    full: int
    score: str
    claims: Claims

    @staticmethod
    def opened(
        plan: Plan,
        address: str | None,
        folder: Path,
        name: str,
        first: SharedSettings,
        score: str,
        identity: dict,
        trials: int,
    ) -> Shared:
        """The study, begun or joined, with at least so many trials. first: the settings of one of
        them.

        Raises UsageError when it is another study, or cannot be opened."""
        engine = connected(address, folder)
        from optuna import create_study
        from optuna.storages import RDBStorage, get_storage
        from sqlalchemy.exc import SQLAlchemyError

        url = engine.url.render_as_string(hide_password=False)
        try:
            with Claims(engine, "").alone("tables"):
                storage = get_storage(RDBStorage(url, engine_kwargs=arguments(url)))
            claims = Claims(engine, name)
            with claims.alone("plan"):
                study = create_study(
                    study_name=name, storage=storage, direction="maximize", load_if_exists=True
                )
                _same(study.user_attrs.get("plan", {}), identity, name)
                study.set_user_attr("plan", identity)
                points = space.grid(plan.axes) if plan.sampler == "grid" else [{}] * trials
                for point in points[len(study.trials) :]:
                    study.enqueue_trial(point)
        except SQLAlchemyError as error:
            shown = engine.url.render_as_string()
            raise UsageError(
                f"storage: {shown}: cannot be used as a study's database "
                f"({str(error).splitlines()[0]})"
            ) from None
        return Shared(plan, storage, name, int(first.epochs or 1), score, claims)

    def trials(self) -> list[FrozenTrial]:
        return self.storage.get_all_trials(self._id(), deepcopy=False)

    def _id(self) -> int:
        return self.storage.get_study_id_from_name(self.name)

    def attribute(self, key: str) -> Any:
        return self.storage.get_study_user_attrs(self._id()).get(key)

    def study(self, number: int = 0) -> Study:
        """The study with the sampler of one trial."""
        from optuna import load_study

        chooser, stopper = sampler_of(self.plan, number), pruner_of(self.plan.pruner, self.full)
        return load_study(
            study_name=self.name, storage=self.storage, sampler=chooser, pruner=stopper
        )

    def next(self) -> Trial | None:
        """A trial that nobody runs, now claimed by this process; one whose process died keeps its
        settings and begins again."""
        from optuna import Trial
        from optuna.trial import TrialState

        waiting = {
            str(trial.number): trial for trial in self.trials() if not trial.state.is_finished()
        }
        for work in self.claims.free(waiting):
            if self.claims.take(work):
                trial_id = waiting[work]._trial_id
                if self.storage.get_trial(trial_id).state.is_finished():
                    self.claims.finished(work)
                    continue
                self.storage.set_trial_state_values(trial_id, TrialState.RUNNING)
                return Trial(self.study(int(work)), trial_id)
        return None


def _same(known: dict[str, Any], wanted: dict[str, Any], name: str) -> None:
    for key in wanted if known else ():
        if known[key] != wanted[key]:
            what = (
                "has other pictures"
                if key == "pictures"
                else f"has {key} {known[key]}, not {wanted[key]}"
            )
            raise UsageError(f"the study {name} {what}; choose another --name, or ask for the same")


def sampler_of(plan: Plan, number: int) -> BaseSampler:
    """The sampler of one trial: its random numbers follow from the seed and the trial's number,
    whoever runs it."""
    from optuna import samplers

    seed = int(generator(plan.settings.get("seed", 0), number).integers(2**31))
    if plan.sampler != "tpe":
        return samplers.RandomSampler(seed=seed)
    with warnings.catch_warnings():
        # Trials that run elsewhere count as bad ones meanwhile, so that two processes do not try
        # the same place.
        warnings.simplefilter("ignore")
        return samplers.TPESampler(seed=seed, constant_liar=True)


def pruner_of(name: str, full: int) -> BasePruner:
    """full: epochs of a trial that is not stopped."""
    from optuna import pruners

    if name == "asha":
        return pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=REDUCTION)
    if name == "hyperband":
        return pruners.HyperbandPruner(
            min_resource=1, max_resource=full, reduction_factor=REDUCTION
        )
    return pruners.NopPruner()


def _work(shared: Shared, bench: Bench, say: Say) -> None:
    """Runs trials until none is left, here or elsewhere."""
    while not all(trial.state.is_finished() for trial in shared.trials()):
        trial = shared.next()
        if trial is None:
            time.sleep(POLL)
            continue
        say.line(_run(trial, shared, bench.epochs))
        shared.claims.finished(str(trial.number))


def _run(
    trial: Trial,
    shared: Shared,
    train_epochs: Callable[[Mapping[str, Any]], Iterator[Mapping[str, float]]],
) -> str:
    """Trains one trial to its end, or as far as it is worth it, and tells the study;
    what is to be said of it."""
    from optuna.trial import TrialState

    chosen = {axis.name: axis.suggest(trial) for axis in shared.plan.axes}
    known = shared.storage.get_trial(trial._trial_id).intermediate_values
    best, epoch, outcome = WORST, 0, "finished"
    try:
        for row in train_epochs(chosen):
            # The score that training would keep if it ended here.
            epoch, best = int(row["epoch"]), max(best, row["validation_score"])
            if epoch not in known:
                trial.report(best, epoch)
            if epoch < shared.full and trial.should_prune():
                outcome = "stopped"
                break
    except NonFiniteLoss:
        best, outcome = WORST, "diverged"
    except (UsageError, ModelError) as error:
        outcome = f"failed: {error}"
    trial.set_user_attr("outcome", outcome)
    trial.set_user_attr("epochs", epoch)
    state = {
        "stopped": TrialState.PRUNED,
        "finished": TrialState.COMPLETE,
        "diverged": TrialState.COMPLETE,
    }.get(outcome, TrialState.FAIL)
    trial.study.tell(trial.number, best if state is TrialState.COMPLETE else None, state=state)
    return _line(
        trial.number,
        len(shared.trials()),
        chosen,
        said(shared.score, best, "{:.2%}".format),
        epoch,
        outcome,
    )


def _line(
    number: int, count: int, chosen: Mapping[str, Any], score: str, epoch: int, outcome: str
) -> str:
    settings = "  ".join(f"{key} {shown(value)}" for key, value in chosen.items())
    if outcome in ("finished", "stopped"):
        ended = score + (
            f"  stopped after {epoch} epoch{'s' * (epoch > 1)}" if outcome == "stopped" else ""
        )
    else:
        ended = f"diverged in epoch {epoch + 1}" if outcome == "diverged" else outcome
    return f"trial {number + 1:>3}/{count}  {settings}  {ended}"


def shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def best_of(trials: list[FrozenTrial]) -> FrozenTrial:
    """The trial of full length with the best validation score; of equals the first. Raises
    ModelError when no trial came to its end."""
    ends = [trial for trial in trials if trial.user_attrs.get("outcome") == "finished"]
    if not ends:
        reasons = [trial.user_attrs.get("outcome", "") for trial in trials]
        raise ModelError(
            "no trial came to its end, so there is no winner (the first one: "
            f"{reasons[0]}); change the space"
        )
    return max(ends, key=lambda trial: (trial.value, -trial.number))


def _winner(shared: Shared, pictures: str, quiet: bool) -> dict[str, Any]:
    """Trains and tests the winner, in one process of all; the others wait for it. What the study
    knows of it: trial, run, test."""
    trials = shared.trials()
    best, work = best_of(trials), f"winner of {len(trials)}"
    while (known := shared.attribute("winner")) is None or known["trial"] != best.number:
        if shared.claims.take(work):
            settings = shared.plan.settings | best.params
            begun = _unfinished(shared.name, shared.plan.data, settings, pictures)
            afresh = {"data": shared.plan.data, "name": shared.name, **settings}
            run = train(quiet=quiet, **({"resume": begun} if begun else afresh))
            # Evidence also counts things, and has tables; a score is what has an interval.
            evidence = (run.summary.get("test") or {}).items()
            test = {
                key: score
                for key, score in evidence
                if isinstance(score, dict) and "interval" in score
            }
            shared.study().set_user_attr(
                "winner", {"trial": best.number, "run": str(run.path), "test": test}
            )
            shared.claims.finished(work)
        else:
            time.sleep(POLL)
    return known


def _unfinished(
    name: str, data: str | Path, settings: Mapping[str, Any], pictures: str
) -> Path | None:
    """A run of this name, with these data, settings and pictures,
    that was begun and not brought to its end."""
    task = resolve_task(settings, data)
    wanted = configuration.of(task, with_weights(settings, data)[0])
    for folder in sorted([*folders.RUNS.glob(f"*/{name}"), *folders.RUNS.glob(f"*/{name}-[0-9]*")]):
        # What cannot be read is not resumed.
        with suppress(PellucidError):
            finished = (folder / "summary.json").exists() and not (
                folder / "checkpoint.safetensors"
            ).exists()
            found = configuration.of(task, configuration.load(folder / "recipe.toml")[1])
            known = folders.read_json(folder / "data.json")["fingerprint"]
            if (
                not finished
                and known == pictures
                and completed(wanted, found.model_dump()) == found
            ):
                return folder
    return None


def _written(
    shared: Shared, plan: Plan, folder: Path, name: str, winner: dict[str, Any], say: Say
) -> dict[str, Any]:
    from . import tune_page

    summary = tune_page.write(
        folder, name, plan, shared.trials(), shared.full, shared.score, winner
    )
    say.line(tune_page.conclusion(summary))
    return summary
