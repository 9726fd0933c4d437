"""Stage two of a run: the student that its recipe and its cache determine is trained, or found finished."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path

from pipeline.errors import counted
from pipeline.settings import by_dotted_name
from stages.claims import exclusive_lock
from stages.distill_job import DistillJob
from stages.events import Listener, Note, silent, to_all
from stages.listeners import TensorBoard
from stages.ranks import training_together
from stages.reading import RunReader
from stages.runs import STUDENTS, Run
from stages.splits import SplitPanorama, learning_panoramas
from stages.trackers import TrackedRun, require_trackers, tracking
from stages.training import STAGE, train_student
from stages.validation import hold_out, run_validation


def distill(run: Run, listener: Listener, *, device: str = "cpu", trackers: Sequence[str] = ()) -> Path:
    """Train the student of a run, or resume its training. Students of other settings or panoramas stay as they are.

    Processes that `torchrun` has started train it together; the first of them writes and tells.

    Args:
        run: recipe and folder.
        listener: hears the events.
        device: torch device.
        trackers: names of `stages.trackers.TRACKERS` that get the scalars too.

    Returns:
        The folder of the finished student, <cache>/students/<fingerprint>/final.

    Raises:
        GoodSAMError: no panoramas, no cache of this recipe, another process at the same student, a tracker that is not
            installed or fails, or as `train_student`.
    """
    require_trackers(trackers)
    with training_together(device) as (ranks, own_device):
        learning = learning_panoramas(run.recipe)
        cached = RunReader.open(run, learning)
        job = distill_job(run, cached, own_device)
        ranks.require_same(job.fingerprint)
        if not ranks.is_first:
            return train_student(job, silent, ranks)
        with exclusive_lock(job.folder.path, STAGE, run.cache):
            note_left_out(STAGE, learning, cached.ids, listener)
            _note_held_out(job, listener)
            with _curves(run, job, trackers) as curves:
                return train_student(job, to_all(listener, curves), ranks, begin=lambda: _record(run, job))


def _record(run: Run, job: DistillJob) -> None:
    """Make the student the run's latest; one whose settings are refused must not take the place of a finished one."""
    run.record_recipe()
    run.record_student(job.fingerprint)


@contextmanager
def _curves(run: Run, job: DistillJob, trackers: Sequence[str]) -> Generator[Listener]:
    """A listener that writes scalars for TensorBoard and the trackers."""
    tracked = TrackedRun(run.recipe.name, job.fingerprint, job.folder.path, by_dotted_name(asdict(run.recipe)))
    with closing(TensorBoard(job.folder.path / "tensorboard")) as curves, tracking(trackers, tracked) as track:
        yield to_all(curves, track)


def _note_held_out(job: DistillJob, listener: Listener) -> None:
    if job.validation:
        held_out = len(job.validation.facts["held_out"])
        listener(Note(STAGE, f"training on {counted(len(job.ids), 'panorama')}; {held_out} held out, for validation "
                             f"every {job.validation.every} steps by {job.validation.chosen_by}"))  # fmt: skip


def distill_job(run: Run, reader: RunReader, device: str = "cpu") -> DistillJob:
    """What determines the student of a run.

    Args:
        run: recipe and folder.
        reader: reads the panoramas to learn from.
        device: torch device.
    """
    recipe = run.recipe
    reader, held_out = hold_out(reader, recipe.distill.validation)
    return DistillJob(
        students=run.cache / STUDENTS,
        ids=reader.ids,
        read_sample=reader.sample_reader,
        data_fingerprint=reader.content_fingerprint(),
        label_set=recipe.classes,
        student=recipe.student,
        losses=recipe.losses,
        distill=recipe.distill,
        seed=recipe.student.seed,
        device=device,
        corrections_fingerprint=reader.corrections_fingerprint,
        vertical_fov=recipe.panorama.vertical_fov,
        validation=run_validation(run.recipe, held_out) if held_out else None,
    )


def note_left_out(stage: str, wanted: Sequence[SplitPanorama], cached: Sequence[str], listener: Listener) -> None:
    """Tell how many panoramas are not in the cache."""
    if left_out := len(wanted) - len(cached):
        listener(Note(stage, f"{left_out} of {counted(len(wanted), 'panorama')} not in the cache and left out"))
