from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pellucid.core.errors import UsageError
from pellucid.models.notation import build, classes_of, is_notation


def maps(text: str, channels: int, *size: int) -> tuple[int, ...]:
    """Shape of the coarsest map of a real pass."""
    network = build(text, channels, size).eval()
    with torch.no_grad():
        return tuple(network.features(torch.zeros(1, channels, *size))[-1].shape[1:])


def parameters(text: str, channels: int, *size: int) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in build(text, channels, size).parameters())


# ------------------------------------------------------------------------------------------- shapes


@pytest.mark.parametrize(
    ("text", "channels", "size", "shape"),
    [
        ("C1p0 G", 3, (6, 6), (1, 4, 4)),
        ("C32k7s2p0 G", 16, (63, 63), (32, 29, 29)),
        ("C8k1p2 G", 8, (15, 15), (8, 19, 19)),
        ("C16k7p3 G", 16, (63, 63), (16, 63, 63)),
        ("P G", 16, (32, 32), (16, 16, 16)),
        ("C64k1p0 G", 3, (128, 128), (64, 128, 128)),
        ("3D: C32p0 G", 16, (32, 32, 32), (32, 30, 30, 30)),
        ("X3 G", 9, (7, 7), (1, 21, 21)),
        ("P2p1 G", 1, (24, 24), (1, 13, 13)),
        ("P2 G", 1, (24, 24), (1, 12, 12)),
        ("P3s2 G", 1, (55, 55), (1, 27, 27)),
        ("A3 G", 1, (10, 10), (1, 3, 3)),
        ("C8d2p2 G", 4, (9, 9), (8, 9, 9)),
        ("U G", 2, (3, 5), (2, 6, 10)),
        ("V32 G", 2, (3, 5), (32, 6, 10)),
        ("V32k3 G", 2, (2, 5), (32, 5, 11)),
        ("V32k3s1p1 G", 2, (3, 5), (32, 3, 5)),
        ("V32p1k4s2 G", 2, (3, 5), (32, 6, 10)),
        ("V1s3k1 G", 2, (3, 5), (1, 7, 13)),
        ("1D: V8k3s2p1 G", 2, (4,), (8, 7)),
        ("3D: V8k3s2p1 G", 2, (2, 3, 4), (8, 3, 5, 7)),
        ("1D: C8s2 P G", 2, (16,), (8, 4)),
        ("C64k5 G", 1, (8, 8), (64, 6, 6)),
    ],
)
def test_shapes(text: str, channels: int, size: tuple[int, ...], shape: tuple[int, ...]) -> None:
    assert maps(text, channels, *size) == shape


def test_values_of_pooling_upsampling_and_averages() -> None:
    x = torch.tensor([[1.0, 1, 2, 4], [5, 6, 7, 8], [3, 2, 1, 0], [1, 2, 3, 4]])[None, None]
    assert build("P G", 1, (4, 4)).features(x)[-1][0, 0].tolist() == [[6, 8], [3, 4]]
    assert build("A G", 1, (4, 4)).features(x)[-1][0, 0].tolist() == [[3.25, 5.25], [2, 2]]
    assert build("G", 1, (4, 4))(x).tolist() == [[x.mean().item()]]
    small = torch.tensor([[1.0, 2], [3, 4]])[None, None]
    up = build("U G", 1, (2, 2)).features(small)[-1][0, 0]
    assert up.tolist() == [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]


def test_transposed_convolution_inverts_the_shape() -> None:
    """⟨conv(x), y⟩ = ⟨x, transposed(y)⟩ with the same kernel: that is what transposed means."""
    transposed, convolution = build("V2k3s2p1 G", 5, (4, 6)), build("C5k3s2p1 G", 2, (7, 11))
    weights = next(convolution.parameters())
    with torch.no_grad():
        for network in (transposed, convolution):
            list(network.parameters())[1].zero_()
        next(transposed.parameters()).copy_(weights)
        x, y = torch.randn(1, 2, 7, 11), torch.randn(1, 5, 4, 6)
        ours = (x * transposed.features(y)[-1]).sum()
        torch.testing.assert_close(
            ours, (convolution.features(x)[-1] * y).sum(), atol=1e-4, rtol=1e-4
        )


