"""GPano tags: placement and tilt of a picture, without its pixels."""

from __future__ import annotations

import pytest

from pipeline.errors import InputError
from pipeline.panorama.config import PanoramaConfig
from pipeline.panorama.gpano import placement_from_tags, tilt_from_tags
from pipeline.panorama.placement import Placement

FULL = PanoramaConfig(width=128)


def crop(left: int, top: int, width: int, height: int, full: int = 256) -> str:
    names = ("CroppedAreaLeftPixels", "CroppedAreaTopPixels", "CroppedAreaImageWidthPixels",
             "CroppedAreaImageHeightPixels", "FullPanoWidthPixels")  # fmt: skip
    return " ".join(
        f'GPano:{name}="{value}"' for name, value in zip(names, (left, top, width, height, full), strict=True)
    )


def place(tags: str | bytes, width: int = 128, height: int = 64) -> Placement | None:
    return placement_from_tags(tags, "a.jpg", width, height, FULL)


@pytest.mark.parametrize("tags", ["", b"\xff\xfe", crop(0, 0, 256, 128), crop(0, 0, 128, 100)])
def test_without_tags_of_a_part_nothing_is_placed(tags: str | bytes) -> None:
    """None, broken ones, those of a full panorama, and those of a picture of another shape."""
    assert place(tags) is None


def test_a_part_lies_where_its_tags_say() -> None:
    assert place(crop(64, 32, 128, 64)) == Placement(128, 256, 32, 64, 64, 128)


def test_tags_may_be_elements_too() -> None:
    elements = crop(64, 32, 128, 64).replace('="', ">").replace('"', "<")
    assert place(elements) == place(crop(64, 32, 128, 64))


def test_a_part_that_was_resized_is_placed_at_its_own_scale() -> None:
    assert place(crop(64, 32, 128, 64), 64, 32) == Placement(64, 128, 16, 32, 32, 64)


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        ('GPano:ProjectionType="cylindrical"', "projection 'cylindrical'"),
        (crop(160, 32, 128, 64), "columns 160 to 288 of 256"),
        (crop(0, 0, 20, 10, 1280), "only 6x3 degrees"),
    ],
)
def test_tags_that_cannot_be_right_are_refused(tags: str, found: str) -> None:
    with pytest.raises(InputError, match=f"a.jpg .*{found}"):
        place(tags, *((20, 10) if "1280" in tags else (128, 64)))


@pytest.mark.parametrize(
    ("pitch", "roll", "level", "tilt"),
    [
        (3.0, -2.0, "tags", (3.0, -2.0)),
        (0.5, 0.2, "tags", (0.0, 0.0)),
        (3.0, -2.0, "off", (0.0, 0.0)),
        (95.0, 0.0, "tags", (0.0, 0.0)),
    ],
    ids=["tilted", "nearly level", "switched off", "impossible"],
)
def test_the_camera_is_tilted_as_its_tags_say(pitch: float, roll: float, level: str, tilt: tuple[float, float]) -> None:
    tags = f'GPano:PosePitchDegrees="{pitch}" GPano:PoseRollDegrees="{roll}"'
    assert tilt_from_tags(tags, PanoramaConfig(width=128, level=level)) == tilt
