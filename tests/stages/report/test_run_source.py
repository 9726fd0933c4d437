"""A run as the source of a report: its maps, names and folders, and what it says it lacks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import goodsam
from pipeline.errors import RecipeError
from stages.events import silent
from stages.reading import RunReader
from stages.report.canvas import Canvas
from stages.report.run_source import RunReportOptions, run_report
from stages.splits import all_panoramas
from stages.teacher_cache import teacher_cache
from tests.stages.report.test_compared import reported, with_layer, with_student
from tests.stages.small_run import WIDTH, make_folders, small_run


def test_a_report_goes_without_a_student_and_without_truth_and_says_so(own_finished: Path) -> None:
    run = small_run(own_finished, data={"labels": ""})
    found, _ = reported(run)
    assert with_layer(found, "student") == with_layer(found, "truth") == []
    assert found.source.notes == ("The run has no finished student: `goodsam distill` trains one.",
                                  "No panorama has a truth to compare with: data.labels names a folder of label maps."
                                  )  # fmt: skip
    found, _ = reported(with_student(own_finished), with_student=False)
    assert with_layer(found, "student") == [] and found.source.notes == ()


def test_positions_of_a_run_come_onto_the_map(own_finished: Path) -> None:
    table = own_finished / "places.csv"
    table.write_text("path,latitude,longitude\n0.png,48.1,11.5\n9.png,48.2,11.6\n")
    page = goodsam.report(small_run(own_finished), own_finished / "out", positions=table, single=False).page
    assert page.read_text(encoding="utf-8").count('class="point"') == 2


def test_names_title_and_folders_are_the_runs(own_finished: Path) -> None:
    found, _ = reported(small_run(own_finished))
    assert found.source.title == "small" and found.evaluation == ""
    assert [own.id for own in found.source.panoramas] == ["evaluation/9", "panoramas/0", "panoramas/1", "panoramas/2"]
    assert found.pictures == (own_finished / "photos", own_finished / "held_out")
    assert found.folder == small_run(own_finished).folder / "report-layers"
    assert found.source.made_by == "the ensemble of SAM (demo), the demo's assistant"
    assert found.source.maps_are_level and found.source.layer_names["labels"] == "ensemble"
    assert run_report(small_run(own_finished), RunReportOptions("Mine")).source.title == "Mine"


@pytest.mark.parametrize("level", ["tags", "off"])
def test_the_picture_is_what_the_runs_maps_are_of(tmp_path: Path, level: str) -> None:
    picture, info = make_folders(tmp_path).parent / "photos" / "0.png", PngInfo()
    info.add_itxt("XML:com.adobe.xmp", 'GPano:PoseRollDegrees="30"')
    Image.open(picture).save(picture, pnginfo=info)
    run = small_run(tmp_path, panorama={"width": WIDTH, "level": level}, data={"limit": 1, "evaluation": ""})
    teacher_cache(run, silent)
    reader = RunReader.open(run, all_panoramas(run.recipe))
    (shown,) = run_report(run, RunReportOptions()).source.panoramas
    np.testing.assert_array_equal(Canvas.of(shown, WIDTH).image_HW3, reader.image("panoramas/0"))


def test_labels_of_a_network_are_called_so(own_finished: Path) -> None:
    found, _ = reported(small_run(own_finished, data={"labels_by": "network"}))
    assert found.source.layer_names["truth"] == "labels of a network"
    people, _ = reported(small_run(own_finished))
    assert "truth" not in people.source.layer_names


def test_a_student_that_is_not_asked_for_is_not_shown_and_not_missed(own_finished: Path) -> None:
    found, _ = reported(with_student(own_finished), with_student=False)
    assert with_layer(found, "student") == [] and found.source.notes == ()


def test_the_command_that_trains_is_named_as_the_one_that_caches_was(own_finished: Path) -> None:
    options = RunReportOptions(command="goodsam teacher-cache my.toml --cache runs")
    found = run_report(small_run(own_finished), options)
    assert found.source.notes[0] == (
        "The run has no finished student: `goodsam distill my.toml --cache runs` trains one."
    )


def test_a_device_that_is_not_there_is_refused(own_finished: Path) -> None:
    with pytest.raises(RecipeError):
        run_report(with_student(own_finished), RunReportOptions(device="cuda:99"))
