"""After the last step: the best weights, the evidence, the baselines, the report."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ...core.files import write_json, write_text
from ...core.types import Prediction
from ...plots import formatting
from ...tasks.task import Metric, Task
from ..inference.ensemble import scored
from ..inference.evaluate import SCORING, predictions
from . import checkpoint, folders, machine, pretrained, processes, report
from .checkpoint import State
from .loop import average
from .prepare import PARTS, Prepared
from .progress import Say


def finish(
    prepared: Prepared, state: State, where: torch.device, folder: Path, reading: float, say: Say
) -> dict[str, Any]:
    """Scores the best weights once on the test part and writes what a finished run holds;
    its summary."""
    room, network, recipe = prepared.room, state.network, prepared.recipe
    network.load_state_dict(state.best)
    started = time.perf_counter()
    validation, test = prepared.part("validation"), prepared.part("test")
    machine.place(network, where, machine.memory_format(SCORING))
    room = room.finish(validation.targets, predictions(room, network, validation, SCORING, where))
    answers = {
        part: predictions(room, network, views, SCORING, where)
        for part, views in (("validation", validation), ("test", test))
    }
    evaluation = time.perf_counter() - started
    beside = _without_average(prepared, state, room, answers["test"], where)
    if processes.rank() > 0:
        return {}
    started = time.perf_counter()
    metrics = {
        part: scored(room, views, answers[part])
        for part, views in (("validation", validation), ("test", test))
    }
    evidence = {part: metric.result() for part, metric in metrics.items()}
    rivals, against = (
        _baselines(prepared, metrics["test"], say)
        if recipe.baselines and room.has_baselines
        else ({}, None)
    )
    summary: dict[str, Any] = {
        "task": room.name,
        "name": folder.name,
        "model": recipe.model,
        "design": room.design,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "epochs_run": len(state.history),
        "best_epoch": state.best_epoch,
        "seconds": {
            "reading": round(reading, 2),
            "training": round(state.seconds, 2),
            "evaluation": round(evaluation, 2),
            "baselines": round(time.perf_counter() - started, 2),
        },
        "test": evidence["test"],
        "validation": evidence["validation"],
        "baselines": rivals,
        "against_best_baseline": against,
        **beside,
    }
    checkpoint.save_model(
        folder / "model",
        room,
        network,
        {"name": folder.name, "test": evidence["test"], **pretrained.credited(folder)},
    )
    write_text(folder / "predictions.csv", folders.table(metrics["test"].rows()))
    if (errors := room.draw(test.samples, answers["test"])) is not None:
        folders.write_picture(folder / "samples" / "errors.png", errors)
    write_json(folder / "summary.json", summary)
    report.write(folder)
    # Last of all: a run without a checkpoint is a finished one.
    (folder / "checkpoint.safetensors").unlink(missing_ok=True)
    _tell(metrics["test"], summary, folder, say)
    return summary


def _tell(ours: Metric, summary: dict[str, Any], folder: Path, say: Say) -> None:
    for line in ours.sentences(summary):
        say.line(line)
    if "ema" in summary:
        say.line(f"average:  {_gained(summary['ema'])}")
    say.line(f"report:   {folder / 'report.html'}")
    say.line(f"next:     pellucid predict {folder} PICTURES")


def _without_average(
    prepared: Prepared, state: State, room: Task, ours: Sequence[Prediction], where: torch.device
) -> dict[str, dict[str, Any]]:
    """What averaged weights gained on the test part over the weights as they were in
    the same epoch."""
    if not state.plain:
        return {}
    test = prepared.part("test")
    state.network.load_state_dict(state.plain)
    theirs = predictions(room, state.network, test, SCORING, where)
    state.network.load_state_dict(state.best)
    gained = scored(room, test, ours).gain(scored(room, test, theirs))
    return {"ema": gained | {"seconds": _cost_of_average(state, prepared.recipe.ema or 0.0)}}


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
    prepared: Prepared, ours: Metric, say: Say
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Evidence of each free baseline, and the paired test of ours against the one that is best on
    the test part."""
    room = prepared.room
    parts = {part: prepared.part(part) for part in PARTS}
    say.line("scoring free baselines on the same split")
    found, best = {}, None
    for name, about, answers in room.baselines(
        {part: (v.pixels()[0], v.samples) for part, v in parts.items()}, prepared.recipe.seed
    ):
        metrics = {part: scored(room, parts[part], given) for part, given in answers.items()}
        found[name] = about | {part: metric.result() for part, metric in metrics.items()}
        if best is None or metrics["test"].quick()["score"] > best[1].quick()["score"]:
            best = name, metrics["test"]
    return found, {"baseline": best[0]} | ours.against(best[1]) if best else None
