"""AlexNet, VGG, SqueezeNet, Network in Network,
the MLP and the CIFAR ResNets against the published files and papers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from pellucid.anatomy import describe
from pellucid.core.errors import UsageError
from pellucid.data.images import read
from pellucid.models import MODELS, create
from pellucid.models.alexnet import AlexNetOf2012
from pellucid.models.cifar_resnet import Block
from pellucid.models.layers import Pyramid
from pellucid.models.mlp import MLP

NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")

# The configurations of the VGG paper's table 1, M for a pool.
VGG = {
    11: "64 M 128 M 256 256 M 512 512 M 512 512 M",
    13: "64 64 M 128 128 M 256 256 M 512 512 M 512 512 M",
    16: "64 64 M 128 128 M 256 256 256 M 512 512 512 M 512 512 512 M",
    19: "64 64 M 128 128 M 256 256 256 256 M 512 512 512 512 M 512 512 512 512 M",
}


def on_meta(name: str, **options: int) -> nn.Module:
    with torch.device("meta"):
        return MODELS[name](**{"classes": 1000, **options})


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


# --------------------------------------------------------------------- the names of published files


def both(*names: str) -> list[str]:
    return [f"{name}.{each}" for name in names for each in ("weight", "bias")]


def vgg_keys(configuration: str, norm: bool) -> list[str]:
    keys, at = [], 0
    for word in configuration.split():
        if word != "M":
            keys += both(f"features.{at}")
            keys += [f"features.{at + 1}.{each}" for each in NORM if norm]
        at += 1 if word == "M" else 3 if norm else 2
    return keys + both("classifier.0", "classifier.3", "classifier.6")


def squeezenet_keys() -> list[str]:
    fires = [
        f"features.{at}.{part}"
        for at in (3, 4, 6, 7, 9, 10, 11, 12)
        for part in ("squeeze", "expand1x1", "expand3x3")
    ]
    return both("features.0", *fires, "classifier.1")


def cifar_keys(depth: int) -> list[str]:
    pairs = [("conv1", "bn1")]
    for stage in (1, 2, 3):
        pairs += [
            (f"layer{stage}.{block}.conv{n}", f"layer{stage}.{block}.bn{n}")
            for block in range((depth - 2) // 6)
            for n in (1, 2)
        ]
    return [
        key for conv, bn in pairs for key in (f"{conv}.weight", *(f"{bn}.{each}" for each in NORM))
    ] + both("linear")


KEYS = {
    "alexnet": both(
        *(f"features.{at}" for at in (0, 3, 6, 8, 10)), *(f"classifier.{at}" for at in (1, 4, 6))
    ),
    "alexnet_2012": both(*(f"conv{n}" for n in range(1, 6)), "fc6", "fc7", "fc8"),
    **{f"vgg{depth}": vgg_keys(configuration, norm=False) for depth, configuration in VGG.items()},
    **{
        f"vgg{depth}_bn": vgg_keys(configuration, norm=True) for depth, configuration in VGG.items()
    },
    "squeezenet1_1": squeezenet_keys(),
    "nin": both(
        *(f"mlpconv{n}.{at}" for n in (1, 2, 3) for at in (0, 2, 4)[: 3 if n < 3 else 2]),
        "class_maps",
    ),
    "mlp": both("hidden.0", "hidden.2", "fc"),
    **{f"resnet{depth}": cifar_keys(depth) for depth in (20, 32, 44, 56)},
}

# Parameters at 1000 classes, entries of the state dict, native size; maps × side of each feature;
# one entry and its shape.
VGG_MAPS = [(64, 224), (128, 112), (256, 56), (512, 28), (512, 14), (512, 7)]
CIFAR_MAPS = [(16, 32), (32, 16), (64, 8)]
REFERENCE = {
    "alexnet": (
        61_100_840,
        16,
        224,
        [(64, 55), (192, 27), (256, 13), (256, 6)],
        "features.8.weight",
        (256, 384, 3, 3),
    ),
    "alexnet_2012": (
        60_965_224,
        16,
        227,
        [(96, 55), (256, 27), (256, 13), (256, 6)],
        "conv2.weight",
        (256, 48, 5, 5),
    ),
    "vgg11": (132_863_336, 22, 224, VGG_MAPS, "features.18.weight", (512, 512, 3, 3)),
    "vgg13": (133_047_848, 26, 224, VGG_MAPS, "features.22.weight", (512, 512, 3, 3)),
    "vgg16": (138_357_544, 32, 224, VGG_MAPS, "classifier.0.weight", (4096, 25_088)),
    "vgg19": (143_667_240, 38, 224, VGG_MAPS, "features.34.bias", (512,)),
    "vgg11_bn": (132_868_840, 62, 224, VGG_MAPS, "features.26.running_var", (512,)),
    "vgg13_bn": (133_053_736, 76, 224, VGG_MAPS, "features.7.weight", (128, 64, 3, 3)),
    "vgg16_bn": (138_365_992, 97, 224, VGG_MAPS, "features.41.running_mean", (512,)),
    "vgg19_bn": (143_678_248, 118, 224, VGG_MAPS, "features.49.weight", (512, 512, 3, 3)),
    "squeezenet1_1": (
        1_235_496,
        52,
        224,
        [(64, 111), (128, 55), (256, 27), (512, 13)],
        "features.12.expand3x3.weight",
        (256, 64, 3, 3),
    ),
    "nin": (
        1_158_056,
        18,
        32,
        [(96, 32), (192, 16), (192, 8)],
        "mlpconv2.0.weight",
        (192, 96, 5, 5),
    ),
    "mlp": (1_961_704, 6, 32, [(3, 32)], "hidden.0.weight", (512, 3 * 32 * 32)),
    "resnet20": (334_072, 116, 32, CIFAR_MAPS, "layer2.0.conv1.weight", (32, 16, 3, 3)),
    "resnet32": (528_504, 188, 32, CIFAR_MAPS, "layer3.4.conv2.weight", (64, 64, 3, 3)),
    "resnet44": (722_936, 260, 32, CIFAR_MAPS, "layer1.6.bn2.weight", (16,)),
    "resnet56": (917_368, 332, 32, CIFAR_MAPS, "linear.weight", (1000, 64)),
}


@pytest.mark.parametrize("name", REFERENCE)
def test_names_shapes_and_counts_are_the_published_ones(name: str) -> None:
    count, entries, side, maps, key, shape = REFERENCE[name]
    network = on_meta(name).eval()
    state = network.state_dict()
    assert parameters(network) == count
    assert list(state) == KEYS[name]
    assert len(state) == entries
    assert tuple(state[key].shape) == shape
    features = network.features(torch.empty(1, 3, side, side, device="meta"))
    assert [tuple(each.shape[1:]) for each in features] == [
        (width, size, size) for width, size in maps
    ]


@pytest.mark.parametrize("name", REFERENCE)
def test_multiplications_agree_with_torchs_counter(name: str) -> None:
    side = REFERENCE[name][2]
    network = on_meta(name).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.empty(1, 3, side, side, device="meta"))
    assert 2 * describe(network, (3, side, side)).macs == counter.get_total_flops()


def test_figures_of_the_papers() -> None:
    assert parameters(on_meta("alexnet_2012", groups=1)) == 62_378_344
    assert sum(p.numel() for p in on_meta("vgg16").features.parameters()) == 14_714_688
    assert [parameters(on_meta(f"resnet{depth}", classes=10)) for depth in (20, 32, 44, 56)] == [
        269_722,
        464_154,
        658_586,
        853_018,
    ]
    assert parameters(on_meta("nin", classes=10)) == 966_986
    depth = {
        name: describe(on_meta(name), (3, 227, 227)).depth
        for name in ("alexnet_2012", "vgg16", "vgg19_bn", "resnet44")
    }
    assert depth == {"alexnet_2012": 8, "vgg16": 16, "vgg19_bn": 19, "resnet44": 44}


@pytest.mark.parametrize("name", [name for name in REFERENCE if name != "mlp"])
def test_other_channels_change_the_first_layer_only(name: str) -> None:
    three, five = (on_meta(name, channels=channels).state_dict() for channels in (3, 5))
    other = [key for key in three if three[key].shape != five[key].shape]
    assert other == [KEYS[name][0]]
    assert five[other[0]].shape[1] == 5


# ------------------------------------------------------------------------------------------ AlexNet


def test_alexnet_2012_has_the_papers_shapes_layer_by_layer() -> None:
    rows = {row.name: row for row in describe(on_meta("alexnet_2012"), (3, 227, 227)).rows}
    convolutions = [rows[f"conv{n}"].output for n in range(1, 6)]
    assert convolutions == [
        (96, 55, 55),
        (256, 27, 27),
        (384, 13, 13),
        (384, 13, 13),
        (256, 13, 13),
    ]
    pools = [
        row.output
        for row in describe(on_meta("alexnet_2012"), (3, 227, 227)).rows
        if row.kind.startswith("MaxPool2d")
    ]
    assert pools == [(96, 27, 27), (256, 13, 13), (256, 6, 6)]
    assert [rows[name].output for name in ("fc6", "fc7", "fc8")] == [(4096,), (4096,), (1000,)]
    assert rows["fc6"].weights == 9216 * 4096


def test_local_response_normalisation_is_the_papers_formula() -> None:
    a = torch.rand(1, 8, 2, 3) * 40
    norm = AlexNetOf2012(classes=2, channels=1, size=(67, 67)).norm
    for i in range(8):
        near = a[:, max(0, i - 2) : min(8, i + 3)].square().sum(1)
        torch.testing.assert_close(norm(a)[:, i], a[:, i] / (2 + 1e-4 * near) ** 0.75)


def test_halves_of_alexnet_meet_in_the_third_convolution() -> None:
    network = AlexNetOf2012(classes=2, channels=1, size=(67, 67)).eval()
    for name, touched in (("conv2", 128), ("conv3", 384), ("conv4", 192), ("conv5", 128)):
        layer = network.get_submodule(name)
        x = torch.rand(1, layer.in_channels, 5, 5)
        other = x.clone()
        other[:, 0] += 1
        changed = (layer(x) != layer(other)).flatten(2).any(2)[0].nonzero().flatten()
        assert (int(changed.min()), int(changed.max())) == (0, touched - 1), name


def test_alexnet_2012_is_built_for_its_size() -> None:
    assert create("alexnet_2012", 4, 1, (67, 99))(torch.zeros(1, 1, 67, 99)).shape == (1, 4)
    with pytest.raises(
        UsageError, match="alexnet_2012: pictures of 66×80 are too small; it needs at least 67×67"
    ):
        AlexNetOf2012(size=(66, 80))


def test_a_small_picture_gets_the_size_that_vgg_needs() -> None:
    with pytest.raises(
        UsageError, match="vgg16: pictures of 16×16 are too small; it needs at least 32×32"
    ):
        create("vgg16", 10, 3, (16, 16))


# -------------------------------------------------------------------------------------- the pyramid


def test_a_pyramid_is_a_sequential_that_keeps_maps() -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(2, 3, 3)]
    pyramid, plain = Pyramid(layers, cuts=(1, 3)), nn.Sequential(*layers)
    x = torch.randn(2, 1, 12, 12)
    fine, coarse = pyramid(x)
    assert torch.equal(coarse, plain(x))
    assert torch.equal(fine, plain[:2](x))
    assert list(pyramid.state_dict()) == list(plain.state_dict())


@pytest.mark.parametrize("cuts", [(), (0,), (1, 0), (0, 0, 1), (0, 2)])
def test_a_pyramid_must_rise_to_its_last_layer(cuts: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="must rise and end at the last layer, 1"):
        Pyramid([nn.Identity(), nn.Identity()], cuts)


def test_maps_are_not_overwritten_by_what_comes_after() -> None:
    for name, side in (("squeezenet1_1", 40), ("nin", 12), ("resnet20", 12), ("alexnet", 67)):
        network = create(name, 3, 1, (side, side)).eval()
        maps = network.features(torch.randn(1, 1, side, side))
        kept = [each.clone() for each in maps]
        network.head(maps)
        assert all(torch.equal(a, b) for a, b in zip(maps, kept, strict=True)), name
        assert all((each >= 0).all() for each in maps), (
            f"{name}: a map of the features comes before its ReLU"
        )


# -------------------------------------------------------------------------------- what they compute


def test_a_fire_module_stacks_the_1x1_before_the_3x3() -> None:
    fire = on_cpu("squeezenet1_1").features[3].eval()
    x = torch.randn(1, 64, 6, 6)
    squeezed = fire.squeeze(x).relu()
    expected = torch.cat([fire.expand1x1(squeezed), fire.expand3x3(squeezed)], 1).relu()
    torch.testing.assert_close(fire(x), expected)


def on_cpu(name: str) -> nn.Module:
    torch.manual_seed(0)
    return create(name, 5, 3, (32, 32))


@pytest.mark.parametrize("name", ["nin", "squeezenet1_1"])
def test_a_class_is_the_average_of_its_map(name: str) -> None:
    network = on_cpu(name).eval()
    coarse = network.features(torch.randn(2, 3, 32, 32))[-1]
    last: nn.Conv2d = network.class_maps if name == "nin" else network.classifier[1]
    expected = F.conv2d(coarse, last.weight, last.bias).clamp(min=0).mean((2, 3))
    torch.testing.assert_close(network.head((coarse,)), expected)


def test_shortcut_a_takes_every_second_pixel_between_zeros() -> None:
    x = torch.randn(1, 16, 7, 8)
    y = Block(16, 32, 2).shortcut(x)
    assert y.shape == (1, 32, 4, 4)
    assert torch.equal(y[:, 8:24], x[:, :, ::2, ::2])
    assert not y[:, :8].any()
    assert not y[:, 24:].any()
    assert Block(16, 16, 1).shortcut(x) is x


def test_a_block_that_adds_nothing_passes_its_shortcut() -> None:
    block = Block(16, 32, 2).eval()
    nn.init.zeros_(block.bn2.weight)
    x = torch.rand(1, 16, 8, 8)
    torch.testing.assert_close(block(x), block.shortcut(x))


def test_the_mlp_has_the_hidden_layers_it_is_given() -> None:
    network = MLP(3, 1, (4, 6), hidden=(7, 5, 2))
    assert parameters(network) == (24 + 1) * 7 + (7 + 1) * 5 + (5 + 1) * 2 + (2 + 1) * 3
    assert parameters(MLP(3, 1, (4, 6), hidden=())) == (24 + 1) * 3
    x = torch.randn(2, 1, 4, 6)
    expected = x.flatten(1)
    for at in (0, 2, 4):
        expected = network.hidden[at](expected).clamp(min=0)
    torch.testing.assert_close(network(x), network.fc(expected))


@pytest.mark.parametrize("name", ["mlp", "nin", "vgg11", "alexnet"])
def test_a_fresh_network_keeps_the_size_of_the_signal(name: str) -> None:
    """He normal: the mean square before a ReLU is that of the picture, whatever the depth; each
    pooling by maximum adds to it."""
    side = 64 if name == "alexnet" else 32
    torch.manual_seed(1)
    network = create(name, 10, 3, (side, side)).eval()
    seen: list[Tensor] = []
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(
                lambda layer, inputs, output: seen.append(output.detach().square().mean())
            )
    network(torch.randn(4, 3, side, side))
    assert all(0.1 < size < 50 for size in seen), seen


# ------------------------------------------------------------------------------- the published file


def test_resnet20_is_the_published_file_and_knows_cifar(data_root: Path) -> None:
    stored = torch.load(
        data_root / "weights" / "resnet20_cifar10.th", weights_only=True, map_location="cpu"
    )["state_dict"]
    weights = {key.removeprefix("module."): value for key, value in stored.items()}
    network = MODELS["resnet20"]().eval()
    assert [key for key in network.state_dict() if not key.endswith("num_batches_tracked")] == list(
        weights
    )
    network.load_state_dict(weights)
    folders = sorted((data_root / "cifar10_small").iterdir())
    paths = [path for folder in folders for path in sorted(folder.iterdir())[::10]]
    assert len(paths) == 400
    pixels = torch.from_numpy(np.stack([read(path) for path in paths])).permute(0, 3, 1, 2) / 255
    mean, deviation = (
        torch.tensor(each)[:, None, None] for each in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    with torch.no_grad():
        answers = network((pixels - mean) / deviation).argmax(1)
    target = torch.tensor([folders.index(path.parent) for path in paths])
    right = (answers == target).float().mean().item()
    assert right >= 0.8, right
