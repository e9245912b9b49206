from __future__ import annotations

import json
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from ..experiments.compare import Comparison


def command(
    runs: list[str] = typer.Argument(
        help="Run folders of one task; those that differ only in their seed or fold are one arm."
    ),
    against: str = typer.Option(
        None, help="The run that the others are held against; the first, unless said."
    ),
    score: str = typer.Option(
        None,
        help="The test score that is compared. [accuracy, dice, psnr or map, as the task has it]",
    ),
    out: str = typer.Option(
        None,
        help=(
            "Folder of the page; runs/compare/<names>[-N], unless said. "
            "Never over a page that is there."
        ),
    ),
    as_json: bool = typer.Option(False, "--json", help="The comparison as JSON on stdout."),
) -> None:
    """Hold runs against each other: scores with intervals, paired tests, curves,
    and what can be concluded."""
    from pathlib import Path

    from ..core.errors import UsageError
    from ..engine.run.folders import create
    from ..experiments.compare import compare, write

    if len({Path(run).resolve() for run in runs}) < 2:
        raise UsageError("one run alone cannot be compared; name two or more run folders")
    if out is not None and (Path(out) / "index.html").exists():
        raise UsageError(
            f"--out {out}: there is a page in this folder already, which is not overwritten; "
            "name another one"
        )
    found = compare(runs, against, score)
    described = found.to_json()
    if out is None:
        name = "-".join(arm.name for arm in found.arms)[:80]
        folder = create("compare", name, {"comparison.json": json.dumps(described)})
    else:
        folder = Path(out)
    page = write(found, folder)
    if as_json:
        print(json.dumps({"page": str(page), **described}, ensure_ascii=False))
    else:
        print(
            "\n".join(
                [
                    *_table(found),
                    "",
                    found.summary,
                    *(f"- {said}" for said in found.sentences.values()),
                    *found.notes,
                ]
            )
        )
        print(f"page: {page}")


def _table(found: Comparison) -> list[str]:
    """A line an arm: runs, score, difference."""
    from ..experiments.compare_text import chance, figure, reach, signed

    differences = {difference.arm: difference for difference in found.differences}
    width = max(len(arm.name) for arm in found.arms)
    lines = []
    for arm in found.arms:
        line = (
            f"{arm.name:<{width}}  {len(arm.runs)} run{' ' if len(arm.runs) == 1 else 's'}  "
            f"{figure(arm.test, found.score):<20}"
        )
        if difference := differences.get(arm.name):
            line += (
                f"  {signed(difference.mean, found.score)}{reach(difference, found.score)}, "
                f"{chance(difference.adjusted)}"
            )
        lines.append(line + ("  reference" if arm.name == found.against else ""))
    return lines
