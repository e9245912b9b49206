"""Augmentation of classification, and the sheet that shows it."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

import pellucid
from pellucid.core.rng import Draws
from pellucid.data.images import read
from pellucid.engine.check import augment_sheet
from pellucid.engine.run import settings
from pellucid.engine.run.prepare import Prepared, prepare
from pellucid.engine.run.progress import Say
from pellucid.tasks.classification.settings import Policy
from pellucid.transforms.augment import POLICIES


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    return prepare("digits", {}, Say(True))


def with_policy(prepared: Prepared, policy: str) -> Prepared:
    return prepared.again(settings.of(prepared.task, {"augment": policy, "split_seed": 0}))


@pytest.mark.parametrize("policy", get_args(Policy))
def test_every_policy_augments(prepared: Prepared, policy: str) -> None:
    chosen = with_policy(prepared, policy)
    views, rows = chosen.part("train"), np.arange(12)
    plain, changed = (
        views.batch(rows),
        chosen.training.augment(views.batch(rows), Draws(0, 0, rows), 0.0),
    )
    assert changed.images.shape == plain.images.shape
    assert changed.images.min() >= 0 and changed.images.max() <= 255
    assert torch.equal(changed.images.float(), plain.images.float()) == (policy == "none")
    if POLICIES[policy].mixes:
        assert changed.targets.shape == (12, 10) and torch.allclose(
            changed.targets.sum(1), torch.ones(12)
        )
    else:
        assert torch.equal(changed.targets, plain.targets)


@pytest.mark.parametrize("policy", ["none", "strong", "cutmix"])
def test_a_sheet_shows_one_image_sixteen_times(prepared: Prepared, policy: str) -> None:
    chosen = with_policy(prepared, policy)
    page = augment_sheet(chosen, 3)
    side = 200
    cells = [
        page[10 + r * (page.shape[0] - 10) // 4 :, 10 + c * (side + 10) :][:side, :side]
        for r in range(4)
        for c in range(4)
    ]
    original = chosen.part("train").batch(np.array([3])).images[0, 0].numpy()
    assert np.array_equal(cells[0][12::25, 12::25, 0], original)
    same = [np.array_equal(cell, cells[0]) for cell in cells[1:]]
    assert all(same) if policy == "none" else sum(same) < 3


def test_check_writes_a_sheet_and_never_over_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first = pellucid.check("digits", show_augment=True, augment="elastic", quiet=True)
    second = pellucid.check("digits", show_augment=True, quiet=True)
    named = pellucid.check(
        "digits", show_augment=True, out=tmp_path / "there" / "a.png", quiet=True
    )
    assert [result.sheet for result in (first, second, named)] == [
        Path("augment.png"),
        Path("augment-2.png"),
        tmp_path / "there" / "a.png",
    ]
    assert read(tmp_path / "augment.png").shape[1] > 800
    assert (
        "augmentation elastic: zoom 0.1, rotate 10, shift 0.07, shear 8, elastic 0.04; one "
        "picture 16 times: augment.png"
    ) in first.text()
    assert pellucid.check("digits", quiet=True).sheet is None
    assert first.findings == []


def test_the_documented_policies_are_the_policies() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "augmentation.md"
    header, _, *rows = re.search(
        r"## The policies\n\n(.*?)\n\n", page.read_text(encoding="utf-8"), re.DOTALL
    )[1].splitlines()
    columns = [name.strip() for name in header.strip("|").split("|")][1:-1]
    documented = {}
    for row in rows:
        name, *cells, beside = [cell.strip() for cell in row.strip("|").split("|")]
        given = {column: float(cell) for column, cell in zip(columns, cells, strict=True) if cell}
        documented[name.strip("`")] = given | {
            other: float(value) for other, value in re.findall(r"`(\w+)` ([\d.]+)", beside)
        }
    assert documented == {
        name: {key: value for key, value in asdict(how).items() if value}
        for name, how in POLICIES.items()
    }
