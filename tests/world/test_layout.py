"""Scenes from seeds: reproducible, varied, and with ground under everything."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.world import build_scene
from pipeline.world.scene import Label


def test_a_seed_gives_one_scene_and_another_seed_another() -> None:
    first, again, other = build_scene(3), build_scene(3), build_scene(4)
    np.testing.assert_array_equal(first.primitives.centre_N3, again.primitives.centre_N3)
    np.testing.assert_array_equal(first.primitives.base_N3, again.primitives.base_N3)
    assert first.heading == again.heading != other.heading


@pytest.mark.parametrize("seed", [0, 1, 20_000])
def test_a_scene_has_objects_of_many_classes_each_with_one_label(seed: int) -> None:
    shapes = build_scene(seed).primitives
    labels = set(shapes.label_N.tolist())
    assert {Label.BUILDING, Label.POLE, Label.VEGETATION} <= labels
    assert labels <= set(Label)
    for instance in np.unique(shapes.instance_N)[:50]:
        assert len(set(shapes.label_N[shapes.instance_N == instance].tolist())) == 1


@pytest.mark.parametrize("seed", [0, 7])
def test_the_eye_is_above_the_ground(seed: int) -> None:
    scene = build_scene(seed)
    assert -3 < scene.eye_3[1] < -1.2  # y points down, metres
    assert np.isfinite(scene.primitives.half_N3).all() and (scene.primitives.half_N3 > 0).all()
