"""Options that several verbs share: one for each setting of each task."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, get_type_hints

import typer

from ..engine.run.settings import Option, all_options, options_of, owners
from ..tasks import TASKS

# A size is written as a text: 64 or 48x96.
TYPES = {"int": int, "float": float, "bool": bool, "str": str, "size": str}


def settings() -> list[inspect.Parameter]:
    """An option for each setting: what its field says is all there is to say of it."""
    return [_parameter(option) for option in all_options().values()]


def _parameter(option: Option) -> inspect.Parameter:
    # None stands for "not given", so that defaults do not override a recipe file.
    default = typer.Option(None, help=_help(option), show_default=False)
    return inspect.Parameter(
        option.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=TYPES[option.kind],
    )


def _help(option: Option) -> str:
    """The description, the tasks where not all have it, the choices and the default."""
    tasks = owners(option.name)
    choices = {task: options_of(TASKS[task].settings)[option.name].choices for task in tasks}
    parts = [option.text]
    if len(set(choices.values())) > 1:
        parts.append("; ".join(f"{task}: {', '.join(own)}" for task, own in choices.items()) + ".")
    elif len(tasks) < len(TASKS):
        parts.append(f"For {' and '.join(tasks)}.")
    if option.choices and len(set(choices.values())) == 1:
        parts.append(f"One of: {', '.join(option.choices)}.")
    if option.default is not None:
        parts.append(f"[{option.default}]")
    return " ".join(parts)


def with_settings(verb: Callable[..., None]) -> Callable[..., None]:
    """A command whose options are the verb's own, and the settings in place of its
    `**settings`."""

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
