"""Settings of segmentation."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from ...core.errors import UsageError
from ..settings import (
    ChannelShift,
    Colour,
    Crop,
    Elastic,
    FocalGamma,
    Mirror,
    Normalization,
    Patch,
    Rotate,
    SharedSettings,
    Shear,
    Shift,
    Turn,
    Width,
    Zoom,
    check_augmentation,
    option,
)

# A side that every halving of the networks here divides: of a window the least one.
STEP = 16

Upsampling = Literal["nearest", "bilinear", "transposed", "subpixel"]
Skips = Literal["concat", "add"]
Look = Literal["neighbours", "planes", "volume"]
Refinement = Literal["none", "crf", "crf_rnn", "watershed"]
Loss = Literal["cross_entropy", "focal", "dice", "tversky", "dice_cross_entropy"]
Score = Literal["dice", "iou", "rand"]
Policy = Literal["none", "letters", "photos", "elastic", "fields", "volumes", "quarters"]


class SegmentationSettings(SharedSettings):
    """The settings of `pellucid train` for a task with one class a pixel."""

    NAME: ClassVar[str] = "segmentation"

    width: Width = None
    upsampling: Annotated[
        Upsampling | None, option("How the decoder of a U-Net enlarges its feature maps.")
    ] = None
    skips: Annotated[
        Skips | None, option("How the skip connections of a U-Net join the decoder.")
    ] = None
    look: Annotated[
        Look | None,
        option(
            "Input made from a volume: a slice with its neighbors as channels, such slices along "
            "three axes, or windows in 3-D."
        ),
    ] = None
    annotator: Annotated[
        str | None,
        option('Whose masks are the targets, where several people drew them: a name, or "mean".'),
    ] = None
    border: Annotated[
        float,
        option("Loss weight of narrow gaps between objects (U-Net's w0, 10 in the paper).", 0, 100),
    ] = 0.0
    refine: Annotated[
        Refinement | None,
        option(
            "Refinement of the masks: a CRF after the network, a CRF trained with it, or a "
            "watershed that separates touching objects."
        ),
    ] = None
    smallest: Annotated[
        int, option("Regions of fewer pixels take the class around them; 0 keeps all.", 0)
    ] = 0
    patch: Patch = None
    depth: Annotated[int | None, option("Slices of a 3-D window.", 1, 1024)] = None
    loss: Annotated[Loss | None, option("Loss function.")] = None
    focal_gamma: FocalGamma = 2.0
    imbalance: Annotated[
        Literal["none", "class_weights"], option("How class imbalance is corrected.")
    ] = "none"
    score: Annotated[Score | None, option("Validation score that chooses the best epoch.")] = None
    augment: Annotated[
        Policy | None,
        option("Augmentation policy; the settings below change its strengths."),
    ] = None
    mirror: Mirror = None
    turn: Turn = None
    crop: Crop = None
    zoom: Zoom = None
    rotate: Rotate = None
    shift: Shift = None
    shear: Shear = None
    elastic: Elastic = None
    colour: Colour = None
    channel_shift: ChannelShift = None
    scale: Normalization = "standard"

    def model_post_init(self, context: Any) -> None:
        super().model_post_init(context)
        check_augmentation(self)
        if self.focal_gamma != 2 and self.loss != "focal":
            other = ": needs --loss focal"
            if self.loss is not None:
                other = f", not of {self.loss}; leave it out"
            raise UsageError(f"focal_gamma is of the focal loss{other}")
        if self.size is not None and min(self.size) < STEP:
            raise UsageError(
                f"size: {min(self.size)} is less than a network of four halvings needs; "
                f"set it to {STEP} or more"
            )
