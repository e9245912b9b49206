"""What every room promises the engine, checked for each of TASKS on a small data set of its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pellucid.core.rng import Draws, generator
from pellucid.core.types import Batch, Prediction, ViewTransform
from pellucid.data.sample import Sample
from pellucid.engine.inference import evaluate
from pellucid.engine.run import prepare
from pellucid.engine.run import settings as recipes
from pellucid.engine.run.batches import Views
from pellucid.engine.run.prepare import Prepared
from pellucid.engine.run.progress import Say
from pellucid.tasks import TASKS
from pellucid.tasks.page import EVIDENCE
from pellucid.tasks.task import Task


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


def sharp(root: Path) -> Path:
    """30 pictures of coloured squares."""
    rng = np.random.default_rng(0)
    root.mkdir(parents=True, exist_ok=True)
    for number in range(30):
        picture = np.kron(rng.integers(0, 256, (8, 8, 3)), np.ones((5, 5, 1))).astype(np.uint8)
        Image.fromarray(picture).save(root / f"{number:02}_HR.png")
    return root


# A new room needs a maker of a small data set, and the settings of a small network for it.
DATA: dict[str, Callable[[Path], Path]] = {
    "classification": class_folders,
    "detection": scenes,
    "segmentation": discs,
    "superresolution": sharp,
}
SETTINGS: dict[str, dict[str, Any]] = {
    "classification": {"model": "C4 B R G L3", "size": 12, "batch": 8},
    # Without mosaic: what mixes pictures looks at others of its batch.
    "detection": {"model": "csp_nano", "neck": 8, "size": 32, "batch": 8, "mosaic": 0.0},
    "segmentation": {"width": 4, "patch": 32, "batch": 8},
    "superresolution": {"model": "espcn", "width": 8, "batch": 8},
}


def test_every_room_has_a_small_data_set() -> None:
    missing = sorted(set(TASKS) - set(DATA) | set(TASKS) - set(SETTINGS))
    assert not missing, f"add a data set and settings for {missing} to DATA and SETTINGS"


def prepared_by(task: str, data: Path, **settings: Any) -> Prepared:
    return prepare.prepare(
        data, recipes.make(task=task, **(SETTINGS[task] | settings)), Say(quiet=True)
    )


@pytest.fixture(scope="module", params=sorted(TASKS))
def prepared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return prepared_by(
        request.param, DATA[request.param](tmp_path_factory.mktemp("data") / request.param)
    )


@pytest.fixture
def room(prepared: Prepared) -> Task:
    return prepared.room


@pytest.fixture
def network(room: Task) -> torch.nn.Module:
    torch.manual_seed(0)
    return room.build()


def all_answers(
    prepared: Prepared, network: torch.nn.Module, room: Task | None = None
) -> list[Prediction]:
    room = room or prepared.room
    return evaluate.predictions(
        room, network, prepared.views, evaluate.SCORING, torch.device("cpu")
    )


def said(room: Task, network: torch.nn.Module, views: Views) -> list[Prediction]:
    return evaluate.predictions(room, network, views, evaluate.SCORING, torch.device("cpu"))


class Times(torch.nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.factor


def comparable(value: Any) -> Any:
    return json.loads(json.dumps(value, allow_nan=False))


def test_a_room_has_the_name_by_which_it_is_found() -> None:
    assert all(task.name == name for name, task in TASKS.items())


def test_data_finds_its_room(prepared: Prepared, tmp_path: Path) -> None:
    name = prepared.room.name
    assert prepare.room_of(recipes.make(), DATA[name](tmp_path / "data")) is TASKS[name]
    others = [task for task in TASKS.values() if task.recognises(tmp_path / "nothing")]
    assert others == list(TASKS.values())[-1:]


def test_what_is_said_of_the_data_counts_it(prepared: Prepared) -> None:
    room, samples, classes = prepared.room, prepared.reading.samples, prepared.reading.classes
    whole = room.counts(samples, classes)
    assert list(whole) == list(classes) and min(whole.values()) > 0
    parts = [
        room.counts([samples[i] for i in getattr(prepared.splits, part)], classes)
        for part in prepare.PARTS
    ]
    assert {name: sum(part[name] for part in parts) for name in classes} == whole
    assert prepared.facts["counts"] == dict(zip(prepare.PARTS, parts, strict=True))
    strata, names = room.strata(prepared.reading)
    assert (
        strata.shape == (len(samples),) and strata.dtype == np.int64 and strata.max() < len(names)
    )
    assert sum(prepare.pictures_of(prepared.facts, *prepare.PARTS)) == len(samples)


def test_truths_are_looked_up_one_a_sample(prepared: Prepared) -> None:
    views = prepared.part("train")
    for rows in (np.array([3]), np.array([4, 1]), np.array([], np.int64)):
        assert len(views.part(rows).targets) == len(rows)
        assert [str(t) for t in views.batch(rows).targets] == [
            str(t) for t in prepared.room.targets([views.samples[i] for i in rows])
        ]


def test_a_batch_can_be_shown(prepared: Prepared) -> None:
    room, rows = prepared.room, np.arange(5)
    shown = room.show(room.augment(prepared.part("train").batch(rows), Draws(0, 0, rows), 0.0))
    assert len(shown) == 5 and all(title for _, title in shown)
    assert all(
        picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3
        for picture, _ in shown
    )


def test_a_room_survives_json(prepared: Prepared, network: torch.nn.Module) -> None:
    """All that makes an answer travels: the room that comes back answers the same,
    pixel for pixel."""
    room = prepared.room
    stored = comparable(room.to_json())
    back = TASKS[room.name].from_json(stored)
    assert comparable(back.to_json()) == stored and back.input == room.input
    for sample in prepared.reading.samples[:9]:
        for (ours, placed), (theirs, placed_too) in zip(
            room.views(sample), back.views(sample), strict=True
        ):
            assert np.array_equal(ours, theirs) and np.array_equal(placed.matrix, placed_too.matrix)
    for one, two in zip(
        all_answers(prepared, network), all_answers(prepared, network, back), strict=True
    ):
        assert one.to_json() == two.to_json()
    assert [p.shape for p in back.build().parameters()] == [p.shape for p in network.parameters()]


def test_what_reaches_the_network_is_what_the_room_says(
    prepared: Prepared, network: torch.nn.Module
) -> None:
    """However much larger the views are: some rooms make them smaller, or take brightness alone,
    on the way."""
    room, given = prepared.room, []
    for module in network.eval().modules():
        module.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    with torch.inference_mode():
        room.outputs(network, prepared.views.batch(np.arange(3)))
    assert tuple(given[0].shape[1:]) == room.input


def test_views_are_of_one_size_and_their_placements_lead_back(prepared: Prepared) -> None:
    height, width, channels = prepared.room.views(prepared.reading.samples[0])[0][0].shape
    rng = np.random.default_rng(0)
    for sample in prepared.reading.samples:
        size = sample.pixels().shape[:2]
        views = prepared.room.views(sample)
        assert views
        for view, transform in views:
            assert view.shape == (height, width, channels) and view.dtype in (np.uint8, np.uint16)
            assert (transform.source_size, transform.size) == (size, (height, width))
            points = rng.uniform((0, 0), size[::-1], (20, 2))
            assert transform.backward(transform.forward(points)) == pytest.approx(points, abs=1e-9)
            corners = transform.forward(np.array([[0, 0], [size[1], size[0]]]))
            assert (corners > -1e-9).all() and (corners <= np.array([width, height]) + 1e-9).all()


def test_what_lies_at_a_point_lies_where_the_placement_says(prepared: Prepared) -> None:
    """A bright patch in a dark picture is found around the place that `forward` gives
    for its middle."""
    room = prepared.room
    for size, (x, y) in (
        ((40, 40), (10.0, 30.0)),
        ((52, 28), (21.0, 13.0)),
        ((26, 60), (45.0, 7.0)),
    ):
        image = np.zeros((*size, 3), np.uint8)
        image[int(y) - 4 : int(y) + 4, int(x) - 4 : int(x) + 4] = 255
        for view, transform in room.views(Sample(image, 0, "patch")):
            # What lies outside the picture may be mirrored.
            right, bottom = np.ceil(
                transform.forward(np.array([[size[1], size[0]]], float))[0]
            ).astype(int)
            bright = np.argwhere(view[:bottom, :right, 0] > 127) + 0.5
            assert bright.mean(0)[::-1] == pytest.approx(
                transform.forward(np.array([[x, y]]))[0], abs=0.75
            )


def test_an_epoch_sees_every_view_as_often(prepared: Prepared) -> None:
    views = prepared.part("train")
    for epoch in range(3):
        batches = prepared.room.order(views.samples, views.counts, epoch, generator(0, epoch))
        shown = np.bincount(np.concatenate(batches), minlength=int(views.counts.sum()))
        assert len(shown) == views.counts.sum() and shown.min() == shown.max() >= 1
    again = prepared.room.order(views.samples, views.counts, 2, generator(0, 2))
    assert all(np.array_equal(one, two) for one, two in zip(batches, again, strict=True))
    other = prepared.room.order(views.samples, views.counts, 1, generator(0, 1))
    assert not all(np.array_equal(one, two) for one, two in zip(batches, other, strict=True))


def test_a_loss_has_a_total_that_reaches_every_parameter(
    prepared: Prepared, network: torch.nn.Module
) -> None:
    room, views = prepared.room, prepared.part("train")
    chosen = np.arange(8)
    draws = Draws(0, 0, chosen)
    batch = room.augment(views.batch(chosen), draws, 0.0)
    # whole views, or crops of them
    assert len(batch.images) == 8 and batch.images.ndim == 1 + len(room.input)
    assert tuple(batch.sources) == tuple(views.samples[i].source for i in chosen)
    turns = room.turns(network)
    for turn, parameters in enumerate(turns):
        losses = room.loss(network.train(), batch, turn, draws)
        assert losses["total"].ndim == 0 and torch.isfinite(losses["total"])
        losses["total"].backward()
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for _, p in parameters)
    named = [name for parameters in turns for name, _ in parameters]
    assert len(named) == len(set(named)) and set(named) == {
        name for name, p in network.named_parameters() if p.requires_grad
    }


def test_augmentation_depends_on_the_sample_and_not_on_its_batch(prepared: Prepared) -> None:
    room, views = prepared.room, prepared.part("train")
    whole = room.augment(views.batch(np.arange(8)), Draws(0, 0, np.arange(8)), 0.0).images
    part = room.augment(views.batch(np.arange(5, 8)), Draws(0, 0, np.arange(5, 8)), 0.0).images
    assert torch.allclose(whole[5:].float(), part.float(), atol=1e-3)
    other = room.augment(views.batch(np.arange(8)), Draws(0, 1, np.arange(8)), 0.0).images
    assert not torch.allclose(whole.float(), other.float(), atol=1.0)


def test_one_answer_a_source_whatever_its_views(
    prepared: Prepared, network: torch.nn.Module
) -> None:
    answers = all_answers(prepared, network)
    samples = prepared.reading.samples
    assert [answer.source for answer in answers] == [sample.source for sample in samples]
    assert [answer.size for answer in answers] == [sample.pixels().shape[:2] for sample in samples]


def test_several_views_of_a_source_are_merged(prepared: Prepared, network: torch.nn.Module) -> None:
    """Of a source with two views, the mean; its neighbours' answers stay as they are,
    and so do two views of one kind."""
    room, batch = prepared.room, prepared.views.batch(np.arange(4))
    with torch.inference_mode():
        outputs = room.outputs(network.eval(), batch)
    single = room.decode(outputs, batch)

    def decoded(rows: list[int], sources: tuple[str, ...]) -> list[Prediction]:
        transforms: tuple[ViewTransform, ...] = tuple(batch.transforms[row] for row in rows)
        return room.decode(outputs[rows], Batch(batch.images[rows], None, transforms, sources))

    twice = decoded([0, 1, 1, 2], ("a", "b", "b", "c"))
    assert [answer.source for answer in twice] == ["a", "b", "c"]
    for ours, theirs in zip(twice, single[:3], strict=True):
        assert ours.size == theirs.size
    if single[0].probabilities is not None:
        for ours, theirs in zip(twice, single[:3], strict=True):
            assert ours.probabilities == pytest.approx(theirs.probabilities, abs=1e-12)
        mixed = decoded([0, 1, 3, 2], ("a", "b", "b", "c"))[1]
        assert mixed.probabilities == pytest.approx(
            (single[1].probabilities + single[3].probabilities) / 2, abs=1e-12
        )


def test_a_metric_in_halves_is_the_metric(prepared: Prepared, network: torch.nn.Module) -> None:
    room, answers = prepared.room, all_answers(prepared, network)
    targets = [sample.target for sample in prepared.reading.samples]
    whole, one, two = room.metric(), room.metric(), room.metric()
    whole.add(answers, targets)
    two.add(answers[20:], targets[20:])
    one.add(answers[:11], targets[:11])
    one.add(answers[11:20], targets[11:20])
    one.merge(two)
    assert one.quick() == whole.quick() and "score" in whole.quick()
    assert comparable(one.result()) == comparable(whole.result())
    assert one.rows() == whole.rows() and [row["source"] for row in whole.rows()] == sorted(
        a.source for a in answers
    )
    assert all(np.isfinite(value) for value in whole.quick().values())
    # Each picture counts once, however many processes evaluated it.
    one.merge(two)
    assert comparable(one.result()) == comparable(whole.result())


def test_nothing_is_gained_over_the_same_answers(
    prepared: Prepared, network: torch.nn.Module
) -> None:
    room, answers = prepared.room, all_answers(prepared, network)
    metric = room.metric()
    metric.add(answers, [sample.target for sample in prepared.reading.samples])
    gained = comparable(metric.gain(metric))
    assert gained["gain"]["value"] == 0 == metric.over_mean([metric, metric])["value"]
    assert comparable(metric.result())[gained["score"]]["value"] is not None
    assert 0 <= metric.against(metric)["p"] <= 1


def test_several_models_that_agree_say_what_one_says(
    prepared: Prepared, network: torch.nn.Module
) -> None:
    for answer in all_answers(prepared, network)[:5]:
        both = prepared.room.together([answer, answer])
        assert (both.source, both.size, both.classes) == (
            answer.source,
            answer.size,
            answer.classes,
        )
        if answer.probabilities is not None:
            assert both.probabilities == pytest.approx(answer.probabilities)


def test_the_report_has_a_headline_and_sections_and_none_of_nothing(
    prepared: Prepared, network: torch.nn.Module
) -> None:
    metric = prepared.room.metric()
    metric.add(
        all_answers(prepared, network), [sample.target for sample in prepared.reading.samples]
    )
    summary = comparable(
        {
            "test": metric.result(),
            "validation": metric.result(),
            "model": "x",
            "baselines": {},
            "against_best_baseline": None,
        }
    )
    number, said, lead = prepared.room.headline(summary)
    assert number and said.endswith(".") and lead.endswith(".")
    found = {"summary": summary, "predictions": metric.rows()}
    titles = [section.title for section in prepared.room.sections(found)]
    assert titles[0] == EVIDENCE and len(set(titles)) == len(titles) > 1
    assert prepared.room.sections({"summary": None, "predictions": None}) == []


def test_statistics_come_from_the_training_part_alone(prepared: Prepared, tmp_path: Path) -> None:
    """Other pixels in validation and test change nothing of the room; other pixels in training do,
    of a room that measures any."""
    name = prepared.room.name
    rng = np.random.default_rng(9)

    def changed(part: str, to: str) -> Task:
        data = DATA[name](tmp_path / to)
        splits = {row["source"]: row["part"] for row in prepared.split_rows()}
        for source in [source for source, p in splits.items() if p in part]:
            shape = np.asarray(Image.open(data / source)).shape
            Image.fromarray(rng.integers(200, 256, shape, dtype=np.uint8)).save(data / source)
        other = prepared_by(name, data)
        assert {row["source"]: row["part"] for row in other.split_rows()} == splits
        return other.room

    before = comparable(prepared.room.to_json())
    assert comparable(changed("validation test", "scored").to_json()) == before
    pixels = prepared.part("train").pixels()[0]
    measures = comparable(prepared.room.measured(255 - pixels).to_json()) != before
    assert (comparable(changed("train", "trained").to_json()) != before) == measures
    assert comparable(prepared.room.measured(pixels).to_json()) == before


def test_finishing_changes_no_answer_for_the_worse(
    prepared: Prepared, network: torch.nn.Module
) -> None:
    """What is fitted on validation does not harm the score there, and comes back as a new room."""
    room, views = prepared.room, prepared.part("validation")
    before = comparable(room.to_json())
    if room.name == "classification":  # logits that are far too sure
        network = torch.nn.Sequential(network, Times(7.0))
    finished = room.finish(views.targets, said(room, network, views))
    assert comparable(room.to_json()) == before
    scores = []
    for each in (room, finished):
        metric = each.metric()
        metric.add(said(each, network, views), [sample.target for sample in views.samples])
        scores.append(metric.quick()["score"])
    assert scores[1] >= scores[0] - 1e-9


def test_baselines_answer_about_the_same_pictures(prepared: Prepared) -> None:
    parts = {
        part: (prepared.part(part).pixels()[0], prepared.part(part).samples)
        for part in ("train", "validation", "test")
    }
    for name, about, answers in prepared.room.baselines(parts, 0):
        assert name and set(about) >= {"settings", "seconds"}
        for part in ("validation", "test"):
            assert [answer.source for answer in answers[part]] == [
                sample.source for sample in parts[part][1]
            ]


def test_the_sheet_of_errors(prepared: Prepared, network: torch.nn.Module) -> None:
    samples, answers = prepared.reading.samples, all_answers(prepared, network)
    sheet = prepared.room.draw(samples, answers)
    assert sheet is not None and sheet.ndim == 3 and sheet.shape[2] == 3 and sheet.dtype == np.uint8


def test_other_data_is_read_in_the_terms_of_the_room(prepared: Prepared) -> None:
    same = prepared.room.relabelled(prepared.reading)
    assert [str(sample.target) for sample in same.samples] == [
        str(sample.target) for sample in prepared.reading.samples
    ]
    if {"classes"} <= {f.name for f in fields(prepared.room)}:  # type: ignore[arg-type]
        turned = replace(prepared.reading, classes=prepared.reading.classes[::-1])
        other = prepared.room.relabelled(turned)
        counted = prepared.room.counts(prepared.reading.samples, prepared.reading.classes)
        assert (
            list(prepared.room.counts(other.samples, other.classes).values())
            == list(counted.values())[::-1]
        )
