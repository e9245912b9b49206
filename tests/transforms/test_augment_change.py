"""Truth moves with its picture: masks, boxes and points through any change."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import RBFInterpolator
from scipy.ndimage import map_coordinates

from pellucid.core.rng import Draws
from pellucid.transforms.augment import Augmentation, augment, change
from pellucid.transforms.augment.bend import CONTROL, STEEPEST, _plate, _slope, at, bend

SIZE = 48, 64
ROWS = 3

strengths = st.builds(
    Augmentation,
    mirror=st.sampled_from([0.0, 0.5, 1.0]),
    crop=st.floats(0, 0.3),
    zoom=st.floats(0, 0.3),
    rotate=st.floats(0, 180),
    shift=st.floats(0, 0.2),
    shear=st.floats(0, 20),
    elastic=st.sampled_from([0.0, 0.02, 0.1]),
    thin_plate=st.sampled_from([0.0, 0.05, 0.3]),
)
whole = st.builds(Augmentation, mirror=st.sampled_from([0.0, 0.5]), shift=st.floats(0, 0.3))
changes = strengths | whole
seeds = st.integers(0, 10_000)


def blob(box: tuple[int, int, int, int]) -> torch.Tensor:
    mask = torch.zeros(ROWS, *SIZE, dtype=torch.int64)
    mask[:, box[1] : box[3], box[0] : box[2]] = 3
    return mask


@settings(max_examples=80, deadline=None)
@given(
    changes, seeds, st.integers(0, 40), st.integers(0, 30), st.integers(8, 20), st.integers(8, 16)
)
def test_the_mask_the_box_and_the_centre_of_a_thing_agree(
    how: Augmentation, seed: int, left: int, top: int, width: int, height: int
) -> None:
    box = left, top, left + width, top + height
    moved = change(how, Draws(seed, 0, np.arange(ROWS)), SIZE)
    masks = moved.masks(blob(box)).numpy()
    for row in range(ROWS):
        (new,), (left_over,) = moved.boxes(row, np.array([box], float))
        there = masks[row] == 3
        y, x = np.nonzero(there)
        assert left_over or not there.any()
        if not there.any():
            continue
        # Every pixel of the thing has its centre in the box, and the box reaches no further than
        # the thing by more than a pixel's corner.
        assert x.min() + 0.5 >= new[0] - 0.05 and x.max() + 0.5 <= new[2] + 0.05
        assert y.min() + 0.5 >= new[1] - 0.05 and y.max() + 0.5 <= new[3] + 0.05
        clear = new[0] > 1 and new[1] > 1 and new[2] < SIZE[1] - 1 and new[3] < SIZE[0] - 1
        if clear:
            assert np.abs(np.array([x.min(), y.min(), x.max() + 1, y.max() + 1]) - new).max() < 4
        centre = moved.forward(row, np.array([[left + width / 2, top + height / 2]]))[0]
        if 0 <= centre[0] < SIZE[1] and 0 <= centre[1] < SIZE[0]:
            assert there[int(centre[1]), int(centre[0])]


@settings(max_examples=50, deadline=None)
@given(changes, seeds)
def test_points_go_there_and_back(how: Augmentation, seed: int) -> None:
    moved = change(how, Draws(seed, 0, np.arange(ROWS)), SIZE)
    points = np.random.default_rng(seed).uniform((-20, -20), (SIZE[1] + 20, SIZE[0] + 20), (50, 2))
    for row in range(ROWS):
        assert np.abs(moved.forward(row, moved.backward(row, points)) - points).max() < 1e-3
        assert moved.forward(row, np.zeros((0, 2))).shape == (0, 2)


@settings(max_examples=30, deadline=None)
@given(strengths, seeds)
def test_pictures_are_sampled_where_points_say(how: Augmentation, seed: int) -> None:
    """Against SciPy's bilinear interpolation at the places that `backward` gives."""
    rng = np.random.default_rng(seed)
    image = rng.uniform(0, 255, (ROWS, 1, *SIZE)).astype(np.float32)
    moved = change(how, Draws(seed, 0, np.arange(ROWS)), SIZE)
    ours = moved.images(torch.from_numpy(image), torch.tensor([77.0])).numpy()
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    for row in range(ROWS):
        from_x, from_y = moved.backward(row, np.stack([x.ravel(), y.ravel()], 1)).T - 0.5
        theirs = map_coordinates(
            image[row, 0], [from_y, from_x], order=1, mode="grid-constant", cval=77
        )
        assert np.abs(theirs - ours[row, 0].ravel()).max() < 0.05


@settings(max_examples=40, deadline=None)
@given(whole, seeds)
def test_whole_pixels_and_sampling_agree(how: Augmentation, seed: int) -> None:
    image = torch.from_numpy(
        np.random.default_rng(seed).integers(0, 256, (ROWS, 2, *SIZE), dtype=np.uint8)
    )
    moved = change(how, Draws(seed, 0, np.arange(ROWS)), SIZE)
    fill = torch.tensor([1.0, 2.0])
    fast = moved.images(image, fill)
    slow = type(moved)(moved.maps, None, SIZE).images(image, fill)
    assert fast.dtype == torch.uint8 and (fast - slow).abs().max() < 0.02
    assert torch.equal(fast, augment(image, how, Draws(seed, 0, np.arange(ROWS)), fill))


