"""Panoramas as a camera brings them home: with positions, times and their place on the sphere."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import ExifTags, Image

from pipeline.panorama.capture import capture_of
from scripts.street_walk import START, STEP, render_walk, walk_exif


def test_the_walk_has_positions_and_times(tmp_path: Path) -> None:
    render_walk(tmp_path, 2, height=32)
    first, second = (capture_of(Image.open(tmp_path / name)) for name in ("1.jpg", "2.jpg"))
    assert (first.latitude, first.longitude) == (pytest.approx(48.2), pytest.approx(16.37))
    assert second.latitude == pytest.approx(48.200225)
    assert (first.time, second.time) == ("2026-05-01T12:00:00", "2026-05-01T12:00:20")
    written = (tmp_path / "1.jpg").stat().st_mtime_ns
    render_walk(tmp_path, 2, height=32)
    assert (tmp_path / "1.jpg").stat().st_mtime_ns == written


def tags(number: int) -> Image.Exif:
    """Those of a panorama's file."""
    read = Image.Exif()
    read.load(walk_exif(number).tobytes())
    return read


def test_the_walk_goes_north_step_by_step() -> None:
    places = [float(tags(number).get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitude][0]) for number in range(3)]
    assert places == pytest.approx([START[0], START[0] + STEP, START[0] + 2 * STEP], abs=STEP / 100)
    times = [tags(number).get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] for number in (0, 3)]
    assert times == ["2026:05:01 12:00:00", "2026:05:01 12:01:00"]
