"""The learning-rate range test (Smith 2017): the rate rises from nothing to far too much within one
short training, and the loss tells.

Below some rate nothing is learned, above another one the loss explodes; a good rate lies between.
What is suggested is a tenth of the rate at which the smoothed loss is least: there training is
fast, and a decade away from where it breaks. The rate of steepest descent, which others suggest, is
written too; it depends on a few steps and on the smoothing, and the noise of the first steps alone
can win.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..core.errors import NonFiniteLoss, UsageError
from ..core.rng import generator
from ..engine.run import folders, machine
from ..engine.run import settings as configuration
from ..engine.run.loop import steps
from ..engine.run.prepare import Prepared, prepare, with_weights
from ..engine.run.progress import Say
from ..engine.run.trial import begun
from ..plots import svg
from . import tune_page

LOW, HIGH, STEPS = 1e-7, 10.0, 300
SMOOTHING = 0.9
# The test ends where the smoothed loss is so many times the least one.
EXPLODED = 4.0


@dataclass(frozen=True)
class LrRange:
    """The test's folder and what its `lr_range.json` says."""

    path: Path
    summary: dict[str, Any]


def lr_range(
    data: str | Path | None = None,
    *,
    recipe: str | Path | None = None,
    name: str | None = None,
    quiet: bool = False,
    **settings: Any,
) -> LrRange:
    """Measures the loss of training pictures while the rate rises from 1e-7 to 10 in about 300
    steps; writes `runs/lr_range/<name>[-N]/`.

    settings: those of `pellucid.train`; model, batch, optimizer and augmentation count as they do
    in training, what says how the rate moves does not. Raises what `pellucid.train` does.
    """
    if recipe is not None:
        named, from_file = configuration.load(Path(recipe))
        data, settings = data or named, from_file | settings
    if data is None:
        raise UsageError(
            "no data: say what to train on, as in `pellucid tune my_photos/ --lr-range`"
        )
    configuration.check(settings)
    given, weights = with_weights(settings, data)
    say = Say(quiet)
    where = machine.device(given.get("device"))
    prepared = prepare(data, given, say, weights=weights)
    rates, losses = _measured(prepared, where)
    if not rates:
        raise UsageError(f"lr_range: {prepared.task.name} has no training steps; leave it out")
    smooth = smoothed(losses)
    least = rates[int(np.argmin(smooth))]
    suggested = float(f"{least / 10:.2g}")
    summary = {
        "suggestion": suggested,
        "least_loss_at": least,
        "steepest_at": steepest(rates, smooth),
        "steps": len(rates),
        "exploded": exploded(smooth),
        "command": tune_page.command(data, settings | {"lr": suggested}),
    }
    rows = [
        {"lr": f"{rate:.6g}", "loss": f"{loss:.6g}", "smoothed": f"{mean:.6g}"}
        for rate, loss, mean in zip(rates, losses, smooth, strict=True)
    ]
    files = {
        "curve.csv": folders.table(rows),
        "curve.svg": curve(rates, losses, smooth, suggested),
        "lr_range.json": json.dumps(summary, indent=2, ensure_ascii=False),
    }
    folder = folders.create("lr_range", name or prepared.dataset.name, files)
    say.line(
        f"suggested learning rate: {suggested:.2g} (a tenth of the one with the least "
        f"loss)\ncurve:  {folder / 'curve.svg'}"
    )
    say.line(f"next:   {summary['command']}")
    return LrRange(folder, summary)


