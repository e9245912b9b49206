"""`pellucid check`: all that can be said of a data set before the long run."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import batches
from . import recipe as recipes
from .prepare import PARTS, prepare
from .say import Say


@dataclass(frozen=True)
class Check:
    """facts: as in `data.json`. settings: what `train` would do. findings: what is wrong or worth a look; empty when all is well."""

    facts: dict[str, Any]
    settings: dict[str, Any]
    findings: list[str]

    def text(self) -> str:
        facts, lines = self.facts, []
        lines.append(f"{facts['source']}: {facts['why']}")
        sizes = facts["sizes"]
        shapes = f"{_by(sizes['smallest'])} to {_by(sizes['largest'])}, median {_by(sizes['median'])} (height x width)"
        kinds = f"channels {_counts(facts['channels'])}; bits {_counts(facts['bits'])}"
        lines.append(f"pictures: {shapes if sizes['smallest'] != sizes['largest'] else _by(sizes['smallest'])}; {kinds}")
        lines.append("")
        width = max([5, *(len(name) for name in facts["classes"])])
        lines.append(f"{'class':<{width}}" + "".join(f"{part:>12}" for part in PARTS) + f"{'total':>12}")
        for name in facts["classes"]:
            row = [facts["counts"][part][name] for part in PARTS]
            lines.append(f"{name:<{width}}" + "".join(f"{n:>12,}" for n in [*row, sum(row)]))
        totals = [sum(facts["counts"][part].values()) for part in PARTS]
        lines.append(f"{'total':<{width}}" + "".join(f"{n:>12,}" for n in [*totals, sum(totals)]))
        lines.append("")
        lines += [f"- {note}" for note in facts["notes"] if note not in self.findings]
        lines += [f"- left out: {file}: {reason}" for file, reason in _few(facts["left_out"])]
        s = self.settings
        size = _by(s["size"])
        lines.append(f"- would train: {s['model']} at {size}, {s['epochs']} epochs of batches of {s['batch']}")
        lines.append("")
        lines += [f"! {finding}" for finding in self.findings] or ["no findings: ready to train"]
        return "\n".join(lines)


def check(data: str | Path, *, quiet: bool = False, **settings: Any) -> Check:
    """Reads every picture once and changes nothing. Raises DataError only where nothing can be said (no such folder, no classes)."""
    prepared = prepare(data, recipes.make(**settings), Say(quiet), any_bad=True)
    return Check(prepared.facts, prepared.recipe.settings(), _findings(prepared.facts))


def _findings(facts: dict[str, Any]) -> list[str]:
    findings = [reason for _, reason in facts["bad"]]
    if findings:
        total = len(findings) + sum(sum(part.values()) for part in facts["counts"].values())
        share = len(findings) / total
        skip = "--skip-bad leaves them out" if share <= batches.BAD_ALLOWED else "too many to be skipped (1 % at most)"
        findings.append(f"{len(findings)} of {total:,} pictures cannot be read ({share:.1%}): {skip}")
    findings += [note for note in facts["notes"] if note.startswith("WARNING")]
    train = facts["counts"]["train"]
    least, most = min(train, key=train.__getitem__), max(train, key=train.__getitem__)
    if train[least] * 10 < train[most]:
        findings.append(
            f"imbalance: {most} has {train[most]:,} training pictures, {least} only {train[least]:,}; look at balanced accuracy"
        )
    return findings


def _by(size: Any) -> str:
    return "x".join(f"{side:g}" for side in size)


def _counts(counts: dict[str, int]) -> str:
    return next(iter(counts)) if len(counts) == 1 else ", ".join(f"{key} ({n:,})" for key, n in counts.items())


def _few(rows: list[list[str]], most: int = 3) -> list[list[str]]:
    """The first rows of each reason; the rest are counted."""
    seen: Counter[str] = Counter()
    shown = []
    for file, reason in rows:
        seen[reason] += 1
        if seen[reason] <= most:
            shown.append([file, reason])
    return shown + [[f"{count - most:,} more", reason] for reason, count in seen.items() if count > most]
