"""The settings of super-resolution."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from ..settings import Mirror, Patch, SharedSettings, Turn, Width, check_augmentation, option


class SuperResolutionSettings(SharedSettings):
    """Mirroring and quarter turns are the only augmentations: any other would change the pixels
    that are to be learned."""

    NAME: ClassVar[str] = "superresolution"

    factor: Annotated[
        int | None, option("How many times larger an image becomes: 2, 3 or 4.", 2, 4)
    ] = None
    colours: Annotated[
        Literal["luma", "rgb"] | None,
        option("What the network upscales: brightness, as in the papers, or RGB."),
    ] = None
    width: Width = None
    patch: Patch = None
    loss: Annotated[
        Literal["l1", "l2", "charbonnier"] | None, option("The loss that training minimizes.")
    ] = None
    score: Annotated[
        Literal["psnr", "ssim"] | None, option("The validation score that chooses the best epoch.")
    ] = None
    augment: Annotated[
        Literal["none", "quarters"] | None,
        option("Random changes of the training images; the settings below adjust it."),
    ] = None
    mirror: Mirror = None
    turn: Turn = None

    def model_post_init(self, context: Any) -> None:
        super().model_post_init(context)
        check_augmentation(self)
