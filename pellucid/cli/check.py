from __future__ import annotations

import json

import typer


def command(
    data: str = typer.Argument(help="A folder, a CSV, IDX or NPZ file, or the built-in `digits`."),
    seed: int = typer.Option(0, help="Of the split that training would make."),
    as_json: bool = typer.Option(False, "--json", help="The result as JSON on stdout."),
) -> None:
    """Look at a data set before training: format, counts, bad files, duplicates, what would be done. Exit code 1 on findings."""
    from ..engine.check import check

    result = check(data, quiet=as_json, seed=seed)
    if as_json:
        print(json.dumps({"facts": result.facts, "settings": result.settings, "findings": result.findings}, ensure_ascii=False))
    else:
        print(result.text())
    raise typer.Exit(1 if result.findings else 0)
