"""The parts of classification, each by itself."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pellucid.core.errors import DataError, UsageError
from pellucid.core.rng import Draws, generator
from pellucid.core.types import Batch
from pellucid.data.formats import Dataset
from pellucid.data.images import Header, read
from pellucid.data.sample import Sample
from pellucid.losses.classification import LOSSES
from pellucid.models.weights import Preprocessing
from pellucid.tasks.classification import TASK, baselines, data, report
from pellucid.tasks.classification.architecture import ClassificationArchitecture
from pellucid.tasks.classification.defaults import suggest_defaults
from pellucid.tasks.classification.inference import ClassificationInference
from pellucid.tasks.classification.metric import ClassificationMetric
from pellucid.tasks.classification.result import ClassificationResult
from pellucid.tasks.classification.settings import (
    ClassificationSettings,
    Imbalance,
    Loss,
    Policy,
    Score,
)
from pellucid.tasks.classification.training import ClassificationTraining
from pellucid.tasks.classification.version1 import migrate
from pellucid.tasks.classification.window_detections import WindowDetections
from pellucid.tasks.image_preprocess import TTA, ImagePreprocess
from pellucid.tasks.settings import completed
from pellucid.tasks.task import FitData, ModelSpec
from pellucid.transforms.augment import POLICIES

CLASSES = ("cat", "dog", "猫")
SIZES = ((20, 20, 3), (26, 14, 3), (13, 30, 1))


def samples_of(*counts: int) -> tuple[Sample, ...]:
    """So many images of each class, of three sizes; brighter in each class."""
    rng = np.random.default_rng(4)
    targets = np.repeat(np.arange(len(counts)), counts)
    return tuple(
        Sample(rng.integers(0, 90 + 60 * target, SIZES[i % 3], np.uint8), int(target), f"{i:03}")
        for i, target in enumerate(targets)
    )


def dataset_of(samples: tuple[Sample, ...]) -> Dataset:
    return Dataset(samples, CLASSES, "folders", "", "pets")


def headers_of(samples: tuple[Sample, ...]) -> list[Header]:
    return [Header(*sample.image.shape, 8) for sample in samples]


def views_of(preprocess: ImagePreprocess, samples: tuple[Sample, ...]) -> FitData:
    views = [preprocess.views(sample, "none")[0] for sample in samples]
    targets = torch.tensor([sample.target for sample in samples])
    return FitData(np.stack([v for v, _ in views]), targets, [t for _, t in views])


def parts_of(samples: tuple[Sample, ...], **given: Any) -> tuple[Any, ...]:
    """Preprocess, architecture, inference and training, and the views that they are fitted to."""
    dataset, headers = dataset_of(samples), headers_of(samples)
    given = {"model": "C4 B R G L3", "size": (12, 12)} | given
    settings = ClassificationSettings(**given)
    settings = completed(settings, suggest_defaults(settings, dataset, headers))
    preprocess = ImagePreprocess.create(settings, dataset, headers)
    fitted = views_of(preprocess, samples)
    preprocess = preprocess.fit_statistics(fitted)
    architecture = ClassificationArchitecture.create(settings, dataset, preprocess, fitted)
    inference = ClassificationInference.create(settings, dataset, preprocess)
    training = ClassificationTraining.create(settings, dataset, preprocess, architecture, fitted)
    return preprocess, architecture, inference, training, fitted


def batch_of(fitted: FitData) -> Batch:
    images = torch.from_numpy(fitted.images).movedim(-1, 1)
    sources = tuple(f"{i:03}" for i in range(len(images)))
    return Batch(images, fitted.targets, tuple(fitted.transforms), sources)


def results_of(
    probabilities: np.ndarray, classes: tuple[str, ...] = CLASSES
) -> list[ClassificationResult]:
    return [
        ClassificationResult(f"{i:03}", (8, 9), classes, p) for i, p in enumerate(probabilities)
    ]


def drawn(count: int, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities N×C, right more often than not, and targets N."""
    rng = generator(count)
    targets = rng.integers(0, classes, count)
    scores = np.exp(rng.normal(0, 1, (count, classes)))
    scores[np.arange(count), targets] *= 4
    return scores / scores.sum(1, keepdims=True), targets


