from __future__ import annotations

import gzip
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pellucid.core.errors import DataError, UsageError
from pellucid.core.types import VolumeGeometry
from pellucid.data import dicom, volumes
from pellucid.data.images import Header
from pellucid.data.volumes import Volume

nib = pytest.importorskip("nibabel")
pydicom = pytest.importorskip("pydicom")

# Slanted, mirrored, and of three different sides: what a mistake in an axis would show.
TURNED = np.array(
    [[-1.5, 0.2, 0.0, 80.0], [0.25, 1.8, -0.6, -70.5], [0.1, 0.3, 2.9, 12.25], [0, 0, 0, 1]]
)
FLIPPED = np.diag([-1.0, -2.0, 3.0, 1.0])
VOXELS = np.random.default_rng(0).normal(100, 20, (5, 4, 3)).astype(np.float32)  # i, j, k


def nifti(
    path: Path, values: np.ndarray = VOXELS, affine: np.ndarray | None = TURNED, **fields: Any
) -> Path:
    image = fields.pop("kind", nib.Nifti1Image)(values, affine)
    if codes := fields.pop("codes", None):
        image.set_qform(affine, codes[0])
        image.set_sform(affine, codes[1])
    for name, value in fields.items():
        image.header[name] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path)
    return path


def refused(path: Path, *words: str) -> None:
    with pytest.raises(DataError) as error:
        Volume((path,), ("a",)).pixels()
    text = str(error.value)
    assert str(path) in text and "\n" not in text
    for word in words:
        assert word in text


# NIfTI


def test_axes_are_the_files_turned_round(tmp_path: Path) -> None:
    path = nifti(tmp_path / "a.nii.gz")
    volume = Volume((path,), ("a",))
    assert volume.header() == Header(4, 5, 1, 16, 3)
    assert volume.space().spacing == pytest.approx(nib.affines.voxel_sizes(TURNED)[::-1])
    np.testing.assert_array_equal(volumes.voxels(path), VOXELS.transpose(2, 1, 0))
    pixels = volume.pixels()
    assert pixels.shape == (3, 4, 5, 1) and pixels.dtype == np.uint16
    order = np.argsort(VOXELS.transpose(2, 1, 0), axis=None)
    assert (np.diff(pixels.ravel()[order].astype(int)) >= 0).all()


