"""What the demo's networks are trained on: perspective views of three cameras, equal for equal seeds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline.classes import DENSEPASS_13
from pipeline.world import build_scene, render_perspective
from scripts import demo_data
from scripts.demo_data import CAMERAS, Batch, Camera, render_views

SEEDS, PER_SCENE, SIZE = (100_000, 100_001), 4, 24
SMALL = {kind: replace(camera, size=SIZE) for kind, camera in CAMERAS.items()}
SKY = DENSEPASS_13.names.index("sky")


@pytest.fixture(scope="module")
def level() -> Batch:
    return render_views(SMALL["views"], SEEDS, PER_SCENE)


@pytest.fixture(scope="module")
def tilted() -> Batch:
    return render_views(SMALL["tilted"], SEEDS, PER_SCENE)


@pytest.mark.slow
def test_tilted_views_show_less_sky_than_level_ones(level: Batch, tilted: Batch) -> None:
    assert len(tilted) == len(level) == len(SEEDS) * PER_SCENE
    assert 0 < (tilted.labels_NHW == SKY).mean() < (level.labels_NHW == SKY).mean()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tilted", "wide"])
def test_these_views_look_anywhere_from_the_ground_to_the_roofs(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pitches: list[float] = []

    def recorded(*arguments: float, pitch: float, **rest: float) -> object:
        pitches.append(pitch)
        return render_perspective(*arguments, pitch=pitch, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(demo_data, "render_perspective", recorded)
    render_views(replace(CAMERAS[kind], size=2), SEEDS[:1], per_scene=40)
    assert -75 <= min(pitches) < -60
    assert 15 < max(pitches) <= 30


def test_wide_views_show_about_the_pixels_per_radian_of_a_panorama() -> None:
    panorama = 2 * demo_data.PANORAMA_HEIGHT / (2 * np.pi)
    camera = CAMERAS["wide"]
    narrow, wide = (camera.size / 2 / np.tan(np.radians(fov / 2)) for fov in camera.fov_range)
    assert wide < panorama < narrow
    assert narrow / wide < 2


@pytest.mark.slow
@pytest.mark.parametrize("camera", SMALL.values(), ids=SMALL)
def test_equal_seeds_give_equal_views_and_others_do_not(camera: Camera) -> None:
    once, again, other = (render_views(camera, [seed], 2) for seed in (100_000, 100_000, 100_001))
    for name, values in vars(once).items():
        np.testing.assert_array_equal(values, getattr(again, name))
    assert (once.images_NHW3 != other.images_NHW3).any()


@pytest.mark.slow
def test_level_views_are_drawn_from_a_stream_of_their_own_that_no_other_kind_moves(level: Batch) -> None:
    """Networks and figures that were published rest on these views: yaw, field of view and pitch, in this order."""
    views = iter(zip(level.images_NHW3, level.labels_NHW, strict=True))
    for seed in SEEDS:
        scene, rng = build_scene(seed), np.random.default_rng((seed, 1))
        start = rng.uniform(0, 360)
        for turn in range(PER_SCENE):
            yaw = start + 360 * (turn + rng.uniform()) / PER_SCENE
            fov, pitch = rng.uniform(50, 80), rng.normal(0, 6)
            expected = render_perspective(scene, SIZE, SIZE, fov, yaw=yaw, pitch=pitch)
            image, labels = next(views)
            np.testing.assert_array_equal(image, expected.image_HW3)
            np.testing.assert_array_equal(labels, expected.labels_HW)


def test_level_and_tilted_views_of_a_scene_are_different_ones(level: Batch, tilted: Batch) -> None:
    for one in level.labels_NHW:
        assert all((one != other).any() for other in tilted.labels_NHW)
