"""Print figures of the structure of the package `pellucid`: sizes, functions, classes, imports.

    python tools/structure.py [ROOT] [--json]

ROOT: a repository with the folder `pellucid` (default: that of this script). Files are parsed, not
imported. The text shows the first rows of each list, the JSON all of them.

- The length of a function is the number of lines from `def` to its end. Nested functions count.
- A public method has a name without a leading underscore; properties and static methods count.
- A result field is an annotated field of the class `Prediction` in core/types.py or of a class
  in tasks/*/result.py. A None test is `x.field is None` or `x.field is not None` with the name
  of such a field; the type of `x` is not known here.
- An import is an edge to the module it names: `from package import name` to `package.name`
  where that is a module, otherwise to the `__init__` of the package.
- A top-level import stands neither in a function nor below `if TYPE_CHECKING`.
- An upward import goes from a package to a later one in the order of the packages: the old order
  where all packages are in it, otherwise the new one. Modules beside the packages
  (`pellucid/__init__.py`) and packages without a place are left out.
"""

from __future__ import annotations

import argparse
import ast
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

NAME = "pellucid"
OLD_ORDER = "core models anatomy tasks engine lab cli"
NEW_ORDER = (
    "core data metrics transforms losses plots baselines anatomy models tasks checks engine "
    "runtime inspection experiments diagnosis explanation serving apps cli"
)
LINE_LIMIT, FILE_LIMIT = 100, 400
SHOWN = 20
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True)
class Module:
    """One file: dotted name, path relative to the root, top-level package, lines, syntax tree."""

    name: str
    path: str
    package: str
    lines: list[str]
    tree: ast.Module

    def at(self, node: Any) -> str:
        return f"{self.path}:{node.lineno}"


@dataclass(frozen=True)
class Edge:
    """One import of a module by another one."""

    source: Module
    target: Module
    line: int
    top_level: bool


Modules = Mapping[str, Module]


def read(root: Path) -> dict[str, Module]:
    """All modules of the package by dotted name."""
    modules = [parse(file, file.relative_to(root)) for file in sorted((root / NAME).rglob("*.py"))]
    return {module.name: module for module in modules}


def parse(file: Path, path: Path) -> Module:
    text = file.read_text(encoding="utf-8")
    name = ".".join(path.with_suffix("").parts).removesuffix(".__init__")
    package = path.parts[1] if len(path.parts) > 2 else ""
    return Module(name, path.as_posix(), package, text.splitlines(), ast.parse(text, str(file)))


def nodes(modules: Modules, kind: Any) -> Iterator[tuple[Module, Any]]:
    """Every syntax node of a kind, with its module."""
    for module in modules.values():
        yield from ((module, node) for node in ast.walk(module.tree) if isinstance(node, kind))


def packages(modules: Modules) -> list[dict[str, Any]]:
    """Files, lines and share of lines of each package, most lines first."""
    files = Counter(module.package for module in modules.values())
    lines = Counter(module.package for module in modules.values() for _ in module.lines)
    largest = next((name for name, _ in lines.most_common() if name != "tasks"), None)
    return [
        {"package": name or f"({NAME})", "files": files[name], "lines": count}
        | {"share": round(count / lines.total(), 4), "largest_except_tasks": name == largest}
        for name, count in lines.most_common()
    ]


def long_files(modules: Modules) -> list[str]:
    sizes = sorted(((len(each.lines), each.path) for each in modules.values()), reverse=True)
    return [f"{path}: {count} lines" for count, path in sizes if count > FILE_LIMIT]


def long_lines(modules: Modules) -> list[str]:
    numbered = [(each.path, pair) for each in modules.values() for pair in enumerate(each.lines, 1)]
    return [f"{path}:{number}" for path, (number, line) in numbered if len(line) > LINE_LIMIT]


def functions(modules: Modules) -> list[dict[str, Any]]:
    """All functions, the longest first. Statements do not depend on the width of lines."""
    found = [
        (node.end_lineno - node.lineno + 1, statements(node), node.name, module.at(node))
        for module, node in nodes(modules, FUNCTIONS)
    ]
    keys = ("lines", "statements", "function", "place")
    return [dict(zip(keys, row, strict=True)) for row in sorted(found, reverse=True)]


