"""The measured report is one that a browser shows whole."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipeline.errors import InputError
from scripts import measure_report


def test_the_source_is_one_that_a_report_can_be_made_of(tmp_path: Path) -> None:
    source = measure_report.read_source(measure_report.make_source(tmp_path, 3), tmp_path / "photos")
    assert len(source.panoramas) == 3
    assert all(panorama.picture and panorama.position and "labels" in panorama.maps for panorama in source.panoramas)


def test_without_a_browser_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure_report, "_BROWSERS", ("no-such-browser",))
    with pytest.raises(InputError, match="no chromium on the path"):
        measure_report.measure(1, 1, tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium on the path: nothing is loaded")
def test_the_page_is_usable_before_it_is_loaded(tmp_path: Path) -> None:
    maps = measure_report.make_source(tmp_path, 3)
    source = measure_report.read_source(maps, tmp_path / "photos")
    page = measure_report.write_report(measure_report.ReportJob(source, maps, tmp_path / "out", width=256)).page
    found = measure_report.load(page, str(shutil.which("chromium")), tmp_path / "browser")
    assert 0 < found.usable <= found.loaded < found.browser
    assert not page.with_name("measured.html").exists()
    page.write_text(page.read_text(encoding="utf-8").replace('id="gallery"', 'id="other"'), encoding="utf-8")
    with pytest.raises(InputError, match="did not show"):
        measure_report.load(page, str(shutil.which("chromium")), tmp_path / "browser")
