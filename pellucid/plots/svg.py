"""What every plot is made of, as SVG text: lines, words, scales and their round numbers; one style
for light and dark paper."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

STYLE = (
    ".plot{font:12px/1 system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu "
    "Sans',sans-serif;font-variant-numeric:tabular-nums;"
    "--ink:#22262a;--soft:#666d75;--hair:#e3e5e8;--a:#0072b2;--b:#d55e00;--on:#fff}"
    "@media screen and "
    "(prefers-color-scheme:dark){.plot{--ink:#e4e6e8;--soft:#9aa2aa;--hair:#31363b;--a:#56b4e9;--b:#f0a13c;--on:#111}}"
    ".plot text{fill:var(--soft)}.plot .ink{fill:var(--ink)}.plot .on{fill:var(--on)}"
    ".plot .hair{stroke:var(--hair);fill:none}.plot .rule{stroke:var(--soft);fill:none}"
    ".plot .a{fill:var(--a)}.plot .b{fill:var(--b)}.plot "
    ".line{fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}"
    ".plot .line.a{fill:none;stroke:var(--a)}.plot .line.b{fill:none;stroke:var(--b)}"
    ".plot .end{text-anchor:end}.plot .mid{text-anchor:middle}.plot .bold{font-weight:600}"
)


def document(width: float, height: float, title: str, parts: Sequence[str]) -> str:
    size = f'viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}"'
    head = (
        '<svg xmlns="http://www.w3.org/2000/svg" class="plot" role="img" '
        f'aria-label="{escape(title)}" {size}>'
    )
    return f"{head}<title>{escape(title)}</title><style>{STYLE}</style>{''.join(parts)}</svg>\n"


def text(x: float, y: float, text: str, css: str = "", extra: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{css}"{extra}>{escape(text)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, css: str, extra: str = "") -> str:
    return f'<path d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}" class="{css}"{extra}/>'


def width_of(text: str) -> float:
    """About how wide 12-pixel text is, on the generous side."""
    return sum(
        12.5 if unicodedata.east_asian_width(c) in "WF" else 0 if unicodedata.combining(c) else 6.9
        for c in text
    )


def shortened(text: str, most: float) -> str:
    if width_of(text) <= most:
        return text
    while text and width_of(text) > most - 8:
        text = text[:-1]
    return text.rstrip() + "…"


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers from at or below `low` to at or above `high`: steps of 1, 2,
    2.5 or 5 times a power of ten."""
    span = high - low if high > low else max(abs(high), 1.0)
    raw = span / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil((low + span) / step - 1e-9)
    return [round(k * step, 12) for k in range(first, last + 1)]


@dataclass(frozen=True)
class Scale:
    """Numbers to pixels, straight or logarithmic."""

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high, value = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        return self.start + (value - low) / (high - low) * (self.stop - self.start)


def path(points: Sequence[tuple[float, float] | None]) -> str:
    text, pen = [], "M"
    for point in points:
        if point:
            text.append(f"{pen}{point[0]:.1f} {point[1]:.1f}")
        pen = "L" if point else "M"
    return "".join(text)


def decades(low: float, high: float) -> list[float]:
    """Powers of ten, and where there would be few of them 2 and 5 times those."""
    powers = [10.0**k for k in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)]
    levels = [power * m for power in powers for m in ((1, 2, 5) if high < 300 * low else (1,))]
    return [level for level in levels if low * 0.8 <= level <= high * 1.25]


def whole_ticks(low: float, high: float) -> list[float]:
    if high - low <= 6:
        return [float(k) for k in range(math.ceil(low), math.floor(high) + 1)]
    return [
        low,
        *(t for t in ticks(low, high) if t == int(t) and low + (high - low) / 12 < t <= high),
    ]


def number(value: float, percent: bool) -> str:
    return f"{value * 100:.4g} %" if percent else f"{value:.6g}"
