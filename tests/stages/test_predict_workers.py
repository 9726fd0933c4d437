"""Worker processes predict what one process does, and what goes wrong in one is told as usual."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

from pipeline.errors import WeightsError, WorkerError
from pipeline.panorama.config import PanoramaConfig
from pipeline.panorama.finding import find_panoramas
from pipeline.panorama.ignore_masks import choose_ignore_masks
from stages.events import Event, ItemFailed
from stages.models import StudentModel
from stages.predict import PredictJob, Provenance, lost_report, predict, task_for
from stages.predict_task import PredictTask, predict_in_worker
from tests.stages.small_run import WIDTH, write_panorama
from tests.stages.tiny_student import write_tiny_student


@pytest.fixture
def job(tmp_path: Path) -> PredictJob:
    for seed in range(3):
        write_panorama(tmp_path / "in" / f"{seed}.png", seed)
    model = StudentModel(write_tiny_student(tmp_path / "final"))
    return PredictJob(model, tmp_path / "in", tmp_path / "one", PanoramaConfig(width=WIDTH), overlays=True)


def files(out: Path) -> dict[str, bytes]:
    """Pixels of all pictures; notes in them may differ in the last digit with the number of threads."""
    return {path.relative_to(out).as_posix(): Image.open(path).tobytes() for path in out.rglob("*.[pj][np]g")}


@pytest.mark.slow
def test_workers_write_the_same_files_and_set_the_same_aside(job: PredictJob) -> None:
    (job.panoramas / "1.png").write_bytes(b"no image")
    of_one, of_two = list[Event](), list[Event]()
    predict(job, of_one.append)
    summary = predict(replace(job, workers=1, out=job.out.with_name("two")), of_two.append)
    assert (summary.done, list(summary.failed)) == (2, ["1"])
    failed = [[event for event in events if isinstance(event, ItemFailed)] for events in (of_one, of_two)]
    assert failed[0] == failed[1]
    assert files(job.out) == files(job.out.with_name("two"))
    assert predict(replace(job, workers=1)).skipped == 2


def test_what_is_wrong_with_the_network_is_fatal_in_a_worker_too(job: PredictJob) -> None:
    (job.panoramas.parent / "final" / "model.safetensors").write_bytes(b"nothing")
    report = predict_in_worker(_first_task(job))
    assert isinstance(report.fatal, WeightsError) and report.failed is None


def test_a_worker_loads_another_network_of_the_same_folder_anew(job: PredictJob) -> None:
    assert predict_in_worker(_first_task(job)).failed is None
    before = Image.open(job.out / "labels" / "0.png").tobytes()
    path = job.panoramas.parent / "final" / "model.safetensors"
    weights = load_file(path)
    weights["decode_head.classifier.weight"] *= -1
    save_file(weights, path, metadata={"format": "pt"})
    assert predict_in_worker(_first_task(job)).failed is None
    assert Image.open(job.out / "labels" / "0.png").tobytes() != before


def test_a_worker_that_dies_costs_its_panorama(job: PredictJob) -> None:
    report = lost_report(_first_task(job), WorkerError("worker processes died", "they need memory", "Use fewer"))
    assert report.failed is not None and report.failed.error == "worker processes died; they need memory. Use fewer."


def _first_task(job: PredictJob) -> PredictTask:
    found = find_panoramas(job.panoramas)
    return task_for(found[0], job, Provenance(job, choose_ignore_masks(job.panorama, found)))
