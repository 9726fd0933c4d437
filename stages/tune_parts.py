"""What `goodsam tune` knows of each panorama: its masks, and the assistant's prediction from every part of a blend.

Masks are those of stage one, in the store of all runs: what is there is read, and what is found here stage one need not
find again. Predictions of the parts lie in `<run>/tune/parts.zarr`, each under a fingerprint of what determines it, and
with the assistant's prediction of the rolled panorama.

Legend: C classes, H W panorama (working size), N scored pixels.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.arrays import BoolArray, FloatArray
from pipeline.cache import codec, records
from pipeline.cache.schema import MASKS
from pipeline.cache.store import TeacherStore
from pipeline.classes import label_set
from pipeline.errors import InputError
from pipeline.panorama.config import OPTIONAL_OF_VIEWS, OPTIONAL_OF_WINDOWS, PanoramaConfig
from pipeline.panorama.sphere import pixel_pitch, solid_angles
from pipeline.recipe import Recipe
from pipeline.settings import fingerprint, without_unused
from pipeline.teacher.config import OPTIONAL_OF_ASSISTANT
from pipeline.teacher.identity import assistant_identity
from pipeline.tune.blends import SeenPart
from pipeline.tune.judge import ROLL_DEGREES, JudgedPanorama
from pipeline.tune.mask_pixels import MaskPixels
from pipeline.tune.parts import WINDOWS, Part, kept_pixels, predict_part, weights_of_group
from stages.files import digest
from stages.panorama_records import record_of, size_and_time
from stages.panorama_task import computing
from stages.panorama_work import PanoramaTask, PanoramaWork, open_work, provenance, store_product
from stages.products import product

VERSION = 1
"""Raised when the code changes what is stored here."""
PARTS = "parts"


@dataclass(frozen=True, eq=False)
class TunedPanorama:
    """One panorama, ready to have blends judged on it."""

    task: PanoramaTask
    """Its file, and how it is computed."""
    content: str
    """Names its content and its own ignore mask."""
    mask_entry: str
    """Where SAM's masks of it lie in the store, below their fingerprint."""
    judged: JudgedPanorama
    """Masks and weights."""
    scored_K: BoolArray
    """Which of the pixels that are kept of a part are scored; the others are ignored."""


class SeenParts(NamedTuple):
    """All parts of one panorama, by their kind."""

    straight: dict[str, SeenPart]
    """As the panorama is."""
    rolled: dict[str, SeenPart]
    """Of the rolled panorama, rolled back."""
    agreements: dict[str, float]
    """Mean agreement of the overlapping views of each."""


