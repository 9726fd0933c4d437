"""One panorama through stage one: every product that is missing, each stored as soon as it is computed."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from threading import Lock
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from pipeline.accelerator import device_errors
from pipeline.cache.failures import DamagedError
from pipeline.cache.schema import ASSISTANT, MASKS
from pipeline.cache.store import TeacherStore
from pipeline.cache.verify import Entry, discard, verify_entry
from pipeline.errors import GoodSAMError, InputError
from pipeline.finite import require_finite
from pipeline.panorama.config import GRID, PanoramaConfig
from pipeline.panorama.ignore import ignored_region
from pipeline.panorama.images import OpenedPanorama, open_panorama
from pipeline.panorama.level import level_image, level_values
from pipeline.panorama.views import View
from pipeline.recipe import Recipe
from pipeline.teacher.assistant import Assistant, load_assistant, require_levels
from pipeline.teacher.config import AssistantConfig, SamConfig
from pipeline.teacher.mask_source import MaskSource, load_mask_source
from stages.devices import choose_device
from stages.files import digest
from stages.panorama_records import PanoramaRecord, record_of, size_and_time
from stages.products import Product, all_products, product
from stages.splits import SplitPanorama
from stages.views import shared_views

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
    fingerprints: Mapping[str, str]
    """That of every product, by its name."""
    device: str
    """Device of SAM and the assistant, as `choose_device` takes it where the task is done."""
    threads: int
    """Torch threads; results of another number may differ in the last digit."""
    ignore_mask: str = ""
    """Its mask's file; empty for none."""
    ignore_mask_sha256: str = ""
    """Digest of that file where there is a folder of masks; the fingerprints do not name it then."""


