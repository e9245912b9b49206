"""Volumes in files: NIfTI and DICOM to voxels D×H×W×C and their place in the patient, and labels
back to NIfTI.

The axes of our arrays are those of a NIfTI file turned round: (i, j, k) there is [k, j, i] here.
Nothing is resampled or turned.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import DataError, UsageError
from ..core.files import write_bytes
from ..core.types import VolumeGeometry
from . import dicom
from .images import Header

SUFFIXES = (".nii", ".nii.gz")
# Of one channel: 1024 slices of 512×512, 1 GB while it is read.
MAX_VOXELS = 2**28
_OVERLAY = 0.1  # of a voxel: rounding in headers, far from what anybody sees
_WHOLE = 1e-3
_LARGEST = 1e30
# by the code of xyzt_units: metres, micrometres; all others are millimetres
_MILLIMETRES = {1: 1000.0, 3: 0.001}
_GEOMETRY: tuple[str, ...] = (
    "pixdim",
    "qform_code",
    "sform_code",
    "quatern_b",
    "quatern_c",
    "quatern_d",
)
_GEOMETRY += ("qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z", "xyzt_units")
_SET = "open it in a viewer beside its source, set the geometry and save it, or export it again"


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """One subject, a `Source`: a file a channel, all on one grid. files: NIfTI, a folder of a DICOM
    series, or one DICOM file of many frames. names: of the channels."""

    files: tuple[Path, ...]
    names: tuple[str, ...]

    def header(self) -> Header:
        """From the heads of the files. Raises DataError for what cannot be read as one volume;
        so do the others."""
        (depth, height, width), _ = self._grid()
        return Header(height, width, len(self.files), 16, depth)

    def space(self) -> VolumeGeometry:
        return self._grid()[1]

    def pixels(self) -> np.ndarray:
        """uint16 D×H×W×C, each channel brought to 16 bits by `windowed`."""
        shape, _ = self._grid()
        pixels = np.empty((*shape, len(self.files)), np.uint16)
        for channel, file in enumerate(self.files):
            pixels[..., channel] = windowed(voxels(file))
        return pixels

    def _grid(self) -> tuple[tuple[int, int, int], VolumeGeometry]:
        for other in self.files[1:]:
            check_overlay(self.files[0], other)
        return grid(self.files[0])


def is_nifti(path: Path) -> bool:
    return path.name.lower().endswith(SUFFIXES) and path.name[0] != "."


def stem(path: Path) -> str:
    """The name without .nii or .nii.gz."""
    return next(
        (path.name[: -len(end)] for end in reversed(SUFFIXES) if path.name.lower().endswith(end)),
        path.stem,
    )


def grid(path: Path) -> tuple[tuple[int, int, int], VolumeGeometry]:
    """(D, H, W), and where that lies, without reading a voxel.

    Raises DataError for a file that cannot be read, is no single volume of plain numbers, or does
    not say where it lies.
    """
    if not is_nifti(path):
        return dicom.grid(path)
    image = _nifti(path)
    i, j, k = image.shape[:3]
    to_mm = _MILLIMETRES.get(int(image.header["xyzt_units"]) & 7, 1.0)
    affine = np.diag([to_mm, to_mm, to_mm, 1]) @ image.affine
    di, dj, dk = np.linalg.norm(affine[:3, :3], axis=0).tolist()
    return (k, j, i), VolumeGeometry((dk, dj, di), affine)


def voxels(path: Path) -> np.ndarray:
    """float32 D×H×W, as the file scales them. Raises DataError as grid() does, for a file that is
    cut off, and for NaN or infinity."""
    with np.errstate(over="ignore"):
        values = (_decoded(path) if is_nifti(path) else dicom.voxels(path)).astype(
            np.float32, copy=False
        )
    usable = np.abs(values) < _LARGEST
    if not usable.all():
        count, place = usable.size - int(usable.sum()), _first(~usable)
        raise DataError(
            f"{path}: {count:,} of its voxels are no finite number (the first at {place}); set "
            "them to the background's value"
        )
    return values


def labels(path: Path) -> np.ndarray:
    """uint8 D×H×W, what each voxel is: 0 to 254, and 255 for what nobody is asked about.

    Numbers within a thousandth of a whole one are taken for it: scaled files say 0.99999997. Raises
    DataError for other numbers.
    """
    values = _decoded(path)
    with np.errstate(invalid="ignore"):
        whole = np.rint(values)
        wrong = ~(np.abs(values - whole) < _WHOLE)
    if wrong.any():
        value = values[np.unravel_index(wrong.argmax(), wrong.shape)]
        raise DataError(
            f"{path}: labels are whole numbers, but the voxel at {_first(wrong)} is {value:.6g}; "
            "is this a picture?"
        )
    wrong = (whole < 0) | (whole > 255)
    if wrong.any():
        value = whole[np.unravel_index(wrong.argmax(), wrong.shape)]
        raise DataError(
            f"{path}: the voxel at {_first(wrong)} is labelled {value:.0f}; labels go from 0 to "
            "254: number them anew"
        )
    return np.ascontiguousarray(whole.astype(np.uint8))


def windowed(values: np.ndarray) -> np.ndarray:
    """Real numbers of any unit to uint16, by one line: the 0.1st percentile becomes 1, the 99.9th
    65,535, and what lies beyond them is cut.

    The commonest value (a masked background, air) is left out of the percentiles, which it would
    otherwise decide; where it lies at or below the low end, it and all below it become 0, which
    nothing else does. Percentiles are nearest ranks. A constant volume is all 0.
    """
    ordered = np.sort(values, axis=None)
    starts = np.concatenate([[0], np.flatnonzero(ordered[1:] != ordered[:-1]) + 1, [ordered.size]])
    runs = np.diff(starts)
    if len(runs) == 1:
        return np.zeros(values.shape, np.uint16)
    most = int(runs.argmax())
    background = ordered[starts[most]]
    ranks = np.rint(np.array([0.001, 0.999]) * (ordered.size - runs[most] - 1)).astype(np.int64)
    low, high = ordered[np.where(ranks < starts[most], ranks, ranks + runs[most])]
    if low == high:
        low, high = ordered[0], ordered[-1]
    scaled = np.rint(np.clip((values - low) / (high - low), 0, 1) * 65534 + 1).astype(np.uint16)
    if background <= low:
        scaled[values <= background] = 0
    return scaled


def check_overlay(one: Path, other: Path) -> None:
    """Raises DataError, naming both files, where voxel on voxel would not lie on the same place of
    the patient."""
    (shape, space), (shape_2, space_2) = grid(one), grid(other)
    if shape != shape_2:
        raise DataError(
            f"{other}: has {_size(shape_2)} voxels, but {one} has {_size(shape)}; "
            "resample one onto the other"
        )
    corners = np.array(
        [(*corner, 1) for corner in product(*([0, side - 1] for side in shape[::-1]))], np.float64
    )
    apart = float(np.linalg.norm(corners @ (space.affine - space_2.affine).T, axis=1).max())
    if apart > _OVERLAY * min(space.spacing):
        ways = f"{letters(space_2.affine)} against {letters(space.affine)}"
        raise DataError(
            f"{other}: lies up to {apart:.3g} mm off {one} ({ways}); resample one onto the other"
        )


def letters(affine: np.ndarray) -> str:
    """Where the file's axes i, j, k point, such as "LPS": left, posterior, superior;
    of slanted ones the nearest."""
    return "".join(letter or "?" for letter in _nibabel().aff2axcodes(affine))


def write_nifti(
    path: Path, labels: np.ndarray, space: VolumeGeometry, like: Path | None = None
) -> None:
    """Labels uint8 D×H×W as .nii or .nii.gz; the file is whole or not there.

    like: the NIfTI file that they were made from; its geometry (version, both forms and their
    codes, zooms, unit) is kept bit for bit, and nothing else of it. Without one, both forms are
    written from space.affine in millimetres. Raises UsageError for another suffix.
    """
    nib = _nibabel()
    if not is_nifti(path):
        raise UsageError(
            f"{path}: labels of a volume are written as NIfTI; name a file that ends in .nii.gz"
        )
    source = None if like is None else _nifti(like).header
    header = nib.Nifti1Header() if source is None else type(source)()
    header.set_data_shape(labels.T.shape)
    header.set_data_dtype(np.uint8)
    if source is None:
        header.set_xyzt_units("mm")
        header.set_qform(space.affine, 1)
        header.set_sform(space.affine, 1)
    else:
        for field in _GEOMETRY:
            header[field] = source[field]
    kind = nib.Nifti2Image if isinstance(header, nib.Nifti2Header) else nib.Nifti1Image
    data = kind(labels.T, header.get_best_affine(), header).to_bytes()
    write_bytes(path, gzip.compress(data, 6, mtime=0) if path.suffix.lower() == ".gz" else data)


def _nibabel() -> Any:
    try:
        import nibabel
    except ModuleNotFoundError:
        raise UsageError(
            "NIfTI needs nibabel, which is not installed: pip install 'pellucid[medical]'"
        ) from None
    # What it mends in heads it says twice, and to stderr.
    nibabel.imageglobals.logger.disabled = True
    return nibabel


def _nifti(path: Path) -> Any:
    """The head of the file, checked; no voxel is read."""
    nib = _nibabel()
    try:
        if path.stat().st_size == 0:
            raise DataError(f"{path}: is empty (0 bytes); remove it or copy it again")
        # Without a memory map, a file that is cut off is an error and not a crash.
        image = nib.load(path, mmap=False)
    except OSError as error:
        if error.errno is not None:
            raise DataError(
                f"{path}: could not be read ({error.strerror}); check the path and its permissions"
            ) from None
        raise _damaged(path, error) from error
    except DataError:
        raise
    except Exception as error:
        raise _damaged(path, error) from error
    _check_kind(path, image)
    _check_affine(path, image)
    return image


def _check_kind(path: Path, image: Any) -> None:
    shape, kind = image.shape, image.get_data_dtype()
    count = int(np.prod(shape[3:]))
    if count != 1:
        each = "×".join(map(str, shape[:3]))
        raise DataError(
            f"{path}: holds {count} volumes of {each} (times, directions or channels); save the "
            "one that is meant as 3-D"
        )
    if len(shape) < 3 or min(shape) < 1:
        raise DataError(
            f"{path}: is no volume but an array of {'×'.join(map(str, shape))}; "
            "save a picture as PNG"
        )
    if np.prod(shape, dtype=np.int64) > MAX_VOXELS:
        raise DataError(
            f"{path}: promises {_size(shape[2::-1])} voxels, more than {MAX_VOXELS:,}; "
            "cut it into parts"
        )
    if kind.kind not in "iuf":
        what = "colours" if kind.fields else "complex numbers" if kind.kind == "c" else f"{kind}"
        raise DataError(
            f"{path}: its voxels are {what}, not one number each; save each channel as a volume"
        )


def _check_affine(path: Path, image: Any) -> None:
    if not (int(image.header["qform_code"]) or int(image.header["sform_code"])):
        raise DataError(
            f"{path}: says nothing of its position and orientation (qform_code and sform_code are "
            f"0); {_SET}"
        )
    axes = image.affine[:3, :3]
    sides = np.linalg.norm(axes, axis=0)
    if (
        not np.isfinite(image.affine).all()
        or min(sides) <= 0
        or abs(np.linalg.det(axes)) < 1e-6 * np.prod(sides)
    ):
        raise DataError(
            f"{path}: its affine is singular (two axes point one way, "
            f"or a voxel has no size); {_SET}"
        )


def _decoded(path: Path) -> np.ndarray:
    """D×H×W as the file scales it; of a type that holds every value."""
    image = _nifti(path)
    try:
        return np.asanyarray(image.dataobj).reshape(image.shape[:3], order="F").T
    except Exception as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> DataError:
    text = " ".join(str(error).split()) or type(error).__name__
    return DataError(f"{path}: is cut off, damaged, or no NIfTI ({text}); copy it again")


def _first(which: np.ndarray) -> str:
    """(i, j, k) of the file, from 0, as viewers say it."""
    k, j, i = np.unravel_index(which.argmax(), which.shape)
    return f"({i}, {j}, {k})"


def _size(shape: tuple[int, ...]) -> str:
    """In the order of the file."""
    return "×".join(map(str, shape[::-1]))
