"""Whatever is wrong: the documented exit code, one line that names it, nothing of the user's
touched, nothing half-written left."""

from __future__ import annotations

import errno
import gzip
import json
import os
import pickle
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import pellucid
from pellucid.engine.run import batches, checkpoint, loop
from pellucid.engine.run import folders as runs
from pellucid.engine.run import train as training

Cli = Callable[..., Any]
Contents = dict[str, tuple[bytes, int]]


def snapshot(*roots: Path) -> Contents:
    """Name, bytes and time of change of all files and folders."""
    found = [path for root in roots for path in [root, *sorted(root.rglob("*"))]]
    return {
        str(path): (path.read_bytes() if path.is_file() else b"", path.stat().st_mtime_ns)
        for path in found
    }


def assert_refused(said: Any, code: int, *names: object) -> None:
    """One error line, the last one, with all the names in it; nothing on stdout."""
    assert said.code == code, said.err
    assert said.out == ""
    lines = said.err.splitlines()
    assert said.errors == lines[-1:], said.err
    assert "Traceback" not in said.err and "bug in Pellucid" not in said.err
    for name in names:
        assert str(name) in said.errors[0], (name, said.errors[0])


def assert_nothing_left(place: Path) -> None:
    """No run, no part of one, no temporary file."""
    assert [
        path for path in place.rglob("*") if path.is_file() or path.parent.name == "classification"
    ] == []


def png_of_megapixels(side: int) -> bytes:
    """A white-on-black promise: side×side pixels of one bit,
    a few thousand times as many as the file has bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes((1 + (side + 7) // 8) * side), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@contextmanager
def nobody() -> Iterator[None]:
    """Permissions do not bind root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that others than its owner may enter, with everything above it."""
    folder = Path(tempfile.mkdtemp(prefix="pellucid-test-"))
    folder.chmod(0o755)
    yield folder
    for path in folder.rglob("*"):
        if path.is_dir():
            path.chmod(0o755)
    shutil.rmtree(folder)


# --- data that cannot be used ---------------------------------------------------------------------


def _empty(root: Path) -> None:
    for path in list(root.iterdir()):
        shutil.rmtree(path)


def _one_class(root: Path) -> None:
    for name in ("down", "none"):
        shutil.rmtree(root / name)


def _missing_from_validation(root: Path) -> None:
    for part in ("train", "val"):
        for name in ("across", "down", "none"):
            shutil.copytree(root / name, root / part / name)
    _one_class(root)
    shutil.rmtree(root / "across")
    shutil.rmtree(root / "val" / "none")


def _too_few(root: Path) -> None:
    for path in sorted((root / "none").iterdir())[2:]:
        path.unlink()


def _missing_files(root: Path) -> None:
    rows = ["image,label", "across/000.png,a", "down/001.png,b", "nowhere.png,b", "gone/away.png,a"]
    (root / "table.csv").write_text("\n".join(rows))


@pytest.mark.parametrize("verb", ["train", "check"])
@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (_empty, ("data: is empty", "expected")),
        (_one_class, ("data: holds only one class (across)", "at least two")),
        (_missing_from_validation, ("data: validation holds no picture", "none", "add")),
        (_too_few, ("class none", "only 2", "add")),
        (
            _missing_files,
            ("table.csv: 2 pictures not found", "nowhere.png (line 4)", "gone/away.png (line 5)"),
        ),
    ],
)
def test_data_that_cannot_be_used(
    verb: str,
    spoil: Callable[[Path], None],
    named: tuple[str, ...],
    folders: Path,
    cli: Cli,
    here: Path,
):
    spoil(folders)
    before = snapshot(folders)
    assert_refused(cli(verb, folders), 3, *named)
    assert snapshot(folders) == before
    assert_nothing_left(here)


def test_data_that_is_not_there(folders: Path, cli: Cli, here: Path) -> None:
    assert_refused(
        cli("train", folders.parent / "dats"), 3, "dats: does not exist", 'did you mean "data"?'
    )
    assert_refused(cli("train"), 2, "no data")
    assert_nothing_left(here)


def _no_bytes(path: Path) -> Path:
    path.write_bytes(b"")
    return path


def _cut_png(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:-60])
    return path


def _cut_jpeg(path: Path) -> Path:
    picture = path.with_suffix(".jpg")
    Image.open(path).resize((64, 64)).save(picture, quality=95)
    picture.write_bytes(picture.read_bytes()[:900])
    path.unlink()
    return picture


def _png_named_jpg(path: Path) -> Path:
    return path.rename(path.with_suffix(".jpg"))


def _text_named_jpg(path: Path) -> Path:
    path.unlink()
    path.with_suffix(".jpg").write_text("this is not a picture at all, it only says so")
    return path.with_suffix(".jpg")


def _bomb(path: Path) -> Path:
    path.write_bytes(png_of_megapixels(13000))
    assert path.stat().st_size < 30_000
    return path


BAD_PICTURES = [
    (_no_bytes, "is empty (0 bytes)"),
    (_cut_png, "cut off or damaged"),
    (_cut_jpeg, "cut off or damaged"),
    (_png_named_jpg, "is mislabelled: the content is PNG"),
    (_text_named_jpg, "is not a picture but text"),
    (_bomb, "13000×13000 pixels, more than 100 megapixels"),
]


@pytest.mark.parametrize(("spoil", "reason"), BAD_PICTURES)
def test_a_bad_picture(
    spoil: Callable[[Path], Path],
    reason: str,
    folders: Path,
    cli: Cli,
    here: Path,
    quick: list[str],
) -> None:
    bad = spoil(folders / "down" / "004.png")
    before = snapshot(folders)
    assert_refused(cli("train", folders, *quick), 3, bad, reason, "--skip-bad")
    # 1 of 60 is more than may be skipped.
    assert_refused(cli("train", folders, *quick, "--skip-bad"), 3, bad, reason, "1 of 60", "1 %")
    checked = cli("check", folders)
    assert (checked.code, checked.errors) == (1, [])
    assert str(bad) in checked.out and reason in checked.out
    assert snapshot(folders) == before
    assert_nothing_left(here)


@pytest.mark.parametrize("spoil", [_no_bytes, _cut_png])
def test_one_bad_picture_of_a_hundred_is_left_out(
    spoil: Callable[[Path], Path], make_folders: Cli, tmp_path: Path, cli: Cli, quick: list[str]
):
    folders = make_folders(tmp_path / "many", 100)
    bad = spoil(folders / "down" / "004.png")
    before = snapshot(folders)
    done = cli("train", folders, *quick, "--skip-bad", "--json")
    assert done.code == 0, done.err
    run = Path(json.loads(done.out)["run"])
    assert "down/004.png" not in (run / "splits.csv").read_text()
    facts = json.loads((run / "data.json").read_text())
    assert [file for file, _ in facts["bad"]] == ["down/004.png"]
    assert bad.name in done.err and "left out" in done.err
    assert snapshot(folders) == before
    # Its own data is scored again without saying --skip-bad again.
    assert cli("evaluate", run).code == 0


def test_a_class_of_which_nothing_can_be_read(
    make_folders: Cli, tmp_path: Path, cli: Cli, here: Path, quick: list[str]
) -> None:
    """Few enough to be skipped, were they not all that there is of a class."""
    folders = make_folders(tmp_path / "many", 600)
    for number, path in enumerate(sorted((folders / "none").iterdir())):
        if number < 3:
            path.write_bytes(b"")
        else:
            path.unlink()
    assert_refused(
        cli("train", folders, *quick, "--skip-bad"),
        3,
        folders,
        "no picture of the class none can be read",
    )
    assert_nothing_left(here)


MEASURE = """
import sys
from pathlib import Path
import numpy as np
import pellucid

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024

