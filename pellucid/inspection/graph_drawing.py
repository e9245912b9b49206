"""The graph of an expression as SVG, left to right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from itertools import pairwise

from ..anatomy.expression import Differentiated, plain, short, written
from ..core.errors import UsageError
from ..plots.svg import STYLE

MOST = 60
WIDE, TALL, BEND = 138.0, 62.0, 20.0
GAP_X, GAP_Y, EDGE = 96.0, 26.0, 16.0
# A label on a wire is cut out of it by a rim in the paper's colour.
OWN_STYLE = (
    ".graph{--paper:#fff}@media screen and (prefers-color-scheme:dark){.graph{--paper:#15181b}}"
    ".graph .paper,.graph .box{fill:var(--paper)}.graph .box{stroke:var(--soft)}.graph "
    ".box.end{stroke:var(--ink);stroke-width:1.6}"
    ".graph .wire{stroke:var(--soft);fill:none}.graph .head{fill:var(--soft)}"
    ".graph .on-wire{stroke:var(--paper);stroke-width:6;paint-order:stroke;stroke-linejoin:round}"
    ".graph .value{font-size:15px;font-weight:600}"
)
Point = tuple[float, float]
# A place in the drawing: (node, 0) is its box; (edge, layer) with layer > 0 is a bend of a long
# edge.
Spot = tuple[int, int]


def draw(result: Differentiated) -> str:
    """Values in the nodes, local derivatives on the edges, and in the second colour the partial
    derivatives kept at the nodes.

    Raises UsageError for more than 60 nodes.
    """
    nodes = result.expression.nodes
    if len(nodes) > MOST:
        raise UsageError(
            f"the expression has {len(nodes):,} nodes; at most {MOST} are drawn: leave out --svg, "
            "or draw a part of it"
        )
    columns, links = _columns(result)
    at = _places(columns)
    width = max(2 * EDGE + len(columns) * (WIDE + GAP_X) - GAP_X, 470)
    height = max(y for _, y in at.values()) + TALL / 2 + EDGE + 28
    legend = [
        ("ink bold", "value", 0.0),
        ("", "local derivative, on its edge", 50.0),
        ("b", f"∂{nodes[-1].name}/∂…, kept at its node", 230.0),
    ]
    parts = [
        f'<rect width="{width:g}" height="{height:g}" class="paper"/>',
        *_wires(result, links, at),
    ]
    parts += [_box(result, index, *at[(index, 0)]) for index in range(len(nodes))]
    parts += [_text(EDGE + x, height - EDGE, text, css) for css, text, x in legend]
    title = escape(short(result.expression.text, 100))
    size = f'viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}"'
    head = (
        '<svg xmlns="http://www.w3.org/2000/svg" class="plot graph" role="img" '
        f'aria-label="{title}" {size}>'
    )
    return f"{head}<title>{title}</title><style>{STYLE}{OWN_STYLE}</style>{''.join(parts)}</svg>\n"


def _text(x: float, y: float, text: str, css: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{css}">{escape(text)}</text>'


def _box(result: Differentiated, index: int, x: float, y: float) -> str:
    node, last = result.expression.nodes[index], len(result.expression.nodes) - 1
    tall = TALL if node.active else TALL - 24
    end = "end" if index == last else ""
    box = (
        f'x="{x - WIDE / 2:.1f}" y="{y - tall / 2:.1f}" width="{WIDE:g}" height="{tall:g}" rx="7" '
        f'class="box {end}"'
    )
    rect = f"<rect {box}/>"
    if not node.inputs and node.op == "number":
        return rect + _text(x, y + 5, plain(result.values[index]), "mid ink value")
    name = written(result.expression, index)
    name = short(name if name == node.name else f"{node.name} = {name}", 19)
    if not node.active:
        return (
            rect
            + _text(x, y - 4, name, "mid")
            + _text(x, y + 14, plain(result.values[index]), "mid ink value")
        )
    number = plain(result.partials[index])
    partial = f"∂{result.expression.nodes[last].name}/∂{node.name} = {number}"
    partial = partial if len(partial) <= 20 else number
    return (
        rect
        + _text(x, y - 15, name, "mid")
        + _text(x, y + 5, plain(result.values[index]), "mid ink value")
        + _text(x, y + 23, partial, "mid b")
    )


def _wires(
    result: Differentiated, links: Sequence[Sequence[Spot]], at: Mapping[Spot, Point]
) -> list[str]:
    """Curves first, then what stands on them; a number's edge has no derivative to show."""
    ends = _ends(links, at)
    waiting = list(result.edges)
    curves, labels = [], []
    for chain, end in zip(links, ends, strict=True):
        points = [(at[chain[0]][0] + WIDE / 2, at[chain[0]][1])]
        for spot in chain[1:-1]:
            x, y = at[spot]
            points += [(x - WIDE / 2, y), (x + WIDE / 2, y)]
        points.append((end[0] - 7, end[1]))
        curves.append(
            _curve(points) + f'<path d="M{end[0]:.1f} {end[1]:.1f}l-8 -4v8Z" class="head"/>'
        )
        edge = next(
            (e for e in waiting if (e.source, e.target) == (chain[0][0], chain[-1][0])), None
        )
        if edge:
            waiting.remove(edge)
            # Beside the head, where the edges of a box are apart; in the middle they cross.
            labels.append(_text(end[0] - 12, end[1] + 4, plain(edge.local), "end on-wire"))
    return curves + labels


