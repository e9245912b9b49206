"""The drawing of a network as SVG: blocks to scale, branches and skips, equal runs folded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from ...plots.svg import STYLE
from ..trace import Graph, by
from .layout import arrange
from .parts import SIZE, Block, Frame, Label, Mark, Wire, moved, text_width
from .structure import JOINS, WEIGHTED, items_of, structure

# Okabe and Ito's green, purple and sky beside the blue and orange of the plots.
OWN_STYLE = (
    ".drawing{--paper:#fff;--c:#009e73;--d:#a4528a;--e:#8b939b}"
    "@media screen and "
    "(prefers-color-scheme:dark){.drawing{--paper:#15181b;--c:#2cc09a;--d:#d694bd;--e:#7d858d}}"
    f".drawing{{font-size:{SIZE:g}px;max-width:100%;height:auto}}.drawing "
    f".paper{{fill:var(--paper)}}"
    ".drawing .conv{fill:var(--a)}.drawing .pool{fill:var(--b)}.drawing .up{fill:var(--c)}.drawing "
    ".dense{fill:var(--d)}"
    ".drawing .layer,.drawing .input{fill:var(--e)}.drawing "
    ".side{fill:#000;fill-opacity:.3}.drawing .top{fill:#fff;fill-opacity:.35}"
    ".drawing .way{stroke:var(--soft);fill:none;stroke-width:1.2}.drawing "
    ".skip{stroke:var(--ink);fill:none;stroke-width:1.2}"
    ".drawing .head{fill:var(--soft)}.drawing "
    ".disc{fill:var(--paper);stroke:var(--ink);stroke-width:1.2}"
    ".drawing .frame{fill:none;stroke:var(--soft);stroke-dasharray:4 3}"
)
NAMES = {
    "conv": "convolution",
    "dense": "dense",
    "layer": "other layer",
    "pool": "pooling",
    "up": "upsampling",
}
JOIN_NAMES = {
    "sum": "sum",
    "difference": "difference",
    "product": "product",
    "stack": "stack",
    "join": "other join",
}
MARGIN = 16.0
ROUND = 8.0  # radius of a wire's corners
HEAD = 6.0  # length of an arrow's head


def draw(graph: Graph, title: str = "") -> str:
    """One self-contained SVG: the picture on the left, the answer on the right.

    A block is a convolution with the norm and activation after it: as tall as the map's side, as
    wide as its maps are many, both by square roots (the legend says so); a funnel is a pooling or
    an upsampling, a thin bar a vector, a disc a sum or a stack. Above a block stands what happens
    (kernel, s stride, ↑ stride of a transposed one, d dilation, g groups, dw depthwise), below it
    what changes of maps×height×width. Networks of more than 24 layers with weights show equal runs
    once, in a frame. What a branch reaches on a coarser map and brings back hangs below, so that an
    encoder with a decoder is a U. Every block names in `data-layers`, and in its tooltip, the
    layers it stands for. A graph always gives the same text.
    """
    series = structure(graph)
    part = arrange(series)
    top = MARGIN + (24 if title else 0)
    marks = moved(part.marks, MARGIN, top + part.up)
    kinds = {item.kind for item in items_of(series)}
    legend, legend_width = _legend(kinds, MARGIN, top + part.up + part.down + 30)
    width = max(part.width, legend_width, text_width(title, 14)) + 2 * MARGIN
    height = top + part.up + part.down + 30 + MARGIN
    head = (
        [
            (
                f'<text x="{MARGIN:g}" y="{MARGIN + 10:g}" class="ink bold" '
                f'style="font-size:14px">{escape(title)}</text>'
            )
        ]
        if title
        else []
    )
    # Wires first: a block hides what ends in it.
    order = sorted(marks, key=lambda mark: (Frame, Wire, Block, Label).index(type(mark)))
    return _svg(width, height, title or "network", [*head, *map(_mark, order), legend])


def _svg(width: float, height: float, title: str, parts: Sequence[str]) -> str:
    size = f'viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}"'
    head = (
        '<svg xmlns="http://www.w3.org/2000/svg" class="plot drawing" role="img" '
        f'aria-label="{escape(title)}" {size}>'
    )
    paper = f'<rect width="{width:.0f}" height="{height:.0f}" class="paper"/>'
    return (
        f"{head}<title>{escape(title)}</title><style>{STYLE}{OWN_STYLE}</style>{paper}"
        f"{''.join(parts)}</svg>\n"
    )


def _mark(mark: Mark) -> str:
    if isinstance(mark, Block):
        return _block(mark)
    if isinstance(mark, Wire):
        return _wire(mark)
    if isinstance(mark, Label):
        return (
            f'<text x="{mark.x:.1f}" y="{mark.y:.1f}" class="mid '
            f'{mark.css}">{escape(mark.text)}</text>'
        )
    return (
        f'<rect x="{mark.x:.1f}" y="{mark.y:.1f}" width="{mark.width:.1f}" '
        f'height="{mark.height:.1f}" rx="6" class="frame"/>'
    )


def _block(block: Block) -> str:
    item = block.item
    words = [" ".join(item.layers), item.label, ", ".join(item.follows), by(item.shape)]
    tip = escape(" · ".join(word for word in words if word))
    body = _disc(block) if item.kind in JOINS else _front(block) + _faces(block)
    kind = "weighted" if item.kind in WEIGHTED else "plain"
    return (
        f'<g class="block {kind}" '
        f'data-layers="{escape(" ".join(item.layers))}"><title>{tip}</title>{body}</g>'
    )


def _disc(block: Block) -> str:
    x, y, radius = block.x + block.width / 2, block.y, block.width / 2
    circle = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" class="disc"/>'
    return (
        circle
        + f'<text x="{x:.1f}" y="{y + 4:.1f}" class="mid ink">{JOINS[block.item.kind]}</text>'
    )


def _front(block: Block) -> str:
    x, y, width, css = block.x, block.y, block.width, block.item.kind
    if block.left == block.right:
        return (
            f'<rect x="{x:.1f}" y="{y - block.left / 2:.1f}" width="{width:.1f}" '
            f'height="{block.left:.1f}" class="{css}"/>'
        )
    left, right = block.left / 2, block.right / 2
    return _polygon(
        [(x, y - left), (x + width, y - right), (x + width, y + right), (x, y + left)], css
    )


def _faces(block: Block) -> str:
    """The top and the right side: the front's colour, lighter and darker."""
    if not block.depth:
        return ""
    x, right, back = block.x, block.x + block.width, block.depth
    top, bottom = block.y - block.left / 2, block.y + block.left / 2
    upper = [(x, top), (x + back, top - back), (right + back, top - back), (right, top)]
    side = [
        (right, top),
        (right + back, top - back),
        (right + back, bottom - back),
        (right, bottom),
    ]
    return "".join(
        _polygon(face, block.item.kind) + _polygon(face, css)
        for face, css in ((upper, "top"), (side, "side"))
    )


