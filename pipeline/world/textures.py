"""Procedural noise and patterns that materials are made of.

Coordinates u, v are metres on the surface; results are float32 in 0..1. Noise comes from periodic tiles that are made
once and looked up, because evaluating noise per pixel would cost more than the whole ray casting.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from pipeline.world.scene import Float, Int

TILE = 512


def _filtered(seed: int, weight_by_frequency: Float) -> Float:
    """Periodic noise [TILE, TILE] with that spectrum; values are ranks, so that a threshold is an area."""
    rng = np.random.default_rng(seed)
    spectrum = np.fft.rfft2(rng.standard_normal((TILE, TILE))) * weight_by_frequency
    noise = np.fft.irfft2(spectrum, s=(TILE, TILE)).ravel()
    ranks = np.empty(TILE * TILE, np.float32)
    ranks[np.argsort(noise, kind="stable")] = np.linspace(0, 1, TILE * TILE, dtype=np.float32)
    return ranks


@lru_cache(maxsize=1)
def _frequency() -> Float:
    """Cycles per tile of every coefficient of rfft2."""
    f = np.fft.fftfreq(TILE) * TILE
    g = np.fft.rfftfreq(TILE) * TILE
    return np.hypot(f[:, None], g[None, :]).astype(np.float32)


@lru_cache(maxsize=1)
def fractal_tile() -> Float:
    """Cloud-like noise: all scales, the large ones strongest."""
    return _filtered(11, 1 / np.maximum(_frequency(), 2) ** 1.6)


@lru_cache(maxsize=1)
def blob_tile() -> Float:
    """Blobs of about a 32nd of the tile: leaves, pebbles, stains."""
    f = _frequency()
    return _filtered(12, np.exp(-(((f - 24) / 12) ** 2)) + 0.35 * np.exp(-(((f - 70) / 30) ** 2)))


@lru_cache(maxsize=1)
def grain_tile() -> Float:
    """Fine grain without structure."""
    return _filtered(13, np.ones_like(_frequency()))


def look_up(tile: Float, u: Float, v: Float, metres: float) -> Float:
    """The tile, laid out every `metres` metres."""
    scale = np.float32(TILE / metres)
    column = (u * scale).astype(np.int32) & (TILE - 1)
    row = (v * scale).astype(np.int32) & (TILE - 1)
    return tile[row * TILE + column]


def clouds(u: Float, v: Float, metres: float) -> Float:
    """Soft patches of all sizes up to a quarter of `metres`."""
    return look_up(fractal_tile(), u, v, metres)


def blobs(u: Float, v: Float, size: float) -> Float:
    """Patches of about `size` metres."""
    return look_up(blob_tile(), u, v, size * 24)


def grain(u: Float, v: Float, size: float) -> Float:
    """Uncorrelated specks of `size` metres."""
    return look_up(grain_tile(), u, v, size * TILE)


def cell_hash(column: Float, row: Float, salt: Float | float = 0.0) -> Float:
    """A random number for every integer cell."""
    i = np.asarray(column + np.floor(np.asarray(salt) * 509), np.float32).astype(np.int32) * 7
    j = np.asarray(row, np.float32).astype(np.int32) * 13
    index: Int = (j & (TILE - 1)) * TILE + (i & (TILE - 1))
    return grain_tile()[index]


def shuffle(salt: Float, number: float) -> Float:
    """The `number`-th random value that follows from a salt."""
    return np.asarray((salt * np.float32(number)) % np.float32(1), np.float32)


def bricks(u: Float, v: Float, width: float, height: float, joint: float) -> tuple[Float, Float]:
    """(tone of the brick, 1 where there is mortar) of a running bond."""
    row = np.floor(v / height)
    column = u / width + 0.5 * (row % 2)
    whole = np.floor(column)
    mortar = (v / height - row < joint / height) | (column - whole < joint / width)
    return cell_hash(whole, row), mortar.astype(np.float32)


def tiles(u: Float, v: Float, size: float, joint: float) -> tuple[Float, Float]:
    """(tone of the tile, 1 in the joints) of a square grid."""
    a, b = np.floor(u / size), np.floor(v / size)
    gap = (u / size - a < joint / size) | (v / size - b < joint / size)
    return cell_hash(a, b), gap.astype(np.float32)


def visible(footprint: Float, period: float) -> Float:
    """1 where pixels of `footprint` metres resolve a pattern of that period, falling to 0 where it would alias."""
    return np.clip(1.6 - 2.4 * footprint / np.float32(period), 0, 1)


def mix(a: Float, b: Float, weight: Float) -> Float:
    """a where weight is 0, b where it is 1; weight [n] goes with colours [n, 3] or [3]."""
    w = weight[:, None]
    return np.asarray(a + (b - a) * w, np.float32)