good, bad, run, picture, bomb = sys.argv[1:]
pellucid.check(good, quiet=True)
pellucid.predict(run, picture, quiet=True)
before = peak()
findings = pellucid.check(bad, quiet=True).findings
assert "13000" in findings[0], findings
try:
    pellucid.predict(run, bomb, quiet=True)
except pellucid.DataError as error:
    assert "13000" in str(error)
else:
    raise AssertionError
after = peak()
np.ones(13000 * 13000, np.uint8)
print(after - before, peak() - after)
"""


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="the peak of memory is read from /proc"
)
def test_a_picture_of_169_megapixels_costs_no_memory(
    folders: Path, trained: Any, here: Path
) -> None:
    """The peak of this process alone: the one that getrusage tells includes what the parent had
    before the child was born."""
    bad = Path(shutil.copytree(folders, folders.parent / "bad"))
    bomb = _bomb(bad / "down" / "004.png")
    words = [folders, bad, trained.run, folders / "down" / "001.png", bomb]
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *map(str, words)],
        capture_output=True,
        text=True,
        check=True,
    )
    cost, proof = map(float, done.stdout.split())
    assert cost < 50
    assert proof > 100


def import_all(cli: Cli, folders: Path, run: Path) -> None:
    """Every verb once, as long as the interpreter's own files may be read too."""
    assert cli("check", folders).code == 0
    assert cli("predict", run, folders / "none").code == 0
    assert cli("train", folders / "missing").code == 3


def test_a_folder_that_may_not_be_read(
    public: Path, make_folders: Cli, cli: Cli, here: Path, trained: Any
) -> None:
    folders = make_folders(public / "data")
    closed = folders / "down"
    import_all(cli, folders, trained.run)
    closed.chmod(0)
    shutil.copytree(trained.run, public / "run")
    here.parent.chmod(0o755)
    os.chdir(public)
    with nobody():
        for verb in ("train", "check"):
            assert_refused(cli(verb, folders), 3, closed, "may not be read", "permissions")
        assert_refused(cli("predict", public / "run", folders), 3, closed, "may not be read")
        assert_refused(cli("predict", public / "run", closed / "004.png"), 3, closed / "004.png")
    closed.chmod(0o755)
    picture = closed / "004.png"
    picture.chmod(0)
    with nobody():
        assert_refused(cli("train", folders), 3, picture, "may not be read", "permissions")
        assert_refused(cli("predict", public / "run", picture), 3, picture, "may not be read")
    assert sorted(path.name for path in public.iterdir()) == ["data", "run"]


def test_a_folder_where_no_run_may_be_made(
    public: Path, make_folders: Cli, cli: Cli, quick: list[str], trained: Any
) -> None:
    folders = make_folders(public / "data")
    import_all(cli, folders, trained.run)
    place = public / "read-only"
    place.mkdir()
    place.chmod(0o555)
    os.chdir(place)
    with nobody():
        assert_refused(cli("train", folders, *quick), 7, "runs/classification", "Permission denied")
    assert list(place.iterdir()) == []


def idx(path: Path, magic: bytes, shape: tuple[int, ...], data: bytes) -> None:
    content = magic + struct.pack(f">{len(shape)}I", *shape) + data
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


