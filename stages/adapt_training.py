"""The training of the assistant on its own teacher cache, without labels.

A killed run goes on from its last checkpoint and ends with the weights that it would have had anyway (bit for bit with
one thread of a CPU): the batch of step k is a function of (seed, k) alone and the network has no dropout, so weights,
optimiser and step are all the state there is.

<cache>/assistants/<fingerprint>/
    checkpoint.pt     the latest state of the training; checkpoint.previous.pt is the one before
    final/            the adapted network, as transformers saves it, adapted.json and a model card
    comparison.json   what the sphere and SAM's masks say of it and of the assistant before, on held-out panoramas
    tensorboard/      curves of its training
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from pipeline.accelerator import device_errors
from pipeline.adapt.batches import AdaptBatch, AdaptReader, AdaptSet, Way
from pipeline.adapt.config import OPTIONAL_OF_ADAPT, AdaptConfig
from pipeline.adapt.losses import adapt_losses, total
from pipeline.adapt.network import (
    labels_of,
    load_trainable,
    mix_with_start,
    predict_pixels,
    save_network,
    source_folder,
)
from pipeline.classes import LabelSet, label_set
from pipeline.errors import InputError
from pipeline.precision import chosen_precision
from pipeline.settings import fingerprint, without_unused
from pipeline.student.schedule import parameter_groups
from pipeline.teacher.assistant_transformers import TransformersAssistant
from pipeline.teacher.config import AssistantConfig
from pipeline.teacher.identity import assistant_identity
from stages.cards import CARD, adapted_card
from stages.devices import describe_device
from stages.events import Listener, Note, StageFinished
from stages.files import write_whole
from stages.progress import Progress
from stages.students import StudentFolder
from stages.training_loop import TrainingLoop

STAGE = "adapt"
VERSION = 1
"""Raised when the code changes what an assistant learns, so that older ones and checkpoints are not taken for it."""
_BALANCE_VERSION = 1
"""Likewise where classes are balanced."""


@dataclass(frozen=True)
class AdaptedFolder(StudentFolder):
    """The folder of one adapted assistant, finished or not, kept as a student's is."""

    record_name: ClassVar[str] = "adapted.json"

    @property
    def comparison(self) -> Path:
        """What is known of it and of the assistant before, once they are compared."""
        return self.path / "comparison.json"


@dataclass(frozen=True)
class AdaptJob:
    """All that determines an adapted assistant."""

    assistants: Path
    """Folder of all adapted assistants; everything is written to this one's, below it."""
    ids: tuple[str, ...]
    """Panoramas to learn from, in an order that does not change between runs."""
    read: AdaptReader
    """Reads one of them."""
    data_fingerprint: str
    """Names what is learned from, in the order of the panoramas, and how stage one shows them to the assistant."""
    label_set: LabelSet
    """Classes of the run."""
    assistant: AssistantConfig
    """The network that is adapted; its own classes merge into those of the run."""
    ways: tuple[Way, ...]
    """How it is shown panoramas."""
    adapt: AdaptConfig
    """Training."""
    device: str = "cpu"
    """torch device."""

    @cached_property
    def fingerprint(self) -> str:
        """Name of the assistant that comes out, however often progress is logged and saved, and wherever files lie."""
        training = replace(self.adapt, log_every=1, checkpoint_every=1, held_out=0)  # the panoramas tell the last
        balance = (f"balance {_BALANCE_VERSION}",) if self.adapt.class_balance else ()
        return fingerprint(VERSION, assistant_identity(self.assistant), self.own_classes.names, self.label_set.names,
                           without_unused(training, OPTIONAL_OF_ADAPT), self.data_fingerprint, *balance)  # fmt: skip

    @property
    def own_classes(self) -> LabelSet:
        """Classes of the network."""
        return labels_of(self.assistant, label_set(self.assistant.label_set))

    @property
    def folder(self) -> AdaptedFolder:
        """Where checkpoints and the adapted assistant go."""
        return AdaptedFolder(self.assistants / self.fingerprint)


@dataclass(frozen=True)
class AdaptState:
    """What learns, and what makes it learn."""

    assistant: TransformersAssistant
    """The network, with gradients."""
    optimizer: torch.optim.AdamW
    """Its groups carry their peak learning rate under `peak`."""


