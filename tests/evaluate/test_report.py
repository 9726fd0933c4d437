"""Reports: strict JSON that reads back, tables that hold every number."""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pipeline.classes import DENSEPASS_13
from pipeline.evaluate import report
from pipeline.evaluate.class_changes import ClassChange, changes_record
from pipeline.evaluate.consensus import ConsensusSummary
from pipeline.evaluate.ladder import CategoryFigures, Rung
from pipeline.evaluate.yaw import YawChange, yaw_record

IOU = (0.5, *(float("nan") for _ in range(11)), 0.25)
RUNGS = [
    Rung("assistant_whole", 0.375, 0.4, IOU, 1.0, 0.7),
    Rung("ensemble_reliable", 0.475, 0.41, IOU, 0.62, 0.8),
    Rung("student", float("nan"), float("nan"), (float("nan"),) * 13, 0.0, float("nan")),
]
SUMMARY = ConsensusSummary(
    images=3,
    coverage={"ensemble": 1.0, "student": 0.9},
    class_shares={"ensemble": (1.0, *(0.0,) * 12), "student": (0.8, *(0.0,) * 11, 0.2)},
    pairwise={("ensemble", "student"): 0.83},
    window_agreement=float("nan"),
    seam={"ensemble": 0.125, "student": float("nan")},
    neighbours={"ensemble": 0.03, "student": 0.04},
)


def metrics(rungs: Sequence[Rung] = RUNGS) -> dict[str, Any]:
    return {
        "ladder": [report.rung_record(rung, DENSEPASS_13) for rung in rungs],
        "agreement": report.consensus_record(SUMMARY, DENSEPASS_13),
    }


def refuse(text: str) -> float:
    raise AssertionError(f"{text} is no strict JSON")


def test_json_is_strict_and_what_is_not_a_number_is_null() -> None:
    record = json.loads(report.to_json(metrics()), parse_constant=refuse)
    assert record["ladder"][0]["per_class_iou"]["road"] == 0.5
    assert record["ladder"][0]["per_class_iou"]["sidewalk"] is None
    assert record["ladder"][2]["miou"] is None
    assert record["agreement"]["window_agreement"] is None


def test_numpy_values_become_plain_ones() -> None:
    record = {"a": np.float32(0.5), "b": np.arange(3), "c": np.bool_(True), "d": [np.nan, np.inf]}
    assert json.loads(report.to_json(record)) == {"a": 0.5, "b": [0, 1, 2], "c": True, "d": [None, None]}


def test_results_read_back_print_like_fresh_ones() -> None:
    assert report.text_of(json.loads(report.to_json(metrics()))) == report.text_of(metrics())


def test_categories_have_a_table_with_their_means_that_reads_back() -> None:
    figures = CategoryFigures(0.4, 0.45, {"flat": 0.6, "sky": float("nan")}, 0.7)
    found = metrics([replace(RUNGS[0], categories=figures), replace(RUNGS[2], categories=figures)])
    record = json.loads(report.to_json(found), parse_constant=refuse)
    assert record["ladder"][0]["categories"] == {
        "miou": 0.4, "miou_solid_angle": 0.45, "per_category_iou": {"flat": 0.6, "sky": None}, "pixel_accuracy": 0.7,
    }  # fmt: skip
    text = report.markdown_of(found, DENSEPASS_13)
    rows = ("| categories, IoU, % | assistant whole | student |", "| flat | 60.0 | 60.0 |", "| sky | – | – |",
            "| mIoU | 40.0 | 40.0 |", "| mIoU by solid angle | 45.0 | 45.0 |", "| pixels | 70.0 | 70.0 |")  # fmt: skip
    assert all(row in text for row in rows)
    assert report.text_of(record) == report.text_of(found) and "flat" in report.text_of(found)
    assert "categories" not in metrics()["ladder"][0] and "categories" not in report.text_of(metrics())


def test_the_ladder_shows_each_step_in_points() -> None:
    table = report.text_of(metrics()).split("\n\n")[0].splitlines()
    assert all(name in table[0] for name in ("rung", "mIoU, %", "by solid angle, %", "coverage, %", "step"))
    assert table[3].split() == ["ensemble", "reliable", "47.5", report.ABSENT, "41.0", "80.0", "62.0", "+10.0"]
    assert table[4].split() == ["student", *[report.ABSENT] * 4, "0.0"]
    assert len({len(line) for line in table}) == 1


