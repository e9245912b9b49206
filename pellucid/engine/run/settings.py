"""Every setting of a run, typed and checked; one flat TOML file.
None means: from the data or the machine."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from ...core.errors import UsageError, did_you_mean
from ...core.files import read_toml

OPTIMIZERS = ("adamw", "adam", "sgd", "nesterov")
CYCLIC = ("triangular", "triangular2", "exp_range")
SCHEDULES = (
    "onecycle",
    "cosine",
    "restarts",
    *CYCLIC,
    "step",
    "exponential",
    "plateau",
    "constant",
    "ramp",
)
DETECTORS = ("yolo", "grid", "faster_rcnn", "fast_rcnn", "rcnn", "localiser")
LOSSES = (
    "cross_entropy",
    "focal",
    "l2",
    "l2_logits",
    "hinge",
    "bce",
    "dice",
    "tversky",
    "dice_cross_entropy",
    "l1",
    "charbonnier",
)
LOOKS = ("neighbours", "planes", "volume")
UPSAMPLINGS = ("nearest", "bilinear", "transposed", "subpixel")
SKIPS = ("concat", "add")
REFINEMENTS = ("none", "crf", "crf_rnn", "watershed")
COLOURS = ("luma", "rgb")
IMBALANCE = (
    "none",
    "class_weights",
    "oversample",
    "undersample",
    "undersample_clusters",
    "augment_minority",
)
SCORES = ("accuracy", "balanced_accuracy", "map", "map50", "dice", "iou", "rand", "psnr", "ssim")
SPLITS = ("own", "val_as_test", "by_heart")
POLICIES = (
    *(
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
    ),
    *("fields", "volumes", "quarters", "scenes"),
)
_GEOMETRY = ("mirror", "turn", "crop", "zoom", "rotate", "shift", "shear", "elastic", "thin_plate")
STRENGTHS = (
    *_GEOMETRY,
    "colour",
    "pca_colour",
    "channel_shift",
    "erase",
    "mixup",
    "cutmix",
    "mosaic",
)
INITIAL = ("own", "zero_bias", "he", "large", "equal")
SCALES = ("standard", "unit", "raw")
NORMS = ("kept", "learned")
PRECISIONS = ("float32", "bfloat16")
LAYOUTS = ("channels_last", "contiguous")


def _setting(
    default: Any,
    help: str,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    of: tuple[str, ...] = (),
) -> Any:
    """of: the tasks that it means something to; of none, all."""
    return field(
        default=default,
        metadata={"help": help, "low": low, "high": high, "choices": choices, "of": of},
    )


_BOXES = ("detection",)
_MASKS = ("segmentation",)
_SHARPER = ("superresolution",)


@dataclass(frozen=True)
class Recipe:
    """The settings of `pellucid train`, by the names that its options have."""

    task: str | None = _setting(None, "What is asked of a picture; inferred from the data.")
    model: str | None = _setting(None, 'A name ("resnet18") or a notation ("C16 B R P G L10").')
    detector: str | None = _setting(
        None, "How objects are found in the maps of the model.", choices=DETECTORS, of=_BOXES
    )
    neck: int | None = _setting(
        None,
        "Maps in each level of a detector's pyramid; 32 is tiny and quick.",
        8,
        1024,
        of=_BOXES,
    )
    anchors: int = _setting(
        0,
        "Boxes fitted to the data that each place of a level begins with; 0 begins with none.",
        0,
        20,
        of=_BOXES,
    )
    aim: str | None = _setting(
        None,
        'What the threshold of a detector is chosen for: "f1", "precision 0.9", "recall 0.95".',
        of=_BOXES,
    )
    width: int | None = _setting(
        None,
        "Maps of the first stage of a U-Net, or in the middle of an enlarger.",
        1,
        512,
        of=_MASKS + _SHARPER,
    )
    upsampling: str | None = _setting(
        None, "How a U-Net's maps grow again.", choices=UPSAMPLINGS, of=_MASKS
    )
    skips: str | None = _setting(
        None, "How a U-Net's fine maps meet the coarse ones.", choices=SKIPS, of=_MASKS
    )
    look: str | None = _setting(
        None,
        "How a volume is seen: a slice with its neighbours as channels, "
        "such slices along three axes, or in 3-D.",
        choices=LOOKS,
        of=_MASKS,
    )
    annotator: str | None = _setting(
        None, 'Whose masks are learnt where several drew them: a name, or "mean".', of=_MASKS
    )
    border: float = _setting(
        0.0,
        "Weight of narrow gaps between objects (U-Net's w0, 10 in the paper).",
        0,
        100,
        of=_MASKS,
    )
    refine: str | None = _setting(
        None,
        "After the network: a CRF by mean field, one trained with it, or objects that touch parted "
        "along the walls between them.",
        choices=REFINEMENTS,
        of=_MASKS,
    )
    smallest: int = _setting(
        0,
        "Pieces of a mask with fewer pixels become what is around them; 0 leaves all.",
        0,
        of=_MASKS,
    )
    factor: int | None = _setting(
        None, "How many times larger a picture becomes: 2, 3 or 4.", 2, 4, of=_SHARPER
    )
    colours: str | None = _setting(
        None,
        "What an enlarger learns: brightness, as in the papers, or RGB.",
        choices=COLOURS,
        of=_SHARPER,
    )
    weights: str | None = _setting(
        None, "Begin with these: a name of `pellucid weights list`, or a .safetensors or .pth file."
    )
    size: tuple[int, int] | None = _setting(
        None, "Height and width of a picture, or of a window on it: 64 or 48x96.", 1, 8192
    )
    patch: int | None = _setting(
        None,
        "Side of the random crops that training sees, in pixels.",
        8,
        4096,
        of=_MASKS + _SHARPER,
    )
    depth: int | None = _setting(
        None, "Slices of the windows that a volume is seen through.", 1, 1024, of=_MASKS
    )
    epochs: int | None = _setting(None, "Passes through the training pictures.", 1)
    batch: int | None = _setting(None, "Pictures, or crops of them, a step, over all processes.", 1)
    optimizer: str | None = _setting(
        None, "How a step is taken from a gradient.", choices=OPTIMIZERS
    )
    lr: float | None = _setting(None, "Learning rate, at its peak.", 0)
    momentum: float = _setting(0.9, "Of sgd and nesterov.", 0, 1)
    weight_decay: float | None = _setting(
        None, "On weights only, never on biases or normalisation scales.", 0
    )
    schedule: str = _setting(
        "onecycle", "How the learning rate moves over the run.", choices=SCHEDULES
    )
    warmup: float = _setting(
        0.0, "Epochs of linear rise to the learning rate (onecycle has its own).", 0
    )
    clip: float | None = _setting(None, "Largest norm of the gradient; 0 leaves it alone.", 0)
    lr_low: float | None = _setting(
        None,
        "Lowest rate of the cyclic schedules (a tenth of the learning rate) and start of ramp (a "
        "millionth).",
        1e-12,
    )
    cycle: float | None = _setting(
        None, "Epochs of one cycle of the cyclic schedules and of the first one of restarts.", 0.01
    )
    ema: float | None = _setting(
        None,
        "Decay a step of a moving average of the weights, which is scored and kept; "
        "0 keeps the weights.",
        0,
        0.99999,
    )
    loss: str | None = _setting(None, "What learning makes small.", choices=LOSSES)
    focal_gamma: float = _setting(2.0, "How much the focal loss leaves easy pictures aside.", 0, 10)
    label_smoothing: float | None = _setting(
        None, "Share of the target that is spread over all classes.", 0, 0.99
    )
    imbalance: str = _setting(
        "none", "What is done where classes differ in number.", choices=IMBALANCE
    )
    score: str | None = _setting(
        None, "Which validation score chooses the best epoch.", choices=SCORES
    )
    patience: int = _setting(
        0, "Epochs without a better validation score before stopping; 0 never stops early.", 0
    )
    augment: str | None = _setting(
        None,
        "How training pictures are changed at random; the settings below change it.",
        choices=POLICIES,
    )
    mirror: float | None = _setting(None, "Probability of left-right reflection.", 0, 1)
    turn: float | None = _setting(
        None, "Probability of a turn by 90, 180 or 270 degrees.", 0, 1, of=_MASKS + _SHARPER
    )
    crop: float | None = _setting(None, "Largest share of a side that is cut away.", 0, 0.9)
    zoom: float | None = _setting(None, "Zoom in or out by up to this share.", 0, 1)
    rotate: float | None = _setting(None, "Turn by up to so many degrees.", 0, 180)
    shift: float | None = _setting(None, "Move by up to this share of a side.", 0, 1)
    shear: float | None = _setting(None, "Slant by up to so many degrees.", 0, 45)
    elastic: float | None = _setting(None, "Distort smoothly by about this share of a side.", 0, 1)
    thin_plate: float | None = _setting(
        None, "Bend as a thin plate whose control points move by up to this share of a side.", 0, 1
    )
    colour: float | None = _setting(
        None, "Change brightness, contrast and saturation by up to this share.", 0, 1
    )
    pca_colour: float | None = _setting(
        None, "Deviation of the shift along the main colours of the training pictures.", 0, 1
    )
    channel_shift: float | None = _setting(
        None, "Brighten or darken each channel by up to this share of the range.", 0, 1
    )
    erase: float | None = _setting(None, "Probability of erasing a rectangle.", 0, 1)
    mixup: float | None = _setting(
        None, "Blend pictures in pairs; parameter of the Beta distribution of their shares.", 0, 10
    )
    cutmix: float | None = _setting(
        None,
        "Paste a rectangle of another picture; parameter of the Beta distribution of its share.",
        0,
        10,
    )
    mosaic: float | None = _setting(
        None, "Probability of a picture made of four; off in the last part of a run.", 0, 1
    )
    scale: str = _setting(
        "standard",
        "Pixels as the network gets them: zero mean and unit deviation, 0 to 1, or as stored.",
        choices=SCALES,
    )
    init: str = _setting("own", "Weights to begin with, where none are given.", choices=INITIAL)
    freeze: str | None = _setting(
        None,
        'Stages of the network, counted from the picture, that stay as they are: "2", '
        'or "all" but the head.',
    )
    norms: str | None = _setting(
        None,
        "Statistics of batch norms; kept where weights are given, else learned.",
        choices=NORMS,
    )
    stage_lr: float | None = _setting(
        None, "Rate of each stage as a share of that of the stage after it.", 0.001, 1
    )
    cache: bool = _setting(True, "Compute the features of a wholly frozen network once.")
    train_pictures: int | None = _setting(
        None, "Train on so many of the training pictures, each class in its proportion.", 2
    )
    split: str = _setting(
        "own",
        "Which pictures are the test: the data's own parts as they are called; its val, with "
        "validation cut from train; or all pictures "
        "in every part, to see what is learnt by heart.",
        choices=SPLITS,
    )
    test: str | None = _setting(
        None,
        'Names of the pictures of the test part, as patterns: "18,19,2?"; '
        "the others are shared out.",
    )
    validation: float | None = _setting(
        None,
        "Share of the pictures for validation, where it is cut: a fifth of all, "
        "or of train as large as test.",
        0.02,
        0.5,
    )
    fold: str | None = _setting(
        None, 'Cross-validation: "2/5" tests on the second fifth of all pictures.'
    )
    split_seed: int | None = _setting(
        None,
        "Of the split alone, so that runs with other seeds are tested on the same pictures.",
        0,
        2**31 - 1,
    )
    seed: int = _setting(0, "Everything random follows from it.", 0, 2**31 - 1)
    device: str | None = _setting(None, 'Where to train: "cpu", "cuda", "cuda:1".')
    precision: str | None = _setting(None, "Of the forward and backward pass.", choices=PRECISIONS)
    layout: str | None = _setting(None, "Memory order of pictures and weights.", choices=LAYOUTS)
    threads: int | None = _setting(None, "Processor threads; chosen by a short trial.", 1)
    baselines: bool = _setting(True, "Also score what needs no network, on the same split.")
    skip_bad: bool = _setting(
        False, "Leave out pictures that cannot be read (at most 1 %) instead of stopping."
    )

    def __post_init__(self) -> None:
        for setting in fields(self):
            value = getattr(self, setting.name)
            if value is not None:
                object.__setattr__(
                    self,
                    setting.name,
                    _checked(setting.name, value, setting.type, setting.metadata),
                )
        if self.epochs is not None and self.warmup >= self.epochs:
            raise UsageError(
                f"warmup: {self.warmup:g} epochs of {self.epochs} leave nothing to train after it; "
                "make it shorter"
            )
        for name in STRENGTHS:
            if self.augment == "none" and getattr(self, name):
                raise UsageError(
                    f"augment is none, but {name} is {getattr(self, name):g}; "
                    "leave out one of the two"
                )
        for idle, why in self._idle():
            if idle:
                raise UsageError(why)
        if self.freeze is not None and self.freeze != "all" and not self.freeze.isdecimal():
            raise UsageError(
                f'freeze: "{self.freeze}" is not a number of stages; write 0, 1, 2 … or all'
            )
        if self.fold is not None:
            parse_fold(self.fold)

    def _idle(self) -> tuple[tuple[bool, str], ...]:
        """Settings that would do nothing beside the others."""
        likelihood, cyclic = (
            self.loss in (None, "cross_entropy", "focal"),
            self.schedule in (*CYCLIC, "restarts", "ramp"),
        )
        return (
            (
                bool(self.label_smoothing) and not likelihood,
                f"label_smoothing is of cross_entropy and focal, not of {self.loss}; leave it out",
            ),
            (
                self.focal_gamma != 2 and self.loss is None,
                "focal_gamma is of the focal loss: needs --loss focal",
            ),
            (
                self.focal_gamma != 2 and self.loss != "focal",
                f"focal_gamma is of the focal loss, not of {self.loss}; leave it out",
            ),
            (
                self.init != "own" and self.weights is not None,
                f"init is {self.init}, but weights are given; leave out one of the two",
            ),
            (
                not cyclic and self.cycle is not None,
                (
                    f"cycle is of the cyclic schedules and restarts, not of {self.schedule}; "
                    "leave it out"
                ),
            ),
            (
                not cyclic and self.lr_low is not None,
                f"lr_low is of the cyclic schedules and ramp, not of {self.schedule}; leave it out",
            ),
            (
                (self.lr_low or 0) > (self.lr or float("inf")),
                f"lr_low is {self.lr_low}, above the learning rate {self.lr}; lower it",
            ),
        )

    def settings(self) -> dict[str, Any]:
        return asdict(self)

    def refuse_others(self, task: str) -> None:
        """Raises UsageError for a setting that means nothing to this task."""
        for setting in fields(self):
            value, of = getattr(self, setting.name), setting.metadata["of"]
            if value and value != setting.default and of and task not in of:
                raise UsageError(
                    f"{setting.name}: {value} is of {' and '.join(of)}, and this is {task}; "
                    "leave it out"
                )

    def completed(self, proposed: Mapping[str, Any]) -> Recipe:
        """This recipe with a proposed value wherever the user left one open."""
        known = {setting.name for setting in fields(self)}
        return replace(
            self, **{k: v for k, v in proposed.items() if k in known and getattr(self, k) is None}
        )

    def to_toml(self, data: str) -> str:
        lines = [
            "# Every setting of this run. `pellucid train DATA --recipe recipe.toml` repeats it.",
            f"data = {json.dumps(data)}",
        ]
        for setting in fields(self):
            value, of = getattr(self, setting.name), setting.metadata["of"]
            if value is not None and (not of or self.task in of):
                lines.append(f"{setting.name} = {in_toml(value)}")
        return "\n".join(lines) + "\n"


def in_toml(value: Any) -> str:
    # JSON's strings, numbers, booleans and lists are TOML's too.
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)


def make(**settings: Any) -> Recipe:
    """A recipe from settings by name. Raises UsageError for an unknown name or a value
    out of range."""
    known = [setting.name for setting in fields(Recipe)]
    for name in settings:
        if name not in known:
            raise UsageError(f'unknown setting "{name}"; {did_you_mean(name, known)}')
    return Recipe(**settings)


def load(path: Path) -> tuple[str | None, dict[str, Any]]:
    """The data a recipe file names, if any, and its settings."""
    settings = read_toml(path, "recipe")
    data = settings.pop("data", None)
    if not isinstance(data, str | None):
        raise UsageError(f"{path}: data: {data!r} is not a text")
    try:
        make(**settings)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None
    return data, settings


def parse_size(text: str | int | tuple[int, int] | list[int]) -> tuple[int, int]:
    """64, "64", "48x96" or [48, 96], to (height, width)."""
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
    if not (
        slash
        and which.isdecimal()
        and count.isdecimal()
        and 1 <= int(which) <= int(count)
        and 2 <= int(count) <= 100
    ):
        raise UsageError(f'fold: "{text}" is not a fold; write 2/5 for the second of five')
    return int(which) - 1, int(count)


def _checked(name: str, value: Any, kind: Any, limits: Mapping[str, Any]) -> Any:
    """The value in the setting's type. Raises UsageError that names the setting."""
    kind = str(kind)
    if kind.startswith("tuple"):
        value = parse_size(value)
    elif kind.startswith("int") or kind.startswith("float"):
        whole = kind.startswith("int")
        if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
            raise UsageError(
                f"{name}: {value!r} is not {'a whole number' if whole else 'a number'}"
            )
        value = int(value) if whole else float(value)
    elif kind.startswith("bool"):
        if not isinstance(value, bool):
            raise UsageError(f"{name}: {value!r} is not true or false")
    elif not isinstance(value, str):
        raise UsageError(f"{name}: {value!r} is not a text")
    if limits["choices"] and value not in limits["choices"]:
        raise UsageError(
            f'{name}: unknown "{value}"; {did_you_mean(str(value), limits["choices"])}'
        )
    for number in value if isinstance(value, tuple) else (value,):
        if not _within(number, limits["low"], limits["high"]):
            high = "" if limits["high"] is None else f" and at most {limits['high']:g}"
            raise UsageError(
                f"{name}: {number} is out of range; it must be at least {limits['low']:g}{high}"
            )
    return value


def _within(value: Any, low: float | None, high: float | None) -> bool:
    # Written so that NaN lies outside.
    return (low is None or value >= low) and (high is None or value <= high)