def train_assistant(job: AdaptJob, listener: Listener) -> Path:
    """Adapt the assistant of `job`, or go on with it; a finished one is left alone.

    Returns:
        The folder of the adapted network, which `assistant.name` can name.

    Raises:
        GoodSAMError: no panoramas, unusable weights, a loss that is no longer finite, a device that fails or is too
            small, or no room for a checkpoint.
    """
    folder = job.folder
    if folder.is_finished:
        listener(Note(STAGE, f"{folder.final} is finished"))
        return folder.final
    if not job.ids:
        raise InputError("there are no panoramas to train on", "stage one must have computed some",
                         "Run `goodsam teacher-cache` first")  # fmt: skip
    began = time.monotonic()
    training = prepare(job)
    loop = _loop(job, training)
    done = loop.resume(listener)
    listener(Note(STAGE, f"on {describe_device(job.device, torch.get_num_threads())}; {len(job.ids)} panoramas"))
    with device_errors("set a smaller adapt.batch_size"):
        done = loop.run(done, listener)
    _finish(job, training, done)
    listener(StageFinished(STAGE, time.monotonic() - began, {"assistant": str(folder.final), **done.losses}))
    return folder.final


def prepare(job: AdaptJob) -> AdaptState:
    """The network and its optimiser at the very beginning.

    Raises:
        WeightsError: it cannot be loaded, or has weights that are no numbers.
    """
    assistant = load_trainable(job.assistant, job.own_classes, torch.device(job.device))
    groups = parameter_groups(assistant.network, nn.Module(), job.adapt.schedule)
    return AdaptState(assistant, torch.optim.AdamW(groups, fused=True))


def _loop(job: AdaptJob, training: AdaptState) -> TrainingLoop[AdaptBatch]:
    data = AdaptSet(job.ids, job.read, job.ways, job.adapt)
    return TrainingLoop(
        STAGE, job.adapt.schedule, job.adapt.seed, training.optimizer,
        {"network": training.assistant.network, "optimizer": training.optimizer},
        batch=data.batch,
        step=lambda batch: training_step(job, training, batch),
        checkpoint=job.folder.checkpoint,
        name=job.fingerprint,
        remedy="Lower adapt.learning_rate, lengthen adapt.warmup_steps or set adapt.precision to float32",
        readers=2,
        set_aside=data.failed,
    )  # fmt: skip


def training_step(job: AdaptJob, training: AdaptState, batch: AdaptBatch) -> dict[str, Tensor]:
    """One step of the optimiser. Returns each loss unweighted and their weighted total, as tensors on the device."""
    device = torch.device(job.device)
    bfloat16 = chosen_precision(job.adapt.precision, device) == torch.bfloat16
    logits_CN = predict_pixels(training.assistant, batch, job.label_set, bfloat16)
    losses = adapt_losses(logits_CN, batch.targets(device), batch.overlaps_2O, job.adapt)
    loss = total(losses, job.adapt)
    training.optimizer.zero_grad()
    loss.backward()
    training.optimizer.step()
    return {**losses, "total": loss.detach()}


def _finish(job: AdaptJob, training: AdaptState, done: Progress) -> None:
    """Write the network and where it comes from, as one folder that is complete or not there."""
    if job.adapt.share < 1:
        mix_with_start(training.assistant, prepare(job).assistant, job.adapt.share)
    record = {
        "fingerprint": job.fingerprint, "adapted_from": assistant_identity(job.assistant), "steps": job.adapt.steps,
        "losses": done.losses, "panoramas": len(job.ids), "panoramas_set_aside": done.set_aside,
        "data": job.data_fingerprint, "label_set": job.own_classes.name, "learned_classes": job.label_set.name,
        "shown": [way.name for way in job.ways], "device": job.device, "torch": torch.__version__,
        "settings": asdict(job.adapt),
    }  # fmt: skip

    def fill(folder: Path) -> None:
        save_network(training.assistant, source_folder(job.assistant), folder)
        (folder / AdaptedFolder.record_name).write_text(json.dumps(record, indent=2), encoding="utf-8")
        write_whole(folder / CARD, adapted_card(record))

    job.folder.finish(fill)
