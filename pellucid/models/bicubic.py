"""What enlarges without learning, and what every network that enlarges is measured by
and adds to."""

from __future__ import annotations

from torch import Tensor, nn

from ..transforms.resize import bicubic


class Bicubic(nn.Module):
    """B×C×h×w → B×C×(factor·h)×(factor·w) in float32 at least, also under autocast.
    It has no parameters."""

    def __init__(self, factor: int) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return bicubic(x, float(self.factor))

    def extra_repr(self) -> str:
        return f"factor={self.factor}"


def reach(factor: int, around: int) -> int:
    """Pixels of the small picture, on each side of one, of which its pixels in the enlargement and
    `around` more beside them are made."""
    return around if factor == 1 else -(-(factor - 1 + 2 * around) // (2 * factor)) + 1
