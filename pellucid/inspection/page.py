"""The account of a network as one page: self-contained, no scripts, opens offline,
in the style of a run's report."""

from __future__ import annotations

from pathlib import Path

from ..anatomy import Anatomy, table
from ..anatomy.drawing import draw
from ..core.errors import UsageError
from ..core.files import write_text
from ..plots import formatting, pages


def write(path: Path, anatomy: Anatomy, name: str) -> Path:
    """Raises UsageError for a path that cannot be a page,
    MachineError when it cannot be written."""
    if path.is_dir() or path.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"{path}: the page needs the name of a file that ends in .html")
    write_text(path, page(anatomy, name))
    return path


def page(anatomy: Anatomy, name: str) -> str:
    from markupsafe import Markup

    jinja = pages.environment(Path(__file__).parent)
    jinja.filters |= {
        "percent": formatting.percent,
        "count": formatting.count,
        "by": formatting.by,
        "bytes": table.bytes_text,
        "reach": table.reach_text,
    }
    return jinja.get_template("inspect.html.j2").render(
        name=name,
        anatomy=anatomy,
        memory=anatomy.memory,
        drawing=Markup(draw(anatomy.graph, name)),
        where=table.whereabouts(anatomy),
        most_parameters=max((anatomy.share(row) for row in anatomy.rows), default=0) or 1,
        most_macs=max((anatomy.macs_share(row) for row in anatomy.rows), default=0) or 1,
        words=formatting,
    )
