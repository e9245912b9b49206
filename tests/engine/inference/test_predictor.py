"""`pellucid.load`: a model in memory that answers for arrays, files, lists and frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import pellucid
from pellucid.core.errors import DataError, ModelError, UsageError
from pellucid.core.types import Batch, ViewTransform
from pellucid.data.sample import Sample
from pellucid.engine.inference import model as models
from pellucid.engine.inference import predictor as module
from pellucid.engine.inference.model import Model
from pellucid.engine.inference.predictor import Predictor
from pellucid.tasks import TASKS
from pellucid.tasks.task import ModelSpec


@dataclass(frozen=True)
class Mean:
    """Inference and preprocessing in one: the mean of all views of an image, whatever its size."""

    classes: tuple[str, ...] = ("a", "b")
    tta: str = "none"
    threshold: float = 0.5
    full: bool = True
    output_suffixes: tuple[str, ...] = (".png",)

    def views(self, sample: Sample, tta: str) -> list[tuple[np.ndarray, ViewTransform]]:
        pixels = sample.pixels()
        size = pixels.shape[:2]
        view = np.full((4, 4, 1), pixels.mean(), np.float32)
        transform = ViewTransform(np.eye(2, 3), size, (4, 4))
        return [(view, transform), (view + 1, transform)] if tta == "flip" else [(view, transform)]

    def network_input(self, batch: Batch) -> torch.Tensor:
        return batch.images

    def forward(self, network: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
        return network(inputs).flatten(1).mean(1)

    def decode(self, outputs: torch.Tensor, batch: Batch) -> list[tuple[str, float]]:
        found: dict[str, list[float]] = {}
        for source, output in zip(batch.sources, outputs.tolist(), strict=True):
            found.setdefault(source, []).append(output)
        return [(source, float(np.mean(values))) for source, values in found.items()]

    def ensemble(self, results: list[tuple[str, float]]) -> tuple[str, float]:
        return results[0][0], sum(value for _, value in results)

    def with_options(
        self, tta: str = "none", threshold: float | None = None, full: bool = True
    ) -> Mean:
        if threshold is not None and tta == "ten":
            raise UsageError("threshold: means nothing here")
        value = self.threshold if threshold is None else threshold
        return replace(self, tta=tta, threshold=value, full=full)


@pytest.fixture
def make(toy_model: Callable[..., Model]) -> Callable[..., Model]:
    def one(path: str = "model", **settings: Any) -> Model:
        parts = Mean(**settings)
        return toy_model(parts, parts, path=path)

    return one


def gray(value: int, shape: tuple[int, ...] = (6, 5, 3)) -> np.ndarray:
    return np.full(shape, value, np.uint8)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    for number in range(3):
        Image.fromarray(gray(10 * number)).save(tmp_path / f"{number}.png")
    return sorted(tmp_path.glob("*.png"))


def test_results_come_in_kind(make: Callable[..., Model], files: list[Path]) -> None:
    predictor = Predictor([make()])
    assert predictor(gray(7)) == ("array 0", 7)
    assert predictor(gray(7, (6, 5))) == ("array 0", 7)
    assert predictor(files[1]) == predictor(str(files[1])) == (str(files[1]), 10)
    found = predictor([gray(1), files[2], gray(3, (2, 9)).astype(np.uint16)])
    assert found == [("array 0", 1), (str(files[2]), 20), ("array 2", 3)]
    assert predictor([]) == [] and predictor((gray(4),)) == [("array 0", 4)]


def test_frames_are_read_as_their_results_are_wanted(make: Callable[..., Model]) -> None:
    read: list[int] = []

    def frames() -> Iterator[np.ndarray]:
        for number in range(100):
            read.append(number)
            yield gray(number)

    results = Predictor([make()])(frames())
    assert read == []
    assert [next(results) for _ in range(3)] == [(f"array {n}", n) for n in range(3)]
    assert read == [0, 1, 2]


def test_the_same_image_twice_has_two_results(
    make: Callable[..., Model], files: list[Path]
) -> None:
    predictor = Predictor([make()])
    assert predictor([files[1]] * 3) == [(str(files[1]), 10)] * 3


def test_many_images_are_decoded_a_few_at_a_time(
    make: Callable[..., Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "IMAGES", 4)
    decoded: list[int] = []

    class Counted:
        def __init__(self, number: int) -> None:
            self.number = number

        def pixels(self) -> np.ndarray:
            decoded.append(self.number)
            return gray(self.number)

        def space(self) -> None:
            return None

    samples = [Sample(Counted(number), None, f"{number}") for number in range(50)]  # type: ignore[arg-type]
    stream = Predictor([make()]).stream(samples)
    assert next(stream)[1] == ("0", 0) and decoded == [0, 1, 2, 3]
    assert [result[1] for _, result in stream] == list(range(1, 50))


def test_what_is_no_image_is_refused(
    make: Callable[..., Model], tmp_path: Path, files: list[Path]
) -> None:
    predictor = Predictor([make()])
    for wrong in (3, None, [3], gray(1).astype(np.float32), gray(1, (2, 3, 4, 1)), gray(1, (0, 3))):
        with pytest.raises(UsageError, match="is not an image; give"):
            predictor(wrong)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="is a folder"):
        predictor(tmp_path)
    with pytest.raises(UsageError, match=r"film\.mp4: is a video"):
        predictor(tmp_path / "film.mp4")
    (tmp_path / "bad.png").write_bytes(b"no image")
    for wrong in (tmp_path / "bad.png", tmp_path / "nowhere.png", [files[0], tmp_path / "bad.png"]):
        with pytest.raises(DataError, match=r"bad\.png|nowhere\.png"):
            predictor(wrong)


def test_an_input_that_only_the_task_knows(toy_model: Callable[..., Model], tmp_path: Path) -> None:
    def find_inputs(path: Path, preprocess: Any) -> list[Sample] | None:
        pixels = gray(9)
        return [Sample(pixels, None, name.name) for name in path.iterdir()]

    parts = Mean()
    predictor = Predictor([toy_model(parts, parts, find_inputs=find_inputs)])
    (tmp_path / "patient").mkdir()
    (tmp_path / "patient" / "scan").touch()
    assert predictor(tmp_path / "patient") == (str(tmp_path / "patient"), 9)
    (tmp_path / "patient" / "other").touch()
    with pytest.raises(UsageError, match="is a folder"):
        predictor(tmp_path / "patient")


def test_options_reach_views_and_inference(make: Callable[..., Model]) -> None:
    assert Predictor([make()], tta="flip")(gray(7)) == ("array 0", 7.5)
    for wrong in (1.5, -0.1, float("nan")):
        with pytest.raises(UsageError, match="between 0 and 1"):
            Predictor([make()], threshold=wrong)
    with pytest.raises(UsageError, match="means nothing"):
        Predictor([make()], tta="ten", threshold=0.5)
    with pytest.raises(UsageError, match="cannot be used here"):
        Predictor([make()], device="cuda:77")


def test_several_models_are_an_ensemble(make: Callable[..., Model]) -> None:
    predictor = Predictor([make(), make("other")])
    assert predictor([gray(7), gray(8)]) == [("array 0", 14), ("array 1", 16)]
    with pytest.raises(UsageError, match="named twice"):
        Predictor([make(), make()])
    with pytest.raises(ModelError, match=r"other: does not tell the same classes .*\(b, c\)"):
        Predictor([make(), make("other", classes=("a", "c"))])


def test_a_loaded_run_answers_as_predict_does(tmp_path: Path, files: list[Path]) -> None:
    shape = {"channels": 3, "size": (6, 5)}
    parts = {
        "preprocess": shape | {"mean": (0.5,) * 3, "std": (0.2,) * 3},
        "architecture": shape | {"model": "C4 R G L2", "num_outputs": 2},
        "inference": {"classes": ("a", "b")},
    }
    spec = ModelSpec.from_json(TASKS["classification"], parts)
    torch.manual_seed(0)
    models.save(tmp_path / "run" / "model", spec, spec.architecture.build(), {})
    predictor = pellucid.load(tmp_path / "run", tta="flip", device="cpu")
    assert repr(predictor) == "Predictor(classification, 2 classes, cpu)"
    assert (predictor.task, predictor.classes) == ("classification", ("a", "b"))
    by_name = pellucid.predict(tmp_path / "run", files, crops="flip", device="cpu", quiet=True)
    assert by_name.answers is by_name.results
    found = predictor(files)
    assert [each.to_json() for each in found] == by_name.to_json()
    pixels = [np.asarray(Image.open(file)) for file in files]
    for one, other in zip(predictor(pixels), found, strict=True):
        np.testing.assert_array_equal(one.probabilities, other.probabilities)
