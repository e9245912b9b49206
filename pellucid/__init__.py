"""Pellucid: a glass-box toolkit for convolutional computer vision.

    import pellucid
    run = pellucid.train("my_photos/")
    pellucid.predict(run.path, "new.jpg").answers[0].label

Each verb of the command line is a function here, loaded when it is first used: importing this
package does not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

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
    from .engine.inference.slide import slide
    from .engine.run.train import train
    from .engine.weights import weights
    from .experiments.compare import compare
    from .experiments.study import study
    from .experiments.tune import tune
    from .inspection.network import inspect

__version__ = "0.1.0"

_ERRORS = (
    "DataError",
    "MachineError",
    "ModelError",
    "NonFiniteLoss",
    "PellucidError",
    "UsageError",
)
_PLACES = dict.fromkeys(_ERRORS, ".core.errors") | {
    "check": ".engine.check",
    "compare": ".experiments.compare",
    "evaluate": ".engine.inference.evaluate",
    "inspect": ".inspection.network",
    "predict": ".engine.inference.predict",
    "slide": ".engine.inference.slide",
    "study": ".experiments.study",
    "train": ".engine.run.train",
    "tune": ".experiments.tune",
    "weights": ".engine.weights",
}

__all__ = [
    "DataError",
    "MachineError",
    "ModelError",
    "NonFiniteLoss",
    "PellucidError",
    "UsageError",
]
__all__ += ["check", "evaluate", "inspect", "predict", "slide", "train", "weights"]
__all__ += ["compare", "study", "tune"]


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES[name], __name__), name)
