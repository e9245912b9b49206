"""Worked examples, upsampling: every value by hand."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pellucid.models.notation import build
from pellucid.models.upsampling import Resize, Shuffle, up

SQUARE = [[1, 2], [3, 4]]
KERNEL = [[0, 1, 0], [1, 2, 1], [1, 1, 1]]


def map_of(rows: list[list[int]]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float32)[None, None]


def rows_of(maps: Tensor) -> list[list[int]]:
    return maps[0, 0].int().tolist()


def transposed(padding: int) -> Tensor:
    """The square through "V1k3s2p…" of the notation."""
    network = build(f"V1k3s2p{padding} G", 1, (2, 2)).eval()
    (layer,) = (each for each in network.modules() if isinstance(each, nn.ConvTranspose2d))
    with torch.no_grad():
        layer.weight.copy_(map_of(KERNEL))
        return network.features(map_of(SQUARE))[-1]


def test_nearest() -> None:
    assert rows_of(Resize((2, 2), "nearest")(map_of(SQUARE))) == [
        [1, 1, 2, 2],
        [1, 1, 2, 2],
        [3, 3, 4, 4],
        [3, 3, 4, 4],
    ]


def test_subpixel_shape_and_order() -> None:
    """9×7×7 with r = 3 → 1×21×21: channel 3·i + j becomes row i and column j of every patch."""
    x = torch.arange(9.0)[None, :, None, None] * 100 + torch.arange(49.0).reshape(7, 7)
    shuffled = Shuffle((3, 3))(x)
    assert shuffled.shape == (1, 1, 21, 21)
    assert rows_of(shuffled[..., :3, :6]) == [
        [0, 100, 200, 1, 101, 201],
        [300, 400, 500, 301, 401, 501],
        [600, 700, 800, 601, 701, 801],
    ]
    assert shuffled[0, 0, 20, 20] == 848


def test_transposed_without_padding() -> None:
    """Strides that are narrower than the kernel: patches overlap and add up."""
    assert rows_of(transposed(0)) == [
        [0, 1, 0, 2, 0],
        [1, 2, 3, 4, 2],
        [1, 4, 3, 6, 2],
        [3, 6, 7, 8, 4],
        [3, 3, 7, 4, 4],
    ]


def test_transposed_with_padding_of_one() -> None:
    """PyTorch and ONNX cut the padding off the result, so that the rim of the one above is gone."""
    assert rows_of(transposed(1)) == [[2, 3, 4], [4, 3, 6], [6, 7, 8]]


def test_transposed_of_a_u_net() -> None:
    """2×2 with stride 2: every value times the kernel, side by side."""
    layer = up("transposed", 1, 1)
    with torch.no_grad():
        layer.get_parameter("weight").copy_(map_of([[1, 10], [100, 1000]]))
    assert rows_of(layer(map_of(SQUARE))) == [
        [1, 10, 2, 20],
        [100, 1000, 200, 2000],
        [3, 30, 4, 40],
        [300, 3000, 400, 4000],
    ]
