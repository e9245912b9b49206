"""Detection: views and their way back, settings, results, and a detector of each design trained and
evaluated."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import pellucid
from pellucid.core.errors import UsageError
from pellucid.core.rng import Draws
from pellucid.core.types import Batch, Objects, ViewTransform
from pellucid.data.formats import Dataset
from pellucid.data.sample import Sample
from pellucid.tasks.detection import TASK
from pellucid.tasks.detection import data as boxes_data
from pellucid.tasks.detection.architecture import DetectionArchitecture
from pellucid.tasks.detection.designs import DESIGNS
from pellucid.tasks.detection.inference import DetectionInference
from pellucid.tasks.detection.merging import fuse, fused
from pellucid.tasks.detection.metric import DetectionMetric
from pellucid.tasks.detection.preprocess import DetectionPreprocess
from pellucid.tasks.detection.report import mistakes
from pellucid.tasks.detection.result import DetectionResult
from pellucid.tasks.detection.settings import LOSSES, Detector
from pellucid.tasks.detection.training import DetectionTraining
from pellucid.tasks.detection.version1 import migrate
from pellucid.tasks.detection.views import VIEWS, moved
from pellucid.tasks.task import ModelSpec
from pellucid.transforms.augment import Augmentation

TINY = "C8s2 B R C16s2 B R C16s2 B R C32s2 B R G L2"


def scenes(root: Path, count: int = 30, side: int = 64) -> Path:
    """Bright squares and dark upright bars on noise, as YOLO writes them."""
    rng = np.random.default_rng(1)
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True)
    for number in range(count):
        picture, lines = rng.integers(100, 140, (side, side, 3), dtype=np.uint8), []
        for label in rng.permutation(2)[: 1 + number % 2]:
            width, height = ((20, 20), (10, 26))[label]
            left, top = (
                int(rng.integers(0, side // 2 - width)) + label * side // 2,
                int(rng.integers(0, side - height)),
            )
            picture[top : top + height, left : left + width] = (240, 15)[label]
            lines.append(
                f"{label} {(left + width / 2) / side} {(top + height / 2) / side} {width / side} "
                f"{height / side}\n"
            )
        Image.fromarray(picture).save(root / "images" / f"{number:02}.png")
        (root / "labels" / f"{number:02}.txt").write_text("".join(lines))
    (root / "data.yaml").write_text("names: [square, bar]\ntrain: images\n")
    return root


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scenes(tmp_path_factory.mktemp("scenes") / "data")


PREPROCESS = DetectionPreprocess(
    (64, 64), 3, mean=(0.5,) * 3, std=(0.2,) * 3, pad_value=(114.0,) * 3
)
INFERENCE = DetectionInference(("square", "bar"), "yolo")


def found(
    source: str,
    size: tuple[int, int],
    classes: tuple[str, ...],
    boxes: Any,
    scores: Any,
    class_ids: Any,
    threshold: float = 0.5,
) -> DetectionResult:
    arrays = np.array(boxes, float), np.array(scores, float), np.array(class_ids, int)
    return DetectionResult(source, size, classes, *arrays, threshold)


def batch_of(transforms: list[ViewTransform], source: str) -> Batch:
    count = len(transforms)
    return Batch(torch.zeros(count, 3, 64, 64), None, tuple(transforms), (source,) * count)


def test_every_design_is_a_setting() -> None:
    assert tuple(DESIGNS) == get_args(Detector) == tuple(LOSSES)


def test_a_model_spec_travels_as_json() -> None:
    anchors = (((10.0, 20.0), (30.0, 8.0)),)
    architecture = DetectionArchitecture(TINY, "grid", 16, 2, 3, (64, 64), anchors)
    ours = ModelSpec(TASK, PREPROCESS, architecture, INFERENCE)
    again = ModelSpec.from_json(TASK, json.loads(json.dumps(ours.to_json())))
    assert again == ours and again.architecture.build().anchors.tolist() == [[10, 20], [30, 8]]


def test_a_version_1_model_is_migrated() -> None:
    room = {
        **{"classes": ["a", "b"], "size": [96, 64], "channels": 3, "bits": 8, "mean": [0.5] * 3},
        **{"std": [0.2] * 3, "fill": [1.0, 2.0, 3.0], "scale": "unit", "detector": "rcnn"},
        **{"neck": 32, "anchors": [], "cover": "", "resolution": 0.5, "threshold": 0.3},
        **{"aim": "recall 0.9", "note": "not reached", "model": TINY},
    }
    spec = ModelSpec.from_json(TASK, json.loads(json.dumps(migrate(room))))
    assert spec.preprocess == DetectionPreprocess(
        (96, 64), 3, 8, (0.5,) * 3, (0.2,) * 3, (1.0, 2.0, 3.0), "unit", 0.5, 300
    )
    assert spec.architecture == DetectionArchitecture(TINY, "rcnn", 32, 2, 3, (96, 64))
    assert spec.inference == DetectionInference(
        ("a", "b"), "rcnn", 0.3, "recall 0.9", "not reached"
    )


@given(st.integers(8, 300), st.integers(8, 300), st.integers(0, 2**32 - 1))
def test_boxes_come_back_from_every_view(height: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, [width - 4, height - 4], (5, 2))
    boxes = np.concatenate([low, low + rng.uniform(1, 4, (5, 2))], 1)
    picture = rng.integers(0, 255, (height, width, 3), dtype=np.uint8)
    for kind in ("none", "flip"):
        for view, transform in VIEWS[kind](picture, (64, 64), 0, 1.0):
            assert view.shape == (64, 64, 3)
            there = moved(Objects(boxes, np.zeros(5), np.zeros(5, bool)), transform).boxes
            assert (there[:, 2:] > there[:, :2]).all()
            back = replace(transform, matrix=_inverse(transform.matrix))
            np.testing.assert_allclose(
                moved(Objects(there, np.zeros(5), np.zeros(5, bool)), back).boxes, boxes, atol=1e-6
            )


def _inverse(matrix: np.ndarray) -> np.ndarray:
    return np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))[:2]


def as_outputs(
    boxes: np.ndarray, scores: list[float], labels: list[int], rows: int = 6
) -> torch.Tensor:
    out = torch.zeros(1, rows, 6)
    out[0, : len(boxes)] = torch.from_numpy(np.column_stack([boxes, scores, labels])).float()
    return out


def test_decode_suppresses_within_a_class_maps_back_and_clips() -> None:
    transform = ViewTransform(np.array([[0.5, 0, 0], [0, 0.5, 8.0]]), (96, 128), (64, 64))
    boxes = np.array(
        [[10.0, 20, 30, 40], [11, 20, 31, 40], [10, 20, 30, 40], [50, 40, 70, 60], [-9, -9, -1, -1]]
    )
    outputs = as_outputs(boxes, [0.9, 0.8, 0.7, 0.6, 0.5], [0, 0, 1, 1, 1])
    (said,) = INFERENCE.decode(outputs, batch_of([transform], "a.png"))
    np.testing.assert_allclose(said.boxes, [[20, 24, 60, 64], [20, 24, 60, 64], [100, 64, 128, 96]])
    assert said.class_ids.tolist() == [0, 1, 1]
    np.testing.assert_allclose(said.scores, [0.9, 0.7, 0.6], atol=1e-6)


def test_what_is_said_does_not_depend_on_what_is_not() -> None:
    rng = np.random.default_rng(3)
    low = rng.uniform(0, 40, (60, 2))
    rows = np.column_stack(
        [
            low,
            low + rng.uniform(4, 24, (60, 2)),
            rng.uniform(0.01, 1, 60).round(2),
            rng.integers(0, 2, 60),
        ]
    )
    outputs = torch.from_numpy(rows)[None]
    batch = batch_of([ViewTransform(np.eye(2, 3), (64, 64), (64, 64))], "a.png")
    ours = INFERENCE.with_options(threshold=0.5)
    (whole,) = ours.decode(outputs, batch)
    (said,) = ours.with_options(full=False).decode(outputs, batch)
    assert said.to_json()["objects"] == whole.to_json()["objects"]
    assert (
        said.scores.min() >= 0.5 > whole.scores.min()
        and (said.scores == 0.5).sum() == (whole.scores == 0.5).sum()
    )
    assert ours.with_options(tta="flip", full=False).least == 0


def test_tiles_keep_the_scale_of_training() -> None:
    """A detector that answers each view with the clipped boxes of the objects in it."""
    ours = replace(PREPROCESS, resolution=0.5)
    objects = np.array([[30.0, 40, 90, 100], [250, 100, 330, 160], [500, 350, 560, 398]])
    views = ours.views(Sample(np.zeros((400, 600, 3), np.uint8), None, "large.png"), "tiles")
    assert len(views) > 4
    outputs = []
    for _, transform in views:
        there = moved(Objects(objects, np.zeros(3), np.zeros(3, bool)), transform).boxes
        clipped = there.clip(0, 64)
        inside = (clipped[:, 2:] - clipped[:, :2]).min(1) > 2
        outputs.append(
            as_outputs(clipped[inside], [0.9] * int(inside.sum()), [0] * int(inside.sum()))
        )
    batch = batch_of([transform for _, transform in views], "large.png")
    (said,) = INFERENCE.with_options(tta="tiles").decode(torch.cat(outputs), batch)
    np.testing.assert_allclose(said.boxes[np.argsort(said.boxes[:, 0])], objects, atol=6)


def test_a_large_picture_has_as_many_objects_as_it_has() -> None:
    """More than one view may say."""
    views = PREPROCESS.views(Sample(np.zeros((1200, 1200, 3), np.uint8), None, "scan"), "tiles")
    grid = (
        np.stack(np.meshgrid(np.arange(4, 1180, 24), np.arange(4, 1180, 24)), -1)
        .reshape(-1, 2)
        .astype(float)
    )
    objects = np.concatenate([grid, grid + 14], 1)
    outputs = []
    for _, transform in views[1:]:
        there = moved(
            Objects(objects, np.zeros(len(objects)), np.zeros(len(objects), bool)), transform
        ).boxes
        whole = ((there >= 0) & (there <= 64)).all(1)
        outputs.append(
            as_outputs(there[whole], [0.9] * int(whole.sum()), [0] * int(whole.sum()), rows=16)
        )
    batch = batch_of([transform for _, transform in views], "scan.png")
    tiled = INFERENCE.with_options(tta="tiles")
    (said,) = tiled.decode(torch.cat([torch.zeros(1, 16, 6), *outputs]), batch)
    assert len(said.boxes) == len(objects) == 2401


def test_fusing_weighs_by_score_and_counts_who_saw_nothing() -> None:
    one = np.array([[0.0, 0, 10, 10]]), np.array([0.9]), np.array([1])
    other = np.array([[2.0, 0, 12, 10]]), np.array([0.3]), np.array([1])
    none = np.empty((0, 4)), np.empty(0), np.empty(0, np.int64)
    boxes, scores, labels = fuse([one, other, none])
    np.testing.assert_allclose(boxes, [[0.5, 0, 10.5, 10]])
    np.testing.assert_allclose(scores, [0.4])
    assert labels.tolist() == [1]
    assert [len(each) for each in fuse([none, none])] == [0, 0, 0]


def test_fusing_keeps_apart_what_one_model_separates() -> None:
    """Two boxes that suppression at 0.6 left in one view overlap by 0.58: they are no two opinions
    about one object."""
    boxes = np.array([[0.0, 0, 50, 50], [0, 0, 50, 86], [60, 60, 80, 80]])
    one = boxes, np.array([0.5, 0.4, 0.3]), np.zeros(3, np.int64)
    alone = fused([found("a", (100, 100), ("x",), *one)])
    np.testing.assert_array_equal(alone.boxes, boxes)
    np.testing.assert_array_equal(alone.scores, one[1])
    again, scores, _ = fuse([one, one])
    np.testing.assert_allclose(again, boxes)
    np.testing.assert_allclose(scores, one[1])


def test_models_with_classes_in_another_order_are_fused_by_name() -> None:
    box = np.array([[0.0, 0, 10, 10]])
    first = found("a", (20, 20), ("x", "y"), box, [0.8], [0], 0.2)
    second = found("a", (20, 20), ("y", "x"), box, [0.4], [1], 0.4)
    together = fused([first, second])
    assert together.to_json()["objects"] == [
        {"label": "x", "confidence": pytest.approx(0.6), "box": pytest.approx([0, 0, 10, 10])}
    ]
    assert together.threshold == pytest.approx(0.3)


def training(**settings: Any) -> DetectionTraining:
    usual = DetectionTraining(PREPROCESS, INFERENCE.classes, "yolo", 16, "bce", Augmentation())
    return replace(usual, **settings)


def test_an_aim_that_is_out_of_reach_is_said() -> None:
    targets = np.empty(1, object)
    targets[0] = Objects(np.array([[0.0, 0, 10, 10]]), np.array([0]), np.array([False]))
    wrong = found("a", (80, 80), ("x", "y"), [[40.0, 40, 60, 60]], [0.9], [0])
    part: Any = SimpleNamespace(targets=targets, results=lambda: [wrong])
    aimed = replace(INFERENCE, aim="precision 0.9")
    finished = training().calibrate(torch.nn.Identity(), aimed, part, part)
    assert "no threshold reaches a precision of 0.9" in finished.note
    assert DetectionMetric.create(PREPROCESS, finished).note == finished.note


def test_an_unknown_aim_is_refused_at_once() -> None:
    dataset = Dataset((), ("a",), "yolo", "", "x")
    settings = TASK.settings(detector="yolo", aim="precisoin 0.9")
    with pytest.raises(UsageError, match="precisoin"):
        DetectionInference.create(settings, dataset, PREPROCESS)


def test_mistakes_are_counted_at_the_threshold() -> None:
    target = Objects(
        np.array([[0.0, 0, 10, 10], [20, 20, 30, 30], [40, 40, 60, 60]]),
        np.array([0, 1, 0]),
        np.array([False, False, True]),
    )
    boxes = [[0.0, 0, 10, 10], [1, 0, 11, 10], [41, 41, 60, 60], [20, 20, 30, 30], [20, 20, 30, 30]]
    scores = [0.9, 0.8, 0.7, 0.6, 0.1]
    said = found("a", (80, 80), ("x", "y"), boxes, scores, [0, 0, 0, 0, 1])
    # Found: the first. False: its double and the wrong class. Excused: what lies on the ignored
    # one. Below the threshold: the right class.
    sample = Sample(np.zeros((80, 80, 3), np.uint8), target, "a")
    assert [each.tolist() for each in mistakes([sample], [said], 2)] == [[1], [2]]


def test_a_detection_inside_a_crowd_is_no_mistake() -> None:
    """A crowd excuses by the share of the detection that lies in it, however small that is, on the
    sheet of errors as in predictions.csv."""
    target = Objects(np.array([[0.0, 0, 100, 100]]), np.array([0]), np.array([True]))
    said = found("a", (100, 100), ("x",), [[10.0, 10, 20, 20]], [0.9], [0])
    sample = Sample(np.zeros((100, 100, 3), np.uint8), target, "a")
    assert [each.tolist() for each in mistakes([sample], [said], 1)] == [[0], [0]]


def test_parts_of_a_split_get_their_share_of_rare_classes() -> None:
    def sample(number: int) -> Sample:
        labels = [0, 1] if number % 5 == 0 else [0]
        return Sample(
            Path("x"),
            Objects(np.ones((len(labels), 4)), np.array(labels), np.zeros(len(labels), bool)),
            str(number),
        )

    reading = Dataset(tuple(sample(n) for n in range(60)), ("common", "rare"), "yolo", "", "x")
    strata, names = boxes_data.strata(reading)
    assert [names[s] for s in strata] == ["rare" if n % 5 == 0 else "common" for n in range(60)]


def test_a_few_pictures_of_background_do_not_forbid_the_split() -> None:
    targets = [
        Objects([[0, 0, 5, 5]] * (n < 12), [0] * (n < 12), [False] * (n < 12)) for n in range(13)
    ]
    samples = tuple(
        Sample(np.zeros((8, 8, 1), np.uint8), target, f"{n}") for n, target in enumerate(targets)
    )
    strata, names = boxes_data.strata(Dataset(samples, ("red",), "made", "made", "made"))
    assert {names[s] for s in strata} == {"red"}


def test_training_moves_truth_with_the_picture(data: Path) -> None:
    ours = training(augmentation=Augmentation(mirror=1.0))
    image = np.zeros((64, 64, 3), np.uint8)
    image[10:30, 5:25] = 255
    targets = np.empty(1, object)
    targets[0] = Objects(np.array([[5.0, 10, 25, 30]]), np.array([0]), np.array([False]))
    batch = Batch(
        torch.from_numpy(image).permute(2, 0, 1)[None],
        targets,
        (ViewTransform(np.eye(2, 3), (64, 64), (64, 64)),),
        ("a",),
    )
    changed = ours.augment(batch, Draws(0, 0, np.array([0])), 0.0)
    np.testing.assert_allclose(changed.targets[0].boxes, [[39, 10, 59, 30]])
    bright = (changed.images[0, 0] > 128).nonzero()
    assert bright.min(0).values.tolist() == [10, 39] and bright.max(0).values.tolist() == [29, 58]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"mixup": 0.2}, "mixup"),
        ({"loss": "cross_entropy"}, "yolo learns by bce or focal"),
        ({"loss": "focal", "detector": "grid"}, "grid learns by l2"),
        ({"size": 16}, "size: 16"),
        ({"score": "accuracy"}, "score: accuracy .* map, map50"),
        ({"imbalance": "oversample"}, "imbalance"),
        ({"aim": "profit 3"}, "aim"),
        ({"anchors": 3, "detector": "fast_rcnn"}, "anchors"),
        ({"label_smoothing": 0.1}, "label_smoothing"),
        ({"model": "mlp"}, "no map to find objects in"),
    ],
)
def test_what_does_not_fit_boxes_is_refused(
    data: Path, settings: dict[str, object], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        pellucid.check(data, quiet=True, **({"size": 64, "model": TINY} | settings))


def learnt(
    data: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, **settings: object
) -> pellucid.engine.run.train.Run:  # type: ignore[name-defined]
    monkeypatch.chdir(folder)
    usual: dict[str, object] = {
        "model": TINY,
        "size": 64,
        "neck": 24,
        "batch": 8,
        "augment": "none",
        "threads": 1,
        "quiet": True,
    }
    return pellucid.train(data, **(usual | settings))


def test_a_detector_from_data_to_results(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = learnt(data, tmp_path, monkeypatch, epochs=40, lr=5e-3, aim="recall 0.9")
    test = run.summary["test"]
    assert test["map50"]["value"] > 0.9
    assert 0 <= test["map50"]["low"] <= test["map50"]["value"] <= test["map50"]["high"] <= 1
    for name in ("report.html", "predictions.csv", "samples/batch.png", "model/model.json"):
        assert (run.path / name).is_file()
    assert (
        json.loads((run.path / "model" / "model.json").read_text())["inference"]["aim"]
        == "recall 0.9"
    )
    again = pellucid.evaluate(run.path, quiet=True)
    assert again.evidence["map"]["value"] == pytest.approx(test["map"]["value"], abs=1e-6)
    said = pellucid.predict(
        run.path, data / "images", csv=tmp_path / "out.csv", out=tmp_path / "drawn", quiet=True
    ).results
    assert len(said) == 30 and (tmp_path / "drawn" / "00.png").is_file()
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["label"]]
    assert len(rows) == sum(len(answer.to_json()["objects"]) for answer in said)
    flipped = pellucid.evaluate(run.path, crops="flip", quiet=True)
    assert (
        flipped.test_time["gain"]["low"]
        <= flipped.test_time["gain"]["value"]
        <= flipped.test_time["gain"]["high"]
    )


@pytest.mark.parametrize(
    "settings",
    [
        {"anchors": 2},
        {"loss": "focal", "ema": 0.9},
        {"detector": "grid"},
        {"detector": "faster_rcnn"},
        {"detector": "localiser"},
    ],
    ids=lambda s: "-".join(map(str, s.values())),
)
def test_every_design_learns_saves_and_is_asked_again(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, object]
) -> None:
    run = learnt(data, tmp_path, monkeypatch, epochs=2, **settings)
    losses = [
        float(row["train_total"]) for row in csv.DictReader((run.path / "metrics.csv").open())
    ]
    assert np.isfinite(losses).all()
    fitted = bool(settings.get("anchors")) or settings.get("detector") in ("grid", "faster_rcnn")
    assert (
        "anchors cover the boxes with a mean IoU"
        in (run.path / "report.html").read_text(encoding="utf-8")
    ) == fitted
    # Another number of threads rounds otherwise, and a network that has hardly learnt gives many
    # boxes nearly the same score.
    assert pellucid.evaluate(run.path, quiet=True).evidence["map"]["value"] == pytest.approx(
        run.summary["test"]["map"]["value"], abs=0.03
    )


@pytest.mark.parametrize("detector", ["fast_rcnn", "rcnn"])
def test_selective_search_detectors_learn_and_predict(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, detector: str
) -> None:
    run = learnt(data, tmp_path, monkeypatch, epochs=1, detector=detector, train_pictures=4)
    assert run.summary["test"]["map"]["value"] is not None
