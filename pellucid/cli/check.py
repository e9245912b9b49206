from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import typer

from .options import with_settings


def _check(
    data: str = typer.Argument(help="A folder, a CSV, IDX or NPZ file, or the built-in `digits`."),
    show_augment: bool = typer.Option(False, "--show-augment", help="Draw a sheet of one picture as training would change it."),
    out: Path = typer.Option(None, help="Where the sheet goes; augment.png, never over a file that is there."),
    as_json: bool = typer.Option(False, "--json", help="The result as JSON on stdout."),
    **settings: Any,
) -> None:
    """Look at a data set before training: format, counts, bad files, duplicates, what would be done. Exit code 1 on findings."""
    from ..engine.check import check

    given = {key: value for key, value in settings.items() if value is not None}
    result = check(data, show_augment=show_augment, out=out, quiet=as_json, **given)
    if as_json:
        print(json.dumps(dataclasses.asdict(result), ensure_ascii=False, default=str))
    else:
        print(result.text())
    raise typer.Exit(1 if result.findings else 0)


command = with_settings(_check)
