"""GoogLeNet, DenseNet and MobileNetV2 against the published files and papers; the MACs of every
network against torch's own count."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from pellucid.anatomy import describe
from pellucid.core.errors import UsageError
from pellucid.data.images import read
from pellucid.models import MODELS, SMALLEST, create, native_size
from pellucid.models.densenet import DenseNet, renamed
from pellucid.models.googlenet import Inception

NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def on_meta(name: str, **options: int) -> nn.Module:
    with torch.device("meta"):
        return MODELS[name](**{"classes": 1000, **options})


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


# --------------------------------------------------------------------- names of the published files


def keys_of(weight: str, norm: str) -> list[str]:
    """A convolution without bias and the batch norm behind it, in that order."""
    return [f"{weight}.weight", *(f"{norm}.{each}" for each in NORM)]


def dense(name: str) -> list[str]:
    return [f"{name}.weight", f"{name}.bias"]


def googlenet_keys() -> list[str]:
    modules = [
        f"inception{each}" for each in ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b")
    ]
    branches = [
        f"{module}.branch{each}"
        for module in modules
        for each in ("1", "2.0", "2.1", "3.0", "3.1", "4.1")
    ]
    keys = [
        key
        for each in ("conv1", "conv2", "conv3", *branches)
        for key in keys_of(f"{each}.conv", f"{each}.bn")
    ]
    for aux in ("aux1", "aux2"):
        keys += [
            *keys_of(f"{aux}.conv.conv", f"{aux}.conv.bn"),
            *dense(f"{aux}.fc1"),
            *dense(f"{aux}.fc2"),
        ]
    return [*keys, *dense("fc")]


def densenet_keys(depths: tuple[int, ...]) -> list[str]:
    keys = keys_of("conv0", "norm0")
    for block, depth in enumerate(depths, 1):
        for layer in range(1, depth + 1):
            at = f"denseblock{block}.denselayer{layer}"
            keys += [
                f"{at}.{key}"
                for number in "12"
                for key in [*norm(f"norm{number}"), f"conv{number}.weight"]
            ]
        if block < 4:
            keys += [*norm(f"transition{block}.norm"), f"transition{block}.conv.weight"]
    return [f"features.{key}" for key in [*keys, *norm("norm5")]] + dense("classifier")


def norm(name: str) -> list[str]:
    return [f"{name}.{each}" for each in NORM]


def mobilenet_v2_keys() -> list[str]:
    keys = keys_of("0.0", "0.1")
    for block in range(1, 18):
        units = 1 if block == 1 else 2
        for unit in range(units):
            keys += keys_of(f"{block}.conv.{unit}.0", f"{block}.conv.{unit}.1")
        keys += keys_of(f"{block}.conv.{units}", f"{block}.conv.{units + 1}")
    return [f"features.{key}" for key in [*keys, *keys_of("18.0", "18.1")]] + dense("classifier.1")


DEPTHS = {
    "densenet121": (6, 12, 24, 16),
    "densenet161": (6, 12, 36, 24),
    "densenet169": (6, 12, 32, 32),
    "densenet201": (6, 12, 48, 32),
}
KEYS = {
    "googlenet": googlenet_keys(),
    "googlenet_2014": googlenet_keys(),
    **{name: densenet_keys(depths) for name, depths in DEPTHS.items()},
    "mobilenet_v2": mobilenet_v2_keys(),
}

# Parameters at 1000 classes; entries of the file; maps of the features at 224×224, where they have
# 112, 56, 28, 14 and 7 pixels a side; one entry from the middle and its shape.
REFERENCE = {
    "googlenet": (
        13_004_888,
        364,
        (64, 192, 480, 832, 1024),
        "inception3a.branch3.1.conv.weight",
        (32, 16, 3, 3),
    ),
    "googlenet_2014": (
        13_385_816,
        364,
        (64, 192, 480, 832, 1024),
        "inception3a.branch3.1.conv.weight",
        (32, 16, 5, 5),
    ),
    "densenet121": (
        7_978_856,
        727,
        (64, 256, 512, 1024, 1024),
        "features.denseblock4.denselayer16.conv1.weight",
        (128, 992, 1, 1),
    ),
    "densenet161": (
        28_681_000,
        967,
        (96, 384, 768, 2112, 2208),
        "features.denseblock4.denselayer24.conv1.weight",
        (192, 2160, 1, 1),
    ),
    "densenet169": (
        14_149_480,
        1015,
        (64, 256, 512, 1280, 1664),
        "features.transition3.conv.weight",
        (640, 1280, 1, 1),
    ),
    "densenet201": (20_013_928, 1207, (64, 256, 512, 1792, 1920), "features.norm5.weight", (1920,)),
    "mobilenet_v2": (
        3_504_872,
        314,
        (16, 24, 32, 96, 1280),
        "features.14.conv.1.0.weight",
        (576, 1, 3, 3),
    ),
}


@pytest.mark.parametrize("name", REFERENCE)
def test_published_names_shapes_and_counts(name: str) -> None:
    count, entries, maps, key, shape = REFERENCE[name]
    network = on_meta(name).eval()
    state = network.state_dict()
    assert parameters(network) == count
    assert list(state) == KEYS[name]
    assert len(state) == entries
    assert tuple(state[key].shape) == shape
    features = network.features(torch.empty(1, 3, 224, 224, device="meta"))
    assert [tuple(each.shape[1:]) for each in features] == [
        (m, s, s) for m, s in zip(maps, (112, 56, 28, 14, 7), strict=True)
    ]


def test_googlenet_has_6624904_parameters() -> None:
    network = on_meta("googlenet", auxiliary=False)
    assert parameters(network) == 6_624_904
    assert list(network.state_dict()) == [
        key for key in KEYS["googlenet"] if not key.startswith("aux")
    ]
    # Five squared for three squared in nine branches.
    branches = [
        (16, 32),
        (32, 96),
        (16, 48),
        (24, 64),
        (24, 64),
        (32, 64),
        (32, 128),
        (32, 128),
        (48, 128),
    ]
    fives = sum(inputs * outputs for inputs, outputs in branches)
    assert parameters(on_meta("googlenet_2014", auxiliary=False)) == 6_624_904 + 16 * fives


def test_mobilenet_v2_is_the_real_file(data_root: Path) -> None:
    stored = torch.load(data_root / "weights" / "mobilenetv2_imagenet_fp16.pth", weights_only=True)
    ours = on_meta("mobilenet_v2").state_dict()
    assert [(key, value.shape) for key, value in ours.items()] == [
        (key, value.shape) for key, value in stored.items()
    ]


def test_mobilenet_v2_with_the_real_file_knows_a_parrot(data_root: Path) -> None:
    network = MODELS["mobilenet_v2"](classes=1000).eval()
    network.load_state_dict(
        torch.load(data_root / "weights" / "mobilenetv2_imagenet_fp16.pth", weights_only=True)
    )
    x = (
        torch.from_numpy(read(data_root / "imagenet_samples" / "parrot.jpg")).permute(2, 0, 1)[None]
        / 127.5
        - 1
    )
    with torch.no_grad():
        probabilities = network(
            F.interpolate(x, (224, 224), mode="bilinear", antialias=True)
        ).softmax(1)[0]
    assert probabilities.argmax() == 88  # macaw
    assert probabilities[88] > 0.5


# ------------------------------------------------------------------------ what the networks compute


def batch_norm(x: Tensor, state: dict[str, Tensor], name: str, eps: float = 1e-5) -> Tensor:
    mean, variance, weight, bias = (
        state[f"{name}.{each}"] for each in ("running_mean", "running_var", "weight", "bias")
    )
    return F.batch_norm(x, mean, variance, weight, bias, eps=eps)


def shaken(network: nn.Module) -> nn.Module:
    """Statistics and scales of batch norm that are not 0 and 1, so that their order matters."""
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for tensor in (
                layer.running_mean,
                layer.running_var,
                layer.weight.data,
                layer.bias.data,
            ):
                tensor.add_(torch.rand_like(tensor) * 0.3)
    return network.eval()


def test_densenet_agrees_with_torchs_own_operations() -> None:
    torch.manual_seed(1)
    depths = (2, 1, 2, 1)
    network = shaken(DenseNet(depths, growth=4, stem=6, classes=3, channels=2))
    state = {key.removeprefix("features."): value for key, value in network.state_dict().items()}
    x = torch.randn(2, 2, 40, 40)
    y = F.max_pool2d(
        batch_norm(F.conv2d(x, state["conv0.weight"], None, 2, 3), state, "norm0").relu(), 3, 2, 1
    )
    for block, depth in enumerate(depths, 1):
        for layer in range(1, depth + 1):
            at = f"denseblock{block}.denselayer{layer}"
            narrow = F.conv2d(
                batch_norm(y, state, f"{at}.norm1").relu(), state[f"{at}.conv1.weight"]
            )
            new = F.conv2d(
                batch_norm(narrow, state, f"{at}.norm2").relu(),
                state[f"{at}.conv2.weight"],
                padding=1,
            )
            y = torch.cat([y, new], 1)
        if block < 4:
            at = f"transition{block}"
            y = F.avg_pool2d(
                F.conv2d(batch_norm(y, state, f"{at}.norm").relu(), state[f"{at}.conv.weight"]), 2
            )
    y = batch_norm(y, state, "norm5").relu()
    with torch.no_grad():
        torch.testing.assert_close(
            network(x), y.mean((2, 3)) @ state["classifier.weight"].T + state["classifier.bias"]
        )


def test_mobilenet_v2_agrees_with_torchs_own_operations() -> None:
    torch.manual_seed(1)
    network = shaken(MODELS["mobilenet_v2"](classes=3, channels=2))
    state = {key.removeprefix("features."): value for key, value in network.state_dict().items()}
    x = torch.randn(1, 2, 48, 48)

    def unit(x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight = state[f"{name}.0.weight"]
        groups = x.shape[1] // weight.shape[1]
        return batch_norm(
            F.conv2d(x, weight, None, stride, weight.shape[2] // 2, 1, groups), state, f"{name}.1"
        ).clamp(0, 6)

    y = unit(x, "0", 2)
    for block in range(1, 18):
        units = 1 if block == 1 else 2
        stride = 2 if block in (2, 4, 7, 14) else 1
        inner = y if units == 1 else unit(y, f"{block}.conv.0")
        inner = unit(inner, f"{block}.conv.{units - 1}", stride)
        inner = batch_norm(
            F.conv2d(inner, state[f"{block}.conv.{units}.weight"]),
            state,
            f"{block}.conv.{units + 1}",
        )
        y = y + inner if inner.shape == y.shape else inner
    y = unit(y, "18")
    with torch.no_grad():
        torch.testing.assert_close(
            network(x), y.mean((2, 3)) @ state["classifier.1.weight"].T + state["classifier.1.bias"]
        )


@pytest.mark.parametrize(("name", "wide"), [("googlenet", 3), ("googlenet_2014", 5)])
def test_googlenet_agrees_with_torchs_own_operations(name: str, wide: int) -> None:
    torch.manual_seed(1)
    network = shaken(MODELS[name](classes=3, channels=2))
    state, x = network.state_dict(), torch.randn(1, 2, 48, 48)

    def unit(x: Tensor, name: str, side: int, stride: int = 1) -> Tensor:
        return batch_norm(
            F.conv2d(x, state[f"{name}.conv.weight"], None, stride, side // 2),
            state,
            f"{name}.bn",
            1e-3,
        ).relu()

    def inception(x: Tensor, name: str) -> Tensor:
        at = f"inception{name}.branch"
        three = unit(unit(x, f"{at}2.0", 1), f"{at}2.1", 3)
        five = unit(unit(x, f"{at}3.0", 1), f"{at}3.1", wide)
        return torch.cat(
            [unit(x, f"{at}1", 1), three, five, unit(F.max_pool2d(x, 3, 1, 1), f"{at}4.1", 1)], 1
        )

    y = F.max_pool2d(unit(x, "conv1", 7, 2), 3, 2, ceil_mode=True)
    y = F.max_pool2d(unit(unit(y, "conv2", 1), "conv3", 3), 3, 2, ceil_mode=True)
    y = F.max_pool2d(inception(inception(y, "3a"), "3b"), 3, 2, ceil_mode=True)
    heads = []
    for each in ("4a", "4b", "4c", "4d", "4e"):
        y = inception(y, each)
        if each in ("4a", "4d"):
            at = f"aux{len(heads) + 1}"
            z = unit(F.adaptive_avg_pool2d(y, 4), f"{at}.conv", 1).flatten(1)
            z = F.linear(z, state[f"{at}.fc1.weight"], state[f"{at}.fc1.bias"]).relu()
            heads.append(F.linear(z, state[f"{at}.fc2.weight"], state[f"{at}.fc2.bias"]))
    y = inception(inception(F.max_pool2d(y, 2, 2, ceil_mode=True), "5a"), "5b")
    expected = y.mean((2, 3)) @ state["fc.weight"].T + state["fc.bias"]
    with torch.no_grad():
        logits, auxiliary = network.with_auxiliary(x)
        torch.testing.assert_close([logits, *auxiliary], [expected, *heads])
        assert torch.equal(network(x), logits)


def test_inception_stacks_64_128_32_32_to_28x28x256() -> None:
    with torch.device("meta"):
        module = Inception(192, 64, 96, 128, 16, 32, 32, wide=5)
        x = torch.empty(1, 192, 28, 28)
        assert [branch(x).shape[1] for branch in module.children()] == [64, 128, 32, 32]
        assert module(x).shape == (1, 256, 28, 28)
    # The bottleneck of 16 in front of the 5×5, and the 5×5: 12,443,648 multiplications where a 5×5
    # alone has 120,422,400.
    assert [row.macs for row in describe(module.branch3, (192, 28, 28)).rows if row.macs] == [
        2_408_448,
        10_035_200,
    ]
    assert describe(nn.Conv2d(192, 32, 5, padding=2), (192, 28, 28)).macs == 120_422_400


def test_a_dense_block_hands_its_input_on_untouched() -> None:
    network = DenseNet((3, 1, 1, 1), growth=4, stem=6, classes=3, channels=1).train()
    stem, first, *_ = network.features(torch.randn(2, 1, 32, 32))
    assert first.shape[1] == 6 + 3 * 4
    assert torch.equal(first[:, :6], network.features.pool0(stem))


def test_the_two_paddings_of_mobilenet_share_weights_and_shapes() -> None:
    ours, same = (MODELS[name](classes=3) for name in ("mobilenet_v2", "mobilenet_v2_same"))
    same.load_state_dict(ours.state_dict())
    for side in (64, 65, 97):
        x = torch.zeros(1, 3, side, side)
        assert [m.shape for m in ours.eval().features(x)] == [
            m.shape for m in same.eval().features(x)
        ]
    # TensorFlow's rule: ⌈n/s⌉ outputs, of the zeros needed for that the smaller half first.
    stem = same.features[0][:2]
    for side in (6, 7):
        x = torch.randn(1, 3, side, side)
        short = max((-(-side // 2) - 1) * 2 + 3 - side, 0)
        padded = F.pad(x, (short // 2, short - short // 2) * 2)
        torch.testing.assert_close(stem(x), F.conv2d(padded, stem[1].weight, stride=2))


# ----------------------------------------------------------------------------- DenseNet's old files


def old_name(key: str) -> str:
    for number in "12":
        key = key.replace(f"norm{number}.", f"norm.{number}.").replace(
            f"conv{number}.", f"conv.{number}."
        )
    return key


def test_a_densenet_file_with_the_old_names_loads() -> None:
    torch.manual_seed(0)
    made, other = (
        DenseNet((2, 1, 1, 1), growth=4, stem=6, classes=3, channels=1) for _ in range(2)
    )
    # The files are older than the count of batches, which torch leaves at 0 when a file has none.
    old = {
        old_name(key): value for key, value in made.state_dict().items() if "num_batches" not in key
    }
    assert {
        "features.denseblock1.denselayer2.norm.1.running_mean",
        "features.denseblock1.denselayer2.conv.2.weight",
    } <= set(old)
    assert {
        "features.transition1.norm.weight",
        "features.norm5.weight",
        "features.conv0.weight",
    } <= set(old)
    other.load_state_dict(renamed(old), strict=True)
    assert all(
        torch.equal(a, b)
        for a, b in zip(made.state_dict().values(), other.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize("name", DEPTHS)
def test_renaming_reaches_every_old_name(name: str) -> None:
    state = on_meta(name).state_dict()
    old = [old_name(key) for key in state]
    # Two batch norms of five entries and two convolutions a layer.
    assert sum(before != now for before, now in zip(old, state, strict=True)) == 12 * sum(
        DEPTHS[name]
    )
    assert (
        list(renamed(dict(zip(old, state.values(), strict=True))))
        == list(state)
        == list(renamed(state))
    )


# ---------------------------------------------------------------------------------- initial weights


@pytest.mark.parametrize(
    ("name", "layer", "deviation"),
    [
        ("googlenet", "inception4e.branch2.1.conv", math.sqrt(2 / (160 * 9))),
        ("googlenet", "aux1.fc1", math.sqrt(2 / 2048)),
        ("googlenet", "fc", math.sqrt(1 / 1024)),
        ("densenet121", "features.denseblock3.denselayer9.conv1", math.sqrt(2 / 512)),
        ("mobilenet_v2", "features.16.conv.1.0", math.sqrt(2 / 9)),
        ("mobilenet_v2", "classifier.1", math.sqrt(1 / 1280)),
    ],
)
def test_initial_deviation(name: str, layer: str, deviation: float) -> None:
    torch.manual_seed(0)
    weight = MODELS[name](classes=100).get_submodule(layer).weight
    assert weight.std().item() == pytest.approx(deviation, rel=0.03)
    assert weight.mean().abs().item() < deviation / 20


# -------------------------------------------------------------------------------------------- sizes


@pytest.mark.parametrize(
    ("name", "side"),
    [("googlenet", 15), ("googlenet_2014", 15), ("densenet121", 29), ("densenet201", 29)],
)
def test_the_smallest_size_is_taken_and_one_less_refused(name: str, side: int) -> None:
    assert SMALLEST[name] == side
    with torch.device("meta"):
        assert create(name, 10, 1, (side, 40)).eval()(torch.empty(1, 1, side, 40)).shape == (1, 10)
    with pytest.raises(UsageError, match=str(side)):
        create(name, 10, 1, (40, side - 1))


def test_mobilenet_v2_takes_a_single_pixel() -> None:
    with torch.device("meta"):
        assert create("mobilenet_v2", 10, 1, (1, 1)).eval()(torch.empty(1, 1, 1, 1)).shape == (
            1,
            10,
        )


# ------------------------------------------------------------------------------------ every network


@pytest.mark.parametrize("name", MODELS)
def test_macs_are_half_of_torchs_count_of_operations(name: str) -> None:
    size = native_size(name) or (224, 224)
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        network = create(name, 10, 3, size).eval()
        network(torch.empty(1, 3, *size))
    ours = describe(network, (3, *size)).macs
    if any(hasattr(layer, "macs") for layer in network.modules()):
        # A layer of its own may be computed with more multiplications than it has connections.
        assert 0 < ours <= counter.get_total_flops() / 2
    else:
        assert ours == counter.get_total_flops() / 2