@pytest.mark.parametrize("kind", ["int16", ">i2", "uint8", "float64", "int32"])
def test_types_and_scales_of_files(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.nii"
    image = nib.Nifti1Image(VOXELS.astype(kind), TURNED, dtype=np.dtype(kind))
    image.header.set_slope_inter(2.0, -5.0)
    nib.save(image, path)
    np.testing.assert_allclose(volumes.voxels(path), nib.load(path).get_fdata().T, rtol=1e-6)


def test_unit_of_the_file_becomes_millimetres(tmp_path: Path) -> None:
    path = nifti(tmp_path / "a.nii", affine=np.diag([1e-3, 2e-3, 3e-3, 1]), xyzt_units=1)
    assert volumes.grid(path)[1].spacing == pytest.approx((3, 2, 1))
    assert np.diag(volumes.grid(path)[1].affine) == pytest.approx((1, 2, 3, 1))


def test_channels_lie_side_by_side(tmp_path: Path) -> None:
    volume = Volume((nifti(tmp_path / "a.nii"), nifti(tmp_path / "b.nii", -VOXELS)), ("a", "b"))
    pixels = volume.pixels().astype(int)
    assert volume.header().channels == 2
    assert np.corrcoef(pixels[..., 0].ravel(), pixels[..., 1].ravel())[0, 1] < -0.95


def test_a_fourth_axis_of_one_is_no_time(tmp_path: Path) -> None:
    assert Volume((nifti(tmp_path / "a.nii", VOXELS[..., None]),), ("a",)).pixels().shape == (
        3,
        4,
        5,
        1,
    )


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.zeros((4, 4, 4, 7), np.int16), ("holds 7 volumes of 4×4×4", "3-D")),
        (np.zeros((4, 4), np.int16), ("no volume", "4×4")),
        (np.zeros((4, 4, 4), np.complex64), ("complex",)),
        (np.zeros((4, 4, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")]), ("colours",)),
        (
            np.where(np.arange(60).reshape(5, 4, 3) > 57, np.nan, 1).astype(np.float32),
            ("2 of its voxels", "(4, 3, 1)"),
        ),
        (
            np.where(np.arange(60).reshape(5, 4, 3) == 5, np.inf, 1.0),
            ("1 of its voxels", "(0, 1, 2)"),
        ),
    ],
)
def test_what_is_no_volume_of_numbers(
    tmp_path: Path, values: np.ndarray, words: tuple[str, ...]
) -> None:
    refused(nifti(tmp_path / "a.nii.gz", values), *words)


def test_a_place_that_is_not_known(tmp_path: Path) -> None:
    whole = bytearray(nifti(tmp_path / "a.nii").read_bytes())
    whole[252:256] = bytes(4)  # qform_code and sform_code
    (tmp_path / "a.nii").write_bytes(whole)
    refused(tmp_path / "a.nii", "position and orientation", "qform_code and sform_code are 0")
    flat = TURNED.copy()
    flat[:, 1] = flat[:, 0]
    image = nib.load(nifti(tmp_path / "b.nii"))
    for field, row in zip(("srow_x", "srow_y", "srow_z"), flat, strict=False):
        image.header[field] = row
    (tmp_path / "c.nii").write_bytes(image.header.binaryblock + b"\0\0\0\0" + VOXELS.tobytes("F"))
    refused(tmp_path / "c.nii", "singular")


def test_files_that_are_cut_off(tmp_path: Path) -> None:
    whole = nifti(
        tmp_path / "a.nii.gz",
        np.random.default_rng(1).integers(0, 9999, (20, 20, 20)).astype(np.int16),
    ).read_bytes()
    for size in (0, 100, len(whole) // 2):
        (tmp_path / "cut.nii.gz").write_bytes(whole[:size])
        refused(tmp_path / "cut.nii.gz", "empty" if size == 0 else "cut off")
    (tmp_path / "cut.nii").write_bytes(gzip.decompress(whole)[:-100])
    refused(tmp_path / "cut.nii", "cut off")
    (tmp_path / "text.nii").write_text("hello " * 200)
    refused(tmp_path / "text.nii", "no NIfTI")
    refused(tmp_path / "not there.nii", "No such file")


def damaged(whole: bytes, start: int, end: int, count: int) -> Iterator[bytes]:
    rng = np.random.default_rng(4)
    for _ in range(count):
        data = bytearray(whole)
        for place in rng.integers(start, end, rng.integers(1, 6)):
            data[place] = rng.integers(256)
        yield bytes(data)


def test_damaged_heads_are_one_line(
    tmp_path: Path, series: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path, lines = nifti(tmp_path / "a.nii"), set()
    for file, source, start, end in ((path, path, 0, 348), (series / "b.dcm", series, 128, 900)):
        for data in damaged(file.read_bytes(), start, min(end, file.stat().st_size), 90):
            file.write_bytes(data)
            try:
                Volume((source,), ("a",)).pixels()
            except DataError as error:
                lines.add(str(error))
    assert len(lines) > 20 and not any("\n" in line or "Nobody" in line for line in lines)
    assert capfd.readouterr().err == ""


def test_a_file_that_promises_too_much(tmp_path: Path) -> None:
    image = nib.Nifti1Image(VOXELS, TURNED)
    image.header.set_data_shape((3000, 3000, 3000))
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(image.header.binaryblock + bytes(400)))
    refused(tmp_path / "a.nii.gz", "3000×3000×3000", "268,435,456")


def test_channels_must_lie_on_each_other(tmp_path: Path) -> None:
    one, moved = nifti(tmp_path / "a.nii"), TURNED.copy()
    moved[0, 3] += 1
    for other, word in (
        (nifti(tmp_path / "b.nii", VOXELS[:4]), "4×4×3"),
        (nifti(tmp_path / "c.nii", affine=moved), "1 mm off"),
    ):
        with pytest.raises(DataError, match=word) as error:
            Volume((one, other), ("a", "b")).header()
        assert str(one) in str(error.value) and str(other) in str(error.value)
    moved[0, 3] -= 0.99
    volumes.check_overlay(one, nifti(tmp_path / "d.nii", affine=moved))


# Intensities


def test_the_window_is_that_of_what_is_not_background() -> None:
    rng = np.random.default_rng(2)
    inside = rng.normal(0, 1, 20_000).astype(np.float32)
    values = np.concatenate([np.full(80_000, -9.0, np.float32), inside])
    out = volumes.windowed(values)
    low, high = np.percentile(inside, [0.1, 99.9], method="nearest")
    assert (out[:80_000] == 0).all() and (out[80_000:] >= 1).all()
    expected = 1 + 65534 * np.clip((inside.astype(np.float64) - low) / (high - low), 0, 1)
    assert np.abs(out[80_000:] - expected).max() < 1


@given(
    arrays.arrays(np.float32, st.integers(2, 60), elements=st.floats(-1e6, 1e6, width=32)),
    st.floats(1e-3, 1e3),
    st.floats(-100, 100),
)
def test_the_window_keeps_order(values: np.ndarray, scale: float, shift: float) -> None:
    out = volumes.windowed(values).astype(int)
    assert (np.diff(out[np.argsort(values, kind="stable")]) >= 0).all()
    assert out.max() == (65535 if len(np.unique(values)) > 1 else 0)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([7, 7, 7], [0, 0, 0]),
        ([0, 0, 0, 5], [0, 0, 0, 65535]),
        ([0, 5, 5, 5], [1, 65535, 65535, 65535]),
    ],
)
def test_windows_of_few_values(values: list[float], expected: list[int]) -> None:
    assert volumes.windowed(np.array(values, np.float32)).tolist() == expected


