"""Shapes of a scene, placed by frames inside frames."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.panorama.sphere import rotation
from pipeline.world.builder import Builder, Frame, Look, turned
from pipeline.world.scene import Cutout, Kind, Label, Material


@pytest.mark.parametrize("angles", [(30, 0, 0), (200, 15, 0), (-70, 5, 40)])
def test_rotations_are_those_of_the_spherical_convention(angles: tuple[float, float, float]) -> None:
    np.testing.assert_allclose(turned(*angles), rotation(*angles), atol=1e-12)


def test_a_frame_inside_a_frame_is_placed_and_turned_by_both() -> None:
    street = Frame.on_ground(10, 5, yaw=90)  # its forward is the world's +x
    np.testing.assert_allclose(street.point((0, -2, 3)), (13, -2, 5), atol=1e-12)
    door = street.moved((1, 0, 0), yaw=90)  # to the right of that, and turned once more
    np.testing.assert_allclose(door.position, (10, 0, 4), atol=1e-12)
    np.testing.assert_allclose(door.rotation, rotation(180, 0), atol=1e-12)


def test_shapes_become_arrays_and_objects_get_ids_of_their_own() -> None:
    builder = Builder(np.random.default_rng(0))
    first, second = builder.instance(), builder.instance()
    assert second == first + 1
    look = Look(Material.METAL, (0.1, 0.2, 0.3))
    builder.add(Kind.BOX, Frame.on_ground(1, 2), (1, 2, 3), look, (Label.CAR, first), taper=(0.5, 0))
    builder.add(Kind.CARD, Frame.on_ground(4, 5, 90), (1, 1, 0.01), look, (Label.FENCE, second), 7, cutout=Cutout.RAILS)
    shapes = builder.primitives()
    assert len(shapes) == 2
    assert shapes.kind_N.tolist() == [Kind.BOX, Kind.CARD]
    assert shapes.label_N.tolist() == [Label.CAR, Label.FENCE]
    assert shapes.cutout_N.tolist() == [Cutout.NONE, Cutout.RAILS]
    assert (shapes.instance_N.tolist(), shapes.part_N.tolist()) == ([first, second], [1, 7])
    np.testing.assert_allclose(shapes.centre_N3, [[1, 0, 2], [4, 0, 5]])
    np.testing.assert_allclose(shapes.half_N3[0], [1, 2, 3])
    np.testing.assert_allclose(shapes.rotation_N33[1], rotation(90, 0), atol=1e-6)
    assert ((shapes.salt_N >= 0) & (shapes.salt_N < 1)).all()
