"""The grammar of a search: what it means, and what it refuses in one line."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.core.errors import UsageError
from pellucid.experiments import space


@pytest.mark.parametrize(
    ("name", "spec", "low", "high", "log", "whole"),
    [
        ("lr", "log:1e-4..1e-1", 1e-4, 1e-1, True, False),
        ("lr", "LOG:0.001..1", 0.001, 1.0, True, False),
        ("mixup", "0.0..0.3", 0.0, 0.3, False, False),
        ("mixup", ".1...5", 0.1, 0.5, False, False),
        ("lr", "1..5", 1.0, 5.0, False, False),
        ("batch", "8..128", 8, 128, False, True),
        ("batch", "log:8..256", 8, 256, True, True),
        ("batch", "1e1..1e2", 10, 100, False, True),
    ],
)
def test_ranges(name: str, spec: str, low: float, high: float, log: bool, whole: bool) -> None:
    assert space.axis(name, spec) == space.Axis(name, spec, (), low, high, log, whole)


@pytest.mark.parametrize(
    ("name", "spec", "choices"),
    [
        ("optimizer", "adamw, sgd", ("adamw", "sgd")),
        ("batch", "16,32", (16, 32)),
        ("lr", "1e-3,1e-2", (0.001, 0.01)),
        ("lr", [0.1, 0.2], (0.1, 0.2)),
        ("cache", "true,False", (True, False)),
        ("size", "32,48x96", ("32", "48x96")),
        ("size", [32, [48, 96]], (32, "48x96")),
        ("model", 'lenet5,"C16 R, L10"', ("lenet5", "C16 R, L10")),
        ("weights", "../a.pth,../b.pth", ("../a.pth", "../b.pth")),
        ("mixup", "0..0.4:5", (0.0, 0.1, 0.2, 0.3, 0.4)),
        ("lr", "log:1e-3..1e-1:3", (0.001, 0.01, 0.1)),
        ("batch", "log:8..256:6", (8, 16, 32, 64, 128, 256)),
        ("batch", "1..3:9", (1, 2, 3)),
    ],
)
def test_choices(name: str, spec: Any, choices: tuple[Any, ...]) -> None:
    assert space.axis(name, spec).choices == choices
    assert [type(value) for value in space.axis(name, spec).choices] == [
        type(value) for value in choices
    ]


@pytest.mark.parametrize(
    ("name", "spec", "says"),
    [
        ("learning", "1..2", "unknown setting"),
        ("lrr", "1..2", 'did you mean "lr"'),
        ("seed", "1,2", "cannot be compared"),
        ("threads", "1,2", "does not change the validation score"),
        ("score", "accuracy,balanced_accuracy", "cannot be compared"),
        ("lr", "0.1", "one value is no search"),
        ("lr", "", "one value is no search"),
        ("lr", "0.1,0.1", "one value is no search"),
        ("lr", "x..y", "lr: 'x' is not a number"),
        ("lr", "..1", "not a number"),
        ("lr", "1..nan", "out of range"),
        ("lr", "1..inf", "finite"),
        ("lr", "1e-1..1e-3", "empty"),
        ("lr", "log:0..1", "begins above 0"),
        ("lr", "0..1:1", "number of points"),
        ("lr", "0..1:x", "number of points"),
        ("mixup", "-1..2", "out of range"),
        ("batch", "8..20.5", "not a whole number"),
        ("batch", "0,8", "out of range"),
        ("optimizer", "adamw,sdg", 'did you mean "sgd"'),
        ("size", "8,tall", "not a size"),
    ],
)
def test_refusals_name_the_setting(name: str, spec: str, says: str) -> None:
    with pytest.raises(UsageError) as refused:
        space.axis(name, spec)
    assert (
        says in str(refused.value) and name in str(refused.value) and "\n" not in str(refused.value)
    )


@given(
    ends=st.tuples(st.floats(1e-6, 1e3), st.floats(1e-6, 1e3)).filter(
        lambda pair: pair[1] > pair[0] * 1.01
    ),
    count=st.integers(2, 40),
    log=st.booleans(),
)
def test_points_are_equally_far_apart(ends: tuple[float, float], count: int, log: bool) -> None:
    spec = f"{'log:' if log else ''}{ends[0]!r}..{ends[1]!r}:{count}"
    values = [math.log(v) if log else v for v in space.axis("lr", spec).choices]
    gaps = [b - a for a, b in zip(values, values[1:], strict=False)]
    assert math.isclose(
        values[0], math.log(ends[0]) if log else ends[0], rel_tol=1e-4, abs_tol=1e-4
    )
    assert math.isclose(
        values[-1], math.log(ends[1]) if log else ends[1], rel_tol=1e-4, abs_tol=1e-4
    )
    # Values are kept to six digits, so gaps agree to what that leaves of them.
    allowed = 5e-6 * (1 if log else ends[1])
    assert len(values) <= count and (len(values) < count or max(gaps) - min(gaps) <= 4 * allowed)


def test_a_grid_is_every_combination_once() -> None:
    points = space.grid(
        space.parse({"lr": "log:1e-3..1e-1:3", "optimizer": "adamw,sgd", "batch": "8,16"})
    )
    assert len(points) == 12 == len({tuple(sorted(point.items())) for point in points})
    assert {"lr": 0.01, "optimizer": "sgd", "batch": 8} in points
    with pytest.raises(UsageError, match=r"write lr=0\.\.1:5"):
        space.grid(space.parse({"lr": "0..1"}))
    with pytest.raises(UsageError, match="1,000,000 points"):
        space.grid(space.parse({"lr": "0..1:1000", "mixup": "0..1:1000"}))
    with pytest.raises(UsageError, match="nothing to search"):
        space.parse({})


def test_a_space_in_toml(tmp_path: Path) -> None:
    file = tmp_path / "space.toml"
    file.write_text('data = "digits"\nepochs = 3\n[search]\nlr = "log:1e-4..1"\nbatch = [16, 32]\n')
    assert space.load(file) == ("digits", {"epochs": 3}, {"lr": "log:1e-4..1", "batch": [16, 32]})
    file.write_text('weight-decay = 0.1\n[search]\nlabel-smoothing = "0..0.2"\n')
    assert space.load(file) == (None, {"weight_decay": 0.1}, {"label_smoothing": "0..0.2"})
    for text, says in (
        ("epoch = 3\n", "did you mean"),
        ("[search]\nlr-low=[1]\nlr_low=[1]\n", "are one setting"),
        ("search = 3\n", "table of settings"),
        ("a = [\n", "not a recipe in TOML"),
    ):
        file.write_text(text)
        with pytest.raises(UsageError, match=says) as refused:
            space.load(file)
        assert str(file) in str(refused.value)
    with pytest.raises(UsageError, match="there is no such recipe file"):
        space.load(tmp_path / "none.toml")


def test_words() -> None:
    assert space.words(["lr=log:1e-4..1", "weight-decay=0..1"]) == {
        "lr": "log:1e-4..1",
        "weight_decay": "0..1",
    }
    with pytest.raises(
        UsageError, match=r"--search weight_decay is given twice, as 0\.\.1 and as 1,2"
    ):
        space.words(["weight_decay=0..1", "weight-decay=1,2"])
    for wrong in ("lr", "lr="):
        with pytest.raises(UsageError, match="write NAME=SPEC"):
            space.words([wrong])
