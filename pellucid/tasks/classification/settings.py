"""Settings of classification."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from ...core.errors import UsageError
from ..settings import (
    STRENGTHS,
    ChannelShift,
    Colour,
    Crop,
    Cutmix,
    Elastic,
    Erase,
    FocalGamma,
    Mirror,
    Mixup,
    Normalization,
    PcaColour,
    Rotate,
    SharedSettings,
    Shear,
    Shift,
    ThinPlate,
    Zoom,
    check_augmentation,
    option,
)

Loss = Literal["cross_entropy", "focal", "l2", "l2_logits", "hinge"]
Imbalance = Literal[
    "none",
    "class_weights",
    "oversample",
    "undersample",
    "undersample_clusters",
    "augment_minority",
]
Score = Literal["accuracy", "balanced_accuracy"]
Policy = Literal[
    "none",
    "letters",
    "photos",
    "alexnet",
    "elastic",
    "warped",
    "erasing",
    "mixup",
    "cutmix",
    "strong",
]


class ClassificationSettings(SharedSettings):
    """The settings of `pellucid train` for a task with one class an image."""

    NAME: ClassVar[str] = "classification"

    loss: Annotated[Loss | None, option("Loss function.")] = None
    focal_gamma: FocalGamma = 2.0
    label_smoothing: Annotated[
        float | None, option("Share of the target that is spread over all classes.", 0, 0.99)
    ] = None
    imbalance: Annotated[Imbalance, option("How class imbalance is corrected.")] = "none"
    score: Annotated[Score | None, option("Validation score that chooses the best epoch.")] = None
    augment: Annotated[
        Policy | None,
        option("Augmentation policy; the settings below change its strengths."),
    ] = None
    mirror: Mirror = None
    crop: Crop = None
    zoom: Zoom = None
    rotate: Rotate = None
    shift: Shift = None
    shear: Shear = None
    elastic: Elastic = None
    thin_plate: ThinPlate = None
    colour: Colour = None
    pca_colour: PcaColour = None
    channel_shift: ChannelShift = None
    erase: Erase = None
    mixup: Mixup = None
    cutmix: Cutmix = None
    scale: Normalization = "standard"

    def model_post_init(self, context: Any) -> None:
        super().model_post_init(context)
        check_augmentation(self)
        for idle, reason in _idle(self):
            if idle:
                raise UsageError(reason)


def _idle(s: ClassificationSettings) -> tuple[tuple[bool, str], ...]:
    """Settings that would do nothing beside the others."""
    return (
        (
            bool(s.label_smoothing) and s.loss not in (None, "cross_entropy", "focal"),
            f"label_smoothing is of cross_entropy and focal, not of {s.loss}; leave it out",
        ),
        (
            s.focal_gamma != 2 and s.loss is None,
            "focal_gamma is of the focal loss: needs --loss focal",
        ),
        (
            s.focal_gamma != 2 and s.loss != "focal",
            f"focal_gamma is of the focal loss, not of {s.loss}; leave it out",
        ),
        (
            s.imbalance == "augment_minority" and _changes_nothing(s),
            "imbalance: augment_minority has nothing to change pictures by; choose a policy "
            "other than --augment none",
        ),
    )


def _changes_nothing(s: ClassificationSettings) -> bool:
    """Whether every strength of augmentation is known to be 0."""
    own = (name for name in STRENGTHS if name in type(s).model_fields)
    return s.augment == "none" or all(getattr(s, name) == 0 for name in own)
