"""One object a picture, by regression: what the network is asked for, and what its answer costs.

A target is [p_c, b_x, b_y, b_h, b_w, c_1 … c_n]: whether an object is there, its box in shares of
the picture (0 to 1; the height comes before the width), and which of n classes it is. Where p_c is
0 there is no box and no class: the rest is "don't care".
An object of constant size has a centre only, and one of a single kind no class: a can that rolls
through the picture is [p_c, b_x, b_y].
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def target(
    box_cxcywh: Sequence[float] | None, number: int | None, classes: int, *, sized: bool = True
) -> Tensor:
    """float 1 + 4 + classes; 1 + 2 + classes where `sized` is False.

    box_cxcywh: centre x, centre y, width, height in shares of the picture, or the centre alone
    where the size is constant (sized False); None: no object, and then all is 0. number: of the
    class from 0, None where classes is 0.
    Raises ValueError for a box of another length or outside the picture, and for a class that is
    not there.
    """
    places = 4 if sized else 2
    wanted = torch.zeros(1 + places + classes)
    if box_cxcywh is None:
        return wanted
    if len(box_cxcywh) != places or not all(0 <= share <= 1 for share in box_cxcywh):
        raise ValueError(
            f"{tuple(box_cxcywh)} is not a place: it takes {places} shares of the picture, "
            "each from 0 to 1"
        )
    if (number is None) != (classes == 0) or (number is not None and not 0 <= number < classes):
        raise ValueError(f"class {number} is none of {classes}")
    x, y, *size = box_cxcywh
    wanted[: 1 + places] = torch.tensor([1.0, x, y, *reversed(size)])
    if number is not None:
        wanted[1 + places + number] = 1
    return wanted


def landmarks(points: Sequence[Sequence[float]]) -> Tensor:
    """The target of N landmarks (x, y) in shares of the picture: float 2N, x_1, y_1, … x_N, y_N."""
    return torch.as_tensor(points, dtype=torch.float32).reshape(-1)


def loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Squared error, a mean over B pictures of B×K outputs and targets: of all K where p_c = 1, of
    p_c alone where p_c = 0.

    What is not cared for has no gradient.
    """
    if outputs.shape != targets.shape or outputs.ndim != 2:
        raise ValueError(
            f"outputs {tuple(outputs.shape)} and targets {tuple(targets.shape)} must both be B×K"
        )
    cared_for = targets[:, :1].eq(1).expand_as(targets).clone()
    cared_for[:, 0] = True
    return (outputs - targets).where(cared_for, 0.0).square().sum(1).mean()