@pytest.mark.parametrize(
    ("images", "labels", "reason"),
    [
        (
            (b"\0\0\x0d\3", (30, 8, 8), bytes(30 * 64)),
            (b"\0\0\x08\1", (30,), bytes([0, 1]) * 15),
            "no IDX file of bytes",
        ),
        (
            (b"\0\0\x08\3", (30, 8, 8), bytes(30 * 64 - 1)),
            (b"\0\0\x08\1", (30,), bytes([0, 1]) * 15),
            "the header promises 1,920 bytes",
        ),
        (
            (b"\0\0\x08\3", (30, 8, 8), bytes(30 * 64 + 1)),
            (b"\0\0\x08\1", (30,), bytes([0, 1]) * 15),
            "the file holds more",
        ),
        (
            (b"\0\0\x08\3", (30, 8, 8), bytes(30 * 64)),
            (b"\0\0\x08\1", (29,), bytes([0] * 29)),
            "do not belong together",
        ),
        (
            (b"\0\0\x08\3", (2**31, 2**16, 2**16), b""),
            (b"\0\0\x08\1", (30,), bytes([0, 1]) * 15),
            "the file holds 0",
        ),
        (
            (b"\0\0\x08\3", (30,), b""),
            (b"\0\0\x08\1", (30,), bytes([0, 1]) * 15),
            "train-images-idx3-ubyte",
        ),
    ],
)
def test_idx(
    images: tuple, labels: tuple, reason: str, tmp_path: Path, cli: Cli, here: Path
) -> None:
    data = tmp_path / "idx"
    data.mkdir()
    idx(data / "train-images-idx3-ubyte", *images)
    idx(data / "train-labels-idx1-ubyte", *labels)
    before = snapshot(data)
    assert_refused(cli("train", data), 3, data, reason)
    assert snapshot(data) == before
    assert_nothing_left(here)


def test_idx_that_ends_within_its_compression(tmp_path: Path, cli: Cli, here: Path) -> None:
    data = tmp_path / "idx"
    data.mkdir()
    rng = np.random.default_rng(0)
    idx(data / "train-images-idx3-ubyte.gz", b"\0\0\x08\3", (30, 8, 8), rng.bytes(30 * 64))
    idx(data / "train-labels-idx1-ubyte.gz", b"\0\0\x08\1", (30,), bytes([0, 1]) * 15)
    path = data / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-300])
    assert_refused(cli("train", data), 3, path, "cut off or damaged")
    assert_nothing_left(here)


# --- training that goes wrong ---------------------------------------------------------------------


def test_a_loss_that_is_not_a_number(folders: Path, cli: Cli, here: Path, quick: list[str]) -> None:
    before = snapshot(folders)
    said = cli("train", folders, *quick, "--epochs", 3, "--lr", 1e30, "--optimizer", "sgd")
    assert_refused(said, 6, "at step", "epoch 1", "learning rate", "--lr")
    run = here / "runs" / "classification" / "data"
    assert (run / "recipe.toml").is_file()
    # Everything random is fixed, so a resumption comes to the same end and says so; it neither
    # hangs nor pretends.
    assert_refused(
        cli("train", "--resume", run), 6, *said.errors[0].removeprefix("error: ").split(": ")[:1]
    )
    assert_refused(cli("predict", run, folders), 4, run, "no trained model here")
    assert snapshot(folders) == before


def test_weights_that_explode_in_the_last_step_of_an_epoch(
    folders: Path, cli: Cli, here: Path, quick: list[str]
) -> None:
    """The loss of the only step was finite; it is the validation that finds out."""
    said = cli(
        "train",
        folders,
        *quick,
        "--batch",
        1000,
        "--lr",
        1e38,
        "--schedule",
        "constant",
        "--optimizer",
        "sgd",
    )
    assert_refused(said, 6, "step 1 ", "--lr")


def test_a_loss_that_becomes_infinite_late_keeps_what_was_saved(
    folders: Path, cli: Cli, here: Path, quick: list[str], monkeypatch
) -> None:
    original = loop._refuse_non_finite

    def late(losses: dict[str, float], update: loop.Update) -> None:
        original(losses | ({"total": float("inf")} if update.epoch == 2 else {}), update)

    monkeypatch.setattr(loop, "_refuse_non_finite", late)
    assert_refused(
        cli("train", folders, *quick, "--epochs", 3), 6, "became inf at step 7", "epoch 3"
    )
    run = here / "runs" / "classification" / "data"
    assert (run / "metrics.csv").read_text().count("\n") == 3
    saved = (run / "checkpoint.safetensors").read_bytes()
    assert_refused(cli("train", "--resume", run), 6, "at step 7")
    assert (run / "checkpoint.safetensors").read_bytes() == saved
    monkeypatch.setattr(loop, "_refuse_non_finite", original)
    assert cli("train", "--resume", run).code == 0


def test_a_disk_that_is_full_in_the_middle_of_a_save(
    folders: Path, cli: Cli, here: Path, quick: list[str], monkeypatch
) -> None:
    written, original = [], os.fsync

    def full(handle: int) -> None:
        name = os.readlink(f"/proc/self/fd/{handle}") if Path("/proc/self/fd").exists() else ""
        written.append(name)
        if sum("checkpoint" in name for name in written) > 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        original(handle)

    if not Path("/proc/self/fd").exists():
        pytest.skip("the file behind a handle is read from /proc")
    monkeypatch.setattr(os, "fsync", full)
    said = cli("train", folders, *quick, "--epochs", 4)
    assert_refused(said, 7, "checkpoint.safetensors", "No space left on device", "free some")
    monkeypatch.setattr(os, "fsync", original)
    run = here / "runs" / "classification" / "data"
    assert not [path for path in run.rglob("*") if path.name.startswith(".")]
    assert (run / "metrics.csv").read_text().count("\n") == 3
    resumed = cli("train", "--resume", run)
    assert resumed.code == 0 and "epoch   3/4" in resumed.err and "epoch   2/4" not in resumed.err


