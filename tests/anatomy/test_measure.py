from __future__ import annotations

import json

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from pellucid.anatomy import Anatomy, describe
from pellucid.core.errors import ModelError
from pellucid.models import MODELS, create, fixed_size
from pellucid.models.notation import build


def of(text: str, *shape: int) -> Anatomy:
    with torch.device("meta"):
        network = build(text, shape[0], shape[1:])
    return describe(network, shape)


# ---------------------------------------------------------------------------------------------------------- golden rows


def test_the_lenet_style_table() -> None:
    anatomy = of("C8k5p0 P C16k5p0 P L120 L84 L10", 3, 32, 32)
    table = [(row.output, row.activations, row.parameters) for row in anatomy.rows if "Flatten" not in row.kind]
    assert table == [
        ((8, 28, 28), 6_272, 608),
        ((8, 14, 14), 1_568, 0),
        ((16, 10, 10), 1_600, 3_216),
        ((16, 5, 5), 400, 0),
        ((120,), 120, 48_120),
        ((84,), 84, 10_164),
        ((10,), 10, 850),
    ]
    assert anatomy.parameters == 62_958
    assert anatomy.depth == 5


@pytest.mark.parametrize(
    ("text", "shape", "macs"),
    [
        ("C32k5p2 G", (192, 28, 28), [120_422_400]),
        ("C16k1p0 C32k5p2 G", (192, 28, 28), [2_408_448, 10_035_200]),
        ("C32k5p0 G", (1, 28, 28), [460_800]),
        ("C32p0 C32p0 G", (1, 28, 28), [194_688, 5_308_416]),
    ],
)
def test_golden_multiplications(text: str, shape: tuple[int, ...], macs: list[int]) -> None:
    anatomy = of(text, *shape)
    assert [row.macs for row in anatomy.rows if row.macs] == macs
    assert anatomy.macs == sum(macs)


def test_golden_rows_of_single_layers() -> None:
    row = of("C32k5p0 G", 1, 28, 28).rows[0]
    assert (row.parameters, row.activations, row.output) == (832, 18_432, (32, 24, 24))
    assert [row.parameters for row in of("C32 C32 G", 1, 28, 28).rows[:2]] == [320, 9_248]
    assert [row.weights for row in of("C32 C64 G", 3, 8, 8).rows[:2]] == [864, 18_432]
    assert of("C10p0 G", 3, 6, 6).rows[0].biases == 10
    rows = of("C7 G", 5, 8, 8).rows
    assert (rows[0].weights, rows[0].biases) == (9 * 5 * 7, 7)


def test_golden_depths_and_convolutional_part() -> None:
    vgg = of("( C64 R )2 P ( C128 R )2 P ( C256 R )3 P ( C512 R )3 P ( C512 R )3 P L4096 R D L4096 R D L1000", 3, 224, 224)
    assert vgg.depth == 16
    assert vgg.parameters == 138_357_544
    assert sum(row.parameters for row in vgg.rows if row.kind.startswith("Conv")) == 14_714_688
    assert [row.output for row in vgg.rows if row.kind == "Flatten"] == [(25_088,)]
    alexnet = of("C96k11s4p0 R N P3s2 C256k5p2 R N P3s2 C384 R C384 R C256 R P3s2 L4096 R D L4096 R D L1000", 3, 227, 227)
    assert alexnet.depth == 8
    shapes = [row.output for row in alexnet.rows if row.kind.startswith(("Conv", "MaxPool", "Linear", "Flatten"))]
    maps = [(96, 55, 55), (96, 27, 27), (256, 27, 27), (256, 13, 13), (384, 13, 13), (384, 13, 13), (256, 13, 13), (256, 6, 6)]
    assert shapes == [*maps, (9216,), (4096,), (4096,), (1000,)]


def test_lenet5_and_its_ancestor() -> None:
    modern = describe(MODELS["lenet5"](channels=1), (1, 32, 32))
    assert [row.output for row in modern.rows if row.kind != "ReLU"] == [
        (6, 28, 28),
        (6, 14, 14),
        (16, 10, 10),
        (16, 5, 5),
        (120,),
        (84,),
        (10,),
    ]
    assert modern.parameters == 61_706
    old = describe(MODELS["lenet5_1998"](channels=1), (1, 32, 32))
    assert {row.name: row.parameters for row in old.rows if row.parameters} == {
        "c1": 156,
        "s2": 12,
        "c3": 1_516,
        "s4": 32,
        "c5": 48_120,
        "f6": 10_164,
    }
    assert {row.name: row.macs for row in old.rows}["c3"] == 150_000
    assert old.parameters == 60_000


def test_resnet50_at_224() -> None:
    with torch.device("meta"):
        anatomy = describe(MODELS["resnet50"](classes=1000), (3, 224, 224))
    assert anatomy.macs == 4_089_184_256
    assert anatomy.parameters == sum(row.parameters for row in anatomy.rows) == 25_557_032


# ------------------------------------------------------------------------------------------------- independent checks


