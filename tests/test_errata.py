"""The errata page shows what it says: each command is run,
and the figure in bold is in what it prints."""

from __future__ import annotations

import functools
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pellucid.cli import app
from pellucid.core.errors import PellucidError

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "errata.md").read_text(encoding="utf-8")
ROWS = [re.split(r"(?<!\\)\|", line)[1:-1] for line in PAGE.splitlines() if line.startswith("|")]
ANSWERS = [
    [cell.strip() for cell in row] for row in ROWS if row[0].strip() not in ("question", "---")
]


@functools.cache
def printed(command: str) -> str:
    verb, *words = shlex.split(command)
    assert verb == "pellucid"
    result = CliRunner().invoke(app, words)
    assert result.exception is None or isinstance(result.exception, PellucidError | SystemExit), (
        result.exception
    )
    return f"{result.output}\n{result.exception or ''}"


def test_every_row_is_whole() -> None:
    assert len(ANSWERS) > 30
    for row in ANSWERS:
        assert len(row) == 5, row
        assert all(row), row
        assert re.fullmatch(r"—|the same|`pellucid [^`]+`( `pellucid [^`]+`)*", row[4]), row


@pytest.mark.parametrize("place", range(len(ANSWERS)), ids=[row[0][:50] for row in ANSWERS])
def test_the_right_figure_is_shown(place: int) -> None:
    figures = re.findall(r"\*\*(.+?)\*\*", "".join(ANSWERS[place][2:4]))
    while ANSWERS[place][4] == "the same":
        place -= 1
    commands = re.findall(r"`(.+?)`", ANSWERS[place][4])
    assert bool(figures) == bool(commands)
    output = "\n".join(map(printed, commands))
    for figure in figures:
        assert re.search(rf"(?<![\w.,×]){re.escape(figure)}(?![\w×]|[.,]\d)", output), (
            figure,
            output,
        )
