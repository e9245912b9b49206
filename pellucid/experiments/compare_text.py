"""The sentences of a comparison: what can and cannot be concluded,
each made from the numbers that stand beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..metrics.significance import Score
from ..plots import formatting
from ..plots.formatting import interval, plural
from .arms import Arm
from .comparison import LEVEL, Comparison, Difference

# So many arms are named in the summary; more are counted.
MOST = 6
MINUS = "\u2212"
# Half an interval reaches 1.96 standard errors; what is seen four times in five lies 1.96 + 0.84 of
# them from 0.
SEEN = (1.96 + 0.84) / 1.96
ONE_RUN = (
    "One run shows how far chance in the choice of test pictures reaches, not what another seed "
    "would give; three seeds or more with the "
    "same --split-seed show both."
)
SCOPE = {
    "pictures": "real for these two trained networks; other seeds were not tried",
    "seeds": "real for this data and these settings, over seeds and test pictures",
    "splits": "real for this data and these settings, over splits",
}


def name_of(score: str) -> str:
    return formatting.named(score)


def unit(score: str) -> str:
    """`points`, of a score that is no share its own: `dB`, or none."""
    return formatting.NO_SHARES[score][1] if score in formatting.NO_SHARES else "points"


def points(share: float, score: str = "accuracy") -> str:
    """0.0312 → `3.1`; of a score that is no share as it is: 0.31 dB → `0.31`."""
    if score in formatting.NO_SHARES:
        return f"{abs(share):.{formatting.NO_SHARES[score][0]}f}"
    return f"{100 * abs(share):.1f}" if abs(share) >= 0.00095 else f"{100 * abs(share):.2f}"


def sized(share: float, score: str) -> str:
    """`3.1 points`, `0.31 dB`."""
    return f"{points(share, score)} {unit(score)}".strip()


def chance(p: float) -> str:
    """`p = 0.0502`: with as many digits as show on which side of LEVEL it lies."""
    digits = next((d for d in range(2, 9) if float(f"{p:.{d}g}") != LEVEL), 2)
    return formatting.chance(p) if digits == 2 else f"p = {p:.{digits}g}"


def signed(share: float, score: str = "accuracy") -> str:
    return ("+" if share > 0 else MINUS if share < 0 else "") + points(share, score)


def reach(difference: Difference, score: str = "accuracy") -> str:
    """` (+0.4 to +5.8)`."""
    if difference.low is None or difference.high is None:
        return ""
    return f" ({signed(difference.low, score)} to {signed(difference.high, score)})"


def conclusion(difference: Difference, arm: Arm, against: str, score: str, tests: int) -> str:
    said = f"{arm.name}: {_finding(difference, against, score, tests)}"
    if arm.diverged:
        said += (
            f" {plural(arm.diverged, 'further run')} of it diverged and "
            f"{'is' if arm.diverged == 1 else 'are'} not in these figures."
        )
    return said


def _finding(difference: Difference, against: str, score: str, tests: int) -> str:
    called = name_of(score)
    p, alone = chance(difference.adjusted), chance(difference.p)
    corrected = f" after Holm's correction over {tests} arms" if tests > 1 else ""
    direction = "higher" if difference.mean > 0 else "lower"
    size = f"{sized(difference.mean, score)} {direction}{reach(difference, score)} than {against}"
    if difference.mean == 0:
        size = f"the same as that of {against}{reach(difference, score)}"
    if difference.mean == 0 and difference.low == difference.high:
        return (
            f"{called} is exactly that of {against}, and nothing varies: "
            "no difference can be claimed."
        )
    if difference.claimed:
        return (
            f"{called} is {size}; {p}{corrected}: the difference is "
            f"{SCOPE[difference.kind]}{_lent(difference, against)}."
        )
    if difference.low is None or difference.high is None:
        return (
            f"{called} is {size} in every run alike, which leaves nothing to judge chance by: no "
            "difference can be claimed."
        )
    least = sized(SEEN * (difference.high - difference.low) / 2, score)
    unseen = f"with these runs a difference under about {least} could easily be missed"
    if difference.p < LEVEL:
        return (
            f"{called} is {size}; {alone} alone but {p}{corrected}: among so many arms no "
            f"difference can be claimed, and {unseen}."
        )
    return f"{called} is {size}; {p}{corrected}: no difference can be claimed, and {unseen}."


def _lent(difference: Difference, against: str) -> str:
    """What is taken for granted where one of the two has a single run."""
    runs = difference.detail.get("runs", ())
    if 1 not in runs:
        return ""
    single, other = (difference.arm, against) if runs[0] == 1 else (against, difference.arm)
    return (
        f" (of {single} there is one run: its seeds are taken to vary as much as those of {other})"
    )


def all_diverged(arm: Arm) -> str:
    if not arm.diverged:
        return f"{arm.name}: has no finished run."
    runs = "its only run" if arm.diverged == 1 else f"all {arm.diverged} runs"
    return (
        f"{arm.name}: {runs} diverged (the loss was no longer finite), "
        "so nothing is learnt with these settings."
    )


def summary(comparison: Comparison) -> str:
    """Which arms are better or worse than the reference, for which nothing can be claimed,
    and which diverged."""
    reference = comparison.reference
    reached = figure(reference.test, comparison.score)
    if len(comparison.arms) == 1:
        return (
            f"The {name_of(comparison.score)} of {reference.name} is {reached}; "
            "there is nothing to compare it with."
        )
    better = [d.arm for d in comparison.differences if d.claimed and d.mean > 0]
    worse = [d.arm for d in comparison.differences if d.claimed and d.mean < 0]
    open_ = [d.arm for d in comparison.differences if not d.claimed]
    lost = [arm.name for arm in comparison.arms if not arm.runs]
    parts = [
        f"{_listed(names)} {_is(names)} {how}"
        for names, how in ((better, "better"), (worse, "worse"))
        if names
    ]
    parts += [f"for {_listed(open_)} no difference can be claimed"] if open_ else []
    parts += [f"{_listed(lost)} diverged"] if lost else []
    hedge = (
        ", as these networks are trained; other seeds were not tried"
        if {d.kind for d in comparison.differences} == {"pictures"}
        else ""
    )
    return (
        f"Against {reference.name} ({name_of(comparison.score)} {reached}), "
        f"{'; '.join(parts)}{hedge}."
    )


def figure(found: Score, score: str = "accuracy") -> str:
    """`97.1 % (95.8–98.2)`, `32.61 dB (31.90–33.25)`."""
    return formatting.said(score, found["value"]) + (
        f" ({between(found, score)})" if found.get("low") is not None else ""
    )


def between(found: Score, score: str) -> str:
    """`95.8–98.2`; nothing where there is no interval."""
    if score not in formatting.NO_SHARES or found.get("low") is None:
        return interval(found)
    digits = formatting.NO_SHARES[score][0]
    return f"{found['low']:.{digits}f}–{found['high']:.{digits}f}"


def _listed(names: Sequence[str]) -> str:
    """All of them by name, or how many: a sentence of twenty names says nothing."""
    if len(names) > MOST:
        return f"{len(names)} arms"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _is(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"


def setting(value: Any) -> str:
    if value is None:
        return "–"
    return (
        "×".join(map(str, value))
        if isinstance(value, list)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )
