"""Plants: one thing each, of the size that was asked for, with leaves that one sees through."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from pipeline.world.objects.plants import CROWN, TRUNK, add_bush, add_hedge, add_tree
from pipeline.world.scene import Cutout, Kind, Label, Material, Primitives
from tests.world.objects.built import SEEDS, built, extent, require_one_object


def is_conifer(shapes: Primitives) -> bool:
    """Conifers have a trunk without branches."""
    return int((shapes.part_N == TRUNK).sum()) == 1


def tree(height: float, seed: int) -> Primitives:
    return built(partial(add_tree, height=height), seed)


@pytest.mark.parametrize("height", [3.0, 10.0])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_tree_is_about_as_high_as_it_is_told(height: float, seed: int) -> None:
    shapes = tree(height, seed)
    require_one_object(shapes, Label.VEGETATION)
    assert 0.8 * height < extent(shapes)[1][1] < 1.3 * height


@pytest.mark.parametrize("seed", SEEDS)
def test_trunk_and_branches_are_bark_and_the_crown_is_leaves_with_gaps(seed: int) -> None:
    shapes = tree(8.0, seed)
    trunk, crown = shapes.part_N == TRUNK, shapes.part_N == CROWN
    assert (trunk | crown).all() and trunk.any() and crown.any()
    assert (shapes.material_N[trunk] == Material.BARK).all() and (shapes.cutout_N[trunk] == Cutout.NONE).all()
    assert (shapes.material_N[crown] == Material.FOLIAGE).all() and (shapes.cutout_N[crown] == Cutout.LEAVES).all()
    density = shapes.style_N4[crown, 0]
    assert (density > 0.5).all() and (density < 1).all()
    assert extent(shapes, trunk)[1][0] == pytest.approx(0, abs=0.05), "it grows out of the ground"
    assert extent(shapes, crown)[1][1] > extent(shapes, trunk)[1][1] and extent(shapes, crown)[1][0] > 0


def test_broad_leaved_trees_are_more_than_conifers_and_their_branches_end_in_their_balls() -> None:
    trees = [tree(8.0, seed) for seed in range(40)]
    conifers = sum(map(is_conifer, trees))
    assert 2 <= conifers <= 16
    for shapes in trees:
        if is_conifer(shapes):
            continue
        branches, crown = np.flatnonzero(shapes.part_N == TRUNK)[1:], np.flatnonzero(shapes.part_N == CROWN)
        middles_33 = shapes.centre_N3[crown]
        for branch in branches:
            along_3 = shapes.rotation_N33[branch][:, 1] * shapes.half_N3[branch][1]
            tips = (shapes.centre_N3[branch] + along_3, shapes.centre_N3[branch] - along_3)
            assert min(float(np.linalg.norm(middles_33 - tip, axis=1).min()) for tip in tips) < 0.15


def test_a_conifers_layers_get_smaller_towards_its_top() -> None:
    conifer = next(shapes for shapes in (tree(8.0, seed) for seed in range(40)) if is_conifer(shapes))
    crown = conifer.part_N == CROWN
    heights, widths = -conifer.centre_N3[crown, 1], conifer.half_N3[crown, 0]
    assert (np.diff(widths[np.argsort(heights)]) < 0).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_bush_is_two_to_four_balls_on_the_ground(seed: int) -> None:
    shapes = built(partial(add_bush, size=1.0), seed)
    require_one_object(shapes, Label.VEGETATION)
    assert 2 <= len(shapes) <= 4 and (shapes.kind_N == Kind.ELLIPSOID).all()
    assert 0.5 < extent(shapes)[1][1] < 1.8
    large = built(partial(add_bush, size=2.0), seed)
    assert extent(large)[1][1] == pytest.approx(2 * extent(shapes)[1][1], rel=1e-3)


@pytest.mark.parametrize(("length", "height"), [(2.0, 0.8), (9.0, 1.8)])
@pytest.mark.parametrize("seed", SEEDS[:4])
def test_a_hedge_runs_along_x(length: float, height: float, seed: int) -> None:
    shapes = built(partial(add_hedge, length=length, height=height), seed)
    require_one_object(shapes, Label.VEGETATION)
    body = shapes.kind_N == Kind.BOX
    (left, right), (_, top), (back, front) = extent(shapes, body)
    assert (right - left, top, front - back) == pytest.approx((length, height, 0.76), abs=1e-3)
    (bump_left, bump_right), (_, highest), _ = extent(shapes)
    assert bump_left > left - 0.2 and bump_right < right + 0.9 and height < highest < height + 0.4
