"""HTML pages from templates: self-contained, no scripts, one style for all."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def environment(folder: Path) -> Any:
    """A Jinja environment for the templates in `folder`, which may include `style.css.j2`."""
    from jinja2 import Environment, FileSystemLoader

    folders = [folder, Path(__file__).parent]
    loader = FileSystemLoader(folders)
    return Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
