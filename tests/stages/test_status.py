"""Status: what of a run is done, stale, missing and set aside, without a write."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stages.distill import distill
from stages.events import Event, StageAdvanced, StageStarted, silent
from stages.listeners import RunListeners
from stages.plan import make_plan
from stages.status import run_status, status_text
from stages.teacher_cache import teacher_cache
from tests.stages.small_run import discard, small_run


def files_of(folder: Path) -> set[tuple[str, int]]:
    return {(str(path), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def test_a_finished_run_is_done_and_nothing_is_written(own_finished: Path) -> None:
    before = files_of(own_finished)
    status = run_status(small_run(own_finished))
    assert status.panoramas == {"done": 4, "stale": 0, "missing": 0, "set aside": 0}
    assert not any(status.to_compute.values()) and not status.changes and status.student == ""
    assert files_of(own_finished) == before


def test_what_is_missing_stale_and_set_aside_is_told_apart(own_finished: Path) -> None:
    run = small_run(own_finished)
    discard(run, "ensemble", "panoramas/0")
    shutil.copy(own_finished / "photos" / "1.png", own_finished / "photos" / "new.png")
    Image.open(own_finished / "photos" / "2.png").rotate(180).save(own_finished / "photos" / "2.png")
    (own_finished / "photos" / "broken.png").mkdir()
    status = run_status(run)
    assert status.panoramas == {"done": 2, "stale": 1, "missing": 2, "set aside": 1}
    assert status.to_compute == {"masks": 2, "assistant": 2, "ensemble": 3}
    assert "empty folder" in status.set_aside["panoramas/broken.png"]
    assert "2 done, 1 stale, 2 missing, 1 set aside" in status_text(status)


def test_damaged_lines_of_what_the_run_knows_are_told_until_stage_one_ran_again(own_finished: Path) -> None:
    run = small_run(own_finished)
    first, *others = run.panoramas.read_bytes().splitlines()
    run.panoramas.write_bytes(b"\n".join([first[:30], *others, b"\xff garbage", b""]))
    told = (f"{run.panoramas} has 2 damaged lines (1, 5), passed over: `goodsam teacher-cache` looks at these "
            "panoramas again, and computes nothing that is in the store")  # fmt: skip
    status = run_status(run)
    assert status.notes == [told] and f"note        {told}" in status_text(status)
    assert status.panoramas["missing"] == 1 and status.problems == []
    teacher_cache(run, silent)
    assert run_status(run).notes == []
    assert run_status(run).panoramas["done"] == 4


def test_changed_settings_name_what_is_computed_again(own_finished: Path) -> None:
    status = run_status(small_run(own_finished, fusion={"theta": 0.99}))
    assert status.changes == {"ensemble": "settings of fusion"}
    assert status.panoramas["stale"] == 4 and status.to_compute == {"masks": 0, "assistant": 0, "ensemble": 4}


def paint_mask(folder: Path, name: str, rows: int) -> None:
    mask_HW = np.zeros((64, 128), np.uint8)
    mask_HW[-rows:] = 255
    folder.mkdir(exist_ok=True)
    Image.fromarray(mask_HW).save(folder / f"{name}.png")


def test_changed_ignore_masks_are_seen_and_those_that_cannot_be_used_are_a_problem(own_finished: Path) -> None:
    masks = own_finished / "masks"
    paint_mask(masks, "0", rows=8)
    run = small_run(own_finished, panorama={"ignore_mask": str(masks)})
    teacher_cache(run, silent)
    assert run_status(run).panoramas["done"] == 4
    paint_mask(masks, "0", rows=24)
    paint_mask(masks, "1", rows=10)
    status = run_status(run)
    assert status.panoramas == {"done": 2, "stale": 2, "missing": 0, "set aside": 0}
    assert status.to_compute == {"masks": 0, "assistant": 0, "ensemble": 2}
    plan = make_plan(run, silent, sample=2, device="cpu")
    assert plan.done == 4 and not any(plan.to_compute.values())
    (masks / "1.png").write_bytes(b"no picture")
    status = run_status(run)
    assert "1.png cannot be opened as an image" in status.problems[0] and status.panoramas["done"] == 4


def test_missing_weights_are_a_problem_and_done_panoramas_stay_done(own_finished: Path) -> None:
    (own_finished / "sam.pth").write_bytes(b"weights")
    settings: dict[str, dict[str, object]] = {"sam": {"model": "vit_b", "checkpoint": str(own_finished / "sam.pth")}}
    (own_finished / "sam.pth").unlink()
    status = run_status(small_run(own_finished, **settings))
    assert "sam.pth cannot be read" in status.problems[0]
    assert status.panoramas["stale"] == 4, "the recipe names another network than the cache was made with"


def test_panoramas_that_failed_are_set_aside_with_the_reason_of_the_log(own_finished: Path) -> None:
    (own_finished / "photos" / "torn.png").write_bytes(b"\x89PNG\r\n torn")
    with RunListeners(own_finished / "cache" / "small") as listener:
        teacher_cache(small_run(own_finished), listener)
    status = run_status(small_run(own_finished))
    assert status.panoramas["set aside"] == 1
    assert "torn.png cannot be opened as an image" in status.set_aside["panoramas/torn"]
    shutil.copy2(own_finished / "photos" / "1.png", own_finished / "photos" / "torn.png")  # with its old time
    status = run_status(small_run(own_finished))
    assert (status.panoramas["set aside"], status.panoramas["missing"], status.set_aside) == (0, 1, {})


def test_a_student_that_has_begun_has_the_steps_of_its_own_training(own_finished: Path) -> None:
    run = small_run(own_finished)
    with RunListeners(run.folder) as listener:
        distill(run, listener)
    assert run_status(run).student == "finished"
    other = small_run(own_finished, student={"seed": 7}, distill={"steps": 20})

    def killed_after(steps: int) -> str:
        """The status once a training was killed."""

        def hear(event: Event) -> None:
            listener(event)
            if isinstance(event, StageAdvanced if steps else StageStarted) and getattr(event, "done", 0) == steps:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt), RunListeners(run.folder) as listener:
            distill(other, hear)
        return run_status(other).student

    assert killed_after(0) == "step 0 of 20"
    assert killed_after(3) == "step 3 of 20"
    assert killed_after(3) == "step 5 of 20", "it goes on from the checkpoint of step 2"
    curves = max((other.student / "tensorboard").glob("events.*"), key=lambda file: file.stat().st_mtime)
    curves.write_bytes(curves.read_bytes()[:-8])
    assert run_status(other).student == "step 4 of 20"
