"""Plots as SVG text: small, self-contained, with real text in them, right on light and on dark
paper (`svg.py` has the parts).

The palette is Okabe and Ito's (2008), which the colour-blind tell apart; lines are named where they
end, not in a legend.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from ..metrics.classification import BINS, confidence_bin
from ..metrics.significance import wilson
from . import svg

COLOURS = ("a", "b")
# The same eight for several lines; on light paper the pale ones are darkened, so that a name can be
# read in its line's colour.
MANY = {
    "c0": ("#0072b2", "#56b4e9"),
    "c1": ("#d55e00", "#ff8a45"),
    "c2": ("#008763", "#2fc99b"),
    "c3": ("#b4558c", "#e59fc9"),
    "c4": ("#a87400", "#f0b429"),
    "c5": ("#2b8fc7", "#9ecbff"),
    "c6": ("#7d7600", "#f0e442"),
    "c7": ("#22262a", "#e4e6e8"),
}
MANY_STYLE = (
    "".join(f".plot .{name}{{color:{light}}}" for name, (light, _) in MANY.items())
    + (
        f"@media screen and (prefers-color-scheme:dark){{"
        f"{''.join(f'.plot .{name}{{color:{dark}}}' for name, (_, dark) in MANY.items())}}}"
    )
    + ".plot "
    ".drawn{fill:none;stroke:currentColor;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}"
    ".plot .filled,.plot text.filled{fill:currentColor}.plot "
    ".band{fill:currentColor;fill-opacity:.13}"
    ".plot .faint{stroke-width:1;opacity:.5;color:var(--soft)}.plot .dashed{stroke-dasharray:5 4}"
)


def curves(
    series: Mapping[str, Sequence[float | None]],
    title: str,
    x: Sequence[float] | None = None,
    x_name: str = "epoch",
    percent: bool = False,
    mark: tuple[float, str] | None = None,
    grounded: bool = True,
) -> str:
    """Up to two lines over the same x (1, 2, 3, … by default), each named at its end; None or NaN
    leaves a gap.

    percent: values are shares. mark: an x and what is to be said there. grounded: other values are
    seen against 0, and on a logarithmic y-axis, which says so, when they are positive and reach
    over more than a factor of 30.
    """
    x = list(range(1, 1 + max(map(len, series.values())))) if x is None else list(x)
    lines = {
        name: [math.nan if v is None else float(v) for v in values]
        for name, values in series.items()
    }
    known = [v for values in lines.values() for v in values if math.isfinite(v)] or [0.0]
    log = not percent and grounded and min(known) > 0 and max(known) > 30 * min(known)
    width, height, left, top, bottom = 440.0, 280.0, 46.0, 44.0, 36.0
    right = 18 + max(svg.width_of(name) for name in lines)
    levels = _levels(known, log, percent, grounded)
    across = svg.Scale(min(x), max(x) if max(x) > min(x) else min(x) + 1, left + 8, width - right)
    low, high = min(levels[0], *known), max(levels[-1], *known)
    up = svg.Scale(low, high if high > low else low + 1, height - bottom, top, log)
    parts = [svg.text(0, 14, title + (" (log scale)" if log else ""), "ink bold")]
    for level in levels:
        parts += [
            svg.line(left, up(level), width - right, up(level), "hair"),
            svg.text(left - 8, up(level) + 4, svg.number(level, percent), "end"),
        ]
    for at in svg.whole_ticks(min(x), max(x)):
        parts.append(svg.text(across(at), height - bottom + 18, f"{at:g}", "mid"))
    parts.append(svg.text(width - right, height - 3, x_name, "end"))
    if mark:
        at = across(mark[0])
        parts.append(svg.line(at, top - 4, at, height - bottom, "rule", ' stroke-dasharray="2 3"'))
        parts.append(
            svg.text(min(at, width - right - svg.width_of(mark[1]) / 2), top - 9, mark[1], "mid")
        )
    ends = []
    for (name, values), colour in zip(lines.items(), COLOURS, strict=False):
        points = [
            (across(a), up(v)) if math.isfinite(v) else None
            for a, v in zip(x, values, strict=False)
        ]
        parts += _line_with_end(points, colour)
        if last := next((point for point in reversed(points) if point), None):
            ends.append((last[1], name, colour))
    for y, name, colour in _apart(ends, 15):
        parts.append(svg.text(width - right + 9, y + 4, name, f"bold {colour}"))
    return svg.document(width, height, title, parts)


def _line_with_end(points: Sequence[tuple[float, float] | None], colour: str) -> list[str]:
    """A line and a dot at its last point."""
    parts = [f'<path d="{svg.path(points)}" class="line {colour}"/>']
    if last := next((point for point in reversed(points) if point), None):
        parts.append(f'<circle cx="{last[0]:.1f}" cy="{last[1]:.1f}" r="3" class="{colour}"/>')
    return parts


def _levels(known: list[float], log: bool, percent: bool, grounded: bool = True) -> list[float]:
    """The marks of a y-axis. A loss is seen against 0; a share among its own values, and never
    without some space below."""
    if log:
        levels = svg.decades(min(known), max(known))
    else:
        least = min(0.0, *known) if grounded else min(known)
        levels = svg.ticks(min(min(known), max(known) - 0.1) if percent else least, max(known))
    return [level for level in levels if 0 <= level <= 1] or levels if percent else levels


def _apart(ends: list[tuple[float, str, str]], least: float) -> list[tuple[float, str, str]]:
    """Labels moved so that two of them never overlap."""
    ends = sorted(ends)
    if len(ends) == 2 and ends[1][0] - ends[0][0] < least:
        middle = (ends[0][0] + ends[1][0]) / 2
        ends = [(middle - least / 2, *ends[0][1:]), (middle + least / 2, *ends[1][1:])]
    return ends


def confusion(
    matrix: Sequence[Sequence[int]] | np.ndarray,
    classes: Sequence[str],
    title: str = "Confusion matrix",
) -> str:
    """Rows are the truth, columns the answers; each row is shaded by its shares: right answers in
    blue, wrong ones in orange, which is stretched to the largest share of errors so that rare ones
    are seen. Numbers are left out above 25 classes."""
    cells = np.asarray(matrix, np.int64)
    count = len(classes)
    shares = cells / np.maximum(cells.sum(axis=1, keepdims=True), 1)
    worst = max(float((shares * (1 - np.eye(count))).max()), 1e-9)
    side = float(np.clip(460 / count, 9, 46))
    most = 130.0
    names = [svg.shortened(name, most) for name in classes]
    longest = max(map(svg.width_of, names))
    turned = longest > side - 4
    left, top = longest + 14, (longest * 0.72 + 30 if turned else 44) + 4
    width = left + side * count + (longest * 0.72 if turned else 4)
    parts = [svg.text(0, 12, "truth ↓  answer →")]
    small = f' style="font-size:{min(12.0, side * 0.95):.1f}px"'
    for c, name in enumerate(names):
        middle = side * (c + 0.5)
        parts.append(svg.text(left - 8, top + middle + 4, name, "ink end", small))
        where = f' transform="rotate(-45 {left + middle + 3:.1f} {top - 7:.1f})"' if turned else ""
        parts.append(
            svg.text(
                left + middle + (3 if turned else 0),
                top - 7,
                name,
                "ink" if turned else "ink mid",
                small + where,
            )
        )
    parts.append(
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{side * count:.1f}" '
        f'height="{side * count:.1f}" class="hair"/>'
    )
    for row, column in zip(*np.nonzero(cells), strict=True):
        share, right = float(shares[row, column]), row == column
        strength = share if right else 0.12 + 0.88 * share / worst
        tip = f"{classes[row]} called {classes[column]}: {cells[row, column]}"
        x, y = left + side * column, top + side * row
        parts.append(_confusion_cell(x, y, side, strength, right, tip))
        if count <= 25:
            size = f' style="font-size:{min(12.0, side * 0.42):.1f}px" pointer-events="none"'
            css, text = f"mid {'on' if strength > 0.85 else 'ink'}", f"{cells[row, column]}"
            parts.append(svg.text(x + side / 2, y + side / 2 + 4, text, css, size))
    return svg.document(width, top + side * count + 4, title, parts)


def _confusion_cell(x: float, y: float, side: float, strength: float, right: bool, tip: str) -> str:
    gap = min(1.0, side / 20)
    box = (
        f'x="{x + gap:.1f}" y="{y + gap:.1f}" width="{side - 2 * gap:.1f}" '
        f'height="{side - 2 * gap:.1f}" rx="{side / 14:.1f}"'
    )
    return (
        f'<rect {box} class="{"a" if right else "b"}" '
        f'fill-opacity="{strength:.2f}"><title>{escape(tip)}</title></rect>'
    )


def reliability(confidence: np.ndarray, correct: np.ndarray, title: str = "Calibration") -> str:
    """Share of right answers against confidence, in the 15 bins of the calibration error, with
    Wilson intervals; below, how many answers each bin holds. Points under the diagonal: surer than
    right."""
    confidence, correct = np.asarray(confidence, np.float64), np.asarray(correct, bool)
    bins = confidence_bin(confidence)
    left, top, side, low, strip = 46.0, 34.0, 290.0, 24.0, 44.0
    base = top + side
    floor = base + low + strip
    across, up = svg.Scale(0, 1, left, left + side), svg.Scale(0, 1, base, top)
    parts = [svg.text(0, 14, "Right answers against confidence", "ink bold")]
    for level in (0, 0.25, 0.5, 0.75, 1):
        parts += [
            svg.line(left, up(level), left + side, up(level), "hair"),
            svg.text(left - 8, up(level) + 4, svg.number(level, True), "end"),
        ]
        parts.append(svg.text(across(level), floor + 16, svg.number(level, True), "mid"))
    parts.append(svg.line(across(0), up(0), across(1), up(1), "rule", ' stroke-dasharray="2 3"'))
    counts = np.bincount(bins, minlength=BINS)
    for b in np.flatnonzero(counts):
        inside = bins == b
        x, share = across(float(confidence[inside].mean())), float(correct[inside].mean())
        ends = wilson(int(correct[inside].sum()), int(counts[b]))
        parts.append(svg.line(x, up(ends[0]), x, up(ends[1]), "line a", ' stroke-opacity=".55"'))
        tip, radius = (
            f"{counts[b]} answers, {share:.1%} right",
            2.5 + 3 * math.sqrt(counts[b] / counts.max()),
        )
        parts.append(
            f'<circle cx="{x:.1f}" cy="{up(share):.1f}" r="{radius:.1f}" '
            f'class="a"><title>{tip}</title></circle>'
        )
        tall = max(1.0, strip * counts[b] / counts.max())
        bar = (
            f'x="{across(b / BINS) + 1:.1f}" y="{floor - tall:.1f}" width="{side / BINS - 2:.1f}" '
            f'height="{tall:.1f}"'
        )
        parts.append(f'<rect {bar} class="a" fill-opacity=".35"/>')
    parts += [
        svg.line(left, floor, left + side, floor, "hair"),
        svg.text(left, base + 16, f"answers (up to {counts.max():,} in a bin)"),
    ]
    parts.append(svg.text(left + side, floor + 33, "confidence", "end"))
    return svg.document(left + side + 24, floor + 40, title, parts)


@dataclass(frozen=True)
class Line:
    """A curve of several. low and high: a band about it. colour: of MANY, or None for one that is
    only there, thin, grey and unnamed."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    colour: str | None
    dashed: bool = False
    low: Sequence[float] = ()
    high: Sequence[float] = ()


