from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from pellucid.anatomy import Anatomy, blank, describe
from pellucid.anatomy.trace import tensors_of
from pellucid.core.errors import ModelError, UsageError
from pellucid.models import MODELS, create, fixed_size
from pellucid.models.notation import build


def of(text: str, *shape: int) -> Anatomy:
    with torch.device("meta"):
        network = build(text, shape[0], shape[1:])
    return describe(network, shape)


# -------------------------------------------------------------------------------------- golden rows


def test_the_lenet_style_table() -> None:
    anatomy = of("C8k5p0 P C16k5p0 P L120 L84 L10", 3, 32, 32)
    table = [
        (row.output, row.activations, row.parameters)
        for row in anatomy.rows
        if "Flatten" not in row.kind
    ]
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
    vgg = of(
        "( C64 R )2 P ( C128 R )2 P ( C256 R )3 P ( C512 R )3 P ( C512 R )3 P L4096 R D L4096 R D "
        "L1000",
        3,
        224,
        224,
    )
    assert vgg.depth == 16
    assert vgg.parameters == 138_357_544
    assert sum(row.parameters for row in vgg.rows if row.kind.startswith("Conv")) == 14_714_688
    assert [row.output for row in vgg.rows if row.kind == "Flatten"] == [(25_088,)]
    alexnet = of(
        "C96k11s4p0 R N P3s2 C256k5p2 R N P3s2 C384 R C384 R C256 R P3s2 L4096 R D L4096 R D L1000",
        3,
        227,
        227,
    )
    assert alexnet.depth == 8
    shapes = [
        row.output
        for row in alexnet.rows
        if row.kind.startswith(("Conv", "MaxPool", "Linear", "Flatten"))
    ]
    maps = [
        (96, 55, 55),
        (96, 27, 27),
        (256, 27, 27),
        (256, 13, 13),
        (384, 13, 13),
        (384, 13, 13),
        (256, 13, 13),
        (256, 6, 6),
    ]
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


# ------------------------------------------------------------------------------- independent checks


def small_size(name: str) -> tuple[int, int]:
    """The one that it takes, or the least of a few that it takes."""
    for side in (32, 64, 96):
        try:
            with blank():
                create(name, 7, 3, (side, side))
            return side, side
        except UsageError:
            continue
    size = fixed_size(name)
    assert size is not None
    return size


@pytest.mark.parametrize("name", MODELS)
def test_counts_agree_with_torchs_counter_on_real_tensors(name: str) -> None:
    size = small_size(name)
    network = create(name, 7, 3, size).eval()
    anatomy = describe(network, (3, *size))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 3, *size))
    expected = counter.get_total_flops() // 2
    # torch sees the 36 kernels that are zero, and not the squares of the RBF units
    if name == "lenet5_1998":
        expected += 7 * 84 - 36 * 25 * 100
    assert anatomy.macs == expected
    assert anatomy.parameters == sum(p.numel() for p in network.parameters())
    # they only help in training
    auxiliary = [p.numel() for key, p in network.named_parameters() if key.startswith("aux")]
    assert anatomy.unused == sum(auxiliary)


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


# ------------------------------------------------------------------------------------- odd networks


class Odd(nn.Module):
    """A layer used twice, one tied to another, one that is never used, a parameter of its own, and
    work outside layers."""

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
    with pytest.raises(
        ModelError, match=r'3×32×32.*layer "conv1" \(Conv2d\) cannot take 3×32×32'
    ) as caught:
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


# ------------------------------------------------------------------------------------------- output


def test_json_is_strict_and_adds_up() -> None:
    answer = json.loads(json.dumps(of("C16 R P L20", 3, 64, 64).to_json(), allow_nan=False))
    assert answer["input"] == [3, 64, 64]
    assert (
        answer["total"]["parameters"]
        == 328_148
        == sum(layer["parameters"] for layer in answer["layers"])
    )
    assert answer["total"]["flops"] == 2 * answer["total"]["macs"]
    assert sum(layer["share"] for layer in answer["layers"]) == pytest.approx(1)
    first = answer["layers"][0]
    assert (first["kind"], first["output"], first["weights"], first["biases"]) == (
        "Conv2d 3×3 p1",
        [16, 64, 64],
        432,
        16,
    )


def test_the_table_lines_up() -> None:
    text = of("C18s2g3 R P L20", 3, 64, 64).text()
    lines = text.split("\n\n")[0].splitlines()
    assert "Conv2d 3×3 s2 p1 g3" in lines[2]
    end = lines[0].index("parameters") + len("parameters")
    assert all(
        line[end : end + 1] in ("", " ")
        and (line[end - 1].isdigit() or not line[:end].strip()[-1:].isspace())
        for line in lines
    )
    assert lines[-1].startswith("total") and max(map(len, lines)) <= 140
    assert "FLOPs = 2 × MACs" in text


