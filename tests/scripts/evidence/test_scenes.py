"""The study's scenes: none was used for another choice, and only what is missing is rendered."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.world.seeds import DEMO_TRAIN, MODEL_VALIDATION
from scripts import measure_fusion
from scripts.evidence import scenes as module
from scripts.evidence.scenes import LEARNING, RANGES, Scenes, range_of
from stages.world import SceneTask


def test_no_scene_is_in_two_ranges_and_none_was_used_for_another_choice() -> None:
    held_out = [seed for seeds in RANGES.values() for seed in seeds]
    assert len(set(held_out)) == len(held_out) == 24
    assert all(seed in MODEL_VALIDATION for seed in held_out) and all(seed in DEMO_TRAIN for seed in LEARNING)
    assert not set(held_out) & {seed for seeds in measure_fusion.SCENES.values() for seed in seeds}


def test_a_range_is_named_by_the_folder() -> None:
    assert range_of("evaluation/B/207100") == "B"


def test_only_scenes_that_are_missing_are_rendered_each_beside_its_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[SceneTask] = []
    monkeypatch.setattr(module, "run_tasks", lambda _, tasks, workers: (asked.extend(tasks), [])[1])
    scenes = Scenes(tmp_path, learning=2, per_range=1)
    scenes.render(0)
    assert [task.seed for task in asked] == [*LEARNING[:2], *(seeds[0] for seeds in RANGES.values())]
    for task in asked:
        is_learning = task.seed in LEARNING
        images, labels = (scenes.panoramas, scenes.labels) if is_learning else (scenes.held_out, scenes.held_out_labels)
        assert labels / task.image.relative_to(images) == task.labels
        assert is_learning or range_of(f"evaluation/{task.image.relative_to(images)}") in RANGES
    first, *others = asked
    first.image.parent.mkdir(parents=True)
    first.image.touch()
    asked.clear()
    scenes.render(0)
    assert asked == others


def test_rows_may_learn_from_fewer_and_from_more_scenes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[SceneTask] = []
    monkeypatch.setattr(module, "run_tasks", lambda _, tasks, workers: (asked.extend(tasks), [])[1])
    scenes = Scenes(tmp_path, learning=2, per_range=1)
    assert scenes.to_learn_from(1) == (scenes.panoramas, ["000000.png"])
    folder, names = scenes.to_learn_from(3)
    assert folder != scenes.panoramas and names == ["000000.png", "000001.png", "000002.png"]
    scenes.render_to_learn_from(3, workers=0)
    assert [task.image for task in asked] == [folder / name for name in names]
    assert [task.labels for task in asked] == [folder.parent / "labels" / name for name in names]
