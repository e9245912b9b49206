from __future__ import annotations

import json
from typing import Any

import typer

from .options import with_settings


def _tune(
    data: str = typer.Argument(
        None,
        help=(
            "A folder, a CSV, IDX or NPZ file, the built-in `digits`; with boxes: COCO, "
            "VOC or YOLO."
        ),
    ),
    search: list[str] = typer.Option(
        None,
        help="NAME=SPEC, once for each setting: lr=log:1e-4..1e-1, batch=16,32,64, mixup=0..0.4.",
    ),
    recipe: str = typer.Option(
        None, help="A TOML file of settings, with a table [search]; what is given here comes first."
    ),
    sampler: str = typer.Option("tpe", help="How settings are chosen: tpe, random or grid."),
    pruner: str = typer.Option(
        "asha", help="How trials that fall behind are stopped: asha, hyperband or none."
    ),
    trials: int = typer.Option(
        None, help="Over all processes that share the study. [30; all points of a grid]"
    ),
    storage: str = typer.Option(
        None,
        help=(
            "Address of a database to share the study: postgresql://user@host/base. "
            "[study.db in the folder]"
        ),
    ),
    name: str = typer.Option(None, help="Of the study: runs/tune/<name>; one that exists goes on."),
    lr_range: bool = typer.Option(
        False,
        "--lr-range",
        help="Instead of a search, a learning-rate range test: its curve and a suggestion.",
    ),
    as_json: bool = typer.Option(False, "--json", help="The result as JSON on stdout."),
    **settings: Any,
) -> None:
    """Search settings by their validation score, then train with the best ones and
    test that once."""
    given = {key: value for key, value in settings.items() if value is not None}
    if lr_range:
        found = _range_test(data, search, recipe, name, given)
    else:
        from ..experiments import space
        from ..experiments.tune import tune

        found = tune(
            data,
            space.words(search or []),
            recipe=recipe,
            sampler=sampler,
            pruner=pruner,
            trials=trials,
            storage=storage,
            name=name,
            **given,
        )
    if as_json:
        print(json.dumps({"folder": str(found.path), **found.summary}, ensure_ascii=False))


def _range_test(
    data: str | None,
    search: list[str] | None,
    recipe: str | None,
    name: str | None,
    given: dict[str, Any],
) -> Any:
    from ..core.errors import UsageError
    from ..experiments.lr_range import lr_range

    if search:
        raise UsageError("--lr-range searches nothing but the learning rate; leave out --search")
    return lr_range(data, recipe=recipe, name=name, **given)


command = with_settings(_tune)