# Labels


def test_labels_within_a_thousandth_of_whole_numbers(tmp_path: Path) -> None:
    numbers = np.arange(60).reshape(5, 4, 3)
    path = nifti(tmp_path / "a.nii", (numbers * 0.99999997).astype(np.float64))
    np.testing.assert_array_equal(volumes.labels(path), numbers.T)
    assert volumes.labels(path).dtype == np.uint8
    for wrong, words in ((0.37, "0.37"), (-1.0, "-1"), (256.0, "256"), (np.nan, "nan")):
        values = numbers.astype(np.float64)
        values[4, 2, 1] = wrong
        with pytest.raises(DataError, match=r"\(4, 2, 1\)") as error:
            volumes.labels(nifti(tmp_path / "b.nii", values))
        assert words in str(error.value)


GEOMETRY = (
    "pixdim",
    "qform_code",
    "sform_code",
    "quatern_b",
    "quatern_c",
    "quatern_d",
    "qoffset_x",
    "srow_x",
    "srow_y",
    "srow_z",
    "xyzt_units",
)


@pytest.mark.parametrize("affine", [TURNED, FLIPPED, np.eye(4)])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("codes", [(0, 2), (1, 0), (2, 1)])
def test_labels_overlay_their_source(
    tmp_path: Path, affine: np.ndarray, kind: Any, codes: tuple[int, int]
) -> None:
    like = nifti(
        tmp_path / "source.nii.gz",
        affine=affine,
        kind=kind,
        codes=codes,
        xyzt_units=2,
        descrip=b"secret",
    )
    shape, space = volumes.grid(like)
    said = np.random.default_rng(3).integers(0, 200, shape).astype(np.uint8)
    volumes.write_nifti(tmp_path / "out.nii.gz", said, space, like)
    source, written = nib.load(like), nib.load(tmp_path / "out.nii.gz")
    assert (int(source.header["qform_code"]), int(source.header["sform_code"])) == codes
    assert (
        written.shape == source.shape
        and type(written) is type(source)
        and written.get_data_dtype() == np.uint8
    )
    assert written.affine.tobytes() == source.affine.tobytes()
    for field in GEOMETRY:
        assert written.header[field].tobytes() == source.header[field].tobytes(), field
    assert b"secret" not in gzip.decompress((tmp_path / "out.nii.gz").read_bytes())
    np.testing.assert_array_equal(volumes.labels(tmp_path / "out.nii.gz"), said)
    volumes.check_overlay(like, tmp_path / "out.nii.gz")


