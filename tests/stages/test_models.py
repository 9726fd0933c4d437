"""What `--model` stands for: a student's folder, its ONNX file, or another network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.errors import InputError, WeightsError
from pipeline.panorama.config import PanoramaConfig
from pipeline.pretrained import network_name
from stages.models import EXPORTED, KIND, DemoModel, OnnxStudentModel, StudentModel, open_model, open_student
from stages.training_record import RECORD


def write_folder(folder: Path, weights: bytes = b"weights", **record: object) -> Path:
    """A folder of the files that a student has; nothing of it is loaded here."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "segformer"}')
    (folder / "model.safetensors").write_bytes(weights)
    (folder / RECORD).write_text(json.dumps(record))
    return folder


def test_a_students_folder_is_one_of_a_student_at_the_size_of_its_training(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "final", working_size=[48, 128], vertical_fov=135.0)
    model = open_model(str(folder))
    assert model == StudentModel(folder) == open_student(folder)
    assert model.usual == PanoramaConfig(width=128, vertical_fov=135.0)
    assert not model.gives_probabilities


def test_the_embedded_network_is_called_demo_unless_something_here_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert open_model("demo") == DemoModel()
    assert open_model("demo").usual.width == 1024 and open_model("demo").identity
    write_folder(tmp_path / "demo")
    assert open_model("demo") == StudentModel(Path("demo"))


def test_a_home_folder_is_written_with_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert open_model("~/final" if write_folder(tmp_path / "final") else "") == StudentModel(tmp_path / "final")


def test_a_student_is_named_by_its_weights_wherever_they_lie(tmp_path: Path) -> None:
    here, there, other = (write_folder(tmp_path / name, weights) for name, weights in
                          (("here", b"one"), ("there", b"one"), ("other", b"two")))  # fmt: skip
    names = [open_student(folder).identity for folder in (here, there, other)]
    assert names[0] == names[1] != names[2]
    (here / "config.json").write_text("{}")
    assert open_student(here).identity != names[0]


def test_networks_have_a_name_for_people_without_a_folder_of_this_machine(tmp_path: Path) -> None:
    trained = write_folder(tmp_path / "students" / "ab12" / "final", fingerprint="ab12")
    assert open_student(trained).name == "student ab12"
    assert open_student(write_folder(tmp_path / "mine")).name == "mine"
    assert OnnxStudentModel(tmp_path / "streets" / EXPORTED).name == "streets"
    assert OnnxStudentModel(tmp_path / "streets.onnx").name == "streets.onnx"
    assert DemoModel().name == "the embedded demo network"
    assert network_name(str(tmp_path / "assistants" / "cd34" / "final")) == "cd34"
    assert network_name("nvidia/segformer-b5") == "nvidia/segformer-b5"
    assert network_name(str(tmp_path / "gone" / "net.onnx")) == "net.onnx" and network_name("") == ""


@pytest.mark.parametrize("lost", ["config.json", "model.safetensors"])
def test_a_folder_without_network_is_refused_by_name(tmp_path: Path, lost: str) -> None:
    folder = write_folder(tmp_path / "final")
    (folder / lost).unlink()
    with pytest.raises(WeightsError, match="final holds no student"):
        open_student(folder)


def test_the_folder_around_a_student_is_refused_with_the_name_of_the_students_own(tmp_path: Path) -> None:
    write_folder(tmp_path / "final")
    told = r"holds no student; that of a run lies in its folder final\. Name .*/final\."
    with pytest.raises(WeightsError, match=told):
        open_model(str(tmp_path))
    with pytest.raises(WeightsError, match=told):
        open_student(tmp_path)


@pytest.mark.parametrize("size", [100, 3_000_000])
def test_an_onnx_file_is_a_students_by_the_metadata_at_its_end(tmp_path: Path, size: int) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(bytes(size) + KIND.encode())
    model = open_model(str(path))
    assert model == OnnxStudentModel(path)
    before = model.identity
    path.write_bytes(bytes(size) + KIND.encode() + b"more")
    assert open_model(str(path)).identity != before


def test_the_folder_of_an_exported_student_stands_for_its_file(tmp_path: Path) -> None:
    (tmp_path / EXPORTED).write_bytes(KIND.encode())
    assert open_model(str(tmp_path)) == OnnxStudentModel(tmp_path / EXPORTED)
    folder = write_folder(tmp_path / "final")
    (folder / EXPORTED).write_bytes(KIND.encode())
    assert open_model(str(folder)) == StudentModel(folder), "a student's own folder has its weights beside the file"


@pytest.mark.parametrize(
    "name", ["{tmp}/none", "none.onnx", "./none/there", "none", "a/b/c"], ids=["path", "file", "dot", "word", "deep"]
)
def test_what_is_neither_there_nor_a_name_on_the_hub_is_refused_without_asking_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.snapshot_download", None)
    with pytest.raises(
        WeightsError, match=r"does not exist; --model is a student's folder, an ONNX file, or a network"
    ):
        open_model(name.format(tmp=tmp_path))


@pytest.mark.parametrize("options", [("street", "nonsense"), ("/nowhere.toml", "")], ids=["classes", "recipe"])
def test_options_of_other_networks_are_refused_for_a_student(tmp_path: Path, options: tuple[str, str]) -> None:
    (tmp_path / EXPORTED).write_bytes(KIND.encode())
    for name in ("demo", str(write_folder(tmp_path / "final")), str(tmp_path), str(tmp_path / EXPORTED)):
        with pytest.raises(InputError, match=rf"(nonsense|nowhere\.toml) is given with --model {name}.*Leave"):
            open_model(name, *options)
