"""Where rays meet shapes, against distances that are known."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.world.primitives import (
    BACK,
    BOTTOM,
    CAP_HIGH,
    CAP_LOW,
    FRONT,
    LEFT,
    RIGHT,
    SIDE,
    hit_box,
    hit_cylinder,
    hit_ellipsoid,
)
from pipeline.world.scene import Float


def rays(*pairs: tuple[tuple[float, ...], tuple[float, ...]]) -> tuple[Float, Float]:
    """Origins and directions."""
    array = np.array(pairs, np.float32)
    return array[:, 0], array[:, 1]


def straight(count: int) -> Float:
    return np.zeros((count, 2), np.float32)


FROM_RIGHT, FROM_LEFT = ((5, 0.5, 0.5), (-1, 0, 0)), ((-5, 0.5, 0.5), (1, 0, 0))
FROM_FRONT, FROM_BACK = ((0.5, 0.5, -5), (0, 0, 1)), ((0.5, 0.5, 5), (0, 0, -1))


def test_a_box_is_met_on_the_side_from_which_one_looks() -> None:
    from_below = ((0.2, 5.0, 0.1), (0.0, -1.0, 0.0))  # y points down
    t, face = hit_box(*rays(FROM_RIGHT, FROM_LEFT, FROM_FRONT, FROM_BACK, from_below), straight(5))
    np.testing.assert_allclose(t, 4, rtol=1e-6)
    assert face.tolist() == [RIGHT, LEFT, FRONT, BACK, BOTTOM]


@pytest.mark.parametrize("ray", [((5, 1.5, 0), (-1, 0, 0)), ((5, 0, 0), (1, 0, 0)), ((0, 0, 0), (1, 0, 0))],
                         ids=["beside it", "behind the eye", "from inside"])  # fmt: skip
def test_a_box_is_missed(ray: tuple[tuple[float, ...], tuple[float, ...]]) -> None:
    assert np.isinf(hit_box(*rays(ray), straight(1))[0]).all()


def test_steps_of_a_ray_are_counted_in_its_own_length() -> None:
    t, _ = hit_box(*rays(((5, 0, 0), (-2, 0, 0))), straight(1))
    np.testing.assert_allclose(t, 2, rtol=1e-6)


@pytest.mark.parametrize(
    ("ray", "t", "face"),
    [
        (((5, 0.5, 0), (-1, 0, 0)), 4, SIDE),
        (((0.5, 5, 0), (0, -1, 0)), 4, CAP_LOW),
        (((0.5, -5, 0), (0, 1, 0)), 4, CAP_HIGH),
        (((5, 1.5, 0), (-1, 0, 0)), np.inf, SIDE),
        (((0.8, 5, 0.8), (0, -1, 0)), np.inf, SIDE),
    ],
    ids=["mantle", "from below", "from above", "beyond its end", "beside its cap"],
)
def test_a_cylinder_has_a_mantle_and_two_caps(
    ray: tuple[tuple[float, ...], tuple[float, ...]], t: float, face: int
) -> None:
    found, side = hit_cylinder(*rays(ray))
    np.testing.assert_allclose(found, [t], rtol=1e-5)
    if np.isfinite(t):
        assert side.tolist() == [face]


def test_a_ball_without_leaves_is_met_where_its_surface_is() -> None:
    count = 200
    rng = np.random.default_rng(0)
    aim_n3 = rng.uniform(-0.5, 0.5, (count, 3))
    origin_n3 = rng.normal(size=(count, 3))
    origin_n3 *= 4 / np.linalg.norm(origin_n3, axis=1, keepdims=True)
    direction_n3 = aim_n3 - origin_n3
    t, _ = hit_ellipsoid(
        *(origin_n3.astype(np.float32), direction_n3.astype(np.float32)),
        *(np.ones((count, 3), np.float32), np.zeros(count, np.float32)),
        *(np.zeros(count, np.bool_), np.zeros((count, 4), np.float32)),
    )
    met_n3 = origin_n3 + t[:, None] * direction_n3
    np.testing.assert_allclose(np.linalg.norm(met_n3, axis=1), 1, atol=1e-4)
    assert (np.einsum("ni,ni->n", met_n3, direction_n3) < 0).all()  # the near side
