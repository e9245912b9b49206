"""Does the detector learn at all? 32 pictures are learnt by heart, from nothing: a proof that
losses, assignment and decoding agree.

    python benchmarks/overfit_detection.py DATA [--pictures 32] [--epochs 100] [NAME=VALUE ...]

NAME: any setting of `pellucid train`.

The score is that of the very pictures that were learnt, and says nothing about others.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from pellucid.engine.run import machine, prepare, trial
from pellucid.engine.run.progress import Say

USUAL = {
    "augment": "none",
    "size": 320,
    "batch": 4,
    "lr": 3e-3,
    "weight_decay": 0.0,
    "ema": 0.0,
    "schedule": "onecycle",
    "clip": 10.0,
    "neck": 96,
}


def main() -> None:
    asked = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    asked.add_argument("data", type=Path)
    asked.add_argument("settings", nargs="*")
    asked.add_argument("--pictures", type=int, default=32)
    asked.add_argument("--epochs", type=int, default=100)
    given = asked.parse_intermixed_args()
    settings = USUAL | {"epochs": given.epochs} | dict(map(read, given.settings))
    data, began = given.data.resolve(), time.perf_counter()
    with TemporaryDirectory() as folder:
        os.chdir(folder)
        prepared = by_heart(
            prepare.prepare(data, {"task": "detection", **settings}, Say(quiet=True)),
            given.pictures,
        )
        best = 0.0
        for row in trial.epochs(prepared, machine.device(None)):
            best = row["validation_map50"]
            if row["epoch"] % 10 == 0 or row["epoch"] == given.epochs:
                scores = f"mAP@.5 {best:.3f}  mAP@.5:.95 {row['validation_map']:.3f}"
                print(
                    f"epoch {row['epoch']:>3}  loss {row['train_total']:.3f}  {scores}  "
                    f"{time.perf_counter() - began:.0f} s",
                    flush=True,
                )
    print(
        f"{given.pictures} pictures learnt by heart in {(time.perf_counter() - began) / 60:.1f} "
        f"minutes: mAP@.5 {best:.3f}"
    )


def by_heart(prepared: prepare.Prepared, count: int) -> prepare.Prepared:
    """The first pictures with objects, as training and validation in one."""
    chosen = np.array(
        [i for i, sample in enumerate(prepared.dataset.samples) if len(sample.target)][:count],
        np.int64,
    )
    return replace(
        prepared, splits=replace(prepared.splits, train=chosen, validation=chosen, test=chosen)
    )


def read(text: str) -> tuple[str, object]:
    name, _, value = text.partition("=")
    try:
        return name, int(value)
    except ValueError:
        try:
            return name, float(value)
        except ValueError:
            return name, value


if __name__ == "__main__":
    main()
