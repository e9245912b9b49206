"""Networks of every design are tensor operations alone: they export, and give equal outputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pellucid.core.types import Batch, ViewTransform
from pellucid.tasks.detection.architecture import DetectionArchitecture
from pellucid.tasks.detection.designs import DESIGNS
from pellucid.tasks.detection.inference import DetectionInference
from pellucid.tasks.detection.preprocess import DetectionPreprocess

TINY = "C8 B R P C8 B R P C16 B R P C16 B R P C16 B R P C16 B R G L2"
SIZE = (64, 96)


class Exported(nn.Module):
    """What an exported file holds: the network, and what `forward` makes of its outputs."""

    def __init__(self, inference: DetectionInference, network: nn.Module) -> None:
        super().__init__()
        self.inference, self.network = inference, network

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return self.inference.forward(self.network, inputs)


def parts(detector: str) -> tuple[DetectionPreprocess, Exported]:
    design = DESIGNS[detector]
    anchors = (((20.0, 30.0),) * design.anchors,) * design.levels if design.anchors else ()
    architecture = DetectionArchitecture(TINY, detector, 16, 2, 3, SIZE, anchors)
    preprocess = DetectionPreprocess(
        SIZE, 3, mean=(0.5,) * 3, std=(0.2,) * 3, proposals=design.proposals
    )
    torch.manual_seed(0)
    network: Any = architecture.build()
    # A tenth of the steps of suppression: the graph of all takes long to trace.
    if detector == "faster_rcnn":
        network.kept = 10
    return preprocess, Exported(DetectionInference(("a", "b"), detector), network).eval()


def inputs_of(preprocess: DetectionPreprocess, seed: int = 0) -> tuple[torch.Tensor, ...]:
    rng = np.random.default_rng(seed)
    images = np.kron(rng.integers(0, 256, (2, 3, 4, 6)), np.ones((16, 16))).astype(np.uint8)
    transform = ViewTransform(np.eye(2, 3), SIZE, SIZE)
    batch = Batch(torch.from_numpy(images), None, (transform,) * 2, ("a", "b"))
    inputs: Any = preprocess.network_input(batch)
    return inputs if isinstance(inputs, tuple) else (inputs,)


@pytest.mark.parametrize("detector", DESIGNS)
@torch.no_grad()
def test_every_design_exports_with_equal_outputs(detector: str) -> None:
    preprocess, network = parts(detector)
    exported = torch.export.export(network, inputs_of(preprocess)).module()
    other = inputs_of(preprocess, seed=1)
    if len(other) == 2:  # an exported network has one shape; empty proposals fill it up
        count = inputs_of(preprocess)[1].shape[1]
        other = other[0], nn.functional.pad(other[1][:, :count], (0, 0, 0, count))[:, :count]
    for inputs in (inputs_of(preprocess), other):
        assert torch.equal(exported(*inputs), network(*inputs))


@pytest.mark.parametrize("detector", ["fast_rcnn", "rcnn"])
@torch.no_grad()
def test_empty_proposals_add_no_candidate(detector: str) -> None:
    preprocess, network = parts(detector)
    images, proposals = inputs_of(preprocess)
    assert 1 < proposals.shape[1] <= preprocess.proposals
    padded = nn.functional.pad(proposals, (0, 0, 0, 40))
    plain, more = network(images, proposals), network(images, padded)
    torch.testing.assert_close(more[..., 4], plain[..., 4])
    assert ((more[..., 4] > 0).sum(1) == (plain[..., 4] > 0).sum(1)).all()


@pytest.mark.parametrize("detector", DESIGNS)
def test_inputs_are_proposals_only_where_needed(detector: str) -> None:
    preprocess, _ = parts(detector)
    images, *proposals = inputs_of(preprocess)
    assert images.shape == (2, 3, *SIZE) and images.dtype == torch.float32
    assert bool(proposals) == (detector in ("fast_rcnn", "rcnn"))
    for each in proposals:
        assert each.shape[0] == 2 and each.shape[2] == 4 and each.dtype == torch.float32
