"""The report: a whole and closed page, whatever files are called, and a sentence for what is missing or wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
from typer.testing import CliRunner

from pipeline.classes import DENSEPASS_13
from stages import cli
from tests.stages.report_folder import NAMES, ROAD, make_maps, make_pictures
from tests.stages.report_pages import Page, layers_of, report
from tests.stages.small_run import SEEDS, read_product, small_run


def test_the_page_is_whole_and_names_are_shown_as_they_are(tmp_path: Path) -> None:
    page = report(make_maps(tmp_path / "maps"), tmp_path / "out", make_pictures(tmp_path / "photos"))
    for name in NAMES:
        assert name in page.text
    assert "sidewalk" in page.text and "What was measured" not in page.text
    data = json.loads(page.scripts["data"])
    assert [own["name"] for own in data["panoramas"]] == list(NAMES)
    assert data["classes"] == list(DENSEPASS_13.names) and data["panoramas"][0]["shares"][ROAD] == 1


def test_a_name_cannot_end_a_script_or_an_attribute(tmp_path: Path) -> None:
    evil = "</script><script>alert(1)< \" onload='x"
    page = report(make_maps(tmp_path / "maps", [evil.replace("/", "")], labels=False), tmp_path / "out")
    assert evil.replace("/", "") in page.text and "alert(1)" not in page.scripts["code"]


def test_what_is_missing_is_told_in_a_sentence_each(tmp_path: Path) -> None:
    page = report(make_maps(tmp_path / "maps", labels=False), tmp_path / "out")
    for told in ("No panorama has a picture at hand: the maps are shown alone; --panoramas names",
                 "No panorama has a label map: goodsam predict",
                 "No panorama has a position: --positions"):  # fmt: skip
        assert told in page.text
    assert "`" not in page.text, "commands are code"
    assert all(not own["script"] for own in json.loads(page.scripts["data"])["panoramas"]), "there is nothing to view"
    assert "reliable" not in page.text, "of a prediction nobody can have that"
    (tmp_path / "maps" / "export.json").write_text('{"size": "original"}')
    exported = report(tmp_path / "maps", tmp_path / "exported").text
    assert "No panorama has a map of what is reliable: goodsam export with --what reliability" in exported
    whole = make_maps(tmp_path / "whole", exported=True, positions={0: (48.1, 11.5), 1: (48.1, 11.6)})
    page = report(whole, tmp_path / "other", make_pictures(tmp_path / "photos"))
    assert "1 of 3 panoramas has no position" in page.text
    assert "No panorama has" not in page.text


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
