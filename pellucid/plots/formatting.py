"""Numbers as a page says them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Score = Mapping[str, Any]
# Scores that are not called by their keys.
NAMES = {
    "map": "mAP@.5:.95",
    "map50": "mAP@.5",
    "f1": "F1",
    "recall100": "recall of 100 boxes",
    "psnr": "PSNR",
    "ssim": "SSIM",
}
NAMES |= {"dice": "Dice", "iou": "IoU", "rand": "Rand score"}
NAMES |= {
    "psnr_bicubic": "PSNR of bicubic",
    "ssim_bicubic": "SSIM of bicubic",
    "psnr_gain": "PSNR gain",
    "ssim_gain": "SSIM gain",
}
# Scores that are no shares: the digits after their point, and their unit.
NO_SHARES = {"psnr": (2, "dB"), "ssim": (4, "")}
NARROW = "\u202f"


def named(score: str, title: bool = False) -> str:
    """balanced_accuracy → `balanced accuracy`, map50 → `mAP@.5`;
    as a title with a capital where it is a word."""
    said = NAMES.get(score, score.replace("_", " "))
    return said[0].upper() + said[1:] if title and score not in NAMES else said


def percent(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else f"{100 * value:.{digits}f}{NARROW}%"


def said(score: str, value: float | None, share: Callable[[float], str] = percent) -> str:
    """A value as `share` says it; that of a score which is no share as it is: `32.61 dB`."""
    if value is None or score not in NO_SHARES:
        return "–" if value is None else share(value)
    digits, unit = NO_SHARES[score]
    return f"{value:.{digits}f} {unit}".strip()


def difference(score: str, value: float) -> str:
    """`+1.25 points`; of a score that is no share `+0.31 dB`."""
    digits, unit = NO_SHARES.get(score, (2, "points"))
    return f"{value if score in NO_SHARES else 100 * value:+.{digits}f} {unit}".strip()


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