def _polygon(points: Sequence[tuple[float, float]], css: str) -> str:
    return f'<path d="M{"L".join(f"{x:.1f} {y:.1f}" for x, y in points)}Z" class="{css}"/>'


def _wire(wire: Wire) -> str:
    points = [
        point
        for point, before in zip(wire.points, (None, *wire.points), strict=False)
        if point != before
    ]
    if len(points) < 2:
        return ""
    text = f"M{points[0][0]:.1f} {points[0][1]:.1f}"
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        (x1, y1), (x2, y2) = _toward(corner, before, ROUND), _toward(corner, after, ROUND)
        text += f"L{x1:.1f} {y1:.1f}Q{corner[0]:.1f} {corner[1]:.1f} {x2:.1f} {y2:.1f}"
    end = points[-1]
    head = ""
    if wire.arrow:
        (x, y), reach = end, math.dist(end, points[-2])
        dx, dy = ((end[0] - points[-2][0]) / reach, (end[1] - points[-2][1]) / reach)
        back = (x - HEAD * dx, y - HEAD * dy)
        head = _polygon(
            [end, (back[0] - 3 * dy, back[1] + 3 * dx), (back[0] + 3 * dy, back[1] - 3 * dx)],
            "head",
        )
        end = back
    return f'<path d="{text}L{end[0]:.1f} {end[1]:.1f}" class="{wire.kind}"/>{head}'


def _toward(
    start: tuple[float, float], stop: tuple[float, float], most: float
) -> tuple[float, float]:
    """The point `most` pixels from start on the way to stop, or half-way where that is nearer."""
    share = min(0.5, most / math.dist(start, stop))
    return start[0] + share * (stop[0] - start[0]), start[1] + share * (stop[1] - start[1])


def _legend(kinds: set[str], x: float, y: float) -> tuple[str, float]:
    """One line: what there is in this drawing, and the scale. Also how wide it is."""
    parts, start = [], x
    for kind, name in NAMES.items():
        if kind in kinds:
            parts.append(
                f'<rect x="{x:.1f}" y="{y - 9:.1f}" width="10" height="10" class="{kind}"/>'
            )
            parts.append(f'<text x="{x + 15:.1f}" y="{y:.1f}">{name}</text>')
            x += 15 + text_width(name) + 14
    for kind, name in JOIN_NAMES.items():
        if kind in kinds:
            parts.append(f'<circle cx="{x + 6:.1f}" cy="{y - 4:.1f}" r="6.5" class="disc"/>')
            parts.append(
                f'<text x="{x + 6:.1f}" y="{y - 0.5:.1f}" class="mid ink" '
                f'style="font-size:9px">{JOINS[kind]}</text>'
            )
            parts.append(f'<text x="{x + 17:.1f}" y="{y:.1f}">{name}</text>')
            x += 17 + text_width(name) + 14
    scale = "height ∝ √side, width ∝ √maps; maps×height×width where it changes"
    parts.append(f'<text x="{x:.1f}" y="{y:.1f}">{scale}</text>')
    return "".join(parts), x + text_width(scale) - start
