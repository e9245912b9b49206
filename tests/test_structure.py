"""The figures of the code base, and the drawing of its packages, are those of the code."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent


def printed(*words: str) -> str:
    run = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=True)
    return run.stdout


@pytest.fixture(scope="module")
def figures() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(printed(str(ROOT / "tools" / "structure.py"), "--json"))
    return found


def test_no_cycles_and_no_upward_imports(figures: dict[str, Any]) -> None:
    assert figures["import_cycles"] == [] and figures["upward_imports"] == []
    assert figures["packages_without_place"] == []


def test_no_package_but_tasks_is_over_a_fifth(figures: dict[str, Any]) -> None:
    assert max(p["share"] for p in figures["packages"] if p["package"] != "tasks") <= 0.2


def test_functions_and_lines_are_short(figures: dict[str, Any]) -> None:
    assert figures["functions"]["longest"] <= 60
    assert figures["functions_in_statements"]["median"] <= 4
    assert figures["functions_in_statements"]["percentile_90"] <= 13


def test_parts_of_tasks_have_at_most_seven_methods(figures: dict[str, Any]) -> None:
    assert [row for row in figures["task_classes"] if row["methods"] > 7] == []


def test_figures_are_those_of_a_known_tree(tmp_path: Path) -> None:
    """Counted by hand: a cycle of two modules and one import upward."""
    for name, text in {
        "__init__.py": "",
        "core/__init__.py": "",
        "core/a.py": "from . import b\n\n\ndef f():\n    x = 1\n    return x\n",
        "core/b.py": "from . import a\nfrom ..models import c\n",
        "models/__init__.py": "",
        "models/c.py": "",
    }.items():
        path = tmp_path / "pellucid" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    words = (str(ROOT / "tools" / "structure.py"), "--json", str(tmp_path))
    found = json.loads(printed(*words))
    assert found["files"] == 6
    assert found["functions"] | {"count": 1, "median": 3, "longest": 3} == found["functions"]
    assert found["functions_in_statements"]["longest"] == 2
    assert len(found["import_cycles"]) == 1 and len(found["upward_imports"]) == 1


def test_the_drawing_shows_the_packages_that_exist(tmp_path: Path) -> None:
    printed(str(ROOT / "tools" / "architecture.py"), str(tmp_path / "drawing.svg"))
    drawn = (tmp_path / "drawing.svg").read_text(encoding="utf-8")
    shown = (ROOT / "docs" / "architecture.svg").read_text(encoding="utf-8")
    packages = [path.parent.name for path in (ROOT / "pellucid").glob("*/__init__.py")]
    assert drawn == shown and all(f">{name}<" in drawn for name in packages)
