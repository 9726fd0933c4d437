"""The training of stage two: the student learns from what stage one has cached; no SAM, no assistant, no windows.

A killed run goes on from its last checkpoint and ends with the weights that it would have had anyway (bit for bit on a
CPU): the batch, the augmentation and the dropout of step k are functions of (seed, k) alone, so weights, optimiser and
step are all the state there is.

What lies where is in `students`.

Legend: B batch, H W panorama, 3 = RGB.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing, nullcontext
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.accelerator import device_errors
from pipeline.errors import GoodSAMError, InputError
from pipeline.precision import chosen_precision
from pipeline.student.augment import jitter_colours
from pipeline.student.config import TRAINING_WRAP
from pipeline.student.data import TrainingBatch, TrainingSet, read_ahead
from pipeline.student.losses import mka_losses, total
from pipeline.student.meter import LossMeter
from pipeline.student.model import forward_wrapped, normalise, to_unit
from pipeline.student.precision import mixed_precision
from pipeline.student.processes import BatchPart, WholeBatchRandomness, average_gradients, share_norms
from pipeline.student.schedule import set_learning_rates
from pipeline.student.targets import make_targets
from stages.devices import describe_device
from stages.distill_job import DistillJob
from stages.events import ItemFailed, Listener, Note, Scalars, StageAdvanced, StageFinished, StageStarted
from stages.progress import Progress
from stages.ranks import ALONE, Ranks
from stages.saved_student import write_student
from stages.students import StudentFolder
from stages.trainee import TrainState, prepare
from stages.validating import is_due, validate

STAGE = "distill"
_GPU_READERS = 4
"""Threads that prepare batches for a GPU, which takes a step in less time than one thread takes for a batch."""
_STREAM = 2
"""Tells the seeds of dropout from those of the order of samples (0) and of augmentations (1)."""


def train_student(job: DistillJob, listener: Listener, ranks: Ranks = ALONE) -> Path:
    """Train the student of `job`, or go on with it, together with other processes if there are any.

    A finished one is left alone, unless panoramas that it did without can be read now: then it is trained anew.

    Returns:
        The folder of the student.

    Raises:
        GoodSAMError: no panoramas, unusable weights, no cached features for their loss, a loss that is no longer
            finite, a device that fails or is too small, or no room for a checkpoint.
    """
    folder = job.folder
    if ranks.share(ranks.is_first and _nothing_to_do(job, listener)):
        return folder.final
    if not job.ids:
        raise InputError("there are no panoramas to train on", "stage one must have computed some",
                         "Run `goodsam teacher-cache` first")  # fmt: skip
    began = time.monotonic()
    part = ranks.part_of(job.distill.batch_size)
    has_corrections = not part.is_whole and bool(job.corrections_fingerprint)
    data = TrainingSet(job.ids, job.read_sample, job.distill, job.losses.stride, job.seed, part, has_corrections)
    training = prepare(job, data.sample(0))
    if not part.is_whole:
        share_norms(training.model)
    done = _resume(job, training, listener, ranks)
    if training.start_note and not done.steps:
        listener(Note(STAGE, training.start_note))
    processes = f", {ranks.count} processes" if ranks.count > 1 else ""
    listener(Note(STAGE, f"on {describe_device(job.device, torch.get_num_threads())}{processes}"))
    listener(StageStarted(STAGE, job.distill.steps - done.steps, "steps"))
    with device_errors("set a smaller distill.batch_size, distill.crop_width or losses.stride = 4"):
        done = train(job, training, data, done, listener, ranks)
    if ranks.is_first:
        size = working_size(data)
        folder.finish(lambda new: write_student(new, job, training, size, done))
    listener(StageFinished(STAGE, time.monotonic() - began, {"student": str(folder.final), **done.losses}))
    return folder.final


def _nothing_to_do(job: DistillJob, listener: Listener) -> bool:
    """Whether the student is finished; checkpoints of a training that did without panoramas that can be read now are
    removed."""
    if not job.folder.is_finished:
        return False
    readable = _readable_again(job)
    if not readable:
        listener(Note(STAGE, f"{job.folder.final} is finished; nothing to do"))
        return True
    listener(Note(STAGE, f"panoramas that were set aside can be read now ({len(readable)}): training includes them"))
    _forget_training_without(job.folder, readable)
    return False


def train(
    job: DistillJob,
    training: TrainState,
    data: TrainingSet,
    before: Progress,
    listener: Listener,
    ranks: Ranks = ALONE,
) -> Progress:
    """The steps that are still to be done after `before`."""
    config, cuda = job.distill, torch.device(job.device).type == "cuda"
    meter, part = LossMeter(), ranks.part_of(config.batch_size)
    progress = before
    steps = range(before.steps, config.steps)
    load = (lambda step: data.batch(step).pinned()) if cuda else data.batch
    with closing(read_ahead(load, steps, _GPU_READERS if cuda else 1)) as batches:
        reported = _report_failures(data, set(), listener)
        for step, batch in zip(steps, batches, strict=True):
            began = time.monotonic()
            rate = set_learning_rates(training.optimizer, step, config)
            torch.manual_seed(seed_of_step(job.seed, step))  # dropout and drop path
            measured = training_step(job, training, batch.to(torch.device(job.device)), part)
            if not batch.has_features:  # their loss is 0 because there is none, not because it is small
                measured.pop("features", None)
            meter.add(step, measured)
            done = step + 1
            if done % config.log_every == 0 or done == config.steps:
                means = meter.read()
                progress = replace(progress, losses={**progress.losses, **means})
                listener(Scalars(STAGE, done, {**means, "learning_rate": rate}))
            is_saved = done % config.checkpoint_every == 0 or done == config.steps
            if is_saved or is_due(job, done):
                meter.check()
                for failed in ranks.gather(data.failed):
                    data.failed.update(failed)
                progress = replace(progress, steps=done, set_aside={**before.set_aside, **data.failed})
            if is_due(job, done) and ranks.is_first:
                progress = validate(job, training, working_size(data), progress, STAGE, listener)
            if is_saved and ranks.is_first:
                job.folder.save({"progress": asdict(progress), **training.state()})
            reported = _report_failures(data, reported, listener)
            listener(StageAdvanced(STAGE, done - before.steps, f"step {done}", time.monotonic() - began))
    return progress


def training_step(
    job: DistillJob, training: TrainState, batch: TrainingBatch, part: BatchPart | None = None
) -> dict[str, Tensor]:
    """One step of the optimiser on a batch, or on this process's `part` of it. Returns each loss unweighted, their
    weighted total and the gradient's norm, of the whole batch, as tensors on the device, so that nothing waits for
    them."""
    pixels_B3HW = normalise(jitter_colours(to_unit(batch.image_BHW3), batch.colours_B3))
    targets = make_targets(batch)
    randomness = nullcontext() if part is None or part.is_whole else WholeBatchRandomness(part)
    with mixed_precision(pixels_B3HW.device.type, enabled=uses_bfloat16(job)), randomness:
        output = forward_wrapped(training.model, pixels_B3HW, TRAINING_WRAP if batch.whole else 0)
    losses = mka_losses(output, targets, training.projections, job.losses, wrap=batch.whole)
    loss = total(losses, job.losses)
    training.optimizer.zero_grad()
    loss.backward()
    average_gradients(training.parameters)
    gradients = [p.grad for p in training.parameters if p.grad is not None]
    norm = nn.utils.get_total_norm(gradients)
    training.optimizer.step()
    if training.average is not None:
        training.average.update_parameters(training.model)
    return {**losses, "total": loss.detach(), "gradient_norm": norm}


def working_size(data: TrainingSet) -> tuple[int, int]:
    """(height, width) of the panoramas to learn from."""
    height, width = data.sample(0).image_HW3.shape[:2]
    return height, width


def uses_bfloat16(job: DistillJob) -> bool:
    """Whether the network computes in bfloat16 where that is safe."""
    return chosen_precision(job.distill.precision, torch.device(job.device)) == torch.bfloat16


def seed_of_step(seed: int, step: int) -> int:
    """Seed of what is random inside the network at `step`."""
    return int(np.random.SeedSequence((seed, _STREAM, step)).generate_state(1, np.uint64)[0])


def _resume(job: DistillJob, training: TrainState, listener: Listener, ranks: Ranks) -> Progress:
    """Load the latest checkpoint of this student, if there is one; any number of processes may have written it."""
    state = ranks.share(job.folder.load() if ranks.is_first else None)
    if state is None:
        return Progress()
    training.load_state(state)
    progress = Progress(**state["progress"])
    listener(Note(STAGE, f"resuming from step {progress.steps} of {job.distill.steps}"))
    return progress


def _readable_again(job: DistillJob) -> list[str]:
    """Panoramas that the finished student had to do without, and that can be read now."""
    return [id_ for id_ in job.folder.record().get("panoramas_set_aside", {}) if _can_read(job, id_)]


def _can_read(job: DistillJob, panorama_id: str) -> bool:
    try:
        job.read_sample(panorama_id)
    except GoodSAMError:
        return False
    return True


def _forget_training_without(folder: StudentFolder, panorama_ids: Sequence[str]) -> None:
    """Remove the checkpoints of a training that did without one of these panoramas."""
    state = folder.load()
    if state is not None and not Progress(**state["progress"]).set_aside.keys().isdisjoint(panorama_ids):
        folder.forget_training()


def _report_failures(data: TrainingSet, reported: set[str], listener: Listener) -> set[str]:
    failed = dict(data.failed)
    for panorama_id in failed.keys() - reported:
        listener(ItemFailed(STAGE, panorama_id, failed[panorama_id]))
    return set(failed)
