"""Samples from stage one's store, together with their images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.cache.codec import decode_features
from pipeline.cache.schema import ASSISTANT, ENSEMBLE
from pipeline.errors import RERUN_STAGE_ONE, CacheError
from pipeline.student.sample import PanoramaSample


@dataclass(frozen=True)
class StoreReader:
    """A `SampleReader` of what stage one has stored."""

    read: Callable[[str, str, Sequence[str]], Mapping[str, npt.NDArray[Any]]]
    """Gives the named arrays of a product of a panorama, by its id."""
    open_image: Callable[[str], npt.NDArray[np.uint8]]
    """image_HW3 of a panorama's id, at the working size."""
    levels: tuple[int, ...] = ()
    """Feature levels to read; none where their loss is off."""
    hard: bool = False
    """Read E's labels instead of its soft form, whose argmax differs from them where a winner has less than half of its
    mask."""
    ignore_unknown: bool = False
    """Ignore objects that no class describes; stage one has then stored where they are."""
    corrections: Callable[[str], npt.NDArray[np.uint8] | None] | None = None
    """corrected_HW of a panorama's id, None where nobody has corrected it; None for no corrections at all."""
    blend: str = ASSISTANT
    """Product that has the assistant's probabilities: the assistant, or the mean of several."""

    def __call__(self, panorama_id: str) -> PanoramaSample:
        """The sample of one panorama.

        Raises:
            CacheError: it is not in the store, damaged, or of another size than its image.
            InputError: the image cannot be read.
        """
        features = [f"features_{level}{suffix}" for level in self.levels for suffix in ("", "_scale")]
        assistant_CHW = self.read(self.blend, panorama_id, ["assistant_probabilities"])["assistant_probabilities"]
        stored = self.read(ASSISTANT, panorama_id, features) if features else {}
        form = "ensemble_labels" if self.hard else "ensemble_probabilities"
        flags = ["reliability", "boundary", "ignored", *(["unknown"] if self.ignore_unknown else [])]
        ensemble = self.read(ENSEMBLE, panorama_id, [form, *flags])
        ignored_HW = ensemble["ignored"].astype(np.bool_)
        if self.ignore_unknown:
            ignored_HW |= ensemble["unknown"].astype(np.bool_)
        image_HW3 = self.open_image(panorama_id)
        _require_size(panorama_id, image_HW3, ensemble["ignored"])
        return PanoramaSample(
            image_HW3=image_HW3,
            assistant_CHW=assistant_CHW,
            ensemble_CHW=_certain(ensemble[form], len(assistant_CHW)) if self.hard else ensemble[form],
            reliable_HW=ensemble["reliability"].astype(np.bool_),
            boundary_HW=ensemble["boundary"].astype(np.bool_),
            ignored_HW=ignored_HW,
            features={
                level: _half(stored[f"features_{level}"], stored[f"features_{level}_scale"]) for level in self.levels
            },
            corrected_HW=self.corrections(panorama_id) if self.corrections else None,
        )


def _certain(labels_HW: npt.NDArray[np.uint8], classes: int) -> npt.NDArray[np.uint8]:
    """Codes [C, H, W] of probability 1 for every pixel's label; 0 for all classes where it is IGNORE."""
    return (labels_HW == np.arange(classes, dtype=np.uint8)[:, None, None]) * np.uint8(255)


_LARGEST_SCALE = np.float32(512)
"""Features of up to 127 times this are finite in half precision."""


def _half(stored_Dhw: npt.NDArray[np.int8], scale_D: npt.NDArray[np.float32]) -> npt.NDArray[np.float16]:
    """Features as float16; where some are too large for it, all are scaled down, which does not change a cosine."""
    shrink = np.maximum(scale_D.max(initial=0) / _LARGEST_SCALE, np.float32(1))
    return decode_features(stored_Dhw, scale_D / shrink).astype(np.float16)


def _require_size(panorama_id: str, image_HW3: npt.NDArray[np.uint8], stored_HW: npt.NDArray[Any]) -> None:
    if image_HW3.shape[:2] != stored_HW.shape:
        height, width = image_HW3.shape[:2]
        stored_height, stored_width = stored_HW.shape
        raise CacheError(f"{panorama_id} is {width}x{height}, but {stored_width}x{stored_height} in the store",
                         "both must have the same working size", RERUN_STAGE_ONE)  # fmt: skip
