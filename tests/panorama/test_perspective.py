"""Perspective views: what is cut out of a panorama and projected back lies where it was, seam and poles included."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.arrays import FloatArray
from pipeline.panorama.perspective import PerspectiveView
from pipeline.panorama.sphere import panorama_rays
from pipeline.panorama.views import Stitcher, View
from pipeline.panorama.windows import add_to, cut

HEIGHT, WIDTH = 128, 256


def view(yaw: float = 0, pitch: float = 0, fov: float = 80, size: int = 96) -> PerspectiveView:
    return PerspectiveView(size, size, fov, yaw, pitch, HEIGHT, WIDTH)


def smooth_sphere() -> FloatArray:
    """Numbers in [0, 1] that change slowly over the sphere, another function of the direction per channel."""
    x, y, z = np.moveaxis(panorama_rays(HEIGHT, WIDTH), -1, 0)
    return np.stack([0.5 + 0.3 * x, 0.5 + 0.3 * y, 0.5 + 0.3 * z * x]).astype(np.float32)


def flags_of(one: View, shape: tuple[int, int] = (HEIGHT, WIDTH)) -> npt.NDArray[np.bool_]:
    seen = np.zeros(shape, np.bool_)
    add_to(seen, one.footprint, one.project_nearest(np.ones((one.height, one.width), np.bool_)))
    return seen


LOOKS = [(0, 0), (180, 0), (179, -30), (45, 60), (0, 90), (10, -90), (-120, 80)]


@pytest.mark.parametrize(("yaw", "pitch"), LOOKS)
def test_what_is_cut_out_and_laid_back_is_the_panorama(yaw: float, pitch: float) -> None:
    one = view(yaw, pitch)
    image_HW3 = np.rint(255 * smooth_sphere().transpose(1, 2, 0)).astype(np.uint8)
    picture_Chw = one.cut_image(image_HW3).transpose(2, 0, 1).astype(np.float32)
    projected = one.project_linear(picture_Chw)
    seen = one.project_nearest(np.ones((one.height, one.width), np.bool_))
    there = cut(image_HW3, one.footprint).transpose(2, 0, 1)
    assert seen.sum() > 500
    assert np.abs(projected - there)[:, seen].max() < 3.5  # two interpolations, of pixels that are rounded


@pytest.mark.parametrize(("yaw", "pitch"), LOOKS)
def test_a_view_sees_the_directions_inside_its_pyramid_and_no_other(yaw: float, pitch: float) -> None:
    rays = panorama_rays(HEIGHT, WIDTH)
    a, b = np.radians(yaw), np.radians(pitch)
    forward = np.array([np.cos(b) * np.sin(a), -np.sin(b), np.cos(b) * np.cos(a)])
    right = np.array([np.cos(a), 0, -np.sin(a)])
    down = np.cross(forward, right)
    reach = np.tan(np.radians(40)) * (rays @ forward)
    expected = (rays @ forward > 0) & (np.abs(rays @ right) < reach) & (np.abs(rays @ down) < reach)
    assert (flags_of(view(yaw, pitch)) != expected).mean() < 1e-3


def test_labels_come_back_to_their_own_pixels() -> None:
    rng = np.random.default_rng(0)
    blocks = np.kron(rng.integers(0, 9, (HEIGHT // 16, WIDTH // 16)), np.ones((16, 16))).astype(np.uint8)
    one = view(170, -10)
    projected = one.project_nearest(one.cut_nearest(blocks), outside=255)
    there = cut(blocks, one.footprint)
    seen = projected != 255
    assert (projected[seen] == there[seen]).mean() > 0.93  # borders of the blocks may move by a pixel


@pytest.mark.parametrize("stride", [1, 4, 8])
def test_views_all_around_stitch_to_one_panorama(stride: int) -> None:
    looks = [(yaw, pitch) for pitch in (-45, 0, 45) for yaw in range(0, 360, 60)] + [(0, 90), (0, -90)]
    views = [view(*look) for look in looks]
    stitcher = Stitcher(HEIGHT, WIDTH, 1, views, stride)
    total = np.zeros((HEIGHT // stride, WIDTH // stride), np.float32)
    for one in views:
        cells = one.footprint.in_cells(stride)
        add_to(total, cells, stitcher.weights(one))
        stitcher.add(one, np.full((1, cells.height, cells.width), 7, np.float32))
    np.testing.assert_allclose(total, 1, atol=1e-5)
    np.testing.assert_allclose(stitcher.result(), 7, atol=1e-4)


def test_views_that_leave_the_poles_out_are_refused() -> None:
    with pytest.raises(ValueError, match="do not cover"):
        Stitcher(HEIGHT, WIDTH, 1, [view(yaw) for yaw in range(0, 360, 45)])


def test_places_of_the_centre_and_of_what_lies_behind() -> None:
    one = view(yaw=90, pitch=0)
    y, x = one.coordinates(np.array([HEIGHT / 2]), np.array([0.75 * WIDTH, 0.25 * WIDTH]))
    np.testing.assert_allclose([y[0, 0], x[0, 0]], [48, 48], atol=1e-6)
    assert x[0, 1] > one.width * 2


def test_a_band_is_seen_only_where_it_has_rows() -> None:
    band = PerspectiveView(96, 96, 90, 30, 0, 64, 256, vertical_fov=60)
    assert band.footprint.height == 64
    with pytest.raises(ValueError, match="sees no pixel"):
        _ = PerspectiveView(96, 96, 40, 0, 89, 64, 256, vertical_fov=60).footprint
