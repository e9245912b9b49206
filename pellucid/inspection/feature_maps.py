"""What layers see: a named filter on a picture, and the kernels and maps of a trained network,
as sheets of pictures."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..core.errors import UsageError
from ..core.types import Batch
from ..data.images import read, to_channels, write
from ..data.sample import Sample
from ..engine.inference.infer import SCORING, infer
from ..engine.inference.model import Model, load
from ..engine.run.batches import channels_first
from ..plots.annotate import PAPER, sheet, to_rgb8
from ..transforms.filters import (
    ANGLES,
    FILTERS,
    WAVELENGTHS,
    apply,
    is_signed,
    kernel_of,
    signed_to_grey,
)

MOST_MAPS, MOST_KERNELS, COLUMNS = 16, 32, 8
MAP_SIDE, FILTER_SIDE = 160, 240  # of a cell, in pixels
Cell = tuple[np.ndarray, str]


def filtered(name: str, picture: str | Path, out: str | Path) -> str:
    """Writes the answer of a filter (or sheets: "gabor", the bank; "all") to a picture; gives what
    is to be said about it.

    Filters whose answers have both signs are asked about brightness, and 0 is shown as mid-grey.
    Raises UsageError, DataError.
    """
    if name not in ("all", "gabor"):
        kernel_of(name)
    _spare(picture, out)
    image = read(Path(picture))
    if name == "gabor":
        pages = [
            _page(
                [*map(_kernel, bank), *(_answer(image, each) for each in bank)],
                len(ANGLES),
                FILTER_SIDE,
            )
            for bank in _banks()
        ]
        page, words = (
            _stacked(pages),
            (
                f"{len(WAVELENGTHS)} wavelengths by {len(ANGLES)} directions, "
                "kernels above their answers"
            ),
        )
    elif name == "all":
        page, words = (
            _page(
                [(to_rgb8(image), "the picture"), *(_answer(image, each) for each in FILTERS)],
                6,
                FILTER_SIDE,
            ),
            f"{len(FILTERS)} filters",
        )
    else:
        page, words = to_rgb8(_answer(image, name)[0]), _answer(image, name)[1].replace("\n", ": ")
    write(Path(out), page)
    signed = name in ("all", "gabor") or is_signed(name)
    return words + (
        "; mid-grey is 0, white the largest positive answer, black the same below 0"
        if signed
        else ""
    )


def _banks() -> list[list[str]]:
    return [[f"gabor_{length}_{angle}" for angle in ANGLES] for length in WAVELENGTHS]


def _kernel(name: str) -> Cell:
    kernel = kernel_of(name)
    return signed_to_grey(kernel), f"{name}\nkernel {kernel.shape[0]}×{kernel.shape[1]}"


def _answer(image: np.ndarray, name: str) -> Cell:
    if is_signed(name):
        values = apply(to_channels(image, 1)[:, :, 0], name)
        return signed_to_grey(values), f"{name}\n±{np.abs(values).max():.4g}"
    kept = np.clip(np.rint(apply(image, name)), 0, np.iinfo(image.dtype).max).astype(image.dtype)
    return to_rgb8(kept), f"{name}\n{kept.min()} … {kept.max()}"


# --- a trained network ----------------------------------------------------------------------------


def look(run: str | Path, picture: str | Path, out: str | Path) -> str:
    """Writes a sheet: the picture as the network sees it, the kernels of its first convolution, its
    strongest maps.

    run: a run folder. Raises UsageError, DataError, ModelError.
    """
    _spare(picture, out)
    model = load(Path(run))
    network = model.network
    view, seen, words = _seen(Path(run), model, Path(picture))
    with torch.inference_mode():
        features: Any = getattr(network, "features", None)
        maps = features(seen) if features is not None else ()
    first = _kernels(network)
    stages = [_stage(number, stage[0]) for number, stage in enumerate(maps, 1) if stage.ndim == 4]
    sections = [[(to_rgb8(view), words), *first[: COLUMNS - 1]], first[COLUMNS - 1 :], *stages]
    write(
        Path(out), _stacked([_page(section, COLUMNS, MAP_SIDE) for section in sections if section])
    )
    shown = f"{len(first)} kernels, {sum(map(len, stages))} maps of {len(stages)} stages"
    return (
        f"{words.splitlines()[0]}; {shown}; kernels: mid-grey is 0; maps: black is the least, "
        "white the largest number of each"
    )


def _seen(run: Path, model: Model, picture: Path) -> tuple[np.ndarray, Tensor, str]:
    """The view as pixels, the tensor that reaches the network, the result in one line."""
    spec = model.spec
    sample = Sample(Sample(picture, None, str(picture)).pixels(), None, picture.name)
    view, transform = spec.preprocess.views(sample, "none")[0]
    batch = Batch(channels_first(np.stack([view])), None, (transform,), (sample.source,))
    reached: list[Tensor] = []
    # Where the input arrives: at the network, or where the task calls `features`, at a layer.
    hooks = [
        layer.register_forward_pre_hook(lambda layer, inputs: reached.extend(inputs[:1]))
        for layer in model.network.modules()
    ]
    try:
        result = infer(spec, model.network, batch, SCORING, torch.device("cpu"))[0]
    finally:
        for hook in hooks:
            hook.remove()
    if not reached or reached[0].shape != (1, *spec.preprocess.input_shape):
        raise UsageError(
            f"{run}: {spec.architecture} does not look at the picture as a whole, "
            "so there is no sheet "
            "of it; look at another run"
        )
    line = result.summary().removeprefix(f"{picture.name}: ")
    return view, reached[0], f"{line}\nseen at {view.shape[0]}×{view.shape[1]}"


def _kernels(network: nn.Module) -> list[Cell]:
    """Of the first convolution, in the layer's order; one scale for all. Colour where it takes
    three channels, else its first input."""
    named = (
        (name, layer) for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d)
    )
    name, layer = next(named, (None, None))
    if layer is None:
        return []
    weights = layer.weight.detach().float().cpu().numpy()
    weights = weights.transpose(0, 2, 3, 1) if weights.shape[1] == 3 else weights[:, 0]
    most = float(np.abs(weights).max())
    size = "×".join(map(str, layer.weight.shape[1:]))
    return [
        (signed_to_grey(kernel, most), f"{name} kernel {k}\n{size}, ±{most:.3g}")
        for k, kernel in enumerate(weights[:MOST_KERNELS])
    ]


def _stage(number: int, maps: Tensor) -> list[Cell]:
    """The maps of one stage (C×H×W) that vary most over the picture, strongest first."""
    values = maps.float().cpu().numpy()
    strongest = np.argsort(-values.var(axis=(1, 2)), kind="stable")[:MOST_MAPS]
    size = f"{values.shape[1]}×{values.shape[2]}"
    cells = []
    for index in strongest:
        low, high = float(values[index].min()), float(values[index].max())
        grey = (
            (values[index] - low) / (high - low) * 255
            if high > low
            else np.full_like(values[index], 128)
        )
        reach = f"{low:.3g} … {high:.3g}" if high > low else f"all {low:.3g}"
        cells.append(
            (np.rint(grey).astype(np.uint8), f"stage {number} map {index}\n{size}, {reach}")
        )
    return cells


# --- pages ----------------------------------------------------------------------------------------


def _page(cells: list[Cell], columns: int, side: int) -> np.ndarray:
    return sheet([picture for picture, _ in cells], [title for _, title in cells], columns, side)


def _stacked(pages: list[np.ndarray]) -> np.ndarray:
    width = max(page.shape[1] for page in pages)
    return np.concatenate(
        [np.pad(p, ((0, 0), (0, width - p.shape[1]), (0, 0)), constant_values=PAPER) for p in pages]
    )


def _spare(picture: str | Path, out: str | Path) -> None:
    """Raises UsageError where the result would take the place of the picture that is read."""
    if os.path.exists(out) and os.path.exists(picture) and os.path.samefile(out, picture):
        raise UsageError(f"{out}: would overwrite the picture that is read; give another name")
