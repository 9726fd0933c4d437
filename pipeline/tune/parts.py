"""Parts of a blend: each way to see a panorama is predicted and stitched once, and blends are weighted sums of these.

Legend: C classes, H W panorama, N pixels that are kept, 3 = RGB.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from pipeline.arrays import BoolArray, FloatArray, ImageArray
from pipeline.classes import LabelSet
from pipeline.panorama.config import OPTIONAL_OF_VIEWS, VIEW_GROUPS, PanoramaConfig, ViewsConfig
from pipeline.panorama.perspective import perspective_views
from pipeline.panorama.views import Stitcher, View
from pipeline.teacher.assistant import Assistant
from pipeline.teacher.rectification import Agreement, predict_over_seam, predict_views

WHOLE, WINDOWS = "whole", "windows"
GROUPS = VIEW_GROUPS


@dataclass(frozen=True)
class Part:
    """One way to see a panorama."""

    kind: str
    """WHOLE, WINDOWS or one of GROUPS."""
    scale: float
    """The assistant sees its images resized by this factor."""
    views: ViewsConfig | None = None
    """Of a group, with no views of the others."""

    @classmethod
    def of_group(cls, group: str, views: ViewsConfig, scale: float) -> Part:
        """One group of perspective views.

        Args:
            group: one of GROUPS.
            views: settings of all groups; a group without views gets as many as it has by default. Weights of groups
                are those of blends.
            scale: views are resized by this factor for the assistant.
        """
        counts = dict.fromkeys(GROUPS, 0) | {group: count_of(group, views)}
        return cls(group, scale, replace(views, **counts, **OPTIONAL_OF_VIEWS))

    def perspective_views(self, panorama: PanoramaConfig) -> tuple[View, ...]:
        """The views of a group; none of the other parts, nor where a band shows nothing to them."""
        if self.views is None:
            return ()
        return perspective_views(panorama.height, panorama.width, panorama.vertical_fov, self.views)


def count_of(group: str, views: ViewsConfig) -> int:
    """How many views of a group are tried: as many as a recipe has, if only for SAM, or, without any, as is usual."""
    return getattr(views, group) or ViewsConfig().count(group)


class Prediction(NamedTuple):
    """The assistant's prediction of a panorama from one part."""

    probabilities_CHW: FloatArray
    """Stitched; 0 where the part sees nothing."""
    agreement: float
    """Mean agreement of the views that overlap, 0..1; NaN where none do."""


def predict_part(
    part: Part,
    panorama: PanoramaConfig,
    image_HW3: ImageArray,
    source_HW3: ImageArray,
    windows: Sequence[View],
    assistant: Assistant,
    target: LabelSet,
) -> Prediction:
    """Predict and stitch one part, as `stitch_assistant` does.

    Args:
        part: a way to see it.
        panorama: its geometry.
        image_HW3: the panorama at the working size, RGB, uint8.
        source_HW3: the panorama that perspective views are cut from, at any size.
        windows: those of the recipe.
        assistant: predicts its own label set.
        target: the classes of the result.
    """
    if part.kind == WHOLE:
        return Prediction(predict_over_seam(image_HW3, assistant, part.scale, target), float("nan"))
    views = windows if part.kind == WINDOWS else part.perspective_views(panorama)
    cut_from = image_HW3 if part.kind == WINDOWS else source_HW3
    height, width = image_HW3.shape[:2]
    stitcher = Stitcher(height, width, len(target), views, gaps=True)
    agreement = Agreement(height, width, len(target))
    for view, prediction in predict_views(cut_from, views, assistant, (), part.scale, target):
        projected_Cfg = view.project_linear(prediction.probabilities_Chw)
        stitcher.add(view, projected_Cfg)
        agreement.add(view, projected_Cfg)
    overlap_HW = agreement.counts_HW > 1
    agreed = float(agreement.result()[overlap_HW].mean()) if overlap_HW.any() else float("nan")
    return Prediction(stitcher.result(), agreed)


def weights_of_group(part: Part, panorama: PanoramaConfig) -> FloatArray:
    """The summed blend weights [H, W] of a group's views, by which it counts among other groups; 0 where it sees
    nothing."""
    return Stitcher(panorama.height, panorama.width, 0, part.perspective_views(panorama), gaps=True).total_HW


def kept_pixels(height: int, width: int, classes: int, most: int = 1 << 24) -> BoolArray:
    """A grid of pixels [H, W] that is fine enough for scores and keeps the memory of a part within bounds.

    Args:
        height: rows of the panorama.
        width: its columns.
        classes: C.
        most: numbers that a part may have, give or take a row and a column of the grid.
    """
    step = max(1, int(np.ceil(np.sqrt(classes * height * width / most))))
    kept_HW = np.zeros((height, width), np.bool_)
    kept_HW[step // 2 :: step, step // 2 :: step] = True
    return kept_HW
