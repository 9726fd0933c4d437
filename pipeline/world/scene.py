"""What a street scene is: primitives, ground, light and a place to look from.

World axes are those of `pipeline.panorama.sphere`: x right, y down, z forward, metres. The road surface is y = 0,
so heights are negative y; the main street runs along z. Legend: N primitives.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.floating[Any]]
"""Reals, in practice float32 throughout: twice as fast as float64, and exact enough for 100 metres."""
Int = npt.NDArray[np.integer[Any]]
Byte = npt.NDArray[np.uint8]
Bool = npt.NDArray[np.bool_]
Colour = tuple[float, float, float]

PARTS_PER_INSTANCE = 4096
"""A part's id is instance * PARTS_PER_INSTANCE + its code (1..4095), so that a part names its instance."""


class Kind(IntEnum):
    """Shapes in their own unit coordinates; every one of them fits into the cube [-1, 1]^3."""

    BOX = 0  # its top may be smaller than its bottom: boxes, roofs, cabins
    ELLIPSOID = 1
    CYLINDER = 2  # axis along y
    CARD = 3  # the square z = 0, usually with parts cut out


class Cutout(IntEnum):
    """What is missing from a shape; rays pass through it."""

    NONE = 0
    DISC = 1
    TRIANGLE = 2
    OCTAGON = 3
    DIAMOND = 4
    PICKETS = 5
    RAILS = 6
    LEAVES = 7


class Material(IntEnum):
    """How a surface is painted; see `pipeline.world.materials`."""

    PLAIN = 0
    FACADE = 1
    ROOF = 2
    MASONRY = 3
    PLANKS = 4
    METAL = 5
    LIGHT_HOUSING = 6
    SIGN = 7
    FOLIAGE = 8
    BARK = 9
    CLOTH = 10
    CAR_BODY = 11
    CAR_CABIN = 12
    WHEEL = 13
    HEAD = 14


class Label(IntEnum):
    """Class ids of DENSEPASS_13."""

    ROAD = 0
    SIDEWALK = 1
    BUILDING = 2
    WALL = 3
    FENCE = 4
    POLE = 5
    TRAFFIC_LIGHT = 6
    TRAFFIC_SIGN = 7
    VEGETATION = 8
    TERRAIN = 9
    SKY = 10
    PERSON = 11
    CAR = 12


@dataclass(frozen=True)
class Primitives:
    """All shapes of a scene as parallel arrays."""

    kind_N: Byte
    """`Kind`."""
    cutout_N: Byte
    """`Cutout`."""
    material_N: Byte
    """`Material`."""
    label_N: Byte
    """`Label`."""
    instance_N: Int
    """Id of the object that the shape belongs to."""
    part_N: Int
    """Part code within the object, >= 1; materials may refine it."""
    centre_N3: Float
    """World position of the middle, metres."""
    rotation_N33: Float
    """Local-to-world rotation."""
    half_N3: Float
    """Half extents along the local axes, metres."""
    taper_N2: Float
    """By which fraction the top of a box is shorter than its bottom, along x and z."""
    base_N3: Float
    """Main colour, 0..1."""
    accent_N3: Float
    """Second colour, 0..1."""
    style_N4: Float
    """Free numbers for cut-out and material."""
    salt_N: Float
    """A random number in [0, 1) that makes two equal shapes look different."""

    def __len__(self) -> int:
        return len(self.kind_N)

    @property
    def to_local_N33(self) -> Float:
        """World-to-local linear map: local = to_local @ (world - centre)."""
        return np.ascontiguousarray(np.swapaxes(self.rotation_N33, 1, 2) / self.half_N3[:, :, None])

    @property
    def corners_N83(self) -> Float:
        """World positions of the corners of all bounding boxes."""
        signs_83 = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float32)
        offsets_N83 = (signs_83 * self.half_N3[:, None, :]) @ np.swapaxes(self.rotation_N33, 1, 2)
        return self.centre_N3[:, None, :] + offsets_N83


@dataclass(frozen=True)
class CrossStreet:
    """A street along x that meets the main street at z = `at`."""

    at: float
    """z of its middle, metres."""
    half_width: float
    """Half the width of its road, metres."""
    side: int
    """0: it goes on in both directions (a crossing); -1 or +1: only towards that x (a T-junction)."""


@dataclass(frozen=True)
class Surface:
    """How a kind of ground looks."""

    pattern: int
    """Texture number; see `materials.ground`."""
    base: Colour
    """Main colour."""
    accent: Colour
    """Second colour: joints, bare patches."""


@dataclass(frozen=True)
class Ground:
    """The surface that everything stands on: roads at y = 0, all else raised by the kerb."""

    half_width: float
    """Half the width of the main road, metres."""
    crosses: tuple[CrossStreet, ...]
    """Streets that meet it."""
    sidewalks: tuple[float, float]
    """Width of the sidewalks at x < 0 and x > 0, metres."""
    verges: tuple[float, float]
    """Width of the green strip behind the kerb at x < 0 and x > 0; 0 for none."""
    zebras: tuple[float, ...]
    """z of the zebra crossings over the main road."""
    kerb: float
    """Height of the kerb, metres."""
    lot_map_ZX: Byte
    """Which lot a square of LOT_CELL metres belongs to; 0 is the open sidewalk."""
    lots: tuple[tuple[int, Surface], ...]
    """(label, surface) of lot 1, 2, ..."""
    road: Surface
    """How roads look."""
    sidewalk: Surface
    """How sidewalks look."""
    verge: Surface
    """How the green strips look."""
    first_instance: int
    """Ids first_instance .. first_instance + GROUND_INSTANCES - 1 belong to the ground."""


LOT_CELL = 0.1
"""Size of a square of the lot map, metres."""
LOT_EXTENT = 64.0
"""The lot map reaches from -LOT_EXTENT to +LOT_EXTENT along x and z, metres."""
GROUND_INSTANCES = 300
"""How many instance ids are set aside for sky, road, sidewalks, verges and lots."""


@dataclass(frozen=True)
class Light:
    """Sun, sky and the camera's mood."""

    sun_3: tuple[float, float, float]
    """Unit direction towards the sun."""
    sun_colour: Colour
    """Strength of direct light."""
    sky_colour: Colour
    """Strength of light from above."""
    zenith: Colour
    """Colour of the sky overhead."""
    horizon: Colour
    """Colour of the sky at the horizon, and of the haze."""
    clouds: float
    """0 clear .. 1 overcast."""
    softness: float
    """Blur radius of shadows, metres."""
    haze: float
    """Extinction per metre."""
    gain: Colour
    """Exposure times white balance per channel."""
    noise: float
    """Standard deviation of the sensor's noise, 0..1."""


@dataclass(frozen=True, eq=False)
class Scene:
    """A street that can be looked at; equal seeds give equal scenes."""

    seed: int
    """What it was built from."""
    eye_3: tuple[float, float, float]
    """World position of the camera."""
    heading: float
    """Yaw of the camera's forward axis in the world, degrees."""
    primitives: Primitives
    """Everything that stands on the ground."""
    ground: Ground
    """What it stands on."""
    light: Light
    """What lights it."""


@dataclass(frozen=True)
class View:
    """A rendering; labels are those of the ray through the middle of each pixel."""

    image_HW3: Byte
    """RGB."""
    labels_HW: Byte
    """Class ids of DENSEPASS_13."""
    instances_HW: Int
    """Ids > 0, one per object."""
    parts_HW: Int
    """Ids > 0, finer: every part lies in one instance."""
    depth_HW: Float
    """Distance along the ray, metres; inf for the sky."""
