"""The guides: their five commands and notebooks run, and what they show is small and reproducible."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from scripts import guide_pictures
from scripts.street_walk import render_walk

ROOT = Path(__file__).resolve().parents[1]
GUIDES = ROOT / "stages" / "guides"
NOTEBOOKS = sorted(GUIDES.glob("*.ipynb"))


def five_commands() -> list[str]:
    """The first block of commands of the guide to maps."""
    (block, *_) = re.findall(r"(?:^    .+\n)+", (GUIDES / "maps.md").read_text(encoding="utf-8"), re.MULTILINE)
    return [line.strip() for line in block.splitlines()]


def cells(notebook: Path) -> list[dict[str, Any]]:
    return json.loads(notebook.read_text(encoding="utf-8"))["cells"]


def source_of(notebook: Path) -> list[str]:
    return ["".join(cell["source"]) for cell in cells(notebook) if cell["cell_type"] == "code"]


@pytest.mark.slow
def test_five_commands_lead_from_a_clone_to_maps_points_and_a_report(tmp_path: Path) -> None:
    clone, setup, *others = five_commands()
    assert (clone.split()[:2], setup.split()[:2], len(others)) == (["git", "clone"], ["make", "setup"], 3)
    render_walk(tmp_path / "cache/try/photos", height=64)  # the third command finds them there
    programs = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    for command in others:
        done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True,
                              env={**os.environ, "PATH": programs, "PYTHONPATH": str(ROOT)})  # fmt: skip
        assert done.returncode == 0, done.stderr
    maps = tmp_path / "cache/try/maps"
    assert len(list((maps / "labels").glob("*.png"))) == 6
    points = json.loads((maps / "panoramas.geojson").read_text())["features"]
    assert [point["geometry"]["coordinates"] for point in points] == [
        pytest.approx([16.37, 48.2 + number * 0.000225], abs=1e-6) for number in range(6)
    ]
    (way,) = json.loads((maps / "sequences.geojson").read_text())["features"]
    assert way["properties"]["panoramas"] == 6 and way["properties"]["metres"] == pytest.approx(125, abs=1)
    assert (maps / "report" / "index.html").is_file()


def test_make_try_is_what_the_guide_says() -> None:
    (recipe,) = re.findall(r"^try:.*\n((?:\t.+\n)+)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    told = (
        recipe.replace("$(VENV)/bin/python", "python")
        .replace("$(GOODSAM)", "goodsam")
        .replace('"$(PHOTOS)"', "cache/try/photos")
        .replace("$(RENDERED)", "cache/try/photos")
        .replace("$(TRIED)", "cache/try/maps")
    )
    assert [line.partition("|| ")[2] or line for line in told.replace("\t", "").splitlines()] == five_commands()[2:]


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_cells_of_a_notebook_run(notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for text in source_of(notebook):
        exec(text.replace("HEIGHT = 512", "HEIGHT = 64").replace("WIDTH = 512", "WIDTH = 256"), names)
    if notebook.stem == "city":
        assert names["summary"].done == 6 and len(names["points"]) == 6
        assert np.asarray(names["chart"]).std() > 10
    else:
        assert len(names["found"]) > 0 and names["teacher"].reliable_HW.any()
        assert names["labels_HW"].shape == (128, 256)
        assert names["evaluation"].metrics["ladder"][-1]["name"] == "student"


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_without_outputs_and_shows_something(notebook: Path) -> None:
    assert all(cell["outputs"] == [] and cell["execution_count"] is None
               for cell in cells(notebook) if cell["cell_type"] == "code")  # fmt: skip
    ends = [ast.parse(text).body[-1] for text in source_of(notebook)]
    assert sum(isinstance(end, ast.Expr) for end in ends) > len(ends) // 2
    assert "import goodsam\n" in source_of(notebook)[0]


def test_pictures_are_small_and_the_command_makes_them_all() -> None:
    shown = {name for page in GUIDES.glob("*.md") for name in re.findall(r"!\[[^]]*\]\(([^)]+)\)", page.read_text())}
    assert shown == {path.name for path in GUIDES.glob("*.jpg")}
    code = Path(guide_pictures.__file__).read_text(encoding="utf-8")
    for name in shown:
        assert (GUIDES / name).stat().st_size <= guide_pictures.MOST_BYTES
        assert f'"{name}"' in code


@pytest.mark.slow
def test_the_pictures_can_be_made(tmp_path: Path) -> None:
    render_walk(tmp_path / "photos", 1, height=128)
    maps = guide_pictures.maps_picture(tmp_path / "photos", tmp_path)
    assert maps.size == (800, 804)
    small = ["panorama.width=256", "windows.height=128", "windows.width=128", "windows.stride_y=128",
             "windows.stride_x=128", "sam.points_per_side=2", "assistant.views_weight=0"]  # fmt: skip
    method = guide_pictures.method_picture(tmp_path / "photos", tmp_path, small)
    assert method.size == (1124, 564)
    guide_pictures.write_small(tmp_path / "method.jpg", method)
    assert (tmp_path / "method.jpg").stat().st_size <= guide_pictures.MOST_BYTES
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (1200, 1200, 3), np.uint8))
    with pytest.raises(ValueError, match="would have more than"):
        guide_pictures.write_small(tmp_path / "noise.jpg", noise)
