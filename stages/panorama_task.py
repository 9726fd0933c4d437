"""One panorama through stage one: every product that is missing, each stored as soon as it is computed."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from pipeline.accelerator import device_errors
from pipeline.cache.failures import DamagedError
from pipeline.cache.schema import ASSISTANT
from pipeline.cache.store import TeacherStore
from pipeline.cache.verify import Entry, discard, verify_entry
from pipeline.errors import GoodSAMError, InputError
from pipeline.finite import require_finite
from pipeline.teacher.assistant import require_levels
from stages import networks
from stages.devices import choose_device
from stages.events import failure
from stages.files import digest
from stages.panorama_records import PanoramaRecord, record_of, size_and_time
from stages.panorama_work import PanoramaTask, load_assistant, open_work, store_product
from stages.product_settings import assistant_of
from stages.products import STAGE_ONE, Product, products_of
from stages.task_reports import PanoramaReport

_PROBE_1HW3 = np.full((1, 64, 96, 3), 127, np.uint8)
"""An image of one colour: weights that are no numbers show on any."""
_SMALLER = "take smaller networks or windows"


@dataclass(frozen=True)
class StageOneReport(PanoramaReport):
    """What became of one panorama in stage one."""

    product_seconds: Mapping[str, float] = field(default_factory=dict[str, float])
    """Wall-clock seconds by the name of each product that was computed."""
    record: PanoramaRecord | None = None
    """The panorama's file as it was read, if all products are in the store now."""


def check_assistant(task: PanoramaTask, name: str = ASSISTANT) -> None:
    """Load one of a task's assistants, so that what is wrong with it is reported before SAM has worked on a panorama;
    further tasks of this process and device find it loaded.

    Args:
        task: has the settings.
        name: of its product; the first assistant's by default.

    Raises:
        WeightsError: it is broken, of the wrong kind, outputs NaN or infinity, or lacks a feature level.
        DeviceError: the device fails, or has no room for it.
    """
    # Networks of ONNX keep the number of threads that they are loaded with.
    with device_errors(_SMALLER), networks.torch_threads.set_to(task.threads):
        assistant = load_assistant(task, name)
        answer = assistant(_PROBE_1HW3)
    require_finite(answer.logits_KChw, f"the assistant {assistant.identity}")
    levels = assistant_of(task.recipe, name).feature_levels
    require_levels(levels, assistant.feature_levels, assistant.identity)


def cache_panoramas(tasks: Sequence[PanoramaTask]) -> list[StageOneReport]:
    """`cache_panorama` for panoramas in turn, as where all have the same content: what is computed for the first is
    found by the others. A fatal error is the last report."""
    reports: list[StageOneReport] = []
    for task in tasks:
        reports.append(cache_panorama(task))
        if reports[-1].fatal is not None:
            break
    return reports


def cache_panorama(task: PanoramaTask) -> StageOneReport:
    """Compute what is missing of one panorama; errors come back in the report."""
    seconds: dict[str, float] = {}
    try:
        task = replace(task, device=choose_device(task.device))
        with computing(task):
            report = _compute_or_repair(task, seconds)
    except Exception as error:  # one panorama must not stop a night's run; the log has the traceback
        report = _failed(task.panorama.id, error)
    return replace(report, seconds=sum(seconds.values()), product_seconds=seconds)


def _failed(panorama_id: str, error: Exception) -> StageOneReport:
    """Errors of a picture set it aside; others of ours are those of the whole run."""
    if isinstance(error, GoodSAMError) and not isinstance(error, InputError):
        return StageOneReport(panorama_id, fatal=error)
    return StageOneReport(panorama_id, failed=failure(STAGE_ONE, panorama_id, error))


@contextmanager
def computing(task: PanoramaTask) -> Generator[None]:
    """While a task computes: its number of threads, full float32, and errors of the device in plain words.

    Raises:
        DeviceError: the device failed, or has too little memory.
    """
    torch.backends.cudnn.allow_tf32 = False  # float32 is float32, as on a CPU
    with networks.torch_threads.set_to(task.threads), device_errors(_SMALLER):
        yield


def _compute_or_repair(task: PanoramaTask, seconds: dict[str, float]) -> StageOneReport:
    """Compute the missing products, and those again that are damaged.

    Another process may be at the same panorama: another run that shares the store, or, on a cluster, tasks of a run
    that was stopped, which go on to their end.
    """
    try:
        return _compute(task, seconds)
    except DamagedError:  # what earlier runs stored has rotted
        _discard_damaged(task)
        return _compute(task, seconds)


def _compute(task: PanoramaTask, seconds: dict[str, float]) -> StageOneReport:
    path = task.panorama.path
    before = size_and_time(path)  # before it is read: what is written to it meanwhile shows next time
    store = TeacherStore.open(task.store, "a")
    record = record_of(path, digest(path), task.ignore_mask_sha256, before)
    if not _missing(task, store, record):
        return StageOneReport(task.panorama.id, record=record)
    work, panorama = open_work(task, store, record)
    for missing in _missing(task, store, work.record):
        started = time.monotonic()
        store_product(missing, work, panorama)
        seconds[missing.name] = time.monotonic() - started
    place = panorama.placement
    return StageOneReport(task.panorama.id, notes=(*panorama.notes, *work.notes), placed=not place.is_whole,
                        tilt=place.tilt, record=work.record)  # fmt: skip


def _missing(task: PanoramaTask, store: TeacherStore, record: PanoramaRecord) -> list[Product]:
    products = products_of(task.recipe)
    return [p for p in products if not store.is_done(p.stored_as, task.fingerprints[p.name], record.entry(p))]


def _discard_damaged(task: PanoramaTask) -> None:
    store = TeacherStore.open(task.store, "a")
    record = record_of(task.panorama.path, digest(task.panorama.path), task.ignore_mask_sha256, (0, 0))
    entries = [Entry(p.stored_as, task.fingerprints[p.name], record.entry(p)) for p in products_of(task.recipe)]
    discard(store, filter(None, (verify_entry(store, entry) for entry in entries)))
