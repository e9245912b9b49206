"""Weights that others trained, used as they are and as the beginning of a training."""

from __future__ import annotations

import hashlib
import json
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import nn

import pellucid
from pellucid.core.errors import ModelError, UsageError
from pellucid.data.sample import Sample
from pellucid.engine.inference import model as models
from pellucid.engine.run import batches, folders, pretrained
from pellucid.engine.run import settings as configuration
from pellucid.engine.run.progress import Say
from pellucid.models import create, weights
from pellucid.models.notation import build
from pellucid.tasks import TASKS
from pellucid.tasks.detection.architecture import DetectionArchitecture
from pellucid.tasks.detection.inference import DetectionInference
from pellucid.tasks.detection.preprocess import DetectionPreprocess
from pellucid.tasks.task import ModelSpec

NOTATION = "C8 B R P C8 B R G"
QUICK = {
    "model": f"{NOTATION} L3",
    "epochs": 2,
    "batch": 16,
    "threads": 1,
    "baselines": False,
    "quiet": True,
}
FOLDED = "mobilenet_v2_imagenet_folded"


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A temporary working folder and cache, no mirror."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PELLUCID_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("PELLUCID_MIRROR", raising=False)


@pytest.fixture
def stripes(tmp_path: Path) -> Path:
    """90 noisy pictures of 12×12×3 in three classes."""
    rng = np.random.default_rng(5)
    labels = np.arange(90) % 3
    images = rng.integers(0, 90, (90, 12, 12, 3), dtype=np.uint8)
    images[labels == 0, 5] += 160
    images[labels == 1, :, 5] += 160
    np.savez(tmp_path / "stripes.npz", images=images, labels=labels)
    return tmp_path / "stripes.npz"


def saved(path: Path, classes: int = 5, notation: str = NOTATION, fold: bool = False) -> Path:
    """A .pth of a network with statistics that are not those of a fresh one."""
    torch.manual_seed(1)
    network = build(f"{notation} L{classes}", 3, (12, 12))
    for norm in pretrained.norms(network):
        nn.init.uniform_(norm.bias, -1, 1)
        if not fold:
            nn.init.uniform_(norm.weight, 0.5, 2)
            nn.init.uniform_(norm.running_mean, -1, 1)
    torch.save(network.state_dict(), path)
    return path


# --- training begins with them --------------------------------------------------------------------


