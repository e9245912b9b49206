"""Segmentation: targets move with their images, the views of a volume become one result, and a
network trains."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

import pellucid
from pellucid.core.errors import DataError, UsageError
from pellucid.core.rng import Draws
from pellucid.core.types import IGNORE, Batch, Mask, ViewTransform
from pellucid.data.images import write
from pellucid.data.sample import Sample
from pellucid.tasks.segmentation import data as segmentation_data
from pellucid.tasks.segmentation.inference import SegmentationInference
from pellucid.tasks.segmentation.postprocess import Postprocessing, calibrated, label_mask
from pellucid.tasks.segmentation.preprocess import SegmentationPreprocess
from pellucid.tasks.segmentation.random_crops import crop_batch, training_targets
from pellucid.tasks.segmentation.result import SegmentationResult
from pellucid.tasks.segmentation.settings import SegmentationSettings
from pellucid.tasks.segmentation.training import SegmentationTraining
from pellucid.tasks.segmentation.volume_views import (
    default_windows,
    labels_in_view,
    make_views,
    merge,
)
from pellucid.transforms.augment import POLICIES, Augmentation
from pellucid.transforms.sliding_window import Windows


def discs(folder: Path, count: int = 12, side: tuple[int, int] = (48, 64)) -> Path:
    """Bright discs on a darker, noisy ground, and their masks of 0 and 255."""
    rng = np.random.default_rng(0)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for number in range(count):
        mask = np.zeros(side, np.uint8)
        for _ in range(3):
            x, y = rng.integers(6, side[1] - 6), rng.integers(6, side[0] - 6)
            cv2.circle(mask, (int(x), int(y)), int(rng.integers(4, 9)), 255, -1)
        picture = np.clip(70 + 0.4 * mask + rng.normal(0, 12, side), 0, 255).astype(np.uint8)
        write(folder / "images" / f"{number}.png", picture[..., None])
        write(folder / "masks" / f"{number}.png", mask[..., None])
    return folder


def batch_of(pictures: np.ndarray, labels: np.ndarray) -> Batch:
    """B×H×W of each, a view the whole of its picture."""
    transforms = tuple(
        ViewTransform(np.eye(2, 3), labels.shape[1:], labels.shape[1:]) for _ in pictures
    )
    targets = np.empty(len(pictures), object)
    for row, each in enumerate(labels):
        targets[row] = Mask.of(each)
    return Batch(
        torch.from_numpy(pictures)[:, None],
        targets,
        transforms,
        tuple(map(str, range(len(pictures)))),
    )


@pytest.mark.parametrize(
    "how",
    [
        Augmentation(),
        POLICIES["fields"],
        POLICIES["quarters"],
        Augmentation(mirror=1.0),
        Augmentation(elastic=0.05),
    ],
)
@pytest.mark.parametrize("patch", [(24, 24), (40, 56)])
def test_targets_move_with_their_images(how: Augmentation, patch: tuple[int, int]) -> None:
    """Images whose brightness is their label: they still agree away from edges, where bilinear and
    nearest differ."""
    rng = np.random.default_rng(1)
    small = rng.integers(0, 3, (6, 5, 7)).astype(np.uint8)
    labels = small.repeat(8, 1).repeat(8, 2)
    how = replace(how, colour=0.0)
    images, cropped = crop_batch(
        batch_of(labels * 100, labels), patch, how, Draws(0, 0, np.arange(6)), [0]
    )
    assert images.shape == (6, 1, *patch) and cropped.shape == (6, 1, *patch)
    known = cropped != IGNORE
    agree = (images - cropped.float() * 100).abs() < 26
    assert known.float().mean() > 0.9
    assert agree[known].float().mean() > 0.9


def test_half_of_the_crops_surround_foreground() -> None:
    labels = np.zeros((1, 200, 200), np.uint8)
    labels[0, 150:154, 30:34] = 1
    batch = batch_of(np.zeros_like(labels), labels)
    held = [
        (crop_batch(batch, (32, 32), Augmentation(), Draws(seed, 0, np.arange(1)), [0])[1] == 1)
        .any()
        .item()
        for seed in range(60)
    ]
    assert 0.35 < np.mean(held) < 0.75


def test_several_annotators_give_shares() -> None:
    labels = torch.tensor([[[[0, 1, 1, IGNORE]], [[0, 0, 1, 1]]]], dtype=torch.uint8)
    shares = training_targets(labels, 2)
    assert shares.shape == (1, 2, 1, 4)
    assert shares[0, 1, 0].tolist() == [0.0, 0.5, 1.0, 0.0] and shares[0].sum(0)[0].tolist() == [
        1.0,
        1.0,
        1.0,
        0.0,
    ]


@pytest.mark.parametrize("look", ["volume", "neighbours", "planes"])
def test_merged_views_of_a_volume_are_the_volume(look: str) -> None:
    """With the voxels of the middle slice as the output."""
    volume = np.random.default_rng(0).integers(0, 60000, (7, 12, 9, 2)).astype(np.uint16)
    windows = Windows((4, 8, 8), 0, (2, 4, 4)) if look == "volume" else Windows((12, 12))
    views = make_views(volume, look, windows, None)
    assert {view.shape for view, _ in views} == {(4, 8, 8, 2) if look == "volume" else (12, 12, 6)}
    own = slice(0, 2) if look == "volume" else slice(2, 4)
    outputs = torch.stack(
        [torch.from_numpy(view[..., own].astype(np.float32)).movedim(-1, 0) for view, _ in views]
    )
    found = merge(outputs, [transform for _, transform in views], windows)
    assert np.allclose(found.numpy(), volume.transpose(3, 0, 1, 2), rtol=1e-5)


@pytest.mark.parametrize("look", ["volume", "neighbours", "planes"])
def test_labels_of_a_view_fit_its_pixels(look: str) -> None:
    volume = np.random.default_rng(0).integers(0, 5, (7, 12, 9)).astype(np.uint8)
    windows = Windows((4, 8, 8)) if look == "volume" else Windows((12, 12))
    for view, transform in make_views(volume[..., None].astype(np.uint16), look, windows, None):
        shown = view[..., 0 if look == "volume" else 1]
        labels = labels_in_view(volume, transform)
        known = labels != IGNORE
        assert known.any() and np.array_equal(labels[known], shown[known])


def test_the_threshold_is_the_best_of_all() -> None:
    rng = np.random.default_rng(0)
    target = (rng.random((40, 40)) < 0.3).astype(np.uint8)
    likely = np.clip(0.25 + 0.3 * target + rng.normal(0, 0.1, target.shape), 0, 1)
    probabilities = (np.stack([1 - likely, likely]) * 255).round().astype(np.uint8)
    result = SegmentationResult("a", (40, 40), ("b", "f"), target, probabilities)
    how = calibrated(Postprocessing(), [Mask.of(target)], [result], "dice", 0)

    def dice(at: float) -> float:
        mask = label_mask(probabilities, Postprocessing(threshold=at))
        return float(2 * (mask & target).sum() / (mask.sum() + target.sum()))

    assert dice(how.threshold) == pytest.approx(max(dice(at / 255) for at in range(1, 256)))


@pytest.mark.parametrize("model", ["unet", "csp_tiny", "unet_2015"])
def test_a_network_is_trained_on_discs(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trained for seconds it beats half of the way from background to target; evaluated again from
    its file, it scores the same."""
    monkeypatch.chdir(tmp_path)
    data = discs(tmp_path / "discs")
    run = pellucid.train(
        data,
        model=model,
        width=4,
        patch=32,
        epochs=1,
        batch=8,
        threads=1,
        baselines=False,
        quiet=True,
    )
    assert run.summary["task"] == "segmentation"
    assert run.summary["test"]["dice"]["value"] > (0.5 if model == "unet_2015" else 0.85)
    again = pellucid.evaluate(run.path, data, quiet=True)
    assert again.evidence["dice"]["value"] > (0.5 if model == "unet_2015" else 0.85)
    results = pellucid.predict(
        run.path, data / "images", out=tmp_path / "drawn", quiet=True
    ).results
    assert len(results) == 12 and all(result.mask.shape == (48, 64) for result in results)
    assert (run.path / "report.html").is_file()


