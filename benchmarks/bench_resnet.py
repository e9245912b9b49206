"""ResNet-18 at 224, batch 32, on a processor with AVX512-BF16 or AMX: our defaults against a plain
float32 contiguous PyTorch loop.

With `--flowers` also trains both for some epochs on flowers128 (at 128 pixels) and compares their
validation accuracy.
"""

from __future__ import annotations

import sys

import numpy as np
import torch
import torch.nn.functional as F
from side_by_side import DATA, compare, training_of, views_of

from pellucid.engine.inference.infer import predictions
from pellucid.engine.run import machine
from pellucid.engine.run.checkpoint import State
from pellucid.engine.run.loop import steps
from pellucid.engine.run.machine import fast_bfloat16, place
from pellucid.engine.run.optim import optimizer
from pellucid.engine.run.prepare import prepare
from pellucid.engine.run.progress import Say
from pellucid.models import create
from pellucid.tasks.settings import SharedSettings, completed

BATCH, CPU = 32, torch.device("cpu")


def throughput() -> float:
    rng = np.random.default_rng(0)
    images, labels = (
        rng.integers(0, 256, (4 * BATCH, 224, 224, 3), dtype=np.uint8),
        rng.integers(0, 10, 4 * BATCH),
    )
    views = views_of(images, labels)
    network = create("resnet18", 10, 3, (224, 224))
    settings = SharedSettings(
        optimizer="adamw", epochs=10_000, lr=1e-3, weight_decay=0.05, batch=BATCH
    )
    settings = completed(settings, machine.propose(CPU, network, 1_800_000_000))
    place(network, CPU, machine.memory_format(settings))
    state = State(network, [optimizer(settings, list(network.named_parameters()))])
    endless = steps(training_of(views, BATCH), views, settings, state, CPU)

    plain = create("resnet18", 10, 3, (224, 224)).train()
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float().div(255).contiguous()
    y, stepper = torch.from_numpy(labels), torch.optim.AdamW(plain.parameters(), lr=1e-3)

    def ours() -> None:
        for _ in range(4):
            next(endless)

    def peer() -> None:
        for few, answers in zip(x.split(BATCH), y.split(BATCH), strict=True):
            stepper.zero_grad()
            F.cross_entropy(plain(few), answers).backward()
            stepper.step()

    return compare(
        f"ResNet-18 at 224, {settings.precision}, {settings.layout}",
        ours,
        peer,
        rounds=5,
        wanted=2.0 if fast_bfloat16(CPU) else None,
    )


def flowers(epochs: int = 8) -> None:
    """The same settings in bfloat16 channels-last and in float32 contiguous."""
    for precision, layout in (("bfloat16", "channels_last"), ("float32", "contiguous")):
        given = {"model": "resnet18", "optimizer": "adamw", "epochs": epochs, "batch": BATCH}
        given |= {"lr": 1e-3, "weight_decay": 0.05, "precision": precision, "layout": layout}
        prepared = prepare(DATA / "flowers128", given, Say(quiet=True))
        settings = prepared.settings
        torch.manual_seed(0)
        network = place(prepared.architecture.build(), CPU, machine.memory_format(settings))
        state = State(network, [optimizer(settings, list(network.named_parameters()))])
        for _ in steps(prepared.training, prepared.part("train"), settings, state, CPU):
            pass
        held = prepared.part("validation")
        results = predictions(prepared.spec, network, held, settings, CPU)
        pairs = zip(results, held.targets.tolist(), strict=True)
        right = np.array([result.label == result.classes[target] for result, target in pairs])
        print(
            f"flowers128, {epochs} epochs, {precision} {layout}: validation accuracy "
            f"{right.mean():.1%} of {len(held)}",
            flush=True,
        )


if __name__ == "__main__":
    if not fast_bfloat16(CPU):
        print(
            "this processor has neither AVX512-BF16 nor AMX: the defaults stay float32, and what "
            "follows is not the claim"
        )
    throughput()
    if "--flowers" in sys.argv:
        flowers()
