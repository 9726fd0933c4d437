"""Pictures of a scene of which everything is known: where a box appears, how far it is, and what hides what."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.panorama.sphere import panorama_rays
from pipeline.world.render import render_panorama, render_perspective
from pipeline.world.scene import PARTS_PER_INSTANCE, Label
from tests.world.hand_made import EYE, GROUND, NOON, box, scene_of

SIZE = 96
AHEAD = box((0, -1.5, 6), (1, 1, 1), Label.CAR)
"""Its front is five metres before the eye, two metres wide and high, and the eye is as high as its middle."""


def test_a_box_ahead_covers_the_pixels_that_perspective_gives_it() -> None:
    view = render_perspective(scene_of(AHEAD), SIZE, SIZE, 90)
    steps = np.abs(np.arange(SIZE) - (SIZE - 1) / 2) / (SIZE / 2)  # tangent of each pixel's angle
    expected_HW = (steps[:, None] < 0.2) & (steps[None] < 0.2)
    np.testing.assert_array_equal(view.labels_HW == Label.CAR, expected_HW)
    rays = np.sqrt(1 + steps[:, None] ** 2 + steps[None] ** 2)
    np.testing.assert_allclose(view.depth_HW[expected_HW], 5 * rays[expected_HW], rtol=1e-4)


@pytest.mark.parametrize(("heading", "column"), [(0, 32), (90, 16), (-90, 48), (180, 0)])
def test_a_panorama_shows_it_where_the_camera_is_turned_away_from(heading: float, column: int) -> None:
    view = render_panorama(scene_of(AHEAD, heading=heading), 32, 64)
    _, columns = np.nonzero(view.labels_HW == Label.CAR)
    offset = (columns + 0.5 - column + 32) % 64 - 32  # of the pixels' middles, over the seam too
    assert offset.mean() == pytest.approx(0, abs=0.2) and np.abs(offset).max() < 3


def test_depth_along_a_panoramas_rays_ends_on_the_ground_and_on_the_box() -> None:
    view = render_panorama(scene_of(AHEAD), 64, 128)
    depth = np.where(np.isfinite(view.depth_HW), view.depth_HW, 0)
    points = EYE + depth[..., None] * panorama_rays(64, 128)
    road, car = view.labels_HW == Label.ROAD, view.labels_HW == Label.CAR
    np.testing.assert_allclose(points[road][:, 1], 0, atol=1e-2)
    assert np.abs(points[road][:, 0]).max() < GROUND.half_width + 1e-3
    inside = np.abs(points[car] - (0, -1.5, 6)) < 1 + 1e-3
    assert inside.all() and car.any()
    assert view.depth_HW[-1].max() == pytest.approx(1.5, abs=0.01)  # the ground below


def test_what_stands_nearer_hides_what_is_behind_it_and_the_ground_hides_nothing_above() -> None:
    behind = box((0, -1.5, 12), (6, 3, 1), Label.BUILDING)
    view = render_perspective(scene_of(behind, AHEAD), SIZE, SIZE, 90)
    alone = render_perspective(scene_of(AHEAD), SIZE, SIZE, 90)
    np.testing.assert_array_equal(view.labels_HW == Label.CAR, alone.labels_HW == Label.CAR)
    assert (view.labels_HW == Label.BUILDING).sum() > (view.labels_HW == Label.CAR).sum()


def test_shapes_below_the_ground_are_not_seen() -> None:
    view = render_perspective(scene_of(box((0, 2, 6), (1, 1, 1), Label.CAR)), SIZE, SIZE, 90)
    assert not (view.labels_HW == Label.CAR).any()


def test_two_boxes_are_two_objects_and_their_parts_name_them() -> None:
    view = render_perspective(scene_of(AHEAD, box((3, -1.5, 6), (1, 1, 1), Label.CAR)), SIZE, SIZE, 90)
    cars = np.unique(view.instances_HW[view.labels_HW == Label.CAR])
    assert len(cars) == 2
    np.testing.assert_array_equal(view.parts_HW // PARTS_PER_INSTANCE, view.instances_HW)
    assert not set(cars) & set(np.unique(view.instances_HW[view.labels_HW != Label.CAR]))


def test_upward_faces_are_brighter_than_upright_ones_under_a_sun_overhead() -> None:
    low = box((0, -0.5, 6), (1, 0.5, 1), Label.CAR)  # the eye sees its top and its front
    view = render_perspective(scene_of(low, light=NOON), SIZE, SIZE, 60, pitch=-8)
    rows = np.flatnonzero((view.labels_HW == Label.CAR)[:, SIZE // 2])
    image = view.image_HW3[..., 0].astype(float)
    top, front = image[rows[0] + 1, SIZE // 2], image[rows[-1] - 1, SIZE // 2]
    assert top > 1.3 * front


def test_the_same_scene_gives_the_same_picture_and_turning_it_whole_columns_rolls_it() -> None:
    scene = scene_of(AHEAD)
    first, again, turned = (render_panorama(scene, 16, 32, yaw=yaw) for yaw in (0, 0, 45))
    np.testing.assert_array_equal(first.image_HW3, again.image_HW3)
    np.testing.assert_array_equal(turned.image_HW3, np.roll(first.image_HW3, -4, axis=1))
    assert first.image_HW3.shape == (16, 32, 3) and first.image_HW3.dtype == np.uint8
