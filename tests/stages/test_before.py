"""What users ask before and while a run works: status, plan, doctor and init."""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from pipeline.errors import InputError
from pipeline.recipe import load_recipe
from stages.cli import app
from stages.doctor import PROBLEM, examine, findings_text
from stages.events import silent
from stages.init import look_at, recipe_text, write_recipe
from stages.plan import make_plan, plan_text
from stages.status import run_status, status_text
from tests.stages.small_run import discard, small_run


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def files_of(folder: Path) -> set[tuple[str, int]]:
    return {(str(path), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def test_a_finished_run_is_done_and_nothing_is_written(folder: Path) -> None:
    before = files_of(folder)
    status = run_status(small_run(folder))
    assert status.panoramas == {"done": 4, "stale": 0, "missing": 0, "set aside": 0}
    assert not any(status.to_compute.values()) and not status.changes and status.student == ""
    assert files_of(folder) == before


def test_what_is_missing_stale_and_set_aside_is_told_apart(folder: Path) -> None:
    run = small_run(folder)
    discard(run, "ensemble", "panoramas/0")
    shutil.copy(folder / "photos" / "1.png", folder / "photos" / "new.png")
    Image.open(folder / "photos" / "2.png").rotate(180).save(folder / "photos" / "2.png")
    (folder / "photos" / "broken.png").mkdir()
    status = run_status(run)
    assert status.panoramas == {"done": 2, "stale": 1, "missing": 2, "set aside": 1}
    assert status.to_compute == {"masks": 2, "assistant": 2, "ensemble": 3}
    assert "empty folder" in status.set_aside["panoramas/broken.png"]
    assert "2 done, 1 stale, 2 missing, 1 set aside" in status_text(status)


def test_changed_settings_name_what_is_computed_again(folder: Path) -> None:
    status = run_status(small_run(folder, fusion={"theta": 0.99}))
    assert status.changes == {"ensemble": "settings of fusion"}
    assert status.panoramas["stale"] == 4 and status.to_compute == {"masks": 0, "assistant": 0, "ensemble": 4}


def test_missing_weights_are_a_problem_and_done_panoramas_stay_done(folder: Path) -> None:
    (folder / "sam.pth").write_bytes(b"weights")
    settings: dict[str, dict[str, object]] = {"sam": {"model": "vit_b", "checkpoint": str(folder / "sam.pth")}}
    (folder / "sam.pth").unlink()
    status = run_status(small_run(folder, **settings))
    assert "sam.pth cannot be read" in status.problems[0]
    assert status.panoramas["stale"] == 4, "the recipe names another network than the cache was made with"


def test_panoramas_that_failed_are_set_aside_with_the_reason_of_the_log(folder: Path) -> None:
    from stages.listeners import RunListeners
    from stages.teacher_cache import teacher_cache

    (folder / "photos" / "torn.png").write_bytes(b"\x89PNG\r\n torn")
    with RunListeners(folder / "cache" / "small") as listener:
        teacher_cache(small_run(folder), listener)
    status = run_status(small_run(folder))
    assert status.panoramas["set aside"] == 1
    assert "torn.png cannot be opened as an image" in status.set_aside["panoramas/torn"]


def test_a_plan_measures_a_sample_that_stays_in_the_cache(folder: Path) -> None:
    for name in ("3", "4"):
        picture = np.random.default_rng(int(name)).integers(0, 255, (64, 128, 3)).astype(np.uint8)
        Image.fromarray(picture).save(folder / "photos" / f"{name}.png")
    run = small_run(folder)
    assert make_plan(run, silent, sample=0).to_compute["masks"] == 2
    plan = make_plan(run, silent, sample=1, device="cpu", workers=2)
    assert plan.to_compute == {"masks": 1, "assistant": 1, "ensemble": 1} and plan.done == 5
    assert set(plan.seconds_per_panorama) == {"masks", "assistant", "ensemble"}
    assert plan.hours == pytest.approx(sum(plan.seconds_per_panorama.values()) / 2 / 3600)
    assert plan.store_gigabytes and 0 < plan.store_gigabytes < 0.01
    assert plan.memory_gigabytes and plan.memory_gigabytes > 0.05
    text = plan_text(plan)
    assert "1 of the missing panoramas, computed now and kept" in text and "2 processes" in text
    assert run_status(run).panoramas["done"] == 5


def test_a_plan_of_a_finished_run_takes_nothing(folder: Path) -> None:
    plan = make_plan(small_run(folder), silent)
    assert plan.hours == 0 and plan.store_gigabytes == 0 and plan.done == 4


def test_doctor_names_missing_weights_and_where_to_get_them(folder: Path) -> None:
    found = examine(small_run(folder, sam={"model": "vit_b", "checkpoint": str(folder / "vit_b.pth")}))
    states = {finding.subject: finding for finding in found}
    assert states["torch"].state == states["disk"].state == "ok"
    assert states["SAM"].state == PROBLEM and "goodsam fetch-weights vit_b" in states["SAM"].text
    assert states["panoramas"].text == "4, 0 set aside"
    assert "bfloat16" in states["processor"].text
    assert findings_text(found).endswith("1 problem")


def test_doctor_downloads_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: pytest.fail("a download"))
    recipe: dict[str, dict[str, object]] = {"assistant": {"kind": "transformers", "name": "nobody/has-this"}}
    found = {finding.subject: finding for finding in examine(small_run(folder, **recipe))}
    assert found["assistant"].text == "nobody/has-this is downloaded from the Hugging Face hub on first use"
    assert run_status(small_run(folder, **recipe)).panoramas["stale"] == 4


def save_bands(folder: Path, count: int, rig_rows: int = 0) -> None:
    folder.mkdir()
    for seed in range(count):
        picture = np.random.default_rng(seed).integers(0, 255, (25, 128, 3)).astype(np.uint8).repeat(4, 0).repeat(4, 1)
        picture[100 - rig_rows :] = 40
        Image.fromarray(picture).save(folder / f"{seed}.png")


def test_init_writes_a_recipe_for_what_is_there(tmp_path: Path) -> None:
    save_bands(tmp_path / "bands", 5, rig_rows=25)
    Image.new("RGB", (512, 256)).save(tmp_path / "bands" / "sphere.png")
    found = look_at(tmp_path / "bands")
    assert found.sizes == {"512x100": 5, "512x256": 1} and found.vertical_fov == 70.3 and found.others == 1
    assert found.rig_share == pytest.approx(0.25, abs=0.05) and found.positions == 0
    write_recipe(tmp_path / "my.toml", recipe_text(found, "my", "/weights/sam.pth"))
    recipe = load_recipe(tmp_path / "my.toml")
    assert recipe.panorama.vertical_fov == 70.3 and recipe.name == "my"
    assert recipe.data.panoramas == str(tmp_path / "bands") and recipe.sam.checkpoint == "/weights/sam.pth"
    text = (tmp_path / "my.toml").read_text()
    assert "rows look the same in all 5" in text and "1 pictures have another shape" in text
    with pytest.raises(InputError, match="is there already"):
        write_recipe(tmp_path / "my.toml", "")


def test_init_of_full_spheres_leaves_the_field_of_view_alone(folder: Path) -> None:
    found = look_at(folder / "photos")
    assert found.vertical_fov == 180 and found.rig_share == 0
    settings = tomllib.loads(recipe_text(found, "my", 'odd "weights".pth'))
    assert "vertical_fov" not in settings["panorama"]
    assert settings["sam"]["checkpoint"] == 'odd "weights".pth'


def test_every_command_prints_json(folder: Path, tmp_path: Path) -> None:
    recipe = str(folder / "small.toml")
    for arguments in (["status", recipe], ["plan", recipe, "--sample", "0"], ["doctor", recipe]):
        done = CliRunner().invoke(app, [*arguments, "--json"])
        assert done.exit_code == 0, done.output
        assert json.loads(done.stdout)
    done = CliRunner().invoke(app, ["init", str(folder / "photos"), "--out", str(tmp_path / "new.toml"), "--json"])
    assert json.loads(done.stdout)["panoramas"] == 3
