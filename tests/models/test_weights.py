"""Published weights: the catalogue, fetching that goes on where it was cut off,
and pickles that are never run."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import pickle
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from pellucid.core.errors import DataError, MachineError, ModelError, UsageError
from pellucid.engine.weights import weights as verb
from pellucid.models import MODELS, weights
from pellucid.models.download import download
from pellucid.models.notation import build
from pellucid.models.weights import CATALOGUE, CIFAR10, Weights


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """An empty mirror and an empty cache."""
    mirror, cache = tmp_path / "mirror", tmp_path / "cache"
    mirror.mkdir()
    monkeypatch.setenv("PELLUCID_MIRROR", str(mirror))
    monkeypatch.setenv("PELLUCID_CACHE", str(cache))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return mirror, cache


# --- the catalogue --------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", CATALOGUE.values(), ids=lambda entry: entry.name)
def test_an_entry_is_complete(entry: Weights) -> None:
    assert CATALOGUE[entry.name] is entry
    assert entry.model in MODELS
    assert len(entry.sha256) in (8, 64) and set(entry.sha256) <= set("0123456789abcdef")
    assert len(entry.sha256) == 64 or entry.sha256 in entry.file
    assert entry.address is None or entry.address.startswith("https://")
    assert (
        entry.commercial.split(":")[0] in ("yes", "no", "unclear")
        and len(entry.commercial.split(":")[1]) > 3
    )
    assert len(entry.preprocessing.mean) == len(entry.preprocessing.std) == 3
    assert entry.licence and entry.score and entry.source


def test_what_differs_from_the_rest() -> None:
    assert len(CATALOGUE) == 23
    assert CATALOGUE["alexnet_imagenet"].file == "alexnet-owt-7be5be79.pth"
    assert CATALOGUE["googlenet_imagenet"].preprocessing.mean == (0.5, 0.5, 0.5)
    assert (
        CATALOGUE["resnet50_imagenet"].address
        == "https://download.pytorch.org/models/resnet50-0676ba61.pth"
    )
    assert CATALOGUE["mobilenet_v2_imagenet_folded"].address is None


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(UsageError, match='did you mean "resnet50_imagenet"'):
        weights.get("resnet50_imagenett")


# --- fetching -------------------------------------------------------------------------------------

CONTENT = bytes(range(256)) * 4096
DIGITS = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Sends `content`; ranged: understands Range; cut: closes after so many bytes of an answer.
    asked: the Range of each request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.content, self.ranged, self.cut, self.asked = CONTENT, True, None, []
        self.address = f"http://127.0.0.1:{self.server_port}/file.pth"


class Answering(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked, content = self.headers.get("Range"), self.server.content
        self.server.asked.append(asked)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.server.ranged else 0
        if start and start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(
            content[start:] if self.server.cut is None else content[start : start + self.server.cut]
        )

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.mark.parametrize("ranged", [True, False])
def test_a_fetch_that_was_cut_goes_on(server: Server, tmp_path: Path, ranged: bool) -> None:
    target = tmp_path / "new" / "file.pth"
    server.ranged, server.cut = ranged, 300_000
    with pytest.raises(MachineError, match=r"cut off after 300,000 of 1,048,576 bytes"):
        download(server.address, target, DIGITS)
    assert not target.exists() and target.with_name("file.pth.part").stat().st_size == 300_000
    server.cut = None
    download(server.address, target, DIGITS[:8])
    assert target.read_bytes() == CONTENT
    assert [path.name for path in target.parent.iterdir()] == ["file.pth"]
    assert server.asked == [None, "bytes=300000-"]


def test_somebody_at_a_terminal_sees_a_bar(
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    download(server.address, tmp_path / "file.pth", DIGITS)
    said = capsys.readouterr()
    assert "file.pth" in said.err and said.out == ""


def test_a_part_that_is_whole_already_is_only_checked(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.pth.part").write_bytes(CONTENT)
    download(server.address, tmp_path / "file.pth", DIGITS)
    assert (tmp_path / "file.pth").read_bytes() == CONTENT


def test_another_file_is_refused_and_removed(server: Server, tmp_path: Path) -> None:
    server.content = CONTENT[:-1] + b"x"
    with pytest.raises(ModelError, match="sent another file"):
        download(server.address, tmp_path / "file.pth", DIGITS)
    assert list(tmp_path.glob("file*")) == []


def test_a_stale_part_does_not_survive(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.pth.part").write_bytes(b"of another file")
    with pytest.raises(ModelError, match="which was removed; try again"):
        download(server.address, tmp_path / "file.pth", DIGITS)
    download(server.address, tmp_path / "file.pth", DIGITS)
    assert (tmp_path / "file.pth").read_bytes() == CONTENT


def test_offline_is_one_clear_line(tmp_path: Path) -> None:
    with Server() as gone:
        address = gone.address
    with pytest.raises(MachineError) as caught:
        download(address, tmp_path / "file.pth", DIGITS)
    assert "\n" not in str(caught.value)
    assert (
        address in str(caught.value)
        and "PELLUCID_MIRROR" in str(caught.value)
        and "file.pth" in str(caught.value)
    )


def test_a_missing_page_is_said_with_its_code(server: Server, tmp_path: Path) -> None:
    server.content = b""
    (tmp_path / "file.pth.part").write_bytes(b"")
    with pytest.raises(ModelError, match="another file"):
        download(server.address, tmp_path / "file.pth", DIGITS)
    answering = Answering.do_GET
    try:
        Answering.do_GET = lambda self: self.send_error(404)  # type: ignore[method-assign]
        with pytest.raises(MachineError, match="the server answers 404"):
            download(server.address, tmp_path / "file.pth", DIGITS)
    finally:
        Answering.do_GET = answering  # type: ignore[method-assign]


# --- mirror, cache, address -----------------------------------------------------------------------


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, server: Server) -> Weights:
    """An entry for a network of a few weights, at the test's own address."""
    entry = CATALOGUE["resnet18_imagenet"]
    entry = dataclasses.replace(
        entry, name="small", file="file.pth", address=server.address, sha256=DIGITS[:8]
    )
    monkeypatch.setitem(CATALOGUE, "small", entry)
    return entry


