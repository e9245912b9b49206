"""R-CNN, Fast R-CNN and Faster R-CNN on one picture of blood cells, one backbone, fresh weights:
where the time of each goes.

In turns, medians of several rounds. Faster R-CNN's proposals come out of the network, so all of its
time but suppression counts as the network's. All three are asked for 300 regions, so that no ratio
comes from looking at fewer; a last row is Faster R-CNN as it is, with 100.
"""

from __future__ import annotations

import statistics
from typing import Any

import cv2
import numpy as np
import torch
from side_by_side import DATA, seconds

from pellucid.core.boxes import suppress_batch
from pellucid.data.images import read
from pellucid.models import create
from pellucid.tasks.detection.designs import DESIGNS
from pellucid.tasks.detection.proposals import stacked
from pellucid.tasks.detection.two_stage import candidates
from pellucid.transforms.selective_search import propose

SIDE, CLASSES, WIDTH, ROUNDS, REGIONS = 320, 3, 64, 5, 300
BACKBONE = "mobilenet_v2"
PARTS = ("proposals", "network", "suppression")


def picture() -> np.ndarray:
    """The first picture of the set, uint8 SIDE×SIDE×3."""
    first = sorted((DATA / "bccd_voc" / "JPEGImages").iterdir())[0]
    return cv2.resize(read(first), (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def network(name: str, kept: int) -> Any:
    torch.manual_seed(0)
    made = DESIGNS[name].build(create(BACKBONE, 2, 3, (SIDE, SIDE)), CLASSES, WIDTH, None).eval()
    made.kept = kept
    return made


@torch.no_grad()
def took(net: Any, view: np.ndarray, proposes: bool) -> tuple[float, ...]:
    """Seconds of each of PARTS."""
    x = torch.from_numpy(view).permute(2, 0, 1)[None].float() / 128 - 1
    told: list[Any] = [None, None]
    first = seconds(lambda: told.__setitem__(0, [propose(view, REGIONS)])) if proposes else 0.0
    boxes = stacked(told[0], REGIONS) if proposes else None
    second = seconds(lambda: told.__setitem__(1, candidates(net, x, boxes)))
    return first, second, seconds(lambda: suppress_batch(told[1], 0.5, 0.001))


def main() -> None:
    view = picture()
    rows = [
        ("R-CNN", "rcnn", REGIONS),
        ("Fast R-CNN", "fast_rcnn", REGIONS),
        ("Faster R-CNN", "faster_rcnn", REGIONS),
    ]
    rows.append(("Faster R-CNN, 100", "faster_rcnn", 100))
    nets = [(title, network(name, kept), name != "faster_rcnn") for title, name, kept in rows]
    rounds = [[took(net, view, proposes) for _, net, proposes in nets] for _ in range(ROUNDS + 1)][
        1:
    ]
    medians = [
        [statistics.median(parts) for parts in zip(*each, strict=True)]
        for each in zip(*rounds, strict=True)
    ]
    last = sum(medians[2])
    print(f"{BACKBONE}, {SIDE}×{SIDE}, seconds a picture")
    print(f"{'':20}" + "".join(f"{part:>13}" for part in (*PARTS, "together", "ratio")))
    for (title, _, _), parts in zip(nets, medians, strict=True):
        print(
            f"{title:20}"
            + "".join(f"{part:13.3f}" for part in (*parts, sum(parts)))
            + f"{sum(parts) / last:12.1f}×"
        )


if __name__ == "__main__":
    main()
