"""Who does what, where several processes share a database: a piece of work has one owner, and a
dead owner is succeeded.

A claim is one row of one table, taken by one statement (an INSERT under a primary key, or an UPDATE
that names the owner it succeeds), so that no two processes can both have it, in SQLite, PostgreSQL
or MySQL. An owner on this machine is dead when its process is gone; one elsewhere is when its row
has not changed for a while, by the watch of whoever looks, so that the clocks of machines are never
compared.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import UsageError

if TYPE_CHECKING:
    from sqlalchemy import Engine

BEAT = 10.0
# An owner on another machine that was silent for so long is taken for dead.
SILENCE = 120.0
POLL = 0.5


def process(pid: int) -> str | None:
    """What tells a process from all others with its number, or None when there is none: its start,
    where the system tells it."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        if Path("/proc/self/stat").exists():
            return None
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return None
        except PermissionError:
            pass
        return "running"
    after_name = stat[stat.rindex(")") + 2 :].split()
    return None if after_name[0] in "ZX" else after_name[19]


def machine() -> str:
    """Where a process number means the same: the machine, and on it the container, two of which may
    share a host's name."""
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts.append(Path("/etc/machine-id").read_text().strip()[:8])
    with suppress(OSError):
        parts.append(os.readlink("/proc/self/ns/pid").strip("pid:[]"))
    return "/".join(parts)


def connected(address: str | None, folder: Path) -> Engine:
    """The database at an address, or study.db in the folder. Raises UsageError."""
    try:
        import optuna
        import sqlalchemy
    except ImportError as error:
        raise UsageError(
            f"tune needs {error.name}, which is not installed: pip install 'pellucid[tune]'"
        ) from None
    # What it tells of each trial, it tells through a logger; this verb has its own lines.
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if address is None:
        folder.mkdir(parents=True, exist_ok=True)
        address = f"sqlite:///{folder / 'study.db'}"
    scheme, colon, rest = address.partition("://")
    if scheme in ("postgres", "postgresql"):
        scheme = "postgresql+psycopg"
    try:
        return sqlalchemy.create_engine(f"{scheme}{colon}{rest}", **arguments(scheme))
    except (sqlalchemy.exc.ArgumentError, ImportError) as error:
        advice = "write sqlite:///study.db or postgresql://user@host/database"
        raise UsageError(
            "storage: not the address of a database that can be used "
            f"({str(error).splitlines()[0]}); {advice}"
        ) from None


def arguments(url: str) -> dict[str, Any]:
    """How a database is connected to."""
    if url.startswith("sqlite"):
        # SQLite lets one process write at a time; the others wait here instead of failing.
        return {"connect_args": {"timeout": 60}}
    # A PostgreSQL database that was made without an encoding answers in bytes, unless it is told
    # what is spoken.
    spoken = (
        {"connect_args": {"client_encoding": "utf8"}}
        if url.startswith("postgresql+psycopg")
        else {}
    )
    return {"pool_pre_ping": True, **spoken}


class Claims:
    """The claims on the work of one study."""

    def __init__(self, engine: Engine, study: str) -> None:
        from sqlalchemy import Column, Integer, MetaData, String, Table
        from sqlalchemy.exc import DBAPIError

        self.engine, self.study = engine, study
        self.machine = machine()
        self.me = f"{self.machine} {os.getpid()} {process(os.getpid())}"
        self.mine: set[str] = set()
        self._seen: dict[tuple[str, str], tuple[int, float]] = {}
        self._stop = threading.Event()
        self.table = Table(
            "pellucid_claims",
            MetaData(),
            Column("study", String(255), primary_key=True),
            Column("work", String(32), primary_key=True),
            Column("owner", String(255), nullable=False),
            Column("beat", Integer, nullable=False),
        )
        # Of two processes that make the table at once, one is told that it exists, in a way of each
        # database; whatever else is wrong, the next statement says too.
        with suppress(DBAPIError):
            self.table.create(engine, checkfirst=True)

    def take(self, work: str) -> bool:
        """Whether this process has the work from now on: nobody had it, or its owner is dead."""
        from sqlalchemy import insert, update
        from sqlalchemy.exc import IntegrityError

        row = self._rows().get(work)
        if row is None:
            try:
                with self.engine.begin() as connection:
                    connection.execute(
                        insert(self.table).values(
                            study=self.study, work=work, owner=self.me, beat=0
                        )
                    )
            except IntegrityError:
                return False
        elif row[0] == self.me or not self._dead(work, *row):
            return False
        else:
            owned = self._where(work, row[0])
            with self.engine.begin() as connection:
                if (
                    connection.execute(
                        update(self.table).where(*owned).values(owner=self.me, beat=0)
                    ).rowcount
                    != 1
                ):
                    return False
        self.mine.add(work)
        return True

    def give_back(self, work: str) -> None:
        from sqlalchemy import delete

        with self.engine.begin() as connection:
            connection.execute(delete(self.table).where(*self._where(work, self.me)))
        self.mine.discard(work)

    def free(self, works: Iterable[str]) -> Iterator[str]:
        """Those that nobody alive has, as things stand."""
        rows = self._rows()
        return (work for work in works if work not in rows or self._dead(work, *rows[work]))

    @contextmanager
    def alone(self, work: str) -> Iterator[None]:
        """Waits until this process is the only one in here."""
        while not self.take(work):
            time.sleep(POLL)
        try:
            yield
        finally:
            self.give_back(work)

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Shows other machines that this process lives;
        what it has begun and not finished is free again afterwards."""
        thread = threading.Thread(target=self._keep_beating, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()
            for work in tuple(self.mine):
                self.give_back(work)

    def finished(self, work: str) -> None:
        """The row stays, so that nobody takes the work again."""
        self.mine.discard(work)

    def beat(self) -> None:
        from sqlalchemy import update

        mine = (self.table.c.study == self.study, self.table.c.owner == self.me)
        with self.engine.begin() as connection:
            connection.execute(update(self.table).where(*mine).values(beat=self.table.c.beat + 1))

    def _keep_beating(self) -> None:
        from sqlalchemy.exc import OperationalError

        while not self._stop.wait(BEAT):
            # A database that is out of reach for a moment is tried again at the next beat.
            with suppress(OperationalError):
                self.beat()

    def _rows(self) -> dict[str, tuple[str, int]]:
        from sqlalchemy import select

        with self.engine.connect() as connection:
            found = connection.execute(
                select(self.table).where(self.table.c.study == self.study)
            ).all()
        return {row.work: (row.owner, row.beat) for row in found}

    def _dead(self, work: str, owner: str, beat: int) -> bool:
        place, pid, start = owner.rsplit(" ", 2)
        if place == self.machine:
            return process(int(pid)) != start
        before, since = self._seen.setdefault((work, owner), (beat, time.monotonic()))
        if before != beat:
            self._seen[work, owner] = beat, time.monotonic()
            return False
        return time.monotonic() - since > SILENCE

    def _where(self, work: str, owner: str) -> tuple:
        return (
            self.table.c.study == self.study,
            self.table.c.work == work,
            self.table.c.owner == owner,
        )
