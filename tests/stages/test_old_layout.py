"""A cache of the old layout is taken over: nothing is computed again, and nothing is lost."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.cache.group import MARK, read_mark, write_group
from pipeline.cache.mark import Mark, folder_name
from pipeline.cache.schema import ASSISTANT, ENSEMBLE, MASKS
from pipeline.errors import CacheError
from pipeline.recipe import parse_recipe
from pipeline.settings import fingerprint
from pipeline.student.config import OPTIONAL_LOSSES, OPTIONAL_TRAINING
from pipeline.student.model import start_identity
from stages.distill import distill
from stages.events import Event, StageStarted, silent
from stages.manifest import read_manifest
from stages.old_layout import old_fingerprints, take_over
from stages.panorama_records import PanoramaRecords
from stages.products import all_products
from stages.runs import Run, refuse_old_layout
from stages.students import StudentFolder
from stages.teacher_cache import teacher_cache
from tests.stages.small_run import arrays_of, entry_of, small_run


@pytest.fixture
def old(finished: Path, tmp_path: Path) -> Run:
    """The same run as earlier versions laid it, with a student of unknown settings and an evaluation."""
    folder = shutil.copytree(finished, tmp_path / "run")
    run, before = small_run(folder), old_fingerprints(small_run(folder).recipe)
    entries = {(panorama_id, product): entry_of(run, product.name, panorama_id)
               for panorama_id in PanoramaRecords(run.panoramas) for product in all_products()}  # fmt: skip
    for panorama_id, record in PanoramaRecords(run.panoramas).items():
        for product in all_products():
            entry = entries[panorama_id, product]
            place = run.folder / "teacher.zarr" / product.name / before[product.name] / folder_name(panorama_id)
            place.parent.mkdir(parents=True, exist_ok=True)
            entry.rename(place)
            mark = read_mark(place)
            arrays = {name.replace("_probabilities", "_logits"): array for name, array in mark.arrays.items()}
            for name in mark.arrays:
                (place / name).rename(place / name.replace("_probabilities", "_logits"))
            stamp = {"source_size": record.size, "source_modified_ns": record.modified_ns}
            write_group(place, {MARK: Mark(panorama_id, arrays, {**mark.provenance, **stamp}).to_json()})
    shutil.rmtree(run.store)
    run.manifest.unlink()
    run.panoramas.rename(run.folder / "kept.jsonl")
    for kept in ("final", "earlier/other"):
        (run.folder / "student" / kept).mkdir(parents=True)
        (run.folder / "student" / kept / "training.json").write_text(json.dumps({"fingerprint": kept[-5:]}))
    (run.folder / "eval").mkdir()
    (run.folder / "eval" / "metrics.json").write_text("{}")
    return run


def test_names_are_those_that_the_old_version_gave() -> None:
    """With settings that came later at their defaults; the names are from the last version of the old layout."""
    recipe = parse_recipe({
        "name": "old", "label_set": "densepass13", "panorama": {"width": 1024},
        "windows": {"height": 256, "width": 256, "stride_y": 128, "stride_x": 128}, "sam": {"model": "demo"},
        "assistant": {"kind": "demo", "label_set": "densepass13"},
    })  # fmt: skip
    assert old_fingerprints(recipe) == {
        MASKS: "63390241a13bbbe1", ASSISTANT: "8de059677053b901", ENSEMBLE: "28b5c6a70a31c33d"
    }  # fmt: skip
    joined = replace(recipe, fusion=replace(recipe.fusion, join=0.5))
    assert old_fingerprints(joined)[ENSEMBLE] != "28b5c6a70a31c33d"


def test_the_old_layout_is_refused_until_it_is_taken_over(old: Run) -> None:
    with pytest.raises(CacheError, match="Run `goodsam take-over`"):
        teacher_cache(old, silent)
    with pytest.raises(CacheError, match="Run `goodsam take-over`"):
        read_manifest(old)
    take_over(old)
    refuse_old_layout(old.folder)
    with pytest.raises(CacheError, match="has no cache of the old layout"):
        take_over(old)


def test_everything_is_there_afterwards_and_nothing_is_computed(old: Run, finished: Path) -> None:
    moved = take_over(old)
    assert (moved.panoramas, moved.students, moved.left) == (4, 2, None)
    assert teacher_cache(old, silent).products == {}
    now, then = arrays_of(old), arrays_of(small_run(finished))
    assert now.keys() == then.keys()
    for key, array in now.items():
        np.testing.assert_array_equal(array, then[key], err_msg=str(key))
    assert old.results.students == ("other", "final")
    assert StudentFolder(old.student).is_finished
    assert (old.folder / "student" / "final" / "training.json").is_file()
    assert (old.folder / "eval" / "metrics.json").read_text() == "{}"


def test_the_student_of_the_recipe_is_found_finished(old: Run) -> None:
    """What it is called in the old layout is computed here from the settings as they were then."""
    records = PanoramaRecords(old.folder / "kept.jsonl")
    job = old.recipe
    sources = [records[name].sha256 for name in sorted(records) if name.startswith("panoramas/")]
    ids = [name for name in sorted(records) if name.startswith("panoramas/")]
    training = replace(job.distill, log_every=1, checkpoint_every=1, sample_memory_gb=0)
    then = {key: value for key, value in asdict(training).items() if key not in OPTIONAL_TRAINING}
    data = fingerprint(old_fingerprints(job)["ensemble"], ids, sources)
    student = (job.student.size, start_identity(job.student, job.classes))
    later = ("corrections", *OPTIONAL_LOSSES)
    losses = {key: value for key, value in asdict(job.losses).items() if key not in later}
    name = fingerprint(3, student, losses, then, job.student.seed, job.classes.names, ids, data)
    (old.folder / "student" / "final" / "training.json").write_text(json.dumps({"fingerprint": name}))
    take_over(old)
    events: list[Event] = []
    distill(old, events.append)
    assert not any(isinstance(event, StageStarted) for event in events)


def test_what_other_settings_made_is_left_beside(old: Run) -> None:
    other = old.folder / "teacher.zarr" / "masks" / "0123456789abcdef" / "street"
    write_group(other, {})
    left = take_over(old).left
    assert left is not None
    assert (left / "masks" / "0123456789abcdef" / "street").is_dir()
    refuse_old_layout(old.folder)


def test_a_take_over_that_was_stopped_can_be_repeated(old: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("stages.old_layout.write_manifest", stopped)
        with pytest.raises(KeyboardInterrupt):
            take_over(old)
    assert take_over(old).panoramas == 4
    assert teacher_cache(old, silent).products == {}
