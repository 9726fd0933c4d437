"""Bring stage one's results out of the cache as files: maps without a student.

<out>/
    labels/<id>.png         the ensemble: class ids with the label set's palette; 255 where nothing was seen
    reliable/<id>.png       the same where it is reliable, 255 elsewhere
    reliability/<id>.png    255 where it is reliable, else 0
    confidence/<id>.png     255 * probability of the most probable class of the soft ensemble
    masks/<id>.png          SAM's masks, 16 bits: 0 for none, numbered from 1
    overlays/<id>.jpg       the labels over the panorama, with a legend and the panorama's tags
    mask-overlays/<id>.jpg  SAM's masks over the panorama
    assistant/<id>.png      what the assistant says without SAM, as labels
    unknown/<id>.png        objects that no class describes, 16 bits: 0 for none, numbered from 1; with
    unknown_objects.csv     where each is, how large, and what the assistant takes it for
    unknown-overlays/<id>.jpg   these objects over the panorama
    class_shares.csv, panoramas.csv, ...   as `goodsam predict` writes them, see `tables`
    export.json, .export/   what the folder is, and what is done in it: see `export_folder`

Other formats than these maps are in `export_formats`. A rerun writes only what is missing or was made of other settings
or pictures.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from pipeline.cache.schema import ENSEMBLE
from pipeline.errors import InputError, WorkerError, counted
from pipeline.panorama.config import ViewsConfig
from pipeline.settings import fingerprint
from pipeline.teacher.config import UnknownConfig
from stages.claims import exclusive_lock
from stages.events import ItemFailed, Listener, Note, StageFinished, StageStarted, silent
from stages.export_crops import crop_settings, crops_of
from stages.export_folder import ExportFolder, ExportKind, require_outside
from stages.export_formats import FORMATS, LOCAL_FILES, Exported
from stages.export_task import (
    AGREEMENT,
    IMAGES,
    OUTPUTS,
    STAGE,
    UNKNOWN,
    UNKNOWN_PART,
    ExportTask,
    export_panorama,
)
from stages.manifest import NotCachedError
from stages.map_tables import doubtful_positions, row_of_notes, write_map_tables
from stages.positions import Positions, read_positions
from stages.reading import RunReader, require_several_assistants
from stages.runner import run_tasks
from stages.runs import Run
from stages.splits import (
    EVALUATION,
    LEARNING,
    SplitContents,
    SplitPanorama,
    survey_evaluation,
    survey_learning,
    survey_splits,
)
from stages.task_reports import PanoramaReport, follow, require_some_done
from stages.unknown_table import write_unknown_table

VERSION = 1
"""Raised when the code changes what is written, so that older files are replaced."""
ALL = "all"
ORIGINAL, WORKING = "original", "working"
CROPS = "crops"
_IGNORE_MASK = "ignore_mask"
"""What a panorama's files are made of besides, where there is a folder of masks: its own mask."""


