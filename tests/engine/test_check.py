"""What `pellucid check` prints of data of any task."""

from __future__ import annotations

from typing import Any

from pellucid.engine.check import Check, _findings

SETTINGS: dict[str, Any] = {"model": None, "size": (8, 8), "epochs": 2, "batch": 6}


def facts(counts: dict[str, dict[str, int]], **more: Any) -> dict[str, Any]:
    """Of ten images in each part."""
    return {
        "source": "data",
        "why": "found it",
        "classes": list(counts["train"]),
        "counts": counts,
        "pictures": {"train": 10, "validation": 10, "test": 10},
        "sizes": {"smallest": [8, 8], "largest": [8, 8], "median": [8, 8]},
        "channels": {"1": 30},
        "bits": {"8": 30},
        "bad": [],
        "left_out": [],
        "notes": [],
        **more,
    }


def test_a_task_without_classes_has_its_total_alone() -> None:
    found = facts({"train": {}, "validation": {}, "test": {}})
    assert _findings(found) == []
    text = Check(found, SETTINGS, []).text()
    assert text.splitlines()[3:5] == [
        "class       train  validation        test       total",
        "total          10          10          10          30",
    ]
    assert "- would train: the network of the task at 8x8, 2 epochs of batches of 6" in text


def test_objects_are_counted_beside_images() -> None:
    part = {"cell": 25, "speck": 2}
    counts = dict.fromkeys(("train", "validation", "test"), part)
    empty = {"train": 1, "validation": 0, "test": 0}
    found = facts(counts, counted="objects", empty=empty)
    (finding,) = _findings(found)
    assert finding == (
        "imbalance: cell has 25 training objects, speck only 2; look at each class by itself"
    )
    assert [line.split()[-4:] for line in Check(found, SETTINGS, []).text().splitlines()[4:9]] == [
        ["25", "25", "25", "75"],
        ["2", "2", "2", "6"],
        ["27", "27", "27", "81"],
        ["10", "10", "10", "30"],
        ["1", "0", "0", "1"],
    ]


def test_a_tenfold_class_is_a_finding() -> None:
    for few, wanted in (
        (1, []),
        (0, ["imbalance: a has 10 training pictures, b only 0; look at "]),
    ):
        part = {"a": 10, "b": few}
        found = _findings(facts(dict.fromkeys(("train", "validation", "test"), part)))
        assert [each.removesuffix("balanced accuracy") for each in found] == wanted
