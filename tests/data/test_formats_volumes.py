from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pellucid.core.errors import DataError
from pellucid.core.types import IGNORE, Mask
from pellucid.data.formats import volumes
from pellucid.data.volumes import Volume

nib = pytest.importorskip("nibabel")

SHAPE = (6, 5, 4)  # i, j, k
AFFINE = np.diag([-1.0, -1.5, 3.0, 1.0])
RNG = np.random.default_rng(0)


def nifti(path: Path, values: np.ndarray | None = None, affine: np.ndarray = AFFINE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = RNG.normal(size=SHAPE).astype(np.float32) if values is None else values
    nib.save(nib.Nifti1Image(values, affine), path)
    return path


def said(*values: int) -> np.ndarray:
    return np.resize(np.array(values, np.int16), SHAPE)


def patient(folder: Path, *values: int, prefix: str = "", label: str = "OTMultiClass") -> None:
    for name in ("Flair", "T1c"):
        nifti(folder / f"{prefix}{name}.nii.gz")
    nifti(folder / f"{prefix}{label}.nii.gz", said(*values).astype(np.float32))


def test_a_folder_a_patient(tmp_path: Path) -> None:
    patient(tmp_path / "p2", 0, 1, 2, 4)
    patient(tmp_path / "p10", 0, 4)
    nifti(tmp_path / "p2" / "brainmask.nii.gz", said(0, 1))
    assert volumes.recognise(tmp_path)
    reading = volumes.read(tmp_path)
    assert (
        [sample.source for sample in reading.samples]
        == [sample.group for sample in reading.samples]
        == ["p2", "p10"]
    )
    assert reading.format == "volumes" and reading.root == tmp_path
    # 3 is nobody's label: 4 becomes class 3 and keeps its name.
    assert reading.classes == ("0", "1", "2", "4") and "have holes" in reading.notes[0]
    first = reading.samples[0]
    assert isinstance(first.image, Volume) and first.image.names == ("Flair", "T1c")
    assert [file.name for file in first.image.files] == ["Flair.nii.gz", "T1c.nii.gz"]
    assert (
        isinstance(first.target, Mask)
        and first.target.shape == SHAPE[::-1]
        and first.target.spacing == (3.0, 1.5, 1.0)
    )
    expected = np.array([0, 1, 2, 9, 3])[said(0, 1, 2, 4)].T
    np.testing.assert_array_equal(first.target.labels(), expected)
    assert reading.left_out == (("p2/brainmask.nii.gz", "a mask of where to look"),)
    assert (
        "2 volumes with labels of 4 classes" in reading.why
        and "3×1.5×1 mm" in reading.why
        and "LPS" in reading.why
    )


def test_names_that_begin_with_the_patient(tmp_path: Path) -> None:
    for name in ("BraTS_001", "BraTS_002"):
        patient(tmp_path / name, 0, 1, prefix=f"{name}_", label="seg")
    reading = volumes.read(tmp_path)
    assert all(sample.image.names == ("Flair", "T1c") for sample in reading.samples)
    found = volumes.find(tmp_path / "BraTS_002", ("T1c", "Flair"))
    assert [file.name for file in found[0].image.files] == [
        "BraTS_002_T1c.nii.gz",
        "BraTS_002_Flair.nii.gz",
    ]


@pytest.mark.parametrize("label", ["brainmask", "second"])
def test_labels_that_no_name_tells_of(tmp_path: Path, label: str) -> None:
    """Where nothing is called labels, a mask is; else what holds a few whole numbers."""
    patient(tmp_path / "p", 0, 1, label=label)
    reading = volumes.read(tmp_path)
    assert reading.samples[0].image.names == ("Flair", "T1c") and reading.classes == ("0", "1")


def test_nnunet(tmp_path: Path) -> None:
    labels = {"background": 0, "edema": 1, "core": 2, "ignore": 3}
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": labels}))
    for case, part in (("b_1", "Tr"), ("b_2", "Tr"), ("b_9", "Ts")):
        for channel in ("0000", "0001"):
            nifti(tmp_path / f"images{part}" / f"{case}_{channel}.nii.gz")
        nifti(tmp_path / f"labels{part}" / f"{case}.nii.gz", said(0, 1, 3))
    nifti(tmp_path / "imagesTr" / "b_3_0000.nii.gz")
    nifti(tmp_path / "labelsTr" / "b_4.nii.gz", said(0, 1))
    reading = volumes.read(tmp_path)
    # "core" occurs nowhere and stays a class; "ignore" is none.
    assert reading.classes == ("background", "edema", "core")
    assert set(np.unique(reading.samples[0].target.labels())) == {0, 1, IGNORE}
    assert reading.notes == ("120 voxels are labelled 3: nobody is asked about them",)
    by_source = {sample.source: sample for sample in reading.samples}
    assert by_source["imagesTs/b_9_0000.nii.gz"].image.names == ("0000", "0001")
    assert {
        part: [reading.samples[i].group for i in rows] for part, rows in reading.given.items()
    } == {
        "train": ["b_1", "b_2"],
        "test": ["b_9"],
    }
    assert dict(reading.left_out) == {
        "imagesTr/b_3_0000.nii.gz": "a volume without labels",
        "labelsTr/b_4.nii.gz": "labels without a volume",
    }
    found = volumes.find(tmp_path / "imagesTs", ("0000", "0001"))
    assert [sample.source for sample in found] == ["b_9_0000.nii.gz"] and len(
        found[0].image.files
    ) == 2


def test_the_decathlons_names_and_images_beside_labels(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text(
        json.dumps({"labels": {"0": "background", "1": "spleen"}})
    )
    for case in ("x", "y"):
        nifti(tmp_path / "images" / f"{case}.nii")
        nifti(tmp_path / "labels" / f"{case}.nii.gz", said(0, 1))
    reading = volumes.read(tmp_path)
    assert (
        reading.classes == ("background", "spleen") and reading.given == {} and reading.notes == ()
    )
    assert [sample.source for sample in reading.samples] == ["images/x.nii", "images/y.nii"]
    # A model that learnt from these is asked about any volume, and about no labels.
    assert [sample.source for sample in volumes.find(tmp_path, reading.samples[0].image.names)] == [
        "images/x.nii",
        "images/y.nii",
    ]
    nifti(tmp_path / "labels" / "y.nii.gz", said(0, 1, 2))
    with pytest.raises(DataError, match=r"says 2, which has no name in .*dataset\.json"):
        volumes.read(tmp_path)


def test_volumes_and_labels_side_by_side(tmp_path: Path) -> None:
    for case in ("patient1_frame01", "patient1_frame12"):
        nifti(tmp_path / "patient1" / f"{case}.nii.gz")
        nifti(tmp_path / "patient1" / f"{case}_gt.nii.gz", said(0, 1))
    nifti(tmp_path / "patient1" / "patient1_4d.nii.gz", np.zeros((*SHAPE, 2), np.int16))
    reading = volumes.read(tmp_path)
    assert [sample.group for sample in reading.samples] == ["patient1", "patient1"]
    assert reading.samples[1].source == "patient1/patient1_frame12.nii.gz"
    assert reading.left_out == (("patient1/patient1_4d.nii.gz", "a volume without labels"),)


def test_255_is_a_class_only_beside_nothing(tmp_path: Path) -> None:
    patient(tmp_path / "a" / "p", 0, 255)
    reading = volumes.read(tmp_path / "a")
    assert reading.classes == ("background", "foreground")
    np.testing.assert_array_equal(reading.samples[0].target.labels(), (said(0, 1)).T)
    patient(tmp_path / "b" / "p", 0, 1, 255)
    reading = volumes.read(tmp_path / "b")
    assert (
        reading.classes == ("0", "1")
        and reading.samples[0].target.counts[IGNORE] == 40
        and "40 voxels" in reading.notes[0]
    )


def test_labels_of_another_grid_name_both_files(tmp_path: Path) -> None:
    patient(tmp_path / "p", 0, 1, label="seg")
    flipped = np.diag([1.0, -1.5, 3.0, 1.0])
    for values, affine, words in (
        (said(0, 1)[:5], AFFINE, "5×5×4"),
        (said(0, 1), flipped, "RPS against LPS"),
    ):
        nifti(tmp_path / "p" / "seg.nii.gz", values, affine)
        with pytest.raises(DataError, match=words) as error:
            volumes.read(tmp_path)
        assert "seg.nii.gz" in str(error.value) and "Flair.nii.gz" in str(error.value)


def test_what_cannot_be_used_is_named(tmp_path: Path) -> None:
    for name in ("p1", "p2", "p3", "p4"):
        patient(tmp_path / name, 0, 1)
    (tmp_path / "p2" / "T1c.nii.gz").unlink()
    (tmp_path / "p3" / "OTMultiClass.nii.gz").unlink()
    nifti(tmp_path / "p4" / "T1c.nii.gz", np.zeros((*SHAPE, 2), np.int16))
    nifti(tmp_path / "p1" / "T2.nii.gz")
    reading = volumes.read(tmp_path)
    assert [sample.source for sample in reading.samples] == ["p1"] and reading.samples[
        0
    ].image.names == ("Flair", "T1c")
    left_out = dict(reading.left_out)
    assert (
        left_out["p2"] == "a patient without the channel T1c"
        and left_out["p3"] == "a patient without labels"
    )
    assert (
        left_out["p4/T1c.nii.gz"].startswith("holds 2 volumes")
        and left_out["p1/T2.nii.gz"] == "a channel that most have not"
    )
    assert "left out: " in reading.why
    assert any(
        note.startswith("WARNING: 1 patient left out") and "p4/T1c.nii.gz: holds 2 volumes" in note
        for note in reading.notes
    )


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda root: patient(root / "p", 0), "all labels are 0"),
        (
            lambda root: (patient(root / "p", 0, 1), nifti(root / "p" / "seg.nii.gz", said(0, 1))),
            "several files look like labels",
        ),
        (lambda root: nifti(root / "p" / "Flair.nii.gz"), "no volume with its labels"),
        (
            lambda root: nifti(root / "p" / "seg.nii.gz", np.full(SHAPE, 0.4)),
            "no volume with its labels",
        ),
        (lambda root: patient(root / "p", 0, 300), "labelled 300"),
        (
            lambda root: (
                patient(root / "p", 0, 1),
                (root / "dataset.json").write_text('{"labels": {"a": [1, 2]}}'),
            ),
            "regions of several",
        ),
    ],
)
def test_sets_that_cannot_be_read(tmp_path: Path, make: object, words: str) -> None:
    make(tmp_path)  # type: ignore[operator]
    with pytest.raises(DataError, match=words) as error:
        volumes.read(tmp_path)
    assert "\n" not in str(error.value) and str(tmp_path) in str(error.value)


