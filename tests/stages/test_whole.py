"""Both stages and the evaluation, from a folder of panoramas to a measured student, through the command line."""

from __future__ import annotations

import json
import math
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from transformers import SegformerForSemanticSegmentation

from pipeline.cache.store import TeacherStore
from pipeline.recipe import load_recipe
from pipeline.world import build_scene, render_panorama
from stages import cli, reading
from stages.claims import exclusive_lock
from tests.real_data import ROOT
from tests.stages.small_run import make_folders, small_run, write_panorama

NO_PICTURES = ("--set", "evaluation.overlays=0")


def goodsam(*arguments: object) -> int:
    """Exit code of the command line."""
    argv, sys.argv = sys.argv, ["goodsam", *map(str, arguments)]
    try:
        cli.main()
    except SystemExit as stop:
        return int(stop.code or 0)
    finally:
        sys.argv = argv
    return 0


@pytest.fixture(scope="module")
def folder(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which all stages have run; stage one finds its work done."""
    folder = shutil.copytree(finished, tmp_path_factory.mktemp("runs") / "whole")
    for stage in ("teacher-cache", "distill", "eval"):
        assert goodsam(stage, folder / "small.toml", "--cache", folder / "cache") == 0
    return folder


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed."""
    return shutil.copytree(folder, tmp_path / "copy")


@pytest.mark.slow
def test_the_ladder_is_measured_rung_by_rung(folder: Path) -> None:
    metrics = json.loads((folder / "cache/small/eval/metrics.json").read_text())
    names = [rung["name"] for rung in metrics["ladder"]]
    assert names == [
        "assistant_whole", "assistant_blend", "confidence_threshold", "ensemble", "ensemble_reliable", "student"
    ]  # fmt: skip
    for rung in metrics["ladder"]:
        assert rung.keys() >= {"name", "miou", "miou_solid_angle", "per_class_iou", "coverage"}
        assert rung["miou"] is None or 0 <= rung["miou"] <= 1
        assert 0 <= rung["coverage"] <= 1
    assert math.isclose(metrics["ladder"][0]["coverage"], 1)


@pytest.mark.slow
def test_without_a_student_stage_one_is_measured_and_reported(
    folder: Path, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = copy / "cache/small"
    shutil.rmtree(copy / "cache/students")
    assert goodsam("eval", copy / "small.toml", "--cache", copy / "cache", *NO_PICTURES) == 0
    assert "there is no finished student: only stage one is measured" in capsys.readouterr().err
    before, now = (json.loads((at / "eval/metrics.json").read_text()) for at in (folder / "cache/small", run))
    assert now["ladder"] == [rung for rung in before["ladder"] if rung["name"] != "student"]
    assert now["student_is_of_this_recipe"] is None
    assert "student" not in now


def test_tables_and_pictures_are_written(folder: Path) -> None:
    results = folder / "cache/small/eval"
    table = (results / "ladder.md").read_text()
    assert "ensemble" in table
    assert "milliseconds per panorama" in table
    picture = results / "overlays" / "evaluation" / "9.png"
    assert [path for path in (results / "overlays").rglob("*") if path.is_file()] == [picture]
    assert np.asarray(Image.open(picture)).std() > 10


def test_the_student_is_one_that_transformers_loads(folder: Path) -> None:
    student = SegformerForSemanticSegmentation.from_pretrained(folder / "cache/small/student/final")
    names = dict(student.config.id2label or {})
    assert len(names) == 13
    assert next(iter(names.values())) == "road"


def test_every_loss_is_logged_on_its_own(folder: Path) -> None:
    records = [json.loads(line) for line in (folder / "cache/small/log.jsonl").read_text().splitlines()]
    logged = {name for record in records if record["event"] == "Scalars" for name in record["values"]}
    assert logged >= {"assistant", "ensemble", "reliable", "boundary", "features", "total"}


def test_the_student_predicts_a_folder_and_a_broken_file_is_named(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_panorama(tmp_path / "in" / "street" / "1.png", 5)
    (tmp_path / "in" / "bad.jpg").write_bytes(b"")
    student = folder / "cache/small/student/final"
    code = goodsam("predict", tmp_path / "in", tmp_path / "out", "--student", student)
    assert code == 0
    assert Image.open(tmp_path / "out/labels/street/1.png").size == (128, 64)
    assert Image.open(tmp_path / "out/overlays/street/1.jpg").size == (128, 64)  # the width of the training
    shown = capsys.readouterr().err
    assert "bad" in shown
    assert "Loading weights" not in shown
    shares = (tmp_path / "out/class_shares.csv").read_text().splitlines()
    assert shares[0].startswith("panorama,road,")
    assert sum(map(float, shares[1].split(",")[1:])) == pytest.approx(1, abs=1e-4)


def test_what_is_black_is_predicted_too_if_asked(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    night = np.full((64, 128, 3), 90, np.uint8)
    night[48:] = 0
    Image.fromarray(night).save(tmp_path / "in" / "night.png")

    def ignored(*options: str) -> float:
        out = tmp_path / "_".join(["out", *options])
        assert (
            goodsam("predict", tmp_path / "in", out, "--student", folder / "cache/small/student/final", *options) == 0
        )
        return float((np.asarray(Image.open(out / "labels/night.png")) == 255).mean())

    assert ignored() == pytest.approx(0.25, abs=0.02)
    assert ignored("--no-ignore-border") == 0


def test_stage_two_refuses_a_cache_of_other_settings(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert goodsam("distill", folder / "small.toml", "--cache", folder / "cache", "--set", "fusion.theta=0.5") == 1
    assert "made with other settings of fusion" in capsys.readouterr().err


@pytest.mark.parametrize(("stage", "place"), [("distill", "student"), ("eval", "eval")])
def test_a_second_one_at_the_same_time_is_refused_and_records_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str], stage: str, place: str
) -> None:
    recorded = (folder / "cache/small/recipe.toml").read_text()
    at_work = (folder / "cache/small" / place).resolve()
    with exclusive_lock(at_work, stage):
        assert goodsam(stage, folder / "small.toml", "--cache", folder / "cache", "--set", "distill.log_every=2") == 1
    assert f"another {stage} is already running" in capsys.readouterr().err
    assert (folder / "cache/small/recipe.toml").read_text() == recorded


@pytest.mark.slow
def test_a_student_of_other_settings_is_measured_but_reported(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("eval", copy / "small.toml", "--cache", copy / "cache", *NO_PICTURES)
    metrics = copy / "cache/small/eval/metrics.json"
    assert goodsam(*arguments, "--set", "losses.boundary=0.25") == 0
    assert "distilled with other settings" in capsys.readouterr().err
    assert json.loads(metrics.read_text())["student_is_of_this_recipe"] is False
    assert goodsam(*arguments) == 0
    assert "distilled with other settings" not in capsys.readouterr().err
    assert json.loads(metrics.read_text())["student_is_of_this_recipe"] is True


def test_the_evaluation_asks_once_what_is_cached(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def count(work: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *arguments: (asked.append(work), work(*arguments))[1]

    monkeypatch.setattr(reading, "read_manifest", count(reading.read_manifest))
    monkeypatch.setattr(TeacherStore, "ids", count(TeacherStore.ids))
    assert goodsam("eval", copy / "small.toml", "--cache", copy / "cache", *NO_PICTURES) == 0
    assert len(asked) == 2


def test_the_recipe_of_a_run_names_its_folders_wherever_it_is_read(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(copy)
    assert goodsam("eval", "small.toml", "--cache", "cache", *NO_PICTURES) == 0
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe(copy / "cache/small/recipe.toml")
    assert (recipe.data.panoramas, recipe.data.labels) == (str(copy / "photos"), str(copy / "labels"))


def test_ctrl_c_is_reported_in_one_sentence(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("stages.distill.distill", interrupt)
    assert goodsam("distill", folder / "small.toml", "--cache", folder / "cache") == 130
    assert "run the same command again" in capsys.readouterr().err


def test_the_cache_verifies(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert goodsam("verify", folder / "small.toml", "--cache", folder / "cache") == 0
    shown = capsys.readouterr()
    assert "0 problems" in shown.out
    assert "verify done" in shown.err


@pytest.mark.slow
def test_what_verify_finds_damaged_it_removes_if_asked_and_stage_one_does_it_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, cache = make_folders(tmp_path), tmp_path / "cache"
    assert goodsam("teacher-cache", recipe, "--cache", cache, "--set", "data.limit=1") == 0
    chunk = next((small_run(tmp_path).store / "ensemble").rglob("ensemble_labels/c*"))
    chunk.write_bytes(chunk.read_bytes()[:-1])
    assert goodsam("verify", recipe, "--cache", cache) == 1
    assert goodsam("verify", recipe, "--cache", cache, "--discard") == 0
    assert "1 problem, mended: damaged panoramas are removed" in capsys.readouterr().out
    assert goodsam("teacher-cache", recipe, "--cache", cache, "--set", "data.limit=1") == 0
    assert "of 2 panoramas already cached" in capsys.readouterr().err
    assert goodsam("verify", recipe, "--cache", cache) == 0


def test_verify_removes_nothing_while_stage_one_works_and_makes_no_cache(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, run = make_folders(tmp_path), small_run(tmp_path)
    verify = ("verify", recipe, "--cache", tmp_path / "cache", "--discard")
    assert goodsam(*verify) == 1
    assert "does not exist" in capsys.readouterr().err
    assert not run.folder.exists()
    TeacherStore.open(run.store, "a")
    with exclusive_lock(run.folder, "teacher-cache"):
        assert goodsam(*verify) == 1
    assert "another teacher-cache is already running" in capsys.readouterr().err
    assert goodsam(*verify) == 0


def test_a_printed_recipe_is_one_that_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert goodsam("recipe", "street", "--set", "fusion.theta=0.6") == 0
    (tmp_path / "my.toml").write_text(capsys.readouterr().out)
    recipe = load_recipe(tmp_path / "my.toml")
    assert (recipe.name, recipe.fusion.theta) == ("street", 0.6)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("teacher-cache", "nowhere.toml"), "does not exist"),
        (("teacher-cache", "demo", "--set", "fusion.teta=1"), "fusion.theta"),
        (("teacher-cache", "demo", "--set", "data.panoramas=/nowhere"), "/nowhere"),
        (("teacher-cache", "street", "--set", "sam.checkpoint=none.pth", "--set", "data.panoramas={photos}"), "vit_b"),
        (("distill", "street", "--set", "data.panoramas={photos}"), "Run `goodsam teacher-cache` first"),
        (("eval", "street", "--set", "data.panoramas={photos}"), "Run `goodsam teacher-cache` first"),
        (("verify", "street"), "teacher-cache"),
        (("distill", "demo", "--set", "data.panoramas={photos}", "--device", "cuda:99"), "cuda:99"),
        (("distill", "demo", "--set", "data.panoramas={photos}", "--device", "gpu"), "'gpu'"),
        (("distill", "demo", "--set", "fusion=keep", "--set", "fusion.theta=1"), "a key of the table fusion"),
        (("predict", "{photos}", "{out}", "--student", "/nowhere"), "/nowhere"),
        (("predict", "{photos}", "/dev/null/out", "--student", "{student}"), "/dev/null/out"),
        (
            ("predict", "{photos}", "{out}", "--student", "{student}", "--width", "100"),
            "100; it must be a positive multiple of 32 up to 32768. Correct panorama.width in the recipe (`predict`: "
            "--width).",
        ),
        (
            ("predict", "{photos}", "{out}", "--student", "{student}", "--vertical-fov", "0"),
            "(`predict`: --vertical-fov)",
        ),
        (("fetch-weights", "vit_b", "--out", "/dev/null/out"), "/dev/null/out"),
        (("fetch-weights", "vit_q", "--out", "{out}"), "vit_t, vit_b, vit_l, vit_h"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, tuple) else "",
)
def test_what_a_user_gets_wrong_is_reported_in_one_sentence_without_a_traceback(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], says: str
) -> None:
    places = {
        "photos": folder / "photos",
        "out": tmp_path / "out",
        "student": folder / "cache/small/student/final",
    }
    filled = [argument.format(**places) for argument in arguments]
    cache = [] if filled[0] in ("predict", "fetch-weights") else ["--cache", tmp_path / "cache"]
    assert goodsam(*filled, *cache) == 1
    shown = capsys.readouterr().err
    assert says in shown
    assert "Traceback" not in shown
    assert len([line for line in shown.splitlines() if line.startswith("error: ")]) == 1


@pytest.mark.parametrize("rendered", ["", "panoramas"])
def test_without_the_demos_world_the_message_says_how_it_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, rendered: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if rendered:
        write_panorama(tmp_path / "cache/demo/world" / rendered / "1.png", 1)
    assert goodsam("teacher-cache", "demo") == 1
    shown = capsys.readouterr().err
    assert "does not exist; it must be a folder of panoramas. Run `goodsam world demo` first." in shown


def test_of_other_folders_the_message_does_not_speak_of_the_demo(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert goodsam("teacher-cache", "demo", "--set", "data.panoramas=photos") == 1
    assert "Check the path" in capsys.readouterr().err


def test_a_refused_folder_of_outputs_is_not_made(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = folder / "photos" / "out"
    assert goodsam("predict", folder / "photos", out, "--student", folder / "cache/small/student/final") == 1
    assert "lies inside" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.slow
def test_the_python_of_the_guide_runs(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "small.toml").rename(tmp_path / "my.toml")
    view = render_panorama(build_scene(3), 256, 512)
    Image.fromarray(view.image_HW3).save(tmp_path / "panorama.jpg")
    Image.fromarray(view.labels_HW).save(tmp_path / "truth.png")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    guide = (ROOT / "pipeline" / "README.md").read_text(encoding="utf-8")
    for block in re.findall(r"```python\n(.*?)```", guide, re.DOTALL):
        exec(block, names)
    assert names["probabilities_Chw"].shape == (13, 16, 32)
    assert names["masks_MHW"].shape == (len(names["found"]), 256, 512)
    assert len(names["records"]) > 0
    np.testing.assert_allclose(255 * names["blended_CHW"], names["image_HW3"].transpose(2, 0, 1), atol=1e-3)
    assert names["masks_HW"].max() > 0
    assert all(math.isfinite(loss.item()) for loss in names["losses"].values())
    assert 0 < names["matrix"].miou < 1


def test_label_files_of_no_panorama_are_reported(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(copy / "labels" / "9.png", copy / "labels" / "nobodys.png")
    assert goodsam("eval", copy / "small.toml", "--cache", copy / "cache", *NO_PICTURES) == 0
    printed = " ".join("".join(capsys.readouterr()).split())
    assert "1 label file without a panorama: nobodys.png" in printed


@pytest.mark.slow
def test_labels_that_count_from_one_are_reported_and_read_as_the_setting_says(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def evaluate(*settings: str) -> tuple[Any, str]:
        pairs = [part for setting in settings for part in ("--set", setting)]
        assert goodsam("eval", copy / "small.toml", "--cache", copy / "cache", *NO_PICTURES, *pairs) == 0
        return (json.loads((copy / "cache/small/eval/metrics.json").read_text())["ladder"],
                " ".join(capsys.readouterr().err.split()))  # fmt: skip

    truth = np.array(Image.open(copy / "labels" / "9.png"))
    truth[truth == 12] = 255  # the last class would tell by itself
    for name, ids in (("plain", truth), ("shifted", truth + (truth != 255))):
        (copy / name).mkdir()
        Image.fromarray(ids.astype(np.uint8)).save(copy / name / "9.png")
    right, shown = evaluate(f"data.labels={copy / 'plain'}")
    assert "ids seem to start at 1" not in shown
    labels = f"data.labels={copy / 'shifted'}"
    wrong, shown = evaluate(labels)
    assert "ids seem to start at 1" in shown
    set_right, shown = evaluate(labels, "data.labels_from_one=true")
    assert "ids seem to start at 1" not in shown
    assert set_right == right != wrong