def test_the_mirror_comes_before_the_cache_before_the_address(
    small: Weights, server: Server, places: tuple[Path, Path]
) -> None:
    mirror, cache = places
    assert weights.here("file.pth") is None
    assert weights.get("small") == cache / "file.pth"
    assert weights.get("small") == cache / "file.pth" and len(server.asked) == 1
    (mirror / "file.pth").write_bytes(CONTENT)
    assert weights.get("small") == mirror / "file.pth"
    assert weights.here("file.pth") == ("mirror", mirror / "file.pth")


def test_a_wrong_file_in_the_mirror_is_refused_and_left_alone(
    small: Weights, places: tuple[Path, Path]
) -> None:
    wrong = places[0] / "file.pth"
    wrong.write_bytes(b"something else")
    with pytest.raises(ModelError, match="is not the published file"):
        weights.get("small")
    assert wrong.read_bytes() == b"something else"


def test_without_an_address_only_a_mirror_helps() -> None:
    with pytest.raises(
        ModelError, match=r"put mobilenetv2_imagenet_fp16\.pth into a folder .* PELLUCID_MIRROR"
    ):
        weights.get("mobilenet_v2_imagenet_folded")


def test_a_mirror_that_is_not_there_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PELLUCID_MIRROR", str(tmp_path / "nowhere"))
    with pytest.raises(UsageError, match="nowhere is not a folder"):
        weights.here("file.pth")


