"""Shapes as arrays: their local coordinates and their corners, which everything else is computed from."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.world.builder import Builder, Frame, Look
from pipeline.world.scene import Kind, Label, Material, Primitives


@pytest.fixture
def shapes() -> Primitives:
    """Boxes of any size and turn."""
    rng = np.random.default_rng(0)
    builder = Builder(rng)
    for _ in range(20):
        x, z, y = rng.uniform(-20, 20, 3)
        frame = Frame.on_ground(x, z, y=y).moved((0, 0, 0), *rng.uniform(-180, 180, 3))
        half = rng.uniform(0.1, 5, 3)
        builder.add(Kind.BOX, frame, (half[0], half[1], half[2]), Look(Material.PLAIN, (0, 0, 0)), (Label.CAR, 1))
    return builder.primitives()


def test_corners_are_those_of_the_unit_cube_in_local_coordinates(shapes: Primitives) -> None:
    local = np.einsum("nij,ncj->nci", shapes.to_local_N33, shapes.corners_N83 - shapes.centre_N3[:, None])
    np.testing.assert_allclose(np.abs(local), 1, atol=1e-4)
    for corners in np.rint(local):
        assert len(np.unique(corners, axis=0)) == 8


def test_corners_are_as_far_apart_as_the_shape_is_large(shapes: Primitives) -> None:
    np.testing.assert_allclose(shapes.corners_N83.mean(axis=1), shapes.centre_N3, atol=1e-4)
    distance = np.linalg.norm(shapes.corners_N83 - shapes.centre_N3[:, None], axis=2)
    expected = np.linalg.norm(shapes.half_N3, axis=1)
    np.testing.assert_allclose(distance, expected[:, None].repeat(8, axis=1), rtol=1e-5)


def test_an_upright_box_has_its_corners_where_its_sizes_say() -> None:
    builder = Builder(np.random.default_rng(0))
    look = Look(Material.PLAIN, (0, 0, 0))
    builder.add(Kind.BOX, Frame.on_ground(10, 20, yaw=90, y=-3), (1, 2, 5), look, (Label.CAR, 1))
    shapes = builder.primitives()
    assert len(shapes) == 1
    low, high = shapes.corners_N83[0].min(axis=0), shapes.corners_N83[0].max(axis=0)
    np.testing.assert_allclose(low, (5, -5, 19), atol=1e-5)  # turned by 90 degrees: its length runs along x
    np.testing.assert_allclose(high, (15, -1, 21), atol=1e-5)
