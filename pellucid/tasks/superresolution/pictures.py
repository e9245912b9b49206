"""Pictures of super-resolution on their way: cut, taken in windows, made small,
put together again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ...core.color import luma, rgb, ycbcr
from ...core.types import ViewTransform
from ...data.sample import HighResolution, Sample
from ...transforms.resize import bicubic, bicubic_array
from ...transforms.sliding_window import Windows, origin_of, translation
from .. import pixels

View = tuple[np.ndarray, ViewTransform]

# BT.601 keeps grey within 16…235 of 255: what a grey picture is as the luma of the same picture in
# colour.
DARKEST, REACH = 16 / 255, 219 / 255
# Planes of a view that is asked about: red, green, blue, alpha, and what its file held.
ALPHA, HELD = 3, 4


@dataclass(frozen=True, slots=True, eq=False)
class Original:
    """The truth of a sharp picture: the picture itself, read again when an answer is held against
    it. supplied: what comes with it."""

    sample: Sample
    supplied: HighResolution

    def pixels(self, channels: int, bits: int, factor: int) -> np.ndarray:
        """H×W×channels of 8 or 16 bits, its sides multiples of the factor."""
        return cut(pixels.stored(self.sample.pixels(), channels, bits), factor)

    def __str__(self) -> str:
        return str(self.supplied)


def cut(picture: np.ndarray, factor: int) -> np.ndarray:
    """H×W×C without the last rows and columns that a factor leaves over, as the papers do."""
    height, width = (side - side % factor for side in picture.shape[:2])
    return picture[:height, :width]


def windows_of(picture: np.ndarray, windows: Windows, source_size: tuple[int, ...]) -> list[View]:
    """Windows of a picture H×W×C, their margins outside it too. Outside, its last pixels go on, as
    for `transforms.resize`: a window that is made small at the picture's border then gives what the
    whole picture does."""
    found = []
    for start in windows.starts(picture.shape[:2]):
        origin = [at - windows.margin for at in start]
        sides = zip(origin, windows.size, picture.shape[:2], strict=True)
        rows, columns = (np.arange(at, at + side).clip(0, whole - 1) for at, side, whole in sides)
        found.append(
            (
                picture[np.ix_(rows, columns)],
                ViewTransform(translation(origin), source_size, windows.size),
            )
        )
    return found


def mirrored(view: View) -> View:
    picture, transform = view
    matrix = np.array([[-1.0, 0, transform.size[1]], [0, 1, 0]])
    return np.ascontiguousarray(picture[:, ::-1]), transform.then(
        ViewTransform(matrix, transform.size, transform.size)
    )


def asked(picture: np.ndarray) -> np.ndarray:
    """Any H×W×C of 1 to 4 channels and 8 or 16 bits, to uint16 H×W×5,
    so that pictures of all kinds go into one batch."""
    channels, bits = picture.shape[2], 8 * picture.dtype.itemsize
    wide = picture.astype(np.uint16) * 257 if bits == 8 else picture
    colours = wide[..., :3] if channels > 2 else wide[..., :1].repeat(3, axis=2)
    alpha = (
        wide[..., -1:] if channels in (2, 4) else np.full((*wide.shape[:2], 1), 65535, np.uint16)
    )
    return np.concatenate([colours, alpha, np.full_like(alpha, 32 * channels + bits)], axis=2)


def asks(views: torch.Tensor) -> bool:
    """Whether views B×C×H×W are of pictures that are to grow, as `asked` gives them,
    and not of sharp ones."""
    return views.shape[1] > HELD


def held(views: torch.Tensor) -> tuple[int, int]:
    """Channels and bits of the file that views B×5×H×W show."""
    channels, bits = divmod(int(views[0, HELD, 0, 0]), 32)
    return channels, bits


def shrunk(images: torch.Tensor, factor: int, top: int) -> torch.Tensor:
    """Sharp B×C×H×W in 0…1 as a stored picture of `top` levels that is `factor` times smaller,
    rounded after each side as imresize does: the supplied small pictures of Set5 are made to the
    level."""
    height, width = images.shape[-2:]
    for size in ((height // factor, width), (height // factor, width // factor)):
        images = (bicubic(images, size).clamp(0, 1) * top + 0.5).floor() / top
    return images


def enlarged(low: np.ndarray, factor: int) -> np.ndarray:
    """A stored picture H×W×C made larger by bicubic interpolation, rounded once."""
    top = np.iinfo(low.dtype).max
    return np.floor(bicubic_array(low.astype(np.float64), factor).clip(0, top) + 0.5).astype(
        low.dtype
    )


def brightness(images: torch.Tensor) -> torch.Tensor:
    """B×1×H×W: Y of BT.601, of a grey picture as if it were in colour."""
    return images * REACH + DARKEST if images.shape[1] == 1 else luma(images)


def coloured(bright: torch.Tensor, enlarged: torch.Tensor) -> torch.Tensor:
    """The picture B×C×H×W whose brightness is `bright`, B×1×H×W, and whose colours are those of
    `enlarged`, B×C×H×W."""
    if enlarged.shape[1] == 1:
        return (bright - DARKEST) / REACH
    return rgb(torch.cat([bright, ycbcr(enlarged)[:, 1:]], dim=1))


def joined(
    answers: torch.Tensor,
    transforms: Sequence[ViewTransform],
    margin: int,
    grown: int,
    size: tuple[int, ...],
) -> torch.Tensor:
    """What is said about the windows of one picture, M×C×h×w without margins, to C×size; the mean
    where several say something.

    margin: pixels that an answer lacks on every side of its window, grown: pixels of the answer for
    one of the window.
    """
    total, times = torch.zeros(answers.shape[1], *size), torch.zeros(size)
    for answer, transform in zip(answers, transforms, strict=True):
        origin, flipped = _origin(transform)
        top, left = ((at + margin) * grown for at in origin)
        height, width = (
            min(side, whole - at)
            for side, whole, at in zip(answer.shape[1:], size, (top, left), strict=True)
        )
        place = (slice(top, top + height), slice(left, left + width))
        total[(slice(None), *place)] += (answer.flip(-1) if flipped else answer)[:, :height, :width]
        times[place] += 1
    return total.div_(times)


def _origin(transform: ViewTransform) -> tuple[tuple[int, ...], bool]:
    """Where a window begins in its picture (y, x), and whether it is mirrored."""
    y, x = origin_of(transform)
    flipped = bool(transform.matrix[0, 0] < 0)
    return (y, -x - transform.size[1] if flipped else x), flipped


def real_part(transform: ViewTransform, factor: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Where a window shows its sharp picture and not what goes on outside it: rows and columns of
    the window, first and behind the last."""
    (y, x), flipped = _origin(transform)
    sides = [side - side % factor for side in transform.source_size]
    rows, columns = (
        (max(0, -at), min(part, side - at))
        for at, part, side in zip((y, x), transform.size, sides, strict=True)
    )
    return rows, (
        transform.size[1] - columns[1],
        transform.size[1] - columns[0],
    ) if flipped else columns