def test_the_verb_lists_gets_and_verifies(
    small: Weights, places: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert {shelf.weights.name: shelf.where for shelf in verb()}["small"] is None
    assert verb("verify") == []
    (got,) = verb("get", ["small"])
    assert "licence BSD-3-Clause" in capsys.readouterr().err
    assert (
        got.where == "cache" and got.size == len(CONTENT) and not got.to_json()["sha256_is_whole"]
    )
    assert [shelf.whole for shelf in verb("verify")] == [True]
    (places[1] / "file.pth").write_bytes(CONTENT[:-1])
    assert [shelf.whole for shelf in verb("verify", ["small"])] == [False]
    with pytest.raises(UsageError, match='did you mean "verify"'):
        verb("verifi")
    with pytest.raises(UsageError, match="name what to get"):
        verb("get")


# --- reading --------------------------------------------------------------------------------------


class Malicious:
    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.witness),)


@pytest.mark.parametrize("how", ["torch", "pickle"])
def test_a_pickle_that_needs_code_is_refused_and_not_run(tmp_path: Path, how: str) -> None:
    witness, path = tmp_path / "it-ran", tmp_path / "weights.pth"
    held = {"weight": torch.zeros(2), "more": Malicious(witness)}
    torch.save(held, path) if how == "torch" else path.write_bytes(pickle.dumps(held))
    with pytest.raises(ModelError, match="a pickle that runs code"):
        weights.read(path)
    assert not witness.exists()


def test_prefixes_and_nesting_are_taken_off(tmp_path: Path) -> None:
    held = {
        "module.fc.weight": torch.ones(2, 3, dtype=torch.float16),
        "module.denselayer1.norm.2.bias": torch.zeros(4),
    }
    torch.save(
        {"epoch": 3, "state_dict": held}, tmp_path / "x.th", _use_new_zipfile_serialization=False
    )
    found = weights.read(tmp_path / "x.th")
    assert set(found) == {"fc.weight", "denselayer1.norm2.bias"}
    assert found["fc.weight"].dtype == torch.float16


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", b"\x80\x02cut", b"plain text"])
def test_damaged_files_are_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"weights\.pth"):
        weights.read(path)


@given(st.binary(max_size=60))
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_bytes_break_reading(tmp_path: Path, content: bytes) -> None:
    for start in (b"", b"PK", b"\x80\x02"):
        (tmp_path / "weights.pth").write_bytes(start + content)
        with pytest.raises(ModelError):
            weights.read(tmp_path / "weights.pth")


def test_something_else_than_weights_is_refused(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "weights": [1, 2]}, tmp_path / "x.pth")
    with pytest.raises(ModelError, match="holds no weights by name"):
        weights.read(tmp_path / "x.pth")


