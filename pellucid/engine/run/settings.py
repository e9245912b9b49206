"""The settings of a run: what the user gave, checked against a task, and kept as a TOML file.

The fields of the settings classes are the only place that knows a setting: its type, limits,
choices and help. Which task a setting belongs to is found through TASKS. Nothing here imports torch
or NumPy.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from ...core.errors import UsageError, did_you_mean
from ...core.files import read_toml
from ...tasks import TASKS
from ...tasks.settings import SharedSettings, own_fields
from ...tasks.task import Task

# The kinds of settings: the types of their values, and what an error message calls them. A size is
# two whole numbers.
KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "int": ((int,), "a whole number"),
    "float": ((int, float), "a number"),
    "bool": ((bool,), "true or false"),
    "str": ((str,), "a text"),
    "size": ((int,), "a whole number"),
}


@dataclass(frozen=True)
class Option:
    """One setting: its name, its kind (a key of KINDS), its default, its help, its limits (both
    inclusive), and its choices, empty where it has none."""

    name: str
    kind: str
    default: Any
    text: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()


@cache
def options_of(settings: type[SharedSettings]) -> dict[str, Option]:
    """The settings of a class by name: the shared ones, then its own."""
    return {name: _option(name, field) for name, field in settings.model_fields.items()}


def all_options() -> dict[str, Option]:
    """The settings of all tasks by name: the shared ones, then those of each task. Where several
    tasks have one, with the choices of all of them."""
    merged = dict(options_of(SharedSettings))
    for task in TASKS.values():
        for name in own_fields(task.settings):
            option = options_of(task.settings)[name]
            before = merged.setdefault(name, option)
            choices = tuple(dict.fromkeys(before.choices + option.choices))
            merged[name] = replace(before, choices=choices)
    return merged


def all_names() -> tuple[str, ...]:
    return tuple(all_options())


def owners(name: str) -> list[str]:
    """The tasks that have a setting."""
    return [task.name for task in TASKS.values() if name in task.settings.model_fields]


def task_named(name: Any) -> Task:
    """Raises UsageError for an unknown task."""
    if not isinstance(name, str) or name not in TASKS:
        raise UsageError(f'task: unknown "{name}"; {did_you_mean(str(name), TASKS)}')
    return TASKS[name]


class _ForeignSetting(UsageError):
    """A setting that only other tasks have."""


def of(task: Task, given: Mapping[str, Any]) -> SharedSettings:
    """The settings of a task from those that the user gave by name; None leaves one open.

    A setting of another task is left out where it would do nothing: where its value is 0, false or
    its default there, as the flat recipes of version 1 have it. Raises UsageError, in one line, for
    an unknown setting, one of another task, and a value of the wrong type or out of range.
    """
    return _validated(task, given, options_of(task.settings))


def check(given: Mapping[str, Any]) -> None:
    """Raises UsageError where `of` would for every task, or for the one that is named: what can be
    refused before the data are seen."""
    merged = all_options()
    for name, value in given.items():
        if name not in merged:
            known = [*merged, *TASKS] if isinstance(value, dict) else merged
            raise UsageError(f'unknown setting "{name}"; {did_you_mean(name, known)}')
    named = given.get("task")
    tasks = list(TASKS.values()) if named is None else [task_named(named)]
    errors = []
    for task in tasks:
        try:
            _validated(task, given, merged)
            return
        except UsageError as error:
            errors.append(error)
    wrong = [error for error in errors if not isinstance(error, _ForeignSetting)]
    raise wrong[-1] if wrong else errors[0] if len(errors) == 1 else _no_task(given)


def _no_task(given: Mapping[str, Any]) -> UsageError:
    own = [name for name in given if len(owners(name)) < len(TASKS)]
    where = ", ".join(f"{name} is of {' and '.join(owners(name))}" for name in own)
    return UsageError(f"no task has all of these settings: {where}; leave some of them out")


def _validated(
    task: Task, given: Mapping[str, Any], options: Mapping[str, Option]
) -> SharedSettings:
    """options: what an error message says of the limits and choices of a setting."""
    try:
        return task.settings(**_own(task, given))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        option = options[str(first["loc"][0])]
        raise UsageError(f"{option.name}: {_problem(task, option, first['input'])}") from None


def _own(task: Task, given: Mapping[str, Any]) -> dict[str, Any]:
    """What was given, without the settings of other tasks that would do nothing."""
    own = {}
    for name, value in given.items():
        if name in task.settings.model_fields:
            if value is not None:
                own[name] = value
            continue
        if not (having := owners(name)):
            known = task.settings.model_fields
            raise UsageError(f'unknown setting "{name}"; {did_you_mean(name, known)}')
        defaults = [options_of(TASKS[each].settings)[name].default for each in having]
        if value and value not in defaults:
            raise _ForeignSetting(
                f"{name}: is a setting of {' and '.join(having)}, and this is {task.name}; "
                "leave it out"
            )
    return own


def _problem(task: Task, option: Option, value: Any) -> str:
    """What is wrong with a value that a setting refused."""
    types, words = KINDS[option.kind]
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        return f"{value!r} is not {words}"
    if option.choices:
        return _problem_of_choice(task, option, str(value))
    limits = (("at least", option.low), ("at most", option.high))
    bounds = [f"{words} {limit:g}" for words, limit in limits if limit is not None]
    if value == math.inf and option.high is None:
        bounds.append("finite")
    return f"{value} is out of range; it must be {' and '.join(bounds)}"


def _problem_of_choice(task: Task, option: Option, value: str) -> str:
    own = options_of(task.settings)[option.name].choices
    having = [
        each.name
        for each in TASKS.values()
        if option.name in each.settings.model_fields
        and value in options_of(each.settings)[option.name].choices
    ]
    if having:
        known = f"one of {', '.join(own)}" if len(own) > 1 else own[0]
        return f"{value} is of {' and '.join(having)}, and this is {task.name}; choose {known}"
    return f'unknown "{value}"; {did_you_mean(value, option.choices)}'


def _option(name: str, field: FieldInfo) -> Option:
    kind, limits = _without_none(field.annotation), field.metadata
    choices: tuple[Any, ...] = ()
    if get_origin(kind) is Literal:
        choices = get_args(kind)
        kind_name = type(choices[0]).__name__
    elif get_origin(kind) is tuple:
        kind_name = "size"
        limits = FieldInfo.from_annotation(get_args(kind)[0]).metadata
    else:
        kind_name = kind.__name__
    low, high = _limit("ge", limits), _limit("le", limits)
    text = field.description or ""
    return Option(name, kind_name, field.default, text, low, high, tuple(map(str, choices)))


def _without_none(annotation: Any) -> Any:
    """The one type of an optional field, or of a field that must be set."""
    if get_origin(annotation) not in (Union, UnionType):
        return annotation
    (kind,) = (part for part in get_args(annotation) if part is not NoneType)
    return kind


def _limit(name: str, constraints: Iterable[Any]) -> float | None:
    return next((getattr(each, name) for each in constraints if hasattr(each, name)), None)


def to_toml(settings: SharedSettings, data: str) -> str:
    """A recipe file: the shared settings on top, the task's own in a table with its name."""
    own = own_fields(type(settings))
    lines = [
        "# Every setting of this run. `pellucid train DATA --recipe recipe.toml` repeats it.",
        f"data = {json.dumps(data)}",
        *_lines(settings, SharedSettings.model_fields),
    ]
    if table := _lines(settings, own):
        lines += ["", f"[{settings.NAME}]", *table]
    return "\n".join(lines) + "\n"


