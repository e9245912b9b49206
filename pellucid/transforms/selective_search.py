"""Where objects might be, from pixels alone: boxes around regions that grow together.

Source: J. Uijlings et al., Selective Search for Object Recognition, IJCV 2013. The picture falls
into small even regions (P. Felzenszwalb, D. Huttenlocher, Efficient Graph-Based Image Segmentation,
IJCV 2004); the two neighbours that are most alike become one, again and again until one is left;
every region there ever was proposes its box.

Choices and deviations:
- One segmentation in Lab, and all four likenesses together (colour, texture, size, fill). The
  paper's quality mode takes 80 such combinations and finds some 10,000 boxes; this one finds some
  hundreds.
- k, which says how unlike neighbours must be to begin as two regions, is 30 and not 50 or more: for
  pictures of some 300 pixels a side.
- Boxes are ordered by the paper's rank, place in the hierarchy times a random number; the random
  numbers are the same for every picture, so that the proposals of a picture follow from its pixels.
"""

from __future__ import annotations

from hashlib import blake2b

import numpy as np

from ..core.boxes import box_xyxy_to_xywh
from ..core.rng import generator
from ..core.types import Objects

SCALE = 30
LEAST_SIDE = 4
PROPOSAL = -1
_COLOURS, _TEXTURES, _DIRECTIONS = 25, 10, 8
# 300 boxes are 5 kB; a hundred thousand pictures would be half a gigabyte.
_KEPT = 20_000
_memory: dict[bytes, np.ndarray] = {}


def propose(picture: np.ndarray, most: int = 300) -> np.ndarray:
    """A uint8 H×W×C picture → at most `most` boxes, float64 N×4 xyxy in pixels,
    the likeliest objects first."""
    from skimage.segmentation import felzenszwalb

    channels = _channels(picture)
    regions = felzenszwalb(channels, scale=SCALE, sigma=0.8, min_size=20)
    boxes = _merged(_Regions(regions, channels))
    # Large regions came last and rank first.
    places = np.arange(len(boxes), 0, -1)
    boxes = boxes[np.argsort(places * generator(0).random(len(places)), kind="stable")]
    boxes = boxes[(box_xyxy_to_xywh(boxes)[:, 2:] >= LEAST_SIDE).all(1)]
    first = np.sort(np.unique(boxes, axis=0, return_index=True)[1])
    return boxes[first[:most]]


def remembered(picture: np.ndarray, most: int = 300) -> np.ndarray:
    """As `propose`; a picture that was asked about before is not searched again. Read only.

    A view that training sees in every epoch is searched once, and known again by its pixels.
    """
    asked = blake2b(repr((picture.shape, most)).encode(), digest_size=16)
    asked.update(np.ascontiguousarray(picture).data)
    key = asked.digest()
    if key not in _memory:
        if len(_memory) >= _KEPT:
            _memory.pop(next(iter(_memory)))
        _memory[key] = propose(picture, most)
        _memory[key].flags.writeable = False
    return _memory[key]


def with_proposals(objects: Objects, boxes_xyxy: np.ndarray) -> Objects:
    """The objects of a picture and its proposals in one, so that augmentation moves both;
    `apart` undoes it."""
    count = len(boxes_xyxy)
    return Objects.joined(
        [objects, Objects(boxes_xyxy, np.full(count, PROPOSAL), np.ones(count, bool))]
    )


def apart(objects: Objects) -> tuple[Objects, np.ndarray]:
    """The objects alone, and the boxes of the proposals among them."""
    proposed = objects.labels == PROPOSAL
    return objects.part(~proposed), objects.boxes[proposed]


def _channels(picture: np.ndarray) -> np.ndarray:
    """uint8 H×W×C in which distances are what an eye sees of them: Lab for three channels."""
    import cv2

    return cv2.cvtColor(picture, cv2.COLOR_RGB2LAB) if picture.shape[2] == 3 else picture