def test_a_disk_that_is_really_full(
    folders: Path, cli: Cli, quick: list[str], tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=160k", "tmpfs", str(disk)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        os.chdir(disk)
        said = cli("train", folders, *quick, "--model", "C64 R C64 R G L3")
        assert_refused(said, 7, "No space left on device")
        assert not [path for path in disk.rglob("*") if path.name.startswith(".")]
    finally:
        os.chdir(tmp_path)
        subprocess.run(["umount", str(disk)], check=True)


def test_ctrl_c_while_training(folders: Path, cli: Cli, here: Path, quick: list[str]) -> None:
    words = [sys.executable, "-m", "pellucid", "train", folders, *quick, "--epochs", 40]
    process = subprocess.Popen(list(map(str, words)), stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    while not (line := process.stderr.readline()).startswith("epoch"):
        assert line, "it ended before the first epoch"
    process.send_signal(signal.SIGINT)
    rest = process.stderr.read().splitlines()
    assert process.wait() == 130
    assert [line for line in rest if not line.startswith("epoch")] == rest[-1:]
    command = rest[-1].split("go on with: ")[1]
    assert command == "pellucid train --resume runs/classification/data"
    done = cli(*shlex.split(command)[1:])
    assert done.code == 0 and "epoch  40/40" in done.err


def _interrupting(calls: int, then: Callable[..., Any]) -> Callable[..., Any]:
    count = iter(range(10_000))

    def interrupted(*arguments: Any, **named: Any) -> Any:
        if next(count) == calls:
            os.kill(os.getpid(), signal.SIGINT)
        return then(*arguments, **named)

    return interrupted


@pytest.mark.parametrize("where", ["header", "fingerprint"])
def test_ctrl_c_while_reading(
    where: str, folders: Path, cli: Cli, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = snapshot(folders)
    monkeypatch.setattr(batches, where, _interrupting(7, getattr(batches, where)))
    assert_refused(cli("train", folders), 130, "interrupted")
    assert snapshot(folders) == before
    assert_nothing_left(here)


def test_ctrl_c_while_scoring(
    folders: Path, cli: Cli, here: Path, quick: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from pellucid.engine.run import finish

    with monkeypatch.context() as patched:
        patched.setattr(finish, "scored", _interrupting(0, finish.scored))
        said = cli("train", folders, *quick)
    assert_refused(said, 130, "go on with: pellucid train --resume runs/classification/data")
    assert cli("train", "--resume", here / "runs" / "classification" / "data").code == 0


# --- unknown words --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (
            ("train", "DATA", "--model", "resnet81"),
            ('unknown model "resnet81"', 'did you mean "resnet18"?'),
        ),
        (("train", "DATA", "--model", "C4 R Q L3"), ("Q",)),
        (
            ("train", "DATA", "--model", "C4 R G L4"),
            ("4 classes", "the data has 3", "end it in L3"),
        ),
        (
            ("train", "DATA", "--model", "lenet5_1998", "--size", "20"),
            ("lenet5_1998", "set the size to 32"),
        ),
        (("train", "DATA", "--epoch", "3"), ("--epoch", "--epochs")),
        (("train", "DATA", "--optimizer", "admw"), ("optimizer", 'did you mean "adamw"?')),
        (("train", "DATA", "--schedule", "cosin"), ("schedule", 'did you mean "cosine"?')),
        (("train", "DATA", "--epochs", "0"), ("epochs: 0 is out of range",)),
        (("train", "DATA", "--epochs", "many"), ("--epochs", "integer")),
        (("train", "DATA", "--lr", "nan"), ("lr: nan is out of range",)),
        (("train", "DATA", "--size", "big"), ("size: 'big' is not a size",)),
        (("train", "DATA", "--device", "cuda:7"), ('device "cuda:7"', "cpu")),
        (("train", "DATA", "--device", "toaster"), ('device "toaster"', "cpu")),
        (("train", "DATA", "--task", "clasification"), ("task", 'did you mean "classification"?')),
        (("trian", "DATA"), ("trian", "train")),
        (("train", "DATA", "--recipe", "none.toml"), ("none.toml: there is no such recipe file",)),
        (("inspect", "resnet81"), ('did you mean "resnet18"?',)),
        (("inspect", "resnet18", "--input", "3x"), ('input: "3x"', "3x224x224")),
        (("inspect", "C4 R Q L3"), ("Q",)),
        (("predict", "RUN"), ("pictures",)),
    ],
)
def test_unknown_words(
    words: tuple[str, ...],
    named: tuple[str, ...],
    folders: Path,
    cli: Cli,
    here: Path,
    trained: Any,
) -> None:
    before = snapshot(folders)
    assert_refused(
        cli(*(str({"DATA": folders, "RUN": trained.run}.get(word, word)) for word in words)),
        2,
        *named,
    )
    assert snapshot(folders) == before
    assert_nothing_left(here)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("epoch = 3", ('unknown setting "epoch"', 'did you mean "epochs"?')),
        ("[train]\nepochs = 3", ('unknown setting "train"',)),
        ("epochs = 'three'", ("epochs: 'three' is not a whole number",)),
        ("augment = 1", ("augment: 1 is not a text",)),
        ("baselines = 1", ("baselines: 1 is not true or false",)),
        ("size = [[12]]", ("size: [[12]] is not a size",)),
        ("data = 5", ("data",)),
        ("epochs = ", ("not a recipe in TOML",)),
        ("epochs = 3 \0", ("not a recipe in TOML",)),
    ],
)
def test_unknown_words_in_a_recipe(
    text: str, named: tuple[str, ...], folders: Path, cli: Cli, here: Path
) -> None:
    recipe = folders.parent / "mine.toml"
    recipe.write_text(text)
    assert_refused(
        cli("train", *([] if "data" in text else [folders]), "--recipe", recipe), 2, recipe, *named
    )
    assert_nothing_left(here)


