"""What stage two and evaluation read of a run: samples and teacher arrays from the store, images from their files.

Legend: C classes, H W panorama (working size), 3 = RGB.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.cache import codec, records
from pipeline.cache.schema import ASSISTANT, ASSISTANTS_BLEND, ENSEMBLE
from pipeline.cache.store import TeacherStore
from pipeline.ensemble.assistants import enough_agree
from pipeline.errors import RERUN_STAGE_ONE, CacheError, InputError, counted
from pipeline.panorama.images import OpenedPanorama, open_panorama
from pipeline.panorama.level import level_image
from pipeline.panorama.placement import Placement
from pipeline.recipe import Recipe
from pipeline.settings import fingerprint
from pipeline.student.reader import StoreReader
from pipeline.teacher.masks import MaskSet
from pipeline.teacher.projected_masks import mask_map
from pipeline.teacher.unknown import UnknownObjects, find_unknown
from stages.corrections import CorrectionReader, correction_reader
from stages.manifest import NotCachedError, read_manifest
from stages.panorama_records import PanoramaRecord, PanoramaRecords
from stages.product_settings import assistants_of, voting_assistant, voting_masks
from stages.products import product
from stages.rungs import TeacherArrays
from stages.runs import Run
from stages.splits import SplitPanorama
from stages.views import sam_views


@dataclass(frozen=True)
class RunReader:
    """Reads one run's panoramas; picklable, holds no handles."""

    recipe: Recipe
    """All settings."""
    store: TeacherStore
    """Stage one's output."""
    fingerprints: Mapping[str, str]
    """That of every product, by its name."""
    records: Mapping[str, PanoramaRecord]
    """Content of all panoramas of the run that are in the store, by id."""
    paths: Mapping[str, Path]
    """Image file by id, of those that are read."""

    @classmethod
    def open(cls, run: Run, panoramas: list[SplitPanorama]) -> RunReader:
        """A reader of the cached ones among `panoramas`.

        Raises:
            NotCachedError: there is no cache of this recipe, or none of the panoramas is in it.
            CacheError: its record is damaged.
        """
        fingerprints = read_manifest(run)
        store = TeacherStore.open(run.store, "r")
        stored, ensemble = frozenset(store.ids(ENSEMBLE, fingerprints[ENSEMBLE])), product(ENSEMBLE)
        records = {id_: record for id_, record in PanoramaRecords(run.panoramas).items()
                   if record.entry(ensemble) in stored}  # fmt: skip
        return cls(run.recipe, store, fingerprints, records, {}).of(panoramas)

    def of(self, panoramas: list[SplitPanorama]) -> RunReader:
        """A reader of the cached ones among other panoramas.

        Raises:
            NotCachedError: none of them is in the cache.
        """
        paths = {p.id: p.path for p in panoramas if p.id in self.records}
        if not paths:
            raise NotCachedError(f"none of {counted(len(panoramas), 'panorama')} is in {self.store.path}",
                                 "stage one must have computed some", "Run `goodsam teacher-cache` first")  # fmt: skip
        return replace(self, paths=paths)

    @property
    def ids(self) -> tuple[str, ...]:
        """Cached panoramas, sorted."""
        return tuple(sorted(self.paths))

    def content_fingerprint(self) -> str:
        """Names what can be read here: settings, and content and mask of every panorama, in the order of `ids`."""
        ensemble = product(ENSEMBLE)
        return fingerprint(self.fingerprints[ENSEMBLE], [self.records[id_].entry(ensemble) for id_ in self.ids])

    def sources(self) -> list[str]:
        """SHA-256 of every panorama's file, in the order of `ids`."""
        return [self.records[panorama_id].sha256 for panorama_id in self.ids]

    def read(self, name: str, panorama_id: str, arrays: Iterable[str] | None = None) -> dict[str, npt.NDArray[Any]]:
        """Arrays of a product of one panorama; all, or those named.

        Raises:
            CacheError: they are not in the cache, or damaged.
        """
        place = (product(name).stored_as, self.fingerprints[name], self._entry(name, panorama_id))
        return self.store.read(*place, arrays)

    def probabilities(self, panorama_id: str) -> npt.NDArray[np.float32]:
        """S_TA^w, what the assistant says, or the mean of several: probabilities [C, H, W].

        Raises:
            CacheError: they are not in the cache, or damaged.
        """
        array = "assistant_probabilities"
        return codec.decode_probabilities(self.read(voting_assistant(self.recipe), panorama_id, (array,))[array])

    def agreeing(self, panorama_id: str) -> npt.NDArray[np.uint8]:
        """How many of several assistants give a pixel the class that their mean gives it, [H, W].

        Raises:
            InputError: the recipe has one assistant.
            CacheError: it is not in the cache, or damaged.
        """
        require_several_assistants(self.recipe, "the agreement of assistants is asked for")
        array = "agreeing_assistants"
        return self.read(ASSISTANTS_BLEND, panorama_id, (array,))[array]

    def image(self, panorama_id: str) -> npt.NDArray[np.uint8]:
        """RGB image [H, W, 3] at the working size, level where `panorama.level` asks for it.

        Raises:
            InputError: the file cannot be read.
            CacheError: the file is no longer the one that was cached.
        """
        panorama = self.opened(panorama_id)
        return level_image(panorama.image_HW3, panorama.placement)

    def opened(self, panorama_id: str, width: int = 0) -> OpenedPanorama:
        """The panorama as `open_panorama` gives it, not levelled; `width` columns wide, or of the working size for 0.

        Raises:
            InputError: the file cannot be read.
            CacheError: the file is no longer the one that was cached.
        """
        config = self.recipe.panorama
        panorama = open_panorama(self.paths[panorama_id], replace(config, width=width or config.width))
        if self.records[panorama_id].sha256 != panorama.sha256:
            raise CacheError(f"{self.paths[panorama_id]} has changed since it was cached",
                             "it must be the file that was cached", RERUN_STAGE_ONE)  # fmt: skip
        return panorama

    def placement(self, panorama_id: str) -> Placement:
        """Where its picture lies on the canvas, as stage one has found it.

        Raises:
            CacheError: it is not in the cache, or damaged.
        """
        entry = self._entry(ENSEMBLE, panorama_id)
        stored: Any = self.store.provenance(ENSEMBLE, self.fingerprints[ENSEMBLE], entry)["placement"]
        return Placement(**stored)

    def computed_at(self, panorama_id: str) -> float:
        """When its ensemble was stored, seconds since 1970; infinity where nobody knows."""
        folder = self.store.path / ENSEMBLE / self.fingerprints[ENSEMBLE] / self._entry(ENSEMBLE, panorama_id)
        try:
            return folder.stat().st_mtime
        except OSError:
            return math.inf

    @property
    def sample_reader(self) -> StoreReader:
        """Reads what the student learns from."""
        recipe = self.recipe
        levels = recipe.assistant.feature_levels if recipe.losses.features > 0 else ()
        return StoreReader(self.read, self.image, levels, recipe.losses.hard, recipe.unknown.ignored_by_student,
                           self._corrections(), voting_assistant(recipe))  # fmt: skip

    def _corrections(self) -> CorrectionReader | None:
        """Reads people's corrections; None where the recipe has none to learn from."""
        has_any = self.recipe.data.corrections and self.recipe.losses.corrections
        return correction_reader(self.recipe, self) if has_any else None

    @property
    def corrections_fingerprint(self) -> str:
        """Names the corrections that are learned from; empty for none.

        Raises:
            InputError: `data.corrections` cannot be read.
        """
        corrections = self._corrections()
        return corrections.learned_fingerprint if corrections else ""

    def teacher(self, panorama_id: str) -> TeacherArrays:
        """What the ladder measures of stage one.

        Raises:
            CacheError: it is not in the cache, or damaged.
        """
        return teacher_arrays(self.recipe, lambda name, arrays: self.read(name, panorama_id, arrays))

    def only_of(self, ids: Iterable[str]) -> RunReader:
        """A reader of some of its panoramas, which knows of the others."""
        return replace(self, paths={panorama_id: self.paths[panorama_id] for panorama_id in ids})

    def only(self, panorama_id: str) -> RunReader:
        """A reader of one panorama, small enough to be sent to a worker with each task."""
        records, paths = ({panorama_id: of[panorama_id]} for of in (self.records, self.paths))
        return replace(self, records=records, paths=paths)

    def mask_map(self, panorama_id: str) -> npt.NDArray[np.int32]:
        """SAM's masks of all views as one map of ids [H, W], -1 where there is none; small masks lie on top.

        Raises:
            CacheError: they are not in the cache, or damaged.
        """
        size = self.recipe.panorama
        return mask_map(size.height, size.width, sam_views(self.recipe), self.masks(panorama_id))

    def unknown(self, panorama_id: str) -> UnknownObjects:
        """Objects that no class describes.

        Raises:
            CacheError: masks or predictions are not in the cache, or damaged.
        """
        recipe = self.recipe
        ignored_HW = self.read(ENSEMBLE, panorama_id, ("ignored",))["ignored"].astype(bool)
        return find_unknown(self.probabilities(panorama_id), ignored_HW, sam_views(recipe),
                            self.masks(panorama_id), recipe.classes, recipe.unknown)  # fmt: skip

    def masks(self, panorama_id: str) -> list[MaskSet]:
        """SAM's masks of every view that it was shown, those that vote, in the order of `sam_views`.

        Raises:
            CacheError: they are not in the cache, or damaged.
        """
        return records.unpack_masks(self.read(voting_masks(self.recipe), panorama_id), sam_views(self.recipe))

    def _entry(self, name: str, panorama_id: str) -> str:
        return self.records[panorama_id].entry(product(name))


