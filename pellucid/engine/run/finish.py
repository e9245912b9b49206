"""After the last step: the best weights, the evidence, the baselines, the report."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ...core.files import write_json, write_text
from ...core.types import Batch
from ...metrics import significance
from ...plots import formatting
from ...tasks.task import ModelSpec
from ..inference import model, records
from ..inference.ensemble import scored
from ..inference.infer import SCORING, predictions, slices
from . import folders, machine, pretrained, processes, report
from .batches import Views
from .checkpoint import State
from .facts import PARTS
from .loop import average
from .prepare import Prepared
from .progress import Say


@dataclass(frozen=True)
class EvaluatedPart:
    """A part of the data, as `Training.calibrate` gets it."""

    spec: ModelSpec
    network: nn.Module
    views: Views
    where: torch.device

    @property
    def targets(self) -> Any:
        return self.views.targets

    def batches(self) -> Iterator[Batch]:
        for few in slices(np.arange(len(self.views)), self.views):
            yield self.views.batch(few).to(self.where)

    def results(self) -> list[Any]:
        return predictions(self.spec, self.network, self.views, SCORING, self.where)


def finish(
    prepared: Prepared, state: State, where: torch.device, folder: Path, reading: float, say: Say
) -> dict[str, Any]:
    """Scores the best weights once on the test part and writes what a finished run holds; its
    summary."""
    network, started = state.network, time.perf_counter()
    if state.best:
        network.load_state_dict(state.best)
    spec = _calibrated(prepared, network, where)
    views = {part: prepared.part(part) for part in ("validation", "test")}
    results = {
        part: predictions(spec, network, shown, SCORING, where) for part, shown in views.items()
    }
    seconds = {"reading": reading, "training": state.seconds}
    seconds["evaluation"] = time.perf_counter() - started
    beside = _without_average(prepared, state, spec, results["test"], where)
    if processes.rank() > 0:
        return {}
    started = time.perf_counter()
    metrics = _scored(prepared, spec, views, results)
    evidence = {part: metrics[part].evidence() if metrics else {} for part in views}
    rivals, against = _baselines(prepared, spec, metrics, say)
    seconds["baselines"] = time.perf_counter() - started
    summary: dict[str, Any] = {
        "task": spec.task.name,
        "name": folder.name,
        "model": prepared.settings.model,
        "design": str(spec.architecture),
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "epochs_run": len(state.history),
        "best_epoch": state.best_epoch,
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
        "test": evidence["test"],
        "validation": evidence["validation"],
        "baselines": rivals,
        "against_best_baseline": against,
        **beside,
    }
    facts = {"name": folder.name, "test": evidence["test"], **pretrained.credited(folder)}
    model.save(folder / "model", spec, network, facts)
    _write_results(folder, metrics, results["test"])
    errors = spec.task.parts.report.error_sheet(
        views["test"].samples, results["test"], spec.inference
    )
    if errors is not None:
        folders.write_picture(folder / "samples" / "errors.png", errors)
    write_json(folder / "summary.json", summary)
    report.write(folder)
    # Last of all: a run without a checkpoint is a finished one.
    (folder / "checkpoint.safetensors").unlink(missing_ok=True)
    _tell(spec, summary, folder, say)
    return summary


def _calibrated(prepared: Prepared, network: nn.Module, where: torch.device) -> ModelSpec:
    """The model with the thresholds that validation suggests."""
    machine.place(network, where, machine.memory_format(SCORING))
    network.eval()
    spec = prepared.spec
    train, validation = (
        EvaluatedPart(spec, network, prepared.part(part), where) for part in PARTS[:2]
    )
    inference = prepared.training.calibrate(network, spec.inference, train, validation)
    return replace(spec, inference=inference)


def _scored(
    prepared: Prepared, spec: ModelSpec, views: dict[str, Views], results: dict[str, list[Any]]
) -> dict[str, Any]:
    """The metric of each part; nothing for a task without one."""
    if spec.task.parts.metric is None:
        return {}
    chosen_by = getattr(prepared.settings, "score", None)
    return {part: scored(spec, views[part], results[part], chosen_by) for part in views}


def _write_results(folder: Path, metrics: dict[str, Any], results: Sequence[Any]) -> None:
    """`predictions.csv`, and what `compare` needs of each image."""
    if not metrics:
        rows = [row for result in results for row in result.rows()]
        write_text(folder / "predictions.csv", folders.table(rows))
        return
    write_text(folder / "predictions.csv", folders.table(metrics["test"].rows()))
    records.save(folder / "evidence.safetensors", metrics["test"])


def _tell(spec: ModelSpec, summary: dict[str, Any], folder: Path, say: Say) -> None:
    for line in spec.task.parts.report.sentences(summary):
        say.line(line)
    if "ema" in summary:
        say.line(f"average:  {_gained(summary['ema'])}")
    say.line(f"report:   {folder / 'report.html'}")
    say.line(f"next:     pellucid predict {folder} PICTURES")


def _without_average(
    prepared: Prepared,
    state: State,
    spec: ModelSpec,
    ours: list[Any],
    where: torch.device,
) -> dict[str, dict[str, Any]]:
    """What averaged weights gained on the test part over the weights as they were in the same
    epoch."""
    if not state.plain or spec.task.parts.metric is None:
        return {}
    test = prepared.part("test")
    state.network.load_state_dict(state.plain)
    theirs = predictions(spec, state.network, test, SCORING, where)
    state.network.load_state_dict(state.best)
    chosen_by = getattr(prepared.settings, "score", None)
    both = [scored(spec, test, results, chosen_by) for results in (ours, theirs)]
    gained = significance.paired(both[0], both[1])
    return {"ema": gained | {"seconds": _cost_of_average(state, prepared.settings.ema or 0.0)}}


def _cost_of_average(state: State, decay: float, times: int = 20) -> float:
    """Seconds that averaging took of the training: those of a few more averages,
    for each step that there was."""
    started = time.perf_counter()
    for _ in range(times):
        average(state, decay, 0)
    return round((time.perf_counter() - started) / times * state.history[-1]["step"], 3)


def _gained(ema: dict[str, Any]) -> str:
    if ema["gain"]["value"] is None:
        return (
            "what averaging the weights gained is undefined: no test picture can tell; it cost "
            f"{ema['seconds']:.1f} s"
        )
    score, low = ema["score"], ema["gain"]["low"]
    value, *ends = (
        formatting.difference(score, ema["gain"][key] or 0.0) for key in ("value", "low", "high")
    )
    reach = (
        "no interval: too few pictures"
        if low is None
        else " to ".join(end.split()[0] for end in ends)
    )
    said = f"{value} ({reach}) of test {formatting.named(score)}"
    return f"averaging the weights gained {said} and cost {ema['seconds']:.1f} s"


def _baselines(
    prepared: Prepared, spec: ModelSpec, metrics: dict[str, Any], say: Say
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Evidence of each baseline, and the paired test of ours against the one that is best on the
    test part."""
    module = spec.task.parts.baselines
    if not (prepared.settings.baselines and metrics and module is not None):
        return {}, None
    if not module.applies(spec.preprocess, spec.inference):
        return {}, None
    say.line("scoring free baselines on the same split")
    views = {part: prepared.part(part) for part in PARTS}
    pixels = {part: (shown.pixels()[0], shown.samples) for part, shown in views.items()}
    found, best = {}, None
    seed = prepared.settings.seed
    for name, about, results in module.run(pixels, spec.preprocess, spec.inference, seed):
        theirs = _scored(prepared, spec, {part: views[part] for part in results}, results)
        found[name] = about | {part: metric.evidence() for part, metric in theirs.items()}
        score = theirs["test"].scores()["score"]
        if best is None or score > best[1]:
            best = name, score, theirs["test"]
    if best is None:
        return found, None
    return found, {"baseline": best[0]} | significance.paired(metrics["test"], best[2])
