"""Super-resolution: from high-resolution images to a model that beats bicubic upscaling, and its
results for images of all formats."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pellucid import models
from pellucid.core.errors import DataError, ModelError, UsageError
from pellucid.core.rng import Draws
from pellucid.core.types import Batch
from pellucid.data import images
from pellucid.data.sample import HighResolution, Sample
from pellucid.engine.inference import evaluate, predict
from pellucid.engine.run import prepare, train
from pellucid.engine.run.batches import stacked
from pellucid.engine.run.prepare import Prepared
from pellucid.engine.run.progress import Say
from pellucid.metrics.image_quality import psnr, ssim
from pellucid.metrics.significance import paired
from pellucid.tasks import TASKS
from pellucid.tasks.superresolution import TASK, data, training
from pellucid.tasks.superresolution.architecture import SuperResolutionArchitecture
from pellucid.tasks.superresolution.degradation import (
    Reference,
    largest_difference,
    low_resolution,
    upscale_bicubic,
)
from pellucid.tasks.superresolution.inference import SuperResolutionInference
from pellucid.tasks.superresolution.metric import SuperResolutionMetric
from pellucid.tasks.superresolution.preprocess import SuperResolutionPreprocess
from pellucid.tasks.superresolution.result import SuperResolutionResult, before_after
from pellucid.tasks.task import ModelSpec
from pellucid.transforms.resize import bicubic, bicubic_array

QUICK = {
    "task": "superresolution",
    "model": "residual_sr",
    "width": 8,
    "threads": 1,
    "quiet": True,
    "precision": "float32",
}


def scene(seed: int, height: int = 48, width: int = 48, channels: int = 3) -> np.ndarray:
    """Stripes and discs with hard edges: what bicubic blurs and a network soon draws sharp."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    picture = np.full((height, width, channels), rng.integers(0, 256, channels), np.uint8)
    angle, period = rng.uniform(0, np.pi), rng.uniform(8, 20)
    picture[np.sin((np.cos(angle) * x + np.sin(angle) * y) * 2 * np.pi / period) > 0] = (
        rng.integers(0, 256, channels)
    )
    for _ in range(3):
        cx, cy, r = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(4, 12)
        picture[(x - cx) ** 2 + (y - cy) ** 2 < r**2] = rng.integers(0, 256, channels)
    return picture


@pytest.fixture(scope="module")
def sharp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sharp")
    for number in range(20):
        images.write(folder / f"scene{number:02}.png", scene(number, 48, 48 + number % 3))
    return folder


@pytest.fixture(scope="module")
def prepared(sharp: Path) -> Prepared:
    given = {"task": "superresolution", "model": "espcn", "width": 8, "factor": 3}
    return prepare.prepare(sharp, given, Say(True))


def spec_for(
    factor: int = 3,
    model: str = "espcn",
    size: int = 120,
    channels: int = 3,
    color_space: str = "luma",
    tta: str = "none",
) -> ModelSpec:
    margin = int(models.enlarger(model, factor, 1, 8).margin) + 3
    preprocess = SuperResolutionPreprocess(
        (size, size), channels, upscale=factor, color_space=color_space, margin=margin
    )
    architecture = SuperResolutionArchitecture(model, factor, preprocess.input_shape[0], 8)
    inference = SuperResolutionInference(factor, color_space, margin, tta=tta)
    return ModelSpec(TASK, preprocess, architecture, inference)


def network_of(spec: ModelSpec, seed: int = 0) -> torch.nn.Module:
    """Not fresh, which would be bicubic."""
    torch.manual_seed(seed)
    network = spec.architecture.build().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return network


def batch_of(spec: ModelSpec, samples: list[Sample]) -> Batch:
    flat = [(s, *view) for s in samples for view in spec.preprocess.views(s, spec.inference.tta)]
    views = torch.from_numpy(np.stack([view for _, view, _ in flat])).movedim(-1, 1)
    return Batch(
        views,
        stacked([s.target for s, *_ in flat]),
        tuple(transform for *_, transform in flat),
        tuple(s.source for s, *_ in flat),
    )


def with_reference(sample: Sample) -> Sample:
    return Sample(sample.image, Reference(sample, HighResolution()), sample.source)