def test_labels_without_a_nifti_source(tmp_path: Path) -> None:
    said = np.zeros((3, 4, 5), np.uint8)
    volumes.write_nifti(tmp_path / "out.nii", said, VolumeGeometry((3, 2, 1), TURNED))
    np.testing.assert_allclose(nib.load(tmp_path / "out.nii").affine, TURNED, rtol=1e-6)
    assert nib.load(tmp_path / "out.nii").shape == (5, 4, 3)
    with pytest.raises(UsageError, match=r"\.nii\.gz"):
        volumes.write_nifti(tmp_path / "out.png", said, VolumeGeometry((3, 2, 1), TURNED))
    volumes.write_nifti(tmp_path / "again.nii.gz", said, VolumeGeometry((3, 2, 1), TURNED))
    assert (
        gzip.decompress((tmp_path / "again.nii.gz").read_bytes())
        == (tmp_path / "out.nii").read_bytes()
    )


def test_letters_of_axes() -> None:
    assert volumes.letters(np.eye(4)) == "RAS"
    assert volumes.letters(np.diag([-1, -1, 1, 1])) == "LPS"


@pytest.mark.parametrize(("library", "name"), [("nibabel", "a.nii"), ("pydicom", "a.dcm")])
def test_a_library_that_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str, name: str
) -> None:
    (tmp_path / name).write_bytes(b"1")
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(UsageError, match=r"pellucid\[medical\]"):
        volumes.grid(tmp_path / name)


# DICOM


def slice_of(number: int, series: str = "1.2.3", **fields: Any) -> Any:
    """One slice of a series whose rows run backwards and down;
    stored values 100·number + 10·row + column."""
    head = pydicom.Dataset()
    head.file_meta = pydicom.dataset.FileMetaDataset()
    head.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    head.file_meta.MediaStorageSOPClassUID = head.SOPClassUID = pydicom.uid.MRImageStorage
    head.file_meta.MediaStorageSOPInstanceUID = head.SOPInstanceUID = f"{series}.{number + 1}"
    head.SeriesInstanceUID, head.Modality, head.PatientName = series, "MR", "Nobody^At^All"
    head.Rows, head.Columns, head.SamplesPerPixel, head.PhotometricInterpretation = (
        4,
        5,
        1,
        "MONOCHROME2",
    )
    head.BitsAllocated, head.BitsStored, head.HighBit, head.PixelRepresentation = 16, 12, 11, 0
    head.PixelSpacing, head.ImageOrientationPatient = [2.0, 1.5], [0, 1, 0, 0, 0, -1]
    head.ImagePositionPatient = [10.0 - 3 * number, 20, 30]
    head.RescaleSlope, head.RescaleIntercept = number + 1, -1000
    rows, columns = np.mgrid[:4, :5]
    head.PixelData = (100 * number + 10 * rows + columns).astype("<u2").tobytes()
    for name, value in fields.items():
        setattr(head, name, value)
    return head


