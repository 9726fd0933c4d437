"""Rendering: cast rays, name what they meet, then shade it. Legend: H W image, P = H * W pixels, n visible points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.world.camera import PanoramaCamera, PinholeCamera
from pipeline.world.ground import GroundHits, label_ground, meet_ground, zone_of
from pipeline.world.materials import Points, paint_points
from pipeline.world.materials.ground import paint_ground
from pipeline.world.primitives import CAP_LOW, FACES, SIDE
from pipeline.world.raster import NOTHING, Buffer, cast
from pipeline.world.scene import PARTS_PER_INSTANCE, Byte, Float, Int, Kind, Label, Material, Primitives, Scene, View
from pipeline.world.shading import develop, illuminate, sky_light


def render_panorama(scene: Scene, height: int, width: int, yaw: float = 0.0) -> View:
    """The full sphere around the scene's camera, turned by `yaw` degrees to the right.

    Whole columns of yaw roll the image, so that turning the camera and rolling the columns agree to the last bit.
    """
    columns = yaw * width / 360
    if abs(columns - round(columns)) > 1e-6:
        return _render(scene, PanoramaCamera(scene, height, width, yaw))
    view = _render(scene, PanoramaCamera(scene, height, width))
    return View(**{name: np.roll(values, -round(columns), axis=1) for name, values in vars(view).items()})


def render_perspective(
    scene: Scene,
    height: int,
    width: int,
    horizontal_fov: float,
    yaw: float = 0.0,
    pitch: float = 0.0,
    roll: float = 0.0,
) -> View:
    """A pinhole view from the scene's camera; angles in degrees, as in `pipeline.panorama.sphere`."""
    return _render(scene, PinholeCamera(scene, height, width, horizontal_fov, yaw, pitch, roll))


@dataclass
class _Canvas:
    """The picture under construction."""

    radiance_P3: Float
    labels_P: Byte
    instances_P: Int
    codes_P: Int


def _render(scene: Scene, camera: PanoramaCamera | PinholeCamera) -> View:
    rays = camera.rays()
    eye = np.asarray(scene.eye_3, np.float32)
    corners = scene.primitives.corners_N83
    buffer = cast(scene.primitives, rays, camera.regions(corners), _nearest(scene.primitives, eye))
    hits = meet_ground(scene.ground, eye, rays.direction_P3)
    on_ground = hits.depth_P < buffer.depth_P
    on_shape = (buffer.shape_P != NOTHING) & ~on_ground
    pixels = rays.height * rays.width
    canvas = _Canvas(
        np.empty((pixels, 3), np.float32),
        np.full(pixels, Label.SKY, np.uint8),
        np.full(pixels, scene.ground.first_instance, np.int32),
        np.ones(pixels, np.int32),
    )
    _draw_sky(scene, canvas, rays.direction_P3, np.flatnonzero(~on_ground & ~on_shape))
    angle = camera.pixel_angle()
    _draw_ground(scene, canvas, rays.direction_P3, hits, np.flatnonzero(on_ground), angle)
    _draw_shapes(scene, canvas, rays.direction_P3, buffer, np.flatnonzero(on_shape), angle)
    shape = (rays.height, rays.width)
    wrap = isinstance(camera, PanoramaCamera)
    image = develop(scene.light, canvas.radiance_P3.reshape(*shape, 3), np.random.default_rng(scene.seed + 1), wrap)
    return View(
        image_HW3=image.astype(np.uint8),
        labels_HW=canvas.labels_P.reshape(shape),
        instances_HW=canvas.instances_P.reshape(shape),
        parts_HW=(canvas.instances_P * PARTS_PER_INSTANCE + canvas.codes_P).reshape(shape),
        depth_HW=np.minimum(buffer.depth_P, hits.depth_P).reshape(shape),
    )


def _nearest(primitives: Primitives, eye_3: Float) -> Float:
    """Lower bound of the distance of every shape: that of its bounding box."""
    offset = np.einsum("nij,nj->ni", np.swapaxes(primitives.rotation_N33, 1, 2), eye_3 - primitives.centre_N3)
    outside = np.maximum(np.abs(offset) - primitives.half_N3, 0)
    return np.asarray(np.sqrt((outside * outside).sum(1)) * np.float32(0.999), np.float32)


