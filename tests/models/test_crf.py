from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor, nn

from pellucid.models.crf import CrfAsRnn, Kernels, mean_field, refined

CIRCLE = Kernels(position=20, colour=0.1)


def scene(
    height: int = 40, width: int = 48, colours: int = 3, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """Logits of which a quarter say the wrong class, a disc of another colour, and the truth."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    target = (y - height / 2) ** 2 + (x - width / 2) ** 2 < (height / 3) ** 2
    palette = np.array([[0.3, 0.4, 0.6], [0.6, 0.5, 0.2]])[:, :colours]
    picture = palette[target.astype(int)].transpose(2, 0, 1) + rng.normal(
        0, 0.03, (colours, height, width)
    )
    said = np.where(rng.random(target.shape) < 0.25, ~target, target)
    logits = np.stack([~said, said]) * 1.4 - 0.7
    return (
        torch.tensor(logits)[None].float(),
        torch.tensor(picture)[None].float(),
        torch.tensor(target),
    )


def wrong(logits: Tensor, target: Tensor) -> float:
    return (logits.argmax(1)[0] != target).float().mean().item()


def textured(colours: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Smooth texture, its colours mostly brightness as in photographs, and three classes in blobs,
    undecided at every border."""
    rng = np.random.default_rng(seed)
    grain = ndimage.gaussian_filter(
        rng.normal(size=(40, 44)) + 0.4 * rng.normal(size=(colours, 40, 44)), (0, 3, 3)
    )
    logits = 8 * ndimage.gaussian_filter(rng.normal(size=(3, 40, 44)), (0, 3, 3)) + rng.normal(
        size=(3, 40, 44)
    )
    return torch.tensor(logits)[None], torch.tensor(0.5 + 1.5 * grain).clamp(0, 1)[None]


def by_hand(
    logits: np.ndarray, picture: np.ndarray, kernels: Kernels, iterations: int
) -> np.ndarray:
    """The definition in NumPy, pair by pair of pixels."""
    classes, height, width = logits.shape
    places = np.argwhere(np.ones((height, width)))
    colours = picture.reshape(len(picture), -1).T
    apart = ((places[:, None] - places) ** 2).sum(-1)
    unlike = ((colours[:, None] - colours) ** 2).sum(-1)
    appearance = np.exp(-apart / (2 * kernels.position**2) - unlike / (2 * kernels.colour**2))
    smoothness = np.exp(-apart / (2 * kernels.near**2))
    pairs = 0
    for weight, kernel in ((kernels.appearance, appearance), (kernels.smoothness, smoothness)):
        root = np.sqrt(kernel.sum(1))
        pairs = pairs + weight * kernel / root[:, None] / root
    unary = logits.reshape(classes, -1)
    now = unary
    for _ in range(iterations):
        beliefs = np.exp(now) / np.exp(now).sum(0)
        heard = beliefs @ pairs
        now = unary - (heard.sum(0) - heard)
    return now.reshape(logits.shape)


def test_exact_is_the_definition() -> None:
    logits, picture = textured(3)
    logits, picture = logits[:, :, :12, :9], picture[:, :, :12, :9]
    kernels = Kernels(position=4, colour=0.2, near=2, appearance=2, smoothness=1)
    expected = by_hand(logits[0].numpy(), picture[0].numpy(), kernels, 3)
    found = mean_field(logits, picture, kernels, iterations=3, exact=True)
    np.testing.assert_allclose(found[0].numpy(), expected, atol=1e-9)


@pytest.mark.parametrize("colours", [1, 3, 4])
@pytest.mark.parametrize(
    "kernels",
    [Kernels(), Kernels(position=10, colour=0.1), Kernels(position=5, colour=0.2, near=1)],
)
def test_the_lattice_comes_close_to_all_pairs(colours: int, kernels: Kernels) -> None:
    logits, picture = textured(colours)
    exact = mean_field(logits, picture, kernels, exact=True).softmax(1)
    found = mean_field(logits, picture, kernels).softmax(1)
    assert (exact.argmax(1) == found.argmax(1)).double().mean() >= 0.98
    assert (exact - found).abs().mean() < 0.01


@pytest.mark.parametrize("colours", [1, 3])
@pytest.mark.parametrize("kernels", [Kernels(), CIRCLE, Kernels(position=30, colour=0.03)])
def test_the_lattice_approximates_all_pairs(colours: int, kernels: Kernels) -> None:
    logits, picture, _ = scene(colours=colours)
    exact = mean_field(logits, picture, kernels, exact=True).softmax(1)
    found = mean_field(logits, picture, kernels).softmax(1)
    assert (exact.argmax(1) == found.argmax(1)).float().mean() >= 0.999
    assert (exact - found).abs().mean() < 0.001


def test_it_goes_by_more_than_the_pixel() -> None:
    """Agreement with the exact field would be cheap if the field did nothing."""
    logits, picture = textured(3)
    assert (mean_field(logits, picture).argmax(1) != logits.argmax(1)).double().mean() > 0.05


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("colours", [1, 3])
def test_noise_goes_and_the_edge_stays(exact: bool, colours: int) -> None:
    logits, picture, target = scene(colours=colours)
    assert wrong(logits, target) > 0.2
    assert (
        wrong(mean_field(logits, picture, CIRCLE, exact=exact), target) < wrong(logits, target) / 50
    )


def test_a_volume_is_a_picture_of_three_axes() -> None:
    logits, picture, target = scene(20, 20)
    deep, voxels = (each[:, :, None].repeat(1, 1, 6, 1, 1) for each in (logits, picture))
    exact = mean_field(deep, voxels, CIRCLE, exact=True)
    assert (exact.softmax(1) - mean_field(deep, voxels, CIRCLE).softmax(1)).abs().mean() < 0.006
    assert (exact.argmax(1)[0, 3] != target).float().mean() < 0.05


def test_pictures_of_a_batch_do_not_meet() -> None:
    (a, x, _), (b, y, _) = scene(seed=0), scene(seed=1)
    both = mean_field(torch.cat([a, b]), torch.cat([x, y]))
    torch.testing.assert_close(both, torch.cat([mean_field(a, x), mean_field(b, y)]))


def test_crf_compatibility_defaults_to_potts() -> None:
    logits, picture, _ = scene(16, 16)
    torch.testing.assert_close(mean_field(logits, picture, compatibility=torch.zeros(2, 2)), logits)
    torch.testing.assert_close(
        mean_field(logits, picture, compatibility=1 - torch.eye(2)), mean_field(logits, picture)
    )


def test_one_pixel_and_one_row() -> None:
    for size in ((1, 1), (1, 9)):
        assert mean_field(torch.randn(1, 2, *size), torch.rand(1, 3, *size)).isfinite().all()


@pytest.mark.parametrize("exact", [True, False])
def test_gradients_are_those_of_differences(exact: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 4, 5, dtype=torch.float64, generator=generator, requires_grad=True)
    picture = torch.rand(2, 2, 4, 5, dtype=torch.float64, generator=generator)
    wide, near = (
        torch.rand(3, dtype=torch.float64, generator=generator).requires_grad_() for _ in range(2)
    )
    costs = torch.rand(3, 3, dtype=torch.float64, generator=generator, requires_grad=True)
    kernels = Kernels(position=2, colour=0.3, near=1)

    def field(*given: Tensor) -> Tensor:
        return mean_field(
            given[0],
            picture,
            kernels,
            iterations=2,
            weights=given[1:3],
            compatibility=given[3],
            exact=exact,
        )  # type: ignore[arg-type]

    assert torch.autograd.gradcheck(field, (logits, wide, near, costs))


class Valid(nn.Module):
    """A network that loses two pixels on each side."""

    margin, step = 2, 4

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Conv2d(3, 2, 5)

    def features(self, x: Tensor) -> tuple[Tensor, ...]:
        return (self.backbone(x),)

    def forward(self, x: Tensor) -> Tensor:
        return self.features(x)[0]


def test_crf_as_rnn_is_mean_field_after_the_network() -> None:
    torch.manual_seed(0)
    network, x = Valid(), torch.randn(2, 3, 20, 24)
    joined = CrfAsRnn(network, 2, iterations=3)
    expected = mean_field(network(x), x[:, :, 2:-2, 2:-2], joined.kernels, iterations=3)
    torch.testing.assert_close(joined(x), expected)
    assert (joined.margin, joined.step, joined.backbone) == (2, 4, network.backbone)
    assert joined.features(x)[0].shape == (2, 2, 16, 20)
    assert set(joined.state_dict()) == {
        *(
            "appearance",
            "smoothness",
            "compatibility",
            "network.backbone.weight",
            "network.backbone.bias",
        )
    }


def test_an_account_of_shapes_ends_with_the_network() -> None:
    assert CrfAsRnn(Valid(), 2).to("meta")(torch.empty(1, 3, 20, 24, device="meta")).shape == (
        1,
        2,
        16,
        20,
    )


def test_crf_as_rnn_learns_its_weights_and_the_network() -> None:
    torch.manual_seed(0)
    _, picture, target = scene(24, 28)
    x = (picture - picture.mean((2, 3), keepdim=True)) / picture.std((2, 3), keepdim=True)
    joined = CrfAsRnn(
        nn.Conv2d(3, 2, 1), 2, iterations=3, kernels=Kernels(colour=0.5, appearance=1, smoothness=1)
    )
    stepper, losses = torch.optim.SGD(joined.parameters(), lr=0.5), []
    for _ in range(3):
        loss = nn.functional.cross_entropy(joined(x), target[None].long())
        losses.append(loss.item())
        stepper.zero_grad()
        loss.backward()
        assert all(
            each.grad is not None and each.grad.abs().sum() > 0 for each in joined.parameters()
        )
        stepper.step()
    assert losses[0] > losses[1] > losses[2]


def test_crf_as_rnn_keeps_single_precision_under_autocast() -> None:
    joined, x = CrfAsRnn(nn.Conv2d(3, 2, 1), 2), torch.randn(1, 3, 12, 12)
    with torch.autocast("cpu", torch.bfloat16):
        assert joined(x).dtype == torch.float32


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_refined_takes_and_gives_arrays(kind: type) -> None:
    logits, picture, target = scene()
    soft = logits.softmax(1)[0].mul(255).round().numpy().astype(np.uint8)
    most = np.iinfo(kind).max if kind != np.float32 else 1
    pixels: np.ndarray = (picture[0].permute(1, 2, 0).clamp(0, 1).numpy() * most).astype(kind)
    mask, sure = refined(soft, pixels, CIRCLE)
    assert mask.dtype == sure.dtype == np.uint8 and sure.shape == soft.shape
    assert (mask != target.numpy()).mean() < 0.01
    assert (
        np.abs(sure.astype(int).sum(0) - 255).max() <= 1 and (sure.argmax(0) == mask).mean() > 0.99
    )


def test_a_certain_network_is_not_infinitely_sure() -> None:
    soft = np.zeros((2, 9, 9), np.uint8)
    soft[0] = 255
    soft[:, 4, 4] = 0, 255
    mask, sure = refined(soft, np.full((9, 9, 1), 100, np.uint8), Kernels(appearance=10))
    assert not mask.any() and sure[1, 4, 4] < 128
