"""Pictures one after another in a GIF, which every browser, mail and slide program shows."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from ..core.files import replacing

# Browsers show what is meant to be shorter as a tenth of a second.
SHORTEST = 20


def animation(path: Path, frames: Iterable[np.ndarray], fps: float, like: np.ndarray) -> None:
    """Writes frames, uint8 H×W×3 of one size, one after another for ever; the file is whole or not
    there.

    fps: frames a second, at most 50. like: a picture in which all their colours occur, such as a
    sheet of some of them: the 256 colours are chosen there, once for all frames, for a palette that
    changes from frame to frame flickers. Frames are taken as they come. Raises ValueError where
    there is none, MachineError where it cannot be written.
    """
    colours = Image.fromarray(like).quantize(256, method=Image.Quantize.MAXCOVERAGE)
    pictures = (
        Image.fromarray(frame).quantize(palette=colours, dither=Image.Dither.NONE)
        for frame in frames
    )
    first = next(pictures, None)
    if first is None:
        raise ValueError(f"{path}: an animation needs at least one frame")
    # Stored in hundredths of a second.
    duration = max(SHORTEST, round(100 / fps) * 10)
    with replacing(path) as file:
        first.save(
            file, format="GIF", save_all=True, append_images=pictures, duration=duration, loop=0
        )