def _lines(settings: SharedSettings, names: Iterable[str]) -> list[str]:
    values = ((name, getattr(settings, name)) for name in names)
    return [f"{name} = {in_toml(value)}" for name, value in values if value is not None]


def in_toml(value: Any) -> str:
    # JSON's strings, numbers, booleans and lists are TOML's too.
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)


def load(path: Path) -> tuple[str | None, dict[str, Any]]:
    """The data that a recipe file names, if any, and its settings by name, those of the task's
    table among them. A flat file of version 1 has them all on top. Raises UsageError."""
    return parse(read_toml(path, "recipe"), path)


def parse(table: Mapping[str, Any], path: Path) -> tuple[str | None, dict[str, Any]]:
    """`load` for the content of a file."""
    data = table.get("data")
    if not isinstance(data, str | None):
        raise UsageError(f"{path}: data: {data!r} is not a text")
    try:
        given = flat({name: value for name, value in table.items() if name != "data"})
        check(given)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None
    return data, given


def flat(table: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a recipe by name, those of the task's table among them. Raises UsageError for
    the table of another task, and for a setting that stands twice."""
    tables = [name for name in table if name in TASKS and isinstance(table[name], dict)]
    given = {name: value for name, value in table.items() if name not in tables}
    task = given.get("task") or next(iter(tables), None)
    for name in tables:
        if name != task:
            raise UsageError(f"[{name}]: is the table of another task than {task}; leave it out")
        if twice := [each for each in table[name] if each in given]:
            raise UsageError(f"{twice[0]}: stands twice, on top and in [{name}]; leave out one")
        given |= table[name]
    return given
