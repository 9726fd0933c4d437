"""Windows cover the panorama, wrap over the seam, and stitch back to what was cut."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.panorama.config import WindowConfig
from pipeline.panorama.views import Stitcher
from pipeline.panorama.windows import Window, add_to, blend_weights, cut, missing_overlap, window_grid


@st.composite
def grids(draw: st.DrawFn) -> tuple[int, int, WindowConfig]:
    height, width = draw(st.integers(8, 150)), 32 * draw(st.integers(2, 8))
    h, w = draw(st.integers(32, 160)), draw(st.integers(32, 200))
    stride_y, stride_x = 32 * draw(st.integers(1, h // 32)), 32 * draw(st.integers(1, w // 32))
    return height, width, WindowConfig(height=h, width=w, stride_y=stride_y, stride_x=stride_x)


def stitch(image_CHW: npt.NDArray[np.float32], windows: tuple[Window, ...]) -> npt.NDArray[np.float32]:
    channels, height, width = image_CHW.shape
    stitcher = Stitcher(height, width, channels, windows)
    for window in windows:
        stitcher.add(window, cut(image_CHW, window, axis=1))
    return stitcher.result()


def smooth(
    windows_said: list[npt.NDArray[np.float32]], windows: tuple[Window, ...], shape: tuple[int, int]
) -> npt.NDArray[np.float32]:
    stitcher = Stitcher(*shape, 1, windows)
    for window, said_hw in zip(windows, windows_said, strict=True):
        stitcher.add(window, said_hw[None])
    return stitcher.result()[0]


def test_densepass_gets_eight_full_height_windows() -> None:
    windows = window_grid(400, 2048, WindowConfig())
    assert [(w.row, w.column, w.height, w.width) for w in windows] == [(0, 256 * k, 400, 512) for k in range(8)]


def test_the_figures_geometry_has_rows_of_overlapping_windows() -> None:
    windows = window_grid(256, 512, WindowConfig(height=128, width=128, stride_y=64, stride_x=64))
    assert {w.row for w in windows} == {0, 64, 128}
    assert [w.column for w in windows if w.row == 64] == list(range(0, 512, 64))


def test_the_last_row_is_moved_up_to_end_at_the_bottom() -> None:
    rows = sorted({w.row for w in window_grid(400, 64, WindowConfig(256, 64, 128, 32))})
    assert rows == [0, 128, 144]


def test_a_stride_that_does_not_divide_the_circle_is_rounded_up() -> None:
    columns = [w.column for w in window_grid(64, 320, WindowConfig(64, 128, 64, 96))]
    assert columns == [0, 96, 192, 288]


def test_a_window_as_wide_as_the_panorama_needs_one_column() -> None:
    assert window_grid(64, 128, WindowConfig(64, 256, 32, 32)) == (Window(0, 0, 64, 128),)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (WindowConfig(64, 64, 32, 32), []),
        (WindowConfig(64, 64, 32, 64), ["side by side do not overlap (windows.stride_x is 64"]),
        (WindowConfig(64, 64, 64, 32), ["above the other do not overlap (windows.stride_y is 64"]),
        (WindowConfig(64, 64, 64, 64), ["windows.stride_x", "windows.stride_y"]),
        (WindowConfig(128, 64, 128, 32), []),
        (WindowConfig(256, 64, 32, 32), []),
        (WindowConfig(64, 256, 32, 32), ["one window (windows.width is 256) holds the whole width"]),
        (WindowConfig(64, 512, 32, 512), ["of the panorama (256): windows do not wrap around the seam"]),
    ],
)
def test_windows_that_have_no_neighbour_to_overlap_are_reported(config: WindowConfig, expected: list[str]) -> None:
    """In a panorama of 128 x 256 pixels."""
    sentences = missing_overlap(128, 256, config)
    assert len(sentences) == len(expected)
    assert all(part in sentence for part, sentence in zip(expected, sentences, strict=True))


@given(st.integers(1, 10), st.sampled_from([1, 2, 4, 8]))
def test_windows_share_pixels_where_there_is_no_note(w: int, stride: int) -> None:
    """Side by side, with strides that divide the circle, as a recipe's must."""
    height, width = 32, 256
    config = WindowConfig(height, 32 * max(w, stride), 32, 32 * stride)
    seen = np.zeros((height, width), np.int32)
    for window in window_grid(height, width, config):
        add_to(seen, window, np.ones((window.height, window.width), np.int32))
    assert (seen.max() > 1) == (not missing_overlap(height, width, config))


