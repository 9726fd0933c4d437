"""The training of stage two: the student learns from what stage one has cached; no SAM, no assistant, no windows.

A killed run goes on from its last checkpoint and ends with the weights that it would have had anyway (bit for bit on a
CPU): the batch, the augmentation and the dropout of step k are functions of (seed, k) alone, so weights, optimiser and
step are all the state there is.

What lies where is in `students`.

Legend: B batch, H W panorama, 3 = RGB.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from transformers import SegformerForSemanticSegmentation

from pipeline.accelerator import device_errors
from pipeline.classes import LabelSet
from pipeline.errors import GoodSAMError, InputError, RecipeError
from pipeline.finite import require_finite
from pipeline.precision import chosen_precision
from pipeline.settings import fingerprint
from pipeline.student.augment import jitter_colours
from pipeline.student.average import start_average
from pipeline.student.config import OPTIONAL_TRAINING, TRAINING_WRAP, DistillConfig, LossConfig, StudentConfig
from pipeline.student.data import TrainingBatch, TrainingSet, read_ahead
from pipeline.student.losses import FeatureProjections, mka_losses, total
from pipeline.student.meter import LossMeter
from pipeline.student.model import forward_wrapped, normalise, save_student, start_identity, start_student, to_unit
from pipeline.student.pooling import PooledSample
from pipeline.student.precision import mixed_precision
from pipeline.student.sample import SampleReader
from pipeline.student.schedule import parameter_groups, set_learning_rates
from pipeline.student.targets import make_targets
from stages.devices import describe_device
from stages.events import ItemFailed, Listener, Note, Scalars, StageAdvanced, StageFinished, StageStarted
from stages.model_card import write_model_card
from stages.students import StudentFolder
from stages.training_record import RECORD

STAGE = "distill"
VERSION = 4
"""Raised when the code changes what a student learns, so that older students and checkpoints are not taken for it."""
_GPU_READERS = 4
"""Threads that prepare batches for a GPU, which takes a step in less time than one thread takes for a batch."""
_STREAM = 2
"""Tells the seeds of dropout from those of the order of samples (0) and of augmentations (1)."""


@dataclass(frozen=True)
class DistillJob:
    """All that determines a student."""

    students: Path
    """Folder of all students; everything is written to this one's, below it."""
    ids: tuple[str, ...]
    """Panoramas to learn from, in an order that does not change between runs."""
    read_sample: SampleReader
    """Reads one of them."""
    data_fingerprint: str
    """Names what is learned from, in the order of the panoramas: stage one's output, not where it lies."""
    label_set: LabelSet
    """Classes of the student."""
    student: StudentConfig
    """The network."""
    losses: LossConfig
    """Weights of the losses."""
    distill: DistillConfig
    """Training."""
    seed: int
    """Seed of all that is random."""
    device: str = "cpu"
    """torch device."""
    corrections_fingerprint: str = ""
    """Names people's corrections that are learned from too; empty where there are none."""
    vertical_fov: float = 180.0
    """Vertical field of view of the panoramas, degrees: noted for those who predict with the student."""

    @cached_property
    def fingerprint(self) -> str:
        """Name of the student that comes out, however often progress is logged and saved, and wherever files lie."""
        student = (self.student.size, start_identity(self.student, self.label_set))
        corrections = (self.corrections_fingerprint,) if self.corrections_fingerprint else ()
        return fingerprint(VERSION, student, self.effective_losses, self.effective_training, self.seed,
                           self.label_set.names, self.data_fingerprint, *corrections)  # fmt: skip

    @property
    def effective_losses(self) -> dict[str, Any]:
        """The settings of the losses without those that have no effect on this student."""
        without = () if self.corrections_fingerprint else ("corrections",)
        return {key: value for key, value in asdict(self.losses).items() if key not in without}

    @property
    def effective_training(self) -> dict[str, Any]:
        """The settings of the training, those without effect on the student at a fixed value, or left out."""
        training = replace(self.distill, log_every=1, checkpoint_every=1, sample_memory_gb=0)
        return {key: value for key, value in asdict(training).items() if OPTIONAL_TRAINING.get(key) != value}

    @property
    def folder(self) -> StudentFolder:
        """Where checkpoints and the student go."""
        return StudentFolder(self.students / self.fingerprint)


