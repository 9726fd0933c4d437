from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.adapt.visibility import LATTICE, overlap, sample_logits, visible_pixels
from pipeline.panorama.config import ViewsConfig
from pipeline.panorama.perspective import perspective_views
from pipeline.panorama.views import View
from pipeline.panorama.windows import Window
from pipeline.teacher.rectification import stride_of

HEIGHT, WIDTH = 64, 128
LOOKS = perspective_views(HEIGHT, WIDTH, 180, ViewsConfig(level=4, down=2, up=0, nadir=1, zenith=0, size=32))


def pixels_of(view: View) -> set[int]:
    """The pixels on the lattice that a view sees, by its own projection."""
    seen_fg = view.project_nearest(np.ones((view.height, view.width), np.bool_))
    found: set[int] = set()
    for row, column in zip(*np.nonzero(seen_fg), strict=True):
        y, x = view.footprint.row + int(row), (view.footprint.column + int(column)) % WIDTH
        if y % LATTICE == 0 == x % LATTICE:
            found.add(y * WIDTH + x)
    return found


@pytest.mark.parametrize("view", [Window(0, 0, 64, 128), Window(32, 100, 32, 64), Window(17, 33, 32, 32), *LOOKS])
def test_a_sight_is_what_the_view_projects_back(view: View):
    sight = visible_pixels(view, HEIGHT, WIDTH)
    assert set(sight.pixels_N.tolist()) == pixels_of(view)
    assert (np.diff(sight.pixels_N) > 0).all()
    assert sight.places_N2.min() > 0 and sight.places_N2.max() < 1


@pytest.mark.parametrize("view", [Window(32, 100, 32, 64), LOOKS[0], LOOKS[-1]])
def test_places_are_where_the_pixels_lie_in_the_image(view: View):
    columns_HW = np.broadcast_to(np.arange(WIDTH), (HEIGHT, WIDTH))
    sight = visible_pixels(view, HEIGHT, WIDTH)
    x_N, y_N = (sight.places_N2 * (view.width, view.height)).astype(int).T
    off = np.abs(view.cut_nearest(columns_HW)[y_N, x_N] - sight.pixels_N % WIDTH)
    assert np.median(np.minimum(off, WIDTH - off)) <= 1


def test_logits_at_places_are_those_of_the_enlarged_map():
    """Of a window at another scale than its own, as stage one enlarges them."""
    logits_Chw = torch.randn(3, 12, 24, generator=torch.Generator().manual_seed(0))  # 48x96 seen, of a 32x64 window
    window = Window(16, 100, 32, 64)
    sight = visible_pixels(window, HEIGHT, WIDTH)
    found_CN = sample_logits(logits_Chw, torch.tensor(sight.places_N2), (48 / 4, 96 / 4))
    larger_Chw = torch.nn.functional.interpolate(logits_Chw[None], size=(32, 64), mode="bilinear")[0]
    rows_N, columns_N = np.divmod(sight.pixels_N, WIDTH)
    expected_CN = larger_Chw[:, rows_N - 16, (columns_N - 100) % WIDTH]
    torch.testing.assert_close(found_CN, expected_CN, atol=1e-5, rtol=1e-5)


def test_cells_beyond_the_image_are_not_stretched_into_it():
    logits_Chw = torch.arange(9.0).repeat(1, 8, 1)  # of an image of 34 columns: the ninth cell is half outside
    found_CN = sample_logits(logits_Chw, torch.tensor([[6 / 34, 0.5], [2 / 34, 0.5]]), (8.0, 34 / 4))
    torch.testing.assert_close(found_CN, torch.tensor([[1.0, 0.0]]), atol=1e-5, rtol=0)
    assert stride_of((8, 9), (32, 34)) == 4


def test_an_overlap_is_the_same_pixels_in_both():
    first, second = (
        visible_pixels(Window(0, 96, 64, 64), HEIGHT, WIDTH),
        visible_pixels(Window(0, 0, 64, 64), HEIGHT, WIDTH),
    )
    in_first, in_second = overlap(first, second)
    np.testing.assert_array_equal(first.pixels_N[in_first], second.pixels_N[in_second])
    assert len(in_first) == 32 * 64 // LATTICE**2  # over the seam


def test_nothing_beyond_a_band_is_seen():
    band = perspective_views(32, WIDTH, 90, ViewsConfig(level=1, down=0, up=0, nadir=0, zenith=0, size=32, fov=120))[0]
    sight = visible_pixels(band, 32, WIDTH)
    assert sight.pixels_N.min() >= 0 and sight.pixels_N.max() < 32 * WIDTH
    assert len(sight.pixels_N) < 32 * 32  # fewer than the picture has pixels: its top and bottom see nothing
