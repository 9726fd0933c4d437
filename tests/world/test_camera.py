"""Rectangles of pixels in which a shape can appear contain all of its points."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.panorama.sphere import panorama_coordinates, rotation
from pipeline.world import build_scene
from pipeline.world.camera import PanoramaCamera, PinholeCamera, SunCamera
from pipeline.world.scene import Float, Scene

HEIGHT, WIDTH = 64, 128


@pytest.fixture(scope="module")
def scene() -> Scene:
    return build_scene(5)


@pytest.fixture(scope="module")
def points_Nn3(scene: Scene) -> Float:
    """Random points inside the bounding box of every shape."""
    corners_N83 = scene.primitives.corners_N83.astype(np.float64)
    weights_n8 = np.random.default_rng(0).dirichlet(np.ones(8), 12)
    return np.asarray(np.einsum("pc,ncd->npd", weights_n8, corners_N83))


def test_a_panorama_sees_shapes_inside_their_rectangles(scene: Scene, points_Nn3: Float) -> None:
    regions = PanoramaCamera(scene, HEIGHT, WIDTH, yaw=30).regions(scene.primitives.corners_N83)
    directions = (points_Nn3 - np.asarray(scene.eye_3)) @ rotation(scene.heading + 30, 0)
    row, column = panorama_coordinates(directions, HEIGHT, WIDTH)
    assert ((row > regions.top_N[:, None] - 1) & (row < regions.bottom_N[:, None])).all()
    offset = (column - regions.left_N[:, None] + 0.5) % WIDTH
    assert (offset < (regions.right_N - regions.left_N)[:, None] + 0.5).all()


def test_a_pinhole_view_sees_shapes_inside_their_rectangles(scene: Scene, points_Nn3: Float) -> None:
    camera = PinholeCamera(scene, 48, 64, 80, yaw=20, pitch=-10, roll=5)
    regions = camera.regions(scene.primitives.corners_N83)
    turn = rotation(scene.heading, 0) @ rotation(20, -10, 5)
    x, y, z = np.moveaxis((points_Nn3 - np.asarray(scene.eye_3)) @ turn, -1, 0)
    focal = 32 / np.tan(np.radians(40))
    ahead = z > 0.1
    column, row = focal * x / np.where(ahead, z, 1) + 31.5, focal * y / np.where(ahead, z, 1) + 23.5
    seen = ahead & (np.abs(column - 31.5) < 32) & (np.abs(row - 23.5) < 24)
    inside = (
        (row > regions.top_N[:, None] - 1) & (row < regions.bottom_N[:, None])
        & (column > regions.left_N[:, None] - 1) & (column < regions.right_N[:, None])
    )  # fmt: skip
    assert seen.any() and inside[seen].all()


def test_rays_are_unit_vectors_from_the_eye(scene: Scene) -> None:
    for camera in (PanoramaCamera(scene, 8, 16), PinholeCamera(scene, 6, 8, 90, 0, 0, 0)):
        rays = camera.rays()
        np.testing.assert_allclose(np.linalg.norm(rays.direction_P3, axis=1), 1, atol=1e-5)
        np.testing.assert_allclose(rays.origin_P3, [scene.eye_3], atol=1e-6)


def test_sunlight_through_a_point_meets_the_ground_in_its_square() -> None:
    sun = np.array([0.6, -0.64, 0.48])
    camera = SunCamera((0.6, -0.64, 0.48), (0.0, 0.0), extent=10, size=20)
    ground = np.array([3.2, 0.0, -4.7])
    pixel = camera.project(ground.astype(np.float32))
    np.testing.assert_allclose(pixel, [3.2 + 9.5, -4.7 + 9.5], atol=1e-4)
    np.testing.assert_allclose(camera.project((ground + 7 * sun).astype(np.float32)), pixel, atol=1e-4)
