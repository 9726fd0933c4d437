"""Coordinates on surfaces: metres along each face, and upwards from its lower edge."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.world.primitives import BACK, FRONT, LEFT, RIGHT, TOP
from pipeline.world.scene import Kind, Material
from tests.world.materials.surfaces import points_on

HALF = (2.0, 3.0, 4.0)


@pytest.mark.parametrize(
    ("face", "metric", "expected"),
    [
        (FRONT, (1.5, 3, -4), (1.5, 0)),
        (BACK, (-2, -3, 4), (-2, 6)),
        (RIGHT, (2, 0, 2.5), (2.5, 3)),
        (LEFT, (-2, 1, -4), (-4, 2)),
        (TOP, (0.5, -3, 1.25), (0.5, 1.25)),
    ],
    ids=["front, lower edge", "back, upper edge", "right", "left", "top"],
)
def test_on_a_box_they_run_along_the_face_and_up(
    face: int, metric: tuple[float, float, float], expected: tuple[float, float]
) -> None:
    u, v = points_on(Material.PLAIN, metric, HALF, face=face).surface()
    np.testing.assert_allclose((u[0], v[0]), expected, atol=1e-6)


def test_on_a_card_they_do_too_whichever_side_is_seen() -> None:
    for face in (FRONT, BACK):
        u, v = points_on(Material.PLAIN, (1.5, -1, 0), HALF, kind=Kind.CARD, face=face).surface()
        np.testing.assert_allclose((u[0], v[0]), (1.5, 4), atol=1e-6)


def test_around_a_cylinder_they_are_as_long_as_its_circumference() -> None:
    angles = np.linspace(-3.1, 3.1, 50)
    metric = np.stack((2 * np.sin(angles), np.full(50, 1.0), 2 * np.cos(angles)), axis=1)
    u, v = points_on(Material.PLAIN, metric, (2, 3, 2), kind=Kind.CYLINDER, face=0).surface()
    np.testing.assert_allclose(np.diff(u), np.diff(angles) * 2, rtol=1e-4)
    np.testing.assert_allclose(v, 2)
