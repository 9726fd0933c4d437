"""Noise of the demo world: uniform, repeatable and periodic."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.world.textures import TILE, blob_tile, fractal_tile, grain_tile, look_up


@pytest.mark.parametrize("tile", [fractal_tile, blob_tile, grain_tile])
def test_values_are_ranks_so_that_a_threshold_is_an_area(tile: object) -> None:
    values = tile()  # type: ignore[operator]
    assert values.dtype == np.float32 and values.shape == (TILE * TILE,)
    for share in (0.1, 0.5, 0.9):
        assert (values < share).mean() == pytest.approx(share, abs=1e-3)


def test_clouds_are_smoother_than_grain() -> None:
    def step(values: np.ndarray) -> float:
        return float(np.abs(np.diff(values.reshape(TILE, TILE), axis=1)).mean())

    assert step(fractal_tile()) < 0.5 * step(grain_tile())


def test_a_tile_repeats() -> None:
    u, v = np.array([0.1, 2.5], np.float32), np.array([0.3, 1.0], np.float32)
    np.testing.assert_array_equal(look_up(grain_tile(), u, v, 4.0), look_up(grain_tile(), u + 4, v + 8, 4.0))
