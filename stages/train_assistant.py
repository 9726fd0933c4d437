"""Training an assistant: any semantic network of transformers learns from labelled perspective pictures.

A killed training goes on from its last checkpoint and ends with the weights that it would have had anyway (bit for bit
on one thread of a CPU): the crops and the dropout of step k are functions of (seed, k) alone.

OUT             the finished network, as transformers saves it, with preprocessing and assistant.json: what was measured
OUT.training/   checkpoint.pt and log.jsonl; not needed any more when OUT is there

Paper: the assistant is trained on Cityscapes. We: SegFormer's own schedule (AdamW, warm-up, linear decay, the head at
ten times the rate) on random crops, because the paper's could not be had.

Legend: B pictures of a batch, C classes, S side of the crops, H W picture, 3 = RGB.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, AutoModelForSemanticSegmentation, SegformerImageProcessor

from pipeline.accelerator import device_errors
from pipeline.classes import IGNORE, LabelSet, label_set
from pipeline.errors import InputError, WeightsError, counted, first_line
from pipeline.evaluate.metrics import ConfusionMatrix
from pipeline.evaluate.report import to_json
from pipeline.labelled_crops import random_crop
from pipeline.panorama.images import open_full_size
from pipeline.panorama.label_index import read_label_index
from pipeline.panorama.labels import read_labels
from pipeline.precision import chosen_precision
from pipeline.pretrained import DEMO, find_network, network_digest, quiet, remedy, settings_file
from pipeline.settings import fingerprint, require
from pipeline.student.augment import jitter_colours
from pipeline.student.config import DistillConfig
from pipeline.student.model import to_unit
from pipeline.student.precision import mixed_precision
from pipeline.student.schedule import parameter_groups
from pipeline.teacher.normalisation import Normalisation
from stages.checkpoints import replace_folder
from stages.claims import exclusive_lock
from stages.devices import describe_device
from stages.events import Listener, Note, StageAdvanced, StageFinished, StageStarted
from stages.files import read_json, write_whole
from stages.perspective_sources import LabelledPicture, PerspectiveSource
from stages.training_loop import TrainingLoop

STAGE = "train-assistant"
VERSION = 1
"""Raised when the code changes what a network learns."""
RECORD = "assistant.json"
"""File of a finished network: how it was trained, and its IoU on pictures held out."""
Crops = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]
"""Images [B, S, S, 3] and labels [B, S, S] of a batch."""
_CROPS = 3
"""Tells the seeds of crops from those of dropout."""
_LABELS_REMEDY = "Convert them to class ids, or say which they hold: --labels-set, --labels-from-one"
"""What to do about label files that do not hold ids of the classes."""
_JITTER = 0.3
"""Strength of random brightness, contrast and saturation, as the student's default."""


