"""`pellucid inspect`: a network accounts for itself before it runs."""

from __future__ import annotations

from pathlib import Path

from .. import anatomy, models
from ..anatomy import Anatomy
from ..core.errors import UsageError
from . import checkpoint


def inspect(network: str | Path, *, input: str | None = None, classes: int | None = None) -> Anatomy:
    """Shapes, parameters, activations and multiplications of each layer, without weights or memory.

    network: a name of MODELS, a notation, or a run folder. input: "3x224x224" (channels × height × width); for a run its own.
    classes: answers of a named network; 10 where nothing is said.
    """
    if str(network) and Path(network).is_dir():
        if input is not None or classes is not None:
            raise UsageError(f"{network}: a trained model has its own input and classes; leave out --input and --classes")
        room, trained, _ = checkpoint.load_model(Path(network))
        return anatomy.describe(trained, room.input)
    name = str(network)
    own = models.native_size(name)
    channels, *size = parse_input(input) if input else (1, *own) if own else (3, 224, 224)
    if classes is None:
        classes = models.notation.classes_of(name) if models.notation.is_notation(name) else 10
    return anatomy.describe(models.create(name, classes, channels, tuple(size)), (channels, *size))


def parse_input(text: str) -> tuple[int, ...]:
    try:
        numbers = tuple(int(part) for part in text.lower().replace("×", "x").split("x"))
    except ValueError:
        numbers = ()
    if len(numbers) < 2 or min(numbers) < 1:
        raise UsageError(f'input: "{text}" is not a shape; write channels x height x width, as in 3x224x224')
    return numbers