@dataclass(frozen=True)
class TrainState:
    """What learns, and what makes it learn."""

    model: SegformerForSemanticSegmentation
    """The student."""
    projections: FeatureProjections
    """Needed for the features' loss, not part of the student."""
    optimizer: torch.optim.AdamW
    """Its groups carry their peak learning rate under `peak`."""
    start_note: str = ""
    """Which classes the student's start does not know, for the user; may be empty."""
    average: AveragedModel | None = None
    """Average of the model over its steps; None where none is asked for."""

    @property
    def student(self) -> SegformerForSemanticSegmentation:
        """What is saved as the student, and validated: the average of the model, or the model itself."""
        return self.model if self.average is None else cast(SegformerForSemanticSegmentation, self.average.module)

    @property
    def parameters(self) -> list[nn.Parameter]:
        """All that is trained."""
        return [*self.model.parameters(), *self.projections.parameters()]

    def state(self) -> dict[str, Any]:
        """For the checkpoint."""
        parts = {"model": self.model, "projections": self.projections, "optimizer": self.optimizer}
        averages = {} if self.average is None else {"average": self.average}
        return {name: part.state_dict() for name, part in {**parts, **averages}.items()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """From the checkpoint, which another kind of device may have written."""
        saved = state["optimizer"]
        both = zip(saved["param_groups"], self.optimizer.param_groups, strict=True)
        groups = [{**group, "fused": own["fused"]} for group, own in both]  # it decides where steps are counted
        self.optimizer.load_state_dict({**saved, "param_groups": groups})
        self.model.load_state_dict(state["model"])
        self.projections.load_state_dict(state["projections"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])


@dataclass(frozen=True)
class Progress:
    """How far a training has come; part of its checkpoint."""

    steps: int = 0
    """Steps done."""
    losses: dict[str, float] = field(default_factory=dict[str, float])
    """Means at the last line of the log that has them."""
    set_aside: dict[str, str] = field(default_factory=dict[str, str])
    """Panoramas that could not be read at some time, with the reason."""


def train_student(job: DistillJob, listener: Listener) -> Path:
    """Train the student of `job`, or go on with it.

    A finished one is left alone, unless panoramas that it did without can be read now: then it is trained anew.

    Returns:
        The folder of the student.

    Raises:
        GoodSAMError: no panoramas, unusable weights, no cached features for their loss, a loss that is no longer
            finite, a device that fails or is too small, or no room for a checkpoint.
    """
    folder = job.folder
    if folder.is_finished:
        readable = _readable_again(job)
        if not readable:
            listener(Note(STAGE, f"{folder.final} is finished; nothing to do"))
            return folder.final
        listener(
            Note(STAGE, f"panoramas that were set aside can be read now ({len(readable)}): training includes them")
        )
        _forget_training_without(folder, readable)
    if not job.ids:
        raise InputError("there are no panoramas to learn from", "they come from stage one", "Run stage one first")
    began = time.monotonic()
    data = TrainingSet(job.ids, job.read_sample, job.distill, job.losses.stride, job.seed)
    example = data.sample(0)
    training = prepare(job, example)
    done = _resume(job, training, listener)
    if training.start_note and not done.steps:
        listener(Note(STAGE, training.start_note))
    listener(Note(STAGE, f"on {describe_device(job.device, torch.get_num_threads())}"))
    listener(StageStarted(STAGE, job.distill.steps - done.steps, "steps"))
    with device_errors("set a smaller distill.batch_size, distill.crop_width or losses.stride = 4"):
        done = train(job, training, data, done, listener)
    _finish(job, training, example, done)
    listener(StageFinished(STAGE, time.monotonic() - began, {"student": str(folder.final), **done.losses}))
    return folder.final


def prepare(job: DistillJob, example: PooledSample) -> TrainState:
    """The student, the projections that the example's features need, and their optimiser, at the very beginning.

    Raises:
        WeightsError: the start cannot be loaded, or has weights that are no numbers.
        RecipeError: there are no features for their loss.
    """
    torch.manual_seed(job.seed)
    start = start_student(job.student, job.label_set)
    model = start.model
    for parameter in model.parameters():
        require_finite(parameter, f"the student's start {job.student.weights or job.student.size}")
    nn.Module.to(model, torch.device(job.device)).train()
    if job.losses.features and not example.features:
        raise RecipeError("losses.features is above 0, but stage one has cached no features",
                          "the loss needs features of at least one level",
                          "Set losses.features = 0, or assistant.feature_levels and run stage one again")  # fmt: skip
    channels = {level: array.shape[0] for level, array in example.features.items()} if job.losses.features else {}
    projections = FeatureProjections(model.config.hidden_sizes, channels).to(job.device).train()
    groups = parameter_groups(model, projections, job.distill)
    optimizer = torch.optim.AdamW(groups, fused=True)
    average = start_average(model, job.distill.average) if job.distill.average else None
    return TrainState(model, projections, optimizer, start.note, average)


def train(job: DistillJob, training: TrainState, data: TrainingSet, before: Progress, listener: Listener) -> Progress:
    """The steps that are still to be done after `before`."""
    config, cuda = job.distill, torch.device(job.device).type == "cuda"
    meter = LossMeter()
    progress = before
    steps = range(before.steps, config.steps)
    load = (lambda step: data.batch(step).pinned()) if cuda else data.batch
    with closing(read_ahead(load, steps, _GPU_READERS if cuda else 1)) as batches:
        reported = _report_failures(data, set(), listener)
        for step, batch in zip(steps, batches, strict=True):
            began = time.monotonic()
            rate = set_learning_rates(training.optimizer, step, config)
            torch.manual_seed(seed_of_step(job.seed, step))  # dropout and drop path
            measured = training_step(job, training, batch.to(torch.device(job.device)))
            if not batch.has_features:  # their loss is 0 because there is none, not because it is small
                measured.pop("features", None)
            meter.add(step, measured)
            done = step + 1
            if done % config.log_every == 0 or done == config.steps:
                means = meter.read()
                progress = replace(progress, losses={**progress.losses, **means})
                listener(Scalars(STAGE, done, {**means, "learning_rate": rate}))
            if done % config.checkpoint_every == 0 or done == config.steps:
                meter.check()
                progress = replace(progress, steps=done, set_aside={**before.set_aside, **data.failed})
                job.folder.save({"progress": asdict(progress), **training.state()})
            reported = _report_failures(data, reported, listener)
            listener(StageAdvanced(STAGE, done - before.steps, f"step {done}", time.monotonic() - began))
    return progress


def training_step(job: DistillJob, training: TrainState, batch: TrainingBatch) -> dict[str, Tensor]:
    """One step of the optimiser. Returns each loss unweighted, their weighted total and the gradient's norm, as tensors
    on the device, so that nothing waits for them."""
    pixels_B3HW = normalise(jitter_colours(to_unit(batch.image_BHW3), batch.colours_B3))
    targets = make_targets(batch)
    with mixed_precision(pixels_B3HW.device.type, enabled=uses_bfloat16(job)):
        output = forward_wrapped(training.model, pixels_B3HW, TRAINING_WRAP if batch.whole else 0)
    losses = mka_losses(output, targets, training.projections, job.losses, wrap=batch.whole)
    loss = total(losses, job.losses)
    training.optimizer.zero_grad()
    loss.backward()
    gradients = [p.grad for p in training.parameters if p.grad is not None]
    norm = nn.utils.get_total_norm(gradients)
    training.optimizer.step()
    if training.average is not None:
        training.average.update_parameters(training.model)
    return {**losses, "total": loss.detach(), "gradient_norm": norm}


def uses_bfloat16(job: DistillJob) -> bool:
    """Whether the network computes in bfloat16 where that is safe."""
    return chosen_precision(job.distill.precision, torch.device(job.device)) == torch.bfloat16


def seed_of_step(seed: int, step: int) -> int:
    """Seed of what is random inside the network at `step`."""
    return int(np.random.SeedSequence((seed, _STREAM, step)).generate_state(1, np.uint64)[0])


def _resume(job: DistillJob, training: TrainState, listener: Listener) -> Progress:
    """Load the latest checkpoint of this student, if there is one."""
    state = job.folder.load()
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


def _finish(job: DistillJob, training: TrainState, example: PooledSample, done: Progress) -> None:
    """Write the student and where it comes from, as one folder that is complete or not there."""
    height, width = example.image_HW3.shape[:2]
    report = {
        "fingerprint": job.fingerprint, "steps": job.distill.steps, "losses": done.losses,
        "parameters": sum(p.numel() for p in training.student.parameters()), "panoramas": len(job.ids),
        "panoramas_set_aside": done.set_aside, "data": job.data_fingerprint, "label_set": job.label_set.name,
        "working_size": [height, width], "vertical_fov": job.vertical_fov,
        "seed": job.seed, "device": job.device, "torch": torch.__version__,
        "settings": {"student": asdict(job.student), "losses": asdict(job.losses),
                     "distill": asdict(job.distill)},
    }  # fmt: skip

    def fill(folder: Path) -> None:
        save_student(training.student, folder, (height, width))
        (folder / RECORD).write_text(json.dumps(report, indent=2), encoding="utf-8")
        write_model_card(folder)

    job.folder.finish(fill)


def _report_failures(data: TrainingSet, reported: set[str], listener: Listener) -> set[str]:
    failed = dict(data.failed)
    for panorama_id in failed.keys() - reported:
        listener(ItemFailed(STAGE, panorama_id, failed[panorama_id]))
    return set(failed)
