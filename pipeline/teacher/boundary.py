"""Boundary enhancement: B_ref, the edges on which SAM and the assistant agree (paper figures 2 and 3).

Paper: B_SAM and the assistant's boundaries of both windows of an overlap go in, B_ref comes out. Ours has two parts:
SAM's edge pixels of any window with an edge of the assistant's labels within `radius` pixels in a window that sees
them; and, where there is no mask, label edges on which two windows agree, or windows of two shapes (GoodSAM++ draws a
wide window and a high one: neighbours of one shape see nearly the same and err alike). (An edge along a window's frame
is seen only by windows that have both of its sides.) Edges are not thinned: they are two pixels wide, one on each side,
and wider only where windows place them differently.

Legend: H W panorama, h w window, K windows, M masks of one window.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.arrays import BoolArray
from pipeline.panorama.edges import label_edges
from pipeline.panorama.views import View
from pipeline.panorama.windows import add_to
from pipeline.teacher.config import BoundaryConfig
from pipeline.teacher.masks import MaskSet
from pipeline.teacher.projected_masks import edges_on_footprint

AGREEMENT_RADIUS = 1
"""Two windows agree on an edge if both have one within this many pixels of the same pixel."""


def covered_by_masks(masks: MaskSet) -> BoolArray:
    """Which pixels lie in any mask, covered_hw."""
    covered_hw = np.zeros((masks.height, masks.width), np.bool_)
    for box, bitmap in masks.placed():
        covered_hw[box] |= bitmap
    return covered_hw


def dilate(flags_HW: BoolArray, radius: int, wrap: bool = False) -> BoolArray:
    """Pixels with a set pixel at most `radius` rows and columns away (a square); with `wrap`, columns wrap."""
    wide = np.pad(flags_HW, ((0, 0), (radius, radius)), mode="wrap" if wrap else "constant")
    square = np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)
    return cv2.dilate(wide.view(np.uint8), square)[:, radius : radius + flags_HW.shape[1]].astype(np.bool_)


def refine_boundary(
    views: Sequence[View],
    masks: Sequence[MaskSet],
    view_labels: Sequence[npt.NDArray[np.uint8]],
    ignored_HW: BoolArray,
    config: BoundaryConfig,
    label_views: Sequence[View] | None = None,
) -> BoolArray:
    """B_ref of a panorama, boundary_HW.

    Args:
        views: that SAM was shown.
        masks: one set per view, in the views' order.
        view_labels: S_i, the assistant's labels_hw per view.
        ignored_HW: no boundary lies there or right beside it: the rim of the camera rig is not part of the scene.
        config: how near the two must be, and what must agree.
        label_views: covering the panorama: the views of `view_labels`; None where they are SAM's, too.
    """
    label_views = views if label_views is None else label_views
    shape = ignored_HW.shape
    sam_HW, covered_HW, assistant_HW, near_HW = (np.zeros(shape, np.bool_) for _ in range(4))
    for view, own_masks in zip(views, masks, strict=True):
        add_to(sam_HW, view.footprint, edges_on_footprint(view, own_masks, shape[1]))
        add_to(covered_HW, view.footprint, view.project_nearest(covered_by_masks(own_masks)))
    votes_of_shapes = {(view.height, view.width): np.zeros(shape, np.uint8) for view in label_views}
    for view, labels_hw in zip(label_views, view_labels, strict=True):
        is_closed = view.is_closed(shape[1])
        edges_hw = label_edges(labels_hw, wrap=is_closed)
        for panorama_HW, flags_hw in (
            (assistant_HW, edges_hw),
            (near_HW, dilate(edges_hw, config.radius, wrap=is_closed)),
            (
                votes_of_shapes[view.height, view.width],
                dilate(edges_hw, AGREEMENT_RADIUS, wrap=is_closed).astype(np.uint8),
            ),
        ):
            add_to(panorama_HW, view.footprint, view.project_nearest(flags_hw))
    confirmed_HW = sam_HW & near_HW
    votes = [votes_HW > 0 if config.agreement == "shapes" else votes_HW for votes_HW in votes_of_shapes.values()]
    agreed_HW = assistant_HW & (np.sum(votes, axis=0) >= 2) & ~covered_HW
    return (confirmed_HW | agreed_HW) & ~dilate(ignored_HW, 1, wrap=True)
