from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

import pellucid
from pellucid.anatomy import Anatomy
from pellucid.core.errors import DataError, ModelError, UsageError
from pellucid.inspection import code
from pellucid.inspection import page as inspect_page

SMALL = "C4 R P C8 R G L2"


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """Two classes of 24 pictures of 64×48; those of "bad" have a mask with one part of 6×5 pixels,
    one of 20×8, and a speck."""
    rng = np.random.default_rng(0)
    for label in ("bad", "good"):
        (tmp_path / "parts" / label).mkdir(parents=True)
        for number in range(24):
            picture = rng.integers(0, 255, (64, 48), np.uint8)
            cv2.imwrite(str(tmp_path / "parts" / label / f"{number}.jpg"), picture)
            if label == "bad":
                mask = np.zeros((64, 48), np.uint8)
                mask[3:9, 4:9], mask[20:40, 10:18], mask[60, 40] = 255, 200, 255
                cv2.imwrite(str(tmp_path / "parts" / label / f"{number}.png"), mask)
    return tmp_path / "parts"


def texts(anatomy: Anatomy) -> str:
    return "\n".join(f"{finding.level}: {finding.text}" for finding in anatomy.findings)


# -------------------------------------------------------------------------------- held against data


def test_held_against_data(parts: Path) -> None:
    found = pellucid.inspect(SMALL, data=parts, quiet=True)
    assert found.input == (1, 64, 48)  # what training would use: their own size, one channel
    said = texts(found)
    assert "all pictures have the size of the input of 64×48" in said
    assert "the smallest of 48 objects is 6×5 px" in said and "a cell of the last map 2 px" in said
    assert "(8 px) covers 17% of a side of your picture (64×48)" in said
    assert re.search(r"a batch of 16 takes [\d.]+ MB to train with adamw", said)
    assert re.search(
        r"ok: an epoch of \d\d training pictures in \d steps takes about [\d.]+ seconds here", said
    )
    assert [finding["text"] for finding in found.to_json()["findings"]] == [
        finding.text for finding in found.findings
    ]
    assert all(finding.text in found.text() for finding in found.findings)


def test_the_size_asked_for_is_kept(parts: Path) -> None:
    found = pellucid.inspect("( C8 R P )3 G L2", data=parts, input="1x32x32", quiet=True)
    assert found.input == (1, 32, 32)
    assert "wrong: 50% of your objects are smaller than one cell of the last map (8 px" in texts(
        found
    )
    with pytest.raises(UsageError, match="1 channels, not 3"):
        pellucid.inspect(SMALL, data=parts, input="3x32x32", quiet=True)


def test_classes_that_do_not_fit(parts: Path, own: Path) -> None:
    with pytest.raises(UsageError, match="the data has 2"):
        pellucid.inspect("C4 R G L5", data=parts, quiet=True)
    found = pellucid.inspect(f"{own}:grey", data=parts, quiet=True)
    assert "wrong: your data has 2 classes, the network answers with 7 numbers" in texts(found)
    assert "an epoch of" not in texts(found)


def test_no_such_data() -> None:
    with pytest.raises(DataError, match="nowhere"):
        pellucid.inspect(SMALL, data="nowhere", quiet=True)


def test_objects_of_real_tiles(data_root: Path) -> None:
    found = pellucid.inspect(
        SMALL.replace("L2", "L6"), data=data_root / "magnetic_tile", quiet=True
    )
    assert "objects" in texts(found) and found.findings[0].text.startswith("your pictures")


# ----------------------------------------------------------------------------------------- own code


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own_network.py"
    path.write_text(
        "import torch\n"
        "from torch import nn\n"
        "def grey():\n    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), "
        "nn.Flatten(), nn.Linear(4, 7))\n"
        "def needs_numbers():\n    width = int(torch.arange(5).sum())\n    return nn.Conv2d(3, "
        "width, 3)\n"
        "def fails():\n    return nn.Conv2d(3, 5, 3, groups=2)\n"
        "def number():\n    return 3\n"
        "def lazy():\n    return nn.Sequential(nn.Flatten(), nn.LazyLinear(3))\n"
        "def compiled():\n    return torch.jit.trace(nn.Conv2d(1, 1, 1), torch.ones(1, 1, 2, 2))\n"
        "def ends():\n    raise SystemExit(0)\n"
        "class Talks(nn.Module):\n    def forward(self, x):\n        print('hello')\n        "
        "return x.mean((2, 3))\n"
    )
    return path


