"""Predict a folder of panoramas with a network.

<out>/
    labels/<id>.png        class ids with the label set's palette, at the source's size; 255 where nothing was seen
    overlays/<id>.jpg      the labels over the panorama, at its size and with its tags, if asked for
    class_shares.csv       share of the view (solid angle) of every class, one row per file in labels/ of this network
    panoramas.csv, ...     the same with places, times and indices, and for maps: see `tables`

A label file carries the names of network, settings and source: a rerun does only what is missing or changed, and the
table has the panoramas of other folders that went into the same one.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

from pipeline.errors import InputError, WorkerError, counted, first_few
from pipeline.panorama.config import PanoramaConfig
from pipeline.panorama.finding import FolderContents, PanoramaFile, require_folder, survey_folder
from pipeline.panorama.ignore_masks import IgnoreMasks, choose_ignore_masks
from pipeline.panorama.level import level_note
from pipeline.panorama.placement import placement_note
from pipeline.settings import fingerprint
from stages.claims import exclusive_lock
from stages.events import ItemFailed, Listener, Note, StageFinished, StageStarted, silent
from stages.files import digest, mask_digest, writing
from stages.label_files import label_path, overlay_path, read_notes
from stages.map_tables import TABLES, doubtful_positions, row_of_notes, unseen_panoramas, write_map_tables
from stages.models import Model
from stages.positions import Positions, read_positions
from stages.predict_task import STAGE, PredictTask, predict_in_worker, predict_panorama
from stages.runner import run_tasks
from stages.tables import PanoramaRow
from stages.task_reports import PanoramaReport, follow, require_some_done

VERSION = 8
"""Raised when the code changes what is predicted or recorded, so that older outputs are replaced."""


@dataclass(frozen=True)
class PredictJob:
    """What to predict, with what, and where to."""

    model: Model
    """The network."""
    panoramas: Path
    """Folder of panoramas, flat or nested, or a picture."""
    out: Path
    """Folder of the outputs; not inside `panoramas`."""
    panorama: PanoramaConfig
    """Working size that the network sees, field of view, and what is ignored."""
    overlays: bool = False
    """Also write pictures of the labels over the panoramas."""
    overwrite: bool = False
    """Also predict panoramas whose outputs are up to date."""
    device: str = "cpu"
    """Torch device."""
    positions: Path | None = None
    """Table of where panoramas were taken (see `positions`), before their own tags."""
    workers: int = 0
    """Worker processes, each with the network; 0 works in this process."""

    def __post_init__(self) -> None:
        """Raises InputError where `panoramas` is no folder, or `out` lies inside it or holds what others wrote."""
        _require_own_folder(self.out)
        if self.panoramas.is_file():
            return
        require_folder(self.panoramas)
        if self.out.resolve().is_relative_to(self.panoramas.resolve()):
            raise InputError(f"{self.out} lies inside {self.panoramas}",
                             "outputs must not be mistaken for panoramas in the next run",
                             "Choose an output folder outside it")  # fmt: skip


@dataclass(frozen=True)
class PredictSummary:
    """Result of a prediction."""

    done: int
    """Predicted now."""
    skipped: int
    """Predicted by earlier runs."""
    failed: dict[str, str]
    """Id -> one sentence, for those that were set aside."""


def _require_own_folder(out: Path) -> None:
    """Refuse a folder with other maps or tables, which would be overwritten.

    A prediction's own folder is known by its lock or, where it was copied without that, by its label maps.
    """
    maps = (read_notes(path) for path in (out / "labels").rglob("*.png"))
    if (out / f".{STAGE}.lock").exists() or any("model" in notes for notes in maps):
        return
    taken = [name for name in TABLES if (out / name).exists()]
    taken += [name for name in ("labels", "overlays") if any((out / name).glob("*"))]
    if taken:
        raise InputError(f"{out} holds {taken[0]}, which `goodsam predict` has not written",
                         "maps and tables of others are not overwritten",
                         "Choose another output folder")  # fmt: skip


def predict(job: PredictJob, listener: Listener = silent) -> PredictSummary:
    """Predict every panorama that has no up-to-date output; broken files are set aside.

    Raises:
        InputError: no panoramas, an unusable ignore mask or table of positions, or not one panorama could be read.
        WeightsError: the network cannot be loaded, or outputs NaN or infinity.
        CacheError: outputs cannot be written, or another `predict` is writing there.
        DeviceError: an accelerator has failed.
    """
    with exclusive_lock(job.out, STAGE):
        return _predict(job, listener)


def _predict(job: PredictJob, listener: Listener) -> PredictSummary:
    started = time.monotonic()
    contents = _contents(job)
    files = contents.panoramas
    _report(listener, contents.notes)
    for name, reason in contents.set_aside.items():
        listener(ItemFailed(STAGE, name, reason))
    masks = choose_ignore_masks(job.panorama, files)
    positions = read_positions(job.positions) if job.positions else None
    _report(listener, [*masks.notes, *(positions.notes(file.id for file in files) if positions else ())])
    predictor = job.model.load(job.device, job.panorama)
    _report(listener, getattr(predictor, "notes", ()))  # assumptions about the network's input
    provenance = Provenance(job, masks)
    _make_folders(job)
    missing = [file for file in files if not _is_done(file, job, provenance)]
    listener(StageStarted(STAGE, len(missing), "panoramas"))
    label_set = predictor.label_set
    work = predict_in_worker if job.workers else partial(predict_panorama, predictor=predictor)
    del predictor  # workers load their own; this one was loaded to report its errors early
    failed = _predict_all([task_for(file, job, provenance) for file in missing], job, work, listener)
    require_some_done(len(files), failed, "predicted")
    rows = _rows(job.out, provenance.model, positions)
    write_map_tables(job.out, rows, label_set)
    of_these = [rows[file.id] for file in files if file.id in rows]
    of_others = sorted(rows.keys() - {file.id for file in files}) if job.panoramas.is_dir() else []
    _report(listener, [doubtful_positions(of_these), unseen_panoramas(of_these), _kept_rows(of_others, job)])
    done = len(missing) - len(failed)
    summary = PredictSummary(done, len(files) - len(missing), {**contents.set_aside, **failed})
    facts = {"predicted": summary.done, "kept": summary.skipped, "set aside": len(summary.failed)}
    listener(StageFinished(STAGE, time.monotonic() - started, facts))
    return summary


def _predict_all(
    tasks: Sequence[PredictTask], job: PredictJob, work: Callable[[PredictTask], PanoramaReport], listener: Listener
) -> dict[str, str]:
    """Predict panoramas and report progress; returns the errors of those that were set aside, by id."""
    failed: dict[str, str] = {}
    placed, tilts = 0, list[float]()
    with closing(run_tasks(work, tasks, job.workers, lost=lost_report)) as reports:
        for report in follow(reports, STAGE, listener):
            if report.failed is not None:
                failed[report.id] = report.failed.error
            placed += report.placed
            tilts += [report.tilt] if report.tilt else []
    _report(listener, [placement_note(placed), level_note(tilts)])
    return failed


def _report(listener: Listener, notes: Iterable[str]) -> None:
    """Pass on all notes that are not empty."""
    for note in filter(None, notes):
        listener(Note(STAGE, note))


def lost_report(task: PredictTask, death: WorkerError) -> PanoramaReport:
    """The report of a panorama whose worker process died."""
    return PanoramaReport(task.file.id, failed=ItemFailed(STAGE, task.file.id, str(death)))


def task_for(file: PanoramaFile, job: PredictJob, provenance: Provenance) -> PredictTask:
    """The task of one panorama, to be pickled for workers."""
    alone = file.path == job.panoramas
    return PredictTask(
        file=file,
        path=file.path.name if alone else file.path.relative_to(job.panoramas).as_posix(),
        out=job.out,
        model=job.model,
        panorama=provenance.config_of(file),
        names=provenance.names_of(file),
        overlays=job.overlays,
        overwrite=job.overwrite,
        device=job.device,
    )


def _contents(job: PredictJob) -> FolderContents:
    if job.panoramas.is_file():
        return FolderContents([PanoramaFile(job.panoramas.stem, job.panoramas)], {}, {}, [])
    return survey_folder(job.panoramas, [Path(mask)] if (mask := job.panorama.ignore_mask) else [])


def _make_folders(job: PredictJob) -> None:
    """Make the folders first, so that errors of making them are not reported for panoramas."""
    for folder in ("labels", "overlays") if job.overlays else ("labels",):
        with writing(job.out / folder):
            (job.out / folder).mkdir(parents=True, exist_ok=True)


def _is_done(file: PanoramaFile, job: PredictJob, provenance: Provenance) -> bool:
    if job.overwrite or (job.overlays and not overlay_path(job.out, file.id).is_file()):
        return False
    found = read_notes(label_path(job.out, file.id))
    try:
        return provenance.names_of(file).items() <= found.items() and found["source"] == digest(file.path)
    except InputError:
        return False  # predicting it again reports what is wrong


def _kept_rows(ids: Sequence[str], job: PredictJob) -> str:
    """A sentence on panoramas of earlier predictions that the tables keep; empty for none."""
    if not ids:
        return ""
    return (
        f"the tables also have {counted(len(ids), 'panorama')} of earlier predictions ({first_few(ids)}), not in "
        f"{job.panoramas}; without their maps in {job.out / 'labels'} a rerun leaves them out"
    )


def _rows(out: Path, model: str, positions: Positions | None) -> dict[str, PanoramaRow]:
    """Rows of all panoramas that this network has predicted, by id, from their label files."""
    rows: dict[str, PanoramaRow] = {}
    for path in (out / "labels").rglob("*.png"):
        if (notes := read_notes(path)).get("model") == model:
            id_ = path.relative_to(out / "labels").with_suffix("").as_posix()
            rows[id_] = row_of_notes(id_, notes, positions)
    return dict(sorted(rows.items()))


class Provenance:
    """What determines the outputs of a panorama, besides its file."""

    def __init__(self, job: PredictJob, masks: IgnoreMasks) -> None:
        self.model = fingerprint(VERSION, job.model.identity)
        self._panorama = job.panorama
        self._masks = masks
        self._mask_digest = lru_cache(maxsize=None)(mask_digest)

    def config_of(self, file: PanoramaFile) -> PanoramaConfig:
        """The settings with the panorama's own mask."""
        return dataclasses.replace(self._panorama, ignore_mask=str(self._masks.of(file.path) or ""))

    def names_of(self, file: PanoramaFile) -> dict[str, str]:
        """Fingerprints of network and settings for a label file; files count by content."""
        config = self.config_of(file)
        mask = self._mask_digest(config.ignore_mask)
        return {"model": self.model, "settings": fingerprint(dataclasses.replace(config, ignore_mask=""), mask)}
