"""What a verb tells while it works: on stderr, so that stdout stays free for results."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def clock(seconds: float) -> str:
    """`2:05`, minutes and seconds."""
    return f"{int(seconds // 60)}:{int(seconds % 60):02d}"


class Say:
    """Lines always; a progress bar only where somebody looks at a terminal."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet

    def line(self, text: str) -> None:
        if not self.quiet:
            print(text, file=sys.stderr, flush=True)

    def track(self, items: Iterable[T], what: str, total: int) -> Iterator[T]:
        """The items, with a bar that disappears when they are done."""
        if self.quiet or not sys.stderr.isatty():
            yield from items
            return
        from rich.console import Console
        from rich.progress import track

        yield from track(
            items, description=what, total=total, console=Console(stderr=True), transient=True
        )
