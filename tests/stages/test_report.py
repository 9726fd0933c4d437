"""The report: a whole and closed page, whatever files are called, and a sentence for what is missing or wrong."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from pipeline.classes import DENSEPASS_13, IGNORE
from pipeline.errors import InputError
from pipeline.panorama.placement import Placement
from pipeline.panorama.tags import gpano_xmp
from stages import cli
from stages.events import Event, ItemFailed
from stages.report.charts import map_of
from stages.report.evaluation import evaluation_html
from stages.report.layers import PanoramaLayers
from stages.report.layers import panorama_layers as layers_of_classes
from stages.report.source import SourcePanorama, read_source
from stages.report.write import ReportJob, write_report
from tests.stages.report_folder import HEIGHT, NAMES, ROAD, SKY, TEAL, WIDTH, labels_of, make_maps, make_pictures, save
from tests.stages.small_run import SEEDS, read_product, small_run

VOID = {"meta", "img", "input", "link", "br", "hr"}


class Page(HTMLParser):
    """Elements of a page; an element that is closed wrongly or not at all is an error."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.scripts: dict[str, str] = {}
        self.text = ""
        self._script = ""
        self.feed(text)
        self.close()
        assert self.open == [], f"not closed: {self.open}"
        assert len(self.ids) == len(set(self.ids)), "an id is there twice"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.links += [found[key] or "" for key in ("src", "href") if key in found]
        self.ids += [found["id"] or ""] if "id" in found else []
        self._script = (found.get("id") or "code") if tag == "script" else ""
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        self._script = ""

    def handle_data(self, data: str) -> None:
        if self._script:
            self.scripts[self._script] = self.scripts.get(self._script, "") + data
        else:
            self.text += data


def report(maps: Path, out: Path, pictures: Path | None = None, **options: Any) -> Page:
    write_report(ReportJob(read_source(maps, pictures), maps, out, width=256, **options))
    page = out if options.get("is_single") else out / "index.html"
    return Page(page.read_text(encoding="utf-8"))


def layers_of(script: Path) -> dict[str, Image.Image]:
    """Pictures that a panorama's script hands to the viewer."""
    record = json.loads(re.fullmatch(r"// .*\ngoodsamPanorama\(\d+, (.*)\);\n", script.read_text())[1])  # type: ignore[index]
    return {layer["key"]: picture_of(layer["url"]) for layer in record["layers"]}


def panorama_layers(panorama: SourcePanorama, width: int = 256) -> PanoramaLayers:
    """With the viewer, from maps of the picture's own pixels."""
    return layers_of_classes(panorama, width, maps_are_level=False, with_viewer=True, classes=len(DENSEPASS_13))


def picture_of(url: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(url.partition("base64,")[2])))


def test_the_page_is_whole_and_names_are_shown_as_they_are(tmp_path: Path) -> None:
    page = report(make_maps(tmp_path / "maps"), tmp_path / "out", make_pictures(tmp_path / "photos"))
    for name in NAMES:
        assert name in page.text
    assert "sidewalk" in page.text and "What was measured" not in page.text
    data = json.loads(page.scripts["data"])
    assert [own["name"] for own in data["panoramas"]] == list(NAMES)
    assert data["classes"] == list(DENSEPASS_13.names) and data["panoramas"][0]["shares"][ROAD] == 1


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


def test_a_name_cannot_end_a_script_or_an_attribute(tmp_path: Path) -> None:
    evil = "</script><script>alert(1)< \" onload='x"
    page = report(make_maps(tmp_path / "maps", [evil.replace("/", "")], labels=False), tmp_path / "out")
    assert evil.replace("/", "") in page.text and "alert(1)" not in page.scripts["code"]


def test_the_viewer_gets_the_picture_and_the_maps_as_they_are(tmp_path: Path) -> None:
    maps = make_maps(tmp_path / "maps", exported=True)
    report(maps, tmp_path / "out", make_pictures(tmp_path / "photos"))
    layers = layers_of(tmp_path / "out" / "viewer" / "0003.js")
    assert list(layers) == ["picture", "masks", "labels", "reliability", "confidence"]
    assert np.abs(np.asarray(layers["picture"]) - np.array(TEAL)).max() <= 2
    np.testing.assert_array_equal(np.asarray(layers["labels"]), labels_of(2))
    assert set(np.unique(np.asarray(layers["confidence"]))) == {204}
    assert (np.asarray(layers_of(tmp_path / "out" / "viewer" / "0001.js")["masks"]) == IGNORE).all(), "0 is no mask"
    thumbnail = Image.open(tmp_path / "out" / "thumbnails" / "0001.jpg")
    assert thumbnail.size == (256, 128)


