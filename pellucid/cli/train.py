from __future__ import annotations

import json
from typing import Any

import typer

from .options import with_settings


def _train(
    data: str = typer.Argument(
        None,
        help=(
            "A folder, CSV, IDX, NPZ, or `digits`; boxes (COCO, VOC, YOLO), masks, NIfTI, "
            "sharp pictures."
        ),
    ),
    recipe: str = typer.Option(None, help="A TOML file of settings; those given here come first."),
    name: str = typer.Option(None, help="Of the run folder: runs/<task>/<name>[-N]."),
    resume: str = typer.Option(None, help="Take this unfinished run to its end, exactly."),
    as_json: bool = typer.Option(False, "--json", help="The summary as JSON on stdout."),
    **settings: Any,
) -> None:
    """Train a network on pictures with answers, and write a run folder with a report."""
    from ..engine.run.train import train

    given = {key: value for key, value in settings.items() if value is not None}
    run = train(data, recipe=recipe, name=name, resume=resume, **given)
    if as_json:
        print(json.dumps({"run": str(run.path), **run.summary}, ensure_ascii=False))


command = with_settings(_train)
