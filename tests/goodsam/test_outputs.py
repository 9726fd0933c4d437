"""`goodsam.export` and `goodsam.report`: defaults, options that do not fit, and where files go."""

from __future__ import annotations

from pathlib import Path

import pytest

import goodsam
from goodsam.outputs import USUAL_MAPS, WIDTH, WIDTH_OF_SINGLE
from pipeline.errors import InputError
from stages.events import silent
from stages.export import ExportJob
from stages.report.write import ReportJob
from tests.stages.report_folder import make_maps, make_pictures
from tests.stages.small_run import make_folders


@pytest.fixture
def exports(monkeypatch: pytest.MonkeyPatch) -> list[ExportJob]:
    """Exports that are begun; none is done."""
    begun: list[ExportJob] = []
    monkeypatch.setattr("stages.export.export", lambda job, _: begun.append(job))
    return begun


@pytest.fixture
def reports(monkeypatch: pytest.MonkeyPatch) -> list[ReportJob]:
    """Reports that are begun; none is written."""
    begun: list[ReportJob] = []
    monkeypatch.setattr("stages.report.write.write_report", lambda job, _: begun.append(job))
    return begun


def test_the_usual_maps_are_exported_where_nothing_is_said_and_none_beside_another_format(
    tmp_path: Path, exports: list[ExportJob]
) -> None:
    run = goodsam.open_run(make_folders(tmp_path))
    goodsam.export(run, tmp_path / "a", silent)
    goodsam.export(run, str(tmp_path / "b"), silent, what=["labels"], size="working", split="all", workers=2)
    goodsam.export(run, tmp_path / "c", silent, format="coco")
    usual, chosen, coco = exports
    assert (usual.outputs, usual.size, usual.split) == (frozenset(USUAL_MAPS), "original", "panoramas")
    assert (chosen.outputs, chosen.size, chosen.split, chosen.workers) == ({"labels"}, "working", "all", 2)
    assert (coco.outputs, coco.format, chosen.out) == (frozenset(), "coco", tmp_path / "b")
    with pytest.raises(InputError, match="the format 'shapefile'"):
        goodsam.export(run, tmp_path / "d", silent, format="shapefile")
    assert len(exports) == 3


def test_a_report_of_maps_goes_beside_them_and_a_single_file_is_narrower(
    tmp_path: Path, reports: list[ReportJob]
) -> None:
    maps, photos = make_maps(tmp_path / "maps"), make_pictures(tmp_path / "photos")
    goodsam.report(maps, listener=silent)
    goodsam.report(str(maps), listener=silent, single=True)
    goodsam.report(maps, tmp_path / "own", silent, panoramas=photos, title="Mine", width=512, viewer=False)
    folder, single, own = reports
    assert (folder.out, folder.width, folder.is_single) == (maps / "report", WIDTH, False)
    assert (single.out, single.width, single.is_single) == (maps / "report.html", WIDTH_OF_SINGLE, True)
    assert (own.out, own.width, own.with_viewer, own.source.title) == (tmp_path / "own", 512, False, "Mine")
    assert own.pictures == (photos,) and folder.pictures == ()
    with pytest.raises(InputError, match="nowhere"):
        goodsam.report(maps, listener=silent, panoramas="nowhere")


def test_a_place_that_holds_something_else_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(InputError, match=r"thesis\.txt"):
        goodsam.report(tmp_path / "no maps here", tmp_path / "mine", silent)


def test_options_that_do_not_fit_the_source_are_refused(tmp_path: Path) -> None:
    run = goodsam.open_run(make_folders(tmp_path))
    with pytest.raises(InputError, match="a run's recipe names its pictures"):
        goodsam.report(run, panoramas=tmp_path / "photos")
    with pytest.raises(InputError, match="a run's recipe names its labels"):
        goodsam.report(run, truth=tmp_path / "labels")
    with pytest.raises(InputError, match="have positions already"):
        goodsam.report(tmp_path, positions=tmp_path / "places.csv")