def upscaled(
    spec: ModelSpec, network: torch.nn.Module, *pictures: np.ndarray, target: bool = False
) -> list[np.ndarray]:
    samples = [Sample(picture, None, str(number)) for number, picture in enumerate(pictures)]
    batch = batch_of(spec, [with_reference(s) for s in samples] if target else samples)
    with torch.inference_mode():
        outputs = spec.inference.forward(network, spec.preprocess.network_input(batch))
        return [result.image for result in spec.inference.decode(outputs, batch)]


# --- the whole way --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(sharp: Path, tmp_path_factory: pytest.TempPathFactory) -> train.Run:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("runs"))
        patch.setattr(training, "CROPS", 1200)
        found = train.train(sharp, name="tiny", epochs=2, lr=5e-3, **QUICK)
        return train.Run(found.path.resolve(), found.summary)


def test_it_learns_more_than_bicubic(run: train.Run) -> None:
    test = run.summary["test"]
    assert test["psnr_gain"]["value"] > 0.3 and test["psnr_gain"]["low"] > 0
    assert test["psnr"]["value"] - test["psnr_bicubic"]["value"] == pytest.approx(
        test["psnr_gain"]["value"]
    )
    rival = run.summary["baselines"]["bicubic"]["test"]
    assert (
        rival["psnr"]["value"] == pytest.approx(test["psnr_bicubic"]["value"], abs=1e-9)
        and rival["psnr_gain"]["value"] == 0
    )
    assert run.summary["against_best_baseline"]["gain"]["value"] == pytest.approx(
        test["psnr_gain"]["value"]
    )


def test_its_page_says_decibels(run: train.Run) -> None:
    page = (run.path / "report.html").read_text(encoding="utf-8")
    assert "dB more than bicubic enlargement" in page and "Picture by picture" in page
    assert (
        "Validation PSNR was "
        f"{max(float(r['validation_psnr']) for r in rows_of(run.path / 'metrics.csv')):.2f} dB"
    ) in page
    assert (run.path / "samples" / "errors.png").exists() and (
        run.path / "samples" / "batch.png"
    ).exists()


def rows_of(path: Path) -> list[dict[str, str]]:
    import csv

    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_evaluating_again_gives_the_same_score(run: train.Run, sharp: Path) -> None:
    again = evaluate.evaluate(run.path, quiet=True)
    for name in ("psnr", "ssim", "psnr_gain"):
        assert again.evidence[name]["value"] == pytest.approx(
            run.summary["test"][name]["value"], abs=1e-3
        )
    flipped = evaluate.evaluate(run.path, crops="flip", quiet=True)
    assert flipped.test_time["score"] == "psnr" and flipped.test_time["gain"]["value"] != 0
    whole = evaluate.evaluate(run.path, sharp, quiet=True)
    assert whole.evidence["pictures"] == 20 and any(
        "were used in training" in note for note in whole.notes
    )


