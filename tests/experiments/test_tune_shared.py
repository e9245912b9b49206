"""One study, several processes: over SQLite, over PostgreSQL, and after a SIGKILL. No trial is
lost, none is run twice."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pellucid.core.errors import UsageError
from pellucid.experiments import claims, tune

ROOT = Path(__file__).resolve().parent.parent.parent
# Too few for the importance of settings to be worked out, which costs more than the trials.
TRIALS = 6
# A process of a study: each trial and the winner's training are written down when they begin. No
# network is trained: what is tested is who does what, and what a process costs is its imports.
CHILD = """
import os, sys, time
from pathlib import Path
from pellucid.engine.run.train import Run
from pellucid.experiments import tune

log, storage, pause = Path("log"), sys.argv[1] or None, float(sys.argv[2])
processes, trials = int(sys.argv[3]), int(sys.argv[4])

def note(text):
    with log.open("a") as file:
        file.write(f"{os.getpid()} {text}\\n")

def epochs(prepared, where):
    note(f"trial {prepared.settings.lr!r}")
    # Nobody goes on until everybody has a trial, so that they surely work at the same time.
    while len({line.split()[0] for line in log.read_text().splitlines()}) < processes:
        time.sleep(0.02)
    for epoch in (1, 2):
        yield {"epoch": epoch, "validation_score": prepared.settings.lr}
        time.sleep(pause)

def train(data, **settings):
    note("winner")
    time.sleep(0.5)
    return Run(Path("runs/classification/winner"), {"test": None})