def test_pictures_of_a_class_that_the_model_does_not_know(
    trained: Any, make_folders: Cli, tmp_path: Path, cli: Cli, here: Path
) -> None:
    other = make_folders(tmp_path / "other", names=("across", "down", "diagonal"))
    before = snapshot(other, trained.run)
    assert_refused(
        cli("evaluate", trained.run, other), 3, other, '"diagonal"', "across, down, none"
    )
    assert snapshot(other, trained.run) == before
    assert_nothing_left(here)


# --- models and runs that cannot be loaded --------------------------------------------------------


class Payload:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def _pickles(mark: Path, path: Path) -> Iterator[bytes]:
    """A pickle of each kind that would make a file when it is opened."""
    yield pickle.dumps(Payload(mark), protocol=0)
    yield pickle.dumps(Payload(mark))
    torch.save(Payload(mark), path)
    yield path.read_bytes()


@pytest.fixture
def run(trained: Any, tmp_path: Path) -> Path:
    """A copy of a finished run that may be spoilt."""
    return Path(shutil.copytree(trained.run, tmp_path / "run"))


def test_a_pickle_in_disguise_is_never_opened(
    run: Path, trained: Any, cli: Cli, tmp_path: Path
) -> None:
    mark, weights = tmp_path / "executed", run / "model" / "weights.safetensors"
    pickle.loads(pickle.dumps(Payload(mark)))
    assert mark.exists()
    mark.unlink()
    good = weights.read_bytes()
    for content in _pickles(mark, tmp_path / "saved"):
        weights.write_bytes(content)
        for words in (("predict", run, trained.data), ("evaluate", run), ("inspect", run)):
            assert_refused(cli(*words), 4, weights, "it was not loaded")
        (run / "checkpoint.safetensors").write_bytes(content)
        assert_refused(
            cli("train", "--resume", run), 4, run / "checkpoint.safetensors", "it was not loaded"
        )
        weights.write_bytes(good)
        model = (run / "model" / "model.json").read_bytes()
        (run / "model" / "model.json").write_bytes(content)
        assert_refused(
            cli("predict", run, trained.data), 4, run / "model" / "model.json", "damaged"
        )
        (run / "model" / "model.json").write_bytes(model)
    data = tmp_path / "data.pkl"
    data.write_bytes(content)
    assert_refused(cli("train", data), 3, data, "pickle")
    np.savez(tmp_path / "data.npz", images=np.array([Payload(mark)] * 3), labels=np.arange(3))
    assert_refused(cli("train", tmp_path / "data.npz"), 3, "data.npz", "can run code")
    assert not mark.exists()


def _without(key: str) -> Callable[[dict[str, Any]], Any]:
    return lambda about: {name: value for name, value in about.items() if name != key}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda about: about | {"format": 99}, ("newer version", "format 99", "upgrade")),
        (lambda about: about | {"format": "one"}, ("damaged",)),
        (lambda about: about | {"task": "astrology"}, ('"astrology"',)),
        (lambda about: about | {"task": ["classification"]}, ()),
        (lambda about: about | {"architecture": {}}, ("does not describe a network",)),
        (
            lambda about: about | {"architecture": about["architecture"] | {"model": "resnet81"}},
            ("does not describe a network", "resnet81"),
        ),
        (_without("preprocess"), ("damaged",)),
        (_without("architecture"), ("damaged",)),
        (_without("inference"), ("damaged",)),
        # As version 1 wrote it.
        (lambda about: about | {"format": 1, "room": {}}, ("does not describe a network",)),
        (lambda about: about | {"format": 1}, ("damaged",)),
        (lambda about: [], ("damaged",)),
        (lambda about: None, ("damaged",)),
    ],
)
def test_a_description_that_cannot_be_used(
    change: Callable[[Any], Any], named: tuple[str, ...], run: Path, trained: Any, cli: Cli
) -> None:
    path = run / "model" / "model.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    assert_refused(cli("predict", run, trained.data), 4, path, *named)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\0", b"[" * 100_000])
def test_a_description_that_is_garbage(content: bytes, run: Path, trained: Any, cli: Cli) -> None:
    (run / "model" / "model.json").write_bytes(content)
    assert_refused(cli("predict", run, trained.data), 4, run / "model" / "model.json", "damaged")


def test_weights_that_cannot_be_used(run: Path, trained: Any, cli: Cli) -> None:
    from safetensors.torch import load, save

    path = run / "model" / "weights.safetensors"
    good = path.read_bytes()
    for content in (b"", good[:5], good[:100], good[:-1], b"\xff" * 200, bytes(200)):
        path.write_bytes(content)
        assert_refused(cli("predict", run, trained.data), 4, path, "it was not loaded")
    path.unlink()
    assert_refused(cli("predict", run, trained.data), 4, path, "is missing")
    tensors = load(good)
    # A missing count of batches is no other network: PyTorch's older files have none.
    first = min(key for key in tensors if key.endswith("weight"))
    path.write_bytes(save({key: value for key, value in tensors.items() if key != first}))
    assert_refused(cli("predict", run, trained.data), 4, path, "another network")
    path.write_bytes(save(tensors | {first: tensors[first] * float("nan")}))
    assert_refused(cli("predict", run, trained.data), 4, path, "not finite")
    path.write_bytes(save(tensors, {"format": "99"}))
    assert_refused(cli("predict", run, trained.data), 4, path, "newer version")


