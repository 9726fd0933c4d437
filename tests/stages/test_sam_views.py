"""SAM is shown perspective views: what names its masks, what is stored, and how they vote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.cache.schema import ASSISTANT, ENSEMBLE, MASKS, PROMPTED_MASKS
from pipeline.classes import DENSEPASS_13
from pipeline.ensemble.compose import Fusion
from pipeline.ensemble.config import FusionConfig
from pipeline.errors import RecipeError
from pipeline.panorama.perspective import PerspectiveView
from pipeline.panorama.windows import Window
from pipeline.recipe import Recipe, merge_recipe
from pipeline.teacher.masks import MaskSet, no_masks
from pipeline.teacher.vote import fuse
from stages.events import Event, StageStarted, silent
from stages.panorama_records import PanoramaRecord
from stages.panorama_work import PanoramaTask, PanoramaWork
from stages.products import fingerprints, product
from stages.reading import RunReader
from stages.runs import Run
from stages.splits import SplitPanorama, learning_panoramas
from stages.teacher_cache import teacher_cache
from stages.verify import verify
from stages.views import sam_views, shared_views
from tests.stages.small_run import make_folders, read_product, small_run

FEW: dict[str, object] = {"level": 2, "down": 0, "up": 0, "nadir": 1, "zenith": 0, "fov": 90.0, "size": 48}


def recipe(**tables: dict[str, Any]) -> Recipe:
    small = {"label_set": "densepass13", "assistant": {"label_set": "densepass13"}}
    return merge_recipe(merge_recipe(Recipe(), small), tables)


def shown(*names: str, **sam: Any) -> dict[str, Any]:
    return {"shown": list(names), **sam}


def test_sam_is_shown_windows_and_then_groups_of_views() -> None:
    plain = recipe()
    assert sam_views(plain) == shared_views(plain)
    both = sam_views(recipe(sam=shown("down", "windows")))
    assert both[: -plain.views.down] == shared_views(plain)
    assert {getattr(view, "pitch") for view in both[-plain.views.down :]} == {-plain.views.tilt}  # noqa: B009
    alone = sam_views(recipe(sam=shown("views"), views={"up": 0}))
    assert len(alone) == 8 + 8 + 2 + 2
    assert all(isinstance(view, PerspectiveView) for view in alone)


def test_weights_of_groups_are_the_assistants_alone() -> None:
    weighted = recipe(sam=shown("level", "up"), views={"level_weight": 0.0, "up_weight": 0.3})
    assert sam_views(weighted) == sam_views(recipe(sam=shown("level", "up")))
    assert fingerprints(weighted)[MASKS] == fingerprints(recipe(sam=shown("level", "up")))[MASKS]


def test_what_sam_is_shown_names_the_masks_and_nothing_else_does() -> None:
    plain, down = recipe(), recipe(sam=shown("windows", "down"))
    assert "shown" not in product(MASKS).settings(plain)["sam"]
    assert "views" not in product(MASKS).settings(plain)
    assert fingerprints(recipe(views={"down": 3}))[MASKS] == fingerprints(plain)[MASKS]
    assert fingerprints(down)[MASKS] != fingerprints(plain)[MASKS]
    assert fingerprints(down)[ASSISTANT] == fingerprints(plain)[ASSISTANT]
    assert fingerprints(down)[ENSEMBLE] != fingerprints(plain)[ENSEMBLE]
    for setting in ({"down": 3}, {"fov": 60.0}, {"size": 256}, {"source_width": 4096}):
        assert fingerprints(recipe(sam=shown("windows", "down"), views=setting))[MASKS] != fingerprints(down)[MASKS]
    assert fingerprints(recipe(sam=shown("windows", "down"), views={"up": 3}))[MASKS] == fingerprints(down)[MASKS]


def test_masks_of_views_alone_do_not_depend_on_windows() -> None:
    alone = recipe(sam=shown("views"))
    other = recipe(sam=shown("views"), windows={"stride_x": 128})
    assert fingerprints(alone)[MASKS] == fingerprints(other)[MASKS]
    named = recipe(sam=shown("zenith", "nadir", "up", "down", "level"))
    assert fingerprints(alone)[MASKS] == fingerprints(named)[MASKS]


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"sam": shown()}, r"sam\.shown is \[\]; it must be at least one"),
        ({"sam": shown("sky")}, r"sam\.shown is 'sky'; it must be one of 'windows', 'views', 'level'"),
        ({"sam": shown("up", "up")}, r"sam\.shown is \['up', 'up'\]; it must be at least one, each once"),
        ({"sam": shown("level"), "views": {"level": 0}}, r"sam\.shown is \['level'\].*here: down, up, nadir, zenith"),
        ({"sam": shown("zenith"), "panorama": {"vertical_fov": 60.0}}, r"sam\.shown.*here: level, down, up\."),
        ({"sam": shown("down"), "fusion": {"join": 0.5}}, r"fusion\.join is 0\.5; it must be 0 where sam\.shown has"),
        ({"sam": shown("down", context=0.1)}, r'sam\.context is 0\.1; it must be 0 unless sam\.shown is \["windows"\]'),
    ],
)
def test_what_cannot_be_shown_is_refused(tables: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        recipe(**tables)


class _Work(PanoramaWork):
    """The panorama's file is grey, and twice as wide as the working size."""

    def image_at(self, width: int) -> npt.NDArray[np.uint8]:
        assert width == 512
        return np.full((256, 512, 3), 128, np.uint8)


