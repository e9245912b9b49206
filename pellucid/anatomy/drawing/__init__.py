"""A network as one SVG: `structure` condenses the graph, `layout` places its `parts`,
`svg` writes them."""

from __future__ import annotations

from .svg import draw

__all__ = ["draw"]
