"""Writes pictures with boxes as COCO, VOC or YOLO, so that reading them gives the same: every bit
of a box, classes, parts, marks.

Layouts: COCO `annotations/instances_train.json` and `images/train/`; VOC `Annotations/`,
`JPEGImages/`, `ImageSets/Main/`; YOLO `data.yaml`, `images/train/` and `labels/train/`. Without a
split there are no folders of parts. What a format cannot say goes into `pellucid.json`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from decimal import Context, Decimal
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from ...core.files import write_json, write_text
from ...core.types import Objects
from ..images import Header, header
from ..sample import Sample
from .dataset import PARTS, Dataset, natural
from .objects import SIDE
from .yolo import EXACT, to_pixels

_FOLDER = {"train": "train", "validation": "val", "test": "test", "": ""}


def write_objects(reading: Dataset, kind: str, folder: Path) -> list[str]:
    """Copies the pictures and writes the annotations; gives the new place of each sample, relative
    to `folder`, in the order of samples.

    kind: a key of WRITERS. Raises DataError for a picture whose size cannot be read.
    """
    parts = parts_of(reading)
    names = _names([sample.source for sample in reading.samples])
    inside = "JPEGImages" if kind == "voc" else "images"
    places = [
        "/".join(filter(None, (inside, "" if kind == "voc" else _FOLDER[p], n)))
        for p, n in zip(parts, names, strict=True)
    ]
    heads = []
    for sample, place in zip(reading.samples, places, strict=True):
        target = folder / place
        target.parent.mkdir(parents=True, exist_ok=True)
        heads.append(header(Path(sample.image)))  # type: ignore[arg-type]
        shutil.copyfile(sample.image, target)  # type: ignore[arg-type]
    side = WRITERS[kind](reading, places, parts, heads, folder)
    if side:
        write_json(folder / SIDE, side)
    return places


def parts_of(reading: Dataset) -> list[str]:
    """train, validation or test of each sample; "" where the data has no split."""
    parts = [""] * len(reading.samples)
    for part, indices in reading.given.items():
        for index in indices.tolist():
            parts[index] = part
    return parts


def _names(sources: Sequence[str]) -> list[str]:
    """File names whose stems differ, also where upper and lower case are the same: the name itself,
    its whole path, then a number."""
    taken: set[str] = set()
    names = []
    for source in sources:
        name, number = source.rsplit("/", 1)[-1], 1
        while Path(name).stem.casefold() in taken:
            whole = Path(source.replace("/", "_"))
            name = whole.name if number == 1 else f"{whole.stem}-{number}{whole.suffix}"
            number += 1
        taken.add(Path(name).stem.casefold())
        names.append(name)
    return names


def _coco(
    reading: Dataset, places: list[str], parts: list[str], heads: list[Header], folder: Path
) -> dict[str, Any]:
    """Crowds are what is to be ignored. Numbers begin with 1, since some tools take 0 for none."""
    categories = [
        {"id": number, "name": name, "supercategory": ""}
        for number, name in enumerate(reading.classes, 1)
    ]
    for part in dict.fromkeys(parts):
        inside = "/".join(filter(None, ("images", _FOLDER[part]))) + "/"
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for sample, place, own, head in zip(reading.samples, places, parts, heads, strict=True):
            if own == part:
                name = place.removeprefix(inside)
                images.append(
                    {
                        "id": len(images) + 1,
                        "file_name": name,
                        "width": head.width,
                        "height": head.height,
                    }
                )
                annotations += _annotations(sample.target, len(images), len(annotations) + 1)
        path = (
            folder
            / "annotations"
            / ("_".join(filter(None, ("instances", _FOLDER[part]))) + ".json")
        )
        found = {
            "info": {},
            "licenses": [],
            "images": images,
            "annotations": annotations,
            "categories": categories,
        }
        write_text(path, json.dumps(found, ensure_ascii=False, allow_nan=False))
    return {}


def _annotations(target: Objects, image: int, start: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for (x1, y1, x2, y2), label, ignore in zip(
        target.boxes.tolist(), target.labels.tolist(), target.ignore.tolist(), strict=True
    ):
        width, height = x2 - x1, y2 - y1
        each = {
            "id": start + len(found),
            "image_id": image,
            "category_id": label + 1,
            "bbox": [x1, y1, width, height],
        }
        each |= {"area": width * height, "iscrowd": int(ignore), "segmentation": []}
        exact = {} if (x1 + width, y1 + height) == (x2, y2) else {"xyxy": [x1, y1, x2, y2]}
        found.append(each | exact)
    return found


def _voc(
    reading: Dataset, places: list[str], parts: list[str], heads: list[Header], folder: Path
) -> dict[str, Any]:
    (folder / "Annotations").mkdir(exist_ok=True)
    for sample, place, head in zip(reading.samples, places, heads, strict=True):
        tree = _annotation(sample, place, head, reading.classes)
        (folder / "Annotations" / f"{Path(place).stem}.xml").write_bytes(
            ElementTree.tostring(tree, "utf-8")
        )
    for part in filter(None, dict.fromkeys(parts)):
        stems = [Path(place).stem for place, own in zip(places, parts, strict=True) if own == part]
        write_text(
            folder / "ImageSets" / "Main" / f"{_FOLDER[part]}.txt",
            "".join(f"{stem}\n" for stem in stems),
        )
    used = {
        reading.classes[label]
        for sample in reading.samples
        for label in sample.target.labels.tolist()
    }
    return (
        {}
        if list(reading.classes) == sorted(used, key=natural)
        else {"classes": list(reading.classes)}
    )


def _annotation(
    sample: Sample, place: str, head: Header, classes: Sequence[str]
) -> ElementTree.Element:
    tree = ElementTree.Element("annotation")
    _add(tree, {"folder": "JPEGImages", "filename": Path(place).name})
    _add(
        ElementTree.SubElement(tree, "size"),
        {"width": head.width, "height": head.height, "depth": head.channels},
    )
    _add(tree, {"segmented": 0})
    target: Objects = sample.target
    for box, label, ignore in zip(
        target.boxes.tolist(), target.labels.tolist(), target.ignore.tolist(), strict=True
    ):
        each = ElementTree.SubElement(tree, "object")
        _add(
            each,
            {
                "name": classes[label],
                "pose": "Unspecified",
                "truncated": 0,
                "difficult": int(ignore),
            },
        )
        corners = [int(side) if side == int(side) else repr(side) for side in box]
        _add(
            ElementTree.SubElement(each, "bndbox"),
            dict(zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True)),
        )
    ElementTree.indent(tree)
    return tree


def _add(parent: ElementTree.Element, values: dict[str, object]) -> None:
    for name, value in values.items():
        ElementTree.SubElement(parent, name).text = str(value)


def _yolo(
    reading: Dataset, places: list[str], parts: list[str], heads: list[Header], folder: Path
) -> dict[str, Any]:
    import yaml  # type: ignore[import-untyped]

    ignore = {}
    for sample, place, head in zip(reading.samples, places, heads, strict=True):
        label = folder / Path("labels", place.removeprefix("images/")).with_suffix(".txt")
        label.parent.mkdir(parents=True, exist_ok=True)
        rows = zip(sample.target.labels.tolist(), sample.target.boxes.tolist(), strict=True)
        label.write_text("".join(f"{number} {_shares(box, head)}\n" for number, box in rows))
        if sample.target.ignore.any():
            ignore[label.relative_to(folder).as_posix()] = [
                int(line) + 1 for line in sample.target.ignore.nonzero()[0]
            ]
    own = [part for part in PARTS if part in parts]
    places_of = {_FOLDER[part]: f"images/{_FOLDER[part]}" for part in own} or {"train": "images"}
    settings = {
        "path": ".",
        **places_of,
        "nc": len(reading.classes),
        "names": list(reading.classes),
    }
    write_text(folder / "data.yaml", yaml.safe_dump(settings, sort_keys=False, allow_unicode=True))
    return {"ignore": ignore} if ignore else {}


def _shares(box: Sequence[float], head: Header) -> str:
    """Centre and sides as shares of the picture, with the fewest digits that give these
    pixels again."""
    for digits in (6, 9, 12, 15, 17, 20, 25, 30, 40, 80, 400, 1600):
        x, width = _share(box[0], box[2], head.width, digits)
        y, height = _share(box[1], box[3], head.height, digits)
        if to_pixels([x, y, width, height], (head.width, head.height)) == tuple(box):
            break
    return " ".join(format(number, "f") for number in (x, y, width, height))


def _share(low: float, high: float, side: int, digits: int) -> tuple[Decimal, Decimal]:
    one, other, context = Decimal(low), Decimal(high), Context(prec=digits)
    centre = context.divide(EXACT.add(one, other), Decimal(2 * side))
    return EXACT.normalize(centre), EXACT.normalize(
        context.divide(EXACT.subtract(other, one), Decimal(side))
    )


WRITERS = {"coco": _coco, "voc": _voc, "yolo": _yolo}