@dataclass(frozen=True)
class PanoramaWork:
    """What a product is computed from: the panorama, the networks, and the products before it."""

    task: PanoramaTask
    """Settings and device."""
    image_HW3: npt.NDArray[np.uint8]
    """The panorama at the working size, level."""
    ignored_HW: npt.NDArray[np.bool_]
    """Where nothing was seen, or nothing is to be learned from."""
    source_width: int
    """Width of the whole sphere at the resolution of the file, pixels."""
    record: PanoramaRecord
    """Its content, which names what the store has of it."""
    store: TeacherStore
    """Has the inputs."""
    notes: list[str] = field(default_factory=list[str])
    """What users should know of the networks that were used."""

    @property
    def recipe(self) -> Recipe:
        """All settings."""
        return self.task.recipe

    @cached_property
    def shared_views(self) -> tuple[View, ...]:
        """Views that both SAM and the assistant are shown."""
        return shared_views(self.recipe)

    def image_at(self, width: int) -> npt.NDArray[np.uint8]:
        """The panorama [H, W, 3], level, reduced to another width than the working one.

        Args:
            width: pixels, a multiple of 32; a narrower picture keeps its own width. 0 is the working width.

        Raises:
            InputError: the file cannot be read, or is not the one that was read first.
        """
        config = self.recipe.panorama
        width = max(config.width, min(width, self.source_width // GRID * GRID))
        if width == config.width:
            return self.image_HW3
        panorama = open_panorama(self.task.panorama.path, replace(config, width=width))
        if panorama.sha256 != self.record.sha256:
            raise InputError(f"{self.task.panorama.path} changed while it was worked on", "it must stay as it is",
                             "Run teacher-cache again")  # fmt: skip
        return level_image(panorama.image_HW3, panorama.placement)

    def mask_source(self) -> MaskSource:
        """What finds the masks, loaded."""
        source = _mask_source(self.recipe.sam, self.task.device, self.task.fingerprints[MASKS])
        self.notes.extend(source.notes)
        return source

    def assistant(self) -> Assistant:
        """The assistant, loaded."""
        assistant = _assistant(self.recipe.assistant, self.task.device, self.task.fingerprints[ASSISTANT])
        self.notes.extend(assistant.notes)
        return assistant

    def read(self, name: str, arrays: Iterable[str] | None = None) -> dict[str, npt.NDArray[Any]]:
        """Arrays of one of the product's inputs, from the store; all, or those named.

        Raises:
            DamagedError: they are not as they were written.
        """
        return self.store.read(name, self.task.fingerprints[name], self.record.entry(product(name)), arrays)


@dataclass(frozen=True)
class TaskReport:
    """What became of one task."""

    id: str
    """The panorama."""
    seconds: dict[str, float]
    """Wall-clock seconds by the name of each product that was computed."""
    record: PanoramaRecord | None = None
    """The panorama's file as it was read, if all products are in the store now."""
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
        assistant = _assistant(config, task.device, task.fingerprints[ASSISTANT])
        answer = assistant(_PROBE_1HW3)
    require_finite(answer.logits_KChw, f"the assistant {assistant.identity}")
    require_levels(config.feature_levels, assistant.feature_levels, assistant.identity)


def cache_panoramas(tasks: Sequence[PanoramaTask]) -> list[TaskReport]:
    """`cache_panorama` for panoramas in turn, as where all have the same content: what is computed for the first is
    found by the others. A fatal error is the last report."""
    reports: list[TaskReport] = []
    for task in tasks:
        reports.append(cache_panorama(task))
        if reports[-1].fatal is not None:
            break
    return reports


def cache_panorama(task: PanoramaTask) -> TaskReport:
    """Compute what is missing of one panorama; errors come back in the report."""
    seconds: dict[str, float] = {}
    try:
        task = replace(task, device=choose_device(task.device))
        with computing(task):
            return _compute_or_repair(task, seconds)
    except InputError as error:
        return TaskReport(task.panorama.id, seconds, error=str(error))
    except GoodSAMError as error:
        return TaskReport(task.panorama.id, seconds, fatal=error)
    except Exception as error:  # one panorama must not stop a night's run; the log has the traceback
        found = f"{type(error).__name__}: {error}"
        return TaskReport(task.panorama.id, seconds, error=found, trace=traceback.format_exc())


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


def _compute_or_repair(task: PanoramaTask, seconds: dict[str, float]) -> TaskReport:
    """Compute the missing products, and those again that are damaged.

    Another process may be at the same panorama: another run that shares the store, or, on a cluster, tasks of a run
    that was stopped, which go on to their end.
    """
    try:
        return _compute(task, seconds)
    except DamagedError:  # what earlier runs stored has rotted
        _discard_damaged(task)
        return _compute(task, seconds)


def _compute(task: PanoramaTask, seconds: dict[str, float]) -> TaskReport:
    path = task.panorama.path
    before = size_and_time(path)  # before it is read: what is written to it meanwhile shows next time
    store = TeacherStore.open(task.store, "a")
    record = record_of(path, digest(path), task.ignore_mask_sha256, before)
    if not _missing(task, store, record):
        return TaskReport(task.panorama.id, seconds, record)
    work, panorama = open_work(task, store, record)
    for missing in _missing(task, store, work.record):
        started = time.monotonic()
        store_product(missing, work, panorama)
        seconds[missing.name] = time.monotonic() - started
    place = panorama.placement
    return TaskReport(task.panorama.id, seconds, work.record, notes=(*panorama.notes, *work.notes),
                      placed=not place.is_whole, tilt=place.tilt)  # fmt: skip


def open_work(task: PanoramaTask, store: TeacherStore, record: PanoramaRecord) -> tuple[PanoramaWork, OpenedPanorama]:
    """A panorama, opened to compute its products.

    Args:
        task: the panorama and all settings.
        store: has or gets its products.
        record: of its file; the content's digest is that of what is read now.

    Raises:
        InputError: the file cannot be used, or all of it is ignored.
    """
    panorama = open_panorama(task.panorama.path, task.recipe.panorama)
    image_HW3 = level_image(panorama.image_HW3, panorama.placement)
    source_width = panorama.placement.canvas_width
    record = replace(record, sha256=panorama.sha256)
    return PanoramaWork(task, image_HW3, _ignored(task, panorama), source_width, record, store), panorama


def store_product(computed: Product, work: PanoramaWork, panorama: OpenedPanorama) -> None:
    """Compute a product of a panorama and store it.

    Raises:
        GoodSAMError: as what computes it, or the store cannot be written.
    """
    arrays = computed.compute(work)
    name, entry = work.task.fingerprints[computed.name], work.record.entry(computed)
    if not work.store.is_done(computed.name, name, entry):  # see `_compute_or_repair`
        work.store.write(computed.name, name, entry, arrays, provenance(work.record, panorama))


@contextmanager
def computing(task: PanoramaTask) -> Generator[None]:
    """While a task computes: its number of threads, full float32, and errors of the device in plain words.

    Raises:
        DeviceError: the device failed, or has too little memory.
    """
    torch.backends.cudnn.allow_tf32 = False  # float32 is float32, as on a CPU
    with _TORCH_THREADS.set_to(task.threads), device_errors(_SMALLER):
        yield


def _missing(task: PanoramaTask, store: TeacherStore, record: PanoramaRecord) -> list[Product]:
    return [p for p in all_products() if not store.is_done(p.name, task.fingerprints[p.name], record.entry(p))]


def _ignored(task: PanoramaTask, panorama: OpenedPanorama) -> npt.NDArray[np.bool_]:
    """Where nothing was seen, at the working size, levelled as the picture is.

    Raises:
        InputError: that is everywhere, or the panorama's own mask changed.
    """
    ignored_HW = ignored_region(panorama.image_HW3, _own_mask(task), panorama.transparent_HW)
    if ignored_HW.all():
        raise InputError(f"all of {task.panorama.path} is ignored",
                         "some pixels must not be black, transparent or under the ignore mask",
                         "Take it out of the folder")  # fmt: skip
    return level_values(ignored_HW, panorama.placement)  # found as the camera saw it: its rig turns with it


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
    record = record_of(task.panorama.path, digest(task.panorama.path), task.ignore_mask_sha256, (0, 0))
    entries = [Entry(p.name, task.fingerprints[p.name], record.entry(p)) for p in all_products()]
    discard(store, filter(None, (verify_entry(store, entry) for entry in entries)))


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


def provenance(record: PanoramaRecord, panorama: OpenedPanorama) -> dict[str, Any]:
    """What is stored with a product of where it comes from."""
    return {
        "source": record.path,
        "source_sha256": record.sha256,
        "source_height": panorama.source_height,
        "source_width": panorama.source_width,
        "placement": asdict(panorama.placement),
        **({"ignore_mask_sha256": record.ignore_mask_sha256} if record.ignore_mask_sha256 else {}),
    }
