"""U-Net on 512×512: bfloat16 channels-last against float32 contiguous, one forward of one picture,
and whether both answer alike.

    python benchmarks/bench_unet.py [width ...]

The network learns blobs in noise for a minute first (in bfloat16), so that Dice is of a network
that answers something.
"""

from __future__ import annotations

import sys
import time

import torch
import torch.nn.functional as F
from side_by_side import compare
from torch import Tensor, nn

from pellucid.engine.run.machine import fast_bfloat16, place
from pellucid.models import segmenter

SIZE, SECONDS, CPU = 512, 60, torch.device("cpu")


def blobs(count: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Smooth shapes that are a little brighter than what is around them, in noise: B×1×size×size,
    and truths int64 B×size×size."""
    coarse = torch.randn(count, 1, size // 16, size // 16, generator=generator)
    target = F.interpolate(coarse, size=(size, size), mode="bicubic") > 0.6
    return target * 1.0 + torch.randn(count, 1, size, size, generator=generator), target[
        :, 0
    ].long()


def learn(network: nn.Module, generator: torch.Generator) -> nn.Module:
    network = place(network, CPU, torch.channels_last).train()
    stepper, end = torch.optim.AdamW(network.parameters(), lr=1e-3), time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        pictures, targets = blobs(4, 128, generator)
        with torch.autocast("cpu", torch.bfloat16):
            answers = network(pictures.to(memory_format=torch.channels_last))
        stepper.zero_grad()
        F.cross_entropy(answers.float(), targets).backward()
        stepper.step()
    return network.eval()


def dice(answer: Tensor, target: Tensor) -> float:
    said, true = answer.argmax(1) == 1, target == 1
    return (2 * (said & true).sum() / (said.sum() + true.sum())).item()


def side_by_side(width: int) -> None:
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    fast = segmenter("unet", 2, 1, (SIZE, SIZE), width=width)
    learn(fast, generator)
    plain = segmenter("unet", 2, 1, (SIZE, SIZE), width=width).eval()
    plain.load_state_dict(fast.state_dict())
    pictures, targets = blobs(8, SIZE, generator)

    @torch.inference_mode()
    def ours(x: Tensor = pictures[:1]) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return fast(x.to(memory_format=torch.channels_last)).float()

    @torch.inference_mode()
    def peer(x: Tensor = pictures[:1]) -> Tensor:
        return plain(x)

    scores = [dice(torch.cat([way(x) for x in pictures.split(1)]), targets) for way in (ours, peer)]
    print(
        f"U-Net of width {width}: Dice in bfloat16 {scores[0]:.4f}, in float32 {scores[1]:.4f}, "
        f"apart {abs(scores[0] - scores[1]):.4f}"
    )
    compare(
        f"U-Net of width {width}, {SIZE}×{SIZE}",
        ours,
        peer,
        wanted=2.5 if fast_bfloat16(CPU) else None,
    )


if __name__ == "__main__":
    if not fast_bfloat16(CPU):
        print(
            "this processor has neither AVX512-BF16 nor AMX: the defaults stay float32, and what "
            "follows is not the claim"
        )
    for width in map(int, sys.argv[1:] or ["32"]):
        side_by_side(width)