# ---------------------------------------------------------------------------------------- settings


def test_the_choices_are_those_of_the_tables() -> None:
    assert get_args(Loss) == tuple(LOSSES)
    assert get_args(Score) == ClassificationMetric.SCORES
    assert set(get_args(Policy)) <= set(POLICIES)
    assert all(not POLICIES[name].mosaic and not POLICIES[name].turn for name in get_args(Policy))


def test_the_settings_are_imported_without_torch_and_numpy() -> None:
    code = (
        "import sys; from pellucid.tasks.classification import TASK; TASK.settings();"
        "sys.exit(bool({'torch', 'numpy'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_result_is_imported_without_torch() -> None:
    code = (
        "import sys; import pellucid.tasks.classification.result;"
        "import pellucid.tasks.classification.window_detections; sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"loss": "hinge", "label_smoothing": 0.1}, "label_smoothing is of cross_entropy"),
        ({"focal_gamma": 1.0}, "needs --loss focal"),
        ({"focal_gamma": 1.0, "loss": "l2"}, "focal_gamma is of the focal loss, not of l2"),
        ({"augment": "none", "mirror": 0.5}, "augment is none, but mirror is 0.5"),
        ({"augment": "none", "imbalance": "augment_minority"}, "nothing to change pictures by"),
        ({"epochs": 3, "warmup": 3.0}, "leave nothing to train after it"),
    ],
)
def test_idle_settings_are_refused(given: dict[str, Any], problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        ClassificationSettings(**given)


def test_augment_minority_needs_a_strength_above_0() -> None:
    samples = samples_of(9, 9, 3)
    settings = ClassificationSettings(
        imbalance="augment_minority", augment="photos", mirror=0, zoom=0, shift=0, colour=0
    )
    suggested = suggest_defaults(settings, dataset_of(samples), headers_of(samples))
    with pytest.raises(UsageError, match="nothing to change pictures by"):
        completed(settings, suggested)


def test_the_policy_follows_classes_and_frozen_layers() -> None:
    samples = samples_of(3, 3, 3)
    headers = headers_of(samples)

    def policy(classes: tuple[str, ...], **given: Any) -> str:
        dataset = replace(dataset_of(samples), classes=classes)
        return suggest_defaults(ClassificationSettings(**given), dataset, headers)["augment"]

    assert policy(CLASSES) == "photos" and policy(("1", "2", "3")) == "letters"
    assert policy(CLASSES, freeze="all") == "none"
    assert policy(CLASSES, freeze="all", mirror=0.5) == "photos"
    assert policy(CLASSES, augment="strong", freeze="all") == "strong"


def test_the_size_is_that_of_equal_small_images() -> None:
    def size(*sizes: tuple[int, int]) -> Any:
        headers = [Header(*each, 3, 8) for each in sizes]
        suggested = suggest_defaults(ClassificationSettings(), dataset_of(samples_of(1)), headers)
        return suggested["size"]

    assert size((28, 20), (28, 20)) == (28, 20)
    assert size((28, 20), (28, 21)) == (32, 32)
    assert size((90, 20), (70, 300), (70, 95)) == (96, 96)
    assert size((600, 500), (600, 500)) == (128, 128)


# ------------------------------------------------------------------------------------------- data


def test_labels_are_remapped_to_the_classes_of_a_model() -> None:
    dataset = dataset_of(samples_of(1, 2, 1))
    found = data.remap_labels(dataset, ("猫", "bird", "dog", "cat"))
    assert [sample.target for sample in found.samples] == [3, 2, 2, 0]
    assert found.classes == ("猫", "bird", "dog", "cat")
    with pytest.raises(DataError, match='does not know the class "猫"'):
        data.remap_labels(dataset, ("cat", "dog"))


def test_counts_and_strata_are_those_of_the_classes() -> None:
    dataset = dataset_of(samples_of(2, 0, 1))
    assert data.class_counts(dataset.samples, CLASSES) == {"cat": 2, "dog": 0, "猫": 1}
    strata, names = data.strata(dataset)
    assert strata.tolist() == [0, 0, 2] and strata.dtype == np.int64 and names == CLASSES
    with pytest.raises(DataError, match="no picture of the class dog"):
        data.validate(dataset)
    data.validate(dataset_of(samples_of(1, 1, 1)))


# ------------------------------------------------------------------------------------- preprocess


def test_views_fit_the_image_and_continue_its_edge() -> None:
    preprocess = ImagePreprocess(size=(12, 12), channels=3)
    image = np.full((24, 12, 3), 200, np.uint8)
    image[4:20, 3:9] = 20
    ((view, transform),) = preprocess.views(Sample(image, 0, "x"), "none")
    assert view.shape == (12, 12, 3) and view.dtype == np.uint8
    assert (view[:, :3] == 200).all() and (view[:, 9:] == 200).all()
    assert (transform.source_size, transform.size) == ((24, 12), (12, 12))
    assert transform.forward(np.array([[6.0, 12]])).tolist() == [[6, 6]]


def test_an_image_of_the_size_of_the_view_stays_as_it_is() -> None:
    image = generator(1).integers(0, 256, (12, 16, 3), np.uint8)
    preprocess = ImagePreprocess(size=(12, 16), channels=3)
    ((view, _),) = preprocess.views(Sample(image, 0, "x"), "none")
    assert np.array_equal(view, image)


@pytest.mark.parametrize(("tta", "count"), [("none", 1), ("flip", 2), ("ten", 10)])
def test_augmented_views_are_of_one_size(tta: str, count: int) -> None:
    sample, preprocess = samples_of(1)[0], ImagePreprocess(size=(14, 14), channels=3)
    views = preprocess.views(sample, tta)
    assert len(views) == count and all(view.shape == (14, 14, 3) for view, _ in views)
    if count > 1:
        assert np.array_equal(views[count // 2][0], views[0][0][:, ::-1])


def test_views_have_the_channels_and_depth_of_the_data() -> None:
    grey = generator(2).integers(0, 256, (8, 8, 1), np.uint8)
    preprocess = ImagePreprocess(size=(8, 8), channels=3, bits=16)
    ((view, _),) = preprocess.views(Sample(grey, 0, "x"), "none")
    assert view.dtype == np.uint16 and np.array_equal(view, np.repeat(grey, 3, 2) * np.uint16(257))


def test_statistics_are_those_of_the_training_pixels() -> None:
    images = generator(3).integers(0, 200, (30, 9, 7, 3), np.uint8)
    fitted = ImagePreprocess((9, 7), 3).fit_statistics(FitData(images, None, ()))
    assert fitted.mean == pytest.approx((images / 255).mean((0, 1, 2)).tolist(), abs=1e-12)
    assert fitted.std == pytest.approx((images / 255).std((0, 1, 2)).tolist(), abs=1e-12)
    edge = np.ones((9, 7), bool)
    edge[1:-1, 1:-1] = False
    corners = [images[:, r, c] for r in (0, -1) for c in (0, -1)]
    whole = np.concatenate([images[:, edge].reshape(-1, 3), *corners])
    assert fitted.pad_value == tuple(np.median(whole, axis=0))


@pytest.mark.parametrize("bits", [8, 16])
def test_network_input_follows_the_normalization(bits: int) -> None:
    top = 2**bits - 1
    kind = np.uint8 if bits == 8 else np.uint16
    pixels = torch.from_numpy(generator(4).integers(0, top, (2, 3, 5, 4)).astype(kind))
    batch = Batch(pixels, None, (), ())
    preprocess = ImagePreprocess((5, 4), 3, bits, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    mean, std = (torch.tensor(each)[:, None, None] for each in (preprocess.mean, preprocess.std))
    standard = preprocess.network_input(batch)
    assert standard.dtype == torch.float32 and preprocess.input_shape == (3, 5, 4)
    torch.testing.assert_close(standard, (pixels.float() / top - mean) / std)
    unit, raw = (
        replace(preprocess, normalization=kind).network_input(batch) for kind in ("unit", "raw")
    )
    torch.testing.assert_close(unit, pixels.float() / top)
    assert torch.equal(raw, pixels.float())


def test_published_weights_bring_their_statistics() -> None:
    given = Preprocessing((224, 224), (0.4, 0.5, 0.6), (0.1, 0.2, 0.3))
    found = ImagePreprocess((8, 8), 1, mean=(0.5,), std=(1.0,), pad_value=(3.0,)).expecting(given)
    assert (found.channels, found.mean, found.std) == (3, given.mean, given.std)
    assert found.size == (8, 8) and found.pad_value == (3.0,)


# --------------------------------------------------------------------------------------- training


@pytest.mark.parametrize("imbalance", get_args(Imbalance))
def test_an_epoch_corrects_the_imbalance(imbalance: str) -> None:
    samples = samples_of(12, 12, 4)
    _, _, _, training, _ = parts_of(samples, imbalance=imbalance, batch=5, augment="photos")
    batches = training.batches(samples, np.ones(28, np.int64), 0, generator(0))
    shown = np.bincount([samples[i].target for i in np.concatenate(batches)]).tolist()
    assert max(map(len, batches)) <= 6 and min(map(len, batches)) > 1
    assert {
        "none": shown == [12, 12, 4],
        "class_weights": shown == [12, 12, 4],
        "oversample": sorted(shown) == [9, 9, 10],
        "undersample": shown == [4, 4, 4],
        "undersample_clusters": shown == [4, 4, 4],
        "augment_minority": shown == [12, 12, 12],
    }[imbalance]


def test_augment_minority_leaves_the_large_classes_alone() -> None:
    samples = samples_of(12, 12, 4)
    _, _, _, training, fitted = parts_of(samples, imbalance="augment_minority", augment="mixup")
    batch = batch_of(fitted)
    changed = training.augment(batch, Draws(0, 0, np.arange(28)), 0.0)
    same = (changed.images == batch.images).flatten(1).all(1)
    assert same.tolist() == [True] * 24 + [False] * 4
    assert torch.equal(changed.targets[:24], F.one_hot(batch.targets[:24], 3).float())
    torch.testing.assert_close(changed.targets.sum(1), torch.ones(28))


def test_augment_minority_is_refused_where_classes_are_equal() -> None:
    with pytest.raises(UsageError, match="less than half as many pictures"):
        parts_of(samples_of(6, 6, 6), imbalance="augment_minority", augment="photos")


def test_clusters_of_other_images_are_refused() -> None:
    samples = samples_of(8, 8, 4)
    *_, training, _ = parts_of(samples, imbalance="undersample_clusters")
    with pytest.raises(UsageError, match="choose undersample"):
        training.batches(samples[1:], np.ones(19, np.int64), 0, generator(0))


def test_captions_of_mixtures_give_the_shares() -> None:
    *_, training, fitted = parts_of(samples_of(2, 1, 1))
    batch = batch_of(fitted)
    assert [text for _, text in training.preview_batch(batch)] == ["cat", "cat", "dog", "猫"]
    soft = torch.tensor([[0.3, 0.7, 0], [1, 0, 0], [0.999, 0.001, 0], [0.2, 0.2, 0.6]])
    captions = [text for _, text in training.preview_batch(replace(batch, targets=soft))]
    assert captions == ["dog 70%, cat 30%", "cat 100%", "cat 100%", "猫 60%, dog 20%, cat 20%"]


def test_16_bit_images_can_be_previewed() -> None:
    *_, training, fitted = parts_of(samples_of(2, 1, 1))
    deep = replace(training, preprocess=replace(training.preprocess, bits=16))
    batch = batch_of(fitted)
    images = torch.from_numpy(fitted.images.astype(np.uint16) * 257).movedim(-1, 1)
    for (ours, _), view in zip(
        deep.preview_batch(replace(batch, images=images)), fitted.images, strict=True
    ):
        assert ours.dtype == np.uint8 and np.abs(ours.astype(int) - view).max() <= 1


class FromFeatures(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1)[:, :3]


class AsStored:
    """In place of the preprocess where batches hold features."""

    def network_input(self, batch: Batch) -> torch.Tensor:
        return batch.images


def test_the_loss_takes_its_input_from_the_preprocess() -> None:
    *_, training, fitted = parts_of(samples_of(3, 3, 3), label_smoothing=0.0)
    batch = replace(batch_of(fitted), images=torch.randn(9, 3, 1, 1))
    losses = replace(training, preprocess=AsStored()).loss(
        FromFeatures(), batch, "", Draws(0, 0, np.arange(9))
    )
    expected = F.cross_entropy(batch.images.flatten(1), batch.targets)
    assert losses["total"] == losses["loss"] == expected


def test_the_reported_loss_is_the_plain_cross_entropy() -> None:
    samples = samples_of(12, 12, 4)
    _, architecture, _, training, fitted = parts_of(
        samples, loss="focal", imbalance="class_weights"
    )
    torch.manual_seed(0)
    network, batch = architecture.build().eval(), batch_of(fitted)
    losses = training.loss(network, batch, "", Draws(0, 0, np.arange(28)))
    logits = network(training.preprocess.network_input(batch))
    torch.testing.assert_close(losses["loss"], F.cross_entropy(logits, batch.targets).detach())
    assert losses["total"] != losses["loss"] and not losses["loss"].requires_grad
    (phase,) = training.phases(network)
    assert [name for name, _ in phase.parameters] == [n for n, _ in network.named_parameters()]


class Validation:
    """The validation part, as `calibrate` gets it."""

    def __init__(self, logits: np.ndarray, targets: np.ndarray, temperature: float) -> None:
        self.targets = torch.from_numpy(targets)
        self.probabilities = torch.softmax(torch.from_numpy(logits) / temperature, 1).numpy()

    def results(self) -> list[ClassificationResult]:
        return results_of(self.probabilities)


def test_calibration_finds_the_likeliest_temperature() -> None:
    rng = generator(7)
    logits = rng.normal(0, 2, (4000, 3))
    p = torch.softmax(torch.from_numpy(logits), 1).numpy()
    targets = (rng.random((4000, 1)) > p.cumsum(1)).sum(1)
    *_, inference, training, _ = parts_of(samples_of(2, 2, 2))
    for before in (1.0, 3.0):
        part = Validation(2.5 * logits, targets, before)
        given = replace(inference, temperature=before)
        found = training.calibrate(nn.Identity(), given, part, part)
        assert found.temperature == pytest.approx(2.5, rel=0.1)
        assert replace(found, temperature=before) == given


# -------------------------------------------------------------------------------------- inference


def test_decoding_averages_the_views_of_a_source() -> None:
    inference = ClassificationInference(CLASSES, temperature=2.0)
    logits = torch.tensor(generator(5).normal(0, 2, (5, 3)))
    *_, fitted = parts_of(samples_of(2, 2, 1))
    batch = replace(batch_of(fitted), sources=("a", "a", "b", "c", "c"))
    p = torch.softmax(logits / 2, 1).numpy()
    results = inference.decode(logits, batch)
    assert [result.source for result in results] == ["a", "b", "c"]
    for result, expected in zip(results, (p[:2].mean(0), p[2], p[3:].mean(0)), strict=True):
        np.testing.assert_allclose(result.probabilities, expected, atol=1e-12)
    assert [result.size for result in results] == [(20, 20), (13, 30), (20, 20)]


def test_an_ensemble_has_the_classes_of_the_first_model() -> None:
    (first,) = results_of(np.array([[0.2, 0.3, 0.5]]))
    (second,) = results_of(np.array([[0.6, 0.0, 0.4]]), ("猫", "cat", "dog"))
    together = ClassificationInference(CLASSES).ensemble([first, second])
    assert together.classes == CLASSES and together.label == "猫"
    np.testing.assert_allclose(together.probabilities, [0.1, 0.35, 0.55])


def test_options_of_inference() -> None:
    inference = ClassificationInference(CLASSES, 1.5)
    assert inference.with_options() == inference and inference.output_suffixes == (".png",)
    assert [inference.with_options(tta=tta).tta for tta in TTA] == ["none", "flip", "ten"]
    with pytest.raises(UsageError, match="threshold: is for models that find objects"):
        inference.with_options(threshold=0.5)
    with pytest.raises(UsageError, match="tiles are for models that find objects"):
        inference.with_options(tta="tiles")
    with pytest.raises(UsageError, match='did you mean "flip"'):
        inference.with_options(tta="flap")


# ----------------------------------------------------------------------------------------- result


def test_a_result_in_json_rows_and_words(tmp_path: Path) -> None:
    result = ClassificationResult("a/x.png", (8, 9), CLASSES, np.array([0.125, 0.25, 0.625]))
    assert json.loads(json.dumps(result.to_json())) == {
        "source": "a/x.png",
        "size": [8, 9],
        "label": "猫",
        "confidence": 0.625,
        "probabilities": {"cat": 0.125, "dog": 0.25, "猫": 0.625},
    }
    (row,) = result.rows()
    assert list(row.items()) == [
        ("source", "a/x.png"),
        ("answer", "猫"),
        ("confidence", "0.625000"),
        ("p_cat", "0.125000"),
        ("p_dog", "0.250000"),
        ("p_猫", "0.625000"),
    ]
    assert result.summary() == "a/x.png: 猫 62.5%" and result.labels() == ["猫"]
    assert result.compact().to_json() == result.to_json()
    image = generator(6).integers(0, 256, (40, 200, 3), np.uint8)
    drawing = result.draw(image)
    assert np.array_equal(drawing[:40], image) and len(drawing) > 40
    assert np.array_equal(result.draw(image, legend=False), drawing)
    result.save(tmp_path / "x.png", image)
    assert np.array_equal(read(tmp_path / "x.png"), drawing)


@pytest.mark.parametrize("wrong", [[0.5, 0.5], [0.5, 0.6, 0.1], [np.nan, 0.5, 0.5], [-0.1, 0.1, 1]])
def test_probabilities_that_are_none_are_refused(wrong: list[float]) -> None:
    with pytest.raises(ValueError, match="3 classes need as many probabilities"):
        ClassificationResult("x", (8, 8), CLASSES, np.array(wrong))


def windows(**given: Any) -> WindowDetections:
    """Three windows of 10×10 pixels in an image of 40×60."""
    boxes = np.array([[0, 0, 10, 10], [20, 5, 30, 15], [40, 25, 50, 35]])
    fields = {"boxes": boxes, "scores": [0.9, 0.6, 0.2], "labels": [2, 0, 0], "threshold": 0.5}
    return WindowDetections("scene.png", (40, 60), CLASSES, **(fields | given))


def test_windows_above_the_threshold_are_objects() -> None:
    found = windows()
    assert found.objects() == [
        {"label": "猫", "confidence": 0.9, "box": [0, 0, 10, 10]},
        {"label": "cat", "confidence": 0.6, "box": [20, 5, 30, 15]},
    ]
    assert json.loads(json.dumps(found.to_json())) == {
        "source": "scene.png",
        "size": [40, 60],
        "threshold": 0.5,
        "objects": found.objects(),
    }
    image = np.zeros((40, 60, 1), np.uint8)
    two = windows(boxes=found.boxes[:2], scores=found.scores[:2], labels=found.labels[:2])
    drawing = found.draw(image)
    assert drawing.shape == (40, 60, 3) and drawing.any()
    assert np.array_equal(drawing, two.draw(image))
    none = windows(boxes=[], scores=[], labels=[])
    assert none.objects() == [] and not none.draw(image).any()


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"scores": [0.9, 0.6]}, "need as many scores and labels"),
        ({"scores": [0.6, 0.9, 0.2]}, "highest first"),
        ({"scores": [1.1, 0.9, 0.2]}, "between 0 and 1"),
        ({"labels": [0, 1, 3]}, "none of 3 classes"),
        ({"boxes": [[10, 0, 0, 10]] * 3}, "upper left corner"),
    ],
)
def test_windows_that_are_none_are_refused(given: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        windows(**given)


# ----------------------------------------------------------------------------------------- metric


def metric_of(probabilities: np.ndarray, targets: np.ndarray, **given: Any) -> ClassificationMetric:
    inference = ClassificationInference(CLASSES)
    metric = ClassificationMetric.create(ImagePreprocess((8, 9), 3), inference, **given)
    metric.add(results_of(probabilities), targets.tolist())
    return metric


def test_scores_by_hand() -> None:
    p = np.array([[0.7, 0.2, 0.1], [0.2, 0.3, 0.5], [0.1, 0.8, 0.1], [0.6, 0.3, 0.1]])
    scores = metric_of(p, np.array([0, 1, 1, 0]), score="balanced_accuracy").scores()
    assert scores["loss"] == pytest.approx(-np.log([0.7, 0.3, 0.8, 0.6]).mean())
    assert scores["accuracy"] == 0.75
    assert scores["score"] == scores["balanced_accuracy"] == 0.75
    uneven = metric_of(p, np.array([0, 1, 1, 1])).scores()
    assert uneven["balanced_accuracy"] == pytest.approx((1 + 1 / 3) / 2)
    assert uneven["score"] == uneven["accuracy"] == 0.5


def test_resamples_that_count_each_image_once_give_the_scores() -> None:
    p, targets = drawn(60)
    metric = metric_of(p, targets)
    found = metric.resample(np.ones((2, 60)))
    for name in ClassificationMetric.SCORES:
        np.testing.assert_allclose(found[name], metric.scores()[name], rtol=1e-15)


def test_a_resample_counts_images_as_often_as_it_holds_them() -> None:
    p, targets = drawn(40)
    metric = metric_of(p, targets)
    counts = generator(9).integers(0, 3, (5, 40))
    found = metric.resample(counts.astype(np.float64))
    for number, row in enumerate(counts):
        held = np.repeat(np.arange(40), row)
        scores = metric_of(p[held], targets[held]).scores()
        for name in ClassificationMetric.SCORES:
            assert found[name][number] == pytest.approx(scores[name])
    assert all(np.isnan(each[0]) for each in metric.resample(np.zeros((1, 40))).values())


def test_evidence_and_rows_follow_the_order_of_the_sources() -> None:
    p, targets = drawn(50)
    metric = metric_of(p, targets)
    other = ClassificationMetric(CLASSES)
    for i in np.random.default_rng(0).permutation(50):
        other.add([results_of(p)[i]], [targets[i]])
    assert other.evidence() == metric.evidence() and other.rows() == metric.rows()
    evidence = metric.evidence()
    assert evidence["accuracy"]["value"] == metric.scores()["accuracy"]
    assert set(evidence) == {
        *("accuracy", "balanced_accuracy", "macro_f1", "ece", "log_loss"),
        *("per_class", "confusion"),
    }
    row = metric.rows()[7]
    assert list(row)[:5] == ["source", "truth", "answer", "confidence", "correct"]
    assert row["source"] == "007" and row["truth"] == CLASSES[targets[7]]
    assert row["correct"] == int(p[7].argmax() == targets[7])
    costs = np.ones((3, 3)) - np.eye(3)
    with_costs = metric_of(p, targets, costs=costs).evidence()
    assert with_costs["cost"]["value"] == pytest.approx(1 - evidence["accuracy"]["value"])


# ------------------------------------------------------------------------------------- version 1

STORED: dict[str, Any] = {
    "classes": ["cat", "dog", "猫"],
    "size": [12, 16],
    "channels": 1,
    "bits": 16,
    "mean": [0.5],
    "std": [0.25],
    "fill": [12.0],
    "scale": "unit",
    "temperature": 1.5,
    "model": "C4 B R G L3",
}


def test_a_model_of_version_1_is_migrated() -> None:
    spec = ModelSpec.from_json(TASK, migrate(STORED))
    expected = ImagePreprocess((12, 16), 1, 16, (0.5,), (0.25,), (12.0,), "unit")
    assert spec.preprocess == expected
    assert spec.inference == ClassificationInference(CLASSES, 1.5)
    assert spec.architecture == ClassificationArchitecture("C4 B R G L3", 3, 1, (12, 16))
    assert str(spec.architecture) == "C4 B R G L3"
    assert spec.architecture.build()(torch.zeros(2, 1, 12, 16)).shape == (2, 3)


def test_a_model_survives_json() -> None:
    spec = ModelSpec(TASK, *parts_of(samples_of(4, 3, 2))[:3])
    stored = json.loads(json.dumps(spec.to_json()))
    assert ModelSpec.from_json(TASK, stored) == spec


def test_old_models_without_defaults_are_migrated() -> None:
    kept = ("classes", "size", "channels", "model")
    spec = ModelSpec.from_json(TASK, migrate({name: STORED[name] for name in kept}))
    assert spec.preprocess == ImagePreprocess((12, 16), 1) and spec.inference.temperature == 1
    with pytest.raises(KeyError):
        migrate({"size": [8, 8]})


# ----------------------------------------------------------------------------- baselines and report


def test_baselines_answer_for_every_image() -> None:
    samples = samples_of(8, 8, 8)
    preprocess, _, inference, _, fitted = parts_of(samples)
    parts = {
        name: (fitted.images[i::3], samples[i::3])
        for i, name in enumerate(("train", "validation", "test"))
    }
    assert baselines.applies(preprocess, inference)
    found = list(baselines.run(parts, preprocess, inference, 0))
    assert [name for name, _, _ in found][:2] == ["majority class", "k-NN"]
    for _, about, results in found:
        assert set(about) == {"settings", "seconds"}
        for part in ("validation", "test"):
            assert [r.source for r in results[part]] == [s.source for s in parts[part][1]]


def test_the_error_sheet_shows_the_surest_errors_first() -> None:
    samples = samples_of(20, 20, 20)
    probabilities = np.tile([1 / 3, 1 / 3, 1 / 3], (60, 1))
    sure = np.linspace(0.4, 0.99, 60)
    wrong = [(sample.target + 1) % 3 for sample in samples]
    probabilities[:] = ((1 - sure) / 2)[:, None]
    probabilities[np.arange(60), wrong] = sure
    inference = ClassificationInference(CLASSES)
    sheet = report.error_sheet(samples, results_of(probabilities), inference)
    assert sheet is not None and sheet.dtype == np.uint8
    first = report.error_sheet(samples[-6:], results_of(probabilities[-6:]), inference)
    assert first is not None
    assert np.array_equal(sheet[: len(first) - 10], first[: len(first) - 10])
    right = np.eye(3)[[sample.target for sample in samples]]
    assert report.error_sheet(samples, results_of(right), inference) is None


def summary_of(against: dict[str, Any] | None, **more: Any) -> dict[str, Any]:
    p, targets = drawn(120)
    test = metric_of(p, targets).evidence()
    weak = metric_of(np.tile([0.2, 0.3, 0.5], (120, 1)), targets).evidence()
    rivals = {"k-NN": {"test": weak}} if against else {}
    return {"test": test, "baselines": rivals, "against_best_baseline": against, **more}


def test_sentences_and_headline_of_a_summary() -> None:
    (line,) = report.sentences(summary_of(None))
    assert "of 120 pictures right (95 % interval" in line and "balanced" not in line
    gain = {"value": 0.25, "low": 0.1, "high": 0.4, "interval": "bootstrap 95 %"}
    against = {
        "baseline": "k-NN",
        "score": "balanced_accuracy",
        "gain": gain,
        "p": 0.002,
        "test": "paired bootstrap over 120 images",
    }
    first, second = report.sentences(summary_of(against))
    assert "; balanced " in first and ", worst " in first and "% found)" in first
    assert second.endswith("difference by paired bootstrap over 120 images p = 0.002")
    number, _, rest = report.headline(summary_of(against))
    assert number.endswith("%") and "better by more than chance explains (p = 0.002)" in rest
    lost = against | {"gain": gain | {"value": -0.25}}
    assert "better than the network" in report.headline(summary_of(lost))[2]
    assert report.duel(against) == (
        "Balanced accuracy against k-NN: +25.00 points (paired bootstrap over 120 images: "
        "p = 0.002)."
    )
    counted = against | {"only_a": 3, "only_b": 1, "test": "McNemar, exact", "p": 0.6}
    assert report.duel(counted) == (
        "On 3 pictures only the network is right, on 1 only k-NN (McNemar, exact: p = 0.6)."
    )
    assert "could be chance" in report.headline(summary_of(counted))[2]
    assert report.sentences(summary_of(counted))[1].endswith("McNemar's test p = 0.6")
