from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

import pellucid
from pellucid import cli
from pellucid.core.errors import DataError, ModelError, UsageError
from pellucid.data.images import read
from pellucid.inspection.feature_maps import filtered, look
from pellucid.inspection.graph import describe, expression
from pellucid.inspection.network import gradcheck


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("look")
    before = os.getcwd()
    os.chdir(place)
    try:
        options = {"epochs": 1, "threads": 1, "baselines": False, "quiet": True}
        return pellucid.train(
            "digits", model="C8 R P C16 R G L10", name="x", **options
        ).path.absolute()
    finally:
        os.chdir(before)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    pixels = np.zeros((12, 16, 3), np.uint8)
    pixels[:, 8:] = 200
    Image.fromarray(pixels).save(tmp_path / "edge.png")
    return tmp_path / "edge.png"


def said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: object
) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["pellucid", *map(str, words)])
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    streams = capsys.readouterr()
    return int(stopped.value.code or 0), streams.out, streams.err


# --- pictures -------------------------------------------------------------------------------------


def test_a_sheet_of_what_a_network_sees(run: Path, picture: Path, tmp_path: Path) -> None:
    out = tmp_path / "sheet.png"
    words = look(run, picture, out)
    assert "8 kernels, 24 maps of 2 stages" in words
    sheet = read(out)
    # Eight cells of 160 and their gaps; the picture, eight kernels, eight maps and sixteen maps:
    # five rows.
    assert sheet.shape[1] == 8 * 170 + 10
    assert sheet.shape[0] > 5 * 170
    # The edge of the picture is in the first cell as the network sees it: dark to bright.
    first = sheet[10:170, 10:170].mean(axis=(0, 2))
    assert first[20] < 50 and first[140] > 150
    before = out.read_bytes()
    look(run, picture, out)
    assert out.read_bytes() == before


def test_a_signed_filter_stands_around_mid_grey(picture: Path, tmp_path: Path) -> None:
    out = tmp_path / "sobel.png"
    assert "±800" in filtered("sobel_x", picture, out) and "mid-grey is 0" in filtered(
        "sobel_x", picture, out
    )
    shown = read(out)
    assert shown.shape == (12, 16, 3)
    assert (
        (shown[:, 7:9] == 255).all() and (shown[:, :7] == 128).all() and (shown[:, 9:] == 128).all()
    )
    filtered("box", picture, out)
    assert read(out)[:, 7].tolist() == [[67] * 3] * 12


@pytest.mark.parametrize("name", ["all", "gabor"])
def test_sheets_of_filters(name: str, picture: Path, tmp_path: Path) -> None:
    filtered(name, picture, tmp_path / "sheet.png")
    assert min(read(tmp_path / "sheet.png").shape[:2]) > 900


def test_sixteen_bits_are_filtered_as_they_are(tmp_path: Path) -> None:
    pixels = np.full((8, 8), 1000, np.uint16)
    pixels[4:] = 1100
    Image.fromarray(pixels).save(tmp_path / "deep.png")
    assert "±300" in filtered("prewitt_y", tmp_path / "deep.png", tmp_path / "out.png")


def test_a_picture_that_is_read_is_never_overwritten(
    run: Path, picture: Path, tmp_path: Path
) -> None:
    before = picture.read_bytes()
    (tmp_path / "link.png").symlink_to(picture)
    for out in (picture, tmp_path / "link.png", tmp_path / "." / "edge.png"):
        with pytest.raises(UsageError, match="overwrite"):
            filtered("box", picture, out)
        with pytest.raises(UsageError, match="overwrite"):
            look(run, picture, out)
    assert picture.read_bytes() == before


