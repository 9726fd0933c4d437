"""The study of what parts are worth: its plan, its figures, and that the truth really teaches its ceiling."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.world.seeds import DEMO_TRAIN, MODEL_VALIDATION
from scripts import measure_fusion
from scripts.evidence.__main__ import QUICK, main, measure, write
from scripts.evidence.real import measure_real
from scripts.evidence.scenes import LEARNING, RANGES, Scenes, range_of
from scripts.evidence.study import DEFAULT, PARTS, Part, Variant
from scripts.evidence.tables import change, figures, losers, markdown, seeds_record
from scripts.evidence.work import Study, slug, tell
from stages.events import ItemFailed
from tests.stages.small_run import SEEDS, make_folders, small_run, write_panorama

IDS = ["evaluation/A/1", "evaluation/A/2", "evaluation/B/3"]


SMALL = (
    *QUICK, "panorama.width=128", "windows.height=64", "windows.width=64", "windows.stride_y=32", "windows.stride_x=64",
    "views.size=32", "sam.points_per_side=2", "sam.pred_iou_thresh=0", "sam.stability_score_thresh=0",
    "distill.steps=2", "distill.batch_size=1", "adapt.batch_size=1", "adapt.steps=2",
)  # fmt: skip
"""Settings with which a study takes seconds."""


def matrices(*right: float) -> np.ndarray:
    """Of panoramas with 100 pixels of two classes each, of which these shares are right."""
    return np.array([[[100 * r, 100 * (1 - r)], [100 * (1 - r), 100 * r]] for r in right]).round().astype(np.int64)


def test_no_scene_is_in_two_ranges_and_none_was_used_for_another_choice() -> None:
    held_out = [seed for seeds in RANGES.values() for seed in seeds]
    assert len(set(held_out)) == len(held_out) == 24
    assert all(seed in MODEL_VALIDATION for seed in held_out) and all(seed in DEMO_TRAIN for seed in LEARNING)
    assert not set(held_out) & {seed for seeds in measure_fusion.SCENES.values() for seed in seeds}


def test_every_variant_is_a_recipe_of_its_own(tmp_path: Path) -> None:
    study = Study(tmp_path, Scenes(tmp_path / "scenes", 1, 1))
    default = study.run(Variant("the demo's recipe")).recipe
    for part in PARTS.values():
        names = [slug(variant.name) for variant in part.variants]
        assert len(set(names)) == len(names)
        assert not part.variants[0].settings, "others are compared with the demo's recipe"
        for variant in (*part.variants, *part.blends):
            if variant.made_by:  # a command writes its recipe first
                continue
            recipe = study.run(variant, seed=2).recipe
            assert recipe.student.seed == 2
            same = replace(recipe, name=default.name, student=replace(recipe.student, seed=0)) == default
            assert same == (not variant.settings), variant.name


def test_figures_are_percent_of_all_and_of_each_range() -> None:
    found = figures(matrices(0.5, 1.0, 1.0), IDS, labelled=1200)
    assert found["pixels"] == pytest.approx(250 / 3)
    assert found["coverage"] == pytest.approx(50)
    assert found["miou of ranges"] == pytest.approx({"A": 60, "B": 100})
    assert found["spread of ranges"] == pytest.approx(np.std([60, 100], ddof=1))


def test_seeds_are_averaged_and_their_spread_is_told() -> None:
    found = seeds_record([matrices(1, 1, 1), matrices(0.5, 0.5, 0.5)], IDS)
    assert found["miou of seeds"] == pytest.approx([100, 100 / 3])
    assert (found["miou"], found["pixels"]) == pytest.approx((200 / 3, 75))
    assert found["spread of seeds"] == pytest.approx(np.std([100, 100 / 3], ddof=1))


def test_changes_are_paired_and_losers_named() -> None:
    low, high = change(matrices(0.5, 0.6, 0.7), matrices(0.6, 0.7, 0.8))
    assert 0 < low < high < 20
    assert list(losers(["road", "car"], matrices(0.9, 0.9), matrices(0.8, 0.8))) == ["road", "car"]
    assert losers(["road", "car"], matrices(0.8, 0.8), matrices(0.799, 0.8)) == {}


def test_tables_have_a_row_for_each_variant_with_and_without_students(tmp_path: Path) -> None:
    ensemble = figures(matrices(0.5, 1, 1), IDS)
    row = {"ensemble": ensemble | {"change": []}, "classes that lose": {"wall": -2.25}, "student": None}
    taught = {"ensemble": ensemble | {"change": [0.5, 1.5]}, "classes that lose": {},
              "student": seeds_record([matrices(1, 1, 1)], IDS) | {"change": [-1.0, 2.0]}}  # fmt: skip
    record = {"rungs": {"ensemble": ensemble}, "rows": {"first": row, "second": taught}}
    write(tmp_path, "fusion", record)
    write(tmp_path, "ladder", record)
    text = (tmp_path / "evidence.md").read_text()
    assert text.index("### The ladder") < text.index("### Fusion"), "in the order of the study"
    first, second, *_ = (line for line in text.splitlines() if line.startswith(("| first", "| second")))
    assert first.startswith("| first |") and "wall -2.2" in first and first.count("|") == second.count("|")
    assert "+0.5 to +1.5" in second and "-1.0 to +2.0" in second and "| none |" in second
    picture = (tmp_path / "fusion.svg").read_text()
    assert all(word in picture for word in (">first<", ">second<", PARTS["fusion"].title))
    write(tmp_path, "fusion", record)
    assert (tmp_path / "fusion.svg").read_text() == picture
    assert markdown(PARTS, {"ladder": record}).count("| ensemble |") == 1


def small_study(folder: Path) -> Study:
    """A study of panoramas that are already there: two to learn from, one of each of two ranges."""
    scenes = Scenes(folder / "scenes", 2, 1)
    for seed in SEEDS[:2]:
        write_panorama(scenes.panoramas / f"{seed}.png", seed, scenes.labels / f"{seed}.png")
    for name, seed in (("A", 8), ("B", 9)):
        write_panorama(scenes.held_out / name / f"{seed}.png", seed, scenes.held_out_labels / name / f"{seed}.png")
    return Study(folder, scenes, workers=0, settings=SMALL, tune_minutes=0)


@pytest.mark.slow
def test_adapt_and_tune_make_rows_and_the_assistants_images_alone_make_rungs(tmp_path: Path) -> None:
    study = small_study(tmp_path)
    part = replace(
        PARTS["ladder"], seeds=1, controls=("oracle",),
        variants=(DEFAULT, Variant("adapted", made_by="adapt"), Variant("tuned", made_by="tune", has_students=False)),
    )  # fmt: skip
    record = measure(study, part, tmp_path, "ladder")
    rows, rungs = record["rows"], record["rungs"]
    assert list(rungs)[:4] == ["assistant_whole", "assistant_windows", "assistant_views", "assistant_blend"]
    assert rungs["assistant_windows"] != rungs["assistant_blend"] != rungs["assistant_views"]
    assert "/assistants/" in study.run(part.variants[1]).recipe.assistant.name
    assert rows["adapted"]["assistant_blend"] != rows[DEFAULT.name]["assistant_blend"]
    assert rows["adapted"]["student"] and not rows["tuned"]["student"]
    assert "Written by `goodsam adapt`" in rows["adapted"]["about"] and not rows[DEFAULT.name]["about"]
    assert "- tuned. Written by `goodsam tune`" in (tmp_path / "evidence.md").read_text()
    made = {file: file.stat().st_mtime_ns for file in (tmp_path / "recipes").iterdir()}
    assert len(made) == 2
    assert measure(study, part, tmp_path, "ladder") == record
    assert made == {file: file.stat().st_mtime_ns for file in (tmp_path / "recipes").iterdir()}, "made once"


@pytest.mark.slow
def test_cost_is_measured_once_and_drawn(tmp_path: Path) -> None:
    study = small_study(tmp_path)
    dear = Variant("4 x 4 points", ("sam.points_per_side=4",), has_students=False)
    part = Part("Cost", "What?", (DEFAULT, dear), seeds=0, over="seconds")
    record = measure(study, part, tmp_path, "cost")
    assert all(row["seconds"] > 0 for row in record["rows"].values())
    assert measure(study, part, tmp_path, "cost") == record, "what was timed is kept"
    learned = [id_ for id_ in study.run(DEFAULT).panoramas.read_text().split('"') if id_.startswith("panoramas/")]
    assert all(id_.split("/")[1] in "AB" for id_ in learned), "panoramas to learn from are not needed"
    table = (tmp_path / "evidence.md").read_text()
    assert "| settings | stage one, s per panorama | ensemble" in table
    assert ">4 x 4 points<" in (tmp_path / "cost.svg").read_text()


def test_students_over_steps_are_a_line(tmp_path: Path) -> None:
    ensemble = figures(matrices(0.5, 1, 1), IDS) | {"change": []}
    rows = {
        f"{steps} steps": {"ensemble": ensemble, "classes that lose": {}, "steps": steps,
                           "student": seeds_record([matrices(right, 1, 1)], IDS) | {"change": []}}
        for steps, right in ((320, 0.8), (80, 0.6))
    }  # fmt: skip
    write(tmp_path, "steps", {"rows": rows})
    assert ">320<" in (tmp_path / "steps.svg").read_text()
    assert "| 80 steps | 80 |" in (tmp_path / "evidence.md").read_text()
    del rows["80 steps"]["steps"]  # as earlier studies have written it
    assert "| 80 steps |  |" in markdown(PARTS, {"steps": {"rows": rows}})


def test_real_panoramas_are_skipped_without_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--only", "real", "--out", str(tmp_path)])
    assert capsys.readouterr().out == "real: skipped, for --real names no folder of real panoramas\n"


@pytest.mark.slow
def test_real_panoramas_have_scores_without_labels_and_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_folders(tmp_path)
    run = small_run(tmp_path, data={"evaluation": ""})
    monkeypatch.setattr("scripts.evidence.real.real_run", lambda *_, **__: run)
    record = measure_real(tmp_path, tmp_path, panoramas=0, turned=1, workers=0)
    assert list(record["rungs"]) == ["assistant_whole", "assistant_blend", "confidence_threshold", "ensemble",
                                     "ensemble_reliable"]  # fmt: skip
    blend, ensemble = record["rungs"]["assistant_blend"], record["rungs"]["ensemble"]
    assert 0 <= blend["purity"] < ensemble["purity"] <= 1, "the masks have painted the ensemble"
    assert len(blend["changed by turning"]) == 2 and blend["coverage"] == pytest.approx(1)
    doubts = [one["purity"] for one in record["doubtful"]]
    assert doubts == sorted(doubts), "the worst first"
    pictures = sorted(path.name for path in (tmp_path / "real" / "pictures").iterdir())
    assert len(pictures) == len(record["doubtful"]) == 3 and pictures[0].startswith("01-")
    assert measure_real(tmp_path, tmp_path, panoramas=0, turned=1, workers=0) == record
    write(tmp_path, "real", record)
    table = (tmp_path / "evidence.md").read_text()
    assert "3 panoramas." in table and "| ensemble |" in table and f"| {record['doubtful'][0]['id']} |" in table


def test_a_panorama_set_aside_ends_the_study() -> None:
    with pytest.raises(RuntimeError, match="photo: broken"):
        tell(ItemFailed("teacher-cache", "photo", "broken"))


def test_a_range_is_named_by_the_folder() -> None:
    assert range_of("evaluation/B/207100") == "B"
