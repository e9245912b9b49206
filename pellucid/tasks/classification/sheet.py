"""The worst errors of a classifier, drawn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...core.types import Prediction
from ...data.sample import Sample
from ...plots.annotate import sheet, to_rgb8

SHOWN = 24


def worst(
    samples: Sequence[Sample], predictions: Sequence[Prediction], classes: Sequence[str]
) -> np.ndarray | None:
    """The 24 wrong answers given with the most confidence, what was said and what is true under
    each; None where all are right."""
    targets = [classes[sample.target] for sample in samples]
    wrong = [i for i, prediction in enumerate(predictions) if prediction.label != targets[i]]
    shown = sorted(wrong, key=lambda i: -(predictions[i].confidence or 0))[:SHOWN]
    titles = [
        f"{predictions[i].label} {predictions[i].confidence:.0%}\nis {targets[i]}" for i in shown
    ]
    return (
        sheet([to_rgb8(samples[i].pixels()) for i in shown], titles, columns=6) if shown else None
    )
