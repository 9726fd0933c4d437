"""Objects of the street: one instance each, of their class, standing on the ground, about as high as given."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from pipeline.world.builder import Builder, Frame
from pipeline.world.objects.barriers import add_fence, add_wall
from pipeline.world.objects.buildings import add_building
from pipeline.world.objects.cars import add_car
from pipeline.world.objects.furniture import add_bollard, add_lamp_post, add_sign, add_traffic_light
from pipeline.world.objects.people import add_person
from pipeline.world.objects.plants import add_bush, add_hedge, add_tree
from pipeline.world.scene import Label

Add = Callable[[Builder, Frame], object]
OBJECTS: dict[str, tuple[Add, Label, tuple[float, float]]] = {
    "building": (partial(add_building, width=8, depth=6, height=9), Label.BUILDING, (8, 20)),
    "car": (add_car, Label.CAR, (1, 3)),
    "person": (add_person, Label.PERSON, (0.8, 2.5)),
    "tree": (partial(add_tree, height=8), Label.VEGETATION, (5, 14)),
    "bush": (partial(add_bush, size=1), Label.VEGETATION, (0.4, 3)),
    "hedge": (partial(add_hedge, length=5, height=1.2), Label.VEGETATION, (0.8, 2.5)),
    "wall": (partial(add_wall, length=5, height=2), Label.WALL, (1.5, 3)),
    "fence": (partial(add_fence, length=5, height=1.5), Label.FENCE, (1, 2.5)),
    "lamp post": (add_lamp_post, Label.POLE, (3, 12)),
    "bollard": (add_bollard, Label.POLE, (0.4, 2)),
}


@pytest.mark.parametrize(("add", "label", "heights"), OBJECTS.values(), ids=OBJECTS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_an_object_is_of_its_class_and_size_and_stands_where_it_was_put(
    add: Add, label: Label, heights: tuple[float, float], seed: int
) -> None:
    builder = Builder(np.random.default_rng(seed))
    add(builder, Frame.on_ground(30, -20, yaw=40))
    shapes = builder.primitives()
    assert label in shapes.label_N.tolist()
    corners_n3 = shapes.corners_N83[shapes.label_N == label].reshape(-1, 3)
    lowest, highest = corners_n3[:, 1].max(), -corners_n3[:, 1].min()  # y points down
    assert -0.5 < lowest < 1.5
    assert heights[0] < highest < heights[1]
    assert np.hypot(corners_n3[:, 0] - 30, corners_n3[:, 2] + 20).min() < 5


@pytest.mark.parametrize(("add", "label"), [(add_sign, Label.TRAFFIC_SIGN), (add_traffic_light, Label.TRAFFIC_LIGHT)])
def test_signs_and_lights_hang_on_posts_of_their_own_class(add: Add, label: Label) -> None:
    builder = Builder(np.random.default_rng(0))
    add(builder, Frame.on_ground(0, 0))
    labels = builder.primitives().label_N.tolist()
    assert {label, Label.POLE} == set(labels)
