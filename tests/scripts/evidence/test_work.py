"""The study's work: a recipe for each variant, and what was measured is measured once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from scripts.evidence.__main__ import QUICK, quick_rows, with_settings
from scripts.evidence.scenes import LEARNING, Scenes
from scripts.evidence.study import DEFAULT, PARTS, Variant
from scripts.evidence.work import Study, slug, tell
from stages.events import ItemFailed, Note, StageFinished
from stages.splits import evaluation_panoramas, learning_panoramas
from tests.scripts.evidence.small_scenes import write_held_out
from tests.stages.small_run import write_panorama


def test_every_variant_is_a_recipe_of_its_own(tmp_path: Path) -> None:
    study = Study(tmp_path, Scenes(tmp_path / "scenes", 1, 1))
    for part in map(with_settings, PARTS.values()):
        default = study.run(part.variants[0]).recipe
        names = [slug(variant.name) for variant in part.variants]
        assert len(set(names)) == len(names)
        assert part.variants[0].name == DEFAULT.name, "others are compared with the demo's recipe"
        for variant in (*part.variants, *part.blends):
            if variant.made_by:  # a command writes its recipe first
                continue
            recipe = study.run(variant, seed=2).recipe
            assert recipe.student.seed == 2
            same = replace(recipe, name=default.name, student=replace(recipe.student, seed=0)) == default
            has_own = variant.settings != part.variants[0].settings or variant.learn_from
            assert same == (not has_own), variant.name


def test_every_variant_of_a_quick_study_is_a_recipe(tmp_path: Path) -> None:
    study = Study(tmp_path, Scenes(tmp_path / "scenes", 1, 1), settings=QUICK)
    rows = [variant for part in PARTS.values() for variant in quick_rows(part).variants if not variant.made_by]
    assert all(study.run(variant).recipe.distill.steps for variant in rows)
    assert len(rows) > 40


def test_a_panorama_set_aside_ends_the_study() -> None:
    with pytest.raises(RuntimeError, match="photo: broken"):
        tell(ItemFailed("teacher-cache", "photo", "broken"))


def test_names_of_runs_are_plain_words() -> None:
    assert (
        slug("GoodSAM++ as drawn: windows of two shapes, 1.5 times")
        == "goodsam-as-drawn-windows-of-two-shapes-1-5-times"
    )


def test_seconds_are_printed_when_a_stage_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    tell(StageFinished("distill", 12.4, {}))
    tell(Note("distill", "unheard"))
    assert capsys.readouterr().out == "distill: 12 s\n"


def test_what_was_measured_is_found_again(tmp_path: Path) -> None:
    """The student before it learns, on one small scene of each of two ranges."""
    scenes = Scenes(tmp_path / "scenes", 1, 1)
    write_held_out(scenes)
    study = Study(tmp_path, scenes, workers=0)
    first = study.start()["student_start"]
    assert first.shape == (2, 13, 13) and (first.sum(axis=(1, 2)) > 0).all()
    for path in scenes.held_out.rglob("*.png"):
        path.unlink()  # nothing is looked at again
    np.testing.assert_array_equal(study.start()["student_start"], first)
    assert len(list((tmp_path / "matrices").iterdir())) == 1
    with pytest.raises(ValueError, match="at least one array"):  # measured anew, without pictures
        replace(study, settings=("student.scale=2",)).start()


def test_what_a_command_has_written_is_told_and_its_recipe_taken(tmp_path: Path) -> None:
    study = Study(tmp_path, Scenes(tmp_path / "scenes", 1, 1))
    tuned = Variant("tuned", made_by="tune")
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "tune.toml").write_text("# Written by `goodsam tune`: better\n[fusion]\ntheta = 0.61\n")
    assert study.about(tuned) == "Written by `goodsam tune`: better" and study.about(Variant("other")) == ""
    assert study.run(tuned).recipe.fusion.theta == 0.61
    study.make_recipe(tuned)  # it is there


def test_a_row_may_learn_from_fewer_panoramas_and_is_measured_on_all(tmp_path: Path) -> None:
    scenes = Scenes(tmp_path / "scenes", 3, 1)
    for seed in LEARNING[:3]:
        write_panorama(scenes.panoramas / f"{seed:06d}.png", seed, scenes.labels / f"{seed:06d}.png")
    write_held_out(scenes)
    study = Study(tmp_path, scenes)
    found = [
        [len(split(study.run(variant).recipe)) for split in (learning_panoramas, evaluation_panoramas)]
        for variant in (DEFAULT, Variant("2 panoramas", learn_from=2))
    ]
    assert found == [[3, 2], [2, 2]]