def overlay(
    lines: Sequence[Line],
    title: str,
    x_name: str,
    percent: bool = False,
    above: tuple[str, float] | None = None,
) -> str:
    """Lines over one x-axis, each named at its end; names never overlap. Scales are as in `curves`;
    a point is a finite x and y.

    above: a second axis on top, its name and how many units of x are one of it, as ("epoch", 1078).
    """
    lines = [line for line in lines if len(line.x)]
    known = [
        float(v) for line in lines for v in (*line.y, *line.low, *line.high) if math.isfinite(v)
    ] or [0.0]
    xs = [float(v) for line in lines for v in line.x] or [0.0, 1.0]
    log = not percent and min(known) > 0 and max(known) > 30 * min(known)
    levels = _levels(known, log, percent)
    named = [line for line in lines if line.colour]
    right = 18 + max([svg.width_of(svg.shortened(line.name, 150)) for line in named], default=0)
    left, top, bottom, plot = 50.0, 58.0 if above else 34.0, 36.0, 340.0
    width, height = left + plot + right, top + max(210.0, 15.0 * len(named)) + bottom
    low, high = min(levels[0], *known), max(levels[-1], *known)
    across = svg.Scale(
        min(xs), max(xs) if max(xs) > min(xs) else min(xs) + 1, left + 8, left + plot
    )
    up = svg.Scale(low, high if high > low else low + 1, height - bottom, top, log)
    parts = [
        f"<style>{MANY_STYLE}</style>",
        svg.text(0, 14, title + (" (log scale)" if log else ""), "ink bold"),
    ]
    for level in levels:
        parts += [
            svg.line(left, up(level), left + plot, up(level), "hair"),
            svg.text(left - 8, up(level) + 4, svg.number(level, percent), "end"),
        ]
    parts += [
        *_axis(across, height - bottom + 18, 1.0),
        svg.text(left + plot, height - 3, x_name, "end"),
    ]
    if above:
        parts += [
            *_axis(across, top - 8, above[1]),
            svg.text(left + plot, top - 24, above[0], "end"),
        ]
    ends = []
    for line in sorted(lines, key=lambda line: line.colour is not None):
        parts += _drawn(line, across, up)
        finite = [v for v in line.y if math.isfinite(v)]
        if line.colour and finite:
            ends.append((up(finite[-1]), svg.shortened(line.name, 150), line.colour))
    for y, (_, name, colour) in zip(
        _spread([end[0] for end in ends], 15, top, height - bottom), ends, strict=True
    ):
        parts.append(svg.text(left + plot + 9, y + 4, name, f"bold filled {colour}"))
    return svg.document(width, height, title, parts)


