"""Blends of parts are what stage one makes of the settings that ask for them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline.arrays import FloatArray
from pipeline.classes import DENSEPASS_13
from pipeline.panorama.config import ViewsConfig
from pipeline.panorama.perspective import perspective_views
from pipeline.panorama.sphere import pixel_pitch
from pipeline.panorama.windows import window_grid
from pipeline.teacher.config import AssistantConfig
from pipeline.teacher.rectification import stitch_assistant
from pipeline.tune.blends import Blend, SeenPart, blend_of, mix, parts_of, settings_of
from pipeline.tune.parts import GROUPS, Part, predict_part, weights_of_group
from tests.tune.colours import SIZE, VIEWS, WINDOWS, Colours, image


def seen_parts(blend: Blend, assistant: AssistantConfig, views: ViewsConfig) -> dict[str, SeenPart]:
    windows = window_grid(SIZE.height, SIZE.width, WINDOWS)
    seen: dict[str, SeenPart] = {}
    for part in parts_of(blend, assistant, views):
        said = predict_part(part, SIZE, image(), image(), windows, Colours(), DENSEPASS_13).probabilities_CHW
        weights = weights_of_group(part, SIZE).ravel() if part.views else np.ones(said[0].size, np.float32)
        seen[part.kind] = SeenPart(said.reshape(13, -1), weights)
    return seen


def stitched(blend: Blend) -> FloatArray:
    """What stage one makes of a blend's settings."""
    config = AssistantConfig(window_scale=1.5, feature_levels=())
    assistant, views = settings_of(blend, config, VIEWS)
    windows = window_grid(SIZE.height, SIZE.width, WINDOWS)
    more = perspective_views(SIZE.height, SIZE.width, SIZE.vertical_fov, views) if blend.views else ()
    return stitch_assistant(image(), windows, Colours(), assistant, DENSEPASS_13, more_views=more).assistant_CHW


@pytest.mark.parametrize(
    "blend",
    [
        Blend(0, 0),
        Blend(1, 0),
        Blend(0.25, 0),
        Blend(0, 1, ("level",)),
        Blend(0.5, 0.5, ("level", "down")),
        Blend(0.25, 0.5, ("down", "nadir", "zenith")),
        Blend(0, 0.375, GROUPS),
        Blend(0.25, 0.5, ("level", "down", "nadir"), (0.25, 1, 0.5)),
        Blend(0.5, 0.5, ("level", "down"), (1, 0.125)),
        Blend(0.25, 0.5, ("level", "down"), window_scale=2, fov=60),
        Blend(0.5, 0, confidence_power=4),
        Blend(0.25, 0.5, ("level", "down"), confidence_power=2, latitude_power=1),
        Blend(0.5, 0.5, ("down",), latitude_power=2),
    ],
    ids=lambda blend: blend.label,
)
def test_a_mix_of_parts_is_what_stage_one_stitches(blend: Blend) -> None:
    assistant = AssistantConfig(window_scale=1.5, feature_levels=())
    cosines = np.repeat(np.cos(pixel_pitch(SIZE.height, 180)), SIZE.width)
    mixed = mix(blend, seen_parts(blend, assistant, VIEWS), cosines).reshape(13, SIZE.height, SIZE.width)
    np.testing.assert_allclose(mixed, stitched(blend), atol=2e-6)


def test_settings_ask_for_the_blend_that_they_were_made_of() -> None:
    assistant, views = AssistantConfig(whole_weight=0.5), replace(VIEWS, fov=100)
    other = settings_of(Blend(0.5, 0.25, ("level",), window_scale=3, fov=60), assistant, views)
    assert (other[0].window_scale, other[1].fov) == (3, 60)
    weighted = Blend(0.25, 0.5, ("level", "up"), (1, 0.5))
    by_pixel = Blend(0.25, 0.5, ("level",), confidence_power=2, latitude_power=1)
    for blend in (Blend(0.25, 0.5, ("level", "up")), weighted, by_pixel, Blend(1, 0), Blend(0, 0.125, ("nadir",))):
        after = settings_of(blend, assistant, views)
        assert blend_of(*after) == blend
        assert after[1].fov == 100
    assert settings_of(Blend(1, 0), assistant, views)[1] == views
    after = settings_of(Blend(0, 1, ("level", "up")), assistant, views)[1]
    assert (after.level, after.down, after.up) == (4, 0, ViewsConfig().up)
    assert settings_of(Blend(0, 1, ("level",)), assistant, replace(VIEWS, level_weight=0.5))[1].level_weight == 1


def test_groups_whose_weight_is_0_are_none_of_a_recipes_blend() -> None:
    assistant = AssistantConfig(views_weight=0.5)
    assert blend_of(assistant, replace(VIEWS, down_weight=0)) == Blend(0, 0.5, ("level", "nadir"))
    assert blend_of(assistant, replace(VIEWS, down_weight=0.5)).weight_of == {"level": 1, "down": 0.5, "nadir": 1}


@pytest.mark.parametrize(
    ("blend", "expected"),
    [
        (Blend(0.25, 0.5, ("level", "nadir"), (0.5, 1)), Blend(0.25, 0.5, ("level",), (0.5,))),
        (Blend(0.25, 0.5, ("level",)), Blend(0.25, 0.5, ("level",))),
        (Blend(0.25, 0.5, ("nadir", "zenith")), Blend(0.25, 0)),
        (Blend(0.5, 0.5, ("nadir",), confidence_power=2), Blend(0.5, 0, confidence_power=2)),
        (Blend(0, 1, ("nadir",)), Blend(0, 0)),
    ],
)
def test_groups_that_see_nothing_of_a_band_change_nothing(blend: Blend, expected: Blend) -> None:
    band = replace(SIZE, vertical_fov=70.0)
    seeing = [group for group in GROUPS if Part.of_group(group, VIEWS, 1.0).perspective_views(band)]
    assert seeing == ["level", "down", "up"] and blend.of_seeing(seeing) == expected
    picture, windows = image()[: band.height], window_grid(band.height, band.width, WINDOWS)
    said: list[FloatArray] = []
    for one in (blend, expected):
        assistant, views = settings_of(one, AssistantConfig(feature_levels=()), VIEWS)
        more = perspective_views(band.height, band.width, band.vertical_fov, views) if one.views else ()
        stitched_band = stitch_assistant(picture, windows, Colours(), assistant, DENSEPASS_13, more_views=more)
        said.append(stitched_band.assistant_CHW)
    np.testing.assert_allclose(said[0], said[1], atol=1e-6)


def test_weights_without_groups_or_groups_without_weight_are_no_blend() -> None:
    for wrong in ((0.5, 0.5, ()), (0.5, 0.0, ("level",)), (0.75, 0.5, ("level",))):
        with pytest.raises(ValueError, match="no blend"):
            Blend(*wrong)
    for weights in ((1.0,), (1.0, 1.0)):  # one is missing; all alike is said by leaving them out
        with pytest.raises(ValueError, match="no blend"):
            Blend(0.5, 0.5, ("level", "down"), weights)