class _Regions:
    """n regions: pixels, boxes, and the histograms of colour and texture, each summing to 1, side
    by side; who touches whom."""

    def __init__(self, labels: np.ndarray, channels: np.ndarray) -> None:
        flat, count = labels.ravel(), int(labels.max()) + 1
        self.total = flat.size
        self.pixels = np.bincount(flat, minlength=count).astype(np.float64)
        self.boxes = _boxes_of(labels, count)
        colours = channels.astype(np.int64) * _COLOURS // 256
        planes = _textures(channels)
        self.histograms = np.concatenate(
            [
                _histograms(flat, colours, count, _COLOURS),
                _histograms(flat, planes, count, _TEXTURES),
            ],
            1,
        )
        self.touch = np.zeros((count, count), bool)
        for one, other in ((labels[:, 1:], labels[:, :-1]), (labels[1:], labels[:-1])):
            self.touch[one, other] = self.touch[other, one] = True
        np.fill_diagonal(self.touch, False)

    def likeness(self, one: int, others: np.ndarray) -> np.ndarray:
        """Of a region to each of the others, 0 to 4: equations 1 to 4 of the paper."""
        shared = np.minimum(self.histograms[one], self.histograms[others]).sum(1)
        both = self.pixels[one] + self.pixels[others]
        sides = np.maximum(self.boxes[one, 2:], self.boxes[others, 2:]) - np.minimum(
            self.boxes[one, :2], self.boxes[others, :2]
        )
        return shared + 1 - both / self.total + 1 - (sides.prod(1) - both) / self.total

    def join(self, one: int, other: int) -> None:
        """The first becomes both, the other is touched by nobody any more."""
        parts = self.pixels[[one, other]]
        self.histograms[one] = parts @ self.histograms[[one, other]] / parts.sum()
        self.pixels[one] = parts.sum()
        self.boxes[one] = [
            *np.minimum(self.boxes[one, :2], self.boxes[other, :2]),
            *np.maximum(self.boxes[one, 2:], self.boxes[other, 2:]),
        ]
        self.touch[one] |= self.touch[other]
        self.touch[other] = self.touch[:, other] = self.touch[one, one] = False
        self.touch[:, one] = self.touch[one]


def _merged(regions: _Regions) -> np.ndarray:
    """The boxes of all regions, 2n−1 of n first ones, in the order in which they come to be."""
    count = len(regions.pixels)
    found = [regions.boxes.copy()]
    alike = np.full((count, count), -np.inf)
    for one in range(count):
        others = np.flatnonzero(regions.touch[one])
        alike[one, others] = regions.likeness(one, others)
    for _ in range(count - 1):
        one, other = divmod(int(alike.argmax()), count)
        regions.join(one, other)
        found.append(regions.boxes[one : one + 1].copy())
        others = np.flatnonzero(regions.touch[one])
        alike[[one, other]] = alike[:, [one, other]] = -np.inf
        alike[one, others] = alike[others, one] = regions.likeness(one, others)
    return np.concatenate(found)


def _boxes_of(labels: np.ndarray, count: int) -> np.ndarray:
    rows, columns = np.indices(labels.shape)
    low, high = np.full((count, 2), np.inf), np.zeros((count, 2))
    for axis, places in enumerate((columns.ravel(), rows.ravel())):
        np.minimum.at(low[:, axis], labels.ravel(), places)
        np.maximum.at(high[:, axis], labels.ravel(), places + 1)
    return np.concatenate([low, high], 1)


def _textures(channels: np.ndarray) -> np.ndarray:
    """int64 H×W×8·C: how much each channel rises in eight directions,
    in ten steps of the most that it rises."""
    from scipy.ndimage import gaussian_filter1d

    x = channels.astype(np.float32)
    down, across = (
        gaussian_filter1d(gaussian_filter1d(x, 1, axis), 1, 1 - axis, order=1) for axis in (1, 0)
    )
    angles = np.arange(_DIRECTIONS) * (2 * np.pi / _DIRECTIONS)
    rises = np.concatenate(
        [
            np.maximum(across * np.cos(a, dtype=np.float32) + down * np.sin(a, dtype=np.float32), 0)
            for a in angles
        ],
        2,
    )
    return np.minimum(
        rises / np.maximum(rises.max((0, 1)), 1e-9) * _TEXTURES, _TEXTURES - 1
    ).astype(np.int64)


def _histograms(flat: np.ndarray, steps: np.ndarray, count: int, bins: int) -> np.ndarray:
    """Of `count` regions over H×W×P planes of steps 0…bins−1: count×(P·bins),
    each row summing to 1."""
    planes = steps.shape[2]
    place = (flat[:, None] * planes + np.arange(planes)) * bins + steps.reshape(-1, planes)
    found = (
        np.bincount(place.ravel(), minlength=count * planes * bins)
        .reshape(count, -1)
        .astype(np.float64)
    )
    return found / found.sum(1, keepdims=True)
