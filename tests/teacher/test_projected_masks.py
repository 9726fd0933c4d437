"""Masks of views on the panorama: a disc of the sphere comes back as that disc, at the seam and at the poles too."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.arrays import BoolArray
from pipeline.ensemble.regions import NO_MASK
from pipeline.panorama.edges import label_edges
from pipeline.panorama.perspective import PerspectiveView
from pipeline.panorama.sphere import panorama_rays, perspective_rays
from pipeline.panorama.windows import Window, add_to, cut
from pipeline.teacher.masks import MaskSet
from pipeline.teacher.projected_masks import edges_on_footprint, inside_panorama, mask_map, on_footprint

HEIGHT, WIDTH = 256, 512
SIZE, FOV = 160, 75.0
DEGREES_PER_PIXEL = 360 / WIDTH


def view(yaw: float, pitch: float, vertical_fov: float = 180.0) -> PerspectiveView:
    return PerspectiveView(SIZE, SIZE, FOV, yaw, pitch, round(HEIGHT * vertical_fov / 180), WIDTH, vertical_fov)


def direction(yaw: float, pitch: float) -> npt.NDArray[np.float64]:
    """The ray in the middle of a view that looks there."""
    return perspective_rays(1, 1, 10, yaw, pitch, 0)[0, 0]


def degrees_from(rays: npt.NDArray[np.float64], yaw: float, pitch: float) -> npt.NDArray[np.float64]:
    return np.degrees(np.arccos(np.clip(rays @ direction(yaw, pitch), -1, 1)))


def disc_in(one: PerspectiveView, yaw: float, pitch: float, radius: float) -> MaskSet:
    """The disc around a direction as the view's one mask, with scores of its own."""
    rays_hw3 = perspective_rays(SIZE, SIZE, FOV, one.yaw, one.pitch, 0)
    return MaskSet.from_dense([degrees_from(rays_hw3, yaw, pitch) < radius], [0.9], [0.8])


def laid_out(one: PerspectiveView, masks: MaskSet, m: int = 0) -> BoolArray:
    """A mask of a footprint in the whole panorama."""
    panorama = np.zeros((one.panorama_height, one.panorama_width), np.bool_)
    add_to(panorama, one.footprint, masks.dense()[m])
    return panorama


CENTRES = [(0, 0), (180, 0), (-179, -30), (45, 62), (123, 90), (0, -90), (-60, -84), (178, 88), (170, -45)]


@pytest.mark.parametrize(("yaw", "pitch"), CENTRES)
@pytest.mark.parametrize("aside", [0, 12])
@pytest.mark.parametrize("radius", [4, 20])
def test_a_disc_comes_back_to_within_a_pixel(yaw: float, pitch: float, aside: float, radius: float) -> None:
    one = view(yaw, np.clip(pitch + (aside if pitch < 0 else -aside), -90, 90))
    found = on_footprint(one, disc_in(one, yaw, pitch, radius))
    degrees_HW = degrees_from(panorama_rays(HEIGHT, WIDTH), yaw, pitch)
    is_beside_the_rim = np.abs(degrees_HW - radius) < DEGREES_PER_PIXEL
    differs = laid_out(one, found) != (degrees_HW < radius)
    assert not (differs & ~is_beside_the_rim).any()
    assert (found.predicted_iou_M, found.stability_M) == (np.float32(0.9), np.float32(0.8))


def test_boxes_on_the_footprint_are_tight_and_a_pole_fills_the_last_row() -> None:
    nadir = view(30, -80)
    found = on_footprint(nadir, disc_in(nadir, 0, -90, 10))
    ((y0, x0, y1, x1),), (bitmap,) = found.boxes_M4.tolist(), found.bitmaps
    assert bitmap.shape == (y1 - y0, x1 - x0)
    assert (y1, x1 - x0) == (nadir.footprint.height, WIDTH)
    assert bitmap[-1].all()
    assert y1 - y0 == pytest.approx(10 / DEGREES_PER_PIXEL, abs=1)


def test_many_masks_keep_their_order_and_one_that_no_pixel_takes_is_empty() -> None:
    rng = np.random.default_rng(0)
    one = view(175, -60)
    dense = rng.random((130, SIZE, SIZE)) < 0.5
    dense[70] = False
    dense[70, 0, 0] = True  # its corner: the panorama is coarser there
    found = on_footprint(one, MaskSet.from_dense(dense))
    assert len(found) == 130
    for m in (0, 63, 64, 129):
        np.testing.assert_array_equal(found.dense()[m], one.project_nearest(dense[m]))
    assert found.boxes_M4[70].tolist() == [0, 0, 0, 0] or found.areas()[70] == 1


def test_masks_of_windows_are_what_they_were() -> None:
    masks = MaskSet.from_dense(np.ones((1, 8, 8)))
    assert on_footprint(Window(3, WIDTH - 4, 8, 8), masks) is masks
    assert inside_panorama(Window(3, WIDTH - 4, 8, 8), masks) is masks


@pytest.mark.parametrize(("yaw", "pitch"), [(0, 0), (180, -20), (0, -90), (123, 84)])
def test_edges_are_those_between_pixels_of_the_panorama(yaw: float, pitch: float) -> None:
    """Also around a pole, where a view's edge of two pixels would be a dozen columns wide."""
    one = view(yaw, pitch)
    masks = disc_in(one, yaw, pitch, 12)
    edges = np.zeros((HEIGHT, WIDTH), np.bool_)
    add_to(edges, one.footprint, edges_on_footprint(one, masks, WIDTH))
    np.testing.assert_array_equal(edges, label_edges(laid_out(one, on_footprint(one, masks)), wrap=True))


@pytest.mark.parametrize("pitch", [0, 40, -90])
def test_where_the_views_border_cuts_a_mask_off_is_no_edge(pitch: float) -> None:
    everything = MaskSet.from_dense(np.ones((1, SIZE, SIZE)))
    assert not edges_on_footprint(view(180, pitch), everything, WIDTH).any()


def test_the_map_of_masks_goes_over_the_seam_with_small_masks_on_top() -> None:
    seam = view(180, 0)
    both = [*disc_in(seam, 180, 0, 20).dense(), *disc_in(seam, 180, 0, 5).dense()]
    window = Window(0, 100, 8, 8)
    numbers = mask_map(
        HEIGHT, WIDTH, [window, seam], [MaskSet.from_dense(np.ones((1, 8, 8))), MaskSet.from_dense(both)]
    )
    assert (cut(numbers, window) == 2).all()  # the smallest of the three
    middle = HEIGHT // 2
    assert numbers[middle, 0] == numbers[middle, -1] == 1
    assert numbers[middle, 20] == numbers[middle, -20] == 0
    assert numbers[middle, WIDTH // 2] == NO_MASK


def test_what_lies_beyond_a_band_is_no_part_of_a_mask() -> None:
    band = view(0, 0, vertical_fov=45)
    covered_hw = band.covered_hw
    assert 0.3 < covered_hw.mean() < 0.7
    sky, wall, ground = (np.zeros((SIZE, SIZE), np.bool_) for _ in range(3))
    sky[:40], wall[20:, 30:60], ground[-30:, 70:] = True, True, True
    found = inside_panorama(band, MaskSet.from_dense([sky, wall, ground], [0.7, 0.8, 0.9]))
    assert found.predicted_iou_M.tolist() == [np.float32(0.8)]
    np.testing.assert_array_equal(found.dense()[0], wall & covered_hw)
    (y0, _, y1, _) = found.boxes_M4[0].tolist()
    assert found.bitmaps[0].shape == (y1 - y0, 30)
    assert (y0, y1) != (20, SIZE)