def _measured(prepared: Prepared, where: torch.device) -> tuple[list[float], list[float]]:
    """Rate and loss of each step, as far as the loss stays within bounds."""
    rates: list[float] = []
    losses: list[float] = []
    with torch.random.fork_rng(devices=[]):
        prepared, state = begun(prepared, where)
        own = prepared.settings
        assert own.batch is not None
        views = prepared.part("train")
        # Of many pictures, only as many as the steps will see.
        views = views.part(
            np.sort(generator(own.seed).permutation(len(views))[: STEPS * own.batch])
        )
        # An epoch of few images may have more steps than it takes to see each once.
        epoch = prepared.training.batches(views.samples, views.counts, 0, generator(own.seed, 0))
        length = math.ceil(STEPS / max(1, len(epoch)))
        ramp = {"schedule": "ramp", "lr": HIGH, "lr_low": LOW, "warmup": 0.0, "epochs": length}
        settings = own.model_copy(update=ramp)
        with machine.threads(own.threads):
            try:
                for step in steps(prepared.training, views, settings, state, where):
                    rates.append(step.lr)
                    losses.append(step.losses.get("loss", step.losses["total"]))
                    if exploded(smoothed(losses)):
                        break
            except NonFiniteLoss:
                if not losses:
                    raise
    return rates, losses


def smoothed(values: Sequence[float], keep: float = SMOOTHING) -> list[float]:
    """The exponential moving average, freed of its start at zero as in Adam (Kingma
    and Ba 2015)."""
    mean, out = 0.0, []
    for number, value in enumerate(values, 1):
        mean = keep * mean + (1 - keep) * value
        out.append(mean / (1 - keep**number))
    return out


def exploded(smooth: Sequence[float]) -> bool:
    return smooth[-1] > EXPLODED * min(smooth)


def steepest(rates: Sequence[float], smooth: Sequence[float]) -> float:
    """The rate, up to that of the least loss, at which the smoothed loss falls fastest, by the
    logarithm of the rate."""
    end = int(np.argmin(smooth)) + 1
    if end < 3:
        return rates[0]
    return rates[int(np.argmin(np.gradient(np.asarray(smooth[:end]), np.log(rates[:end]))))]


def curve(
    rates: Sequence[float], losses: Sequence[float], smooth: Sequence[float], suggested: float
) -> str:
    """Loss against rate on a logarithmic axis: dots are steps, the line is smoothed, the dotted
    line is the suggestion."""
    left, right, top, bottom, width, height = 46.0, 24.0, 58.0, 36.0, 560.0, 320.0
    # A loss far above where training began says no more than that it exploded.
    ceiling = min(max(losses), 1.5 * smooth[0])
    levels = svg.ticks(0, ceiling)
    across = svg.Scale(LOW, HIGH, left + 8, width - right, log=True)
    up = svg.Scale(levels[0], levels[-1], height - bottom, top)
    parts = [svg.text(0, 14, "Training loss while the learning rate rises", "ink bold")]
    for level in levels:
        parts += [
            svg.line(left, up(level), width - right, up(level), "hair"),
            svg.text(left - 8, up(level) + 4, f"{level:g}", "end"),
        ]
    for power in range(round(math.log10(LOW)), round(math.log10(HIGH)) + 1):
        parts.append(
            svg.text(
                across(10.0**power),
                height - bottom + 18,
                f"1e{power}" if power < -2 else f"{10.0**power:g}",
                "mid",
            )
        )
    parts.append(svg.text(width - right, height - 3, "learning rate", "end"))
    dots = [
        (across(rate), up(loss))
        for rate, loss in zip(rates, losses, strict=True)
        if 0 <= loss <= levels[-1]
    ]
    parts += [
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="1.6" class="a" fill-opacity=".35"/>' for x, y in dots
    ]
    line = [
        (across(rate), up(loss)) if loss <= levels[-1] else None
        for rate, loss in zip(rates, smooth, strict=True)
    ]
    parts.append(f'<path d="{svg.path(line)}" class="line a"/>')
    at = across(max(suggested, LOW))
    parts.append(svg.line(at, top - 6, at, height - bottom, "rule", ' stroke-dasharray="2 3"'))
    parts.append(
        svg.text(
            min(max(at, left + 60), width - right - 60),
            top - 14,
            f"suggested: {suggested:.2g}",
            "mid ink",
        )
    )
    return svg.document(width, height, "Learning-rate range test", parts)