def test_local_response_norm_is_that_of_alexnet() -> None:
    x = torch.randn(1, 8, 2, 2, dtype=torch.float64)
    ours = build("N G", 8, (2, 2)).features(x)[-1]
    for i in range(8):
        near = x[:, max(0, i - 2) : i + 3].square().sum(1)
        torch.testing.assert_close(ours[:, i], x[:, i] / (2 + 1e-4 * near) ** 0.75)


# ---------------------------------------------------------------------------------- golden networks

VGG16 = (
    "( C64 R )2 P ( C128 R )2 P ( C256 R )3 P ( C512 R )3 P ( C512 R )3 P L4096 R D L4096 R D L1000"
)
ALEXNET = (
    "C96k11s4p0 R N P3s2 C256k5p2{g} R N P3s2 C384 R C384{g} R C256{g} R P3s2 L4096 R D L4096 R D "
    "L1000"
)


@pytest.mark.parametrize(
    ("text", "channels", "size", "count"),
    [
        ("C16 R P L20", 3, (64, 64), 328_148),
        ("C64 B R C64 B R P C128 B R C128 B R G L10", 3, (32, 32), 262_218),
        (VGG16, 3, (224, 224), 138_357_544),
        (VGG16[: VGG16.index("L")] + "G", 3, (224, 224), 14_714_688),
        (ALEXNET.format(g=""), 3, (227, 227), 62_378_344),
        (ALEXNET.format(g="g2"), 3, (227, 227), 60_965_224),
        ("C8k5p0 R P C16k5p0 R P L120 R L84 R L10", 3, (32, 32), 62_958),
        ("C6k5p0 R P C16k5p0 R P L120 R L84 R L10", 1, (32, 32), 61_706),
        ("C10p0 G", 3, (6, 6), 280),
        ("L100", 3, (300, 300), 27_000_100),
        ("C100k5 G", 3, (300, 300), 7_600),
        ("C1k1p0 G", 16, (64, 64), 17),
        ("L500", 3, (32, 32), 1_536_500),
        ("C3k7 G", 3, (9, 9), 49 * 9 + 3),
        ("( C3 )3 G", 3, (9, 9), 252),
        ("C32k5p0 G", 1, (28, 28), 832),
        ("C32 C32 G", 1, (28, 28), 320 + 9_248),
    ],
)
def test_golden_parameter_counts(
    text: str, channels: int, size: tuple[int, ...], count: int
) -> None:
    assert parameters(text, channels, *size) == count


def test_golden_map_shapes() -> None:
    with torch.device("meta"):
        vgg, alexnet = build(VGG16, 3, (224, 224)), build(ALEXNET.format(g=""), 3, (227, 227))
        shapes = [tuple(m.shape[1:]) for m in vgg.features(torch.empty(1, 3, 224, 224))]
        assert [tuple(m.shape[1:]) for m in alexnet.features(torch.empty(1, 3, 227, 227))] == [
            (96, 55, 55),
            (256, 27, 27),
            (256, 13, 13),
            (256, 6, 6),
        ]
    assert shapes == [
        (64, 224, 224),
        (128, 112, 112),
        (256, 56, 56),
        (512, 28, 28),
        (512, 14, 14),
        (512, 7, 7),
    ]
    assert vgg.feature_strides == (1, 2, 4, 8, 16, 32)
    assert alexnet.feature_strides == (4, 8, 16, 32)


def test_inception_branches_stack_to_256() -> None:
    inception = "{ C64k1p0 R | C96k1p0 R C128 R | C16k1p0 R C32k5p2 R | P3s1p1 C32k1p0 R } G"
    assert maps(inception, 192, 28, 28) == (256, 28, 28)


# --------------------------------------------------------------------------- residuals and branches


def test_residual_adds_its_input() -> None:
    network = build("[ C3 T ] G", 3, (8, 8))
    x = torch.randn(2, 3, 8, 8)
    convolution = next(m for m in network.modules() if isinstance(m, nn.Conv2d))
    torch.testing.assert_close(network.features(x)[-1], convolution(x).tanh() + x)


