"""Average precision by faster-coco-eval, which is what COCO's own code gives;
nothing is computed here."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np

from ...core.boxes import area, box_xyxy_to_xywh
from ...core.errors import UsageError
from .table import LIMIT, Table


@dataclass(frozen=True, slots=True, eq=False)
class Coco:
    """ap: T×C×4 at the thresholds 0.5 to 0.95, for objects of all sizes, small, medium and large;
    recall: T×C, with 100 detections of a class in a picture. NaN where a class has no objects."""

    ap: np.ndarray
    recall: np.ndarray


def require() -> None:
    """Raises UsageError where faster-coco-eval is not installed.
    Costs nothing: it is looked for and not imported."""
    if find_spec("faster_coco_eval") is None:
        raise UsageError(
            "average precision needs faster-coco-eval, which is not installed: "
            "pip install 'pellucid[detect]'"
        )


def evaluate(table: Table) -> Coco:
    """Raises UsageError where faster-coco-eval is not installed."""
    require()
    from faster_coco_eval import COCO, COCOeval_faster

    if not len(table.objects):
        return Coco(np.full((10, table.classes, 4), np.nan), np.full((10, table.classes), np.nan))
    target = COCO({**_frame(table), "annotations": _objects(table)}, print_function=_silent)
    answers = COCO({**_frame(table), "annotations": _detections(table)}, print_function=_silent)
    judge = COCOeval_faster(target, answers, iouType="bbox", print_function=_silent)
    judge.evaluate()
    judge.accumulate()
    # T×101×C×sizes×limits and T×C×sizes×limits, -1 where there are no objects.
    precision, recall = judge.eval["precision"][..., -1], judge.eval["recall"][:, :, 0, -1]
    ap = precision.mean(axis=1)
    return Coco(np.where(ap < 0, np.nan, ap), np.where(recall < 0, np.nan, recall))


def _silent(*_: Any) -> None:
    """The library reports its progress as it goes."""


def _frame(table: Table) -> dict[str, Any]:
    return {
        "images": [{"id": number + 1, "width": 1, "height": 1} for number in range(table.pictures)],
        "categories": [{"id": number + 1, "name": str(number)} for number in range(table.classes)],
    }


def _objects(table: Table) -> list[dict[str, Any]]:
    rows = _annotations(table.owner, table.objects.labels, table.objects.boxes)
    return [
        row | {"iscrowd": int(ignore)}
        for row, ignore in zip(rows, table.objects.ignore.tolist(), strict=True)
    ]


def _detections(table: Table) -> list[dict[str, Any]]:
    kept = np.flatnonzero(table.rank < LIMIT)
    rows = _annotations(table.picture[kept], table.labels[kept], table.boxes[kept])
    return [
        row | {"iscrowd": 0, "score": score}
        for row, score in zip(rows, table.scores[kept].tolist(), strict=True)
    ]


def _annotations(
    pictures: np.ndarray, labels: np.ndarray, boxes: np.ndarray
) -> list[dict[str, Any]]:
    columns = (
        pictures.tolist(),
        labels.tolist(),
        box_xyxy_to_xywh(boxes).tolist(),
        area(boxes).tolist(),
    )
    return [
        {"id": number, "image_id": picture + 1, "category_id": label + 1, "bbox": box, "area": size}
        for number, (picture, label, box, size) in enumerate(zip(*columns, strict=True), start=1)
    ]
