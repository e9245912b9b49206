"""What starting costs, in processes of their own, against `python -c 'import torch'`."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
from side_by_side import seconds

import pellucid

ROUNDS = 7


def run(*words: str) -> None:
    subprocess.run(
        [sys.executable, *words], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        trained = pellucid.train("digits", epochs=1, baselines=False, quiet=True)
        cv2.imwrite("eight.png", np.full((8, 8), 9, np.uint8))
        verbs = {
            "pellucid --help": (0.2, ["-m", "pellucid", "--help"]),
            "import pellucid": (0.2, ["-c", "import pellucid"]),
            "pellucid predict, cold": (
                1.5,
                ["-m", "pellucid", "predict", str(trained.path), "eight.png"],
            ),
            "pellucid inspect resnet152": (2.5, ["-m", "pellucid", "inspect", "resnet152"]),
        }
        torch_ = ["-c", "import torch"]
        for name, (wanted, words) in verbs.items():
            run(*words), run(*torch_)
            pairs = [
                (seconds(lambda words=words: run(*words)), seconds(lambda: run(*torch_)))
                for _ in range(ROUNDS)
            ]
            ratio = float(np.median([ours / theirs for ours, theirs in pairs]))
            print(
                f"{name}: {ratio:.2f} of `import torch`   wanted <= {wanted}: "
                f"{'yes' if ratio <= wanted else 'NO'}",
                flush=True,
            )
        os.chdir(Path(__file__).parent)


if __name__ == "__main__":
    main()