class PartLibrary:
    """Predicts parts of panoramas where they are missing, and reads them."""

    def __init__(self, recipe: Recipe, store: TeacherStore) -> None:
        """A library of one recipe's parts.

        Args:
            recipe: its assistant, working size, windows and classes.
            store: has the parts; open for writing.
        """
        self._recipe, self._store = recipe, store
        size = recipe.panorama
        self._kept_HW = kept_pixels(size.height, size.width, len(recipe.classes))
        self._columns = round(size.width * ROLL_DEGREES / 360)
        self._assistant = self._name_of_assistant()
        self._seconds: dict[tuple[str, Part], float] = {}

    def _name_of_assistant(self) -> str:
        config = self._recipe.assistant
        shown = replace(config, name="-", label_set="", window_scale=1, whole_scale=1, views_scale=1, whole_weight=0,
                        views_weight=0, feature_levels=(), **OPTIONAL_OF_ASSISTANT)  # fmt: skip
        named = without_unused(shown, OPTIONAL_OF_ASSISTANT)
        return fingerprint(assistant_identity(config), named, label_set(config.label_set).names)

    def name(self, part: Part) -> str:
        """Fingerprint of all that determines a part, panoramas apart."""
        recipe, size = self._recipe, self._recipe.panorama
        geometry = (size.width, size.height, size.vertical_fov, size.level)
        shown = (
            without_unused(recipe.windows, OPTIONAL_OF_WINDOWS)
            if part.kind == WINDOWS
            else recipe.views.source_width
            if part.views
            else ""
        )
        kept = int(np.count_nonzero(self._kept_HW))
        views = without_unused(part.views, OPTIONAL_OF_VIEWS) if part.views else None
        named = vars(part) | {"views": views}
        return fingerprint(VERSION, self._assistant, recipe.classes.names, geometry, named, shown, kept, ROLL_DEGREES)

    def prepare(self, task: PanoramaTask, parts: Sequence[Part]) -> TunedPanorama:
        """Find masks and predict parts of a panorama, where that has not been done.

        Raises:
            InputError: the panorama cannot be used.
            GoodSAMError: networks, device or store fail.
        """
        return self._judged(self.predict(task, parts))

    def predict(self, task: PanoramaTask, parts: Sequence[Part]) -> PanoramaWork:
        """As `prepare`, without making it ready to be judged.

        Raises:
            GoodSAMError: as `prepare`.
        """
        path = task.panorama.path
        before = size_and_time(path)
        store = TeacherStore.open(task.store, "a")
        record = record_of(path, digest(path), task.ignore_mask_sha256, before)
        with computing(task):
            work, panorama = open_work(task, store, record)
            if not store.is_done(MASKS, task.fingerprints[MASKS], work.record.entry(product(MASKS))):
                store_product(product(MASKS), work, panorama)
            for part in parts:
                if not self._store.is_done(PARTS, self.name(part), work.record.sha256):
                    arrays = self._predict(part, work)
                    origin = provenance(work.record, panorama)
                    self._store.write(PARTS, self.name(part), work.record.sha256, arrays, origin)
        return work

    def _predict(self, part: Part, work: PanoramaWork) -> records.Arrays:
        recipe = self._recipe
        images = (work.image_HW3, work.image_at(recipe.views.source_width) if part.views else work.image_HW3)
        arrays: records.Arrays = {}
        agreements: list[float] = []
        started = time.monotonic()
        for name, turn in (("straight", 0.0), ("rolled", ROLL_DEGREES)):
            image_HW3, source_HW3 = (np.roll(i, round(i.shape[1] * turn / 360), axis=1) for i in images)
            said = predict_part(part, recipe.panorama, image_HW3, source_HW3, work.shared_views, work.assistant(),
                                recipe.classes)  # fmt: skip
            back_CHW = np.roll(said.probabilities_CHW, -round(image_HW3.shape[1] * turn / 360), axis=2)
            arrays[name] = codec.encode_probabilities(back_CHW[:, self._kept_HW])
            agreements.append(said.agreement)
        seconds = (time.monotonic() - started) / 2
        return {**arrays, "agreement": np.array([np.mean(agreements)]), "seconds": np.array([seconds])}

    def _judged(self, work: PanoramaWork) -> TunedPanorama:
        size, record = self._recipe.panorama, work.record
        masks = records.unpack_masks(work.read(MASKS), work.sam_views)
        scored_HW = self._kept_HW & ~work.ignored_HW
        if not scored_HW.any():
            raise InputError(f"nearly all pixels of {record.path} are ignored", "some must be visible",
                             "Take it out of the folder")  # fmt: skip
        solid_H = solid_angles(size.height, size.width, size.vertical_fov)
        cosines_H = np.cos(pixel_pitch(size.height, size.vertical_fov))
        weights_N, cosines_N = (np.broadcast_to(of_rows[:, None], scored_HW.shape)[scored_HW]
                                for of_rows in (solid_H, cosines_H))  # fmt: skip
        mask_pixels = MaskPixels.of(work.sam_views, masks, scored_HW)
        judged = JudgedPanorama(mask_pixels, weights_N, len(self._recipe.classes), cosines_N)
        content = f"{record.sha256}-{record.ignore_mask_sha256[:16]}"
        return TunedPanorama(work.task, content, record.entry(product(MASKS)), judged, scored_HW[self._kept_HW])

    def seconds(self, panorama: TunedPanorama, part: Part) -> float:
        """Seconds that the assistant took for a part that was predicted.

        Raises:
            CacheError: as `read`.
        """
        key = (panorama.content, part)
        if key not in self._seconds:
            self._seconds[key] = float(self._read(part, _sha256(panorama), ("seconds",))["seconds"][0])
        return self._seconds[key]

    def read(self, panorama: TunedPanorama, parts: Sequence[Part]) -> SeenParts:
        """Parts of a panorama that was prepared.

        Raises:
            CacheError: one is not there, or damaged.
        """
        seen = SeenParts({}, {}, {})
        for part in parts:
            arrays = self._read(part, _sha256(panorama))
            for kinds, name, columns in ((seen.straight, "straight", 0), (seen.rolled, "rolled", -self._columns)):
                probabilities_CK = codec.decode_probabilities(arrays[name])
                weights_K = _weights(part, self._recipe.panorama, columns)[self._kept_HW]
                kinds[part.kind] = SeenPart(probabilities_CK[:, panorama.scored_K], weights_K[panorama.scored_K])
            seen.agreements[part.kind] = float(arrays["agreement"][0])
        return seen

    def _read(self, part: Part, sha256: str, names: Sequence[str] | None = None) -> dict[str, npt.NDArray[Any]]:
        return self._store.read(PARTS, self.name(part), sha256, names)


def _sha256(panorama: TunedPanorama) -> str:
    return panorama.content.partition("-")[0]


@lru_cache(maxsize=32)
def _weights(part: Part, panorama: PanoramaConfig, columns: int) -> FloatArray:
    """The weights of a part's views [H, W], rolled by columns."""
    if part.views is None:
        return np.ones((panorama.height, panorama.width), np.float32)
    return np.roll(weights_of_group(part, panorama), columns, axis=1)
