"""Auxiliary classifiers count in the loss of training and nowhere else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pellucid.core.rng import Draws
from pellucid.core.types import Batch, ViewTransform
from pellucid.models import MODELS
from pellucid.models.googlenet import AuxiliaryHead
from pellucid.tasks.classification.architecture import ClassificationArchitecture
from pellucid.tasks.classification.inference import ClassificationInference
from pellucid.tasks.classification.training import ClassificationTraining
from pellucid.tasks.image_preprocess import ImagePreprocess

CLASSES = ("a", "b", "c")
PREPROCESS = ImagePreprocess(size=(32, 32), channels=1, mean=(0.5,), std=(0.25,))
ARCHITECTURE = ClassificationArchitecture("googlenet", 3, 1, (32, 32))
INFERENCE = ClassificationInference(CLASSES)
TRAINING = ClassificationTraining(PREPROCESS, CLASSES)
DRAWS = Draws(0, 0, np.arange(4))


@pytest.fixture
def batch() -> Batch:
    torch.manual_seed(0)
    images = torch.randint(0, 256, (4, 1, 32, 32), dtype=torch.uint8)
    return Batch(
        images,
        torch.tensor([0, 1, 2, 0]),
        (ViewTransform(np.eye(3)[:2], (32, 32), (32, 32)),) * 4,
        ("x",) * 4,
    )


class Answering(nn.Module):
    """Always the same logits, main and auxiliary."""

    auxiliary_weight = 0.3

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.main, self.first, self.second = (nn.Parameter(torch.randn(4, 3)) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        return self.main

    def with_auxiliary(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        return self.main, (self.first, self.second)


class AnsweringAlone(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.main = Answering().main

    def forward(self, x: Tensor) -> Tensor:
        return self.main


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_total_adds_the_weighted_auxiliary_losses(batch: Batch, smoothing: float) -> None:
    network, training = Answering(), replace(TRAINING, label_smoothing=smoothing)
    losses = training.loss(network, batch, "", DRAWS)
    main, first, second = (
        F.cross_entropy(each, batch.targets, label_smoothing=smoothing)
        for each in (network.main, network.first, network.second)
    )
    torch.testing.assert_close(losses["total"], main + 0.3 * (first + second))
    alone = training.loss(AnsweringAlone(), batch, "", DRAWS)
    torch.testing.assert_close(alone["total"], main)
    assert losses["loss"] == alone["loss"]
    assert losses["accuracy"] == alone["accuracy"]
    assert not losses["loss"].requires_grad


def test_auxiliary_heads_of_googlenet_are_for_training_alone(batch: Batch) -> None:
    torch.manual_seed(0)
    network = ARCHITECTURE.build().train()
    heads = [layer for layer in network.modules() if isinstance(layer, AuxiliaryHead)]
    asked: list[nn.Module] = []
    for head in heads:
        head.register_forward_hook(lambda layer, *_: asked.append(layer))
    losses = TRAINING.loss(network, batch, "", DRAWS)
    assert asked == heads
    assert len(heads) == 2
    losses["total"].backward()
    assert all(
        p.grad is not None and p.grad.abs().max() > 0 for head in heads for p in head.parameters()
    )
    assert losses["total"] > losses["loss"]
    with torch.no_grad():
        inputs = PREPROCESS.network_input(batch)
        before = INFERENCE.forward(network.eval(), inputs)
        for head in heads:
            for parameter in head.parameters():
                parameter.fill_(torch.nan)
        assert torch.equal(INFERENCE.forward(network, inputs), before)
    assert asked == heads


def test_auxiliary_heads_have_gradients_in_early_layers_alone(batch: Batch) -> None:
    torch.manual_seed(0)
    network = ARCHITECTURE.build().train()
    _, auxiliary = network.with_auxiliary(PREPROCESS.network_input(batch))
    sum(each.sum() for each in auxiliary).backward()
    assert network.conv1.conv.weight.grad.abs().max() > 0
    assert network.inception4d.branch1.conv.weight.grad.abs().max() > 0
    assert network.inception4e.branch1.conv.weight.grad is None


def test_total_without_auxiliary_heads_is_the_main_loss(batch: Batch) -> None:
    torch.manual_seed(0)
    network = MODELS["googlenet"](classes=3, channels=1, auxiliary=False).train()
    losses = TRAINING.loss(network, batch, "", DRAWS)
    assert losses["total"].detach() == losses["loss"]
