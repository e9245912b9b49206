"""Where the time of one picture goes in `pellucid predict`, and what all but the network costs
against a bare cv2.imread and cv2.resize.

    python benchmarks/predict_detection.py runs/detection/cells blood.jpg

Each step is the one that `predict` takes; drawing is what `--out` asks for besides, without writing
the file.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch

from pellucid.core.types import Batch
from pellucid.data.images import header
from pellucid.data.sample import Sample
from pellucid.engine.inference import model
from pellucid.engine.inference.infer import SCORING, forward_outputs
from pellucid.tasks.task import ModelSpec

ROUNDS, CPU = 30, torch.device("cpu")
WANTED = 3.0


def steps(spec: ModelSpec, network: torch.nn.Module, file: Path) -> Iterator[str]:
    """Does the work of each step, then gives its name."""
    header(file)
    yield "header"
    sample = Sample(file, None, str(file))
    sample = Sample(sample.pixels(), None, str(file))
    yield "decode"
    views = spec.preprocess.views(sample, spec.inference.tta)
    images = torch.from_numpy(np.stack([view for view, _ in views])).permute(0, 3, 1, 2)
    batch = Batch(
        images, None, tuple(transform for _, transform in views), (str(file),) * len(views)
    )
    yield "fit"
    outputs = forward_outputs(spec, network, batch, SCORING, CPU)
    yield "network"
    (result,) = spec.inference.decode(outputs, batch)
    yield "suppression"
    result.draw(sample.image)
    yield "drawing"


def timed(spec: ModelSpec, network: torch.nn.Module, file: Path) -> dict[str, float]:
    """Milliseconds of each step."""
    found = {}
    before = time.perf_counter()
    for name in steps(spec, network, file):
        found[name] = 1000 * ((now := time.perf_counter()) - before)
        before = now
    return found


def bare(file: Path, size: tuple[int, int]) -> float:
    before = time.perf_counter()
    cv2.resize(cv2.imread(str(file)), size[::-1])
    return 1000 * (time.perf_counter() - before)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("picture", type=Path)
    chosen = parser.parse_args()
    loaded = model.load(chosen.run)
    network, inference = loaded.network, loaded.spec.inference.with_options(full=False)
    spec = replace(loaded.spec, inference=inference)
    with torch.inference_mode():
        for _ in range(3):
            (
                timed(spec, network, chosen.picture),
                bare(chosen.picture, spec.preprocess.input_shape[1:]),
            )
        # In turns, so that both meet the same machine.
        rounds = [
            (
                timed(spec, network, chosen.picture),
                bare(chosen.picture, spec.preprocess.input_shape[1:]),
            )
            for _ in range(ROUNDS)
        ]
    for name in rounds[0][0]:
        print(f"{name:<12} {statistics.median(took[name] for took, _ in rounds):8.2f} ms")
    print(
        f"{'bare':<12} {statistics.median(peer for _, peer in rounds):8.2f} ms  (cv2.imread and "
        "cv2.resize)"
    )
    ratio = statistics.median(
        (sum(took.values()) - took["network"]) / peer for took, peer in rounds
    )
    print(
        f"all but the network: {ratio:.2f} of bare   wanted <= {WANTED}: "
        f"{'yes' if ratio <= WANTED else 'NO'}"
    )


if __name__ == "__main__":
    main()
