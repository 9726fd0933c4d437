"""One panorama through stage one: masks, assistant, ensemble, each stored as soon as it is computed."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from pipeline.accelerator import device_errors
from pipeline.cache import records
from pipeline.cache.store import DamagedError, MissingError, Part, TeacherStore
from pipeline.cache.verify import Entry, discard, verify_entry
from pipeline.errors import GoodSAMError, InputError
from pipeline.finite import require_finite
from pipeline.panorama.config import PanoramaConfig
from pipeline.panorama.ignore import ignored_region
from pipeline.panorama.images import OpenedPanorama, open_panorama
from pipeline.panorama.level import level_image, level_values
from pipeline.recipe import Recipe
from pipeline.teacher.assistant import Assistant, load_assistant, require_levels
from pipeline.teacher.boundary import refine_boundary
from pipeline.teacher.config import AssistantConfig, SamConfig
from pipeline.teacher.mask_source import MaskSource, load_mask_source
from pipeline.teacher.rectification import stitch_assistant
from pipeline.teacher.vote import fuse
from stages.devices import choose_device
from stages.files import digest, source_stamp
from stages.runs import IGNORE_MASK, Fingerprints, has_own_mask
from stages.splits import SplitPanorama
from stages.views import assistant_views, shared_views

Config = TypeVar("Config", SamConfig, AssistantConfig)
Network = TypeVar("Network")


@dataclass(frozen=True)
class PanoramaTask:
    """All that a worker needs to know about one panorama."""

    panorama: SplitPanorama
    """Id and file."""
    recipe: Recipe
    """All settings."""
    store: Path
    """Folder of the store."""
    fingerprints: Fingerprints
    """Names of the three parts."""
    device: str
    """Device of SAM and the assistant, as `choose_device` takes it where the task is done."""
    threads: int
    """Torch threads; results of another number may differ in the last digit."""
    ignore_mask: str = ""
    """Its mask's file; empty for none."""
    ignore_mask_sha256: str = ""
    """Digest of that file where there is a folder of masks; the fingerprints do not name it then."""
    equal: tuple[str, ...] = ()
    """Ids of other panoramas that seemed to have the same content: what the store holds of them may be copied."""


@dataclass(frozen=True)
class TaskReport:
    """What became of one task."""

    id: str
    """The panorama."""
    seconds: dict[str, float]
    """Wall-clock seconds per part that was computed."""
    error: str = ""
    """One sentence if the panorama was set aside."""
    fatal: GoodSAMError | None = None
    """What is wrong is not the panorama but the run (weights, settings, the disk): going on would be in vain."""
    trace: str = ""
    """Traceback of an error that was not foreseen, for the log."""
    notes: tuple[str, ...] = ()
    """What the user should know once, however many tasks say it."""
    placed: bool = False
    """The picture is a part of the sphere, by its tags."""
    tilt: float = 0.0
    """By how many degrees the camera was tilted, by the tags; the panorama was levelled."""
    copied: tuple[str, ...] = ()
    """Parts that were copied from another panorama with the same content."""


def check_assistant(task: PanoramaTask) -> None:
    """Load a task's assistant, so that what is wrong with it is told before SAM has worked on a panorama; further
    tasks of this process and device find it loaded.

    Raises:
        WeightsError: it is broken, of the wrong kind, outputs NaN or infinity, or lacks a feature level.
        DeviceError: the device fails, or has no room for it.
    """
    config = task.recipe.assistant
    # Networks of ONNX keep the number of threads that they are loaded with.
    with device_errors(_SMALLER), _TORCH_THREADS.set_to(task.threads):
        assistant = _assistant(config, task.device, task.fingerprints.assistant)
        answer = assistant(_PROBE_1HW3)
    require_finite(answer.logits_KChw, f"the assistant {assistant.identity}")
    require_levels(config.feature_levels, assistant.feature_levels, assistant.identity)


def cache_equal_panoramas(tasks: Sequence[PanoramaTask]) -> list[TaskReport]:
    """`cache_panorama` for panoramas with the same content, in turn: what the first computes, the others copy. A fatal
    error is the last report."""
    reports: list[TaskReport] = []
    for task in tasks:
        reports.append(cache_panorama(task))
        if reports[-1].fatal is not None:
            break
    return reports