def statements(function: ast.AST) -> int:
    """The statements of a function, nested ones too, without its docstring."""
    found = sum(isinstance(node, ast.stmt) for node in ast.walk(function)) - 1
    return found - (ast.get_docstring(function) is not None)  # type: ignore[arg-type]


def quantiles(rows: Sequence[Mapping[str, Any]], unit: str) -> dict[str, int]:
    """Number of functions and the quantiles of their lengths, in "lines" or "statements"."""
    found = sorted((row[unit] for row in rows), reverse=True) or [0]
    middle, tenth = found[len(found) // 2], found[len(found) // 10]
    return {"count": len(rows), "median": middle, "percentile_90": tenth, "longest": found[0]}


def task_classes(modules: Modules) -> list[dict[str, Any]]:
    """The classes in tasks/ with the number of their public methods, most methods first."""
    found = [pair for pair in nodes(modules, ast.ClassDef) if pair[0].package == "tasks"]
    rows = [class_row(module, node) for module, node in found]
    return sorted(rows, key=itemgetter("methods"), reverse=True)


def class_row(module: Module, node: ast.ClassDef) -> dict[str, Any]:
    methods = [each for each in node.body if isinstance(each, FUNCTIONS)]
    public = {each.name for each in methods if not each.name.startswith("_")}
    abstract = {each.name for each in methods if "abstractmethod" in names(each.decorator_list)}
    row = {"methods": len(public), "abstract": len(abstract), "class": node.name}
    interface = bool(names(node.bases) & {"ABC", "Protocol"})
    return row | {"place": module.at(node), "interface": interface}


def names(parts: Sequence[ast.AST]) -> set[str]:
    """The names and attributes in some expressions."""
    found = [node for part in parts for node in ast.walk(part)]
    return {getattr(node, "id", getattr(node, "attr", "")) for node in found}


def result_fields(modules: Modules) -> list[str]:
    """The names of the fields of result classes, but for `source` and `size`: much
    else has them."""
    found = [node for module, node in nodes(modules, ast.ClassDef) if is_result(module, node)]
    fields = [each for node in found for each in node.body if isinstance(each, ast.AnnAssign)]
    found_names = {each.target.id for each in fields if isinstance(each.target, ast.Name)}
    return sorted(found_names - {"source", "size"})


def is_result(module: Module, node: ast.ClassDef) -> bool:
    if module.path == f"{NAME}/core/types.py":
        return node.name == "Prediction"
    return module.package == "tasks" and module.path.endswith("/result.py")


def none_tests(modules: Modules) -> list[dict[str, str]]:
    """The comparisons of a result field with None."""
    fields, rows = result_fields(modules), []
    for module, node in nodes(modules, ast.Compare):
        match node.left, node.ops, node.comparators:
            case ast.Attribute(value=base, attr=field), [ast.Is() | ast.IsNot()], [
                ast.Constant(value=None)
            ] if not is_other(module, base):
                rows.append({"field": field, "place": module.at(node)})
    return [row for row in rows if row["field"] in fields]


def is_other(module: Module, base: ast.expr) -> bool:
    """Whether what is tested is no result: settings, or `self` outside of the results."""
    name = getattr(base, "id", "")
    own = module.path == f"{NAME}/core/types.py" or module.path.endswith("/result.py")
    return name in ("s", "settings", "recipe") or (name == "self" and not own)


def edges(modules: Modules) -> list[Edge]:
    """All imports of modules of the package by each other."""
    found = [(each, *pair) for each in modules.values() for pair in import_nodes(each.tree, True)]
    return [
        Edge(module, modules[target], node.lineno, top_level)
        for module, node, top_level in found
        for target in sorted(targets(node, module, set(modules)) - {module.name})
    ]


def import_nodes(node: ast.AST, top_level: bool) -> Iterator[tuple[Any, bool]]:
    """Every import statement below a node, and whether it is a top-level one."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        yield node, top_level
    checking = isinstance(node, ast.If) and "TYPE_CHECKING" in names([node.test])
    later = getattr(node, "body", []) if checking or isinstance(node, FUNCTIONS) else []
    for child in ast.iter_child_nodes(node):
        yield from import_nodes(child, top_level and child not in later)


def targets(node: ast.Import | ast.ImportFrom, module: Module, known: set[str]) -> set[str]:
    """The modules of the package that an import statement names."""
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names} & known
    base = import_base(node, module)
    wanted = {f"{base}.{alias.name}" for alias in node.names}
    return wanted if wanted <= known else (wanted | {base}) & known


def import_base(node: ast.ImportFrom, module: Module) -> str:
    """The absolute dotted name before `import`."""
    if not node.level:
        return node.module or ""
    parts = module.name.split(".")
    above = node.level - module.path.endswith("/__init__.py")
    return ".".join([*parts[: len(parts) - above], *filter(None, [node.module])])


def cycles(found: Sequence[Edge]) -> list[list[str]]:
    """The strongly connected components of more than one module, the largest first."""
    graph: dict[str, set[str]] = defaultdict(set)
    for edge in found:
        graph[edge.source.name].add(edge.target.name)
    reached = {name: reachable(name, graph) for name in list(graph)}
    mutual = [{each for each in reached[name] if name in reached.get(each, ())} for name in reached]
    groups = {tuple(sorted(group)) for group in mutual if group}
    return [list(group) for group in sorted(groups, key=lambda group: (-len(group), group))]


def reachable(start: str, graph: Mapping[str, set[str]]) -> set[str]:
    """The modules that the imports of `start` lead to; `start` itself only in a cycle."""
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        new = graph.get(waiting.pop(), set()) - seen
        seen |= new
        waiting += new
    return seen


def upward(order: Sequence[str], found: Sequence[Edge]) -> list[str]:
    """The imports of a later package by an earlier one."""
    rank = {name: number for number, name in enumerate(order)}
    placed = [edge for edge in found if {edge.source.package, edge.target.package} <= set(rank)]
    wrong = [each for each in placed if rank[each.target.package] > rank[each.source.package]]
    return [f"{each.source.path}:{each.line} -> {each.target.name}" for each in wrong]


def figures(root: Path) -> dict[str, Any]:
    """All figures of a repository."""
    modules = read(root)
    used = {module.package for module in modules.values() if module.package}
    order = (NEW_ORDER if used - set(OLD_ORDER.split()) else OLD_ORDER).split()
    found, sizes = edges(modules), functions(modules)
    classes, tests = task_classes(modules), none_tests(modules)
    return {
        "root": str(root),
        "files": len(modules),
        "lines": sum(len(module.lines) for module in modules.values()),
        "packages": packages(modules),
        "functions": quantiles(sizes, "lines"),
        "functions_in_statements": quantiles(sizes, "statements"),
        "longest_functions": sizes[:SHOWN],
        "task_classes": classes,
        "task_interfaces": [row for row in classes if row["interface"]],
        "result_fields": " ".join(result_fields(modules)),
        "none_tests": tests,
        "none_tests_by_field": dict(Counter(row["field"] for row in tests).most_common()),
        "import_cycles": cycles(found),
        "import_cycles_top_level": cycles([edge for edge in found if edge.top_level]),
        "package_order": " ".join(order),
        "packages_without_place": sorted(used - set(order)),
        "upward_imports": upward(order, found),
        "long_lines": long_lines(modules),
        "long_files": long_files(modules),
    }


def text(value: Any) -> str:
    """A value in one line; of a dictionary the flags that are true and the other values."""
    if isinstance(value, dict):
        shown = [(key.replace("_", " "), each) for key, each in value.items() if each is not False]
        return ", ".join(key if each is True else f"{key} {each}" for key, each in shown)
    return " ".join(value) if isinstance(value, list) else str(value)


def report(found: Mapping[str, Any]) -> Iterator[str]:
    """The figures as lines of text."""
    for name, value in found.items():
        rows = value if isinstance(value, list) else []
        yield f"{name.replace('_', ' ')}: {len(rows) if rows or value == [] else text(value)}"
        yield from (f"  {text(row)}" for row in rows[:SHOWN])
        yield from [f"  and {len(rows) - SHOWN} more"] * (len(rows) > SHOWN)


def main() -> None:
    parser = argparse.ArgumentParser(description="Print figures of the structure of the package.")
    parser.add_argument("root", nargs="?", type=Path, default=Path(__file__).parents[1])
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = figures(given.root.resolve())
    print(json.dumps(found, indent=1) if given.json else "\n".join(report(found)))


if __name__ == "__main__":
    main()
