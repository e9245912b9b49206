"""Pellucid: a glass-box toolkit for convolutional computer vision.

    import pellucid
    run = pellucid.train("my_photos/")
    predictor = pellucid.load(run.path)
    predictor("new.jpg").label

Each command of the command line is a function here, loaded when it is first used: importing this
package does not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .core.version import __version__ as __version__

if TYPE_CHECKING:
    from .core.errors import (
        DataError,
        MachineError,
        ModelError,
        NonFiniteLoss,
        PellucidError,
        UsageError,
    )
    from .engine.check import check
    from .engine.inference.evaluate import evaluate
    from .engine.inference.predict import predict
    from .engine.inference.predictor import Predictor, load
    from .engine.inference.slide import slide
    from .engine.run.train import train
    from .engine.weights import weights
    from .experiments.compare import compare
    from .experiments.study import lab
    from .experiments.study import lab as study
    from .experiments.tune import tune
    from .inspection.network import inspect


_ERRORS = (
    "DataError",
    "MachineError",
    "ModelError",
    "NonFiniteLoss",
    "PellucidError",
    "UsageError",
)
# The module and the name in it.
_PLACES = {name: (".core.errors", name) for name in _ERRORS} | {
    "Predictor": (".engine.inference.predictor", "Predictor"),
    "check": (".engine.check", "check"),
    "compare": (".experiments.compare", "compare"),
    "evaluate": (".engine.inference.evaluate", "evaluate"),
    "inspect": (".inspection.network", "inspect"),
    "lab": (".experiments.study", "lab"),
    "load": (".engine.inference.predictor", "load"),
    "predict": (".engine.inference.predict", "predict"),
    "slide": (".engine.inference.slide", "slide"),
    "study": (".experiments.study", "lab"),  # as version 0.1 called it; goes with the next release
    "train": (".engine.run.train", "train"),
    "tune": (".experiments.tune", "tune"),
    "weights": (".engine.weights", "weights"),
}

__all__ = [
    "DataError",
    "MachineError",
    "ModelError",
    "NonFiniteLoss",
    "PellucidError",
    "Predictor",
    "UsageError",
]
__all__ += ["check", "evaluate", "inspect", "load", "predict", "slide", "train", "weights"]
__all__ += ["compare", "lab", "study", "tune"]


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, own_name = _PLACES[name]
    return getattr(importlib.import_module(module, __name__), own_name)
