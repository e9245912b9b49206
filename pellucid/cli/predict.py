from __future__ import annotations

import json
import sys

import typer


def command(
    model: str = typer.Argument(help="A run folder, or a name of `pellucid weights list`."),
    pictures: list[str] = typer.Argument(
        help="Pictures, videos or volumes: files, folders or patterns."
    ),
    crops: str = typer.Option(
        "one",
        help=(
            "Views of each picture whose answers are made one: one or flip; for classes also ten, "
            "for objects tiles, for masks eight."
        ),
    ),
    with_models: list[str] = typer.Option(
        [],
        "--with",
        help="Another run to ask and to make one answer with; may be given several times.",
    ),
    threshold: float = typer.Option(
        None,
        help=(
            "Objects: the score, masks: the probability from which on something is said to be "
            "there."
        ),
    ),
    csv: str = typer.Option(None, help="Write a table of the answers here."),
    out: str = typer.Option(None, help="Write annotated copies into this folder."),
    device: str = typer.Option(None, help='"cpu", "cuda", "cuda:1".'),
    skip_bad: bool = typer.Option(
        False, "--skip-bad", help="Leave out pictures that cannot be read (at most 1 %)."
    ),
    as_json: bool = typer.Option(False, "--json", help="The answers as JSON on stdout."),
) -> None:
    """Ask a trained model about pictures, videos and volumes."""
    from ..engine.inference.predict import predict

    result = predict(
        model,
        pictures,
        crops=crops,
        with_models=with_models,
        threshold=threshold,
        csv=csv,
        out=out,
        device=device,
        skip_bad=skip_bad,
        quiet=as_json,
    )
    print(
        json.dumps(result.to_json(), ensure_ascii=False) if as_json else "\n".join(result.lines())
    )
    for _, reason in result.bad:
        print(f"left out: {reason}", file=sys.stderr)
    for what, where in (("table", csv), ("annotated copies", out)):
        if where is not None:
            print(f"{what}: {where}", file=sys.stderr)