def test_what_the_students_cost_stands_below_the_ladder() -> None:
    start = {"parameters": 3_714_141, "milliseconds_per_panorama": 41.27, "device": "cpu, 2 threads"}
    measured = {**metrics(), "student": {**start, "milliseconds_per_panorama": 40.0}, "student_start": start}
    table = report.markdown_of(measured, DENSEPASS_13).split("\n\n")[2]
    assert table.splitlines() == [
        "| rung | parameters | milliseconds per panorama | device |",
        "| --- | ---: | ---: | ---: |",
        "| student start | 3,714,141 | 41.3 | cpu, 2 threads |",
        "| student | 3,714,141 | 40.0 | cpu, 2 threads |",
    ]
    _, costs, agreement, *_ = report.text_of(measured).split("\n\n")
    assert costs.splitlines()[2].split() == ["student", "start", "3,714,141", "41.3", "cpu,", "2", "threads"]
    assert agreement.startswith("agreement")


def test_without_students_there_is_no_table_of_their_cost() -> None:
    assert "parameters" not in report.markdown_of(metrics(), DENSEPASS_13)
    assert "parameters" not in report.text_of(metrics())


def test_markdown_tables_are_rectangular_and_name_every_class() -> None:
    *tables, evaluator, remark = report.markdown_of(metrics(), DENSEPASS_13).split("\n\n")
    assert evaluator.startswith(report.EVALUATOR) and "13 classes are left out for a rung at least" in evaluator
    assert len(tables) == 5
    assert remark.strip() == report.PARTIAL_COVERAGE
    for table in tables:
        assert len({line.count("|") for line in table.splitlines()}) == 1
    for name in DENSEPASS_13.names:
        assert f"| {name} |" in tables[1]
        assert f"| {name} |" in tables[4]


def test_percent_shows_a_dash_for_what_was_not_measured() -> None:
    assert report.percent(0.4213) == "42.1"
    assert report.percent(math.nan) == report.ABSENT


def test_no_step_is_taken_from_a_rung_that_left_its_doubtful_pixels_out() -> None:
    rungs = [
        Rung("assistant_blend", 0.30, 0.30, IOU, 1.0, 0.7),
        Rung("confidence_threshold", 0.50, 0.50, IOU, 0.6, 0.8),
        Rung("ensemble", 0.35, 0.35, IOU, 1.0, 0.7),
    ]
    ladder = report.text_of(metrics(rungs)).split("\n\n")[0]
    assert ladder.splitlines()[-1].split()[-1] == "+5.0"


def test_the_interval_of_a_rung_stands_beside_its_miou_and_survives_json() -> None:
    rungs = [Rung("student", 0.5, 0.5, IOU, 1.0, 0.7, (0.45, 0.561))]
    table = report.text_of(json.loads(report.to_json(metrics(rungs)))).split("\n\n")[0]
    assert table.splitlines()[-1].split()[:5] == ["student", "50.0", "45.0", "to", "56.1"]
    old = metrics(rungs)
    del old["ladder"][0]["miou_interval"]  # results of before it was measured
    assert report.ABSENT in report.text_of(old).split("\n\n")[0]


def test_how_to_read_partly_covering_rungs_is_said_only_where_there_are_any() -> None:
    assert report.PARTIAL_COVERAGE in report.text_of(metrics())
    whole = [Rung("student", 0.5, 0.5, IOU, 1.0, 0.7)]
    assert report.PARTIAL_COVERAGE not in report.text_of(metrics(whole))


def test_a_ladder_of_a_networks_labels_says_that_it_is_no_truth() -> None:
    assert report.MACHINE_LABELS not in report.text_of(metrics())
    by_network = {**metrics(), "labels_by": "network"}
    assert report.text_of(by_network).startswith(report.MACHINE_LABELS)
    assert report.markdown_of(by_network, DENSEPASS_13).startswith(report.MACHINE_LABELS)


