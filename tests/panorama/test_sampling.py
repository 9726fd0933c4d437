"""Perspective views: against an analytic world, py360convert, and the exact symmetries of the sphere."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import py360convert
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.panorama.sampling import PerspectiveSampler
from pipeline.panorama.sphere import angles_from_rays, panorama_coordinates, panorama_rays, perspective_rays

H, W = 256, 512
VIEWS = [(0, 0, 0), (179.5, 0, 0), (30, 40, 0), (-100, 90, 0), (20, -88, 0), (45, 10, 30), (-725.25, -60, -170)]


def world(rays: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """A smooth colour per direction, 0..255."""
    x, y, z = np.moveaxis(rays, -1, 0)
    red = 128 + 100 * np.sin(5 * x + 2 * y) * np.cos(3 * z)
    return np.stack((red, 128 + 100 * y * x, 128 + 100 * np.cos(7 * z + x)), axis=-1)


def panorama(vertical_fov: float = 180, height: int = H) -> npt.NDArray[np.uint8]:
    return np.rint(world(panorama_rays(height, W, vertical_fov))).astype(np.uint8)


def sampler(
    yaw: float = 0,
    pitch: float = 0,
    roll: float = 0,
    fov: float = 90,
    size: tuple[int, int] = (64, 96),
    panorama_height: int = H,
    vertical_fov: float = 180,
) -> PerspectiveSampler:
    return PerspectiveSampler(*size, fov, yaw, pitch, roll, panorama_height, W, vertical_fov)


@pytest.mark.parametrize("view", VIEWS)
def test_views_show_the_world(view: tuple[float, float, float]) -> None:
    truth = world(perspective_rays(64, 96, 90, *view))
    # Half a grey level of rounding in the panorama and in the view, and what bilinear loses of a smooth function.
    np.testing.assert_allclose(sampler(*view).image(panorama()), truth, atol=1.5)


@pytest.mark.parametrize("view", VIEWS)
def test_views_are_nearer_to_the_world_than_those_of_py360convert(view: tuple[float, float, float]) -> None:
    yaw, pitch, roll = view
    truth = world(perspective_rays(64, 64, 90, *view))
    ours = sampler(*view, size=(64, 64)).image(panorama())
    theirs = py360convert.e2p(panorama(), (90, 90), yaw, pitch, (64, 64), in_rot_deg=roll)
    error, their_error = (np.abs(v.astype(float) - truth).mean() for v in (ours, theirs))
    assert error < 0.4
    assert error < 0.5 * their_error
    assert their_error < 4  # theirs places pixels up to half a pixel off, but looks the same way


def exact_view(image_HW3: npt.NDArray[np.uint8], rays_hw3: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Bilinear in float64, each pixel for itself; beyond a pole lies the same row, half a turn away."""
    height, width = image_HW3.shape[:2]
    row_hw, column_hw = panorama_coordinates(rays_hw3, height, width)
    upper, left = np.floor(row_hw).astype(int), np.floor(column_hw).astype(int)
    down, right = (row_hw - upper)[..., None], (column_hw - left)[..., None]

    def at(rows: npt.NDArray[np.int_], columns: npt.NDArray[np.int_]) -> npt.NDArray[np.uint8]:
        beyond = (rows < 0) | (rows >= height)
        return image_HW3[rows.clip(0, height - 1), (columns + np.where(beyond, width // 2, 0)) % width]

    above = at(upper, left) * (1 - right) + at(upper, left + 1) * right
    below = at(upper + 1, left) * (1 - right) + at(upper + 1, left + 1) * right
    return above * (1 - down) + below * down


@pytest.mark.parametrize("view", [*VIEWS, (180, 85, 20), (-179, 60, 90)])
@pytest.mark.parametrize("fov", [20, 120])
def test_images_of_noise_are_exact_to_a_64th_of_a_pixel(view: tuple[float, float, float], fov: float) -> None:
    noise = np.random.default_rng(2).integers(0, 256, (512, 1024, 3), dtype=np.uint8)
    seen = PerspectiveSampler(250, 333, fov, *view, 512, 1024).image(noise)
    # Neighbours differ by 255 at most, a 64th of it in either direction; and the view's own rounding.
    np.testing.assert_allclose(seen, exact_view(noise, perspective_rays(250, 333, fov, *view)), atol=255 / 32 + 0.6)


def test_a_view_over_the_seam_is_the_view_before_it_turned() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (H, W, 3), dtype=np.uint8)
    for columns in (100, W // 2, 400):
        turned = sampler(yaw=columns * 360 / W).image(noise)
        rolled = sampler(yaw=0).image(np.roll(noise, -columns, axis=1))
        # Rounding in float32 may take a colour over the border between two grey levels.
        assert np.abs(turned.astype(int) - rolled).max() <= 1


@pytest.mark.parametrize("pitch", [90, -90])
def test_a_view_of_a_pole_has_no_hole_and_no_seam(pitch: float) -> None:
    coarse = panorama(height=128)
    view = sampler(pitch=pitch, fov=1.4, panorama_height=128).image(coarse)  # within half a row of the pole
    np.testing.assert_allclose(view, world(perspective_rays(64, 96, 1.4, 0, pitch)), atol=1.5)


@pytest.mark.parametrize("view", VIEWS)
def test_labels_are_those_of_the_nearest_pixel(view: tuple[float, float, float]) -> None:
    labels = np.random.default_rng(1).integers(0, 19, (H, W), dtype=np.uint8)
    yaw, pitch = angles_from_rays(perspective_rays(64, 96, 90, *view))
    rows = np.floor((0.5 - pitch / np.pi) * H).clip(0, H - 1).astype(int)  # the pixel whose area holds the ray
    columns = np.floor((yaw / (2 * np.pi) + 0.5) * W).astype(int) % W
    seen = labels.reshape(-1)[sampler(*view).nearest_hw]
    assert (seen == labels[rows, columns]).mean() > 0.999


def test_beyond_a_band_nothing_is_seen() -> None:
    band = sampler(yaw=170, pitch=20, fov=100, panorama_height=100, vertical_fov=70.3)
    _, pitch = angles_from_rays(perspective_rays(64, 96, 100, 170, 20))
    expected = np.abs(np.degrees(pitch)) <= 70.3 / 2
    np.testing.assert_array_equal(band.inside_hw, expected)
    assert 0 < expected.mean() < 1
    image = band.image(panorama(70.3, 100))
    truth = world(perspective_rays(64, 96, 100, 170, 20))
    assert (image[~expected] == 0).all()
    np.testing.assert_allclose(image[expected], truth[expected], atol=3)
    assert set(band.nearest_hw[~expected] // W) <= {0, 99}


@settings(max_examples=60)
@given(
    st.floats(-400, 400), st.floats(-90, 90), st.floats(-180, 180), st.floats(1, 170), st.floats(10, 180),
    st.integers(0, 255), st.integers(4, 9), st.integers(5, 20),
)  # fmt: skip
def test_any_view_of_a_uniform_panorama_is_uniform(
    yaw: float, pitch: float, roll: float, fov: float, vertical_fov: float, value: int, height: int, width: int
) -> None:
    view = PerspectiveSampler(7, 5, fov, yaw, pitch, roll, height, width, vertical_fov)
    image = view.image(np.full((height, width, 3), value, np.uint8))
    assert (image[view.inside_hw] == value).all() and (image[~view.inside_hw] == 0).all()
    assert vertical_fov < 180 or view.inside_hw.all()


def test_grids_are_shared_and_read_only() -> None:
    first, second = sampler(33), sampler(33)
    assert first.inside_hw is second.inside_hw
    with pytest.raises(ValueError):
        first.inside_hw[0, 0] = False


def test_a_panorama_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="this sampler is for"):
        sampler().image(np.zeros((H, W + 2, 3), np.uint8))


def test_a_panorama_of_floats_is_refused() -> None:
    view = PerspectiveSampler(8, 8, 90, 0, 0, 0, 16, 32)
    with pytest.raises(ValueError, match="sampler is for uint8"):
        view.image(np.ones((16, 32, 3), np.float32))  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [(0, 4), (4, 0), (-1, 4)])
def test_a_view_without_pixels_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"the view is {size[1]}x{size[0]}; it must have at least"):
        sampler(size=size).image(panorama())


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (3 * H, 2 * W)])
def test_a_view_may_be_one_pixel_or_larger_than_the_panorama(size: tuple[int, int]) -> None:
    assert sampler(size=size).image(panorama()).shape == (*size, 3)
