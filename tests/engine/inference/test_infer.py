"""The only forward pass, with toy parts."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import pellucid
from pellucid.core.errors import NonFiniteOutput
from pellucid.core.types import Batch, ViewTransform
from pellucid.engine.inference import infer as module
from pellucid.engine.inference.infer import SCORING, Numerics, forward_outputs, infer, predictions
from pellucid.engine.inference.model import Model
from pellucid.engine.run.batches import Views

CPU = torch.device("cpu")


@dataclass
class Sums:
    """Inference and preprocessing in one: the outputs are those of the network, the results the
    sums of the views of each source. seen: the number of views of each forward pass."""

    classes: tuple[str, ...] = ()
    seen: list[int] = field(default_factory=list)

    def network_input(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        assert batch.targets is None
        return batch.images.float(), torch.ones(len(batch))

    def forward(self, network: nn.Module, inputs: Any) -> torch.Tensor:
        images, ones = inputs
        self.seen.append(len(images))
        assert torch.is_inference_mode_enabled() and not network.training
        return network(images.flatten(1)).float() * ones[:, None]

    def decode(self, outputs: torch.Tensor, batch: Batch) -> list[tuple[str, float]]:
        assert len(outputs) == len(batch)
        sums = dict.fromkeys(batch.sources, 0.0)
        for source, output in zip(batch.sources, outputs.sum(1).tolist(), strict=True):
            sums[source] += output
        return list(sums.items())


def views_of(count: int, side: int = 8, each: int = 1) -> Views:
    images = np.random.default_rng(3).integers(0, 255, (count * each, side, side, 1), np.uint8)
    transform = ViewTransform(np.eye(2, 3), (side, side), (side, side))
    samples: Any = tuple(Source(f"{number}") for number in range(count))
    counts = np.full(count, each)
    first = np.arange(count) * each
    return Views(samples, images, [transform] * len(images), first, counts, torch.arange(count))


@dataclass(frozen=True)
class Source:
    source: str


@pytest.fixture
def model(toy_model: Callable[..., Model]) -> Model:
    torch.manual_seed(0)
    parts = Sums()
    return toy_model(parts, parts, nn.Linear(64, 3))


def test_outputs_are_those_of_the_network(model: Model) -> None:
    batch = views_of(7).batch(np.arange(7))
    outputs = forward_outputs(model.spec, model.network.train(), batch, SCORING, CPU)
    with torch.no_grad():
        by_hand = model.network(batch.images.float().flatten(1))
    assert torch.equal(outputs, by_hand) and not model.network.training


@pytest.mark.parametrize("each", [1, 3])
def test_few_views_at_a_time_change_no_result(
    model: Model, monkeypatch: pytest.MonkeyPatch, each: int
) -> None:
    views = views_of(20, each=each)
    whole = predictions(model.spec, model.network, views, SCORING, CPU)
    assert model.spec.inference.seen == [20 * each]
    monkeypatch.setattr(module, "VIEWS", 6)
    batch = views.batch(np.arange(20))
    few = infer(model.spec, model.network, batch, SCORING, CPU)
    assert max(model.spec.inference.seen[1:]) == 6
    for again in (few, predictions(model.spec, model.network, views, SCORING, CPU)):
        assert [source for source, _ in again] == [str(number) for number in range(20)]
        assert dict(again) == pytest.approx(dict(whole), rel=1e-4, abs=1e-3)


def test_large_views_have_a_megapixel_together() -> None:
    assert [module.views_at_once(size) for size in ((28, 28), (64, 64), (256, 256))] == [
        256,
        256,
        16,
    ]
    assert module.views_at_once((3000, 3000)) == module.views_at_once((256, 256, 256)) == 1


def test_outputs_that_are_not_finite_are_refused(model: Model) -> None:
    with torch.no_grad():
        model.network.bias[1] = float("nan")
    views = views_of(3)
    with pytest.raises(NonFiniteOutput, match="not a finite number"):
        infer(model.spec, model.network, views.batch(np.arange(3)), SCORING, CPU)
    with pytest.raises(NonFiniteOutput, match="train it again"):
        predictions(model.spec, model.network, views, SCORING, CPU)


def test_precision_is_that_of_the_numerics(model: Model) -> None:
    batch = views_of(4).batch(np.arange(4))
    rounded = forward_outputs(
        model.spec, model.network, batch, Numerics("bfloat16", "contiguous"), CPU
    )
    exact = forward_outputs(model.spec, model.network, batch, SCORING, CPU)
    assert rounded.dtype == torch.float32 and not torch.equal(rounded, exact)
    torch.testing.assert_close(rounded, exact, rtol=0.05, atol=2.0)


def test_no_samples_give_no_results(model: Model) -> None:
    assert predictions(model.spec, model.network, views_of(0), SCORING, CPU) == []


def test_there_is_one_forward_pass_in_the_package() -> None:
    root = Path(pellucid.__file__).parent
    call = re.compile(r"inference\.forward\(")
    found = [file for file in root.rglob("*.py") if call.search(file.read_text(encoding="utf-8"))]
    assert [str(file.relative_to(root)) for file in found] == ["engine/inference/infer.py"]