def _axis(across: svg.Scale, y: float, unit: float) -> list[str]:
    """Numbers of an axis whose one is `unit` of the scale; few enough to stand apart."""
    low, high = across.low / unit, across.high / unit
    marks = [
        t
        for t in svg.ticks(low, high, 5)
        if low - 1e-9 <= t <= high + 1e-9 and (t == int(t) or high - low < 2)
    ]
    return [svg.text(across(mark * unit), y, _thousands(mark), "mid") for mark in marks]


def _thousands(value: float) -> str:
    return (
        f"{value / 1e6:g} M"
        if value >= 1e6
        else f"{value / 1e3:g} k"
        if value >= 1e4
        else f"{value:g}"
    )


def _drawn(line: Line, across: svg.Scale, up: svg.Scale) -> list[str]:
    points = [
        (across(x), up(y)) if math.isfinite(y) else None
        for x, y in zip(line.x, line.y, strict=True)
    ]
    css = f"drawn {line.colour or 'faint'}{' dashed' if line.dashed else ''}"
    parts = [
        f'<path d="{svg.path(points)}" class="{css}"><title>{escape(line.name)}</title></path>'
    ]
    if (
        line.colour
        and len(line.low)
        and max(b - a for a, b in zip(line.low, line.high, strict=True)) > 0
    ):
        edge = [
            *zip(line.x, line.high, strict=True),
            *reversed(list(zip(line.x, line.low, strict=True))),
        ]
        parts.insert(
            0,
            f'<path d="{svg.path([(across(x), up(y)) for x, y in edge])}Z" class="band '
            f'{line.colour}"/>',
        )
    last = next((point for point in reversed(points) if point), None)
    if line.colour and last:
        parts.append(
            f'<circle cx="{last[0]:.1f}" cy="{last[1]:.1f}" r="3" class="filled {line.colour}"/>'
        )
    return parts


