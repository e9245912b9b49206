"""The result of detection: what it holds, says and writes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pellucid.data.images import read
from pellucid.tasks.detection.result import DetectionResult

RESULT = DetectionResult(
    "a.png",
    (60, 80),
    ("x", "y"),
    np.array([[0.0, 0, 10, 10], [20, 0, 40, 10], [5, 5, 9, 9], [0, 0, 1, 1]]),
    np.array([0.9, 0.8, 0.7, 0.1]),
    np.array([1, 0, 1, 0]),
    0.5,
)
NOTHING = replace(RESULT, threshold=0.95)


def test_what_it_says_is_what_reaches_the_threshold() -> None:
    assert [each["label"] for each in RESULT.to_json()["objects"]] == ["y", "x", "y"]
    assert RESULT.to_json() == {
        "source": "a.png",
        "size": [60, 80],
        "threshold": 0.5,
        "objects": RESULT.to_json()["objects"],
    }
    assert RESULT.labels() == ["y", "x"] and NOTHING.labels() == []
    assert RESULT.summary() == "a.png: 3 objects: y 2, x 1"
    assert NOTHING.summary() == "a.png: nothing found (threshold 0.95)"
    assert replace(RESULT, threshold=0.85).summary() == "a.png: 1 object: y 1"


def test_rows_have_the_same_columns_with_and_without_objects() -> None:
    first, *rest = RESULT.rows()
    assert first == {
        **{"source": "a.png", "label": "y", "confidence": "0.900000"},
        **{"x1": "0.00", "y1": "0.00", "x2": "10.00", "y2": "10.00"},
    }
    (empty,) = NOTHING.rows()
    assert len(rest) == 2 and list(empty) == list(first)
    assert empty.pop("source") == "a.png" and set(empty.values()) == {""}


def test_compact_says_the_same_in_less() -> None:
    for result in (RESULT, NOTHING):
        small = result.compact()
        assert len(small.scores) == len(result.to_json()["objects"])
        assert small.to_json() == result.to_json() and small.rows() == result.rows()
        assert small.summary() == result.summary() and small.labels() == result.labels()


def test_save_writes_what_is_drawn(tmp_path: Path) -> None:
    image = np.full((60, 80, 1), 20000, np.uint16)
    RESULT.save(tmp_path / "a.png", image)
    assert (read(tmp_path / "a.png") == RESULT.draw(image)).all()
    assert (RESULT.draw(image, legend=False) == RESULT.draw(image)).all()
    assert RESULT.draw(image).shape == (60, 80, 3)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"scores": [0.9]}, "as many scores"),
        ({"scores": [0.1, 0.2, 0.3, 0.4]}, "highest first"),
        ({"scores": [1.2, 0.8, 0.7, 0.1]}, "between 0 and 1"),
        ({"class_ids": [0, 1, 2, 0]}, "none of 2 classes"),
        ({"boxes": [[5.0, 5, 4, 9]] * 4}, "upper left"),
        ({"boxes": [[0.0, 0, np.nan, 9]] * 4}, "finite"),
    ],
)
def test_impossible_values_are_refused(change: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=rf"a\.png: .*{problem}"):
        replace(RESULT, **change)
