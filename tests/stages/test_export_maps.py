"""A panorama's cached results as maps of its own pixels: at the cached pixels they are what the cache has."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.cache.codec import encode_probabilities
from pipeline.classes import IGNORE
from pipeline.ensemble.regions import NO_MASK
from pipeline.evaluate.metrics import resize_nearest
from pipeline.panorama.images import OpenedPanorama
from pipeline.panorama.placement import Placement
from pipeline.recipe import Recipe
from stages.export_maps import CachedMaps
from stages.reading import RunReader

HEIGHT, WIDTH, SCALE = 8, 16, 4
CLASSES = 3
BOX = (slice(2, 5), slice(6, 11))
"""Where the ensemble has class 1, of which its probabilities say that it is the second most probable."""


def ensemble() -> dict[str, npt.NDArray[Any]]:
    """What stage one has stored: class 0, and 1 in a box; the bottom row is ignored, the left half is reliable."""
    labels_HW = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels_HW[BOX] = 1
    labels_HW[-1] = IGNORE
    probabilities_CHW = np.zeros((CLASSES, HEIGHT, WIDTH), np.float32)
    probabilities_CHW[:2] = np.array([0.75, 0.25])[:, None, None]
    reliable_HW = np.zeros((HEIGHT, WIDTH), np.uint8)
    reliable_HW[:, : WIDTH // 2] = 1
    return {"ensemble_labels": labels_HW, "ensemble_probabilities": encode_probabilities(probabilities_CHW),
            "reliability": reliable_HW}  # fmt: skip


@dataclass
class FakeReader:
    """Has one panorama, in memory."""

    place: Placement = field(default_factory=lambda: Placement.whole(SCALE * HEIGHT, SCALE * WIDTH))
    recipe: Recipe = field(default_factory=lambda: Recipe(name="test"))
    reads: int = 0

    def opened(self, _: str) -> OpenedPanorama:
        image_HW3 = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        return OpenedPanorama(image_HW3, np.zeros((HEIGHT, WIDTH), np.bool_), self.place.height, self.place.width, "",
                              self.place)  # fmt: skip

    def read(self, *_: object) -> dict[str, npt.NDArray[Any]]:
        self.reads += 1
        return ensemble()

    def mask_map(self, _: str) -> npt.NDArray[np.int32]:
        masks_HW = np.full((HEIGHT, WIDTH), NO_MASK, np.int32)
        masks_HW[BOX] = 7
        return masks_HW


def maps_of(reader: FakeReader, is_original: bool = True) -> CachedMaps:
    return CachedMaps(cast(RunReader, reader), "a", is_original)


def at_cached_pixels(map_hw: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Of a map of the picture, the values nearest to the middles of the cached pixels."""
    return resize_nearest(map_hw, HEIGHT, WIDTH)


def test_at_the_working_size_maps_are_what_is_stored() -> None:
    maps, stored = maps_of(FakeReader(), is_original=False), ensemble()
    np.testing.assert_array_equal(maps.labels_hw, stored["ensemble_labels"])
    np.testing.assert_array_equal(maps.reliable_hw, stored["reliability"] == 1)
    assert (maps.masks_hw[BOX] == 7).all() and (maps.masks_hw == 7).sum() == 15
    assert maps.panorama.placement.is_whole and maps.panorama.placement.height == HEIGHT


def test_enlarged_labels_are_the_stored_ones_at_their_pixels_whatever_is_more_probable() -> None:
    labels_hw, stored_HW = maps_of(FakeReader()).labels_hw, ensemble()["ensemble_labels"]
    assert labels_hw.shape == (SCALE * HEIGHT, SCALE * WIDTH)
    np.testing.assert_array_equal(at_cached_pixels(labels_hw), stored_HW)
    assert (labels_hw[-SCALE:] == IGNORE).all() and not (labels_hw[:-SCALE] == IGNORE).any()


def test_between_stored_pixels_the_probabilities_place_the_boundary() -> None:
    """The more probable class takes more of the way between two pixels of different labels."""
    labels_hw = maps_of(FakeReader()).labels_hw
    row = labels_hw[SCALE * 3 + SCALE // 2]
    assert 0 < (row == 1).sum() < SCALE * 5


def test_labels_are_reliable_only_where_something_was_seen() -> None:
    maps = maps_of(FakeReader())
    assert not maps.reliable_hw[-SCALE:].any()
    np.testing.assert_array_equal(maps.reliable_labels_hw == IGNORE, ~maps.reliable_hw)
    rows = slice(0, SCALE * (HEIGHT - 1))
    middle = SCALE * WIDTH // 4
    assert maps.reliable_hw[rows, middle].all() and not maps.reliable_hw[rows, -middle].any()


@pytest.mark.parametrize("is_original", [True, False])
def test_confidence_is_that_of_the_most_probable_class_and_0_where_nothing_was_seen(is_original: bool) -> None:
    maps = maps_of(FakeReader(), is_original)
    seen_hw = maps.labels_hw != IGNORE
    assert maps.confidence_hw[seen_hw].astype(int) == pytest.approx(round(0.75 * 255), abs=1)
    assert (maps.confidence_hw[~seen_hw] == 0).all()
    assert maps.canvas_confidence_HW.shape == (HEIGHT, WIDTH)


def test_of_a_part_of_the_sphere_maps_have_the_parts_pixels() -> None:
    whole = maps_of(FakeReader())
    place = Placement(SCALE * HEIGHT, SCALE * WIDTH, 4, 20, 12, 30)
    part = maps_of(FakeReader(place))
    for name in ("labels_hw", "reliable_hw", "confidence_hw", "masks_hw"):
        np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[4:16, 20:50], err_msg=name)


def test_of_a_tilted_camera_maps_have_the_tilted_pixels() -> None:
    """A roll by 180 degrees turns the sphere upside down and the columns around."""
    whole = Placement.whole(SCALE * HEIGHT, SCALE * WIDTH)
    labels_hw = maps_of(FakeReader(replace(whole, roll=180.0))).labels_hw
    np.testing.assert_array_equal(labels_hw[::-1, ::-1], maps_of(FakeReader()).labels_hw)


def test_the_cache_is_read_once_however_many_maps_are_asked_for() -> None:
    reader = FakeReader()
    maps = maps_of(reader)
    for _ in range(2):
        assert maps.labels_hw.shape == maps.reliable_labels_hw.shape == maps.confidence_hw.shape
    assert reader.reads == 1


def test_the_picture_of_the_working_size_is_the_one_that_networks_saw(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (SCALE * WIDTH, SCALE * HEIGHT), (9, 9, 9)).save(tmp_path / "a.png")
    reader = FakeReader()
    reader.paths = {"a": tmp_path / "a.png"}  # type: ignore[attr-defined]
    image_hw3, tags = maps_of(reader).picture()
    assert image_hw3.shape == (SCALE * HEIGHT, SCALE * WIDTH, 3) and (image_hw3 == 9).all()
    assert tags.size == (SCALE * WIDTH, SCALE * HEIGHT)
    assert maps_of(reader, is_original=False).picture()[0].shape == (HEIGHT, WIDTH, 3)
