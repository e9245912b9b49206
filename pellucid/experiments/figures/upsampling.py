"""What each way of growing maps paints before it has learnt anything."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ...models.layers import scaled_normal_
from ...models.upsampling import checkerboard, up
from ...plots import svg
from .linear import CELL, cells
from .paper import write_svg
from .practice import seeded

MAPS = 32
SIDE = 8
NAMES = {
    "nearest": "nearest",
    "bilinear": "bilinear",
    "transposed": "transposed",
    "subpixel": "sub-pixel",
    "plain": "sub-pixel, plain",
}


def layers() -> dict[str, nn.Module]:
    """Each of them fresh, 32 maps to 32; "plain" is the sub-pixel convolution with weights that are
    drawn alike for all positions."""
    with seeded():
        found = {name: up("subpixel" if name == "plain" else name, MAPS, MAPS) for name in NAMES}
        scaled_normal_(found["plain"].get_submodule("0"), 1.0)
    return found


def pictures() -> dict[str, Tensor]:
    """1×32×8×8: maps that are constant, and maps that have one value in a disc and
    another around it."""
    with seeded():
        inside, outside = torch.randn(2, 1, MAPS, 1, 1)
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    disc = torch.from_numpy(x**2 + y**2 < 8)
    return {
        "constant": inside.expand(-1, -1, SIDE, SIDE),
        "disc": torch.where(disc, inside, outside),
    }


def upsampling(out: Path) -> list[Path]:
    parts = [
        svg.text(0, 112, "of a constant"),
        svg.text(0, 126, "picture"),
        svg.text(0, 262, "of a disc"),
    ]
    for column, (name, layer) in enumerate(layers().items()):
        left = 92 + 148 * column
        parts.append(svg.text(left + SIDE * CELL, 40, NAMES[name], "ink bold mid"))
        for row, picture in enumerate(pictures().values()):
            with torch.no_grad():
                drawn = layer(picture)[0, 0].numpy()
            drawn = drawn / np.abs(drawn).max()
            top = 52 + 148 * row
            parts += [
                cells(left, top, drawn, "a"),
                cells(left, top, -drawn, "b"),
                _frame(left, top),
            ]
        parts.append(
            svg.text(
                left + SIDE * CELL, 352, f"uneven by {100 * checkerboard(layer, MAPS):.0f} %", "mid"
            )
        )
    title = "Before it learns: a transposed convolution paints a pattern into every picture"
    caption = (
        "One map after upsampling 8×8 to 16×16 with fresh weights, blue above zero and orange "
        "below: resizing paints no pattern; a "
        "transposed convolution and a sub-pixel convolution whose positions begin apart do; one "
        "whose positions begin equal does not. "
        "Uneven: the deviation between the four positions of a constant picture, "
        "as a share of its size."
    )
    return [write_svg(out / "upsampling.svg", (830, 362), title, caption, parts)]


def _frame(left: float, top: float) -> str:
    side = 2 * SIDE * CELL + 1
    return (
        f'<rect x="{left - 0.5:g}" y="{top - 0.5:g}" width="{side:g}" height="{side:g}" '
        'class="hair"/>'
    )