def _curve(points: Sequence[Point]) -> str:
    """Level where it leaves and where it arrives; straight between the two sides of a bend."""
    path = f"M{points[0][0]:.1f} {points[0][1]:.1f}"
    for (x1, y1), (x2, y2) in pairwise(points):
        middle = (x1 + x2) / 2
        path += (
            f"L{x2:.1f} {y2:.1f}"
            if y1 == y2
            else f"C{middle:.1f} {y1:.1f} {middle:.1f} {y2:.1f} {x2:.1f} {y2:.1f}"
        )
    return f'<path d="{path}" class="wire"/>'


def _ends(links: Sequence[Sequence[Spot]], at: Mapping[Spot, Point]) -> list[Point]:
    """Where each edge meets its box: those of one box come in below each other, in the order in
    which they come from above."""
    ends: list[Point] = [(0.0, 0.0)] * len(links)
    for target in {chain[-1] for chain in links}:
        coming = sorted(
            (k for k, chain in enumerate(links) if chain[-1] == target),
            key=lambda k: at[links[k][-2]][1],
        )
        room = min(18.0, (TALL - 20) / len(coming))
        for rank, k in enumerate(coming):
            ends[k] = (
                at[target][0] - WIDE / 2,
                at[target][1] + (rank - (len(coming) - 1) / 2) * room,
            )
    return ends


def _columns(result: Differentiated) -> tuple[list[list[Spot]], list[list[Spot]]]:
    """Spots by column, ordered so that few lines cross, and each edge as a chain of spots,
    one a column."""
    nodes = result.expression.nodes
    depth = [0] * len(nodes)
    for i, node in enumerate(nodes):
        depth[i] = 1 + max((depth[j] for j in node.inputs), default=-1)
    takers = [[k for k, node in enumerate(nodes) if i in node.inputs] for i in range(len(nodes))]
    # What comes from outside stands just before its first use.
    depth = [
        min((depth[k] for k in takers[i]), default=0) - 1
        if not node.inputs and takers[i]
        else depth[i]
        for i, node in enumerate(nodes)
    ]
    columns: list[list[Spot]] = [[] for _ in range(max(depth) + 1)]
    for i in range(len(nodes)):
        columns[depth[i]].append((i, 0))
    links = []
    pairs = [(source, target) for target, node in enumerate(nodes) for source in node.inputs]
    for number, (source, target) in enumerate(pairs):
        bends = [(-1 - number, layer) for layer in range(depth[source] + 1, depth[target])]
        for bend in bends:
            columns[bend[1]].append(bend)
        links.append([(source, 0), *bends, (target, 0)])
    return _untangled(columns, links), links


def _untangled(columns: list[list[Spot]], links: Sequence[Sequence[Spot]]) -> list[list[Spot]]:
    """Each column sorted by the mean position of its neighbours, to and fro (Sugiyama, Tagawa,
    Toda, 1981)."""
    steps = [step for chain in links for step in pairwise(chain)]
    best = columns
    for sweep in range(12):
        forwards = sweep % 2 == 0
        order = [list(column) for column in columns]
        indices = range(1, len(order)) if forwards else range(len(order) - 2, -1, -1)
        for c in indices:
            fixed = {spot: k for k, spot in enumerate(order[c - 1 if forwards else c + 1])}
            near = {
                spot: [
                    fixed[a if forwards else b] for a, b in steps if (b if forwards else a) == spot
                ]
                for spot in order[c]
            }
            here = {spot: k for k, spot in enumerate(order[c])}
            order[c].sort(
                key=lambda spot: sum(near[spot]) / len(near[spot]) if near[spot] else here[spot]
            )
        columns = order
        if _crossings(columns, steps) < _crossings(best, steps):
            best = columns
    return best


def _crossings(columns: Sequence[Sequence[Spot]], steps: Sequence[tuple[Spot, Spot]]) -> int:
    rank = {spot: (c, k) for c, column in enumerate(columns) for k, spot in enumerate(column)}
    lines = [(rank[a][0], rank[a][1], rank[b][1]) for a, b in steps]
    return sum(
        p[0] == q[0] and (p[1] - q[1]) * (p[2] - q[2]) < 0
        for k, p in enumerate(lines)
        for q in lines[:k]
    )


def _places(columns: Sequence[Sequence[Spot]]) -> dict[Spot, tuple[float, float]]:
    """The middle of each spot; columns are centred on each other,
    bends take less room than boxes."""
    heights = [
        sum((TALL if spot[0] >= 0 else BEND) + GAP_Y for spot in column) for column in columns
    ]
    places = {}
    for c, column in enumerate(columns):
        y = EDGE + (max(heights) - heights[c]) / 2
        for spot in column:
            tall = TALL if spot[0] >= 0 else BEND
            places[spot] = (EDGE + c * (WIDE + GAP_X) + WIDE / 2, y + tall / 2)
            y += tall + GAP_Y
    return places
