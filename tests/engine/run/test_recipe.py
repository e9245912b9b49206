from __future__ import annotations

from pathlib import Path

import pytest

from pellucid.core.errors import UsageError
from pellucid.engine.run.settings import Recipe, load, make, parse_size


def test_a_recipe_survives_its_file(tmp_path: Path) -> None:
    recipe = Recipe(
        model='C8 "x" Ä', size=(48, 96), lr=0.003, epochs=5, augment="none", label_smoothing=0.0
    )
    (tmp_path / "recipe.toml").write_text(recipe.to_toml("my data/ö"), encoding="utf-8")
    data, settings = load(tmp_path / "recipe.toml")
    assert data == "my data/ö"
    assert make(**settings) == recipe


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"epoch": 3}, 'unknown setting "epoch"; did you mean "epochs"?'),
        ({"optimizer": "adamww"}, 'did you mean "adamw"?'),
        ({"lr": -1.0}, "lr: -1.0 is out of range"),
        ({"lr": float("nan")}, "lr: nan is out of range"),
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
def test_bad_settings_are_named(settings: dict[str, object], says: str) -> None:
    with pytest.raises(UsageError) as caught:
        make(**settings)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_completing_fills_only_what_was_left_open() -> None:
    recipe = Recipe(epochs=7).completed({"epochs": 20, "batch": 64, "lr": 1})
    assert (recipe.epochs, recipe.batch, recipe.lr) == (7, 64, 1.0)


@pytest.mark.parametrize(
    ("text", "size"),
    [("64", (64, 64)), (64, (64, 64)), ("48x96", (48, 96)), ([1, 2], (1, 2)), ("3×4", (3, 4))],
)
def test_sizes(text: object, size: tuple[int, int]) -> None:
    assert parse_size(text) == size


def test_a_broken_recipe_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text("epochs = = 3")
    with pytest.raises(UsageError, match=r"r\.toml: not a recipe"):
        load(tmp_path / "r.toml")
