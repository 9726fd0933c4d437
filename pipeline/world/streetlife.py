"""What stands and moves on road and sidewalk: lamps, lights, signs, cars, trees, people."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.world.builder import Builder, Frame, Vector
from pipeline.world.objects.barriers import add_fence
from pipeline.world.objects.cars import add_car
from pipeline.world.objects.furniture import add_board, add_bollard, add_lamp_post, add_sign, add_traffic_light
from pipeline.world.objects.people import add_person
from pipeline.world.objects.plants import add_tree
from pipeline.world.plan import Plan

_SIDES = (-1, 1)


def _facing(builder: Builder, side: int) -> float:
    """Yaw of a plate's back: plates face the traffic of their lane, some face elsewhere."""
    toward = 0.0 if side > 0 else 180.0
    if builder.rng.random() < 0.25:
        toward += 180.0
    return toward + float(builder.rng.normal(0, 14))


def _along_kerb(
    builder: Builder, plan: Plan, zs: list[float], add: Callable[[Builder, Frame], None], faces_road: bool = False
) -> None:
    """Adds an object behind the kerb at every z, on a random side, where there is room."""
    for z in zs:
        side = int(builder.rng.choice(_SIDES))
        if any(abs(z - c.at) < c.half_width + 0.6 for c in plan.crosses_on(side)):
            continue
        x = side * (plan.half_width + float(builder.rng.uniform(0.35, 0.7)))
        if plan.claim(x, z, 0.35):
            yaw = -90.0 * side if faces_road else _facing(builder, side)
            add(builder, Frame.on_ground(x, z, yaw, -plan.kerb))


def add_furniture(builder: Builder, plan: Plan) -> None:
    """Traffic lights at crossings, then signs, boards, lamp posts and bollards, most of them near the eye."""
    rng = builder.rng
    _add_lights(builder, plan)
    _add_railings(builder, plan)
    near = [float(rng.choice(_SIDES) * rng.uniform(3, 11)) for _ in range(9)]
    far = [float(rng.choice(_SIDES) * rng.uniform(13, 50)) for _ in range(9)]
    _along_kerb(builder, plan, near + far, add_sign)
    _along_kerb(builder, plan, [float(rng.choice(_SIDES) * rng.uniform(6, 25)) for _ in range(2)], add_board)
    spacing, start = float(rng.uniform(12, 22)), float(rng.uniform(0, 12))
    _along_kerb(builder, plan, [start - 60 + spacing * i for i in range(int(120 / spacing))], add_lamp_post, True)
    _along_kerb(builder, plan, [float(rng.choice(_SIDES) * rng.uniform(4, 9)) for _ in range(2)], add_lamp_post, True)
    row = float(rng.uniform(-12, 8))
    _along_kerb(builder, plan, [row + 1.4 * i for i in range(int(rng.integers(3, 9)))], add_bollard)


def _add_lights(builder: Builder, plan: Plan) -> None:
    """Signals at both ends of the zebra crossings, for one or both directions."""
    rng = builder.rng
    for at in plan.zebras:
        for side in _SIDES:
            for direction in _SIDES if rng.random() < 0.5 else (side,):
                x, z = side * (plan.half_width + 0.5), at - direction * 2.2
                if plan.claim(x, z, 0.4):
                    yaw = (0.0 if direction > 0 else 180.0) + float(rng.normal(0, 12))
                    add_traffic_light(builder, Frame.on_ground(x, z, yaw, -plan.kerb))


def _add_railings(builder: Builder, plan: Plan) -> None:
    """Low fences between sidewalk and road."""
    rng = builder.rng
    for _ in range(int(rng.integers(4, 9))):
        side, length = int(rng.choice(_SIDES)), float(rng.uniform(3, 7))
        x, z = side * (plan.half_width + 0.32), float(rng.choice(_SIDES) * rng.uniform(2, 20))
        spots = [z + length * (i / 6 - 0.5) for i in range(7)]
        corner = any(abs(z - c.at) < c.half_width + 3.5 + length / 2 for c in plan.crosses_on(side))
        crossing = plan.on_zebra(z, 2.0 + length / 2)
        if not corner and not crossing and all(plan.is_free(x, spot, 0.2) for spot in spots):
            for spot in spots:
                plan.reserve(x, spot, 0.2)
            place = Frame.on_ground(x, z, 90.0 * side, -plan.kerb)
            add_fence(builder, place, length, float(rng.uniform(0.85, 1.2)))