def test_views_are_cut_from_the_wider_source_and_windows_from_the_working_size() -> None:
    settings = recipe(
        sam=shown("windows", "nadir"),
        panorama={"width": 256},
        windows={"height": 64, "width": 64, "stride_y": 64, "stride_x": 64},
        views={"source_width": 512, "size": 40},
    )
    task = PanoramaTask(SplitPanorama("a", Path("a.png")), settings, Path("store"), {}, "cpu", 1)
    black_HW3, nothing_HW = np.zeros((128, 256, 3), np.uint8), np.zeros((128, 256), np.bool_)
    record = PanoramaRecord("a.png", "0" * 64, 0, 0)
    store: Any = None
    pictures = _Work(task, black_HW3, nothing_HW, 512, record, store).pictures_for_sam()
    assert [picture.shape for picture in pictures] == [(64, 64, 3)] * 8 + [(40, 40, 3)] * 2
    assert [int(picture.mean()) for picture in pictures] == [0] * 8 + [128] * 2


def _fused(views: list[Any], masks: list[MaskSet], assistant: npt.NDArray[np.float32]) -> Fusion:
    ones, no = np.ones(assistant.shape[1:], np.float32), np.zeros(assistant.shape[1:], np.bool_)
    return fuse(assistant, ones, no, views, masks, DENSEPASS_13, FusionConfig(protect_thin=False))


def test_what_no_view_sees_keeps_the_assistants_labels_and_its_own_reliability() -> None:
    rng = np.random.default_rng(0)
    assistant = rng.dirichlet(np.full(13, 0.1), (64, 128)).transpose(2, 0, 1).astype(np.float32)
    view = PerspectiveView(48, 48, 80, 30, -60, 64, 128)
    found = _fused([view], [MaskSet.from_dense(np.ones((1, 48, 48)))], assistant)
    alone = _fused([Window(0, 0, 64, 128)], [no_masks(64, 128)], assistant)
    seen_HW = np.zeros((64, 128), np.bool_)
    footprint = view.footprint
    columns = (footprint.column + np.arange(footprint.width)) % 128
    seen_HW[footprint.rows, columns] = view.project_nearest(np.ones((48, 48), np.bool_))
    assert 0.02 < seen_HW.mean() < 0.5
    np.testing.assert_array_equal(found.labels_HW[~seen_HW], alone.labels_HW[~seen_HW])
    np.testing.assert_array_equal(found.reliable_HW[~seen_HW], alone.reliable_HW[~seen_HW])
    np.testing.assert_allclose(found.ensemble_CHW.sum(axis=0), 1, atol=1e-5)
    assert (found.labels_HW[seen_HW] != alone.labels_HW[seen_HW]).mean() > 0.5  # the mask has one label
    assert not found.reliable_HW[seen_HW].any()


@pytest.fixture(scope="module")
def finished_with_views(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Stage one of two panoramas, with SAM shown windows and views, prompted by the assistant's things too."""
    folder = tmp_path_factory.mktemp("views")
    make_folders(folder)
    run = small_run(folder, sam=shown("windows", "views", prompt_things=True), views=FEW, data={"limit": 1})
    teacher_cache(run, silent)
    return run


def test_masks_of_views_are_stored_in_their_pixels_and_read_back(finished_with_views: Run) -> None:
    run = finished_with_views
    views = sam_views(run.recipe)
    panorama = learning_panoramas(run.recipe)[0]
    stored = read_product(run, MASKS, panorama.id)
    assert set(stored["windows"].tolist()) == set(range(len(views)))
    of_views = stored["boxes"][stored["windows"] >= len(shared_views(run.recipe))]
    assert len(of_views) > 0
    assert of_views.max() <= 48
    reader = RunReader.open(run, learning_panoramas(run.recipe))
    assert [(own.height, own.width) for own in reader.masks(panorama.id)] == [(v.height, v.width) for v in views]
    voting = len(read_product(run, PROMPTED_MASKS, panorama.id)["windows"])
    assert len(stored["windows"]) // 2 < len(np.unique(reader.mask_map(panorama.id))) <= voting + 1
    assert reader.unknown(panorama.id).numbers_HW.shape == (64, 128)


def test_a_run_with_views_is_whole_and_a_rerun_has_nothing_to_do(finished_with_views: Run) -> None:
    assert verify(finished_with_views) == []
    events: list[Event] = []
    teacher_cache(finished_with_views, events.append)
    assert [event.total for event in events if isinstance(event, StageStarted)] == [0]