def saved(path: Path, head: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    head.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture
def series(tmp_path: Path) -> Path:
    for number, name in enumerate("dacb"):  # names say nothing of the order
        saved(tmp_path / "series" / f"{name}.dcm", slice_of(number))
    return tmp_path / "series"


def test_a_series_is_ordered_by_where_its_slices_lie(series: Path) -> None:
    shape, space = volumes.grid(series)
    assert shape == (4, 4, 5) and space.spacing == pytest.approx((3, 2, 1.5))
    # row × column direction is (−1, 0, 0), so the slices come in the order of their numbers.
    rows, columns = np.mgrid[:4, :5]
    expected = np.stack([(n + 1) * (100 * n + 10 * rows + columns) - 1000 for n in range(4)])
    np.testing.assert_array_equal(volumes.voxels(series), expected)
    for n, row, column in ((0, 0, 0), (2, 3, 1)):
        x, y, z = np.array([10 - 3 * n, 20 + 1.5 * column, 30 - 2.0 * row])
        np.testing.assert_allclose(space.affine @ [column, row, n, 1], [-x, -y, z, 1])
    assert Volume((series,), ("a",)).header() == Header(4, 5, 1, 16, 4)
    assert volumes.letters(space.affine) == "PIR"


def test_dark_that_is_high(series: Path) -> None:
    before = volumes.voxels(series)
    for number, name in enumerate("dacb"):
        saved(series / f"{name}.dcm", slice_of(number, PhotometricInterpretation="MONOCHROME1"))
    np.testing.assert_array_equal(volumes.voxels(series), -before)


def test_frames_of_one_file_are_the_same_volume(series: Path, tmp_path: Path) -> None:
    def item(**fields: Any) -> Any:
        inside = pydicom.Dataset()
        for name, value in fields.items():
            setattr(inside, name, value)
        return inside

    frames, whole = [slice_of(n) for n in (2, 0, 3, 1)], slice_of(0)
    for name in (
        "PixelSpacing",
        "ImageOrientationPatient",
        "ImagePositionPatient",
        "RescaleSlope",
        "RescaleIntercept",
    ):
        delattr(whole, name)
    whole.NumberOfFrames, whole.PixelData = 4, b"".join(each.PixelData for each in frames)
    measures, planes = (
        item(PixelSpacing=[2.0, 1.5]),
        item(ImageOrientationPatient=[0, 1, 0, 0, 0, -1]),
    )
    whole.SharedFunctionalGroupsSequence = [
        item(PixelMeasuresSequence=[measures], PlaneOrientationSequence=[planes])
    ]
    whole.PerFrameFunctionalGroupsSequence = [
        item(
            PlanePositionSequence=[item(ImagePositionPatient=each.ImagePositionPatient)],
            PixelValueTransformationSequence=[
                item(RescaleSlope=each.RescaleSlope, RescaleIntercept=each.RescaleIntercept)
            ],
        )
        for each in frames
    ]
    one = saved(tmp_path / "one.dcm", whole)
    np.testing.assert_array_equal(volumes.voxels(one), volumes.voxels(series))
    np.testing.assert_allclose(volumes.grid(one)[1].affine, volumes.grid(series)[1].affine)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"SeriesInstanceUID": "1.2.4"}, "2 series"),
        ({"ImagePositionPatient": [7.0, 20, 30]}, "at one place"),
        ({"ImagePositionPatient": [-5.0, 20, 30]}, "slices are missing"),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}, "differ in their axes"),
        ({"Rows": 5, "Columns": 4}, "differ in their size"),
        ({"PixelSpacing": None}, "no pixel spacing"),
        ({"ImagePositionPatient": None}, "no position"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "MOSAIC"]}, "a mosaic"),
        ({"SamplesPerPixel": 3}, "colour"),
        ({"PixelData": b"\0\0"}, "its pixels cannot be read"),
    ],
)
def test_a_series_that_cannot_be_read(series: Path, fields: dict[str, Any], words: str) -> None:
    saved(series / "b.dcm", slice_of(3, **fields))
    with pytest.raises(DataError, match=words) as error:
        volumes.voxels(series)
    assert str(series) in str(error.value) and "Nobody" not in str(error.value)


def test_other_files_in_a_series(series: Path) -> None:
    (series / "c.dcm").unlink()
    with pytest.raises(DataError, match="slices are missing"):
        volumes.grid(series)
    for name in "ab":
        (series / f"{name}.dcm").unlink()
    with pytest.raises(DataError, match="holds 1 slice"):
        volumes.grid(series)
    (series / "text.dcm").write_text("no DICOM " * 100)
    with pytest.raises(DataError, match="is not DICOM"):
        volumes.grid(series)


def test_pixels_compressed_in_a_way_that_cannot_be_read(series: Path) -> None:
    head = slice_of(3)
    head.file_meta.TransferSyntaxUID = pydicom.uid.JPEGLSLossless
    head.PixelData = pydicom.encaps.encapsulate([b"\0\0"])
    saved(series / "b.dcm", head)
    if not pydicom.pixels.get_decoder(pydicom.uid.JPEGLSLossless).is_available:
        with pytest.raises(DataError, match="JPEG-LS"):
            dicom.grid(series)
