"""Test-time augmentation and ensembles: the merged results, what they gain and cost."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import pellucid
from pellucid import cli as command_line
from pellucid.core.errors import ModelError, UsageError
from pellucid.data.sample import Sample
from pellucid.engine.inference import ensemble
from pellucid.engine.inference.infer import SCORING, predictions
from pellucid.engine.run.batches import load
from pellucid.engine.run.progress import Say
from pellucid.metrics.classification import classification
from pellucid.metrics.significance import paired
from pellucid.tasks import TASKS
from pellucid.tasks.classification.result import ClassificationResult
from pellucid.tasks.task import ModelSpec
from pellucid.transforms.tta import CROPS, mirrored, one, ten

QUIET = Say(quiet=True)


# --- views ----------------------------------------------------------------------------------------


@given(st.integers(5, 40), st.integers(5, 40), st.integers(7, 24), st.sampled_from(sorted(CROPS)))
def test_every_view_shows_the_source_where_it_says(
    height: int, width: int, side: int, kind: str
) -> None:
    """A picture whose two channels are the coordinates of its pixels: each view must hold what its
    placement maps back to."""
    y, x = np.mgrid[:height, :width] + 0.5
    picture = np.stack([x, y], axis=2) * 1000
    for view, transform in CROPS[kind](picture.astype(np.uint16), (side, side), 0):
        assert view.shape == (side, side, 2) == (*transform.size, 2) and transform.source_size == (
            height,
            width,
        )
        rows, columns = np.nonzero(view.any(axis=2))
        back = transform.backward(np.stack([columns, rows], axis=1) + 0.5)
        # Within half a pixel of the edge, bilinear enlarging repeats it.
        inside = ((back > 0.5) & (back < np.array([width, height]) - 0.5)).all(axis=1)
        scale = 1 / abs(transform.matrix[[0, 1], [0, 1]])
        assert (abs(view[rows, columns] / 1000 - back) < 0.6 * np.maximum(1, scale))[inside].all()
        points = np.array([[0.0, 0], [width, height], [1.5, 2.25]])
        np.testing.assert_allclose(transform.backward(transform.forward(points)), points, atol=1e-9)


def test_ten_crops_are_the_corners_the_centre_and_their_mirrors() -> None:
    picture = np.random.default_rng(0).integers(255, size=(32, 32, 3), dtype=np.uint8)
    views = [view for view, _ in ten(picture, (28, 28), 0)]
    expected = [
        picture[:28, :28],
        picture[:28, 4:],
        picture[4:, :28],
        picture[4:, 4:],
        picture[2:30, 2:30],
    ]
    assert len(views) == 10
    for view, mirror, wanted in zip(views[:5], views[5:], expected, strict=True):
        assert (view == wanted).all() and (mirror == wanted[:, ::-1]).all()


@given(st.integers(1, 12), st.integers(1, 12))
def test_a_mirror_is_its_own_inverse(height: int, width: int) -> None:
    picture = np.arange(height * width, dtype=np.uint8).reshape(height, width, 1)
    view, transform = mirrored(*mirrored(*one(picture, (height, width), 0)[0]))
    assert (view == picture).all()
    np.testing.assert_array_equal(transform.matrix, np.eye(2, 3))


def spec(tta: str = "none", temperature: float = 1.0) -> ModelSpec:
    """Of a classification of gray images in three classes."""
    shape = {"channels": 1, "size": (14, 14)}
    parts = {
        "preprocess": shape | {"mean": (0.5,), "std": (0.2,)},
        "architecture": shape | {"model": "L3", "num_outputs": 3},
        "inference": {"classes": ("a", "b", "c"), "temperature": temperature},
    }
    plain = ModelSpec.from_json(TASKS["classification"], parts)
    return replace(plain, inference=plain.inference.with_options(tta=tta))


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.LazyLinear(3)
    ).eval()


def computed(chosen: ModelSpec, pictures: np.ndarray, net: torch.nn.Module) -> np.ndarray:
    """The probabilities of each image."""
    samples = [Sample(picture, 0, f"{i}") for i, picture in enumerate(pictures)]
    views, _, _ = load(samples, chosen.preprocess, Path(), QUIET, chosen.inference.tta)
    return probabilities(predictions(chosen, net, views, SCORING, torch.device("cpu")))


def probabilities(results: list[ClassificationResult]) -> np.ndarray:
    return np.stack([result.probabilities for result in results])


@pytest.mark.parametrize("kind", ["flip", "ten"])
def test_the_result_is_the_mean_over_all_views(kind: str) -> None:
    pictures, net = (
        np.random.default_rng(1).integers(255, size=(300, 14, 14, 1), dtype=np.uint8),
        network(),
    )
    chosen = spec(kind, temperature=1.7)
    by_hand = []
    for picture in pictures:
        views = np.stack(
            [view for view, _ in CROPS[kind](picture, (14, 14), np.median(border(picture)))]
        )
        with torch.no_grad():
            logits = net((torch.from_numpy(views).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.2)
        by_hand.append(torch.softmax(logits / 1.7, 1).mean(0).numpy())
    np.testing.assert_allclose(computed(chosen, pictures, net), by_hand, atol=1e-5)


def border(picture: np.ndarray) -> np.ndarray:
    return np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])


def test_a_flip_changes_asymmetric_images_alone() -> None:
    half = np.random.default_rng(2).integers(255, size=(5, 14, 7, 1), dtype=np.uint8)
    symmetric, net = np.concatenate([half, half[:, :, ::-1]], axis=2), network()
    np.testing.assert_allclose(
        computed(spec("flip"), symmetric, net), computed(spec(), symmetric, net), atol=1e-6
    )
    other = np.concatenate([half, half], axis=2)
    assert abs(computed(spec("flip"), other, net) - computed(spec(), other, net)).max() > 1e-3


@pytest.mark.parametrize("kind", ["flip", "ten"])
def test_an_image_and_its_mirror_get_the_same_result(kind: str) -> None:
    # An even margin: the middle of the mirror image is the mirror image of the middle.
    pictures, net, chosen = (
        np.random.default_rng(3).integers(255, size=(5, 20, 20, 1), dtype=np.uint8),
        network(),
        spec(kind),
    )
    np.testing.assert_allclose(
        computed(chosen, pictures[:, :, ::-1], net), computed(chosen, pictures, net), atol=1e-5
    )


def test_options_leave_the_model_as_it_is() -> None:
    plain = spec().inference
    assert plain.with_options(tta="ten").with_options() == plain == spec().inference
    with pytest.raises(UsageError, match='did you mean "flip"'):
        plain.with_options(tta="flips")


# --- what is gained -------------------------------------------------------------------------------


def results_of(
    right: np.ndarray, targets: np.ndarray, classes: tuple[str, ...] = ("a", "b", "c")
) -> list[ClassificationResult]:
    shown = np.where(right, targets, (targets + 1) % len(classes))
    return [
        ClassificationResult(f"{i:04}", (1, 1), classes, np.eye(len(classes))[label])
        for i, label in enumerate(shown)
    ]


def test_a_gain_is_the_paired_difference_of_scores() -> None:
    rng = np.random.default_rng(4)
    targets = rng.choice(3, size=400, p=[0.7, 0.2, 0.1])
    before, after = rng.random(400) < 0.6, rng.random(400) < 0.75
    samples = [
        Sample(np.zeros((14, 14, 1), np.uint8), int(t), f"{i:04}") for i, t in enumerate(targets)
    ]
    views, _, _ = load(samples, spec().preprocess, Path(), QUIET)
    metrics = [
        ensemble.scored(spec(), views, results_of(right, targets)) for right in (after, before)
    ]
    wholes = [
        classification(targets, probabilities(results_of(r, targets)), ("a", "b", "c"))
        for r in (after, before)
    ]
    for score in ("accuracy", "balanced_accuracy"):
        gain = paired(*metrics, score)["gain"]
        apart = wholes[0][score]["value"] - wholes[1][score]["value"]
        assert gain["value"] == pytest.approx(apart) and gain["low"] < apart < gain["high"]
    # The spread of a difference of balanced accuracies: independent classes, each with the variance
    # of its paired difference.
    parts = [
        np.var(after[targets == c] * 1.0 - before[targets == c]) / (targets == c).sum()
        for c in range(3)
    ]
    expected = 2 * 1.96 * np.sqrt(sum(parts)) / 3
    assert gain["high"] - gain["low"] == pytest.approx(expected, rel=0.12)


def test_the_mean_has_the_classes_of_the_first_model() -> None:
    first = ClassificationResult("x", (4, 5), ("a", "b", "c"), np.array([0.5, 0.3, 0.2]))
    second = ClassificationResult("x", (4, 5), ("c", "a", "b"), np.array([0.6, 0.1, 0.3]))
    (found,) = ensemble.mean(spec(), [[first], [second]])
    assert (
        found.classes == ("a", "b", "c")
        and found.label == "c"
        and found.source == "x"
        and found.size == (4, 5)
    )
    np.testing.assert_allclose(found.probabilities, [0.3, 0.3, 0.4])


# --- ensembles of runs ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Runs on the built-in digits: two of one split, one of them on larger pictures,
    and one of another split."""
    place = tmp_path_factory.mktemp("runs")
    common: dict[str, Any] = {
        "epochs": 2,
        "batch": 64,
        "threads": 1,
        "baselines": False,
        "quiet": True,
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        first = pellucid.train(
            "digits",
            name="first",
            model="C8 R P C16 R G L10",
            seed=1,
            split_seed=0,
            lr=0.01,
            **common,
        )
        second = pellucid.train(
            "digits",
            name="second",
            model="C8 R P L10",
            seed=2,
            split_seed=0,
            size=(12, 12),
            **common,
        )
        other = pellucid.train(
            "digits", name="other", model="C8 R P L10", seed=3, split_seed=5, **common
        )
    return {
        name: place / run.path
        for name, run in (("first", first), ("second", second), ("other", other))
    }


def table(run: Path) -> tuple[np.ndarray, np.ndarray]:
    """The targets and probabilities that a run wrote of its test part."""
    with (run / "predictions.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return np.array([int(row["truth"]) for row in rows]), np.array(
        [[float(row[f"p_{c}"]) for c in range(10)] for row in rows]
    )


def test_an_ensemble_is_the_mean_of_its_members(runs: dict[str, Path]) -> None:
    found = pellucid.evaluate(runs["first"], with_models=[runs["second"]], quiet=True)
    (target, first), (same, second) = table(runs["first"]), table(runs["second"])
    assert (target == same).all()
    by_hand = classification(target, (first + second) / 2, [str(c) for c in range(10)])
    assert found.evidence["confusion"] == by_hand["confusion"]
    assert found.evidence["log_loss"]["value"] == pytest.approx(
        by_hand["log_loss"]["value"], abs=1e-4
    )
    gained = found.test_time
    right = [p.argmax(1) == target for p in ((first + second) / 2, first, second)]
    assert gained["gain"]["value"] == pytest.approx(right[0].mean() - right[1].mean())
    assert [each["accuracy"]["value"] for each in gained["members"]] == [
        r.mean() for r in right[1:]
    ]
    best = max(right[1:], key=np.mean)
    assert gained["over_best_member"]["gain"]["value"] == pytest.approx(
        right[0].mean() - best.mean()
    )
    assert gained["over_mean_of_members"]["value"] == pytest.approx(
        right[0].mean() - np.mean(right[1:])
    )
    assert gained["as_it_is"] == json.loads((runs["first"] / "summary.json").read_text())["test"]
    assert (
        gained["cost"]["views_per_picture"] == 2
        and gained["cost"]["seconds"] > gained["cost"]["seconds_as_it_is"] > 0
    )


def test_a_plain_evaluation_has_no_test_time(runs: dict[str, Path]) -> None:
    assert pellucid.evaluate(runs["first"], crops="one", quiet=True).test_time == {}


def test_runs_of_different_splits_need_other_data(runs: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--split-seed") as refused:
        pellucid.evaluate(runs["first"], with_models=[runs["other"]], quiet=True)
    assert str(runs["other"]) in str(refused.value)
    found = pellucid.evaluate(runs["first"], "digits", with_models=[runs["other"]], quiet=True)
    assert found.part == "all" and len(found.notes) == 2
    assert all(
        str(runs[name]) in note for name, note in zip(("first", "other"), found.notes, strict=True)
    )


def test_a_member_of_other_classes_is_refused(runs: dict[str, Path], tmp_path: Path) -> None:
    renamed = tmp_path / "renamed"
    shutil.copytree(runs["first"], renamed)
    about = json.loads((renamed / "model" / "model.json").read_text())
    about["inference"]["classes"][3] = "three"
    (renamed / "model" / "model.json").write_text(json.dumps(about))
    for ask, about_what in ((pellucid.evaluate, "digits"), (pellucid.predict, picture(tmp_path))):
        with pytest.raises(ModelError, match="3, three"):
            ask(runs["first"], about_what, with_models=[renamed], quiet=True)


def picture(folder: Path) -> Path:
    path = folder / "seven.png"
    Image.fromarray(np.random.default_rng(7).integers(255, size=(8, 8), dtype=np.uint8)).save(path)
    return path


@pytest.mark.parametrize("crops", ["one", "ten"])
def test_predict_averages_as_evaluate_does(
    runs: dict[str, Path], tmp_path: Path, crops: str
) -> None:
    path = picture(tmp_path)
    both = pellucid.predict(
        runs["first"], path, with_models=[runs["second"]], crops=crops, quiet=True
    ).results
    alone = [
        pellucid.predict(runs[name], path, crops=crops, quiet=True).results
        for name in ("first", "second")
    ]
    np.testing.assert_allclose(
        probabilities(both)[0],
        np.mean([probabilities(each)[0] for each in alone], axis=0),
        atol=1e-12,
    )
    for member, each in zip(ensemble.members([runs["first"], runs["second"]]), alone, strict=True):
        shown = ensemble.with_options(member, "none" if crops == "one" else crops).spec
        samples = [Sample(path, 0, "seven")]
        views, _, _ = load(samples, shown.preprocess, tmp_path, QUIET, shown.inference.tta)
        again = predictions(shown, member.network, views, SCORING, torch.device("cpu"))
        np.testing.assert_allclose(probabilities(again), probabilities(each), atol=1e-5)


def test_the_command_line_reports_gain_and_cost(
    runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*words: object) -> str:
        monkeypatch.setattr(sys, "argv", ["pellucid", *map(str, words)])
        with pytest.raises(SystemExit) as stopped:
            command_line.main()
        assert not stopped.value.code
        return capsys.readouterr().out

    text = run("evaluate", runs["first"], "--with", runs["second"], "--crops", "flip")
    assert all(
        f"\n{word} " in text
        for word in ("as it is", "gain", "over the best member", "over their mean", "cost")
    )
    assert "pictures a second" in text
    found = json.loads(
        run("evaluate", runs["first"], "--with", runs["second"], "--crops", "flip", "--json")
    )
    assert found["test_time"]["crops"] == "flip" and len(found["test_time"]["members"]) == 2
