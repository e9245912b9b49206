"""Draw the architecture: the packages in their layers, and the way of data through a task.

    python tools/architecture.py [docs/architecture.svg]

A test compares the packages that it shows with those that exist.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pellucid.plots import svg

ROOT = Path(__file__).resolve().parent.parent
# Layers from top to bottom, with what is in a package; each imports only from those above it, and
# from its left.
LAYERS = (
    {"core": "types, boxes, errors", "data": "images, formats", "metrics": "scores, intervals"},
    {
        "transforms": "augment, tiles",
        "losses": "classes, masks",
        "plots": "SVG, drawings",
        "baselines": "no network",
    },
    {"anatomy": "a network accounted for", "models": "networks, notation, weights"},
    {"tasks": "the interface, and one folder a task"},
    {"engine": "run: the loop, checkpoints · inference: the only forward pass"},
    {"inspection": "pellucid inspect", "experiments": "compare, tune, lab"},
    {"cli": "one file a command"},
)
# The way of data, by the part of a task that does the step; "engine" does the rest.
STEPS = (
    ("data", "load, validate, strata"),
    ("suggest_defaults", "complete the settings"),
    ("preprocess", "views, fit_statistics"),
    ("architecture", "build"),
    ("training", "batches, augment, phases, loss"),
    ("inference", "forward, decode, ensemble"),
    ("training", "calibrate"),
    ("metric", "scores, evidence, resample"),
    ("report", "headline, sections"),
)
WIDTH, HEIGHT, GAP, LEFT = 520.0, 44.0, 8.0, 10.0


def box(x: float, y: float, width: float, title: str, text: str, css: str = "hair") -> list[str]:
    return [
        f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{HEIGHT:g}" rx="4" class="{css}"/>',
        svg.text(x + width / 2, y + 18, title, "ink bold mid"),
        svg.text(x + width / 2, y + 34, svg.shortened(text, width - 6), "mid"),
    ]


def layers(top: float) -> list[str]:
    parts = [svg.text(LEFT, top - 12, "Packages: each imports only from above", "ink bold")]
    for row, names in enumerate(LAYERS):
        width = (WIDTH - GAP * (len(names) - 1)) / len(names)
        for column, (name, text) in enumerate(names.items()):
            x, y = LEFT + column * (width + GAP), top + row * (HEIGHT + GAP)
            parts += box(x, y, width, name, text)
    return parts


def steps(left: float, top: float, width: float = 300.0) -> list[str]:
    parts = [svg.text(left, top - 12, "Data through the parts of a task", "ink bold")]
    for row, (part, text) in enumerate(STEPS):
        y = top + row * (HEIGHT + GAP)
        parts += box(left, y, width, part, text)
        if row:
            parts.append(svg.line(left + width / 2, y - GAP, left + width / 2, y, "rule"))
    return parts


def drawing() -> str:
    top, left = 34.0, LEFT + WIDTH + 40
    height = top + len(STEPS) * (HEIGHT + GAP) + 4
    parts = [*layers(top), *steps(left, top)]
    return svg.document(left + 310, height, "The architecture of Pellucid", parts)


if __name__ == "__main__":
    place = sys.argv[1] if len(sys.argv) > 1 else ROOT / "docs" / "architecture.svg"
    Path(place).write_text(drawing(), encoding="utf-8")
