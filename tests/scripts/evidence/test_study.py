"""The plan of the study: every part compares with the demo's recipe, and rows that are drawn over something have it."""

from __future__ import annotations

from scripts.evidence.study import DEFAULT, PARTS, Variant, one_by_one
from scripts.evidence.tables import OVER


def test_rows_change_a_setting_or_several_beside_the_demos_recipe() -> None:
    first, one, several = one_by_one(("one", "a.b=1"), ("several", ("a.b=1", "a.c=2")), has_students=False)
    assert first == DEFAULT
    assert (one, several) == (Variant("one", ("a.b=1",), has_students=False),
                              Variant("several", ("a.b=1", "a.c=2"), has_students=False))  # fmt: skip


def test_every_part_begins_with_the_demos_recipe_and_names_no_row_twice() -> None:
    for name, part in PARTS.items():
        assert part.variants[0] == DEFAULT and part.title and part.question, name
        names = [variant.name for variant in (*part.variants, *part.blends)]
        assert len(set(names)) == len(names), name


def test_what_rows_are_drawn_over_is_known_and_students_are_trained_where_there_are_seeds() -> None:
    for name, part in PARTS.items():
        assert part.over in ("", *OVER), name
        if part.over == "steps":
            assert all("distill.steps=" in " ".join(variant.settings) for variant in part.variants[1:])
        if part.seeds == 0:
            assert not any(variant.has_students for variant in part.variants[1:]), name


def test_recipes_are_made_by_commands_that_make_some_and_labels_are_counted_where_they_teach() -> None:
    for part in PARTS.values():
        for variant in part.variants:
            assert variant.made_by in ("", "adapt", "tune") and variant.taught_by in ("cache", "truth", "both")
            assert not (variant.made_by and variant.settings), "a command's recipe is taken as it is"
            assert variant.labelled == 0 or variant.taught_by != "cache"
