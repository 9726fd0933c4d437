"""Caches in which every run had a store of its own, taken over into the one that all runs share.

cache/<run>/teacher.zarr/<product>/<fingerprint>/<id of the panorama>/     the store, and teacher.json beside it
cache/<run>/student/final, student/earlier/<fingerprint>                   students
cache/<run>/eval                                                           the latest evaluation

Nothing is computed: folders are moved, and the panoramas' marks say under which name they lie now.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.cache.group import MARK, publish, write_group
from pipeline.cache.mark import Mark, folder_name
from pipeline.cache.schema import ASSISTANT, ENSEMBLE, MASKS
from pipeline.cache.store import TeacherStore
from pipeline.classes import label_set
from pipeline.ensemble.config import OPTIONAL
from pipeline.errors import CacheError, GoodSAMError
from pipeline.panorama.config import OPTIONAL_OF_VIEWS, OPTIONAL_OF_WINDOWS
from pipeline.recipe import Recipe
from pipeline.settings import digest_of, fingerprint, without_unused
from pipeline.student.model import start_identity
from pipeline.teacher.config import OPTIONAL_OF_ASSISTANT, OPTIONAL_OF_BOUNDARY, SAM_OPTIONAL
from pipeline.teacher.identity import assistant_identity, mask_source_identity, weights_digest
from stages.claims import exclusive_lock
from stages.files import mask_digest, writing
from stages.manifest import write_manifest
from stages.panorama_records import PanoramaRecord, PanoramaRecords
from stages.products import SPEED_SETTINGS, Product, all_products, fingerprints
from stages.results import record_results
from stages.runs import EVALUATIONS, STUDENTS, Run
from stages.splits import learning_panoramas
from stages.training_record import RECORD

_OLD_VERSIONS = {MASKS: 3, ASSISTANT: 6, ENSEMBLE: 3}
"""Versions of what was computed when the layout changed."""
_OLD_TRAINING = 3
"""The same of students."""
_OLD_SUFFIX, _SUFFIX = "_logits", "_probabilities"
"""Arrays of probabilities had another name."""


@dataclass(frozen=True)
class TakenOver:
    """What became of a cache of the old layout."""

    panoramas: int
    """Panoramas of which all products of the recipe are in the shared store now."""
    students: int
    """Students that were moved."""
    left: Path | None
    """What other settings had made; None if nothing is left."""


def take_over(run: Run) -> TakenOver:
    """Move what the recipe's run of the old layout has computed to where all runs share it; a killed one may be
    repeated.

    Args:
        run: recipe and folder.

    Raises:
        CacheError: there is nothing of the old layout, another process works on it, or folders cannot be moved.
        GoodSAMError: weights or the ignore mask of the recipe are missing.
    """
    old = run.folder / "teacher.zarr"
    if not old.is_dir():
        raise CacheError(f"{run.folder} has no cache of the old layout", f"it would have the folder {old}",
                         "Check the recipe and --cache; run teacher-cache if there is no cache yet")  # fmt: skip
    with exclusive_lock(run.folder, "teacher-cache", run.cache), writing(run.cache):
        store = TeacherStore.open(run.store, "a")
        before, now = old_fingerprints(run.recipe), fingerprints(run.recipe)
        records = PanoramaRecords(run.panoramas)
        for product in all_products():
            _move_product(old / product.name / before[product.name], store, product, now[product.name], records)
        done = [all(store.is_done(product.name, now[product.name], record.entry(product)) for product in all_products())
                for record in records.values()]  # fmt: skip
        write_manifest(run, now)
        run.record_recipe()
        left = _set_aside(old)
        students = _move_results(run, _names_of_own_student(run, before[ENSEMBLE]))
        return TakenOver(sum(done), students, left)


def _move_product(old: Path, store: TeacherStore, product: Product, name: str, records: PanoramaRecords) -> None:
    """Move what is complete of a product to its new fingerprint."""
    source = TeacherStore(old.parent.parent, writable=True)
    done = source.ids(product.name, old.name) if old.is_dir() else []
    for panorama_id in done:
        folder = old / folder_name(panorama_id)
        mark = source.mark(product.name, old.name, panorama_id)
        origin: Mapping[str, Any] = mark.provenance
        record = PanoramaRecord(origin["source"], origin["source_sha256"], origin.get("source_size", 0),
                                origin.get("source_modified_ns", 0), origin.get("ignore_mask_sha256", ""))  # fmt: skip
        _rename_arrays(folder, mark, record.entry(product))
        target = store.path / product.name / name / record.entry(product)
        if target.exists():
            shutil.rmtree(folder)
        else:
            store.ensure_fingerprint(product.name, name)
            publish(folder, target)
        if product.name == ENSEMBLE:  # its provenance names the panorama's own mask too
            records.add(panorama_id, record)


def _rename_arrays(folder: Path, mark: Mark, entry: str) -> None:
    arrays = {name.replace(_OLD_SUFFIX, _SUFFIX): record for name, record in mark.arrays.items()}
    for name in mark.arrays:
        if name.endswith(_OLD_SUFFIX):
            (folder / name).rename(folder / name.replace(_OLD_SUFFIX, _SUFFIX))
    write_group(folder, {MARK: Mark(entry, arrays, mark.provenance).to_json()})


def _names_of_own_student(run: Run, old_ensemble: str) -> dict[str, str]:
    """The name that the recipe's student has, by the one that it had; none where its panoramas are not at hand."""
    from stages.distill import distill_job
    from stages.reading import RunReader

    try:
        reader = RunReader.open(run, learning_panoramas(run.recipe))
        job = distill_job(run, reader)
    except GoodSAMError:
        return {}
    student = (job.student.size, start_identity(job.student, job.label_set))
    records = [reader.records[panorama_id] for panorama_id in reader.ids]
    sources = [" ".join(filter(None, (record.sha256, record.ignore_mask_sha256))) for record in records]
    old = fingerprint(_OLD_TRAINING, student, job.effective_losses, job.effective_training, job.seed,
                      job.label_set.names, reader.ids, fingerprint(old_ensemble, reader.ids, sources))  # fmt: skip
    return {old: job.fingerprint}


