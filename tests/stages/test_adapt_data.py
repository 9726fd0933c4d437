"""What the assistant is adapted on: panoramas to learn from and to compare on, and how they are shown."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stages.adapt import adapt_job
from stages.adapt_data import CachedSamples, split_for_comparison, ways
from stages.events import silent
from stages.reading import RunReader
from stages.splits import learning_panoramas
from stages.teacher_cache import teacher_cache
from tests.stages.small_run import make_folders, small_run

VIEWS: dict[str, object] = {"level": 2, "down": 0, "up": 0, "nadir": 0, "zenith": 0, "size": 32, "fov": 100.0}


def test_panoramas_to_compare_on_are_not_learned_from(finished: Path):
    run = small_run(finished)
    panoramas = learning_panoramas(run.recipe)
    cached = RunReader.open(run, panoramas)
    many = [replace(panorama, id=f"{panorama.id}-{copy}") for copy in range(4) for panorama in panoramas]
    records = {p.id: replace(cached.records[p.id.rpartition("-")[0]], sha256=p.id) for p in many}
    twin = replace(many[0], id="twin")
    of_many = replace(cached, paths={p.id: p.path for p in [*many, twin]},
                      records={**records, "twin": records[many[0].id]})  # fmt: skip
    learned, held_out = split_for_comparison([*many, twin], of_many, 10)
    assert len(held_out) == 3 and not {p.id for p in held_out} & {p.id for p in learned}
    assert many[0] in held_out and twin not in learned  # of equal content
    assert split_for_comparison(panoramas, cached, 0) == (panoramas, [])
    assert split_for_comparison(panoramas, cached, 2) == (panoramas, [panoramas[0], panoramas[1]])


def test_the_assistant_is_shown_what_stage_one_shows_it(finished: Path):
    shown = ways(small_run(finished, assistant={"views_weight": 0.5, "window_scale": 2.0}, views=VIEWS).recipe)
    assert [(way.name, len(way.views), way.scale, way.from_source) for way in shown] == [
        ("windows", 2, 2.0, False), ("views", 2, 1.0, True), ("whole", 1, 1.0, False)]  # fmt: skip
    assert [way.name for way in ways(small_run(finished).recipe)] == ["windows", "whole"]


def test_pictures_that_are_no_larger_than_the_working_size_stay_as_they_are(finished: Path):
    run = small_run(finished, assistant={"views_weight": 0.5}, views={**VIEWS, "source_width": 256})
    reader = RunReader.open(small_run(finished), learning_panoramas(run.recipe))
    job = adapt_job(run, replace(reader, recipe=run.recipe))
    sample = job.read(reader.ids[0])
    assert sample.source_HW3.shape == sample.learned.image_HW3.shape == (64, 128, 3)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of one panorama, whose picture has twice the working size."""
    folder = tmp_path_factory.mktemp("large")
    make_folders(folder)
    shutil.rmtree(folder / "held_out")
    for path in sorted((folder / "photos").iterdir())[1:]:
        path.unlink()
    (path,) = (folder / "photos").iterdir()
    Image.open(path).resize((256, 128)).save(path)
    teacher_cache(small_run(folder, data={"evaluation": "", "labels": ""}), silent)
    return folder


def test_views_are_cut_from_the_larger_picture_where_the_recipe_shows_any(large: Path) -> None:
    run = small_run(large, data={"evaluation": "", "labels": ""})
    reader = RunReader.open(run, learning_panoramas(run.recipe))
    (panorama_id,) = reader.ids
    with_views = small_run(large, assistant={"views_weight": 0.5}, views={**VIEWS, "source_width": 256})
    sample = CachedSamples(replace(reader, recipe=with_views.recipe))(panorama_id)
    assert sample.learned.image_HW3.shape == (64, 128, 3) and sample.source_HW3.shape == (128, 256, 3)
    np.testing.assert_array_equal(sample.source_HW3, np.asarray(Image.open(run.recipe.data.panoramas + "/0.png")))
    without = CachedSamples(reader)(panorama_id)
    np.testing.assert_array_equal(without.source_HW3, without.learned.image_HW3)


def test_where_four_or_more_panoramas_are_known_at_most_a_quarter_is_held_out(finished: Path) -> None:
    panoramas = learning_panoramas(small_run(finished).recipe)
    cached = RunReader.open(small_run(finished), panoramas)
    many = [replace(panoramas[0], id=str(number)) for number in range(9)]
    records = {p.id: replace(cached.records[panoramas[0].id], sha256=p.id) for p in many}
    reader = replace(cached, paths={p.id: p.path for p in many}, records=records)
    for most, count in ((1, 1), (2, 2), (8, 2)):
        learned, held_out = split_for_comparison(many, reader, most)
        assert len(held_out) == count and len(learned) == 9 - count
    stranger = replace(panoramas[0], id="not cached")
    assert stranger not in split_for_comparison([*many, stranger], reader, 1)[0]
