"""A classifier of 12×12 pixels, trained on digits and on windows without one, finds the digits of a
large picture in one pass a scale."""

from pathlib import Path

import cv2
import numpy as np
from sklearn.datasets import load_digits

import pellucid

FOLDER = Path("windows-of-digits")
# No padding: what a window scores may not depend on what lies beside it.
MODEL = "C24k3p0 R C48k3p0 R P L96 R D L11"


def main() -> None:
    digits, labels = (load_digits().images * 15).astype(np.uint8), load_digits().target
    write_windows(digits[:1500], labels[:1500])
    run = pellucid.train(FOLDER, model=MODEL, name="windows", augment="none", baselines=False)
    print(run.summary["test"]["accuracy"])
    picture, there = scene(digits[1500:], labels[1500:])
    found = pellucid.slide(run.path, picture, scales=(1, 0.5), background="nothing", threshold=0.8)
    said = [
        (each["label"], *np.array(each["box"]).reshape(2, 2).mean(0)) for each in found.objects()
    ]
    right = sum(
        any(label == name and abs(x - u) + abs(y - v) < side / 2 for name, u, v in said)
        for label, x, y, side in there
    )
    print(f"{right} of {len(there)} digits found by {len(said)} boxes")


def write_windows(digits: np.ndarray, labels: np.ndarray) -> None:
    """Of each digit two pictures: it in the middle or a pixel off, and beside it, where there is
    nothing or a part of it."""
    rng = np.random.default_rng(0)
    for number, (digit, label) in enumerate(zip(digits, labels, strict=True)):
        field = rng.integers(0, 40, (32, 32), np.uint8)
        field[12:20, 12:20] |= digit
        aside = [rng.choice([-1, 1]) * rng.integers(3, 9), rng.integers(-8, 9)]
        for name, (down, across) in (
            (str(label), rng.integers(-1, 2, 2)),
            ("nothing", rng.permutation(aside)),
        ):
            (FOLDER / name).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(
                str(FOLDER / name / f"{number}.png"),
                field[10 + down : 22 + down, 10 + across : 22 + across],
            )


def scene(
    digits: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, list[tuple[str, float, float, int]]]:
    """120×320 pixels, and (label, x, y, side) of the digits in it: in the left half of 8 pixels, in
    the right half of 16."""
    rng = np.random.default_rng(1)
    picture, there = rng.integers(0, 40, (120, 320, 1), np.uint8), []
    for side, begin in ((8, 0), (16, 160)):
        cell = 5 * side // 2
        for row, column in np.ndindex(120 // cell, 160 // cell):
            which, top, left = (
                rng.integers(len(digits)),
                *rng.integers(side // 2, cell - 3 * side // 2 + 1, 2),
            )
            top, left = top + row * cell, begin + left + column * cell
            picture[top : top + side, left : left + side, 0] |= cv2.resize(
                digits[which], (side, side)
            )
            there.append((str(labels[which]), left + side / 2, top + side / 2, side))
    return picture, there


if __name__ == "__main__":
    main()
