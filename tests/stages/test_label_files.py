"""Label maps as files: indexed PNGs that say what they are of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.classes import DENSEPASS_13
from stages.label_files import is_foreign, label_path, overlay_path, read_notes, write_labels

LABELS = np.array([[0, 1, 12], [255, 3, 4]], np.uint8)


def test_maps_of_nested_panoramas_lie_in_folders(tmp_path: Path) -> None:
    assert label_path(tmp_path, "a/b") == tmp_path / "labels" / "a" / "b.png"
    assert overlay_path(tmp_path, "a/b") == tmp_path / "overlays" / "a" / "b.jpg"


def test_a_map_holds_ids_colours_and_notes(tmp_path: Path) -> None:
    path = tmp_path / "map.png"
    write_labels(path, LABELS, DENSEPASS_13, {"model": "abc", "shares": [0.5, 0.25]})
    with Image.open(path) as picture:
        assert picture.mode == "P"
        np.testing.assert_array_equal(np.array(picture), LABELS)
        assert picture.convert("RGB").getpixel((0, 0)) == DENSEPASS_13.palette[0]
    assert read_notes(path) == {"model": "abc", "shares": [0.5, 0.25]}
    assert not is_foreign(path)


def test_a_map_that_somebody_has_edited_is_known_and_a_broken_one_is_none(tmp_path: Path) -> None:
    edited, broken = tmp_path / "edited.png", tmp_path / "broken.png"
    Image.fromarray(LABELS).save(edited)
    broken.write_bytes(edited.read_bytes()[:40])
    assert is_foreign(edited) and read_notes(edited) == {}
    assert not is_foreign(broken) and read_notes(broken) == {}
    assert not is_foreign(tmp_path / "none.png") and read_notes(tmp_path / "none.png") == {}
