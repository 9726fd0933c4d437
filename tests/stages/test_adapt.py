"""`goodsam adapt` on tiny panoramas: what it trains, resumes, compares, writes and refuses."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.errors import CacheError, InputError, RecipeError
from pipeline.recipe import load_recipe
from pipeline.tune.judge import Judgement
from stages import adapt as adapt_stage
from stages import cli
from stages.adapt import adapt
from stages.adapt_comparison import BLEND, WHOLE, Comparison, read_comparison
from stages.events import Event, Note, StageAdvanced, silent
from stages.garbage import find_garbage
from stages.products import fingerprints
from stages.runs import Run
from stages.teacher_cache import teacher_cache
from tests.stages.small_run import small_run

pytestmark = pytest.mark.usefixtures("one_thread")

BRIEF: dict[str, object] = {"steps": 3, "batch_size": 1, "held_out": 1, "checkpoint_every": 1, "precision": "float32"}
VIEWS: dict[str, object] = {"level": 2, "down": 0, "up": 0, "nadir": 0, "zenith": 0, "size": 32, "fov": 100.0}

Outcome = tuple[Path, list[adapt_stage.AdaptRound], list[Event]]
"""A folder with a finished round, what it gave, and its events."""


@pytest.fixture(scope="module")
def adapted(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """A folder with a finished round, not to be changed, what it gave, and its events."""
    folder, events = shutil.copytree(finished, tmp_path_factory.mktemp("adapted") / "small"), list[Event]()
    return folder, adapt(small_run(folder, adapt=BRIEF), events.append, folder / "small.adapted.toml"), events


def test_a_round_gives_a_network_a_comparison_and_if_it_is_no_worse_a_recipe(
    adapted: Outcome,
):
    folder, (found,), events = adapted
    assert found.comparison is not None and set(found.comparison.adapted) == {BLEND, WHOLE}
    kept = read_comparison(found.network.parent / "comparison.json")
    assert kept is not None and kept.table() == found.comparison.table()
    assert (found.network.parent / "comparison.md").read_text() == f"{kept.table()}\n"
    assert found.is_used == found.comparison.is_better == (folder / "small.adapted.toml").exists()
    assert not list(found.network.parent.glob("parts*"))
    run = small_run(folder, adapt=BRIEF)
    assert run.results.assistants == (found.network.parent.name,)
    assert found.network == run.cache / "assistants" / run.results.assistants[0] / "final"
    assert any("too few to hold some out" in event.text for event in events if isinstance(event, Note))
    assert "adapted" in found.comparison.table() and "score" in found.verdict
    record = json.loads((found.network / "adapted.json").read_text())
    assert record["shown"] == ["windows", "whole"] and record["panoramas"] == 3
    assert "trained further without labels on 3 panoramas" in (found.network / "README.md").read_text()


def test_the_recipe_stands_for_a_run_whose_masks_are_there_already(adapted: Outcome, tmp_path: Path):
    copy = shutil.copytree(adapted[0], tmp_path / "copy")
    run = small_run(copy, adapt=BRIEF)
    recipe = replace(adapted[1][0].recipe, data=run.recipe.data)  # the network stays in the other folder
    assert recipe.assistant.label_set == "densepass13"
    summary = teacher_cache(Run(recipe, run.cache / recipe.name), silent)
    assert summary.products == {"assistant": 4, "ensemble": 4}


def test_a_second_call_trains_and_predicts_nothing(adapted: Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    copy, events = shutil.copytree(adapted[0], tmp_path / "copy"), list[Event]()
    monkeypatch.setattr("stages.adapt_comparison.PartLibrary", lambda *_: pytest.fail("predicted again"))
    out = copy / "again.toml"
    for _ in range(2):  # the second time, its own recipe is there
        (again,) = adapt(small_run(copy, adapt=BRIEF), events.append, out)
        assert again.verdict == adapted[1][0].verdict and again.is_used == adapted[1][0].is_used == out.exists()
    assert not any(isinstance(event, StageAdvanced) for event in events)


def scored(score: float) -> dict[str, Judgement]:
    return {BLEND: Judgement(score, score, score, score, 5.0, 0.0, 0.0)}


@pytest.mark.parametrize(("after", "is_used"), [(0.4, False), (0.5, True), (0.6, True)])
def test_a_worse_round_is_told_and_not_used(
    adapted: Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    after: float, is_used: bool,
):  # fmt: skip
    copy, events = shutil.copytree(adapted[0], tmp_path / "copy"), list[Event]()
    out = copy / "other.toml"
    monkeypatch.setattr(adapt_stage, "compare", lambda *_: Comparison(scored(0.5), scored(after), ("a",)))
    (found,) = adapt(small_run(copy, adapt=BRIEF), events.append, out)
    assert found.is_used == is_used == out.exists()
    told = [event.text for event in events if isinstance(event, Note) and "not used" in event.text]
    assert bool(told) == (not is_used)
    assert is_used or "worse by what needs no label: score 0.4000, before 0.5000, on 1 panorama;" in told[0]


def test_its_own_recipe_is_left_as_its_owner_has_changed_it_and_written_anew_where_that_is_asked_for(
    adapted: Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    copy = shutil.copytree(adapted[0], tmp_path / "copy")
    out = copy / "other.toml"
    monkeypatch.setattr(adapt_stage, "compare", lambda *_: Comparison(scored(0.5), scored(0.6), ("a",)))
    for overwrite, steps, written in ((False, 4, 4), (False, 7, 4), (True, 7, 7)):
        run = small_run(copy, adapt=BRIEF, distill={"steps": steps})
        adapt(run, silent, out, overwrite=overwrite)
        assert load_recipe(out).distill.steps == written


def test_rounds_go_on_from_the_adapted_recipe_until_one_is_worse(
    adapted: Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    scores, asked = iter((0.6, 0.4)), list[str]()
    outcome = adapted[1][0]

    def one_round(run: Run, _: object, out: Path, **__: object) -> adapt_stage.AdaptRound:
        asked.append(f"adapt {run.recipe.name} {out.name}")
        is_used = next(scores) > 0.5
        return adapt_stage.AdaptRound(
            outcome.network, replace(outcome.recipe, name="small-adapted"), None, out if is_used else None
        )

    monkeypatch.setattr(adapt_stage, "adapt_once", one_round)
    monkeypatch.setattr(adapt_stage, "teacher_cache", lambda run, *_, **__: asked.append(f"cache {run.recipe.name}"))
    found = adapt(small_run(adapted[0]), silent, tmp_path / "small.adapted.toml", rounds=3)
    assert [round_.is_used for round_ in found] == [True, False]
    assert asked == ["cache small", "adapt small small.adapted.toml",
                     "cache small-adapted", "adapt small-adapted small.adapted-2.toml"]  # fmt: skip


def test_without_a_teacher_cache_it_says_what_makes_one(finished: Path, tmp_path: Path):
    shutil.copytree(finished / "photos", tmp_path / "photos")
    shutil.copy(finished / "small.toml", tmp_path)
    with pytest.raises(CacheError, match="Run `goodsam teacher-cache` first"):
        adapt(small_run(tmp_path), silent, tmp_path / "out.toml")


def test_a_recipe_that_is_there_is_not_overwritten_and_nothing_is_trained(own_finished: Path):
    out = own_finished / "small.toml"
    with pytest.raises(InputError, match="exists"):
        adapt(small_run(own_finished, adapt=BRIEF), silent, out)
    assert not (own_finished / "cache" / "assistants").exists()


def test_an_onnx_assistant_is_refused_before_anything_is_read(tmp_path: Path):
    recipe = tmp_path / "mine.toml"
    recipe.write_text('[assistant]\nkind = "onnx"\nname = "net.onnx"\n')
    result = CliRunner().invoke(cli.app, ["adapt", str(recipe)])
    assert isinstance(result.exception, RecipeError)
    assert "net.onnx, an ONNX file" in str(result.exception)
    assert not (tmp_path / "cache").exists()


def test_settings_of_adapting_change_no_product(finished: Path):
    changed: dict[str, object] = {"steps": 7, "consistency": 0.0, "class_balance": 0.5}
    assert fingerprints(small_run(finished, adapt=changed).recipe) == fingerprints(small_run(finished).recipe)


def test_assistants_that_a_run_made_or_uses_are_no_garbage(adapted: Outcome, tmp_path: Path):
    copy = shutil.copytree(adapted[0], tmp_path / "copy")
    assert find_garbage(copy / "cache") == []
    user, name = copy / "cache" / "user", adapted[1][0].network.parent.name
    shutil.copytree(copy / "cache" / "small", user)
    (user / "results.json").unlink()
    shutil.rmtree(copy / "cache" / "small")
    assert [garbage.reason for garbage in find_garbage(copy / "cache")] == ["assistant that no run has"]
    path = copy / "cache" / "assistants" / name / "final"
    (user / "recipe.toml").write_text(f'[assistant]\nname = "{path}"\n')
    assert find_garbage(copy / "cache") == []
