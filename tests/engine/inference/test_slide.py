"""A classifier at every window becomes a detector: both ways alike, in original pixels, at several
scales."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

from pellucid.core.boxes import iou
from pellucid.core.errors import UsageError
from pellucid.core.rng import generator
from pellucid.data.images import write
from pellucid.engine.inference import model
from pellucid.engine.inference.slide import slide
from pellucid.models import create
from pellucid.tasks import TASKS
from pellucid.tasks.task import ModelSpec

CLASSES = ("bright", "dark", "nothing")
# Means of 4×4 pixels, 2 apart, brighter and darker than grey, and a dense layer that holds the
# middle against the rim.
TEXT = "C2k4s2p0 R L3"


def spec_of(classes: tuple[str, ...], size: tuple[int, int], text: str, outputs: int) -> ModelSpec:
    """Of a classification of gray images."""
    shape = {"channels": 1, "size": size}
    parts = {
        "preprocess": shape | {"mean": (0.5,), "std": (0.25,)},
        "architecture": shape | {"model": text, "num_outputs": outputs},
        "inference": {"classes": classes},
    }
    return ModelSpec.from_json(TASKS["classification"], parts)


def judge() -> tuple[ModelSpec, torch.nn.Module]:
    """Made by hand: sure of "bright" where the middle 8×8 of a 12×12 window is bright and its rim
    is not, of "dark" the other way."""
    spec = spec_of(CLASSES, (12, 12), TEXT, 3)
    network = create(TEXT, 3, 1, (12, 12)).eval()
    rows = np.array([-1, 1, 1, 1, -1]) > 0  # the windows of stride 2 that lie in the middle
    middle = torch.tensor(np.outer(rows, rows), dtype=torch.float32)
    with torch.no_grad():
        convolution, dense = network.stages[0][0], network.classifier[-1]  # type: ignore[index]
        convolution.weight.copy_(
            torch.tensor([1 / 16, -1 / 16])[:, None, None, None].expand(2, 1, 4, 4)
        )
        compared = middle / 9 - (1 - middle) / 16
        dense.weight.copy_(
            torch.stack(
                [
                    torch.stack([compared, -compared]),
                    torch.stack([-compared, compared]),
                    torch.zeros(2, 5, 5),
                ]
            ).flatten(1)
            * 8
        )
        dense.bias.copy_(torch.tensor([0.0, 0.0, 6.5]))
    return spec, network


def scene(size: tuple[int, int], *squares: tuple[int, int, int, int]) -> np.ndarray:
    """Grey, with (top, left, side, value) squares on it."""
    image = np.full((*size, 1), 128, np.uint8)
    for top, left, side, value in squares:
        image[top : top + side, left : left + side] = value
    return image


def test_squares_are_found_where_they_are() -> None:
    image = scene((60, 90), (20, 30, 8, 255), (42, 70, 8, 0))
    found = slide(judge(), image, background="nothing")
    assert len(found.objects()) == 2
    assert {each["label"]: each["box"] for each in found.objects()} == {
        "bright": [28, 18, 40, 30],
        "dark": [68, 40, 80, 52],
    }
    assert found.size == (60, 90) and found.classes == CLASSES


@pytest.mark.parametrize("scales", [(1,), (0.5, 1, 1.3)])
def test_both_ways_find_the_same(scales: tuple[float, ...]) -> None:
    image = scene((61, 87), (20, 30, 8, 225), (36, 60, 16, 30))
    # no two windows alike: of equals, rounding would choose
    image += generator(1).integers(0, 25, image.shape, np.uint8)
    asked = {"scales": scales, "background": "nothing", "threshold": 0.05}
    one_pass, crops = (
        slide(judge(), image, way=way, **asked).objects() for way in ("convolutional", "crops")
    )
    assert len(one_pass) == len(crops) >= 1
    for one, other in zip(one_pass, crops, strict=True):
        assert (one["label"], one["box"]) == (other["label"], other["box"])
        assert one["confidence"] == pytest.approx(other["confidence"], abs=1e-5)


def test_a_larger_object_is_found_at_a_smaller_scale() -> None:
    image = scene((80, 100), (24, 40, 24, 255))
    assert not slide(judge(), image, background="nothing").objects()
    said = slide(judge(), image, scales=(1, 1 / 3), background="nothing").objects()
    assert [each["label"] for each in said] == ["bright"]
    assert iou(np.array([said[0]["box"]]), np.array([[34.0, 18, 70, 54]])) > 0.7


def test_without_a_background_every_window_is_something() -> None:
    image = scene((30, 30))
    assert {each["label"] for each in slide(judge(), image).objects()} == {"nothing"}
    quiet = slide(judge(), image, background="nothing")
    assert not quiet.objects() and set(quiet.labels.tolist()) <= {0, 1}


def test_objects_follow_the_threshold() -> None:
    image = scene((60, 90), (20, 30, 8, 255), (42, 70, 8, 200))
    sure, unsure = (
        slide(judge(), image, background="nothing", threshold=threshold)
        for threshold in (0.9, 0.01)
    )
    assert len(sure.objects()) < len(unsure.objects())
    np.testing.assert_array_equal(sure.boxes, unsure.boxes)


def test_from_a_run_and_a_file(tmp_path: Path) -> None:
    spec, network = judge()
    model.save(tmp_path / "run" / "model", spec, network, {})
    image = scene((60, 90), (20, 30, 8, 255))
    write(tmp_path / "scene.png", image)
    found = slide(tmp_path / "run", tmp_path / "scene.png", background="nothing")
    assert found.objects() == slide((spec, network), image, background="nothing").objects()
    assert found.source.endswith("scene.png")
    assert found.draw(image).shape == (60, 90, 3)


def test_color_and_depth_are_those_of_the_model() -> None:
    image = scene((60, 90), (20, 30, 8, 255))
    deep = np.repeat(image, 3, axis=2).astype(np.uint16) * 257
    np.testing.assert_allclose(
        slide(judge(), deep, background="nothing").boxes,
        slide(judge(), image, background="nothing").boxes,
    )


def test_a_padded_network_slides_by_crops_only() -> None:
    spec = spec_of(("a", "b"), (16, 16), "C4 R P C8 R P G L2", 2)
    network = spec.architecture.build()
    with pytest.raises(UsageError, match="padding"):
        slide((spec, network), scene((40, 50)))
    found = slide((spec, network), scene((40, 50)), way="crops", threshold=0)
    assert len(found.boxes) and not (found.boxes % 4).any()


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"way": "convolution"}, 'did you mean "convolutional"'),
        ({"background": "nothink"}, 'did you mean "nothing"'),
        ({"scales": (0.1,)}, "enlarge"),
        ({"scales": ()}, "enlarge"),
    ],
)
def test_unknown_options_are_refused(asked: dict, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        slide(judge(), scene((40, 40)), **asked)


@pytest.mark.slow
def test_the_example_finds_most_digits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(Path(__file__).parents[3] / "examples" / "windows.py"), run_name="__main__")
    right, wanted = map(
        int, re.search(r"(\d+) of (\d+) digits found", capsys.readouterr().out).groups()
    )  # type: ignore[union-attr]
    assert right > 0.8 * wanted
