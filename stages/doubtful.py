"""The panoramas of a run whose predictions are most doubtful, without labels: those that fit SAM's masks worst."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.arrays import BoolArray
from pipeline.cache import codec
from pipeline.cache.schema import ENSEMBLE
from pipeline.errors import CacheError
from pipeline.panorama.sphere import solid_angles
from pipeline.tune.mask_pixels import MaskPixels
from pipeline.tune.parts import kept_pixels
from pipeline.tune.scores import corrected_purity
from stages.events import Listener, failure, report_if_slow
from stages.files import write_whole
from stages.product_settings import voting_assistant
from stages.reading import RunReader
from stages.views import sam_views

MOST = 10
"""Panoramas that are listed."""


@dataclass(frozen=True)
class Doubtful:
    """One panorama, by stage one's blend."""

    id: str
    """The panorama."""
    purity: float
    """Purity of SAM's masks under the assistant's labels, corrected for chance as in `goodsam tune`."""
    agreement: float
    """Mean agreement of overlapping windows and views, by solid angle, 0..1."""


def most_doubtful(reader: RunReader, ids: Sequence[str], stage: str, listener: Listener) -> list[Doubtful]:
    """The panoramas with the lowest purity, lowest first; without those that have no masks.

    Args:
        reader: reads what stage one has stored.
        ids: panoramas to look at.
        stage: who asks.
        listener: hears how far it is, should it take long, and of panoramas whose masks are lost or damaged.
    """
    judged: list[Doubtful] = []
    for panorama_id in report_if_slow(ids, f"{stage}: doubtful panoramas", "panoramas", listener):
        try:
            judged.append(_judge(reader, panorama_id))
        except CacheError as error:  # all else of it has been measured
            listener(failure(stage, panorama_id, error))
    known = [one for one in judged if not math.isnan(one.purity)]
    return sorted(known, key=lambda one: one.purity)[:MOST]


def text_of(doubtful: Sequence[Doubtful]) -> str:
    """A table in Markdown with a word on what it shows."""
    about = "Most doubtful panoramas (purity of SAM's masks, above chance; agreement of windows and views):"
    rows = [f"| {one.id} | {one.purity:.3f} | {one.agreement:.3f} |" for one in doubtful]
    return "\n".join([about, "", "| panorama | purity | agreement |", "|---|---:|---:|", *rows, ""])


def write_doubtful(folder: Path, doubtful: Sequence[Doubtful]) -> None:
    """Write the table into `doubtful.md`.

    Raises:
        CacheError: it cannot be written.
    """
    write_whole(folder / "doubtful.md", text_of(doubtful))


def _judge(reader: RunReader, panorama_id: str) -> Doubtful:
    size = reader.recipe.panorama
    assistant = reader.read(voting_assistant(reader.recipe), panorama_id, ("assistant_probabilities", "agreement"))
    ignored_HW = reader.read(ENSEMBLE, panorama_id, ("ignored",))["ignored"].astype(bool)
    scored_HW, masks = scored_masks(reader, panorama_id, ignored_HW)
    labels_N = assistant["assistant_probabilities"][:, scored_HW].argmax(axis=0).astype(np.uint8)
    votes_MC = masks.votes(labels_N, len(reader.recipe.classes))
    areas_HW = solid_angles(size.height, size.width, size.vertical_fov)[:, None] * ~ignored_HW
    agreement_HW = codec.decode_unit(assistant["agreement"])
    agreement = float(np.vdot(areas_HW, agreement_HW) / areas_HW.sum())
    return Doubtful(panorama_id, corrected_purity(votes_MC), agreement)


def scored_masks(reader: RunReader, panorama_id: str, ignored_HW: BoolArray) -> tuple[BoolArray, MaskPixels]:
    """The pixels [H, W] at which a prediction's purity is judged, and which of SAM's masks each lies in.

    Raises:
        CacheError: the masks are not in the cache, or damaged.
    """
    size = reader.recipe.panorama
    scored_HW = kept_pixels(size.height, size.width, len(reader.recipe.classes)) & ~ignored_HW
    return scored_HW, MaskPixels.of(sam_views(reader.recipe), reader.masks(panorama_id), scored_HW)