def test_a_part_of_the_sphere_lies_in_its_place(tmp_path: Path) -> None:
    maps, pictures = make_maps(tmp_path / "maps", ["part"]), tmp_path / "photos"
    place = Placement(2 * HEIGHT, 2 * WIDTH, HEIGHT // 2, WIDTH // 2, HEIGHT, WIDTH)
    make_pictures(pictures, ["part"])
    picture = pictures / "part.jpg"
    Image.new("RGB", (WIDTH, HEIGHT), TEAL).save(picture, xmp=gpano_xmp(place, 180))
    panorama = read_source(maps, pictures).panoramas[0]
    found = panorama_layers(replace(panorama, picture=picture))
    labels = np.asarray(picture_of(found.layers["labels"]))
    assert labels.shape == (128, 256) and (labels[32:96, 64:192] == ROAD).all()
    assert (labels == IGNORE).mean() == 0.75
    assert np.asarray(picture_of(found.layers["picture"]))[0].max() < 10


def test_a_band_without_tags_covers_what_its_shape_says(tmp_path: Path) -> None:
    maps = make_maps(tmp_path / "maps", ["band"])
    save(maps / "labels" / "band.png", np.full((64, 256), SKY, np.uint8))
    save(tmp_path / "photos" / "band.png", np.full((64, 256, 3), TEAL, np.uint8))
    for pictures in (tmp_path / "photos", None):
        panorama = read_source(maps, pictures).panoramas[0]
        found = panorama_layers(panorama)
        assert found.vertical_fov == 90
        assert picture_of(found.layers["labels"]).size == (256, 64)


def test_the_field_of_view_that_the_networks_took_goes_before_the_shape(tmp_path: Path) -> None:
    maps = make_maps(tmp_path / "maps", ["band"], vertical_fov=89)
    save(maps / "labels" / "band.png", np.full((64, 256), SKY, np.uint8))
    save(tmp_path / "photos" / "band.png", np.full((64, 256, 3), TEAL, np.uint8))
    for pictures in (tmp_path / "photos", None):
        found = panorama_layers(read_source(maps, pictures).panoramas[0])
        assert found.vertical_fov == 89
        assert picture_of(found.layers["labels"]).size == (256, 64)


def test_a_table_with_text_in_the_place_of_a_number_is_refused(tmp_path: Path) -> None:
    table = make_maps(tmp_path / "maps", ["street"]) / "panoramas.csv"
    table.write_text(table.read_text().replace("0.25", "a quarter"))
    with pytest.raises(InputError, match=r"do not fit together \(could not convert string to float: 'a quarter'\)"):
        read_source(tmp_path / "maps")


def test_what_is_missing_is_told_in_a_sentence_each(tmp_path: Path) -> None:
    page = report(make_maps(tmp_path / "maps", labels=False), tmp_path / "out")
    for told in ("No panorama has a picture at hand: the maps are shown alone; --panoramas names",
                 "No panorama has a label map: goodsam predict", "No panorama has a map of what is reliable",
                 "No panorama has a position: --positions"):  # fmt: skip
        assert told in page.text
    assert "`" not in page.text, "commands are code"
    assert all(not own["script"] for own in json.loads(page.scripts["data"])["panoramas"]), "there is nothing to view"
    whole = make_maps(tmp_path / "whole", exported=True, positions={0: (48.1, 11.5), 1: (48.1, 11.6)})
    page = report(whole, tmp_path / "other", make_pictures(tmp_path / "photos"))
    assert "1 of 3 panoramas has no position" in page.text
    assert "No panorama has" not in page.text


def test_points_lie_north_up_true_to_scale_and_together_at_the_date_line() -> None:
    svg = map_of([(0, 0.0, 179.999), (1, 0.001, -179.999)], ["west", "east <b>"])
    (x0, y0), (x1, y1) = ((float(x), float(y)) for x, y in re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', svg))
    assert x1 > x0 and y1 < y0
    assert (x1 - x0) / (y0 - y1) == pytest.approx(2, rel=0.01)
    assert "east &lt;b&gt;" in svg and re.search(r"\d+ m</text>", svg)


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


def test_what_is_no_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a folder"):
        read_source(tmp_path / "nothing")
    with pytest.raises(InputError, match=r"panoramas\.csv cannot be read"):
        read_source(tmp_path)
    maps = make_maps(tmp_path / "maps", [])
    with pytest.raises(InputError, match="lists no panoramas"):
        read_source(maps)
    make_maps(tmp_path / "maps")
    with pytest.raises(InputError, match=r"holds none of the 3 panoramas \(the first is plain\.png\)"):
        read_source(maps, tmp_path)
    (maps / "class_shares.csv").write_text("panorama,road\nplain,1\n")
    with pytest.raises(InputError, match=r"do not fit together \(3 and 1 rows\)"):
        read_source(maps)
    (maps / "labels.qml").unlink()
    with pytest.raises(InputError, match=r"labels\.qml cannot be read \(No such file or directory\)"):
        read_source(maps)


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
    with pytest.raises(InputError, match="is a folder"):
        ReportJob(source, maps, other, is_single=True)
    with pytest.raises(InputError, match="is a file"):
        ReportJob(source, maps, other / "thesis.html")
    with pytest.raises(InputError, match="lies inside"):
        ReportJob(source, maps, tmp_path / "photos" / "report", pictures=(tmp_path / "photos",))
    with pytest.raises(InputError, match="256 to 4096"):
        ReportJob(source, maps, tmp_path / "out", width=8192)
    assert [path.name for path in other.iterdir()] == ["thesis.html"]
    for _ in range(2):  # its own file is replaced
        write_report(ReportJob(source, maps, tmp_path / "one.html", is_single=True, width=256))


def test_an_evaluation_is_told_with_and_without_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert evaluation_html(tmp_path) == ""
    drawn, without = "data:image/svg+xml;base64,", "pip install -e &#x27;.[charts]&#x27;"
    rung = {"name": "student_start", "miou": 0.5, "miou_solid_angle": 0.4, "coverage": 1.0, "pixel_accuracy": 0.9,
            "per_class_iou": {"road": None}, "miou_interval": [0.4, 0.6]}  # fmt: skip
    agreement = {"images": 1, "window_agreement": 0.75, "coverage": {"ensemble": 1.0}, "class_shares": {},
                 "pairwise": [{"rungs": ["ensemble", "student"], "agreement": 0.875}], "seam": {"ensemble": 0.05},
                 "neighbours": {"ensemble": 0.03}}  # fmt: skip
    (tmp_path / "metrics.json").write_text(json.dumps({"ladder": [rung], "agreement": agreement}))
    page = Page(evaluation_html(tmp_path))
    for told in ("student start", "50.0", "40.0 to 60.0", "same label in 75.0 %", "ensemble and student", "87.5"):
        assert told in page.text
    assert drawn in (html := evaluation_html(tmp_path)) and without not in html
    monkeypatch.setattr("stages.report.evaluation.can_draw", lambda: False)
    assert without in (html := evaluation_html(tmp_path)) and drawn not in html
    (tmp_path / "metrics.json").write_text(json.dumps({"ladder": [], "agreement": agreement}))
    assert "There are no labels" in evaluation_html(tmp_path) and "`" not in evaluation_html(tmp_path)
    (tmp_path / "metrics.json").write_text("{}")
    with pytest.raises(InputError, match=r"metrics\.json is damaged"):
        evaluation_html(tmp_path)


def test_hundreds_of_panoramas_make_a_small_page(tmp_path: Path) -> None:
    maps = make_maps(tmp_path / "maps", [f"{number:03}" for number in range(12)], positions={0: (1, 2)})
    report(maps, tmp_path / "out", with_viewer=False)
    page = (tmp_path / "out" / "index.html").stat().st_size
    few = tmp_path / "few"
    report(make_maps(tmp_path / "one", ["000"]), few, with_viewer=False)
    each = (page - (few / "index.html").stat().st_size) / 11
    assert each < 4000, "500 cards stay below 2 MB"
    assert (tmp_path / "out" / "thumbnails" / "0001.jpg").stat().st_size < 30_000


def test_the_command_reports_on_a_run_and_a_rerun_keeps_everything(finished: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(finished, tmp_path / "run")
    arguments = ["report", str(folder / "small.toml"), str(tmp_path / "out")]
    for kept in (0, 4):
        result = CliRunner().invoke(cli.app, arguments)
        assert result.exit_code == 0, result.output
        assert f"kept {kept}" in result.output and f"report: {tmp_path / 'out' / 'index.html'}" in result.output
    page = Page((tmp_path / "out" / "index.html").read_text(encoding="utf-8"))
    assert "No panorama has a position" in page.text and "picture at hand" not in page.text
    assert f"The run has no finished student: goodsam distill {folder / 'small.toml'} trains one." in page.text
    data = json.loads(page.scripts["data"])
    assert [own["name"] for own in data["panoramas"]] == ["evaluation/9", *(f"panoramas/{seed}" for seed in SEEDS)]
    assert data["layerNames"]["labels"] == "ensemble"
    cached = read_product(small_run(folder), "ensemble", "panoramas/0")["ensemble_labels"]
    layers = layers_of(tmp_path / "out" / "viewer" / "0002.js")
    np.testing.assert_array_equal(np.asarray(layers["labels"]), cached)
    of_stage_one = ["picture", "assistant", "masks", "labels", "reliability", "confidence", "unknown"]
    assert list(layers) == of_stage_one
    assert list(layers_of(tmp_path / "out" / "viewer" / "0001.js")) == [*of_stage_one, "truth"]
