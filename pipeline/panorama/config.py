"""Settings of panoramas, views and windows."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from pipeline.errors import RecipeError
from pipeline.settings import require, require_choice, require_fraction

GRID = 32
"""Window offsets and strides are multiples of this many pixels: the coarsest feature stride of the networks."""
WIDEST = 32768
"""Working widths are at most this many pixels, 91 per degree: no camera has more, and no memory would do."""
ROWS = 4
"""Working heights are multiples of this many pixels: the student predicts cells of 4x4."""


@dataclass(frozen=True)
class PanoramaConfig:
    """How panoramas are read; every panorama of a run has the same working size."""

    width: int = 2048
    """Working width, pixels; images are resized to it. A multiple of 32 up to 32768."""
    vertical_fov: float = 180.0
    """Vertical field of view, degrees: 180 for full spheres, 70.3 for DensePASS bands (2048x400). A band spans
    360 degrees and has the horizon in its middle row, unless its GPano tags say where it lies."""
    ignore_mask: str = ""
    """Image file whose non-zero pixels are ignored in every panorama (the camera rig); or a folder of such files, one
    per camera: the mask of a panorama has its name, or that of a folder that holds it, or else exactly its size. Empty
    for none."""
    find_constant_border: bool = True
    """Also ignore black regions that start at the top or bottom border of an image (a black nadir)."""
    level: str = "tags"
    """"tags": where a picture's GPano tags say that the camera was tilted (PosePitchDegrees, PoseRollDegrees), networks
    see the level sphere, and results come back to the picture's own pixels. "off": never."""

    def __post_init__(self) -> None:
        if not (0 < self.width <= WIDEST and self.width % GRID == 0):
            raise _wrong("width", self.width, f"a positive multiple of {GRID} up to {WIDEST}")
        if not 0 < self.vertical_fov <= 180:
            raise _wrong("vertical_fov", self.vertical_fov, "above 0 and at most 180 degrees")
        require_choice("panorama.level", self.level, ("tags", "off"))

    @property
    def height(self) -> int:
        """Working height, pixels: rows have the angular size of columns, to the next multiple of ROWS."""
        return ROWS * max(1, round(self.width * self.vertical_fov / 360 / ROWS))


def _wrong(key: str, value: float, expected: str) -> RecipeError:
    """The error of `require` for a setting that is also an option of `predict`, which has no recipe."""
    option = key.replace("_", "-")
    return RecipeError(f"panorama.{key} is {value!r}", f"it must be {expected}",
                       f"Correct panorama.{key} in the recipe (`predict`: --{option})")  # fmt: skip


POLE_PITCH = 80.0
"""Pitch of the views near a pole, degrees: not 90, so that they have an upright side."""
VIEW_GROUPS = ("level", "down", "up", "nadir", "zenith")
"""Groups of perspective views, by where they look: settings of `ViewsConfig` say how many views each has, and its
weight."""


