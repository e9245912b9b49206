"""Worked examples, convolution and pooling arithmetic: each figure through the notation and the
layer table."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import pellucid
from pellucid.anatomy import Anatomy, Row, describe
from pellucid.models.notation import build
from pellucid.transforms import filters


def anatomy(text: str, *shape: int) -> Anatomy:
    with torch.device("meta"):
        network = build(text, shape[0], shape[1:])
    return describe(network, shape)


def layers(text: str, *shape: int) -> list[Row]:
    """The rows of convolutions, transposed convolutions, dense layers and poolings."""
    return [
        row
        for row in anatomy(text, *shape).rows
        if row.macs or ("Pool2d" in row.kind and "Adaptive" not in row.kind)
    ]


def maps(
    text: str, picture: list[list[float]], kernel: list[list[float]] | None = None
) -> list[list[float]]:
    """One map of a network on one grey picture, with the kernel set by hand where there is one."""
    network = build(text, 1, (len(picture), len(picture[0]))).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
            if parameter.ndim == 4 and kernel is not None:
                parameter.copy_(torch.tensor(kernel))
        return network.features(torch.tensor(picture, dtype=torch.float64)[None, None])[-1][
            0, 0
        ].tolist()


@pytest.mark.parametrize(
    ("text", "shape", "output"),
    [
        ("C1p0 G", (1, 6, 6), (1, 4, 4)),
        ("C1p0 G", (3, 6, 6), (1, 4, 4)),
        ("C32k7s2p0 G", (16, 63, 63), (32, 29, 29)),
        ("C16k7p3 G", (16, 63, 63), (16, 63, 63)),
        ("C64k1p0 G", (3, 128, 128), (64, 128, 128)),
        ("3D: C32p0 G", (16, 32, 32, 32), (32, 30, 30, 30)),
        ("V1k3s2 G", (1, 2, 2), (1, 5, 5)),
        ("V1k3s2p1 G", (1, 2, 2), (1, 3, 3)),
        # What a padding of 2 makes of 15×15×8, seen by a kernel of one pixel.
        ("C8k1p2 G", (8, 15, 15), (8, 19, 19)),
        # A 5×5 padded by 1 is 7×7 and by 2 is 9×9, and not the other way round.
        ("C1k1p1 G", (1, 5, 5), (1, 7, 7)),
        ("C1k1p2 G", (1, 5, 5), (1, 9, 9)),
    ],
)
def test_output_sides(text: str, shape: tuple[int, ...], output: tuple[int, ...]) -> None:
    assert layers(text, *shape)[0].output == output


def test_sides_of_layers_that_do_not_multiply() -> None:
    assert anatomy("P G", 16, 32, 32).rows[0].output == (16, 16, 16)
    assert anatomy("X3 G", 9, 7, 7).rows[0].output == (1, 21, 21)


@pytest.mark.parametrize(
    ("text", "shape", "parameters"),
    [
        ("C10p0 G", "3x6x6", 280),
        ("L100", "3x300x300", 27_000_100),
        ("C100k5 G", "3x300x300", 7_600),
        ("C1k1p0 G", "16x64x64", 17),
        ("L500", "3x32x32", 1_536_500),
        ("( C3 )3 G", "3x9x9", 252),
        ("C3k7p3 G", "3x9x9", 444),
        # Three parallel filters against one: another question.
        ("C3 G", "3x9x9", 84),
        ("C1k7p3 G", "3x9x9", 148),
    ],
)
def test_parameters(text: str, shape: str, parameters: int) -> None:
    assert pellucid.inspect(text, input=shape).parameters == parameters


def test_weights_without_biases() -> None:
    first, second = layers("C32 C64 G", 3, 32, 32)
    assert (first.weights, second.weights) == (864, 18_432)


side, small = st.integers(5, 40), st.integers(1, 4)


@settings(max_examples=60, deadline=None)
@given(
    depth=st.integers(1, 9),
    filters=st.integers(1, 9),
    f=small,
    s=small,
    p=st.integers(0, 3),
    height=side,
    width=side,
)
def test_the_three_formulas(
    depth: int, filters: int, f: int, s: int, p: int, height: int, width: int
) -> None:
    """Side ⌊(n + 2p − f)/s⌋ + 1, parameters (f·f·C_in + 1)·C_out, multiplications
    H_out·W_out·C_out·f·f·C_in."""
    row = layers(f"C{filters}k{f}s{s}p{p} G", depth, height, width)[0]
    out = tuple((n + 2 * p - f) // s + 1 for n in (height, width))
    assert row.output == (filters, *out)
    assert row.parameters == (f * f * depth + 1) * filters
    assert row.macs == out[0] * out[1] * filters * f * f * depth


@settings(max_examples=30, deadline=None)
@given(depth=st.integers(1, 40), filters=st.integers(1, 40))
def test_parameters_of_a_3x3_layer(depth: int, filters: int) -> None:
    row = layers(f"C{filters} G", depth, 8, 8)[0]
    assert (row.weights, row.biases) == (9 * depth * filters, filters)


@settings(max_examples=30, deadline=None)
@given(half=st.integers(0, 5), height=side, width=side)
def test_same_padding_is_half_of_an_odd_kernel(half: int, height: int, width: int) -> None:
    assert layers(f"C2k{2 * half + 1}p{half} G", 1, height, width)[0].output == (2, height, width)


@settings(max_examples=30, deadline=None)
@given(channels=st.integers(1, 30))
def test_three_small_layers_for_one_large(channels: int) -> None:
    shape = (channels, 9, 9)
    assert anatomy(f"( C{channels} )3 G", *shape).parameters == 27 * channels**2 + 3 * channels
    assert anatomy(f"C{channels}k7p3 G", *shape).parameters == 49 * channels**2 + channels


# ------------------------------------------------------------------------------------------ numbers


def test_max_pooling() -> None:
    assert maps("P G", [[1, 1, 2, 4], [5, 6, 7, 8], [3, 2, 1, 0], [1, 2, 3, 4]]) == [[6, 8], [3, 4]]


def test_nearest_upsampling() -> None:
    assert maps("U G", [[1, 2], [3, 4]]) == [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]


def test_a_pixel_shuffle_lays_nine_maps_out_as_three_by_three() -> None:
    values = torch.arange(9.0)[None, :, None, None].expand(1, 9, 7, 7)
    shuffled = build("X3 G", 9, (7, 7)).features(values)[-1]
    assert shuffled.shape == (1, 1, 21, 21)
    assert shuffled[0, 0, :3, 3:6].tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]


PICTURE, KERNEL = [[1.0, 2], [3, 4]], [[0.0, 1, 0], [1, 2, 1], [1, 1, 1]]


def test_transposed_convolution_without_padding() -> None:
    whole = [[0, 1, 0, 2, 0], [1, 2, 3, 4, 2], [1, 4, 3, 6, 2], [3, 6, 7, 8, 4], [3, 3, 7, 4, 4]]
    assert maps("V1k3s2 G", PICTURE, KERNEL) == whole


def test_padding_of_a_transposed_convolution_cuts_borders() -> None:
    assert maps("V1k3s2p1 G", PICTURE, KERNEL) == [[2, 3, 4], [4, 3, 6], [6, 7, 8]]


def test_a_cell_of_a_convolution_does_not_flip_the_kernel() -> None:
    picture = [[3.0, 5, 2, 0], [4, 1, 3, 0], [6, 3, 8, 0], [0, 0, 0, 0]]
    assert maps("C1p0 G", picture, [[1, 2, 1], [2, 1, 2], [1, 1, 2]])[0][0] == 55
    # Flipped, as in what mathematics calls convolution, the same cell is another number.
    assert maps("C1p0 G", picture, [[2, 1, 1], [2, 1, 2], [1, 2, 1]])[0][0] == 48


GREY = [[4.0, 1, 6, 1, 3], [3, 2, 7, 7, 2], [2, 5, 7, 3, 7], [1, 4, 7, 1, 3], [0, 1, 6, 4, 4]]
BLUR = [[0.1, 0.2, 0.05], [0.05, 0.2, 0.1], [0.15, 0.1, 0.05]]


def test_a_5x5_by_3x3_with_stride_2() -> None:
    found = maps("C1s2p1 G", GREY, BLUR)
    np.testing.assert_allclose(
        found, [[1.3, 2.7, 1.9], [1.9, 5.25, 3.1], [0.5, 3.5, 1.7]], rtol=1e-6
    )


def test_a_5x5_by_3x3_with_padding_2() -> None:
    found = maps("C1p2 G", GREY, BLUR)
    assert [len(found), len(found[0])] == [7, 7]
    assert found[0] == pytest.approx([0.2, 0.45, 1, 0.8, 1.15, 0.45, 0.45], rel=1e-6)
    assert found[3][3:5] == pytest.approx([5.25, 5.15], rel=1e-6)


def test_prewitt_rows_respond_to_horizontal_edges() -> None:
    assert filters.FILTERS["prewitt_y"].tolist() == [[-1, -1, -1], [0, 0, 0], [1, 1, 1]]
    horizontal = np.repeat([[0], [0], [0], [9], [9], [9]], 6, axis=1).astype(np.uint8)
    assert filters.apply(horizontal, "prewitt_y")[:, 2].tolist() == [0, 0, 27, 27, 0, 0]
    assert not filters.apply(horizontal.T, "prewitt_y").any()
    # As a layer it does the same: neither turns the kernel by 180°.
    kernel = filters.FILTERS["prewitt_y"].tolist()
    assert (
        maps("C1p0 G", horizontal.astype(float).tolist(), kernel)
        == filters.apply(horizontal, "prewitt_y")[1:-1, 1:-1].tolist()
    )
