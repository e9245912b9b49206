from __future__ import annotations

import json
from pathlib import Path

import typer


def command(
    study: str = typer.Argument(
        help="A shipped study (`list` shows them), a .toml file, or `figures`."
    ),
    data: str = typer.Argument(
        None, help="A folder, file or `digits`, in place of the study's own data."
    ),
    name: str = typer.Option(None, help="Of the study's folder: runs/lab/<name>."),
    seeds: str = typer.Option(None, help="In place of the study's own: 0,1,2."),
    budget: float = typer.Option(None, help="Minutes after which no further run is started."),
    jobs: int = typer.Option(None, help="Runs at once. [the number of cores]"),
    dry_run: bool = typer.Option(False, "--dry-run", help="Only say what would be run."),
    out: str = typer.Option(None, help="Of `figures`: the folder they are written to."),
    as_json: bool = typer.Option(False, "--json", help="The result as JSON on stdout."),
) -> None:
    """Run a study, only what it lacks: many trainings that differ in what is studied, and one page
    of what follows.

    Begin with `pellucid lab list`. `pellucid lab figures --out DIR` draws the figures.
    """
    given = {
        "data": data,
        "--name": name,
        "--seeds": seeds,
        "--budget": budget,
        "--jobs": jobs,
        "--dry-run": dry_run or None,
    }
    if study == "list":
        _alone("lab list", given | {"--out": out})
        _list(as_json)
    elif study == "figures":
        _alone("lab figures", given | {"--json": as_json or None})
        _figures(out)
    else:
        _alone("lab STUDY", {"--out": out})
        from ..experiments.study import lab as run

        result = run(
            study,
            data,
            name=name,
            seeds=_seeds(seeds),
            budget=budget,
            jobs=jobs,
            dry_run=dry_run,
            quiet=as_json,
        )
        print(
            json.dumps(result.to_json(), ensure_ascii=False)
            if as_json
            else result.plan()
            if dry_run
            else result.text()
        )
        raise typer.Exit(1 if result.failed and not dry_run else 0)


def _alone(what: str, given: dict[str, object]) -> None:
    """Raises UsageError for what was given and would do nothing."""
    from ..core.errors import UsageError

    if idle := [option for option, value in given.items() if value is not None]:
        raise UsageError(f"{what}: {idle[0]} does nothing here; leave it out")


def _list(as_json: bool) -> None:
    from ..experiments import plan

    studies = [plan.load(plan.find(name)) for name in plan.names()]
    if as_json:
        print(
            json.dumps(
                [
                    {"name": s.name, "question": s.question, "expected": s.expected, "seen": s.seen}
                    for s in studies
                ]
            )
        )
    else:
        print(
            "\n".join(
                f"{s.name:<16} {s.question} {len(s.runs())} runs on {s.data}" for s in studies
            )
        )


def _figures(out: str | None) -> None:
    from ..core.errors import UsageError
    from ..experiments.figures import write_figures

    if out is None:
        raise UsageError("lab figures: say where to with --out DIR")
    print("\n".join(str(path) for path in write_figures(Path(out))))


def _seeds(text: str | None) -> tuple[int, ...] | None:
    from ..core.errors import UsageError

    try:
        return None if text is None else tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--seeds: {text!r} is not a list of whole numbers; write 0,1,2") from None
