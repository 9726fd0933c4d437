"""Settings of panoramas, views and windows."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.errors import RecipeError
from pipeline.panorama.config import PanoramaConfig, ViewsConfig, WindowConfig
from pipeline.sentences import sentences


@pytest.mark.parametrize(("width", "fov", "height"), [(2048, 180, 1024), (2048, 70.3, 400), (64, 180, 32), (32, 1, 4)])
def test_rows_have_the_angular_size_of_columns(width: int, fov: float, height: int) -> None:
    assert PanoramaConfig(width=width, vertical_fov=fov).height == height


@pytest.mark.parametrize(
    ("kind", "settings", "found"),
    [
        (PanoramaConfig, {"width": 100}, r"panorama.width is 100; .*multiple of 32.*`predict`: --width"),
        (PanoramaConfig, {"width": 1_000_000}, r"panorama.width is 1000000; .*up to 32768.*`predict`: --width"),
        (PanoramaConfig, {"vertical_fov": 181.0}, r"panorama.vertical_fov is 181.0.*--vertical-fov"),
        (PanoramaConfig, {"level": "on"}, "panorama.level is 'on'"),
        (ViewsConfig, {"down": -1}, "views.down is -1"),
        (ViewsConfig, {"tilt": 90.0}, "views.tilt is 90.0"),
        (ViewsConfig, {"fov": 5.0}, "views.fov is 5.0"),
        (WindowConfig, {"height": 16}, "windows.height is 16"),
        (WindowConfig, {"width": 64, "stride_x": 96}, "windows.stride_x is 96; it must be .*at most the window's 64"),
        (WindowConfig, {"stride_y": 48}, "windows.stride_y is 48"),
        (WindowConfig, {"more": ((64, 64, 32),)}, r"windows.more\[0\] is \[64, 64, 32\]; .*\[height, width, stride_y"),
        (WindowConfig, {"more": ((64, 64, 32, 32), (64, 8, 32, 32))}, r"windows.more\[1\] width is 8"),
        (WindowConfig, {"more": ((64, 64, 32, 96),)}, r"windows.more\[0\] stride_x is 96; .*the window's 64"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else None,
)
def test_a_setting_without_a_meaning_is_refused_by_name(kind: type[Any], settings: dict[str, Any], found: str) -> None:
    with pytest.raises(RecipeError, match=found):
        kind(**settings)


@pytest.mark.parametrize(("step", "side"), [("stride_y", "height"), ("stride_x", "width")])
def test_a_step_may_be_as_long_as_the_window_and_its_sentence_says_so(step: str, side: str) -> None:
    assert getattr(WindowConfig(stride_y=512, stride_x=512), step) == 512
    assert f"at most the {side}; half of it is 50 % overlap, the {side} itself none" in sentences(WindowConfig)[step]
