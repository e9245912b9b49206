"""Epochs until ASHA has a setting as good as random search's best: five studies, both on the same
sampled settings in the same order.

Fixed beforehand: as good means a trial of full length whose validation score is at least random
search's best less one standard error of that score, √(p(1−p)/n) on n validation pictures. Random
search trains every setting to the end, and is charged for all of them: until then its best is not
known. ASHA is charged for every epoch it trained up to the end of that trial. Where it has used up
random search's settings it samples more, until it has spent as many epochs as random search: then
the ratio is 1, and the study counts as lost. A second figure charges random search too only until
it first had a setting as good, which nobody knows while it runs.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Iterable, Iterator
from typing import Any

import optuna

from pellucid.core.errors import NonFiniteLoss
from pellucid.engine.run import machine
from pellucid.engine.run import settings as configuration
from pellucid.engine.run.prepare import Prepared, prepare
from pellucid.engine.run.progress import Say
from pellucid.engine.run.trial import epochs
from pellucid.experiments import space, tune, tune_plan
from pellucid.tasks import TASKS

STUDIES, TRIALS, EPOCHS = 5, 27, 27
SEARCH = {
    "lr": "log:1e-4..1",
    "batch": "log:32..256",
    "weight_decay": "log:1e-5..1",
    "optimizer": "adamw,sgd",
}
SETTINGS: dict[str, Any] = {
    "model": "C8 B R P C16 B R G L10",
    "threads": 1,
    "epochs": EPOCHS,
    "train_pictures": 400,
}
# as `pellucid tune` has it where trials are stopped early
SETTINGS["schedule"] = tune_plan.PRUNED_SCHEDULE


def settings_of(seed: int) -> Iterator[dict[str, Any]]:
    """The settings that `pellucid tune --sampler random --seed SEED` tries, in its order,
    without end."""
    study = optuna.create_study(direction="maximize")
    plan = tune_plan.Plan("digits", space.parse(SEARCH), {"seed": seed}, "random", "none")
    for number in itertools.count():
        study.sampler = tune.sampler_of(plan, number)
        trial = study.ask()
        yield {axis.name: axis.suggest(trial) for axis in plan.axes}


def scores(prepared: Prepared, chosen: dict[str, Any]) -> Iterator[float]:
    """The best validation score so far, after each epoch; ends early where it diverges."""
    seed, best = prepared.settings.seed, tune.WORST
    given = SETTINGS | chosen | {"seed": seed, "split_seed": seed}
    again = prepared.again(configuration.of(TASKS["classification"], given))
    try:
        for row in epochs(again, machine.device("cpu")):
            best = max(best, row["validation_score"])
            yield best
    except NonFiniteLoss:
        return


def asha(curves: Iterable[Iterable[float]], wanted: float, most: int) -> int:
    """The epochs that ASHA trains until a trial of full length scores `wanted`; `most` where it
    does not get there with so many.

    A trial's epochs are the same whether others were stopped or not, so those that random search
    trained need not be trained again.
    """
    study = optuna.create_study(direction="maximize", pruner=tune.pruner_of("asha", EPOCHS))
    spent = 0
    for curve in curves:
        trial, epoch, score = study.ask(), 0, tune.WORST
        for epoch, score in enumerate(curve, 1):
            spent += 1
            trial.report(score, epoch)
            if epoch < EPOCHS and trial.should_prune():
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                break
        else:
            study.tell(trial, score if epoch == EPOCHS else tune.WORST)
            if epoch == EPOCHS and score >= wanted:
                return spent
        if spent >= most:
            break
    return most


def study(seed: int) -> tuple[float, float]:
    """How many times fewer epochs ASHA took than random search; and than random search until it
    first had a setting as good."""
    started = time.perf_counter()
    prepared = prepare("digits", SETTINGS | {"seed": seed}, Say(quiet=True))
    settings = settings_of(seed)
    curves = [list(scores(prepared, chosen)) for chosen in itertools.islice(settings, TRIALS)]
    ends = [curve[-1] if len(curve) == EPOCHS else tune.WORST for curve in curves]
    best, pictures = max(ends), len(prepared.part("validation"))
    wanted = best - (best * (1 - best) / pictures) ** 0.5
    everything = sum(map(len, curves))
    until = sum(
        len(curve)
        for curve in curves[: 1 + next(number for number, end in enumerate(ends) if end >= wanted)]
    )
    spent = asha(
        itertools.chain(curves, (scores(prepared, chosen) for chosen in settings)),
        wanted,
        everything,
    )
    print(
        f"study {seed}: random's best {best:.2%}, wanted {wanted:.2%}; random {everything} epochs "
        f"({until} until it first had one), "
        f"ASHA {spent}: {everything / spent:.2f} × fewer ({until / spent:.2f}); "
        f"{time.perf_counter() - started:.0f} s",
        flush=True,
    )
    return everything / spent, until / spent


def main() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    ratios, early = zip(*(study(seed) for seed in range(STUDIES)), strict=True)
    mean = statistics.mean(ratios)
    print(
        f"ASHA: mean ratio {mean:.2f} (from {min(ratios):.2f} to {max(ratios):.2f})   wanted >= 3: "
        f"{'yes' if mean >= 3 else 'NO'}; "
        f"against random search until it first had one {statistics.mean(early):.2f}"
    )


if __name__ == "__main__":
    main()
