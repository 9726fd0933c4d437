"""`goodsam predict` makes a job of its options: sizes as in the training unless told otherwise, and one network."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from pipeline.errors import GoodSAMError, InputError
from pipeline.panorama.config import PanoramaConfig
from stages.cli import app
from stages.events import Listener
from stages.models import StudentModel
from stages.predict import PredictJob


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[PredictJob]:
    """The jobs that are begun; none is done, and each sets two panoramas aside."""
    begun: list[PredictJob] = []

    def begin(job: PredictJob, _: Listener) -> SimpleNamespace:
        begun.append(job)
        return SimpleNamespace(failed={"a": "broken", "b": "broken"} if job.overwrite else {})

    monkeypatch.setattr("stages.predict.predict", begin)
    return begun


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (64, 32)).save(tmp_path / "photos" / "a.png")
    return tmp_path / "photos"


def make_student(folder: Path) -> Path:
    """What tells a folder as a student's."""
    folder.mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_text(name)
    (folder / "training.json").write_text(json.dumps({"working_size": [256, 512], "vertical_fov": 140.0}))
    return folder


def predict(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["predict", *map(str, arguments)])


def refusal(*arguments: object) -> GoodSAMError:
    """The error that the command line prints."""
    result = predict(*arguments)
    assert isinstance(result.exception, GoodSAMError)
    return result.exception


def test_a_student_is_used_as_in_its_training(jobs: list[PredictJob], photos: Path, tmp_path: Path) -> None:
    student = make_student(tmp_path / "student")
    for option in ("--model", "--student"):
        assert predict(photos, tmp_path / "out", option, student).exit_code == 0
    job, same = jobs
    assert job == same
    assert job.model == StudentModel(student)
    assert (job.panoramas, job.out) == (photos, tmp_path / "out")
    assert job.panorama == PanoramaConfig(512, 140.0, ignore_mask="", find_constant_border=True, level="tags")
    assert (job.overlays, job.overwrite, job.positions, job.workers) == (True, False, None, 0)


def test_options_go_before_the_training(jobs: list[PredictJob], photos: Path, tmp_path: Path) -> None:
    student = make_student(tmp_path / "student")
    result = predict(
        photos / "a.png", tmp_path / "out", "--model", student, "--width", 128, "--vertical-fov", 90.0, "--ignore-mask",
        "rig.png", "--no-ignore-border", "--no-level", "--positions", "gps.csv", "--no-overlays", "--workers", 2,
        "--device", "cpu",
    )  # fmt: skip
    assert result.exit_code == 0
    (job,) = jobs
    assert job.panoramas == photos / "a.png"
    assert job.panorama == PanoramaConfig(128, 90.0, "rig.png", find_constant_border=False, level="off")
    assert (job.overlays, job.positions, job.workers, job.device) == (False, Path("gps.csv"), 2, "cpu")


def test_where_none_is_named_the_demos_student_predicts(
    jobs: list[PredictJob], photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    error = refusal(photos, tmp_path / "out")
    assert isinstance(error, InputError)
    assert str(error).startswith("--model names no network; without it, cache/demo/student/final is taken")
    make_student(tmp_path / "cache/demo/student/final")
    assert predict(photos, tmp_path / "out").exit_code == 0
    assert jobs[0].model == StudentModel(Path("cache/demo/student/final"))


def test_what_was_set_aside_is_counted_at_the_end(jobs: list[PredictJob], photos: Path, tmp_path: Path) -> None:
    result = predict(photos, tmp_path / "out", "--student", make_student(tmp_path / "student"), "--overwrite")
    assert result.exit_code == 0
    assert result.stderr.splitlines()[-1] == "2 set aside, for the reasons above"
    assert len(jobs) == 1


def test_two_networks_are_refused(jobs: list[PredictJob], photos: Path, tmp_path: Path) -> None:
    error = refusal(photos, tmp_path / "out", "--model", "a.onnx", "--student", "b")
    assert isinstance(error, InputError)
    assert str(error) == "both --model a.onnx and --student b are given; one network predicts. Leave one of them out."
    assert not jobs and not (tmp_path / "out").exists()


def test_a_folder_that_is_not_there_is_reported_before_the_network(jobs: list[PredictJob], tmp_path: Path) -> None:
    error = refusal(tmp_path / "nowhere", tmp_path / "out", "--model", "no.onnx")
    assert isinstance(error, InputError)
    assert f"{tmp_path / 'nowhere'} does not exist" in str(error)
    assert not jobs and not (tmp_path / "out").exists()


def test_a_width_that_no_network_takes_is_refused_with_the_option(
    jobs: list[PredictJob], photos: Path, tmp_path: Path
) -> None:
    error = refusal(photos, tmp_path / "out", "--student", make_student(tmp_path / "student"), "--width", 100)
    assert "must be a positive multiple of 32" in str(error) and "--width" in str(error)
    assert not jobs
