"""`goodsam export` and `export-onnx` make jobs of their options, and offer exactly what the stages can write."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner, Result

from goodsam import handing_over
from goodsam.outputs import USUAL_MAPS
from pipeline.errors import InputError, WeightsError
from pipeline.student.onnx_graph import INPUT_TYPES
from stages import cli_export, export_onnx
from stages.cli import app
from stages.events import Listener
from stages.export import ALL, ORIGINAL, WORKING, ExportJob
from stages.export_formats import FORMATS, LOCAL_FILES
from stages.export_task import OUTPUTS
from stages.splits import EVALUATION, LEARNING

RECIPE = 'name = "my"\n[data]\npanoramas = "photos"\n[assistant]\nkind = "demo"\n'


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[ExportJob]:
    """The exports that are begun in the folder of the test; none is done."""
    begun: list[ExportJob] = []

    def begin(job: ExportJob, _: Listener) -> SimpleNamespace:
        begun.append(job)
        return SimpleNamespace(failed={})

    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.toml").write_text(RECIPE)
    (tmp_path / "photos").mkdir()
    monkeypatch.setattr("stages.export.export", begin)
    return begun


def run_command(*arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments])


def test_every_choice_is_one_of_the_stages_and_none_is_missing() -> None:
    assert set(cli_export.FormatName) == set(FORMATS)
    assert set(cli_export.Split) == {LEARNING, EVALUATION, ALL}
    assert set(cli_export.Size) == {ORIGINAL, WORKING}
    assert set(cli_export.InputType) == set(INPUT_TYPES) == set(handing_over.INPUT_TYPES)
    assert set(USUAL_MAPS) < set(OUTPUTS)


def test_without_options_the_usual_maps_of_the_panoramas_to_learn_from_are_written(jobs: list[ExportJob]) -> None:
    assert run_command("export", "my.toml", "out").exit_code == 0
    (job,) = jobs
    assert job.outputs == set(USUAL_MAPS)
    assert (job.run.recipe.name, job.out, job.format, job.split, job.size) == (
        "my", Path("out"), "masks", LEARNING, ORIGINAL
    )  # fmt: skip
    assert (job.positions, job.overwrite, job.workers, job.url_prefix, job.views) == (None, False, 0, LOCAL_FILES, "")
    assert job.command == "goodsam teacher-cache my.toml"


def test_options_go_to_the_job(jobs: list[ExportJob]) -> None:
    done = run_command(
        "export", "my.toml", "out", "--what", "labels, overlays,", "--split", "all", "--size", "working", "--positions",
        "gps.csv", "--overwrite", "--workers", "2", "--url-prefix", "s3://", "--set", "fusion.theta=0.5",
        "--cache", "runs",
    )  # fmt: skip
    assert done.exit_code == 0
    (job,) = jobs
    assert job.outputs == {"labels", "overlays"}
    assert (job.split, job.size, job.positions) == (ALL, WORKING, Path("gps.csv"))
    assert (job.overwrite, job.workers, job.url_prefix) == (True, 2, "s3://")
    assert (job.run.recipe.fusion.theta, job.run.folder) == (0.5, Path("runs/my"))
    assert job.command == "goodsam teacher-cache my.toml --cache runs --set fusion.theta=0.5"


def test_another_format_has_no_maps_beside_it_unless_asked(jobs: list[ExportJob]) -> None:
    for arguments in (["--format", "coco"], ["--format", "crops", "--views", "fov=60"]):
        assert run_command("export", "my.toml", "out", *arguments).exit_code == 0
    coco, crops = jobs
    assert (coco.format, coco.outputs) == ("coco", set())
    assert (crops.format, crops.views) == ("crops", "fov=60")


def test_a_network_is_exported_beside_its_student_for_bytes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    begun: list[export_onnx.ExportJob] = []
    monkeypatch.setattr(export_onnx, "export_onnx", lambda job, _: begun.append(job) or "done")  # type: ignore[arg-type]
    for name in ("config.json", "model.safetensors", "training.json"):
        (tmp_path / name).write_text("{}")
    assert run_command("export-onnx", str(tmp_path)).stdout == "done\n"
    run_command("export-onnx", str(tmp_path), "a.onnx", "--input", "float32")
    assert begun == [export_onnx.ExportJob(tmp_path), export_onnx.ExportJob(tmp_path, Path("a.onnx"), "float32")]


def test_what_is_no_student_and_pictures_that_are_not_there_are_refused(tmp_path: Path) -> None:
    assert isinstance(run_command("export-onnx", str(tmp_path)).exception, WeightsError)
    for name in ("config.json", "model.safetensors", "training.json"):
        (tmp_path / name).write_text("{}")
    refused = run_command("export-onnx", str(tmp_path), "--pictures", str(tmp_path / "nowhere"))
    assert isinstance(refused.exception, InputError)