def test_images_of_any_size_have_a_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = discs(tmp_path / "discs", count=8)
    run = pellucid.train(data, width=2, patch=16, epochs=1, threads=1, baselines=False, quiet=True)
    for size in ((16, 16), (17, 300), (200, 130)):
        write(tmp_path / "odd.png", np.full((*size, 1), 90, np.uint8))
        (result,) = pellucid.predict(run.path, tmp_path / "odd.png", quiet=True).results
        assert result.mask.shape == size
    for size in ((1, 1), (5, 300)):
        write(tmp_path / "tiny.png", np.full((*size, 1), 90, np.uint8))
        with pytest.raises(DataError, match=r"tiny\.png: .* less than one place"):
            pellucid.predict(run.path, tmp_path / "tiny.png", quiet=True)


def test_settings_of_other_tasks_are_refused(tmp_path: Path) -> None:
    data = discs(tmp_path / "discs", count=6)
    for settings, says in (
        ({"mixup": 0.2}, "mixup"),
        ({"detector": "yolo"}, "detector"),
        ({"loss": "hinge"}, "loss"),
        ({"score": "map"}, "score"),
        ({"look": "volume"}, "look"),
        ({"patch": 8}, "patch: 8×8 is less than 16×16"),
        ({"size": (16, 16), "model": "resnet18"}, "size: windows of 16×16"),
        ({"annotator": "nobody"}, "annotator"),
    ):
        with pytest.raises(UsageError, match=says):
            pellucid.train(data, quiet=True, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [(188, 188), (188, 220), (204, 204)])
