from __future__ import annotations

import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import pytest

from pellucid.core.errors import UsageError
from pellucid.engine.run import settings as configuration
from pellucid.engine.run.settings import (
    all_names,
    all_options,
    check,
    load,
    of,
    options_of,
    owners,
    to_toml,
)
from pellucid.tasks import TASKS
from pellucid.tasks.settings import (
    CYCLIC,
    STRENGTHS,
    SharedSettings,
    completed,
    option,
    own_fields,
    parse_size,
)
from pellucid.tasks.task import Task
from pellucid.transforms.augment import POLICIES, Augmentation

CLASSIFICATION = TASKS["classification"]
# A value that is not the default, for each setting of each task; what cannot stand beside it.
CHANGED = {"size": (96, 128), "task": None, "fold": "2/5", "freeze": "2", "refine": "watershed"}
CHANGED |= {"weights": None, "cycle": None, "lr_low": None, "focal_gamma": None, "loss": None}


def changed(task: Task) -> dict[str, Any]:
    """A value for each setting of a task, as far as they do not exclude each other."""
    given: dict[str, Any] = {}
    for name, setting in options_of(task.settings).items():
        if name in CHANGED:
            given[name] = CHANGED[name]
        elif setting.choices:
            given[name] = setting.choices[-1]
        elif setting.kind == "bool":
            given[name] = not setting.default
        elif setting.kind == "str":
            given[name] = f'{name} "Ä"'
        else:
            low, high = setting.low or 0, setting.high
            number = low + 1 if high is None else (low + high) / 2
            given[name] = int(number) if setting.kind == "int" else float(number)
    return {name: value for name, value in given.items() if value is not None}


# --- files ----------------------------------------------------------------------------------------


def test_a_recipe_survives_its_file(tmp_path: Path) -> None:
    settings = of(
        CLASSIFICATION,
        dict(
            model='C8 "x" Ä', size=(48, 96), lr=0.003, epochs=5, augment="none", label_smoothing=0.0
        ),
    )
    (tmp_path / "recipe.toml").write_text(to_toml(settings, "my data/ö"), encoding="utf-8")
    data, given = load(tmp_path / "recipe.toml")
    assert data == "my data/ö"
    assert of(CLASSIFICATION, given) == settings


@pytest.mark.parametrize("task", TASKS.values(), ids=lambda task: task.name)
def test_all_settings_of_a_task_survive_their_file(task: Task, tmp_path: Path) -> None:
    given = changed(task)
    settings = of(task, given)
    assert len(settings.model_fields_set) > 30
    file = tmp_path / "recipe.toml"
    file.write_text(to_toml(settings, "here"), encoding="utf-8")
    assert of(task, load(file)[1]) == settings
    table = tomllib.loads(file.read_text(encoding="utf-8"))
    own = table.pop(task.name)
    assert set(own) <= set(own_fields(task.settings))
    assert set(table) - {"data"} <= set(SharedSettings.model_fields)
    assert set(own) | set(table) >= set(given)


V1 = """data = "cells"
task = "detection"
model = "C8"
detector = "grid"
size = [96, 128]
loss = "l2"
focal_gamma = 2.0
imbalance = "none"
score = "map"
augment = "none"
mirror = 0.0
pca_colour = 0.0
mixup = 0.0
mosaic = 0.0
scale = "standard"
seed = 3
"""


