"""The metric of segmentation, and its report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from skimage.measure import label
from skimage.metrics import adapted_rand_error

from pellucid.core.files import write_json
from pellucid.core.rng import generator
from pellucid.core.types import IGNORE, Mask
from pellucid.engine.run.report import write
from pellucid.metrics import segmentation, significance
from pellucid.tasks.page import EVIDENCE, Cell, Section, Table
from pellucid.tasks.segmentation import metric as metrics
from pellucid.tasks.segmentation import report
from pellucid.tasks.segmentation.metric import SegmentationMetric
from pellucid.tasks.segmentation.result import SegmentationResult

CLASSES = ("background", "vessel", "<b>disc</b>")
Pair = tuple[SegmentationResult, Mask]


def labels(seed: int, size: tuple[int, ...] = (16, 20)) -> np.ndarray:
    return np.kron(
        generator(seed).integers(0, 3, [-(-side // 4) for side in size]), np.ones([4] * len(size))
    )[tuple(slice(side) for side in size)].astype(np.uint8)


def noisy(mask: np.ndarray, seed: int, share: float = 0.2) -> np.ndarray:
    rng = generator(seed, 1)
    return np.where(rng.random(mask.shape) < share, rng.integers(0, 3, mask.shape), mask).astype(
        np.uint8
    )


def picture(source: str, target: Mask, answer: np.ndarray) -> Pair:
    return SegmentationResult(source, answer.shape, CLASSES, answer), target


def pictures(
    count: int = 12, share: float = 0.2, size: tuple[int, ...] = (16, 20), **given: Any
) -> list[Pair]:
    return [
        picture(f"{n:03}", Mask.of(labels(n, size), **given), noisy(labels(n, size), n, share))
        for n in range(count)
    ]


def added(
    of: list[Pair], groups: Mapping[str, str] | None = None, **given: Any
) -> SegmentationMetric:
    metric = SegmentationMetric(CLASSES, **given)
    metric.add([result for result, _ in of], [target for _, target in of])
    for source, group in (groups or {}).items():
        metric.records[source]["group"] = np.frombuffer(group.encode(), np.uint8)
    return metric


# --------------------------------------------------------------------------------------- the metric


def test_scores_of_all_pixels_and_means_over_images() -> None:
    of = pictures()
    targets, said = (
        np.stack(each)
        for each in zip(*[(target.labels(), answer.mask) for answer, target in of], strict=True)
    )
    both = [
        (2 * ((targets == c) & (said == c)).sum()) / ((targets == c).sum() + (said == c).sum())
        for c in (1, 2)
    ]
    apart = [
        np.mean(
            [2 * ((t == c) & (a == c)).sum() / ((t == c).sum() + (a == c).sum()) for c in (1, 2)]
        )
        for t, a in zip(targets, said, strict=True)
    ]
    found = added(of).evidence()
    assert found["dice"]["value"] == pytest.approx(np.mean(both))
    assert found["iou"]["value"] == pytest.approx(np.mean([d / (2 - d) for d in both]))
    assert found["dice_picture"]["value"] == pytest.approx(np.mean(apart))
    assert found["pixel_accuracy"]["value"] == pytest.approx((targets == said).mean())
    assert list(found["per_class"]) == list(CLASSES)
    assert sum(each["share"] for each in found["per_class"].values()) == pytest.approx(1)
    vessel = found["per_class"]["vessel"]
    assert vessel["recall"]["value"] == pytest.approx((said[targets == 1] == 1).mean())
    assert vessel["precision"]["value"] == pytest.approx((targets[said == 1] == 1).mean())
    for name in ("dice", "iou", "dice_picture", "iou_picture", "pixel_accuracy"):
        assert found[name]["low"] < found[name]["value"] < found[name]["high"]
    assert "rand" not in found and found["pictures"] == 12
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize("score", ["dice", "iou", "rand"])
def test_a_perfect_result_is_perfect_in_everything(score: str) -> None:
    metric = added(pictures(share=0), score=score)
    found, quick = metric.evidence(), metric.scores()
    for name in {"dice", "iou", "dice_picture", "iou_picture", "pixel_accuracy", score}:
        assert found[name]["value"] == found[name]["high"] == 1 and 0.5 < found[name]["low"] < 1
    assert quick["score"] == quick[score] == 1
    assert all(
        each["hausdorff95"]["value"] == each["surface_distance"]["value"] == 0
        for each in found["distances"]["classes"].values()
    )


def test_false_alarms_in_empty_images_leave_iou_present_alone() -> None:
    target, clean, alarm = (
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4), np.uint8),
    )
    target[:2], alarm[0, 0] = 1, 1
    metric = SegmentationMetric(("background", "flaw"))
    for name, there, said in (("a", target, target), ("b", clean, alarm)):
        metric.add([SegmentationResult(name, (4, 4), metric.classes, said)], [Mask.of(there)])
    assert (
        metric.evidence()["iou_present"]["value"] == 1
        and metric.evidence()["iou_picture"]["value"] == 0.5
    )


def test_the_scores_of_an_epoch_are_those_of_the_evidence() -> None:
    metric = added(pictures(), score="rand")
    quick, found = metric.scores(), metric.evidence()
    for name in ("dice", "iou", "pixel_accuracy", "rand"):
        assert quick[name] == pytest.approx(found[name]["value"])
    assert quick["score"] == quick["rand"]


def test_the_rand_score_is_the_mean_over_images() -> None:
    flat = [
        picture(
            name,
            Mask.of((target.labels() > 0).astype(np.uint8)),
            (answer.mask > 0).astype(np.uint8),
        )
        for name, (answer, target) in zip("abcdef", pictures(6), strict=True)
    ]
    errors = [
        adapted_rand_error(
            label(t.labels(), connectivity=1), label(a.mask, connectivity=1), ignore_labels=(0,)
        )[0]
        for a, t in flat
    ]
    assert added(flat, score="rand").evidence()["rand"]["value"] == pytest.approx(
        1 - np.mean(errors)
    )


def test_without_any_foreground_no_score_is_defined() -> None:
    nothing = np.zeros((8, 8), np.uint8)
    metric = added([picture(name, Mask.of(nothing), nothing) for name in "ab"], score="rand")
    assert metric.scores() == {"dice": 0, "iou": 0, "pixel_accuracy": 1, "rand": 0, "score": 0}
    found = metric.evidence()
    assert (
        found["dice"]["value"]
        is found["rand"]["value"]
        is found["distances"]["classes"]["vessel"]["hausdorff95"]["value"]
        is None
    )
    assert found["pixel_accuracy"]["value"] == 1
    assert metric.rows()[0]["truth"] == "background 100.00 %" and metric.rows()[0]["iou"] == ""
    assert "undefined" in report.sentences({"test": found})[0]
    assert report.headline({"test": found})[0] == "–" and report.sections(
        {"summary": {"test": found}}
    )


def test_ignored_pixels_count_nowhere() -> None:
    target, answer = labels(0), noisy(labels(0), 0)
    left = target.copy()
    left[:, 10:] = IGNORE
    found = added([picture("a", Mask.of(left), answer)]).evidence()
    assert (
        found["dice"]
        == added([picture("a", Mask.of(target[:, :10]), answer[:, :10])]).evidence()["dice"]
    )
    other = np.where(left == IGNORE, 2, answer).astype(np.uint8)
    assert added([picture("a", Mask.of(left), other)]).evidence() == found


def test_merged_records_give_the_same_evidence() -> None:
    of = pictures()
    whole, first, second = added(of), added(of[7:]), added(of[:8])
    first.records |= second.records
    assert first.evidence() == whole.evidence() and first.rows() == whole.rows()


def test_scores_are_given_for_each_kind() -> None:
    nothing = np.zeros((16, 20), np.uint8)
    cracks = [
        picture(f"crack{n}", Mask.of(labels(n), kind="Crack"), noisy(labels(n), n))
        for n in range(4)
    ]
    free = [
        picture(f"free{n}", Mask.of(nothing, kind="Free"), nothing if n else labels(n))
        for n in range(3)
    ]
    kinds = added(cracks + free).evidence()["kinds"]
    assert list(kinds) == ["Crack", "Free"]
    assert (kinds["Free"]["pictures"], kinds["Free"]["empty"], kinds["Free"]["clean"]) == (3, 3, 2)
    assert kinds["Free"]["iou"]["value"] == 0 and kinds["Crack"]["empty"] == 0
    expected = []
    for answer, target in cracks:
        t, a = target.labels(), answer.mask
        assert a is not None
        both = ((t == a) & (t > 0)).sum()
        expected.append(both / ((t > 0).sum() + (a > 0).sum() - both))
    assert kinds["Crack"]["iou"]["value"] == pytest.approx(np.mean(expected))


def test_a_second_annotator_shows_how_far_people_agree() -> None:
    of = [
        picture(
            f"{n}",
            Mask.of(labels(n), noisy(labels(n), n, 0.4), names=("first", "second")),
            noisy(labels(n), 100 + n),
        )
        for n in range(5)
    ]
    of.append(picture("alone", Mask.of(labels(5)), labels(5)))
    found = added(of).evidence()["annotators"]
    assert list(found) == ["second"] and found["second"]["pictures"] == 5
    human = added(
        [
            picture(answer.source, Mask.of(target.labels()), target.labels(1))
            for answer, target in of[:5]
        ]
    ).evidence()
    assert found["second"]["dice"] == human["dice"]
    assert found["second"]["network"] == added(of[:5]).evidence()["dice"]
    other = added(of[:5], annotator=1).evidence()
    assert (
        other["annotators"]["first"]["dice"] == human["dice"]
        and other["dice"] == found["second"]["network_against"]
    )


def test_patients_are_resampled_instead_of_their_images() -> None:
    of = [
        picture(
            f"{n}", Mask.of(labels(n // 4)), noisy(labels(n // 4), n // 4, 0.1 + 0.1 * (n // 4))
        )
        for n in range(24)
    ]
    alone, grouped = (
        added(of).evidence(),
        added(of, groups={f"{n}": f"patient {n // 4}" for n in range(24)}).evidence(),
    )
    assert grouped["units"] == {"count": 6, "name": "groups"} and alone["units"] == {
        "count": 24,
        "name": "pictures",
    }
    assert grouped["dice"]["value"] == alone["dice"]["value"]
    assert grouped["dice"]["high"] - grouped["dice"]["low"] > 1.5 * (
        alone["dice"]["high"] - alone["dice"]["low"]
    )


def test_distances_are_in_mm_where_the_spacing_is_known() -> None:
    target = np.zeros((6, 12, 12), np.uint8)
    target[1:5, 2:6, 2:6] = 1
    shifted = np.roll(target, 3, axis=2)
    lost = np.zeros_like(target)
    given = {"spacing": (5.0, 1.0, 2.0)}
    found = added(
        [
            picture("a", Mask.of(target, **given), shifted),
            picture("b", Mask.of(target, **given), lost),
        ]
    ).evidence()["distances"]
    vessel = found["classes"]["vessel"]
    assert found["unit"] == "mm" and vessel["hausdorff95"]["value"] == pytest.approx(6)
    assert vessel["surface_distance"]["value"] == pytest.approx(
        segmentation.surface_distance(target == 1, shifted == 1, (5.0, 1.0, 2.0))
    )
    assert (vessel["pictures"], vessel["alone"]) == (1, 1) and vessel["hausdorff95"]["low"] is None
    mixed = added(
        [picture("a", Mask.of(target, **given), shifted), picture("b", Mask.of(target), shifted)]
    ).evidence()["distances"]
    assert mixed["unit"] == "pixels" and mixed["classes"]["vessel"]["hausdorff95"][
        "value"
    ] == pytest.approx(3)


def test_many_flat_images_are_not_outlined() -> None:
    few = pictures(metrics.OUTLINED, size=(4, 4))
    assert added(few).evidence()["distances"] is not None
    more = pictures(metrics.OUTLINED + 1, size=(4, 4))
    assert added(more).evidence()["distances"] is None


def test_a_row_has_the_shares_and_scores_of_an_image() -> None:
    target = np.zeros((10, 10), np.uint8)
    target[:2] = 1
    answer = np.zeros((10, 10), np.uint8)
    answer[:1] = 1
    row = added([picture("a", Mask.of(target), answer)]).rows()[0]
    assert row == {
        "source": "a",
        "truth": "background 80.00 %, vessel 20.00 %",
        "answer": "background 90.00 %, vessel 10.00 %",
        "correct": "0.900000",
        "iou": "0.500000",
        "dice_vessel": "0.666667",
        "dice_<b>disc</b>": "",
    }


def test_gains_are_paired_by_image() -> None:
    of = pictures()
    better, worse = (
        added(of),
        added(
            [
                (replace(result, mask=noisy(target.labels(), n, 0.5)), target)
                for n, (result, target) in enumerate(of)
            ]
        ),
    )
    found = significance.paired(better, worse)
    assert found["score"] == "dice" and found["gain"]["low"] > 0 and found["p"] < 0.01
    assert found["gain"]["value"] == pytest.approx(found["ours"] - found["theirs"])
    assert found["ours"] == pytest.approx(better.evidence()["dice"]["value"])
    assert significance.paired(better, worse, "iou")["gain"]["value"] > 0
    mean = significance.over_mean(better, [worse, better])
    assert mean["gain"]["value"] == pytest.approx(found["gain"]["value"] / 2)
    same = added(of, score="iou")
    assert significance.paired(same, added(of, score="iou"))["p"] == 1
    json.dumps([found, mean], allow_nan=False)
    assert significance.paired(better, added(of[1:]))["images"] == len(of) - 1
    with pytest.raises(ValueError, match="images that both"):
        significance.paired(added(of[:1]), added(of[1:]))


def test_a_resample_scores_each_image_as_often_as_it_counts() -> None:
    of = pictures(5)
    metric = added(of, score="rand")
    found = metric.resample(np.array([[1.0, 1, 1, 1, 1], [0, 2, 0, 0, 1], [0, 0, 0, 0, 0]]))
    assert set(found) == set(SegmentationMetric.SCORES)
    twice = [(replace(of[row][0], source=f"{n}"), of[row][1]) for n, row in enumerate((1, 1, 4))]
    for row, expected in enumerate((metric, added(twice, score="rand"))):
        for name, value in found.items():
            assert value[row] == pytest.approx(expected.scores()[name])
    assert all(np.isnan(value[2]) for value in found.values())
    assert np.isnan(added(of).resample(np.ones((1, 5)))["rand"]).all()


def test_separated_objects_are_compared_as_they_are() -> None:
    target = np.ones((20, 20), np.uint8)
    target[:, 10] = 0
    gap = target.copy()
    gap[5, 10] = 1
    parts = np.where(np.arange(20) < 10, 1, 2)[None].repeat(20, 0).astype(np.int32)
    result = SegmentationResult("a", (20, 20), CLASSES, gap, regions=parts)
    assert added([(result, Mask.of(target))]).evidence()["rand"]["value"] == 1


# --------------------------------------------------------------------------------------- the report


def evidence() -> dict[str, Any]:
    of = [
        picture(
            f"{n}",
            Mask.of(
                labels(n),
                noisy(labels(n), n, 0.4),
                names=("first", "<i>second"),
                kind="a" if n % 2 else "b",
            ),
            noisy(labels(n), 50 + n),
        )
        for n in range(8)
    ]
    return json.loads(json.dumps(added(of, threshold=0.4).evidence()))


def texts(section: Section) -> str:
    cells = [
        each.text + each.aside
        for part in section.parts
        if isinstance(part, Table)
        for line in part.rows
        for each in line
        if isinstance(each, Cell)
    ]
    return " ".join(cells)


def test_the_report_has_a_section_for_each_known_fact() -> None:
    test = evidence()
    made = {section.title: section for section in report.sections({"summary": {"test": test}})}
    assert list(made) == [
        EVIDENCE,
        "Class by class",
        "Kind by kind",
        "How far people agree",
        "Outlines",
    ]
    assert (
        f"{100 * test['dice']['value']:.1f}" in texts(made[EVIDENCE])
        and "0.40" in made[EVIDENCE].parts[0].note
    )  # type: ignore[union-attr]
    assert f"{test['distances']['classes']['vessel']['hausdorff95']['value']:.2f}" in texts(
        made["Outlines"]
    )
    for section in made.values():
        for part in section.parts:
            assert isinstance(part, Table) and all(
                len(line) == len(part.columns) for line in part.rows
            )
    plain = test | {"kinds": {}, "annotators": {}, "distances": None}
    assert [section.title for section in report.sections({"summary": {"test": plain}})] == [
        EVIDENCE,
        "Class by class",
    ]
    assert report.sections({"summary": None}) == []


def test_the_headline_has_score_interval_and_annotators() -> None:
    test = evidence()
    number, rest, follows = report.headline({"test": test})
    assert (
        number == f"{100 * test['dice']['value']:.1f}\u202f%" and rest == "Dice on 8 test pictures."
    )
    assert (
        f"{100 * test['annotators']['<i>second']['dice']['value']:.1f}" in follows
        and "95 % interval" in follows
    )


def test_the_console_has_two_lines() -> None:
    test = added(pictures(3), threshold=0.5).evidence()
    assert len(report.sentences({"test": test})) == 1
    test["threshold"]["note"] = "no threshold finds more"
    lines = report.sentences({"test": test})
    assert len(lines) == 2 and "3 pictures" in lines[0] and "no threshold" in lines[1]
    (_, people) = report.sentences({"test": evidence()})
    assert "<i>second agrees with the truth to a Dice of" in people


def test_a_report_is_written(tmp_path: Path) -> None:
    test = evidence()
    summary = {
        "task": "segmentation",
        "name": "run",
        "model": "unet",
        "best_epoch": 2,
        "test": test,
        "validation": test,
    }
    write_json(tmp_path / "summary.json", summary)
    rows = [
        "epoch,train_total,validation_dice,validation_iou,validation_score",
        "1,3,0.2,0.1,0.2",
        "2,2,0.6,0.4,0.6",
    ]
    (tmp_path / "metrics.csv").write_text("\n".join(rows))
    page = write(tmp_path).read_text(encoding="utf-8")
    assert "</b> Dice on 8 test pictures." in page and "How far people agree" in page
    for name in ("<b>disc</b>", "<i>second"):
        assert name not in page and name.replace("<", "&lt;").replace(">", "&gt;") in page


def test_all_foreground_as_one_forgives_a_wrong_class() -> None:
    """A tumor whose parts are confused is found as a whole."""
    target = np.array([[0, 1, 1, 2], [0, 0, 2, 255]], np.uint8)
    mixed = np.array([[0, 2, 1, 1], [0, 1, 2, 1]], np.uint8)
    metric = SegmentationMetric(("background", "core", "rim"))
    metric.add([SegmentationResult("a", (2, 4), metric.classes, mixed)], [Mask.of(target)])
    whole = metric.evidence()["dice_whole"]["value"]
    assert whole == pytest.approx(2 * 4 / (4 + 5))
    assert metric.evidence()["dice"]["value"] < whole
    two = SegmentationMetric(("background", "core"))
    two.add(
        [SegmentationResult("a", (2, 4), two.classes, np.minimum(mixed, 1))],
        [Mask.of(np.where(target == 255, 255, np.minimum(target, 1)).astype(np.uint8))],
    )
    assert "dice_whole" not in two.evidence()
