"""Difference quotients of a function of named numbers, to hold derivatives against."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

AGREE = 1e-5
EPSILON = sys.float_info.epsilon


@dataclass(frozen=True)
class Quotient:
    """derivative: as claimed; central: (f(x + step) − f(x − step)) / 2·step;
    difference: of the two, relative."""

    derivative: float
    central: float
    step: float
    difference: float


@dataclass(frozen=True)
class Check:
    """names: how many there are; quotients: of those that could be checked.
    reason: why some or all were not."""

    names: int
    quotients: Mapping[str, Quotient]
    reason: str = ""

    @property
    def worst(self) -> tuple[str, Quotient] | None:
        return max(self.quotients.items(), key=lambda item: item[1].difference, default=None)

    @property
    def agrees(self) -> bool:
        """No derivative that was checked is off by more than 1e-5, relative."""
        return self.worst is None or self.worst[1].difference <= AGREE

    def to_json(self) -> dict[str, Any]:
        checked = {name: vars(quotient) for name, quotient in self.quotients.items()}
        largest = self.worst[1].difference if self.worst else None
        return {
            "agrees": self.agrees if self.worst else None,
            "largest": largest,
            "checked": checked,
            "of": self.names,
            "reason": self.reason,
        }


def check(
    at: Callable[[str, float], float | None], claimed: Mapping[str, tuple[float, float]], names: int
) -> Check:
    """claimed: (where, derivative) of each name. at(name, x): the function with that one number
    changed, None where it may not be asked."""
    found, left_out = {}, []
    for name, (x, derivative) in claimed.items():
        best = central(partial(at, name), x)
        if best is None:
            left_out.append(name)
            continue
        quotient, step, size = best
        # A derivative of almost 0 is held against what the function would lose by one part in a
        # million of its size.
        scale = max(abs(derivative), abs(quotient), 1e-6 * size / max(abs(x), 1.0))
        found[name] = Quotient(
            derivative, quotient, step, abs(derivative - quotient) / scale if scale else 0.0
        )
    reason = f"no step was small enough for {', '.join(left_out[:5])}" if left_out else ""
    return Check(names, found, reason)


def central(f: Callable[[float], float | None], x: float) -> tuple[float, float, float] | None:
    """(quotient, step, |f|) at the step with the least error to be expected; None where f is not
    defined around x.

    Steps go from 1e-2 to 1e-10 times |x| and times 1. Large ones suffer from curvature, which shows
    as a change from one step to the next; small ones from rounding, ε·|f|/step.
    """
    steps = sorted(
        {size * 10.0**-power for size in (abs(x), 1.0) if size for power in range(2, 11)},
        reverse=True,
    )
    tried: list[tuple[float, float, float]] = []
    for step in steps:
        high, low = x + step, x - step
        above, below = f(high), f(low)
        if above is not None and below is not None and high > low:
            # Divided by the distance of what was really asked: x + step is rounded.
            tried.append(((above - below) / (high - low), step, max(abs(above), abs(below))))
    errors = [abs(b[0] - a[0]) + EPSILON * b[2] / b[1] for a, b in pairwise(tried)]
    return tried[1 + errors.index(min(errors))] if errors else None