def _move_results(run: Run, names: Mapping[str, str]) -> int:
    """Move students and evaluation to names of their own; returns the number of students.

    Args:
        run: recipe and folder.
        names: new name by old one, of students that have another one now.
    """
    old, results = run.folder / "student", run.results
    folders = [*sorted((old / "earlier").glob("*")), old / "final"] if not old.is_symlink() else []
    count = 0
    for folder in folders:
        with suppress(OSError, ValueError, KeyError):
            name = str(json.loads((folder / RECORD).read_text(encoding="utf-8"))["fingerprint"])
            name = names.get(name, name)
            target = run.cache / STUDENTS / name / "final"
            target.parent.mkdir(parents=True, exist_ok=True)
            folder.rename(target)
            results, count = results.with_student(name), count + 1
    tables = run.folder / "eval"
    if tables.is_dir() and not tables.is_symlink() and (tables / "metrics.json").is_file():
        name = digest_of([tables / "metrics.json"])[:16]
        target = run.cache / EVALUATIONS / name
        target.parent.mkdir(parents=True, exist_ok=True)
        tables.rename(target)
        results = results.with_evaluation(name)
    record_results(run.folder, results)
    if count and old.is_dir():
        shutil.rmtree(old)  # checkpoints of what is finished
    if results.student:
        run.record_student(results.student)
    if results.evaluation:
        run.record_evaluation(results.evaluation)
    return count


def _set_aside(old: Path) -> Path | None:
    """Rename what is left of the old store, or remove it if that is nothing."""
    shutil.rmtree(old.with_name(f"{old.name}.index"), ignore_errors=True)
    shutil.rmtree(old.with_name(f"{old.name}.writing"), ignore_errors=True)
    if not any(path.is_dir() for path in old.glob("*/*/*")):
        shutil.rmtree(old)
        return None
    left = old.with_name("teacher.zarr.left")
    old.rename(left)
    return left


def old_fingerprints(recipe: Recipe) -> dict[str, str]:
    """Fingerprint of every product as stores of the old layout have it.

    Args:
        recipe: all settings.

    Raises:
        GoodSAMError: weights or the ignore mask are missing.
    """
    panorama, assistant = recipe.panorama, recipe.assistant
    size = (panorama.width, panorama.height, panorama.vertical_fov, panorama.level)
    sam, usual = recipe.sam, ("kind",) if recipe.sam.kind == "sam" else ()
    settings_of_sam = _left_out(without_unused(sam, SAM_OPTIONAL), *SPEED_SETTINGS["sam"])
    source = (
        (_left_out(settings_of_sam, "name", "model", "checkpoint"), mask_source_identity(sam))
        if sam.kind == "transformers"
        else (_left_out(settings_of_sam, "name", "checkpoint", *usual), weights_digest(sam))
    )
    windows = without_unused(recipe.windows, OPTIONAL_OF_WINDOWS)
    masks = fingerprint(MASKS, _OLD_VERSIONS[MASKS], size, windows, *source)
    views = (without_unused(recipe.views, OPTIONAL_OF_VIEWS),) if assistant.views_weight > 0 else ()
    unused = () if views else ("views_weight", "views_scale")
    classes = (recipe.classes.names, label_set(assistant.label_set).names)
    shown = _left_out(without_unused(assistant, OPTIONAL_OF_ASSISTANT), "name", "label_set", *unused)
    output = fingerprint(ASSISTANT, _OLD_VERSIONS[ASSISTANT], size, windows, classes, shown, *views,
                         assistant_identity(assistant))  # fmt: skip
    mask = panorama.ignore_mask
    ignored = (panorama.find_constant_border, "of each panorama" if mask and Path(mask).is_dir() else mask_digest(mask))
    fusion = without_unused(recipe.fusion, OPTIONAL), without_unused(recipe.boundary, OPTIONAL_OF_BOUNDARY)
    ensemble = fingerprint(ENSEMBLE, _OLD_VERSIONS[ENSEMBLE], masks, output, *fusion, recipe.classes.thin, ignored)
    return {MASKS: masks, ASSISTANT: output, ENSEMBLE: ensemble}


def _left_out(settings: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in keys}
