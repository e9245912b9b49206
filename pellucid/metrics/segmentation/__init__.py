"""How well two masks agree: areas, outlines and objects;
and how sure that is over many pictures."""

from __future__ import annotations

from .counts import (
    counts,
    dice,
    iou,
    mean_defined,
    mean_dice,
    mean_iou,
    pixel_accuracy,
    precision,
    recall,
    share,
    together,
)
from .evidence import Estimate, Units, weighted_means
from .regions import objects, rand_score
from .surfaces import both_distances, hausdorff95, surface_distance

__all__ = [
    "Estimate",
    "Units",
    "both_distances",
    "counts",
    "dice",
    "hausdorff95",
    "iou",
    "mean_defined",
    "mean_dice",
    "mean_iou",
    "objects",
    "pixel_accuracy",
    "precision",
    "rand_score",
    "recall",
    "share",
    "surface_distance",
    "together",
    "weighted_means",
]