@given(st.lists(st.tuples(*[st.floats(0, 64, width=32)] * 4), min_size=1, max_size=5))
def test_mirroring_boxes_is_exact(corners: list[tuple[float, ...]]) -> None:
    boxes = np.array(
        [
            [min(a, c), min(b, d) * 0.75, max(a, c) + 0.25, max(b, d) * 0.75 + 0.25]
            for a, b, c, d in corners
        ]
    )
    boxes = boxes[(boxes[:, 2] <= 64) & (boxes[:, 3] <= 48)]
    moved = change(Augmentation(mirror=1), Draws(0, 0, np.arange(1)), SIZE)
    new, left = moved.boxes(0, boxes)
    assert left.all()
    assert np.array_equal(
        new, np.stack([64 - boxes[:, 2], boxes[:, 1], 64 - boxes[:, 0], boxes[:, 3]], 1)
    )


def test_boxes_say_which_are_left() -> None:
    moved = change(Augmentation(), Draws(0, 0, np.arange(1)), (10, 10))
    boxes = np.array(
        [[0, 0, 4, 4], [8, 0, 12, 4], [7, 0, 11, 4], [20, 20, 30, 30], [3, 3, 3, 3]], float
    )
    new, left = moved.boxes(0, boxes, least=0.6)
    assert left.tolist() == [True, False, True, False, False]
    assert new[1].tolist() == [8, 0, 10, 4]
    assert moved.boxes(0, np.zeros((0, 4)))[0].shape == (0, 4)


def test_what_comes_from_outside_is_ignored_in_masks() -> None:
    moved = change(Augmentation(rotate=180, shift=0.3), Draws(0, 0, np.arange(8)), (20, 20))
    masks = moved.masks(torch.ones(8, 20, 20, dtype=torch.int64), ignore=254)
    assert set(masks.unique().tolist()) == {1, 254}
    outside = moved.images(torch.zeros(8, 1, 20, 20), torch.ones(1))[:, 0]
    assert (masks[outside == 1] == 254).all() and (masks[outside == 0] == 1).all()


@settings(max_examples=30, deadline=None)
@given(changes, seeds)
def test_a_picture_is_changed_alike_in_any_batch(how: Augmentation, seed: int) -> None:
    image = torch.rand(5, 1, *SIZE, generator=torch.Generator().manual_seed(seed)) * 255
    together = augment(image, how, Draws(seed, 2, np.arange(5)), torch.zeros(1))
    alone = augment(image[3:4], how, Draws(seed, 2, np.array([3])), torch.zeros(1))
    assert torch.allclose(together[3:4], alone, atol=0.05)


@settings(max_examples=20, deadline=None)
@given(st.floats(0.001, 1), st.floats(0.001, 1), seeds)
def test_no_field_folds_the_picture(elastic: float, thin_plate: float, seed: int) -> None:
    field = bend(
        Augmentation(elastic=elastic, thin_plate=thin_plate), Draws(seed, 0, np.arange(4)), SIZE
    )
    assert _slope(field).max() <= STEEPEST + 1e-4
    one, two = np.random.default_rng(seed).uniform(0, SIZE[0], (2, 200, 2))
    for row in field:
        moved = np.abs(at(row, one) - at(row, two)).max(1)
        assert (moved <= (STEEPEST + 1e-3) * np.abs(one - two).max(1) + 1e-3).all()


def test_elastic_fields_have_the_deviation_asked_for_everywhere() -> None:
    field = bend(Augmentation(elastic=0.01), Draws(0, 0, np.arange(3000)), (20, 40)).numpy()
    assert np.allclose(field[:, 0].std(0), 0.4, rtol=0.1)
    assert np.allclose(field[:, 1].std(0), 0.2, rtol=0.1)


def test_thin_plates_equal_scipy() -> None:
    height, width = 7, 9
    moves = np.random.default_rng(0).normal(size=(CONTROL**2, 2))
    y, x = np.meshgrid(np.linspace(0, 1, CONTROL), np.linspace(0, 1, CONTROL), indexing="ij")
    plate = RBFInterpolator(
        np.stack([x.ravel(), y.ravel()], 1), moves, kernel="thin_plate_spline", degree=1
    )
    v, u = np.mgrid[:height, :width] + 0.5
    theirs = plate(np.stack([u.ravel() / width, v.ravel() / height], 1))
    assert np.allclose(_plate(height, width).T @ moves, theirs, atol=1e-4)


def test_bending_works_down_to_one_pixel() -> None:
    how = Augmentation(elastic=0.1, thin_plate=0.1)
    for size in ((1, 1), (1, 5), (5, 1)):
        assert augment(
            torch.ones(2, 1, *size), how, Draws(0, 0, np.arange(2)), torch.ones(1)
        ).allclose(torch.ones(1))