def cache_panorama(task: PanoramaTask) -> TaskReport:
    """Compute the missing parts of one panorama, or copy them from one with the same content; errors come back in the
    report."""
    seconds: dict[str, float] = {}
    copied: list[str] = []
    try:
        task = replace(task, device=choose_device(task.device))
        torch.backends.cudnn.allow_tf32 = False  # float32 is float32, as on a CPU
        with _TORCH_THREADS.set_to(task.threads), device_errors(_SMALLER):
            panorama = _compute_or_mend(task, seconds, copied)
    except InputError as error:
        return TaskReport(task.panorama.id, seconds, str(error))
    except GoodSAMError as error:
        return TaskReport(task.panorama.id, seconds, fatal=error)
    except Exception as error:  # one panorama must not stop a night's run; the log has the traceback
        return TaskReport(task.panorama.id, seconds, f"{type(error).__name__}: {error}", trace=traceback.format_exc())
    notes, place = panorama.notes + _notes(task, seconds), panorama.placement
    return TaskReport(task.panorama.id, seconds, notes=notes, placed=not place.is_whole, tilt=place.tilt,
                      copied=tuple(copied))  # fmt: skip


class _TorchThreads:
    """The number of torch threads while tasks run; when the last of those at work is done, it is as before the first.

    torch keeps a number per thread that calls it, and one for threads that have not called it yet.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._tasks = self._before = 0

    @contextmanager
    def set_to(self, count: int) -> Generator[None]:
        """While a task runs in the calling thread."""
        with self._lock:
            if self._tasks == 0:
                self._before = torch.get_num_threads()
            self._tasks += 1
            torch.set_num_threads(count)
        try:
            yield
        finally:
            with self._lock:
                self._tasks -= 1
                if self._tasks == 0:
                    torch.set_num_threads(self._before)


_PROBE_1HW3 = np.full((1, 64, 96, 3), 127, np.uint8)
"""An image of one colour: weights that are no numbers show on any."""
_SMALLER = "take smaller networks or windows"
_TORCH_THREADS = _TorchThreads()


def _compute_or_mend(task: PanoramaTask, seconds: dict[str, float], copied: list[str]) -> OpenedPanorama:
    """Compute the missing parts; the panorama comes back.

    Another process may be at the same panorama: on a cluster, tasks of a run that was stopped go on to their end.
    """
    try:
        return _compute(task, seconds, copied)
    except DamagedError:  # what earlier runs stored has rotted: do those parts again
        _discard_damaged(task)
        return _compute(task, seconds, copied)


def _compute(task: PanoramaTask, seconds: dict[str, float], copied: list[str]) -> OpenedPanorama:
    stamp = source_stamp(task.panorama.path)  # before it is read: what is written to it meanwhile shows next time
    panorama = open_panorama(task.panorama.path, task.recipe.panorama)
    ignored_HW = ignored_region(panorama.image_HW3, _own_mask(task), panorama.transparent_HW)
    if ignored_HW.all():
        raise InputError(f"all of {task.panorama.path} is ignored",
                         "some pixels must not be black, transparent or under the ignore mask",
                         "Take it out of the folder")  # fmt: skip
    ignored_HW = level_values(ignored_HW, panorama.placement)  # found as the camera saw it: its rig turns with it
    panorama = replace(panorama, image_HW3=level_image(panorama.image_HW3, panorama.placement))
    store = TeacherStore.open(task.store, "a")
    parts: dict[Part, Callable[[], dict[str, np.ndarray]]] = {
        Part.MASKS: lambda: _masks(task, panorama),
        Part.ASSISTANT: lambda: _assistant_prediction(task, panorama),
        Part.ENSEMBLE: lambda: _ensemble(task, store, ignored_HW),
    }
    for part, compute in parts.items():
        name = task.fingerprints.of(part)
        if _is_done(task, store, part, panorama):
            continue
        started = time.monotonic()
        found = _arrays_of_equal(task, store, part, panorama)
        arrays = compute() if found is None else found
        if not _is_done(task, store, part, panorama):  # see `_compute_or_mend`
            store.write(part, name, task.panorama.id, arrays, _provenance(task, part, panorama) | stamp)
        if found is None:
            seconds[part.value] = time.monotonic() - started
        else:
            copied.append(part.value)
    return panorama


def _arrays_of_equal(
    task: PanoramaTask, store: TeacherStore, part: Part, panorama: OpenedPanorama
) -> dict[str, np.ndarray] | None:
    """A part's arrays from the entry of a panorama with the same content and mask; None where there is none."""
    name = task.fingerprints.of(part)
    for other in task.equal:
        if _is_done(replace(task, panorama=SplitPanorama(other, task.panorama.path)), store, part, panorama):
            with suppress(DamagedError, MissingError):  # `goodsam verify` tells of it; this one is computed then
                return store.read(part, name, other)
    return None


def _is_done(task: PanoramaTask, store: TeacherStore, part: Part, panorama: OpenedPanorama) -> bool:
    """Whether a part is stored, made from the panorama and the mask as they are."""
    made_from = store.made_from(part, task.fingerprints.of(part), task.panorama.id)
    if made_from is None or made_from.get("source_sha256") != panorama.sha256:
        return False
    return has_own_mask(part, made_from, task.ignore_mask_sha256)


