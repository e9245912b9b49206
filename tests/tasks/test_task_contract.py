"""What every task promises the engine, checked for each of TASKS on a small data set of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import pellucid
from pellucid.core.rng import Draws, generator
from pellucid.core.types import Batch
from pellucid.data.sample import Sample
from pellucid.engine.inference.infer import SCORING, forward_outputs, predictions
from pellucid.engine.run import prepare
from pellucid.engine.run.batches import Views
from pellucid.engine.run.facts import PARTS, pictures_of
from pellucid.engine.run.finish import EvaluatedPart
from pellucid.engine.run.prepare import Prepared
from pellucid.engine.run.progress import Say
from pellucid.metrics import significance
from pellucid.tasks import TASKS
from pellucid.tasks.page import EVIDENCE
from pellucid.tasks.task import FitData, ModelSpec

CPU = torch.device("cpu")


def class_folders(root: Path, low: int = 0) -> Path:
    """45 pictures of three classes, grey and colour, three sizes;
    larger than what the network sees."""
    rng = np.random.default_rng(4)
    for number in range(45):
        folder = root / "abc"[number % 3]
        folder.mkdir(parents=True, exist_ok=True)
        size = ((20, 20, 3), (26, 14, 3), (13, 30))[number // 3 % 3]
        Image.fromarray(rng.integers(low, low + 60 + 40 * (number % 3), size, dtype=np.uint8)).save(
            folder / f"{number:02}.png"
        )
    return root


def scenes(root: Path) -> Path:
    """45 pictures, three of them empty, with bright and dark rectangles as objects of two classes,
    as YOLO writes them; three sizes."""
    rng = np.random.default_rng(5)
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for number in range(45):
        height, width = ((40, 40), (52, 36), (36, 60))[number % 3]
        picture, lines = rng.integers(80, 120, (height, width, 3), dtype=np.uint8), []
        for at in range(0 if number % 15 == 7 else 1 + number % 3):
            left, top, bright = 2 + 11 * at, int(rng.integers(2, height - 14)), int(rng.integers(2))
            picture[top : top + 10, left : left + 9] = 230 if bright else 10
            lines.append(
                f"{bright} {(left + 4.5) / width} {(top + 5) / height} {9 / width} {10 / height}\n"
            )
        Image.fromarray(picture).save(root / "images" / f"{number:02}.png")
        (root / "labels" / f"{number:02}.txt").write_text("".join(lines))
    (root / "data.yaml").write_text("names: [dark, bright]\ntrain: images\n")
    return root


def discs(root: Path) -> Path:
    """30 pictures of three sizes with bright rectangles, and masks of 0 and 255."""
    rng = np.random.default_rng(6)
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for number in range(30):
        height, width = ((40, 40), (52, 36), (36, 60))[number % 3]
        picture, mask = (
            rng.integers(80, 120, (height, width, 3), dtype=np.uint8),
            np.zeros((height, width), np.uint8),
        )
        for at in range(1 + number % 3):
            top = int(rng.integers(2, height - 14))
            mask[top : top + 10, 2 + 11 * at : 11 + 11 * at] = 255
        picture[mask > 0] += 90
        Image.fromarray(picture).save(root / "images" / f"{number:02}.png")
        Image.fromarray(mask).save(root / "masks" / f"{number:02}.png")
    return root


def high_resolution(root: Path) -> Path:
    """30 pictures of coloured squares."""
    rng = np.random.default_rng(0)
    root.mkdir(parents=True, exist_ok=True)
    for number in range(30):
        picture = np.kron(rng.integers(0, 256, (8, 8, 3)), np.ones((5, 5, 1))).astype(np.uint8)
        Image.fromarray(picture).save(root / f"{number:02}_HR.png")
    return root


# A new task needs a maker of a small data set, and the settings of a small network for it.
DATA: dict[str, Callable[[Path], Path]] = {
    "classification": class_folders,
    "detection": scenes,
    "segmentation": discs,
    "superresolution": high_resolution,
}
SETTINGS: dict[str, dict[str, Any]] = {
    "classification": {"model": "C4 B R G L3", "size": 12, "batch": 8},
    # Without mosaic: what mixes pictures looks at others of its batch.
    "detection": {"model": "csp_nano", "neck": 8, "size": 32, "batch": 8, "mosaic": 0.0},
    "segmentation": {"width": 4, "patch": 32, "batch": 8},
    "superresolution": {"model": "espcn", "width": 8, "batch": 8},
}


def test_every_task_has_a_small_data_set() -> None:
    missing = sorted(set(TASKS) - set(DATA) | set(TASKS) - set(SETTINGS))
    assert not missing, f"add a data set and settings for {missing} to DATA and SETTINGS"


def prepared_by(task: str, data: Path, **settings: Any) -> Prepared:
    given = {"task": task} | SETTINGS[task] | settings
    return prepare.prepare(data, given, Say(quiet=True))


@pytest.fixture(scope="module", params=sorted(TASKS))
def prepared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    data = DATA[request.param](tmp_path_factory.mktemp("data") / request.param)
    return prepared_by(request.param, data)


@pytest.fixture
def network(prepared: Prepared) -> torch.nn.Module:
    torch.manual_seed(0)
    return prepared.architecture.build()


def all_results(prepared: Prepared, network: torch.nn.Module, views: Views | None = None) -> Any:
    return predictions(prepared.spec, network, views or prepared.views, SCORING, CPU)


def metric_of(prepared: Prepared, results: Any = (), samples: Any = ()) -> Any:
    kind = prepared.task.parts.metric
    assert kind is not None
    metric = kind.create(prepared.preprocess, prepared.inference, prepared.settings.score)
    metric.add(results, [sample.target for sample in samples])
    return metric


class Times(torch.nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.factor


def comparable(value: Any) -> Any:
    return json.loads(json.dumps(value, allow_nan=False))


def test_a_task_has_the_name_it_is_found_by() -> None:
    assert all(task.name == name == task.settings.NAME for name, task in TASKS.items())


def methods(kind: type) -> list[str]:
    return [
        name for name in vars(kind) if not name.startswith("_") and callable(getattr(kind, name))
    ]


@pytest.mark.parametrize("name", sorted(TASKS))
def test_parts_have_at_most_seven_methods(name: str) -> None:
    parts = TASKS[name].parts
    kinds = (parts.preprocess, parts.architecture, parts.training, parts.inference, parts.metric)
    for kind in kinds:
        assert len(methods(kind)) <= 7, kind
    for module in filter(None, (parts.data, parts.report, parts.baselines)):
        functions = [
            f for f in vars(module).values() if getattr(f, "__module__", "") == module.__name__
        ]
        public = [
            f for f in functions if not f.__name__.startswith("_") and not isinstance(f, type)
        ]
        assert module is parts.report or len(public) <= 7, module


@pytest.mark.parametrize("name", sorted(TASKS))
def test_results_are_imported_without_torch(name: str) -> None:
    code = (
        f"import sys, pellucid.tasks.{name}.result; "
        "sys.exit('torch' in sys.modules or 'kornia' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", sorted(TASKS))
def test_results_have_no_optional_field(name: str) -> None:
    for each in fields(TASKS[name].parts.result):
        assert "None" not in str(each.type) and each.default is not None, each.name


def test_data_finds_its_task(prepared: Prepared, tmp_path: Path) -> None:
    name = prepared.task.name
    assert prepare.resolve_task({}, DATA[name](tmp_path / "data")) is TASKS[name]
    others = [task for task in TASKS.values() if task.parts.data.matches(tmp_path / "nothing")]
    assert others == list(TASKS.values())[-1:]


def test_facts_count_the_data(prepared: Prepared) -> None:
    data, samples, classes = (
        prepared.task.parts.data,
        prepared.dataset.samples,
        prepared.dataset.classes,
    )
    whole = data.class_counts(samples, classes)
    assert list(whole) == list(classes) and min(whole.values(), default=1) > 0
    parts = [
        data.class_counts([samples[i] for i in getattr(prepared.splits, part)], classes)
        for part in PARTS
    ]
    assert {name: sum(part[name] for part in parts) for name in classes} == whole
    assert prepared.facts["counts"] == dict(zip(PARTS, parts, strict=True))
    strata, names = data.strata(prepared.dataset)
    assert strata.shape == (len(samples),) and strata.dtype == np.int64
    assert strata.max() < len(names)
    assert sum(pictures_of(prepared.facts, *PARTS)) == len(samples)


def test_targets_are_looked_up_one_a_sample(prepared: Prepared) -> None:
    views = prepared.part("train")
    for rows in (np.array([3]), np.array([4, 1]), np.array([], np.int64)):
        assert len(views.part(rows).targets) == len(rows)
        wanted = [views.samples[i].target for i in rows]
        found = list(views.batch(rows).targets)
        assert [str(int(t) if isinstance(t, torch.Tensor) else t) for t in found] == [
            str(t) for t in wanted
        ]


def test_a_batch_can_be_previewed(prepared: Prepared) -> None:
    training, rows = prepared.training, np.arange(5)
    batch = training.augment(prepared.part("train").batch(rows), Draws(0, 0, rows), 0.0)
    shown = training.preview_batch(batch)
    assert len(shown) == 5 and all(caption for _, caption in shown)
    assert all(
        image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 for image, _ in shown
    )


def test_a_model_survives_json(prepared: Prepared, network: torch.nn.Module) -> None:
    """All that makes a result travels, by names: the order of the fields does not matter."""
    spec = prepared.spec
    stored = comparable(spec.to_json())
    shuffled = {part: dict(reversed(values.items())) for part, values in stored.items()}
    back = ModelSpec.from_json(spec.task, shuffled)
    assert comparable(back.to_json()) == stored
    assert back.preprocess.input_shape == spec.preprocess.input_shape
    assert str(back.architecture) == str(spec.architecture)
    for sample in prepared.dataset.samples[:9]:
        ours, theirs = (each.preprocess.views(sample, "none") for each in (spec, back))
        for (one, placed), (two, placed_too) in zip(ours, theirs, strict=True):
            assert np.array_equal(one, two) and np.array_equal(placed.matrix, placed_too.matrix)
    theirs = predictions(back, network, prepared.views, SCORING, CPU)
    for ours, other in zip(all_results(prepared, network), theirs, strict=True):
        assert ours.to_json() == other.to_json()
    shapes = [p.shape for p in back.architecture.build().parameters()]
    assert shapes == [p.shape for p in network.parameters()]


def test_the_network_gets_the_shape_that_is_stated(
    prepared: Prepared, network: torch.nn.Module
) -> None:
    """However much larger the views are: some tasks make them smaller, or take the luma alone."""
    given: list[torch.Tensor] = []
    for module in network.eval().modules():
        module.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    batch = prepared.views.batch(np.arange(3))
    forward_outputs(prepared.spec, network, batch, SCORING, CPU)
    assert tuple(given[0].shape[1:]) == prepared.preprocess.input_shape


def test_views_have_one_size_and_lead_back(prepared: Prepared) -> None:
    preprocess = prepared.preprocess
    height, width, channels = preprocess.views(prepared.dataset.samples[0], "none")[0][0].shape
    rng = np.random.default_rng(0)
    for sample in prepared.dataset.samples:
        size = sample.pixels().shape[:2]
        views = preprocess.views(sample, "none")
        assert views
        for view, transform in views:
            assert view.shape == (height, width, channels) and view.dtype in (np.uint8, np.uint16)
            assert (transform.source_size, transform.size) == (size, (height, width))
            points = rng.uniform((0, 0), size[::-1], (20, 2))
            assert transform.backward(transform.forward(points)) == pytest.approx(points, abs=1e-9)
            corners = transform.forward(np.array([[0, 0], [size[1], size[0]]]))
            assert (corners > -1e-9).all() and (corners <= np.array([width, height]) + 1e-9).all()


def test_a_patch_lies_where_the_transform_says(prepared: Prepared) -> None:
    """A bright patch in a dark image is found around the place that `forward` gives."""
    for size, (x, y) in (
        ((40, 40), (10.0, 30.0)),
        ((52, 28), (21.0, 13.0)),
        ((26, 60), (45.0, 7.0)),
    ):
        image = np.zeros((*size, 3), np.uint8)
        image[int(y) - 4 : int(y) + 4, int(x) - 4 : int(x) + 4] = 255
        for view, transform in prepared.preprocess.views(Sample(image, 0, "patch"), "none"):
            # What lies outside the image may be mirrored.
            corner = transform.forward(np.array([[size[1], size[0]]], float))[0]
            right, bottom = np.ceil(corner).astype(int)
            bright = np.argwhere(view[:bottom, :right, 0] > 127) + 0.5
            assert bright.mean(0)[::-1] == pytest.approx(
                transform.forward(np.array([[x, y]]))[0], abs=0.75
            )


def test_an_epoch_sees_every_view_as_often(prepared: Prepared) -> None:
    views = prepared.part("train")

    def order(epoch: int) -> list[np.ndarray]:
        rng = generator(0, epoch)
        return prepared.training.batches(views.samples, views.counts, epoch, rng)

    for epoch in range(3):
        seen = np.bincount(np.concatenate(order(epoch)), minlength=int(views.counts.sum()))
        assert len(seen) == views.counts.sum() and seen.min() == seen.max() >= 1
    assert all(np.array_equal(one, two) for one, two in zip(order(2), order(2), strict=True))
    assert not all(np.array_equal(one, two) for one, two in zip(order(2), order(1), strict=True))


def test_a_loss_reaches_every_parameter(prepared: Prepared, network: torch.nn.Module) -> None:
    training, views = prepared.training, prepared.part("train")
    chosen = np.arange(8)
    draws = Draws(0, 0, chosen)
    batch = training.augment(views.batch(chosen), draws, 0.0)
    # whole views, or crops of them
    assert len(batch.images) == 8
    assert batch.images.ndim == 1 + len(prepared.preprocess.input_shape)
    assert tuple(batch.sources) == tuple(views.samples[i].source for i in chosen)
    phases = training.phases(network)
    for phase in phases:
        losses = training.loss(network.train(), batch, phase.name, draws)
        assert losses["total"].ndim == 0 and torch.isfinite(losses["total"])
        losses["total"].backward()
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for _, p in phase.parameters)
    named = [name for phase in phases for name, _ in phase.parameters]
    learned = {name for name, p in network.named_parameters() if p.requires_grad}
    assert len(named) == len(set(named)) and set(named) == learned


def test_augmentation_does_not_depend_on_the_batch(prepared: Prepared) -> None:
    training, views = prepared.training, prepared.part("train")

    def augmented(rows: np.ndarray, epoch: int) -> torch.Tensor:
        batch = training.augment(views.batch(rows), Draws(0, epoch, rows), 0.0)
        return batch.images.float()

    whole = augmented(np.arange(8), 0)
    assert torch.allclose(whole[5:], augmented(np.arange(5, 8), 0), atol=1e-3)
    assert not torch.allclose(whole, augmented(np.arange(8), 1), atol=1.0)


def test_one_result_a_source(prepared: Prepared, network: torch.nn.Module) -> None:
    results, samples = all_results(prepared, network), prepared.dataset.samples
    assert [result.source for result in results] == [sample.source for sample in samples]
    assert [result.size for result in results] == [sample.pixels().shape[:2] for sample in samples]


def test_results_are_json_rows_and_one_line(prepared: Prepared, network: torch.nn.Module) -> None:
    for result in all_results(prepared, network)[:3]:
        assert comparable(result.to_json())["source"] == result.source
        assert all(row["source"] == result.source for row in result.rows())
        assert "\n" not in result.summary() and result.source in result.summary()
        assert all(isinstance(label, str) for label in result.labels())
        small = result.compact()
        assert small.to_json() == result.to_json() and small.rows() == result.rows()
        assert small.summary() == result.summary() and small.labels() == result.labels()


def test_results_are_drawn_and_saved(
    prepared: Prepared, network: torch.nn.Module, tmp_path: Path
) -> None:
    result, sample = all_results(prepared, network)[0], prepared.dataset.samples[0]
    for legend in (True, False):
        drawn = result.draw(sample.pixels(), legend)
        assert drawn.dtype == np.uint8 and drawn.ndim == 3 and drawn.shape[2] == 3
    suffixes = prepared.inference.output_suffixes
    result.save(tmp_path / f"stem{suffixes[0]}", sample.pixels())
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        f"stem{suffix}" for suffix in suffixes
    )


def test_views_of_a_source_are_merged(prepared: Prepared, network: torch.nn.Module) -> None:
    """Of a source with two views, the mean; the results of its neighbors stay as they are."""
    spec, batch = prepared.spec, prepared.views.batch(np.arange(4))
    outputs = forward_outputs(spec, network, batch, SCORING, CPU)
    single = spec.inference.decode(outputs, batch)

    def decoded(rows: list[int], sources: tuple[str, ...]) -> list[Any]:
        transforms = tuple(batch.transforms[row] for row in rows)
        part = Batch(batch.images[rows], None, transforms, sources)
        return spec.inference.decode(outputs[rows], part)

    twice = decoded([0, 1, 1, 2], ("a", "b", "b", "c"))
    assert [result.source for result in twice] == ["a", "b", "c"]
    for ours, theirs in zip(twice, single[:3], strict=True):
        assert ours.size == theirs.size
    if spec.task.name == "classification":
        for ours, theirs in zip(twice, single[:3], strict=True):
            assert ours.probabilities == pytest.approx(theirs.probabilities, abs=1e-12)
        mixed = decoded([0, 1, 3, 2], ("a", "b", "b", "c"))[1]
        mean = (single[1].probabilities + single[3].probabilities) / 2
        assert mixed.probabilities == pytest.approx(mean, abs=1e-12)


def test_a_metric_in_halves_is_the_metric(prepared: Prepared, network: torch.nn.Module) -> None:
    results, samples = all_results(prepared, network), prepared.dataset.samples
    whole = metric_of(prepared, results, samples)
    one = metric_of(prepared, results[:11], samples[:11])
    one.add(results[11:20], [sample.target for sample in samples[11:20]])
    two = metric_of(prepared, results[20:], samples[20:])
    for _ in range(2):  # each sample counts once, however many processes evaluated it
        one.records |= two.records
        assert one.scores() == whole.scores() and "score" in whole.scores()
        assert comparable(one.evidence()) == comparable(whole.evidence())
    sources = [row["source"] for row in whole.rows()]
    assert one.rows() == whole.rows() and sources == sorted(result.source for result in results)
    assert all(np.isfinite(value) for value in whole.scores().values())


def test_resampling_with_ones_gives_the_scores(
    prepared: Prepared, network: torch.nn.Module
) -> None:
    metric = metric_of(prepared, all_results(prepared, network), prepared.dataset.samples)
    count = len(metric.records)
    drawn = metric.resample(np.ones((2, count)))
    assert set(drawn) == set(metric.SCORES)
    scores = metric.scores()
    for name, values in drawn.items():
        assert (values.shape == (2,) and values[0] == values[1]) or np.isnan(values).all()
        if name in scores:
            assert values[0] == pytest.approx(scores[name], abs=1e-9)
    twice = metric.resample(np.full((1, count), 2.0))
    for name, values in twice.items():
        assert values[0] == pytest.approx(drawn[name][0], abs=1e-9, nan_ok=True)


def test_nothing_is_gained_over_the_same_results(
    prepared: Prepared, network: torch.nn.Module
) -> None:
    metric = metric_of(prepared, all_results(prepared, network), prepared.dataset.samples)
    gained = comparable(significance.paired(metric, metric))
    assert gained["gain"]["value"] == 0
    assert significance.over_mean(metric, [metric, metric])["gain"]["value"] == 0
    assert comparable(metric.evidence())[gained["score"]]["value"] is not None
    assert 0 <= gained["p"] <= 1


def test_models_that_agree_say_what_one_says(prepared: Prepared, network: torch.nn.Module) -> None:
    for result in all_results(prepared, network)[:5]:
        both = prepared.inference.ensemble([result, result])
        assert (both.source, both.size) == (result.source, result.size)
        if prepared.task.name == "classification":
            assert both.probabilities == pytest.approx(result.probabilities)


def test_the_report_has_headline_and_sections(prepared: Prepared, network: torch.nn.Module) -> None:
    metric = metric_of(prepared, all_results(prepared, network), prepared.dataset.samples)
    evidence, report = metric.evidence(), prepared.task.parts.report
    summary = comparable(
        {
            "test": evidence,
            "validation": evidence,
            "model": "x",
            "baselines": {},
            "against_best_baseline": None,
        }
    )
    number, text, lead = report.headline(summary)
    assert number and text.endswith(".") and lead.endswith(".")
    assert 1 <= len(report.sentences(summary)) <= 2
    found = {"summary": summary, "predictions": metric.rows()}
    titles = [section.title for section in report.sections(found)]
    assert titles[0] == EVIDENCE and len(set(titles)) == len(titles) > 1
    assert report.sections({"summary": None, "predictions": None}) == []
    assert report.ERROR_SHEET.endswith(".") and report.PREVIEW.endswith(".")


def test_statistics_come_from_training_alone(prepared: Prepared, tmp_path: Path) -> None:
    """Other pixels in validation and test change nothing of the model; other pixels in training do,
    of a task that measures any."""
    name = prepared.task.name
    rng = np.random.default_rng(9)

    def changed(part: str, to: str) -> Any:
        data = DATA[name](tmp_path / to)
        splits = {row["source"]: row["part"] for row in prepared.split_rows()}
        for source in [source for source, p in splits.items() if p in part]:
            shape = np.asarray(Image.open(data / source)).shape
            Image.fromarray(rng.integers(200, 256, shape, dtype=np.uint8)).save(data / source)
        other = prepared_by(name, data)
        assert {row["source"]: row["part"] for row in other.split_rows()} == splits
        return comparable(other.spec.to_json())

    def measured(pixels: np.ndarray) -> Any:
        data = prepared.part("train").fit_data()
        preprocess = prepared.preprocess.fit_statistics(
            FitData(pixels, data.targets, data.transforms)
        )
        return comparable(replace(prepared.spec, preprocess=preprocess).to_json())

    before = comparable(prepared.spec.to_json())
    assert changed("validation test", "scored") == before
    pixels = prepared.part("train").pixels()[0]
    measures = measured(255 - pixels) != before
    assert (changed("train", "trained") != before) == measures
    assert measured(pixels) == before


def test_calibration_does_not_harm_the_score(prepared: Prepared, network: torch.nn.Module) -> None:
    """What is fitted on validation does not harm the score there, and comes back as a new part."""
    views = prepared.part("validation")
    before = comparable(prepared.spec.to_json())
    if prepared.task.name == "classification":  # logits that are far too large
        network = torch.nn.Sequential(network, Times(7.0))
    parts = [EvaluatedPart(prepared.spec, network, prepared.part(part), CPU) for part in PARTS[:2]]
    inference = prepared.training.calibrate(network, prepared.inference, *parts)
    assert comparable(prepared.spec.to_json()) == before
    scores = []
    for each in (prepared, replace(prepared, inference=inference)):
        scores.append(metric_of(each, all_results(each, network, views), views.samples).scores())
    assert scores[1]["score"] >= scores[0]["score"] - 1e-9


def test_every_task_trains_to_a_report(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From data to report and predictions through the public functions."""
    monkeypatch.chdir(tmp_path)
    name = prepared.task.name
    data = DATA[name](tmp_path / "data")
    settings = SETTINGS[name] | {"epochs": 1, "threads": 1, "baselines": False}
    run = pellucid.train(data, task=name, quiet=True, **settings)
    for file in ("recipe.toml", "summary.json", "report.html", "predictions.csv"):
        assert (run.path / file).is_file()
    assert f"[{name}]" in (run.path / "recipe.toml").read_text()
    again = pellucid.train(recipe=run.path / "recipe.toml", quiet=True)
    weights = "model/weights.safetensors"
    assert (again.path / weights).read_bytes() == (run.path / weights).read_bytes()
    assert pellucid.evaluate(run.path, quiet=True).evidence == run.summary["test"]
    image = next(path for path in sorted(data.rglob("*.png")) if "mask" not in str(path))
    predicted = pellucid.predict(run.path, image, quiet=True).results
    assert len(predicted) == 1 and comparable(predicted[0].to_json())