@settings(max_examples=30)
@given(grids())
def test_windows_lie_inside_and_a_constant_stitches_to_the_constant(grid: tuple[int, int, WindowConfig]) -> None:
    height, width, config = grid
    windows = window_grid(height, width, config)
    assert all(w.row >= 0 and w.row + w.height <= height and 0 <= w.column < width for w in windows)
    stitched = stitch(np.full((2, height, width), 0.3, np.float32), windows)
    np.testing.assert_allclose(stitched, 0.3, rtol=1e-5)


@settings(max_examples=20)
@given(grids())
def test_every_shape_of_windows_covers_the_panorama_on_its_own(grid: tuple[int, int, WindowConfig]) -> None:
    height, width, config = grid
    both = window_grid(height, width, replace(config, more=((64, 32, 32, 32),)))
    first, second = window_grid(height, width, config), window_grid(height, width, WindowConfig(64, 32, 32, 32))
    assert both == (*first, *second)
    assert missing_overlap(height, width, replace(config, more=((64, 32, 32, 32),))) == ()


@given(grids(), st.integers(0, 2**16))
def test_what_is_cut_is_what_is_stitched(grid: tuple[int, int, WindowConfig], seed: int) -> None:
    height, width, config = grid
    image = np.random.default_rng(seed).random((1, height, width), np.float32)
    np.testing.assert_allclose(stitch(image, window_grid(height, width, config)), image, atol=1e-6)


