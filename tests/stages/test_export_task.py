"""One panorama exported: its files, what is noted of them, and how errors come back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.classes import DENSEPASS_13
from pipeline.errors import CacheError
from stages import export_task
from stages.corrections import pixels_digest
from stages.export_folder import ExportFolder
from stages.export_task import (
    AGREEMENT,
    CROPS_PART,
    IMAGES,
    LABELS,
    MASKS,
    OUTPUTS,
    PARTS,
    RELIABLE,
    ExportTask,
    export_panorama,
)
from stages.label_files import read_notes, write_labels
from stages.reading import RunReader
from stages.splits import all_panoramas
from tests.stages.small_run import small_run

FINGERPRINTS = {"source": "abc"}


def task_of(run_folder: Path, out: Path, *outputs: str, **options: object) -> ExportTask:
    run = small_run(run_folder)
    reader = RunReader.open(run, all_panoramas(run.recipe))
    task = ExportTask("panoramas/1", "street/1", "street/1.png", reader, out, False, frozenset(outputs), FINGERPRINTS)
    return replace(task, **options)  # type: ignore[arg-type]


def files_of(out: Path) -> list[str]:
    return sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())


@pytest.mark.parametrize("is_original", [False, True])
def test_every_output_and_part_is_a_file_of_its_folder_and_is_recorded(
    finished: Path, tmp_path: Path, is_original: bool
) -> None:
    wanted = (*(output for output in OUTPUTS if output != AGREEMENT), *PARTS)  # of several assistants
    report = export_panorama(task_of(finished, tmp_path, *wanted, is_original=is_original))
    assert (report.failed, report.fatal) == (None, None) and report.seconds > 0
    record = ExportFolder(tmp_path).record("street/1")
    assert record["files"].keys() == set(wanted)
    for output, file in record["files"].items():
        assert file.startswith(f"{output}/street/1.") and (tmp_path / file).stat().st_size > 0
    assert set(record["files"].values()) <= set(files_of(tmp_path))
    assert ExportFolder(tmp_path).is_done("street/1", FINGERPRINTS, frozenset(wanted))


def test_only_what_is_asked_for_is_written_into_its_folder_of_the_format(finished: Path, tmp_path: Path) -> None:
    export_panorama(task_of(finished, tmp_path, LABELS, folder="data"))
    assert [file for file in files_of(tmp_path) if file.endswith(".png")] == ["data/labels/street/1.png"]


@pytest.mark.parametrize("keeps_notes", [False, True])
def test_a_label_map_that_somebody_has_edited_stays_unless_it_may_be_replaced(
    finished: Path, tmp_path: Path, keeps_notes: bool
) -> None:
    task, place = task_of(finished, tmp_path, LABELS), tmp_path / LABELS / "street" / "1.png"
    assert export_panorama(task).failed is None and export_panorama(task).failed is None
    written_hw = np.asarray(Image.open(place))
    write_labels(place, np.zeros_like(written_hw), DENSEPASS_13, read_notes(place))
    if not keeps_notes:
        Image.open(place).save(place)
    for again in (task, replace(task, outputs=frozenset({MASKS}), made_of={"source": "other"})):
        failed = export_panorama(again).failed
        assert failed is not None and "has been edited since it was exported" in failed.error
        assert not np.asarray(Image.open(place)).any()
    assert export_panorama(replace(task, outputs=frozenset({MASKS}))).failed is None  # the map is not touched
    assert not np.asarray(Image.open(place)).any()
    assert export_panorama(replace(task, overwrite=True)).failed is None
    assert (np.asarray(Image.open(place)) == written_hw).all()


def test_label_maps_note_the_panorama_and_what_nobody_has_changed(finished: Path, tmp_path: Path) -> None:
    export_panorama(task_of(finished, tmp_path, LABELS, RELIABLE))
    for output in (LABELS, RELIABLE):
        path = tmp_path / output / "street" / "1.png"
        notes = read_notes(path)
        assert (notes["panorama"], notes["source"]) == ("street/1.png", "abc")
        assert notes["pixels"] == pixels_digest(np.asarray(Image.open(path)))


def test_masks_are_numbered_from_1_on_without_gaps(finished: Path, tmp_path: Path) -> None:
    task = task_of(finished, tmp_path, MASKS)
    export_panorama(task)
    found = np.asarray(Image.open(tmp_path / MASKS / "street" / "1.png"))
    masks_HW = task.reader.mask_map("panoramas/1")
    numbers = np.unique(masks_HW[masks_HW >= 0])
    np.testing.assert_array_equal(np.unique(found[masks_HW >= 0]), np.arange(1, len(numbers) + 1))
    assert not found[masks_HW < 0].any() and len(numbers) > 0


def test_the_picture_is_the_file_itself_or_of_the_working_size_and_level(finished: Path, tmp_path: Path) -> None:
    for is_original in (True, False):
        export_panorama(task_of(finished, tmp_path / str(is_original), IMAGES, is_original=is_original))
    assert (tmp_path / "True" / IMAGES / "street" / "1.png").read_bytes() == (
        finished / "photos" / "1.png"
    ).read_bytes()
    reduced = Image.open(tmp_path / "False" / IMAGES / "street" / "1.jpg")
    assert reduced.size == (128, 64) and b'FullPanoWidthPixels="128"' in reduced.info["xmp"]


def test_crops_are_recorded_with_their_labels(finished: Path, tmp_path: Path) -> None:
    task = task_of(finished, tmp_path, CROPS_PART)
    views = replace(task.views, level=2, down=0, up=0, nadir=0, zenith=0, size=32)
    export_panorama(replace(task, views=views))
    record = ExportFolder(tmp_path).record("street/1")
    crops = [file for file in record["files"].values() if file.endswith((".jpg", ".png"))]
    assert len(crops) == 4 and all((tmp_path / file).is_file() for file in crops)
    assert json.loads((tmp_path / record["files"][CROPS_PART]).read_text())


def test_facts_for_the_tables_are_recorded(finished: Path, tmp_path: Path) -> None:
    export_panorama(task_of(finished, tmp_path, LABELS))
    facts = ExportFolder(tmp_path).record("street/1")["facts"]
    assert (facts["file"], facts["height"], facts["width"], facts["vertical_fov"]) == ("street/1.png", 64, 128, 180)
    assert sum(facts["shares"]) == pytest.approx(1)


def test_a_picture_that_changed_costs_itself_alone_and_leaves_nothing(own_finished: Path, tmp_path: Path) -> None:
    task = task_of(own_finished, tmp_path / "out", LABELS)
    (own_finished / "photos" / "1.png").write_bytes((own_finished / "photos" / "2.png").read_bytes())
    report = export_panorama(task)
    assert report.failed is not None and "has changed since it was cached" in report.failed.error
    assert report.fatal is None and not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_ends_the_export_and_other_errors_cost_a_panorama(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = task_of(finished, tmp_path / "out", LABELS)
    for error, is_fatal in ((CacheError(f"{tmp_path / 'out'} cannot be written", "room", "Make room"), True),
                            (CacheError("the store is damaged", "as written", "Cache again"), False),
                            (ZeroDivisionError("surprise"), False)):  # fmt: skip

        def fail(*_: object, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(export_task, "write_labels", fail)
        report = export_panorama(task)
        assert (report.fatal is error) == is_fatal and (report.failed is None) == is_fatal
