"""Ray casting: trying shapes only where they can appear, nearest first, finds what trying all of them finds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from pipeline.world.builder import Builder, Frame, Look
from pipeline.world.camera import PanoramaCamera, PinholeCamera, Rays, Regions, SunCamera
from pipeline.world.raster import NOTHING, Buffer, cast
from pipeline.world.scene import Cutout, Kind, Label, Material, Primitives, Scene
from tests.world.hand_made import EYE, box, scene_of

HEIGHT, WIDTH = 24, 48


def clutter(seed: int) -> Callable[[Builder], None]:
    """Shapes of all kinds around the eye, some of them behind others, some across the seam."""

    def add(builder: Builder) -> None:
        rng = np.random.default_rng(seed)
        for number in range(60):
            x, y, z = rng.uniform((-12, -5, -12), (12, 2, 12))
            if np.hypot(x, z) < 2.5:
                continue
            kind = Kind(number % 4)
            frame = Frame.on_ground(x, z, y=y).moved((0, 0, 0), *rng.uniform(-180, 180, 3))
            half = rng.uniform(0.2, 1.4, 3)
            cutout = Cutout.DISC if kind == Kind.CARD else Cutout.NONE
            look = Look(Material.PLAIN, (0.5, 0.5, 0.5))
            builder.add(kind, frame, (half[0], half[1], half[2]), look, (Label.WALL, builder.instance()),
                        taper=(float(rng.uniform(0, 0.8)), 0.0), cutout=cutout)  # fmt: skip

    return add


def everywhere(primitives: Primitives, height: int, width: int) -> Regions:
    """The whole picture for every shape."""
    count = len(primitives)
    zero, full = np.zeros(count, np.int32), np.ones(count, np.int32)
    return Regions(zero, full * height, zero, full * width)


def exhaustive(primitives: Primitives, rays: Rays) -> Buffer:
    """All shapes tried on all pixels, in the order of the scene."""
    near = np.zeros(len(primitives), np.float32)
    return cast(primitives, rays, everywhere(primitives, rays.height, rays.width), near)


CAMERAS: dict[str, Callable[[Scene], PanoramaCamera | PinholeCamera | SunCamera]] = {
    "panorama": lambda scene: PanoramaCamera(scene, HEIGHT, WIDTH, yaw=30),
    "pinhole": lambda scene: PinholeCamera(scene, HEIGHT, WIDTH, 100, yaw=75, pitch=10, roll=5),
    "sun": lambda _: SunCamera((0.3, -0.9, 0.3), (0.0, 0.0), 12.0, 32),
}


@pytest.mark.parametrize("camera", CAMERAS.values(), ids=CAMERAS)
@pytest.mark.parametrize("seed", [0, 1])
def test_rectangles_and_order_change_nothing(
    camera: Callable[[Scene], PanoramaCamera | PinholeCamera | SunCamera], seed: int
) -> None:
    scene = scene_of(clutter(seed))
    shapes, eye = scene.primitives, camera(scene)
    rays, regions = eye.rays(), eye.regions(shapes.corners_N83)
    near = np.maximum(np.linalg.norm(shapes.centre_N3 - EYE, axis=1) - np.linalg.norm(shapes.half_N3, axis=1), 0)
    found = cast(shapes, rays, regions, near if len(rays.origin_P3) == 1 else np.zeros_like(near))
    expected = exhaustive(shapes, rays)
    np.testing.assert_array_equal(found.depth_P, expected.depth_P)
    np.testing.assert_array_equal(found.shape_P, expected.shape_P)
    np.testing.assert_array_equal(found.face_P, expected.face_P)
    assert 0.1 < np.isfinite(found.depth_P).mean() < 1
    assert len(np.unique(found.shape_P)) > 10


def test_the_nearer_of_two_shapes_is_met_in_whatever_order_they_were_built() -> None:
    near, far = box((0, -1.5, 5), (1, 1, 1)), box((0, -1.5, 9), (3, 3, 1))
    for shapes, index in (((near, far), 0), ((far, near), 1)):
        scene = scene_of(*shapes)
        camera = PinholeCamera(scene, 33, 33, 90, 0, 0, 0)
        corners = scene.primitives.corners_N83
        found = cast(scene.primitives, camera.rays(), camera.regions(corners), np.zeros(2, np.float32))
        middle = 16 * 33 + 16
        assert found.shape_P[middle] == index
        assert found.depth_P[middle] == pytest.approx(4, abs=1e-4)
        assert found.shape_P[16 * 33 + 11] == 1 - index  # beside the near one, the far one


def test_where_nothing_is_met_there_is_no_shape_and_no_end() -> None:
    scene = scene_of(box((0, -1.5, -5), (1, 1, 1)))  # behind the camera
    camera = PinholeCamera(scene, 16, 16, 60, 0, 0, 0)
    found = cast(scene.primitives, camera.rays(), camera.regions(scene.primitives.corners_N83), np.zeros(1, np.float32))
    assert (found.shape_P == NOTHING).all() and np.isinf(found.depth_P).all()
