"""Where rays meet the ground, and what kind of ground is there, on streets of known measures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline.world.ground import CORNER_RADIUS, Zone, block_of, kerb_distance, label_ground, meet_ground, zone_of
from pipeline.world.scene import GROUND_INSTANCES, CrossStreet, Float, Ground, Label
from tests.world.hand_made import EYE, GROUND, with_lot

CROSSING = replace(GROUND, crosses=(CrossStreet(20.0, 3.0, 0),))
JUNCTION = replace(GROUND, crosses=(CrossStreet(20.0, 3.0, 1),))
"""A street that leaves towards x > 0 only."""


def values(*numbers: float) -> Float:
    return np.array(numbers, np.float32)


def zones(ground: Ground, x: Float, z: Float) -> list[int]:
    return zone_of(ground, x, z, kerb_distance(ground, x, z) < 0)[0].tolist()


def test_the_kerb_of_a_straight_street_is_as_far_as_its_half_width() -> None:
    x = values(-9, -4, -1, 0, 3, 4, 6)
    np.testing.assert_allclose(kerb_distance(GROUND, x, values(*[50] * 7)), np.abs(x) - 4, atol=1e-6)


def test_a_cross_street_is_road_to_both_sides_and_a_junction_to_one() -> None:
    x, z = values(-15, 15), values(20, 20)
    assert (kerb_distance(CROSSING, x, z) < 0).tolist() == [True, True]
    assert (kerb_distance(JUNCTION, x, z) < 0).tolist() == [False, True]
    np.testing.assert_allclose(kerb_distance(CROSSING, x, values(25, 16)), [2, 1], atol=1e-5)  # |z - 20| - 3


def test_corners_are_rounded_towards_the_sidewalk() -> None:
    """Where both kerbs would meet there is road already; further away than the radius nothing changes."""
    assert kerb_distance(CROSSING, values(4.2), values(23.2))[0] < 0
    beyond = 4 + CORNER_RADIUS + 1.0
    np.testing.assert_allclose(kerb_distance(CROSSING, values(beyond), values(23.5)), [0.5], atol=1e-5)


def test_rays_end_on_the_road_the_sidewalk_or_the_face_of_the_kerb() -> None:
    targets_n3 = np.array([[0, 0, 5], [-6, -GROUND.kerb, 3], [4, -GROUND.kerb / 2, 2], [-4, -GROUND.kerb / 3, 1]])
    rays_n3 = targets_n3 - EYE
    lengths = np.linalg.norm(rays_n3, axis=1)
    hits = meet_ground(GROUND, np.asarray(EYE, np.float32), (rays_n3 / lengths[:, None]).astype(np.float32))
    np.testing.assert_allclose(hits.depth_P, lengths, rtol=1e-4)
    assert hits.road_P.tolist() == [True, False, False, False]
    assert hits.kerb_face_P.tolist() == [False, False, True, True]


def test_rays_that_do_not_look_down_never_end() -> None:
    hits = meet_ground(GROUND, np.asarray(EYE, np.float32), np.array([[0, 0, 1], [0, -0.6, 0.8]], np.float32))
    assert np.isinf(hits.depth_P).all() and not hits.road_P.any()


def test_every_ray_ends_at_one_of_the_two_levels_or_between_them() -> None:
    rng = np.random.default_rng(0)
    rays_n3 = rng.normal(size=(4000, 3))
    rays_n3[:, 1] = np.abs(rays_n3[:, 1]) + 0.02
    rays_n3 /= np.linalg.norm(rays_n3, axis=1, keepdims=True)
    hits = meet_ground(CROSSING, np.asarray(EYE, np.float32), rays_n3.astype(np.float32))
    points_n3 = EYE + hits.depth_P[:, None] * rays_n3
    height = -points_n3[:, 1]
    np.testing.assert_allclose(height[hits.road_P], 0, atol=2e-3)
    walk = ~hits.road_P & ~hits.kerb_face_P
    np.testing.assert_allclose(height[walk], GROUND.kerb, atol=2e-3)
    assert ((height[hits.kerb_face_P] > -1e-3) & (height[hits.kerb_face_P] < GROUND.kerb + 1e-3)).all()
    away = kerb_distance(CROSSING, *points_n3.astype(np.float32)[:, [0, 2]].T)
    assert hits.kerb_face_P.sum() > 10 and np.abs(away[hits.kerb_face_P]).max() < 0.1


def test_beside_the_road_lie_sidewalk_verge_and_what_is_beyond() -> None:
    green = replace(GROUND, verges=(0.0, 1.5))
    x, z = values(0, -5, -8, 4.1, 5, 6.5, 8), np.zeros(7, np.float32)
    assert zones(green, x, z) == [Zone.ROAD, Zone.SIDEWALK, Zone.VERGE, Zone.SIDEWALK, Zone.VERGE, Zone.SIDEWALK,
                                  Zone.VERGE]  # fmt: skip


@pytest.mark.parametrize(
    "ground", [replace(CROSSING, verges=(1.5, 1.5)), replace(GROUND, verges=(1.5, 1.5), zebras=(20.0,))]
)
def test_verges_make_room_for_crossings(ground: Ground) -> None:
    assert zones(ground, values(5, 5), values(20 + 2, 0)) != [Zone.VERGE, Zone.VERGE]
    assert zones(ground, values(5), values(0)) == [Zone.VERGE]


def test_lots_lie_where_the_map_says_and_never_on_the_road() -> None:
    everywhere = replace(with_lot(Label.SIDEWALK), lot_map_ZX=np.ones_like(GROUND.lot_map_ZX))
    assert zones(with_lot(Label.SIDEWALK), values(6.9, 7.3), values(5, 5)) == [Zone.SIDEWALK, Zone.LOT]
    assert zones(everywhere, values(0, 3.9, 4.1, 4.5), values(5, 5, 5, 5)) == [
        Zone.ROAD, Zone.ROAD, Zone.SIDEWALK, Zone.LOT]  # fmt: skip
    assert zones(everywhere, values(500), values(5)) == [Zone.VERGE]  # beyond the map


@pytest.mark.parametrize("label", [Label.TERRAIN, Label.SIDEWALK])
def test_ground_is_labelled_by_its_zone_and_a_lot_by_its_own_class(label: Label) -> None:
    ground, x, z = replace(with_lot(label), verges=(1.0, 0.0)), values(0, 5, -4.5, 8), values(5, 5, 5, 5)
    zone, lot, _ = zone_of(ground, x, z, kerb_distance(ground, x, z) < 0)
    labels, instances = label_ground(ground, x, z, zone, lot)
    assert labels.tolist() == [Label.ROAD, Label.SIDEWALK, Label.TERRAIN, label]
    assert len(set(instances.tolist())) == 4
    assert ((instances > ground.first_instance) & (instances < ground.first_instance + GROUND_INSTANCES)).all()


def test_sidewalks_of_different_blocks_are_different_objects_and_the_road_is_one() -> None:
    x, z = values(5, 5, -5, -5), values(10, 30, 10, 30)
    assert len(set(block_of(CROSSING, x, z).tolist())) == 4
    assert len(set(block_of(JUNCTION, x, z).tolist())) == 3  # the street does not cut the blocks of x < 0
    zone, lot, _ = zone_of(CROSSING, x, z, np.zeros(4, np.bool_))
    assert len(set(label_ground(CROSSING, x, z, zone, lot)[1].tolist())) == 4
    x, z = values(0, 1, 15), values(10, 30, 20)
    zone, lot, _ = zone_of(CROSSING, x, z, np.ones(3, np.bool_))
    assert len(set(label_ground(CROSSING, x, z, zone, lot)[1].tolist())) == 1
