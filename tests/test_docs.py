"""What the documentation shows is run: Python as it stands, commands as far as their parser."""

from __future__ import annotations

import functools
import re
import shlex
from pathlib import Path

import pytest
import typer

import pellucid
from pellucid.cli import app
from pellucid.models import MODELS

ROOT = Path(__file__).resolve().parent.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "benchmarks" / "README.md",
]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(
        rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )


COMMANDS = [
    (page.name, line)
    for page in PAGES
    for block in blocks(page, "")
    for line in block.replace("\\\n", " ").splitlines()
    if re.match(r"(\.venv/bin/|torchrun .* -m )?pellucid ", line)
]


def test_there_is_something_to_test() -> None:
    assert len(COMMANDS) >= 6
    assert blocks(ROOT / "README.md", "python")


@pytest.mark.parametrize(("page", "line"), COMMANDS, ids=[line[:60] for _, line in COMMANDS])
def test_commands_are_understood(page: str, line: str) -> None:
    words = shlex.split(line, comments=True)
    words = words[words.index("pellucid") + 1 if "pellucid" in words else 1 :]
    group = typer.main.get_command(app)
    verb = group.commands[words[0]]  # type: ignore[attr-defined]
    verb.make_context(words[0], words[1:])


@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.name
)
def test_python_runs(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    quick = functools.partial(pellucid.train, epochs=1, baselines=False, quiet=True, threads=1)
    monkeypatch.setattr(pellucid, "train", quick, raising=False)
    for block in blocks(page, "python"):
        exec(compile(block, str(page), "exec"), {})
    assert "value" in capsys.readouterr().out


TABLE = re.findall(
    r"^\| `(\w+)` \| .*? \| ([\d×]+) → (\d+) \| ([\d,]+) \| ([\d,]+) \| (\d+) \|$",
    (ROOT / "docs" / "networks.md").read_text(encoding="utf-8"),
    re.MULTILINE,
)


def test_the_table_names_every_network() -> None:
    assert [row[0] for row in TABLE] == list(MODELS)


@pytest.mark.parametrize("row", TABLE, ids=[row[0] for row in TABLE])
def test_the_table_of_networks_is_true(row: tuple[str, ...]) -> None:
    name, shape, classes, parameters, macs, depth = row
    account = pellucid.inspect(name, input=shape, classes=int(classes))
    assert (f"{account.parameters:,}", f"{account.macs:,}", str(account.depth)) == (
        parameters,
        macs,
        depth,
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target
