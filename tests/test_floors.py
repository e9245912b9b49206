"""Each folder imports only from the folders above it in the house."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HOUSE = Path(__file__).resolve().parent.parent / "pellucid"
FLOORS = ["core", "models", "anatomy", "tasks", "engine", "lab", "doctor", "explain", "serve", "apps", "cli"]


def imported(source: str, module: str) -> Iterator[str]:
    """The absolute names of all that a module imports, relative and nested imports and those for type checkers included."""
    package = module.split(".")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            prefix = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{prefix}.{alias.name}" for alias in node.names)


def breaches(source: str, package: str) -> list[str]:
    """What a file of `package` imports from its own house that it must not."""
    floor = package.split(".")[1]
    found = []
    for name in imported(source, package):
        parts = name.split(".")
        if parts[0] != "pellucid" or len(parts) < 2:
            if parts == ["pellucid"] and floor not in ("apps", "cli"):
                found.append(name)
            continue
        if floor == "apps":
            if parts[1] in FLOORS and parts[1] != "apps":
                found.append(name)
        elif parts[1] in FLOORS:
            if FLOORS.index(parts[1]) > FLOORS.index(floor):
                found.append(name)
        elif parts[1] != "__version__":
            found.append(name)
    return found


FILES = sorted(path for path in HOUSE.rglob("*.py") if path.parent != HOUSE)


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(HOUSE)) for path in FILES])
def test_imports_only_from_floors_above(path: Path) -> None:
    package = ".".join(["pellucid", *path.parent.relative_to(HOUSE).parts])
    assert path.parent.relative_to(HOUSE).parts[0] in FLOORS
    assert breaches(path.read_text(encoding="utf-8"), package) == []


@pytest.mark.parametrize(
    ("line", "package"),
    [
        ("from ..engine import train", "pellucid.tasks"),
        ("from .. import engine", "pellucid.tasks"),
        ("from pellucid import engine", "pellucid.models"),
        ("import pellucid.engine.train as t", "pellucid.core"),
        ("import pellucid", "pellucid.core"),
        ("from pellucid import train", "pellucid.engine"),
        ("from ...tasks import TASKS", "pellucid.core.formats"),
        ("def f():\n    from ..cli import app", "pellucid.engine"),
        ("from pellucid.core import boxes", "pellucid.apps.door"),
    ],
)
def test_a_breach_is_found(line: str, package: str) -> None:
    assert breaches(line, package)


def test_rooms_never_import_each_other() -> None:
    rooms = {path.stem for path in (HOUSE / "tasks").glob("*.py")} - {"__init__", "task"}
    for room in rooms:
        names = set(imported((HOUSE / "tasks" / f"{room}.py").read_text(encoding="utf-8"), "pellucid.tasks"))
        assert not {name for name in names for other in rooms - {room} if name.startswith(f"pellucid.tasks.{other}")}


def test_importing_pellucid_and_its_help_loads_no_torch() -> None:
    code = "import sys, pellucid, pellucid.cli; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_nothing_reads_pickles() -> None:
    """Published weights are pickles: only `models/weights.py` opens one, and only so that it cannot run code."""
    for path in HOUSE.rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        names = set(imported(source, "pellucid.x"))
        assert not names & {"pickle", "cloudpickle", "joblib", "dill"}, path
        loads = [
            node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("torch.load")
        ]
        assert not loads or path == HOUSE / "models" / "weights.py", path
        assert all({"weights_only=True"} <= {f"{k.arg}={ast.unparse(k.value)}" for k in call.keywords} for call in loads), path
        assert source.count("torch.load") == len(loads) and not {"torch.load", "torch.serialization.load"} & names, path
        assert "torch.save(" not in source, path
