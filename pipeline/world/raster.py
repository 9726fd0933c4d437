"""Ray casting with a z-buffer: every shape is tried only on the rectangle of pixels where it can appear.

(pixel, shape) pairs of many shapes are intersected together, near shapes first, to drop early what is hidden.
Legend: N shapes, P pixels, n pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pipeline.world.camera import Rays, Regions
from pipeline.world.primitives import hit_box, hit_card, hit_cylinder, hit_ellipsoid
from pipeline.world.scene import Byte, Cutout, Float, Int, Kind, Primitives

_PAIRS_PER_CHUNK = 60_000
NOTHING = -1


@dataclass(frozen=True)
class Buffer:
    """What every ray met first."""

    depth_P: Float
    """Metres along the ray, inf for nothing."""
    shape_P: Int
    """Index of the primitive, or NOTHING."""
    face_P: Byte
    """Which side of it."""


def _pairs(regions: Regions, shapes: Int, width: int) -> tuple[Int, Int]:
    """(pixel_n, shape_n) of all pixels in the rectangles of some shapes."""
    size = regions.size_N[shapes]
    shape = np.repeat(shapes, size)
    count = np.arange(len(shape), dtype=np.int32) - np.repeat(np.cumsum(size, dtype=np.int32) - size, size)
    columns = (regions.right_N - regions.left_N)[shape]
    row = count // columns
    column = regions.left_N[shape] + count - row * columns
    column = np.where(column >= width, column - width, column)
    column = np.where(column < 0, column + width, column)
    return (regions.top_N[shape] + row) * width + column, shape


def _chunks(sizes: Int) -> Iterator[slice]:
    """Runs of shapes with about _PAIRS_PER_CHUNK pairs together."""
    chunk = np.cumsum(sizes) // _PAIRS_PER_CHUNK
    edges = np.flatnonzero(np.diff(chunk)) + 1
    for start, stop in zip((0, *edges), (*edges, len(sizes)), strict=True):
        yield slice(int(start), int(stop))


class _Caster:
    """Intersects pairs of one kind of shape."""

    def __init__(self, primitives: Primitives, rays: Rays) -> None:
        self.primitives, self.rays = primitives, rays
        self.to_local_N33 = primitives.to_local_N33

    def _local(self, pixel_n: Int, shape_n: Int) -> tuple[Float, Float]:
        """Rays in the unit coordinates of the shapes."""
        rays, p = self.rays, self.primitives
        if len(rays.origin_P3) == 1:
            origin_N3 = np.einsum("nij,nj->ni", self.to_local_N33, rays.origin_P3 - p.centre_N3)
            return origin_N3[shape_n], np.einsum("nij,nj->ni", self.to_local_N33[shape_n], rays.direction_P3[pixel_n])
        direction_N3 = np.einsum("nij,j->ni", self.to_local_N33, rays.direction_P3[0])
        origin_n3 = rays.origin_P3[pixel_n] - p.centre_N3[shape_n]
        return np.einsum("nij,nj->ni", self.to_local_N33[shape_n], origin_n3), direction_N3[shape_n]

    def hit(self, kind: int, pixel_n: Int, shape_n: Int) -> tuple[Float, Byte]:
        """(t_n, face_n)."""
        p = self.primitives
        origin, direction = self._local(pixel_n, shape_n)
        if kind == Kind.BOX:
            return hit_box(origin, direction, p.taper_N2[shape_n])
        if kind == Kind.CYLINDER:
            return hit_cylinder(origin, direction)
        half, style = p.half_N3[shape_n], p.style_N4[shape_n]
        if kind == Kind.CARD:
            return hit_card(origin, direction, half, p.cutout_N[shape_n], style)
        leafy = p.cutout_N[shape_n] == Cutout.LEAVES
        return hit_ellipsoid(origin, direction, half, p.salt_N[shape_n], leafy, style)


def _write(buffer: Buffer, pixel_n: Int, shape_n: Int, t_n: Float, face_n: Byte) -> None:
    """Keep what is nearer than before, in place."""
    rows = np.flatnonzero(t_n < buffer.depth_P[pixel_n])
    pixel, t = pixel_n[rows], t_n[rows]
    np.minimum.at(buffer.depth_P, pixel, t)
    won = buffer.depth_P[pixel] == t
    buffer.shape_P[pixel[won]] = shape_n[rows][won]
    buffer.face_P[pixel[won]] = face_n[rows][won]


def cast(primitives: Primitives, rays: Rays, regions: Regions, near_N: Float) -> Buffer:
    """What all rays meet first; near_N is a lower bound of the shapes' distances in metres."""
    pixels = rays.height * rays.width
    buffer = Buffer(np.full(pixels, np.inf, np.float32), np.full(pixels, NOTHING, np.int32), np.zeros(pixels, np.uint8))
    caster = _Caster(primitives, rays)
    seen = np.flatnonzero(regions.size_N > 0)
    order = seen[np.argsort(near_N[seen], kind="stable")].astype(np.int32)
    for run in _chunks(regions.size_N[order]):
        pixel, shape = _pairs(regions, order[run], rays.width)
        open_ = np.flatnonzero(buffer.depth_P[pixel] > near_N[shape])
        pixel, shape = pixel[open_], shape[open_]
        kinds = primitives.kind_N[shape]
        for kind in Kind:
            rows = np.flatnonzero(kinds == kind)
            if len(rows):
                _write(buffer, pixel[rows], shape[rows], *caster.hit(kind, pixel[rows], shape[rows]))
    return buffer
