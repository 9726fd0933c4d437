"""Views of a recipe, and that they name what is cached only where they are shown."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.cache import records
from pipeline.classes import DENSEPASS_13
from pipeline.ensemble.config import FusionConfig
from pipeline.errors import RecipeError
from pipeline.panorama.config import OPTIONAL_OF_WINDOWS
from pipeline.panorama.views import Stitcher
from pipeline.panorama.windows import Window, add_to, cut
from pipeline.recipe import Recipe, merge_recipe
from pipeline.settings import without_unused
from pipeline.teacher.boundary import refine_boundary
from pipeline.teacher.config import OPTIONAL_OF_BOUNDARY, BoundaryConfig
from pipeline.teacher.masks import MaskSet
from pipeline.teacher.projected_masks import mask_map
from pipeline.teacher.vote import fuse
from stages.adapt_data import ways
from stages.products import fingerprints, product
from stages.runs import open_recipe
from stages.views import assistant_views, shared_views

SMALL: dict[str, Any] = {"label_set": "densepass13", "assistant": {"label_set": "densepass13"}}


def recipe(**tables: dict[str, Any]) -> Recipe:
    return merge_recipe(merge_recipe(Recipe(), SMALL), tables)


def test_only_the_assistant_is_shown_perspective_views_and_only_with_weight() -> None:
    plain, shown = recipe(), recipe(assistant={"views_weight": 0.5}, views={"level": 4, "zenith": 0})
    assert shared_views(plain) == shared_views(shown)
    assert assistant_views(plain) == ()
    pitches = [getattr(view, "pitch") for view in assistant_views(shown)]  # noqa: B009
    assert sorted(pitches) == [-80.0] * 2 + [-38.0] * 8 + [0.0] * 4 + [38.0] * 6


def test_views_name_the_assistants_part_where_they_are_shown_and_nowhere_else() -> None:
    plain = fingerprints(recipe())
    unused = fingerprints(recipe(views={"level": 3}, assistant={"views_scale": 2.0}))
    shown = fingerprints(recipe(assistant={"views_weight": 0.5}))
    other = fingerprints(recipe(assistant={"views_weight": 0.5}, views={"level": 3}))
    assert unused == plain
    assert len({named["assistant"] for named in (plain, shown, other)}) == 3
    assert len({named["masks"] for named in (plain, shown, other)}) == 1


def test_weights_of_groups_name_the_assistants_part_where_they_differ_from_1() -> None:
    shown = recipe(assistant={"views_weight": 0.5})
    other = recipe(assistant={"views_weight": 0.5}, views={"down_weight": 0.5})
    assert "down_weight" not in product("assistant").settings(shown)["views"]
    assert product("assistant").settings(other)["views"]["down_weight"] == 0.5
    assert fingerprints(shown)["assistant"] != fingerprints(other)["assistant"]


def test_weights_per_pixel_name_the_assistants_part_where_they_are_on() -> None:
    plain, on = recipe(), recipe(assistant={"latitude_power": 1.0})
    assert "latitude_power" not in product("assistant").settings(plain)["assistant"]
    assert fingerprints(plain)["assistant"] != fingerprints(on)["assistant"]
    with pytest.raises(RecipeError, match=r"assistant\.confidence_power is 9\.0.*from 0 to 8"):
        recipe(assistant={"confidence_power": 9.0})


def test_a_group_without_weight_is_not_shown() -> None:
    shown = recipe(assistant={"views_weight": 0.5}, views={"up_weight": 0.0, "down_weight": 0.25})
    none = recipe(assistant={"views_weight": 0.5}, views={"up": 0})
    assert len(assistant_views(shown)) == len(assistant_views(none)) == 20
    (down,) = {getattr(view, "weight") for view in assistant_views(shown) if getattr(view, "pitch") == -38}  # noqa: B009
    assert down == 0.25


def test_a_weight_of_views_is_at_most_1() -> None:
    with pytest.raises(RecipeError, match=r"views\.nadir_weight is 2\.0.*between 0 and 1"):
        recipe(views={"nadir_weight": 2.0})


def test_the_shares_of_whole_image_and_views_are_at_most_one() -> None:
    with pytest.raises(RecipeError, match="views_weight"):
        recipe(assistant={"views_weight": 0.6, "whole_weight": 0.5})


@pytest.mark.parametrize("name", ["demo", "street", "goodsam", "goodsam-figure", "goodsam-plus-plus"])
def test_built_in_recipes_have_views_that_cover_the_panorama(name: str) -> None:
    opened = open_recipe(name)
    height, width = opened.panorama.height, opened.panorama.width
    assert Stitcher(height, width, 1, shared_views(opened)).total_HW.all()


def test_the_windows_of_goodsam_figure_are_those_that_the_figure_draws() -> None:
    """Three rows that fill the height, 0.19 of the panorama wide, in steps of 0.047 over the seam."""
    opened = open_recipe("goodsam-figure")
    height, width = opened.panorama.height, opened.panorama.width
    windows = [window.footprint for window in shared_views(opened)]
    rows = sorted({window.row for window in windows})
    columns = sorted({window.column for window in windows})
    assert len(windows) == len(set(windows)) == 63 == len(rows) * len(columns) and len(rows) == 3
    assert all(window.height == pytest.approx(height / 3, rel=0.05) for window in windows)
    assert all(window.width / width == pytest.approx(0.19, abs=0.005) for window in windows)
    steps = np.diff([*columns, columns[0] + width]) / width
    np.testing.assert_allclose(steps, 0.047, atol=0.001)


def test_the_windows_of_goodsam_plus_plus_are_wide_and_high_and_either_cover_the_panorama() -> None:
    opened = open_recipe("goodsam-plus-plus")
    height, width = opened.panorama.height, opened.panorama.width
    windows = [window.footprint for window in shared_views(opened)]
    wide = [window for window in windows if window.width / width == 0.25]
    high = [window for window in windows if window.width / width == pytest.approx(0.133, abs=0.001)]
    assert (len(wide), len(high), len(set(windows))) == (48, 64, 112) and len(windows) == 112
    assert {window.height / height for window in wide} == {0.36} and {window.height / height for window in high} == {
        0.52
    }
    assert (len({window.row for window in wide}), len({window.row for window in high})) == (3, 4)
    for of_shape in (wide, high):
        seen = np.zeros((height, width), np.int64)
        for window in of_shape:
            add_to(seen, window, np.ones((window.height, window.width), np.int64))
        assert seen.min() >= 2  # every pixel has an overlap, at the seam too


def test_windows_of_other_shapes_name_masks_and_assistant_and_their_absence_does_not() -> None:
    plain = recipe()
    more = recipe(windows={"more": ((256, 512, 256, 256),)})
    explicit = recipe(windows={"more": ()}, boundary={"agreement": "windows"})
    assert fingerprints(explicit) == fingerprints(plain)
    assert without_unused(plain.windows, OPTIONAL_OF_WINDOWS).keys() == {"height", "width", "stride_y", "stride_x"}
    assert without_unused(plain.boundary, OPTIONAL_OF_BOUNDARY).keys() == {"radius"}
    assert not fingerprints(plain).items() & fingerprints(more).items()
    shapes = merge_recipe(more, {"boundary": {"agreement": "shapes"}})
    assert fingerprints(shapes)["masks"] == fingerprints(more)["masks"]
    assert fingerprints(shapes)["ensemble"] != fingerprints(more)["ensemble"]


def test_the_assistant_that_is_adapted_is_shown_windows_of_one_shape_at_once() -> None:
    opened = recipe(windows={"more": ((256, 512, 256, 256),)})
    shown = ways(opened)
    assert [way.name for way in shown] == ["windows", "windows", "whole"]
    assert all(len({(view.height, view.width) for view in way.views}) == 1 for way in shown)
    assert (*shown[0].views, *shown[1].views) == shared_views(opened)


@dataclasses.dataclass(frozen=True)
class MirroredWindow:
    """A third kind of view: a window that networks are shown mirrored. Nothing else knows of it."""

    footprint: Window

    @property
    def height(self) -> int:
        return self.footprint.height

    @property
    def width(self) -> int:
        return self.footprint.width

    def is_closed(self, panorama_width: int) -> bool:
        return self.width == panorama_width

    @property
    def covered_hw(self) -> npt.NDArray[np.bool_]:
        return self.footprint.covered_hw

    def cut_image(self, image_HW3: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        return cut(image_HW3, self.footprint)[:, ::-1].copy()

    def cut_nearest(self, values_HW: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return cut(values_HW, self.footprint)[:, ::-1].copy()

    def project_nearest(self, values_hw: npt.NDArray[Any], outside: Any = 0) -> npt.NDArray[Any]:
        return values_hw[:, ::-1]

    def project_linear(self, values_Chw: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return values_Chw[..., ::-1]

    def coordinates(self, rows: npt.NDArray[np.float64], columns: npt.NDArray[np.float64]) -> tuple[Any, Any]:
        y, x = self.footprint.coordinates(rows, columns)
        return y, self.width - x

    def blend_weights(self, height: int, width: int, stride: int = 1) -> npt.NDArray[np.float32]:
        return self.footprint.blend_weights(height, width, stride)


def test_a_third_kind_of_view_needs_no_other_file() -> None:
    """Windows that are shown mirrored give the votes, edges and maps of the windows themselves."""
    rng = np.random.default_rng(0)
    windows = shared_views(
        recipe(panorama={"width": 128}, windows={"height": 64, "width": 64, "stride_x": 32, "stride_y": 32})
    )
    mirrored = [MirroredWindow(window.footprint) for window in windows]
    probabilities = rng.dirichlet(np.full(13, 0.3), (64, 128)).transpose(2, 0, 1).astype(np.float32)
    labels, no = probabilities.argmax(axis=0).astype(np.uint8), np.zeros((64, 128), np.bool_)
    agreement = rng.random((64, 128), np.float32)
    flags = [rng.random((3, 64, 64)) < 0.3 for _ in windows]
    results: list[list[npt.NDArray[Any]]] = []
    for views, shown in ((windows, flags), (mirrored, [flag[..., ::-1] for flag in flags])):
        masks = [MaskSet.from_dense(flag) for flag in shown]
        masks = records.unpack_masks(records.pack_masks(masks), views)
        fusion = fuse(probabilities, agreement, no, views, masks, DENSEPASS_13, FusionConfig())
        edges = refine_boundary(views, masks, [view.cut_nearest(labels) for view in views], no, BoundaryConfig())
        numbers = mask_map(64, 128, views, masks)
        results.append([fusion.labels_HW, fusion.ensemble_CHW, fusion.reliable_HW, edges, numbers])
    for straight, turned in zip(*results, strict=True):
        np.testing.assert_array_equal(straight, turned)
