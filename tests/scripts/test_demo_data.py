"""What the demo's networks are trained on: level and tilted views, equal for equal seeds."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.classes import DENSEPASS_13
from pipeline.world import build_scene, render_perspective
from scripts import demo_data
from scripts.demo_data import FOV_RANGE, PITCH_DEVIATION, TILTED_PITCH, Batch, render_tilted, render_views

SEEDS, PER_SCENE, SIZE = (100_000, 100_001), 4, 24
SKY = DENSEPASS_13.names.index("sky")


@pytest.fixture(scope="module")
def level() -> Batch:
    return render_views(SEEDS, PER_SCENE, SIZE)


@pytest.fixture(scope="module")
def tilted() -> Batch:
    return render_tilted(SEEDS, PER_SCENE, SIZE)


def test_tilted_views_show_less_sky_than_level_ones(level: Batch, tilted: Batch) -> None:
    assert len(tilted) == len(level) == len(SEEDS) * PER_SCENE
    assert 0 < (tilted.labels_NHW == SKY).mean() < (level.labels_NHW == SKY).mean()


def test_tilted_views_look_anywhere_from_the_ground_to_the_roofs(monkeypatch: pytest.MonkeyPatch) -> None:
    pitches: list[float] = []

    def recorded(*arguments: float, pitch: float, **rest: float) -> object:
        pitches.append(pitch)
        return render_perspective(*arguments, pitch=pitch, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(demo_data, "render_perspective", recorded)
    render_tilted(SEEDS[:1], per_scene=40, size=2)
    low, high = TILTED_PITCH
    assert low <= min(pitches) < low + 15
    assert high - 15 < max(pitches) <= high


@pytest.mark.parametrize("render", [render_views, render_tilted])
def test_equal_seeds_give_equal_views_and_others_do_not(render: type[Batch]) -> None:
    once, again, other = (render([seed], 2, SIZE) for seed in (100_000, 100_000, 100_001))  # type: ignore[call-arg]
    for name, values in vars(once).items():
        np.testing.assert_array_equal(values, getattr(again, name))
    assert (once.images_NHW3 != other.images_NHW3).any()


def test_level_views_are_drawn_from_a_stream_of_their_own_that_no_other_kind_moves(level: Batch) -> None:
    """Networks and figures that were published rest on these views: yaw, field of view and pitch, in this order."""
    views = iter(zip(level.images_NHW3, level.labels_NHW, strict=True))
    for seed in SEEDS:
        scene, rng = build_scene(seed), np.random.default_rng((seed, 1))
        start = rng.uniform(0, 360)
        for turn in range(PER_SCENE):
            yaw = start + 360 * (turn + rng.uniform()) / PER_SCENE
            fov, pitch = rng.uniform(*FOV_RANGE), rng.normal(0, PITCH_DEVIATION)
            expected = render_perspective(scene, SIZE, SIZE, fov, yaw=yaw, pitch=pitch)
            image, labels = next(views)
            np.testing.assert_array_equal(image, expected.image_HW3)
            np.testing.assert_array_equal(labels, expected.labels_HW)


def test_level_and_tilted_views_of_a_scene_are_different_ones(level: Batch, tilted: Batch) -> None:
    for one in level.labels_NHW:
        assert all((one != other).any() for other in tilted.labels_NHW)
