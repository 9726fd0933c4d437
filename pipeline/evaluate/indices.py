"""Indices of a labelled panorama that city research uses: what share is green, and how much of the sky is open.

Legend: H W panorama, h w the network's own resolution, C classes.

Green view index (Yang et al. 2009, Landscape and Urban Planning 91): the share of green in what is seen, here by solid
angle, so that the stretched rows near the poles count as an eye would see them:

    GVI = sum of dO over pixels of green classes / sum of dO over pixels that were seen

Sky view factor (Steyn 1980, Atmosphere-Ocean 18): the share of the radiation that a level surface sends upwards which
reaches the sky; directions count by the cosine of their zenith angle t, the horizon counts nothing:

    SVF = sum of cos t dO over sky pixels above the horizon / sum of cos t dO over those that were seen
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from pipeline.classes import IGNORE, LabelSet

GREEN = frozenset(("vegetation", "tree", "grass", "plant", "palm", "bush", "shrub", "hedge", "flower"))
"""Names of green classes; one of several names, as ADE20K's "plant;flora;plant life", is enough. Cityscapes' terrain is
none: it is soil and sand as well as grass."""
SKY = frozenset(("sky",))
"""Names of the class of the sky."""
LEAST_SEEN = 0.9
"""Share of the upper hemisphere, by cosine and solid angle, that must be seen for a sky view factor."""


def classes_called(labels: LabelSet, names: frozenset[str]) -> tuple[int, ...]:
    """Ids of the classes that have one of these names."""
    words = ({word.strip().casefold() for word in name.replace(",", ";").split(";")} for name in labels.names)
    return tuple(class_id for class_id, own in enumerate(words) if own & names)


def seen_shares(shares: npt.ArrayLike) -> npt.NDArray[np.float64] | None:
    """Shares [C] of what was seen, from `metrics.class_shares` [C + 1], whose last is what was not; None where nothing
    was seen."""
    areas = np.asarray(shares, np.float64)
    seen = areas[:-1].sum()
    return areas[:-1] / seen if seen > 0 else None


def green_view_index(shares: npt.ArrayLike, labels: LabelSet) -> float | None:
    """GVI, 0..1, of shares as `seen_shares` takes them; None without green classes, or where nothing was seen."""
    green, seen = classes_called(labels, GREEN), seen_shares(shares)
    return None if not green or seen is None else float(seen[list(green)].sum())


def sky_view_factor(labels_HW: npt.NDArray[np.uint8], labels: LabelSet, vertical_fov: float) -> float | None:
    """SVF, 0..1, of a level panorama; None without a class of the sky, or where too little of the upper hemisphere
    was seen (LEAST_SEEN)."""
    sky = classes_called(labels, SKY)
    height, width = labels_HW.shape
    weights_H = cosine_weights(height, width, vertical_fov)
    upper = int(np.count_nonzero(weights_H))
    seen_H = (labels_HW[:upper] != IGNORE).sum(axis=1)
    seen = float(weights_H[:upper] @ seen_H)
    if not sky or seen < LEAST_SEEN * np.pi:
        return None
    return float(weights_H[:upper] @ np.isin(labels_HW[:upper], sky).sum(axis=1)) / seen


@lru_cache(maxsize=16)
def cosine_weights(height: int, width: int, vertical_fov: float) -> npt.NDArray[np.float64]:
    """Integral of cos t dO over one pixel per row, [H], read-only: 0 below the horizon; W * sum = pi for a sphere."""
    edges = np.clip((0.5 - np.arange(height + 1) / height) * np.radians(vertical_fov), 0, None)
    weights = (np.sin(edges[:-1]) ** 2 - np.sin(edges[1:]) ** 2) / 2 * (2 * np.pi / width)
    weights.setflags(write=False)
    return np.asarray(weights)


def doubt(
    confidence_HW: npt.NDArray[np.floating], ignored_HW: npt.NDArray[np.bool_], weights_H: npt.NDArray[np.floating]
) -> float | None:
    """1 - the mean probability of the most probable class over what was seen; None where nothing was.

    Args:
        confidence_HW: that probability, 0..1.
        ignored_HW: what was not seen.
        weights_H: solid angle of a pixel per row.
    """
    seen_HW = ~ignored_HW
    seen = float(np.asarray(weights_H, np.float64) @ seen_HW.sum(axis=1))
    if seen == 0:
        return None
    return 1 - float(np.asarray(weights_H, np.float64) @ (confidence_HW * seen_HW).sum(axis=1)) / seen


def confidence(scores_Chw: npt.NDArray[np.float32], are_probabilities: bool) -> npt.NDArray[np.float32]:
    """Probability [h, w] of the most probable class, from probabilities or logits."""
    best_hw = scores_Chw.max(axis=0)
    if are_probabilities:
        return best_hw
    sums_hw = np.zeros_like(best_hw)
    for scores_hw in scores_Chw:  # one class at a time: all of their exponentials would take as much memory again
        sums_hw += np.exp(scores_hw - best_hw)
    return 1 / sums_hw
