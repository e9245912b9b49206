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
from side_by_side import DATA, compare, views_of

from pellucid.engine.inference.evaluate import predictions
from pellucid.engine.run import machine
from pellucid.engine.run.checkpoint import State
from pellucid.engine.run.loop import steps
from pellucid.engine.run.machine import fast_bfloat16, place
from pellucid.engine.run.optim import optimizer
from pellucid.engine.run.prepare import prepare
from pellucid.engine.run.progress import Say
from pellucid.engine.run.settings import Recipe
from pellucid.models import create
from pellucid.tasks.classification import Classification

BATCH, CPU = 32, torch.device("cpu")


def throughput() -> float:
    rng = np.random.default_rng(0)
    images, labels = (
        rng.integers(0, 256, (4 * BATCH, 224, 224, 3), dtype=np.uint8),
        rng.integers(0, 10, 4 * BATCH),
    )
    room = Classification(
        tuple("0123456789"), (224, 224), 3, model="resnet18", batch=BATCH
    ).measured(images)
    network = create("resnet18", 10, 3, (224, 224))
    recipe = Recipe(
        optimizer="adamw", epochs=10_000, lr=1e-3, weight_decay=0.05, batch=BATCH
    ).completed(machine.propose(CPU, network, 1_800_000_000))
    place(network, CPU, machine.memory_format(recipe))
    state = State(network, [optimizer(recipe, list(network.named_parameters()))])
    endless = steps(room, views_of(images, labels), recipe, state, CPU)

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
        f"ResNet-18 at 224, {recipe.precision}, {recipe.layout}",
        ours,
        peer,
        rounds=5,
        wanted=2.0 if fast_bfloat16(CPU) else None,
    )


def flowers(epochs: int = 8) -> None:
    """The same recipe in bfloat16 channels-last and in float32 contiguous."""
    for precision, layout in (("bfloat16", "channels_last"), ("float32", "contiguous")):
        recipe = Recipe(
            model="resnet18",
            optimizer="adamw",
            epochs=epochs,
            batch=BATCH,
            lr=1e-3,
            weight_decay=0.05,
            precision=precision,
            layout=layout,
        )
        prepared = prepare(DATA / "flowers128", recipe, Say(quiet=True))
        torch.manual_seed(0)
        network = place(prepared.room.build(), CPU, machine.memory_format(recipe))
        state = State(network, [optimizer(recipe, list(network.named_parameters()))])
        for _ in steps(prepared.room, prepared.part("train"), prepared.recipe, state, CPU):
            pass
        held = prepared.part("validation")
        answers = predictions(prepared.room, network, held, prepared.recipe, CPU)
        right = np.array(
            [
                answer.label == answer.classes[target]
                for answer, target in zip(answers, held.targets.tolist(), strict=True)
            ]
        )
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