def require_several_assistants(recipe: Recipe, asked: str) -> None:
    """Refuse to tell how many of a recipe's assistants agree where it has one.

    Args:
        recipe: any.
        asked: what asks for it, for the message.

    Raises:
        InputError: it has one.
    """
    if not recipe.further_assistants:
        raise InputError(asked, "it is that of several assistants, and the recipe has one",
                         "Leave it out, or add [[further_assistants]] to the recipe")  # fmt: skip


def teacher_arrays(
    recipe: Recipe, read: Callable[[str, tuple[str, ...]], Mapping[str, npt.NDArray[Any]]]
) -> TeacherArrays:
    """What the ladder measures of stage one.

    Args:
        recipe: says which products there are.
        read: gives the named arrays of a product of the panorama.
    """
    voting, whole = "assistant_probabilities", "assistant_whole_probabilities"
    blend = read(voting_assistant(recipe), (voting, "agreement"))
    ensemble = read(ENSEMBLE, ("ensemble_labels", "reliability", "ignored"))
    further: dict[str, Any] = {}
    if recipe.further_assistants:
        agreeing_HW = read(ASSISTANTS_BLEND, ("agreeing_assistants",))["agreeing_assistants"]
        further["own_CHW"] = tuple(
            codec.decode_probabilities(read(name, (voting,))[voting]) for name in assistants_of(recipe)
        )
        further["agree_HW"] = enough_agree(agreeing_HW, recipe.fusion.agree, len(recipe.assistants))
    return TeacherArrays(
        assistant_CHW=codec.decode_probabilities(blend[voting]),
        whole_CHW=codec.decode_probabilities(read(ASSISTANT, (whole,))[whole]),
        agreement_HW=codec.decode_unit(blend["agreement"]),
        ensemble_HW=ensemble["ensemble_labels"],
        reliable_HW=ensemble["reliability"].astype(bool),
        ignored_HW=ensemble["ignored"].astype(bool),
        **further,
    )