def test_bad_input_is_told(run: Path, picture: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean"):
        filtered("sobl_x", picture, tmp_path / "out.png")
    with pytest.raises(DataError, match="no such picture"):
        filtered("box", tmp_path / "none.png", tmp_path / "out.png")
    with pytest.raises(UsageError, match="format"):
        filtered("box", picture, tmp_path / "out.what")
    with pytest.raises(ModelError, match="no trained model"):
        look(tmp_path, picture, tmp_path / "out.png")
    assert not (tmp_path / "out.png").exists()


# --- the graph ------------------------------------------------------------------------------------


def test_every_step_is_written() -> None:
    text = describe(expression("(a+b)*(b+1)", ["a=2", "b=1"]))
    for line in (
        "c = a + b = 3",
        "∂e/∂c = d = 2",
        "∂e/∂a = ∂e/∂c · ∂c/∂a = 2 · 1 = 2",
        "edge visits: 6 by",
        "5 in reverse mode",
        "agree",
    ):
        assert line in text
    assert "∂e/∂b = ∂e/∂c · ∂c/∂b + ∂e/∂d · ∂d/∂b = 2 · 1 + 3 · 1 = 5" in text
    long = describe(expression("+".join(["x"] * 500), ["x=1"]))
    assert len(long) < 2000 and "= 500" in long


def test_the_drawing_has_every_number_and_no_box_on_another(tmp_path: Path) -> None:
    out = tmp_path / "graph.svg"
    expression(
        "max(x*y, sin(z)/3, -x)**2*x + x*x + relu(exp(y-2*3))", ["x=2", "y=3", "z=-0.5"], svg=out
    )
    root = ElementTree.parse(out).getroot()
    space = "{http://www.w3.org/2000/svg}"
    texts = [node.text for node in root.iter(f"{space}text")]
    assert (
        {"e ^ 2" in str(t) for t in texts} == {True, False}
        and "∂n/∂x = 112" in texts
        and "36" in texts
    )
    boxes = [
        tuple(float(r.attrib[k]) for k in ("x", "y", "width", "height"))
        for r in root.iter(f"{space}rect")
        if "box" in r.attrib["class"]
    ]
    assert len(boxes) == 21
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    assert all(x >= 0 and y >= 0 and x + w <= width and y + h <= height for x, y, w, h in boxes)
    for k, (x, y, w, h) in enumerate(boxes):
        assert all(x + w <= a or a + c <= x or y + h <= b or b + d <= y for a, b, c, d in boxes[:k])


def test_what_cannot_be_drawn(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at most 60"):
        expression("+".join(["x"] * 100), ["x=1"], svg=tmp_path / "long.svg")
    with pytest.raises(UsageError, match="svg"):
        expression("x", ["x=1"], svg=tmp_path / "x.png")
    assert list(tmp_path.iterdir()) == []


# --- the command line -----------------------------------------------------------------------------


def test_the_questions_of_inspect(
    run: Path,
    picture: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def ask(*words: object) -> tuple[int, str, str]:
        return said(capsys, monkeypatch, "inspect", *words)

    code, out, _ = ask(
        "--expression", "(a+b)*(b+1)", "a=2", "b=1", "--json", "--svg", tmp_path / "g.svg"
    )
    assert (
        code == 0
        and json.loads(out)["partials"] == {"a": 2, "b": 5}
        and (tmp_path / "g.svg").exists()
    )
    code, out, _ = ask("C4 B R P L3", "--input", "1x8x8", "--gradcheck")
    assert code == 0 and "right:" in out
    code, out, _ = ask(run, "--gradcheck", "--json")
    assert code == 0 and json.loads(out)["passed"]
    assert ask("--filter", "sobel_x", picture, "--out", tmp_path / "s.png")[0] == 0
    assert ask(run, "--look", picture, "--out", tmp_path / "l.png")[0] == 0
    assert (tmp_path / "s.png").exists() and (tmp_path / "l.png").exists()


def test_questions_that_are_none(
    picture: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for words, told in (
        (("--expression", "a", "a=1", "--gradcheck"), "one at a time"),
        (("lenet5", "--svg", "x.svg"), "--svg goes with --expression"),
        (("--expression", "a", "a=1", "--input", "3x8x8"), "--input"),
        (("--filter", "box", picture), "--out"),
        (("--filter", "box", "--out", "x.png"), "name one picture"),
        ((), "name one network"),
        (("lenet5", "resnet18"), "one network"),
        (("resnet18", "--gradcheck"), "--input"),
        (("--expression", "a/0", "a=1"), "divides by zero"),
    ):
        code, _, error = said(capsys, monkeypatch, "inspect", *words)
        assert code == 2 and told in error and error.count("\n") == 1, words


def test_a_wrong_gradient_is_a_finding(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text(
        "import torch\nclass F(torch.autograd.Function):\n"
        "    @staticmethod\n    def forward(ctx, x):\n        return 2 * x\n"
        "    @staticmethod\n    def backward(ctx, g):\n        return g\n"
        "class Twice(torch.nn.Module):\n    def forward(self, x):\n        return F.apply(x)\n"
        "def network():\n    return torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), Twice())\n"
    )
    code, out, _ = said(
        capsys,
        monkeypatch,
        "inspect",
        f"{tmp_path / 'mine.py'}:network",
        "--input",
        "1x5x5",
        "--gradcheck",
    )
    assert code == 1 and "1 (Twice)" in out


def test_the_weights_of_a_check_follow_the_seed() -> None:
    assert gradcheck("C4 R G L3", input="1x6x6", seed=1) == gradcheck(
        "C4 R G L3", input="1x6x6", seed=1
    )
