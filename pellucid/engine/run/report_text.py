"""The sentences of the report about the course of a training,
each made from the numbers that stand beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ...plots import formatting
from ...plots.formatting import percent


def _finite(epochs: Sequence[float], values: Sequence[float]) -> list[tuple[float, float]]:
    return [(e, v) for e, v in zip(epochs, values, strict=True) if math.isfinite(v)]


def of_loss(epochs: Sequence[float], training: Sequence[float], validation: Sequence[float]) -> str:
    """Overfitting, still improving, or level, by the validation loss alone; the training loss only
    tells the first kind apart."""
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
        return (
            f"{where} and rose to {last:.3g} while the training loss went on falling: from there "
            "on the network overfits."
        )
    if last > 1.1 * lowest:
        return (
            f"{where} and ended at {last:.3g} without the training loss falling: it was unsteady "
            "rather than overfitting."
        )
    before = min(v for _, v in seen[: max(1, round(0.8 * len(seen)))])
    if lowest < 0.97 * before:
        return (
            f"{where}, and in the last fifth of the training it still fell by "
            f"{percent(1 - lowest / before, 0)}: more epochs may help."
        )
    return (
        f"{where} and ended at {last:.3g}: level in the last fifth of the training, so more epochs "
        "alone would help little."
    )


def of_score(
    name: str,
    epochs: Sequence[float],
    training: Sequence[float],
    validation: Sequence[float],
    best: int | None,
) -> str:
    """name: of the score. A score that training does not have is NaN throughout."""
    seen = _finite(epochs, validation)
    said = ""
    if seen:
        at, value = next(
            ((e, v) for e, v in seen if e == best), max(seen, key=lambda pair: pair[1])
        )
        said = (
            f"Validation {formatting.named(name)} was {formatting.said(name, value, percent)} at "
            f"epoch {at:g}, whose weights are kept. "
        )
    fitted = _finite(epochs, training)
    if not fitted:
        return said.strip()
    if seen:
        gap = fitted[-1][1] - seen[-1][1]
        side = (
            "about level with"
            if abs(gap) < 0.01
            else f"{100 * abs(gap):.1f} points {'above' if gap > 0 else 'below'}"
        )
        said += f"At the end training is {side} validation. "
    measured = (
        "is measured on augmented batches while the weights still change, "
        "so the two are not quite alike."
    )
    return said + f"Training {formatting.named(name)} {measured}"


def of_total(epochs: Sequence[float], training: Sequence[float]) -> str:
    seen = _finite(epochs, training)
    (first, began), (last, ended) = seen[0], seen[-1]
    return (
        f"What learning makes small, on augmented batches: {began:.3g} in epoch {first:g}, "
        f"{ended:.3g} in epoch {last:g}."
    )
