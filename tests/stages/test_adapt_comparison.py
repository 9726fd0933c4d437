"""The adapted assistant beside the one before: verdicts, tables, and what is judged once and then read."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.cache.store import TeacherStore
from pipeline.errors import InputError
from pipeline.recipe import Recipe
from pipeline.tune.judge import Judgement
from stages import adapt_comparison
from stages.adapt_comparison import BLEND, STAGE, WHOLE, Comparison, compare, read_comparison
from stages.events import Event, ItemFailed, StageAdvanced, StageFinished, StageStarted, silent
from stages.panorama_work import PanoramaTask
from stages.splits import learning_panoramas
from tests.stages.small_run import small_run


def judgement(score: float) -> Judgement:
    return Judgement(score, score, score, score, 5.0, 0.0, 0.0)


def comparison(before: float, adapted: float, *panoramas: str) -> Comparison:
    return Comparison({BLEND: judgement(before), WHOLE: judgement(0.9)},
                      {BLEND: judgement(adapted), WHOLE: judgement(0.1)}, panoramas)  # fmt: skip


@pytest.mark.parametrize(
    ("adapted", "is_better", "word"), [(0.6, True, "better"), (0.5, True, "as good"), (0.4, False, "worse")]
)
def test_the_blend_decides_and_equal_is_good_enough(adapted: float, is_better: bool, word: str) -> None:
    found = comparison(0.5, adapted, "a", "b")
    assert found.is_better == is_better
    assert found.verdict == (
        f"the adapted assistant is {word} by what needs no label: score {adapted:.4f}, before 0.5000, on 2 panoramas"
    )


def test_the_table_has_both_assistants_by_what_is_judged() -> None:
    head, line, *rows = comparison(0.5, 0.6, "a").table().splitlines()
    assert head.count("|") == line.count("|") == rows[0].count("|") == 7
    assert [row.split("|")[1].strip() for row in rows] == [
        "blend, before", "blend, adapted", "whole image, before", "whole image, adapted"]  # fmt: skip
    assert rows[1] == "| blend, adapted | 0.6000 | 0.6000 | 0.6000 | 0.6000 | 5.0 |"


@pytest.mark.parametrize("content", [None, "", "[]", "{}", '{"before": {}, "adapted": {"blend": {"purity": 1}}}'])
def test_a_comparison_that_is_missing_or_damaged_is_none(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "comparison.json").write_text(content)
    assert read_comparison(tmp_path / "comparison.json") is None


def test_a_comparison_comes_back(tmp_path: Path) -> None:
    found = comparison(0.5, 0.6, "a")
    (tmp_path / "comparison.json").write_text(json.dumps(asdict(found)))
    assert read_comparison(tmp_path / "comparison.json") == found


Judged = list[tuple[str, str]]
"""(Name of the recipe, panorama) in the order in which they were judged."""


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Judged]:
    """Have panoramas judged at once, the adapted assistant better, some unusable; what was judged comes back."""

    def have(*unusable: str) -> Judged:
        order: Judged = []

        class Library:
            def __init__(self, recipe: Recipe, store: TeacherStore) -> None:
                self.recipe = recipe

            def prepare(self, task: PanoramaTask, parts: object) -> Any:
                if task.panorama.id in unusable:
                    raise InputError(f"{task.panorama.id} is broken", "it must not be", "Mend it")
                order.append((self.recipe.name, task.panorama.id))
                score = 0.7 if self.recipe.name == "adapted" else 0.5
                return SimpleNamespace(judged=SimpleNamespace(judge=lambda *_: judgement(score)))

            def read(self, *_: object) -> tuple[object, ...]:
                return ()

        monkeypatch.setattr("stages.adapt_comparison.PartLibrary", Library)
        return order

    return have


def test_both_assistants_are_judged_on_all_panoramas_once_and_then_read(
    finished: Path, tmp_path: Path, judged: Callable[..., Judged]
) -> None:
    run, order, events = small_run(finished), judged(), list[Event]()
    panoramas = learning_panoramas(run.recipe)[:2]
    adapted = replace(run.recipe, name="adapted")
    found = compare(run, adapted, panoramas, "content", tmp_path, events.append, "cpu")
    assert order == [(name, p.id) for name in ("small", "adapted") for p in panoramas]
    assert found.is_better and found.panoramas == tuple(p.id for p in panoramas)
    assert events[0] == StageStarted(STAGE, 4, "panoramas")
    assert [event.done for event in events if isinstance(event, StageAdvanced)] == [1, 2, 3, 4]
    assert isinstance(events[-1], StageFinished)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["comparison.json", "comparison.md"]
    assert compare(run, adapted, panoramas, "content", tmp_path, silent, "cpu") == found and len(order) == 4
    compare(run, adapted, panoramas[:1], "content", tmp_path, silent, "cpu")
    assert len(order) == 6, "other panoramas are judged anew"
    compare(run, adapted, panoramas[:1], "changed", tmp_path, silent, "cpu")
    assert len(order) == 8, "and changed ones"
    record = json.loads((tmp_path / "comparison.json").read_text())
    del record["content"]  # as earlier versions wrote it
    (tmp_path / "comparison.json").write_text(json.dumps(record))
    compare(run, adapted, panoramas[:1], "changed", tmp_path, silent, "cpu")
    assert len(order) == 10, "nobody knows what an earlier version has judged"


def test_an_unusable_panorama_is_told_and_the_others_decide(
    finished: Path, tmp_path: Path, judged: Callable[..., Judged]
) -> None:
    run, events = small_run(finished), list[Event]()
    panoramas = learning_panoramas(run.recipe)
    judged(panoramas[0].id)
    adapted = replace(run.recipe, name="adapted")
    found = compare(run, adapted, panoramas, "content", tmp_path, events.append, "cpu")
    assert found.is_better and found.panoramas == tuple(p.id for p in panoramas[1:])
    assert found.verdict.endswith("on 2 panoramas")
    assert compare(run, adapted, panoramas, "content", tmp_path, lambda _: pytest.fail("judged again"), "cpu") == found
    assert [event.item for event in events if isinstance(event, ItemFailed)] == [panoramas[0].id] * 2
    judged(*(p.id for p in panoramas))
    with pytest.raises(InputError, match=r"none of 3 held-out panoramas.*adapt\.held_out = 0"):
        compare(run, run.recipe, panoramas, "content", tmp_path / "other", silent, "cpu")


def test_a_panorama_that_one_assistant_alone_was_judged_on_decides_nothing(
    finished: Path, tmp_path: Path, judged: Callable[..., Judged], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, panoramas = small_run(finished), learning_panoramas(small_run(finished).recipe)
    judged()
    prepare = adapt_comparison.PartLibrary.prepare

    def changed_meanwhile(library: Any, task: PanoramaTask, parts: Any) -> Any:
        if library.recipe.name == "adapted" and task.panorama.id == panoramas[0].id:
            raise InputError("it changed", "it must not", "Run it again")
        found: Any = prepare(library, task, parts)
        if task.panorama.id == panoramas[0].id:
            found.judged.judge = lambda *_: judgement(0.9)
        return found

    monkeypatch.setattr(adapt_comparison.PartLibrary, "prepare", changed_meanwhile)
    found = compare(run, replace(run.recipe, name="adapted"), panoramas, "content", tmp_path, silent, "cpu")
    assert found.before[BLEND].score == pytest.approx(0.5) and found.is_better


def test_without_masks_no_assistant_is_called_worse(
    finished: Path, tmp_path: Path, judged: Callable[..., Judged], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, panoramas = small_run(finished), learning_panoramas(small_run(finished).recipe)
    judged()
    nothing = SimpleNamespace(judged=SimpleNamespace(judge=lambda *_: judgement(math.nan)))
    monkeypatch.setattr(adapt_comparison.PartLibrary, "prepare", lambda *_: nothing)
    with pytest.raises(InputError, match=r"SAM finds no masks in 3 held-out panoramas.*adapt\.held_out = 0"):
        compare(run, run.recipe, panoramas, "content", tmp_path, silent, "cpu")
