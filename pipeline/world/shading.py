"""Light on surfaces: sun with shadows, sky light, haze, the sky itself, and the camera's tone.

Colours are squared before lighting and rooted after it, a cheap stand-in for gamma. Legend: n points, P pixels.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np

from pipeline.world.camera import SunCamera
from pipeline.world.raster import cast
from pipeline.world.scene import Float, Light, Scene
from pipeline.world.textures import clouds

_SHADOW_EXTENT = 44.0
_SHADOW_SIZE = 440
_BIAS = 0.12


@lru_cache(maxsize=4)
def shadow_map(scene: Scene) -> tuple[SunCamera, Float]:
    """(camera, distance from the sun's plane [size, size]) of what the sun meets first."""
    camera = SunCamera(scene.light.sun_3, (scene.eye_3[0], scene.eye_3[2]), _SHADOW_EXTENT, _SHADOW_SIZE)
    corners = scene.primitives.corners_N83
    sun = np.asarray(scene.light.sun_3, np.float32)
    # A point at height h on the ray of a square is start - h / sin(elevation) away from that ray's origin.
    near = np.float32(camera.start) + (corners[..., 1] / -sun[1]).min(1) - np.float32(1e-3)
    depth = cast(scene.primitives, camera.rays(), camera.regions(corners), near).depth_P
    return camera, depth.reshape(_SHADOW_SIZE, _SHADOW_SIZE)


def sunlit(scene: Scene, points_n3: Float) -> Float:
    """Share of the sun that reaches points, 0..1: the shadow map, looked up at a few places around each."""
    camera, depth = shadow_map(scene)
    pixel = camera.project(points_n3)
    own = np.float32(camera.start) + points_n3[:, 1] / np.float32(-scene.light.sun_3[1]) - np.float32(_BIAS)
    radius = max(scene.light.softness / (2 * _SHADOW_EXTENT / _SHADOW_SIZE), 0.35)
    offsets = ((-0.5, -1.0), (1.0, -0.5), (0.5, 1.0), (-1.0, 0.5)) if radius < 1 else _SOFT
    total = np.zeros(len(points_n3), np.float32)
    for across, down in offsets:
        column = np.clip(pixel[:, 0] + np.float32(across * radius + 0.5), 0, _SHADOW_SIZE - 1).astype(np.int32)
        row = np.clip(pixel[:, 1] + np.float32(down * radius + 0.5), 0, _SHADOW_SIZE - 1).astype(np.int32)
        total += depth[row, column] >= own
    return total / np.float32(len(offsets))


_SOFT = ((0, 0), (1, 0), (0, 1), (-1, 0), (0, -1), (0.5, 0.6), (-0.6, 0.5), (0.6, -0.5), (-0.5, -0.6))


def illuminate(scene: Scene, colour_n3: Float, points_n3: Float, normal_n3: Float, depth_n: Float) -> Float:
    """Linear light that leaves points towards the eye, haze included."""
    light = scene.light
    sun = np.asarray(light.sun_3, np.float32)
    facing = np.maximum(normal_n3 @ sun, 0)
    lit = np.flatnonzero(facing > 0)
    share = sunlit(scene, points_n3[lit] + normal_n3[lit] * np.float32(_BIAS))
    facing[lit] *= share
    up = np.float32(0.62) - np.float32(0.38) * normal_n3[:, 1]
    near_ground = np.clip(0.72 - points_n3[:, 1] * np.float32(0.35), 0, 1) + (normal_n3[:, 1] < -0.9)
    sky = up * np.minimum(near_ground, 1)
    # What hides the sun hides part of the sky too: contact shadows on overcast days.
    sky[lit] *= np.float32(0.55) + np.float32(0.45) * share
    from_sun = facing[:, None] * np.asarray(light.sun_colour, np.float32)
    from_sky = sky[:, None] * np.asarray(light.sky_colour, np.float32)
    radiance = colour_n3 * colour_n3 * (from_sun + from_sky)
    haze = 1 - np.exp(-np.minimum(depth_n, 400) * np.float32(light.haze))
    return np.asarray(radiance + (np.asarray(light.horizon, np.float32) ** 2 - radiance) * haze[:, None], np.float32)


def sky_light(light: Light, direction_n3: Float) -> Float:
    """Linear light of the sky: a gradient, clouds on a flat ceiling, a glow around the sun."""
    up = np.maximum(-direction_n3[:, 1], 0)
    zenith, horizon = np.asarray(light.zenith, np.float32), np.asarray(light.horizon, np.float32)
    colour = horizon + (zenith - horizon) * np.sqrt(up)[:, None]
    reach = np.float32(1) / (up + np.float32(0.12))
    u, v = direction_n3[:, 0] * reach + 20 * light.haze, direction_n3[:, 2] * reach
    dense = 0.65 * clouds(u, v, 9.0) + 0.35 * clouds(u * 2.7, v * 2.7, 9.0)
    cover = np.clip((dense - 1 + 1.1 * light.clouds) * 3.5, 0, 1) * np.clip(up * 6, 0.15, 1)
    tone = 0.55 + 0.5 * clouds(u + 0.3, v + 0.2, 7.0)
    cloud = (np.float32(0.35) + np.float32(0.6) * horizon) * tone[:, None] * np.float32(1.25)
    colour = colour + (cloud - colour) * (0.9 * cover)[:, None]
    glow = np.maximum(direction_n3 @ np.asarray(light.sun_3, np.float32), 0) ** 60
    colour = colour + (glow * np.float32(0.9 * (1 - light.clouds)))[:, None]
    return np.asarray(colour * colour, np.float32)


def develop(light: Light, radiance_HW3: Float, rng: np.random.Generator, wrap: bool) -> Float:
    """From light to a photograph 0..255: exposure, a slight blur, tone, noise."""
    soft = _blur(radiance_HW3 * np.asarray(light.gain, np.float32), wrap)
    tone = np.sqrt(np.maximum(soft, 0) / (1 + np.float32(0.25) * soft))
    noise = rng.standard_normal((*tone.shape[:2], 1), np.float32) * np.float32(light.noise)
    return np.clip((tone + noise) * np.float32(255), 0, 255)


def _blur(image_HW3: Float, wrap: bool) -> Float:
    """A three-pixel blur; columns wrap in a panorama."""
    mode: Literal["wrap", "edge"] = "wrap" if wrap else "edge"
    side, middle = np.float32(0.14), np.float32(0.72)
    tall = np.pad(image_HW3, ((1, 1), (0, 0), (0, 0)), mode="edge")
    rows = tall[1:-1] * middle + (tall[:-2] + tall[2:]) * side
    wide = np.pad(rows, ((0, 0), (1, 1), (0, 0)), mode=mode)
    return np.asarray(wide[:, 1:-1] * middle + (wide[:, :-2] + wide[:, 2:]) * side, np.float32)
