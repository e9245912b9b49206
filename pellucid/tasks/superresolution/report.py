"""The report of super-resolution: the scores, those of bicubic upscaling, and the worst results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from ...data.images import to_channels
from ...data.sample import Sample
from ...metrics.image_quality import CEILING, psnr
from ...plots.annotate import sheet, to_rgb8
from ...plots.formatting import named, plural, said
from ...transforms.resize import bicubic_array
from ..page import EVIDENCE, Cell, Column, Section, Table, row
from .degradation import upscale_bicubic
from .inference import SuperResolutionInference
from .result import SuperResolutionResult

ERROR_SHEET = (
    "The pictures that came out worst, where they did most: the sharp one, bicubic enlargement, "
    "the answer, and its error."
)
PREVIEW = (
    "Random crops of training pictures, turned and mirrored, as they are to come back: the network "
    "is given each of them made small."
)
NAMES = {"psnr": "PSNR", "ssim": "SSIM"}
# Results on the error sheet, the side of the part that is shown of each, and of a cell, in pixels.
SHOWN, SIDE, CELL = 8, 96, 288
# An error of so many levels is drawn white or black: most are far smaller.
LARGEST_ERROR = 96


def headline(summary: Mapping[str, Any]) -> tuple[str, str, str]:
    test = summary["test"]
    reach = _reach("psnr", test["psnr"])
    lead = f"The 95 % interval is {reach}." if reach else "One picture gives no interval."
    sentence = f"on {plural(test['pictures'], 'test picture')} enlarged ×{test['factor']}."
    return said("psnr", test["psnr"]["value"]), sentence, f"{lead} {_gained(test)}"


def sentences(summary: Mapping[str, Any]) -> list[str]:
    test = summary["test"]
    gained = test["psnr_gain"]["value"]
    beside = f"{abs(gained):.2f} dB {'above' if gained >= 0 else 'below'} bicubic"
    return [
        f"test:     {_with_interval('psnr', test['psnr'])}, {beside}, "
        f"{plural(test['pictures'], 'picture')} enlarged ×{test['factor']}",
        f"          SSIM {_with_interval('ssim', test['ssim'])}, of bicubic "
        f"{said('ssim', test['ssim_bicubic']['value'])}",
    ]


def sections(found: Mapping[str, Any]) -> list[Section]:
    test = (found["summary"] or {}).get("test") or {}
    if "psnr_gain" not in test:
        return []
    made = [_evidence(test)]
    return [*made, _pictures(found["predictions"])] if found.get("predictions") else made


def error_sheet(
    samples: Sequence[Sample],
    results: Sequence[SuperResolutionResult],
    inference: SuperResolutionInference,
) -> np.ndarray | None:
    """Of the eight results with the lowest PSNR the part with the largest error: high resolution,
    bicubic, result, error."""
    factor = inference.upscale
    highs = [_target(*pair, factor) for pair in zip(samples, results, strict=True)]
    pairs = zip(highs, results, strict=True)
    decibels = [_psnr(result.image, high, factor) for high, result in pairs]
    shown, titles = [], []
    for i in np.argsort(decibels, kind="stable")[:SHOWN].tolist():
        if decibels[i] >= CEILING:
            continue
        high, image = highs[i], results[i].image
        bicubic = upscale_bicubic(bicubic_array(high, 1 / factor), factor)
        place = _largest_error(high, image)
        parts = [to_rgb8(each[place]) for each in (high, bicubic, image)]
        shown += [*parts, _error(parts[0], parts[2])]
        titles += [
            samples[i].source,
            f"bicubic {_psnr(bicubic, high, factor):.2f} dB",
            f"answer {decibels[i]:.2f} dB",
            "error",
        ]
    return sheet(shown, titles, columns=4, side=CELL) if shown else None


def _target(sample: Sample, result: SuperResolutionResult, factor: int) -> np.ndarray:
    image = result.image
    found: np.ndarray = sample.target.pixels(image.shape[2], 8 * image.dtype.itemsize, factor)
    return found


def _psnr(image: np.ndarray, high: np.ndarray, factor: int) -> float:
    return psnr(image, high, factor, float(np.iinfo(high.dtype).max))


def _largest_error(high: np.ndarray, image: np.ndarray) -> tuple[slice, slice]:
    """The square in which they differ most."""
    error = np.square(high.astype(np.float32) - image).mean(axis=2)
    side = min(SIDE, *error.shape)
    sums = cv2.boxFilter(error, -1, (side, side), anchor=(0, 0), normalize=False)[
        : error.shape[0] - side + 1, : error.shape[1] - side + 1
    ]
    top, left = np.unravel_index(sums.argmax(), sums.shape)
    return slice(int(top), int(top) + side), slice(int(left), int(left) + side)


def _error(high: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Gray where they are alike, lighter where the result is too light."""
    difference = to_channels(image, 1).astype(np.float32) - to_channels(high, 1)
    return np.clip(127.5 * (1 + difference / LARGEST_ERROR), 0, 255).astype(np.uint8)


