"""Settings that every task has, and the types of those that several tasks share.

A task's own settings are a final subclass of `SharedSettings` in its folder: the fields that it
adds become options of the command line and its TOML table. None means: from the data or the
machine. Nothing here imports torch or NumPy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from ..core.errors import UsageError


def option(text: str, low: float | None = None, high: float | None = None) -> Any:
    """The help text of a setting and its limits, both inclusive."""
    return Field(description=text, ge=low, le=high)


def parse_size(text: Any) -> Any:
    """64, "64", "48x96" or [48, 96], to (height, width)."""
    if text is None:
        return None
    parts = (
        text if isinstance(text, tuple | list) else str(text).lower().replace("×", "x").split("x")
    )
    try:
        numbers = [int(part) for part in parts]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) not in (1, 2):
        raise UsageError(f"size: {text!r} is not a size; write 64 or 48x96 (height x width)")
    return numbers[0], numbers[-1]


def parse_fold(text: str) -> tuple[int, int]:
    """ "2/5" to (1, 5): which fold, from 0, of how many."""
    which, slash, count = text.partition("/")
    digits = slash and which.isdecimal() and count.isdecimal()
    if not (digits and 1 <= int(which) <= int(count) and 2 <= int(count) <= 100):
        raise UsageError(f'fold: "{text}" is not a fold; write 2/5 for the second of five')
    return int(which) - 1, int(count)


# Types of settings that several tasks have; a field is written `mirror: Mirror = None`.
Side = Annotated[int, Field(ge=1, le=8192)]
Size = Annotated[tuple[Side, Side] | None, BeforeValidator(parse_size)]

Patch = Annotated[int | None, option("Side of the random training crops, in pixels.", 8, 4096)]
Width = Annotated[
    int | None,
    option("Channels of the first stage of a U-Net, or in the middle of an upscaler.", 1, 512),
]
Normalization = Annotated[
    Literal["standard", "unit", "raw"],
    option("Network input: zero mean and unit deviation, 0 to 1, or as stored."),
]
FocalGamma = Annotated[float, option("How much the focal loss down-weights easy examples.", 0, 10)]

Mirror = Annotated[float | None, option("Probability of a left-right reflection.", 0, 1)]
Turn = Annotated[float | None, option("Probability of a rotation by 90, 180 or 270 degrees.", 0, 1)]
Crop = Annotated[float | None, option("Largest share of a side that is cut away.", 0, 0.9)]
Zoom = Annotated[float | None, option("Scale up or down by up to this share.", 0, 1)]
Rotate = Annotated[float | None, option("Rotate by up to so many degrees.", 0, 180)]
Shift = Annotated[float | None, option("Translate by up to this share of a side.", 0, 1)]
Shear = Annotated[float | None, option("Shear by up to so many degrees.", 0, 45)]
Elastic = Annotated[float | None, option("Smooth random displacement, as a share of a side.", 0, 1)]
ThinPlate = Annotated[
    float | None,
    option("Thin-plate warp: control points move by up to this share of a side.", 0, 1),
]
Colour = Annotated[
    float | None, option("Change brightness, contrast and saturation by up to this share.", 0, 1)
]
PcaColour = Annotated[
    float | None,
    option("Deviation of the shift along the principal colors of the training images.", 0, 1),
]
ChannelShift = Annotated[
    float | None, option("Brighten or darken each channel by up to this share of the range.", 0, 1)
]
Erase = Annotated[float | None, option("Probability of erasing a rectangle.", 0, 1)]
Mixup = Annotated[
    float | None, option("Blend images in pairs; alpha of the Beta distribution.", 0, 10)
]
Cutmix = Annotated[
    float | None,
    option("Paste a rectangle of another image; alpha of the Beta distribution.", 0, 10),
]
Mosaic = Annotated[
    float | None, option("Probability of an image made of four; off at the end of a run.", 0, 1)
]

# Schedules that rise and fall in cycles.
CYCLIC = ("triangular", "triangular2", "exp_range")
# The names of the strengths of augmentation, as `transforms.augment.policy.Augmentation` has them.
STRENGTHS = (
    *("mirror", "turn", "crop", "zoom", "rotate", "shift", "shear", "elastic", "thin_plate"),
    *("colour", "pca_colour", "channel_shift", "erase", "mixup", "cutmix", "mosaic"),
)


class SharedSettings(BaseModel):
    """The settings of `pellucid train` that every task has."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    NAME: ClassVar[str] = ""  # of the task, set by each subclass

    task: Annotated[str | None, option("The kind of question; inferred from the data.")] = None
    model: Annotated[
        str | None, option('A name ("resnet18") or a notation ("C16 B R P G L10").')
    ] = None
    weights: Annotated[
        str | None,
        option(
            "Initial weights: a name of `pellucid weights list`, a .safetensors or a .pth file."
        ),
    ] = None
    size: Annotated[
        Size, Field(description="Height and width of the network input: 64 or 48x96.")
    ] = None
    epochs: Annotated[int | None, option("Passes over the training images.", 1)] = None
    batch: Annotated[
        int | None, option("Images, or crops of them, per step, over all processes.", 1)
    ] = None
    optimizer: Annotated[
        Literal["adamw", "adam", "sgd", "nesterov"] | None, option("The optimizer.")
    ] = None
    lr: Annotated[float | None, option("Learning rate, at its peak.", 0)] = None
    momentum: Annotated[float, option("Momentum of sgd and nesterov.", 0, 1)] = 0.9
    weight_decay: Annotated[
        float | None, option("On weights only, never on biases or normalization scales.", 0)
    ] = None
    schedule: Annotated[
        Literal[
            "onecycle",
            "cosine",
            "restarts",
            "triangular",
            "triangular2",
            "exp_range",
            "step",
            "exponential",
            "plateau",
            "constant",
            "ramp",
        ],
        option("How the learning rate changes over the run."),
    ] = "onecycle"
    warmup: Annotated[
        float, option("Epochs of linear rise to the learning rate (onecycle has its own).", 0)
    ] = 0.0
    clip: Annotated[float | None, option("Largest gradient norm; 0 does not clip.", 0)] = None
    lr_low: Annotated[
        float | None,
        option(
            "Lowest rate of the cyclic schedules (a tenth of the learning rate) and start of ramp "
            "(a millionth).",
            1e-12,
        ),
    ] = None
    cycle: Annotated[
        float | None,
        option("Epochs of a cycle of the cyclic schedules and of the first one of restarts.", 0.01),
    ] = None
    ema: Annotated[
        float | None,
        option(
            "Decay per step of a moving average of the weights, which is evaluated and kept; "
            "0 keeps the weights.",
            0,
            0.99999,
        ),
    ] = None
    patience: Annotated[
        int,
        option("Epochs without a better validation score before stopping; 0 never stops early.", 0),
    ] = 0
    init: Annotated[
        Literal["own", "zero_bias", "he", "large", "equal"],
        option("Weight initialization, where no weights are given."),
    ] = "own"
    freeze: Annotated[
        str | None,
        option(
            'Stages of the network that are frozen, from the input: "2", or "all" but the head.'
        ),
    ] = None
    norms: Annotated[
        Literal["kept", "learned"] | None,
        option("Batch-norm statistics; kept where weights are given, else learned."),
    ] = None
    stage_lr: Annotated[
        float | None,
        option("Learning rate of each stage as a share of that of the stage after it.", 0.001, 1),
    ] = None
    cache: Annotated[bool, option("Compute the features of a frozen network once.")] = True
    train_pictures: Annotated[
        int | None,
        option("Train on so many of the training images, each class in its proportion.", 2),
    ] = None
    split: Annotated[
        Literal["own", "val_as_test", "by_heart"],
        option(
            "Which images are the test part: the data's own parts as they are named; its val, with "
            "validation cut from train; or all images in every part, to see whether it can overfit."
        ),
    ] = "own"
    test: Annotated[
        str | None,
        option('Names of the test images, as patterns: "18,19,2?"; the others are split.'),
    ] = None
    validation: Annotated[
        float | None,
        option(
            "Share of the images for validation, where it is cut: a fifth of all, or of train as "
            "large as test.",
            0.02,
            0.5,
        ),
    ] = None
    fold: Annotated[
        str | None, option('Cross-validation: "2/5" tests on the second fifth of all images.')
    ] = None
    split_seed: Annotated[
        int | None,
        option(
            "Seed of the split alone, so that runs with other seeds have the same test images.",
            0,
            2**31 - 1,
        ),
    ] = None
    seed: Annotated[int, option("Seed of everything random.", 0, 2**31 - 1)] = 0
    device: Annotated[str | None, option('Where to train: "cpu", "cuda", "cuda:1".')] = None
    precision: Annotated[
        Literal["float32", "bfloat16"] | None, option("Of the forward and backward pass.")
    ] = None
    layout: Annotated[
        Literal["channels_last", "contiguous"] | None,
        option("Memory format of images and weights."),
    ] = None
    threads: Annotated[int | None, option("CPU threads; chosen by a short trial.", 1)] = None
    baselines: Annotated[bool, option("Also score methods without a network.")] = True
    skip_bad: Annotated[
        bool, option("Skip images that cannot be read (at most 1 %) instead of stopping.")
    ] = False

    def model_post_init(self, context: Any) -> None:
        check_shared(self)


