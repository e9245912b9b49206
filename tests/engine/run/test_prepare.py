from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pellucid.core.errors import UsageError
from pellucid.engine.run.prepare import Prepared, prepare, room_of
from pellucid.engine.run.progress import Say
from pellucid.engine.run.settings import make
from pellucid.models.weights import Preprocessing

GIVEN = Preprocessing(size=(8, 8), mean=(0.4,), std=(0.2,))
SETTINGS = {"model": "C8 B R P C16 B R G L10", "split_seed": 3}


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    return prepare("digits", make(**SETTINGS), Say(quiet=True))


def test_other_settings_on_the_same_pictures_are_what_preparing_anew_gives(
    prepared: Prepared,
) -> None:
    wanted = make(**SETTINGS, imbalance="class_weights", lr=0.1, augment="alexnet", batch=7)
    again, anew = prepared.again(wanted), prepare("digits", wanted, Say(quiet=True))
    assert again.recipe == anew.recipe
    assert again.room == anew.room
    assert again.room.support and again.room.components
    assert again.views is prepared.views


def test_what_the_weights_expect_of_a_picture_stays() -> None:
    prepared = prepare("digits", make(**SETTINGS), Say(quiet=True), given=GIVEN)
    assert prepared.room.mean == GIVEN.mean
    assert prepared.again(make(**SETTINGS, lr=0.1)).room.mean == GIVEN.mean


def test_a_setting_that_changes_the_pictures_is_refused(prepared: Prepared) -> None:
    with pytest.raises(UsageError, match="size"):
        prepared.again(make(**SETTINGS, size=(9, 9)))
    with pytest.raises(UsageError, match="fold"):
        prepared.again(make(**SETTINGS, fold="1/5"))


def test_the_folds_of_a_cross_validation_share_no_test_picture_and_leave_none_out() -> None:
    tested = [
        prepare("digits", make(**SETTINGS, fold=f"{k}/3"), Say(quiet=True)).splits.test
        for k in (1, 2, 3)
    ]
    assert sorted(np.concatenate(tested).tolist()) == list(range(1797))


def test_fewer_training_pictures_leave_validation_and_test_alone(prepared: Prepared) -> None:
    few = prepare("digits", make(**SETTINGS, train_pictures=50), Say(quiet=True))
    assert abs(len(few.splits.train) - 50) <= 5
    assert np.array_equal(few.splits.test, prepared.splits.test) and np.array_equal(
        few.splits.validation, prepared.splits.validation
    )
    parts = [row["part"] for row in few.split_rows()]
    assert parts.count("unused") == len(prepared.splits.train) - len(few.splits.train)


def test_seeds_share_a_split_through_its_own_seed(prepared: Prepared) -> None:
    other = prepare("digits", make(**SETTINGS, seed=8), Say(quiet=True))
    assert np.array_equal(other.splits.train, prepared.splits.train)
    apart = prepare("digits", replace(make(**SETTINGS), split_seed=None, seed=8), Say(quiet=True))
    assert not np.array_equal(apart.splits.train, prepared.splits.train)


@pytest.fixture
def parted(tmp_path: Path) -> Path:
    """60 pictures in train and 20 in val, of two classes."""
    rng = np.random.default_rng(0)
    for number in range(80):
        folder = tmp_path / "parted" / ("train" if number < 60 else "val") / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (9, 9), dtype=np.uint8)).save(
            folder / f"{number:02}.png"
        )
    return tmp_path / "parted"


def test_val_can_be_the_test_and_validation_cut_from_train(parted: Path) -> None:
    own, other = (
        prepare(parted, make(model="C4 G L2", split=split), Say(quiet=True))
        for split in ("own", "val_as_test")
    )
    assert np.array_equal(own.splits.validation, other.splits.test)
    assert len(other.splits.validation) and set(other.splits.validation) <= set(
        own.splits.train
    ) | set(own.splits.test)
    assert "the data's own validation part is the test part here" in other.facts["notes"][0]
    assert "validation was cut from train" in other.facts["notes"][1]


def test_the_share_of_validation_can_be_said(prepared: Prepared, parted: Path) -> None:
    count = len(prepared.reading.samples)
    tenth = prepare("digits", make(**SETTINGS, validation=0.1), Say(quiet=True)).splits
    assert len(tenth.validation) == pytest.approx(0.1 * count, abs=10) and len(tenth.test) == len(
        prepared.splits.test
    )
    cut = prepare(
        parted, make(model="C4 G L2", split="val_as_test", validation=0.3), Say(quiet=True)
    )
    left = len(cut.splits.validation) + len(cut.splits.train)
    assert len(cut.splits.validation) == pytest.approx(0.3 * left, abs=2)
    assert "validation was cut from train, 30% of it" in cut.facts["notes"][1]
    for settings in ({}, {"fold": "1/3"}):
        with pytest.raises(UsageError, match="validation:"):
            prepare(parted, make(model="C4 G L2", validation=0.3, **settings), Say(quiet=True))


def test_val_as_test_is_refused_where_there_is_no_val_or_a_test(
    parted: Path, prepared: Prepared
) -> None:
    with pytest.raises(UsageError, match="has no parts of its own"):
        prepare("digits", make(**SETTINGS, split="val_as_test"), Say(quiet=True))
    (parted / "val").rename(parted / "test")
    with pytest.raises(UsageError, match="has train, test"):
        prepare(parted, make(model="C4 G L2", split="val_as_test"), Say(quiet=True))
    with pytest.raises(UsageError, match="fold"):
        prepare(parted, make(model="C4 G L2", split="val_as_test", fold="1/3"), Say(quiet=True))


@pytest.mark.parametrize(
    "settings",
    [
        {"detector": "yolo"},
        {"neck": 32},
        {"anchors": 3},
        {"aim": "f1"},
        {"mosaic": 0.5},
        {"loss": "bce"},
        {"score": "map"},
        {"augment": "scenes"},
    ],
)
def test_a_classifier_has_no_boxes(settings: dict[str, Any]) -> None:
    with pytest.raises(
        UsageError, match=f"^{next(iter(settings))}: .* is of (detection|other tasks)"
    ):
        prepare("digits", make(**SETTINGS, **settings), Say(quiet=True))


def test_a_task_that_is_not_the_last_resort_is_said(
    parted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare(parted, make(model="C4 G L2"), Say())
    assert "task:" not in capsys.readouterr().err
    labels = parted.parent / "boxes" / "labels"
    labels.mkdir(parents=True)
    (parted.parent / "boxes" / "images").mkdir()
    for number, file in enumerate(sorted(parted.rglob("*.png"))):
        file.rename(parted.parent / "boxes" / "images" / file.name)
        (labels / f"{file.stem}.txt").write_text(f"{number % 2} 0.5 0.5 0.4 0.4\n")
    found = prepare(parted.parent / "boxes", make(size=(32, 32)), Say())
    assert found.recipe.task == "detection" and "task: detection" in capsys.readouterr().err
    assert found.facts["counted"] == "objects" and sum(found.facts["pictures"].values()) == 80
    assert room_of(make(task="classification"), parted.parent / "boxes").name == "classification"