def _gained(test: Mapping[str, Any]) -> str:
    gain = test["psnr_gain"]
    side = "more" if gain["value"] >= 0 else "less"
    reach = f" (95 % interval {_reach('psnr', gain)})" if gain["low"] is not None else ""
    return (
        f"That is {abs(gain['value']):.2f} dB {side} than bicubic enlargement of the same "
        f"pictures{reach}."
    )


def _evidence(test: Mapping[str, Any]) -> Section:
    columns = [
        Column("Score", ""),
        Column("answer"),
        Column("bicubic"),
        Column("gain"),
        Column("95 % interval of the gain", "n wide"),
    ]
    rows = [
        row(named(name), _scored(name, test[name]), _scored(name, test[f"{name}_bicubic"]))
        + row(_signed(name, test[f"{name}_gain"]["value"]), _reach(name, test[f"{name}_gain"]))
        for name in NAMES
    ]
    note = (
        "PSNR: in decibels, the square of the full range over the mean squared error; SSIM: "
        "structural similarity (Wang et al. 2004), "
        "1 for equal pictures. Both are of brightness (Y of BT.601) and leave out as many pixels "
        "at each border as the factor. The sharp "
        f"pictures were made {test['factor']} times smaller by bicubic interpolation with "
        "smoothing, and rounded to whole levels, before "
        f"they were enlarged. Means over {plural(test['pictures'], 'picture')}; intervals are over "
        "the choice of pictures."
    )
    return Section(EVIDENCE, [Table(columns, rows, note)])


def _pictures(rows: Sequence[Mapping[str, Any]]) -> Section:
    columns = [
        Column("Picture", ""),
        Column("size", "n wide"),
        Column("PSNR"),
        Column("gain"),
        Column("SSIM"),
        Column("gain", "n wide"),
    ]
    cells = []
    for each in sorted(rows, key=lambda each: float(each["psnr"])):
        values = {
            name: float(each[name]) for name in ("psnr", "psnr_bicubic", "ssim", "ssim_bicubic")
        }
        line = row(each["source"], each["answer"])
        for name in NAMES:
            line += row(
                said(name, values[name]), _signed(name, values[name] - values[f"{name}_bicubic"])
            )
        cells.append(line)
    return Section(
        "Picture by picture",
        [
            Table(
                columns,
                cells,
                "The worst first. The gains are over bicubic enlargement.",
                css="mine",
            )
        ],
    )


def _scored(name: str, score: Mapping[str, Any]) -> Cell:
    return Cell(said(name, score["value"]), _reach(name, score))


def _signed(name: str, value: float) -> str:
    return ("+" if value >= 0 else "−") + said(name, abs(value))


def _reach(name: str, score: Mapping[str, Any]) -> str:
    return (
        ""
        if score["low"] is None
        else f"{said(name, score['low']).split()[0]} to {said(name, score['high'])}"
    )


def _with_interval(name: str, score: Mapping[str, Any]) -> str:
    if score["low"] is None:
        return f"{said(name, score['value'])} (no interval: one picture)"
    low, high = (said(name, score[end]).split()[0] for end in ("low", "high"))
    return f"{said(name, score['value'])} ({low} to {high})"
