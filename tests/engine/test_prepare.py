from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pellucid.core.errors import UsageError
from pellucid.engine.prepare import Prepared, prepare
from pellucid.engine.recipe import make
from pellucid.engine.say import Say
from pellucid.models.weights import Preprocessing

GIVEN = Preprocessing(size=(8, 8), mean=(0.4,), std=(0.2,))
SETTINGS = {"model": "C8 B R P C16 B R G L10", "split_seed": 3}


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    return prepare("digits", make(**SETTINGS), Say(quiet=True))


def test_other_settings_on_the_same_pictures_are_what_preparing_anew_gives(prepared: Prepared) -> None:
    wanted = make(**SETTINGS, imbalance="class_weights", lr=0.1, augment="alexnet", batch=7)
    again, anew = prepared.again(wanted), prepare("digits", wanted, Say(quiet=True))
    assert again.recipe == anew.recipe
    assert again.room == anew.room
    assert again.room.counts and again.room.components
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
    tested = [prepare("digits", make(**SETTINGS, fold=f"{k}/3"), Say(quiet=True)).splits.test for k in (1, 2, 3)]
    assert sorted(np.concatenate(tested).tolist()) == list(range(1797))


def test_fewer_training_pictures_leave_validation_and_test_alone(prepared: Prepared) -> None:
    few = prepare("digits", make(**SETTINGS, train_pictures=50), Say(quiet=True))
    assert abs(len(few.splits.train) - 50) <= 5
    assert np.array_equal(few.splits.test, prepared.splits.test) and np.array_equal(few.splits.validation, prepared.splits.validation)
    parts = [row["part"] for row in few.split_rows()]
    assert parts.count("unused") == len(prepared.splits.train) - len(few.splits.train)


def test_seeds_share_a_split_through_its_own_seed(prepared: Prepared) -> None:
    other = prepare("digits", make(**SETTINGS, seed=8), Say(quiet=True))
    assert np.array_equal(other.splits.train, prepared.splits.train)
    apart = prepare("digits", replace(make(**SETTINGS), split_seed=None, seed=8), Say(quiet=True))
    assert not np.array_equal(apart.splits.train, prepared.splits.train)