@dataclass(frozen=True)
class AssistantTraining:
    """How an assistant is trained."""

    start: str = "nvidia/mit-b5"
    """Hub name or folder of initial weights, an encoder or a whole network; "demo" for the embedded small one."""
    steps: int = 40_000
    """Optimiser steps."""
    batch_size: int = 4
    """Crops per step."""
    crop: int = 512
    """Side of the square crops, pixels, a multiple of 32."""
    learning_rate: float = 6e-5
    """Peak learning rate; ten times as much for the decode head of a SegFormer."""
    seed: int = 0
    """Seed of all that is random."""
    checkpoint_every: int = 500
    """Steps between checkpoints."""

    def __post_init__(self) -> None:
        for key in ("steps", "batch_size", "checkpoint_every", "learning_rate"):
            require(getattr(self, key) > 0, f"--{key.replace('_', '-')}", getattr(self, key), "positive")
        require(self.crop > 0 and self.crop % 32 == 0, "--crop", self.crop, "a positive multiple of 32")
        require(0 <= self.seed < 2**63, "--seed", self.seed, "zero or a positive number of at most 63 bits")

    @property
    def schedule(self) -> DistillConfig:
        """The same as the student's schedule has it."""
        return DistillConfig(steps=self.steps, learning_rate=self.learning_rate, weight_decay=0.01,
                             warmup_steps=min(1500, self.steps // 10),
                             checkpoint_every=self.checkpoint_every)  # fmt: skip


@dataclass(frozen=True)
class AssistantJob:
    """All that determines an assistant."""

    source: PerspectiveSource
    """Its pictures."""
    label_set: LabelSet
    """Classes that it predicts."""
    labels_set: LabelSet
    """Classes of the label files, merged into these."""
    labels_from_one: bool
    """Whether ids of the label files count from 1."""
    training: AssistantTraining
    """How it is trained."""
    out: Path
    """Folder of the finished network."""
    device: str = "cpu"
    """torch device."""

    @property
    def folder(self) -> Path:
        """Folder of checkpoints and log."""
        out = self.out.resolve() if self.out.name in ("", "..") else self.out
        return out.parent / f"{out.name}.training"

    @cached_property
    def index_N(self) -> npt.NDArray[np.uint8] | None:
        """Class per index of label files whose colours are numbers."""
        index = self.source.labels_index
        return read_label_index(index, self.labels_set) if index else None

    @cached_property
    def start_folder(self) -> Path:
        """Where the initial weights lie."""
        return DEMO / "assistant" if self.training.start == "demo" else find_network(self.training.start, "--start")

    @cached_property
    def fingerprint(self) -> str:
        """Names the network that comes out. Pictures count by name and size: hashing a large set would take long."""
        pictures = _sizes(self.source.learning)
        classes = (self.label_set.names, self.labels_set.names, self.labels_from_one)
        return fingerprint(VERSION, replace(self.training, start="", checkpoint_every=1),
                           network_digest(self.start_folder), classes, pictures)  # fmt: skip

    @cached_property
    def held_out(self) -> str:
        """Names the pictures that it is measured on, in the same way."""
        return fingerprint(_sizes(self.source.held_out))

    def read(self, picture: LabelledPicture) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        """(RGB [H, W, 3], class ids or 255 [H, W]) of a picture.

        Raises:
            InputError: a file cannot be read, its label has another size, or ids of no class.
        """
        image_HW3, _ = open_full_size(picture.image)
        height, width = image_HW3.shape[:2]

        def check_size(label_width: int, label_height: int) -> None:
            if (label_width, label_height) != (width, height):
                raise InputError(f"label {picture.label.name} is {label_width}x{label_height}",
                                 f"its picture is {width}x{height}", "Export the label again")  # fmt: skip

        labels_HW = read_labels(picture.label, self.label_set, self.labels_set, from_one=self.labels_from_one,
                                index_N=self.index_N, check_size=check_size, remedy=_LABELS_REMEDY)  # fmt: skip
        return image_HW3, labels_HW


def _sizes(pictures: Sequence[LabelledPicture]) -> list[list[str | int]]:
    return [[p.id, p.image.stat().st_size, p.label.stat().st_size] for p in pictures]


@dataclass(frozen=True)
class TrainedAssistant:
    """A finished network."""

    folder: Path
    """Where it lies."""
    record: dict[str, Any]
    """What assistant.json says."""

    @property
    def table(self) -> str:
        """IoU of every class on the pictures held out, and their mean, for a terminal."""
        iou: dict[str, float | None] = self.record["iou"]
        rows = {**iou, "mIoU": self.record["miou"]}
        width = max(map(len, rows))
        shown = ((name, "–" if value is None else f"{100 * value:.1f}") for name, value in rows.items())
        return "\n".join(f"{name.ljust(width)}  {value:>5}" for name, value in shown)


def job_of(
    source: PerspectiveSource,
    training: AssistantTraining,
    out: Path,
    *,
    label_set_name: str = "",
    labels_set_name: str = "",
    labels_from_one: bool | None = None,
    device: str = "cpu",
) -> AssistantJob:
    """The job for a source; what is left out is what its data set usually has.

    Raises:
        InputError: nobody says which classes a plain folder has.
        RecipeError: an unknown label set, or one that does not merge.
    """
    predicted = label_set_name or source.label_set or labels_set_name
    if not predicted:
        raise InputError(f"the classes of {source.name} are not known",
                         "a folder of images and labels does not name its classes",
                         "Name them: --label-set cityscapes19, or a JSON file with id2label")  # fmt: skip
    target = label_set(predicted, "--label-set")
    return AssistantJob(
        source,
        target,
        label_set(labels_set_name or source.labels_set or predicted, "--labels-set"),
        source.labels_from_one if labels_from_one is None else labels_from_one,
        training,
        out,
        device,
    )


def train_assistant(job: AssistantJob, listener: Listener) -> TrainedAssistant:
    """Train the network of a job, or go on with it, and measure it on the pictures held out; a finished one is measured
    again where these have changed.

    Raises:
        GoodSAMError: unusable pictures or weights, another network at `out`, another process at this one, a device that
            fails, or no room.
    """
    if job.out.exists():
        return _finished(job, listener)
    with exclusive_lock(job.folder, STAGE):
        began = time.monotonic()
        job.read(job.source.learning[0])  # refuses wrong label sets before the network is loaded
        network, note = start_network(job)
        if note:
            listener(Note(STAGE, note))
        listener(Note(STAGE, f"{counted(len(job.source.learning), 'picture')} of {job.source.name} to train on, "
                             f"{len(job.source.held_out)} to measure on; on "
                             f"{describe_device(job.device, torch.get_num_threads())}"))  # fmt: skip
        normalisation = Normalisation.from_folder(job.start_folder)
        with device_errors("take a smaller --batch-size or --crop"):
            loop = _loop(job, network.train(), normalisation)
            loop.run(loop.resume(listener), listener)
            matrix = measure_assistant(job, network.eval(), normalisation, listener)
        record = _record(job, matrix)
        replace_folder(job.out, lambda folder: _save(job, network, normalisation, record, folder))
        listener(StageFinished(STAGE, time.monotonic() - began, {"assistant": str(job.out), "mIoU": matrix.miou}))
    return TrainedAssistant(job.out, record)


def _finished(job: AssistantJob, listener: Listener) -> TrainedAssistant:
    record = read_json(job.out / RECORD)
    if record.get("fingerprint") != job.fingerprint:
        raise InputError(f"{job.out} already exists, and is not the network of these pictures and settings",
                         "a finished network is never overwritten", "Name another folder")  # fmt: skip
    if record.get("held_out", job.held_out) != job.held_out:  # records of earlier versions do not tell
        return _measured_anew(job, record, listener)
    listener(Note(STAGE, f"{job.out} is finished; nothing to do"))
    return TrainedAssistant(job.out, record)


def _measured_anew(job: AssistantJob, record: Mapping[str, Any], listener: Listener) -> TrainedAssistant:
    listener(Note(STAGE, f"{job.out} is finished; the pictures held out have changed: it is measured anew"))
    with exclusive_lock(job.folder, STAGE):
        with quiet():
            network: Any = AutoModelForSemanticSegmentation.from_pretrained(
                job.out, local_files_only=True, trust_remote_code=False, dtype=torch.float32
            )
        with device_errors("take another --device"):
            network = network.to(torch.device(job.device)).eval()
            matrix = measure_assistant(job, network, Normalisation.from_folder(job.start_folder), listener)
        measured = json.loads(to_json({**record, **_figures(job, matrix)}))
        write_whole(job.out / RECORD, to_json(measured))
    return TrainedAssistant(job.out, measured)


def start_network(job: AssistantJob) -> tuple[nn.Module, str]:
    """(the network before training, a sentence on what of it starts from random weights or empty).

    Raises:
        WeightsError: it cannot be loaded as a semantic network.
    """
    torch.manual_seed(job.training.seed)
    names = dict(enumerate(job.label_set.names))
    try:
        with quiet():
            config = AutoConfig.from_pretrained(job.start_folder, local_files_only=True)
            same = list((config.id2label or {}).values()) == list(names.values())
            config.id2label, config.label2id = names, {name: number for number, name in names.items()}
            network, report = AutoModelForSemanticSegmentation.from_pretrained(
                job.start_folder, config=config, output_loading_info=True, ignore_mismatched_sizes=True,
                local_files_only=True, trust_remote_code=False, dtype=torch.float32,
            )  # fmt: skip
    except Exception as error:  # json, pickle, safetensors and torch raise errors of any class
        raise WeightsError(f"{job.training.start} cannot be loaded ({first_line(error)})",
                           "it must be an encoder or a segmentation network of transformers",
                           remedy("--start")) from error  # fmt: skip
    random = len(report["missing_keys"]) + len(report.get("mismatched_keys", ()))
    note = f"{random} tensors of the network start from random weights: {job.training.start} does not have them"
    if not random:
        note = "" if same else f"{job.training.start} predicts other classes: its last layer learns these from there"
    return network.to(torch.device(job.device)), note


def _loop(job: AssistantJob, network: nn.Module, normalisation: Normalisation) -> TrainingLoop[Crops]:
    training, device = job.training, torch.device(job.device)
    config = training.schedule if hasattr(network, "segformer") else replace(training.schedule, head_multiplier=1.0)
    optimizer = torch.optim.AdamW(parameter_groups(network, nn.Module(), config))
    half = chosen_precision("auto", device) == torch.bfloat16

    def step(batch: Crops) -> dict[str, Tensor]:
        images_BSS3, labels_BSS = batch
        pixels = normalisation.prepare(images_BSS3, device)
        with mixed_precision(device.type, enabled=half):
            logits = network(pixel_values=pixels).logits
        loss = cross_entropy(logits, torch.from_numpy(labels_BSS).to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return {"loss": loss}

    return TrainingLoop(
        STAGE, config, training.seed, optimizer, {"network": network, "optimizer": optimizer},
        batch=lambda number: crops_of_step(job, number),
        step=step,
        checkpoint=job.folder / "checkpoint.pt",
        name=job.fingerprint,
        remedy="Lower --learning-rate, or use other weights",
        readers=4 if device.type == "cuda" else 1,
    )  # fmt: skip


def crops_of_step(job: AssistantJob, step: int) -> Crops:
    """(images [B, S, S, 3], labels [B, S, S]) of a step: a function of (seed, step) alone.

    Raises:
        InputError: a picture cannot be read.
    """
    training = job.training
    rng = np.random.default_rng((training.seed, _CROPS, step))
    picked = [job.source.learning[n] for n in rng.integers(len(job.source.learning), size=training.batch_size)]
    images, labels = zip(*(random_crop(*job.read(picture), training.crop, rng) for picture in picked), strict=True)
    factors = torch.from_numpy(rng.uniform(1 - _JITTER, 1 + _JITTER, (training.batch_size, 3))).float()
    coloured_B3SS = jitter_colours(to_unit(torch.from_numpy(np.stack(images))), factors)
    images_BSS3 = (255 * coloured_B3SS).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return images_BSS3, np.stack(labels).astype(np.int64)


def cross_entropy(logits_BChw: Tensor, labels_BSS: Tensor) -> Tensor:
    """Mean over the labelled pixels, of scores resized to the labels' size; 0 where nothing is labelled."""
    logits = functional.interpolate(logits_BChw.float(), labels_BSS.shape[-2:], mode="bilinear", align_corners=False)
    total = functional.cross_entropy(logits, labels_BSS, ignore_index=IGNORE, reduction="sum")
    return total / (labels_BSS != IGNORE).sum().clamp(min=1)


@torch.no_grad()
def measure_assistant(
    job: AssistantJob, network: Callable[..., Any], normalisation: Normalisation, listener: Listener
) -> ConfusionMatrix:
    """Count a network's labels of the pictures held out: whole pictures, single scale, at the label's own size."""
    matrix, pictures = ConfusionMatrix(len(job.label_set)), job.source.held_out
    listener(StageStarted(f"{STAGE}: measuring", len(pictures), "pictures"))
    for done, picture in enumerate(pictures, start=1):
        began = time.monotonic()
        image_HW3, labels_HW = job.read(picture)
        pixels = normalisation.prepare(image_HW3[None], torch.device(job.device))
        logits = network(pixel_values=pixels).logits.float()
        padded = functional.interpolate(logits, pixels.shape[-2:], mode="bilinear", align_corners=False)
        resized = padded[..., : labels_HW.shape[0], : labels_HW.shape[1]]
        matrix.add(labels_HW, resized[0].argmax(dim=0).to(torch.uint8).cpu().numpy())
        listener(StageAdvanced(f"{STAGE}: measuring", done, picture.id, time.monotonic() - began))
    return matrix


def _record(job: AssistantJob, matrix: ConfusionMatrix) -> dict[str, Any]:
    record = {
        "fingerprint": job.fingerprint, "source": job.source.name, "learned_from": len(job.source.learning),
        **_figures(job, matrix), "label_set": job.label_set.name, "settings": asdict(job.training),
        "torch": torch.__version__,
    }  # fmt: skip
    return json.loads(to_json(record))


def _figures(job: AssistantJob, matrix: ConfusionMatrix) -> dict[str, Any]:
    """What the record tells of the pictures held out."""
    return {
        "held_out": job.held_out, "measured_on": len(job.source.held_out), "miou": matrix.miou,
        "iou": dict(zip(job.label_set.names, matrix.per_class_iou.tolist(), strict=True)),
    }  # fmt: skip


def _save(job: AssistantJob, network: Any, normalisation: Normalisation, record: dict[str, Any], folder: Path) -> None:
    with quiet():
        network.save_pretrained(folder)
    stated = settings_file(job.start_folder)
    if stated is not None:
        shutil.copyfile(stated, folder / stated.name)
    else:
        SegformerImageProcessor(do_resize=False, image_mean=list(normalisation.mean),
                                image_std=list(normalisation.std)).save_pretrained(folder)  # fmt: skip
    (folder / RECORD).write_text(to_json(record), encoding="utf-8")