@dataclass(frozen=True)
class ExportJob:
    """What to bring out of which run's cache, and where to."""

    run: Run
    """Recipe and folder."""
    out: Path
    """Folder of the outputs."""
    outputs: frozenset[str] = frozenset(OUTPUTS) - {AGREEMENT}
    """Which maps are wanted: names of OUTPUTS; all that every run has."""
    format: str = "masks"
    """One of FORMATS."""
    split: str = LEARNING
    """Which panoramas: of `data.panoramas`, of `data.evaluation`, or all."""
    size: str = ORIGINAL
    """The picture's own size, or the working size, in which parts lie in their place and tilted cameras are level."""
    positions: Path | None = None
    """Table of where panoramas were taken (see `positions`), before their own tags."""
    overwrite: bool = False
    """Also write what is up to date."""
    workers: int = 0
    """Worker processes; 0 works in this process."""
    url_prefix: str = LOCAL_FILES
    """What stands before a picture's path in Label Studio's tasks."""
    command: str = "goodsam teacher-cache"
    """What computes panoramas that are not in the cache, for messages."""
    views: str = ""
    """How the views of crops differ from the recipe's, see `export_crops.crop_settings`."""

    def __post_init__(self) -> None:
        """Raises InputError where outputs are unknown, or the folder cannot be that of this export."""
        if unknown := sorted(self.outputs - OUTPUTS.keys()):
            raise InputError(f"--what has {', '.join(unknown)}", f"it is a list of {', '.join(OUTPUTS)}",
                             "Correct it, as in --what labels,overlays")  # fmt: skip
        if AGREEMENT in self.outputs:
            require_several_assistants(self.run.recipe, f"--what has {AGREEMENT}")
        if self.outputs and not FORMATS[self.format].has_maps:
            raise InputError(f"--what {','.join(sorted(self.outputs))}", f"--format {self.format} has maps of its own",
                             "Leave --what out, or export maps into another folder")  # fmt: skip
        if self.views and self.format != CROPS:
            raise InputError(
                f"--views is {self.views}", "only --format crops cuts views", "Leave it out, or pass --format crops"
            )
        if self.format == CROPS:
            panorama = self.run.recipe.panorama
            crops_of(panorama.height, panorama.width, panorama.vertical_fov, self.crop_views)
        FORMATS[self.format].require()
        require_outside(self.out, _folders(self))
        ExportFolder(self.out).require(self.kind)

    @property
    def kind(self) -> ExportKind:
        """What its folder says it is."""
        return ExportKind(self.run.recipe.name, self.split, self.size, self.format)

    @property
    def crop_views(self) -> ViewsConfig:
        """The views of crops."""
        return crop_settings(self.run.recipe.views, self.views)

    @property
    def wanted(self) -> frozenset[str]:
        """All files that are written of a panorama; pictures of the working size lie nowhere else."""
        own = FORMATS[self.format].outputs
        needs_pictures = own and FORMATS[self.format].needs_pictures and self.size == WORKING
        pictures = {IMAGES} if needs_pictures else frozenset[str]()
        return own | self.outputs | pictures | ({UNKNOWN_PART} if UNKNOWN in self.outputs else frozenset[str]())


@dataclass(frozen=True)
class ExportSummary:
    """Result of an export."""

    written: int
    """Panoramas that were written now."""
    kept: int
    """Panoramas that earlier runs have written."""
    failed: dict[str, str]
    """Name -> one sentence, for those that were set aside."""
    left_out: int
    """Panoramas that are not in the cache."""


def export(job: ExportJob, listener: Listener = silent) -> ExportSummary:
    """Write the files of every cached panorama that are missing or not up to date.

    Raises:
        InputError: no panoramas, an unusable output folder or table of positions, or not one could be exported.
        CacheError: there is no cache of this recipe, files cannot be written, or another export is writing there.
    """
    began = time.monotonic()
    contents = _contents(job)
    panoramas = contents.panoramas
    reader = _open_reader(job, panoramas)
    folder = ExportFolder(job.out)
    positions = read_positions(job.positions) if job.positions else None
    with exclusive_lock(job.out, STAGE):
        folder.claim(job.kind)
        tasks = [_task(job, reader, panorama) for panorama in panoramas if panorama.id in reader.paths]
        if positions:
            for note in positions.notes(task.name for task in tasks):
                listener(Note(STAGE, note))
        _note_ignore_masks(folder, tasks)
        missing = [task for task in tasks if job.overwrite or not _is_done(folder, task)]
        listener(StageStarted(STAGE, len(missing), "panoramas"))
        failed = _export_all(missing, job.workers, listener)
        if tasks:
            require_some_done(len(tasks), failed, "exported")
        names = {_name(job, panorama) for panorama in (*panoramas, *contents.beyond_limit)}
        _finish(job, reader, names, positions, listener)
    left_out = len(panoramas) - len(tasks)
    if left_out:
        listener(Note(STAGE, f"{left_out} of {counted(len(panoramas), 'panorama')} not in the cache and left out; "
                             f"`{job.command}` computes what is missing"))  # fmt: skip
    summary = ExportSummary(len(missing) - len(failed), len(tasks) - len(missing), failed, left_out)
    facts = {"written": summary.written, "kept": summary.kept, "set aside": len(failed), "left out": left_out,
             "folder": str(job.out)}  # fmt: skip
    listener(StageFinished(STAGE, time.monotonic() - began, facts))
    return summary


def _contents(job: ExportJob) -> SplitContents:
    recipe = job.run.recipe
    if job.split == EVALUATION and not recipe.data.evaluation:
        raise InputError("data.evaluation is empty", "--split evaluation exports its panoramas",
                         "Leave --split out, to export the panoramas of data.panoramas")  # fmt: skip
    of_split = {LEARNING: survey_learning, EVALUATION: survey_evaluation, ALL: survey_splits}
    return of_split[job.split](recipe)


