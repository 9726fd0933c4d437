"""Facades have as many windows as storeys and columns fit, each a part of its own, and doors on the ground alone."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.world.materials.facade import facade
from pipeline.world.primitives import BACK, FRONT, RIGHT, TOP
from pipeline.world.scene import Material
from tests.world.materials.surfaces import grid, points_on

HALF = (6.0, 4.5, 3.0)
"""Twelve metres wide, nine high, six deep."""
STYLE = (3.0, 2.0, 1.0, 0.0)
"""Storeys of three metres, windows every two, plaster, no shops."""
SIZE = 240


def codes(face: int, style: tuple[float, float, float, float] = STYLE) -> np.ndarray:
    """Part codes of a face, row by row from its top left."""
    metric = grid(HALF[0], HALF[1], SIZE, -HALF[2])
    if face == RIGHT:
        metric = metric[:, [2, 1, 0]] * np.array([-2, 1, 0.5], np.float32)  # x = half, z over the depth
    return facade(points_on(Material.FACADE, metric, HALF, style, face=face)).part_n.reshape(SIZE, SIZE)


def test_every_window_is_a_part_of_its_own_and_the_wall_between_them_is_another() -> None:
    found = codes(FRONT)
    upper = found[: 2 * SIZE // 3]  # two storeys above the ground floor
    assert len(np.unique(upper)) == 2 * 6 + 1
    wall = upper[0, 0]
    assert (upper[:, :2] == wall).all()
    for column in range(6):
        cell = upper[: SIZE // 3, column * SIZE // 6 : (column + 1) * SIZE // 6]
        assert len(np.unique(cell)) == 2
        assert 0.1 < (cell != wall).mean() < 0.8


def test_faces_have_windows_of_their_own() -> None:
    front, back, side = (set(np.unique(codes(face))) for face in (FRONT, BACK, RIGHT))
    assert len(front & back) == len(front & side) == 1  # the wall
    assert len(side) == 3 * 3 + 1  # a face of six metres has three columns


def test_doors_are_on_the_ground_floor_and_reach_down_to_the_street() -> None:
    found = codes(FRONT)
    doors = (found >= 16) & (found < 64)
    assert doors[-1].any() and not doors[: 2 * SIZE // 3].any()


def test_shop_windows_are_larger_than_others() -> None:
    wall = codes(FRONT)[0, 0]
    ground = slice(2 * SIZE // 3, None)
    shops, flats = (codes(FRONT, (*STYLE[:3], shop))[ground] != wall for shop in (1.0, 0.0))
    assert shops.mean() > 1.15 * flats.mean()


def test_the_top_of_a_house_has_no_windows() -> None:
    metric = grid(HALF[0], HALF[2], SIZE, 0)[:, [0, 2, 1]]
    metric[:, 1] = -HALF[1]
    assert np.unique(facade(points_on(Material.FACADE, metric, HALF, STYLE, face=TOP)).part_n).tolist() == [5]


@pytest.mark.parametrize("wall", [0, 2, 3])
def test_walls_of_other_kinds_look_different(wall: int) -> None:
    metric = grid(HALF[0], HALF[1], SIZE, -HALF[2])
    plaster, other = (facade(points_on(Material.FACADE, metric, HALF, (3.0, 2.0, kind, 0.0))).colour_n3
                      for kind in (1.0, float(wall)))  # fmt: skip
    assert (plaster != other).any(axis=1).mean() > 0.03
