"""The room of super-resolution: from sharp pictures to an enlarger that beats bicubic, and what it
does with pictures of all kinds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pellucid import models
from pellucid.core.errors import DataError, ModelError, UsageError
from pellucid.core.rng import Draws
from pellucid.core.types import Batch, Prediction
from pellucid.data import images
from pellucid.data.sample import HighResolution, Sample
from pellucid.engine.inference import evaluate, predict
from pellucid.engine.run import prepare, train
from pellucid.engine.run import settings as recipes
from pellucid.engine.run.prepare import Prepared
from pellucid.engine.run.progress import Say
from pellucid.metrics.image_quality import psnr, ssim
from pellucid.tasks import TASKS
from pellucid.tasks.superresolution import SuperResolution, pictures, settings
from pellucid.tasks.superresolution.answers import Answers
from pellucid.tasks.superresolution.pictures import Original
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
    recipe = recipes.make(task="superresolution", model="espcn", width=8, factor=3)
    return prepare.prepare(sharp, recipe, Say(True))


def room_for(
    factor: int = 3, model: str = "espcn", size: int = 120, **fields: Any
) -> SuperResolution:
    margin = int(models.enlarger(model, factor, 1, 8).margin) + 3
    return SuperResolution(
        ("sharp pictures",),
        (size, size),
        fields.pop("channels", 3),
        factor=factor,
        margin=margin,
        width=8,
        model=model,
        **fields,
    )


def network_of(room: SuperResolution, seed: int = 0) -> torch.nn.Module:
    """Not fresh, which would be bicubic."""
    torch.manual_seed(seed)
    network = room.build().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return network


def asked(
    room: SuperResolution, network: torch.nn.Module, *pictures: np.ndarray, target: bool = False
) -> list[Prediction]:
    samples = [Sample(picture, None, str(number)) for number, picture in enumerate(pictures)]
    if target:
        samples = [Sample(s.image, Original(s, HighResolution()), s.source) for s in samples]
    flat = [(s.source, *view) for s in samples for view in room.views(s)]
    views = torch.from_numpy(np.stack([view for _, view, _ in flat])).movedim(-1, 1)
    batch = Batch(
        views,
        room.targets(samples) if target else None,
        tuple(p for *_, p in flat),
        tuple(source for source, *_ in flat),
    )
    with torch.inference_mode():
        return room.decode(room.outputs(network, batch), batch)


# --- the whole way --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(sharp: Path, tmp_path_factory: pytest.TempPathFactory) -> train.Run:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("runs"))
        patch.setattr("pellucid.tasks.superresolution.CROPS", 1200)
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
    assert run.summary["against_best_baseline"]["difference"]["value"] == pytest.approx(
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


def test_the_same_score_when_it_is_evaluated_again(run: train.Run, sharp: Path) -> None:
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


def test_pictures_of_all_kinds_grow(run: train.Run, tmp_path: Path) -> None:
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
    made = {Path(answer.source).stem: answer.picture for answer in said.answers}
    for name, (height, width, channels) in sizes.items():
        assert (
            made[name].shape == (2 * height, 2 * width, channels) and made[name].dtype == np.uint8
        )
    assert made["deep"].shape == (18, 18, 3) and made["deep"].dtype == np.uint16


def test_a_run_that_was_stopped_ends_as_one_that_was_not(
    sharp: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pellucid.engine.run import loop

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pellucid.tasks.superresolution.CROPS", 60)
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
    """A picture in many windows becomes what it becomes in one."""
    picture = scene(1, 100, 130)
    small, large = (room_for(3, model, size) for size in (120, 300))
    network = network_of(small)
    assert len(small.views(Sample(picture, None, "x"))) > 4
    one, other = (
        asked(room, network, picture, target=target)[0].picture for room in (small, large)
    )
    assert one is not None and other is not None
    assert one.shape == ((99, 129, 3) if target else (300, 390, 3))
    assert np.abs(one.astype(int) - other).max() <= 1 and (one != other).mean() < 1e-3


def test_what_is_scored_is_what_the_small_picture_becomes() -> None:
    """Windows made small one by one are the whole picture made small: asking about that gives the
    same answer."""
    room, sharp = room_for(2, size=96), scene(2, 90, 70)
    network = network_of(room)
    scored = asked(room, network, sharp, target=True)[0].picture
    answered = asked(room, network, bicubic_array(sharp, 0.5))[0].picture
    assert scored is not None and answered is not None
    assert np.abs(scored.astype(int) - answered).max() <= 1 and (scored != answered).mean() < 0.02


def test_a_fresh_network_is_bicubic() -> None:
    room, picture = room_for(3), scene(3, 30, 41)
    made = asked(room, room.build().eval(), picture)[0].picture
    assert made is not None
    assert np.abs(made.astype(int) - pictures.enlarged(picture, 3)).max() <= 1


def test_a_grey_picture_is_the_luma_of_itself_in_colour() -> None:
    room, grey = room_for(2), scene(4, 20, 20, 1)
    network = network_of(room)
    alone, coloured = asked(room, network, grey, grey.repeat(3, axis=2))
    assert alone.picture is not None and coloured.picture is not None
    assert np.abs(alone.picture.astype(int) - coloured.picture).max() <= 1


def test_alpha_grows_by_bicubic_and_changes_no_colour() -> None:
    room, picture = room_for(2), scene(5, 20, 24, 4)
    network = network_of(room)
    made, without = (answer.picture for answer in asked(room, network, picture, picture[..., :3]))
    assert made is not None and without is not None
    assert np.array_equal(made[..., :3], without)
    assert (
        np.abs(made[..., 3].astype(int) - pictures.enlarged(picture[..., 3:], 2)[..., 0]).max() <= 1
    )


def test_rgb_networks_answer_in_colour() -> None:
    room = room_for(2, colours="rgb")
    assert room.input[0] == 3
    colour, grey = asked(room, network_of(room), scene(6, 20, 20), scene(6, 20, 20, 1))
    assert colour.picture is not None and colour.picture.shape == (40, 40, 3)
    assert grey.picture is not None and grey.picture.shape == (40, 40, 1)


def test_a_mirrored_view_is_put_back() -> None:
    room, picture = room_for(2), scene(7, 50, 90)
    plain = asked(room, room.build().eval(), picture)[0].picture
    flipped = asked(room.with_crops("flip"), room.build().eval(), picture)[0].picture
    assert (
        plain is not None and flipped is not None and np.abs(plain.astype(int) - flipped).max() <= 1
    )


# --- learning -------------------------------------------------------------------------------------


def test_crops_lie_in_the_picture_and_shrink_as_files_do(prepared: Prepared) -> None:
    room, views = prepared.room, prepared.part("train")
    assert isinstance(room, SuperResolution)
    rows = np.arange(8)
    batch = room.augment(views.some(rows), Draws(0, 0, rows), 0.0)
    assert batch.images.shape == (8, 3, room.patch, room.patch) and batch.targets.shape[2:] == (
        room.patch // 3,
        room.patch // 3,
    )
    for crop, low, row in zip(batch.images, batch.targets, rows, strict=True):
        levels = crop.byte().permute(1, 2, 0).numpy()
        assert (
            np.abs((low * 255).permute(1, 2, 0).numpy() - bicubic_array(levels, 1 / 3)).max() < 1.01
        )
        whole = views.samples[row].pixels()
        turned = [np.rot90(side, k) for side in (whole, whole[:, ::-1]) for k in range(4)]
        assert any(_holds(picture, levels) for picture in turned)


def _holds(picture: np.ndarray, crop: np.ndarray) -> bool:
    windows = np.lib.stride_tricks.sliding_window_view(picture, crop.shape)[:, :, 0]
    return bool((windows == crop).all(axis=(2, 3, 4)).any())


def test_the_loss_is_of_what_the_network_is_told(prepared: Prepared) -> None:
    room, rows = prepared.room, np.arange(4)
    assert isinstance(room, SuperResolution)
    batch = room.augment(prepared.part("train").some(rows), Draws(0, 0, rows), 0.0)
    found = room.loss(room.build(), batch, 0, Draws(0, 0, rows))["total"].item()
    luma = np.array([65.481, 128.553, 24.966]) / 255
    bright, told = (
        np.einsum("bchw,c->bhw", each.double().numpy(), luma)
        for each in (batch.images / 255, batch.targets)
    )
    expected = np.abs(bicubic(torch.from_numpy(told), 3).numpy() - bright)[:, 3:-3, 3:-3].mean()
    assert found == pytest.approx(expected, rel=1e-4)


def test_criteria() -> None:
    error = torch.tensor([0.0, 3.0, -4.0])
    assert settings.CRITERIA["l1"](error).item() == pytest.approx(7 / 3)
    assert settings.CRITERIA["l2"](error).item() == pytest.approx(25 / 3)
    assert settings.CRITERIA["charbonnier"](error).item() == pytest.approx(7 / 3, abs=1e-3)


# --- scores ---------------------------------------------------------------------------------------


def test_scores_are_those_of_the_pictures() -> None:
    rng = np.random.default_rng(0)
    ours, sharp = Answers(2, 3, 8), [scene(number, 41, 30) for number in range(3)]
    said = [
        np.clip(s[:40].astype(int) + rng.integers(-9, 10, (40, 30, 3)), 0, 255).astype(np.uint8)
        for s in sharp
    ]
    samples = [Sample(s, None, str(number)) for number, s in enumerate(sharp)]
    ours.add(
        [Prediction(s.source, (41, 30), picture=p) for s, p in zip(samples, said, strict=True)],
        [Original(s, HighResolution()) for s in samples],
    )
    result = ours.result()
    expected = [psnr(p, s[:40], 2) for p, s in zip(said, sharp, strict=True)]
    assert (
        result["psnr"]["value"] == pytest.approx(np.mean(expected))
        and result["psnr"]["low"] < result["psnr"]["high"]
    )
    assert result["ssim"]["value"] == pytest.approx(
        np.mean([ssim(p, s[:40], 2) for p, s in zip(said, sharp, strict=True)])
    )
    assert [float(row["psnr"]) for row in ours.rows()] == pytest.approx(expected, abs=1e-4)
    assert ours.against(ours)["p"] == 1 and ours.gain(ours)["gain"]["value"] == 0


def test_models_of_other_factors_have_no_mean() -> None:
    made = [
        Prediction("x", (4, 4), picture=np.full((4 * f, 4 * f, 1), f, np.uint8)) for f in (2, 2, 3)
    ]
    mean = room_for().together(made[:2]).picture
    assert mean is not None and (mean == 2).all()
    with pytest.raises(ModelError, match="different factors"):
        room_for().together(made)


# --- what does not fit ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"loss": "focal"}, "learns by l1, l2, charbonnier"),
        ({"score": "accuracy"}, "psnr or ssim"),
        ({"model": "resnet18"}, "makes no picture larger"),
        ({"augment": "photos"}, "falsify"),
        ({"rotate": 5.0}, "rotate: would falsify"),
        ({"size": (26, 26)}, "leaves nothing in the middle"),
        ({"patch": 65, "factor": 3}, "not a multiple of the factor"),
        ({"size": (101, 99), "factor": 3}, "101 is not a multiple"),
        ({"patch": 8}, "less than 8 pixels"),
        ({"patch": 4096}, "more than a window"),
        ({"scale": "unit"}, "scale"),
    ],
)
def test_settings_that_do_not_fit_are_named(sharp: Path, given: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        prepare.prepare(
            sharp, recipes.make(**{"task": "superresolution", "model": "espcn"} | given), Say(True)
        )


def test_grey_pictures_have_no_rgb(tmp_path: Path) -> None:
    for number in range(6):
        images.write(tmp_path / f"{number}.png", scene(number, channels=1))
    with pytest.raises(UsageError, match="all pictures are grey"):
        prepare.prepare(tmp_path, recipes.make(task="superresolution", colours="rgb"), Say(True))


def test_a_picture_too_small_to_compare_is_named(tmp_path: Path) -> None:
    for number in range(6):
        images.write(tmp_path / f"{number}.png", scene(number, 48 if number else 12))
    with pytest.raises(
        DataError, match=r"0\.png: 12×48 pixels are too few to compare at a factor of 2"
    ):
        prepare.prepare(tmp_path, recipes.make(task="superresolution"), Say(True))


def test_one_picture_cannot_be_shared_out(tmp_path: Path) -> None:
    images.write(tmp_path / "only.png", scene(0))
    with pytest.raises(DataError, match="one picture cannot be shared out"):
        prepare.prepare(tmp_path, recipes.make(task="superresolution"), Say(True))


def test_supplied_small_pictures_are_held_against_ours() -> None:
    sharp = scene(8, 48, 50)
    assert pictures.differing(sharp, bicubic_array(sharp[:, :48], 1 / 3), 3) == 0
    assert pictures.differing(sharp, sharp[::3, ::3][:16, :16], 3) > 1  # type: ignore[operator]
    assert pictures.differing(sharp, sharp, 3) is None


def test_the_room_has_a_name() -> None:
    assert TASKS["superresolution"] is SuperResolution
