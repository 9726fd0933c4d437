"""The spherical convention: round trips, rolls, solid angles, rotations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from pipeline.panorama import sphere

sizes = st.tuples(st.integers(1, 40), st.integers(1, 80))
fovs = st.floats(1, 180)
angles = st.floats(-720, 720)
tilts = st.floats(-90, 90)


@given(sizes, fovs)
def test_pixel_to_ray_to_pixel_is_the_identity(size: tuple[int, int], fov: float) -> None:
    row, column = sphere.panorama_coordinates(sphere.panorama_rays(*size, fov), *size, fov)
    rows, columns = np.indices(size)
    np.testing.assert_allclose(row, rows, atol=1e-9)
    np.testing.assert_allclose(column, columns, atol=1e-9)


@given(st.floats(-179.999, 179.999), st.floats(-89.9, 89.9))
def test_angles_to_ray_to_angles_is_the_identity(yaw: float, pitch: float) -> None:
    found = sphere.angles_from_rays(sphere.rays_from_angles(np.radians(yaw), np.radians(pitch)))
    np.testing.assert_allclose(np.degrees(found), (yaw, pitch), atol=1e-9)


def test_axes_are_as_drawn() -> None:
    straight, right, up = np.radians([[0, 90, 0], [0, 0, 90]]).T
    np.testing.assert_allclose(sphere.rays_from_angles(*straight), (0, 0, 1), atol=1e-12)
    np.testing.assert_allclose(sphere.rays_from_angles(*right), (1, 0, 0), atol=1e-12)
    np.testing.assert_allclose(sphere.rays_from_angles(*up), (0, -1, 0), atol=1e-12)


@given(sizes, fovs, st.integers(-100, 100))
def test_yaw_of_the_camera_is_a_roll_of_the_columns(size: tuple[int, int], fov: float, columns: int) -> None:
    rays = sphere.panorama_rays(*size, fov)
    turned = rays @ sphere.rotation(columns * 360 / size[1], 0).T
    np.testing.assert_allclose(turned, np.roll(rays, -columns, axis=1), atol=1e-9)


@given(sizes, angles, tilts)
def test_coordinates_stay_inside_a_full_sphere(size: tuple[int, int], yaw: float, pitch: float) -> None:
    ray = sphere.rays_from_angles(np.radians(yaw), np.radians(pitch))
    row, column = sphere.panorama_coordinates(ray, *size)
    assert -0.5 - 1e-9 <= row <= size[0] - 0.5 + 1e-9
    assert -0.5 <= column < size[1] - 0.5


@given(sizes, fovs)
def test_solid_angles_sum_to_the_area_of_the_band(size: tuple[int, int], fov: float) -> None:
    total = sphere.solid_angles(*size, fov).sum() * size[1]
    assert total == pytest.approx(4 * np.pi * np.sin(np.radians(fov) / 2), rel=1e-9)


def test_solid_angles_of_a_full_sphere_sum_to_four_pi_and_cannot_be_changed() -> None:
    weights = sphere.solid_angles(512, 1024)
    assert weights.sum() * 1024 == pytest.approx(4 * np.pi)
    with pytest.raises(ValueError):
        weights[0] = 1


@given(angles, angles, angles)
def test_rotations_are_orthonormal_and_right_handed(yaw: float, pitch: float, roll: float) -> None:
    matrix = sphere.rotation(yaw, pitch, roll)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(matrix) == pytest.approx(1)


@given(angles, angles, angles)
def test_rotation_agrees_with_scipy(yaw: float, pitch: float, roll: float) -> None:
    expected = Rotation.from_euler("YXZ", (yaw, pitch, roll), degrees=True).as_matrix()
    np.testing.assert_allclose(sphere.rotation(yaw, pitch, roll), expected, atol=1e-9)


@given(st.floats(-179, 179), st.floats(-89, 89), angles, st.floats(1, 179))
def test_the_centre_of_a_view_looks_where_the_camera_does(yaw: float, pitch: float, roll: float, fov: float) -> None:
    rays = sphere.perspective_rays(3, 5, fov, yaw, pitch, roll)
    np.testing.assert_allclose(rays[1, 2], sphere.rays_from_angles(*np.radians((yaw, pitch))), atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(rays, axis=-1), 1, atol=1e-12)


@settings(max_examples=25)
@given(st.floats(5, 170))
def test_the_outer_edges_of_a_view_span_its_field_of_view(fov: float) -> None:
    width = 2000
    yaw, _ = sphere.angles_from_rays(sphere.perspective_rays(1, width, fov)[0])
    pixel = np.degrees(yaw[1] - yaw[0])
    assert np.degrees(yaw[-1] - yaw[0]) + pixel == pytest.approx(fov, abs=0.01)


@pytest.mark.parametrize("fov", [0, 180, -10, 200])
def test_a_view_of_half_a_turn_or_of_nothing_is_refused(fov: float) -> None:
    with pytest.raises(ValueError, match="horizontal_fov"):
        sphere.perspective_rays(2, 2, fov)
