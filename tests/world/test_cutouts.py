"""Outlines that are cut out of shapes."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.world.cutouts import keep_card, keep_leaves
from pipeline.world.scene import Cutout, Float

AXIS = np.linspace(-1, 1, 101, dtype=np.float32)
X, Y = (values.ravel() for values in np.meshgrid(AXIS, AXIS))


def rows(values: tuple[float, ...]) -> Float:
    return np.tile(np.array(values, np.float32), (len(X), 1))


def kept(cutout: Cutout, style: tuple[float, float, float, float] = (1, 1, 1, 0)) -> np.ndarray:
    return keep_card(X, Y, rows((1, 1, 0.01)), np.full(len(X), cutout, np.uint8), rows(style))


@pytest.mark.parametrize(
    ("cutout", "share"),
    [(Cutout.NONE, 1.0), (Cutout.DISC, np.pi / 4), (Cutout.DIAMOND, 0.5), (Cutout.OCTAGON, 1 - 0.59**2 / 2)],
)
def test_outlines_keep_their_share_of_the_card(cutout: Cutout, share: float) -> None:
    assert kept(cutout).mean() == pytest.approx(share, abs=0.02)


def test_a_triangle_is_wide_at_one_end_and_pointed_at_the_other() -> None:
    flags = kept(Cutout.TRIANGLE).reshape(101, 101)
    assert flags[0].mean() < 0.1 and flags[-1].mean() > 0.9


@pytest.mark.parametrize(
    ("cutout", "style"), [(Cutout.PICKETS, (0.2, 0.6, 0.1, 0)), (Cutout.RAILS, (1.0, 0.3, 0.04, 0))]
)
def test_fences_have_gaps_and_rails(cutout: Cutout, style: tuple[float, float, float, float]) -> None:
    flags = kept(cutout, style).reshape(101, 101)
    assert 0.1 < flags.mean() < 0.9
    assert flags.all(axis=1).any()  # a rail from end to end
    assert not flags.all(axis=1).all()


def test_dense_foliage_keeps_more_leaves_and_facing_surfaces_more_than_edges() -> None:
    points = np.random.default_rng(0).normal(size=(4000, 3)).astype(np.float32)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    half, salt = np.ones_like(points), np.zeros(4000, np.float32)

    def share(facing: float, density: float) -> float:
        full = np.ones(4000, np.float32)
        return float(keep_leaves(points, half, salt, facing * full, density * full).mean())

    assert share(1, 0.9) > share(1, 0.4) and share(1, 0.6) > share(0, 0.6)