def test_outputs_without_padding_leave_no_gap(size: tuple[int, int]) -> None:
    """The smallest window of the paper's network has an output of 4×4 pixels, less than the 16 that
    windows otherwise begin at multiples of."""
    windows = default_windows(size, 92, 16)
    views = windows.views(np.zeros((40, 50, 1), np.uint8))
    merged = windows.blended(
        [torch.ones(1, *windows.answer) for _ in views], [transform for _, transform in views]
    )
    assert torch.allclose(merged, torch.ones(1, 40, 50))


def test_inputs_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    flat = SegmentationPreprocess((16, 16), 1)
    solid = replace(flat, look="neighbours")
    with pytest.raises(DataError, match="volume"):
        flat.views(Sample(np.zeros((3, 16, 16, 1), np.uint16), None, "v"), "none")
    with pytest.raises(DataError, match="flat"):
        solid.views(Sample(np.zeros((16, 16, 1), np.uint8), None, "p"), "none")
    with pytest.raises(DataError, match="has 2 channels, and this model knows 1"):
        solid.views(Sample(np.zeros((3, 16, 16, 2), np.uint16), None, "p"), "none")
    (tmp_path / "v.nii.gz").touch()
    with pytest.raises(DataError, match="is a volume, and this model knows flat pictures"):
        segmentation_data.find_inputs(tmp_path / "v.nii.gz", flat)
    (tmp_path / "p.png").touch()
    with pytest.raises(DataError, match="is no volume, and this model knows volumes"):
        segmentation_data.find_inputs(
            tmp_path / "p.png", replace(solid, channel_names=("flair", "t1"))
        )


def test_options_of_inference() -> None:
    two, three = SegmentationInference(("b", "f")), SegmentationInference(("b", "f", "g"))
    assert two.with_options(tta="tiles") == two.with_options() == two
    assert two.with_options(tta="eight", threshold=0.3).threshold == 0.3
    with pytest.raises(UsageError, match="crops"):
        two.with_options(tta="ten")
    with pytest.raises(UsageError, match="threshold: is of two classes, and this model tells 3"):
        three.with_options(threshold=0.3)


