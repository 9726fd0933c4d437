"""Walls, roofs, wood and metal: the patterns are there, and fade where pixels are too large to show them."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.world.materials import paint_points
from pipeline.world.materials.masonry import brickwork, pick, weathered
from pipeline.world.primitives import FRONT, RIGHT
from pipeline.world.scene import Kind, Material
from tests.world.materials.surfaces import grid, points_on

HALF = (2.0, 1.5, 0.2)
BRICKS, RUBBLE, PLASTER, CONCRETE = range(4)


def wall(kind: float, footprint: float = 0.002, size: int = 160) -> np.ndarray:
    """Colours of a wall's front [size, size, 3]."""
    metric = grid(HALF[0], HALF[1], size, -HALF[2])
    points = points_on(Material.MASONRY, metric, HALF, (kind, 0.3, 0.0, 0.0), footprint=footprint)
    return paint_points(Material.MASONRY, points).colour_n3.reshape(size, size, 3)


def test_mortar_of_the_second_colour_lies_between_bricks_of_the_first() -> None:
    metric = grid(2, 1.5, 200, -0.2)
    points = points_on(Material.MASONRY, metric, HALF)
    u, v = points.surface()
    colour = brickwork(points, u, v, (0.3, 0.1))
    mortar = colour[:, 2] > colour[:, 0]
    assert 0.2 < mortar.mean() < 0.45
    rows = mortar.reshape(200, 200).mean(axis=1)
    assert (rows == 1).sum() >= 30  # a whole row of mortar below each of 30 rows of bricks
    bonds = ~mortar.reshape(200, 200)[rows < 1]
    assert not (bonds == bonds[0]).all()  # joints are shifted from row to row


@pytest.mark.parametrize("kind", [BRICKS, RUBBLE])
def test_patterns_fade_with_the_size_of_a_pixel(kind: int) -> None:
    near, far = (np.diff(wall(kind, footprint)[..., 0], axis=1).std() for footprint in (0.002, 2.0))
    assert near > 2 * far


def test_kinds_of_wall_look_different() -> None:
    looks = [wall(kind) for kind in (BRICKS, RUBBLE, PLASTER, CONCRETE)]
    for number, look in enumerate(looks):
        for other in looks[:number]:
            assert (look != other).any(axis=-1).mean() > 0.05


def test_plaster_is_damp_at_its_foot() -> None:
    blueness = (wall(PLASTER)[..., 2] / wall(PLASTER).sum(axis=-1)).mean(axis=1)  # the second colour is blue
    assert blueness[-1] > 1.5 * blueness[0]


def test_weather_changes_brightness_within_its_strength_and_no_hue() -> None:
    rng = np.random.default_rng(0)
    u, v = rng.uniform(0, 50, (2, 3000)).astype(np.float32)
    colour = np.tile(np.array([0.4, 0.2, 0.1], np.float32), (3000, 1))
    ratio = weathered(colour, u, v, 0.25) / colour
    np.testing.assert_allclose(ratio[:, 0], ratio[:, 2], rtol=1e-5)
    assert 0.75 <= ratio.min() < 0.85 and 1.15 < ratio.max() <= 1.2501
    assert ratio.mean() == pytest.approx(1, abs=0.05)


def test_some_poles_have_bands_one_every_half_metre() -> None:
    y = np.linspace(-1.49, 1.49, 300)
    metric = np.stack((np.zeros(300), y, np.full(300, -0.1)), axis=1)
    banded, plain = (
        paint_points(Material.METAL, points_on(Material.METAL, metric, (0.1, 1.5, 0.1), (style, 0, 0, 0),
                                               kind=Kind.CYLINDER, face=0)).colour_n3
        for style in (1.0, 0.0)
    )  # fmt: skip
    blue = banded[:, 2] > banded[:, 0]
    assert blue.mean() == pytest.approx(0.5, abs=0.02)
    assert np.abs(np.diff(blue.astype(int))).sum() == 11  # six bands on three metres, and as much between them
    assert (plain[:, 0] > plain[:, 2]).all()


def test_gables_of_a_roof_are_walls_and_its_slopes_have_tiles() -> None:
    metric = grid(2, 1, 80, -3)
    slopes, gable = (paint_points(Material.ROOF, points_on(Material.ROOF, metric, (2, 1, 3), face=face)).colour_n3
                     for face in (FRONT, RIGHT))  # fmt: skip
    assert (gable[:, 2] > gable[:, 0]).all() and (slopes[:, 0] > slopes[:, 2]).all()


def test_picked_points_are_those_of_the_rows() -> None:
    points = points_on(Material.PLAIN, grid(1, 1, 4, -1), face=np.arange(16) % 6)
    some = pick(points, np.array([3, 9]))
    np.testing.assert_array_equal(some.metric_n3, points.metric_n3[[3, 9]])
    assert some.face_n.tolist() == [3, 3] and len(some.shape_n) == len(some.footprint_n) == 2
