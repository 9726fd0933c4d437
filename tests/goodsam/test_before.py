"""What the commands before, beside and after a run print as JSON, as objects; and the errors of what cannot be done."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import goodsam
from pipeline.classes import DENSEPASS_13
from pipeline.errors import InputError, WeightsError
from stages.cli import app
from stages.events import silent
from stages.label_files import write_labels
from tests.stages.small_run import HEIGHT, WIDTH, make_folders


def printed(*arguments: str) -> Any:
    return json.loads(CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False).stdout)


def test_status_and_plan_are_what_their_commands_print_as_json(tmp_path: Path) -> None:
    recipe = make_folders(tmp_path)
    run = goodsam.open_run(recipe)
    status, plan = goodsam.status(run), goodsam.plan(run, silent, sample=0, workers=2)
    assert status.panoramas == {"done": 0, "stale": 0, "missing": 4, "set aside": 0}
    assert (plan.panoramas, plan.to_compute["masks"], plan.hours, plan.workers) == (4, 4, None, 2)
    assert printed("status", str(recipe)) == asdict(status)
    free = {"free_gigabytes": 0}  # of the disk, which others write to
    assert printed("plan", str(recipe), "--sample", "0", "--workers", "2") | free == asdict(plan) | free
    assert not run.folder.exists(), "nothing was computed"


def test_doctor_finds_the_same_and_of_a_run_more_than_of_the_machine(tmp_path: Path) -> None:
    recipe = make_folders(tmp_path)
    found, machine = goodsam.doctor(goodsam.open_run(recipe)), goodsam.doctor()
    subjects = [finding.subject for finding in found]
    assert [own["subject"] for own in printed("doctor", str(recipe))] == subjects
    assert {finding.subject for finding in machine} < set(subjects)
    assert {finding.state for finding in found} <= {"ok", "note", "problem"}


def test_init_gives_a_recipe_to_open_and_what_it_was_written_for(tmp_path: Path) -> None:
    make_folders(tmp_path)
    out = tmp_path / "my street.toml"
    found = goodsam.init(tmp_path / "photos", out)
    assert (found.panoramas, found.sizes, found.data_set) == (3, {f"{WIDTH}x{HEIGHT}": 3}, "")
    assert goodsam.open_run(found.recipe).recipe.name == "my-street"
    again = printed("init", str(tmp_path / "photos"), "--out", str(tmp_path / "other.toml"))
    assert again == asdict(found) | {"recipe": str(tmp_path / "other.toml")}
    with pytest.raises(InputError, match="is there already"):
        goodsam.init(tmp_path / "photos", out)
    assert goodsam.init(tmp_path / "photos", tmp_path / "n.toml", name="mine").panoramas == 3
    assert goodsam.open_run(tmp_path / "n.toml").recipe.name == "mine"


def test_corrected_labels_are_stored_beside_the_run_or_where_one_says(tmp_path: Path) -> None:
    recipe = make_folders(tmp_path)
    run = goodsam.open_run(recipe)
    write_labels(tmp_path / "edited" / "1.png", np.full((HEIGHT, WIDTH), 2, np.uint8), DENSEPASS_13, {})
    first = goodsam.import_labels(run, tmp_path / "edited", listener=silent)
    assert (first.stored, first.known, first.failed) == (1, 0, {})
    assert first.folder == run.folder / "corrections"
    assert (np.asarray(Image.open(first.folder / "panoramas" / "1.png")) == 2).all()
    assert goodsam.import_labels(run, tmp_path / "edited", listener=silent).known == 1
    assert goodsam.import_labels(run, tmp_path / "edited", tmp_path / "mine", silent).folder == tmp_path / "mine"
    own = goodsam.open_run(recipe, settings=[f"data.corrections={tmp_path / 'mine'}"])
    assert goodsam.import_labels(own, tmp_path / "edited", listener=silent).known == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_type": "int8"}, "the input type 'int8'; it is one of uint8, float32"),
        ({"pictures": "nowhere"}, "nowhere"),
        ({}, "holds no student"),
    ],
)
def test_what_cannot_be_exported_is_refused_before_torch_works(
    options: dict[str, str], message: str, tmp_path: Path
) -> None:
    if options:
        for name in ("config.json", "model.safetensors", "training.json"):
            (tmp_path / name).write_text("{}")
    with pytest.raises((InputError, WeightsError), match=message):
        goodsam.export_onnx(tmp_path, listener=silent, **options)  # type: ignore[arg-type]


def test_an_export_as_onnx_gives_its_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[tuple[Any, Callable[..., Any]]] = []

    def stage(job: Any, listener: Callable[..., Any]) -> SimpleNamespace:
        begun.append((job, listener))
        return SimpleNamespace(agreement=1.0)

    monkeypatch.setattr("stages.export_onnx.export_onnx", stage)
    for name in ("config.json", "model.safetensors", "training.json"):
        (tmp_path / name).write_text("{}")
    assert goodsam.export_onnx(tmp_path, tmp_path / "a.onnx", silent, input_type="float32").agreement == 1
    ((job, listener),) = begun
    assert (job.student, job.path, job.input_type, job.pictures) == (tmp_path, tmp_path / "a.onnx", "float32", None)
    assert listener is silent