def _own_mask(task: PanoramaTask) -> PanoramaConfig:
    """The settings with the panorama's own mask.

    Raises:
        InputError: its file is not the one that the run began with.
    """
    if task.ignore_mask_sha256 and digest(Path(task.ignore_mask)) != task.ignore_mask_sha256:
        raise InputError(f"ignore mask {task.ignore_mask} is not the one that this run began with",
                         "masks must not change during a run, and must be the same on every machine",
                         "Run teacher-cache again")  # fmt: skip
    return replace(task.recipe.panorama, ignore_mask=task.ignore_mask)


def _discard_damaged(task: PanoramaTask) -> None:
    store = TeacherStore.open(task.store, "a")
    parts = (Entry(part, task.fingerprints.of(part), task.panorama.id) for part in Part)
    discard(store, filter(None, (verify_entry(store, entry) for entry in parts)))


def _masks(task: PanoramaTask, panorama: OpenedPanorama) -> dict[str, np.ndarray]:
    source = _mask_source(task.recipe.sam, task.device, task.fingerprints.masks)
    return records.pack_masks(source.many([view.cut_image(panorama.image_HW3) for view in shared_views(task.recipe)]))


def _assistant_prediction(task: PanoramaTask, panorama: OpenedPanorama) -> dict[str, np.ndarray]:
    recipe = task.recipe
    assistant = _assistant(recipe.assistant, task.device, task.fingerprints.assistant)
    prediction = stitch_assistant(
        panorama.image_HW3,
        shared_views(recipe),
        assistant,
        recipe.assistant,
        recipe.classes,
        more_views=assistant_views(recipe),
    )
    return records.pack_assistant(prediction)


def _ensemble(task: PanoramaTask, store: TeacherStore, ignored_HW: npt.NDArray[np.bool_]) -> dict[str, np.ndarray]:
    """Fuse what the store holds, not what memory holds: a resumed run then equals a fresh one."""
    recipe, prints, id_ = task.recipe, task.fingerprints, task.panorama.id
    views = shared_views(recipe)
    masks = records.unpack_masks(store.read(Part.MASKS, prints.masks, id_), views)
    of_assistant = store.read(Part.ASSISTANT, prints.assistant, id_, records.FUSED)
    assistant_CHW, agreement_HW, view_labels_Khw = records.unpack_fused(of_assistant)
    fusion = fuse(assistant_CHW, agreement_HW, ignored_HW, views, masks, recipe.classes, recipe.fusion)
    boundary = refine_boundary(views, masks, view_labels_Khw, ignored_HW, recipe.boundary)
    return records.pack_ensemble(fusion, boundary, ignored_HW)


def _notes(task: PanoramaTask, seconds: dict[str, float]) -> tuple[str, ...]:
    notes: tuple[str, ...] = ()
    if Part.MASKS.value in seconds:
        notes += _mask_source(task.recipe.sam, task.device, task.fingerprints.masks).notes
    if Part.ASSISTANT.value in seconds:
        notes += _assistant(task.recipe.assistant, task.device, task.fingerprints.assistant).notes
    return notes


class _Loaded(Generic[Config, Network]):
    """A loader that keeps what it loaded last; threads that ask meanwhile wait for it and share it."""

    def __init__(self, load: Callable[[Config, str], Network]) -> None:
        self._load = lru_cache(maxsize=1)(lambda config, device, _: load(config, device))
        self._lock = Lock()

    def __call__(self, config: Config, device: str, fingerprint: str) -> Network:
        """The network of these settings on a device; another fingerprint, with other weights perhaps, loads anew."""
        with self._lock:
            return self._load(config, device, fingerprint)

    def cache_clear(self) -> None:
        """Forget it."""
        self._load.cache_clear()


@_Loaded
def _mask_source(config: SamConfig, device: str) -> MaskSource:
    return load_mask_source(config, torch.device(device))


@_Loaded
def _assistant(config: AssistantConfig, device: str) -> Assistant:
    return load_assistant(config, torch.device(device))


def _provenance(task: PanoramaTask, part: Part, panorama: OpenedPanorama) -> dict[str, Any]:
    own_mask = {IGNORE_MASK: task.ignore_mask_sha256} if part is Part.ENSEMBLE and task.ignore_mask_sha256 else {}
    return {
        **own_mask,
        "source": str(task.panorama.path),
        "source_sha256": panorama.sha256,
        "source_height": panorama.source_height,
        "source_width": panorama.source_width,
        "placement": asdict(panorama.placement),
    }
