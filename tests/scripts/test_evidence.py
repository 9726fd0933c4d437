"""The study of what parts are worth: its plan, its figures, and that the truth really teaches its ceiling."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scripts.evidence.__main__ import QUICK, main, measure, write
from scripts.evidence.real import measure_real
from scripts.evidence.scenes import Scenes
from scripts.evidence.study import DEFAULT, PARTS, Part, Variant
from scripts.evidence.work import Study
from tests.scripts.evidence.small_scenes import write_held_out
from tests.stages.small_run import SEEDS, make_folders, small_run, write_panorama

SMALL = (
    *QUICK, "panorama.width=128", "windows.height=64", "windows.width=64", "windows.stride_y=32", "windows.stride_x=64",
    "views.size=32", "sam.points_per_side=2", "sam.pred_iou_thresh=0", "sam.stability_score_thresh=0",
    "distill.steps=2", "distill.batch_size=1", "adapt.batch_size=1", "adapt.steps=2",
)  # fmt: skip
"""Settings with which a study takes seconds."""


def small_study(folder: Path) -> Study:
    """A study of panoramas that are already there: two to learn from, one of each of two ranges."""
    scenes = Scenes(folder / "scenes", 2, 1)
    for seed in SEEDS[:2]:
        write_panorama(scenes.panoramas / f"{seed}.png", seed, scenes.labels / f"{seed}.png")
    write_held_out(scenes)
    return Study(folder, scenes, workers=0, settings=SMALL, tune_minutes=0)


@pytest.mark.slow
def test_adapt_and_tune_make_rows_and_the_assistants_images_alone_make_rungs(tmp_path: Path) -> None:
    study = small_study(tmp_path)
    adapted = Variant("adapted", made_by="adapt", made_with=("fusion.theta=0.6",))
    tuned = Variant("tuned", made_by="tune", has_students=False)
    part = replace(PARTS["ladder"], seeds=1, controls=("oracle",), variants=(DEFAULT, adapted, tuned))
    record = measure(study, part, tmp_path, "ladder")
    rows, rungs = record["rows"], record["rungs"]
    assert list(rungs)[:4] == ["assistant_whole", "assistant_windows", "assistant_views", "assistant_blend"]
    assert rungs["assistant_windows"] != rungs["assistant_blend"] != rungs["assistant_views"]
    of_adapted, of_tuned = (study.run(variant).recipe for variant in (adapted, tuned))
    assert "/assistants/" in of_adapted.assistant.name
    assert of_adapted.fusion.theta == 0.6 != of_tuned.fusion.theta, "it began with that setting"
    assert rows["adapted"]["assistant_blend"] != rows[DEFAULT.name]["assistant_blend"]
    assert rows["adapted"]["student"] and not rows["tuned"]["student"]
    assert "Written by `goodsam adapt`" in rows["adapted"]["about"] and not rows[DEFAULT.name]["about"]
    assert "- tuned. Written by `goodsam tune`" in (tmp_path / "evidence.md").read_text()
    made = {file: file.stat().st_mtime_ns for file in (tmp_path / "recipes").iterdir()}
    assert len(made) == 2
    assert rows["adapted"]["student_start"] == rows[DEFAULT.name]["student_start"] == rungs["student_start"]
    shutil.rmtree(tmp_path / "cache" / "students")  # what has been measured is not trained again
    assert measure(study, part, tmp_path, "ladder") == record
    assert not (tmp_path / "cache" / "students").exists()
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


def test_rows_that_are_not_measured_now_stay_in_the_order_of_the_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scripts.evidence.__main__.markdown", lambda *_: "")
    monkeypatch.setattr("scripts.evidence.__main__.plot", lambda *_: None)
    first, second, changed = (Variant(name, (f"fusion.theta={theta}",)) for name, theta in
                              (("first", 0.5), ("second", 0.6), ("changed", 0.7)))  # fmt: skip
    plan = Part("Plan", "What?", (first, second, changed), settings=("losses.stride=4",))
    monkeypatch.setitem(PARTS, "planned", plan)

    def rows(*names: str, theta: str = "") -> dict[str, Any]:
        settings = {v.name: ["losses.stride=4", *((theta,) if theta else v.settings)] for v in plan.variants}
        return {name: {"settings": settings.get(name, []), "figure": theta} for name in names}

    write(tmp_path, "planned", {"rows": rows("changed", theta="fusion.theta=0.9") | rows("second", "gone")})
    before = json.loads((tmp_path / "evidence.json").read_text())["parts"]["planned"]["measured"]
    monkeypatch.setattr("scripts.evidence.__main__.commit", lambda: "later")
    for _ in range(2):
        write(tmp_path, "planned", {"rows": rows("first"), "rungs": {}})
    part = json.loads((tmp_path / "evidence.json").read_text())["parts"]["planned"]
    assert list(part["rows"]) == ["first", "second"]
    assert part["rows"]["second"]["measured"] == before and part["measured"]["commit"] == "later"
    assert "measured" not in part["rows"]["first"]


def test_real_panoramas_are_skipped_without_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--only", "real", "--out", str(tmp_path)])
    assert capsys.readouterr().out == "real: skipped, for --real names no folder of real panoramas\n"


def test_real_panoramas_are_skipped_without_the_weights_of_their_sam(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    main(["--only", "real-mobile-sam", "--real", str(tmp_path), "--out", str(tmp_path)])
    assert capsys.readouterr().out.startswith("real-mobile-sam: skipped, for there is no cache/weights/mobile_sam.pt")


@pytest.mark.slow
def test_real_panoramas_have_scores_without_labels_and_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_folders(tmp_path)
    run = small_run(tmp_path, data={"evaluation": ""})
    monkeypatch.setattr("scripts.evidence.real.real_run", lambda *_, **__: run)
    record = measure_real("real", tmp_path, tmp_path, panoramas=0, turned=1, workers=0)
    assert list(record["rungs"]) == ["assistant_whole", "assistant_blend", "confidence_threshold", "ensemble",
                                     "ensemble_reliable"]  # fmt: skip
    blend, ensemble = record["rungs"]["assistant_blend"], record["rungs"]["ensemble"]
    assert 0 <= blend["purity"] < ensemble["purity"] <= 1, "the masks have painted the ensemble"
    assert len(blend["changed by turning"]) == 2 and blend["coverage"] == pytest.approx(1)
    assert sorted(record["masks"]) == sorted(one["id"] for one in record["doubtful"])
    assert min(record["masks"].values()) > 0
    doubts = [one["purity"] for one in record["doubtful"]]
    assert doubts == sorted(doubts), "the worst first"
    pictures = sorted(path.name for path in (tmp_path / "real" / "pictures").iterdir())
    assert len(pictures) == len(record["doubtful"]) == 3 and pictures[0].startswith("01-")
    assert measure_real("real", tmp_path, tmp_path, panoramas=0, turned=1, workers=0) == record
    write(tmp_path, "real", record)
    table = (tmp_path / "evidence.md").read_text()
    assert "3 panoramas of " in table and "| ensemble |" in table and f"| {record['doubtful'][0]['id']} |" in table