@settings(max_examples=20)
@given(st.integers(0, 7), st.integers(0, 2**16))
def test_rolling_by_a_stride_rolls_the_stitched_result(steps: int, seed: int) -> None:
    """With a window's values depending on the window's content alone (here: its mean and its own ramp)."""
    windows = window_grid(48, 256, WindowConfig(48, 64, 32, 32))
    image = np.random.default_rng(seed).random((48, 256)).astype(np.float32)

    def run(panorama: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        ramp = np.linspace(0, 1, 64, dtype=np.float32)
        return smooth([cut(panorama, w) * ramp + cut(panorama, w).mean() for w in windows], windows, (48, 256))

    np.testing.assert_allclose(run(np.roll(image, 32 * steps, axis=1)), np.roll(run(image), 32 * steps, 1), atol=1e-5)


def test_the_seam_is_no_break() -> None:
    """Windows that contradict each other blend as smoothly across the seam as anywhere else."""
    windows = window_grid(32, 256, WindowConfig(32, 64, 32, 32))
    values = [np.full((32, 64), float(i % 2), np.float32) for i in range(len(windows))]
    row = smooth(values, windows, (32, 256))[16]
    steps = np.abs(np.diff(row, append=row[:1]))
    assert steps[-1] <= np.median(steps) * 2
    assert steps.max() < 0.06


def test_cut_wraps_over_the_seam_like_modular_indexing() -> None:
    image_HW3 = np.arange(6 * 10 * 3).reshape(6, 10, 3)
    window = Window(1, 8, 4, 5)
    expected = image_HW3[1:5][:, [8, 9, 0, 1, 2]]
    np.testing.assert_array_equal(cut(image_HW3, window), expected)
    np.testing.assert_array_equal(cut(image_HW3.transpose(2, 0, 1), window, axis=1), expected.transpose(2, 0, 1))


@pytest.mark.parametrize("column", [-2, 8, 18])
def test_columns_are_taken_modulo_the_width(column: int) -> None:
    image = np.arange(6 * 10).reshape(6, 10)
    np.testing.assert_array_equal(cut(image, Window(1, column, 4, 5)), image[1:5][:, [8, 9, 0, 1, 2]])


@pytest.mark.parametrize("row", [-1, 5])
def test_rows_beyond_the_panorama_are_refused(row: int) -> None:
    window = Window(row, 0, 4, 4)
    with pytest.raises(ValueError, match="not inside the 8"):
        cut(np.zeros((8, 16)), window)
    with pytest.raises(ValueError, match="not inside the 8"):
        add_to(np.zeros((3, 8, 16)), window, np.ones((3, 4, 4)))


def test_a_forgotten_axis_is_noticed() -> None:
    with pytest.raises(ValueError, match="not inside the 3"):
        cut(np.zeros((3, 8, 16)), Window(0, 0, 4, 4))


def test_a_cut_is_a_copy() -> None:
    image = np.zeros((4, 8), np.uint8)
    cut(image, Window(0, 0, 4, 4))[:] = 1
    assert not image.any()


def test_weights_are_positive_and_flat_towards_top_and_bottom() -> None:
    top, bottom = blend_weights(Window(0, 0, 32, 32), 64, 128), blend_weights(Window(32, 0, 32, 32), 64, 128)
    assert top.min() > 0
    assert bottom.min() > 0
    assert np.ptp(top[:16, 16]) == 0
    assert np.ptp(bottom[16:, 16]) == 0
    assert np.all(np.diff(top[16:, 16]) < 0)
    np.testing.assert_array_equal(top, bottom[::-1])


def test_half_overlapping_weights_sum_to_one_between_the_borders() -> None:
    weights = blend_weights(Window(0, 0, 8, 64), 8, 128)[0]
    np.testing.assert_allclose(weights[:32] + weights[32:], 1, atol=1e-6)


def test_a_left_out_window_is_noticed() -> None:
    windows = window_grid(32, 64, WindowConfig(32, 32, 32, 32))
    stitcher = Stitcher(32, 64, 1, windows)
    stitcher.add(windows[0], np.ones((1, 32, 32), np.float32))
    with pytest.raises(ValueError, match="1 views are left"):
        stitcher.result()


def test_a_window_added_in_the_place_of_another_is_noticed() -> None:
    windows = window_grid(32, 64, WindowConfig(32, 32, 32, 32))
    stitcher = Stitcher(32, 64, 1, windows)
    for _ in windows:
        stitcher.add(windows[0], np.ones((1, 32, 32), np.float32))
    with pytest.raises(ValueError, match="1 views are left to add, 1 were added too often"):
        stitcher.result()


@pytest.mark.parametrize("shape", [(32, 32), (1, 32, 32), (32, 32, 2), (2, 32, 16)])
def test_values_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    windows = window_grid(32, 64, WindowConfig(32, 32, 32, 32))
    with pytest.raises(ValueError, match=r"here \(2, 32, 32\)"):
        Stitcher(32, 64, 2, windows).add(windows[0], np.ones(shape, np.float32))


def test_windows_that_leave_a_gap_are_refused() -> None:
    with pytest.raises(ValueError, match="do not cover"):
        Stitcher(32, 64, 1, [Window(0, 0, 32, 32)])


@settings(max_examples=20)
@given(grids(), st.sampled_from((4, 8, 16, 32)))
def test_windows_in_cells_cover_the_cells(grid: tuple[int, int, WindowConfig], stride: int) -> None:
    height, width, config = grid
    cells = [w.in_cells(stride) for w in window_grid(height, width, config)]
    seen = np.zeros((-(-height // stride), width // stride), np.bool_)
    for cell_window in cells:
        add_to(seen, cell_window, np.ones((cell_window.height, min(cell_window.width, seen.shape[1])), np.bool_))
    assert seen.all()


def test_added_flags_wrap() -> None:
    panorama = np.zeros((2, 6), np.bool_)
    add_to(panorama, Window(0, 4, 2, 4), np.array([[1, 0, 0, 1], [0, 0, 0, 0]], np.bool_))
    np.testing.assert_array_equal(np.argwhere(panorama), [[0, 1], [0, 4]])
