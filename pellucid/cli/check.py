from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import typer

from ..core.errors import UsageError
from .options import with_settings


def _check(
    data: str = typer.Argument(
        help=(
            "A folder, a CSV, IDX or NPZ file, the built-in `digits`; with boxes: COCO, "
            "VOC or YOLO."
        )
    ),
    target: Path = typer.Argument(None, metavar="OUT", help="With --convert: the new folder."),
    show_augment: bool = typer.Option(
        False, "--show-augment", help="Draw a sheet of one picture as training would change it."
    ),
    convert: str = typer.Option(
        None,
        "--convert",
        help="Write pictures with boxes to OUT as coco, voc or yolo instead, without loss.",
    ),
    out: Path = typer.Option(
        None,
        help=(
            "Where the sheet goes (augment.png, never over a file that is there), "
            "or the converted set."
        ),
    ),
    as_json: bool = typer.Option(False, "--json", help="The result as JSON on stdout."),
    **settings: Any,
) -> None:
    """Look at a data set before training: format, counts, bad files, duplicates, what would be
    done. Exit code 1 on findings."""
    given = {key: value for key, value in settings.items() if value is not None}
    if convert is not None:
        _convert(
            data,
            convert,
            target or out,
            as_json,
            [*given, *(["show_augment"] if show_augment else [])],
        )
        return
    if target is not None:
        raise UsageError(
            f"{target}: check looks at one data set; a second folder goes with --convert coco, "
            "voc or yolo"
        )
    from ..engine.check import check

    result = check(data, show_augment=show_augment, out=out, quiet=as_json, **given)
    if as_json:
        print(json.dumps(dataclasses.asdict(result), ensure_ascii=False, default=str))
    else:
        print(result.text())
    raise typer.Exit(1 if result.findings else 0)


def _convert(data: str, kind: str, out: Path | None, as_json: bool, unused: list[str]) -> None:
    if out is None:
        raise UsageError(
            f"--convert {kind}: no folder to write to; name one: "
            f"pellucid check {data} --convert {kind} OUT"
        )
    if unused:
        raise UsageError(
            f"--{unused[0].replace('_', '-')}: has no meaning with --convert, "
            "which only writes; leave it out"
        )
    from ..engine.convert import convert

    result = convert(data, kind, out)
    print(
        json.dumps(dataclasses.asdict(result), ensure_ascii=False, default=str)
        if as_json
        else result.text()
    )


command = with_settings(_check)
