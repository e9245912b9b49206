from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from ..engine.weights import CatalogEntry


def command(
    action: str = typer.Argument("list", help="list, get or verify."),
    names: list[str] = typer.Argument(
        None, help="Names that `list` shows; without any, all of them (`get` wants one)."
    ),
    as_json: bool = typer.Option(False, "--json", help="The result as JSON on stdout."),
) -> None:
    """Published weights: list them with licence and score, get them (mirror, cache or network),
    verify those that are here."""
    from ..engine.weights import weights

    shelves = weights(action, names or [], quiet=as_json)
    if as_json:
        print(json.dumps([shelf.to_json() for shelf in shelves], ensure_ascii=False))
    elif action == "verify":
        print(
            "\n".join(map(_verdict, shelves))
            or "none of the published weights are here; `pellucid weights get NAME` fetches them"
        )
    else:
        print("\n".join(map(_described, shelves)))
        _explain_prefixes(shelves)
    raise typer.Exit(1 if any(shelf.whole is False for shelf in shelves) else 0)


def _described(shelf: CatalogEntry) -> str:
    entry = shelf.weights
    size = f"{shelf.size / 1e6:.1f} MB" if shelf.size else "size unknown"
    place = (
        f"in the {shelf.where}: {shelf.path}"
        if shelf.where
        else "not here" + ("" if entry.address else ", only a mirror can give it")
    )
    return (
        f"{entry.name}: {entry.score}; {size}; {place}\n"
        f"  licence: {entry.licence}\n"
        f"  commercial use: {entry.commercial}; sha256 "
        f"{entry.sha256}{'' if len(entry.sha256) == 64 else ' (its beginning)'}"
    )


def _verdict(shelf: CatalogEntry) -> str:
    entry = shelf.weights
    if shelf.path is None:
        return f"{entry.name}: not here"
    extent = (
        "" if len(entry.sha256) == 64 else f", as far as it is known ({len(entry.sha256)} digits)"
    )
    return (
        f"{entry.name}: "
        f"{f'sha256 agrees{extent}' if shelf.whole else 'WRONG: not the published file'}; "
        f"{shelf.path}"
    )


def _explain_prefixes(shelves: list[CatalogEntry]) -> None:
    if any(len(shelf.weights.sha256) < 64 for shelf in shelves):
        print(
            "(its beginning): all that is published of that sha256; it tells a damaged file, "
            "not a forged one",
            file=sys.stderr,
        )
