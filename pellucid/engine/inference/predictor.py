"""`pellucid.load`: a trained model, kept in memory, that answers for arrays, files and frames."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ...core.errors import DataError, UsageError
from ...core.types import Batch, ViewTransform
from ...data.sample import Sample
from ...data.video import VIDEO_SUFFIXES
from ..run import machine
from ..run.batches import channels_first
from . import ensemble
from .infer import SCORING, infer, views_at_once
from .model import Model
from .model import load as load_model

if TYPE_CHECKING:
    from ...tasks.task import View

# Decoded images in memory at a time.
IMAGES = 32

Image = str | Path | np.ndarray


def load(
    path: str | Path,
    *,
    tta: str = "none",
    threshold: float | None = None,
    device: str | None = None,
) -> Predictor:
    """A trained model that is asked many times.

    path: a run folder, its `model/`, or a name of `pellucid weights list`. tta: "none", or the
    views of test-time augmentation: "flip", and as the task has it "ten", "tiles" or "eight".
    threshold: in place of the model's own. device: "cpu", "cuda"; by default the GPU where there is
    one. Raises UsageError, ModelError.
    """
    return Predictor([load_model(path)], tta, threshold, device)


class Predictor:
    """One model, or an ensemble of models of the same classes, on its device.

    Call it with an image, a list of images or an iterable of frames: it returns a result, a list of
    results or an iterator of results, which computes each one when it is asked for. An image is a
    path or an array: H×W or H×W×C, RGB, uint8 or uint16. Raises UsageError for other arguments,
    DataError for an image that cannot be read.
    """

    def __init__(
        self,
        models: Sequence[Model],
        tta: str = "none",
        threshold: float | None = None,
        device: str | None = None,
    ) -> None:
        """Raises UsageError for options without meaning, ModelError for models of other classes
        than the first."""
        if threshold is not None and not 0 <= threshold <= 1:
            raise UsageError(f"threshold: {threshold:g} is not between 0 and 1")
        ensemble.check(models)
        self.device = machine.device(device)
        # Only the members of an ensemble keep what only an ensemble needs.
        full = len(models) > 1
        self._members = [ensemble.with_options(each, tta, threshold, full) for each in models]
        self._spec = ensemble.with_options(models[0], tta, threshold, full=False).spec
        for member in self._members:
            machine.place(member.network, self.device, machine.memory_format(SCORING))

    def __call__(self, inputs: Image | Iterable[Image]) -> Any:
        if isinstance(inputs, str | Path | np.ndarray):
            return self.results([self._sample(inputs, 0)])[0]
        if isinstance(inputs, Sequence):
            samples = [self._sample(each, number) for number, each in enumerate(inputs)]
            return [_or_raise(result) for _, result in self.stream(samples)]
        if not isinstance(inputs, Iterable):
            raise UsageError(
                f"inputs: {type(inputs).__name__} is not an image; give a path, an array, a list "
                "of these or an iterator of frames"
            )
        return self._one_by_one(inputs)

    def __repr__(self) -> str:
        models = f", {len(self._members)} models" if len(self._members) > 1 else ""
        classes = f", {len(self.classes)} classes" if self.classes else ""
        return f"Predictor({self.task}{classes}{models}, {self.device})"

    @property
    def task(self) -> str:
        return self._spec.task.name

    @property
    def classes(self) -> tuple[str, ...]:
        """Their names; empty for a task without classes."""
        return tuple(self._spec.inference.classes)

    @property
    def output_suffixes(self) -> tuple[str, ...]:
        """Endings of the files that the results write."""
        return tuple(self._spec.inference.output_suffixes)

    def find_inputs(self, path: Path) -> list[Sample] | None:
        """What a file or folder holds besides plain images and videos. Raises DataError."""
        found: list[Sample] | None = self._spec.task.parts.data.find_inputs(
            path, self._spec.preprocess
        )
        return found

    def results(self, samples: Sequence[Sample]) -> list[Any]:
        """One a sample, all at once; sources that differ. Raises DataError for an image that cannot
        be used."""
        shown = [sample.decoded() for sample in samples]
        return self._infer([(sample, self._views(sample)) for sample in shown])

    def stream(self, samples: Iterable[Sample]) -> Iterator[tuple[Sample, Any]]:
        """Each sample with its pixels and its result, in order; or as it was and the DataError. As
        many samples at a time as the network computes together, and at most IMAGES."""
        waiting: list[tuple[Sample, Any]] = []
        count = 0
        for sample in samples:
            # The views of a source are merged, so that no source may be there twice.
            if waiting and any(sample.source == each.source for each, _ in waiting):
                yield from self._answered(waiting)
                waiting, count = [], 0
            shown, views = self._read(sample)
            waiting.append((shown, views))
            if isinstance(views, DataError):
                continue
            first = views[0][0][0]
            count += len(views[0])
            if len(waiting) >= IMAGES or count >= views_at_once(first.shape[:-1]):
                yield from self._answered(waiting)
                waiting, count = [], 0
        yield from self._answered(waiting)

    def _one_by_one(self, inputs: Iterable[Image]) -> Iterator[Any]:
        """No frame is read before the one ahead of it is answered, so that a camera is live."""
        for number, each in enumerate(inputs):
            yield self.results([self._sample(each, number)])[0]

    def _sample(self, image: Any, number: int) -> Sample:
        if isinstance(image, np.ndarray):
            return Sample(_pixels(image), None, f"array {number}")
        if not isinstance(image, str | Path):
            raise UsageError(
                f"inputs: {type(image).__name__} is not an image; give a path or an array"
            )
        path = Path(image)
        special = self.find_inputs(path) if path.exists() else None
        if special is not None and len(special) == 1:
            return replace(special[0], source=str(image))
        if path.is_dir():
            raise UsageError(f"{path}: is a folder; use pellucid.predict, or give a list of files")
        if path.suffix.lower() in VIDEO_SUFFIXES:
            raise UsageError(f"{path}: is a video; use pellucid.predict, or give its frames")
        return Sample(path, None, str(image))

    def _read(self, sample: Sample) -> tuple[Sample, Any]:
        """The decoded sample and its views for each member; or the sample and the error."""
        try:
            shown = sample.decoded()
            return shown, self._views(shown)
        except DataError as error:
            return sample, error

    def _views(self, shown: Sample) -> list[list[View]]:
        """For each member."""
        specs = [member.spec for member in self._members]
        return [spec.preprocess.views(shown, spec.inference.tta) for spec in specs]

    def _answered(self, waiting: Sequence[tuple[Sample, Any]]) -> Iterator[tuple[Sample, Any]]:
        good = [each for each in waiting if not isinstance(each[1], DataError)]
        results = iter(self._infer(good))
        for sample, views in waiting:
            yield sample, views if isinstance(views, DataError) else next(results)

    def _infer(self, shown: Sequence[tuple[Sample, list[list[View]]]]) -> list[Any]:
        """Samples and their views for each member, to one result a sample."""
        if not shown:
            return []
        said = [
            infer(
                member.spec,
                member.network,
                _batch([(sample, views[number]) for sample, views in shown]),
                SCORING,
                self.device,
            )
            for number, member in enumerate(self._members)
        ]
        return said[0] if len(said) == 1 else ensemble.mean(self._spec, said)


def _or_raise(result: Any) -> Any:
    if isinstance(result, DataError):
        raise result
    return result


def _pixels(image: np.ndarray) -> np.ndarray:
    """H×W or H×W×C, to H×W×C. Raises UsageError."""
    if image.dtype not in (np.uint8, np.uint16) or image.ndim not in (2, 3) or not image.size:
        raise UsageError(
            f"inputs: an array of {image.dtype} {image.shape} is not an image; give H×W or H×W×C "
            "of uint8 or uint16, and several images as a list"
        )
    return image[..., None] if image.ndim == 2 else image


def _batch(shown: Sequence[tuple[Sample, list[View]]]) -> Batch:
    rows: list[tuple[str, np.ndarray, ViewTransform]] = [
        (sample.source, view, transform) for sample, views in shown for view, transform in views
    ]
    images: torch.Tensor = channels_first(np.stack([view for _, view, _ in rows]))
    transforms = tuple(transform for _, _, transform in rows)
    return Batch(images, None, transforms, tuple(source for source, _, _ in rows))
