"""The head of a frozen MobileNetV2 on flowers128, from features that are computed once, against
computing them in every epoch.

An epoch is its steps and its look at the validation part. Both ways must end with the same head.
`bench_frozen.py hymenoptera300` takes other pictures.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from dataclasses import replace

import torch
from side_by_side import DATA

from pellucid.engine.run import features, pretrained
from pellucid.engine.run.epoch import close_epoch
from pellucid.engine.run.loop import steps
from pellucid.engine.run.prepare import Prepared, prepare, with_weights
from pellucid.engine.run.progress import Say
from pellucid.engine.run.resolve import built, fresh, settled

CPU, EPOCHS = torch.device("cpu"), 2
WEIGHTS = "mobilenet_v2_imagenet_folded"


def trained(prepared: Prepared, cache: bool) -> tuple[dict[str, torch.Tensor], float, float]:
    """What the head ends with; seconds before the first epoch; seconds an epoch."""
    settings = prepared.settings.model_copy(update={"cache": cache})
    prepared = replace(prepared, settings=settings)
    network = built(prepared.spec, settings)
    state = fresh(prepared, network, CPU)
    train = prepared.part("train")
    pretrained.begin(network, prepared.spec, settings, train, CPU, Say(quiet=True))
    start = time.perf_counter()
    prepared, head = features.cached(prepared, network, CPU, Say())
    before, start = time.perf_counter() - start, time.perf_counter()
    for step in steps(prepared.training, prepared.part("train"), settings, state, CPU, head):
        if step.last:
            close_epoch(prepared, state, step, CPU, head)
    learned = {
        name: parameter.detach().clone()
        for name, parameter in network.named_parameters()
        if parameter.requires_grad
    }
    return learned, before, (time.perf_counter() - start) / EPOCHS


def main() -> None:
    os.environ.setdefault("PELLUCID_MIRROR", str(DATA / "weights"))
    data = DATA / (sys.argv[1:] or ["flowers128"])[0]
    asked = {"weights": WEIGHTS, "freeze": "all", "epochs": EPOCHS, "precision": "float32"}
    given, expected = with_weights(asked | {"threads": torch.get_num_threads()}, data)
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)  # the features lie beside the runs
        prepared = prepare(data, given, Say(), weights=expected)
        network = built(prepared.spec, prepared.settings)
        prepared = replace(prepared, settings=settled(prepared, network, CPU))
        kept, once, quick = trained(prepared, cache=True)
        again, _, slow = trained(prepared, cache=False)
    off = max((kept[name] - again[name]).abs().max().item() for name in kept)
    ratio = slow / quick
    print(
        f"{len(prepared.views)} pictures: features once {once:.1f} s, then {quick:.3f} s an epoch; "
        f"without the cache {slow:.2f} s an epoch, ratio {ratio:.0f}   wanted >= 20: "
        f"{'yes' if ratio >= 20 else 'NO'}\n"
        f"largest difference of a weight of the head: {off:.1e}   wanted <= 1e-4: "
        f"{'yes' if off <= 1e-4 else 'NO'}",
        flush=True,
    )


if __name__ == "__main__":
    main()
