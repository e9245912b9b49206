from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.losses.localization import landmarks, loss, target

share = st.floats(0, 1, width=32)


def test_the_height_comes_before_the_width() -> None:
    assert target((0.3, 0.7, 0.1, 0.2), 1, 3).tolist() == pytest.approx(
        [1, 0.3, 0.7, 0.2, 0.1, 0, 1, 0]
    )


def test_without_an_object_nothing_else_is_said() -> None:
    assert target(None, None, 3).tolist() == [0] * 8
    assert target(None, None, 0, sized=False).tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("box", "number", "classes", "sized", "says"),
    [
        ((0.3, 0.7), 0, 3, True, "4 shares"),
        ((0.3, 0.7, 0.1, 0.1), None, 0, False, "2 shares"),
        ((30, 70, 10, 10), 0, 3, True, "from 0 to 1"),
        ((0.3, float("nan"), 0.1, 0.1), 0, 3, True, "from 0 to 1"),
        ((0.3, 0.7, 0.1, 0.1), 3, 3, True, "class 3 is none of 3"),
        ((0.3, 0.7, 0.1, 0.1), -1, 3, True, "class -1 is none of 3"),
        ((0.3, 0.7, 0.1, 0.1), None, 3, True, "class None is none of 3"),
        ((0.3, 0.7), 0, 0, False, "class 0 is none of 0"),
    ],
)
def test_what_is_no_target_is_refused(
    box: tuple[float, ...], number: int | None, classes: int, sized: bool, says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        target(box, number, classes, sized=sized)


@settings(max_examples=60, deadline=None)
@given(box=st.tuples(share, share, share, share), number=st.integers(0, 2), data=st.data())
def test_all_counts_with_an_object_and_one_number_without(
    box: tuple[float, ...], number: int, data: st.DataObject
) -> None:
    answer = torch.tensor(data.draw(st.lists(st.floats(-3, 3, width=32), min_size=8, max_size=8)))
    there, empty = target(box, number, 3), target(None, None, 3)
    assert loss(answer[None], there[None]).item() == pytest.approx(
        sum((a - b) ** 2 for a, b in zip(answer, there, strict=True)).item()
    )
    assert loss(answer[None], empty[None]).item() == pytest.approx(answer[0].item() ** 2)
    both = loss(answer.repeat(2, 1), torch.stack([there, empty]))
    assert both.item() == pytest.approx(
        (loss(answer[None], there[None]) + loss(answer[None], empty[None])).item() / 2
    )


def test_ignored_pixels_have_no_gradient() -> None:
    answers = torch.tensor([[0.5, 9, 9, 9, 9, 9], [0.5, 9, 9, 9, 9, float("inf")]]).requires_grad_()
    targets = torch.stack([target((0.5, 0.5, 0.1, 0.1), 0, 1), target(None, None, 1)])
    loss(answers, targets).backward()
    assert answers.grad is not None
    assert answers.grad[0].ne(0).all()
    assert answers.grad[1].tolist() == [0.5, 0, 0, 0, 0, 0]


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="must both be B×K"):
        loss(torch.zeros(2, 8), torch.zeros(2, 3))
    with pytest.raises(ValueError, match="must both be B×K"):
        loss(torch.zeros(8), torch.zeros(8))


def test_landmarks_are_flattened_point_by_point() -> None:
    assert landmarks([(0.1, 0.2), (0.3, 0.4)]).tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4])
