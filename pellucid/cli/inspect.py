from __future__ import annotations

import json

import typer


def command(
    network: str = typer.Argument(help='A name ("resnet18"), a notation ("C16 B R P L10"), or a run folder.'),
    input: str = typer.Option(None, help="Channels x height x width, as in 3x224x224."),
    classes: int = typer.Option(None, min=1, help="Answers of a named network (10)."),
    as_json: bool = typer.Option(False, "--json", help="The result as JSON on stdout."),
) -> None:
    """Shapes, parameters, activations and multiplications of each layer, before anything runs."""
    from ..engine.inspect import inspect

    anatomy = inspect(network, input=input, classes=classes)
    print(json.dumps(anatomy.to_json()) if as_json else anatomy.text())
