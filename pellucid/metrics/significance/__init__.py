"""Intervals and paired tests, once for all tasks.

Proportions of independent images get Wilson's interval, everything else a bootstrap over images.
Two sets of results for the same images are compared by a paired bootstrap, whichever part of
Pellucid asks.
"""

from .comparisons import (
    bootstrap,
    mcnemar,
    over_mean,
    over_seeds,
    paired,
    paired_bootstrap,
    score_of,
)
from .intervals import (
    UNDEFINED,
    Score,
    holm,
    interval,
    nadeau_bengio,
    percentiles,
    proportion,
    seeds_interval,
    wilson,
)
from .resampling import RESAMPLES, blocks, chance_of, resamples

__all__ = ["RESAMPLES", "UNDEFINED", "Score"]
__all__ += ["blocks", "chance_of", "resamples"]
__all__ += ["holm", "interval", "nadeau_bengio", "percentiles", "proportion"]
__all__ += ["seeds_interval", "wilson"]
__all__ += [
    "bootstrap",
    "mcnemar",
    "over_mean",
    "over_seeds",
    "paired",
    "paired_bootstrap",
    "score_of",
]