# ------------------------------------------------------------------------------------ beyond layers


class Functional(nn.Module):
    """No layer at all: a convolution, its transposed, a product, a dense step, a join, and
    something nobody can count."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.zeros(6, 3, 3, 3))
        self.back = nn.Parameter(torch.zeros(6, 4, 2, 2))

    def forward(self, x: Tensor) -> Tensor:
        y = F.conv2d(x, self.kernel, stride=2, padding=1)
        y = F.conv_transpose2d(y + y.flip(-1), self.back, stride=2)
        rows = y.flatten(2)
        seen = torch.matmul(rows, rows.transpose(1, 2))
        return torch.cat([seen.flatten(1), seen.mean((1, 2))[:, None]], 1)


def test_work_outside_layers_has_rows_of_its_own() -> None:
    anatomy = describe(Functional(), (3, 8, 8))
    found = [
        (row.kind, row.output, row.macs, row.join)
        for row in anatomy.rows
        if row.name == "Functional" and row.kind != "Functional"
    ]
    assert found == [
        ("conv2d 3×3 s2 p1", (6, 4, 4), 6 * 16 * 27, False),
        ("add", (6, 4, 4), 0, True),
        ("conv_transpose2d 2×2 s2", (4, 8, 8), 6 * 16 * 16, False),
        ("matmul", (4, 4), 16 * 64, False),
        ("cat", (17,), 0, True),
    ]
    with FlopCounterMode(display=False) as counter:
        Functional()(torch.zeros(1, 3, 8, 8))
    assert 2 * anatomy.macs == counter.get_total_flops()
    assert anatomy.parameters == sum(row.parameters for row in anatomy.rows) and anatomy.unused == 0
    assert anatomy.depth == 2  # the product of the picture with itself has no weights


@pytest.mark.parametrize(
    "work",
    [
        lambda x, w: x.flatten(1) @ w,
        lambda x, w: torch.addmm(w[0], x.flatten(1), w),
        lambda x, w: torch.einsum("bi,ij->bj", x.flatten(1), w),
        lambda x, w: torch.bmm(x.flatten(2), w[:16].expand(1, 16, 5)),
        lambda x, w: F.linear(x.flatten(1), w.T),
        lambda x, w: w.T[:, :16] @ x.flatten(1).view(16, 4),
        lambda x, w: F.conv1d(x.flatten(2), w.T[:, :4, None]),
    ],
)
def test_products_agree_with_torchs_counter(work: Callable[[Tensor, Tensor], Tensor]) -> None:
    class Product(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(64, 5))

        def forward(self, x: Tensor) -> Tensor:
            return work(x, self.weight)

    anatomy = describe(Product(), (4, 4, 4))
    with FlopCounterMode(display=False) as counter:
        Product()(torch.zeros(1, 4, 4, 4))
    assert 2 * anatomy.macs == counter.get_total_flops() > 0


def test_attention_is_two_products() -> None:
    class Attention(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.scaled_dot_product_attention(x, x, x)

    # 3 heads; 5 queries on 5 keys of 4 numbers, then 5 weights on 5 values of 4 numbers
    assert describe(Attention(), (3, 5, 4)).macs == 3 * (5 * 5 * 4 + 5 * 5 * 4)


def test_what_cannot_be_counted_is_unavailable() -> None:
    anatomy = describe(nn.Sequential(nn.LSTM(4, 3, batch_first=True)), (5, 4))
    assert (
        anatomy.rows[0].macs is None
        and anatomy.rows[0].flops is None
        and anatomy.uncounted == ("0",)
    )
    answer = anatomy.to_json()
    assert answer["layers"][0]["macs"] == answer["layers"][0]["flops"] == "unavailable"
    assert answer["total"]["macs_unavailable_in"] == ["0"] and "unavailable for 0" in anatomy.text()
    shuffled = describe(Shuffled(), (3, 8, 8))
    assert (
        shuffled.rows[-1].reach is None
        and shuffled.to_json()["layers"][-1]["receptive_field"] == "unavailable"
    )


class Shuffled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x.view(-1).sort()[0].view(x.shape))


def test_a_skips_sum_is_a_row() -> None:
    with blank():
        anatomy = describe(MODELS["resnet18"](), (3, 64, 64))
    sums = [row for row in anatomy.rows if row.join]
    assert [(row.name, row.kind) for row in sums] == [
        (f"layer{stage}.{block}", "add") for stage in (1, 2, 3, 4) for block in (0, 1)
    ]
    assert all(row.activations == row.parameters == row.macs == 0 for row in sums)
    names = [row.name for row in anatomy.rows]
    assert names.index("layer1.0.bn2") < names.index("layer1.0") < names.index("layer1.1.conv1")


DEPTHS = {
    "resnet18": 18,
    "resnet152": 152,
    "plain34": 34,
    "lenet5": 5,
    "lenet5_1998": 5,
    "softmax_regression": 1,
}
DEPTHS |= {"googlenet": 22, "vgg16": 16, "vgg19_bn": 19, "alexnet": 8, "densenet121": 121}


@pytest.mark.parametrize("name", DEPTHS)
def test_depth_is_the_longest_path(name: str) -> None:
    size = fixed_size(name) or (64, 64)
    with blank():
        assert describe(create(name, 10, 3, size), (3, *size)).depth == DEPTHS[name]


def test_shares_bytes_and_fields() -> None:
    anatomy = of("C16k5p0 R P C32 L10", 1, 20, 20)
    conv, pool, flatten, dense = (anatomy.rows[i] for i in (0, 2, 4, 5))
    assert (conv.weights_bytes, conv.activation_bytes) == (4 * 416, 4 * 16 * 16 * 16)
    assert flatten.activation_bytes == 0
    sizes = [row.to_json()["receptive_field"][0]["size"] for row in anatomy.rows]
    assert sizes[:4] == [5, 5, 6, 10]
    assert [row.to_json()["receptive_field"][0]["stride"] for row in (conv, pool)] == [1, 2]
    answer = anatomy.to_json()
    assert sum(layer["macs_share"] for layer in answer["layers"]) == pytest.approx(1)
    assert [layer["flops"] for layer in answer["layers"]] == [
        2 * layer["macs"] for layer in answer["layers"]
    ]
    assert dense.parameters / anatomy.parameters > 0.5 and f"sit in {dense.name}" in anatomy.text()


@pytest.mark.parametrize("name", ["vgg16", "resnet50", "densenet121", "googlenet", "mobilenet_v2"])
def test_no_weights_are_ever_made(name: str) -> None:
    """Building, describing and deriving memory make nothing that has numbers."""
    made: list[torch.Size] = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            result = func(*args, **(kwargs or {}))
            made.extend(t.shape for t in tensors_of(result) if not t.is_meta and t.numel() > 10_000)
            return result

    with Watch():
        with blank():
            network = create(name, 1000, 3, (224, 224))
        described = describe(network, (3, 224, 224))
        assert described.memory.weights >= 4 * described.parameters
    assert made == []


def test_no_compiler_is_loaded() -> None:
    """torch's compiler takes as long to load as torch itself."""
    code = (
        "import sys, torch; from pellucid import models; "
        "from pellucid.anatomy import blank, describe\n"
        "with blank(): network = models.create('resnet18', 10, 3, (64, 64))\n"
        "describe(network, (3, 64, 64)).text()\n"
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class Patches(nn.Module):
    """A picture as 16 patches that look at each other, by torch's attention, which is one operation
    and holds its weights itself."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 4, 4)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        words = self.stem(x).flatten(2).transpose(1, 2)
        return self.attention(words, words, words, need_weights=False)[0]


def test_attention_is_one_layer_that_holds_all_its_weights() -> None:
    account = describe(Patches(), (3, 16, 16))
    row = account.rows[-1]
    assert (row.name, row.output, row.macs) == ("attention", (16, 8), None)
    assert row.parameters == sum(p.numel() for p in nn.MultiheadAttention(8, 2).parameters())
    assert account.unused == 0 and account.uncounted == ("attention",)


class Scaled(nn.Module):
    """Weights of its own beside a layer inside, whose output it returns."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3, 1, 1))
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x * self.scale)


def test_an_output_that_two_layers_give_is_counted_once() -> None:
    account = describe(Scaled(), (3, 6, 6))
    assert (
        account.activations == 4 * 4 * 4
        and account.parameters == 3 + 4 * 28
        and account.unused == 0
    )
    assert account.to_json()["total"]["weight_layers"] == 1


class Glance(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.mean().item() > 0 else -x


def test_a_way_that_depends_on_values_is_said_to_be_one() -> None:
    with pytest.raises(ModelError, match="depends on the values of the picture"):
        describe(Glance(), (1, 4, 4))