@dataclass(frozen=True)
class ViewsConfig:
    """Perspective views of the sphere: for the assistant in addition to the windows (`assistant.views_weight`), for SAM
    where `sam.shown` names them."""

    level: int = 8
    """Views around the horizon; 0 for none. Networks trained on level cameras may do worse on all others."""
    down: int = 8
    """Views that look down by `tilt`."""
    up: int = 6
    """Views that look up by `tilt`."""
    nadir: int = 2
    """Views towards the nadir."""
    zenith: int = 2
    """Views towards the zenith."""
    tilt: float = 38.0
    """Degrees by which tilted views look up or down."""
    fov: float = 75.0
    """Field of view, degrees, of every view; they are square."""
    size: int = 320
    """Height and width of every view, pixels."""
    level_weight: float = 1.0
    """How much level views count for the assistant where views of several groups see the same, 0 to 1, beside their
    distance from the view's border; 0 leaves the group out. Where a group with a small weight sees something alone, the
    windows and the whole image count for more."""
    down_weight: float = 1.0
    """As `level_weight`, of the views that look down."""
    up_weight: float = 1.0
    """As `level_weight`, of the views that look up."""
    nadir_weight: float = 1.0
    """As `level_weight`, of the views towards the nadir."""
    zenith_weight: float = 1.0
    """As `level_weight`, of the views towards the zenith."""
    source_width: int = 0
    """Width of the panorama that the views are cut from, pixels, a multiple of 32: 4096 has 11.4 pixels per degree. A
    picture that is narrower is used as it is. 0: the working width, `panorama.width`, to which large pictures are
    reduced; small things are lost there."""

    def __post_init__(self) -> None:
        require(0 <= self.source_width <= WIDEST and self.source_width % GRID == 0, "views.source_width",
                self.source_width, f"0 or a positive multiple of {GRID} up to {WIDEST}")  # fmt: skip
        for group in VIEW_GROUPS:
            number = getattr(self, group)
            require(number >= 0, f"views.{group}", number, "0 or a positive number of views")
            require_fraction(f"views.{group}_weight", self.weight(group))
        require(0 < self.tilt < 90, "views.tilt", self.tilt, "above 0 and below 90 degrees")
        require(10 <= self.fov <= 150, "views.fov", self.fov, "from 10 to 150 degrees")
        require(0 < self.size <= 4096, "views.size", self.size, "above 0 and at most 4096 pixels")

    def count(self, group: str) -> int:
        """How many views of a group are shown; none of one without weight."""
        return getattr(self, group) if self.weight(group) > 0 else 0

    def weight(self, group: str) -> float:
        """How much a group of VIEW_GROUPS counts."""
        return getattr(self, f"{group}_weight")

    def pitch(self, group: str) -> float:
        """Where the views of a group look, degrees upwards."""
        return {"level": 0.0, "down": -self.tilt, "up": self.tilt, "nadir": -POLE_PITCH, "zenith": POLE_PITCH}[group]

    def sees(self, group: str, vertical_fov: float) -> bool:
        """Whether the views of a group see anything of a band of that vertical field of view, degrees."""
        return abs(self.pitch(group)) < (vertical_fov + self.fov) / 2

    def only(self, groups: Collection[str]) -> ViewsConfig:
        """The views of some groups alone, all of one weight."""
        of_groups = {group: getattr(self, group) if group in groups else 0 for group in VIEW_GROUPS}
        return replace(self, **of_groups, **OPTIONAL_OF_VIEWS)


OPTIONAL_OF_VIEWS = {f"{group}_weight": 1.0 for group in VIEW_GROUPS}
"""Settings of views that came later, and the values with which views are what they were before them."""


@dataclass(frozen=True)
class WindowConfig:
    """Overlapping windows over a panorama; columns wrap over the seam, rows do not (method: sliding windows)."""

    height: int = 512
    """Window height, pixels, at least 32; a window higher than the panorama is cut to it."""
    width: int = 512
    """Window width, pixels, at least 32; one wider than the panorama is cut to it and does not wrap around the seam.
    Square windows use all of SAM's square input."""
    stride_y: int = 256
    """Vertical step, pixels, a multiple of 32, at most the height; half of it is 50 % overlap, the height itself none,
    which in both directions took 3.6 points of mIoU from the demo's ensemble (scripts/measured/study.md). The last row
    of windows is moved up to end at the last row."""
    stride_x: int = 256
    """Horizontal step, pixels, a multiple of 32, at most the width; half of it is 50 % overlap, the width itself none,
    as with `stride_y`."""
    more: tuple[tuple[int, ...], ...] = ()
    """Further windows of other shapes, each [height, width, stride_y, stride_x]; SAM and assistant see them all
    (GoodSAM++ adds high windows to wide ones)."""

    def __post_init__(self) -> None:
        _require_shape("windows.", self.height, self.width, self.stride_y, self.stride_x)
        for number, shape in enumerate(self.more):
            require(len(shape) == 4, f"windows.more[{number}]", list(shape), "[height, width, stride_y, stride_x]")
            _require_shape(f"windows.more[{number}] ", *shape)

    @property
    def shapes(self) -> tuple[WindowConfig, ...]:
        """The settings of each shape, which has no further ones."""
        further = (WindowConfig(height, width, stride_y, stride_x) for height, width, stride_y, stride_x in self.more)
        return (replace(self, more=()), *further)


OPTIONAL_OF_WINDOWS: dict[str, object] = {"more": ()}
"""Settings of windows that came later, and the values with which windows are what they were before them."""


def _require_shape(prefix: str, height: int, width: int, stride_y: int, stride_x: int) -> None:
    """Refuse a shape of windows by the name of its setting.

    Raises:
        RecipeError: a side is too short, or a step does not fit.
    """
    for key, side in (("height", height), ("width", width)):
        require(side >= GRID, f"{prefix}{key}", side, f"at least {GRID} pixels")
    for key, step, side in (("stride_y", stride_y, height), ("stride_x", stride_x, width)):
        require(0 < step <= side and step % GRID == 0, f"{prefix}{key}", step,
                f"a positive multiple of {GRID}, at most the window's {side}")  # fmt: skip