def test_recognised_by_names_alone(tmp_path: Path) -> None:
    for name in ("a.png", "b.gz", ".hidden.nii", "c.nii.txt"):
        (tmp_path / name).touch()
    assert not volumes.recognise(tmp_path)
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "x.NII.GZ").touch()
    assert volumes.recognise(tmp_path) and volumes.recognise(tmp_path / "deep" / "er" / "x.NII.GZ")
    with pytest.raises(DataError, match="one volume is no data set"):
        volumes.read(tmp_path / "deep" / "er" / "x.NII.GZ")


def test_find_what_a_user_names(tmp_path: Path) -> None:
    patient(tmp_path / "p1", 0, 1)
    patient(tmp_path / "p2", 0, 1)
    both = volumes.find(tmp_path, ("Flair", "T1c"))
    assert [(sample.source, sample.target, len(sample.image.files)) for sample in both] == [
        ("p1", None, 2),
        ("p2", None, 2),
    ]
    assert volumes.find(tmp_path / "p1", ("Flair", "T1c"))[0].source == "p1"
    one = volumes.find(tmp_path / "p1" / "Flair.nii.gz", ("0000",))
    assert one[0].source == "Flair.nii.gz" and one[0].image.header().channels == 1
    for path, names, words in (
        (tmp_path, ("Flair", "T2"), r"p1: has no channel T2, .* there is Flair, OTMultiClass, T1c"),
        (tmp_path / "p1" / "T1c.nii.gz", ("Flair", "T1c"), "one file, but the model looks at 2"),
        (tmp_path / "nowhere", ("Flair",), "does not exist"),
    ):
        with pytest.raises(DataError, match=words):
            volumes.find(path, names)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no volume"):
        volumes.find(tmp_path / "empty", ("Flair",))
    (tmp_path / "series").mkdir()
    (tmp_path / "series" / "1.dcm").touch()
    assert volumes.find(tmp_path / "series", ("0000",))[0].image.files == (tmp_path / "series",)
