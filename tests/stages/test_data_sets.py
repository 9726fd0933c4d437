"""Data sets of the field: recognised by their layout, and what a recipe of `goodsam init` then reads of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from typer.testing import CliRunner

from pipeline.classes import LABEL_SETS, label_set
from pipeline.panorama.finding import PanoramaFile
from pipeline.panorama.label_index import read_label_index
from pipeline.panorama.labels import open_labels, survey_labels
from pipeline.recipe import Recipe, load_recipe
from stages.cli import app
from stages.splits import evaluation_panoramas, learning_panoramas

NAMES = ["<UNK>_0_<UNK>_0_0", "beam_1_hallway_1", *(f"chair_{n}_office_2" for n in range(600)), "window_1_office_3"]
"""The list of a small Stanford2D3D: a window has the index 602, which needs two bytes."""


def save(path: Path, values: npt.NDArray[np.uint8]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)
    return path


def picture(path: Path, height: int = 32) -> Path:
    rng = np.random.default_rng(len(str(path)))
    return save(path, rng.integers(1, 255, (height, 64, 3), np.uint8))


def ids(path: Path, *values: int, height: int = 32) -> Path:
    """A label whose columns hold these ids, in equal parts."""
    return save(path, np.repeat(np.array(values, np.uint8), -(-64 // len(values)))[None, :64].repeat(height, axis=0))


def colours(path: Path, *indices: int) -> Path:
    """A label whose columns hold these indices as colours, in equal parts."""
    row = np.array([(index >> 16, index >> 8 & 255, index & 255) for index in indices], np.uint8)
    return save(path, row.repeat(64 // len(indices), axis=0)[None].repeat(32, axis=0))


def densepass(root: Path) -> None:
    for place in ("Amsterdam/1.png", "Athens/1.png"):
        picture(root / "leftImg8bit" / "train" / place, height=12)
    picture(root / "leftImg8bit" / "val" / "cs" / "100_.png", height=12)
    ids(root / "gtFine" / "val" / "cs" / "100_labelTrainIds.png", 0, 18, 255, 8, height=12)


def wildpass(root: Path) -> None:
    picture(root / "leftImg8bit" / "val" / "cs" / "1.png", height=12)
    ids(root / "gtFine" / "val" / "cs" / "1.png", 4, 13, 24, 255, height=12)


def stanford(root: Path) -> None:
    (root / "assets").mkdir(parents=True)
    (root / "assets" / "semantic_labels.json").write_text(json.dumps(NAMES))
    for area in ("area_1", "area_6", "area_5a"):
        stem = f"camera_{area}_office_1_frame_equirectangular_domain"
        picture(root / area / "pano" / "rgb" / f"{stem}_rgb.png")
        picture(root / area / "pano" / "depth" / f"{stem}_depth.png")
        picture(root / area / "data" / "rgb" / f"{stem}_rgb.png")
        colours(root / area / "pano" / "semantic" / f"{stem}_semantic.png", 1, 601, 602, 0x0D0D0D)
        picture(root / area / "pano" / "semantic_pretty" / f"{stem}_semantic_pretty.png")


def synpass(root: Path) -> None:
    for weather, split in (("fog", "train"), ("sun", "train"), ("sun", "val"), ("sun", "test")):
        picture(root / "img" / weather / split / "MAP_1_point2" / "000000.jpg")
        ids(root / "semantic" / weather / split / "MAP_1_point2" / "000000_trainID.png", 0, 1, 6, 22)


def structured3d(root: Path) -> None:
    for scene in ("scene_00000", "scene_03000", "scene_03250"):
        room = root / scene / "2D_rendering" / "171" / "panorama"
        for name in ("rgb_rawlight", "rgb_warmlight", "albedo", "normal"):
            picture(room / "full" / f"{name}.png")
        picture(room / "empty" / "rgb_rawlight.png")
        ids(room / "full" / "semantic.png", 0, 1, 22, 40)


def initialised(root: Path) -> Recipe:
    out = root.parent / "my.toml"
    done = CliRunner().invoke(app, ["init", str(root), "--out", str(out)])
    assert done.exit_code == 0, done.output
    return load_recipe(out)


def labels_of(recipe: Recipe) -> list[npt.NDArray[np.uint8]]:
    """The labels of the panoramas to evaluate on, read as `goodsam eval` does: one row of every column's class."""
    data = recipe.data
    files = [PanoramaFile(p.id.partition("/")[2], p.path) for p in evaluation_panoramas(recipe)]
    file_set = label_set(data.labels_set)
    index = read_label_index(Path(data.labels_index), file_set) if data.labels_index else None
    found = survey_labels(Path(data.labels), files).by_id
    return [
        open_labels(found[file.id], recipe.classes, recipe.panorama, file_set, from_one=data.labels_from_one,
                    index_N=index)[5, ::16]
        for file in files
    ]  # fmt: skip


def learned(recipe: Recipe) -> list[str]:
    return [panorama.id for panorama in learning_panoramas(recipe)]


def test_densepass(tmp_path: Path) -> None:
    densepass(tmp_path / "DensePASS")
    recipe = initialised(tmp_path / "DensePASS")
    assert learned(recipe) == ["panoramas/Amsterdam/1", "panoramas/Athens/1"]
    assert recipe.label_set == "cityscapes19" and not recipe.panorama.find_constant_border
    assert recipe.panorama.vertical_fov == pytest.approx(67.5)  # of these pictures, 64x12
    np.testing.assert_array_equal(labels_of(recipe), [[0, 18, 255, 8]])


