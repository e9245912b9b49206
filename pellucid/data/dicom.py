"""DICOM: a series in a folder, or one file of many frames, to voxels with their place in the
patient (DICOM PS3.3, C.7.6.2).

Files are only read. Names, dates and numbers of patients in them are never looked at.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..core.errors import DataError, PellucidError, UsageError
from ..core.types import VolumeGeometry

SUFFIX = ".dcm"
_CONVERT = "convert it to NIfTI, with dcm2niix for instance"
# Neighbouring slices may differ by this part of their distance: positions are written with few
# digits.
_EVEN = 0.05


class Slice(NamedTuple):
    """One picture of a series. frame: its number in the file, None where the file holds one.
    position: of the middle of its first pixel, millimetres. axes: 2×3, the directions along which
    columns and rows count up. spacing: millimetres between rows, and between columns. size: rows
    and columns. scale: slope and intercept, from stored to real values. dark_is_high: MONOCHROME1.
    """

    file: Path
    frame: int | None
    position: np.ndarray
    axes: np.ndarray
    spacing: tuple[float, float]
    size: tuple[int, int]
    scale: tuple[float, float]
    dark_is_high: bool


def files(path: Path) -> list[Path]:
    """The files of a series: those of a folder by their suffix, or the one that is named."""
    return (
        sorted(
            each for each in path.iterdir() if each.suffix.lower() == SUFFIX and each.name[0] != "."
        )
        if path.is_dir()
        else [path]
    )


def grid(path: Path) -> tuple[tuple[int, int, int], VolumeGeometry]:
    """(D, H, W) and where that lies, from the heads of the files.

    Slices are ordered along their common normal, whatever their names. Raises DataError for a
    folder of several series, missing slices, slices without position or spacing, colour, a mosaic,
    and pixels compressed in a way that cannot be read here.
    """
    slices = _slices(path)
    return _shape(slices), _space(slices)


def voxels(path: Path) -> np.ndarray:
    """float32 D×H×W, the scale of each slice applied. Raises DataError as grid() does,
    and for damaged pixels."""
    slices, file, frames = _slices(path), None, np.empty(0)
    values = np.empty(_shape(slices), np.float32)
    for number, each in enumerate(slices):
        if each.file != file:
            file, frames = each.file, _decoded(each.file)
        plane = frames if each.frame is None else frames[each.frame]
        values[number] = plane.astype(np.float32) * each.scale[0] + each.scale[1]
        if each.dark_is_high:
            values[number] *= -1
    return values


def _shape(slices: list[Slice]) -> tuple[int, int, int]:
    return len(slices), *slices[0].size


def _slices(path: Path) -> list[Slice]:
    slices: list[Slice] = []
    series = set()
    for file in files(path):
        with _undamaged(file, "head"):
            head = _head(file)
            series.add(str(head.get("SeriesInstanceUID")))
            slices += [_slice(file, head, frame) for frame in _frames(file, head)]
    if len(series) > 1:
        raise DataError(
            f"{path}: holds {len(series)} series, mixed; "
            "put the files of each into a folder of its own"
        )
    if len(slices) < 2:
        raise DataError(
            f"{path}: holds {len(slices) or 'no'} slice, which is no volume; "
            "name the folder of a whole series"
        )
    for name in ("size", "spacing", "axes"):
        for each in slices:
            if not np.allclose(getattr(each, name), getattr(slices[0], name), atol=1e-3):
                both = f"{slices[0].file.name} and {each.file.name}"
                raise DataError(
                    f"{path}: slices differ in their {name} ({both}); is a localiser among them? "
                    "put each series into a folder"
                )
    normal = np.cross(*slices[0].axes)
    slices.sort(key=lambda each: float(each.position @ normal))
    _check_gaps(path, slices, np.diff([float(each.position @ normal) for each in slices]))
    return slices


def _check_gaps(path: Path, slices: list[Slice], gaps: np.ndarray) -> None:
    usual = float(np.median(gaps))
    for before, after, gap in zip(slices, slices[1:], gaps, strict=False):
        both = f"{_called(before)} and {_called(after)}"
        if gap < 1e-3:
            raise DataError(
                f"{path}: {both} lie at one place (several times or echoes?); "
                "put each volume into a folder of its own"
            )
        if abs(gap - usual) > _EVEN * usual:
            apart = f"{both} are {gap:.3g} mm apart, others {usual:.3g} mm"
            raise DataError(f"{path}: slices are missing ({apart}); copy the whole series")


def _called(each: Slice) -> str:
    return each.file.name if each.frame is None else f"frame {each.frame + 1}"


def _space(slices: list[Slice]) -> VolumeGeometry:
    """DICOM counts millimetres to the left and to the back, NIfTI to the right and to the front."""
    first, last = slices[0], slices[-1]
    affine = np.eye(4)
    affine[:3, 0] = first.axes[0] * first.spacing[1]
    affine[:3, 1] = first.axes[1] * first.spacing[0]
    affine[:3, 2] = (last.position - first.position) / (len(slices) - 1)
    affine[:3, 3] = first.position
    affine[:2] *= -1
    i, j, k = np.linalg.norm(affine[:3, :3], axis=0).tolist()
    return VolumeGeometry((k, j, i), affine)


def _slice(file: Path, head: Any, frame: int | None) -> Slice:
    position = _said(head, frame, "PlanePositionSequence", "ImagePositionPatient")
    axes = _said(head, frame, "PlaneOrientationSequence", "ImageOrientationPatient")
    spacing = _said(head, frame, "PixelMeasuresSequence", "PixelSpacing")
    for value, name in (
        (spacing, "pixel spacing"),
        (position, "position (ImagePositionPatient)"),
        (axes, "orientation"),
    ):
        if not value or not np.isfinite([float(each) for each in value]).all():
            raise DataError(
                f"{file}: says no {name}, so nothing in it can be measured; export the series "
                "again, with its geometry"
            )
    if min(map(float, spacing)) <= 0:
        raise DataError(
            f"{file}: its pixel spacing is not above 0; export the series again, with its geometry"
        )
    scale = (
        _said(head, frame, "PixelValueTransformationSequence", f"Rescale{name}")
        for name in ("Slope", "Intercept")
    )
    return Slice(
        file,
        frame,
        np.array(position, np.float64),
        np.array(axes, np.float64).reshape(2, 3),
        (float(spacing[0]), float(spacing[1])),
        (int(head.Rows), int(head.Columns)),
        tuple(
            default if value is None else float(value)
            for value, default in zip(scale, (1.0, 0.0), strict=True)
        ),  # type: ignore[arg-type]
        head.get("PhotometricInterpretation") == "MONOCHROME1",
    )


def _said(head: Any, frame: int | None, sequence: str, keyword: str) -> Any:
    """What is said of a frame, of all frames, or of the file; None where nothing says it."""
    groups = (
        []
        if frame is None
        else [
            head.PerFrameFunctionalGroupsSequence[frame],
            *head.get("SharedFunctionalGroupsSequence", []),
        ]
    )
    found = [item.get(keyword) for group in groups for item in group.get(sequence, [])]
    return next((value for value in [*found, head.get(keyword)] if value is not None), None)


def _frames(file: Path, head: Any) -> list[int | None]:
    count = int(head.get("NumberOfFrames") or 1)
    groups = head.get("PerFrameFunctionalGroupsSequence")
    if groups is None and count > 1:
        raise DataError(f"{file}: holds {count} frames and says of none where it lies; {_CONVERT}")
    if groups is not None and len(groups) != count:
        raise DataError(
            f"{file}: holds {count} frames but describes {len(groups)}; export it again"
        )
    return [None] if groups is None else list(range(count))


def _head(file: Path) -> Any:
    """All but the pixels; checked for what no reading could mend."""
    head = _opened(file, heads_only=True)
    if "Rows" not in head or "Columns" not in head:
        raise DataError(
            f"{file}: holds no picture (a report or a directory?); remove it from the folder"
        )
    if "MOSAIC" in (head.get("ImageType") or ()):
        raise DataError(f"{file}: a mosaic, its slices side by side in one picture; {_CONVERT}")
    if int(head.get("SamplesPerPixel") or 1) != 1:
        raise DataError(f"{file}: a picture in colour, not a slice of a volume; leave it out")
    _check_compression(file, head)
    return head


def _check_compression(file: Path, head: Any) -> None:
    from pydicom.pixels import get_decoder

    syntax = head.file_meta.get("TransferSyntaxUID")
    if syntax is None or not syntax.is_compressed or syntax.is_deflated:
        return
    try:
        readable = get_decoder(syntax).is_available
    except NotImplementedError:
        readable = False
    if not readable:
        raise DataError(
            f"{file}: its pixels are compressed as {syntax.name}, "
            f"which cannot be read here; {_CONVERT}"
        )


def _decoded(file: Path) -> np.ndarray:
    with _undamaged(file, "pixels"):
        return _opened(file, heads_only=False).pixel_array


@contextmanager
def _undamaged(file: Path, what: str) -> Iterator[None]:
    """The library reads lazily, and raises and warns of whatever it meets. Its words can hold
    pieces of the file: none is passed on."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except PellucidError:
        raise
    except OSError as error:
        raise DataError(
            f"{file}: could not be read ({error.strerror or error}); "
            "check the path and its permissions"
        ) from error
    except Exception as error:
        raise DataError(
            f"{file}: its {what} cannot be read, cut off or damaged ({type(error).__name__}); "
            "copy it again"
        ) from error


def _opened(file: Path, heads_only: bool) -> Any:
    try:
        import pydicom
    except ModuleNotFoundError:
        raise UsageError(
            "DICOM needs pydicom, which is not installed: pip install 'pellucid[medical]'"
        ) from None
    if file.stat().st_size == 0:
        raise DataError(f"{file}: is empty (0 bytes); remove it or copy it again")
    try:
        return pydicom.dcmread(file, stop_before_pixels=heads_only)
    except pydicom.errors.InvalidDicomError:
        raise DataError(f"{file}: is not DICOM; remove it from the folder") from None
