"""What the report says of an enlarger: how near its pictures come to the sharp ones, and how much
nearer than bicubic enlargement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...plots.formatting import named, plural, said
from ..page import EVIDENCE, Cell, Column, Section, Table, row

NAMES = {"psnr": "PSNR", "ssim": "SSIM"}


def headline(summary: Mapping[str, Any]) -> tuple[str, str, str]:
    """Of a finished run: the number, the rest of the sentence that it begins,
    and what follows from it."""
    test = summary["test"]
    reach = _reach("psnr", test["psnr"])
    lead = f"The 95 % interval is {reach}." if reach else "One picture gives no interval."
    sentence = f"on {plural(test['pictures'], 'test picture')} enlarged ×{test['factor']}."
    return said("psnr", test["psnr"]["value"]), sentence, f"{lead} {gained(test)}"


def gained(test: Mapping[str, Any]) -> str:
    gain = test["psnr_gain"]
    side = "more" if gain["value"] >= 0 else "less"
    reach = f" (95 % interval {_reach('psnr', gain)})" if gain["low"] is not None else ""
    return (
        f"That is {abs(gain['value']):.2f} dB {side} than bicubic enlargement of the same "
        f"pictures{reach}."
    )


def sections(found: Mapping[str, Any]) -> list[Section]:
    """What the report shows of super-resolution alone, from the run's files by name."""
    test = (found["summary"] or {}).get("test") or {}
    if "psnr_gain" not in test:
        return []
    made = [_evidence(test)]
    return [*made, _pictures(found["predictions"])] if found.get("predictions") else made


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
