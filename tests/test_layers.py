"""Each package imports only from those above it, files and folders alike,
and no import cycle exists."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import pellucid

PACKAGE = Path(pellucid.__file__).resolve().parent
LAYERS = (
    *("core", "data", "metrics", "transforms", "losses", "plots", "baselines", "anatomy"),
    *("models", "tasks", "checks", "engine", "runtime", "inspection", "experiments"),
    *("diagnosis", "explanation", "serving", "apps", "cli"),
)
MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}


def imported(source: str, package: str) -> Iterator[str]:
    """The absolute names that a module of `package` imports, nested and type-checking ones too."""
    parents = package.split(".")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = parents[: len(parents) - node.level + 1] if node.level else []
            prefix = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{prefix}.{alias.name}" for alias in node.names)


def package_of(module: str) -> str:
    return module if MODULES[module].name == "__init__.py" else module.rpartition(".")[0]


def names_imported_by(module: str) -> list[str]:
    return list(imported(MODULES[module].read_text(encoding="utf-8"), package_of(module)))


def is_allowed(name: str, package: str) -> bool:
    """Whether a file in `package` ("pellucid.tasks.detection") may import `name`."""
    if name.split(".")[0] != "pellucid":
        return True
    layer, other = package.split(".")[1], [*name.split("."), ""][1]
    if layer == "apps":
        return name.split(".")[:3] == ["pellucid", "apps", "base"] or is_public(name, package)
    if other not in LAYERS:
        return layer == "cli" or other == "__version__"
    if layer == other == "tasks":
        return is_allowed_between_tasks(name.split("."), package.split("."))
    return LAYERS.index(other) <= LAYERS.index(layer)


def is_public(name: str, package: str) -> bool:
    """The top-level names of the package, or what is of the same application."""
    own = package.split(".")[:3]
    return name.split(".")[:3] == own or (
        name.count(".") <= 1 and name.split(".")[-1] not in LAYERS
    )


def is_allowed_between_tasks(name: list[str], package: list[str]) -> bool:
    """A task imports itself and what is shared; what is shared imports no task."""
    folders = {path.parent.name for path in (PACKAGE / "tasks").glob("*/__init__.py")}
    other = name[2] if len(name) > 2 and name[2] in folders else None
    own = package[2] if len(package) > 2 else None
    return other is None or other == own or (own is None and package == ["pellucid", "tasks"])


@pytest.mark.parametrize("module", [name for name in MODULES if name.count(".")])
def test_imports_come_from_layers_above(module: str) -> None:
    package = package_of(module)
    if package == "pellucid":  # pellucid/__main__.py
        return
    assert package.split(".")[1] in LAYERS
    assert [name for name in names_imported_by(module) if not is_allowed(name, package)] == []


@pytest.mark.parametrize(
    ("line", "package"),
    [
        ("from ..engine import train", "pellucid.tasks"),
        ("from .. import engine", "pellucid.tasks"),
        ("from pellucid import engine", "pellucid.models"),
        ("import pellucid.engine.run.train as t", "pellucid.core"),
        ("import pellucid", "pellucid.core"),
        ("from pellucid import train", "pellucid.engine"),
        ("from ....tasks import TASKS", "pellucid.data.formats.masks"),
        ("from ..detection.result import DetectionResult", "pellucid.tasks.segmentation"),
        ("from ..segmentation import TASK", "pellucid.tasks.detection"),
        ("from ...models import MODELS", "pellucid.anatomy.drawing"),
        ("def f():\n    from ..cli import app", "pellucid.engine"),
        ("from pellucid.core import boxes", "pellucid.apps.door"),
        ("from ..gate import rules", "pellucid.apps.door"),
    ],
)
def test_a_forbidden_import_is_found(line: str, package: str) -> None:
    assert not all(is_allowed(name, package) for name in imported(line, package))


@pytest.mark.parametrize(
    ("line", "package"),
    [
        ("from ..base import accounts", "pellucid.apps.door"),
        ("from . import rules", "pellucid.apps.door"),
        ("import pellucid", "pellucid.apps.door"),
        ("from pellucid import load", "pellucid.apps.door"),
        ("from ..shared import all_parameters", "pellucid.tasks.detection"),
        ("from .detection import TASK", "pellucid.tasks"),
    ],
)
def test_a_permitted_import_is_accepted(line: str, package: str) -> None:
    assert all(is_allowed(name, package) for name in imported(line, package))


def graph() -> dict[str, set[str]]:
    """Of each module the modules that it imports anywhere; the package of a name stands for it."""
    edges: dict[str, set[str]] = {}
    for module in MODULES:
        found = set()
        for name in names_imported_by(module):
            while name and name not in MODULES:
                name = name.rpartition(".")[0]
            found.add(name)
        edges[module] = found - {module, "", "pellucid"}
    return edges


def cycles(edges: dict[str, set[str]]) -> list[list[str]]:
    """Strongly connected components of more than one module (Tarjan 1972)."""
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(node: str) -> None:
        number[node] = low[node] = len(number)
        stack.append(node)
        for other in edges[node]:
            if other not in number:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], number[other])
        if low[node] == number[node]:
            at = stack.index(node)
            if len(stack) - at > 1:
                found.append(sorted(stack[at:]))
            del stack[at:]

    for node in edges:
        if node not in number:
            visit(node)
    return found


def test_no_import_cycles() -> None:
    assert cycles(graph()) == []


def test_a_cycle_is_found() -> None:
    assert cycles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == [["b", "c"]]


def test_public_functions_survive_importing_every_submodule() -> None:
    """A subpackage named like a public function would replace it as soon as it is imported."""
    for info in pkgutil.walk_packages([str(PACKAGE)], "pellucid."):
        if info.name != "pellucid.__main__":
            importlib.import_module(info.name)
    for name in pellucid.__all__:
        assert callable(getattr(pellucid, name)), name
    with pytest.raises(pellucid.PellucidError):
        pellucid.train("there/is/no/such/folder")


def test_importing_pellucid_and_its_help_loads_no_torch() -> None:
    code = (
        "import sys, pellucid, pellucid.cli; sys.exit('torch' in sys.modules or 'numpy' in "
        "sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_nothing_reads_pickles() -> None:
    """Published weights are pickles: only `models/weights.py` opens one,
    and only so that it cannot run code."""
    for module, path in MODULES.items():
        source = path.read_text(encoding="utf-8")
        names = set(names_imported_by(module))
        assert not names & {"pickle", "cloudpickle", "joblib", "dill"}, path
        loads = [
            node
            for node in ast.walk(ast.parse(source))
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("torch.load")
        ]
        assert not loads or path == PACKAGE / "models" / "weights.py", path
        options = [{f"{k.arg}={ast.unparse(k.value)}" for k in call.keywords} for call in loads]
        assert all("weights_only=True" in given for given in options), path
        assert source.count("torch.load") == len(loads), path
        assert not {"torch.load", "torch.serialization.load"} & names, path
        assert "torch.save(" not in source, path
