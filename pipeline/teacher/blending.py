"""Blending what the assistant says of a panorama from its windows, perspective views and the whole image.

Each has a weight in the recipe; options change that pixel by pixel: by how sure the prediction is, and by how much the
flat panorama, of which windows and the whole image are cut, is stretched there.

Legend: C classes, H W panorama, N pixels ([H, W] or any list of them).
"""

from __future__ import annotations

import numpy as np

from pipeline.arrays import AnyFloatArray, FloatArray

_LEAST = np.float32(1e-3)
"""The certainty of a prediction counts as this at least, so that one prediction of each pixel counts."""


def blend_shares(
    whole_weight: float, views_weight: float, seen_HW: FloatArray
) -> tuple[FloatArray, float | FloatArray]:
    """(share of the perspective views in the blend with the windows, share of the whole image in the final blend).

    Where the perspective views see nothing, their weight goes to the windows, or to the whole image if the windows have
    none.

    Args:
        whole_weight: that of the whole image.
        views_weight: that of the perspective views; the windows have the rest.
        seen_HW: how well the perspective views see each pixel, in [0, 1].
    """
    if whole_weight > 0 and whole_weight + views_weight >= 1:
        return (seen_HW > 0).astype(np.float32), 1 - views_weight * seen_HW
    return views_weight * seen_HW / (1 - whole_weight), whole_weight


class Blender:
    """Blends one prediction after another into the first, in place."""

    def __init__(
        self, windows_CN: FloatArray, cosines_N: AnyFloatArray, confidence_power: float = 0, latitude_power: float = 0
    ) -> None:
        """Begin with the prediction of the windows.

        Args:
            windows_CN: probabilities; changed by what is blended in.
            cosines_N: cosine of each pixel's latitude, or what broadcasts to that.
            confidence_power: predictions count by their certainty to this power, beside their shares; 0: they do not.
            latitude_power: windows and the whole image count by `cosines_N` to this power; 0: they do not.
        """
        self.blended_CN = windows_CN
        self._powers = (confidence_power, latitude_power)
        self._flat_N = np.power(cosines_N, latitude_power, dtype=np.float32)
        self._counts_N = self._counts(windows_CN, is_flat=True)

    def add(self, prediction_CN: FloatArray, share: float | FloatArray, *, is_flat: bool) -> None:
        """Blend in one more prediction.

        Args:
            prediction_CN: probabilities; changed.
            share: what it has of the blend where both count alike, in [0, 1].
            is_flat: whether it was made of the flat panorama, as windows and the whole image are.
        """
        share = self._shifted(share, prediction_CN, is_flat)
        self.blended_CN *= 1 - share
        prediction_CN *= share
        self.blended_CN += prediction_CN

    def _shifted(self, share: float | FloatArray, prediction_CN: FloatArray, is_flat: bool) -> float | FloatArray:
        """The share by which the prediction counts beside what is blended already."""
        if self._powers == (0, 0):
            return share
        of_it_N = share * self._counts(prediction_CN, is_flat)
        both_N = of_it_N + (1 - share) * self._counts_N
        self._counts_N = both_N
        is_known_N = both_N > 0  # high powers of small counts vanish in float32
        return np.asarray(np.where(is_known_N, of_it_N / np.where(is_known_N, both_N, 1), share), np.float32)

    def _counts(self, prediction_CN: FloatArray, is_flat: bool) -> FloatArray:
        """How much a prediction counts at each pixel, beside its share."""
        confidence_power, latitude_power = self._powers
        counts_N = np.ones(prediction_CN.shape[1:], np.float32)
        if confidence_power > 0:
            counts_N *= np.maximum(certainty(prediction_CN), _LEAST) ** np.float32(confidence_power)
        if latitude_power > 0 and is_flat:
            counts_N *= self._flat_N
        return counts_N


def certainty(probabilities_CN: FloatArray) -> FloatArray:
    """1 - entropy / log C of each pixel, in [0, 1]; 1 where there is one class alone."""
    total_N = np.zeros(probabilities_CN.shape[1:], np.float32)
    for of_class_N in probabilities_CN:  # class by class: all at once would take as much memory as the prediction
        total_N += of_class_N * np.log(np.maximum(of_class_N, np.float32(1e-30)))
    return 1 + total_N / np.float32(np.log(max(len(probabilities_CN), 2)))
