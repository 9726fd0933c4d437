"""The plan of the study: every part compares with the demo's recipe, and rows that are drawn over something have it."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.evidence.__main__ import has_what_it_needs
from scripts.evidence.study import B0_START, DEFAULT, MOBILE_SAM, PARTS, Variant, one_by_one
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


def test_a_part_is_skipped_by_name_without_the_file_that_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert has_what_it_needs("ladder") and not has_what_it_needs("mobile-sam")
    told = f"skipped, for there is no {MOBILE_SAM.path} (`goodsam fetch-weights vit_t` brings it)"
    assert capsys.readouterr().out == f"mobile-sam: {told}\n"
    Path(MOBILE_SAM.path).parent.mkdir(parents=True)
    Path(MOBILE_SAM.path).touch()
    assert has_what_it_needs("mobile-sam") and not has_what_it_needs("b0")
    assert B0_START.path in capsys.readouterr().out


def test_recipes_are_made_by_commands_that_make_some_and_labels_are_counted_where_they_teach() -> None:
    for part in PARTS.values():
        for variant in part.variants:
            assert variant.made_by in ("", "adapt", "tune") and variant.taught_by in ("cache", "truth", "both")
            assert not (variant.made_by and variant.settings), "a command's recipe is taken as it is"
            assert variant.labelled == 0 or variant.taught_by != "cache"
