"""Drawings of masks: tints, outlines, legends, errors, slices of volumes.

Class 0 is the background and stays as it is. The others have the colors that boxes have, in the
same order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from ..core.files import replacing
from ..core.types import IGNORE, UNKNOWN_GEOMETRY, VolumeGeometry
from .annotate import PAPER, colour, legend, sheet, to_rgb8

# Where the objects of a class are the connected parts of its mask.
NO_REGIONS = np.empty(0, np.int32)

Colour = tuple[int, int, int]
Entry = tuple[str, Colour | None]

# Endings of the files that `save` of a result writes under one stem: see `output_suffixes`.
MASK_FILES = (".png", "_mask.png")
VOLUME_FILES = (".png", ".nii.gz", ".gif")

GREY: Colour = (128, 128, 128)
# The width that a legend and outlines need, to which smaller images are enlarged pixel for pixel;
# letters that one line holds.
LEAST, LETTERS = 320, 75
NAMED = 24
SLICES, COLUMNS, SIDE, WIDEST, FPS = 12, 4, 300, 640, 12
# How a result differs from the target. Blue and orange-red, yellow and purple are told apart by the
# colour-blind (Okabe and Ito 2008).
ERRORS: dict[str, Colour] = {
    "right": (86, 180, 233),
    "missed": (213, 94, 0),
    "said in vain": (240, 228, 66),
    "wrong class": (204, 121, 167),
    "not asked": GREY,
}


def colour_of(label: int) -> Colour:
    """Of a class, or of IGNORE."""
    return GREY if label == IGNORE else colour(label - 1) if label else (0, 0, 0)


def palette() -> np.ndarray:
    """uint8 256×3: the colour of each label."""
    return np.array([colour_of(label) for label in range(256)], np.uint8)


def overlay(picture: np.ndarray, mask: np.ndarray, alpha: float = 0.4) -> np.ndarray:
    """The picture (any depth) as uint8 H×W×3, each pixel that is not background tinted by its
    class; alpha: how much.

    mask: uint8 H×W, numbers of classes, IGNORE grey. Raises ValueError where the sizes differ.
    """
    return _tinted(to_rgb8(picture), mask, palette(), alpha)


def _tinted(
    picture: np.ndarray, labels: np.ndarray, colours: np.ndarray, alpha: float
) -> np.ndarray:
    """Where labels are not 0; `picture` is uint8 H×W×3."""
    if picture.shape[:2] != labels.shape:
        raise ValueError(f"a mask of {labels.shape} does not fit a picture of {picture.shape[:2]}")
    mixed = cv2.addWeighted(picture, 1 - alpha, colours[labels], alpha, 0)
    return np.where((labels > 0)[..., None], mixed, picture)


def contours(picture: np.ndarray, mask: np.ndarray, regions: np.ndarray = NO_REGIONS) -> np.ndarray:
    """A copy of the picture (uint8 H×W×3) with the outline of each region in its class's colour, on
    the pixels within the region.

    regions: numbers of objects H×W, where touching ones of a class are told apart. One pixel thick,
    or more on large pictures, so that it is seen when they are shrunk to a screen. The picture's
    edge is no outline.
    """
    edge = _edge(mask) | _edge(regions.astype(np.float32)) if regions.size else _edge(mask)
    return np.where((edge & (mask > 0))[..., None], palette()[mask], picture)


def _edge(labels: np.ndarray) -> np.ndarray:
    """bool H×W: whether a pixel stands beside one of another label."""
    thick = max(1, round(max(labels.shape) / 900))
    around = (
        np.ones((2 * thick + 1,) * 2, np.uint8)
        if thick > 1
        else cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    )
    edge: np.ndarray = (cv2.dilate(labels, around) != labels) | (
        cv2.erode(labels, around) != labels
    )
    return edge


def drawn(picture: np.ndarray, mask: np.ndarray, regions: np.ndarray = NO_REGIONS) -> np.ndarray:
    """Tints and outlines: uint8 H×W×3, of the picture's size."""
    return contours(overlay(picture, mask), mask, regions)


