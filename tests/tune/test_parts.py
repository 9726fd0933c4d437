"""Parts of a blend: what each sees of a panorama, how its views agree, and which pixels are kept of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline.classes import DENSEPASS_13
from pipeline.panorama.config import PanoramaConfig, ViewsConfig
from pipeline.panorama.windows import window_grid
from pipeline.tune.parts import GROUPS, WHOLE, WINDOWS, Part, Prediction, kept_pixels, predict_part, weights_of_group
from tests.tune.colours import SIZE, VIEWS, Colours, image
from tests.tune.colours import WINDOWS as WINDOW_SIZES

GRID = window_grid(SIZE.height, SIZE.width, WINDOW_SIZES)
BAND = PanoramaConfig(width=128, vertical_fov=60)


def predicted(part: Part, source_HW3: np.ndarray | None = None) -> Prediction:
    source = image() if source_HW3 is None else source_HW3
    return predict_part(part, SIZE, image(), source, GRID, Colours(), DENSEPASS_13)


def test_a_group_has_its_own_views_alone_as_many_as_the_recipe_or_as_by_default() -> None:
    down, up = (Part.of_group(group, VIEWS, 2) for group in ("down", "up"))
    assert down.views is not None and up.views is not None
    assert [down.views.count(group) for group in GROUPS] == [0, 3, 0, 0, 0]
    assert [up.views.count(group) for group in GROUPS] == [0, 0, ViewsConfig().up, 0, 0]
    assert (down.scale, down.views.fov, down.views.size) == (2, 80, 32)
    assert len(down.perspective_views(SIZE)) == 3


def test_weights_of_groups_are_the_blends_and_none_of_a_part() -> None:
    assert Part.of_group("down", replace(VIEWS, down_weight=0.25), 1) == Part.of_group("down", VIEWS, 1)


def test_whole_image_and_windows_have_no_perspective_views() -> None:
    assert Part(WHOLE, 1).perspective_views(SIZE) == Part(WINDOWS, 1).perspective_views(SIZE) == ()


def test_a_group_sees_nothing_of_a_band_that_lies_elsewhere() -> None:
    assert Part.of_group("level", VIEWS, 1).perspective_views(BAND)
    assert not Part.of_group("nadir", VIEWS, 1).perspective_views(BAND)
    assert not weights_of_group(Part.of_group("nadir", VIEWS, 1), BAND).any()


def test_a_group_weighs_where_it_looks_and_predicts_nothing_elsewhere() -> None:
    part = Part.of_group("nadir", VIEWS, 1)
    weights_HW = weights_of_group(part, SIZE)
    assert weights_HW.shape == (64, 128) and weights_HW.dtype == np.float32
    assert (weights_HW[-4:] > 0).all() and not weights_HW[:32].any()
    said_CHW = predicted(part).probabilities_CHW
    np.testing.assert_allclose(said_CHW.sum(axis=0), weights_HW > 0, atol=1e-5)


@pytest.mark.parametrize("part", [Part(WHOLE, 1), Part(WINDOWS, 1.5), Part.of_group("level", VIEWS, 1)],
                         ids=lambda part: part.kind)  # fmt: skip
def test_only_perspective_views_are_cut_from_the_larger_picture(part: Part) -> None:
    other_HW3 = 255 - image().repeat(2, 0).repeat(2, 1)
    same = np.array_equal(predicted(part).probabilities_CHW, predicted(part, other_HW3).probabilities_CHW)
    assert same == (part.views is None)


def test_windows_and_whole_image_see_everything() -> None:
    for part in (Part(WHOLE, 1), Part(WINDOWS, 1)):
        said_CHW = predicted(part).probabilities_CHW
        assert said_CHW.shape == (13, 64, 128)
        np.testing.assert_allclose(said_CHW.sum(axis=0), 1, atol=1e-5)


def test_views_that_overlap_have_an_agreement_and_the_whole_image_has_none() -> None:
    assert np.isnan(predicted(Part(WHOLE, 1)).agreement)
    for part in (Part(WINDOWS, 1), Part.of_group("level", ViewsConfig(size=32), 1)):
        assert 0 < predicted(part).agreement <= 1
    apart = Part.of_group("level", replace(VIEWS, level=2, fov=60), 1)
    assert np.isnan(predicted(apart).agreement), "no pixel has two views"


def test_pixels_that_are_kept_bound_the_memory_of_a_part() -> None:
    assert kept_pixels(64, 128, 13).all()
    kept_HW = kept_pixels(64, 128, 13, most=13 * 64 * 128 // 4)
    assert kept_HW.sum() == 64 * 128 // 4 and not kept_HW[0].any()
    for most in (10_000, 3_000, 500):
        assert most / 4 < 13 * kept_pixels(64, 128, 13, most).sum() <= 1.05 * most