def continued(low: torch.Tensor, transforms: Sequence[ViewTransform], factor: int) -> torch.Tensor:
    """Small windows B×C×h×w, made of sharp ones, whose last pixels go on outside their pictures as
    those of stored small ones do."""
    windows = []
    for window, transform in zip(low, transforms, strict=True):
        parts = zip(window.shape[1:], real_part(transform, factor), strict=True)
        rows, columns = (
            torch.arange(side).clamp(first // factor, last // factor - 1).to(low.device)
            for side, (first, last) in parts
        )
        windows.append(window[:, rows][:, :, columns])
    return torch.stack(windows)


def as_stored(picture: torch.Tensor, bits: int) -> np.ndarray:
    """C×H×W in 0…1, which is used up, to H×W×C of 8 or 16 bits."""
    levels = picture.clamp_(0, 1).mul_(2**bits - 1).round_()
    return np.ascontiguousarray(
        levels.permute(1, 2, 0).cpu().numpy(), np.uint8 if bits == 8 else np.uint16
    )


def differing(sharp: np.ndarray, low: np.ndarray, factor: int) -> int | None:
    """By how many levels a supplied small picture differs at most from what `shrunk` makes of the
    sharp one; None for another size."""
    ours = bicubic_array(cut(sharp, factor), 1 / factor)
    return (
        int(np.abs(ours.astype(np.int64) - low).max())
        if ours.shape == low.shape and ours.dtype == low.dtype
        else None
    )
