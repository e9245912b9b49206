"""Pictures of learning: what optimisers, losses, activations and networks do, computed by this
project's own code and drawn as SVG.

Every figure follows from fixed seeds and writes the same bytes each time on the same machine. The
docs use them as they come.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ...core.errors import UsageError, did_you_mean
from .boundaries import boundaries
from .curves import activations, cross_entropy
from .descent import contour_paths, minima_saddle
from .generalisation import optimisation_generalisation
from .gradients import gradient_norms
from .linear import templates
from .paper import caption
from .search import grid_random
from .upsampling import upsampling

__all__ = ["FIGURES", "caption", "write_figures"]

# Each takes a folder and gives back the files that it wrote there.
FIGURES: dict[str, Callable[[Path], list[Path]]] = {
    "contour_paths": contour_paths,
    "activations": activations,
    "templates": templates,
    "boundaries": boundaries,
    "gradient_norms": gradient_norms,
    "cross_entropy": cross_entropy,
    "grid_random": grid_random,
    "minima_saddle": minima_saddle,
    "optimisation_generalisation": optimisation_generalisation,
    "upsampling": upsampling,
}


def write_figures(out: Path, only: Sequence[str] | None = None) -> list[Path]:
    """Writes the figures (`only` those named, or all) into a folder, which is made if need be.
    Returns the files.

    Raises UsageError for a name that is none, before anything is written.
    """
    names = list(FIGURES) if only is None else list(only)
    for name in names:
        if name not in FIGURES:
            raise UsageError(f'there is no figure "{name}"; {did_you_mean(name, FIGURES)}')
    return [path for name in names for path in FIGURES[name](out)]
