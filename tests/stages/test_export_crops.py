"""Perspective crops of the ensemble: picture and labels of a view belong together and lie where the view looks."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.arrays import LabelArray
from pipeline.classes import DENSEPASS_13, IGNORE
from pipeline.errors import InputError, RecipeError
from pipeline.panorama.config import PanoramaConfig, ViewsConfig
from pipeline.recipe import Recipe
from stages.export import ExportJob, export
from stages.export_crops import crop_settings, crops_of, write_crops
from stages.label_files import read_notes, write_labels
from tests.stages.small_run import HEIGHT, WIDTH, read_product, small_run

VIEWS = "level=4,down=1,up=0,nadir=0,zenith=1,fov=80,size=40"


def job_of(folder: Path, out: Path, **options: Any) -> ExportJob:
    settings: dict[str, Any] = {"views": VIEWS, **options}
    return ExportJob(small_run(folder), out, frozenset(), format="crops", **settings)


def rows_of(out: Path) -> list[dict[str, str]]:
    with (out / "crops.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("size", ["original", "working"])
def test_pairs_have_one_name_and_the_middle_is_where_the_view_looks(finished: Path, tmp_path: Path, size: str) -> None:
    summary = export(job_of(finished, tmp_path, size=size))
    rows = rows_of(tmp_path)
    assert (summary.written, len(rows)) == (3, 3 * 6)
    files = {path.relative_to(tmp_path).as_posix() for folder in ("images", "labels")
             for path in (tmp_path / folder).rglob("*.*")}  # fmt: skip
    assert files == {row[kind] for row in rows for kind in ("image", "label")}
    ensemble_HW = read_product(small_run(finished), "ensemble", "panoramas/0")["ensemble_labels"]
    picture_HW3 = np.asarray(Image.open(finished / "photos" / "0.png").convert("RGB"))
    for row in rows:
        assert row["label"] == row["image"].replace("images/", "labels/").replace(".jpg", ".png")
        labels_hw, image_hw3 = np.asarray(Image.open(tmp_path / row["label"])), np.asarray(
            Image.open(tmp_path / row["image"]))  # fmt: skip
        assert labels_hw.shape == image_hw3.shape[:2] == (40, 40)
        if row["panorama"] != "0.png" or abs(float(row["pitch"])) > 60:
            continue
        column = round((float(row["yaw"]) / 360 + 0.5) * WIDTH) % WIDTH
        line = round((0.5 - float(row["pitch"]) / 180) * HEIGHT)
        assert labels_hw[19:21, 19:21].ravel().tolist().count(ensemble_HW[line, column]) >= 1
        around = picture_HW3[line - 2 : line + 2, [column - 2, column - 1, column % WIDTH, (column + 1) % WIDTH]]
        difference = image_hw3[18:22, 18:22].mean(axis=(0, 1)) - around.mean(axis=(0, 1))
        assert np.abs(difference).max() < 25


def test_a_rerun_keeps_them_and_other_views_take_their_place(finished: Path, tmp_path: Path) -> None:
    export(job_of(finished, tmp_path))
    assert export(job_of(finished, tmp_path)).kept == 3
    lost = tmp_path / rows_of(tmp_path)[0]["image"]
    lost.unlink()
    assert export(job_of(finished, tmp_path)).written == 1 and lost.is_file()
    assert export(job_of(finished, tmp_path, views="level=2,down=0,up=0,nadir=0,zenith=0,size=40")).written == 3
    assert len(rows_of(tmp_path)) == 6
    assert len(list((tmp_path / "images").rglob("*.jpg"))) == 6
    assert (tmp_path / "panoramas.csv").is_file()


@pytest.mark.parametrize("keeps_notes", [False, True])
def test_labels_that_somebody_has_edited_stay_unless_they_may_be_replaced(
    finished: Path, tmp_path: Path, keeps_notes: bool
) -> None:
    export(job_of(finished, tmp_path))
    edited = tmp_path / next(row["label"] for row in rows_of(tmp_path) if row["panorama"] == "0.png")
    labels_hw = np.full((40, 40), 4, np.uint8)
    if keeps_notes:
        write_labels(edited, labels_hw, DENSEPASS_13, read_notes(edited))
    else:
        Image.fromarray(labels_hw).save(edited)
    other = job_of(finished, tmp_path, views="level=2,down=0,up=0,nadir=0,zenith=0,size=40")
    summary = export(other)
    assert summary.written == 2 and "has been edited since it was exported" in summary.failed["0"]
    assert (np.asarray(Image.open(edited)) == 4).all()
    assert export(replace(other, overwrite=True)).written == 3
    assert not edited.exists() or (np.asarray(Image.open(edited)) != 4).any()


def test_label_files_say_what_they_are_of(finished: Path, tmp_path: Path) -> None:
    export(job_of(finished, tmp_path))
    notes = read_notes(tmp_path / rows_of(tmp_path)[0]["label"])
    assert notes["panorama"] == rows_of(tmp_path)[0]["panorama"] and notes["source"]


def test_beyond_the_rows_of_a_band_nothing_is_labelled(tmp_path: Path) -> None:
    recipe = Recipe(panorama=PanoramaConfig(width=256, vertical_fov=90))

    def all_road(height: int, width: int) -> LabelArray:
        return np.zeros((height, width), np.uint8)

    maps: Any = SimpleNamespace(
        is_original=False, level_labels=all_road, reader=SimpleNamespace(recipe=recipe),
        panorama=SimpleNamespace(image_HW3=np.full((recipe.panorama.height, 256, 3), 200, np.uint8)),
    )  # fmt: skip
    views = crop_settings(ViewsConfig(), "level=1,down=0,up=1,nadir=0,zenith=0,tilt=40,size=64")
    level, up = (np.asarray(Image.open(tmp_path / crop.label)) for crop in write_crops(tmp_path, "a", maps, views, {}))
    assert (level == 0).all()
    assert (up[:16] == IGNORE).all() and (up[-8:, 24:40] == 0).all()


def test_names_of_views_are_their_directions_and_unique() -> None:
    names = [crop.name for crop in crops_of(64, 128, 180, ViewsConfig(level=8, nadir=2))]
    assert len(names) == len(set(names)) == 8 + 8 + 6 + 2 + 2
    assert {"yaw045-pitch+00", "yaw000-pitch-38", "yaw180-pitch-80"} <= set(names)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"views": "levle=8"}, RecipeError, "--views has 'levle=8'; it is a list of numbers of level, down"),
        ({"views": "level=many"}, RecipeError, "--views has 'level=many'"),
        ({"views": "fov=170"}, RecipeError, "views.fov is 170"),
        ({"views": "level=0,down=0,up=0,nadir=0,zenith=0"}, RecipeError, "there are no views to cut"),
        ({"format": "coco"}, InputError, "--views is level=4"),
        ({"outputs": frozenset(["labels"])}, InputError, "--format crops has maps of its own"),
    ],
)
def test_what_cannot_be_cut_is_told_before_anything_is_written(
    finished: Path, tmp_path: Path, options: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind) as raised:
        replace(job_of(finished, tmp_path / "out"), **options)
    assert message in str(raised.value)
    assert not (tmp_path / "out").exists()
