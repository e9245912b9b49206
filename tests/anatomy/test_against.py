from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.anatomy import Anatomy, blank, describe, diagnostics
from pellucid.anatomy.diagnostics import least_columns, levels
from pellucid.anatomy.memory import Memory
from pellucid.models import create
from pellucid.models.notation import build


def of(name: str, *shape: int) -> Anatomy:
    with blank():
        return describe(
            create(name, 10, shape[0], shape[1:])
            if " " not in name
            else build(name, shape[0], shape[1:]),
            shape,
        )


RESNET = of("resnet18", 3, 224, 224)
SMALL = of("C8 R P C16 R P C16 R G L5", 3, 64, 64)


def test_levels_are_the_last_map_of_each_resolution() -> None:
    assert [level.cell for level in levels(RESNET)] == [(2, 2), (4, 4), (8, 8), (16, 16), (32, 32)]
    assert [level.sees[0] for level in levels(RESNET)] == [7, 43, 99, 211, 435]
    assert levels(of("L8 R L3", 1, 8, 8)) == []


# ------------------------------------------------------------------------------------------ objects


def test_objects_against_the_cell() -> None:
    sizes = np.array([[40.0, 50.0]] * 18 + [[31.0, 31.0]] * 7)
    found = diagnostics.objects(RESNET, sizes)
    assert found is not None and found.level == "wrong"
    assert (
        "28% of your objects are smaller than one cell of the last map (32 px; "
        "the smallest is 31 px)"
    ) in found.text
    assert "--size 256" in found.text and "drop one stage" in found.text
    few = diagnostics.objects(RESNET, np.concatenate([sizes[:18]] * 20 + [sizes[-1:]]))
    assert few is not None and few.level == "look" and few.text.startswith("0.3%")


def test_a_long_thin_object_is_not_smaller_than_a_cell() -> None:
    found = diagnostics.objects(RESNET, np.array([[3.0, 32.0], [200.0, 4.0]]))
    assert found is not None and found.level == "ok" and "3×32 px" in found.text


def test_nothing_to_hold_together() -> None:
    assert diagnostics.objects(RESNET, np.zeros((0, 2))) is None
    assert diagnostics.objects(of("L8 R L3", 1, 8, 8), np.ones((3, 2))) is None


# -------------------------------------------------------------------------------------------- sight


def test_a_field_wider_than_the_picture() -> None:
    found = diagnostics.sight(of("resnet18", 3, 145, 145))
    assert found is not None and found.level == "look"
    assert (
        "is 3.0 × your picture (145×145): drop one stage (to steps of 16 px, seeing 211 px)"
        in found.text
    )
    smaller = diagnostics.sight(of("resnet18", 3, 66, 66))
    assert (
        smaller is not None
        and "6.6 ×" in smaller.text
        and "drop two stages (to steps of 8 px, seeing 99 px)" in smaller.text
    )
    tiny = diagnostics.sight(of("resnet18", 3, 4, 4))
    assert (
        tiny is not None and tiny.text.endswith("use a larger --size") and "drop" not in tiny.text
    )


def test_a_field_that_sees_a_part_and_one_that_fits() -> None:
    part = diagnostics.sight(SMALL)
    assert part is not None and part.level == "look" and "(18 px) covers 28% of a side" in part.text
    fits = diagnostics.sight(of("C8 R P C16 R P C16 R G L5", 3, 16, 16))
    assert fits is not None and fits.level == "ok" and "1.1 ×" in fits.text
    assert diagnostics.sight(of("L8 R L3", 1, 8, 8)) is None


# ------------------------------------------------------------------------------------------ columns


def shortest(text: str) -> int:
    """By trying: the least number of columns that can be read as the text, with repeats merged and
    then blanks taken out."""
    for width in itertools.count(len(text)):
        for columns in itertools.product({*text, "-"}, repeat=width):
            if "".join(key for key, _ in itertools.groupby(columns)).replace("-", "") == text:
                return width
    raise AssertionError


@given(st.text("ab", max_size=4))
def test_least_columns_is_what_trying_finds(text: str) -> None:
    assert least_columns(text) == shortest(text)


def test_columns_name_the_worst_text() -> None:
    enough = diagnostics.columns(11, ["AB12", "XX77700", "ABCDEFG"])
    assert (
        enough is not None
        and enough.level == "ok"
        and 'at least 11 columns for 7 characters ("XX77700"), you have 11' in enough.text
    )
    short = diagnostics.columns(10, ["AB12", "XX77700"])
    assert (
        short is not None
        and short.level == "wrong"
        and 'at least 11 columns for 7 characters ("XX77700"), you have 10: 1 of 2 texts'
        in short.text
    )
    assert diagnostics.columns(5, []) is None


# ------------------------------------------------------------------------ pictures, memory, answers


@pytest.mark.parametrize(
    ("sizes", "level", "words"),
    [
        ([[224, 224]] * 3, "ok", "all pictures have the size"),
        ([[28, 28]] * 3, "look", "enlarged 8.0 ×"),
        ([[1000, 2000]] * 3, "look", "shrunk to 11%"),
        ([[300, 400]] * 3, "ok", "shrunk to 56%"),
        ([[200, 200]] * 3, "ok", "enlarged 1.1 ×"),
    ],
)
def test_pictures(sizes: list[list[int]], level: str, words: str) -> None:
    found = diagnostics.pictures(RESNET, np.array(sizes))
    assert found.level == level and words in found.text


def test_a_batch_against_memory() -> None:
    memory = Memory(
        weights=100, gradients=100, activations=10, activations_fixed=0, kept=50, kept_fixed=0
    )
    assert diagnostics.batch(memory, 10_000, 32, "sgd").level == "ok"
    tight = diagnostics.batch(memory, 1_000, 32, "adamw")
    assert tight.level == "wrong" and "set --batch 12" in tight.text
    none = diagnostics.batch(memory, 420, 32, "adamw")
    assert none.level == "wrong" and "not even one" in none.text
    unknown = diagnostics.batch(Memory(100, 100, 10, 0, None, None), 420, 32, "adamw")
    assert unknown.level == "look" and "unavailable" in unknown.text


def test_answers() -> None:
    assert diagnostics.answers(RESNET, 10) is None
    found = diagnostics.answers(RESNET, 7)
    assert (
        found is not None
        and found.level == "wrong"
        and "7 classes" in found.text
        and "10" in found.text
    )


def test_epoch() -> None:
    assert (
        "6.9 seconds" in diagnostics.epoch(6.94, 3, 90, "…").text
        and "17 minutes" in diagnostics.epoch(1000, 3, 90, "…").text
    )
