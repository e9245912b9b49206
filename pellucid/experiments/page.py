"""A comparison as one page: self-contained, no scripts, opens offline,
in the style of a run's report."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ..core.files import write_json, write_text
from ..plots import curves, pages
from ..plots import formatting as core_words
from ..plots.curves import MANY, Line, Mark
from . import compare_text as words
from .arms import Arm, known_score
from .comparison import Comparison

# Classes of the test part that differ in number by more than this get a table of their own.
IMBALANCED = 1.5
# So many arms are named in a plot; the others are grey. Beyond them their own curves are folded
# away.
NAMED = len(MANY)


def write(
    comparison: Comparison, folder: Path, title: str = "", about: Mapping[str, str] | None = None
) -> Path:
    """`index.html`, `comparison.json` and `plots/*.svg` in `folder`; returns the page's path.
    Writing again gives the same page.

    title: of the page. about: what stands above the findings, as {"question": …, "expected": …}.
    Raises MachineError when it cannot be written.
    """
    from markupsafe import Markup

    folder = Path(folder)
    drawn = figures(comparison)
    for name, svg in drawn.items():
        write_text(folder / "plots" / f"{name}.svg", svg)
    write_json(folder / "comparison.json", comparison.to_json())
    jinja = pages.environment(Path(__file__).parent)
    jinja.filters |= {
        "percent": partial(core_words.said, comparison.score),
        "range": partial(words.between, score=comparison.score),
    }
    jinja.filters |= {"count": core_words.count}
    jinja.filters |= {"clock": core_words.clock, "chance": words.chance, "setting": words.setting}
    page = jinja.get_template("compare.html.j2").render(
        c=comparison,
        title=title or f"{len(comparison.arms)} arms on {Path(data_of(comparison)).name}",
        about=about or {},
        data=data_of(comparison),
        figures={name: Markup(svg) for name, svg in drawn.items()},
        differences={difference.arm: difference for difference in comparison.differences},
        settings=list(comparison.reference.settings),
        classes=classes(comparison),
        measure=measure(comparison),
        folded=len(comparison.arms) > NAMED,
        words=SimpleNamespace(
            name_of=words.name_of, signed=partial(words.signed, score=comparison.score)
        ),
    )
    write_text(folder / "index.html", page)
    return folder / "index.html"


def data_of(comparison: Comparison) -> str:
    return str(comparison.reference.runs[0].facts["source"])


def measure(comparison: Comparison) -> str:
    """What is drawn beside the loss of every arm: the usual score of its task,
    in which the others come too."""
    return known_score(None, comparison.reference.runs[0].task)


def figures(comparison: Comparison) -> dict[str, str]:
    """name → SVG: the scores, the differences, all arms in one plot for each measure and axis, and
    every arm by itself."""
    made = {"scores": _scores(comparison)}
    if comparison.differences:
        made["differences"] = _differences(comparison)
    score, share = comparison.score, comparison.score not in core_words.NO_SHARES
    if not any(len(arm.curve(f"validation_{score}")["value"]) for arm in comparison.arms):
        score = measure(comparison)
    # Not every task asks for the loss of validation pictures.
    part = (
        "validation"
        if any(len(arm.curve("validation_loss")["value"]) for arm in comparison.arms)
        else "train"
    )
    named = {"validation": "Validation loss", "train": "Training loss"}[part]
    titles = {
        "loss": (f"{part}_loss", named),
        "score": (f"validation_{score}", f"Validation {words.name_of(score)}"),
    }
    for name, (column, title) in titles.items():
        for axis, x_name in (("seen", "training examples seen"), ("epochs", "epoch")):
            made[f"{name}-{axis}"] = curves.overlay(
                _lines(comparison, column, axis), title, x_name, percent=share and name == "score"
            )
    for number, arm in enumerate(comparison.arms, 1):
        if arm.runs:
            for name in ("loss", measure(comparison)):
                made[f"arm-{number}-{name}"] = _alone(arm, name)
    return made


def _scores(comparison: Comparison) -> str:
    score = comparison.score
    said = [words.figure(arm.test, score) if arm.runs else "diverged" for arm in comparison.arms]
    rows = [
        _mark(arm.name, arm.test, "value", text, score)
        for arm, text in zip(comparison.arms, said, strict=True)
    ]
    title = f"Test {words.name_of(score)}, with 95 % intervals"
    axis = words.unit(score) if score in core_words.NO_SHARES else "percent"
    return curves.forest(rows, title, axis, strong=comparison.against)


def _differences(comparison: Comparison) -> str:
    score = comparison.score
    said = [
        f"{words.signed(d.mean, score)}{words.reach(d, score)}, {words.chance(d.adjusted)}"
        for d in comparison.differences
    ]
    rows = [
        _mark(d.arm, vars(d), "mean", text, score)
        for d, text in zip(comparison.differences, said, strict=True)
    ]
    return curves.forest(
        rows,
        f"Difference from {comparison.against}, with 95 % intervals",
        words.unit(score),
        zero=0.0,
    )


def _mark(name: str, found: Mapping[str, Any], value: str, said: str, score: str) -> Mark:
    """A share in percent, any other score as it is."""
    times = 1 if score in core_words.NO_SHARES else 100
    middle, low, high = (
        None if found[key] is None else times * found[key] for key in (value, "low", "high")
    )
    return Mark(name, middle, low, high, said)


def coloured(comparison: Comparison) -> dict[str, str]:
    """The reference and the arms with the highest scores, each with its colour in all plots."""
    rest = [arm for arm in comparison.arms if arm.runs and arm.name != comparison.against]
    best = sorted(rest, key=lambda arm: -arm.test["value"])[: NAMED - 1]
    names = [comparison.against, *(arm.name for arm in rest if arm in best)]
    return dict(zip(names, MANY, strict=False))


def _lines(comparison: Comparison, column: str, axis: str) -> list[Line]:
    colours = coloured(comparison)
    return [
        _line(arm.name, arm.curve(column), axis, colours.get(arm.name)) for arm in comparison.arms
    ]


def _line(
    name: str, curve: Mapping[str, Any], axis: str, colour: str | None, dashed: bool = False
) -> Line:
    return Line(
        name,
        curve[axis].tolist(),
        curve["value"].tolist(),
        colour,
        dashed,
        curve["low"].tolist(),
        curve["high"].tolist(),
    )


def _alone(arm: Arm, measure: str) -> str:
    """Training and validation of one arm, against examples seen below and epochs above."""
    training, validation = arm.curve(f"train_{measure}"), arm.curve(f"validation_{measure}")
    lines = [
        _line("training", training, "seen", "c1", dashed=True),
        _line("validation", validation, "seen", "c0"),
    ]
    longest = validation if len(validation["seen"]) else training
    epoch = longest["seen"][-1] / longest["epochs"][-1] if len(longest["seen"]) else 1.0
    share, title = (
        measure != "loss" and measure not in core_words.NO_SHARES,
        core_words.named(measure, title=True),
    )
    return curves.overlay(
        lines, title, "training examples seen", percent=share, above=("epoch", float(epoch))
    )


def classes(comparison: Comparison) -> list[dict[str, Any]]:
    """A row a class with its recall in every arm, where classes differ in number or the score asks
    for each; else none. None for a task whose classes are not of whole images."""
    per_class = comparison.reference.runs[0].per_class
    if not all("support" in of for of in per_class.values()):
        return []
    counts = [of["support"] for of in per_class.values()]
    if not counts or (
        comparison.score == "accuracy" and max(counts) <= IMBALANCED * max(1, min(counts))
    ):
        return []
    recalls = {arm.name: arm.recall for arm in comparison.arms if arm.runs}
    return [
        {"name": name, "pictures": count, "recall": {arm: of[name] for arm, of in recalls.items()}}
        for name, count in zip(per_class, counts, strict=True)
    ]
