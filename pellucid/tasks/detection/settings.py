"""Settings of detection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from ...core.errors import UsageError
from ..settings import (
    ChannelShift,
    Colour,
    Crop,
    Elastic,
    Erase,
    Mirror,
    Mosaic,
    Normalization,
    Rotate,
    SharedSettings,
    Shear,
    Shift,
    ThinPlate,
    Zoom,
    check_augmentation,
    option,
)

Detector = Literal["yolo", "grid", "faster_rcnn", "fast_rcnn", "rcnn", "localiser"]
Loss = Literal["bce", "focal", "l2", "cross_entropy"]
Score = Literal["map", "map50"]
Policy = Literal["none", "letters", "photos", "elastic", "warped", "erasing", "strong", "scenes"]

# The loss functions that each detector can be trained with; the first is the default.
LOSSES: Mapping[str, tuple[str, ...]] = {
    "yolo": ("bce", "focal"),
    "grid": ("l2",),
    "faster_rcnn": ("cross_entropy",),
    "fast_rcnn": ("cross_entropy",),
    "rcnn": ("cross_entropy",),
    "localiser": ("l2",),
}
# The largest stride of a feature map: a smaller image has no place in it.
LARGEST_STRIDE = 32


class DetectionSettings(SharedSettings):
    """The settings of `pellucid train` for a task with boxes around objects."""

    NAME: ClassVar[str] = "detection"

    detector: Annotated[
        Detector | None, option("How objects are found in the feature maps of the model.")
    ] = None
    neck: Annotated[
        int | None,
        option("Channels of each level of the feature pyramid; 32 is tiny and fast.", 8, 1024),
    ] = None
    anchors: Annotated[
        int, option("Anchors for each place of a level, fitted to the data; 0 uses none.", 0, 20)
    ] = 0
    aim: Annotated[
        str | None,
        option('What the threshold is chosen for: "f1", "precision 0.9", "recall 0.95".'),
    ] = None
    loss: Annotated[Loss | None, option("Loss function of the classes.")] = None
    score: Annotated[Score | None, option("Validation score that chooses the best epoch.")] = None
    augment: Annotated[
        Policy | None, option("Augmentation policy; the settings below change its strengths.")
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
    channel_shift: ChannelShift = None
    erase: Erase = None
    mosaic: Mosaic = None
    scale: Normalization = "standard"

    def model_post_init(self, context: Any) -> None:
        super().model_post_init(context)
        check_augmentation(self)
        losses = LOSSES[self.detector or "yolo"]
        if self.loss not in (None, *losses):
            raise UsageError(
                f"loss: {self.detector or 'yolo'} learns by {' or '.join(losses)}, "
                f"not by {self.loss}"
            )
        if self.size and min(self.size) < LARGEST_STRIDE:
            raise UsageError(
                f"size: {min(self.size)} is less than one place of the coarsest map; "
                f"set it to {LARGEST_STRIDE} or more"
            )
