"""Renders panoramas of the demo world as a camera would bring them home: JPEGs with positions and times.

    python -m scripts.street_walk FOLDER --panoramas 6

They are numbered along a walk of 25 m and 20 s from one to the next, with the tags of EXIF and GPano by which maps and
viewers know them; the places are made up. What is there already stays.
"""

from __future__ import annotations

import argparse
from datetime import datetime, timedelta
from pathlib import Path

from PIL import ExifTags, Image

from pipeline.panorama.placement import Placement
from pipeline.panorama.tags import gpano_xmp
from pipeline.world import build_scene, render_panorama
from pipeline.world.seeds import DEMO_EVALUATION
from stages.files import write_picture

PANORAMAS, HEIGHT = 6, 512
START = (48.2, 16.37)
"""Latitude and longitude of the first, degrees."""
STEP = 0.000225
"""Degrees of latitude from one to the next, 25 m."""
_BEGIN, _PAUSE = datetime(2026, 5, 1, 12), timedelta(seconds=20)
_QUALITY = 92


def walk_exif(number: int) -> Image.Exif:
    """The EXIF of the walk's panorama of a number, from 0 on."""
    latitude, longitude = START[0] + number * STEP, START[1]
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "GoodSAM's demo world"
    exif[ExifTags.IFD.GPSInfo] = {
        ExifTags.GPS.GPSLatitudeRef: "N", ExifTags.GPS.GPSLatitude: (latitude, 0.0, 0.0),
        ExifTags.GPS.GPSLongitudeRef: "E", ExifTags.GPS.GPSLongitude: (longitude, 0.0, 0.0),
    }  # fmt: skip
    exif[ExifTags.IFD.Exif] = {ExifTags.Base.DateTimeOriginal: f"{_BEGIN + number * _PAUSE:%Y:%m:%d %H:%M:%S}"}
    return exif


def render_walk(folder: Path, panoramas: int = PANORAMAS, height: int = HEIGHT) -> None:
    """Write `panoramas` JPEGs of `height` x 2 `height` pixels into a folder, 1.jpg and so on."""
    xmp = gpano_xmp(Placement.whole(height, 2 * height), 180)
    for number, seed in enumerate(DEMO_EVALUATION[:panoramas]):
        path = folder / f"{number + 1}.jpg"
        if not path.is_file():
            image = Image.fromarray(render_panorama(build_scene(seed), height, 2 * height).image_HW3)
            write_picture(path, image, quality=_QUALITY, exif=walk_exif(number).tobytes(), xmp=xmp)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Render panoramas of the demo world with positions and times.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--panoramas", type=int, default=PANORAMAS)
    parser.add_argument("--height", type=int, default=HEIGHT, help="pixels; the width is twice that")
    options = parser.parse_args()
    render_walk(options.folder, options.panoramas, options.height)
    print(f"{options.panoramas} panoramas: {options.folder}")


if __name__ == "__main__":
    main()