def with_legend(
    picture: np.ndarray,
    mask: np.ndarray,
    classes: Sequence[str],
    regions: np.ndarray = NO_REGIONS,
) -> np.ndarray:
    """`drawn`, and under it the classes with their shares of the picture. A picture too small to
    read is enlarged by a whole factor."""
    factor = _factor(mask.shape)

    def large(image: np.ndarray) -> np.ndarray:
        return image.repeat(factor, axis=0).repeat(factor, axis=1)

    objects = large(regions) if regions.size else regions
    body = drawn(large(to_rgb8(picture)), large(mask), objects)
    return above(body, entries(mask, classes))


def _factor(shape: Sequence[int]) -> int:
    return max(1, -(-LEAST // max(shape[1], 1)) if max(shape) < LEAST else 1)


def above(picture: np.ndarray, named: Sequence[Entry]) -> np.ndarray:
    """The picture over its legend; paper beside a picture that is too narrow for one."""
    width = max(picture.shape[1], LEAST // 2)
    picture = np.pad(
        picture, ((0, 0), (0, width - picture.shape[1]), (0, 0)), constant_values=PAPER
    )
    return np.concatenate([picture, legend(named, width, max(13, width // LETTERS))])


def entries(
    labels: np.ndarray, classes: Sequence[str], space: VolumeGeometry = UNKNOWN_GEOMETRY
) -> list[Entry]:
    """For a legend: the classes that are there, largest first, background last, with their shares
    of the pixels that are asked about, or with their volumes. labels: uint8 of any shape, IGNORE
    where nobody is asked."""
    counts = np.bincount(labels.ravel(), minlength=256)
    asked = max(1, int(counts[:IGNORE].sum()))
    ml = float(np.prod(space.spacing)) / 1000 if space.spacing else None

    def said(count: int) -> str:
        return share(count / asked) if ml is None else volume(count * ml)

    there = sorted(
        (label for label in range(1, len(classes)) if counts[label]),
        key=lambda label: -int(counts[label]),
    )
    named: list[Entry] = [
        (f"{classes[label]} {said(counts[label])}", colour_of(label)) for label in there[:NAMED]
    ]
    if len(there) > NAMED:
        named.append(
            (
                (
                    f"and {len(there) - NAMED} more "
                    f"{said(sum(counts[label] for label in there[NAMED:]))}"
                ),
                None,
            )
        )
    if not there or (counts[0] and ml is None):
        named.append((f"{classes[0]} {said(counts[0])}", None))
    return (
        [*named, (f"not asked {share(counts[IGNORE] / max(1, counts.sum()))}", GREY)]
        if counts[IGNORE]
        else named
    )


def share(part: float) -> str:
    """0.1234 → `12.3%`; what is there and would be rounded away is `<0.1%`."""
    return "<0.1%" if 0 < part < 0.0005 else f"{part:.1%}"


def volume(ml: float) -> str:
    """45.23 → `45.2 ml`; below one, 0.12 → `120 mm³`."""
    return f"{ml:.1f} ml" if ml >= 1 else f"{ml * 1000:.0f} mm³"


def errors(target: np.ndarray, answer: np.ndarray) -> np.ndarray:
    """What each pixel's answer is: uint8, 1 + its place in ERRORS; 0 where both say background.
    Any one shape for both."""
    kinds = np.where(target == answer, 1, np.where(answer == 0, 2, np.where(target == 0, 3, 4)))
    kinds = np.where((target == 0) & (answer == 0), 0, kinds)
    return np.where(target == IGNORE, 5, kinds).astype(np.uint8)


def error_map(picture: np.ndarray, target: np.ndarray, answer: np.ndarray) -> np.ndarray:
    """The picture in grey, uint8 H×W×3, with what was right tinted faintly and what was wrong
    strongly, in the colours of ERRORS."""
    grey = cv2.cvtColor(cv2.cvtColor(to_rgb8(picture), cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    kinds, colours = errors(target, answer), np.array([(0, 0, 0), *ERRORS.values()], np.uint8)
    faint = _tinted(grey, np.where(kinds == 1, kinds, 0).astype(np.uint8), colours, 0.6)
    return _tinted(faint, np.where(kinds > 1, kinds, 0).astype(np.uint8), colours, 0.85)


def indexed(path: Path, mask: np.ndarray) -> None:
    """Writes a PNG whose pixels are the numbers of the classes, and whose palette shows them in
    their colours; whole or not there."""
    image = Image.fromarray(mask).convert("P")
    image.putpalette(palette().tobytes())
    with replacing(path) as file:
        image.save(file, format="PNG", optimize=True)


def grey8(volume: np.ndarray) -> np.ndarray:
    """The first channel of a volume D×H×W×C (uint8 or uint16) as uint8 D×H×W,
    all slices by one scale."""
    first = volume[..., 0]
    if first.dtype == np.uint8:
        return first
    # By a table: a volume in floating point would take four times its memory.
    most = max(int(first.max(initial=0)), 1)
    table = np.rint(np.arange(most + 1) * (255 / most)).astype(np.uint8)
    return table[first]


def slice_of(
    grey: np.ndarray, mask: np.ndarray, place: int, space: VolumeGeometry, side: int
) -> np.ndarray:
    """One slice of a volume with its mask (both uint8 D×H×W), its longer side `side` pixels, in the
    proportions that its spacing says."""
    height, width = sized(grey.shape[1:], space, side)
    picture = cv2.resize(
        upright(grey[place], space),
        (width, height),
        interpolation=cv2.INTER_AREA if height < grey.shape[1] else cv2.INTER_LINEAR,
    )
    labels = cv2.resize(
        upright(mask[place], space), (width, height), interpolation=cv2.INTER_NEAREST_EXACT
    )
    return drawn(picture, labels)


def sized(shape: Sequence[int], space: VolumeGeometry, side: int) -> tuple[int, int]:
    """Height and width of a slice of `shape` whose longer side is `side`."""
    rows, columns = (
        size * step for size, step in zip(shape, space.spacing[1:] or (1.0, 1.0), strict=True)
    )
    scale = side / max(rows, columns)
    return max(1, round(rows * scale)), max(1, round(columns * scale))


def upright(plane: np.ndarray, space: VolumeGeometry) -> np.ndarray:
    """A slice as radiologists look at it: front or head up, the patient's right on the left. Where
    nothing says so, as it is stored.

    The affine's columns belong to (i, j, k), which are a slice's columns, its rows and its depth;
    NIfTI counts towards right, front, head.
    """
    if not space.spacing:
        return np.ascontiguousarray(plane)
    towards = [
        float(axis[np.abs(axis).argmax()]) > 0
        for axis in (space.affine[:3, 1], space.affine[:3, 0])
    ]
    return np.ascontiguousarray(plane[:: -1 if towards[0] else 1, :: -1 if towards[1] else 1])


def places(mask: np.ndarray, count: int = SLICES) -> list[int]:
    """Slices of a volume, evenly spaced from the first to the last that has more than background;
    of all where none has."""
    there = np.flatnonzero(mask.reshape(len(mask), -1).any(axis=1))
    first, last = (int(there[0]), int(there[-1])) if len(there) else (0, len(mask) - 1)
    return sorted(
        {round(place) for place in np.linspace(first, last, min(count, last - first + 1)).tolist()}
    )


def slices(
    volume: np.ndarray,
    mask: np.ndarray,
    classes: Sequence[str],
    space: VolumeGeometry = UNKNOWN_GEOMETRY,
    count: int = SLICES,
) -> np.ndarray:
    """A sheet of slices along the depth, through where the mask is, and its legend. volume:
    D×H×W×C; mask: uint8 D×H×W."""
    grey, chosen = grey8(volume), places(mask, count)
    pictures = [slice_of(grey, mask, place, space, SIDE) for place in chosen]
    page = sheet(pictures, [f"slice {place + 1} of {len(mask)}" for place in chosen], COLUMNS, SIDE)
    return above(page, entries(mask, classes, space))


def frames(
    volume: np.ndarray, mask: np.ndarray, space: VolumeGeometry = UNKNOWN_GEOMETRY
) -> Iterator[np.ndarray]:
    """Every slice along the depth with its mask, for an animation; uint8 H×W×3 of one size."""
    grey = grey8(volume)
    side = min(WIDEST, max(LEAST, *mask.shape[1:]))
    for place in range(len(mask)):
        yield slice_of(grey, mask, place, space, side)