def test_residual_projects_where_shapes_differ() -> None:
    assert maps("[ C8s2 B R C8 B ] R G", 3, 9, 9) == (8, 5, 5)
    # two 3×3 convolutions and two norms, and the projection's 3·8 + 8
    assert parameters("[ C8s2 B R C8 B ] R G", 3, 9, 9) == (27 * 8 + 8) + (72 * 8 + 8) + 2 * 16 + 32
    assert parameters("[ C3 ] G", 3, 9, 9) == 27 * 3 + 3
    assert build("L6 [ L6 T ] [ L4 ] L2", 1, (2, 2))(torch.zeros(1, 1, 2, 2)).shape == (1, 2)


def test_an_empty_branch_is_the_identity() -> None:
    network = build("{ C2 | } G", 3, (4, 4))
    x = torch.randn(1, 3, 4, 4)
    stacked = network.features(x)[-1]
    assert stacked.shape[1] == 5
    assert torch.equal(stacked[:, 2:], x)


def test_relu_never_overwrites_what_others_read() -> None:
    """Each place where an in-place ReLU would spoil a shared tensor,
    against the same network with none."""
    for text in (
        "R C4 [ R C4 ] { R C2 | C4 R } R P R G R L3",
        "C4 S R G L3",
        "C4 T R R D R { R | } G L3",
        "C4 [ B R C4 B ] R [ R C4 ] R G L3",
    ):
        network = build(text, 3, (8, 8))
        safe = build(text, 3, (8, 8))
        safe.load_state_dict(network.state_dict())
        for module in safe.modules():
            if isinstance(module, nn.ReLU):
                module.inplace = False
        for mode, x in itertools.product((False, True), torch.randn(2, 2, 3, 8, 8)):
            before = x.clone()
            kept = network.train(mode).features(x)
            torch.manual_seed(3)
            ours = network.head(network.features(x))
            torch.manual_seed(3)
            torch.testing.assert_close(ours, safe.train(mode)(x))
            ours.sum().backward()
            assert torch.equal(x, before)
            assert len(kept) == len(network.feature_strides)


def test_repetition_is_the_text_written_out_with_fresh_weights() -> None:
    repeated, written = build("( C4 [ B C4 ] )2 L2", 4), build("C4 [ B C4 ] C4 [ B C4 ] L2", 4)
    assert {k: v.shape for k, v in repeated.state_dict().items()} == {
        k: v.shape for k, v in written.state_dict().items()
    }
    assert parameters("(C4 R)3 (C2)1 L2", 4, 8, 8) == parameters("C4 R C4 R C4 R C2 L2", 4, 8, 8)


# ----------------------------------------------------------------------------------------- features


def test_features_are_the_last_map_of_each_stride() -> None:
    network = build("C8k7s2p3 B R P C12 R C16 R [ C20s2 ] R G D L5", 3, (32, 32))
    assert network.feature_strides == (2, 4, 8)
    assert network.feature_channels == (8, 16, 20)
    x = torch.randn(1, 3, 32, 32)
    network.eval()
    finest = network.features(x)[0]
    assert torch.equal(finest, network.stages[0](x))
    assert finest.min() == 0  # after the ReLU
    assert torch.equal(network.head(network.features(x)), network(x))


def test_a_map_that_is_made_finer_again_is_left_out() -> None:
    network = build("C4 P C8 P C16 U C8 R G L3", 3, (16, 16))
    assert network.feature_strides == (1, 2)
    assert network.feature_channels == (4, 8)
    assert build("U C4 G", 3, (4, 4)).feature_strides == (0.5,)


def test_only_a_head_reads_the_picture() -> None:
    network = build("L7", 3, (4, 4))
    x = torch.randn(2, 3, 4, 4)
    assert network.features(x)[0] is x
    assert (network.feature_channels, network.feature_strides) == ((3,), (1,))


# ----------------------------------------------------------------------------------- initialisation


def test_initial_deviation_depends_on_what_follows() -> None:
    torch.manual_seed(0)
    network = build("C64 B R C64g2 T V64 R L500 R L300", 64, (8, 8))
    deviations = [
        m.weight.std().item()
        for m in network.modules()
        if isinstance(m, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)
    ]
    expected = [
        math.sqrt(2 / 576),
        math.sqrt(1 / 288),
        math.sqrt(2 / 64),
        math.sqrt(2 / (64 * 256)),
        math.sqrt(1 / 500),
    ]
    assert deviations == pytest.approx(expected, rel=0.03)
    assert all(
        m.bias.eq(0).all() for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)
    )


