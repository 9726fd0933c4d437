"""Reports as files: closed, complete, made again only where something changed, and never over something else."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from pipeline.errors import InputError
from stages.events import Event, ItemFailed
from stages.report.source import read_source
from stages.report.write import ReportJob, write_report
from tests.stages.report_folder import NAMES, make_maps, make_pictures
from tests.stages.report_pages import Page, report


@pytest.mark.parametrize("is_single", [False, True])
def test_nothing_is_loaded_from_elsewhere_and_every_file_is_there(is_single: bool, tmp_path: Path) -> None:
    out = tmp_path / "out.html" if is_single else tmp_path / "out"
    page = report(make_maps(tmp_path / "maps", exported=True), out, make_pictures(tmp_path / "photos"),
                  is_single=is_single)  # fmt: skip
    files = [out] if is_single else [path for path in out.rglob("*") if path.suffix in (".html", ".js", ".csv")]
    for file in files:
        assert not re.search(r"https?://|//cdn|@import|url\(", file.read_text(encoding="utf-8")), file
    scripts = [own["script"] for own in json.loads(page.scripts["data"])["panoramas"]]
    assert len(scripts) == 3
    for link in [*page.links, *([] if is_single else scripts)]:
        if not link.startswith(("#", "data:")):
            assert not is_single and (out / link).is_file(), link
    if is_single:
        assert list(tmp_path.glob("out*")) == [out]
        assert all(json.loads(page.scripts[script])["layers"] for script in scripts)


def test_a_rerun_makes_only_what_is_missing_or_changed(tmp_path: Path) -> None:
    maps, pictures, out = make_maps(tmp_path / "maps"), make_pictures(tmp_path / "photos"), tmp_path / "out"

    def again() -> tuple[int, int]:
        summary = write_report(ReportJob(read_source(maps, pictures), maps, out, width=256))
        return summary.made, summary.kept

    assert again() == (3, 0)
    assert again() == (0, 3)
    (out / "index.html").unlink()
    (out / "viewer" / "0002.js").unlink()  # as if it had been interrupted there
    assert again() == (1, 2)
    make_maps(tmp_path / "maps", NAMES[:2])
    again()
    assert sorted(path.name for path in (out / "viewer").iterdir()) == ["0001.js", "0002.js"]


def test_a_broken_picture_leaves_its_figures_and_is_told(tmp_path: Path) -> None:
    maps, pictures = make_maps(tmp_path / "maps"), make_pictures(tmp_path / "photos")
    (pictures / "plain.png").write_bytes(b"no picture")
    events: list[Event] = []
    summary = write_report(ReportJob(read_source(maps, pictures), maps, tmp_path / "out", width=256), events.append)
    assert list(summary.failed) == ["plain"] and summary.made == 2
    assert sum(isinstance(event, ItemFailed) for event in events) == 1
    page = Page((tmp_path / "out" / "index.html").read_text(encoding="utf-8"))
    assert "plain" in page.text and not json.loads(page.scripts["data"])["panoramas"][0]["script"]


def test_a_place_that_holds_something_else_is_refused_and_untouched(tmp_path: Path) -> None:
    maps = make_maps(tmp_path / "maps")
    source = read_source(maps)
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.html").write_text("mine")
    with pytest.raises(InputError, match=r"holds other files \(thesis\.html\)"):
        ReportJob(source, maps, other)
    with pytest.raises(InputError, match="is not a report"):
        ReportJob(source, maps, other / "thesis.html", is_single=True)
    with pytest.raises(InputError, match=r"is the name of a folder.*Name it other\.html"):
        ReportJob(source, maps, other, is_single=True)
    (tmp_path / "page.html").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        ReportJob(source, maps, tmp_path / "page.html", is_single=True)
    with pytest.raises(InputError, match=r"is the name of a file.*Add --single"):
        ReportJob(source, maps, other / "thesis.html")
    (other / "thesis").write_text("mine")
    with pytest.raises(InputError, match="is a file"):
        ReportJob(source, maps, other / "thesis")
    (other / "thesis").unlink()
    with pytest.raises(InputError, match="lies inside"):
        ReportJob(source, maps, tmp_path / "photos" / "report", pictures=(tmp_path / "photos",))
    with pytest.raises(InputError, match="256 to 4096"):
        ReportJob(source, maps, tmp_path / "out", width=8192)
    assert [path.name for path in other.iterdir()] == ["thesis.html"]
    for _ in range(2):  # its own file is replaced
        write_report(ReportJob(source, maps, tmp_path / "one.html", is_single=True, width=256))


def test_hundreds_of_panoramas_make_a_small_page(tmp_path: Path) -> None:
    maps = make_maps(tmp_path / "maps", [f"{number:03}" for number in range(12)], positions={0: (1, 2)})
    report(maps, tmp_path / "out", with_viewer=False)
    page = (tmp_path / "out" / "index.html").stat().st_size
    few = tmp_path / "few"
    report(make_maps(tmp_path / "half", [f"{number:03}" for number in range(6)]), few, with_viewer=False)
    each = (page - (few / "index.html").stat().st_size) / 6
    assert each < 4000, "500 cards stay below 2 MB"
    assert (tmp_path / "out" / "thumbnails" / "0001.jpg").stat().st_size < 30_000
