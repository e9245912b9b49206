from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pellucid.core.errors import UsageError
from pellucid.engine.run import settings as configuration
from pellucid.engine.run.prepare import Prepared, prepare, resolve_task
from pellucid.engine.run.progress import Say
from pellucid.models.weights import Preprocessing
from pellucid.tasks import TASKS
from pellucid.tasks.settings import SharedSettings

GIVEN = Preprocessing(size=(8, 8), mean=(0.4,), std=(0.2,))
SETTINGS: dict[str, Any] = {"model": "C8 B R P C16 B R G L10", "split_seed": 3}


def prepare_quietly(data: str | Path, **given: Any) -> Prepared:
    return prepare(data, given, Say(quiet=True))


def of(**given: Any) -> SharedSettings:
    return configuration.of(TASKS["classification"], given)


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    return prepare_quietly("digits", **SETTINGS)


def test_again_equals_preparing_anew(prepared: Prepared) -> None:
    wanted = {"imbalance": "class_weights", "lr": 0.1, "augment": "alexnet", "batch": 7}
    again = prepared.again(of(**SETTINGS, **wanted))
    anew = prepare_quietly("digits", **SETTINGS, **wanted)
    assert again.settings == anew.settings
    assert again.spec == anew.spec
    assert again.training == anew.training
    assert again.training.support and again.training.components
    assert again.views is prepared.views


def test_what_the_weights_expect_of_a_picture_stays() -> None:
    prepared = prepare("digits", SETTINGS, Say(quiet=True), weights=GIVEN)
    assert prepared.preprocess.mean == GIVEN.mean
    assert prepared.again(of(**SETTINGS, lr=0.1)).preprocess.mean == GIVEN.mean


def test_a_setting_that_changes_the_pictures_is_refused(prepared: Prepared) -> None:
    with pytest.raises(UsageError, match="size"):
        prepared.again(of(**SETTINGS, size=(9, 9)))
    with pytest.raises(UsageError, match="fold"):
        prepared.again(of(**SETTINGS, fold="1/5"))


def test_each_image_is_in_the_test_part_of_one_fold() -> None:
    tested = [prepare_quietly("digits", **SETTINGS, fold=f"{k}/3").splits.test for k in (1, 2, 3)]
    assert sorted(np.concatenate(tested).tolist()) == list(range(1797))


def test_fewer_training_images_leave_other_parts_alone(prepared: Prepared) -> None:
    few = prepare_quietly("digits", **SETTINGS, train_pictures=50)
    assert abs(len(few.splits.train) - 50) <= 5
    assert np.array_equal(few.splits.test, prepared.splits.test) and np.array_equal(
        few.splits.validation, prepared.splits.validation
    )
    parts = [row["part"] for row in few.split_rows()]
    assert parts.count("unused") == len(prepared.splits.train) - len(few.splits.train)


def test_seeds_share_a_split_through_its_own_seed(prepared: Prepared) -> None:
    other = prepare_quietly("digits", **SETTINGS, seed=8)
    assert np.array_equal(other.splits.train, prepared.splits.train)
    apart = prepare_quietly("digits", **SETTINGS | {"split_seed": None}, seed=8)
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
        prepare_quietly(parted, model="C4 G L2", split=split) for split in ("own", "val_as_test")
    )
    assert np.array_equal(own.splits.validation, other.splits.test)
    assert len(other.splits.validation) and set(other.splits.validation) <= set(
        own.splits.train
    ) | set(own.splits.test)
    assert "the data's own validation part is the test part here" in other.facts["notes"][0]
    assert "validation was cut from train" in other.facts["notes"][1]


def test_the_share_of_validation_can_be_said(prepared: Prepared, parted: Path) -> None:
    count = len(prepared.dataset.samples)
    tenth = prepare_quietly("digits", **SETTINGS, validation=0.1).splits
    assert len(tenth.validation) == pytest.approx(0.1 * count, abs=10) and len(tenth.test) == len(
        prepared.splits.test
    )
    cut = prepare_quietly(parted, model="C4 G L2", split="val_as_test", validation=0.3)
    left = len(cut.splits.validation) + len(cut.splits.train)
    assert len(cut.splits.validation) == pytest.approx(0.3 * left, abs=2)
    assert "validation was cut from train, 30% of it" in cut.facts["notes"][1]
    for settings in ({}, {"fold": "1/3"}):
        with pytest.raises(UsageError, match="validation:"):
            prepare_quietly(parted, model="C4 G L2", validation=0.3, **settings)


def test_val_as_test_needs_a_val_part_and_no_test_part(parted: Path, prepared: Prepared) -> None:
    with pytest.raises(UsageError, match="has no parts of its own"):
        prepare_quietly("digits", **SETTINGS, split="val_as_test")
    (parted / "val").rename(parted / "test")
    with pytest.raises(UsageError, match="has train, test"):
        prepare_quietly(parted, model="C4 G L2", split="val_as_test")
    with pytest.raises(UsageError, match="fold"):
        prepare_quietly(parted, model="C4 G L2", split="val_as_test", fold="1/3")


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
    refused = f"^{next(iter(settings))}: .*is (a setting )?of .*detection.*, and this is classif"
    with pytest.raises(UsageError, match=refused):
        prepare_quietly("digits", **SETTINGS, **settings)


def test_a_task_that_is_not_the_last_resort_is_said(
    parted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare(parted, {"model": "C4 G L2"}, Say())
    assert "task:" not in capsys.readouterr().err
    labels = parted.parent / "boxes" / "labels"
    labels.mkdir(parents=True)
    (parted.parent / "boxes" / "images").mkdir()
    for number, file in enumerate(sorted(parted.rglob("*.png"))):
        file.rename(parted.parent / "boxes" / "images" / file.name)
        (labels / f"{file.stem}.txt").write_text(f"{number % 2} 0.5 0.5 0.4 0.4\n")
    found = prepare(parted.parent / "boxes", {"size": (32, 32)}, Say())
    assert found.settings.task == "detection" and "task: detection" in capsys.readouterr().err
    assert found.facts["counted"] == "objects" and sum(found.facts["pictures"].values()) == 80
    assert (
        resolve_task({"task": "classification"}, parted.parent / "boxes") is TASKS["classification"]
    )
