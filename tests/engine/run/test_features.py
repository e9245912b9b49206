"""Features of a frozen network, computed once: the same head, the same answers, a file that is
trusted only while it is whole."""

from __future__ import annotations

import csv
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import pellucid
from pellucid.engine.inference.infer import SCORING, forward_outputs
from pellucid.engine.run import batches, features, folders, transfer
from pellucid.engine.run import train as module
from pellucid.engine.run.prepare import Prepared, prepare
from pellucid.engine.run.progress import Say
from pellucid.engine.run.resolve import built
from pellucid.models import create, fixed_size
from pellucid.models.notation import build
from pellucid.tasks.classification.settings import ClassificationSettings

CPU = torch.device("cpu")
BODY = "C8 B R P D C16 B R P"
FROZEN = {
    "freeze": "all",
    "epochs": 4,
    "batch": 32,
    "threads": 1,
    "precision": "float32",
    "baselines": False,
}


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Of a network that knows some of the digits."""
    folder = tmp_path_factory.mktemp("weights")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run = pellucid.train(
            "digits", model=f"{BODY} G L10", epochs=3, threads=1, baselines=False, quiet=True
        )
    return str(folder / run.path / "model" / "weights.safetensors")


def head_and_rest(run: pellucid.Run) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    held = load_file(run.path / "model" / "weights.safetensors")
    return tuple(
        {key: value for key, value in held.items() if key.startswith("classifier") == which}
        for which in (True, False)
    )


def prepared_with(**wanted: object) -> tuple[Prepared, nn.Module]:
    given = {"model": f"{BODY} G L10", "freeze": "all", **wanted}
    prepared = prepare("digits", given, Say(quiet=True))
    return prepared, built(prepared.spec, prepared.settings)


def test_the_cache_gives_the_same_head_and_scores(
    weights: str, capsys: pytest.CaptureFixture[str]
) -> None:
    cached = pellucid.train("digits", weights=weights, **FROZEN)
    assert "features: computed once for 1797 pictures" in capsys.readouterr().err
    plain = pellucid.train("digits", weights=weights, cache=False, **FROZEN)
    assert "features" not in capsys.readouterr().err
    (ours, body), (theirs, rest) = head_and_rest(cached), head_and_rest(plain)
    before = load_file(weights)
    for key in ours:
        torch.testing.assert_close(ours[key], theirs[key], rtol=0, atol=1e-4)
        assert (ours[key] - before[key]).abs().max() > 1e-3  # both learned
    assert all(
        torch.equal(body[key], before[key]) and torch.equal(rest[key], before[key]) for key in body
    )
    rows = [list(csv.DictReader((run.path / "metrics.csv").open())) for run in (cached, plain)]
    for a, b in zip(*rows, strict=True):
        for column in ("train_loss", "validation_loss", "validation_accuracy"):
            assert float(a[column]) == pytest.approx(float(b[column]), abs=1e-4)
    # The final scores are those of the whole network on pixels.
    assert float(rows[0][cached.summary["best_epoch"] - 1]["validation_accuracy"]) == pytest.approx(
        cached.summary["validation"]["accuracy"]["value"], abs=1e-6
    )


def test_a_second_run_reads_the_file_and_damage_is_mended(
    weights: str, capsys: pytest.CaptureFixture[str]
) -> None:
    first = pellucid.train("digits", weights=weights, **(FROZEN | {"epochs": 1}))
    (file,) = (folders.RUNS / ".features").iterdir()
    whole = file.read_bytes()
    for damage in (
        None,
        whole[: len(whole) // 2],
        whole[:500] + b"\x55" + whole[501:],
        b"",
        b"\x80\x04.",
    ):
        if damage is not None:
            file.write_bytes(damage)
        capsys.readouterr()
        again = pellucid.train("digits", weights=weights, **(FROZEN | {"epochs": 1}))
        said = capsys.readouterr().err
        assert ("from the cache" in said) == (damage is None) and ("computed once" in said) == (
            damage is not None
        )
        assert file.read_bytes() == whole
        for one, other in zip(head_and_rest(first), head_and_rest(again), strict=True):
            assert all(torch.equal(one[key], other[key]) for key in one)
    assert list((folders.RUNS / ".features").iterdir()) == [file]


@pytest.mark.parametrize("lost", [False, True])
def test_an_interrupted_run_goes_on_exactly(
    weights: str, lost: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = pellucid.train("digits", weights=weights, name="whole", quiet=True, **FROZEN)
    original = module.steps

    def interrupted(*arguments):
        for step in original(*arguments):
            if step.number == 50:
                signal.raise_signal(signal.SIGINT)
            yield step

    monkeypatch.setattr(module, "steps", interrupted)
    with pytest.raises(module.Interrupted):
        pellucid.train("digits", weights=weights, name="stopped", quiet=True, **FROZEN)
    monkeypatch.setattr(module, "steps", original)
    if lost:
        for file in (folders.RUNS / ".features").iterdir():
            file.unlink()
    run = pellucid.train(resume=folders.RUNS / "classification" / "stopped", quiet=True)
    assert (run.path / "model" / "weights.safetensors").read_bytes() == (
        whole.path / "model" / "weights.safetensors"
    ).read_bytes()


def test_features_are_those_of_the_network(tmp_path: Path) -> None:
    prepared, network = prepared_with()
    learned, head = features.cached(prepared, network, CPU, Say(quiet=True))
    assert head is not None
    every = np.arange(len(prepared.views))
    with torch.no_grad():
        inputs = prepared.preprocess.network_input(prepared.views.batch(every))
        seen = network.eval().features(inputs)[-1]
    held = learned.views.batch(every).images
    assert held.dtype == torch.float32 and held.shape == (len(every), 16, 1, 1)
    torch.testing.assert_close(held, seen.mean((2, 3), keepdim=True), rtol=1e-5, atol=1e-5)
    for part in ("train", "validation", "test"):
        ours, theirs = learned.part(part), prepared.part(part)
        assert torch.equal(ours.targets, theirs.targets)
        outputs = [
            forward_outputs(each.spec, asked, views.batch(np.arange(len(views))), SCORING, CPU)
            for each, asked, views in ((learned, head, ours), (prepared, network, theirs))
        ]
        torch.testing.assert_close(*outputs, rtol=1e-4, atol=1e-4)


def test_many_features_stay_in_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    prepared, network = prepared_with()
    monkeypatch.setattr(batches, "IN_MEMORY", 1000)
    held = features.cached(prepared, network, CPU, Say(quiet=True))[0].views
    assert isinstance(held.images, np.memmap)
    assert torch.isfinite(held.batch(np.array([3, 1])).images).all()


@pytest.mark.parametrize("wanted", [{"freeze": "1"}, {"cache": False}, {"freeze": None}])
def test_what_may_change_is_not_kept(wanted: dict[str, object]) -> None:
    network = build(f"{BODY} G L10", 1, (8, 8))
    settings = ClassificationSettings(model="x", freeze="all", augment="none")
    assert features.fixed(settings, network, (1, 8, 8))
    assert not features.fixed(settings.model_copy(update=wanted), network, (1, 8, 8))


@pytest.mark.parametrize(
    ("augmentation", "augments"),
    [
        *(({"augment": "none"}, False), ({"augment": "letters"}, True)),
        *(({"augment": "none", "imbalance": "oversample"}, False), ({"mirror": 0.5}, True)),
    ],
)
def test_features_of_augmented_images_are_not_kept(
    augmentation: dict[str, object], augments: bool
) -> None:
    prepared, network = prepared_with(**augmentation)
    assert features.augments(prepared) is augments
    found, head = features.cached(prepared, network, CPU, Say(quiet=True))
    assert (found is prepared) is augments and (head is None) is augments


class TwoMaps(nn.Module):
    """Its head reads an early map as well."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Conv2d(1, 2, 3), nn.Conv2d(2, 2, 3), nn.Linear(4, 3)

    def features(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        early = self.first(x)
        return early, self.second(early)

    def head(self, maps: tuple[torch.Tensor, ...]) -> torch.Tensor:
        return self.last(torch.cat([each.mean((2, 3)) for each in maps], 1))


def test_a_head_that_reads_early_maps_is_not_cached() -> None:
    settings = ClassificationSettings(freeze="all", augment="none")
    assert not features.fixed(settings, TwoMaps(), (1, 8, 8))


def test_the_key_follows_weights_pictures_and_preprocessing() -> None:
    prepared, network = prepared_with()
    base = features.key(prepared, network)
    assert features.key(prepared, network) == base
    with torch.no_grad():
        network.classifier[-1].weight.add_(1)
    assert features.key(prepared, network) == base  # the head may learn
    # Neither what augmentation pads with nor the names of the classes.
    inference = replace(prepared.inference, classes=tuple("abcdefghij"))
    padded = replace(prepared.preprocess, pad_value=(7.0,))
    renamed = replace(prepared, preprocess=padded, inference=inference)
    assert features.key(renamed, network) == base
    assert features.key(replace(prepared, hashes=prepared.hashes[::-1]), network) != base
    for change in ({"mean": (0.3,)}, {"std": (0.2,)}, {"normalization": "raw"}):
        preprocess = replace(prepared.preprocess, **change)
        assert features.key(replace(prepared, preprocess=preprocess), network) != base
    for name in ("stages.0.0.weight", "stages.0.1.running_mean", "stages.1.2.bias"):
        network.state_dict()[name].add_(1e-6)
        changed = features.key(prepared, network)
        assert changed != base
        base = changed


@pytest.mark.parametrize(
    ("name", "mean"),
    [
        *(("mobilenet_v2", True), ("resnet20", True), ("googlenet", True)),
        *(("alexnet", False), ("squeezenet1_1", False), ("nin", False), ("lenet5", False)),
    ],
)
def test_the_mean_is_kept_where_it_is_all_the_head_reads(name: str, mean: bool) -> None:
    size = fixed_size(name) or (96, 96)
    network = create(name, 3, 3, size).eval()
    transfer.freeze(network, ClassificationSettings(model=name, freeze="all"), (3, *size))
    before = {key: value.clone() for key, value in network.state_dict().items()}
    assert features.pooling(network, (3, *size)) is mean
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("head", "mean"), [("G L3", True), ("G D L3", True), ("G L9 R L3", True), ("L3", False)]
)
def test_the_mean_in_notation(head: str, mean: bool) -> None:
    network = build(f"C8 R P {head}", 1, (8, 8))
    # logits that do not depend on anything prove nothing
    nn.init.zeros_(network.classifier[-1].weight)
    transfer.freeze(network, ClassificationSettings(freeze="all"), (1, 8, 8))
    assert features.pooling(network, (1, 8, 8)) is mean


def test_dropout_before_the_mean_forbids_it() -> None:
    network = TwoMaps()
    network.last = nn.Sequential(nn.Linear(2, 3))
    drop = nn.Dropout(0.5)
    network.drop = drop
    network.head = lambda maps: network.last(network.drop(maps[-1]).mean((2, 3)))
    transfer.freeze(network, ClassificationSettings(model="x", freeze="all"), (1, 8, 8))
    assert not features.pooling(network, (1, 8, 8))
