"""The ground's paint: markings where traffic has them, kerb stones along the road, grass and paving on lots."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline.world.ground import kerb_distance, zone_of
from pipeline.world.materials.ground import paint_ground
from pipeline.world.scene import CrossStreet, Float, Ground, Int, Label, Surface
from tests.world.hand_made import GROUND, with_lot

PAINTED = replace(GROUND, road=Surface(0, (0.2, 0.2, 0.2), (1.0, 1.0, 1.0)))
LINE, ZEBRA, KERB = 2, 16, 6


def painted(ground: Ground, x: Float, z: Float, footprint: float = 0.005) -> tuple[Float, Int]:
    """Colours and part codes of points of the plane."""
    x, z = (np.asarray(values, np.float32) for values in np.broadcast_arrays(x, z))
    zone, lot, distance = zone_of(ground, x, z, kerb_distance(ground, x, z) < 0)
    return paint_ground(ground, x, z, zone, lot, distance, np.full(len(x), footprint, np.float32))


def along(start: float, stop: float, count: int = 600) -> Float:
    return np.linspace(start, stop, count, dtype=np.float32)


def test_a_dashed_line_runs_along_the_middle_of_the_road() -> None:
    z = along(0, 60)
    _, middle = painted(PAINTED, np.zeros_like(z), z)
    _, beside = painted(PAINTED, np.full_like(z, 1), z)
    assert (middle == LINE).mean() == pytest.approx(0.5, abs=0.01)
    starts = np.flatnonzero(np.diff((middle == LINE).astype(int)) == 1)
    assert np.ptp(np.diff(z[starts])) < 0.3 and len(starts) >= 9  # one every six metres
    assert not (beside == LINE).any()


def test_a_zebra_has_stripes_across_the_road_and_no_other_lines() -> None:
    ground = replace(PAINTED, zebras=(10.0,))
    x = along(-3.8, 3.8)
    colour, across = painted(ground, x, np.full_like(x, 10))
    assert 0.3 < (across == ZEBRA).mean() < 0.7
    assert colour[across == ZEBRA].mean() > 1.5 * colour[across != ZEBRA].mean()
    assert (np.diff((across == ZEBRA).astype(int)) == 1).sum() >= 6
    _, inside = painted(ground, np.full(100, -0.05, np.float32), along(7, 13, 100))  # between two stripes
    assert not (inside == LINE).any()
    _, after = painted(ground, x, np.full_like(x, 30))
    assert not (after >= ZEBRA).any()


def test_two_zebras_are_two_parts() -> None:
    x = along(-3.8, 3.8)
    parts = {int(painted(replace(PAINTED, zebras=(10.0, -20.0)), x, np.full_like(x, z))[1].max()) for z in (10, -20)}
    assert parts == {ZEBRA, ZEBRA + 1}


def test_junctions_are_free_of_the_main_streets_line() -> None:
    z = along(-3, 3)
    _, codes = painted(replace(PAINTED, crosses=(CrossStreet(0.0, 3.0, 0),)), np.zeros_like(z), z)
    assert not (codes == LINE).any()


def test_kerb_stones_line_the_road_and_are_a_part_of_their_own() -> None:
    x = along(4.01, 7)
    _, codes = painted(GROUND, x, np.full_like(x, 3))
    np.testing.assert_array_equal(codes == KERB, x - 4 < 0.18)


def test_paving_has_joints_that_fade_where_pixels_are_too_large_for_them() -> None:
    ground = replace(GROUND, sidewalk=Surface(0, (0.6, 0.6, 0.6), (0.0, 0.0, 0.0)))
    x = along(4.5, 6.9, 2000)
    near, far = (painted(ground, x, x * 0.37, footprint)[0].std() for footprint in (0.002, 1.0))
    assert near > 2 * far


def test_a_lot_is_planted_or_paved_as_its_class_says() -> None:
    green, grey = Surface(0, (0.1, 0.6, 0.1), (0.1, 0.6, 0.1)), Surface(0, (0.5, 0.5, 0.5), (0.1, 0.1, 0.1))
    x = along(8, 20, 900)
    grass, _ = painted(with_lot(Label.TERRAIN, green), x, x * 0.7)
    slabs, _ = painted(with_lot(Label.SIDEWALK, grey), x, x * 0.7)
    assert (grass[:, 1] > 2 * grass[:, 0]).all()
    np.testing.assert_allclose(slabs[:, 0], slabs[:, 1], rtol=1e-5)
    joints = slabs[:, 0] < 0.6 * np.median(slabs[:, 0])
    assert 0.02 < joints.mean() < 0.3  # slabs of half a metre with joints of three centimetres
    # The same surface, planted, has no joints.
    planted, _ = painted(with_lot(Label.TERRAIN, grey), x, x * 0.7)
    assert (planted != slabs).any()