def add_cars(builder: Builder, plan: Plan) -> None:
    """Parked at the kerbs, driving in the lanes, and on the cross streets."""
    rng = builder.rng
    for side in _SIDES:
        share = float(rng.uniform(0.3, 0.85))
        z = -55.0 + float(rng.uniform(0, 5))
        while z < 55:
            near_corner = plan.in_junction(z, 5.0) or plan.on_zebra(z, 4.2)
            if rng.random() < share and not near_corner:
                _car(builder, plan, side * (plan.half_width - 1.1), z, 0.0 if side > 0 else 180.0)
            z += float(rng.uniform(5.3, 8.5))
    for _ in range(int(rng.integers(4, 10))):
        side = int(rng.choice(_SIDES))
        x = side * plan.half_width * float(rng.uniform(0.25, 0.4))
        _car(builder, plan, x, float(rng.choice(_SIDES) * rng.uniform(4.5, 35)), 0.0 if side > 0 else 180.0)
    for cross in plan.crosses:
        for _ in range(3):
            x = float(rng.uniform(-30, 30))
            if cross.side * x >= 0:
                lane = int(rng.choice(_SIDES))
                _car(builder, plan, x, cross.at + lane * cross.half_width * 0.5, 90.0 * -lane)


def _car(builder: Builder, plan: Plan, x: float, z: float, yaw: float) -> None:
    """A car if its two ends and middle find room; small deviations from the lane."""
    rng = builder.rng
    frame = Frame.on_ground(x, z, yaw + float(rng.normal(0, 3)) + (180.0 if rng.random() < 0.15 else 0.0))
    spots = [frame.point((0, 0, shift)) for shift in (-1.5, 0, 1.5)]
    if all(plan.is_free(a, b, 1.15) for a, _, b in spots):
        for a, _, b in spots:
            plan.reserve(a, b, 1.05)
        add_car(builder, frame)


def add_street_trees(builder: Builder, plan: Plan) -> None:
    """A row of trees behind one or both kerbs."""
    rng = builder.rng
    for side in _SIDES:
        if plan.sidewalk(side) < 2.5 or rng.random() < 0.2:
            continue
        spacing = float(rng.uniform(5, 9.5))
        z = -55.0 + float(rng.uniform(0, 8))
        while z < 55:
            corner = any(abs(z - c.at) < c.half_width + 2 for c in plan.crosses_on(side))
            x = side * (plan.half_width + (plan.verges[side > 0] / 2 + 0.15 or 0.8))
            if not corner and abs(z) > 2.5 and plan.claim(x, z, 0.45):
                add_tree(
                    builder, Frame.on_ground(x, z, float(rng.uniform(0, 360)), -plan.kerb), float(rng.uniform(5, 11))
                )
            z += spacing * float(rng.uniform(0.85, 1.2))


def add_people(builder: Builder, plan: Plan, eye: Vector) -> None:
    """On the sidewalks, on the zebra crossings, some on the road; more of them near the eye, some in groups."""
    rng = builder.rng
    for _ in range(int(rng.integers(12, 21))):
        z = eye[2] + float(rng.choice(_SIDES) * (2.6 + rng.gamma(1.7, 5.0)))
        side = int(rng.choice(_SIDES))
        x = side * (plan.half_width + plan.sidewalk(side) * float(rng.uniform(0.2, 0.9)))
        if any(abs(z - c.at) < c.half_width + 0.5 for c in plan.crosses_on(side)):
            continue
        for _ in range(1 + int(rng.random() < 0.35)):
            _person(builder, plan, x, z, -plan.kerb)
            x, z = x + float(rng.normal(0, 0.5)), z + 0.7
    for at in plan.zebras:
        for _ in range(int(rng.integers(0, 4))):
            x = float(rng.uniform(-0.9, 0.9)) * plan.half_width
            _person(builder, plan, x, at + float(rng.uniform(-1.2, 1.2)), 0.0, 90.0)
    for _ in range(2):
        x = float(rng.uniform(-1, 1)) * (plan.half_width - 0.5)
        _person(builder, plan, x, float(rng.choice(_SIDES) * rng.uniform(4, 18)), 0.0)


def _person(builder: Builder, plan: Plan, x: float, z: float, y: float, yaw: float = 0.0) -> None:
    """A person who walks along `yaw` or against it, if there is room."""
    rng = builder.rng
    if plan.claim(x, z, 0.3):
        turn = yaw + float(rng.choice((0, 180))) + float(rng.normal(0, 25))
        if rng.random() < 0.25:
            turn = float(rng.uniform(0, 360))
        add_person(builder, Frame.on_ground(x, z, turn, y))