def test_a_network_of_ones_own(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = pellucid.inspect(f"{own}:grey", input="1x9x9")
    assert found.parameters == 40 + 35 and all(p.is_meta for p in found.network.parameters())
    assert pellucid.inspect(f"{own}:needs_numbers").rows[0].output == (10, 222, 222)
    monkeypatch.chdir(own.parent)
    assert pellucid.inspect("own_network:grey", input="1x9x9").parameters == 75


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("FILE:gray", UsageError, 'did you mean "grey"'),
        ("FILE:fails", ModelError, "ValueError: in_channels must be divisible"),
        ("FILE:number", ModelError, "returned int and not an nn.Module"),
        ("FILE:lazy", ModelError, "lazy layers without sizes"),
        ("FILE:compiled", ModelError, "compiled TorchScript"),
        ("FILE:ends", ModelError, "ended the program"),
        ("FILE", UsageError, "say which function"),
        ("nothing_here.py:grey", UsageError, "there is no such file"),
        ("nothing_here:grey", UsageError, "there is no module nothing_here"),
        ("resnet81", UsageError, 'did you mean "resnet18"'),
    ],
)
def test_what_is_wrong_with_it_is_named(
    own: Path, name: str, kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=re.escape(words)) as caught:
        pellucid.inspect(name.replace("FILE", str(own)))
    assert "\n" not in str(caught.value) and (
        name.split(":")[0] in str(caught.value) or "own_network.py" in str(caught.value)
    )


def test_what_it_prints_is_not_in_the_account(own: Path) -> None:
    words = [
        sys.executable,
        "-m",
        "pellucid",
        "inspect",
        f"{own}:Talks",
        "--input",
        "1x4x4",
        "--json",
    ]
    said = subprocess.run(words, capture_output=True, text=True, check=True)
    assert json.loads(said.stdout)["input"] == [1, 4, 4] and "hello" in said.stderr


def test_a_picture_beyond_all_measure_is_refused() -> None:
    with pytest.raises(UsageError, match="99,999,999 is too many"):
        pellucid.inspect("resnet18", input="3x99999999x9")


def test_a_notation_is_not_taken_for_code() -> None:
    assert not code.is_code("1D:C4 R L2") and not code.is_code("resnet18")
    assert code.is_code("a.b:c") and code.is_code("/x/y z/net.py:make")
    with pytest.raises(UsageError, match="leave out --classes"):
        pellucid.inspect("a.b:c", classes=3)


def test_too_small_a_picture_names_the_least() -> None:
    with pytest.raises(UsageError, match="at least"):
        pellucid.inspect("lenet5", input="1x8x8")


# --------------------------------------------------------------------------------------------- page


class Strict(HTMLParser):
    """Every tag closed in order, nothing fetched from outside, no scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag != "script" and not any(
            name in ("src", "href") and not (value or "").startswith(("#", "data:"))
            for name, value in attrs
        )
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_the_page_is_whole(parts: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    found = pellucid.inspect(SMALL, data=parts, html=page, quiet=True)
    read = Strict()
    read.feed(page.read_text(encoding="utf-8"))
    words = " ".join(" ".join(read.words).split())
    assert read.open == []
    assert all(row.name in words and row.kind in words for row in found.rows)
    assert all(finding.text in words for finding in found.findings)
    assert "2 × MACs" in words and "every" in words
    assert inspect_page.page(found, SMALL) == page.read_text(encoding="utf-8")


def test_a_page_needs_a_file(tmp_path: Path) -> None:
    for wrong in (tmp_path, tmp_path / "page.txt"):
        with pytest.raises(UsageError, match=r"ends in \.html"):
            pellucid.inspect(SMALL, html=wrong)


def test_json_is_strict() -> None:
    answer = json.loads(
        json.dumps(pellucid.inspect("resnet18", input="3x64x64").to_json(), allow_nan=False)
    )
    assert (
        answer["total"]["depth"] == 18
        and answer["memory"]["weights_bytes"] > 4 * answer["total"]["parameters"]
    )
    assert answer["layers"][0]["receptive_field"] == [{"size": 7, "stride": 2, "start": 0}] * 2
    assert "findings" not in answer
