from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.plots.annotate import boxes
from pellucid.tasks.detection.result import DetectionResult

GREY = np.full((120, 160, 3), 128, np.uint8)


def test_the_given_image_is_not_changed() -> None:
    picture = GREY.copy()
    drawn = boxes(picture, np.array([[20.0, 40, 80, 100]]), [0], ["cell 90%"])
    assert (picture == GREY).all() and drawn.shape == picture.shape and drawn.dtype == np.uint8
    assert (boxes(picture, np.zeros((0, 4)), []) == GREY).all()


def test_a_frame_stands_at_the_edges_of_its_box() -> None:
    drawn = boxes(GREY, np.array([[30.0, 40, 90, 100]]), [0])
    changed = (drawn != GREY).any(axis=2)
    rows, columns = np.nonzero(changed)
    # A line of black or white on the outside of the frame.
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (39, 100, 29, 90)
    assert not changed[43:97, 33:87].any()
    assert (
        changed[40, 30:90].all()
        and changed[99, 30:90].all()
        and changed[40:100, 30].all()
        and changed[40:100, 89].all()
    )


def test_labels_have_colours_of_their_own() -> None:
    colours = {
        tuple(boxes(GREY, np.array([[10.0, 10, 50, 50]]), [label])[10, 30]) for label in range(21)
    }
    assert len(colours) == 21
    spread = np.array(sorted(colours), float)
    assert min(np.abs(a - b).sum() for i, a in enumerate(spread) for b in spread[:i]) > 30


@pytest.mark.parametrize("ground", [0, 255])
def test_frames_and_titles_are_seen_on_black_and_on_white(ground: int) -> None:
    picture = np.full((60, 160, 3), ground, np.uint8)
    for label in range(21):
        line = boxes(picture, np.array([[10.0, 10, 50, 50]]), [label]).astype(float)[30, 5:20]
        # Either the colour or the line beside it differs clearly in brightness.
        assert np.abs(line @ [0.299, 0.587, 0.114] - ground).max() > 100


def test_a_title_stands_above_its_box_or_inside() -> None:
    for top, above in ((60.0, True), (2.0, False)):
        box = np.array([[40.0, top, 120, 110]])
        bare, titled = boxes(GREY, box, [1]), boxes(GREY, box, [1], ["person 75%"])
        rows, columns = np.nonzero((bare != titled).any(axis=2))
        assert (rows.max() < 60) if above else (rows.min() >= 0 and rows.max() < 30)
        assert columns.min() >= 40 and len(rows) > 200


def test_titles_of_boxes_on_one_place_do_not_cover_each_other() -> None:
    three = np.repeat([[40.0, 40, 140, 90]], 3, axis=0)
    alone = [boxes(GREY, three[:1], [label], ["one title"]) for label in range(3)]
    together = boxes(GREY, three, [0, 1, 2], ["one title"] * 3)
    grounds = [tuple(picture[33, 41]) for picture in alone]
    for ground in grounds:
        # The ground of each title has the area it has alone, and more: its frame.
        assert (together == ground).all(axis=2).sum() > 300


def test_a_crowd_of_titles_does_not_hide_the_picture() -> None:
    many = np.array(
        [[float(4 * (n % 30)), 20 + 20.0 * (n // 30), 4.0 * (n % 30) + 40, 119] for n in range(100)]
    )
    assert (
        boxes(GREY, many, [0] * 100, ["cell 90%"] * 100)
        == boxes(GREY, many, [0] * 100, ["cell 90%"] * 20)
    ).all()


# The first letter that DejaVu lacks takes the list of installed fonts.
@settings(deadline=None)
@given(
    st.lists(st.tuples(*[st.floats(-500, 500)] * 2, *[st.floats(0, 1e6)] * 2), max_size=8),
    st.integers(1, 60),
    st.integers(1, 60),
    st.text(max_size=8),
)
def test_any_box_and_any_title_can_be_drawn_on_any_picture(
    rows: list[tuple[float, float, float, float]], height: int, width: int, title: str
) -> None:
    around = np.array([(x, y, x + w, y + h) for x, y, w, h in rows]).reshape(-1, 4)
    drawn = boxes(
        np.zeros((height, width, 3), np.uint8), around, list(range(len(rows))), [title] * len(rows)
    )
    assert drawn.shape == (height, width, 3)


def test_a_result_draws_what_reaches_the_threshold() -> None:
    frame = np.array([[20.0, 40, 80, 100], [100, 40, 150, 90]])
    scores, class_ids = np.array([0.9, 0.2]), np.array([1, 0])
    answer = DetectionResult("x", (120, 160), ("a", "b"), frame, scores, class_ids, 0.5)
    assert (answer.draw(GREY) == boxes(GREY, frame[:1], [1], ["b 90%"])).all()
    sixteen = answer.draw(np.full((120, 160, 1), 65535, np.uint16))
    assert sixteen.dtype == np.uint8 and (sixteen[5, 5] == 255).all()
