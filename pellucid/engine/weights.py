"""`pellucid weights`: what published weights there are, whose they are, and where they lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..core.errors import UsageError, did_you_mean
from ..models import weights as published
from ..models.weights import Weights
from .run.progress import Say

ACTIONS = ("list", "get", "verify")


@dataclass(frozen=True)
class CatalogEntry:
    """One entry of the catalogue, and where its file lies now: "mirror", "cache" or None. whole:
    what `verify` found, else None."""

    weights: Weights
    where: str | None
    path: Path | None
    whole: bool | None = None

    def to_json(self) -> dict[str, Any]:
        entry = asdict(self.weights) | {"bytes": self.size}
        # 8 digits of a hash tell a damaged file, not one that somebody made to have them.
        entry["sha256_is_whole"] = len(self.weights.sha256) == 64
        return entry | {
            "where": self.where,
            "path": str(self.path) if self.path else None,
            "whole": self.whole,
        }

    @property
    def size(self) -> int | None:
        """Bytes of the file, where known."""
        return self.path.stat().st_size if self.path else self.weights.bytes


def weights(
    action: str = "list", names: Sequence[str] = (), *, quiet: bool = False
) -> list[CatalogEntry]:
    """Published weights: `list` what there is, `get` files into the cache, `verify` those that are
    here by their sha256.

    names: of the catalogue; none means all, for `verify` all that are here. `get` wants at least
    one. Raises UsageError for an unknown action or name, and what `models.weights.get` raises.
    """
    if action not in ACTIONS:
        raise UsageError(f'weights: unknown action "{action}"; {did_you_mean(action, ACTIONS)}')
    if action == "get" and not names:
        raise UsageError(
            "weights get: name what to get, as in `pellucid weights get resnet18_imagenet`; "
            "`pellucid weights list` shows all"
        )
    entries = [published.entry_of(name) for name in names or published.CATALOGUE]
    if action == "get":
        for entry in entries:
            published.get(entry.name)
            Say(quiet).line(f"{entry.name}: licence {entry.licence}")
    shelves = [_shelf(entry) for entry in entries]
    if action == "verify":
        return [_verified(shelf) for shelf in shelves if names or shelf.path]
    return shelves


def _shelf(entry: Weights) -> CatalogEntry:
    return CatalogEntry(entry, *(published.here(entry.file) or (None, None)))


def _verified(shelf: CatalogEntry) -> CatalogEntry:
    whole = shelf.path is not None and published.is_whole(shelf.path, shelf.weights.sha256)
    return CatalogEntry(shelf.weights, shelf.where, shelf.path, whole)