@pytest.mark.parametrize("named", ["nothing", "file", "empty"])
def test_what_is_no_model(named: str, trained: Any, cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    for words in (("predict", tmp_path / named, trained.data), ("evaluate", tmp_path / named)):
        assert_refused(cli(*words), 4, tmp_path / named, "no trained model here")
    assert_refused(
        cli("train", "--resume", tmp_path / named), 4, tmp_path / named, "not a run folder"
    )


@pytest.fixture
def unfinished(
    folders: Path, cli: Cli, here: Path, quick: list[str], monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A run that was stopped after the first of three epochs."""
    original = training._save

    def stop(folder: Path, state: Any) -> None:
        original(folder, state)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(training, "_save", stop)
        said = cli("train", folders, *quick, "--epochs", 3, "--name", "half")
    assert_refused(said, 130, "--resume runs/classification/half")
    return here / "runs" / "classification" / "half"


def test_resuming_with_other_settings(unfinished: Path, folders: Path, cli: Cli) -> None:
    before = snapshot(unfinished)
    for words in (
        ["--lr", 1],
        ["--name", "other"],
        [folders],
        ["--recipe", unfinished / "recipe.toml"],
        ["--epochs", 3],
    ):
        said = cli("train", "--resume", unfinished, *words)
        assert_refused(
            said,
            2,
            "--resume continues",
            "leave out",
            str(words[0]).strip("-") if len(words) > 1 else "data",
        )
    assert snapshot(unfinished) == before


def _other_pixels(folders: Path) -> None:
    Image.fromarray(np.full((12, 12, 3), 7, np.uint8)).save(folders / "down" / "004.png")


def _other_label(folders: Path) -> None:
    (folders / "down" / "004.png").rename(folders / "none" / "004.png")


def _one_less(folders: Path) -> None:
    (folders / "down" / "004.png").unlink()


def _another_class(folders: Path) -> None:
    shutil.copytree(folders / "down", folders / "more")


def _gone(folders: Path) -> None:
    shutil.rmtree(folders)


@pytest.mark.parametrize("change", [_other_pixels, _other_label, _one_less, _another_class, _gone])
def test_resuming_after_the_data_changed(
    change: Callable[[Path], None], unfinished: Path, folders: Path, cli: Cli
) -> None:
    change(folders)
    before = snapshot(unfinished)
    assert_refused(
        cli("train", "--resume", unfinished),
        3,
        folders,
        "does not exist" if change is _gone else "has changed",
    )
    assert snapshot(unfinished) == before


def test_resuming_from_what_is_damaged(unfinished: Path, trained: Any, cli: Cli) -> None:
    saved = unfinished / "checkpoint.safetensors"
    good = saved.read_bytes()
    another = (trained.run / "model" / "weights.safetensors").read_bytes()
    for content in (b"", good[:-1], good[:200], b"\0" * 400, another):
        saved.write_bytes(content)
        assert_refused(cli("train", "--resume", unfinished), 4, saved)
    for version, why in (("9", "newer version"), ("1", "begun by version 0.1")):
        saved.write_bytes(good.replace(b'"format":"2"', f'"format":"{version}"'.encode()))
        assert_refused(cli("train", "--resume", unfinished), 4, saved, why)
    saved.write_bytes(good)
    for name, content in (
        ("data.json", "{}"),
        ("data.json", "garbage"),
        ("recipe.toml", "epochs = "),
        ("recipe.toml", "epochs = 3"),
    ):
        original = (unfinished / name).read_text()
        (unfinished / name).write_text(content)
        assert_refused(cli("train", "--resume", unfinished), 4, unfinished / name)
        (unfinished / name).write_text(original)
    assert cli("train", "--resume", unfinished).code == 0


def test_resuming_what_is_finished(run: Path, cli: Cli) -> None:
    before = snapshot(run)
    done = cli("train", "--resume", run)
    assert done.code == 0 and "finished" in done.err
    assert json.loads(cli("train", "--resume", run, "--json").out)["run"] == str(run)
    assert snapshot(run) == before


# --- pictures to predict --------------------------------------------------------------------------


def test_pictures_that_are_not_there(trained: Any, cli: Cli, here: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for words in (
        (trained.data / "none.png",),
        (tmp_path / "empty",),
        (trained.data / "*.gif",),
        ("a" * 5000,),
        ("nul\0",),
    ):
        assert_refused(
            cli("predict", trained.run, *words), 3, *words[:1] if "\0" not in str(words[0]) else ()
        )
    good = trained.data / "down" / "001.png"
    assert_refused(
        cli("predict", trained.run, good, here / "no.png", "--out", "out", "--csv", "out.csv"),
        3,
        here / "no.png",
    )
    assert list(here.iterdir()) == []


def test_a_bad_picture_among_good_ones(
    trained: Any, make_folders: Cli, tmp_path: Path, cli: Cli, here: Path
) -> None:
    folders = make_folders(tmp_path / "many", 101)
    bad = _cut_png(folders / "down" / "004.png")
    before = snapshot(folders)
    assert_refused(
        cli("predict", trained.run, folders, "--csv", "answers.csv"),
        3,
        bad,
        "cut off",
        "--skip-bad",
    )
    assert list(here.iterdir()) == []
    done = cli(
        "predict", trained.run, folders, "--skip-bad", "--csv", "answers.csv", "--out", "drawn"
    )
    assert done.code == 0 and f"left out: {bad}: " in done.err
    assert (
        len(done.out.splitlines()) == 100 and (here / "answers.csv").read_text().count("\n") == 101
    )
    assert len([path for path in (here / "drawn").rglob("*") if path.is_file()]) == 100
    _no_bytes(folders / "down" / "007.png")
    before = snapshot(folders)
    assert_refused(cli("predict", trained.run, folders, "--skip-bad"), 3, "2 of 101", "1 %")
    assert snapshot(folders) == before


def test_nothing_is_written_over_a_picture(
    trained: Any, folders: Path, cli: Cli, here: Path
) -> None:
    place = folders / "down"
    Image.open(place / "001.png").save(place / "other.jpg")
    (folders / "linked").symlink_to(place)
    shutil.copytree(place, folders / "copy")
    before = snapshot(folders)
    for words in (
        [place, "--out", place],  # each its own
        [place / "001.png", "--out", place],
        [folders, "--out", folders],
        [place / "001.png", "--out", folders / "linked"],
        [place / "001.png", "--csv", place / "001.png"],
        [place / "001.png", "--csv", folders / "linked" / "001.png"],
    ):
        assert_refused(cli("predict", trained.run, *words), 2, "overwrite", words[-1])
    # A picture that was not asked about, but lies where an annotated copy of another would go.
    Image.open(place / "001.png").save(place / "004.jpg")
    after = snapshot(folders)
    assert_refused(
        cli("predict", trained.run, place / "004.jpg", "--out", place),
        2,
        "overwrite",
        place / "004.png",
    )
    assert snapshot(folders) == after
    (place / "004.jpg").unlink()
    assert {name: content for name, (content, _) in snapshot(folders).items()} == {
        name: content for name, (content, _) in before.items()
    }
    assert list(here.iterdir()) == []


def test_annotated_copies_stay_below_their_folder(
    trained: Any, folders: Path, cli: Cli, here: Path
) -> None:
    detour = folders / "down" / ".." / "none" / "005.png"
    assert (
        cli("predict", trained.run, detour, folders / "down" / "001.png", "--out", "drawn").code
        == 0
    )
    assert sorted(str(path.relative_to(here)) for path in here.rglob("*.png")) == [
        "drawn/down/001.png",
        "drawn/none/005.png",
    ]
    # Again into the same folder is no harm: these are copies.
    assert (
        cli("predict", trained.run, folders / "down" / "001.png", "--out", "drawn/down").code == 0
    )


# --- evaluation -----------------------------------------------------------------------------------


def test_pictures_that_were_trained_on_are_told(
    trained: Any, make_folders: Cli, tmp_path: Path, cli: Cli
) -> None:
    said = cli("evaluate", trained.run, trained.data)
    assert said.code == 0 and "WARNING: 72 of 90 pictures were used in training" in said.err
    fresh = make_folders(tmp_path / "fresh", 30, seed=99)
    assert "WARNING" not in cli("evaluate", trained.run, fresh).err
    learned = next(
        line.split(",")[0]
        for line in (trained.run / "splits.csv").read_text().splitlines()
        if ",train," in line
    )
    shutil.copy(trained.data / learned, fresh / "down" / "copied.png")
    assert "WARNING: 1 of 31 pictures" in cli("evaluate", trained.run, fresh).err


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ("0,1\n1,0\n", "3 rows of 3"),
        ("0,1,1\n1,0,1\n", "3 rows of 3"),
        ("0,1,1\n1,0\n1,1,0\n", "3 rows of 3"),
        ("0,1,1\n1,0,x\n1,1,0\n", "x"),
        ("0,1,1\n1,0,nan\n1,1,0\n", "3 rows of 3"),
        ("down,across,none\n0,1,1\n1,0,1\n1,1,0\n", "across, down, none"),
        (",across,down,none\ndown,0,1,1\nacross,1,0,1\nnone,1,1,0\n", "across, down, none"),
        ("", "3 rows of 3"),
        (None, "cannot be read"),
        (b"\xff\xfe\0", "text"),
    ],
)
def test_costs_of_the_wrong_shape(
    table: Any, reason: str, trained: Any, cli: Cli, tmp_path: Path
) -> None:
    path = tmp_path / "costs.csv"
    if table is not None:
        path.write_bytes(table if isinstance(table, bytes) else table.encode())
    assert_refused(cli("evaluate", trained.run, "--costs", path), 3, path, reason)


def test_a_run_without_its_data(run: Path, cli: Cli, tmp_path: Path) -> None:
    (run / "splits.csv").unlink()
    assert_refused(cli("evaluate", run), 4, run, "splits.csv")
    shutil.copytree(run / "model", tmp_path / "alone")
    assert_refused(cli("evaluate", tmp_path / "alone"), 2, tmp_path / "alone", "name the data")


def test_a_run_whose_test_pictures_changed(
    run: Path, trained: Any, cli: Cli, tmp_path: Path
) -> None:
    moved = Path(shutil.copytree(trained.data, tmp_path / "moved"))
    recipe = run / "recipe.toml"
    recipe.write_text(recipe.read_text().replace(str(trained.data), str(moved)))
    assert cli("evaluate", run).code == 0
    source = next(
        line.split(",")[0]
        for line in (run / "splits.csv").read_text().splitlines()
        if ",test," in line
    )
    _other_pixels_at = moved / source
    Image.fromarray(np.full((12, 12, 3), 7, np.uint8)).save(_other_pixels_at)
    assert_refused(cli("evaluate", run), 3, run, "have changed or are gone")
    _other_pixels_at.unlink()
    assert_refused(cli("evaluate", run), 3, run, "have changed or are gone")


# --- unusual, and fine ----------------------------------------------------------------------------


def test_two_runs_at_the_same_moment(folders: Path, here: Path, quick: list[str]) -> None:
    words = [
        sys.executable,
        "-m",
        "pellucid",
        "train",
        str(folders),
        *quick,
        "--name",
        "same",
        "--json",
    ]
    started = [
        subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for _ in range(2)
    ]
    found = [json.loads(process.communicate()[0])["run"] for process in started]
    assert sorted(found) == ["runs/classification/same", "runs/classification/same-2"]
    assert sorted(path.name for path in (here / "runs" / "classification").iterdir()) == [
        "same",
        "same-2",
    ]


def test_folders_of_runs_made_at_once_are_all_different(here: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as pool:
        made = list(
            pool.map(lambda number: runs.create("task", "name", {"number": str(number)}), range(40))
        )
    assert len(set(made)) == 40
    assert {(path / "number").read_text() for path in made} == {str(number) for number in range(40)}
    assert len(list((here / "runs" / "task").iterdir())) == 40


def test_a_run_folder_that_cannot_be_renamed(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(pellucid.MachineError, match="No space left"):
        runs.create("task", "name", {"file": "text"})
    assert list((here / "runs" / "task").iterdir()) == []


def test_pictures_of_all_kinds_in_one_folder(tmp_path: Path, cli: Cli, quick: list[str]) -> None:
    rng = np.random.default_rng(1)
    for name, base in (("a", 40), ("b", 120), ("c", 200)):
        folder = tmp_path / "mixed" / name
        folder.mkdir(parents=True)
        for copy in range(2):

            def noise(*shape: int, low: int = base) -> np.ndarray:
                return rng.integers(low, low + 40, shape, dtype=np.uint8)

            rgb = Image.fromarray(noise(14, 10, 3))
            Image.fromarray(noise(12, 12)).save(folder / f"grey{copy}.png")
            rgb.save(folder / f"rgb{copy}.png")
            Image.fromarray(noise(9, 16, 4)).save(folder / f"rgba{copy}.png")
            Image.fromarray(noise(12, 12).astype(np.uint16) * 257).save(folder / f"deep{copy}.png")
            rgb.quantize(16).save(folder / f"palette{copy}.png")
            Image.fromarray(noise(12, 12, 4), "CMYK").save(folder / f"cmyk{copy}.jpg")
            Image.fromarray(noise(12, 12) > base + 20).save(folder / f"bit{copy}.png")
            rotated = Image.Exif()
            rotated[0x0112] = 6
            rgb.resize((20, 10)).save(folder / f"turned{copy}.jpg", exif=rotated)
            rgb.quantize(16).save(folder / f"palette{copy}.gif")
            rgb.save(folder / f"lossless{copy}.webp", lossless=True)
            rgb.save(folder / f"plain{copy}.bmp")
    before = snapshot(tmp_path / "mixed")
    done = cli("train", tmp_path / "mixed", *quick, "--json")
    assert done.code == 0, done.err
    run = json.loads(done.out)["run"]
    assert cli("evaluate", run).code == 0
    answers = json.loads(cli("predict", run, tmp_path / "mixed", "--json", "--out", "drawn").out)
    assert len(answers) == 66
    sizes = {Path(answer["source"]).name: answer["size"] for answer in answers}
    assert sizes["turned0.jpg"] == [20, 10]
    assert cli("check", tmp_path / "mixed").code in (0, 1)
    assert snapshot(tmp_path / "mixed") == before


NAMES = ("the first, class", "<b>Ünï 日本</b>", 'it\'s "quoted"', "x=1;y&z", "line\nbreak")


def test_unusual_names(tmp_path: Path, cli: Cli, quick: list[str]) -> None:
    root = tmp_path / "my data"
    rng = np.random.default_rng(2)
    for name in NAMES:
        (root / name.replace("/", "")).mkdir(parents=True)
        for file in (
            "a b.png",
            "it's.png",
            'a "b".png',
            "a\nb.png",
            "a,b.png",
            "a;b.PNG",
            "ü 日.png",
            "a[1].png",
            "#1%20.png",
            "-x.png",
            "a\\b.png",
        ):
            Image.fromarray(rng.integers(0, 255, (12, 12, 3), dtype=np.uint8)).save(
                root / name.replace("/", "") / file
            )
    before = snapshot(root)
    done = cli("train", root, *quick, "--model", "C4 R G L5", "--json", "--name", "../a <b> name")
    assert done.code == 0, done.err
    run = Path(json.loads(done.out)["run"])
    assert run.parent == Path("runs/classification") and run.name == "a-b-name"
    assert (
        json.loads(done.out)["test"] == json.loads(cli("evaluate", run, "--json").out)["evidence"]
    )
    classes = set(json.loads((run / "model" / "model.json").read_text())["inference"]["classes"])
    assert classes == {path.name for path in root.iterdir()}
    answers = json.loads(
        cli("predict", run, root, "--json", "--out", "drawn", "--csv", "answers.csv").out
    )
    assert len(answers) == 55 and {answer["label"] for answer in answers} <= classes
    assert cli("predict", run, root / NAMES[0] / "a[1].png").code == 0
    assert "<b>Ün" not in (run / "report.html").read_text()
    assert cli("check", root).code in (0, 1)
    assert snapshot(root) == before


def test_a_file_name_that_is_not_utf8(trained: Any, folders: Path, cli: Cli, here: Path) -> None:
    name = os.fsencode(folders) + b"/down/\xff.png"
    try:
        Path(os.fsdecode(name)).write_bytes((folders / "down" / "001.png").read_bytes())
    except OSError:
        pytest.skip("this file system takes only UTF-8")
    assert cli("check", folders).code == 0
    said = cli("predict", trained.run, folders, "--csv", "answers.csv", "--json")
    assert said.code == 0, said.err
    assert os.fsdecode(name) in [answer["source"] for answer in json.loads(said.out)]
    assert name in (here / "answers.csv").read_bytes()


def test_checkpoint_is_replaced_whole_or_not_at_all(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = torch.nn.Linear(2, 2)
    state = checkpoint.State(network, [torch.optim.AdamW(network.parameters())])
    path = here / "checkpoint.safetensors"
    checkpoint.save_state(path, state)
    saved = path.read_bytes()

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for name in ("fsync", "replace"):
        with monkeypatch.context() as patched:
            patched.setattr(os, name, full)
            with pytest.raises(
                pellucid.MachineError, match=r"checkpoint.safetensors.*No space left"
            ):
                checkpoint.save_state(path, state)
        assert [entry.name for entry in here.iterdir()] == ["checkpoint.safetensors"]
        assert path.read_bytes() == saved
    checkpoint.load_state(path, state)
