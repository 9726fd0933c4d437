"""Every material paints any point of a shape, the same whoever else is painted with it."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.world import build_scene
from pipeline.world.materials import Points, paint_points
from pipeline.world.materials.masonry import pick
from pipeline.world.scene import PARTS_PER_INSTANCE, Kind, Material, Scene


@pytest.fixture(scope="module")
def scene() -> Scene:
    return build_scene(3)


def points_of(scene: Scene, material: Material, count: int = 400) -> Points:
    """Random points on the surfaces of the shapes of a material in a scene."""
    rng = np.random.default_rng(0)
    p = scene.primitives
    shape = rng.choice(np.flatnonzero(p.material_N == material), count).astype(np.int32)
    unit = rng.uniform(-1, 1, (count, 3)).astype(np.float32)
    faces = np.where(p.kind_N[shape] == Kind.BOX, 6, np.where(p.kind_N[shape] == Kind.CYLINDER, 3, 2))
    face = (rng.integers(0, 6, count) % faces).astype(np.uint8)
    card = p.kind_N[shape] == Kind.CARD
    face[card] += 4
    footprint = rng.uniform(0.002, 0.3, count).astype(np.float32)
    return Points(p, shape, face, unit * p.half_N3[shape], footprint)


@pytest.mark.parametrize("material", Material, ids=lambda material: material.name.lower())
def test_colours_and_parts_are_in_their_ranges(scene: Scene, material: Material) -> None:
    points = points_of(scene, material)
    paint = paint_points(material, points)
    assert paint.colour_n3.shape == (len(points.shape_n), 3) and paint.colour_n3.dtype == np.float32
    assert np.isfinite(paint.colour_n3).all()
    assert paint.colour_n3.min() >= 0 and paint.colour_n3.max() < 2.5  # above 1 where a lamp shines
    assert paint.part_n.min() >= 1 and paint.part_n.max() < PARTS_PER_INSTANCE


@pytest.mark.parametrize("material", Material, ids=lambda material: material.name.lower())
def test_a_point_looks_the_same_alone_as_among_others(scene: Scene, material: Material) -> None:
    points = points_of(scene, material)
    paint = paint_points(material, points)
    for rows in (np.arange(7), np.arange(399, -1, -3)):
        some = paint_points(material, pick(points, rows))
        np.testing.assert_array_equal(some.colour_n3, paint.colour_n3[rows])
        np.testing.assert_array_equal(some.part_n, paint.part_n[rows])
