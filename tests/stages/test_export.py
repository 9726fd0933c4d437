"""Maps without a student: what lies in the cache comes out as files, at the right place, size and time."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.classes import DENSEPASS_13, IGNORE
from pipeline.errors import CacheError, InputError
from pipeline.evaluate.metrics import resize_nearest
from pipeline.panorama.placement import Placement
from pipeline.panorama.sphere import solid_angles
from pipeline.panorama.tags import gpano_xmp
from stages.events import Event, ItemFailed, Note, StageStarted, silent
from stages.export import ExportJob, export
from stages.export_task import AGREEMENT, OUTPUTS
from stages.label_files import read_notes
from stages.teacher_cache import teacher_cache
from tests.stages.small_run import make_folders, read_product, small_run

PLACE = Placement(128, 256, 32, 64, 64, 128)
"""Where the picture `part` lies: the middle of the sphere."""

ALL_MAPS = frozenset(OUTPUTS) - {AGREEMENT}  # which is of several assistants


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of pictures larger than the working size: whole, part of the sphere, and of a tilted camera."""
    folder = tmp_path_factory.mktemp("large")
    make_folders(folder)
    for path in (folder / "photos").iterdir():
        Image.open(path).resize((256, 128)).save(folder / "photos" / f"{path.stem}.jpg", quality=95)
        path.unlink()
    whole = Image.open(folder / "photos" / "1.jpg")
    part = whole.crop((64, 32, 192, 96))
    part.save(folder / "photos" / "part.jpg", quality=95, xmp=gpano_xmp(PLACE, 180))
    tags = gpano_xmp(Placement.whole(128, 256), 180).replace(b"/></rdf", b' GPano:PoseRollDegrees="20"/></rdf')
    (folder / "photos" / "2.jpg").unlink()
    whole.save(folder / "photos" / "tilted.jpg", quality=95, xmp=tags)
    teacher_cache(small_run(folder), silent)
    return folder


def job_of(folder: Path, out: Path, *outputs: str, **options: object) -> ExportJob:
    return ExportJob(small_run(folder), out, frozenset(outputs or ALL_MAPS), **options)  # type: ignore[arg-type]


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_maps_have_what_the_cache_has(finished: Path, tmp_path: Path) -> None:
    summary = export(job_of(finished, tmp_path / "out"))
    run = small_run(finished)
    assert (summary.written, summary.kept, summary.left_out) == (3, 0, 0)
    for name in ("0", "1", "2"):
        cached = read_product(run, "ensemble", f"panoramas/{name}")
        labels, reliable = cached["ensemble_labels"], cached["reliability"].astype(bool)
        np.testing.assert_array_equal(pixels(tmp_path / "out" / "labels" / f"{name}.png"), labels)
        np.testing.assert_array_equal(pixels(tmp_path / "out" / "reliability" / f"{name}.png"), reliable * 255)
        expected = np.where(reliable, labels, IGNORE)
        np.testing.assert_array_equal(pixels(tmp_path / "out" / "reliable" / f"{name}.png"), expected)
        soft = cached["ensemble_probabilities"].astype(float) ** 2
        best = 255 * soft.max(axis=0) / soft.sum(axis=0)
        assert np.abs(pixels(tmp_path / "out" / "confidence" / f"{name}.png") - best).max() <= 0.51
        masks = pixels(tmp_path / "out" / "masks" / f"{name}.png")
        assert masks.shape == labels.shape and masks.dtype == np.uint16 and masks.max() > 0


def test_unknown_objects_come_with_a_table_of_where_they_are_and_how_large(finished: Path, tmp_path: Path) -> None:
    everything: dict[str, object] = {"min_predicted_iou": 0.0, "min_entropy": 0.0, "max_stuff": 1.0, "max_size": 1.0}
    run = small_run(finished, unknown=everything)
    export(ExportJob(run, tmp_path / "out", frozenset(("unknown", "unknown-overlays")), size="working"))
    rows = list(csv.DictReader((tmp_path / "out" / "unknown_objects.csv").open()))
    assert rows and [float(row["solid_angle_sr"]) for row in rows] == sorted(
        (float(row["solid_angle_sr"]) for row in rows), reverse=True
    )
    for row in rows:
        numbers = pixels(tmp_path / "out" / "unknown" / f"{row['panorama']}.png")
        own = numbers == int(row["object"])
        share = (own.sum(axis=1) * solid_angles(*own.shape)).sum()
        assert float(row["solid_angle_sr"]) == pytest.approx(share, rel=1e-3)
        assert abs(float(row["pitch"])) < 90 and 0 <= float(row["entropy"]) <= 1
        assert {row["first_class"], row["second_class"]} <= set(DENSEPASS_13.names)
    assert (tmp_path / "out" / "unknown-overlays" / "0.jpg").is_file()
    strict = small_run(finished, unknown={"min_predicted_iou": 1.0})
    export(ExportJob(strict, tmp_path / "out", frozenset(("unknown",)), size="working"))
    assert (tmp_path / "out" / "unknown_objects.csv").read_text().count("\n") == 1
    assert not pixels(tmp_path / "out" / "unknown" / "0.png").any()