def _spread(wanted: Sequence[float], least: float, low: float, high: float) -> list[float]:
    """Places at least `least` apart, in the order wanted and as near to it as can be (least
    squares); between low and high where there is room."""
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    # Without their gaps the places need only not decrease, which pools of equal places do (isotonic
    # regression).
    pools: list[list[float]] = []
    for rank, i in enumerate(order):
        pools.append([wanted[i] - rank * least])
        while len(pools) > 1 and np.mean(pools[-2]) > np.mean(pools[-1]):
            pools[-2:] = [pools[-2] + pools[-1]]
    flat = [float(np.mean(pool)) for pool in pools for _ in pool]
    most = max(low, high - least * (len(wanted) - 1))
    placed = dict(
        zip(
            order,
            (min(max(v, low), most) + rank * least for rank, v in enumerate(flat)),
            strict=True,
        )
    )
    return [placed[i] for i in range(len(wanted))]


@dataclass(frozen=True)
class Mark:
    """A value with its interval and what stands at the right of it;
    None leaves the point or the line out."""

    name: str
    value: float | None
    low: float | None
    high: float | None
    said: str


def forest(
    rows: Sequence[Mark], title: str, x_name: str, zero: float | None = None, strong: str = ""
) -> str:
    """Values with their intervals, one below the other. zero: where a rule stands.
    strong: the name of the row in blue."""
    known = [v for row in rows for v in (row.value, row.low, row.high, zero) if v is not None] or [
        0.0,
        1.0,
    ]
    marks = svg.ticks(min(known), max(known), 5)
    left = 24 + max(svg.width_of(svg.shortened(row.name, 300)) for row in rows)
    plot, top, step = 340.0, 30.0, 26.0
    right = 20 + max(svg.width_of(row.said) for row in rows)
    base = top + step * len(rows)
    across = svg.Scale(marks[0], marks[-1], left, left + plot)
    parts = [svg.text(0, 14, title, "ink bold")]
    for mark in marks:
        parts += [
            svg.line(across(mark), top, across(mark), base, "hair"),
            svg.text(across(mark), base + 17, f"{mark:.6g}".replace("-", "\u2212"), "mid"),
        ]
    if zero is not None:
        parts.append(svg.line(across(zero), top, across(zero), base, "rule"))
    parts.append(svg.text(left + plot, base + 34, x_name, "end"))
    for i, row in enumerate(rows):
        y, colour = top + step * (i + 0.5), "a" if row.name == strong else "b"
        parts += [
            svg.text(left - 14, y + 4, svg.shortened(row.name, 300), "ink end"),
            svg.text(left + plot + 16, y + 4, row.said),
        ]
        if row.low is not None and row.high is not None:
            parts.append(svg.line(across(row.low), y, across(row.high), y, f"line {colour}"))
        if row.value is not None:
            parts.append(
                f'<circle cx="{across(row.value):.1f}" cy="{y:.1f}" r="4.5" class="{colour}"/>'
            )
    return svg.document(left + plot + right, base + 40, title, parts)
