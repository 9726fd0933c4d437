"""Boundary enhancement: SAM's edges that the assistant confirms, and the assistant's own where SAM is blind."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from pipeline.arrays import BoolArray, LabelArray
from pipeline.panorama.config import WindowConfig
from pipeline.panorama.edges import label_edges
from pipeline.panorama.perspective import PerspectiveView
from pipeline.panorama.windows import Window, cut, window_grid
from pipeline.teacher.boundary import covered_by_masks, dilate, refine_boundary
from pipeline.teacher.config import BoundaryConfig
from pipeline.teacher.masks import MaskSet
from pipeline.teacher.projected_masks import edges_on_footprint

HEIGHT, WIDTH = 32, 128
NOTHING = np.zeros((HEIGHT, WIDTH), np.bool_)
WINDOWS = window_grid(HEIGHT, WIDTH, WindowConfig(32, 64, 32, 32))


def boxes_set(boxes: list[tuple[int, int, int, int]], height: int = HEIGHT, width: int = 64) -> MaskSet:
    """Masks that fill their boxes (y0, x0, y1, x1)."""
    boxes_M4 = np.array(boxes, np.int32).reshape(-1, 4)
    bitmaps = tuple(np.ones((y1 - y0, x1 - x0), np.bool_) for y0, x0, y1, x1 in boxes)
    scores = np.ones(len(boxes), np.float32)
    return MaskSet(boxes_M4, bitmaps, scores, scores, height, width)


def step_labels(column: int) -> LabelArray:
    """Class 1 from `column` on to the middle of the circle after it."""
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels[:, np.arange(column, column + WIDTH // 2) % WIDTH] = 1
    return labels


def refine(
    labels: LabelArray,
    masks: list[MaskSet],
    radius: int = 3,
    ignored: BoolArray = NOTHING,
    windows: tuple[Window, ...] = WINDOWS,
) -> BoolArray:
    view_labels = [cut(labels, window) for window in windows]
    return refine_boundary(windows, masks, view_labels, ignored, BoundaryConfig(radius))


def columns(boundary: BoolArray) -> list[int]:
    """Columns of a boundary that runs from top to bottom."""
    assert (boundary == boundary[:1]).all()
    return np.flatnonzero(boundary[0]).tolist()


EMPTY = boxes_set([])


@settings(max_examples=30)
@given(st.integers(0, 2**16), st.integers(0, 4), st.booleans())
def test_dilation_equals_scipys(seed: int, radius: int, wrap: bool) -> None:
    flags = np.random.default_rng(seed).random((9, 12)) < 0.06
    tiled = np.tile(flags, (1, 3)) if wrap else flags
    square = np.ones((2 * radius + 1,) * 2, np.bool_)
    expected = ndimage.binary_dilation(tiled, square)
    np.testing.assert_array_equal(dilate(flags, radius, wrap), expected[:, 12:24] if wrap else expected)


def test_mask_edges_are_those_of_each_mask_as_labels_of_the_window() -> None:
    masks = boxes_set([(4, 0, 12, 20), (0, 30, 32, 64), (8, 10, 20, 40)])
    expected = np.zeros((HEIGHT, 64), np.bool_)
    for y0, x0, y1, x1 in masks.boxes_M4:
        full = np.zeros((HEIGHT, 64), np.uint8)
        full[y0:y1, x0:x1] = 1
        expected |= label_edges(full)
    np.testing.assert_array_equal(edges_on_footprint(Window(0, 0, HEIGHT, 64), masks, WIDTH), expected)


def test_where_the_frame_cuts_a_mask_off_is_no_edge() -> None:
    everything = boxes_set([(0, 0, HEIGHT, 64)])
    assert not edges_on_footprint(Window(0, 0, HEIGHT, 64), everything, WIDTH).any()


def test_covered_is_the_union_of_masks() -> None:
    union = covered_by_masks(boxes_set([(0, 0, 2, 2), (1, 1, 3, 3)]))
    assert union.sum() == 7


@pytest.mark.parametrize(("distance", "kept"), [(0, True), (3, True), (4, False)])
def test_sams_edge_is_kept_where_the_assistants_is_near(distance: int, kept: bool) -> None:
    """SAM's edge lies between columns 39 and 40 of window 0; covered there, the assistant's own is no help."""
    masks = [boxes_set([(0, 0, HEIGHT, 40), (0, 40, HEIGHT, 64)]), EMPTY, EMPTY, EMPTY]
    boundary = refine(step_labels(40 + distance), masks)
    # The nearer of the edge's two columns is one pixel nearer: at 4 pixels' shift it is still within 3.
    near = {0: [39, 40], 3: [39, 40], 4: [40]}[distance]
    assert np.flatnonzero(boundary[0, :64]).tolist() == near
    assert (len(near) == 2) == kept


def test_sams_edge_inside_one_label_is_dropped() -> None:
    masks = [boxes_set([(0, 0, HEIGHT, 16), (0, 16, HEIGHT, 64)])] * 4
    boundary = refine(np.zeros((HEIGHT, WIDTH), np.uint8), masks)
    assert not boundary.any()


def test_where_sam_is_blind_edges_of_two_windows_count() -> None:
    assert columns(refine(step_labels(40), [EMPTY] * 4)) == [39, 40, 103, 104]


def test_where_sam_is_blind_an_edge_of_one_window_does_not_count() -> None:
    view_labels = [cut(step_labels(40), WINDOWS[0]), *(np.zeros((HEIGHT, 64), np.uint8) for _ in range(3))]
    boundary = refine_boundary(WINDOWS, [EMPTY] * 4, view_labels, NOTHING, BoundaryConfig())
    assert not boundary.any()


def test_windows_whose_edges_differ_by_a_pixel_agree_and_by_many_do_not() -> None:
    for shift, agree in ((1, True), (5, False)):
        view_labels = [cut(step_labels(40 + shift * (k % 2)), window) for k, window in enumerate(WINDOWS)]
        boundary = refine_boundary(WINDOWS, [EMPTY] * 4, view_labels, NOTHING, BoundaryConfig())
        assert boundary.any() == agree


def test_windows_of_two_shapes_must_agree_where_shapes_are_asked_for() -> None:
    """The wide windows see an edge at column 40, the narrow ones at 90; where all see one, it counts."""
    windows = window_grid(HEIGHT, WIDTH, WindowConfig(32, 64, 32, 32, ((32, 32, 32, 32),)))
    masks = [boxes_set([], window.height, window.width) for window in windows]
    wide = [window.width == 64 for window in windows]
    apart = [cut(step_labels(40 if is_wide else 90), window) for window, is_wide in zip(windows, wide, strict=True)]
    alike = [cut(step_labels(40), window) for window in windows]
    config = BoundaryConfig(agreement="shapes")
    assert not refine_boundary(windows, masks, apart, NOTHING, config).any()
    assert columns(refine_boundary(windows, masks, apart, NOTHING, BoundaryConfig())) == [39, 40, 103, 104]
    assert columns(refine_boundary(windows, masks, alike, NOTHING, config)) == [39, 40, 103, 104]


def test_under_a_mask_the_assistants_edge_does_not_count() -> None:
    covered_all = boxes_set([(0, 0, HEIGHT, 64)])
    assert not refine(step_labels(40), [covered_all] * 4).any()


def test_the_seam_is_as_good_a_place_for_a_boundary_as_any() -> None:
    """SAM's edge right on the seam, in the middle of the last window; and one beside it that SAM does not see."""
    sam = boxes_set([(0, 0, HEIGHT, 32), (0, 32, HEIGHT, 64)])
    assert columns(refine(step_labels(0), [EMPTY, EMPTY, EMPTY, sam])) == [0, 127]
    assert columns(refine(step_labels(1), [EMPTY] * 4)) == [0, 1, 64, 65]


