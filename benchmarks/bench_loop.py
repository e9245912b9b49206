"""What our loop costs: a small CNN on 28×28 pictures in memory, against a hand-written PyTorch loop
that does the same work."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from side_by_side import compare, training_of, views_of

from pellucid.engine.run.checkpoint import State
from pellucid.engine.run.loop import steps
from pellucid.engine.run.optim import optimizer
from pellucid.models import create
from pellucid.tasks.settings import SharedSettings

NETWORK, COUNT, BATCH = "C8 R P C16 R P L10", 6400, 64


def main() -> float:
    rng = np.random.default_rng(0)
    images, labels = (
        rng.integers(0, 256, (COUNT, 28, 28, 1), dtype=np.uint8),
        rng.integers(0, 10, COUNT),
    )
    settings = SharedSettings(
        optimizer="adamw",
        lr=1e-3,
        epochs=10_000,
        weight_decay=0.01,
        batch=BATCH,
        precision="float32",
        layout="channels_last",
        schedule="cosine",
    )
    views, where = views_of(images, labels), torch.device("cpu")
    training = training_of(views, BATCH)

    network = create(NETWORK, 10, 1, (28, 28)).to(memory_format=torch.channels_last)
    state = State(network, [optimizer(settings, list(network.named_parameters()))])
    endless = steps(training, views, settings, state, where)

    def ours() -> None:
        for _ in range(COUNT // BATCH):
            next(endless)

    # The peer normalises once, shuffles by index, uses channels-last, the fused optimiser and decay
    # on weights only, as a good user would.
    raw = create(NETWORK, 10, 1, (28, 28)).to(memory_format=torch.channels_last)
    mean, std = training.preprocess.mean[0], training.preprocess.std[0]
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float().div(255).sub(mean).div(std)
    x, y = x.contiguous(memory_format=torch.channels_last), torch.from_numpy(labels)
    weights, biases = (
        [p for p in raw.parameters() if (p.ndim > 1) is wanted] for wanted in (True, False)
    )
    groups = [{"params": weights, "weight_decay": 0.01}, {"params": biases, "weight_decay": 0.0}]
    stepper = torch.optim.AdamW(groups, lr=1e-3, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(stepper, 1_000_000)

    def peer() -> None:
        raw.train()
        total, right = 0.0, 0.0
        for chosen in torch.randperm(COUNT).split(BATCH):
            logits = raw(x[chosen])
            loss = F.cross_entropy(logits, y[chosen])
            stepper.zero_grad()
            loss.backward()
            # The norm of the gradient, loss and accuracy are in our log too.
            norm = torch.nn.utils.get_total_norm([p.grad for p in raw.parameters()])
            stepper.step()
            schedule.step()
            total += loss.item() + 0 * norm.item()
            right += (logits.argmax(1) == y[chosen]).float().mean().item()

    return compare("loop, steps per second", ours, peer, rounds=15, wanted=0.95)


if __name__ == "__main__":
    main()
