"""Options that several verbs share: one for each setting of a recipe."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
from typing import Any, get_type_hints

import typer

from ..engine.run.settings import Recipe


def settings() -> list[inspect.Parameter]:
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
        options.append(
            inspect.Parameter(
                setting.name, inspect.Parameter.KEYWORD_ONLY, default=option, annotation=kind
            )
        )
    return options


def with_settings(verb: Callable[..., None]) -> Callable[..., None]:
    """A command whose options are the verb's own ones,
    and the settings of a recipe in place of its `**settings`."""

    def command(**arguments: Any) -> None:
        verb(**arguments)

    hints = get_type_hints(verb)
    own = [
        p
        for p in inspect.signature(verb).parameters.values()
        if p.kind is not inspect.Parameter.VAR_KEYWORD
    ]
    given = [
        p.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[p.name]) for p in own
    ] + settings()
    command.__signature__ = inspect.Signature(given)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in given}
    command.__doc__ = verb.__doc__
    return command
