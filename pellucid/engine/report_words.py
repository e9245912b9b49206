"""The sentences of the report, each made from the numbers that stand beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Score = Mapping[str, Any]
NARROW = "\u202f"


def percent(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else f"{100 * value:.{digits}f}{NARROW}%"


def interval(score: Score) -> str:
    """`97.2–99.6`, in percent; nothing where there is none."""
    return "" if score.get("low") is None else f"{100 * score['low']:.1f}–{100 * score['high']:.1f}"


def count(number: float | None) -> str:
    """61706 → `61 706`, 416520000 → `416.5 million`."""
    if number is None:
        return "–"
    for size, name in ((1e9, "billion"), (1e6, "million")):
        if abs(number) >= 10 * size or (size == 1e9 and abs(number) >= size):
            return f"{number / size:.1f} {name}"
    return f"{number:,.0f}".replace(",", NARROW)


def clock(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s"
    hours, minutes = int(seconds // 3600), int(seconds % 3600 // 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {int(seconds % 60)} s"


def by(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape))


def chance(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def plural(number: int, one: str) -> str:
    return f"{number} {one}" if number == 1 else f"{count(number)} {one}s"


def pictures(evidence: Mapping[str, Any]) -> int:
    return int(np.sum(evidence["confusion"]))


def verdict(summary: Mapping[str, Any]) -> str:
    """How the network stands against the best free baseline."""
    against, baselines = summary.get("against_best_baseline"), summary.get("baselines") or {}
    if not against or not baselines:
        return "No free baseline was scored beside it."
    name = against.get("baseline") or max(baselines, key=lambda b: baselines[b]["test"]["accuracy"]["value"])
    said = f"The best free baseline, {name}, gets {percent(baselines[name]['test']['accuracy']['value'])}"
    ours, theirs, p = against["only_a"], against["only_b"], against["p"]
    if ours + theirs == 0:
        return f"{said}; the two are right and wrong on exactly the same pictures."
    if p >= 0.05:
        return f"{said}; the difference could be chance ({chance(p)})."
    if ours > theirs:
        return f"{said}; the network is better by more than chance explains ({chance(p)})."
    return f"{said} and is better than the network by more than chance explains ({chance(p)}): use the baseline, or train differently."


def duel(against: Mapping[str, Any]) -> str:
    ours, theirs = against["only_a"], against["only_b"]
    return (
        f"On {plural(ours, 'picture')} only the network is right, on {count(theirs)} only {against.get('baseline', 'the best baseline')}"
        f" ({against['test']}: {chance(against['p'])})."
    )


def _finite(epochs: Sequence[float], values: Sequence[float]) -> list[tuple[float, float]]:
    return [(e, v) for e, v in zip(epochs, values, strict=True) if math.isfinite(v)]


def loss_curves(epochs: Sequence[float], training: Sequence[float], validation: Sequence[float]) -> str:
    """Overfitting, still improving, or level, by the validation loss alone; the training loss only tells the first kind apart."""
    seen = _finite(epochs, validation)
    if len(seen) < 4:
        return "Too few epochs to see a course."
    lowest_at, lowest = min(seen, key=lambda pair: pair[1])
    last = seen[-1][1]
    fitted = _finite(epochs, training)
    at_lowest = [v for e, v in fitted if e <= lowest_at][-1:]
    fell_on = bool(at_lowest) and fitted[-1][1] < 0.98 * at_lowest[0]
    where = f"The validation loss was lowest at epoch {lowest_at:g} ({lowest:.3g})"
    if last > 1.1 * lowest and fell_on:
        return f"{where} and rose to {last:.3g} while the training loss went on falling: from there on the network overfits."
    if last > 1.1 * lowest:
        return f"{where} and ended at {last:.3g} without the training loss falling: it was unsteady rather than overfitting."
    before = min(v for _, v in seen[: max(1, round(0.8 * len(seen)))])
    if lowest < 0.97 * before:
        return f"{where}, and in the last fifth of the training it still fell by {percent(1 - lowest / before, 0)}: more epochs may help."
    return f"{where} and ended at {last:.3g}: level in the last fifth of the training, so more epochs alone would help little."


def accuracy_curves(epochs: Sequence[float], training: Sequence[float], validation: Sequence[float], best: int | None) -> str:
    seen = _finite(epochs, validation)
    said = ""
    if seen:
        at, value = next(((e, v) for e, v in seen if e == best), max(seen, key=lambda pair: pair[1]))
        said = f"Validation accuracy was {percent(value)} at epoch {at:g}, whose weights are kept. "
    fitted = _finite(epochs, training)
    if seen and fitted:
        gap = fitted[-1][1] - seen[-1][1]
        side = "about level with" if abs(gap) < 0.01 else f"{100 * abs(gap):.1f} points {'above' if gap > 0 else 'below'}"
        said += f"At the end training is {side} validation. "
    return said + "Training accuracy is measured on augmented batches while the weights still change, so the two are not quite alike."


def confusions(matrix: Sequence[Sequence[int]], classes: Sequence[str]) -> str:
    cells = np.asarray(matrix)
    wrong = cells * (1 - np.eye(len(cells), dtype=int))
    if wrong.sum() == 0:
        return "No test picture was answered wrongly."
    row, column = divmod(int(wrong.argmax()), len(cells))
    worst = int(wrong[row, column])
    share = f"{worst} of {cells[row].sum()} ({percent(worst / cells[row].sum())})"
    if (wrong == worst).sum() > 1 and worst == 1:
        return f"{plural(int(wrong.sum()), 'error')}, no confusion more than once."
    return f"The most frequent of {plural(int(wrong.sum()), 'error')}: {classes[row]} called {classes[column]}, {share}. {SHADES}"


SHADES = "Right answers are blue, errors orange; the orange is stretched so that rare errors are seen."


def calibration(confidence: np.ndarray, correct: np.ndarray, error: Score | None) -> str:
    mean, right = float(confidence.mean()), float(correct.mean())
    said = f"On average the answers claim {percent(mean)} and {percent(right)} of them are right"
    if not error or error.get("value") is None:
        return said + "."
    said += f". Expected calibration error {percent(error['value'])} (95{NARROW}% interval {interval(error)})"
    floor = error.get("by_chance")
    if floor is None:
        return said + "."
    if error["low"] == 0:
        return f"{said}: no more than chance gives a perfectly calibrated network ({percent(floor)} on average)."
    tendency = "surer than it is right" if mean > right else "right more often than it claims"
    return f"{said}; chance alone would give {percent(floor)}, so the network is {tendency}."