def test_a_deep_relu_network_keeps_its_scale() -> None:
    torch.manual_seed(0)
    network = build("( C64 R )20 G", 64, (12, 12))
    x = torch.randn(4, 64, 12, 12)
    assert 0.1 < network.features(x)[-1].square().mean().item() < 10


# ----------------------------------------------------------------------------------- classes, names


@pytest.mark.parametrize(
    ("text", "classes"),
    [
        ("C16 R P L20", 20),
        ("L100 R D L7", 7),
        ("C32 R C10k1p0 G", 10),
        ("C32 R C10 B R P G", 10),
        ("C4 { C5 | [ C6 ] } G", 11),
        ("C4 [ C9 B R C9 B ] R G", 9),
        ("C9 [ B R ] R G", 9),
    ],
)
def test_classes_of(text: str, classes: int) -> None:
    assert classes_of(text) == classes
    assert build(text, 3, (16, 16)).eval()(torch.zeros(1, 3, 16, 16)).shape == (1, classes)


def test_classes_that_cannot_be_read() -> None:
    for text in ("G", "C4 { C5 | } G", "C16 X2 G"):
        with pytest.raises(UsageError, match="end it in L"):
            classes_of(text)


def test_is_notation() -> None:
    assert all(
        map(
            is_notation,
            ("L10", "C16 R P L20", "(C4)3", "[", "1D:L3", "foo bar", "P", " D.3 ", "C64k5s2"),
        )
    )
    assert not any(
        map(is_notation, ("resnet18", "lenet5", "Resnet18", "LeNet", "VGG16", "", "Cnn", "1D"))
    )