def test_a_flat_file_of_version_1_loads(tmp_path: Path) -> None:
    """It names settings of all tasks, those of others at what did nothing."""
    (tmp_path / "recipe.toml").write_text(V1)
    data, given = load(tmp_path / "recipe.toml")
    settings = of(TASKS["detection"], given)
    assert data == "cells" and settings.size == (96, 128) and settings.seed == 3
    written = tomllib.loads(to_toml(settings, "cells"))
    assert written["detection"] == {
        "detector": "grid",
        "anchors": 0,
        "loss": "l2",
        "score": "map",
        "augment": "none",
        "mirror": 0.0,
        "mosaic": 0.0,
        "scale": "standard",
    }


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("epochs = = 3", "not a recipe"),
        ("data = 3", "data: 3 is not a text"),
        ('task = "classification"\n[detection]\nneck = 32', "[detection]: is the table of another"),
        ("[detection]\nneck = 32\n[segmentation]\nwidth = 8", "[segmentation]: is the table of"),
        ('task = "detection"\nneck = 32\n[detection]\nneck = 64', "neck: stands twice"),
        ('task = "detection"\n[detection]\nfactor = 2', "factor: is a setting of superresolution"),
        ("[detektion]\nneck = 32", 'unknown setting "detektion"; did you mean "detection"?'),
        ("neck = 32\nfactor = 2", "neck is of detection, factor is of superresolution"),
        ("neck = 3", "neck: 3 is out of range; it must be at least 8 and at most 1024"),
    ],
)
def test_a_broken_recipe_file_is_named(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text(text)
    with pytest.raises(UsageError) as caught:
        load(tmp_path / "r.toml")
    assert str(caught.value).startswith(f"{tmp_path / 'r.toml'}: ") and says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_task_table_alone_is_a_recipe(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text("epochs = 3\n[segmentation]\nwidth = 8\n")
    assert load(tmp_path / "r.toml") == (None, {"epochs": 3, "width": 8})


# --- values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"epoch": 3}, 'unknown setting "epoch"; did you mean "epochs"?'),
        ({"optimizer": "adamww"}, 'did you mean "adamw"?'),
        ({"lr": -1.0}, "lr: -1.0 is out of range"),
        ({"lr": float("nan")}, "lr: nan is out of range"),
        ({"lr": float("inf")}, "lr: inf is out of range; it must be at least 0 and finite"),
        ({"mirror": 3}, "mirror: 3 is out of range; it must be at least 0 and at most 1"),
        ({"lr": "fast"}, "lr: 'fast' is not a number"),
        ({"lr": True}, "lr: True is not a number"),
        ({"epochs": 2.5}, "epochs: 2.5 is not a whole number"),
        ({"epochs": True}, "epochs: True is not a whole number"),
        ({"batch": 0}, "at least 1"),
        ({"baselines": "yes"}, "not true or false"),
        ({"augment": "photo"}, 'did you mean "photos"'),
        ({"augment": "none", "mirror": 0.5}, "augment is none, but mirror is 0.5"),
        (
            {"loss": "hinge", "label_smoothing": 0.1},
            "label_smoothing is of cross_entropy and focal",
        ),
        ({"focal_gamma": 3.0}, "focal_gamma is of the focal loss"),
        ({"init": "large", "weights": "mobilenet_v2_imagenet"}, "leave out one of the two"),
        ({"schedule": "cosine", "cycle": 2.0}, "cycle is of the cyclic schedules"),
        ({"schedule": "triangular", "lr": 0.1, "lr_low": 0.2}, "above the learning rate"),
        ({"freeze": "two"}, "not a number of stages"),
        ({"fold": "6/5"}, "write 2/5"),
        ({"fold": "0/5"}, "write 2/5"),
        ({"loss": "l7"}, "unknown"),
        ({"warmup": 3.0, "epochs": 3}, "leave nothing to train"),
        ({"size": "big"}, "write 64 or 48x96"),
        ({"size": "0x3"}, "out of range"),
        ({"model": 5}, "not a text"),
    ],
)
def test_bad_settings_are_named(given: dict[str, object], says: str) -> None:
    with pytest.raises(UsageError) as caught:
        of(CLASSIFICATION, given)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "size"),
    [("64", (64, 64)), (64, (64, 64)), ("48x96", (48, 96)), ([1, 2], (1, 2)), ("3×4", (3, 4))],
)
def test_sizes(text: object, size: tuple[int, int]) -> None:
    assert parse_size(text) == size
    assert of(CLASSIFICATION, {"size": text}).size == size


def test_completing_fills_only_what_was_left_open() -> None:
    given = of(CLASSIFICATION, {"epochs": 7})
    settings = completed(given, {"epochs": 20, "batch": 64, "lr": 1, "neck": 32})
    assert (settings.epochs, settings.batch, settings.lr) == (7, 64, 1.0)
    assert completed(settings, {"batch": 8}) is settings


def test_none_leaves_a_setting_open() -> None:
    given = {"momentum": None, "lr": None, "neck": None}
    assert of(CLASSIFICATION, given) == of(CLASSIFICATION, {})


# --- settings of other tasks ----------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS.values(), ids=lambda task: task.name)
def test_a_setting_of_another_task_is_refused(task: Task) -> None:
    foreign = [name for name in all_names() if name not in task.settings.model_fields]
    assert foreign
    for name in foreign:
        given = changed(TASKS[owners(name)[0]]).get(name, 3.0)
        with pytest.raises(UsageError) as caught:
            of(task, {name: given})
        having = " and ".join(owners(name))
        assert str(caught.value) == (
            f"{name}: is a setting of {having}, and this is {task.name}; leave it out"
        )
        # What does nothing there is in the flat recipes of version 1.
        default = all_options()[name].default
        assert of(task, {name: default or 0}) == of(task, {})


