"""One canvas for a panorama's picture and its maps: which stands for it, where parts lie, and what does not fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from pipeline.classes import DENSEPASS_13, IGNORE
from pipeline.errors import InputError
from pipeline.panorama.placement import Placement
from pipeline.panorama.tags import gpano_xmp
from stages.report.canvas import KINDS, Canvas, kind_of, maps_of, overlays_of
from stages.report.source import SourcePanorama, read_source
from tests.stages.report.test_layers import panorama_layers
from tests.stages.report_folder import HEIGHT, NAMES, ROAD, SKY, TEAL, WIDTH, labels_of, make_maps, make_pictures, save
from tests.stages.report_pages import picture_of


def test_a_part_of_the_sphere_lies_in_its_place(tmp_path: Path) -> None:
    maps, pictures = make_maps(tmp_path / "maps", ["part"]), tmp_path / "photos"
    place = Placement(2 * HEIGHT, 2 * WIDTH, HEIGHT // 2, WIDTH // 2, HEIGHT, WIDTH)
    make_pictures(pictures, ["part"])
    picture = pictures / "part.jpg"
    Image.new("RGB", (WIDTH, HEIGHT), TEAL).save(picture, xmp=gpano_xmp(place, 180))
    panorama = read_source(maps, pictures).panoramas[0]
    found = panorama_layers(replace(panorama, picture=picture))
    labels = np.asarray(picture_of(found.layers["labels"]))
    assert labels.shape == (128, 256) and (labels[32:96, 64:192] == ROAD).all()
    assert (labels == IGNORE).mean() == 0.75
    assert np.asarray(picture_of(found.layers["picture"]))[0].max() < 10


def test_a_picture_is_level_unless_its_maps_are_not(tmp_path: Path) -> None:
    maps, pictures = make_maps(tmp_path / "maps", ["tilted"]), tmp_path / "photos"
    make_pictures(pictures, ["tilted"])
    halves_HW3 = np.repeat((np.arange(HEIGHT) < HEIGHT // 2)[:, None, None] * np.uint8(255), WIDTH, 1).repeat(3, 2)
    picture = pictures / "tilted.png"
    Image.fromarray(halves_HW3).save(picture, pnginfo=tags_of('GPano:PoseRollDegrees="30"'))
    panorama = replace(read_source(maps, pictures).panoramas[0], picture=picture)
    level, off = (Canvas.of(replace(panorama, level=level), WIDTH).image_HW3 for level in ("tags", "off"))
    np.testing.assert_array_equal(off, halves_HW3)
    assert (level != halves_HW3).any()


def tags_of(xmp: str) -> PngInfo:
    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", xmp)
    return info


def test_a_band_without_tags_covers_what_its_shape_says(tmp_path: Path) -> None:
    maps = make_maps(tmp_path / "maps", ["band"])
    save(maps / "labels" / "band.png", np.full((64, 256), SKY, np.uint8))
    save(tmp_path / "photos" / "band.png", np.full((64, 256, 3), TEAL, np.uint8))
    for pictures in (tmp_path / "photos", None):
        panorama = read_source(maps, pictures).panoramas[0]
        found = panorama_layers(panorama)
        assert found.vertical_fov == 90
        assert picture_of(found.layers["labels"]).size == (256, 64)


def test_the_field_of_view_that_the_networks_took_goes_before_the_shape(tmp_path: Path) -> None:
    maps = make_maps(tmp_path / "maps", ["band"], vertical_fov=89)
    save(maps / "labels" / "band.png", np.full((64, 256), SKY, np.uint8))
    save(tmp_path / "photos" / "band.png", np.full((64, 256, 3), TEAL, np.uint8))
    for pictures in (tmp_path / "photos", None):
        found = panorama_layers(read_source(maps, pictures).panoramas[0])
        assert found.vertical_fov == 89
        assert picture_of(found.layers["labels"]).size == (256, 64)


def canvas_of(maps: Path, pictures: Path | None = None, number: int = 0) -> tuple[Canvas, SourcePanorama]:
    panorama = read_source(maps, pictures).panoramas[number]
    return Canvas.of(panorama, 256), panorama


def test_the_picture_stands_for_the_panorama_else_its_overlay_else_its_labels_else_grey(tmp_path: Path) -> None:
    maps, pictures = make_maps(tmp_path / "maps"), make_pictures(tmp_path / "photos")
    assert canvas_of(maps, pictures)[0].key == "picture"
    painted = canvas_of(maps)[0]
    assert painted.key == "" and (painted.image_HW3 == DENSEPASS_13.palette[ROAD]).all()
    save(maps / "overlays" / f"{NAMES[0]}.jpg", np.full((HEIGHT, WIDTH, 3), TEAL, np.uint8))
    overlaid = canvas_of(maps)[0]
    assert overlaid.key == "overlays" and np.abs(overlaid.image_HW3.astype(int) - TEAL).max() <= 3
    bare = canvas_of(make_maps(tmp_path / "bare", labels=False))[0]
    assert (bare.key, np.unique(bare.image_HW3).tolist()) == ("", [128])


def test_maps_are_brought_onto_the_canvas_with_numbers_as_colours_and_none_ignored(tmp_path: Path) -> None:
    maps = make_maps(tmp_path / "maps", exported=True)
    canvas, panorama = canvas_of(maps, make_pictures(tmp_path / "photos"), number=2)
    np.testing.assert_array_equal(canvas.map_of(panorama, "labels", maps_are_level=False), labels_of(2))
    assert (canvas.map_of(panorama, "masks", maps_are_level=False) == 2 * 97 % 251).all()
    first = canvas_of(maps, tmp_path / "photos")[1]
    assert (canvas.map_of(first, "masks", maps_are_level=False) == IGNORE).all(), "0 is no mask"


def test_maps_of_another_shape_or_kind_are_refused(tmp_path: Path) -> None:
    maps = make_maps(tmp_path / "maps")
    canvas, panorama = canvas_of(maps, make_pictures(tmp_path / "photos"))
    save(maps / "labels" / f"{NAMES[0]}.png", np.zeros((HEIGHT, HEIGHT), np.uint8))
    with pytest.raises(InputError, match=rf"is {HEIGHT}x{HEIGHT}; a map has the shape of its picture"):
        canvas.map_of(panorama, "labels", maps_are_level=False)
    save(maps / "labels" / f"{NAMES[0]}.png", np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    with pytest.raises(InputError, match="it has 3 channels"):
        canvas.map_of(panorama, "labels", maps_are_level=False)


def test_layers_have_kinds_and_overlays_are_shown_where_the_viewer_cannot_mix_them(tmp_path: Path) -> None:
    assert (kind_of("masks"), kind_of("confidence"), kind_of("from elsewhere")) == ("numbers", "values", "classes")
    maps = make_maps(tmp_path / "maps", exported=True)
    save(maps / "overlays" / f"{NAMES[0]}.jpg", np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    with_picture, without = (canvas_of(maps, pictures)[1] for pictures in (make_pictures(tmp_path / "photos"), None))
    assert overlays_of(with_picture) == [] and overlays_of(without) == ["overlays"]
    found = maps_of(without)
    assert found == [key for key in KINDS if key in found] and set(found) == {
        "labels",
        "reliability",
        "confidence",
        "masks",
    }