@pytest.mark.parametrize("name", MODELS)
def test_counts_agree_with_torchs_counter_on_real_tensors(name: str) -> None:
    size = fixed_size(name) or (32, 32)
    network = create(name, 7, 3, size).eval()
    anatomy = describe(network, (3, *size))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 3, *size))
    expected = counter.get_total_flops() // 2
    if name == "lenet5_1998":  # torch sees the 36 kernels that are zero, and not the squares of the RBF units
        expected += 7 * 84 - 36 * 25 * 100
    assert anatomy.macs == expected
    assert anatomy.parameters == sum(p.numel() for p in network.parameters())
    assert anatomy.unused == 0


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 6, (3, 5), stride=(2, 1), padding=1, dilation=(1, 2), groups=2),
        nn.Conv2d(4, 6, 3, padding="same", bias=False),
        nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, groups=2),
    ],
)
def test_odd_convolutions(layer: nn.Module) -> None:
    anatomy = describe(layer, (4, 11, 13))
    with FlopCounterMode(display=False) as counter:
        real = layer(torch.zeros(1, 4, 11, 13))
    assert anatomy.rows[0].output == tuple(real.shape[1:])
    assert anatomy.macs * 2 == counter.get_total_flops()
    assert anatomy.parameters == sum(p.numel() for p in layer.parameters())


def test_three_dimensions_and_one() -> None:
    assert describe(nn.Conv3d(16, 32, 3), (16, 32, 32, 32)).rows[0].output == (32, 30, 30, 30)
    row = describe(nn.Conv1d(2, 3, 4), (2, 10)).rows[0]
    assert (row.output, row.macs, row.kind) == ((3, 7), 7 * 3 * 4 * 2, "Conv1d 4")


# ------------------------------------------------------------------------------------------------------- odd networks


class Odd(nn.Module):
    """A layer used twice, one tied to another, one that is never used, a parameter of its own, and work outside layers."""

    def __init__(self) -> None:
        super().__init__()
        self.twice = nn.Linear(4, 4)
        self.tied = nn.Linear(4, 4, bias=False)
        self.tied.weight = self.twice.weight
        self.never = nn.Linear(10, 10)
        self.scale = nn.Parameter(torch.ones(4))
        self.norm = nn.BatchNorm1d(4)
        self.offset = torch.ones(4)  # neither parameter nor buffer

    def forward(self, x: Tensor) -> Tensor:
        x = self.twice(self.twice(x)) + self.offset
        return self.norm(self.tied(x)) * self.scale + torch.zeros(4)


def test_each_parameter_counts_once() -> None:
    network = Odd()
    anatomy = describe(network, (4,))
    assert [(row.name, row.parameters, row.macs) for row in anatomy.rows] == [
        ("twice", 20, 16),
        ("twice", 0, 16),
        ("tied", 0, 16),
        ("norm", 8, 0),
        ("Odd", 4, 0),
    ]
    assert anatomy.parameters == sum(p.numel() for p in network.parameters()) == 142
    assert anatomy.unused == 110
    assert "110 parameters are in no layer" in anatomy.text()


def test_nothing_of_the_network_is_touched() -> None:
    network = MODELS["resnet18"](classes=5, channels=1).train()
    seen: list[str] = []
    network.layer1.register_forward_hook(lambda *_: seen.append("hook"))
    network.conv1.register_forward_pre_hook(lambda *_: seen.append("hook"))
    state = {key: value.clone() for key, value in network.state_dict().items()}
    describe(network, (1, 64, 64))
    assert seen == []
    assert network.training
    assert all(m.training for m in network.modules())
    assert all(torch.equal(state[key], value) for key, value in network.state_dict().items())
    assert all(p.device.type == "cpu" for p in network.parameters())
    assert not network.fc._forward_hooks
    network(torch.zeros(2, 1, 64, 64))
    assert seen == ["hook", "hook"]


def test_half_precision_and_tuples() -> None:
    assert describe(nn.Conv2d(1, 2, 3).half(), (1, 5, 5)).rows[0].output == (2, 3, 3)
    assert describe(nn.LSTM(4, 3, batch_first=True), (5, 4)).rows[0].output == (5, 3)


def test_a_shape_that_does_not_pass_names_the_layer() -> None:
    with pytest.raises(ModelError, match=r'3×32×32.*layer "conv1" \(Conv2d 5×5\) cannot take 3×32×32') as caught:
        describe(MODELS["lenet5"](channels=1), (3, 32, 32))
    assert caught.value.code == 4
    assert "\n" not in str(caught.value)
    with pytest.raises(ModelError, match=r'layer "fc1" \(Linear\) cannot take 784'):
        describe(MODELS["lenet5"](channels=1), (1, 40, 40))
    with pytest.raises(ModelError, match=r'after layer "one"'):
        describe(Breaks(), (4,))


class Breaks(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.one(x).view(3, 7)


# -------------------------------------------------------------------------------------------------------------- output


def test_json_is_strict_and_adds_up() -> None:
    answer = json.loads(json.dumps(of("C16 R P L20", 3, 64, 64).to_json(), allow_nan=False))
    assert answer["input"] == [3, 64, 64]
    assert answer["total"]["parameters"] == 328_148 == sum(layer["parameters"] for layer in answer["layers"])
    assert answer["total"]["flops"] == 2 * answer["total"]["macs"]
    assert sum(layer["share"] for layer in answer["layers"]) == pytest.approx(1)
    first = answer["layers"][0]
    assert (first["kind"], first["output"], first["weights"], first["biases"]) == ("Conv2d 3×3 p1", [16, 64, 64], 432, 16)


def test_the_table_lines_up() -> None:
    lines = of("C18s2g3 R P L20", 3, 64, 64).text().splitlines()
    assert "Conv2d 3×3 s2 p1 g3" in lines[2]
    end = lines[0].index("parameters") + len("parameters")
    assert all(line[end - 1].isdigit() and line[end : end + 1] in ("", " ") for line in lines[1:-1])
    assert lines[-2].startswith("total")
    assert "FLOPs = 2 × MACs" in lines[-1]