def _draw_sky(scene: Scene, canvas: _Canvas, direction_P3: Float, rows: Int) -> None:
    canvas.radiance_P3[rows] = sky_light(scene.light, direction_P3[rows])


def _draw_ground(scene: Scene, canvas: _Canvas, direction_P3: Float, hits: GroundHits, rows: Int, angle: float) -> None:
    ground, depth, direction = scene.ground, hits.depth_P[rows], direction_P3[rows]
    points = np.asarray(scene.eye_3, np.float32) + depth[:, None] * direction
    x, z = points[:, 0], points[:, 2]
    zone, lot, distance = zone_of(ground, x, z, hits.road_P[rows])
    footprint = depth * np.float32(angle) / np.sqrt(np.maximum(direction[:, 1], 0.05))
    colour, part = paint_ground(ground, x, z, zone, lot, distance, footprint)
    normal = np.zeros_like(points)
    normal[:, 1] = -1
    face = hits.kerb_face_P[rows]
    normal[face] = -np.stack((direction[face, 0], np.full(face.sum(), 0.5, np.float32), direction[face, 2]), 1)
    normal[face] /= np.linalg.norm(normal[face], axis=1, keepdims=True)
    canvas.radiance_P3[rows] = illuminate(scene, colour, points, normal, depth)
    canvas.labels_P[rows], canvas.instances_P[rows] = label_ground(ground, x, z, zone, lot)
    canvas.codes_P[rows] = part


def _draw_shapes(scene: Scene, canvas: _Canvas, direction_P3: Float, buffer: Buffer, rows: Int, angle: float) -> None:
    """Shades visible points, material by material."""
    p = scene.primitives
    material = p.material_N[buffer.shape_P[rows]]
    order = np.argsort(material, kind="stable")
    bounds = np.searchsorted(material[order], np.arange(len(Material) + 1))
    for kind in Material:
        some = rows[order[bounds[kind] : bounds[kind + 1]]]
        if len(some):
            _draw_material(scene, canvas, direction_P3[some], buffer, some, angle, kind)
    shape = buffer.shape_P[rows]
    canvas.labels_P[rows], canvas.instances_P[rows] = p.label_N[shape], p.instance_N[shape]


def _draw_material(
    scene: Scene, canvas: _Canvas, direction_n3: Float, buffer: Buffer, rows: Int, angle: float, material: Material
) -> None:
    p, shape, face, depth = scene.primitives, buffer.shape_P[rows], buffer.face_P[rows], buffer.depth_P[rows]
    world = np.asarray(scene.eye_3, np.float32) + depth[:, None] * direction_n3
    rotation = p.rotation_N33[shape]
    metric = np.einsum("nji,nj->ni", rotation, world - p.centre_N3[shape])
    painted = paint_points(material, Points(p, shape, face, metric, depth * np.float32(angle)))
    normal = _normals(p, shape, face, metric, rotation)
    normal *= np.where(np.einsum("ni,ni->n", normal, direction_n3) > 0, np.float32(-1), np.float32(1))[:, None]
    canvas.radiance_P3[rows] = illuminate(scene, painted.colour_n3, world, normal, depth)
    canvas.codes_P[rows] = painted.part_n


_BOX_NORMALS = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], np.float32)


def _normals(p: Primitives, shape: Int, face: Byte, metric: Float, rotation: Float) -> Float:
    """Unit normals in the world."""
    kind, half = p.kind_N[shape], p.half_N3[shape]
    normal = _BOX_NORMALS[np.minimum(face, len(FACES) - 1)].copy()
    tilt = np.where(face < 2, p.taper_N2[shape, 0], p.taper_N2[shape, 1]) * np.float32(0.5)
    upright = (face < 2) | (face > 3)
    normal[:, 1] -= np.where(upright & (kind == Kind.BOX), tilt, 0)
    normal /= half
    round_ = kind == Kind.ELLIPSOID
    normal[round_] = (metric / (half * half))[round_]
    tube = kind == Kind.CYLINDER
    mantle = metric * np.array([1, 0, 1], np.float32) / (half * half)
    caps = np.where(face == CAP_LOW, np.float32(-1), np.float32(1))[:, None] * np.array([0, 1, 0], np.float32)
    normal[tube] = np.where((face == SIDE)[:, None], mantle, caps)[tube]
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), np.float32(1e-9))
    return np.einsum("nij,nj->ni", rotation, normal)