def test_an_edge_along_a_windows_frame_is_no_agreement() -> None:
    """Half-overlapping windows: of an edge along the frame of two, only the third has seen both sides."""
    assert columns(refine(step_labels(0), [EMPTY] * 4)) == []


def test_a_window_of_the_full_circle_has_its_seam_inside() -> None:
    windows = (Window(0, 0, HEIGHT, WIDTH),)
    masks = boxes_set([(0, 2, HEIGHT, 64), (0, 66, HEIGHT, WIDTH)], width=WIDTH)
    assert 1 in columns(refine(step_labels(0), [masks], windows=windows))
    assert 1 not in columns(refine(step_labels(6), [masks], windows=windows))


@settings(max_examples=8)
@given(st.integers(0, 3), st.integers(0, 1000))
def test_turning_the_camera_turns_the_boundary(steps: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = np.kron(rng.integers(0, 3, (4, 16)), np.ones((8, 8))).astype(np.uint8)
    masks = [boxes_set([(y, x, y + 12, x + 20) for y, x in rng.integers(0, 20, (4, 2)).tolist()]) for _ in WINDOWS]
    straight = refine(labels, masks)
    turned = refine(np.roll(labels, 32 * steps, axis=1), masks[-steps:] + masks[:-steps] if steps else masks)
    np.testing.assert_array_equal(turned, np.roll(straight, 32 * steps, axis=1))


def test_neither_ignored_pixels_nor_their_rim_are_boundary() -> None:
    ignored = NOTHING.copy()
    ignored[24:] = True
    labels = step_labels(40)
    labels[24:] = 2
    masks = [boxes_set([(0, 0, 24, 40), (24, 0, HEIGHT, 64)]), EMPTY, EMPTY, EMPTY]
    boundary = refine(labels, masks, ignored=ignored)
    assert boundary[:23, 39:41].all()
    assert not boundary[23:].any()
    assert not boundary[:, :36].any()


def test_masks_of_a_view_are_confirmed_by_the_labels_of_windows() -> None:
    """Around a pole, where the view's own edges would be many columns wide."""
    nadir = PerspectiveView(96, 96, 90, 0, -90, 64, WIDTH)
    rows = np.zeros((64, WIDTH), np.uint8)
    rows[54:] = 1
    masks = MaskSet.from_dense([nadir.cut_nearest(rows) == 1])
    windows = window_grid(64, WIDTH, WindowConfig(64, 64, 64, 32))
    view_labels = [window.cut_nearest(rows) for window in windows]
    nothing = np.zeros((64, WIDTH), np.bool_)
    found = refine_boundary([nadir], [masks], view_labels, nothing, BoundaryConfig(), windows)
    assert set(np.flatnonzero(found.any(axis=1))) <= {52, 53, 54, 55}
    assert found[[53, 54]].mean() > 0.9
    all_alike = [np.zeros_like(own) for own in view_labels]
    assert not refine_boundary([nadir], [masks], all_alike, nothing, BoundaryConfig(), windows).any()
