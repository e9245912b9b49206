"""What the figures are drawn with: axes in a frame of pixels, lines, dots and contours, in the
style of `plots/svg.py`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape, unescape
from pathlib import Path
from typing import Any

import numpy as np

from ...core.files import write_text
from ...plots import svg

# Two more of Okabe and Ito's colours, for four lines at once, and lines in all of them.
MORE = (
    ".plot{--c:#009e73;--d:#b0558c}"
    "@media screen and (prefers-color-scheme:dark){.plot{--c:#35c79a;--d:#e39cc6}}"
    ".plot .c{fill:var(--c)}.plot .d{fill:var(--d)}.plot .line.c{fill:none;stroke:var(--c)}.plot "
    ".line.d{fill:none;stroke:var(--d)}"
    ".plot .thin{stroke-width:1.3}.plot .rule{stroke-width:1}.plot .wide{stroke-width:2.6}.plot "
    ".head{font-size:15px;font-weight:600}"
    ".plot .level{fill:none;stroke:var(--soft);stroke-opacity:.45;stroke-width:.8}.plot "
    ".ring{fill:none;stroke:var(--ink);stroke-width:1.4}"
)
COLOURS = ("a", "b", "c", "d")
Points = Sequence[tuple[float, float]] | np.ndarray


def write_svg(
    path: Path, size: tuple[float, float], title: str, caption: str, parts: Sequence[str]
) -> Path:
    """A figure of width × height pixels with its title at the top; the caption is its description.
    Returns the path."""
    width, height = size
    box = f'viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}"'
    head = (
        '<svg xmlns="http://www.w3.org/2000/svg" class="plot" role="img" '
        f"{box}><title>{escape(title)}</title>"
    )
    body = svg.text(0, 16, title, "ink head") + "".join(parts)
    write_text(
        path, f"{head}<desc>{escape(caption)}</desc><style>{svg.STYLE}{MORE}</style>{body}</svg>\n"
    )
    return path


def caption(path: Path) -> str:
    """The sentence that a figure says of itself."""
    found = re.search(r"<desc>(.*?)</desc>", path.read_text(encoding="utf-8"))
    return unescape(found[1]) if found else ""


@dataclass(frozen=True)
class Panel:
    """A rectangle of pixels with two axes. x, y: lowest and highest value;
    a logarithmic axis needs both above 0."""

    left: float
    top: float
    width: float
    height: float
    x: tuple[float, float]
    y: tuple[float, float]
    log_x: bool = False
    log_y: bool = False

    @property
    def right(self) -> float:
        return self.left + self.width

    @property
    def base(self) -> float:
        return self.top + self.height

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Pixels of a point."""
        across = svg.Scale(*self.x, self.left, self.right, self.log_x)
        return across(x), svg.Scale(*self.y, self.base, self.top, self.log_y)(y)

    def frame(
        self,
        x_name: str,
        y_name: str,
        x_ticks: Sequence[float] = (),
        y_ticks: Sequence[float] = (),
        name: str = "",
        percent: bool = False,
    ) -> list[str]:
        """Hair lines at the y-ticks, numbers, the axes' names (the y-axis' stands above it) and the
        panel's own name above that."""
        across = x_ticks or _inside(svg.ticks(*self.x), self.x)
        up = y_ticks or _inside(svg.ticks(*self.y), self.y)
        parts = (
            [svg.text(self.left, self.top - (26 if y_name else 10), name, "ink bold")]
            if name
            else []
        )
        parts.append(svg.text(self.left, self.top - 9, y_name))
        for value in up:
            y = self.at(self.x[0], value)[1]
            parts += [
                svg.line(self.left, y, self.right, y, "hair"),
                svg.text(self.left - 8, y + 4, _label(value, self.log_y, percent), "end"),
            ]
        for value in across:
            parts.append(
                svg.text(
                    self.at(value, self.y[0])[0], self.base + 18, _label(value, self.log_x), "mid"
                )
            )
        return [*parts, svg.text(self.right, self.base + 36, x_name, "end")]

    def line(self, points: Points, css: str, extra: str = "") -> str:
        return (
            f'<path d="{svg.path([self.at(float(x), float(y)) for x, y in points])}" class="line '
            f'{css}"{extra}/>'
        )

    def dots(self, points: Points, css: str, radius: float = 2.2, opacity: float = 1.0) -> str:
        places = [self.at(float(x), float(y)) for x, y in points]
        round_ = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}"/>' for x, y in places)
        return f'<g class="{css}"{_opacity(opacity)}>{round_}</g>'

    def name(
        self, x: float, y: float, text: str, css: str, move: tuple[float, float] = (0, 4)
    ) -> str:
        """A text at a point, moved by so many pixels."""
        across, down = self.at(x, y)
        return svg.text(across + move[0], down + move[1], text, css)

    def contours(self, x: np.ndarray, y: np.ndarray, z: np.ndarray, levels: Sequence[float]) -> str:
        """Lines of equal height over the grid x × y; z has a row for each y."""
        from contourpy import contour_generator

        lines: Any = contour_generator(x, y, z)
        drawn = "".join(
            svg.path([self.at(*point) for point in line])
            for level in levels
            for line in lines.lines(level)
        )
        return f'<path d="{drawn}" class="level"/>'

    def region(self, x: np.ndarray, y: np.ndarray, z: np.ndarray, css: str, opacity: float) -> str:
        """Where z is above 0, filled; z has a row for each y."""
        from contourpy import FillType, contour_generator

        filled: Any = contour_generator(x, y, z, fill_type=FillType.OuterOffset).filled(
            0.0, max(float(z.max()), 1e-9)
        )
        areas, offsets = filled
        rings = [
            area[a:b]
            for area, ends in zip(areas, offsets, strict=True)
            for a, b in zip(ends[:-1], ends[1:], strict=True)
        ]
        drawn = "".join(svg.path([self.at(*point) for point in ring]) + "Z" for ring in rings)
        return f'<path d="{drawn}" class="{css}" fill-rule="evenodd"{_opacity(opacity)}/>'


def end_names(panel: Panel, ends: Sequence[tuple[float, str, str]], least: float = 15) -> list[str]:
    """Names right of the panel, at each (y value, name, colour),
    moved down so that two never overlap."""
    parts, last = [], -1e9
    for y, name, colour in sorted(
        (panel.at(panel.x[1], value)[1], name, colour) for value, name, colour in ends
    ):
        last = max(y, last + least)
        parts.append(svg.text(panel.right + 9, last + 4, name, f"bold {colour}"))
    return parts


def decades(low: int, high: int, step: int = 1) -> list[float]:
    return [10.0**power for power in range(low, high + 1, step)]


def _opacity(value: float) -> str:
    return "" if value == 1 else f' opacity="{value:g}"'


def _inside(values: Sequence[float], limits: tuple[float, float]) -> list[float]:
    slack = 1e-9 * (limits[1] - limits[0])
    return [value for value in values if limits[0] - slack <= value <= limits[1] + slack]


_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def _label(value: float, log: bool, percent: bool = False) -> str:
    """A number of an axis, with a true minus sign; a far power of ten as one."""
    if log and not 0.01 <= value <= 1000:
        return f"10{str(round(np.log10(value))).translate(_RAISED)}"
    return svg.number(value, percent).replace("-", "−")
