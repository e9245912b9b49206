from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path

import typer

from ..core.errors import UsageError

USAGE = {
    "picture": "pellucid inspect --filter sobel_x PICTURE --out FILE.png",
    "network": "pellucid inspect resnet18",
}
# Which other options go with which question; "" is the plain account of a network.
TAKES = {
    "": ("input", "classes", "data", "html"),
    "gradcheck": ("input", "classes"),
    "look": ("out",),
    "expression": ("svg",),
    "filter": ("out",),
}


def command(
    words: list[str] = typer.Argument(
        None,
        metavar="NETWORK",
        help='A name ("resnet18"), a notation ("C16 B R P L10"), a run folder, or MODULE:FUNCTION '
        "or FILE.py:FUNCTION that returns an "
        "nn.Module; the last two run that code. With --expression its values (a=2 b=1), "
        "with --filter a picture.",
    ),
    input: str = typer.Option(None, help="Channels x height x width, as in 3x224x224."),
    classes: int = typer.Option(None, min=1, help="Answers of a named network (10)."),
    data: str = typer.Option(
        None, help="Hold it against this data set; sets input and classes as training would."
    ),
    html: Path = typer.Option(
        None, help="Also write one page with the drawing and the account to this file."
    ),
    gradcheck: bool = typer.Option(
        False,
        "--gradcheck",
        help="Hold every gradient against central differences; 1 if one is wrong.",
    ),
    look: Path = typer.Option(
        None, help="A picture; write what the layers of a trained network make of it to --out."
    ),
    expression: str = typer.Option(
        None, help='Instead of a network, an expression as a graph: "(a+b)*(b+1)" a=2 b=1.'
    ),
    svg: Path = typer.Option(None, help="Draw the graph of --expression to this file."),
    filter: str = typer.Option(
        None,
        help='Instead of a network, a filter on a picture, to --out: "sobel_x", "gabor", "all".',
    ),
    out: Path = typer.Option(None, help="The picture that --look or --filter writes."),
    as_json: bool = typer.Option(False, "--json", help="The result as JSON on stdout."),
) -> None:
    """Shapes, parameters, multiplications, memory and receptive field of each layer,
    before anything runs."""
    options = dict(input=input, classes=classes, data=data, html=html, svg=svg, out=out)
    asked = dict(gradcheck=gradcheck or None, look=look, expression=expression, filter=filter)
    _fits(
        [name for name, value in asked.items() if value is not None],
        [name for name, value in options.items() if value is not None],
    )
    if expression is not None:
        return _graph(expression, words or [], svg, as_json)
    word = _only(words or [], "picture" if filter is not None else "network")
    if filter is not None or look is not None:
        return _picture(filter, word, look, out, as_json)
    if gradcheck:
        return _gradients(word, input, classes, as_json)
    return _account(word, input, classes, data, html, as_json)


def _only(words: list[str], what: str) -> str:
    if len(words) != 1:
        usage = "" if words else f"; {USAGE[what]}"
        raise UsageError(f"name one {what}, not {len(words)}{usage}")
    return words[0]


def _fits(asked: list[str], options: list[str]) -> None:
    """Raises UsageError for two questions at once, and for an option that belongs to
    another one."""
    if len(asked) > 1:
        raise UsageError(f"--{asked[0]} and --{asked[1]} are two questions; ask one at a time")
    question = asked[0] if asked else ""
    for option in options:
        if option not in TAKES[question]:
            owners = [
                f"--{name}" if name else "a plain inspect"
                for name, takes in TAKES.items()
                if option in takes
            ]
            raise UsageError(
                f"--{option} goes with "
                f"{' or '.join(owners)}{f', not with --{question}' if question else ''}; "
                "leave it out"
            )
    if question in ("look", "filter") and "out" not in options:
        raise UsageError(f"--{question} writes a picture; say where with --out FILE.png")


def _account(
    network: str,
    input: str | None,
    classes: int | None,
    data: str | None,
    html: Path | None,
    as_json: bool,
) -> None:
    from ..inspection.network import inspect

    # What a network of the user's own prints is not the account.
    with contextlib.redirect_stdout(sys.stderr):
        anatomy = inspect(
            network, input=input, classes=classes, data=data, html=html, quiet=as_json
        )
        anatomy.memory  # noqa: B018 - derived when it is first asked for, by passes of the network
    print(json.dumps(anatomy.to_json(), ensure_ascii=False) if as_json else anatomy.text())


def _graph(expression: str, values: list[str], svg: Path | None, as_json: bool) -> None:
    from ..inspection import graph

    result = graph.expression(expression, values, svg=svg)
    print(json.dumps(result.to_json(), ensure_ascii=False) if as_json else graph.describe(result))
    if not result.check.agrees:
        raise typer.Exit(1)


def _picture(
    filter: str | None, word: str, look: Path | None, out: Path | None, as_json: bool
) -> None:
    from ..inspection import feature_maps as looking

    assert out is not None
    said = (
        looking.filtered(filter, word, out)
        if filter is not None
        else looking.look(word, str(look), out)
    )
    print(json.dumps({"picture": str(out), "about": said}, ensure_ascii=False) if as_json else said)
    print(f"picture: {out}", file=sys.stderr)


def _gradients(network: str, input: str | None, classes: int | None, as_json: bool) -> None:
    from ..inspection.network import gradcheck

    with contextlib.redirect_stdout(sys.stderr):
        result = gradcheck(network, input=input, classes=classes)
    print(json.dumps(result.to_json(), ensure_ascii=False) if as_json else result.text())
    if not result.passed:
        raise typer.Exit(1)
