"""The options of the command line that come from the settings of the tasks."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal

import pytest

from pellucid.cli.options import settings
from pellucid.engine.run.settings import all_names, options_of, owners
from pellucid.tasks import TASKS
from pellucid.tasks.settings import SharedSettings, option, own_fields
from pellucid.tasks.task import Task

Cli = Callable[..., Any]


def texts() -> dict[str, str]:
    return {parameter.name: parameter.default.help for parameter in settings()}


def test_each_setting_is_one_option() -> None:
    names = [parameter.name for parameter in settings()]
    assert names == list(all_names()) and len(set(names)) == len(names)
    assert set(names) == {name for task in TASKS.values() for name in task.settings.model_fields}


@pytest.mark.parametrize("verb", ["train", "check", "tune"])
def test_help_lists_the_settings_of_each_task(verb: str, cli: Cli) -> None:
    said = " ".join(cli(verb, "--help").out.split())
    for task in TASKS.values():
        for name, setting in options_of(task.settings).items():
            assert f"--{name.replace('_', '-')} " in said
            shown = options_of(TASKS[owners(name)[0]].settings)[name].text
            assert shown[:12] in said
            assert all(choice in said for choice in setting.choices)


def test_choices_are_listed_by_task_where_they_differ() -> None:
    for task in TASKS.values():
        for name in ("loss", "score", "augment"):
            own = ", ".join(options_of(task.settings)[name].choices)
            assert f"{task.name}: {own}" in texts()[name]
    assert "One of: adamw, adam, sgd, nesterov." in texts()["optimizer"]
    assert "For detection." in texts()["neck"]
    assert "For" not in texts()["epochs"] and "[0.9]" in texts()["momentum"]


class ToySettings(SharedSettings):
    NAME: ClassVar[str] = "toy"

    temper: Annotated[Literal["calm", "wild"], option("How it behaves.")] = "calm"
    legs: Annotated[int | None, option("How many legs it has.", 2, 8)] = None
    tame: Annotated[bool, option("Whether it bites.")] = False


def test_a_new_task_has_its_options(monkeypatch: pytest.MonkeyPatch) -> None:
    toy = Task("toy", ToySettings, lambda: pytest.fail("the parts are not needed"))
    monkeypatch.setitem(TASKS, "toy", toy)
    fresh = {parameter.name: parameter for parameter in settings()}
    assert set(own_fields(ToySettings)) == {"temper", "legs", "tame"} < set(fresh)
    kinds = [fresh[name].annotation for name in ("temper", "legs", "tame")]
    assert kinds == [str, int, bool]
    assert texts()["temper"] == "How it behaves. For toy. One of: calm, wild. [calm]"


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["tune", "--help"]])
def test_help_loads_neither_torch_nor_numpy(words: list[str]) -> None:
    code = (
        f"import sys; sys.argv = ['pellucid', *{words!r}]; from pellucid.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
