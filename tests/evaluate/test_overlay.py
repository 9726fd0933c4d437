"""Pictures: colours are the label set's, borders are where ids change (over the seam too), panels keep their size."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipeline.classes import CITYSCAPES_19, DENSEPASS_13, IGNORE
from pipeline.ensemble.regions import NO_MASK
from pipeline.evaluate.overlay import (
    MARGIN,
    Panel,
    Scene,
    blend,
    colourise,
    comparison,
    hatch_unreliable,
    mask_colours,
    paint_labels,
    paint_masks,
    scene_panels,
)

MAPS = hnp.arrays(np.uint8, (5, 8), elements=st.sampled_from([0, 1, 2, IGNORE]))
SMALL = 64
"""Width of a panel."""


def grey_image(height: int = 16, width: int = 32) -> np.ndarray:
    return np.full((height, width, 3), 128, np.uint8)


@settings(max_examples=20)
@given(MAPS)
def test_colours_are_the_palettes_and_ignored_pixels_black(labels: np.ndarray) -> None:
    colours = colourise(labels, CITYSCAPES_19)
    for class_id in (0, 1, 2):
        assert (colours[labels == class_id] == CITYSCAPES_19.palette[class_id]).all()
    assert (colours[labels == IGNORE] == 0).all()


def test_opacity_goes_from_image_to_colour() -> None:
    image, colours = grey_image(), np.full_like(grey_image(), 255)
    assert (blend(image, colours, 0) == image).all()
    assert (blend(image, colours, 1) == colours).all()
    half = blend(image, colours, np.linspace(0, 1, 32)[None, :].repeat(16, axis=0))
    assert (np.diff(half[0, :, 0].astype(int)) > 0).all()


def test_neighbouring_masks_have_clearly_different_colours() -> None:
    colours = mask_colours(np.arange(60)[None])[0].astype(int)
    assert len({tuple(colour) for colour in colours.tolist()}) == 60
    assert np.abs(np.diff(colours, axis=0)).sum(axis=1).min() > 60


def test_a_mask_keeps_its_colour_whatever_else_is_in_the_picture() -> None:
    alone, among = mask_colours(np.full((2, 2), 7)), mask_colours(np.arange(20)[None])
    assert (alone[0, 0] == among[0, 7]).all()


def test_pixels_without_a_mask_stay_grey() -> None:
    masks = np.full((16, 32), NO_MASK)
    assert (paint_masks(grey_image(), masks) == grey_image()).all()


def test_only_unreliable_pixels_are_hatched_and_keep_their_colour_between_the_stripes() -> None:
    reliable = np.ones((16, 32), np.bool_)
    reliable[:, 16:] = False
    hatched = hatch_unreliable(grey_image(), reliable)
    assert (hatched[:, :16] == 128).all()
    dark, as_it_was, light = np.unique(hatched[:, 16:])
    assert dark < 60 and as_it_was == 128 and light > 200
    assert 0.5 < (hatched[:, 16:] == 128).mean() < 0.8


def test_ignored_pixels_are_dark_in_painted_labels() -> None:
    labels = np.zeros((16, 32), np.uint8)
    labels[8:] = IGNORE
    assert paint_labels(grey_image(), labels, DENSEPASS_13)[12].max() < 40


@pytest.mark.parametrize(("shape", "columns"), [((16, 32), 2), ((16, 64), 1)])
def test_bands_are_stacked_and_full_spheres_stand_in_pairs(shape: tuple[int, int], columns: int) -> None:
    picture = comparison([Panel("one", grey_image(*shape))] * 4, DENSEPASS_13, "title", SMALL)
    assert picture.shape[1] == columns * SMALL + (columns + 1) * MARGIN


def test_every_panel_is_pasted_whole() -> None:
    panels = [Panel(str(value), np.full((32, 64, 3), value, np.uint8)) for value in (101, 102, 103)]
    picture = comparison(panels, CITYSCAPES_19, "title", SMALL)
    for value in (101, 102, 103):
        assert (picture == value).all(axis=-1).sum() >= 32 * 64


def test_a_scene_shows_what_there_is_whatever_its_size() -> None:
    labels = np.zeros((8, 16), np.uint8)
    scene = Scene(grey_image(), assistant_HW=labels, masks_HW=np.zeros((16, 32), np.int32), ensemble_HW=labels,
                  reliable_HW=labels == 0, student_HW=labels, truth_HW=np.zeros((64, 128), np.uint8))  # fmt: skip
    panels = scene_panels(scene, DENSEPASS_13, width=SMALL)
    assert [panel.caption for panel in panels] == [
        "Panorama", "Assistant", "SAM masks", "Ensemble", "Student", "Truth",
    ]  # fmt: skip
    assert {panel.image_HW3.shape for panel in panels} == {(32, 64, 3)}
    assert panels[4].note == "100 % of pixels right"
    assert [panel.caption for panel in scene_panels(Scene(grey_image()), DENSEPASS_13, SMALL)] == ["Panorama"]


def test_predictions_agree_with_a_networks_labels_rather_than_being_right() -> None:
    labels = np.zeros((8, 16), np.uint8)
    scene = Scene(grey_image(), student_HW=labels, truth_HW=labels, labels_by="network")
    panels = scene_panels(scene, DENSEPASS_13, width=SMALL)
    assert [panel.caption for panel in panels] == ["Panorama", "Student", "Labels of a network"]
    assert panels[1].note == "100 % of pixels agree"
