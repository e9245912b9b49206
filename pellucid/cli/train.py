from __future__ import annotations

import inspect
import json
from dataclasses import fields
from typing import Any

import typer

from ..engine.recipe import Recipe


def _train(
    data: str = typer.Argument(None, help="A folder, a CSV, IDX or NPZ file, or the built-in `digits`."),
    recipe: str = typer.Option(None, help="A TOML file of settings; those given here come first."),
    name: str = typer.Option(None, help="Of the run folder: runs/<task>/<name>[-N]."),
    resume: str = typer.Option(None, help="Take this unfinished run to its end, exactly."),
    as_json: bool = typer.Option(False, "--json", help="The summary as JSON on stdout."),
    **settings: Any,
) -> None:
    """Train a network on pictures with answers, and write a run folder with a report."""
    from ..engine.train import train

    given = {key: value for key, value in settings.items() if value is not None}
    run = train(data, recipe=recipe, name=name, resume=resume, **given)
    if as_json:
        print(json.dumps({"run": str(run.path), **run.summary}, ensure_ascii=False))


def _options() -> list[inspect.Parameter]:
    """An option for each setting of a recipe: what the recipe says of it is all there is to say."""
    kinds = {"int": int, "float": float, "bool": bool}
    options = []
    for setting in fields(Recipe):
        kind = kinds.get(str(setting.type).split(" ")[0], str)
        choices, default = setting.metadata["choices"], setting.default
        text = (
            setting.metadata["help"]
            + (f" One of: {', '.join(choices)}." if choices else "")
            + (f" [{default}]" if default is not None else "")
        )
        # None stands for "not given", so that a recipe file is not overridden by defaults.
        option = typer.Option(None, help=text, show_default=False)
        options.append(inspect.Parameter(setting.name, inspect.Parameter.KEYWORD_ONLY, default=option, annotation=kind))
    return options


def command(**arguments: Any) -> None:
    _train(**arguments)


_own = [parameter for parameter in inspect.signature(_train).parameters.values() if parameter.kind is not inspect.Parameter.VAR_KEYWORD]
_hints = {"data": str, "recipe": str, "name": str, "resume": str, "as_json": bool}
_parameters = [p.replace(annotation=_hints[p.name]) for p in _own] + _options()
command.__signature__ = inspect.Signature([p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in _parameters])  # type: ignore[attr-defined]
command.__annotations__ = {p.name: p.annotation for p in _parameters}
command.__doc__ = _train.__doc__