def test_a_choice_of_another_task_is_refused() -> None:
    with pytest.raises(UsageError, match=r"augment: scenes is of detection, and this is classifi"):
        of(CLASSIFICATION, {"augment": "scenes"})
    with pytest.raises(UsageError, match="loss: bce is of detection, and this is superresolution"):
        of(TASKS["superresolution"], {"loss": "bce"})


def test_check_accepts_what_some_task_accepts() -> None:
    for given in (
        {},
        {"neck": 32},
        {"width": 8, "border": 1.0},
        {"loss": "bce"},
        {"score": "psnr"},
    ):
        check(given)
    for given, says in (
        ({"nekc": 32}, 'unknown setting "nekc"; did you mean "neck"?'),
        ({"neck": 3}, "neck: 3 is out of range"),
        ({"loss": "dicee"}, 'loss: unknown "dicee"; did you mean "dice"?'),
        ({"neck": 32, "factor": 2}, "no task has all of these settings"),
        ({"task": "detection", "factor": 2}, "factor: is a setting of superresolution"),
        ({"task": "clasification"}, 'task: unknown "clasification"; did you mean "classification"'),
    ):
        with pytest.raises(UsageError) as caught:
            check(given)
        assert says in str(caught.value)


# --- no list of the same choices drifts -----------------------------------------------------------


class ToySettings(SharedSettings):
    NAME: ClassVar[str] = "toy"

    temper: Annotated[Literal["calm", "wild"], option("How it behaves.")] = "calm"
    legs: Annotated[int | None, option("How many legs it has.", 2, 8)] = None


def test_a_new_task_is_known_by_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    toy = Task("toy", ToySettings, lambda: pytest.fail("the parts are not needed"))
    monkeypatch.setitem(TASKS, "toy", toy)
    assert all_options()["legs"] == configuration.Option(
        "legs", "int", None, "How many legs it has.", 2, 8
    )
    assert to_toml(of(toy, {"legs": 3}), "x").endswith('\n\n[toy]\ntemper = "calm"\nlegs = 3\n')
    with pytest.raises(UsageError, match="legs: is a setting of toy, and this is classification"):
        of(CLASSIFICATION, {"legs": 3})
    with pytest.raises(UsageError, match='temper: unknown "wilt"; did you mean "wild"'):
        of(toy, {"temper": "wilt"})


def choices(task: str, name: str) -> set[str]:
    return set(options_of(TASKS[task].settings)[name].choices)


def test_each_task_has_its_name_and_describes_each_setting() -> None:
    for name, task in TASKS.items():
        assert task.name == name == task.settings.NAME
        assert all(each.text for each in options_of(task.settings).values())
        # The same setting means the same for every task.
        for setting in own_fields(task.settings):
            assert options_of(task.settings)[setting].kind == all_options()[setting].kind


def test_augmentation_is_what_can_be_done() -> None:
    assert tuple(strength.name for strength in fields(Augmentation)) == STRENGTHS
    for task in TASKS.values():
        assert set(options_of(task.settings)["augment"].choices) <= set(POLICIES)
    for strength in STRENGTHS:
        assert owners(strength)


def test_each_loss_is_in_the_table_that_is_looked_up() -> None:
    from pellucid.losses import classification, segmentation
    from pellucid.tasks.detection import settings as detection
    from pellucid.tasks.superresolution import training as superresolution

    assert choices("classification", "loss") == set(classification.LOSSES)
    assert choices("segmentation", "loss") == set(segmentation.LOSSES)
    assert choices("superresolution", "loss") == set(superresolution.LOSSES)
    assert choices("detection", "detector") == set(detection.LOSSES)
    assert choices("detection", "loss") == {
        loss for losses in detection.LOSSES.values() for loss in losses
    }


@pytest.mark.parametrize("task", TASKS.values(), ids=lambda task: task.name)
def test_each_score_is_one_of_the_metric(task: Task) -> None:
    assert task.parts.metric is not None
    assert set(options_of(task.settings)["score"].choices) <= set(task.parts.metric.SCORES)


def test_cyclic_schedules_are_schedules() -> None:
    assert set(CYCLIC) <= set(options_of(SharedSettings)["schedule"].choices)