@pytest.mark.parametrize(("tta", "times"), [("none", 1), ("flip", 2), ("eight", 8)])
def test_augmented_outputs_are_put_back_and_averaged(tta: str, times: int) -> None:
    """A network of single pixels: wherever they are moved, they come back to their place."""
    images = torch.rand(2, 1, 12, 12)
    calls = []

    class Pixelwise(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            calls.append(x)
            return torch.cat([torch.zeros_like(x), x], 1)

    inference = SegmentationInference(("b", "f"), tta=tta)
    found = inference.forward(Pixelwise(), images)
    expected = torch.softmax(torch.cat([torch.zeros_like(images), images], 1), 1)
    assert torch.allclose(found, expected, atol=1e-6)
    assert len({each.numpy().tobytes() for each in calls}) == len(calls) == times


def test_probabilities_are_left_out_where_nobody_needs_them() -> None:
    outputs = torch.softmax(torch.randn(1, 2, 20, 30), 1)
    batch = batch_of(np.zeros((1, 20, 30), np.uint8), np.zeros((1, 20, 30), np.uint8))
    (full,) = SegmentationInference(("b", "f")).decode(outputs, batch)
    (short,) = SegmentationInference(("b", "f")).with_options(full=False).decode(outputs, batch)
    assert full.probabilities.shape == (2, 20, 30) and short.probabilities.size == 0
    assert np.array_equal(full.mask, short.mask) and full.to_json() == short.to_json()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"focal_gamma": 1.0}, "focal_gamma is of the focal loss: needs --loss focal"),
        ({"focal_gamma": 1.0, "loss": "dice"}, "focal_gamma is of the focal loss, not of dice"),
        ({"augment": "none", "mirror": 0.5}, "augment is none, but mirror is 0.5"),
        ({"size": (8, 32)}, "size: 8 is less than a network of four halvings needs"),
    ],
)
def test_settings_that_contradict_are_refused(given: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        SegmentationSettings(**given)


def brain(folder: Path, affine: np.ndarray) -> Path:
    """A patient of two channels, in which a box is bright in both and its middle brighter."""
    import nibabel

    (folder / "p1").mkdir(parents=True)
    rng = np.random.default_rng(0)
    labels = np.zeros((24, 28, 20), np.uint8)
    labels[6:16, 8:20, 5:14] = 1
    labels[9:13, 11:16, 8:11] = 2
    for name in ("flair", "t1"):
        noisy = (150.0 * labels + rng.normal(0, 20, labels.shape)).astype(np.float32)
        nibabel.save(nibabel.Nifti1Image(noisy, affine), folder / "p1" / f"{name}.nii.gz")
    nibabel.save(nibabel.Nifti1Image(labels, affine), folder / "p1" / "labels.nii.gz")
    return folder


@pytest.mark.parametrize("look", ["volume", "neighbours", "planes"])
def test_a_volume_is_overfitted_and_written_where_it_lies(
    look: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import nibabel

    monkeypatch.chdir(tmp_path)
    affine = np.array([[-1.0, 0, 0, 30], [0, 0, 1.5, -20], [0, 2.0, 0, 7], [0, 0, 0, 1]])
    data = brain(tmp_path / "brains", affine)
    run = pellucid.train(
        data,
        look=look,
        split="by_heart",
        width=4,
        patch=16,
        batch=4,
        epochs=2,
        threads=1,
        quiet=True,
    )
    assert run.summary["test"]["dice_whole"]["value"] > 0.5
    (result,) = pellucid.predict(run.path, data / "p1", out=tmp_path / "out", quiet=True).results
    written = nibabel.load(tmp_path / "out" / "p1.nii.gz")
    assert np.allclose(written.affine, affine) and written.shape == (24, 28, 20)
    assert np.array_equal(np.asarray(written.dataobj).transpose(2, 1, 0), result.mask)
    write(tmp_path / "flat.png", np.zeros((20, 20, 1), np.uint8))
    with pytest.raises(DataError, match="flat"):
        pellucid.predict(run.path, tmp_path / "flat.png", quiet=True)


def test_whole_views_have_a_preview_too() -> None:
    labels = np.zeros((2, 20, 30), np.uint8)
    labels[:, 5:9, 5:9] = 1
    preprocess = SegmentationPreprocess((20, 30), 1)
    training = SegmentationTraining(preprocess, ("b", "f"), patch=(16, 16))
    shown = training.preview_batch(batch_of(labels * 90, labels))
    assert [image.shape for image, _ in shown] == [(20, 30, 3)] * 2 and "f" in shown[0][1]
