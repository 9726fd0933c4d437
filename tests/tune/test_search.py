"""The search finds the best blend of a landscape that the test makes, and refuses what has collapsed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from pipeline.errors import InputError
from pipeline.panorama.config import ViewsConfig
from pipeline.teacher.config import AssistantConfig
from pipeline.tune.blends import Blend
from pipeline.tune.judge import Judgement
from pipeline.tune.parts import GROUPS
from pipeline.tune.report import Trial, table, verdict
from pipeline.tune.search import Search, choose, first_round, neighbours, variants

CURRENT = Blend(0.5, 0)


def judgement(score: float, classes: float = 5) -> Judgement:
    return Judgement(score, score, score, 1, classes, 0, 0)


def searched(landscape: Callable[[Blend], float], groups: tuple[str, ...] = GROUPS) -> dict[Blend, Judgement]:
    search, judged = Search(CURRENT, groups), dict[Blend, Judgement]()
    while blends := search.next_round(judged):
        assert not judged.keys() & set(blends)
        judged |= {blend: judgement(landscape(blend)) for blend in blends}
    return judged


def test_the_recipes_own_blend_is_judged_first_and_nothing_twice() -> None:
    blends = first_round(CURRENT, GROUPS)
    assert blends[0] == CURRENT and len(set(blends)) == len(blends) >= 12


@pytest.mark.parametrize(
    "aim",
    [
        Blend(0.375, 0.5, ("level",)),
        Blend(0, 0.625, ("down", "up", "nadir")),
        Blend(0, 0.625, ("down", "up"), (1, 0.5)),
        Blend(0.875, 0),
        Blend(0, 1, GROUPS),
    ],
)
def test_the_search_climbs_to_the_best(aim: Blend) -> None:
    def landscape(blend: Blend) -> float:
        wrong = sum(abs(blend.weight_of.get(group, 0) - aim.weight_of.get(group, 0)) for group in GROUPS)
        away = abs(blend.whole - aim.whole) + abs(blend.views - aim.views) + abs(blend.windows - aim.windows)
        return 1 / (1 + away + 0.2 * wrong)

    judged = searched(landscape)
    assert choose(judged).best == aim
    assert len(judged) < 100


def test_groups_that_see_nothing_of_a_band_are_left_out() -> None:
    judged = searched(lambda blend: 0.5 + 0.1 * blend.views, ("level",))
    assert {blend.groups for blend in judged} == {(), ("level",)}
    assert {blend.groups for blend in searched(lambda blend: 0.5, ())} == {()}


def test_scales_and_fields_of_view_are_tried_last_and_only_of_what_has_weight() -> None:
    config, views = AssistantConfig(window_scale=1.5), ViewsConfig(fov=75)
    tried = variants(Blend(0.25, 0.5, ("level",)), config, views)
    assert {(blend.window_scale, blend.fov) for blend in tried} == {(1, 0), (2, 0), (0, 60), (0, 90), (0, 105)}
    assert {blend.fov for blend in variants(Blend(0.5, 0), config, views)} == {0}
    shown_to_sam = variants(Blend(0.25, 0.5, ("level",)), config, views, shared=("down",))
    assert {(blend.window_scale, blend.fov) for blend in shown_to_sam} == {(1, 0), (2, 0)}
    assert {blend.window_scale for blend in variants(Blend(0.5, 0.5, ("up",)), config, views)} == {0}
    assert "0.25 windows x2 + 0.5 views (level)" in tried[1].label
    assert "views (level; 60 degrees)" in tried[2].label


def test_neighbours_differ_in_one_thing() -> None:
    start = Blend(0.5, 0.25, ("level", "down"))
    near = set(neighbours(start, GROUPS, 0.25))
    assert Blend(0.25, 0.5, ("level", "down")) in near and Blend(0.75, 0) in near
    assert Blend(0.5, 0.25, ("down",)) in near and Blend(0.5, 0.25, ("level", "down", "up")) in near
    assert all(blend.windows >= 0 for blend in near) and start not in near
    assert {blend.group_weights for blend in near} == {()}
    finer = set(neighbours(start, GROUPS, 0.125))
    assert Blend(0.5, 0.25, ("level", "down"), (1, 0.5)) in finer
    halved = Blend(0.5, 0.25, ("level", "down"), (1, 0.5))
    assert {start, Blend(0.5, 0.25, ("level",))} <= set(neighbours(halved, GROUPS, 0.125))
    assert all(max(blend.weight_of.values(), default=1) == 1 for blend in finer)


def test_neighbours_of_weights_that_no_decimal_is_equal_to_are_blends() -> None:
    near = set(neighbours(Blend(2 / 3, 1 / 6, ("level",)), GROUPS, 0.25))
    without_windows = [blend for blend in near if blend.whole > 0.8 and blend.views > 0]
    assert [(blend.whole, blend.views, blend.windows) for blend in without_windows] == [(0.833334, 0.166666, 0)]


def test_weights_per_pixel_are_tried_last_and_a_recipes_own_stay_meanwhile() -> None:
    start = Blend(0.5, 0.25, ("level",))
    by_latitude = replace(start, latitude_power=1)
    assert {by_latitude, replace(start, confidence_power=2)} <= set(neighbours(start, GROUPS, 0.125))
    assert {blend.latitude_power for blend in neighbours(by_latitude, GROUPS, 0.25)} == {1}
    assert {blend.latitude_power for blend in first_round(by_latitude, GROUPS)} == {1}
    assert {blend.latitude_power for blend in neighbours(Blend(0.5, 0), (), 0.125)} == {0}


def test_a_collapsed_blend_is_refused_though_its_score_is_the_highest() -> None:
    healthy, poor, collapsed = Blend(1, 0), Blend(0.75, 0), Blend(0, 0)
    choice = choose({collapsed: judgement(0.99, classes=1.3), healthy: judgement(0.9), poor: judgement(0.8)})
    assert (choice.best, choice.collapsed) == (healthy, (collapsed,))


def test_views_that_may_have_no_weight_are_not_chosen_though_the_recipe_has_them() -> None:
    recipe, other = Blend(0.5, 0.5, ("level", "up")), Blend(0.5, 0.5, ("level",))
    judged = {recipe: judgement(0.9), other: judgement(0.8), Blend(1, 0): judgement(0.7)}
    assert choose(judged).best == recipe
    assert choose(judged, ("level", "down")).best == other
    said = verdict({blend: Trial(blend, [score] * 2, 1) for blend, score in judged.items()}, recipe, other)
    assert "its score is 0.1000 +- 0.0000 below that of the recipe's own" in said


@pytest.mark.parametrize("score", [0.0, math.nan])
def test_where_nothing_can_be_judged_that_is_one_error(score: float) -> None:
    with pytest.raises(InputError, match="SAM must find masks, and the assistant more than one class"):
        choose({Blend(1, 0): judgement(score, 1), CURRENT: judgement(score, 1)})


def trials() -> dict[Blend, Trial]:
    scores = {CURRENT: (0.5, 0.6), Blend(1, 0): (0.7, 0.55), Blend(0, 0.5, ("level",)): (0.3, 0.2)}
    return {blend: Trial(blend, [judgement(score) for score in both], 2.5) for blend, both in scores.items()}


def test_the_table_shows_the_best_first_and_marks_choice_recipe_and_what_was_refused() -> None:
    lines = table(trials(), CURRENT, Blend(1, 0), [Blend(0, 0.5, ("level",))]).splitlines()
    assert len({line.count("|") for line in lines}) == 1 and len(lines) == 5
    assert "1 of 2 | 1 whole (chosen)" in lines[2] and "0.6250" in lines[2] and "2.5" in lines[2]
    assert "0 of 2 | 0.5 whole + 0.5 windows (recipe)" in lines[3]
    assert "0.5 windows + 0.5 views (level) (collapsed)" in lines[4]


def test_a_short_table_keeps_the_recipes_row() -> None:
    assert len(table(trials(), CURRENT, Blend(1, 0), [], most=1).splitlines()) == 4


def test_the_verdict_says_how_far_the_choice_is_ahead_and_on_how_many_panoramas() -> None:
    said = verdict(trials(), CURRENT, Blend(1, 0))
    assert "1 whole; its score is 0.0750 +- 0.1250 above" in said and "on 1 of 2 panoramas" in said
    assert "the recipe's own blend is the best of 3" in verdict(trials(), CURRENT, CURRENT)


def test_panoramas_in_which_sam_found_no_masks_do_not_count_in_verdict_and_table() -> None:
    without_masks = Judgement(math.nan, math.nan, 0.9, 1, 1, 0, 0)
    with_it = {
        blend: replace(trial, judgements=[*trial.judgements, without_masks]) for blend, trial in trials().items()
    }
    assert verdict(with_it, CURRENT, Blend(1, 0)) == verdict(trials(), CURRENT, Blend(1, 0))
    assert verdict(with_it, CURRENT, CURRENT) == verdict(trials(), CURRENT, CURRENT)
    assert "1 of 2 | 1 whole (chosen)" in table(with_it, CURRENT, Blend(1, 0), [])