def check_shared(settings: SharedSettings) -> None:
    """Raises UsageError for shared settings that contradict each other or would do nothing."""
    s = settings
    if s.epochs is not None and s.warmup >= s.epochs:
        raise UsageError(
            f"warmup: {s.warmup:g} epochs of {s.epochs} leave nothing to train after it; "
            "make it shorter"
        )
    if s.freeze is not None and s.freeze != "all" and not s.freeze.isdecimal():
        raise UsageError(f'freeze: "{s.freeze}" is not a number of stages; write 0, 1, 2 … or all')
    if s.fold is not None:
        parse_fold(s.fold)
    for idle, why in _idle(s):
        if idle:
            raise UsageError(why)


def _idle(s: SharedSettings) -> tuple[tuple[bool, str], ...]:
    """Shared settings that would do nothing beside the others."""
    cyclic = s.schedule in (*CYCLIC, "restarts", "ramp")
    return (
        (
            s.init != "own" and s.weights is not None,
            f"init is {s.init}, but weights are given; leave out one of the two",
        ),
        (
            not cyclic and s.cycle is not None,
            f"cycle is of the cyclic schedules and restarts, not of {s.schedule}; leave it out",
        ),
        (
            not cyclic and s.lr_low is not None,
            f"lr_low is of the cyclic schedules and ramp, not of {s.schedule}; leave it out",
        ),
        (
            (s.lr_low or 0) > (s.lr or float("inf")),
            f"lr_low is {s.lr_low}, above the learning rate {s.lr}; lower it",
        ),
    )


def check_augmentation(settings: Any) -> None:
    """Raises UsageError for a strength beside `augment none`."""
    for name in STRENGTHS:
        value = getattr(settings, name, None)
        if settings.augment == "none" and value:
            raise UsageError(f"augment is none, but {name} is {value:g}; leave out one of the two")


def strengths(settings: Any) -> dict[str, float]:
    """The strengths of augmentation that the task has, complete; those it lacks are 0."""
    return {name: getattr(settings, name, None) or 0.0 for name in STRENGTHS}


def own_fields(kind: type[SharedSettings]) -> list[str]:
    """The settings that a task adds to the shared ones, in their order."""
    return [name for name in kind.model_fields if name not in SharedSettings.model_fields]


def completed(settings: Any, suggested: Mapping[str, Any]) -> Any:
    """The settings with a suggested value wherever the user left one open (None)."""
    known = type(settings).model_fields
    fresh = {k: v for k, v in suggested.items() if k in known and getattr(settings, k) is None}
    return type(settings)(**(settings.model_dump() | fresh)) if fresh else settings