# ------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no layer"),
        ("C16 R Q L10", 'token 3 "Q" (column 7): not a token'),
        ("c16 L10", 'token 1 "c16" (column 1): not a token; letters are capitals'),
        ("C16k5x3 L10", 'token 1 "C16k5x3" (column 1): unknown option x; C takes k s p d g'),
        ("R3 L10", 'token 1 "R3" (column 1): R takes no number'),
        ("Bk3 L10", "unknown option k; B takes none"),
        ("P3k2 L10", "unknown option k; P takes s p"),
        ("C L10", "C needs a number, as in C16"),
        ("C0 L10", "C takes a whole number of at least 1"),
        ("C1.5 L10", "C takes a whole number of at least 1"),
        ("C8k L10", "option k needs one number of at least 1"),
        ("C8s0 L10", "option s needs one number of at least 1"),
        ("C8p1p2 L10", "option p needs one number"),
        ("D1 L10", "D takes a probability below 1"),
        ("C16", 'token 1 "C16" (column 1): a classifier must end in L or G'),
        (
            "C16 L10 R",
            (
                'token 3 "R" (column 9): a classifier must end in L or G, '
                "and nothing belongs after that"
            ),
        ),
        ("[ L10 ]", 'token 1 "[" (column 1): a classifier must end in L or G'),
        ("L10 C16 L3", 'token 2 "C16" (column 5): C needs maps, but what comes is a vector of 10'),
        ("C4 G P L3", 'token 3 "P" (column 6): P needs maps, but what comes is a vector of 4'),
        ("( P )6 L10", "a window of 2 does not fit on 1×1 with padding 0: nothing is left"),
        ("C8k40p0 L10", "a window of 40 does not fit on 32×32"),
        ("C8k5d9 L10", "a window of 37 does not fit on 32×32 with padding 1"),
        ("P2p2 L10", "at most half its kernel, 1"),
        ("V3d2 L10", 'token 1 "V3d2" (column 1): unknown option d; V takes k s p'),
        ("V3s0 L10", "option s needs one number of at least 1"),
        ("V3k L10", "option k needs one number of at least 1"),
        (
            "C4 V3p32 L10",
            (
                'token 2 "V3p32" (column 4): a padding of 32 cuts off all that comes of 32×32: '
                "nothing is left"
            ),
        ),
        ("C16g2 L10", 'token 1 "C16g2" (column 1): 2 groups do not divide'),
        ("C16 C9g2 L10", 'token 2 "C9g2" (column 5): 2 groups do not divide'),
        ("C6 X2 L10", "6 maps cannot be shared out over 2×2 pixels"),
        ("[ C16 L10", 'token 1 "[" (column 1): is never closed'),
        ("C16 ] L10", 'token 2 "]" (column 5): closes a [ that is not open'),
        ("{ C16 ] L10", "closes a [ that is not open; open is {"),
        ("C4 | C4 L10", 'token 2 "|" (column 4): | belongs between { and }'),
        ("[ ] L10", "there is nothing inside"),
        ("( C4 ) L10", "say how often"),
        ("( C4 )0 L10", "say how often"),
        ("( C4 )99999999 L10", "at most 10000 layers"),
        ("C3k4 [ C3k5s2 ] L10", 'token 2 "[" (column 6): 3×31×31 goes in and 3×15×15 comes out'),
        ("[ U ] L10", "3×32×32 goes in and 3×64×64 comes out"),
        ("[ G ] L10", "3×32×32 goes in and 3 comes out"),
        (
            "C4 { C4 | C4s2 } L10",
            (
                'token 2 "{" (column 4): branches of different sides cannot be stacked: '
                "4×32×32, 4×16×16"
            ),
        ),
        ("{ G | C4 } L10", "branches of different sides"),
        ("3D: C4 L10", "3-D layers need a size of 3 sides, not 32×32"),
    ],
)
def test_an_error_names_the_token_and_its_place(text: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        build(text)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_dimensions_have_errors_too() -> None:
    with pytest.raises(
        UsageError, match=r'token 2 "X2" \(column 8\): the pixel shuffle is for 2-D maps only'
    ):
        build("1D: C8 X2 L10", 3, (32,))
    with pytest.raises(UsageError, match="2-D layers need a size of 2 sides, not 32"):
        build("C8 L10", 3, (32,))


# ------------------------------------------------------------------------------- any network at all


def layers() -> st.SearchStrategy[str]:
    number, small = st.integers(1, 6), st.integers(1, 3)
    convolution = st.builds(
        "C{}k{}s{}p{}d{}".format, number, small, small, st.integers(0, 2), st.integers(1, 2)
    )
    pool = st.builds("{}{}s{}p{}".format, st.sampled_from("PA"), small, small, st.integers(0, 1))
    transposed = st.builds("V{}k{}s{}p{}".format, number, small, small, st.integers(0, 3))
    return (
        convolution
        | pool
        | transposed
        | st.sampled_from(["B", "N", "R", "T", "S", "D", "U", "V3", "D.2"])
    )


def groups(inside: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    several = st.lists(inside, max_size=3).map(" ".join)
    one = st.lists(inside, min_size=1, max_size=3).map(" ".join)
    return (
        one.map("[ {} ]".format)
        | one.map("( {} )2".format)
        | st.lists(several, min_size=1, max_size=3).map(lambda b: "{ " + " | ".join(b) + " }")
    )


BODY = st.lists(st.recursive(layers(), groups, max_leaves=4), max_size=6).map(" ".join)


def numbers(text: str, size: tuple[int, int]) -> int:
    """Of all weights and of all that its modules put out for two pictures: doubled a few times
    over, a map may need terabytes."""
    with torch.device("meta"):
        network, seen = build(text, 2, size), []
        for module in network.modules():
            module.register_forward_hook(
                lambda _, __, out: (
                    seen.append(out.numel()) if isinstance(out, torch.Tensor) else None
                )
            )
        network.eval()(torch.empty(2, 2, *size))
    return sum(seen) + sum(parameter.numel() for parameter in network.parameters())


@settings(max_examples=80, deadline=None)
@given(
    body=BODY,
    head=st.sampled_from(["G L3", "L3", "L4 R D L3"]),
    size=st.tuples(st.integers(3, 13), st.integers(3, 13)),
)
def test_what_builds_also_runs_and_has_what_it_declares(
    body: str, head: str, size: tuple[int, int]
) -> None:
    try:
        if numbers(f"{body} {head}", size) > 10_000_000:
            return
    except UsageError:
        return
    network = build(f"{body} {head}", 2, size)
    x = torch.randn(2, 2, *size)
    network.eval()
    maps = network.features(x)
    assert tuple(m.shape[1] for m in maps) == network.feature_channels
    assert list(network.feature_strides) == sorted(set(network.feature_strides))
    logits = network.head(maps)
    assert logits.shape == (2, 3)
    logits.sum().backward()
