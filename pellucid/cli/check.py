from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import typer


def command(
    data: str = typer.Argument(help="A folder, a CSV, IDX or NPZ file, or the built-in `digits`."),
    seed: int = typer.Option(0, help="Of the split that training would make."),
    show_augment: bool = typer.Option(False, "--show-augment", help="Draw a sheet of one picture as training would change it."),
    augment: str = typer.Option(None, help="The policy to draw: photos, letters, mixup … ; without it, what training would take."),
    out: Path = typer.Option(None, help="Where the sheet goes; augment.png, never over a file that is there."),
    as_json: bool = typer.Option(False, "--json", help="The result as JSON on stdout."),
) -> None:
    """Look at a data set before training: format, counts, bad files, duplicates, what would be done. Exit code 1 on findings."""
    from ..engine.check import check

    result = check(data, show_augment=show_augment, out=out, quiet=as_json, seed=seed, augment=augment)
    if as_json:
        print(json.dumps(dataclasses.asdict(result), ensure_ascii=False, default=str))
    else:
        print(result.text())
    raise typer.Exit(1 if result.findings else 0)
