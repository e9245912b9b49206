"""Pixels that lie close and look alike get the same class: a conditional random field over all
pairs of pixels, by mean field.

Sources: P. Krähenbühl and V. Koltun, Efficient Inference in Fully Connected CRFs with Gaussian Edge
Potentials, NIPS 2011 (arXiv 1210.5644), eq. 3 and algorithm 1; S. Zheng, S. Jayasumana, B.
Romera-Paredes, V. Vineet, Z. Su, D. Du, C. Huang, P. Torr, Conditional Random Fields as Recurrent
Neural Networks, ICCV 2015 (arXiv 1502.03240), figure 1 and section 4; the lattice is that of A.
Adams, J. Baek, A. Davis, Fast High-Dimensional Filtering Using the Permutohedral Lattice,
Eurographics 2010.

With p the positions and I the colours of pixels, two kernels say how much two pixels have to do
with each other:

  appearance  exp(−|p_i − p_j|²/2θ_position² − |I_i − I_j|²/2θ_colour²)
  smoothness   exp(−|p_i − p_j|²/2θ_near²)

One step of mean field: Q = softmax(logits); each kernel filters Q; what the kernels say, times
their weights, goes through the compatibility matrix μ (Potts: 1 between different classes, 0 on the
diagonal) and is taken off the first logits.

Choices and deviations:
- Kernels are normalised symmetrically, D^(−1/2) K D^(−1/2) with D the sums of K's rows, and a pixel
  is its own neighbour too: both as in the published code, not as in the paper's formulas, which
  leave i = j out.
- The smoothness kernel is filtered exactly (separable, cut at four deviations), the appearance
  kernel on the lattice: of a picture of C colours each pixel lies between C + 3 points of a lattice
  of C + 2 dimensions, gives them its shares, they are blurred, and it takes its shares back. Time
  and memory grow with the pixels, not their square. `exact` takes all pairs instead, for a few
  thousand pixels: what the lattice is held against.
- Gradients go to logits, weights and compatibility, not to the picture.
- CRF as RNN has a weight for each kernel and class, and begins at the weights of the plain field
  instead of searched ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

Filter = Callable[[Tensor], Tensor]  # N×K → N×K, linear
BLURS = 2  # of the lattice along each of its directions; one, as published, leaves twice the error


@dataclass(frozen=True, slots=True)
class Kernels:
    """position, near: deviations in pixels; colour: in units of the picture's values. appearance,
    smoothness: weights."""

    position: float = 60.0
    colour: float = 0.05
    near: float = 3.0
    appearance: float = 4.0
    smoothness: float = 2.0


def mean_field(
    logits: Tensor,
    pictures: Tensor,
    kernels: Kernels = Kernels(),
    *,
    iterations: int = 5,
    weights: tuple[Tensor, Tensor] | None = None,
    compatibility: Tensor | None = None,
    exact: bool = False,
) -> Tensor:
    """B×K×H×W logits and B×C×H×W pictures, or B×K×D×H×W and B×C×D×H×W, → logits of the same shape.

    pictures: of values from 0 to 1, with the kernels as they are. weights: of the appearance and of
    the smoothness kernel, a number or one each class, instead of those of `kernels`. compatibility:
    K×K, what it costs class k (row) that a neighbour is class l; Potts unless given. exact: every
    pair of pixels, N² numbers of memory.
    """
    appearance, smoothness = weights or (
        logits.new_tensor(kernels.appearance),
        logits.new_tensor(kernels.smoothness),
    )
    costs = 1 - torch.eye(logits.shape[1]).to(logits) if compatibility is None else compatibility
    return torch.stack(
        [
            _one(
                own,
                _filters(picture.detach().to(own.dtype), kernels, exact),
                (appearance, smoothness),
                costs,
                iterations,
            )
            for own, picture in zip(logits, pictures, strict=True)
        ]
    )


def _one(
    logits: Tensor,
    filters: Sequence[Filter],
    weights: Sequence[Tensor],
    costs: Tensor,
    iterations: int,
) -> Tensor:
    unary = logits.flatten(1).T
    now = unary
    for _ in range(iterations):
        beliefs = now.softmax(1)
        appearance, smoothness = (
            weight * smooth(beliefs) for weight, smooth in zip(weights, filters, strict=True)
        )
        now = unary - (appearance + smoothness) @ costs.T
    return now.T.reshape(logits.shape)


def _filters(picture: Tensor, kernels: Kernels, exact: bool) -> list[Filter]:
    """The appearance and the smoothness kernel of one picture C×H×W, normalised."""
    size = picture.shape[1:]
    places = torch.stack(
        torch.meshgrid(*(torch.arange(n, device=picture.device) for n in size), indexing="ij"), -1
    )
    places = places.reshape(-1, len(size)).to(picture.dtype)
    alike = torch.cat([places / kernels.position, picture.flatten(1).T / kernels.colour], 1)
    raw = (
        [_dense(alike), _dense(places / kernels.near)]
        if exact
        else [_lattice(alike), _separable(size, kernels.near)]
    )
    return [_normalised(each, places[:, :1] * 0 + 1) for each in raw]


def _normalised(smooth: Filter, ones: Tensor) -> Filter:
    root = smooth(ones).clamp_min(1e-12).rsqrt()
    return lambda values: root * smooth(root * values)


def _dense(features: Tensor) -> Filter:
    """exp(−|f_i − f_j|²/2) of all pairs: the definition itself."""
    kernel = (
        torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist")
        .square()
        .div(-2)
        .exp()
    )
    return lambda values: kernel @ values


def _separable(size: Sequence[int], deviation: float) -> Filter:
    """A Gaussian over positions, axis by axis, zeros beyond the border."""
    radius = math.ceil(4 * deviation)

    def smooth(values: Tensor) -> Tensor:
        taps = torch.arange(-radius, radius + 1).to(values).div(deviation).square().div(-2).exp()
        maps = values.T.reshape(-1, *size)
        for axis in range(1, maps.ndim):
            lines = maps.movedim(axis, -1)
            flat = F.conv1d(lines.reshape(-1, 1, size[axis - 1]), taps[None, None], padding=radius)
            maps = flat.reshape(lines.shape).movedim(-1, axis)
        return maps.flatten(1).T

    return smooth


def _lattice(features: Tensor) -> Filter:
    """The Gaussian of deviation 1 over features N×d, on the permutohedral lattice."""
    corners = features.shape[1] + 1
    keys, shares, steps = _enclosing(features)
    # Points beside those that hold pixels too: what is blurred twice passes through them, and is
    # lost where they are missing.
    held = keys.unique()
    found = torch.cat([held, *(held + way * step for step in steps for way in (-1, 1))]).unique()
    place = torch.searchsorted(found, keys)
    # Splatting reads pixels point by point of the lattice, slicing reads points pixel by pixel:
    # both are sums of weighted rows.
    order = place.flatten().argsort()
    starts = torch.searchsorted(
        place.flatten()[order], torch.arange(len(found), device=found.device)
    )
    pixel, share = order // corners, shares.flatten()[order]
    beside = [_where(found, step) for step in steps]

    def smooth(values: Tensor) -> Tensor:
        points = F.embedding_bag(pixel, values, starts, mode="sum", per_sample_weights=share)
        for _ in range(BLURS):
            for before, after in beside:
                # a point that holds no pixel is the last row, of zeros
                padded = F.pad(points, (0, 0, 0, 1))
                points = points / 2 + (padded[before] + padded[after]) / 4
        return F.embedding_bag(place, points, mode="sum", per_sample_weights=shares)

    return smooth


def _where(found: Tensor, step: int) -> tuple[Tensor, Tensor]:
    """The rows of the neighbours of all points, one step back and one ahead;
    len(found) where there is none."""

    def rows(wanted: Tensor) -> Tensor:
        at = torch.searchsorted(found, wanted).clamp_max(len(found) - 1)
        return torch.where(found[at] == wanted, at, len(found))

    return rows(found - step), rows(found + step)


def _enclosing(features: Tensor) -> tuple[Tensor, Tensor, list[int]]:
    """The d + 1 points of the lattice around each of N points (Adams et al., section 3 and figure
    2).

    Their keys, int64 N×(d+1); N's shares of them, which sum to 1; and how much the key grows along
    each of the lattice's d + 1 directions.
    """
    d = features.shape[1]
    # Splatting and slicing blur by (d+1)²/12 each, one blur [1 2 1]/4 by (d+1)²/2; together the
    # variance is to be 1.
    scale = (d + 1) * math.sqrt(1 / 6 + BLURS / 2)
    scaled = (
        features
        * scale
        / torch.tensor([math.sqrt((i + 1) * (i + 2)) for i in range(d)]).to(features)
    )
    after = scaled.flip(1).cumsum(1).flip(1)  # sums of what comes from here on
    elevated = F.pad(after, (0, 1)) - F.pad(scaled * torch.arange(1, d + 1).to(features), (1, 0))

    nearest = (elevated / (d + 1)).round()
    rank = (elevated - nearest * (d + 1)).argsort(dim=1, descending=True, stable=True).argsort(1)
    rank = rank + nearest.sum(1, keepdim=True).long()
    shift = (rank < 0).long() - (rank > d).long()
    rank, nearest = rank + shift * (d + 1), nearest.long() + shift

    inside = (elevated - nearest * (d + 1)) / (d + 1)
    rows = torch.zeros(len(features), d + 2).to(features)
    rows = rows.scatter_add(1, d - rank, inside).scatter_add(1, d + 1 - rank, -inside)
    shares = torch.cat([rows[:, :1] + 1 + rows[:, -1:], rows[:, 1:-1]], 1)

    # Of the d + 1 coordinates, which sum to 0, the first d as digits of one number; room at both
    # ends keeps a neighbour's key its own.
    base = nearest[:, :d] * (d + 1)
    low, high = base.amin(0) - 3 * (d + 1), base.amax(0) + 4 * (d + 1)
    digits = [1]
    for extent in (high - low).tolist()[:-1]:
        digits.append(digits[-1] * extent)
    radix = torch.tensor(digits, device=features.device)
    corner = torch.arange(d + 1, device=features.device)
    moved = corner[:, None] - (d + 1) * (rank[:, None, :d] > d - corner[:, None])
    keys = ((base - low)[:, None] + moved) @ radix
    whole = sum(digits)
    return keys, shares, [whole - (d + 1) * digit for digit in digits] + [whole]


class CrfAsRnn(nn.Module):
    """A network of segmentation and, after it, mean field with weights that are learnt: B×C×H×W →
    B×K×H×W logits.

    The colours are the network's own input as it is normalised, with a deviation of 1 or so:
    `kernels.colour` is in these units. Of a network without padding (`margin`) the picture's middle
    is taken. Learnt: a weight of each kernel for each class, and the compatibility.
    """

    def __init__(
        self,
        network: nn.Module,
        classes: int,
        iterations: int = 5,
        kernels: Kernels = Kernels(colour=0.25),
    ) -> None:
        super().__init__()
        self.network, self.iterations, self.kernels = network, iterations, kernels
        self.appearance = nn.Parameter(torch.full((classes,), float(kernels.appearance)))
        self.smoothness = nn.Parameter(torch.full((classes,), float(kernels.smoothness)))
        self.compatibility = nn.Parameter(1 - torch.eye(classes))

    @property
    def features(self) -> Any:
        return self.network.features

    @property
    def backbone(self) -> Any:
        return self.network.backbone

    @property
    def margin(self) -> int:
        return getattr(self.network, "margin", 0)

    @property
    def step(self) -> int:
        return getattr(self.network, "step", 1)

    def forward(self, x: Tensor) -> Tensor:
        logits = self.network(x)
        if x.is_meta:  # the lattice is made of colours: an account of shapes ends with the network
            return logits
        middle = tuple(slice(self.margin, side - self.margin) for side in x.shape[2:])
        picture = x[(slice(None), slice(None), *middle)]
        # Half precision keeps three digits, and a message is a sum over thousands of pixels.
        with torch.autocast(x.device.type, enabled=False):
            logits = logits if logits.dtype == torch.float64 else logits.float()
            weights = self.appearance, self.smoothness
            return mean_field(
                logits,
                picture,
                self.kernels,
                iterations=self.iterations,
                weights=weights,
                compatibility=self.compatibility,
            )


def refined(
    soft: np.ndarray, picture: np.ndarray, kernels: Kernels = Kernels(), iterations: int = 5
) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities uint8 K×H×W in 255ths and their picture H×W×C → the mask, uint8 H×W, and
    probabilities as they came. Volumes likewise.

    Pictures of integers are divided by their type's largest number, others brought from their least
    and largest value to 0 and 1.
    """
    whole = np.issubdtype(picture.dtype, np.integer)
    low, high = (0, np.iinfo(picture.dtype).max) if whole else (picture.min(), picture.max())
    colours = (np.moveaxis(picture, -1, 0).astype(np.float32) - low) / (high - low or 1)
    # Half a 255th for what was rounded to nothing: its logarithm is finite, and no class is
    # excluded for good.
    logits = torch.from_numpy(np.log(np.maximum(soft, 0.5).astype(np.float32) / 255))
    with torch.inference_mode():
        answer = mean_field(
            logits[None], torch.from_numpy(colours)[None], kernels, iterations=iterations
        )[0].softmax(0)
    return answer.argmax(0).numpy().astype(np.uint8), answer.mul(255).round().numpy().astype(
        np.uint8
    )