def test_the_seam_stands_beside_the_columns_inside() -> None:
    for table in (report.text_of(metrics()), report.markdown_of(metrics(), DENSEPASS_13)):
        lines = [line.replace("|", " ").split() for line in table.splitlines()]
        start = next(i for i, words in enumerate(lines) if words[:4] == ["rows", "whose", "label", "changes,"])
        assert lines[start + 2 : start + 4] == [["ensemble", "12.5", "3.0"], ["student", report.ABSENT, "4.0"]]


def test_classes_that_lose_are_named_the_largest_loss_first_and_every_change_has_its_interval() -> None:
    changes = [ClassChange("road", 0.8, 0.9, (0.05, 0.12)), ClassChange("wall", 0.5, 0.48, (-0.05, 0.01)),
               ClassChange("sky", 0.9, 0.895, (-0.01, -0.001)), ClassChange("pole", 0.4, 0.3, (-0.12, -0.08)),
               ClassChange("car", math.nan, math.nan, (math.nan, math.nan))]  # fmt: skip
    found = {**metrics(), "class_changes": changes_record("assistant_blend", "ensemble", changes)}
    text = report.markdown_of(json.loads(report.to_json(found)), DENSEPASS_13)
    assert "| IoU, % | assistant blend | ensemble | change | 95 % interval |" in text
    assert "| road | 80.0 | 90.0 | +10.0 | +5.0 to +12.0 |" in text
    assert "| car | – | – |  | – |" in text
    sentence = ("Classes that lose more than one point of IoU from assistant blend to ensemble: "
                "pole -10.0 (the whole interval), wall -2.0.")  # fmt: skip
    assert sentence in text and sentence in report.text_of(found)
    none = {**metrics(), "class_changes": changes_record("assistant_blend", "ensemble", changes[:1])}
    assert "No class loses more than one point of IoU from assistant blend to ensemble." in report.text_of(none)
    assert "loses" not in report.text_of(metrics())


def test_controls_take_no_part_in_the_steps_and_are_explained() -> None:
    rungs = [Rung("ensemble", 0.5, 0.5, IOU, 1.0, 0.7), Rung("sam_only", 0.6, 0.6, IOU, 0.4, 0.7),
             Rung("oracle", 0.8, 0.8, IOU, 1.0, 0.7), Rung("student", 0.55, 0.5, IOU, 1.0, 0.7)]  # fmt: skip
    found = {**metrics(rungs), "skipped_controls": {"superpixels": "scikit-image is not installed"}}
    lines = report.text_of(found).splitlines()
    of = {words[0]: words for words in map(str.split, lines[2:6])}
    assert of["student"][-1] == "+5.0"
    assert of["oracle"][-1] == "100.0"
    text = report.markdown_of(found, DENSEPASS_13)
    assert "oracle: every mask with the class that most of its pixels truly have" in text
    assert "sam only: SAM's masks" in text and "in place of SAM's masks" not in text
    assert "The control superpixels was skipped: scikit-image is not installed." in text
    assert "control" not in report.text_of(metrics()).casefold()


def test_what_turning_the_camera_changes_has_a_table_with_two_columns_per_turn() -> None:
    changes = {22.5: {"ensemble": YawChange(2, 0.064, 0.01)}, 119.9: {"ensemble": YawChange(2, 0.05, math.nan)}}
    found = json.loads(report.to_json({**metrics(), "yaw": yaw_record(changes)}))
    text = report.markdown_of(found, DENSEPASS_13)
    assert "| panoramas | label, 22.5° | coverage, 22.5° | label, 119.9° | coverage, 119.9° |" in text
    assert "| ensemble | 2 | 6.4 | 1.0 | 5.0 | – |" in text
    assert "22.5°" in report.text_of(found)
    assert "°" not in report.text_of(metrics()) and "°" not in report.text_of({**metrics(), "yaw": []})


def test_results_of_before_the_seam_was_measured_still_print() -> None:
    old = metrics()
    del old["agreement"]["seam"], old["agreement"]["neighbours"]
    assert "at the seam" not in report.text_of(old)
    assert "agreement, %" in report.text_of(old)
