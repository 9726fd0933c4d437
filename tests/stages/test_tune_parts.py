"""What `goodsam tune` knows of a panorama: parts are predicted once, named by what decides them, and come back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.cache.store import TeacherStore
from pipeline.errors import CacheError, InputError
from pipeline.tune.judge import ROLL_DEGREES
from pipeline.tune.parts import WHOLE, WINDOWS, Part
from stages import tune_parts
from stages.files import digest
from stages.panorama_work import PanoramaTask
from stages.products import fingerprints
from stages.splits import all_panoramas
from stages.tune_parts import PartLibrary
from tests.stages.small_run import small_run

VIEWS: dict[str, object] = {"level": 2, "down": 1, "up": 1, "nadir": 1, "zenith": 1, "size": 32}
PARTS = (Part(WHOLE, 1), Part(WINDOWS, 1.0))


def library(folder: Path, store: Path, **tables: dict[str, object]) -> PartLibrary:
    return PartLibrary(small_run(folder, **tables).recipe, TeacherStore.open(store, "a"))


def task_of(folder: Path, **tables: dict[str, object]) -> PanoramaTask:
    run = small_run(folder, **tables)
    panorama = next(one for one in all_panoramas(run.recipe) if one.id == "panoramas/1")
    return PanoramaTask(panorama, run.recipe, run.store, fingerprints(run.recipe), device="cpu", threads=1)


@pytest.fixture(scope="module")
def predicted(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of parts of one panorama, not to be changed."""
    store = tmp_path_factory.mktemp("tuned") / "parts.zarr"
    library(finished, store, views=VIEWS).predict(task_of(finished, views=VIEWS), (*PARTS, nadir(finished)))
    return store


def nadir(folder: Path) -> Part:
    return Part.of_group("nadir", small_run(folder, views=VIEWS).recipe.views, 1)


def test_what_was_predicted_is_not_predicted_again(
    finished: Path, predicted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tune_parts, "predict_part", lambda *_: pytest.fail("predicted again"))
    known = library(finished, predicted, views=VIEWS)
    panorama = known.prepare(task_of(finished, views=VIEWS), PARTS)
    assert all(known.seconds(panorama, part) > 0 for part in PARTS)
    assert panorama.scored_K.all() and panorama.judged.classes == 13
    with pytest.raises(CacheError):
        known.read(panorama, (Part(WINDOWS, 3.0),))


def test_parts_come_back_straight_and_rolled_back_with_their_weights(finished: Path, predicted: Path) -> None:
    known = library(finished, predicted, views=VIEWS)
    panorama = known.prepare(task_of(finished, views=VIEWS), PARTS)
    seen = known.read(panorama, (*PARTS, nadir(finished)))
    assert set(seen.straight) == set(seen.rolled) == {WHOLE, WINDOWS, "nadir"}
    for kind in (WHOLE, WINDOWS):
        straight, rolled = (of[kind].probabilities_CN for of in (seen.straight, seen.rolled))
        assert straight.shape == rolled.shape == (13, 64 * 128)
        np.testing.assert_allclose(straight.sum(axis=0), 1, atol=0.05)
        assert (straight.argmax(axis=0) == rolled.argmax(axis=0)).mean() > 0.6, "rolled back they show the same scene"
        assert (straight != rolled).any()
    assert all(np.isnan(agreement) for agreement in seen.agreements.values()), "no two of these views overlap"
    straight_HW, rolled_HW = (of["nadir"].weights_N.reshape(64, 128) for of in (seen.straight, seen.rolled))
    columns = round(128 * ROLL_DEGREES / 360)
    np.testing.assert_array_equal(rolled_HW, np.roll(straight_HW, -columns, axis=1))
    assert straight_HW[-1].all() and not straight_HW[:32].any()


def test_ignored_pixels_are_not_scored(finished: Path, predicted: Path, tmp_path: Path) -> None:
    mask = np.zeros((64, 128), np.uint8)
    mask[48:] = 255
    Image.fromarray(mask).save(tmp_path / "rig.png")
    task = replace(task_of(finished, views=VIEWS), ignore_mask=str(tmp_path / "rig.png"))
    known = library(finished, predicted, views=VIEWS)
    panorama = known.prepare(task, PARTS)
    assert panorama.scored_K.sum() == 48 * 128
    assert known.read(panorama, PARTS).straight[WHOLE].probabilities_CN.shape == (13, 48 * 128)
    assert panorama.content.startswith(digest(task.panorama.path))


def test_settings_that_decide_a_part_name_it_and_others_do_not(finished: Path, tmp_path: Path) -> None:
    def name(part: Part, **tables: dict[str, Any]) -> str:
        return library(finished, tmp_path / "parts.zarr", **tables).name(part)

    windows = Part(WINDOWS, 1.0)
    assert name(windows) == name(windows, assistant={"whole_weight": 0.5, "window_scale": 2.0}, fusion={"theta": 0.9})
    assert name(windows) == name(windows, views={"source_width": 256}), "windows are cut from the working size"
    group = nadir(finished)
    assert name(group) != name(group, views={"source_width": 256})
    others = [name(Part(WINDOWS, 2.0)), name(Part(WHOLE, 1.0)), name(windows, windows={"stride_x": 32}),
              name(windows, panorama={"vertical_fov": 120.0}), name(windows, panorama={"width": 256})]  # fmt: skip
    assert len({name(windows), *others}) == 6
    assert name(Part(WHOLE, 1.0)) == name(Part(WHOLE, 1.0), windows={"stride_x": 32})


def test_a_panorama_that_is_nearly_all_ignored_is_refused(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One pixel is seen, and none of those that are scored."""
    mask = np.full((64, 128), 255, np.uint8)
    mask[0, 0] = 0
    Image.fromarray(mask).save(tmp_path / "rig.png")
    kept = np.zeros((64, 128), np.bool_)
    kept[1::2, 1::2] = True
    monkeypatch.setattr(tune_parts, "kept_pixels", lambda *_: kept)
    task = replace(task_of(finished), ignore_mask=str(tmp_path / "rig.png"))
    with pytest.raises(InputError, match=r"nearly all pixels of .*1\.png are ignored"):
        library(finished, tmp_path / "parts.zarr").prepare(task, ())