def _folders(job: ExportJob) -> list[Path]:
    data = job.run.recipe.data
    return [Path(folder) for folder in (data.panoramas, data.evaluation) if folder]


def _open_reader(job: ExportJob, panoramas: list[SplitPanorama]) -> RunReader:
    try:
        return RunReader.open(job.run, panoramas)
    except NotCachedError as error:
        raise NotCachedError(error.found, error.expected, f"Run `{job.command}` first") from error


def _task(job: ExportJob, reader: RunReader, panorama: SplitPanorama) -> ExportTask:
    split, _, plain = panorama.id.partition("/")
    data = job.run.recipe.data
    root = Path(data.evaluation if split == EVALUATION else data.panoramas)
    name = _name(job, panorama)
    path = panorama.path.relative_to(root).as_posix()
    record = reader.records[panorama.id]
    made_of = {"settings": _settings(job, reader), "source": record.sha256}
    if (masks := job.run.recipe.panorama.ignore_mask) and Path(masks).is_dir():  # else the settings have the mask
        made_of[_IGNORE_MASK] = record.ignore_mask_sha256
    return ExportTask(panorama.id, name, path if name == plain else f"{split}/{path}", reader.only(panorama.id),
                      job.out, job.size == ORIGINAL, job.wanted, made_of, FORMATS[job.format].folder,
                      job.crop_views, job.overwrite)  # fmt: skip


def _name(job: ExportJob, panorama: SplitPanorama) -> str:
    """A panorama's name in the export: with its split where that has two."""
    return panorama.id if job.split == ALL and job.run.recipe.data.evaluation else panorama.id.partition("/")[2]


def _settings(job: ExportJob, reader: RunReader) -> str:
    """Names what files are made with, beside their panorama."""
    recipe = reader.recipe
    crops = [job.crop_views] if job.format == CROPS else []
    unknown = [] if recipe.unknown == UnknownConfig() else [recipe.unknown]
    return fingerprint(VERSION, reader.fingerprints[ENSEMBLE], recipe.classes.names, job.size, *crops, *unknown)


def _note_ignore_masks(folder: ExportFolder, tasks: Sequence[ExportTask]) -> None:
    """Take what exports of earlier versions, which did not note ignore masks, have written since a panorama's ensemble
    was computed for what it would be now."""
    for task in tasks:
        noted = {key: value for key, value in task.made_of.items() if key != _IGNORE_MASK}
        is_of_earlier_version = noted != task.made_of and folder.record(task.name).get("made_of") == noted
        if is_of_earlier_version and folder.is_since(task.name, task.reader.computed_at(task.panorama_id)):
            folder.note_origin(task.name, task.made_of)


def _is_done(folder: ExportFolder, task: ExportTask) -> bool:
    return folder.is_done(task.name, task.made_of, task.outputs)


def _export_all(tasks: Sequence[ExportTask], workers: int, listener: Listener) -> dict[str, str]:
    """Export panoramas and report progress; returns the errors of those that were set aside, by name."""
    with closing(run_tasks(export_panorama, tasks, workers, lost=_lost)) as reports:
        return {report.id: report.failed.error for report in follow(reports, STAGE, listener) if report.failed}


def _lost(task: ExportTask, death: WorkerError) -> PanoramaReport:
    return PanoramaReport(task.name, failed=ItemFailed(STAGE, task.name, str(death)))


def _finish(
    job: ExportJob, reader: RunReader, names: Collection[str], positions: Positions | None, listener: Listener
) -> None:
    """Write what tells of all panoramas that there are by these names, and that the folder has of these settings."""
    found = ExportFolder(job.out).records({"settings": _settings(job, reader)})
    records = {name: record for name, record in found if name in names and job.wanted <= record["files"].keys()}
    rows = {name: row_of_notes(name, record["facts"], positions) for name, record in records.items()}
    labels, written = reader.recipe.classes, FORMATS[job.format]
    if written.has_tables:
        write_map_tables(job.out, rows, labels)
    if UNKNOWN in job.outputs:
        parts = {name: job.out / record["files"][UNKNOWN_PART] for name, record in records.items()}
        write_unknown_table(job.out, {name: json.loads(part.read_text()) for name, part in parts.items()})
    written.assemble(Exported(job.out, job.run.recipe.name, labels, records, rows, job.url_prefix, job.size))
    if note := doubtful_positions(list(rows.values())):
        listener(Note(STAGE, note))
