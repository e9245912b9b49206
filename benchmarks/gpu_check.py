"""Every task on one device: a few steps in float32 and bfloat16, agreement with the CPU, and images
per second against a plain PyTorch loop over the same network.

    python benchmarks/gpu_check.py [--device cuda] [--steps 20]

Takes under 8 minutes on a GPU; on a CPU it is a check of itself. Prints one line a task and
precision, and exits with 1 where outputs do not agree or a loss is not finite.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from pellucid.engine.inference.infer import Numerics
from pellucid.engine.run import machine, resolve
from pellucid.engine.run.loop import steps
from pellucid.engine.run.prepare import Prepared, prepare
from pellucid.engine.run.progress import Say

# Largest difference of outputs from those of the CPU in float32, as a share of their largest size.
AGREE = {"float32": 1e-3, "bfloat16": 5e-2}
IMAGES, SIDE = 96, 64


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path)


def folders(root: Path, rng: np.random.Generator) -> Path:
    for number in range(IMAGES):
        level = 60 + 60 * (number % 3)
        pixels = rng.integers(level, level + 60, (SIDE, SIDE, 3))
        save(root / "abc"[number % 3] / f"{number}.png", pixels)
    return root


def boxes(root: Path, rng: np.random.Generator) -> Path:
    (root / "labels").mkdir(parents=True)
    for number in range(IMAGES):
        pixels = rng.integers(80, 120, (SIDE, SIDE, 3))
        top, left = rng.integers(4, SIDE - 24, 2)
        pixels[top : top + 20, left : left + 16] = 230
        save(root / "images" / f"{number:03}.png", pixels)
        box = ((left + 8) / SIDE, (top + 10) / SIDE, 16 / SIDE, 20 / SIDE)
        text = " ".join(f"{each:.6f}" for each in box)
        (root / "labels" / f"{number:03}.txt").write_text(f"0 {text}\n")
    (root / "data.yaml").write_text("names: [square]\ntrain: images\n")
    return root


def masks(root: Path, rng: np.random.Generator) -> Path:
    for number in range(IMAGES):
        pixels, mask = rng.integers(80, 120, (SIDE, SIDE, 3)), np.zeros((SIDE, SIDE))
        top, left = rng.integers(4, SIDE - 24, 2)
        mask[top : top + 20, left : left + 16] = 255
        save(root / "images" / f"{number:03}.png", pixels + (mask > 0)[..., None] * 100)
        save(root / "masks" / f"{number:03}.png", mask)
    return root


def sharp(root: Path, rng: np.random.Generator) -> Path:
    for number in range(IMAGES):
        pixels = np.kron(rng.integers(0, 256, (8, 8, 3)), np.ones((8, 8, 1)))
        save(root / f"{number:03}_HR.png", pixels)
    return root


DATA: dict[str, Callable[[Path, np.random.Generator], Path]] = {
    "classification": folders,
    "detection": boxes,
    "segmentation": masks,
    "superresolution": sharp,
}
SETTINGS: dict[str, dict[str, Any]] = {
    "classification": {"model": "resnet18", "size": SIDE},
    "detection": {"size": SIDE, "neck": 32},
    "segmentation": {"size": SIDE, "patch": SIDE, "width": 16},
    "superresolution": {"model": "espcn"},
}


def prepared_for(task: str, root: Path, precision: str, device: str) -> Prepared:
    given = {"task": task, "batch": 16, "precision": precision, "device": device, "threads": 2}
    data = root / task
    if not data.exists():
        DATA[task](data, np.random.default_rng(0))
    return prepare(data, given | SETTINGS[task], Say(quiet=True))


def outputs_of(network: torch.nn.Module, inputs: Any, numerics: Numerics) -> torch.Tensor:
    """All that the network itself returns, in evaluation mode, as one vector on the CPU."""
    with torch.inference_mode(), machine.autocast(numerics, inputs.device):
        found = network.eval()(inputs)
    parts = [found] if torch.is_tensor(found) else [each for each in found if torch.is_tensor(each)]
    return torch.cat([each.float().flatten().cpu() for each in parts])


def difference(prepared: Prepared, precision: str, device: torch.device) -> float:
    """Of the outputs for one batch from those of the CPU in float32, with the same weights, as a
    share of the largest."""
    torch.manual_seed(0)
    network = prepared.architecture.build()
    batch = prepared.views.batch(np.arange(8))
    numerics = Numerics("float32", "channels_last")
    reference = outputs_of(network, prepared.preprocess.network_input(batch), numerics)
    machine.place(network, device, torch.channels_last)
    inputs = prepared.preprocess.network_input(batch.to(device))
    found = outputs_of(network, inputs, replace(numerics, precision=precision))
    return float((found - reference).abs().max() / reference.abs().max().clamp(min=1e-9))


def rate(run: Callable[[], object], images: int, device: torch.device) -> float:
    """Images per second; the first call warms up."""
    run()
    started = time.perf_counter()
    for _ in range(3):
        run()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return 3 * images / (time.perf_counter() - started)


def trained(prepared: Prepared, device: torch.device, count: int) -> tuple[float, float, float]:
    """The last loss, images per second of the loop, and of a plain one."""
    network = resolve.built(prepared.spec, prepared.settings)
    prepared = replace(prepared, settings=resolve.settled(prepared, network, device))
    settings = prepared.settings.model_copy(update={"epochs": 10_000})
    prepared = replace(prepared, settings=settings)
    state, views = resolve.fresh(prepared, network, device), prepared.part("train")
    run = steps(prepared.training, views, settings, state, device)
    for _ in range(count):
        step = next(run)
    ours = rate(lambda: next(run), settings.batch, device)
    batch = views.some(np.arange(settings.batch)).to(device)
    inputs = prepared.training.preprocess.network_input(batch)

    def plain() -> None:
        state.optimizers[0].zero_grad()
        with machine.autocast(settings, device):
            outputs = network.train()(inputs)
        total = outputs if torch.is_tensor(outputs) else sum(each.sum() for each in outputs)
        total.float().square().mean().backward()
        state.optimizers[0].step()

    return step.losses["total"], ours, rate(plain, settings.batch, device)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--steps", type=int, default=20)
    asked = parser.parse_args()
    device, wrong = machine.device(asked.device), 0
    print(f"{device}, torch {torch.__version__}, {machine.environment()['processor']}")
    with tempfile.TemporaryDirectory() as folder:
        for task in DATA:
            for precision, most in AGREE.items():
                prepared = prepared_for(task, Path(folder), precision, str(device))
                apart = difference(prepared, precision, device)
                loss, ours, plain = trained(prepared, device, asked.steps)
                good = apart <= most and np.isfinite(loss)
                wrong += not good
                print(
                    f"{'ok   ' if good else 'WRONG'} {task:<16} {precision:<9} outputs differ by "
                    f"{apart:.1e}, loss {loss:.3f}, {ours:,.0f} images/s, {ours / plain:.2f} of a "
                    "plain loop without augmentation",
                    flush=True,
                )
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
