"""A panorama's maps on one canvas: parts of the sphere, bands, and fields of view."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.classes import DENSEPASS_13, IGNORE
from stages.report.layers import PanoramaLayers
from stages.report.layers import panorama_layers as layers_of_classes
from stages.report.source import SourcePanorama
from tests.stages.report_folder import TEAL, labels_of, make_maps, make_pictures
from tests.stages.report_pages import layers_of, report


def panorama_layers(panorama: SourcePanorama, width: int = 256) -> PanoramaLayers:
    """With the viewer, from maps of the picture's own pixels."""
    return layers_of_classes(panorama, width, maps_are_level=False, with_viewer=True, classes=len(DENSEPASS_13))


def test_the_viewer_gets_the_picture_and_the_maps_as_they_are(tmp_path: Path) -> None:
    maps = make_maps(tmp_path / "maps", exported=True)
    report(maps, tmp_path / "out", make_pictures(tmp_path / "photos"))
    layers = layers_of(tmp_path / "out" / "viewer" / "0003.js")
    assert list(layers) == ["picture", "masks", "labels", "reliability", "confidence"]
    assert np.abs(np.asarray(layers["picture"]) - np.array(TEAL)).max() <= 2
    np.testing.assert_array_equal(np.asarray(layers["labels"]), labels_of(2))
    assert set(np.unique(np.asarray(layers["confidence"]))) == {204}
    assert (np.asarray(layers_of(tmp_path / "out" / "viewer" / "0001.js")["masks"]) == IGNORE).all(), "0 is no mask"
    thumbnail = Image.open(tmp_path / "out" / "thumbnails" / "0001.jpg")
    assert thumbnail.size == (256, 128)
