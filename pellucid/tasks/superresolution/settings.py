"""What the settings of super-resolution may be, beside what holds for every task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import torch

from ... import models
from ...core.errors import UsageError, did_you_mean
from ...transforms.augment import POLICIES

# Errors as small as this count by their square (Lai et al. 2017, "Deep Laplacian pyramid networks",
# section III-B).
SMALL = 1e-3
CRITERIA: Mapping[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "l1": lambda error: error.abs().mean(),
    "l2": lambda error: error.square().mean(),
    "charbonnier": lambda error: (error.square() + SMALL**2).sqrt().mean(),
}


def refuse_sizes(model: str, factor: int, margin: int, size: tuple[int, int], patch: int) -> None:
    """Raises UsageError for windows and crops that do not fit each other."""
    for name, side in (("size", size[0]), ("size", size[1]), ("patch", patch)):
        if side % factor:
            raise UsageError(
                f"{name}: {side} is not a multiple of the factor {factor}; set it to "
                f"{-(-side // factor) * factor}"
            )
    frame = 2 * margin * factor
    if min(size) < frame + factor:
        said = f"{model} needs to see {frame // 2} pixels beyond each side of what it says"
        raise UsageError(
            f"size: {min(size)} leaves nothing in the middle, for {said}; set it to "
            f"{frame + 64 * factor} or more"
        )
    if patch > min(size):
        raise UsageError(
            f"patch: {patch} is more than a window of {min(size)}; make it smaller, or size larger"
        )
    if patch < 8 * factor:
        raise UsageError(
            f"patch: {patch} makes small pictures of less than 8 pixels; "
            f"set it to {8 * factor} or more"
        )


def refuse_settings_of_words(settings: Mapping[str, Any]) -> None:
    """Raises UsageError for what an answer that is a picture has no use for."""
    if settings["loss"] not in (None, *CRITERIA):
        raise UsageError(
            f"loss: an enlarger learns by {', '.join(CRITERIA)}, not by {settings['loss']}"
        )
    if settings["score"] not in (None, "psnr", "ssim"):
        raise UsageError(
            f"score: {settings['score']} is of answers in words; "
            "a picture is chosen by psnr or ssim"
        )
    if settings["model"] is not None and settings["model"] not in models.ENLARGERS:
        raise UsageError(
            f'model: "{settings["model"]}" makes no picture larger; '
            f"{did_you_mean(settings['model'], models.ENLARGERS)}"
        )
    if settings["imbalance"] != "none":
        raise UsageError(
            f"imbalance: {settings['imbalance']} counts pictures of classes; leave it out"
        )
    if settings["focal_gamma"] != 2:
        raise UsageError("focal_gamma: is of the focal loss; leave it out")
    if settings["label_smoothing"]:
        raise UsageError("label_smoothing: is of classes; leave it out")
    if settings["scale"] != "standard":
        raise UsageError(
            f"scale: {settings['scale']} would not change anything, for an enlarger is given "
            "pixels from 0 to 1; leave it out"
        )
    policy = asdict(POLICIES[settings["augment"] or "quarters"])
    for name, strength in policy.items():
        asked = settings[name] if settings[name] is not None else strength
        if asked and name not in ("mirror", "turn"):
            raise UsageError(
                f"{name}: would falsify the very pixels that are to be learnt, as mirror and turn "
                "do not; leave it out"
            )
