"""A plan measures a sample, which stays, and tells what the rest takes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.pretrained import DEMO
from stages.distill import distill
from stages.events import Event, StageAdvanced, silent
from stages.plan import make_plan, plan_text
from stages.status import run_status
from stages.teacher_cache import teacher_cache
from tests.stages.small_run import entry_of, small_run, write_panorama


def test_a_plan_measures_a_sample_that_stays_in_the_cache(own_finished: Path) -> None:
    for name in ("3", "4"):
        picture = np.random.default_rng(int(name)).integers(0, 255, (64, 128, 3)).astype(np.uint8)
        Image.fromarray(picture).save(own_finished / "photos" / f"{name}.png")
    run = small_run(own_finished)
    assert make_plan(run, silent, sample=0).to_compute["masks"] == 2
    plan = make_plan(run, silent, sample=1, device="cpu", workers=2)
    assert plan.to_compute == {"masks": 1, "assistant": 1, "ensemble": 1} and plan.done == 5
    assert set(plan.seconds_per_panorama) == {"masks", "assistant", "ensemble"}
    assert plan.hours == pytest.approx(sum(plan.seconds_per_panorama.values()) / 2 / 3600)
    assert plan.store_gigabytes and 0 < plan.store_gigabytes < 0.01
    assert plan.memory_gigabytes and plan.memory_gigabytes > 0.05
    text = plan_text(plan)
    assert "1 of the missing panoramas, computed now and kept" in text and "2 processes" in text
    assert run_status(run).panoramas["done"] == 5


def test_the_room_is_that_of_every_assistant(own_finished: Path) -> None:
    other = {"kind": "transformers", "name": str(DEMO / "student_start"), "label_set": "densepass13"}
    run = small_run(own_finished, further_assistants=[other], data={"limit": 1})
    teacher_cache(run, silent)
    done = ("panoramas/0", "evaluation/9")
    sizes = [sum(file.stat().st_size for file in entry_of(run, product, id_).rglob("*") if file.is_file())
             for product in ("assistant_2", "assistants_blend", "ensemble") for id_ in done]  # fmt: skip
    plan = make_plan(small_run(own_finished, further_assistants=[other]), silent, sample=0)
    assert plan.to_compute["assistant_2"] == 2 and min(sizes) > 0
    assert plan.store_gigabytes == pytest.approx(sum(sizes) / 1e9)


def test_a_plan_of_a_finished_run_takes_nothing(own_finished: Path) -> None:
    plan = make_plan(small_run(own_finished), silent)
    assert plan.hours == 0 and plan.store_gigabytes == 0 and plan.done == 4


def test_stage_two_takes_the_steps_that_remain(own_finished: Path) -> None:
    run = small_run(own_finished, distill={"steps": 8})

    def hours() -> float | None:
        return make_plan(run, silent, sample=0).distill_hours

    def log_an_hour_each() -> None:
        line = json.dumps({"event": "StageAdvanced", "stage": "distill", "seconds": 3600.0})
        (run.folder / "log.jsonl").write_text(f"{line}\n" * 4)

    assert hours() is None
    log_an_hour_each()
    assert hours() == 8

    def kill(event: Event) -> None:
        if isinstance(event, StageAdvanced) and event.done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        distill(run, kill)
    assert hours() == 5
    more = small_run(own_finished, distill={"steps": 12})
    assert make_plan(more, silent, sample=0).distill_hours == 12, "which is another student"
    distill(run, silent)
    assert hours() == 0
    write_panorama(own_finished / "photos" / "new.png", seed=5)
    assert hours() == 8, "the student will learn from what is to be computed, too"


def test_without_a_sample_the_times_are_those_of_the_last_run_that_computed_any(own_finished: Path) -> None:
    run = small_run(own_finished)
    write_panorama(own_finished / "photos" / "new.png", seed=5)
    lines: list[str] = []
    for times in ([100.0] * 9, [1.0, 2.0, 3.0], list[float]()):
        lines.append(json.dumps({"event": "StageStarted", "stage": "teacher-cache"}))
        lines += [json.dumps({"event": "StageAdvanced", "stage": "teacher-cache", "seconds": one}) for one in times]
    (run.folder / "log.jsonl").write_text("".join(f"{line}\n" for line in lines))
    assert make_plan(run, silent, sample=0).seconds_per_panorama == {"all": 2.0}