def test_densepass_bands_of_the_released_size_have_the_benchmarks_field_of_view(tmp_path: Path) -> None:
    save(tmp_path / "D" / "leftImg8bit" / "val" / "cs" / "1_.png", np.ones((400, 2048, 3), np.uint8))
    assert initialised(tmp_path / "D").panorama.vertical_fov == 70.3


def test_wildpass_is_told_from_densepass_by_its_ids(tmp_path: Path) -> None:
    wildpass(tmp_path / "WildPASS")
    recipe = initialised(tmp_path / "WildPASS")
    assert recipe.label_set == "wildpass8" and "curb nor crosswalk" in (tmp_path / "my.toml").read_text()
    names = recipe.classes.names
    np.testing.assert_array_equal(labels_of(recipe), [[*map(names.index, ("car", "curb", "crosswalk")), 255]])


def test_wildpass_is_told_by_the_labels_that_can_be_read(tmp_path: Path) -> None:
    wildpass(tmp_path / "WildPASS")
    folder = tmp_path / "WildPASS" / "gtFine" / "val" / "cs"
    (folder / "1.png").rename(folder / "1.PNG")
    (folder / "._1.png").write_bytes(b"Mac OS X")
    (folder / "2.png").write_bytes((folder / "1.PNG").read_bytes()[:50])
    assert initialised(tmp_path / "WildPASS").label_set == "wildpass8"


def test_labels_of_which_none_can_be_read_are_no_wildpass(tmp_path: Path) -> None:
    densepass(tmp_path / "D")
    (tmp_path / "D" / "gtFine" / "val" / "cs" / "100_labelTrainIds.png").rename(tmp_path / "D" / "gtFine" / "1.png")
    (tmp_path / "D" / "gtFine" / "val" / "cs" / "100.png").write_bytes(b"")
    assert initialised(tmp_path / "D").label_set == "cityscapes19"


@pytest.mark.parametrize(("measured", "window"), [("stanford13", 12), ("stanford8", 7)])
def test_stanford2d3d(tmp_path: Path, measured: str, window: int) -> None:
    stanford(tmp_path / "S")
    (tmp_path / "my.toml").unlink(missing_ok=True)
    recipe = initialised(tmp_path / "S")
    assert [panorama.split("/")[1] for panorama in learned(recipe)] == ["area_1", "area_6"]
    assert recipe.label_set == "stanford13" and recipe.panorama.find_constant_border
    text = (tmp_path / "my.toml").read_text().replace('label_set = "stanford13"', f'label_set = "{measured}"', 1)
    (tmp_path / "my.toml").write_text(text)
    beam = 0 if measured == "stanford13" else 255
    chair = label_set(measured).names.index("chair")
    np.testing.assert_array_equal(labels_of(load_recipe(tmp_path / "my.toml")), [[beam, chair, window, 255]])


def test_stanford2d3d_without_its_list_of_names_has_no_labels_and_says_why(tmp_path: Path) -> None:
    stanford(tmp_path / "S")
    (tmp_path / "S" / "assets" / "semantic_labels.json").unlink()
    recipe = initialised(tmp_path / "S")
    assert not recipe.data.labels and "assets/semantic_labels.json" in (tmp_path / "my.toml").read_text()


def test_synpass(tmp_path: Path) -> None:
    synpass(tmp_path / "SynPASS")
    recipe = initialised(tmp_path / "SynPASS")
    assert learned(recipe) == [f"panoramas/{weather}/train/MAP_1_point2/000000" for weather in ("fog", "sun")]
    names = recipe.classes.names
    assert recipe.label_set == "densepass13"
    np.testing.assert_array_equal(labels_of(recipe), [[255, *map(names.index, ("building", "road", "terrain"))]])


def test_structured3d(tmp_path: Path) -> None:
    structured3d(tmp_path / "Structured3D")
    recipe = initialised(tmp_path / "Structured3D")
    assert learned(recipe) == ["panoramas/scene_00000/2D_rendering/171/panorama/full/rgb_rawlight"]
    names = recipe.classes.names
    assert recipe.label_set == "nyu40"
    np.testing.assert_array_equal(labels_of(recipe), [[255, *map(names.index, ("wall", "ceiling", "otherprop"))]])


def test_cityscapes_is_no_set_of_panoramas(tmp_path: Path) -> None:
    picture(tmp_path / "leftImg8bit" / "val" / "ulm" / "ulm_1_leftImg8bit.png")
    done = CliRunner().invoke(app, ["init", str(tmp_path), "--out", str(tmp_path / "my.toml")])
    assert "pictures are perspective" in str(done.exception) and "goodsam train-assistant" in str(done.exception)


def test_patterns_that_match_nothing_are_refused(tmp_path: Path) -> None:
    stanford(tmp_path / "S")
    initialised(tmp_path / "S")
    text = (tmp_path / "my.toml").read_text().replace("area_1/pano/rgb/*", "area_9/*").replace("area_6/pano", "x/pano")
    (tmp_path / "my.toml").write_text(text)
    with pytest.raises(Exception, match=r"matches 'area_9/\*' or 'x/pano/rgb/\*'"):
        learning_panoramas(load_recipe(tmp_path / "my.toml"))


@pytest.mark.parametrize("content", ["no JSON", "{}", '["table_1"]', None])
def test_a_list_of_names_that_does_not_fit_is_refused(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "names.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(Exception, match=r"names\.json .*list of names such as road_1"):
        read_label_index(path, LABEL_SETS["cityscapes19"])