def test_images_of_all_formats_keep_their_format(run: train.Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    sizes = {
        "grey": (13, 9, 1),
        "rgb": (40, 17, 3),
        "alpha": (8, 8, 4),
        "one": (1, 1, 3),
        "line": (1, 30, 1),
    }
    for name, shape in sizes.items():
        images.write(tmp_path / f"{name}.png", rng.integers(0, 256, shape).astype(np.uint8))
    images.write(tmp_path / "deep.png", rng.integers(0, 65536, (9, 9, 3)).astype(np.uint16))
    said = predict.predict(run.path, tmp_path, quiet=True)
    made = {Path(result.source).stem: result.image for result in said.answers}
    for name, (height, width, channels) in sizes.items():
        assert (
            made[name].shape == (2 * height, 2 * width, channels) and made[name].dtype == np.uint8
        )
    assert made["deep"].shape == (18, 18, 3) and made["deep"].dtype == np.uint16


def test_a_resumed_run_ends_as_one_that_never_stopped(
    sharp: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pellucid.engine.run import loop

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(training, "CROPS", 60)
    whole = train.train(sharp, name="whole", epochs=3, batch=8, **QUICK)

    def stopped(*args: Any) -> Any:
        for number, step in enumerate(loop.steps(*args)):
            yield step
            if number == 8:
                raise KeyboardInterrupt

    monkeypatch.setattr(train, "steps", stopped)
    with pytest.raises(train.Interrupted):
        train.train(sharp, name="cut", epochs=3, batch=8, **QUICK)
    monkeypatch.setattr(train, "steps", loop.steps)
    resumed = train.train(resume=Path("runs/superresolution/cut"), quiet=True)
    assert resumed.summary["test"] == whole.summary["test"]
    weights = [
        (each.path / "model" / "weights.safetensors").read_bytes() for each in (whole, resumed)
    ]
    assert weights[0] == weights[1]


# --- windows --------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["espcn", "srcnn", "fsrcnn"])
@pytest.mark.parametrize("target", [False, True])
def test_windows_leave_no_seams(model: str, target: bool) -> None:
    """An image in many windows becomes what it becomes in one."""
    picture = scene(1, 100, 130)
    small, large = (spec_for(3, model, size) for size in (120, 300))
    network = network_of(small)
    assert len(small.preprocess.views(Sample(picture, None, "x"), "none")) > 4
    one, other = (upscaled(spec, network, picture, target=target)[0] for spec in (small, large))
    assert one.shape == ((99, 129, 3) if target else (300, 390, 3))
    assert np.abs(one.astype(int) - other).max() <= 1 and (one != other).mean() < 1e-3


def test_evaluation_scores_what_upscaling_gives() -> None:
    """Windows degraded one by one are the whole image degraded: upscaling that gives the same."""
    spec, high = spec_for(2, size=96), scene(2, 90, 70)
    network = network_of(spec)
    scored = upscaled(spec, network, high, target=True)[0]
    answered = upscaled(spec, network, bicubic_array(high, 0.5))[0]
    assert np.abs(scored.astype(int) - answered).max() <= 1 and (scored != answered).mean() < 0.02


def test_a_fresh_network_is_bicubic() -> None:
    spec, picture = spec_for(3), scene(3, 30, 41)
    made = upscaled(spec, spec.architecture.build().eval(), picture)[0]
    assert np.abs(made.astype(int) - upscale_bicubic(picture, 3)).max() <= 1


def test_a_gray_image_is_the_luma_of_itself_in_color() -> None:
    spec, gray = spec_for(2), scene(4, 20, 20, 1)
    alone, colored = upscaled(spec, network_of(spec), gray, gray.repeat(3, axis=2))
    assert alone.shape == (40, 40, 1) and np.abs(alone.astype(int) - colored).max() <= 1


def test_alpha_is_bicubic_and_changes_no_color() -> None:
    spec, picture = spec_for(2), scene(5, 20, 24, 4)
    made, without = upscaled(spec, network_of(spec), picture, picture[..., :3])
    assert np.array_equal(made[..., :3], without)
    alpha = upscale_bicubic(picture[..., 3:], 2)[..., 0]
    assert np.abs(made[..., 3].astype(int) - alpha).max() <= 1


def test_rgb_networks_upscale_all_formats() -> None:
    spec = spec_for(2, color_space="rgb")
    assert spec.preprocess.input_shape[0] == 3
    color, gray = upscaled(spec, network_of(spec), scene(6, 20, 20), scene(6, 20, 20, 1))
    assert color.shape == (40, 40, 3) and gray.shape == (40, 40, 1)


def test_a_mirrored_view_is_mirrored_back() -> None:
    spec, flipping, picture = spec_for(2), spec_for(2, tta="flip"), scene(7, 50, 90)
    network = spec.architecture.build().eval()
    plain = upscaled(spec, network, picture)[0]
    flipped = upscaled(flipping, network, picture)[0]
    assert np.abs(plain.astype(int) - flipped).max() <= 1


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("bits", [8, 16])
def test_a_view_says_the_format_of_its_file(channels: int, bits: int) -> None:
    picture = scene(8, 20, 20, channels).astype(np.uint8 if bits == 8 else np.uint16)
    spec = spec_for(2, channels=3)
    views = spec.preprocess.views(Sample(picture, None, "x"), "flip")
    assert all((t.channels, t.bits) == (channels, bits) for _, t in views)
    assert all(view.shape[2] == 4 and view.dtype == np.uint16 for view, _ in views)
    large = Sample(scene(8, 40, 40), None, "y")
    for view, transform in spec.preprocess.views(with_reference(large), "flip"):
        assert (transform.channels, transform.bits) == (0, 0) and view.shape[2] == 3


def test_images_of_all_formats_fit_into_one_batch() -> None:
    spec, rng = spec_for(2), np.random.default_rng(0)
    pictures = [
        rng.integers(0, 2**bits, (9, 11, channels)).astype(np.uint8 if bits == 8 else np.uint16)
        for channels in (1, 2, 3, 4)
        for bits in (8, 16)
    ]
    network = network_of(spec)
    together = upscaled(spec, network, *pictures)
    for picture, image in zip(pictures, together, strict=True):
        assert image.shape == (18, 22, picture.shape[2]) and image.dtype == picture.dtype
        alone = upscaled(spec, network, picture)[0].astype(int)
        assert np.abs(alone - image).max() <= 1


# --- learning -------------------------------------------------------------------------------------


def test_crops_are_degraded_as_files_are(prepared: Prepared) -> None:
    views, side = prepared.part("train"), prepared.training.patch
    rows = np.arange(8)
    batch = prepared.training.augment(views.some(rows), Draws(0, 0, rows), 0.0)
    lows = low_resolution(batch, 3, 8)
    assert batch.images.shape == (8, 3, side, side)
    assert lows.shape[2:] == (side // 3, side // 3)
    for crop, low, row in zip(batch.images, lows, rows, strict=True):
        levels = crop.byte().permute(1, 2, 0).numpy()
        ours = (low * 255).permute(1, 2, 0).numpy()
        assert np.abs(ours - bicubic_array(levels, 1 / 3)).max() < 1.01
        whole = views.samples[row].pixels()
        turned = [np.rot90(each, k) for each in (whole, whole[:, ::-1]) for k in range(4)]
        assert any(_holds(picture, levels) for picture in turned)


def _holds(picture: np.ndarray, crop: np.ndarray) -> bool:
    windows = np.lib.stride_tricks.sliding_window_view(picture, crop.shape)[:, :, 0]
    return bool((windows == crop).all(axis=(2, 3, 4)).any())


def test_the_loss_is_of_luma_inside_the_border(prepared: Prepared) -> None:
    rows = np.arange(4)
    batch = prepared.training.augment(prepared.part("train").some(rows), Draws(0, 0, rows), 0.0)
    network = prepared.architecture.build()
    found = prepared.training.loss(network, batch, "", Draws(0, 0, rows))["total"].item()
    luma = np.array([65.481, 128.553, 24.966]) / 255
    bright, low = (
        np.einsum("bchw,c->bhw", each.double().numpy(), luma)
        for each in (batch.images / 255, low_resolution(batch, 3, 8))
    )
    expected = np.abs(bicubic(torch.from_numpy(low), 3).numpy() - bright)[:, 3:-3, 3:-3].mean()
    assert found == pytest.approx(expected, rel=1e-4)


def test_losses() -> None:
    error = torch.tensor([0.0, 3.0, -4.0])
    assert training.LOSSES["l1"](error).item() == pytest.approx(7 / 3)
    assert training.LOSSES["l2"](error).item() == pytest.approx(25 / 3)
    assert training.LOSSES["charbonnier"](error).item() == pytest.approx(7 / 3, abs=1e-3)


# --- scores ---------------------------------------------------------------------------------------


def test_scores_are_those_of_the_images() -> None:
    rng = np.random.default_rng(0)
    ours, highs = SuperResolutionMetric(2, 3), [scene(number, 41, 30) for number in range(3)]
    made = [
        np.clip(s[:40].astype(int) + rng.integers(-9, 10, (40, 30, 3)), 0, 255).astype(np.uint8)
        for s in highs
    ]
    samples = [Sample(s, None, str(number)) for number, s in enumerate(highs)]
    ours.add(
        [SuperResolutionResult(s.source, (41, 30), p) for s, p in zip(samples, made, strict=True)],
        [Reference(s, HighResolution()) for s in samples],
    )
    evidence = ours.evidence()
    expected = [psnr(p, s[:40], 2) for p, s in zip(made, highs, strict=True)]
    assert (
        evidence["psnr"]["value"] == pytest.approx(np.mean(expected))
        and evidence["psnr"]["low"] < evidence["psnr"]["high"]
    )
    similar = [ssim(p, s[:40], 2) for p, s in zip(made, highs, strict=True)]
    assert evidence["ssim"]["value"] == pytest.approx(np.mean(similar))
    assert [float(row["psnr"]) for row in ours.rows()] == pytest.approx(expected, abs=1e-4)
    itself = paired(ours, ours)
    assert itself["p"] == 1 and itself["gain"]["value"] == 0
    weights = np.array([[1.0, 1, 1], [2, 0, 1], [0, 0, 0]])
    drawn = ours.resample(weights)
    assert drawn["psnr"][:2] == pytest.approx(
        [np.mean(expected), (2 * expected[0] + expected[2]) / 3]
    )
    assert np.isnan(drawn["psnr"][2]) and drawn["ssim"][0] == pytest.approx(np.mean(similar))


def test_models_of_other_factors_have_no_mean() -> None:
    made = [
        SuperResolutionResult("x", (4, 4), np.full((4 * f, 4 * f, 1), f, np.uint8))
        for f in (2, 2, 3)
    ]
    inference = spec_for().inference
    assert (inference.ensemble(made[:2]).image == 2).all()
    with pytest.raises(ModelError, match="different factors"):
        inference.ensemble(made)


# --- results and models ---------------------------------------------------------------------------


def test_a_result_is_saved_as_it_is_and_beside_bicubic(tmp_path: Path) -> None:
    small = np.random.default_rng(3).integers(0, 65535, (20, 100, 3), dtype=np.uint16)
    large = small.repeat(3, axis=0).repeat(3, axis=1)
    result = SuperResolutionResult("a.png", (20, 100), large)
    result.save(tmp_path / "a.png", small)
    suffixes = spec_for().inference.output_suffixes
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(f"a{s}" for s in suffixes)
    assert (images.read(tmp_path / "a.png") == large).all()
    drawn = images.read(tmp_path / "a_before_after.png")
    assert drawn.shape[0] > 60 and np.abs(drawn[:60, -300:] - large / 257).max() <= 1
    # The left half is smooth where the result repeats pixels.
    left, right = (
        np.abs(np.diff(half.astype(int), axis=1)).max()
        for half in (drawn[:60, :300], drawn[:60, -300:])
    )
    assert left < right
    assert result.draw(small, legend=False).shape == (60, 300, 3)


def test_the_middle_of_a_large_result_is_drawn() -> None:
    before = np.random.default_rng(0).integers(0, 256, (700, 900, 3), dtype=np.uint8)
    after = before.repeat(2, axis=0).repeat(2, axis=1)
    drawn = before_after(before, after)
    assert drawn.shape[1] == 2 * 1024 + 10
    assert np.array_equal(drawn[:1024, -1024:], after[188:1212, 388:1412])
    whole = bicubic_array(before, 2)[188:1212, 388:1412]
    assert np.array_equal(drawn[4:1020, 4:1020], whole[4:-4, 4:-4])


def test_a_compact_result_says_the_same() -> None:
    result = SuperResolutionResult("a.png", (2, 3), np.zeros((4, 6, 1), np.uint8))
    light = result.compact()
    assert not hasattr(light, "image")
    assert light.to_json() == result.to_json()
    assert light.to_json() == {"source": "a.png", "size": [2, 3], "enlarged": [4, 6]}
    assert light.rows() == result.rows()
    assert light.rows() == [
        {"source": "a.png", "height": 2, "width": 3, "new_height": 4, "new_width": 6}
    ]
    assert light.summary() == result.summary() == "a.png: 3×2 → 6×4"
    assert light.labels() == result.labels() == ["6×4"]


def test_a_result_is_drawn_without_torch() -> None:
    code = (
        "import sys, numpy as np\n"
        "from pellucid.tasks.superresolution.result import SuperResolutionResult\n"
        "small, large = np.zeros((4, 4, 3), np.uint8), np.zeros((8, 8, 3), np.uint8)\n"
        "SuperResolutionResult('a', (4, 4), large).draw(small)\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("colours", ["luma", "rgb"])
def test_a_model_of_version_1_is_migrated(colours: str) -> None:
    stored = {
        "classes": ["sharp pictures"],
        "size": [120, 132],
        "channels": 3,
        "bits": 16,
        "factor": 3,
        "colours": colours,
        "margin": 7,
        "width": None,
        "model": "espcn",
    }
    assert TASK.parts.migrate is not None
    spec = ModelSpec.from_json(TASK, TASK.parts.migrate(stored))
    assert spec.preprocess == SuperResolutionPreprocess((120, 132), 3, 16, 3, colours, 7)
    channels = 1 if colours == "luma" else 3
    assert spec.architecture == SuperResolutionArchitecture("espcn", 3, channels, None)
    assert spec.inference == SuperResolutionInference(3, colours, 7, 16)
    assert spec.inference.classes == ()


# --- what does not fit ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"loss": "focal"}, "loss: focal .* choose one of l1, l2, charbonnier"),
        ({"score": "accuracy"}, "score: accuracy .* choose one of psnr, ssim"),
        ({"model": "resnet18"}, "makes no picture larger"),
        ({"augment": "photos"}, "augment: photos .* choose one of none, quarters"),
        ({"augment": "none", "mirror": 0.5}, "augment is none, but mirror is 0.5"),
        ({"rotate": 5.0}, "rotate: is a setting of .*, and this is superresolution"),
        ({"size": (26, 26)}, "leaves nothing in the middle"),
        ({"patch": 65, "factor": 3}, "not a multiple of the factor"),
        ({"size": (101, 99), "factor": 3}, "101 is not a multiple"),
        ({"patch": 8}, "less than 8 pixels"),
        ({"patch": 4096}, "more than a window"),
        ({"scale": "unit"}, "scale: is a setting of"),
        ({"imbalance": "oversample"}, "imbalance: is a setting of"),
    ],
)
def test_settings_that_do_not_fit_are_named(sharp: Path, given: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        prepare.prepare(sharp, {"task": "superresolution", "model": "espcn"} | given, Say(True))


def test_options_without_meaning_are_refused() -> None:
    spec = spec_for()
    with pytest.raises(UsageError, match="ten is for"):
        spec.inference.with_options(tta="ten")
    with pytest.raises(UsageError, match='did you mean "flip"'):
        spec.inference.with_options(tta="flop")
    with pytest.raises(UsageError, match="threshold"):
        spec.inference.with_options(threshold=0.5)
    assert spec.inference.with_options(tta="flip", full=False).tta == "flip"
    with pytest.raises(UsageError, match="costs"):
        SuperResolutionMetric.create(spec.preprocess, spec.inference, costs=np.eye(2))


def test_there_are_no_classes(prepared: Prepared) -> None:
    assert prepared.dataset.classes == () and prepared.inference.classes == ()
    assert data.class_counts(prepared.dataset.samples, ()) == {}
    assert prepared.facts["classes"] == []
    assert sum(prepared.facts["pictures"].values()) == 20
    assert not [note for note in prepared.facts["notes"] if note.startswith("WARNING")]


def test_gray_images_have_no_rgb(tmp_path: Path) -> None:
    for number in range(6):
        images.write(tmp_path / f"{number}.png", scene(number, channels=1))
    with pytest.raises(UsageError, match="all pictures are grey"):
        prepare.prepare(tmp_path, {"task": "superresolution", "colours": "rgb"}, Say(True))


def test_an_image_too_small_to_compare_is_named(tmp_path: Path) -> None:
    for number in range(6):
        images.write(tmp_path / f"{number}.png", scene(number, 48 if number else 12))
    with pytest.raises(
        DataError, match=r"0\.png: 12×48 pixels are too few to compare at a factor of 2"
    ):
        prepare.prepare(tmp_path, {"task": "superresolution"}, Say(True))


def test_one_image_cannot_be_split(tmp_path: Path) -> None:
    images.write(tmp_path / "only.png", scene(0))
    with pytest.raises(DataError, match="one picture cannot be shared out"):
        prepare.prepare(tmp_path, {"task": "superresolution"}, Say(True))


def test_supplied_images_are_compared_with_ours() -> None:
    high = scene(8, 48, 50)
    assert largest_difference(high, bicubic_array(high[:, :48], 1 / 3), 3) == 0
    assert largest_difference(high, high[::3, ::3][:16, :16], 3) > 1  # type: ignore[operator]
    assert largest_difference(high, high, 3) is None


def test_the_task_has_a_name() -> None:
    assert TASKS["superresolution"] is TASK