def test_a_pickle_is_read_once_and_then_its_safetensors(
    places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror, cache = places
    torch.save({"a": torch.arange(3.0).half()}, mirror / "file.pth")
    digits = hashlib.sha256((mirror / "file.pth").read_bytes()).hexdigest()
    entry = dataclasses.replace(
        CATALOGUE["resnet18_imagenet"], name="small", file="file.pth", sha256=digits, address=None
    )
    monkeypatch.setitem(CATALOGUE, "small", entry)
    first = weights.tensors("small")
    assert (
        sorted(path.name for path in cache.iterdir()) == ["small.safetensors"]
        and len(list(mirror.iterdir())) == 1
    )
    (mirror / "file.pth").unlink()
    second = weights.tensors("small")
    assert first["a"].dtype == second["a"].dtype == torch.float16 and torch.equal(
        first["a"], second["a"]
    )
    # Spoilt on the disk since: not used, though it says that it is of the right file.
    with safe_open(cache / "small.safetensors", framework="pt") as file:
        metadata = file.metadata()
    save_file(
        {"a": torch.zeros(3, dtype=torch.float16)}, cache / "small.safetensors", metadata=metadata
    )
    with pytest.raises(ModelError, match="no public address"):
        weights.tensors("small")
    # Converted from another file than the catalogue now names: not used.
    monkeypatch.setitem(CATALOGUE, "small", dataclasses.replace(entry, sha256="0" * 64))
    with pytest.raises(ModelError, match="no public address"):
        weights.tensors("small")


# --- filling a network ----------------------------------------------------------------------------


def network(classes: int, notation: str = "C4 B R G") -> nn.Module:
    return build(f"{notation} L{classes}", 3, (8, 8))


def test_float16_and_old_files_without_counters_fill_a_network() -> None:
    source, target = network(5), network(5)
    stored = {
        key: value.half() for key, value in source.state_dict().items() if "num_batches" not in key
    }
    assert weights.fill(target, stored, "it") == []
    assert all(value.dtype == torch.float32 for value in target.parameters())
    assert all(
        torch.equal(target.state_dict()[key], value.float()) for key, value in stored.items()
    )


def test_other_classes_leave_only_the_last_layer_fresh() -> None:
    source, target = network(5).state_dict(), network(3)
    before = {key: value.clone() for key, value in target.state_dict().items()}
    fresh = weights.fill(target, source, "it", other_classes=True)
    assert len(fresh) == 2
    for key, value in target.state_dict().items():
        assert torch.equal(value, before[key] if key in fresh else source[key])
    with pytest.raises(ModelError, match="of another network"):
        weights.fill(network(3), source, "it")


@pytest.mark.parametrize("notation", ["C8 B R G", "C4 R G", "C4k5 B R G", "C4 B R C4 B R G"])
def test_weights_of_another_network_are_refused(notation: str) -> None:
    with pytest.raises(ModelError, match="it: these weights are of another network"):
        weights.fill(network(3, notation), network(5).state_dict(), "it", other_classes=True)


def test_weights_that_are_not_finite_are_refused() -> None:
    stored = network(3).state_dict()
    stored["0.bias" if "0.bias" in stored else next(iter(stored))].flatten()[0] = float("nan")
    with pytest.raises(ModelError, match="not finite"):
        weights.fill(network(3), stored, "it")


# --- labels ---------------------------------------------------------------------------------------


def test_labels(places: tuple[Path, Path]) -> None:
    assert weights.labels("cifar10") == CIFAR10 and len(CIFAR10) == 10
    assert weights.labels("imagenet") is None
    lines = [
        "background",
        "tench, Tinca tinca",
        "crane",
        "crane",
        "maillot",
        "maillot, tank suit",
        *(f"thing {i}" for i in range(995)),
    ]
    (places[0] / weights.IMAGENET_FILE).write_text("\n".join(lines), encoding="utf-8")
    found = weights.labels("imagenet")
    assert found is not None and len(found) == len(set(found)) == 1000
    assert found[:5] == ("tench", "crane (1)", "crane (2)", "maillot", "maillot, tank suit")
    (places[0] / weights.IMAGENET_FILE).write_text("\n".join(lines[1:]), encoding="utf-8")
    with pytest.raises(DataError, match="has 1000 lines, not 1001"):
        weights.labels("imagenet")


def test_one_channel_for_three_says_the_shapes() -> None:
    grey, colour = (build("C4 B R G", channels, (8, 8)) for channels in (1, 3))
    with pytest.raises(ModelError, match=r"other channels .*4×1×3×3 in the file, 4×3×3×3 here"):
        weights.fill(colour, grey.state_dict(), "it")


@pytest.mark.parametrize(
    "spoilt",
    [
        torch.eye(3).to_sparse(),
        torch.ones(3, dtype=torch.int32),
        torch.ones(3, dtype=torch.complex64),
    ],
)
def test_what_are_no_real_numbers_are_refused(spoilt: torch.Tensor, tmp_path: Path) -> None:
    torch.save({"a.weight": torch.ones(2), "b.weight": spoilt}, tmp_path / "w.pth")
    with pytest.raises(ModelError, match=r"b\.weight is no tensor of real numbers"):
        weights.read(tmp_path / "w.pth")
