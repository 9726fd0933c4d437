"""The training of stage two: the student learns from what stage one has cached; no SAM, no assistant, no windows.

A killed run goes on from its last checkpoint and ends with the weights that it would have had anyway (bit for bit on a
CPU): the batch, the augmentation and the dropout of step k are functions of (seed, k) alone, so weights, optimiser and
step are all the state there is.

What lies where is in `students`.

Legend: B batch, H W panorama, 3 = RGB.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import Tensor, nn

from pipeline.accelerator import device_errors
from pipeline.errors import GoodSAMError, InputError
from pipeline.precision import chosen_precision
from pipeline.student.augment import jitter_colours
from pipeline.student.config import TRAINING_WRAP
from pipeline.student.data import TrainingBatch, TrainingSet
from pipeline.student.losses import mka_losses, total
from pipeline.student.model import forward_wrapped, normalise, to_unit
from pipeline.student.precision import mixed_precision
from pipeline.student.processes import BatchPart, WholeBatchRandomness, average_gradients, share_norms
from pipeline.student.targets import make_targets
from stages.devices import describe_device
from stages.distill_job import DistillJob
from stages.events import Listener, Note, StageFinished
from stages.progress import Progress
from stages.ranks import ALONE, Ranks
from stages.saved_student import write_student
from stages.students import StudentFolder
from stages.trainee import TrainState, prepare
from stages.training_loop import TrainingLoop
from stages.validating import is_due, validate

STAGE = "distill"
_GPU_READERS = 4
"""Threads that prepare batches for a GPU, which takes a step in less time than one thread takes for a batch."""


def train_student(
    job: DistillJob, listener: Listener, ranks: Ranks = ALONE, begin: Callable[[], object] = lambda: None
) -> Path:
    """Train the student of `job`, or go on with it, together with other processes if there are any.

    A finished one is left alone, unless panoramas that it did without can be read now: then it is trained anew.

    Args:
        job: what determines the student.
        listener: hears the events.
        ranks: the processes that train together.
        begin: called once nothing is left that could refuse the job, before the first step; also for a finished one.

    Returns:
        The folder of the student.

    Raises:
        GoodSAMError: no panoramas, unusable weights, no cached features for their loss, a loss that is no longer
            finite, a device that fails or is too small, or no room for a checkpoint.
    """
    folder = job.folder
    if ranks.share(ranks.is_first and _nothing_to_do(job, listener)):
        begin()
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
    loop = _loop(job, training, data, ranks, listener)
    done = loop.resume(listener)
    begin()
    if training.start_note and not done.steps:
        listener(Note(STAGE, training.start_note))
    processes = f", {ranks.count} processes" if ranks.count > 1 else ""
    listener(Note(STAGE, f"on {describe_device(job.device, torch.get_num_threads())}{processes}"))
    with device_errors("set a smaller distill.batch_size, distill.crop_width or losses.stride = 4"):
        done = loop.run(done, listener)
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


def _loop(
    job: DistillJob, training: TrainState, data: TrainingSet, ranks: Ranks, listener: Listener
) -> TrainingLoop[TrainingBatch]:
    device, part = torch.device(job.device), ranks.part_of(job.distill.batch_size)
    return TrainingLoop(
        STAGE, job.distill, job.seed, training.optimizer, training.parts,
        batch=(lambda number: data.batch(number).pinned()) if device.type == "cuda" else data.batch,
        step=lambda batch: training_step(job, training, batch.to(device), part),
        checkpoint=job.folder.checkpoint,
        name=job.fingerprint,
        remedy="Lower distill.learning_rate, lengthen distill.warmup_steps or set distill.precision to float32",
        readers=_GPU_READERS if device.type == "cuda" else 1,
        set_aside=data.failed,
        ranks=ranks,
        is_examined=lambda done: is_due(job, done),
        examine=lambda progress: validate(job, training, working_size(data), progress, STAGE, listener),
    )  # fmt: skip


def training_step(
    job: DistillJob, training: TrainState, batch: TrainingBatch, part: BatchPart | None = None
) -> dict[str, Tensor]:
    """One step of the optimiser on a batch, or on this process's `part` of it. Returns each loss unweighted (not that
    of features if the batch has none), their weighted total and the gradient's norm, of the whole batch, as tensors on
    the device, so that nothing waits for them."""
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
    if not batch.has_features:  # their loss is 0 because there is none, not because it is small
        losses.pop("features", None)
    return {**losses, "total": loss.detach(), "gradient_norm": norm}


def working_size(data: TrainingSet) -> tuple[int, int]:
    """(height, width) of the panoramas to learn from."""
    height, width = data.sample(0).image_HW3.shape[:2]
    return height, width


def uses_bfloat16(job: DistillJob) -> bool:
    """Whether the network computes in bfloat16 where that is safe."""
    return chosen_precision(job.distill.precision, torch.device(job.device)) == torch.bfloat16


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
