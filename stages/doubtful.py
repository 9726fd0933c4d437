"""The panoramas of a run whose predictions are most doubtful, without labels: those of which the student is least sure
or, before there is one, those that fit SAM's masks worst (`scripts/measured/study.md`: which tells more)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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
    """One panorama, by the student and by stage one's blend."""

    id: str
    """The panorama."""
    purity: float
    """Purity of SAM's masks under the assistant's labels, corrected for chance as in `goodsam tune`; NaN without
    masks."""
    agreement: float
    """Mean agreement of overlapping windows and views, by solid angle, 0..1; NaN where the cache has lost it."""
    doubt: float | None = None
    """1 less the student's mean probability of its most probable class, by solid angle; None without a student."""


def most_doubtful(
    reader: RunReader, ids: Sequence[str], doubts: Mapping[str, float], stage: str, listener: Listener
) -> list[Doubtful]:
    """The panoramas of which the student is least sure, the least first; without a student those of the lowest purity,
    the lowest first, and none that has no masks.

    Args:
        reader: reads what stage one has stored.
        ids: panoramas to look at.
        doubts: the student's doubt by panorama; empty without a student.
        stage: who asks.
        listener: hears how far it is, should it take long, and of panoramas whose masks are lost or damaged.
    """
    if doubts:
        ids = sorted((one for one in ids if one in doubts), key=lambda one: -doubts[one])[:MOST]
    judged: list[Doubtful] = []
    for panorama_id in report_if_slow(ids, f"{stage}: doubtful panoramas", "panoramas", listener):
        try:
            judged.append(_judge(reader, panorama_id))
        except CacheError as error:  # all else of it has been measured
            listener(failure(stage, panorama_id, error))
            judged.append(Doubtful(panorama_id, math.nan, math.nan))
    judged = [replace(one, doubt=doubts.get(one.id)) for one in judged]
    if doubts:
        return judged
    known = [one for one in judged if not math.isnan(one.purity)]
    return sorted(known, key=lambda one: one.purity)[:MOST]


def text_of(doubtful: Sequence[Doubtful]) -> str:
    """A table in Markdown with a word on what it shows."""
    has_student = any(one.doubt is not None for one in doubtful)
    first = "the student's doubt, by which they are ordered; " if has_student else ""
    about = f"Most doubtful panoramas ({first}purity of SAM's masks, above chance; agreement of windows and views):"
    shown = ["doubt", "purity", "agreement"] if has_student else ["purity", "agreement"]
    rows = [f"| {one.id} | {' | '.join(_figure(getattr(one, name)) for name in shown)} |" for one in doubtful]
    head = [f"| panorama | {' | '.join(shown)} |", f"|---|{'---:|' * len(shown)}"]
    return "\n".join([about, "", *head, *rows, ""])


def _figure(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.3f}"


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
