"""One file from its address: it goes on where it was cut off, is checked,
and is whole or not there."""

from __future__ import annotations

import hashlib
import http.client
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..core.errors import MachineError, ModelError

CHUNK = 1 << 18
TIMEOUT = 30.0


def download(address: str, target: Path, sha256: str) -> None:
    """What lies at `address`, to `target`; until it is whole and checked it is `<target>.part`,
    from which a later call goes on.

    sha256: hexadecimal, or its first digits. Raises MachineError when the address cannot be
    reached, the answer is cut off or the disk is full; ModelError for a file with another hash,
    which is removed.
    """
    part = target.with_name(f"{target.name}.part")
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        _fetch(address, part)
        with part.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
        if found.startswith(sha256):
            os.replace(part, target)
            return
        part.unlink()
    except urllib.error.HTTPError as error:
        raise _unreachable(
            address, target, f"the server answers {error.code} {error.reason}"
        ) from None
    except (
        urllib.error.URLError,
        ConnectionError,
        TimeoutError,
        http.client.HTTPException,
    ) as error:
        raise _unreachable(
            address, target, str(getattr(error, "reason", error)) or type(error).__name__
        ) from None
    except OSError as error:
        raise MachineError(
            f"{part}: could not be written ({error.strerror}); free some space or name another "
            "folder in PELLUCID_CACHE"
        ) from error
    raise ModelError(
        f"{address}: sent another file (sha256 {found[:8]}…, not {sha256[:8]}…), which was "
        "removed; try again, or use PELLUCID_MIRROR"
    )


def _unreachable(address: str, target: Path, reason: str) -> MachineError:
    advice = (
        f"try again, or get {target.name} elsewhere, "
        "put it into a folder and name that in PELLUCID_MIRROR"
    )
    return MachineError(f"{address}: cannot be fetched ({reason}); {advice}")


def _fetch(address: str, part: Path) -> None:
    """Appends what is missing; a server that cannot begin in the middle sends all of it again."""
    done = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(
        address, headers={"User-Agent": "pellucid"} | ({"Range": f"bytes={done}-"} if done else {})
    )
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        # nothing is missing; the hash decides whether it is the file
        if error.code == 416 and done:
            return
        raise
    with answer:
        if not (
            answer.status == 206
            and answer.headers.get("Content-Range", "").startswith(f"bytes {done}-")
        ):
            done = 0
        length = answer.headers.get("Content-Length")
        total = done + int(length) if length else None
        with part.open("ab" if done else "wb") as file:
            for chunk in _shown(iter(lambda: answer.read(CHUNK), b""), part.stem, done, total):
                file.write(chunk)
            file.flush()
            size = file.tell()
    if total is not None and size < total:
        raise ConnectionError(
            f"cut off after {size:,} of {total:,} bytes; the same command goes on from there"
        )


def _shown(chunks: Iterable[bytes], what: str, done: int, total: int | None) -> Iterator[bytes]:
    """The chunks, with a bar on stderr where somebody looks at a terminal."""
    if not sys.stderr.isatty():
        yield from chunks
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total, completed=done)
        for chunk in chunks:
            bar.advance(task, len(chunk))
            yield chunk
