from __future__ import annotations

import dataclasses
import json
import sys
from typing import Any

import typer


def command(
    model: str = typer.Argument(help="A run folder, or a name of `pellucid weights list`."),
    data: str = typer.Argument(
        None, help="Pictures with answers; without it, the test part of the run's own data."
    ),
    crops: str = typer.Option(
        "one",
        help=(
            "Views of each picture whose answers are made one: one or flip; for classes also ten, "
            "for objects tiles, for masks eight."
        ),
    ),
    with_models: list[str] = typer.Option(
        [], "--with", help="Another run to average with; may be given several times."
    ),
    costs: str = typer.Option(
        None, help="CSV, classes x classes: what answering the column costs when the row is true."
    ),
    device: str = typer.Option(None, help='"cpu", "cuda", "cuda:1".'),
    skip_bad: bool = typer.Option(
        False, "--skip-bad", help="Leave out pictures that cannot be read (at most 1 %)."
    ),
    as_json: bool = typer.Option(False, "--json", help="The evidence as JSON on stdout."),
) -> None:
    """Score a trained model: every figure with its 95 % interval."""
    from ..engine.inference.evaluate import evaluate
    from ..plots.formatting import plural

    result = evaluate(
        model,
        data,
        crops=crops,
        with_models=with_models,
        costs=costs,
        device=device,
        skip_bad=skip_bad,
        quiet=as_json,
    )
    if as_json:
        print(json.dumps(dataclasses.asdict(result), ensure_ascii=False))
    else:
        print(
            f"{plural(result.pictures, 'picture')} "
            f"({'the test part' if result.part == 'test' else 'all that were given'})"
        )
        print("\n".join(_lines(result.evidence) + _gained(result.test_time)))
    for note in result.notes:
        print(note, file=sys.stderr)


def _lines(evidence: dict[str, Any]) -> list[str]:
    """A line a figure, then a line a class."""
    from ..plots.formatting import NO_SHARES, named

    units = {name: f" {unit}" for name, (_, unit) in NO_SHARES.items() if unit}
    scores = {name: score for name, score in evidence.items() if _is_score(score)}
    lines = [
        f"{named(name):<20} {_figure(score)}{units.get(name, '')}{_of(score)}"
        for name, score in scores.items()
    ]
    width = max((len(name) for name in evidence.get("per_class", {})), default=0)
    for name, scores in evidence.get("per_class", {}).items():
        parts = "  ".join(
            f"{key} {_figure(score)}" for key, score in scores.items() if _is_score(score)
        )
        lines.append(f"  {name:<{width}}  {parts}")
    return lines


def _gained(found: dict[str, Any]) -> list[str]:
    """What crops and an ensemble gained over the model as it is, and what that cost; nothing where
    neither was asked for."""
    if not found:
        return []
    from ..plots.formatting import named

    score = found["score"]
    lines = [
        (
            f"{'as it is':<20} {_figure(found['as_it_is'][score])}  ({named(score)} of the first "
            "model, one view a picture)"
        ),
        _gain("gain", found, named(score)),
    ]
    if "members" in found:
        best = found["over_best_member"]
        lines += [
            f"{'  a member':<20} {_figure(each[score])}  ({each['model']})"
            for each in found["members"]
        ]
        lines += [_gain("over the best member", best, best["model"])]
        lines += [f"{'over their mean':<20} {_signed(found['over_mean_of_members'])}"]
    cost = found["cost"]
    return [
        *lines,
        f"{'cost':<20} {cost['views_per_picture']:.0f} views a picture instead of 1: "
        f"{cost['ratio']:.1f} times the seconds "
        f"({cost['seconds']:.2f} instead of {cost['seconds_as_it_is']:.2f}; "
        f"{cost['pictures_per_second']:.0f} pictures a second "
        f"instead of {cost['pictures_per_second_as_it_is']:.0f})",
    ]


def _gain(name: str, found: dict[str, Any], what: str) -> str:
    if found["gain"]["value"] is not None:
        what += f"; {found['test']}, p = {found['p']:.2g}"
    return f"{name:<20} {_signed(found['gain'])}  ({what})"


def _signed(score: dict[str, Any]) -> str:
    if score["value"] is None:
        return "undefined"
    reach = "" if score["low"] is None else f" [{score['low']:+.4f}, {score['high']:+.4f}]"
    return f"{score['value']:+.4f}{reach}"


def _is_score(value: Any) -> bool:
    return isinstance(value, dict) and "interval" in value


def _of(score: dict[str, Any]) -> str:
    """What the interval is; of a figure that is undefined, why."""
    if score["value"] is None:
        return "  (there is nothing to measure it on)"
    return f"  ({score['interval'] or 'no interval'})"


def _figure(score: dict[str, Any]) -> str:
    if score["value"] is None:
        return "undefined"
    if score["low"] is None:
        return f"{score['value']:.4f}"
    return f"{score['value']:.4f} [{score['low']:.4f}, {score['high']:.4f}]"
