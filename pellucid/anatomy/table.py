"""The account of a network (`measure.Anatomy`) in words and in columns of plain text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .memory import Memory
from .trace import by

if TYPE_CHECKING:
    from .receptive import Reach

HEADINGS = (
    "layer",
    "kind",
    "output",
    "activations",
    "parameters",
    "share",
    "MACs",
    "share",
    "memory",
    "sees",
    "every",
    "from",
)
MARKS = {"ok": "-", "look": "?", "wrong": "!"}  # what is well, what to look at, what is wrong
WORDS = 3  # columns of words; all others are numbers


def text(anatomy: Any) -> str:
    """A row a layer, a row of totals, and notes. Shapes are channels×height×width;
    of a join only its shape is said."""
    lines = [list(HEADINGS)]
    lines.append(
        ["input", "", by(anatomy.input), f"{math.prod(anatomy.input):,}", *[""] * 5, "1", "1", "0"]
    )
    lines += [_cells(anatomy, row) for row in anatomy.rows]
    totals = [
        f"{anatomy.activations:,}",
        f"{anatomy.parameters:,}",
        "",
        f"{anatomy.macs:,}",
        *[""] * 5,
    ]
    lines.append(["total", "", "", *totals])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    found = [f"{MARKS[finding.level]} {finding.text}" for finding in anatomy.findings]
    return "\n".join(
        [
            *(_line(line, widths) for line in lines),
            "",
            *notes(anatomy),
            *([""] if found else []),
            *found,
        ]
    )


def _cells(anatomy: Any, row: Any) -> list[str]:
    parameters = (
        [f"{row.parameters:,}", percent(anatomy.share(row))] if row.parameters else ["", ""]
    )
    macs = (
        ["unavailable", ""]
        if row.macs is None
        else [f"{row.macs:,}", percent(anatomy.macs_share(row))]
        if row.macs
        else ["", ""]
    )
    taken = row.weights_bytes + row.activation_bytes
    activations = "" if row.join or row.again else f"{row.activations:,}"
    return [
        row.name,
        row.kind,
        by(row.output),
        activations,
        *parameters,
        *macs,
        bytes_text(taken) if taken else "",
        *reach_text(row.reach),
    ]


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    left = [cell.ljust(width) for cell, width in zip(cells[:WORDS], widths[:WORDS], strict=True)]
    right = [cell.rjust(width) for cell, width in zip(cells[WORDS:], widths[WORDS:], strict=True)]
    return "  ".join(left + right).rstrip()


def reach_text(reach: tuple[Reach, ...] | None) -> tuple[str, str, str]:
    """(what a unit sees, pixels from one unit to the next, centre of what the first one sees): one
    number where all sides agree."""
    if reach is None:
        return "unavailable", "", ""
    sizes = ["whole" if axis.whole else _span(*axis.size) for axis in reach]
    strides, starts = (
        [
            "" if axis.whole else f"{float(value):.4g}"
            for axis, value in zip(reach, values, strict=True)
        ]
        for values in ([axis.stride for axis in reach], [axis.start for axis in reach])
    )
    return _once(sizes), _once(strides), _once(starts)


def _span(least: int, greatest: int) -> str:
    return str(least) if least == greatest else f"{least}–{greatest}"


def _once(words: Sequence[str]) -> str:
    return words[0] if len(set(words)) == 1 else "×".join(words)


def answer_maps(anatomy: Any) -> str:
    """What a network says whose one answer is maps and not numbers about the whole picture;
    nothing of others."""
    outputs = [anatomy.graph.nodes[number].output[1:] for number in anatomy.graph.outputs]
    if len(outputs) != 1 or len(outputs[0]) < 3:
        return ""
    count, *_ = outputs[0]
    return (
        f"the answers are maps: {count} of {by(outputs[0][1:])}, of a picture of "
        f"{by(anatomy.input[1:])}"
    )


def notes(anatomy: Any) -> list[str]:
    """Sentences that follow from the account; those about memory last."""
    said = [
        (
            f"{_layers(anatomy.depth)} with weights on the longest path; {anatomy.macs:,} MACs, "
            f"FLOPs = 2 × MACs = {2 * anatomy.macs:,}"
        )
    ]
    if maps := answer_maps(anatomy):
        said.append(maps)
    if anatomy.uncounted:
        said.append(
            f"MACs are unavailable for {', '.join(anatomy.uncounted)}; the total leaves them out"
        )
    if where := whereabouts(anatomy):
        said.append(where)
    if anatomy.unused:
        said.append(f"{anatomy.unused:,} parameters are in no layer that the picture passes")
    said.append(
        "sees: pixels of the picture that one unit depends on, as if the picture had no border; "
        "every: pixels between neighbours; "
        "from: the middle of what the first unit sees, "
        "in pixels from the middle of the picture's first"
    )
    return said + memory_notes(anatomy.memory)


def _layers(number: int) -> str:
    return "1 layer" if number == 1 else f"{number} layers"


def memory_notes(memory: Memory) -> list[str]:
    """Weights, gradients, what an optimiser remembers, and what a picture adds."""
    weights = bytes_text(memory.weights + memory.activations_fixed)
    said = [
        (
            f"memory to answer: weights {weights} + {bytes_text(memory.activations)} a picture, "
            "the most that is alive at once"
        )
    ]
    if memory.kept is None or memory.kept_fixed is None:
        return [
            *said,
            (
                "memory to train: unavailable, for the network does not run in training mode at "
                "this size"
            ),
        ]
    fixed = bytes_text(memory.weights + memory.gradients + memory.kept_fixed)
    said.append(
        f"memory to train: weights and gradients {fixed} + {bytes_text(memory.kept)} a picture, "
        "kept for the backward pass"
    )
    said.append(
        f"  and the optimiser's: SGD 0, momentum {bytes_text(memory.gradients)}, Adam and AdamW "
        f"{bytes_text(2 * memory.gradients)}"
    )
    most = bytes_text(memory.training(32) or 0)
    return [
        *said,
        (
            f"  so a batch of 32 takes {bytes_text(memory.inference(32))} to answer and {most} to "
            "train with AdamW"
        ),
    ]


def whereabouts(anatomy: Any) -> str:
    """Where most parameters sit: the smallest parts of the network, one inside the other, that hold
    half of them or more."""
    held: dict[str, int] = {}
    for row in anatomy.rows:
        parts = row.name.split(".")
        for end in range(1, len(parts) + 1):
            name = ".".join(parts[:end])
            held[name] = held.get(name, 0) + row.parameters
    chain = _chain(held, anatomy.parameters)
    if chain:
        first, *more = (
            f"{percent(held[name] / anatomy.parameters)} of the parameters sit in {name}"
            for name in chain
        )
        return ", ".join(
            [first, *(sentence.replace(" of the parameters sit", "") for sentence in more)]
        )
    fullest = max(anatomy.rows, key=lambda row: row.parameters, default=None)
    if fullest is None or not fullest.parameters:
        return ""
    return (
        f"the parameters are spread out; the most, {percent(anatomy.share(fullest))}, "
        f"sit in {fullest.name}"
    )


def _chain(held: Mapping[str, int], parameters: int) -> list[str]:
    """From the outermost part inwards; a part that holds just what the one inside it holds
    is left out."""
    half = sorted(
        (name for name, number in held.items() if number and 2 * number >= parameters), key=len
    )
    half = [
        name
        for name in half
        if all(other.startswith(name) or name.startswith(other) for other in half)
    ]
    return [
        name
        for name in half
        if not any(
            other != name and other.startswith(name) and held[other] == held[name] for other in half
        )
    ]


def percent(share: float) -> str:
    return f"{share:.1%}" if share < 0.1 else f"{share:.0%}"


def bytes_text(number: float) -> str:
    """1,000 bytes are a kB: `550 MB`, `3.2 GB`, `512 B`."""
    for size, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if number >= size:
            return (
                f"{number / size:.3g} {unit}"
                if number / size < 999.5
                else f"{number / size:,.0f} {unit}"
            )
    return f"{number:.0f} B"
