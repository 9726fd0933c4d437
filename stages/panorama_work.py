"""A panorama that stage one works on: what a worker is given, what products are computed from, how they are stored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pipeline.cache.schema import ASSISTANT, MASKS
from pipeline.cache.store import TeacherStore
from pipeline.errors import RERUN_STAGE_ONE, InputError
from pipeline.panorama.config import GRID, PanoramaConfig
from pipeline.panorama.ignore import ignored_region
from pipeline.panorama.images import OpenedPanorama, open_panorama
from pipeline.panorama.level import level_image, level_values
from pipeline.panorama.views import View
from pipeline.panorama.windows import Window
from pipeline.recipe import Recipe
from pipeline.teacher.assistant import Assistant
from pipeline.teacher.mask_source import MaskSource
from stages import networks
from stages.files import digest
from stages.panorama_records import PanoramaRecord
from stages.product_settings import assistant_of
from stages.products import Product, product
from stages.splits import SplitPanorama
from stages.views import sam_views, shared_views

if TYPE_CHECKING:
    from pipeline.teacher.generator.embeddings import KeptEmbeddings


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
        """Windows; see `stages.views`."""
        return shared_views(self.recipe)

    @cached_property
    def sam_views(self) -> tuple[View, ...]:
        """Views that SAM is shown."""
        return sam_views(self.recipe)

    @cached_property
    def kept_embeddings(self) -> KeptEmbeddings:
        """SAM's embeddings of `pictures_for_sam`, by their order, between its two looks at them."""
        from pipeline.teacher.generator.embeddings import KeptEmbeddings

        return KeptEmbeddings()

    def pictures_for_sam(self) -> list[npt.NDArray[np.uint8]]:
        """What SAM is shown of each of its views, [h, w, 3]: windows of the panorama at the working size, and
        perspective views of what `views.source_width` names.

        Raises:
            InputError: as `image_at`.
        """
        is_window = [isinstance(view, Window) for view in self.sam_views]
        source_HW3 = self.image_HW3 if all(is_window) else self.image_at(self.recipe.views.source_width)
        return [
            view.cut_image(self.image_HW3 if flat else source_HW3)
            for view, flat in zip(self.sam_views, is_window, strict=True)
        ]

    def image_at(self, width: int) -> npt.NDArray[np.uint8]:
        """The panorama [H, W, 3], level, reduced to another width than the working one.

        Args:
            width: pixels, a multiple of 32; a narrower picture keeps its own width. 0 is the working width.

        Raises:
            InputError: the file cannot be read, or is not the one that was read first.
        """
        config = self.recipe.panorama
        width = reduced_width(config, width, self.source_width)
        if width == config.width:
            return self.image_HW3
        panorama = open_panorama(self.task.panorama.path, replace(config, width=width))
        if panorama.sha256 != self.record.sha256:
            raise InputError(f"{self.task.panorama.path} changed while it was processed",
                             "panoramas must not change during a run",
                             RERUN_STAGE_ONE)  # fmt: skip
        return level_image(panorama.image_HW3, panorama.placement)

    def mask_source(self) -> MaskSource:
        """What finds the masks, loaded."""
        source = networks.mask_source(self.recipe.sam, self.task.device, self.task.fingerprints[MASKS])
        self.notes.extend(source.notes)
        return source

    def assistant(self, name: str = ASSISTANT) -> Assistant:
        """An assistant, loaded.

        Args:
            name: of its product; the first one's by default.
        """
        assistant = load_assistant(self.task, name)
        self.notes.extend(assistant.notes)
        return assistant

    def read(self, name: str, arrays: Iterable[str] | None = None) -> dict[str, npt.NDArray[Any]]:
        """Arrays of one of the product's inputs, from the store; all, or those named.

        Raises:
            DamagedError: they are not as they were written.
        """
        declared = product(name)
        entry = self.record.entry(declared)
        return self.store.read(declared.stored_as, self.task.fingerprints[name], entry, arrays)


def load_assistant(task: PanoramaTask, name: str) -> Assistant:
    """One of a task's assistants; it is loaded once for all tasks of a process and device.

    Args:
        task: has the settings.
        name: of its product.

    Raises:
        WeightsError: it is broken or of the wrong kind.
    """
    return networks.assistant(assistant_of(task.recipe, name), task.device, task.fingerprints[name], name)


def reduced_width(config: PanoramaConfig, wanted: int, source_width: int) -> int:
    """Width to which a picture is reduced where another than the working one is wanted.

    Args:
        config: has the working width, which is the least.
        wanted: pixels, a multiple of 32; 0 for the working width.
        source_width: of the whole sphere at the resolution of the file; a narrower picture keeps its own width.
    """
    return max(config.width, min(wanted, source_width // GRID * GRID))


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
    place = (computed.stored_as, work.task.fingerprints[computed.name], work.record.entry(computed))
    if not work.store.is_done(*place):  # another process may have stored it meanwhile
        work.store.write(*place, arrays, provenance(work.record, panorama))


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


def _ignored(task: PanoramaTask, panorama: OpenedPanorama) -> npt.NDArray[np.bool_]:
    """Where nothing was seen, at the working size, levelled as the picture is.

    Raises:
        InputError: that is everywhere, or the panorama's own mask changed.
    """
    ignored_HW = ignored_region(panorama.image_HW3, _own_mask(task), panorama.transparent_HW)
    level_HW = level_values(ignored_HW, panorama.placement)  # found as the camera saw it: its rig turns with it
    if level_HW.all():
        raise InputError(f"all pixels of {task.panorama.path} are ignored",
                         "some must not be black, transparent or under the ignore mask, nor, once it is level, "
                         "beyond panorama.vertical_fov",
                         "Take it out of the folder")  # fmt: skip
    return level_HW


def _own_mask(task: PanoramaTask) -> PanoramaConfig:
    """The settings with the panorama's own mask.

    Raises:
        InputError: its file is not the one that the run began with.
    """
    if task.ignore_mask_sha256 and digest(Path(task.ignore_mask)) != task.ignore_mask_sha256:
        raise InputError(f"ignore mask {task.ignore_mask} is not the one that this run began with",
                         "masks must not change during a run, and must be the same on every machine",
                         RERUN_STAGE_ONE)  # fmt: skip
    return replace(task.recipe.panorama, ignore_mask=task.ignore_mask)