def test_all_but_the_last_layer_is_taken_over(
    stripes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = saved(tmp_path / "others.pth")
    run = pellucid.train(
        stripes,
        weights="others.pth",
        lr=0.0,
        schedule="constant",
        weight_decay=0.0,
        **(QUICK | {"quiet": False}),
    )
    said = capsys.readouterr().err
    assert "the last layer starts fresh" in said and "folded" not in said
    network = models.load(run.path).network
    stored, mine = torch.load(file, weights_only=True), network.state_dict()
    same = {
        key
        for key, value in stored.items()
        if value.shape == mine[key].shape and torch.equal(value, mine[key])
    }
    parameters = {key for key, _ in network.named_parameters()}
    assert parameters - same == {key for key in parameters if mine[key].shape[0] == 3}
    recipe = (run.path / "recipe.toml").read_text()
    assert f'weights = "{file}"' in recipe
    assert json.loads((run.path / "model" / "model.json").read_text())["weights"] == "others.pth"


def test_the_default_learning_rate_is_lower(stripes: Path, tmp_path: Path) -> None:
    saved(tmp_path / "others.pth")
    one = pellucid.train(stripes, **QUICK).path
    two = pellucid.train(stripes, weights="others.pth", **QUICK).path
    assert "lr = 0.003\n" in (one / "recipe.toml").read_text()
    assert "lr = 0.0003\n" in (two / "recipe.toml").read_text()


def test_a_run_of_ours_gives_model_and_preprocessing(stripes: Path) -> None:
    first = pellucid.train(stripes, **QUICK).path
    own = first / "model" / "weights.safetensors"
    settings = {key: value for key, value in QUICK.items() if key != "model"}
    dark = Path("dark.npz")
    held = np.load(stripes)
    np.savez(dark, images=held["images"] // 4, labels=held["labels"])
    second = pellucid.train(dark, weights=str(own), **settings).path
    one, other = (models.load(path).spec for path in (first, second))
    assert one.architecture.model == other.architecture.model
    assert (one.preprocess.mean, one.preprocess.std) == (
        other.preprocess.mean,
        other.preprocess.std,
    )
    assert json.loads((second / "data.json").read_text())["preprocessing"]["size"] == [12, 12]


def test_a_damaged_description_is_named(stripes: Path) -> None:
    model = pellucid.train(stripes, **QUICK).path / "model"
    damaged = ('{"room": {"mean": 5}}', '{"preprocess": {"mean": 5}}', '{"preprocess": 3}')
    for wrong in ("[]", "{", '{"room": 3}', *damaged):
        (model / "model.json").write_text(wrong)
        with pytest.raises(ModelError, match=r"model\.json"):
            pellucid.train(stripes, weights=str(model / "weights.safetensors"), **QUICK)


def test_gray_images_become_color(stripes: Path, tmp_path: Path) -> None:
    own = pellucid.train(stripes, **QUICK).path / "model" / "weights.safetensors"
    held = np.load(stripes)
    np.savez(
        "grey.npz",
        images=held["images"][held["labels"] < 2].mean(3).astype(np.uint8),
        labels=held["labels"][held["labels"] < 2],
    )
    with pytest.raises(UsageError, match="end it in L2"):
        pellucid.train("grey.npz", weights=str(own), **(QUICK | {"model": None}))
    run = pellucid.train("grey.npz", weights=str(own), **(QUICK | {"model": f"{NOTATION} L2"})).path
    assert models.load(run).spec.preprocess.input_shape == (3, 12, 12)


@pytest.mark.parametrize("stop", [0, 5])
def test_a_run_resumes_exactly_without_the_file(
    stripes: Path, tmp_path: Path, stop: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = saved(tmp_path / "others.pth", fold=True)
    whole = pellucid.train(stripes, weights="others.pth", name="whole", **QUICK).path
    from pellucid.engine.run import train as module

    original = module.steps

    def interrupted(*arguments):
        for step in original(*arguments):
            if step.number == stop:
                signal.raise_signal(signal.SIGINT)
            yield step

    monkeypatch.setattr(module, "steps", interrupted)
    with pytest.raises(module.Interrupted):
        pellucid.train(stripes, weights="others.pth", name="stopped", **QUICK)
    monkeypatch.setattr(module, "steps", original)
    file.unlink()
    run = pellucid.train(resume=folders.RUNS / "classification" / "stopped", quiet=True).path
    assert (run / "model" / "weights.safetensors").read_bytes() == (
        whole / "model" / "weights.safetensors"
    ).read_bytes()


@pytest.mark.parametrize(
    ("wanted", "error", "says"),
    [
        ({"weights": "resnet50_imagnet"}, UsageError, 'did you mean "resnet50_imagenet"'),
        (
            {"weights": "nowhere.pth"},
            UsageError,
            "no such file and no published weights: nowhere.pth",
        ),
        ({"weights": FOLDED}, ModelError, "put mobilenetv2_imagenet_fp16.pth into a folder"),
        (
            {"weights": "others.pth", "model": "C4 B R G L3"},
            ModelError,
            r"others\.pth: these weights are of another network",
        ),
    ],
)
def test_weights_that_cannot_be_used_are_refused(
    stripes: Path, tmp_path: Path, wanted: dict, error: type, says: str
) -> None:
    saved(tmp_path / "others.pth")
    with pytest.raises(error, match=says):
        pellucid.train(stripes, **(QUICK | {"model": None} | wanted))


def test_weights_of_another_model_are_refused(
    data_root: Path, stripes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PELLUCID_MIRROR", str(data_root / "weights"))
    with pytest.raises(UsageError, match="are of mobilenet_v2_same, not of resnet18"):
        pellucid.train(stripes, weights=FOLDED, **(QUICK | {"model": "resnet18"}))


# --- folded norms ---------------------------------------------------------------------------------


def classification(size: tuple[int, int], classes: tuple[str, ...], text: str) -> ModelSpec:
    """Of color images."""
    shape = {"channels": 3, "size": size}
    parts = {
        "preprocess": shape | {"mean": (0.5,) * 3, "std": (0.5,) * 3},
        "architecture": shape | {"model": text, "num_outputs": len(classes)},
        "inference": {"classes": classes},
    }
    return ModelSpec.from_json(TASKS["classification"], parts)


def spec_and_views(
    size: tuple[int, int], count: int = 40, spread: int = 200
) -> tuple[ModelSpec, batches.Views]:
    rng = np.random.default_rng(3)
    images = rng.integers(0, spread, (count, *size, 3), dtype=np.uint8)
    samples = [Sample(image, i % 3, str(i)) for i, image in enumerate(images)]
    spec = classification(size, ("a", "b", "c"), f"{NOTATION} L3")
    return spec, batches.load(samples, spec.preprocess, Path(), Say(quiet=True))[0]


def test_folding_is_recognised(tmp_path: Path) -> None:
    network = build(f"{NOTATION} L3", 3, (12, 12))
    weights.fill(network, weights.read(saved(tmp_path / "f.pth", 3, fold=True)), "f")
    assert pretrained.folded(network)
    weights.fill(
        network, {key: value.half() for key, value in network.state_dict().items()}, "float16"
    )
    assert pretrained.folded(network)
    pretrained.norms(network)[-1].running_var[0] = 0.9
    assert not pretrained.folded(network)
    assert not pretrained.folded(build("C4 R G L3", 3, (12, 12)))


@given(
    seed=st.integers(0, 1000),
    notation=st.sampled_from(
        [NOTATION, "C4 B [C4 B R C4 B] R G", "C6 { B R | C6 B } G", "B C4 R G"]
    ),
)
@settings(max_examples=25, deadline=None)
def test_unfolding_keeps_the_function_and_mends_norms(seed: int, notation: str) -> None:
    torch.manual_seed(seed)
    network = build(f"{notation} L3", 3, (10, 10)).eval()
    for norm in pretrained.norms(network):
        nn.init.uniform_(norm.bias, -2, 2)
    spec, views = spec_and_views((10, 10))
    inputs = spec.preprocess.network_input(views.batch(np.arange(len(views))))
    with torch.no_grad():
        before = network(inputs)
        assert pretrained.unfold(network, spec, views, torch.device("cpu")) == len(views)
        after = network(inputs)
        assert torch.allclose(before, after, atol=1e-4, rtol=1e-4)
        # With all images in the batch, its statistics are the running ones.
        live = network.train()(inputs)
    assert torch.allclose(before, live, atol=1e-3, rtol=1e-3)


def test_norms_that_are_not_run_are_left_alone() -> None:
    class WithSpare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.spare, self.head = (
                nn.BatchNorm2d(3),
                nn.BatchNorm2d(3),
                nn.Conv2d(3, 3, 10),
            )

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.used(x)).flatten(1)

    network = WithSpare()
    pretrained.unfold(network, *spec_and_views((10, 10)), torch.device("cpu"))
    assert (
        torch.equal(network.spare.running_mean, torch.zeros(3))
        and network.used.running_mean.abs().min() > 0
    )
    assert not network.used._forward_pre_hooks


# --- the real files -------------------------------------------------------------------------------


@pytest.fixture
def mirror(data_root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PELLUCID_MIRROR", str(data_root / "weights"))
    return data_root / "weights"


def test_published_weights_predict_correctly(
    mirror: Path, data_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: hashlib.sha256(path.read_bytes()).digest() for path in mirror.glob("*.*")}
    results = pellucid.predict(FOLDED, data_root / "imagenet_samples").results
    found = {Path(result.source).stem: result for result in results}
    # ImageNet has no sunflower; a daisy is the nearest.
    expected = {
        "cat": "Egyptian cat",
        "grace_hopper": "military uniform",
        "parrot": "macaw",
        "sunflower": "daisy",
    }
    assert {name: result.label for name, result in found.items()} == expected
    assert capsys.readouterr().err.count("licence") == 1
    assert before == {
        path: hashlib.sha256(path.read_bytes()).digest() for path in mirror.glob("*.*")
    }


def test_the_folded_mobilenet_survives_batches(mirror: Path, data_root: Path) -> None:
    """Batch statistics destroy what it says while its norms are folded, and leave it what it is
    once they are unfolded."""
    network = create("mobilenet_v2_same", 1000, 3, (96, 96))
    weights.fill(network, weights.tensors(FOLDED), FOLDED)
    classes = tuple(map(str, range(1000)))
    spec = classification((96, 96), classes, "mobilenet_v2_same")
    files = sorted((data_root / "flowers128").rglob("*.jpg"))[::80][:32]
    samples = [Sample(file, 0, str(file)) for file in files]
    views = batches.load(samples, spec.preprocess, Path(), Say(quiet=True))[0]
    inputs = spec.preprocess.network_input(views.batch(np.arange(len(views))))
    network.classifier[0].p = 0.0
    with torch.no_grad():
        before = network.eval()(inputs)
        destroyed = network.train()(inputs)
        weights.fill(network, weights.tensors(FOLDED), FOLDED)
        assert pretrained.folded(network)
        pretrained.unfold(network, spec, views, torch.device("cpu"))
        after, live = network.eval()(inputs), network.train()(inputs)
    assert (before - after).abs().max() < 1e-3 * before.abs().max()
    assert (destroyed.argmax(1) == before.argmax(1)).float().mean() < 0.3
    assert (live.argmax(1) == before.argmax(1)).float().mean() > 0.9


def test_resnet20_knows_cifar(mirror: Path, data_root: Path) -> None:
    result = pellucid.evaluate("resnet20_cifar10", data_root / "cifar10_small", quiet=True)
    assert result.evidence["accuracy"]["value"] > 0.5


def test_fresh_norms_are_not_taken_for_folded() -> None:
    """torch's fresh variance, 1, is as near to 1 − ε as a folded one that was stored in 16 bits."""
    network = create("C4 B R C4 B R G L3", 3, 3, (12, 12))
    assert not pretrained.folded(network)
    norms = pretrained.norms(network)
    norms[0].bias.data += 0.5
    assert pretrained.folded(network)


def test_a_licence_goes_on_to_the_next_generation(
    mirror: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, quick = cifar_like(tmp_path), QUICK | {"model": None, "epochs": 1}
    first = pellucid.train(data, weights="resnet20_cifar10", name="first", **quick)
    second = pellucid.train(
        data, weights=str(first.path), name="second", **(quick | {"quiet": False})
    )
    assert "licence BSD-2-Clause" in capsys.readouterr().err
    about = json.loads((second.path / "model" / "model.json").read_text())
    assert about["licence_of_weights"].startswith("BSD-2-Clause")


def cifar_like(folder: Path) -> Path:
    rng = np.random.default_rng(3)
    labels = np.arange(60) % 3
    images = rng.integers(0, 90, (60, 32, 32, 3), dtype=np.uint8) + (labels * 70)[
        :, None, None, None
    ].astype(np.uint8)
    np.savez(folder / "colours.npz", images=images, labels=labels)
    return folder / "colours.npz"


# --- into a detector ------------------------------------------------------------------------------


def detection(classes: tuple[str, ...] = ("a", "b")) -> ModelSpec:
    return ModelSpec(
        TASKS["detection"],
        DetectionPreprocess((32, 32), 3, mean=(0.5,) * 3, std=(0.2,) * 3),
        DetectionArchitecture("resnet20", "yolo", 8, len(classes), 3, (32, 32)),
        DetectionInference(classes, "yolo"),
    )


def begun(file: Path, spec: ModelSpec, model: str = "resnet20") -> nn.Module:
    torch.manual_seed(3)
    network = spec.architecture.build()
    given = {"model": model, "weights": str(file), "norms": "kept"}
    none = batches.Views(
        (),
        np.zeros((0, 32, 32, 3), np.uint8),
        (),
        np.zeros(0, np.int64),
        np.zeros(0, np.int64),
        np.zeros(0, object),
    )
    settings = configuration.of(spec.task, given)
    pretrained.begin(network, spec, settings, none, torch.device("cpu"), Say())
    return network


def test_classifier_weights_enter_a_detector(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(9)
    torch.save(create("resnet20", 10, 3, (32, 32)).state_dict(), tmp_path / "classifier.pth")
    stored, network = (
        torch.load(tmp_path / "classifier.pth", weights_only=True),
        begun(tmp_path / "classifier.pth", detection()),
    )
    backbone = getattr(network, "backbone").state_dict()  # noqa: B009
    assert all(torch.equal(value, stored[key]) for key, value in backbone.items())
    assert (
        f"{len(backbone)} of {len(stored)} tensors taken over into the backbone"
        in capsys.readouterr().err
    )


def test_weights_of_another_network_do_not_enter_a_backbone(tmp_path: Path) -> None:
    torch.save(create("resnet32", 10, 3, (32, 32)).state_dict(), tmp_path / "larger.pth")
    with pytest.raises(ModelError, match="not of resnet20"):
        begun(tmp_path / "larger.pth", detection())
    torch.save(create("resnet20", 10, 1, (32, 32)).state_dict(), tmp_path / "grey.pth")
    with pytest.raises(ModelError, match="another network"):
        begun(tmp_path / "grey.pth", detection())


def test_a_detector_for_other_classes_keeps_the_rest(
    tmp_path: Path,
) -> None:
    torch.manual_seed(9)
    before = detection(("x", "y"))
    models.save(tmp_path / "run", before, before.architecture.build(), {"name": "run"})
    file = tmp_path / "run" / "weights.safetensors"
    stored, same, other = (
        load_file(file),
        begun(file, before).state_dict(),
        begun(file, detection()).state_dict(),
    )
    assert all(torch.equal(same[key], value) for key, value in stored.items())
    fresh = {key for key, value in stored.items() if not torch.equal(other[key], value)}
    assert fresh and all(key.startswith("what.") and other[key].shape[0] == 2 for key in fresh)


def test_only_weights_of_the_same_task_suggest_a_size(tmp_path: Path) -> None:
    before = detection()
    models.save(tmp_path / "run", before, before.architecture.build(), {"name": "run"})
    given = {"weights": str(tmp_path / "run" / "weights.safetensors")}
    assert pretrained.chosen(given, TASKS["detection"])[0]["size"] == (32, 32)
    other, _ = pretrained.chosen(given, TASKS["classification"])
    assert "size" not in other and "epochs" not in other and other["model"] == "resnet20"


def test_a_model_of_version_1_suggests_the_same(tmp_path: Path) -> None:
    spec = classification((12, 10), ("x", "y"), f"{NOTATION} L2")
    models.save(tmp_path / "new", spec, spec.architecture.build(), {})
    models.save(tmp_path / "old", spec, spec.architecture.build(), {})
    room = {"classes": ["x", "y"], "size": [12, 10], "mean": [0.5] * 3, "std": [0.5] * 3}
    room["model"] = spec.architecture.model
    about = {"format": 1, "task": "classification", "room": room}
    (tmp_path / "old" / "model.json").write_text(json.dumps(about))
    new, old = (
        pretrained.chosen({"weights": str(tmp_path / name / "weights.safetensors")}, spec.task)
        for name in ("new", "old")
    )
    assert old[1] == new[1] == weights.Preprocessing((12, 10), (0.5,) * 3, (0.5,) * 3)
    assert {**old[0], "weights": ""} == {**new[0], "weights": ""}
    assert new[0]["size"] == (12, 10) and new[0]["model"] == spec.architecture.model
