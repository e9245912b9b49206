"""Every setting of a run, typed and checked; one flat TOML file. None means: from the data or the machine."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from ..core.errors import DataError, UsageError, did_you_mean

OPTIMIZERS = ("adamw", "adam", "sgd", "nesterov")
SCHEDULES = ("onecycle", "cosine", "step", "exponential", "plateau", "constant")
PRECISIONS = ("float32", "bfloat16")
LAYOUTS = ("channels_last", "contiguous")


def _setting(default: Any, help: str, low: float | None = None, high: float | None = None, choices: tuple[str, ...] = ()) -> Any:
    return field(default=default, metadata={"help": help, "low": low, "high": high, "choices": choices})


@dataclass(frozen=True)
class Recipe:
    """The settings of `pellucid train`, by the names that its options have."""

    task: str | None = _setting(None, "What is asked of a picture; inferred from the data.")
    model: str | None = _setting(None, 'A name ("resnet18") or a notation ("C16 B R P G L10").')
    weights: str | None = _setting(None, "Begin with these: a name of `pellucid weights list`, or a .safetensors or .pth file.")
    size: tuple[int, int] | None = _setting(None, "Height and width that pictures are fitted to: 64 or 48x96.", 1, 8192)
    epochs: int | None = _setting(None, "Times that every training picture is seen.", 1)
    batch: int | None = _setting(None, "Pictures a step, over all processes.", 1)
    optimizer: str = _setting("adamw", "How a step is taken from a gradient.", choices=OPTIMIZERS)
    lr: float | None = _setting(None, "Learning rate, at its peak.", 0)
    momentum: float = _setting(0.9, "Of sgd and nesterov.", 0, 1)
    weight_decay: float | None = _setting(None, "On weights only, never on biases or normalisation scales.", 0)
    schedule: str = _setting("onecycle", "How the learning rate moves over the run.", choices=SCHEDULES)
    warmup: float = _setting(0.0, "Epochs of linear rise to the learning rate (onecycle has its own).", 0)
    clip: float = _setting(0.0, "Largest norm of the gradient; 0 leaves it alone.", 0)
    label_smoothing: float = _setting(0.1, "Share of the target that is spread over all classes.", 0, 0.99)
    patience: int = _setting(0, "Epochs without a better validation score before stopping; 0 never stops early.", 0)
    augment: bool = _setting(True, "Change training pictures at random.")
    mirror: float | None = _setting(None, "Probability of left-right reflection.", 0, 1)
    crop: float | None = _setting(None, "Largest share of a side that is cut away.", 0, 0.9)
    zoom: float | None = _setting(None, "Zoom in or out by up to this share.", 0, 1)
    rotate: float | None = _setting(None, "Turn by up to so many degrees.", 0, 180)
    shift: float | None = _setting(None, "Move by up to this share of a side.", 0, 1)
    shear: float | None = _setting(None, "Slant by up to so many degrees.", 0, 45)
    colour: float | None = _setting(None, "Change brightness, contrast and saturation by up to this share.", 0, 1)
    seed: int = _setting(0, "Everything random follows from it.", 0, 2**31 - 1)
    device: str | None = _setting(None, 'Where to train: "cpu", "cuda", "cuda:1".')
    precision: str | None = _setting(None, "Of the forward and backward pass.", choices=PRECISIONS)
    layout: str | None = _setting(None, "Memory order of pictures and weights.", choices=LAYOUTS)
    threads: int | None = _setting(None, "Processor threads; chosen by a short trial.", 1)
    baselines: bool = _setting(True, "Also score what needs no network, on the same split.")
    skip_bad: bool = _setting(False, "Leave out pictures that cannot be read (at most 1 %) instead of stopping.")

    def __post_init__(self) -> None:
        for setting in fields(self):
            value = getattr(self, setting.name)
            if value is not None:
                object.__setattr__(self, setting.name, _checked(setting.name, value, setting.type, setting.metadata))
        if self.epochs is not None and self.warmup >= self.epochs:
            raise UsageError(f"warmup: {self.warmup:g} epochs of {self.epochs} leave nothing to train after it; make it shorter")
        for name in ("mirror", "crop", "zoom", "rotate", "shift", "shear", "colour"):
            if not self.augment and getattr(self, name):
                raise UsageError(f"augment is off, but {name} is {getattr(self, name):g}; leave out one of the two")

    def settings(self) -> dict[str, Any]:
        return asdict(self)

    def completed(self, proposed: Mapping[str, Any]) -> Recipe:
        """This recipe with a proposed value wherever the user left one open."""
        known = {setting.name for setting in fields(self)}
        return replace(self, **{k: v for k, v in proposed.items() if k in known and getattr(self, k) is None})

    def to_toml(self, data: str) -> str:
        lines = [
            "# Every setting of this run. `pellucid train DATA --recipe recipe.toml` repeats it.",
            f"data = {json.dumps(data)}",
        ]
        for key, value in self.settings().items():
            if value is not None:
                lines.append(f"{key} = {_toml(value)}")
        return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    # JSON's strings, numbers, booleans and lists are TOML's too.
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)


def make(**settings: Any) -> Recipe:
    """A recipe from settings by name. Raises UsageError for an unknown name or a value out of range."""
    known = [setting.name for setting in fields(Recipe)]
    for name in settings:
        if name not in known:
            raise UsageError(f'unknown setting "{name}"; {did_you_mean(name, known)}')
    return Recipe(**settings)


def load(path: Path) -> tuple[str | None, dict[str, Any]]:
    """The data a recipe file names, if any, and its settings."""
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{path}: there is no such recipe file") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not a recipe in TOML ({error})") from None
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
    parts = text if isinstance(text, tuple | list) else str(text).lower().replace("×", "x").split("x")
    try:
        numbers = [int(part) for part in parts]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) not in (1, 2):
        raise UsageError(f"size: {text!r} is not a size; write 64 or 48x96 (height x width)")
    return numbers[0], numbers[-1]


def _checked(name: str, value: Any, kind: Any, limits: Mapping[str, Any]) -> Any:
    """The value in the setting's type. Raises UsageError that names the setting."""
    kind = str(kind)
    if kind.startswith("tuple"):
        value = parse_size(value)
    elif kind.startswith("int") or kind.startswith("float"):
        whole = kind.startswith("int")
        if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
            raise UsageError(f"{name}: {value!r} is not {'a whole number' if whole else 'a number'}")
        value = int(value) if whole else float(value)
    elif kind.startswith("bool"):
        if not isinstance(value, bool):
            raise UsageError(f"{name}: {value!r} is not true or false")
    elif not isinstance(value, str):
        raise UsageError(f"{name}: {value!r} is not a text")
    if limits["choices"] and value not in limits["choices"]:
        raise UsageError(f'{name}: unknown "{value}"; {did_you_mean(str(value), limits["choices"])}')
    for number in value if isinstance(value, tuple) else (value,):
        if not _within(number, limits["low"], limits["high"]):
            high = "" if limits["high"] is None else f" and at most {limits['high']:g}"
            raise UsageError(f"{name}: {number} is out of range; it must be at least {limits['low']:g}{high}")
    return value


def _within(value: Any, low: float | None, high: float | None) -> bool:
    # Written so that NaN lies outside.
    return (low is None or value >= low) and (high is None or value <= high)