def test_labels_have_the_palette_and_overlays_the_legend_of_their_classes(finished: Path, tmp_path: Path) -> None:
    export(job_of(finished, tmp_path, "labels", "overlays"))
    palette = Image.open(tmp_path / "labels" / "0.png").getpalette()
    assert palette is not None
    assert palette[: 3 * len(DENSEPASS_13)] == [value for colour in DENSEPASS_13.palette for value in colour]
    overlay = Image.open(tmp_path / "overlays" / "0.jpg")
    assert overlay.size == (128, 64) and b"GPano:ProjectionType" in overlay.info["xmp"]
    assert not (tmp_path / "masks").exists()


def test_tables_say_of_every_panorama_what_predict_says(finished: Path, tmp_path: Path) -> None:
    table = tmp_path / "where.csv"
    table.write_text("path,latitude,longitude\n0.png,48.1,11.5\n1,48.2,11.6\n2,48.3,11.7\n")
    export(job_of(finished, tmp_path / "out", "labels", positions=table))
    with (tmp_path / "out" / "panoramas.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == ["0.png", "1.png", "2.png"]
    assert rows[0]["latitude"] == "48.1" and float(rows[0]["seen"]) == 1
    assert sum(float(value) for key, value in rows[0].items() if key.startswith("share_")) == pytest.approx(1, abs=1e-4)
    points = json.loads((tmp_path / "out" / "panoramas.geojson").read_text())["features"]
    assert points[2]["geometry"]["coordinates"] == [11.7, 48.3]
    assert {"class_shares.csv", "sequences.geojson", "labels.qml", "panoramas.qml"} <= {
        path.name for path in (tmp_path / "out").iterdir()
    }


def test_maps_of_the_pictures_own_size_agree_with_the_cache_at_its_pixels(large: Path, tmp_path: Path) -> None:
    export(job_of(large, tmp_path, "labels", "reliable"))
    labels = pixels(tmp_path / "labels" / "0.png")
    cached = read_product(small_run(large), "ensemble", "panoramas/0")["ensemble_labels"]
    assert labels.shape == (128, 256)
    agree = (labels == resize_nearest(cached, 128, 256)).mean()
    assert agree > 0.9, "enlarged labels may differ at boundaries only"
    inside = np.ones_like(cached, bool)  # pixels whose neighbours all have their label
    for axis in (0, 1):
        for step in (1, -1):
            inside &= np.roll(cached, step, axis) == cached
    interior = resize_nearest(inside, 128, 256)
    interior[[0, 1, -2, -1]] = False
    assert (labels == resize_nearest(cached, 128, 256))[interior].mean() > 0.99


def test_a_part_of_the_sphere_gets_maps_of_its_own_pixels(large: Path, tmp_path: Path) -> None:
    export(job_of(large, tmp_path / "own"))
    export(job_of(large, tmp_path / "working", size="working"))
    cached = read_product(small_run(large), "ensemble", "panoramas/part")["ensemble_labels"]
    own = pixels(tmp_path / "own" / "labels" / "part.png")
    assert own.shape == (64, 128) and (own != IGNORE).all()
    assert (own[::2, ::2] == cached[16:48, 32:96]).mean() > 0.9
    np.testing.assert_array_equal(pixels(tmp_path / "working" / "labels" / "part.png"), cached)
    tags = Image.open(tmp_path / "own" / "overlays" / "part.jpg").info["xmp"]
    assert b'CroppedAreaLeftPixels="64"' in tags
    tags = Image.open(tmp_path / "working" / "overlays" / "part.jpg").info["xmp"]
    assert b'CroppedAreaLeftPixels="0"' in tags and b'FullPanoWidthPixels="128"' in tags


def test_a_tilted_picture_gets_maps_of_its_tilted_pixels(large: Path, tmp_path: Path) -> None:
    """`tilted` has the pixels of 1: on it, and not on the level canvas, its labels lie as those of 1 do."""
    export(job_of(large, tmp_path, "labels"))
    upright, tilted = pixels(tmp_path / "labels" / "1.png"), pixels(tmp_path / "labels" / "tilted.png")
    sky = DENSEPASS_13.names.index("sky")
    level = resize_nearest(read_product(small_run(large), "ensemble", "panoramas/tilted")["ensemble_labels"], 128, 256)
    assert (tilted != IGNORE).all()
    middle = slice(32, 96)
    agree = ((tilted == sky) == (upright == sky))[middle].mean()
    assert agree > ((level == sky) == (upright == sky))[middle].mean() + 0.03


def test_a_rerun_writes_only_what_is_missing_or_was_made_of_something_else(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    job = job_of(folder, tmp_path / "out", "labels", "overlays")
    assert export(job).written == 3
    assert (export(job).written, export(job).kept) == (0, 3)
    (tmp_path / "out" / "overlays" / "1.jpg").unlink()
    assert export(job).written == 1 and (tmp_path / "out" / "overlays" / "1.jpg").is_file()
    assert export(replace(job, outputs=frozenset(("labels", "masks")))).written == 3
    assert (tmp_path / "out" / "overlays" / "1.jpg").is_file(), "it is still right"
    other = replace(job, run=small_run(folder, fusion={"theta": 0.99}))
    with pytest.raises(CacheError, match="other settings of fusion"):
        export(other)
    teacher_cache(other.run, silent)
    assert export(other).written == 3
    assert export(other).kept == 3
    assert not list((tmp_path / "out" / "masks").glob("*.png")), "masks of other settings would not fit the labels"
    assert read_notes(tmp_path / "out" / "labels" / "0.png")["source"]


def mask_rows(folder: Path, name: str, rows: int) -> None:
    """Paint a panorama's ignore mask: so many rows at its bottom."""
    mask_HW = np.zeros((64, 128), np.uint8)
    mask_HW[-rows:] = 255
    folder.mkdir(exist_ok=True)
    Image.fromarray(mask_HW).save(folder / f"{name}.png")


def ignored_rows(out: Path, name: str) -> int:
    return int((pixels(out / "labels" / f"{name}.png") == IGNORE).all(axis=1).sum())


@pytest.mark.parametrize("earlier_version", [False, True])
def test_another_ignore_mask_of_a_panorama_concerns_its_maps_alone(own_finished: Path, earlier_version: bool) -> None:
    masks, out = own_finished / "masks", own_finished / "out"
    mask_rows(masks, "0", 8)
    mask_rows(masks, "1", 8)
    job = ExportJob(small_run(own_finished, panorama={"ignore_mask": str(masks)}), out, frozenset({"labels"}))
    teacher_cache(job.run, silent)
    assert export(job).written == 3
    if earlier_version:  # which did not note the mask
        for name in "012":
            file = out / ".export" / f"{name}.json"
            record = json.loads(file.read_text())
            del record["made_of"]["ignore_mask"]
            file.write_text(json.dumps(record))
    mask_rows(masks, "0", 24)
    teacher_cache(job.run, silent)
    assert (export(job).written, ignored_rows(out, "0"), ignored_rows(out, "1")) == (1, 24, 8)
    assert export(job).kept == 3
    (masks / "1.png").unlink()
    teacher_cache(job.run, silent)
    assert (export(job).written, ignored_rows(out, "1")) == (1, 0)


def test_panoramas_that_are_not_computed_are_counted_with_the_command_that_does(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    shutil.copy(folder / "held_out" / "9.png", folder / "photos" / "new.png")
    events: list[Event] = []
    job = job_of(folder, tmp_path / "out", "labels", command="goodsam teacher-cache my.toml")
    assert export(job, events.append).left_out == 1
    told = "1 of 4 panoramas not in the cache and left out; `goodsam teacher-cache my.toml` computes what is missing"
    assert Note("export", told) in events
    shutil.rmtree(folder / "cache")
    with pytest.raises(CacheError, match="Run `goodsam teacher-cache my"):
        export(job)


def test_a_changed_picture_is_set_aside_and_the_others_are_written(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    shutil.copy(folder / "held_out" / "9.png", folder / "photos" / "1.png")
    events: list[Event] = []
    summary = export(job_of(folder, tmp_path / "out"), events.append)
    assert summary.written == 2 and list(summary.failed) == ["1"]
    assert "has changed since it was cached" in next(event.error for event in events if isinstance(event, ItemFailed))
    assert not list((tmp_path / "out").rglob("1.png"))


def test_a_folder_that_holds_something_else_is_refused_untouched(finished: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("do not touch")
    with pytest.raises(InputError, match=r"holds other files \(thesis.txt\)"):
        job_of(finished, tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
    with pytest.raises(InputError, match="lies inside"):
        job_of(finished, finished / "photos" / "out")
    export(job_of(finished, tmp_path / "out", "labels"))
    with pytest.raises(InputError, match="holds an export of size original; this one is of size working"):
        job_of(finished, tmp_path / "out", size="working")


def test_both_splits_lie_in_folders_of_their_own(finished: Path, tmp_path: Path) -> None:
    export(job_of(finished, tmp_path, "labels", split="all"))
    found = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("labels/**/*.png"))
    assert found == ["labels/evaluation/9.png", *(f"labels/panoramas/{name}.png" for name in "012")]


def test_unknown_outputs_are_refused_by_name(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--what has heights; it is a list of labels, reliable"):
        job_of(finished, tmp_path, "labels", "heights")


@pytest.mark.slow
def test_workers_write_the_same_files(finished: Path, tmp_path: Path) -> None:
    events: list[Event] = []
    export(job_of(finished, tmp_path / "one"))
    export(job_of(finished, tmp_path / "two", workers=2), events.append)
    assert StageStarted("export", 3, "panoramas") in events
    for path in (tmp_path / "one").rglob("*.png"):
        assert path.read_bytes() == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes()
