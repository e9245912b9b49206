from __future__ import annotations

import dataclasses
import json
import sys
from typing import Any

import typer


def command(
    model: str = typer.Argument(help="A run folder, or a name of `pellucid weights list`."),
    data: str = typer.Argument(None, help="Pictures with answers; without it, the test part of the run's own data."),
    costs: str = typer.Option(None, help="CSV, classes x classes: what answering the column costs when the row is true."),
    device: str = typer.Option(None, help='"cpu", "cuda", "cuda:1".'),
    skip_bad: bool = typer.Option(False, "--skip-bad", help="Leave out pictures that cannot be read (at most 1 %)."),
    as_json: bool = typer.Option(False, "--json", help="The evidence as JSON on stdout."),
) -> None:
    """Score a trained model: every figure with its 95 % interval."""
    from ..engine.evaluate import evaluate

    result = evaluate(model, data, costs=costs, device=device, skip_bad=skip_bad, quiet=as_json)
    if as_json:
        print(json.dumps(dataclasses.asdict(result), ensure_ascii=False))
    else:
        print(f"{result.pictures} pictures ({'the test part' if result.part == 'test' else 'all that were given'})")
        print("\n".join(_lines(result.evidence)))
    for note in result.notes:
        print(note, file=sys.stderr)


def _lines(evidence: dict[str, Any]) -> list[str]:
    """A line a figure; classes by their recall."""
    lines = [
        f"{name.replace('_', ' '):<20} {_figure(score)}  ({score['interval']})" for name, score in evidence.items() if _is_score(score)
    ]
    width = max((len(name) for name in evidence.get("per_class", {})), default=0)
    for name, scores in evidence.get("per_class", {}).items():
        parts = "  ".join(f"{key} {_figure(scores[key])}" for key in ("precision", "recall", "f1"))
        lines.append(f"  {name:<{width}}  {parts}")
    return lines


def _is_score(value: Any) -> bool:
    return isinstance(value, dict) and "interval" in value


def _figure(score: dict[str, Any]) -> str:
    if score["value"] is None:
        return "undefined"
    return f"{score['value']:.4f} [{score['low']:.4f}, {score['high']:.4f}]"