tune.epochs, tune.train = epochs, train
quick = dict(model="C2 G L2", threads=1, epochs=2, batch=20)
quick |= dict(sampler="random", pruner="none", quiet=True)
found = tune.tune("tiny.npz", {"lr": "log:1e-4..1e-1"}, trials=trials, storage=storage, **quick)
note(f"result {found.summary['best']['trial']} {found.summary['trials']}")
"""


def begin(
    here: Path, storage: str = "", pause: float = 0.05, processes: int = 1
) -> subprocess.Popen[bytes]:
    classes = np.arange(40) % 2
    pictures = np.random.default_rng(0).integers(0, 120, (40, 8, 8)) + 120 * classes[:, None, None]
    np.savez(here / "tiny.npz", images=pictures.astype(np.uint8), labels=classes)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, storage, str(pause), str(processes), str(TRIALS)],
        cwd=here,
        env=environment,
        stderr=subprocess.PIPE,
    )


def log(here: Path) -> list[list[str]]:
    file = here / "log"
    return [line.split() for line in file.read_text().splitlines()] if file.exists() else []


def until(here: Path, what: str, count: int, process: subprocess.Popen[bytes]) -> None:
    while sum(words[1] == what for words in log(here)) < count:
        assert process.poll() is None, process.communicate()[1].decode()
        time.sleep(0.05)


def end(process: subprocess.Popen[bytes]) -> None:
    _, said = process.communicate(timeout=180)
    assert process.returncode == 0, said.decode()


def two_at_once(here: Path, storage: str = "") -> None:
    for process in [begin(here, storage, processes=2) for _ in range(2)]:
        end(process)
    lines = log(here)
    tried = Counter(words[2] for words in lines if words[1] == "trial")
    assert len(tried) == TRIALS and set(tried.values()) == {1}
    assert len({words[0] for words in lines if words[1] == "trial"}) == 2, (
        "one process did all the work"
    )
    assert sum(words[1] == "winner" for words in lines) == 1
    results = [words[2:] for words in lines if words[1] == "result"]
    assert len(results) == 2 and results[0] == results[1] and results[0][1] == str(TRIALS)
    rows = (here / "runs/tune/tiny/trials.csv").read_text().splitlines()[1:]
    assert [row.split(",")[:2] for row in rows] == [
        [str(number), "finished"] for number in range(TRIALS)
    ]


def test_two_processes_share_a_study_over_sqlite(tmp_path: Path) -> None:
    two_at_once(tmp_path)


def test_two_processes_share_a_study_over_postgresql(tmp_path: Path, postgresql: str) -> None:
    two_at_once(tmp_path, postgresql)
    assert not (tmp_path / "runs/tune/tiny/study.db").exists()


def test_a_study_survives_a_kill_and_goes_on(tmp_path: Path) -> None:
    first = begin(tmp_path, pause=0.5)
    until(tmp_path, "trial", 3, first)
    first.send_signal(signal.SIGKILL)
    first.wait()
    killed = [words[2] for words in log(tmp_path) if words[1] == "trial"]
    end(begin(tmp_path, pause=0.0))
    tried = [words[2] for words in log(tmp_path) if words[1] == "trial"]
    # The trial that was killed begins again with its settings; those done before are left alone;
    # all numbers are there once.
    assert (
        tried[len(killed)] == killed[-1]
        and Counter(tried) == Counter([*set(tried), killed[-1]])
        and len(set(tried)) == TRIALS
    )
    rows = (tmp_path / "runs/tune/tiny/trials.csv").read_text().splitlines()[1:]
    assert [row.split(",")[:2] for row in rows] == [
        [str(number), "finished"] for number in range(TRIALS)
    ]
    assert sum(words[1] == "winner" for words in log(tmp_path)) == 1


# --- claims ---------------------------------------------------------------------------------------


@pytest.fixture
def engine(tmp_path: Path) -> object:
    sqlalchemy = pytest.importorskip("sqlalchemy")
    return sqlalchemy.create_engine(f"sqlite:///{tmp_path / 'claims.db'}")


def other(engine: object, owner: str, study: str = "s") -> claims.Claims:
    made = claims.Claims(engine, study)  # type: ignore[arg-type]
    made.me = owner
    return made


def test_a_claim_has_one_owner(engine: object) -> None:
    mine, theirs = claims.Claims(engine, "s"), other(engine, "elsewhere 1 100")  # type: ignore[arg-type]
    assert mine.take("0") and not mine.take("0") and not theirs.take("0") and theirs.take("1")
    assert list(mine.free(["0", "1", "2"])) == ["2"]
    mine.give_back("0")
    assert theirs.take("0") and not mine.take("0")
    theirs.give_back("1")
    mine.give_back("0")  # not ours: nothing happens
    assert list(mine.free(["0", "1"])) == ["1"]
    assert other(engine, "elsewhere 1 100", "another study").take("0")


def test_a_dead_owner_is_succeeded_by_one(engine: object) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    here = claims.machine()
    # no such process; one of that number, but another
    for owner in (f"{here} {gone.pid} 5", f"{here} {os.getpid()} 5"):
        assert other(engine, owner).take(owner)
        first, second = (claims.Claims(engine, "s") for _ in range(2))  # type: ignore[arg-type]
        second.me += "0"
        assert first.take(owner) and not second.take(owner)


def test_an_owner_elsewhere_is_dead_when_silent(
    engine: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = claims.Claims(engine, "s")  # type: ignore[arg-type]
    now = [1000.0]
    monkeypatch.setattr(claims.time, "monotonic", lambda: now[0])
    theirs = other(engine, "elsewhere 1 100")
    assert theirs.take("0") and not mine.take("0")
    now[0] += claims.SILENCE - 1
    theirs.beat()
    assert not mine.take("0")
    now[0] += claims.SILENCE - 1
    assert not mine.take("0")
    now[0] += 2
    assert mine.take("0")


# --- PostgreSQL -----------------------------------------------------------------------------------


def program(name: str) -> str | None:
    # The package's own folder comes first: what lies on the PATH may be a wrapper that needs more
    # than a bare environment.
    places = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True)
    return str(places[0]) if places else shutil.which(name)


@pytest.fixture
def postgresql() -> Iterator[str]:
    """The address of a database on a server of this test's own, which listens on a socket in its
    folder and nowhere else."""
    pytest.importorskip("psycopg")
    initdb, server = program("initdb"), program("postgres")
    if initdb is None or server is None:
        pytest.skip("PostgreSQL is not installed: apt install postgresql")
    place = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp"))  # a socket's path may not be long
    who = {}
    if os.getuid() == 0:  # the server refuses to be root
        account = pwd.getpwnam(
            "postgres" if "postgres" in {entry.pw_name for entry in pwd.getpwall()} else "nobody"
        )
        os.chown(place, account.pw_uid, account.pw_gid)
        who = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    environment = {"PATH": os.environ["PATH"], "HOME": str(place), "LC_ALL": "C"}
    shared = {
        "cwd": place,
        "env": environment,
        "stdout": subprocess.DEVNULL,
        "stderr": subprocess.PIPE,
        **who,
    }
    process = None
    try:
        made = subprocess.run(
            [initdb, "-D", "data", "-U", "study", "-A", "trust", "--no-sync"], **shared
        )  # type: ignore[call-overload]
        assert made.returncode == 0, made.stderr.decode()
        options = ["-D", "data", "-k", str(place), "-c", "listen_addresses=", "-c", "fsync=off"]
        process = subprocess.Popen([server, *options], **shared)  # type: ignore[call-overload]
        address = f"postgresql://study@/postgres?host={place}"
        for _ in range(300):
            if process.poll() is not None or (place / ".s.PGSQL.5432").exists():
                break
            time.sleep(0.1)
        assert process.poll() is None, process.stderr.read().decode()
        yield address
    finally:
        if process is not None:
            process.send_signal(signal.SIGINT)  # what the server calls a fast stop
            process.communicate(timeout=60)
        shutil.rmtree(place, ignore_errors=True)


def test_a_missing_server_is_named_without_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("psycopg")
    monkeypatch.chdir(tmp_path)
    address = f"postgresql://me:secret@/none?host={tmp_path}"
    with pytest.raises(UsageError, match="cannot be used as a study's database") as refused:
        tune.tune(
            "digits", {"lr": "1e-3..1"}, storage=address, model="C2 G L10", threads=1, quiet=True
        )
    assert "secret" not in str(refused.value) and "\n" not in str(refused.value)
